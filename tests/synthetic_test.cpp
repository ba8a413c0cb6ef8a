// The embedded data set: the same bytes everywhere, and the design that its header promises.
#include "../examples/classifier/synthetic.hpp"

#include "support/catch.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <numeric>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ph = poolhead;

namespace {
using Image = std::span<const std::uint8_t>;

/// FNV-1a, 64 bits.
std::uint64_t hash(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t state = 0xcbf29ce484222325u;
  for (const std::uint8_t byte : bytes) state = (state ^ byte) * 0x100000001b3u;
  return state;
}

const ph::LabelledImages& train() {
  static const ph::LabelledImages images = synthetic::generate(ph::Split::train, synthetic::train_size);
  return images;
}

/// How often two classes are told apart by the best single threshold on one number per image; 0.5 is guessing.
double separation(int first, int second, const std::function<double(Image)>& feature) {
  std::vector<std::pair<double, int>> points;  // value, +1 for the first class and -1 for the second
  for (ph::Index i = 0; i < train().size(); ++i) {
    const int label = train().labels[static_cast<std::size_t>(i)];
    if (label == first || label == second)
      points.emplace_back(feature(train().image(i)), label == first ? 1 : -1);
  }
  std::ranges::sort(points);
  int surplus = 0, best = 0;
  for (const auto& [value, side] : points) {
    surplus += side;
    best = std::max(best, std::abs(surplus));
  }
  return 0.5 + best / static_cast<double>(points.size());
}

double mean(Image image) { return std::accumulate(image.begin(), image.end(), 0.0) / 784; }
double maximum(Image image) { return *std::ranges::max_element(image); }

/// The responses of a small filter at every position where it fits.
std::vector<double> filtered(Image image, int height, int width, const std::vector<int>& filter) {
  std::vector<double> responses;
  for (int y = 0; y + height <= 28; ++y) {
    for (int x = 0; x + width <= 28; ++x) {
      double sum = 0;
      for (int k = 0; k < height * width; ++k) {
        const auto at = static_cast<std::size_t>((y + k / width) * 28 + x + k % width);
        sum += filter[static_cast<std::size_t>(k)] * image[at];
      }
      responses.push_back(sum);
    }
  }
  return responses;
}

/// The average, over positions, of the energy of the texture that both classes share.
double texture_energy(Image image, int label) {
  static const std::array<std::vector<int>, 3> filters{
      {{1, -1, 0, -1, 1, 0, 0, 0, 0}, {1, 1, 1, -1, -1, -1, 0, 0, 0}, {1, -1, 0, 1, -1, 0, 1, -1, 0}}};
  double energy = 0;
  for (const double response : filtered(image, 3, 3, filters[static_cast<std::size_t>(label / 2)])) {
    energy += response * response;
  }
  return energy;
}

/// The strongest mark, against the image's own mean.
double strongest_mark(Image image) {
  double strongest = 0;
  for (const auto& [height, width] : {std::pair{2, 2}, {1, 4}, {4, 1}}) {
    strongest = std::max(strongest, std::ranges::max(filtered(image, height, width, {1, 1, 1, 1})));
  }
  return strongest / 4 - mean(image);
}

/// How far light and dark stand from the middle, upwards positive.
double height_of_contrast(Image image) {
  std::vector<double> rows(28);
  for (std::size_t i = 0; i < image.size(); ++i)
    rows[i / 28] += (image[i] - mean(image)) * (image[i] - mean(image));
  double height = 0;
  for (std::size_t y = 0; y < 28; ++y) height += (13.5 - static_cast<double>(y)) * rows[y];
  return height;
}
}  // namespace

TEST_CASE("the synthetic data set has the same bytes on every platform") {
  const ph::LabelledImages validation = synthetic::generate(ph::Split::validation, synthetic::validation_size);
  CHECK(hash(train().pixels) == 0xfd56611f87c49f55u);
  CHECK(hash(train().labels) == 0xa341642f3418cba5u);
  CHECK(hash(validation.pixels) == 0xe3710b79d5587771u);
  CHECK(hash(validation.labels) == 0xbe507f29cab96343u);
  CHECK(hash(synthetic::generate(ph::Split::train, 100, 1).pixels) == 0x5ce50a6b74d16789u);
}

TEST_CASE("the synthetic splits are balanced, shuffled and disjoint") {
  const ph::LabelledImages validation = synthetic::generate(ph::Split::validation, synthetic::validation_size);
  CHECK(train().size() == 8'000);
  CHECK(validation.size() == 2'000);
  CHECK(train().height == 28);
  CHECK(train().width == 28);
  CHECK(train().pixels.size() == 8'000 * 784);

  for (std::uint8_t label = 0; label < 10; ++label) {
    CHECK(std::ranges::count(train().labels, label) == 800);
    CHECK(std::ranges::count(validation.labels, label) == 200);
    // Every class is spread over the whole split, so batches are mixed.
    CHECK(std::count(train().labels.begin(), train().labels.begin() + 2'000, label) > 140);
  }
  std::set<std::string_view> seen;
  for (const auto* split : {&train(), &validation}) {
    for (ph::Index i = 0; i < split->size(); ++i) {
      const Image image = split->image(i);
      seen.emplace(reinterpret_cast<const char*>(image.data()), image.size());
    }
  }
  CHECK(seen.size() == 10'000);
  CHECK(synthetic::generate(ph::Split::train, 0).size() == 0);
}

TEST_CASE("textures cover a fixed number of cells with the same ladder of strengths") {
  using synthetic::detail::Draws;
  using synthetic::detail::Ink;
  for (const auto& stencil : {synthetic::detail::grain, synthetic::detail::hatch, synthetic::detail::fence}) {
    for (const int cells : {19, 27}) {
      Draws draws(ph::Random(static_cast<std::uint64_t>(cells)));
      Ink ink;
      draw_texture(ink, draws, stencil, cells);
      const auto levels = ink.levels();
      CHECK(std::accumulate(levels.begin(), levels.end(), 0) == 0);
      CHECK(std::ranges::max(levels) == 65);
      CHECK(std::ranges::min(levels) == -65);
      CHECK(std::ranges::count_if(levels, [](int level) { return level != 0; }) ==
            cells * std::ranges::count_if(stencil, [](int level) { return level != 0; }));
    }
  }
}

TEST_CASE("a spark adds no light, it only gathers it") {
  using synthetic::detail::Draws;
  using synthetic::detail::Ink;
  for (std::uint64_t seed = 0; seed < 100; ++seed) {
    CAPTURE(seed);
    Draws calm_draws{ph::Random(seed)}, spark_draws{ph::Random(seed)};
    Ink calm, spark;
    draw_marks(calm, calm_draws, false);
    draw_marks(spark, spark_draws, true);
    const auto sum = [](const Ink& ink) {
      return std::accumulate(ink.levels().begin(), ink.levels().end(), 0);
    };
    CHECK(sum(calm) == sum(spark));
    CHECK(sum(calm) >= 10 * 4 * 36);
    CHECK(std::ranges::max(calm.levels()) == 36);
    CHECK(std::ranges::count(spark.levels(), 72) == 4);
  }
}

TEST_CASE("no class of the synthetic data set is given away by brightness") {
  for (int label = 0; label < 10; label += 2) {
    CAPTURE(label);
    CHECK(separation(label, label + 1, mean) < 0.56);
    if (label != 6) CHECK(separation(label, label + 1, maximum) < 0.60);
  }
}

TEST_CASE("each family of the synthetic data set has its own pool") {
  for (int label = 0; label < 6; label += 2) {
    CAPTURE(label);
    const auto energy = [&](Image image) { return texture_energy(image, label); };
    CHECK(separation(label, label + 1, energy) > 0.9);
    CHECK(separation(label, label + 1, strongest_mark) < 0.75);
  }
  CHECK(separation(6, 7, strongest_mark) > 0.95);
  CHECK(separation(6, 7, [](Image image) { return texture_energy(image, 2); }) < 0.75);
  CHECK(separation(8, 9, height_of_contrast) > 0.85);
  CHECK(separation(8, 9, strongest_mark) < 0.56);
}
