// Reductions of 16-bit elements two vectors at a time: simd::load_pair says in which order, so this is for
// those that say `static constexpr bool any_order = true`.
#pragma once

#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/core/walk.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class R>
inline constexpr bool any_order = requires {
  requires R::any_order;
};

/// The lanes of the last 2 N elements of a plane that no pair before has: all but the first of them.
template <class T, class A>
struct LastPairLanes {
  simd::Mask<A, simd::lanes<A>> lane[2];

  explicit LastPairLanes(Index size) {
    constexpr int N = simd::lanes<A>;
    using I = simd::IntOf<A>;
    const auto rest = static_cast<I>((size - 1) % (2 * N) + 1);
    const auto first = simd::splat<I, N>(static_cast<I>(2 * N - rest - 1));
    lane[0] = simd::places_in_pair<A, T, false>() > first;
    lane[1] = simd::places_in_pair<A, T, true>() > first;
  }
};

/// Folds a plane of `size` elements, at least 2 N, NCHW. number: of pairs, where that is not 0; ahead asks for
/// what follows where it is. The last pair reaches back into the one before.
template <int number, class R, class State, class T, class A = typename R::Accumulator>
POOLHEAD_INLINE void reduce_pairs(const R& reduction, State& state, const T* plane, Index size,
                                  const LastPairLanes<T, A>& last, const ReadAhead& ahead = ReadAhead()) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const Positions<typename R::PositionLane, N> nowhere{};
  const T* const last_two = plane + size - 2 * N;
  const auto two = [&](const T* from, const T* then, const auto& valid) __attribute__((always_inline)) {
    V x[4];
    simd::load_pair<A>(from, x[0], x[1]);
    simd::load_pair<A>(then, x[2], x[3]);
    reduction.accumulate(state, x, nowhere, valid);
  };
  const auto one = [&](const T* from, const auto& valid) __attribute__((always_inline)) {
    V x[2];
    simd::load_pair<A>(from, x[0], x[1]);
    reduction.accumulate(state, x, nowhere, valid);
  };
  if constexpr (number > 0) {
    constexpr int groups = (number - 1) / 2;
    unroll<groups>([&](auto g) __attribute__((always_inline)) {
      two(plane + 4 * N * g, plane + 4 * N * g + 2 * N, EveryLane{});
    });
    if constexpr (number % 2 == 0)
      two(plane + 4 * N * groups, last_two, LastPair<A, 4>{last.lane});
    else
      one(last_two, LastPair<A, 2>{last.lane});
  } else {
    Index s = 0;
    for (; s + 4 * N < size; s += 4 * N) {
      ahead.fetch<4 * N * sizeof(T)>(plane + s);
      two(plane + s, plane + s + 2 * N, EveryLane{});
    }
    if (s + 2 * N < size)
      two(plane + s, last_two, LastPair<A, 4>{last.lane});
    else
      one(last_two, LastPair<A, 2>{last.lane});
  }
}

/// Whether R takes the rows of NHWC in pairs.
template <class R, class X>
inline constexpr bool has_row_pairs =
    any_order<R> && !is_vast<R> && std::same_as<typename X::Scalar, Eigen::bfloat16>;

/// States of pairs of vectors of channels, the first `whole` of states, become those of channels in order.
template <class State>
POOLHEAD_INLINE void order_states(State* states, Index whole) {
  for (Index v = 0; v + 2 <= whole; v += 2) {
    const State a = states[v];
    const State b = states[v + 1];
    states[v] = State::zip(
        [](const auto& p, const auto& q)
            __attribute__((always_inline)) { return simd::interleave<false>(p, q); },
        a, b);
    states[v + 1] = State::zip(
        [](const auto& p, const auto& q)
            __attribute__((always_inline)) { return simd::interleave<true>(p, q); },
        a, b);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
