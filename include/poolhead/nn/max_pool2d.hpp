// Max pooling over windows.
#pragma once

#include "poolhead/nn/layer.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y[n, c, oh, ow] = max over kh, kw of x[n, c, oh stride + kh, ow stride + kw];   dx gathers dy at each
/// window's argmax. The output is floor((H - kernel) / stride) + 1 high; rows and columns that no window
/// reaches are unused. The first maximum of a window wins a tie, and its first NaN wins always. stride defaults
/// to kernel. torch.nn.MaxPool2d.
class MaxPool2d {
 public:
  static constexpr std::string_view name = "MaxPool2d";
  static constexpr bool backward_reads_output = false;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    detail::Buffer<std::uint8_t> argmax;  ///< per element of y, the place kh * kernel width + kw in its window
  };

  /// Throws ValueError for a kernel or stride below 1, or a window of more than 256 places.
  explicit MaxPool2d(Extent2d kernel) : MaxPool2d(kernel, kernel) {}
  MaxPool2d(Extent2d kernel, Extent2d stride) : kernel_(kernel), stride_(stride) {
    if (kernel.height < 1 || kernel.width < 1 || stride.height < 1 || stride.width < 1 || kernel.height > 256 ||
        kernel.width > 256 || kernel.height * kernel.width > 256) {
      detail::fail<ValueError>(name, ": kernel is ", kernel.height, "x", kernel.width, " and stride ",
                               stride.height, "x", stride.width,
                               ", expected at least 1 and at most 256 places in a window");
    }
  }

  template <class X>
  auto output_shape(const X& x) const {
    return checked_output(detail::as_input(x), "::output_shape");
  }
  template <class X>
  auto make_cache(const X& x) const {
    using Shape = FeatureMap<typename X::Scalar, typename X::Layout>;
    Cache<Shape> cache;
    cache.argmax.reserve(checked_output(detail::as_input(x), "::make_cache").size());
    cache.shape = Shape(nullptr, x.shape());
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_shape(name, "::forward", "y", y, checked_output(in, "::forward"));
    each_plane_row(device, y, [&](Index n, Index plane, Index oh) {
      forward_row(in, y, cache.argmax.data(), n, plane, oh);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, MaxPool2d& /*gradient*/,
                const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::backward", "y", y, checked_output(in, "::backward"));
    detail::check_layer_backward(name, cache, in, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      const double bytes =
          static_cast<double>(sizeof(*dx.data())) * static_cast<double>(dx.channels() * dx.positions());
      detail::parallel_for(device, dx.batch(), bytes, [&](Index begin, Index end) {
        for (Index n = begin; n < end; ++n) backward_sample(dy, dx, cache.argmax.data(), n);
      });
    }
  }

 private:
  Extent2d kernel_;
  Extent2d stride_;

  template <class T, class L>
  FeatureMap<T, L> checked_output(const FeatureMap<const T, L>& x, std::string_view call) const {
    detail::check_input<L>(name, call, x.shape());
    if (x.height() < kernel_.height || x.width() < kernel_.width || x.depth() != 1) {
      detail::fail<ShapeError>(name, call, ": x is ", detail::extents(x),
                               ", expected a height and width of at least ", kernel_.height, "x",
                               kernel_.width);
    }
    FeatureShape shape = x.shape();
    shape.spatial = {1, (x.height() - kernel_.height) / stride_.height + 1,
                     (x.width() - kernel_.width) / stride_.width + 1};
    return {nullptr, shape};
  }

  /// Distances between neighbours: NHWC rows of channels are vectors, NCHW walks one plane at a time.
  template <class L>
  static constexpr bool channels_last = std::same_as<L, ChannelsLast>;

  template <Device D, class T, class L, class F>
  static void each_plane_row(const D& device, const FeatureMap<T, L>& y, const F& f) {
    const Index planes = channels_last<L> ? 1 : y.channels();
    const Index rows = planes * y.height();
    if (y.batch() == 0) return;
    const double bytes = 4.0 * static_cast<double>(sizeof(T)) * static_cast<double>(y.size() / y.batch());
    detail::parallel_for(device, y.batch(), bytes, [&](Index begin, Index end) {
      for (Index n = begin; n < end; ++n) {
        for (Index r = 0; r < rows; ++r) f(n, r / y.height(), r % y.height());
      }
    });
  }

  template <class T>
  void forward_row(const FeatureMap<const T, ChannelsLast>& x, const FeatureMap<T, ChannelsLast>& y,
                   std::uint8_t* argmax, Index n, Index, Index oh) const {
    using A = Accumulator<T>;
    constexpr int N = simd::lanes<A>;
    using Place = simd::Vec<simd::IntOf<A>, N>;
    const Index channels = x.channels();
    for (Index ow = 0; ow < y.width(); ++ow) {
      const T* const window = x.sample(n) + ((oh * stride_.height) * x.width() + ow * stride_.width) * channels;
      const Index out = ((n * y.height() + oh) * y.width() + ow) * channels;
      for (Index c = 0; c < channels; c += N) {
        const int count = static_cast<int>(std::min<Index>(N, channels - c));
        const auto load = [&](const T* p) {
          return count == N ? simd::load<A>(p) : simd::load_first<A>(p, count);
        };
        auto best = load(window + c);
        auto place = simd::zero<Place>();
        simd::IntOf<A> k = 0;
        for (Index kh = 0; kh < kernel_.height; ++kh) {
          for (Index kw = 0; kw < kernel_.width; ++kw, ++k) {
            const auto value = load(window + (kh * x.width() + kw) * channels + c);
            const auto wins = detail::later_wins(best, value);
            best = simd::select(wins, value, best);
            place = simd::select(wins, simd::splat<simd::IntOf<A>, N>(k), place);
          }
        }
        simd::store_first(y.data() + out + c, best, count);
        const auto bytes = simd::convert<std::uint8_t>(place);
        std::memcpy(argmax + out + c, &bytes, static_cast<std::size_t>(count));
      }
    }
  }

  template <class T>
  void forward_row(const FeatureMap<const T, ChannelsFirst>& x, const FeatureMap<T, ChannelsFirst>& y,
                   std::uint8_t* argmax, Index n, Index plane, Index oh) const {
    const T* const from = x.sample(n) + plane * x.positions() + oh * stride_.height * x.width();
    const Index out = ((n * y.channels() + plane) * y.height() + oh) * y.width();
    for (Index ow = 0; ow < y.width(); ++ow) {
      const T* const window = from + ow * stride_.width;
      T best = window[0];
      Index place = 0;
      for (Index kh = 0; kh < kernel_.height; ++kh) {
        for (Index kw = 0; kw < kernel_.width; ++kw) {
          const T value = window[kh * x.width() + kw];
          const bool wins = !(value <= best) && best == best;
          best = wins ? value : best;
          place = wins ? kh * kernel_.width + kw : place;
        }
      }
      y.data()[out + ow] = best;
      argmax[out + ow] = static_cast<std::uint8_t>(place);
    }
  }

  /// Zeroes a sample of dx and adds every dy at its window's argmax.
  template <class T, class DT, class L>
  void backward_sample(const FeatureMap<DT, L>& dy, const FeatureMap<T, L>& dx, const std::uint8_t* argmax,
                       Index n) const {
    const Index sample = dx.channels() * dx.positions();
    std::fill_n(dx.sample(n), sample, T(0));
    const std::uint8_t* place = argmax + n * dy.channels() * dy.positions();
    const DT* from = dy.sample(n);
    const auto scatter = [&](T* window, Index neighbour, Index row) {
      const Index kh = *place / kernel_.width;
      T& to = window[kh * row + (*place - kh * kernel_.width) * neighbour];
      to = static_cast<T>(to + *from);
      ++place, ++from;
    };
    if constexpr (channels_last<L>) {
      for (Index oh = 0; oh < dy.height(); ++oh) {
        for (Index ow = 0; ow < dy.width(); ++ow) {
          T* const window =
              dx.sample(n) + (oh * stride_.height * dx.width() + ow * stride_.width) * dx.channels();
          for (Index c = 0; c < dx.channels(); ++c)
            scatter(window + c, dx.channels(), dx.width() * dx.channels());
        }
      }
    } else {
      for (Index c = 0; c < dx.channels(); ++c) {
        for (Index oh = 0; oh < dy.height(); ++oh) {
          for (Index ow = 0; ow < dy.width(); ++ow) {
            scatter(dx.sample(n) + c * dx.positions() + oh * stride_.height * dx.width() + ow * stride_.width,
                    1, dx.width());
          }
        }
      }
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
