// A layer that is there or not, as the run decides.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = layer(x), or y = x where there is none. What goes in and out has one type: rows, or feature maps.
template <class L>
class Optional {
 public:
  static constexpr std::string_view name = "Optional";
  static constexpr bool is_composition = true;
  static constexpr bool backward_reads_output = detail::backward_reads_output<L>;

  std::vector<L> layer;  ///< one or none

  Optional() = default;
  explicit Optional(L given) : layer{std::move(given)} {}
  bool has_value() const { return !layer.empty(); }

  template <class X>
  struct Cache : detail::LayerCache<X> {
    std::vector<decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{}))> layer;
  };

  template <class F, class First, class... Others>
  static void visit_parts(const F& f, First& first, Others&... others) {
    if (first.has_value()) f(detail::wrapped_name<L>(), first.layer.front(), others.layer.front()...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    return has_value() ? layer.front().output_shape(detail::shape_of(x)) : detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    Cache<decltype(detail::shape_of(x))> cache{{detail::shape_of(x)}, {}};
    if (has_value()) cache.layer.push_back(detail::make_cache(layer.front(), detail::shape_of(x), mode));
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    if (has_value()) {
      layer.front().forward(x, y, cache.layer.front(), device);
    } else {
      detail::check_shape(name, "::forward", "y", y, x);
      detail::copy_to(y, x, device);
    }
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Optional& gradient,
                const D& device = D{}) const {
    if (has_value()) {
      layer.front().backward(x, y, dy, dx, cache.layer.front(), gradient.layer.front(), device);
    } else {
      detail::check_layer_backward(name, cache, x, y, dy, dx);
      if constexpr (!std::same_as<DX, NoGradient>) detail::copy_to(dx, dy, device);
    }
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    if (self.has_value()) f(self.layer.front(), cache.layer.front());
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
