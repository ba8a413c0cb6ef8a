// Gradients and outputs of a network over batches, on threads.
#pragma once

#include "batch.hpp"
#include "network.hpp"

#include <poolhead/nn/cross_entropy.hpp>

/// The gradient of the mean cross-entropy over a batch; the same bits on any number of threads. The memory is
/// made at the first batch of a size.
class GradientRunner {
 public:
  GradientRunner();
  ~GradientRunner();

  /// Overwrites gradient; returns the sums over the batch. step numbers dropout's masks. Batch-norm's running
  /// statistics take the batch in.
  ph::LossSum run(Network& network, const Batch& batch, std::uint64_t step, Network& gradient,
                  const Network::Device& device);

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

/// What the network says of images, (N, K), in inference.
class InferenceRunner {
 public:
  explicit InferenceRunner(const Network& network) : network_(network) {}

  std::vector<float> run(const Images& images, const Network::Device& device);

 private:
  struct Worker {
    ph::Index batch;
    Network::Cache cache;
  };
  const Network& network_;
  std::vector<std::vector<Worker>> workers_;  ///< of each thread: for whole blocks, for the last
};

/// What the network says of a whole split, in order.
struct Outputs {
  ph::Index classes = 0;
  std::vector<float> values;         ///< (N, classes): the network's own
  std::vector<std::uint8_t> labels;  ///< the truth
  ph::LossSum sum;

  ph::Index size() const { return static_cast<ph::Index>(labels.size()); }
  double loss() const { return sum.loss / static_cast<double>(size()); }
  double accuracy() const { return static_cast<double>(sum.correct) / static_cast<double>(size()); }
  std::span<const float> of(ph::Index i) const {
    return std::span(values).subspan(static_cast<std::size_t>(i * classes), static_cast<std::size_t>(classes));
  }
  ph::Index answer(ph::Index i) const;
};
Outputs outputs_of(const Network& network, const ph::LabelledImages& images, const Normalisation& normalisation,
                   bool channels_last, const Network::Device& device);

/// softmax of one row.
std::vector<double> softmax(std::span<const float> row);
