// A feature map scaled by what a gate makes of it.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

// A gate is one number per channel, rows (N, C), or one per position, a map (N, 1, H, W).

/// f(i, g): element i of sample n of x is scaled by element g of the sample's gate.
template <class X, class Gate, class F>
void each_gated(const X& x, const Gate&, const F& f) {
  const Index outer = std::same_as<typename X::Layout, ChannelsFirst> ? x.channels() : x.positions();
  const Index inner = x.channels() * x.positions() / outer;
  constexpr bool by_outer = std::same_as<typename X::Layout, ChannelsFirst> == is_rows<Gate>;
  for (Index o = 0; o < outer; ++o)
    for (Index i = 0; i < inner; ++i) f(o * inner + i, by_outer ? o : i);
}

}  // namespace detail

/// y = x gate(x), where the gate makes a number per channel (rows) or per position (a map of one channel);
/// dx = dy gate(x) + the gate's gradient of sum dy x. Parameters have the gate's names.
template <class Gate>
class Scale {
 public:
  static constexpr std::string_view name = "Scale";
  static constexpr bool is_composition = true;
  static constexpr bool backward_reads_output = false;

  Gate gate;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    decltype(detail::make_cache(std::declval<const Gate&>(), std::declval<const X&>(), Mode{})) gate;
    decltype(std::declval<const Gate&>().output_shape(std::declval<const X&>())) gate_shape;
    Mode mode{};
    detail::Buffer<typename X::Scalar> values{};          ///< of the gate
    mutable detail::Buffer<typename X::Scalar> slopes{};  ///< there
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f(detail::wrapped_name<Gate>(), self.gate...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    gate.output_shape(detail::shape_of(x));
    return detail::shape_of(x);
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    const auto shape = detail::shape_of(x);
    Cache<std::remove_const_t<decltype(shape)>> cache{
        {shape}, detail::make_cache(gate, shape, mode), gate.output_shape(shape), mode};
    cache.values.reserve(cache.gate_shape.size());
    if (mode.backward) cache.slopes.reserve(cache.gate_shape.size());
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, x);
    const auto values = detail::with_data(cache.gate_shape, cache.values.data());
    gate.forward(x, values, cache.gate, device);
    detail::each_sample(device, x, 2.0, [&](Index n, Index) {
      const auto* const in = x.sample(n);
      const auto* const factor = detail::sample(values, n);
      auto* const out = y.sample(n);
      detail::each_gated(x, values, [&](Index i, Index g) { out[i] = in[i] * factor[g]; });
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Scale& gradient,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const auto values = detail::with_data(cache.gate_shape, cache.values.data());
    const auto slopes = detail::with_data(cache.gate_shape, cache.slopes.data());
    const Index gates = x.batch() == 0 ? 0 : slopes.size() / x.batch();
    detail::each_sample(device, x, 2.0, [&](Index n, Index) {
      double* const sums = detail::workspace<Scale, double>(gates);
      std::fill_n(sums, gates, 0.0);
      const auto* const in = x.sample(n);
      const auto* const slope = dy.sample(n);
      detail::each_gated(x, values,
                         [&](Index i, Index g) { sums[g] += static_cast<double>(slope[i]) * in[i]; });
      std::transform(sums, sums + gates, detail::sample(slopes, n),
                     [](double sum) { return static_cast<T>(sum); });
    });
    gate.backward(x, detail::read_only(values), detail::read_only(slopes), dx, cache.gate, gradient.gate,
                  device);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 3.0, [&](Index n, Index) {
        const auto* const slope = dy.sample(n);
        const auto* const factor = detail::sample(values, n);
        auto* const to = dx.sample(n);
        detail::each_gated(x, values, [&](Index i, Index g) { to[i] += slope[i] * factor[g]; });
      });
    }
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    f(self.gate, cache.gate);
  }
};

/// scale(sequential(GlobalAveragePool{}, ..., Sigmoid{})).
template <class Gate>
Scale<Gate> scale(Gate gate) {
  return {std::move(gate)};
}

}  // namespace poolhead::inline POOLHEAD_ISA
