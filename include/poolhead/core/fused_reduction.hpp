// Several reductions in one walk.
#pragma once

#include "poolhead/core/reduce.hpp"

#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Reductions that walk together.
template <class... Reductions>
struct FusedReduction {
  using First = std::tuple_element_t<0, std::tuple<Reductions...>>;
  using Accumulator = typename First::Accumulator;
  using PositionLane = typename First::PositionLane;
  static constexpr int N = simd::lanes<Accumulator>;
  static constexpr auto heads = std::index_sequence_for<Reductions...>{};
  static constexpr bool is_light = (detail::is_light<Reductions> && ...);
  static constexpr bool any_order = (detail::any_order<Reductions> && ...);
  using V = simd::Vec<Accumulator, N>;

  struct State {
    std::tuple<typename Reductions::State...> of;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        return State{{Reductions::State::zip(f, std::get<I>(a.of), std::get<I>(b.of))...}};
      }
      (heads);
    }
  };

  std::tuple<Reductions...> reductions;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... r) __attribute__((always_inline)) { return State{{r.identity(lanes, n, c)...}}; },
        reductions);
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<PositionLane, N>& positions,
                                  const Valid& valid) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).accumulate(std::get<I>(state.of), x, positions, valid), ...);
    }
    (heads);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      return State{{std::get<I>(reductions).merge(std::get<I>(a.of), std::get<I>(b.of))...}};
    }
    (heads);
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).finish(std::get<I>(state.of), n, c, count), ...);
    }
    (heads);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
