// Small products of matrices of doubles, without packing or memory of their own: operands are tiles that fit a
// cache.
#pragma once

#include "poolhead/core/lanes.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// An (i, k) element is data[i * row + k * column].
struct Strided {
  const double* data;
  Index row;
  Index column;
};

/// R rows from i on, V vectors of columns from j on, the last of which holds `count` columns.
template <int R, int V>
POOLHEAD_INLINE void multiply_block(const Strided& a, const double* b, Index b_row, double* c, Index c_row,
                                    Index depth, Index i, Index j, int count) {
  constexpr int N = simd::lanes<double>;
  simd::Vec<double, N> sums[R][V];
  const auto load = [&](const double* p, int v) __attribute__((always_inline)) {
    return v + 1 < V || count == N ? simd::load<double>(p + v * N) : simd::load_first<double>(p + v * N, count);
  };
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = load(c + (i + r) * c_row + j, v); });
  });
  for (Index k = 0; k < depth; ++k) {
    simd::Vec<double, N> right[V];
    unroll<V>([&](auto v) __attribute__((always_inline)) { right[v] = load(b + k * b_row + j, v); });
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      const auto left = simd::splat<double, N>(a.data[(i + r) * a.row + k * a.column]);
      unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = sums[r][v] + left * right[v]; });
    });
  }
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) {
      simd::store_first(c + (i + r) * c_row + j + v * N, sums[r][v], v + 1 < V ? N : count);
    });
  });
}

/// c += a b: c is rows x columns, b depth x columns, both row by row without gaps within a row. The order of
/// every sum depends on the extents alone.
inline void multiply_add(const Strided& a, const double* b, Index b_row, double* c, Index c_row, Index rows,
                         Index columns, Index depth) {
  constexpr int N = simd::lanes<double>;
  const auto strip = [&]<int R>(std::integral_constant<int, R>, Index i) {
    Index j = 0;
    for (; j + 3 * N <= columns; j += 3 * N) multiply_block<R, 3>(a, b, b_row, c, c_row, depth, i, j, N);
    for (; j < columns; j += N)
      multiply_block<R, 1>(a, b, b_row, c, c_row, depth, i, j,
                           static_cast<int>(std::min<Index>(N, columns - j)));
  };
  Index i = 0;
  for (; i + 4 <= rows; i += 4) strip(std::integral_constant<int, 4>{}, i);
  for (; i < rows; ++i) strip(std::integral_constant<int, 1>{}, i);
}

inline double dot(const double* a, const double* b, Index size) {
  constexpr int N = simd::lanes<double>;
  using V = simd::Vec<double, N>;
  V sums[4] = {simd::zero<V>(), simd::zero<V>(), simd::zero<V>(), simd::zero<V>()};
  Index i = 0;
  for (; i + 4 * N <= size; i += 4 * N)
    for (int k = 0; k < 4; ++k)
      sums[k] = sums[k] + simd::load<double>(a + i + k * N) * simd::load<double>(b + i + k * N);
  double lanes[N];
  simd::store(lanes, (sums[0] + sums[1]) + (sums[2] + sums[3]));
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  for (; i < size; ++i) total += a[i] * b[i];
  return total;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
