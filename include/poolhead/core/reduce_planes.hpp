// The reductions of planes of NCHW: of their own lanes, which are merged when a plane is through.
#pragma once

#include "poolhead/core/mask.hpp"
#include "poolhead/core/merge_lanes.hpp"
#include "poolhead/core/reduce_pairs.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class R>
inline constexpr int reduction_lanes = simd::lanes<typename R::Accumulator>;

template <class R>
inline constexpr bool is_light = requires {
  requires R::is_light;
};

/// Folds a plane of `positions`, NCHW.
template <bool masked, class R, class State, class T>
POOLHEAD_INLINE void reduce_plane(const R& reduction, State& state, const T* plane, Index positions,
                                  const simd::FirstLanes<typename R::Accumulator>& last,
                                  const unsigned char* mask) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  walk_plane<masked, A>(
      plane, positions, last,
      mask, [&](const auto& x, Index s, const auto& valid) __attribute__((always_inline)) {
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

/// Whether planes of 49 floats, those of the 7 x 7 positions that most networks end in, are read line by line
/// of a cache, with 0 in the place of other planes' elements: 16 of them are 49 lines without a gap.
template <class R, class X>
inline constexpr bool has_lines_of_49 =
    simd::register_bytes == 64 && !is_masked<X> &&
    std::same_as<std::remove_const_t<typename X::Scalar>, float> && requires {
  requires R::passes_over_zeros;
};

/// states[i] of plane i < 16, which begins in lane i of vector 3 i.
template <class R, class Identity>
POOLHEAD_INLINE void reduce_planes_of_49(const R& reduction, const float* planes, ShortState<R> (&states)[16],
                                         const Identity& identity) {
  constexpr int N = 16;
  unroll<N>([&](auto i) __attribute__((always_inline)) {
    const float* const first = planes + 3 * N * i;
    const simd::Vec<float, N> x[4] = {simd::load_between(first, i, N), simd::load<float>(first + N),
                                      simd::load<float>(first + 2 * N),
                                      simd::load_between(first + 3 * N, 0, i + 1)};
    auto state = identity(i);
    reduction.accumulate(state, x, LaterPositions<typename R::PositionLane, N>{}, EveryLane{});
    states[i] = state;
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

/// The states of planes c .. c + count - 1 (count <= N) of sample n, NCHW, reduced in one of the ways there
/// are.
template <class R, class X>
POOLHEAD_INLINE typename R::State reduce_whole_planes(const R& reduction, const X& x, Index n, Index c,
                                                      int count,
                                                      const simd::FirstLanes<typename R::Accumulator>& last) {
  using A = typename R::Accumulator;
  using Lane = SharedLane<A, typename R::PositionLane>;
  constexpr Index N = reduction_lanes<R>;
  constexpr bool pairs = any_order<R> && sizeof(typename X::Scalar) == 2 && !is_masked<X>;
  const Index positions = x.positions();
  const Index vectors = (positions + N - 1) / N;
  const auto identity = [&](Index own) __attribute__((always_inline)) {
    return reduction.identity(Lane{}, n, own);
  };
  const auto merged = [&](auto* states) __attribute__((always_inline)) {
    return merge_lanes<N / 2>(
        states, [&](const auto& a, const auto& b)
                    __attribute__((always_inline)) { return reduction.merge(a, b); });
  };
  const auto short_state = [&](Index own) __attribute__((always_inline)) {
    return short_identity(reduction, Lane{}, n, own);
  };
  [[maybe_unused]] const auto fold_short = [&](auto most, Index number, const auto& part)
      __attribute__((always_inline)) {
    ShortState<R> states[N];
    with_number<most>(
        static_cast<int>(number), [&](auto parts) __attribute__((always_inline)) {
          fold_planes(
              x, n, c, count, states,
              short_state, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
                part(parts, state, plane);
              });
        });
    return merged(states);
  };
  // part(state, elements, size, whether they are the plane's last): planes may come in parts.
  const auto fold_long = [&](const auto& part) __attribute__((always_inline)) {
    constexpr Index most_together = most_short_positions<R>;
    typename R::State states[N];
    if constexpr (most_together > 0 && !is_masked<X>) {
      if (positions <= most_together) {
        ShortState<R> short_states[N];
        fold_planes(
            x, n, c, count, short_states,
            short_state, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
              part(state, plane, positions, true);
            });
        return merged(short_states);
      }
      constexpr Index size = (most_together + 1) / 2;
      fold_planes(
          x, n, c, count, states, identity, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
            const auto* const end = plane + positions;
            for (bool is_last = false; !is_last; plane += size) {
              auto own = short_state(c);
              is_last = end - plane < 2 * size;
              part(own, plane, is_last ? end - plane : size, is_last);
              state = reduction.merge(state, widened(own));
            }
          });
    } else {
      fold_planes(
          x, n, c, count, states, identity, [&](auto& state, const auto* plane) __attribute__((always_inline)) {
            part(state, plane, positions, true);
          });
    }
    return merged(states);
  };
  if constexpr (pairs) {
    if (positions >= 2 * N) {
      const LastPairLanes<typename X::Scalar, A> last_pair(positions);
      const LastPairLanes<typename X::Scalar, A> whole_pair(2 * N);
      const auto part = [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
        reduce_pairs<number>(reduction, state, plane, positions, last_pair);
      };
      if constexpr (is_light<R>) {
        if (vectors <= most_short_vectors)
          return fold_short(std::integral_constant<int, most_short_vectors / 2>{}, (vectors + 1) / 2, part);
      }
      return fold_long([&](auto& state, const auto* plane, Index size, bool is_last)
                           __attribute__((always_inline)) {
                             reduce_pairs<0>(reduction, state, plane, size, is_last ? last_pair : whole_pair);
                           });
    }
  } else if constexpr (is_light<R> && !is_masked<X>) {
    if constexpr (has_lines_of_49<R, X>) {
      if (positions == 49 && count == N) {
        ShortState<R> states[N];
        reduce_planes_of_49(
            reduction, x.sample(n) + c * positions,
            states, [&](int i) __attribute__((always_inline)) { return short_state(c + i); });
        return merged(states);
      }
    }
    if (vectors <= most_short_vectors)
      return fold_short(
          std::integral_constant<int, most_short_vectors>{},
          vectors, [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
            reduce_short<number>(reduction, state, plane, last);
          });
  }
  const unsigned char* const mask = mask_row(x, n);
  return fold_long([&](auto& state, const auto* plane, Index size, bool) __attribute__((always_inline)) {
    reduce_plane<is_masked<X>>(reduction, state, plane, size, last, mask);
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
