// What a training run is made of: everything that its bits follow from.
#pragma once

#include "network.hpp"

#include <nlohmann/json_fwd.hpp>

#include <string>

struct TrainOptions {
  std::string model = "four-head", pool = "gap";
  std::string data = "synthetic";
  ph::Index image_size = 32;
  int classes = 10;
  int epochs = 3;
  ph::Index batch_size = 64;
  double learning_rate = 1e-3;
  std::string optimizer = "adam";  ///< adam, adamw, sgd
  double momentum = 0.9;           ///< of sgd
  double weight_decay = 0.0;
  std::string schedule = "constant";  ///< constant, step, cosine, one-cycle
  std::string augment = "none";
  std::string normalise = "standard";  ///< standard, unit
  std::string order = "random";        ///< random, file
  std::string init = "default";
  double bias = 0.0;
  std::uint64_t seed = 1;
  std::string layout = "nhwc";

  bool channels_last() const { return layout == "nhwc"; }
};

nlohmann::json to_json(const TrainOptions& options);
/// Throws FileError about source where an entry is missing or of the wrong kind.
TrainOptions train_options_from(const nlohmann::json& json, const std::string& source);
/// The first option in which the two differ, or "".
std::string first_difference(const TrainOptions& a, const TrainOptions& b);

/// What --threads asks for; 0 is one for each core.
int thread_count(int asked);
