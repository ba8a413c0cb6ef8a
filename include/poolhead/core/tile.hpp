// Some planes of NCHW, turned so that lanes are channels: what has no long rows is faster in that order.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/lanes.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The most elements of planes that are held at once: they stay in a second-level cache.
inline constexpr Index most_tile_elements = 65536;

/// How many planes are turned together: some vectors of channels, or one, or none, where even those are too
/// large.
template <class A>
Index turned_planes(Index positions) {
  constexpr Index N = simd::lanes<A>;
  for (const Index vectors : {8, 4, 2, 1})
    if (vectors * N * positions <= most_tile_elements) return vectors * N;
  return 0;
}

/// tile[s * stride + q] = planes[q * plane_stride + s], s < positions, for count <= N planes; the lanes beyond
/// repeat the last plane.
template <class A, class T>
void turn_planes(const T* planes, Index plane_stride, Index positions, int count, A* tile, Index stride) {
  constexpr int N = simd::lanes<A>;
  simd::Vec<A, N> rows[N];
  for (Index s = 0; s < positions; s += N) {
    const auto inside = static_cast<int>(std::min<Index>(N, positions - s));
    for (int q = 0; q < N; ++q) {
      const T* const from = planes + std::min(q, count - 1) * plane_stride + s;
      rows[q] = inside == N ? simd::load<A>(from) : simd::load_first<A>(from, inside);
    }
    simd::transpose<N / 2>(rows);
    for (int i = 0; i < inside; ++i) simd::store(tile + (s + i) * stride, rows[i]);
  }
}

/// planes[q * plane_stride + s] = tile[s * stride + q], q < count <= N, s < positions. The numbers of a row are
/// as many as a vector of elements has, of whatever type.
template <int N, class A, class T>
void turn_back(const A* tile, Index stride, Index positions, int count, T* planes, Index plane_stride) {
  using V = simd::Vec<A, N>;
  V rows[N];
  for (Index s = 0; s < positions; s += N) {
    const auto inside = static_cast<int>(std::min<Index>(N, positions - s));
    for (int i = 0; i < N; ++i)
      std::memcpy(static_cast<void*>(&rows[i]), tile + (s + std::min(i, inside - 1)) * stride, sizeof(V));
    simd::transpose<N / 2>(rows);
    for (int q = 0; q < count; ++q) {
      if constexpr (std::is_integral_v<A>)
        simd::store_first(planes + q * plane_stride + s, simd::convert<T>(rows[q]), inside);
      else
        simd::store_first(planes + q * plane_stride + s, rows[q], inside);
    }
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
