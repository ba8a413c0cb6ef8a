// The fully connected layer.
#pragma once

#include "poolhead/nn/init.hpp"
#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

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
    each_block(device, in.batch(), [&](Index first, Index count) {
      auto result = matrix(out.samples(first, count));
      if (bias.size() > 0)
        result.rowwise() = vector(bias);
      else
        result.setZero();
      result.noalias() += matrix(in.samples(first, count)) * weights(*this).transpose();
    });
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
      each_block(device, in.batch(), [&](Index first, Index count) {
        matrix(in_gradient.samples(first, count)).noalias() =
            matrix(out_gradient.samples(first, count)) * weights(*this);
      });
    }
    if (in.batch() == 0) return;
    weights(gradient).noalias() += matrix(out_gradient).transpose() * matrix(in);
    for (Index n = 0; n < in.batch() && bias.size() > 0; ++n) {
      for (Index o = 0; o < out_features(); ++o) gradient.bias(o) += out_gradient(n, o);
    }
  }

 private:
  using Matrix = Eigen::Matrix<T, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

  // Rows go through the product in blocks of fixed size, so that the number of threads changes no bit.
  static constexpr Index block = 64;

  template <class X>
  auto checked(const X& x, std::string_view call) const {
    const auto in = detail::as_rows<const T>(x);
    detail::check_rows(name, call, "x", in, in.batch(), in_features());
    return in;
  }
  template <class U>
  static auto matrix(const Rows<U>& rows) {
    using Plain = std::conditional_t<std::is_const_v<U>, const Matrix, Matrix>;
    return Eigen::Map<Plain, 0, Eigen::OuterStride<>>(rows.data(), rows.batch(), rows.features(),
                                                      Eigen::OuterStride<>(rows.stride()));
  }
  static auto weights(const Dense& dense) {
    return Eigen::Map<const Matrix>(dense.weight.data(), dense.out_features(), dense.in_features());
  }
  static auto weights(Dense& dense) {
    return Eigen::Map<Matrix>(dense.weight.data(), dense.out_features(), dense.in_features());
  }
  static auto vector(const Eigen::Tensor<T, 1, Eigen::RowMajor>& v) {
    return Eigen::Map<const Eigen::RowVector<T, Eigen::Dynamic>>(v.data(), v.size());
  }
  static auto vector(Eigen::Tensor<T, 1, Eigen::RowMajor>& v) {
    return Eigen::Map<Eigen::RowVector<T, Eigen::Dynamic>>(v.data(), v.size());
  }
  template <Device D, class F>
  void each_block(const D& device, Index batch, const F& f) const {
    // A product reads each of its weights once for a block; its arithmetic is worth about a byte per 4 flops.
    const double bytes = 0.5 * static_cast<double>(block * weight.size());
    detail::parallel_for(device, (batch + block - 1) / block, bytes, [&](Index begin, Index end) {
      for (Index b = begin; b < end; ++b) f(b * block, std::min(block, batch - b * block));
    });
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
