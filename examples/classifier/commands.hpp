// The subcommands. Each returns the program's exit code.
#pragma once

#include "data_set.hpp"
#include "options.hpp"

#include <string>
#include <vector>

/// 0 done; 2 anything wrong with arguments or files; 130 stopped by Ctrl-C, after saving.
inline constexpr int done = 0, bad_input = 2, stopped = 130;

struct TrainCommand {
  TrainOptions options;
  std::string out = "run";
  bool resume = false;
  int threads = 0;
};
int train(const TrainCommand& command);

struct CompareCommand {
  TrainOptions options;  ///< without model and pool
  std::vector<std::string> pools{"gap", "gmp", "gap+gmp", "gem", "spp", "attention", "flatten"};
  int seeds = 1;
  std::string out = "compare";
  int threads = 0;
};
int compare(const CompareCommand& command);

/// What commands on a trained network have in common.
struct TrainedCommand {
  std::string weights = "run";  ///< a run's directory or a file
  std::string data;             ///< "" for what the network was trained on
  int threads = 0;
};

struct EvaluateCommand : TrainedCommand {};
int evaluate(const EvaluateCommand& command);

struct PredictCommand : TrainedCommand {
  std::vector<std::string> images;
  int top = 3;
};
int predict(const PredictCommand& command);

/// Images from files, or by their numbers in the validation split.
struct ImagesCommand : TrainedCommand {
  std::vector<std::string> images;
  std::vector<ph::Index> indices;
  std::string layer;  ///< "" for the last before the pools
  std::string out = "explained";
};
struct ExplainCommand : ImagesCommand {
  std::string method = "grad-cam";
  std::string target;  ///< a class by name or number; "" for the network's answer
};
int explain(const ExplainCommand& command);
struct LayersCommand : ImagesCommand {};
int layers(const LayersCommand& command);

struct ObserveCommand : TrainedCommand {
  ph::Index images = 1000;
};
int observe(const ObserveCommand& command);
