// States of reductions whose lanes are merged until each stands for a plane.
#pragma once

#include "poolhead/core/lanes.hpp"
#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/core/view.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class R>
struct ShortStateOf {
  using Type = typename R::State;
};
template <class R>
requires requires { typename R::ShortState; }
struct ShortStateOf<R> {
  using Type = typename R::ShortState;
};
template <class R>
using ShortState = typename ShortStateOf<R>::Type;

/// Up to how many positions a plane that is not unrolled has a short state, too.
template <class R>
inline constexpr Index most_short_positions = 0;
template <class R>
requires(!is_vast<R> && requires {
  R::most_short_positions;
}) inline constexpr Index most_short_positions<R> = R::most_short_positions;

/// The state of a short plane that has seen nothing.
template <class R, class Lanes>
POOLHEAD_INLINE ShortState<R> short_identity(const R& reduction, const Lanes& lanes, Index n, Index c) {
  if constexpr (requires { typename R::ShortState; })
    return reduction.short_identity(lanes, n, c);
  else
    return reduction.identity(lanes, n, c);
}
/// Whether a state is a short plane's, that becomes another.
template <class State>
inline constexpr bool widens = requires {
  requires State::widens;
};
template <class State>
POOLHEAD_INLINE auto widened(const State& state) {
  if constexpr (widens<State>)
    return state.widened();
  else
    return state;
}
template <class State>
using Widened = decltype(widened(std::declval<State>()));

/// Merges the lanes of states[0 .. 2 H - 1] until lane i of the answer holds all of states[i].
template <int H, class State, class Merge>
POOLHEAD_INLINE auto merge_lanes(State* states, const Merge& merge) {
  const auto lower = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::lower<H>(p, q);
  };
  const auto upper = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::upper<H>(p, q);
  };
  const auto round = [&](int i) __attribute__((always_inline)) {
    return merge(State::zip(lower, states[i], states[i + H]), State::zip(upper, states[i], states[i + H]));
  };
  const auto merge_on = [&](auto* merged) __attribute__((always_inline)) {
    if constexpr (H == 1)
      return merged[0];
    else
      return merge_lanes<H / 2>(merged, merge);
  };
  if constexpr (H == 2 && widens<State>) {
    Widened<State> merged[H];
    for (int i = 0; i < H; ++i) merged[i] = round(i).widened();
    return merge_on(merged);
  } else {
    for (int i = 0; i < H; ++i) states[i] = round(i);
    return merge_on(states);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
