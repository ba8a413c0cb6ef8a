// Layers whose outputs depend on one input each.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A layer L that states y = L::value(x), dx = L::gradient(dy, y), and L::cost, about how many instructions
/// value takes. Of feature maps or rows; y may be x itself.
template <class L>
class Elementwise {
 public:
  static constexpr bool works_in_place = true;

  template <class X>
  auto output_shape(const X& x) const {
    return shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x) const {
    return LayerCache<decltype(shape_of(x))>{shape_of(x)};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, Cache& cache, const D& device = D{}) const {
    check_shape(L::name, "::forward", "the shape of the cache", cache.shape, x);
    check_shape(L::name, "::forward", "y", y, x);
    each_sample(device, x, L::cost, [&](Index n, Index count) {
      const auto* in = sample(x, n);
      auto* out = sample(y, n);
      for (Index i = 0; i < count; ++i) out[i] = L::value(in[i]);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, L& /*gradient*/,
                const D& device = D{}) const {
    check_layer_backward(L::name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      each_sample(device, x, 2.0, [&](Index n, Index count) {
        const auto* out = sample(y, n);
        const auto* in = sample(dy, n);
        auto* to = sample(dx, n);
        for (Index i = 0; i < count; ++i) to[i] = L::gradient(in[i], out[i]);
      });
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
