// Convolution as a product: im2col lays the inputs of every output position out as a row (NHWC) or a column
// (NCHW) of a matrix, col2im adds such a matrix back to where its elements came from.
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

  /// Whether the columns are the input itself.
  bool pointwise() const {
    return kernel == Extent2d{1} && stride == Extent2d{1} && padding == Extent2d{0} && groups == 1;
  }
};

/// The outputs o with 0 <= o * stride + offset < extent, within 0 .. outputs.
struct OutputRange {
  Index begin;
  Index end;
};
inline OutputRange valid_outputs(Index offset, Index stride, Index extent, Index outputs) {
  const auto ceil_div = [&](Index a) { return a <= 0 ? Index{0} : (a + stride - 1) / stride; };
  const Index begin = std::min(ceil_div(-offset), outputs);
  return {begin, std::clamp(ceil_div(extent - offset), begin, outputs)};
}

/// One sample, channels first .. first + count - 1. NHWC: columns is (P, kh * kw * count); NCHW: (count * kh *
/// kw, P), P being the output positions.
template <class T>
void im2col(const ConvolutionGeometry& g, const FeatureMap<const T, ChannelsLast>& x, Index n, Index first,
            Index count, T* columns) {
  const Extent2d out = g.output(x.height(), x.width());
  const T* const image = x.sample(n) + first;
  for (Index oh = 0; oh < out.height; ++oh) {
    for (Index ow = 0; ow < out.width; ++ow) {
      for (Index kh = 0; kh < g.kernel.height; ++kh) {
        const Index h = oh * g.stride.height - g.padding.height + kh * g.dilation.height;
        for (Index kw = 0; kw < g.kernel.width; ++kw, columns += count) {
          const Index w = ow * g.stride.width - g.padding.width + kw * g.dilation.width;
          const bool inside = h >= 0 && h < x.height() && w >= 0 && w < x.width();
          if (inside)
            std::copy_n(image + (h * x.width() + w) * x.channels(), count, columns);
          else
            std::fill_n(columns, count, T(0));
        }
      }
    }
  }
}

template <class T>
void im2col(const ConvolutionGeometry& g, const FeatureMap<const T, ChannelsFirst>& x, Index n, Index first,
            Index count, T* columns) {
  const Extent2d out = g.output(x.height(), x.width());
  for (Index c = first; c < first + count; ++c) {
    const T* const plane = x.sample(n) + c * x.positions();
    for (Index kh = 0; kh < g.kernel.height; ++kh) {
      for (Index kw = 0; kw < g.kernel.width; ++kw) {
        const Index offset = kw * g.dilation.width - g.padding.width;
        const auto [begin, end] = valid_outputs(offset, g.stride.width, x.width(), out.width);
        for (Index oh = 0; oh < out.height; ++oh, columns += out.width) {
          const Index h = oh * g.stride.height - g.padding.height + kh * g.dilation.height;
          if (h < 0 || h >= x.height()) {
            std::fill_n(columns, out.width, T(0));
            continue;
          }
          const T* const row = plane + h * x.width() + offset;
          std::fill_n(columns, begin, T(0));
          if (g.stride.width == 1)
            std::copy(row + begin, row + end, columns + begin);
          else
            for (Index ow = begin; ow < end; ++ow) columns[ow] = row[ow * g.stride.width];
          std::fill(columns + end, columns + out.width, T(0));
        }
      }
    }
  }
}

/// The transpose of im2col: adds columns to dx, which the caller has zeroed.
template <class T>
void col2im(const ConvolutionGeometry& g, const FeatureMap<T, ChannelsLast>& dx, Index n, Index first,
            Index count, const T* columns) {
  const Extent2d out = g.output(dx.height(), dx.width());
  T* const image = dx.sample(n) + first;
  for (Index oh = 0; oh < out.height; ++oh) {
    for (Index ow = 0; ow < out.width; ++ow) {
      for (Index kh = 0; kh < g.kernel.height; ++kh) {
        const Index h = oh * g.stride.height - g.padding.height + kh * g.dilation.height;
        for (Index kw = 0; kw < g.kernel.width; ++kw, columns += count) {
          const Index w = ow * g.stride.width - g.padding.width + kw * g.dilation.width;
          if (h < 0 || h >= dx.height() || w < 0 || w >= dx.width()) continue;
          T* const to = image + (h * dx.width() + w) * dx.channels();
          for (Index c = 0; c < count; ++c) to[c] += columns[c];
        }
      }
    }
  }
}

template <class T>
void col2im(const ConvolutionGeometry& g, const FeatureMap<T, ChannelsFirst>& dx, Index n, Index first,
            Index count, const T* columns) {
  const Extent2d out = g.output(dx.height(), dx.width());
  for (Index c = first; c < first + count; ++c) {
    T* const plane = dx.sample(n) + c * dx.positions();
    for (Index kh = 0; kh < g.kernel.height; ++kh) {
      for (Index kw = 0; kw < g.kernel.width; ++kw) {
        const Index offset = kw * g.dilation.width - g.padding.width;
        const auto [begin, end] = valid_outputs(offset, g.stride.width, dx.width(), out.width);
        for (Index oh = 0; oh < out.height; ++oh, columns += out.width) {
          const Index h = oh * g.stride.height - g.padding.height + kh * g.dilation.height;
          if (h < 0 || h >= dx.height()) continue;
          T* const row = plane + h * dx.width() + offset;
          if (g.stride.width == 1)
            for (Index ow = begin; ow < end; ++ow) row[ow] += columns[ow];
          else
            for (Index ow = begin; ow < end; ++ow) row[ow * g.stride.width] += columns[ow];
        }
      }
    }
  }
}

/// NHWC columns run over (kh, kw, c), weights over (c, kh, kw): from one to the other and, adding, back.
template <class T>
void pack_weights(const T* weight, Index outputs, Index channels, Index taps, T* packed) {
  for (Index o = 0; o < outputs; ++o, weight += channels * taps, packed += channels * taps) {
    for (Index tap = 0; tap < taps; ++tap) {
      for (Index c = 0; c < channels; ++c) packed[tap * channels + c] = weight[c * taps + tap];
    }
  }
}
template <class T>
void unpack_weights(const T* packed, Index outputs, Index channels, Index taps, T* weight) {
  for (Index o = 0; o < outputs; ++o, weight += channels * taps, packed += channels * taps) {
    for (Index c = 0; c < channels; ++c) {
      for (Index tap = 0; tap < taps; ++tap) weight[c * taps + tap] += packed[tap * channels + c];
    }
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
