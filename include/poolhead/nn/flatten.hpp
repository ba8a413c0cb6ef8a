// Feature maps as rows.
#pragma once

#include "poolhead/nn/layer.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y[n, (c H + h) W + w] = x[n, c, h, w] in both layouts, so the dense layer that follows has one order of
/// weights. torch.nn.Flatten.
class Flatten {
 public:
  static constexpr std::string_view name = "Flatten";
  static constexpr bool backward_reads_output = false;

  template <class X>
  auto output_shape(const X& x) const {
    static_assert(detail::is_feature_map<X>, "poolhead: Flatten is for feature maps");
    return Rows<typename X::Scalar>(nullptr, x.batch(), x.channels() * x.positions());
  }
  template <class X>
  auto make_cache(const X& x) const {
    return detail::LayerCache<decltype(detail::shape_of(x))>{detail::shape_of(x)};
  }

  template <class X, class Y, class Cache, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, Cache& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, output_shape(x));
    detail::each_sample(device, x, 2.0, [&](Index n, Index) {
      for (Index c = 0; c < x.channels(); ++c)
        for (Index s = 0; s < x.positions(); ++s) y.row(n)[c * x.positions() + s] = x(n, c, s);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class Cache, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const Cache& cache, Flatten& /*gradient*/,
                const D& device = D{}) const {
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 2.0, [&](Index n, Index) {
        for (Index c = 0; c < x.channels(); ++c)
          for (Index s = 0; s < x.positions(); ++s) dx(n, c, s) = dy.row(n)[c * x.positions() + s];
      });
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
