// A part of a network that training may leave as it is.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = layer(x). While `frozen`, its parameters are state that checkpoints hold and optimizers do not see: no
/// gradient of it is computed or stored, its cache keeps no activations, and a backward that asks for dx
/// throws. Batch-norm in it then uses the running statistics, also in training, unless frozen_statistics is
/// false. For transfer learning: a backbone at the front of a Sequential.
template <class L>
class Freezable {
 public:
  static constexpr std::string_view name = "Freezable";
  static constexpr bool is_composition = true;
  static constexpr bool backward_reads_output = detail::backward_reads_output<L>;

  std::vector<L> layer;  ///< one; none in a gradient of a frozen part
  bool frozen;
  bool frozen_statistics = true;

  explicit Freezable(L given, bool is_frozen = false) : layer{std::move(given)}, frozen(is_frozen) {}

  template <class X>
  struct Cache {
    bool frozen = false;
    decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{})) layer;
  };

  /// See zeros_like.
  void release_frozen() {
    if (frozen) std::vector<L>().swap(layer);
  }

  template <class F, class First, class... Others>
  static void visit_parts(const F& f, First& first, Others&... others) {
    if (!first.layer.empty()) f(detail::wrapped_name<L>(), first.layer.front(), others.layer.front()...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    return layer.front().output_shape(x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    Mode own = mode;
    if (frozen) {
      own.backward = own.keeps_gradients = false;
      own.trains = mode.trains && !frozen_statistics;
    }
    return Cache<decltype(detail::shape_of(x))>{frozen,
                                                detail::make_cache(layer.front(), detail::shape_of(x), own)};
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    layer.front().forward(x, y, cache.layer, device);
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Freezable& gradient,
                const D& device = D{}) const {
    if constexpr (!std::same_as<DX, NoGradient>) check_gives_dx();
    if (frozen || cache.frozen) return;
    layer.front().backward(x, y, dy, dx, cache.layer, gradient.layer.front(), device);
  }

  /// Throws ValueError where the part is frozen: before anything of a network has run backward.
  void check_gives_dx() const {
    if (frozen)
      detail::fail<ValueError>(name, "::backward: the part is frozen and has no dx, expected no_gradient");
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    f(self.layer.front(), cache.layer);
  }
  template <class Y, class C, class F>
  void visit_part_outputs(const Y& y, const C& cache, const F& f) const {
    if (!cache.frozen) layer.front().visit_part_outputs(y, cache.layer, f);
  }
  template <class DY, class C, class F>
  void visit_part_gradients(const DY& dy, const C& cache, const F& f) const {
    if (!cache.frozen) layer.front().visit_part_gradients(dy, cache.layer, f);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
