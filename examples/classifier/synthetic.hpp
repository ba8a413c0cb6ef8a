// The embedded data set: ten classes of 28x28 grey images, made so that the choice of the pool matters.
//
//   classes 0-5  differ only in how densely a texture covers the image   an average sees it
//   classes 6-7  differ only in one small bright mark, somewhere         a maximum sees it
//   classes 8-9  differ only in where a disc stands                      a pyramid sees it
//
// Brightness, contrast, a gradient, noise and the places of everything vary freely; no class has its own mean.
// Only integers are used, hashed from (seed, split, index): every compiler and platform makes the same bytes.
#pragma once

#include "poolhead/core/random.hpp"
#include "poolhead/io/labelled_images.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace synthetic {

struct ClassInfo {
  std::string_view name, description;
};

inline constexpr std::array<ClassInfo, 10> classes{{
    {"sparse grain", "small checkered grains in 19 of 49 cells"},
    {"dense grain", "small checkered grains in 27 of 49 cells"},
    {"sparse hatch", "short horizontal strokes in 19 of 49 cells"},
    {"dense hatch", "short horizontal strokes in 27 of 49 cells"},
    {"sparse fence", "short vertical strokes in 19 of 49 cells"},
    {"dense fence", "short vertical strokes in 27 of 49 cells"},
    {"calm", "dim marks only"},
    {"spark", "one bright mark in place of two dim ones"},
    {"upper", "a light or dark disc in the upper half"},
    {"lower", "a light or dark disc in the lower half"},
}};

inline constexpr poolhead::Index train_size = 8'000, validation_size = 2'000;

namespace detail {

inline constexpr int side = 28;

/// Random integers in order, from one stream of hashes.
class Draws {
 public:
  explicit Draws(poolhead::Random random) : random_(random) {}

  /// Uniform on low .. high, both included.
  int between(int low, int high) {
    return low + static_cast<int>(random_.below(static_cast<std::uint64_t>(high - low + 1), next_++));
  }
  int sign() { return 2 * between(0, 1) - 1; }
  /// 0 .. count - 1 in random order (Fisher and Yates, inside out).
  std::vector<int> permutation(int count) {
    std::vector<int> order(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      const auto j = static_cast<std::size_t>(between(0, i));
      order[static_cast<std::size_t>(i)] = order[j];
      order[j] = i;
    }
    return order;
  }

 private:
  poolhead::Random random_;
  std::uint64_t next_ = 0;
};

/// What is drawn over the background, in signed grey levels.
class Ink {
 public:
  int& at(int y, int x) { return levels_[static_cast<std::size_t>(y * side + x)]; }
  std::span<const int> levels() const { return levels_; }

 private:
  std::array<int, std::size_t{side * side}> levels_{};
};

/// A 3x3 pattern of ink, row by row.
using Stencil = std::array<int, 9>;
inline constexpr Stencil grain{1, -1, 0, -1, 1, 0, 0, 0, 0};
inline constexpr Stencil hatch{1, 1, 1, -1, -1, -1, 0, 0, 0};
inline constexpr Stencil fence{1, -1, 0, 1, -1, 0, 1, -1, 0};

/// Elements that each sum to zero, in lit_cells cells of a 7x7 grid, crowded towards one side. Their strengths
/// are always the same ladder from faint to strong, so that no single neighbourhood tells how many there are.
inline void draw_texture(Ink& ink, Draws& draws, const Stencil& stencil, int lit_cells) {
  constexpr int grid = 7, cell = side / grid, faint = 5, strong = 65, tilt = 250, scatter = 600;
  const int tilt_y = draws.between(-tilt, tilt), tilt_x = draws.between(-tilt, tilt);
  std::vector<std::pair<int, int>> cells;  // score, position
  for (int i = 0; i < grid * grid; ++i) {
    cells.emplace_back(tilt_y * (i / grid) + tilt_x * (i % grid) + draws.between(0, scatter), i);
  }
  std::ranges::sort(cells);

  const std::vector<int> steps = draws.permutation(lit_cells);
  for (int i = 0; i < lit_cells; ++i) {
    const int position = cells[static_cast<std::size_t>(i)].second;
    const int step = steps[static_cast<std::size_t>(i)];
    const int level = draws.sign() * (faint + (strong - faint) * step / (lit_cells - 1));
    const int y = position / grid * cell + draws.between(0, cell - 3);
    const int x = position % grid * cell + draws.between(0, cell - 3);
    for (int k = 0; k < 9; ++k) ink.at(y + k / 3, x + k % 3) += level * stencil[static_cast<std::size_t>(k)];
  }
}

enum class Mark { square, dash, needle };

inline void draw_mark(Ink& ink, int y, int x, Mark mark, int level) {
  for (int k = 0; k < 4; ++k) {
    switch (mark) {
      case Mark::square:
        ink.at(y + k / 2, x + k % 2) += level;
        break;
      case Mark::dash:
        ink.at(y, x + k) += level;
        break;
      case Mark::needle:
        ink.at(y + k, x) += level;
        break;
    }
  }
}

/// Ten to eighteen dim marks. A spark is one mark twice as strong in place of two, so that no sum over the
/// image tells whether it is there.
inline void draw_marks(Ink& ink, Draws& draws, bool spark) {
  constexpr int grid = 5, cell = 5, dim = 36;
  const int count = draws.between(10, 18) - (spark ? 1 : 0);
  const int offset_y = draws.between(0, side - grid * cell), offset_x = draws.between(0, side - grid * cell);
  const std::vector<int> places = draws.permutation(grid * grid);
  for (int i = 0; i < count; ++i) {
    const int place = places[static_cast<std::size_t>(i)];
    const int y = offset_y + place / grid * cell, x = offset_x + place % grid * cell;
    draw_mark(ink, y, x, static_cast<Mark>(draws.between(0, 2)), spark && i == 0 ? 2 * dim : dim);
  }
}

/// One disc, light or dark, anywhere in its half.
inline void draw_disc(Ink& ink, Draws& draws, bool upper) {
  constexpr int radius = 3, square_of_reach = 10;
  const int sign =
      draws.sign();  // one draw a statement: the order within an expression is the compiler's choice
  const int level = sign * draws.between(35, 60);
  const int from_middle = draws.between(2, 8);
  const int centre_y = upper ? side / 2 - 1 - from_middle : side / 2 + from_middle;
  const int centre_x = draws.between(radius, side - 1 - radius);
  for (int y = -radius; y <= radius; ++y) {
    for (int x = -radius; x <= radius; ++x) {
      if (y * y + x * x <= square_of_reach) ink.at(centre_y + y, centre_x + x) += level;
    }
  }
}

inline Ink draw_class(Draws& draws, int label) {
  constexpr int sparse = 19, dense = 27;
  Ink ink;
  switch (label) {
    case 0:
    case 1:
      draw_texture(ink, draws, grain, label % 2 == 0 ? sparse : dense);
      break;
    case 2:
    case 3:
      draw_texture(ink, draws, hatch, label % 2 == 0 ? sparse : dense);
      break;
    case 4:
    case 5:
      draw_texture(ink, draws, fence, label % 2 == 0 ? sparse : dense);
      break;
    case 6:
    case 7:
      draw_marks(ink, draws, label == 7);
      break;
    default:
      draw_disc(ink, draws, label == 8);
  }
  return ink;
}

/// Draws one image: the class's ink at some contrast, over some brightness and gradient, under noise.
inline void draw_image(poolhead::Random random, int label, std::span<std::uint8_t> pixels) {
  Draws draws(random);
  Ink ink = draw_class(draws, label);
  // In sixteenths of a grey level, slopes per pixel.
  const int brightness = 16 * draws.between(90, 140), contrast = draws.between(15, 17);
  const int slope_y = draws.between(-16, 16), slope_x = draws.between(-16, 16);
  for (int y = 0; y < side; ++y) {
    for (int x = 0; x < side; ++x) {
      const int gradient = (slope_y * (2 * y - side + 1) + slope_x * (2 * x - side + 1)) / 2;
      const int noise = 6 * (draws.between(-32, 32) + draws.between(-32, 32));
      const int level = (brightness + gradient + contrast * ink.at(y, x) + noise + 8) / 16;
      pixels[static_cast<std::size_t>(y * side + x)] = static_cast<std::uint8_t>(std::clamp(level, 0, 255));
    }
  }
}

}  // namespace detail

/// Generates size images of one split, as many of each class (to within one), in random order. Splits and seeds
/// are independent of one another. 10,000 images take well under a second.
inline poolhead::LabelledImages generate(poolhead::Split split, poolhead::Index size, std::uint64_t seed = 0) {
  using detail::side;
  constexpr std::size_t pixels = side * side;
  const poolhead::Random random = poolhead::Random(seed).stream(split == poolhead::Split::train ? 0 : 1);
  poolhead::LabelledImages images{side, side, {}, {}};
  for (const int i : detail::Draws(random).permutation(static_cast<int>(size))) {
    images.labels.push_back(static_cast<std::uint8_t>(i % static_cast<int>(classes.size())));
  }
  images.pixels.resize(images.labels.size() * pixels);
  for (std::size_t i = 0; i < images.labels.size(); ++i) {
    detail::draw_image(random.stream(i), images.labels[i],
                       std::span(images.pixels).subspan(i * pixels, pixels));
  }
  return images;
}

}  // namespace synthetic
