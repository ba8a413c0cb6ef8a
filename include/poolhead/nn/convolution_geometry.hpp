// Where a convolution's elements are, axis by axis.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Where a convolution's inputs are: everything but the weights.
struct ConvolutionGeometry {
  Extent2d kernel{1};
  Extent2d stride{1};
  Extent2d padding{0};
  Extent2d dilation{1};
  Index groups = 1;
  bool operator==(const ConvolutionGeometry&) const = default;

  /// floor((in + 2 padding - dilation (kernel - 1) - 1) / stride) + 1 on each axis; below 1 where it does not
  /// fit.
  Extent2d output(Index height, Index width) const {
    const auto axis = [](Index in, Index k, Index s, Index p, Index d) {
      const Index room = in + 2 * p - d * (k - 1) - 1;
      return room < 0 ? Index{0} : room / s + 1;
    };
    return {axis(height, kernel.height, stride.height, padding.height, dilation.height),
            axis(width, kernel.width, stride.width, padding.width, dilation.width)};
  }
};

/// One axis of a convolution (source: x, target: y) or of its transpose (source: dy, target: dx). Targets whose
/// positions agree modulo the stride of the transpose read the same taps, in consecutive sources: they are a
/// phase of it, and `phases` consecutive targets are a unit. A convolution has one phase.
struct ConvolutionAxis {
  Index kernel, stride, padding, dilation;
  Index source, target;
  bool transposed;
  Index before;  ///< how many positions the tile begins before the source (where negative, behind its begin)
  Index reach;   ///< from the first to the last position that one target reads

  ConvolutionAxis(Index k, Index s, Index p, Index d, Index source_extent, Index target_extent, bool transpose)
      : kernel(k),
        stride(s),
        padding(p),
        dilation(d),
        source(source_extent),
        target(target_extent),
        transposed(transpose),
        before(transpose ? 0 : p),
        reach(transpose ? 0 : d * (k - 1)) {
    if (!transposed) return;
    Index first = padding / stride, last = first;
    for (Index phase = 0; phase < phases(); ++phase) {
      for (Index i = 0; i < kernel; ++i) {
        const Index at = phase + padding - i * dilation;
        if (at % stride != 0) continue;
        first = std::min(first, at / stride);
        last = std::max(last, at / stride);
      }
    }
    before = -first;
    reach = last - first;
  }

  Index phases() const { return transposed ? stride : 1; }
  /// From the sources of one target to those of the next of its phase.
  Index step() const { return transposed ? 1 : stride; }
  Index units() const { return (target + phases() - 1) / phases(); }
  /// How many of the first `count` targets belong to a phase.
  Index targets(Index phase, Index count) const { return (count - phase + phases() - 1) / phases(); }
  /// The position in the tile of the first target's tap; -1 where the phase does not read that tap.
  Index tap(Index phase, Index i) const {
    if (!transposed) return i * dilation;
    const Index at = phase + padding - i * dilation;
    return at % stride == 0 ? at / stride + before : -1;
  }
  /// Of the tile of some units.
  Index extent(Index units) const { return (units - 1) * step() + reach + 1; }
  bool inside() const { return before <= 0 && extent(units()) - before <= source; }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
