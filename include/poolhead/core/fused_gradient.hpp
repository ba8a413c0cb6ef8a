// Several gradients in one walk.
#pragma once

#include "poolhead/core/coefficients.hpp"
#include "poolhead/core/lanes.hpp"

#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Gradients that add up; of none at all, 0.
template <class A, class I, class... Gradients>
struct FusedGradient {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool reads_x = (false || ... || Gradients::reads_x);
  static constexpr int N = simd::lanes<A>;
  static constexpr auto heads = std::index_sequence_for<Gradients...>{};
  using V = simd::Vec<A, N>;

  struct Coefficients {
    std::tuple<typename Gradients::Coefficients...> of;

    POOLHEAD_INLINE Coefficients lane(int i) const {
      return std::apply(
          [&](const auto&... c) __attribute__((always_inline)) { return Coefficients{{lane_of(c, i)...}}; },
          of);
    }
  };
  struct Sums {
    std::tuple<typename Gradients::Sums...> of;
  };

  std::tuple<Gradients...> gradients;

  POOLHEAD_INLINE Coefficients prepare(const ChannelLanes<A, I>& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... g)
            __attribute__((always_inline)) { return Coefficients{{g.prepare(lanes, n, c)...}}; },
        gradients);
  }
  template <int K>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums& sums, const V (&x)[K],
                          const simd::Vec<I, N> (&position)[K], V (&dx)[K]) const {
    unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
      V one[K];
      std::get<g>(gradients).at(std::get<g>(shared.of), std::get<g>(sums.of), x, position, one);
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = g == 0 ? one[k] : dx[k] + one[k]; });
    });
    if constexpr (sizeof...(Gradients) == 0)
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = simd::zero<V>(); });
  }
  POOLHEAD_INLINE void collect(const ChannelLanes<A, I>& lanes, const Sums& sums, Index n, Index c) const {
    [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      (std::get<K>(gradients).collect(lanes, std::get<K>(sums.of), n, c), ...);
    }
    (heads);
  }
  void finish() const {
    std::apply([](const auto&... g) { (g.finish(), ...); }, gradients);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
