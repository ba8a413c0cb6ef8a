// Several gradients in one walk.
#pragma once

#include "poolhead/core/coefficients.hpp"
#include "poolhead/core/lanes.hpp"

#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The coefficients C of several gradients. (No tuple: what is returned is built where it stays.)
template <class... C>
struct FusedCoefficients {
  template <class Lanes>
  POOLHEAD_INLINE static FusedCoefficients prepare(const Lanes&, Index, Index) {
    return {};
  }
  POOLHEAD_INLINE FusedCoefficients lane(int) const { return {}; }
};
template <class C, class... Others>
struct FusedCoefficients<C, Others...> {
  C first;
  [[no_unique_address]] FusedCoefficients<Others...> others;

  template <class Lanes, class G, class... Rest>
  POOLHEAD_INLINE static FusedCoefficients prepare(const Lanes& lanes, Index n, Index c, const G& gradient,
                                                   const Rest&... rest) {
    return {gradient.prepare(lanes, n, c), FusedCoefficients<Others...>::prepare(lanes, n, c, rest...)};
  }
  POOLHEAD_INLINE auto lane(int i) const {
    return FusedCoefficients<LaneOf<C>, LaneOf<Others>...>{lane_of(first, i), others.lane(i)};
  }
  template <int g>
  POOLHEAD_INLINE const auto& of() const {
    if constexpr (g == 0)
      return first;
    else
      return others.template of<g - 1>();
  }
};

/// Gradients that add up; of none at all, 0.
template <class A, class I, class... Gradients>
struct FusedGradient {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool reads_x = (false || ... || Gradients::reads_x);
  static constexpr int peaks = [] {
    if constexpr (reads_x)
      return 0;
    else
      return (0 + ... + Gradients::peaks);
  }();
  static constexpr bool is_zero_elsewhere = (true && ... && detail::is_zero_elsewhere<Gradients>);
  static constexpr bool is_empty = sizeof...(Gradients) == 0;
  static constexpr bool has_sums = (false || ... || !std::is_empty_v<typename Gradients::Sums>);
  static constexpr int N = simd::lanes<A>;
  static constexpr auto heads = std::index_sequence_for<Gradients...>{};
  using V = simd::Vec<A, N>;

  using Coefficients = FusedCoefficients<typename Gradients::Coefficients...>;
  struct Sums {
    std::tuple<typename Gradients::Sums...> of;

    template <class Valid>
    POOLHEAD_INLINE void add_lanes(const Sums& other, const Valid& valid) {
      unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
        std::get<g>(of).add_lanes(std::get<g>(other.of), valid);
      });
    }
    POOLHEAD_INLINE void put_total(int i, const Sums& other) {
      unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
        std::get<g>(of).put_total(i, std::get<g>(other.of));
      });
    }
  };

  std::tuple<Gradients...> gradients;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... g)
            __attribute__((always_inline)) { return Coefficients::prepare(lanes, n, c, g...); },
        gradients);
  }
  template <int K, class Shared>
  POOLHEAD_INLINE void at(const Shared& shared, Sums& sums, const V (&x)[K],
                          const simd::Vec<I, N> (&position)[K], V (&dx)[K]) const {
    if constexpr (sizeof...(Gradients) == 0) {
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = simd::zero<V>(); });
    } else {
      unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
        V one[K];
        std::get<g>(gradients).at(shared.template of<g>(), std::get<g>(sums.of), x, position, one);
        unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = g == 0 ? one[k] : dx[k] + one[k]; });
      });
    }
  }
  POOLHEAD_INLINE void collect(const ChannelLanes<A, I>& lanes, const Sums& sums, Index n, Index c) const {
    [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      (std::get<K>(gradients).collect(lanes, std::get<K>(sums.of), n, c), ...);
    }
    (heads);
  }
  template <class F>
  POOLHEAD_INLINE void each_peak(const Coefficients& shared, const F& f) const {
    unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
      std::get<g>(gradients).each_peak(shared.template of<g>(), f);
    });
  }
  void finish() const {
    std::apply([](const auto&... g) { (g.finish(), ...); }, gradients);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
