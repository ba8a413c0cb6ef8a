// Average pooling over windows.
#pragma once

#include "poolhead/nn/window.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y[n, c, oh, ow] = the mean of window (oh, ow) of plane c;   dx gathers dy / size of every window an element
/// is in. With count_include_pad, places in the padding count as zeros, but none beyond it (ceil_mode);
/// without, the mean is over the places inside. Sums are in double. stride defaults to kernel.
/// torch.nn.AvgPool2d.
class AveragePool2d {
 public:
  static constexpr std::string_view name = "AveragePool2d";
  static constexpr bool backward_reads_output = false;

  /// Throws ValueError for a kernel or stride below 1, or a padding above half the kernel.
  explicit AveragePool2d(Extent2d kernel, const WindowOptions& options = {})
      : windows_(name, kernel, options), count_include_pad_(options.count_include_pad) {}

  template <class X>
  auto output_shape(const X& x) const {
    return windows_.output(name, "::output_shape", x);
  }
  template <class X>
  auto make_cache(const X& x) const {
    windows_.output(name, "::make_cache", x);
    return detail::LayerCache<decltype(detail::shape_of(x))>{detail::shape_of(x)};
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, windows_.output(name, "::forward", x));
    detail::each_sample(device, x, 2.0, [&](Index n, Index) {
      each_window(x, y, [&](Index oh, Index ow, Index c, Index channels, const auto& each_place, double size) {
        double sums[width] = {};
        each_place([&](Index s) {
          for (Index j = 0; j < channels; ++j) sums[j] += x(n, c + j, s);
        });
        for (Index j = 0; j < channels; ++j) y(n, c + j, oh * y.width() + ow) = static_cast<T>(sums[j] / size);
      });
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, AveragePool2d& /*gradient*/,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::backward", "y", y, windows_.output(name, "::backward", x));
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 2.0, [&](Index n, Index count) {
        std::fill_n(dx.sample(n), count, T(0));
        each_window(x, dy,
                    [&](Index oh, Index ow, Index c, Index channels, const auto& each_place, double size) {
                      for (Index j = 0; j < channels; ++j) {
                        const T share = static_cast<T>(dy(n, c + j, oh * dy.width() + ow) / size);
                        each_place([&](Index s) { dx(n, c + j, s) += share; });
                      }
                    });
      });
    }
  }

 private:
  static constexpr Index width = 64;  // channels at a time
  detail::Windows windows_;
  bool count_include_pad_;

  /// f(oh, ow, first channel, channels, each_place, size) for every window and block of channels.
  template <class X, class Y, class F>
  void each_window(const X& x, const Y& y, const F& f) const {
    const auto span = [](Index begin, Index length, Index extent, Index padding) {
      return std::min(begin + length, extent + padding) - begin;
    };
    // NCHW: a plane at a time; NHWC: neighbouring channels together.
    const Index block = std::same_as<typename X::Layout, ChannelsFirst> ? 1 : width;
    for (Index c = 0; c < x.channels(); c += block) {
      const Index channels = std::min(block, x.channels() - c);
      for (Index oh = 0; oh < y.height(); ++oh) {
        for (Index ow = 0; ow < y.width(); ++ow) {
          const detail::Span rows = windows_.rows(oh, x.height()), columns = windows_.columns(ow, x.width());
          const Index padded =
              span(windows_.top(oh), windows_.kernel.height, x.height(), windows_.padding.height) *
              span(windows_.left(ow), windows_.kernel.width, x.width(), windows_.padding.width);
          const Index size = count_include_pad_ ? padded : rows.size() * columns.size();
          const auto each_place = [&](const auto& g) {
            for (Index h = rows.begin; h < rows.end; ++h)
              for (Index w = columns.begin; w < columns.end; ++w) g(h * x.width() + w);
          };
          f(oh, ow, c, channels, each_place, static_cast<double>(size));
        }
      }
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
