// The shape of a feature map, in the terms of the field and independent of its memory layout.
#pragma once

#include "poolhead/core/error.hpp"

#include <array>
#include <concepts>

namespace poolhead::inline POOLHEAD_ISA {

/// NCHW: a plane of positions per channel. The name is the one that messages and benchmarks print.
struct ChannelsFirst {
  static constexpr std::string_view name = "NCHW";
};

/// NHWC: a vector of channels per position.
struct ChannelsLast {
  static constexpr std::string_view name = "NHWC";
};

/// (N, C, spatial extents); spatial extents are (depth, height, width), 1 where the rank has no such axis.
struct FeatureShape {
  Index batch = 0;
  Index channels = 0;
  std::array<Index, 3> spatial{1, 1, 1};
  int rank = 4;  ///< of the tensor: 3 (width), 4 (height, width) or 5 (depth, height, width)

  Index depth() const { return spatial[0]; }
  Index height() const { return spatial[1]; }
  Index width() const { return spatial[2]; }
  /// S, the number of positions in a plane.
  Index positions() const { return spatial[0] * spatial[1] * spatial[2]; }
  Index size() const { return batch * channels * positions(); }
  bool operator==(const FeatureShape&) const = default;
};

namespace detail {

/// The extents of a feature map in the order of its tensor, for messages.
template <class Layout>
struct TensorExtents {
  std::array<Index, 5> extents{};
  std::size_t rank;

  explicit TensorExtents(const FeatureShape& shape) : rank(static_cast<std::size_t>(shape.rank)) {
    std::size_t next = 0;
    extents[next++] = shape.batch;
    if (std::same_as<Layout, ChannelsFirst>) extents[next++] = shape.channels;
    for (std::size_t axis = 5 - rank; axis < 3; ++axis) extents[next++] = shape.spatial[axis];
    if (std::same_as<Layout, ChannelsLast>) extents[next++] = shape.channels;
  }
};

template <class Layout>
void append(std::string& out, const TensorExtents<Layout>& tensor) {
  append(out, std::span<const Index>(tensor.extents.data(), tensor.rank));
}

/// Multiplies extents; throws ShapeError when one is negative or the product does not fit an Index.
inline Index checked_size(std::span<const Index> extents, std::string_view type, std::string_view call = {}) {
  Index size = 1;
  bool overflow = false;
  bool empty = false;
  for (Index extent : extents) {
    if (extent < 0) {
      fail<ShapeError>(type, call, ": extents are ", extents, ", expected none below 0");
    }
    empty = empty || extent == 0;
    overflow = __builtin_mul_overflow(size, extent == 0 ? 1 : extent, &size) || overflow;
  }
  if (overflow) fail<ShapeError>(type, call, ": extents are ", extents, ", expected a product below 2^63");
  return empty ? 0 : size;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
