// Some planes of NCHW, turned so that lanes are channels: what has no long rows is faster in that order.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/lanes.hpp"
#include "poolhead/core/simd_turn.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The most elements of planes that are held at once: they stay in a second-level cache.
inline constexpr Index most_tile_elements = 65536;

/// How many positions of a vector of planes are turned at once: they stay in the first-level cache.
template <class A>
inline constexpr Index turned_positions = 2048 / simd::lanes<A>*(4 / static_cast<Index>(sizeof(float)));

/// How many planes are turned together: some vectors of channels, or one, or none, where even those are too
/// large.
template <class A>
Index turned_planes(Index positions) {
  constexpr Index N = simd::lanes<A>;
  if (16 * N * positions <= 8192)
    return 16 * N;  // that many still fit the first level, and share a block's cost
  for (const Index vectors : {8, 4, 2, 1})
    if (vectors * N * positions <= most_tile_elements) return vectors * N;
  return 0;
}

/// Calls f(P) where P, a constant, is a power of 2 below N; returns whether it is.
template <int N, int P = 1, class F>
POOLHEAD_INLINE bool with_power_of_2(Index p, const F& f) {
  if constexpr (P == N) {
    return false;
  } else {
    if (p != P) return with_power_of_2<N, 2 * P>(p, f);
    f(std::integral_constant<int, P>{});
    return true;
  }
}

/// tile[s * stride + q] = planes[q * plane_stride + s], s < positions, for count <= N planes; the lanes beyond
/// repeat the last plane.
template <class A, class T>
void turn_planes(const T* planes, Index plane_stride, Index positions, int count, A* tile, Index stride) {
  constexpr int N = simd::lanes<A>;
  // N planes of so few positions that they are some vectors.
  if (positions < N && plane_stride == positions && count == N &&
      with_power_of_2<N>(
          positions, [&](auto number) __attribute__((always_inline)) {
            simd::Vec<A, N> rows[number];
            unroll<number>([&](auto i)
                               __attribute__((always_inline)) { rows[i] = simd::load<A>(planes + i * N); });
            simd::separate_rows(rows);
            unroll<number>([&](auto i)
                               __attribute__((always_inline)) { simd::store(tile + i * stride, rows[i]); });
          }))
    return;
  constexpr Index L = simd::turned_lanes<A>;
  const auto turn_all = [&](const auto& plane) __attribute__((always_inline)) {
    const auto turn = [&](Index s) __attribute__((always_inline)) {
      simd::Vec<A, N> columns[L];
      simd::load_turned<A, T>(
          [&](int q) __attribute__((always_inline)) { return plane(q) + s; }, columns);
      unroll<L>([&](auto i)
                    __attribute__((always_inline)) { simd::store(tile + (s + i) * stride, columns[i]); });
    };
    Index s = 0;
    for (; s + L <= positions; s += L) turn(s);
    if (s < positions) turn(positions - L);  // some of them once more
  };
  const auto plane = [&](int q) __attribute__((always_inline)) { return planes + q * plane_stride; };
  const auto last_of = [&](int q) __attribute__((always_inline)) { return plane(std::min(q, count - 1)); };
  if (positions < L) {
    for (int q = 0; q < N; ++q)
      for (Index s = 0; s < positions; ++s) tile[s * stride + q] = static_cast<A>(last_of(q)[s]);
  } else if (count == N) {
    turn_all(plane);
  } else {
    turn_all(last_of);
  }
}

/// planes[q * plane_stride + s] = tile[s * stride + q], q < count <= N, s < positions. The numbers of a row are
/// as many as a vector of elements has, of whatever type.
template <int N, class A, class T>
void turn_back(const A* tile, Index stride, Index positions, int count, T* planes, Index plane_stride) {
  using V = simd::Vec<A, N>;
  const auto put = [](T * to, const V& value, int elements) __attribute__((always_inline)) {
    if constexpr (std::is_integral_v<A>)
      simd::store_first(to, simd::convert<T>(value), elements);
    else if (elements == N)
      simd::store(to, value);
    else
      simd::store_first(to, value, elements);
  };
  const auto turn_whole = [&](Index s) __attribute__((always_inline)) {
    V rows[N];
    unroll<N>([&](auto i)
                  __attribute__((always_inline)) { rows[i] = simd::load_array<N>(tile + (s + i) * stride); });
    simd::transpose(rows);
    if (count == N) {
      unroll<N>([&](auto q) __attribute__((always_inline)) { put(planes + q * plane_stride + s, rows[q], N); });
    } else {
      unroll<N - 1>([&](auto q) __attribute__((always_inline)) {
        if (q < count) put(planes + q * plane_stride + s, rows[q], N);
      });
    }
  };
  Index s = 0;
  for (; s + N <= positions; s += N) turn_whole(s);
  if (s == positions) return;
  if (positions >= N) return turn_whole(positions - N);  // some of them once more
  if (plane_stride == positions && count == N &&
      with_power_of_2<N>(
          positions, [&](auto number) __attribute__((always_inline)) {
            V rows[number];
            unroll<number>([&](auto i) __attribute__((always_inline)) {
              rows[i] = simd::load_array<N>(tile + i * stride);
            });
            simd::interleave_rows(rows);
            unroll<number>([&](auto i) __attribute__((always_inline)) { put(planes + i * N, rows[i], N); });
          }))
    return;
  // Vectors reach into the planes that follow, and those are written after them.
  const auto own = static_cast<int>(positions);
  V rows[N];
  unroll<N>([&](auto i) __attribute__((always_inline)) {
    rows[i] = simd::load_array<N>(tile + std::min<Index>(i, positions - 1) * stride);
  });
  simd::transpose(rows);
  const Index last = plane_stride == positions ? count - (N + own - 1) / own : -1;
  unroll<N>([&](auto q) __attribute__((always_inline)) {
    if (q < count) put(planes + q * plane_stride, rows[q], q <= last ? N : own);
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
