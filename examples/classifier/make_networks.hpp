// The networks, compiled in a few units: what takes long.
#pragma once

#include "network.hpp"

std::unique_ptr<Network::Model> make_conv_gap(const NetworkOptions& options);
std::unique_ptr<Network::Model> make_conv_gmp(const NetworkOptions& options);
std::unique_ptr<Network::Model> make_four_head_basic(const NetworkOptions& options);
std::unique_ptr<Network::Model> make_four_head(const NetworkOptions& options);
std::unique_ptr<Network::Model> make_four_head_norm(const NetworkOptions& options);
std::unique_ptr<Network::Model> make_pooled(const NetworkOptions& options);
