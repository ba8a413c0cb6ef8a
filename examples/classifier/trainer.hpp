// Training: epochs of batches, the validation split after each, a checkpoint after that.
#pragma once

#include "batch.hpp"
#include "options.hpp"
#include "runner.hpp"

#include <poolhead/nn/adam.hpp>
#include <poolhead/nn/sgd.hpp>

#include <atomic>
#include <filesystem>

/// One line of metrics.csv.
struct Epoch {
  int number = 0;
  double learning_rate = 0.0;  ///< of its last step
  double train_loss = 0.0, train_accuracy = 0.0, validation_loss = 0.0, validation_accuracy = 0.0;
  double seconds = 0.0;  ///< of training, without validation
};

/// The files of a run.
struct RunFiles {
  std::filesystem::path directory;

  std::filesystem::path best() const { return directory / "model.safetensors"; }
  std::filesystem::path last() const { return directory / "last.safetensors"; }
  std::filesystem::path checkpoint() const { return directory / "checkpoint.safetensors"; }
  std::filesystem::path metrics() const { return directory / "metrics.csv"; }
  std::filesystem::path report() const { return directory / "report.html"; }
};

/// What the program needs to know about a trained network besides its weights; a part of the weights' file.
struct ModelCard {
  TrainOptions options;
  NetworkOptions network;
  Normalisation normalisation;
  std::vector<std::string> class_names;
  int epoch = 0;
};
struct TrainedNetwork {
  ModelCard card;
  Network network;
};
/// Reads a weights' file that training has written; throws FileError for any other.
TrainedNetwork load_trained(const std::filesystem::path& path);

/// Set by Ctrl-C: training stops after the step.
extern std::atomic<bool> interrupted;

class Trainer {
 public:
  /// Starts from the options' seed. quiet: no lines on stdout.
  Trainer(const TrainOptions& options, const DataSet& data, bool quiet = false);

  /// Goes on from the checkpoint. Throws FileError where it is broken, or of another run or other data.
  void resume(const RunFiles& files);

  /// Trains until the last epoch is over or `interrupted` is set; writes into files, where given, after every
  /// epoch and before returning. Returns whether the training is complete.
  bool run(const Network::Device& device, const RunFiles* files);

  const Network& network() const { return network_; }
  const ModelCard& card() const { return card_; }
  const std::vector<Epoch>& history() const { return history_; }
  int best_epoch() const;

 private:
  TrainOptions options_;
  const DataSet& data_;
  bool quiet_;
  ModelCard card_;
  Augmentation augmentation_;
  Network network_, gradient_;
  std::variant<ph::Adam<Network>, ph::Sgd<Network>> optimizer_;
  std::vector<Epoch> history_;
  // Within the epoch that is under way.
  std::int64_t step_ = 0;
  ph::LossSum sum_{};
  double seconds_ = 0.0;

  std::int64_t steps_per_epoch() const;
  void set_rate(std::int64_t step);
  double rate() const;
  bool train_epoch(GradientRunner& runner, const Network::Device& device);
  void save_checkpoint(const RunFiles& files) const;
  void save_epoch(const RunFiles& files) const;
};

/// metrics.csv.
void write_metrics(const std::filesystem::path& path, const std::vector<Epoch>& history);
