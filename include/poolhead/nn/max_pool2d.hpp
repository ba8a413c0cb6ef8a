// Max pooling over windows.
#pragma once

#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/nn/window.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y[n, c, oh, ow] = max over kh, kw of x[n, c, oh stride - padding + kh, ow stride - padding + kw];   dx
/// gathers dy at each window's argmax. The output is floor((H + 2 padding - kernel) / stride) + 1 high, with
/// ceil_mode rounded up; padding never wins, and places that no window reaches are unused. The first maximum of
/// a window wins a tie, and its first NaN wins always. stride defaults to kernel. torch.nn.MaxPool2d.
class MaxPool2d {
 public:
  static constexpr std::string_view name = "MaxPool2d";
  static constexpr bool backward_reads_output = false;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    Mode mode{};
    detail::Buffer<std::uint8_t> argmax;  ///< per element of y, the place kh * kernel width + kw in its window
  };

  /// Throws ValueError for a kernel or stride below 1, a padding above half the kernel, or a window of more
  /// than 256 places.
  explicit MaxPool2d(Extent2d kernel, const WindowOptions& options = {}) : windows_(name, kernel, options) {
    if (kernel.height > 256 || kernel.width > 256 || kernel.height * kernel.width > 256) {
      detail::fail<ValueError>(name, ": kernel is ", kernel.height, "x", kernel.width,
                               ", expected at most 256 places in a window");
    }
  }
  MaxPool2d(Extent2d kernel, Extent2d stride) : MaxPool2d(kernel, WindowOptions{.stride = checked(stride)}) {}

  template <class X>
  auto output_shape(const X& x) const {
    return windows_.output(name, "::output_shape", x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    Cache<decltype(detail::shape_of(x))> cache{{detail::shape_of(x)}, mode, {}};
    const Index windows = windows_.output(name, "::make_cache", x).size();
    if (mode.backward) cache.argmax.reserve(windows);
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_shape(name, "::forward", "y", y, windows_.output(name, "::forward", in));
    std::uint8_t* const argmax = cache.mode.backward ? cache.argmax.data() : nullptr;
    each_plane_row(device, y,
                   [&](Index n, Index plane, Index oh) { forward_row(in, y, argmax, n, plane, oh); });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, MaxPool2d& /*gradient*/,
                const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::backward", "y", y, windows_.output(name, "::backward", in));
    detail::check_backward(name, cache.filled, cache.mode);
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
  detail::Windows windows_;

  /// 0 would stand for the kernel's.
  static Extent2d checked(const Extent2d& stride) { return stride == Extent2d{0} ? Extent2d{-1} : stride; }

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
    const Index channels = x.channels();
    const detail::Span rows = windows_.rows(oh, x.height());
    for (Index ow = 0; ow < y.width(); ++ow) {
      const detail::Span columns = windows_.columns(ow, x.width());
      const T* const window = x.sample(n) + (rows.begin * x.width() + columns.begin) * channels;
      const Index out = ((n * y.height() + oh) * y.width() + ow) * channels;
      for (Index c = 0; c < channels; c += N) {
        const int count = static_cast<int>(std::min<Index>(N, channels - c));
        const auto load = [&](const T* p) {
          return count == N ? simd::load<A>(p) : simd::load_first<A>(p, count);
        };
        auto best = load(window + c);
        auto place = simd::splat<simd::IntOf<A>, N>(
            static_cast<simd::IntOf<A>>(place_of(rows.begin, oh, columns.begin, ow)));
        for (Index h = rows.begin; h < rows.end; ++h) {
          const T* from = window + (h - rows.begin) * x.width() * channels + c;
          simd::IntOf<A> k = static_cast<simd::IntOf<A>>(place_of(h, oh, columns.begin, ow));
          for (Index w = columns.begin; w < columns.end; ++w, ++k, from += channels) {
            const auto value = load(from);
            const auto wins = detail::later_wins(best, value);
            best = simd::select(wins, value, best);
            place = simd::select(wins, simd::splat<simd::IntOf<A>, N>(k), place);
          }
        }
        simd::store_first(y.data() + out + c, best, count);
        if (argmax != nullptr) {
          const auto bytes = simd::convert<std::uint8_t>(place);
          std::memcpy(argmax + out + c, &bytes, static_cast<std::size_t>(count));
        }
      }
    }
  }

  template <class T>
  void forward_row(const FeatureMap<const T, ChannelsFirst>& x, const FeatureMap<T, ChannelsFirst>& y,
                   std::uint8_t* argmax, Index n, Index plane, Index oh) const {
    const detail::Span rows = windows_.rows(oh, x.height());
    const T* const from = x.sample(n) + plane * x.positions();
    const Index out = ((n * y.channels() + plane) * y.height() + oh) * y.width();
    if (windows_.kernel.width == 2 && windows_.stride.width == 2 && windows_.left(0) == 0 &&
        2 * y.width() <= x.width())
      return forward_pairs(from, x.width(), rows, rows.begin - windows_.top(oh), y.width(), y.data() + out,
                           argmax == nullptr ? nullptr : argmax + out);
    for (Index ow = 0; ow < y.width(); ++ow) {
      const detail::Span columns = windows_.columns(ow, x.width());
      T best = from[rows.begin * x.width() + columns.begin];
      Index place = place_of(rows.begin, oh, columns.begin, ow);
      for (Index h = rows.begin; h < rows.end; ++h) {
        Index k = place_of(h, oh, columns.begin, ow);
        for (Index w = columns.begin; w < columns.end; ++w, ++k) {
          const T value = from[h * x.width() + w];
          const bool wins = !(value <= best) && best == best;
          best = wins ? value : best;
          place = wins ? k : place;
        }
      }
      y.data()[out + ow] = best;
      if (argmax != nullptr) argmax[out + ow] = static_cast<std::uint8_t>(place);
    }
  }

  /// A row of windows that are two places wide and side by side: a vector of windows at a time.
  template <class T>
  static void forward_pairs(const T* plane, Index width, const detail::Span& rows, Index first_row,
                            Index windows, T* y, std::uint8_t* argmax) {
    using A = Accumulator<T>;
    constexpr int N = simd::lanes<A>;
    using I = simd::IntOf<A>;
    for (Index ow = 0; ow < windows; ow += N) {
      const int count = static_cast<int>(std::min<Index>(N, windows - ow));
      simd::Vec<A, N> best;
      auto place = simd::splat<I, N>(static_cast<I>(2 * first_row));
      const auto take = [&](const simd::Vec<A, N>& value, Index k) {
        const auto wins = detail::later_wins(best, value);
        best = simd::select(wins, value, best);
        place = simd::select(wins, simd::splat<I, N>(static_cast<I>(k)), place);
      };
      for (Index h = rows.begin; h < rows.end; ++h) {
        const T* const p = plane + h * width + 2 * ow;
        simd::Vec<A, N> low, high;
        if (count == N) {
          low = simd::load<A>(p);
          high = simd::load<A>(p + N);
        } else {
          low = simd::load_first<A>(p, std::min(N, 2 * count));
          high = 2 * count > N ? simd::load_first<A>(p + N, 2 * count - N) : low;
        }
        const auto left = simd::every_other<false>(low, high);
        const Index k = 2 * (first_row + h - rows.begin);
        if (h == rows.begin)
          best = left;
        else
          take(left, k);
        take(simd::every_other<true>(low, high), k + 1);
      }
      simd::store_first(y + ow, best, count);
      if (argmax != nullptr) {
        const auto bytes = simd::convert<std::uint8_t>(place);
        std::memcpy(argmax + ow, &bytes, static_cast<std::size_t>(count));
      }
    }
  }

  /// The number of place (h, w) of x in window (oh, ow).
  Index place_of(Index h, Index oh, Index w, Index ow) const {
    return (h - windows_.top(oh)) * windows_.kernel.width + w - windows_.left(ow);
  }

  /// Zeroes a sample of dx and adds every dy at its window's argmax.
  template <class T, class DT, class L>
  void backward_sample(const FeatureMap<DT, L>& dy, const FeatureMap<T, L>& dx, const std::uint8_t* argmax,
                       Index n) const {
    const Index sample = dx.channels() * dx.positions();
    std::fill_n(dx.sample(n), sample, T(0));
    const std::uint8_t* place = argmax + n * dy.channels() * dy.positions();
    const DT* from = dy.sample(n);
    const auto scatter = [&](Index c, Index oh, Index ow) {
      const Index kh = *place / windows_.kernel.width;
      const Index h = windows_.top(oh) + kh;
      const Index w = windows_.left(ow) + *place - kh * windows_.kernel.width;
      T& to = dx(n, c, h * dx.width() + w);
      to = static_cast<T>(to + *from);
      ++place, ++from;
    };
    if constexpr (channels_last<L>) {
      for (Index oh = 0; oh < dy.height(); ++oh)
        for (Index ow = 0; ow < dy.width(); ++ow)
          for (Index c = 0; c < dx.channels(); ++c) scatter(c, oh, ow);
    } else {
      for (Index c = 0; c < dx.channels(); ++c)
        for (Index oh = 0; oh < dy.height(); ++oh)
          for (Index ow = 0; ow < dy.width(); ++ow) scatter(c, oh, ow);
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
