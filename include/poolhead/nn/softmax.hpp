// Softmax over the features of each row.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y[n, i] = exp(x[n, i]) / sum over j of exp(x[n, j]);   dx = y (dy - sum over j of dy[n, j] y[n, j]). Of
/// rows; y may be x itself. Sums are in double; no x overflows. torch.nn.Softmax(dim=1).
class Softmax {
 public:
  static constexpr std::string_view name = "Softmax";
  static constexpr bool works_in_place = true;

  template <class X>
  auto output_shape(const X& x) const {
    static_assert(detail::is_rows<X>, "poolhead: Softmax is for rows");
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x) const {
    return detail::LayerCache<decltype(output_shape(x))>{output_shape(x)};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, Cache& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, x);
    detail::each_sample(device, x, 16.0, [&](Index n, Index count) {
      const T* const in = x.row(n);
      T* const out = y.row(n);
      T largest = in[0];
      for (Index i = 1; i < count; ++i) largest = std::max(largest, in[i]);
      double sum = 0.0;
      for (Index i = 0; i < count; ++i) sum += out[i] = std::exp(in[i] - largest);
      for (Index i = 0; i < count; ++i) out[i] = static_cast<T>(out[i] / sum);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, Softmax& /*gradient*/,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 4.0, [&](Index n, Index count) {
        const auto* out = y.row(n);
        const auto* in = dy.row(n);
        double mean = 0.0;
        for (Index i = 0; i < count; ++i) mean += static_cast<double>(in[i]) * out[i];
        for (Index i = 0; i < count; ++i) dx.row(n)[i] = static_cast<T>(out[i] * (in[i] - mean));
      });
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
