// Colours for numbers.
#pragma once

#include "poolhead/core/config.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>

namespace poolhead::inline POOLHEAD_ISA {

/// Red, green, blue.
using Colour = std::array<std::uint8_t, 3>;

namespace detail {

/// OKLab (Ottosson, 2020) to linear sRGB; components may lie outside 0 .. 1.
inline std::array<double, 3> linear_from_oklab(double lightness, double a, double b) {
  const auto cube = [](double v) { return v * v * v; };
  const double l = cube(lightness + 0.3963377774 * a + 0.2158037573 * b);
  const double m = cube(lightness - 0.1055613458 * a - 0.0638541728 * b);
  const double s = cube(lightness - 0.0894841775 * a - 1.2914855480 * b);
  return {4.0767416621 * l - 3.3077115913 * m + 0.2309699292 * s,
          -1.2684380046 * l + 2.6097574011 * m - 0.3413193965 * s,
          -0.0041960863 * l - 0.7034186147 * m + 1.7076147010 * s};
}

}  // namespace detail

/// The colour of a value from 0 (deep violet) over blue and green to 1 (pale yellow). Lightness rises evenly in
/// OKLab, so equal steps look equal, in print and to colour-blind eyes as well; hue turns evenly, and colours
/// are as strong as sRGB allows, up to a limit. Values outside are clamped, NaN is 0.
inline Colour colour_of(double value) {
  const double t = value >= 0.0 ? std::min(value, 1.0) : 0.0;
  const double lightness = 0.22 + 0.74 * t;
  const double hue = (305.0 - 200.0 * t) * std::numbers::pi / 180.0;
  const auto at = [&](double chroma) {
    return detail::linear_from_oklab(lightness, chroma * std::cos(hue), chroma * std::sin(hue));
  };
  double inside = 0.0, outside = 0.16;
  for (int halvings = 0; halvings < 20; ++halvings) {
    const double middle = (inside + outside) / 2.0;
    const auto rgb = at(middle);
    const bool fits = std::ranges::all_of(rgb, [](double v) { return v >= 0.0 && v <= 1.0; });
    (fits ? inside : outside) = middle;
  }
  Colour colour{};
  const auto linear = at(inside);
  for (std::size_t i = 0; i < 3; ++i) {
    const double v = std::clamp(linear[i], 0.0, 1.0);
    const double encoded = v <= 0.0031308 ? 12.92 * v : 1.055 * std::pow(v, 1.0 / 2.4) - 0.055;
    colour[i] = static_cast<std::uint8_t>(std::lround(255.0 * encoded));
  }
  return colour;
}

}  // namespace poolhead::inline POOLHEAD_ISA
