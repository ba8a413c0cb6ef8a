// The windows of max and average pooling.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct WindowOptions {
  Extent2d stride{0};             ///< 0: the kernel's
  Extent2d padding{0};            ///< at most half the kernel
  bool ceil_mode = false;         ///< whether a last window may begin inside and end outside
  bool count_include_pad = true;  ///< average only: whether padding counts as zeros
};

namespace detail {

/// Places begin .. end - 1 of one axis of x.
struct Span {
  Index begin;
  Index end;
  Index size() const { return end - begin; }
};

/// Kernel, stride and padding; windows are numbered along each axis.
struct Windows {
  Extent2d kernel;
  Extent2d stride;
  Extent2d padding;
  bool ceil_mode;

  /// Throws ValueError for a kernel or stride below 1, or a padding below 0 or above half the kernel.
  Windows(std::string_view type, Extent2d size, const WindowOptions& options)
      : kernel(size),
        stride(options.stride == Extent2d{0} ? size : options.stride),
        padding(options.padding),
        ceil_mode(options.ceil_mode) {
    const auto below = [](const Extent2d& e, Index least) { return e.height < least || e.width < least; };
    if (below(kernel, 1) || below(stride, 1) || below(padding, 0) || 2 * padding.height > kernel.height ||
        2 * padding.width > kernel.width) {
      fail<ValueError>(type, ": kernel is ", kernel.height, "x", kernel.width, ", stride ", stride.height, "x",
                       stride.width, ", padding ", padding.height, "x", padding.width,
                       ", expected at least 1, and padding of at most half the kernel");
    }
  }

  /// floor((in + 2 padding - kernel) / stride) + 1, or with ceil, less a window that would begin in the
  /// padding.
  static Index count(Index in, Index k, Index s, Index p, bool ceil) {
    const Index room = in + 2 * p - k;
    if (room < 0 || in == 0) return 0;
    Index windows = (room + (ceil ? s - 1 : 0)) / s + 1;
    if (ceil && (windows - 1) * s >= in + p) --windows;
    return windows;
  }

  /// The shape of y; throws ShapeError where no window fits.
  template <class T, class L>
  FeatureMap<std::remove_const_t<T>, L> output(std::string_view type, std::string_view call,
                                               const FeatureMap<T, L>& x) const {
    check_input<L>(type, call, x.shape());
    const Index height = count(x.height(), kernel.height, stride.height, padding.height, ceil_mode);
    const Index width = count(x.width(), kernel.width, stride.width, padding.width, ceil_mode);
    if (height < 1 || width < 1 || x.depth() != 1) {
      fail<ShapeError>(type, call, ": x is ", extents(x), ", expected a height and width of at least ",
                       kernel.height - 2 * padding.height, "x", kernel.width - 2 * padding.width);
    }
    FeatureShape shape = x.shape();
    shape.spatial = {1, height, width};
    return {nullptr, shape};
  }

  /// Where window i begins, perhaps in the padding; and its places within 0 .. extent - 1.
  Index top(Index i) const { return i * stride.height - padding.height; }
  Index left(Index i) const { return i * stride.width - padding.width; }
  Span rows(Index i, Index extent) const { return clip(top(i), kernel.height, extent); }
  Span columns(Index i, Index extent) const { return clip(left(i), kernel.width, extent); }

 private:
  static Span clip(Index begin, Index length, Index extent) {
    return {std::max<Index>(begin, 0), std::min(begin + length, extent)};
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
