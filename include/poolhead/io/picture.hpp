// Pictures in memory, and how they change size (opt-in).
#pragma once

#include "poolhead/core/error.hpp"
#include "poolhead/core/resize.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// A picture of 8-bit values: pixels is (height, width, channels), one channel (grey) or three (red, green,
/// blue).
struct Picture {
  Index height = 0, width = 0, channels = 1;
  std::vector<std::uint8_t> pixels;

  std::uint8_t& operator()(Index y, Index x, Index c = 0) {
    return pixels[static_cast<std::size_t>((y * width + x) * channels + c)];
  }
  std::uint8_t operator()(Index y, Index x, Index c = 0) const {
    return pixels[static_cast<std::size_t>((y * width + x) * channels + c)];
  }
};

/// The picture at another size.
inline Picture resized(const Picture& picture, Index height, Index width) {
  if (height == picture.height && width == picture.width) return picture;
  const auto values =
      resize_values(picture.pixels.data(), picture.height, picture.width, picture.channels, height, width);
  Picture result{height, width, picture.channels, {}};
  for (const double value : values) {
    result.pixels.push_back(static_cast<std::uint8_t>(std::clamp(std::lround(value), 0L, 255L)));
  }
  return result;
}

/// The picture in one channel (Rec. 601 luma) or three.
inline Picture with_channels(const Picture& picture, Index channels) {
  if (channels == picture.channels) return picture;
  Picture result{picture.height, picture.width, channels, {}};
  for (Index y = 0; y < picture.height; ++y) {
    for (Index x = 0; x < picture.width; ++x) {
      if (channels == 3) {
        result.pixels.insert(result.pixels.end(), 3, picture(y, x));
      } else {
        const int luma = 299 * picture(y, x, 0) + 587 * picture(y, x, 1) + 114 * picture(y, x, 2);
        result.pixels.push_back(static_cast<std::uint8_t>((luma + 500) / 1000));
      }
    }
  }
  return result;
}

}  // namespace poolhead::inline POOLHEAD_ISA
