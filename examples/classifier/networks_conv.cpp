// The networks of the documents with averages and maxima.
#include "make_networks.hpp"
#include "network_of.hpp"

#include <poolhead/model/conv_gap.hpp>
#include <poolhead/model/four_head_basic.hpp>

std::unique_ptr<Network::Model> make_conv_gap(const NetworkOptions& options) {
  return wrap(ph::conv_gap<float>({options.channels, options.classes}, options.seed), options);
}
std::unique_ptr<Network::Model> make_conv_gmp(const NetworkOptions& options) {
  return wrap(ph::conv_gmp<float>({options.channels, options.classes}, options.seed), options);
}
std::unique_ptr<Network::Model> make_four_head_basic(const NetworkOptions& options) {
  return wrap(ph::four_head_basic<float>({.in_channels = options.channels, .num_classes = options.classes},
                                         options.seed),
              options);
}
