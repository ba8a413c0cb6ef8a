// Maps and activations as pictures (opt-in, as io is).
#pragma once

#include "poolhead/core/rows.hpp"
#include "poolhead/explain/colour_map.hpp"
#include "poolhead/explain/score_cam.hpp"
#include "poolhead/io/picture.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// Map n of maps, normalised, in colours over a picture and at its size: colour (opacity) and picture share
/// each pixel. opacity 1 is the map alone.
inline Picture overlay(const Picture& picture, const HeatMaps& maps, Index n = 0, double opacity = 0.55) {
  HeatMaps map(1, maps.dimension(1), maps.dimension(2));
  std::copy_n(maps.data() + n * map.size(), map.size(), map.data());
  map = resize_maps(map, picture.height, picture.width);
  normalise(map);
  Picture result = with_channels(picture, 3);
  for (Index i = 0; i < picture.height * picture.width; ++i) {
    const Colour colour = colour_of(map.data()[i]);
    for (std::size_t c = 0; c < 3; ++c) {
      auto& pixel = result.pixels[static_cast<std::size_t>(3 * i) + c];
      pixel = static_cast<std::uint8_t>(std::lround(opacity * colour[c] + (1.0 - opacity) * pixel));
    }
  }
  return result;
}

/// The channels of sample n of a feature map as a grid of grey tiles, row by row, `columns` in each (0: as
/// square as it gets), gap pixels apart, every value magnified to scale x scale pixels. Black is the least
/// value of all channels, white the largest, as in torchvision's make_grid with normalize; not finite values
/// are black.
template <class T, class L>
Picture activation_grid(const FeatureMap<T, L>& a, Index n = 0, Index columns = 0, Index scale = 4,
                        Index gap = 2) {
  if (columns < 1) columns = static_cast<Index>(std::ceil(std::sqrt(static_cast<double>(a.channels()))));
  columns = std::min(columns, a.channels());
  const Index rows = (a.channels() + columns - 1) / columns;
  double least = std::numeric_limits<double>::infinity(), largest = -least;
  for (Index k = 0; k < a.channels(); ++k) {
    for (Index s = 0; s < a.positions(); ++s) {
      const double value = static_cast<double>(a(n, k, s));
      if (!std::isfinite(value)) continue;
      least = std::min(least, value);
      largest = std::max(largest, value);
    }
  }
  const double range = largest > least ? largest - least : 1.0;
  const Index tile_height = a.height() * scale + gap, tile_width = a.width() * scale + gap;
  Picture grid{rows * tile_height + gap, columns * tile_width + gap, 1, {}};
  constexpr std::uint8_t between_tiles = 64;
  grid.pixels.assign(static_cast<std::size_t>(grid.height * grid.width), between_tiles);
  for (Index k = 0; k < a.channels(); ++k) {
    const Index top = k / columns * tile_height + gap, left = k % columns * tile_width + gap;
    for (Index y = 0; y < a.height() * scale; ++y) {
      for (Index x = 0; x < a.width() * scale; ++x) {
        const double value = static_cast<double>(a(n, k, y / scale * a.width() + x / scale));
        const double share = std::isfinite(value) ? (value - least) / range : 0.0;
        grid(top + y, left + x) = static_cast<std::uint8_t>(std::lround(255.0 * share));
      }
    }
  }
  return grid;
}

}  // namespace poolhead::inline POOLHEAD_ISA
