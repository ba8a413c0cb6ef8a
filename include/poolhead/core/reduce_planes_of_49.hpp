// Planes of 49 floats, those of the 7 x 7 positions that most networks end in, NCHW: 16 of them are 49 lines of
// a cache without a gap, and are read line by line.
#pragma once

#include "poolhead/core/mask.hpp"
#include "poolhead/core/merge_lanes.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Whether R adds up what it computes of each element (core/reduce.hpp).
template <class R>
inline constexpr bool has_terms = requires {
  R::terms_of_each;
};

/// Whether R reads planes of X so: with 0 in the place of other planes' elements, or of their terms.
template <class R, class X>
inline constexpr bool has_lines_of_49 = simd::register_bytes == 64 && !is_masked<X> && !is_vast<R> &&
                                        std::same_as<std::remove_const_t<typename X::Scalar>, float> &&
                                        (has_terms<R> || requires { requires R::passes_over_zeros; });

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

/// Adds the terms of a plane of 49 that begins in lane i of the first of four vectors.
template <class R, int M>
POOLHEAD_INLINE void add_terms_of_49(const R& reduction, ShortState<R>& state, int i,
                                     const simd::Vec<float, 16> (&first)[M][1],
                                     const simd::Vec<float, 16> (&others)[M][3]) {
  using V = simd::Vec<float, 16>;
  const auto lane = simd::iota<std::int32_t, 16>(0);
  const auto own = simd::splat<std::int32_t, 16>(i);
  V term[M][4];
  unroll<M>([&](auto m) __attribute__((always_inline)) {
    term[m][0] = simd::select(lane < own, simd::zero<V>(), first[m][0]);
    term[m][1] = others[m][0];
    term[m][2] = others[m][1];
    term[m][3] = simd::select(own < lane, simd::zero<V>(), others[m][2]);
  });
  reduction.add(state, term);
}
/// reduce_planes_of_49 by terms: what a vector of two planes gives is computed once.
template <class R, class Identity>
POOLHEAD_INLINE void reduce_terms_of_49(const R& reduction, const float* planes, ShortState<R> (&states)[16],
                                        const Identity& identity) {
  constexpr int N = 16;
  constexpr int M = R::terms_of_each;
  using V = simd::Vec<float, N>;
  V shared[M][1];
  const V start[1] = {simd::load<float>(planes)};
  reduction.terms(start, shared);
  for (int i = 0; i < N; ++i) {
    V x[3], own[M][3];
    unroll<3>([&](auto k)
                  __attribute__((always_inline)) { x[k] = simd::load<float>(planes + (3 * i + 1 + k) * N); });
    reduction.terms(x, own);
    auto state = identity(i);
    add_terms_of_49(reduction, state, i, shared, own);
    states[i] = state;
    unroll<M>([&](auto m) __attribute__((always_inline)) { shared[m][0] = own[m][2]; });
  }
}
/// The same, to the last bit, of one plane, which would begin in lane i.
template <class R>
POOLHEAD_INLINE void reduce_terms_of_one_49(const R& reduction, const float* plane, ShortState<R>& state,
                                            int i) {
  constexpr int N = 16;
  constexpr int M = R::terms_of_each;
  using V = simd::Vec<float, N>;
  const float* const first = plane - i;
  V shared[M][1], own[M][3];
  const V start[1] = {simd::load_between(first, i, N)};
  const V x[3] = {simd::load<float>(first + N), simd::load<float>(first + 2 * N),
                  simd::load_between(first + 3 * N, 0, i + 1)};
  reduction.terms(start, shared);
  reduction.terms(x, own);
  add_terms_of_49(reduction, state, i, shared, own);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
