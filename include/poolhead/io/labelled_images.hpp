// What every image data set is read into (opt-in; not part of the umbrella).
#pragma once

#include "poolhead/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// The two halves of a data set.
enum class Split { train, validation };

/// Grey images and the class of each: pixels is (N, height, width), 0 black to 255 white; labels is (N).
struct LabelledImages {
  Index height = 0, width = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> labels;

  /// The number of images, N.
  Index size() const { return static_cast<Index>(labels.size()); }

  /// The height x width pixels of image i, row by row; 0 <= i < size().
  std::span<const std::uint8_t> image(Index i) const {
    return std::span(pixels).subspan(static_cast<std::size_t>(i * height * width),
                                     static_cast<std::size_t>(height * width));
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
