// 2-d convolution.
#pragma once

#include "poolhead/nn/convolution.hpp"
#include "poolhead/nn/init.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct Conv2dOptions {
  Extent2d stride{1};
  Extent2d padding{0};
  Extent2d dilation{1};
  Index groups = 1;
  bool bias = true;
};

/// y[n, o, oh, ow] = b[o] + sum over c, kh, kw of
///   weight[o, c, kh, kw] x[n, c, oh stride - padding + kh dilation, ow stride - padding + kw dilation],
/// x being 0 outside; c runs over o's group. weight (O, C / groups, kh, kw) and bias (O) in PyTorch's order
/// whatever the layout of x; y is (N, O, floor((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1, ...).
/// T is float or double. Parameters start as PyTorch's do. torch.nn.Conv2d.
template <std::floating_point T>
class Conv2d {
 public:
  static constexpr std::string_view name = "Conv2d";
  static constexpr bool backward_reads_output = false;

  Eigen::Tensor<T, 4, Eigen::RowMajor> weight;
  Eigen::Tensor<T, 1, Eigen::RowMajor> bias;  ///< empty where there is none

  template <class L>
  using Cache = detail::LayerCache<FeatureMap<T, L>>;

  /// Throws ValueError for sizes below 1, a negative padding, or groups that do not divide the channels.
  Conv2d(Index in_channels, Index out_channels, Extent2d kernel, const Conv2dOptions& options = {},
         std::uint64_t seed = 0)
      : geometry_{kernel, options.stride, options.padding, options.dilation, options.groups} {
    const auto below = [](const Extent2d& e, Index least) { return e.height < least || e.width < least; };
    if (in_channels < 1 || out_channels < 1 || below(kernel, 1) || below(options.stride, 1) ||
        below(options.dilation, 1) || below(options.padding, 0)) {
      detail::fail<ValueError>(name, ": got channels ", in_channels, " and ", out_channels, ", kernel ",
                               kernel.height, "x", kernel.width, ", stride ", options.stride.height, "x",
                               options.stride.width, ", dilation ", options.dilation.height, "x",
                               options.dilation.width, ", padding ", options.padding.height, "x",
                               options.padding.width, ", expected at least 1 each and padding at least 0");
    }
    if (options.groups < 1 || in_channels % options.groups != 0 || out_channels % options.groups != 0) {
      detail::fail<ValueError>(name, ": groups is ", options.groups, ", expected a divisor of the channels ",
                               in_channels, " and ", out_channels);
    }
    weight.resize(out_channels, in_channels / options.groups, kernel.height, kernel.width);
    if (options.bias) bias.resize(out_channels);
    initialise(*this, LinearUniform{}, seed);
  }

  static constexpr auto parameters() {
    return std::tuple{detail::Member{"weight", &Conv2d::weight}, detail::Member{"bias", &Conv2d::bias}};
  }

  Index in_channels() const { return weight.dimension(1) * geometry_.groups; }
  Index out_channels() const { return weight.dimension(0); }

  template <class X>
  auto output_shape(const X& x) const {
    return checked_output(detail::as_input(x), "::output_shape");
  }
  template <class X>
  Cache<typename X::Layout> make_cache(const X& x) const {
    const auto in = detail::as_input(x);
    checked_output(in, "::make_cache");
    Cache<typename X::Layout> cache;
    cache.shape = {nullptr, in.shape()};
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_shape(name, "::forward", "y", y, checked_output(in, "::forward"));
    detail::convolve<T, typename X::Layout>(geometry_, in, weight.data(), bias_data(bias), y, device);
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Conv2d& gradient,
                const D& device = D{}) const {
    const auto in = detail::as_input(x);
    detail::check_shape(name, "::backward", "y", y, checked_output(in, "::backward"));
    detail::check_layer_backward(name, cache, in, y, dy, dx);
    detail::convolve_backward<T, typename X::Layout>(geometry_, in, weight.data(), dy, dx,
                                                     gradient.weight.data(), bias_data(gradient.bias), device);
  }

 private:
  template <class B>
  static auto bias_data(B& bias) {
    return bias.size() > 0 ? bias.data() : nullptr;
  }

  detail::ConvolutionGeometry geometry_;

  template <class L>
  FeatureMap<T, L> checked_output(const FeatureMap<const T, L>& x, std::string_view call) const {
    detail::check_input<L>(name, call, x.shape());
    const Extent2d out = geometry_.output(x.height(), x.width());
    if (x.channels() != in_channels() || x.depth() != 1 || out.height < 1 || out.width < 1) {
      const Extent2d reach{geometry_.dilation.height * (geometry_.kernel.height - 1) + 1,
                           geometry_.dilation.width * (geometry_.kernel.width - 1) + 1};
      detail::fail<ShapeError>(name, call, ": x is ", detail::extents(x), ", expected ", in_channels(),
                               " channels and, with padding ", geometry_.padding.height, "x",
                               geometry_.padding.width, ", a height and width of at least ", reach.height, "x",
                               reach.width);
    }
    FeatureShape shape = x.shape();
    shape.channels = out_channels();
    shape.spatial = {1, out.height, out.width};
    return {nullptr, shape};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
