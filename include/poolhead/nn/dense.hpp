// The fully connected layer.
#pragma once

#include "poolhead/nn/init.hpp"
#include "poolhead/nn/layer.hpp"
#include "poolhead/nn/matrix_product.hpp"

namespace poolhead::inline POOLHEAD_ISA {

namespace detail {

/// f(first, count) for blocks of 64 of all items, a size that makes the result the same bits for every number
/// of threads. A product reads `others` once for a block; its arithmetic is worth about a byte per 4 flops.
template <class D, class F>
void each_dense_block(const D& device, Index all, Index others, const F& f) {
  constexpr Index block = 64;
  const double bytes = 0.5 * static_cast<double>(block * others);
  parallel_for(device, (all + block - 1) / block, bytes, [&](Index begin, Index end) {
    for (Index b = begin; b < end; ++b) f(b * block, std::min(block, all - b * block));
  });
}

/// y = x weight^T + bias; bias may be null.
template <class T, Device D>
void dense_forward(const Rows<const T>& x, const Rows<const T>& weight, const T* bias, const Rows<T>& y,
                   const D& device) {
  each_dense_block(device, x.batch(), weight.size(), [&](Index first, Index count) {
    matrix_product<T>({x.row(first), x.stride(), 1}, {weight.data(), 1, weight.stride()}, y.row(first),
                      y.stride(), count, y.features(), x.features(), {bias});
  });
}

/// dx = dy weight.
template <class T, Device D>
void dense_backward(const Rows<const T>& weight, const Rows<const T>& dy, const Rows<T>& dx, const D& device) {
  each_dense_block(device, dy.batch(), weight.size(), [&](Index first, Index count) {
    matrix_product<T>({dy.row(first), dy.stride(), 1}, {weight.data(), weight.stride(), 1}, dx.row(first),
                      dx.stride(), count, dx.features(), dy.features());
  });
}

/// dweight += dy^T x; dbias += sum of dy's rows, where there is a bias.
template <class T, Device D>
void dense_gradient(const Rows<const T>& x, const Rows<const T>& dy, const Rows<T>& dweight, T* dbias,
                    const D& device) {
  if (x.batch() == 0) return;
  each_dense_block(device, dweight.batch(), x.size(), [&](Index first, Index count) {
    matrix_product<T>({dy.data() + first, 1, dy.stride()}, {x.data(), x.stride(), 1}, dweight.row(first),
                      dweight.stride(), count, x.features(), x.batch(), {nullptr, true});
    for (Index n = 0; n < dy.batch() && dbias != nullptr; ++n)
      for (Index o = first; o < first + count; ++o) dbias[o] += dy(n, o);
  });
}

}  // namespace detail

struct DenseOptions {
  bool bias = true;
};

/// y = x W^T + b on rows: x (N, in), weight (out, in), bias (out), y (N, out), all in T = float or double.
///   dx = dy W;   dW += dy^T x;   db += sum over n of dy[n].
/// Parameters start as PyTorch's do: uniform in +-1/sqrt(in). torch.nn.Linear.
template <std::floating_point T>
class Dense {
 public:
  static constexpr std::string_view name = "Dense";
  static constexpr bool backward_reads_output = false;

  Eigen::Tensor<T, 2, Eigen::RowMajor> weight;
  Eigen::Tensor<T, 1, Eigen::RowMajor> bias;  ///< empty where there is none

  /// Throws ValueError unless both sizes are at least 1.
  Dense(Index in_features, Index out_features, std::uint64_t seed = 0)
      : Dense(in_features, out_features, DenseOptions{}, seed) {}
  Dense(Index in_features, Index out_features, const DenseOptions& options, std::uint64_t seed = 0) {
    if (in_features < 1 || out_features < 1) {
      detail::fail<ValueError>(name, ": sizes are ", in_features, " and ", out_features,
                               ", expected at least 1");
    }
    weight.resize(out_features, in_features);
    if (options.bias) bias.resize(out_features);
    initialise(*this, LinearUniform{}, seed);
  }

  static constexpr auto parameters() {
    return std::tuple{detail::Member{"weight", &Dense::weight}, detail::Member{"bias", &Dense::bias}};
  }

  Index in_features() const { return weight.dimension(1); }
  Index out_features() const { return weight.dimension(0); }

  template <class X>
  Rows<T> output_shape(const X& x) const {
    return {nullptr, checked(x, "::output_shape").batch(), out_features()};
  }
  template <class X>
  detail::LayerCache<Rows<T>> make_cache(const X& x) const {
    const auto in = checked(x, "::make_cache");
    return {Rows<T>(nullptr, in.batch(), in.features())};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, Cache& cache, const D& device = D{}) const {
    const auto in = checked(x, "::forward");
    const auto out = detail::as_rows<T>(y);
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_rows(name, "::forward", "y", out, in.batch(), out_features());
    detail::dense_forward<T>(in, weights(*this), bias.size() > 0 ? bias.data() : nullptr, out, device);
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, Dense& gradient,
                const D& device = D{}) const {
    const auto in = checked(x, "::backward");
    const auto out_gradient = detail::as_rows<const T>(dy);
    detail::check_rows(name, "::backward", "y", detail::as_rows<const T>(y), in.batch(), out_features());
    detail::check_rows(name, "::backward", "dy", out_gradient, in.batch(), out_features());
    detail::check_shape(name, "::backward", "the shape of the cache", cache.shape, in);
    detail::check_filled(name, cache.filled);
    if constexpr (!std::same_as<DX, NoGradient>) {
      const auto in_gradient = detail::as_rows<T>(dx);
      detail::check_rows(name, "::backward", "dx", in_gradient, in.batch(), in_features());
      detail::dense_backward<T>(weights(*this), out_gradient, in_gradient, device);
    }
    detail::dense_gradient<T>(in, out_gradient, Rows<T>(gradient.weight.data(), out_features(), in_features()),
                              bias.size() > 0 ? gradient.bias.data() : nullptr, device);
  }

 private:
  template <class X>
  auto checked(const X& x, std::string_view call) const {
    const auto in = detail::as_rows<const T>(x);
    detail::check_rows(name, call, "x", in, in.batch(), in_features());
    return in;
  }
  static Rows<const T> weights(const Dense& dense) {
    return {dense.weight.data(), dense.out_features(), dense.in_features()};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
