// Residual blocks.
#pragma once

#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/sequential.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = max(branch(x) + shortcut(x), 0);   with g = dy where y > 0, else 0: dx = the branch's gradient of g +
/// the shortcut's. Both parts take and make feature maps of one shape; names are those that the parts carry. He
/// et al., Deep Residual Learning, 2016.
template <class Branch, class Shortcut>
class Residual {
  struct Term {};
  struct Slope {};

 public:
  static constexpr std::string_view name = "Residual";
  static constexpr bool is_composition = true;

  Branch branch;
  Shortcut shortcut;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    template <class L>
    using CacheOf = decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{}));
    CacheOf<Branch> branch;
    CacheOf<Shortcut> shortcut;
    Mode mode{};
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f(detail::wrapped_name<Branch>(), self.branch...);
    f(detail::wrapped_name<Shortcut>(), self.shortcut...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    const auto shape = branch.output_shape(detail::shape_of(x));
    detail::check_shape(name, "::output_shape", "the shortcut's output",
                        shortcut.output_shape(detail::shape_of(x)), shape);
    return shape;
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    const auto shape = detail::shape_of(x);
    output_shape(x);
    return Cache<std::remove_const_t<decltype(shape)>>{
        {shape}, detail::make_cache(branch, shape, mode), detail::make_cache(shortcut, shape, mode), mode};
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    const auto term =
        detail::with_data(detail::shape_of(y), detail::workspace<std::pair<Residual, Term>, T>(y.size()));
    branch.forward(x, y, cache.branch, device);
    shortcut.forward(x, term, cache.shortcut, device);
    detail::each_sample(device, y, 3.0, [&](Index n, Index count) {
      T* const out = y.sample(n);
      const T* const in = term.sample(n);
      for (Index i = 0; i < count; ++i) {
        const T sum = out[i] + in[i];
        out[i] = sum < T(0) ? T(0) : sum;
      }
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Residual& gradient,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const auto slope =
        detail::with_data(detail::shape_of(y), detail::workspace<std::pair<Residual, Slope>, T>(y.size()));
    detail::each_sample(device, y, 3.0, [&](Index n, Index count) {
      const auto* const out = y.sample(n);
      const auto* const in = dy.sample(n);
      T* const to = slope.sample(n);
      for (Index i = 0; i < count; ++i) to[i] = out[i] <= T(0) ? T(0) : in[i];
    });
    branch.backward(x, y, detail::read_only(slope), dx, cache.branch, gradient.branch, device);
    if constexpr (std::same_as<DX, NoGradient>) {
      shortcut.backward(x, y, detail::read_only(slope), dx, cache.shortcut, gradient.shortcut, device);
    } else {
      const auto term =
          detail::with_data(detail::shape_of(dx), detail::workspace<std::pair<Residual, Term>, T>(dx.size()));
      shortcut.backward(x, y, detail::read_only(slope), term, cache.shortcut, gradient.shortcut, device);
      detail::add_to(dx, detail::read_only(term), device);
    }
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    f(self.branch, cache.branch);
    f(self.shortcut, cache.shortcut);
  }
};

/// residual(sequential(...), shortcut).
template <class Branch, class Shortcut>
Residual<Branch, Shortcut> residual(Branch branch, Shortcut shortcut) {
  static_assert(!detail::backward_reads_output<Branch>,
                "poolhead: a residual branch ends in a layer whose backward does not read its output");
  return {std::move(branch), std::move(shortcut)};
}

}  // namespace poolhead::inline POOLHEAD_ISA
