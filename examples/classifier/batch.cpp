#include "batch.hpp"

#include <poolhead/core/error.hpp>
#include <poolhead/core/random.hpp>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <sstream>

Normalisation Normalisation::of(const ph::LabelledImages& images) {
  const auto channels = static_cast<std::size_t>(images.channels);
  Normalisation result{std::vector<double>(channels), std::vector<double>(channels)};
  for (std::size_t c = 0; c < channels; ++c) {
    std::int64_t sum = 0, squares = 0;  // exact, so in any order
    for (std::size_t i = c; i < images.pixels.size(); i += channels) {
      const std::int64_t value = images.pixels[i];
      sum += value;
      squares += value * value;
    }
    const double count = static_cast<double>(images.pixels.size() / channels);
    const double mean = static_cast<double>(sum) / count;
    result.mean[c] = mean;
    result.scale[c] = 1.0 / std::sqrt(std::max(static_cast<double>(squares) / count - mean * mean, 1.0));
  }
  return result;
}

Normalisation Normalisation::to_unit(ph::Index channels) {
  const auto count = static_cast<std::size_t>(channels);
  return {std::vector<double>(count, 0.0), std::vector<double>(count, 1.0 / 255.0)};
}

Augmentation Augmentation::from(const std::string& text) {
  Augmentation result;
  std::istringstream words(text);
  for (std::string word; std::getline(words, word, ',');) {
    if (word == "flip")
      result.flip = true;
    else if (word == "shift")
      result.shift = 2;
    else if (word == "erase")
      result.erase = 8;
    else if (word != "none")
      throw ph::ValueError("--augment: there is no \"" + word + "\", expected flip, shift, erase or none");
  }
  return result;
}

void Batch::gather(const ph::LabelledImages& images, const Normalisation& normalisation,
                   std::span<const ph::Index> order, const Augmentation& augmentation, std::uint64_t random) {
  const ph::Index height = images.height, width = images.width, channels = images.channels;
  const ph::Index size = height * width * channels;
  values_.resize(order.size() * static_cast<std::size_t>(size));
  labels_.resize(order.size());
  std::vector<float> mean, scale;
  for (const double value : normalisation.mean) mean.push_back(static_cast<float>(value));
  for (const double value : normalisation.scale) scale.push_back(static_cast<float>(value));

  float* to = values_.data();
  for (std::size_t i = 0; i < order.size(); ++i, to += size) {
    labels_[i] = images.labels[static_cast<std::size_t>(order[i])];
    const auto pixels = images.image(order[i]);
    const ph::Random draw = ph::Random(random).stream(static_cast<std::uint64_t>(order[i]));
    const auto within = [&](ph::Index count, std::uint64_t number) {
      return static_cast<ph::Index>(draw.below(static_cast<std::uint64_t>(count), number));
    };
    const bool flip = augmentation.flip && within(2, 0) == 1;
    const ph::Index shift = augmentation.shift, erase = augmentation.erase;
    const ph::Index down = shift > 0 ? within(2 * shift + 1, 1) - shift : 0;
    const ph::Index right = shift > 0 ? within(2 * shift + 1, 2) - shift : 0;
    // Of two images, one keeps everything.
    const bool erases = erase > 0 && within(2, 3) == 1;
    const ph::Index top = erases ? within(height, 4) - erase / 2 : 0;
    const ph::Index left = erases ? within(width, 5) - erase / 2 : 0;
    for (ph::Index y = 0; y < height; ++y) {
      for (ph::Index x = 0; x < width; ++x) {
        const ph::Index from_y = y - down, from_x = (flip ? width - 1 - x : x) - right;
        const bool inside = from_y >= 0 && from_y < height && from_x >= 0 && from_x < width &&
                            !(erases && y >= top && y < top + erase && x >= left && x < left + erase);
        for (ph::Index c = 0; c < channels; ++c) {
          const auto k = static_cast<std::size_t>(c);
          const auto pixel =
              inside ? pixels[static_cast<std::size_t>((from_y * width + from_x) * channels + c)] : 0;
          const ph::Index place =
              channels_last_ ? (y * width + x) * channels + c : (c * height + y) * width + x;
          to[place] = (static_cast<float>(pixel) - mean[k]) * scale[k];
        }
      }
    }
  }
  ph::FeatureShape shape;
  shape.batch = static_cast<ph::Index>(order.size());
  shape.channels = channels;
  shape.spatial = {1, height, width};
  view_ = Images(values_.data(), shape, channels_last_);
}

std::vector<ph::Index> in_order(ph::Index count) {
  std::vector<ph::Index> order(static_cast<std::size_t>(count));
  std::iota(order.begin(), order.end(), ph::Index{0});
  return order;
}

std::vector<ph::Index> shuffled(ph::Index count, std::uint64_t seed) {
  auto order = in_order(count);
  const ph::Random random(seed);
  for (std::size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random.below(i, i)]);
  return order;
}
