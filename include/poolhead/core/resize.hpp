// Images at another size.
#pragma once

#include "poolhead/core/error.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// One axis of a resize: what each new sample is made of.
struct Taps {
  Index first;
  std::vector<double> weights;
};

/// A tent as wide as a new sample, but not narrower than an old one: bilinear upwards, an average downwards.
inline std::vector<Taps> resize_taps(Index from, Index to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to), reach = std::max(scale, 1.0);
  std::vector<Taps> taps;
  for (Index i = 0; i < to; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale - 0.5;
    const auto first = static_cast<Index>(std::max(0.0, std::ceil(centre - reach)));
    const auto last = std::min(from - 1, static_cast<Index>(std::floor(centre + reach)));
    Taps one{first, {}};
    double sum = 0.0;
    for (Index k = first; k <= last; ++k) {
      one.weights.push_back(std::max(0.0, 1.0 - std::abs(static_cast<double>(k) - centre) / reach));
      sum += one.weights.back();
    }
    for (double& weight : one.weights) weight /= sum;
    taps.push_back(std::move(one));
  }
  return taps;
}

}  // namespace detail

/// values is (height, width, channels); returns (to_height, to_width, channels): bilinear (pixel centres, edges
/// held) upwards, the mean under a tent downwards, so that nothing is skipped. As torch's bilinear
/// interpolation with antialias. Throws ShapeError for an empty extent.
template <class T>
std::vector<double> resize_values(const T* values, Index height, Index width, Index channels, Index to_height,
                                  Index to_width) {
  if (height < 1 || width < 1 || channels < 1 || to_height < 1 || to_width < 1) {
    detail::fail<ShapeError>("resize: from ", height, "x", width, " to ", to_height, "x", to_width,
                             ", expected extents of at least 1");
  }
  const auto rows = detail::resize_taps(height, to_height), columns = detail::resize_taps(width, to_width);
  std::vector<double> wide(static_cast<std::size_t>(height * to_width * channels));
  std::vector<double> result(static_cast<std::size_t>(to_height * to_width * channels));
  auto* to = wide.data();
  for (Index y = 0; y < height; ++y) {
    for (const auto& taps : columns) {
      for (Index c = 0; c < channels; ++c, ++to) {
        const T* from = values + (y * width + taps.first) * channels + c;
        for (std::size_t k = 0; k < taps.weights.size(); ++k, from += channels) {
          *to += taps.weights[k] * static_cast<double>(*from);
        }
      }
    }
  }
  to = result.data();
  const Index row = to_width * channels;
  for (const auto& taps : rows) {
    for (Index i = 0; i < row; ++i, ++to) {
      for (std::size_t k = 0; k < taps.weights.size(); ++k) {
        *to += taps.weights[k] * wide[static_cast<std::size_t>((taps.first + static_cast<Index>(k)) * row + i)];
      }
    }
  }
  return result;
}

}  // namespace poolhead::inline POOLHEAD_ISA
