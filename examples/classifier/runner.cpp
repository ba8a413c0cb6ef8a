#include "runner.hpp"

#include <poolhead/nn/data_parallel.hpp>

#include <algorithm>
#include <cmath>

using Rows = ph::Rows<float>;

struct GradientRunner::Parts {
  // Threads share a batch by samples; within each layer with batch-norm, which looks at all of them, and where
  // there are so many parameters that a gradient for each block of samples would cost more than it saves.
  ph::DataParallel<Network, Images> by_samples;
  static bool whole_batch(const Network& network) {
    return network.model().has_buffers || ph::parameter_count(network) > 1'000'000;
  }

  struct Whole {
    Network::Cache cache;
    Rows shape;
    std::vector<float> memory;
    Rows y() { return {memory.data(), shape.batch(), shape.features()}; }
    Rows dy() { return {memory.data() + shape.size(), shape.batch(), shape.features()}; }
  };
  std::map<ph::Index, Whole> whole;  ///< by the batch's size

  Whole& whole_of(const Network& network, const Images& x) {
    const auto found = whole.find(x.batch());
    if (found != whole.end()) return found->second;
    Whole made{network.make_cache(x), network.output_shape(x), {}};
    made.memory.resize(static_cast<std::size_t>(2 * made.shape.size()));
    return whole.emplace(x.batch(), std::move(made)).first->second;
  }
};

GradientRunner::GradientRunner() : parts_(std::make_unique<Parts>()) {}
GradientRunner::~GradientRunner() = default;

ph::LossSum GradientRunner::run(Network& network, const Batch& batch, std::uint64_t step, Network& gradient,
                                const Network::Device& device) {
  const Images& x = batch.images();
  if (!Parts::whole_batch(network)) {
    parts_->by_samples.set_step(step);
    return parts_->by_samples.gradient(network, x, batch.labels(), gradient, device);
  }
  Parts::Whole& whole = parts_->whole_of(network, x);
  whole.cache.step = step;
  network.forward(x, whole.y(), whole.cache, device);
  const ph::LossSum sum = ph::detail::cross_entropy_sum<float, const std::uint8_t>(whole.y(), batch.labels(),
                                                                                   whole.dy(), x.batch());
  ph::set_zero(gradient);
  network.backward(x, whole.y(), whole.dy(), whole.cache, gradient, device);
  network.model().update_buffers(x, whole.cache);
  return sum;
}

std::vector<float> InferenceRunner::run(const Images& images, const Network::Device& device) {
  constexpr ph::Index block = 32;
  const ph::Index classes = network_.output_shape(images).features(), count = images.batch();
  std::vector<float> values(static_cast<std::size_t>(count * classes));
  const ph::Index blocks = (count + block - 1) / block;
  constexpr double much = ph::detail::much_traffic;
  const ph::Index threads = ph::detail::thread_count(device, blocks, much);
  workers_.resize(std::max(workers_.size(), static_cast<std::size_t>(threads)));
  ph::detail::parallel_parts(
      device, threads, blocks, much, [&](ph::Index thread, ph::Index begin, ph::Index end) {
        auto& own = workers_[static_cast<std::size_t>(thread)];
        for (ph::Index b = begin; b < end; ++b) {
          const ph::Index first = b * block, size = std::min(block, count - first);
          const Images part = images.samples(first, size);
          auto worker = std::ranges::find(own, size, &Worker::batch);
          if (worker == own.end()) {
            own.push_back({size, network_.make_cache(part, ph::Mode::inference)});
            worker = own.end() - 1;
          }
          network_.forward(part, Rows(values.data() + first * classes, size, classes), worker->cache);
        }
      });
  return values;
}

ph::Index Outputs::answer(ph::Index i) const {
  const auto row = of(i);
  return std::max_element(row.begin(), row.end()) - row.begin();
}

Outputs outputs_of(const Network& network, const ph::LabelledImages& images, const Normalisation& normalisation,
                   bool channels_last, const Network::Device& device) {
  constexpr std::size_t batch_size = 512;
  InferenceRunner runner(network);
  const auto order = in_order(images.size());
  Outputs result;
  result.labels = images.labels;
  Batch batch(channels_last);
  for (std::size_t first = 0; first < order.size(); first += batch_size) {
    batch.gather(images, normalisation,
                 std::span(order).subspan(first, std::min(batch_size, order.size() - first)));
    const auto values = runner.run(batch.images(), device);
    result.values.insert(result.values.end(), values.begin(), values.end());
  }
  result.classes = static_cast<ph::Index>(result.values.size()) / images.size();
  result.sum = ph::detail::cross_entropy_sum<float, std::uint8_t>(
      ph::Rows<const float>(result.values.data(), images.size(), result.classes), result.labels, {}, 1);
  return result;
}

std::vector<double> softmax(std::span<const float> row) {
  const double largest = static_cast<double>(*std::max_element(row.begin(), row.end()));
  std::vector<double> result;
  double sum = 0.0;
  for (const float value : row) {
    result.push_back(std::exp(static_cast<double>(value) - largest));
    sum += result.back();
  }
  for (double& value : result) value /= sum;
  return result;
}
