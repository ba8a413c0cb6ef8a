// The reductions of planes of NCHW: of their own lanes, which are merged when a plane is through.
#pragma once

#include "poolhead/core/mask.hpp"
#include "poolhead/core/merge_lanes.hpp"
#include "poolhead/core/reduce_pairs.hpp"
#include "poolhead/core/reduce_planes_of_49.hpp"
#include "poolhead/core/simd_turn.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class R>
inline constexpr int reduction_lanes = simd::lanes<typename R::Accumulator>;

template <class R>
inline constexpr bool is_light = !is_vast<R> && requires {
  requires R::is_light;
};

/// Folds a plane of `positions`, NCHW.
template <bool masked, class R, class State, class T>
POOLHEAD_INLINE void reduce_plane(const R& reduction, State& state, const T* plane, Index positions,
                                  const simd::FirstLanes<typename R::Accumulator>& last,
                                  const unsigned char* mask, const ReadAhead& ahead) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  walk_plane<masked, A>(
      plane, positions, last, mask,
      ahead, [&](const auto& x, Index s, const auto& valid) __attribute__((always_inline)) {
        const LaterPositions<I, N> at{{simd::iota<I, N>(0) + simd::splat<I, N>(static_cast<I>(s)), N}};
        reduction.accumulate(state, x, at, valid);
      });
}

/// Folds some vectors of a plane, or all of them.
template <bool all, class R, class State, class V, int K, class At, class Valid>
POOLHEAD_INLINE void fold_vectors(const R& reduction, State& state, const V (&x)[K], const At& at,
                                  const Valid& valid) {
  if constexpr (all && requires { reduction.whole(x, at, valid); })
    state = reduction.whole(x, at, valid);
  else
    reduction.accumulate(state, x, at, valid);
}

/// Folds a plane of that many vectors, the last of them in its `last` lanes.
template <int vectors, class R, class T>
POOLHEAD_INLINE void reduce_short(const R& reduction, ShortState<R>& state, const T* plane,
                                  const simd::FirstLanes<typename R::Accumulator>& last) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  unroll<(vectors + 3) / 4>([&](auto group) __attribute__((always_inline)) {
    constexpr int first = 4 * group;
    constexpr int K = std::min(vectors - first, 4);
    constexpr bool whole = first + K < vectors;
    simd::Vec<A, N> x[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const T* const from = plane + (first + k) * N;
      x[k] = whole || k + 1 < K ? simd::load<A>(from) : simd::load_first<A>(from, last);
    });
    const LaterPositions<I, N> at{{simd::iota<I, N>(static_cast<I>(first * N)), N}};
    if constexpr (whole)
      fold_vectors<K == vectors>(reduction, state, x, at, EveryLane{});
    else
      fold_vectors<K == vectors>(reduction, state, x, at, LastLanes<A, K>{last.mask});
  });
}

/// states[i] = what fold(state, plane) makes of plane c + i of sample n, i < count <= N, NCHW; identity(c) is
/// the state of a plane before. (Planes in turns, a few lines of each, take twice as long where they are in no
/// cache.)
template <int N, class X, class State, class Identity, class Fold>
POOLHEAD_INLINE void fold_planes(const X& x, Index n, Index c, int count, State (&states)[N],
                                 const Identity& identity, const Fold& fold) {
  const Index positions = x.positions();
  const auto* const planes = x.sample(n) + c * positions;
  for (int i = 0; i < N; ++i) {
    // Beyond the last channel stand identities of it, so that all lanes hold a channel's parameters.
    State state = identity(c + std::min(i, count - 1));
    if (i < count) fold(state, planes + i * positions);
    states[i] = state;  // until here in registers
  }
}

/// Whether R takes planes of NCHW in pairs of vectors.
template <class R, class X>
inline constexpr bool has_plane_pairs =
    any_order<R> && !is_vast<R> && sizeof(typename X::Scalar) == 2 && !is_masked<X>;

/// Whether planes are so short that they are unrolled.
template <class R, class X>
bool are_short_planes(const X& x) {
  constexpr Index N = reduction_lanes<R>;
  if constexpr (!is_light<R> || is_masked<X>) return false;
  return x.positions() <= most_short_vectors * N && (!has_plane_pairs<R, X> || x.positions() >= 2 * N);
}

/// Whether planes are so tiny that lanes are better planes than positions: to merge the lanes of each takes
/// longer than to turn them.
template <class R, class X>
bool are_tiny_planes(const X& x) {
  using A = typename R::Accumulator;
  if constexpr (is_masked<X>) return false;
  constexpr Index N = reduction_lanes<R>;
  constexpr Index least = simd::turned_lanes<A>;
  constexpr Effort effort = effort_of<R>();
  constexpr Index functions = is_narrow<X> ? N : 3 * N / 4;
  constexpr Index most = effort == Effort::compares ? 2 * N : effort == Effort::computes ? functions : least;
  return x.positions() >= least && x.positions() <= most;
}

/// The states of planes c .. c + count - 1 (count <= N) of sample n, NCHW, which are tiny.
template <class R, class X>
POOLHEAD_INLINE typename R::State reduce_tiny_planes(const R& reduction, const X& x, Index n, Index c,
                                                     int count) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using T = std::remove_const_t<typename X::Scalar>;
  constexpr int N = simd::lanes<A>;
  constexpr int L = simd::turned_lanes<A>;
  const Index positions = x.positions();
  const T* const planes = x.sample(n) + c * positions;
  auto state = reduction.identity(ChannelLanes<A, I>{count}, n, c);
  const auto fold = [&](const auto& plane) __attribute__((always_inline)) {
    const auto turn = [&](Index s, simd::Vec<A, N>(&columns)[L]) __attribute__((always_inline)) {
      simd::load_turned<A, T>(
          [&](int q) __attribute__((always_inline)) { return plane(q) + s; }, columns);
    };
    const auto add = [&](const auto& columns, Index s) __attribute__((always_inline)) {
      const LaterPositions<I, N> at{{simd::in_register(simd::splat<I, N>(static_cast<I>(s))), 1}};
      reduction.accumulate(state, columns, at, EveryLane{});
    };
    simd::Vec<A, N> columns[L];
    Index s = 0;
    for (; s + L <= positions; s += L) {
      turn(s, columns);
      add(columns, s);
    }
    if (s == positions) return;
    turn(positions - L, columns);  // some of them once more
    for (Index k = L - (positions - s); k < L; ++k, ++s) {
      const simd::Vec<A, N> one[1] = {columns[k]};
      add(one, s);
    }
  };
  if (count == N)
    fold([&](int q) __attribute__((always_inline)) { return planes + q * positions; });
  else
    fold([&](int q) __attribute__((always_inline)) { return planes + std::min(q, count - 1) * positions; });
  return state;
}

/// The state whose lanes are planes, of those of the lanes of N planes.
template <class R, class State>
POOLHEAD_INLINE auto merge_planes(const R& reduction, State* states) {
  return merge_lanes<reduction_lanes<R> / 2>(
      states, [&](const auto& a, const auto& b)
                  __attribute__((always_inline)) { return reduction.merge(a, b); });
}

/// The states of planes c .. c + count - 1 (count <= N) of sample n, NCHW, which are short.
template <class R, class X>
POOLHEAD_INLINE typename R::State reduce_short_planes(const R& reduction, const X& x, Index n, Index c,
                                                      int count) {
  using A = typename R::Accumulator;
  using Lane = SharedLane<A, typename R::PositionLane>;
  constexpr Index N = reduction_lanes<R>;
  const Index positions = x.positions();
  const Index vectors = (positions + N - 1) / N;
  const auto identity = [&](Index own) __attribute__((always_inline)) {
    return short_identity(reduction, Lane{}, n, own);
  };
  ShortState<R> states[N];
  if constexpr (has_lines_of_49<R, X>) {
    const float* const planes = x.sample(n) + c * positions;
    const auto of_plane = [&](int i) __attribute__((always_inline)) { return identity(c + i); };
    if constexpr (!has_terms<R>) {
      if (positions == 49 && count == N) {
        reduce_planes_of_49(reduction, planes, states, of_plane);
        return merge_planes(reduction, states);
      }
    } else if (positions == 49) {
      // Whatever channels come with it, a channel's lanes are the same.
      if (count == N && c % N == 0) {
        reduce_terms_of_49(reduction, planes, states, of_plane);
      } else {
        for (int i = 0; i < N; ++i) {
          auto state = of_plane(std::min(i, count - 1));
          if (i < count)
            reduce_terms_of_one_49(reduction, planes + i * positions, state, static_cast<int>((c + i) % N));
          states[i] = state;
        }
      }
      return merge_planes(reduction, states);
    }
  }
  const auto fold = [&](auto most, Index number, const auto& part) __attribute__((always_inline)) {
    with_number<most>(
        static_cast<int>(number), [&](auto parts) __attribute__((always_inline)) {
          fold_planes(
              x, n, c, count, states,
              identity, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
                part(parts, state, plane);
              });
        });
  };
  if constexpr (has_plane_pairs<R, X>) {
    const LastPairLanes<typename X::Scalar, A> last(positions);
    fold(
        std::integral_constant<int, most_short_vectors / 2>{},
        (vectors + 1) / 2, [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
          reduce_pairs<number>(reduction, state, plane, positions, last);
        });
  } else {
    const auto last = last_lanes<A>(positions);
    fold(
        std::integral_constant<int, most_short_vectors>{},
        vectors, [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
          reduce_short<number>(reduction, state, plane, last);
        });
  }
  return merge_planes(reduction, states);
}

/// The same of any others.
template <class R, class X>
POOLHEAD_INLINE typename R::State reduce_long_planes(const R& reduction, const X& x, Index n, Index c,
                                                     int count, const ReadAhead& ahead) {
  using T = typename X::Scalar;
  using A = typename R::Accumulator;
  using Lane = SharedLane<A, typename R::PositionLane>;
  constexpr Index N = reduction_lanes<R>;
  const Index positions = x.positions();
  const auto short_state = [&](Index own) __attribute__((always_inline)) {
    return short_identity(reduction, Lane{}, n, own);
  };
  // part(state, elements, size, whether they are the plane's last): planes may come in parts.
  const auto fold = [&](const auto& part) __attribute__((always_inline)) {
    constexpr Index most_together = most_short_positions<R>;
    if constexpr (most_together > 0 && !is_masked<X>) {
      if (positions <= most_together) {
        ShortState<R> states[N];
        fold_planes(
            x, n, c, count, states,
            short_state, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
              part(state, plane, positions, true);
            });
        return merge_planes(reduction, states);
      }
    }
    typename R::State states[N];
    fold_planes(
        x, n, c, count,
        states, [&](Index own) __attribute__((always_inline)) { return reduction.identity(Lane{}, n, own); },
        [&](auto& state, const auto* plane) __attribute__((always_inline)) {
          if constexpr (most_together > 0 && !is_masked<X>) {
            constexpr Index size = (most_together + 1) / 2;
            const auto* const end = plane + positions;
            for (bool is_last = false; !is_last; plane += size) {
              auto own = short_state(c);
              is_last = end - plane < 2 * size;
              part(own, plane, is_last ? end - plane : size, is_last);
              state = reduction.merge(state, widened(own));
            }
          } else {
            part(state, plane, positions, true);
          }
        });
    return merge_planes(reduction, states);
  };
  if constexpr (has_plane_pairs<R, X>) {
    if (positions >= 2 * N) {
      const LastPairLanes<T, A> last_pair(positions);
      const LastPairLanes<T, A> whole_pair(2 * N);
      return fold([&](auto& state, const auto* plane, Index size, bool is_last) __attribute__((always_inline)) {
        reduce_pairs<0>(reduction, state, plane, size, is_last ? last_pair : whole_pair, ahead);
      });
    }
  }
  const auto last = last_lanes<A>(positions);
  const unsigned char* const mask = mask_row(x, n);
  return fold([&](auto& state, const auto* plane, Index size, bool) __attribute__((always_inline)) {
    reduce_plane<is_masked<X>>(reduction, state, plane, size, last, mask, ahead);
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
