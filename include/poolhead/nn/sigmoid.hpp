// The logistic function.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// 1 / (1 + exp(-x)), without overflow.
template <class T>
T logistic(T x) {
  const T small = std::exp(-std::abs(x));
  return (x < T(0) ? small : T(1)) / (T(1) + small);
}

}  // namespace detail

/// y = 1 / (1 + exp(-x));   dx = dy y (1 - y). Of feature maps or rows; y may be x itself. torch.nn.Sigmoid.
class Sigmoid {
 public:
  static constexpr std::string_view name = "Sigmoid";
  static constexpr bool works_in_place = true;

  template <class X>
  auto output_shape(const X& x) const {
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x) const {
    return detail::LayerCache<decltype(detail::shape_of(x))>{detail::shape_of(x)};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, Cache& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, x);
    detail::each_sample(device, x, 16.0, [&](Index n, Index count) {
      const auto* in = detail::sample(x, n);
      auto* out = detail::sample(y, n);
      for (Index i = 0; i < count; ++i) out[i] = detail::logistic(in[i]);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, Sigmoid& /*gradient*/,
                const D& device = D{}) const {
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 3.0, [&](Index n, Index count) {
        const auto* out = detail::sample(y, n);
        const auto* in = detail::sample(dy, n);
        auto* to = detail::sample(dx, n);
        for (Index i = 0; i < count; ++i) to[i] = in[i] * out[i] * (1 - out[i]);
      });
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
