// What every image data set is read into (opt-in; not part of the umbrella).
#pragma once

#include "poolhead/core/config.hpp"

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace poolhead::inline POOLHEAD_ISA {

/// The two halves of a data set.
enum class Split { train, validation };

/// Images and the class of each: pixels is (N, height, width, channels), 0 black to 255 white, one channel
/// (grey) or three (red, green, blue); labels is (N).
struct LabelledImages {
  Index height = 0, width = 0;
  std::vector<std::uint8_t> pixels{};
  std::vector<std::uint8_t> labels{};
  Index channels = 1;
  std::vector<std::string> class_names{};  ///< by label, where the data set has names

  /// The number of images, N.
  Index size() const { return static_cast<Index>(labels.size()); }

  /// The height x width x channels values of image i, row by row; 0 <= i < size().
  std::span<const std::uint8_t> image(Index i) const {
    const Index count = height * width * channels;
    return std::span(pixels).subspan(static_cast<std::size_t>(i * count), static_cast<std::size_t>(count));
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
