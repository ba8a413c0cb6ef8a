// Training a network on labelled images: epochs of shuffled batches, then the validation split.
#pragma once

#include <poolhead/io/labelled_images.hpp>
#include <poolhead/poolhead.hpp>

#include <chrono>
#include <cmath>
#include <numeric>
#include <string>
#include <vector>

#include "progress.hpp"

struct TrainingOptions {
  int epochs = 0;
  long batch_size = 0;
  double learning_rate = 0.0;
  std::uint64_t seed = 0;
};

/// Means over a split.
struct Score {
  double loss = 0.0;
  double accuracy = 0.0;
};

/// A format string with one line of numbers in it.
template <class... Arguments>
std::string format(const char* pattern, Arguments... arguments) {
  char line[160];
  std::snprintf(line, sizeof line, pattern, arguments...);
  return line;
}

/// Pixels as the network sees them: shifted and scaled to mean 0 and deviation 1 over the training split.
struct Normalisation {
  float mean = 0.0f;
  float scale = 1.0f;

  explicit Normalisation(const poolhead::LabelledImages& images) {
    double sum = 0.0, squares = 0.0;
    for (const std::uint8_t pixel : images.pixels) {
      const int value = pixel;
      sum += value;
      squares += value * value;
    }
    const auto count = static_cast<double>(images.pixels.size());
    const double average = sum / count;
    const double deviation = std::sqrt(std::max(squares / count - average * average, 1.0));
    mean = static_cast<float>(average);
    scale = static_cast<float>(1.0 / deviation);
  }
};

/// The images order[first] .. order[first + count - 1] as one batch. One grey channel is NHWC and NCHW alike.
class Batch {
 public:
  using View = poolhead::FeatureMap<const float, poolhead::ChannelsLast>;

  void gather(const poolhead::LabelledImages& images, const Normalisation& normalisation,
              std::span<const poolhead::Index> order) {
    const auto pixels = static_cast<std::size_t>(images.height * images.width);
    values_.resize(order.size() * pixels);
    labels_.resize(order.size());
    auto* to = values_.data();
    for (std::size_t i = 0; i < order.size(); ++i) {
      labels_[i] = images.labels[static_cast<std::size_t>(order[i])];
      for (const std::uint8_t pixel : images.image(order[i])) {
        *to++ = (static_cast<float>(pixel) - normalisation.mean) * normalisation.scale;
      }
    }
    view_ = poolhead::nhwc(static_cast<const float*>(values_.data()),
                           static_cast<poolhead::Index>(order.size()), images.height, images.width, 1);
  }
  const View& view() const { return view_; }
  std::span<const std::uint8_t> labels() const { return labels_; }

 private:
  std::vector<float> values_;
  std::vector<std::uint8_t> labels_;
  View view_;
};

/// 0 .. count - 1 in an order that follows from the seed alone (Fisher and Yates).
inline std::vector<poolhead::Index> shuffled(poolhead::Index count, std::uint64_t seed) {
  std::vector<poolhead::Index> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), poolhead::Index{0});
  const poolhead::Random random(seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  return order;
}

/// The mean loss and the accuracy on every image.
template <class Network, class Device>
Score evaluate(const Network& network, const poolhead::LabelledImages& images,
               const Normalisation& normalisation, const Device& device) {
  constexpr std::size_t batch_size = 256;
  poolhead::DataParallel<Network, Batch::View> parallel;
  std::vector<poolhead::Index> order(static_cast<std::size_t>(images.size()));
  std::iota(order.begin(), order.end(), poolhead::Index{0});
  Batch batch;
  poolhead::LossSum total;
  for (std::size_t first = 0; first < order.size(); first += batch_size) {
    batch.gather(images, normalisation,
                 std::span(order).subspan(first, std::min(batch_size, order.size() - first)));
    const auto sum = parallel.evaluate(network, batch.view(), batch.labels(), device);
    total.loss += sum.loss;
    total.correct += sum.correct;
  }
  const auto count = static_cast<double>(images.size());
  return {total.loss / count, static_cast<double>(total.correct) / count};
}

/// Trains with Adam and cross-entropy, shows every epoch, and returns the score on the validation split.
template <class Network, class Device>
Score train(Network& network, const poolhead::LabelledImages& images,
            const poolhead::LabelledImages& validation, const TrainingOptions& options, const Device& device) {
  const Normalisation normalisation(images);
  poolhead::Adam<Network> adam(network, {.learning_rate = options.learning_rate});
  poolhead::DataParallel<Network, Batch::View> parallel;
  auto gradient = poolhead::zeros_like(network);
  Batch batch;
  Score score;
  for (int epoch = 1; epoch <= options.epochs; ++epoch) {
    const auto start = std::chrono::steady_clock::now();
    const auto order = shuffled(images.size(), options.seed + static_cast<std::uint64_t>(epoch));
    Progress progress(format("  epoch %d/%d", epoch, options.epochs), images.size());
    poolhead::LossSum total;
    for (std::size_t first = 0; first < order.size();) {
      const std::size_t count = std::min(static_cast<std::size_t>(options.batch_size), order.size() - first);
      batch.gather(images, normalisation, std::span(order).subspan(first, count));
      const auto sum = parallel.gradient(network, batch.view(), batch.labels(), gradient, device);
      adam.step(network, gradient, device);
      first += count;
      total.loss += sum.loss;
      total.correct += sum.correct;
      const double seen = static_cast<double>(first);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      progress.show(static_cast<long>(first),
                    format("%5.0f images/s, loss %.4f, accuracy %5.2f %%", seen / seconds, total.loss / seen,
                           100.0 * static_cast<double>(total.correct) / seen));
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    score = evaluate(network, validation, normalisation, device);
    const auto count = static_cast<double>(images.size());
    progress.finish(format("loss %.4f, accuracy %5.2f %%; validation loss %.4f, accuracy %5.2f %% (%.1f s)",
                           total.loss / count, 100.0 * static_cast<double>(total.correct) / count, score.loss,
                           100.0 * score.accuracy, seconds));
  }
  return score;
}
