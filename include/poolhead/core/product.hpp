// Small products of matrices, without packing or memory of their own: operands are tiles that fit a cache.
#pragma once

#include "poolhead/core/lanes.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// An (i, k) element is data[i * row + k * column].
template <class A>
struct Strided {
  const A* data;
  Index row;
  Index column;
};

/// R rows from i on, V vectors of columns from j on, the last of which holds `count` columns.
template <int R, int V, class Left, class A, class Sum>
POOLHEAD_INLINE void multiply_block(const Strided<Left>& a, const A* b, Index b_row, Sum* c, Index c_row,
                                    Index depth, Index i, Index j, int count) {
  constexpr int N = simd::lanes<A>;
  simd::Vec<A, N> sums[R][V];
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = simd::zero<simd::Vec<A, N>>(); });
  });
  for (Index k = 0; k < depth; ++k) {
    simd::Vec<A, N> right[V];
    unroll<V>([&](auto v) __attribute__((always_inline)) {
      const A* const p = b + k * b_row + j + v * N;
      right[v] = v + 1 < V || count == N ? simd::load<A>(p) : simd::load_first<A>(p, count);
    });
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      const auto left = simd::splat<A, N>(static_cast<A>(a.data[(i + r) * a.row + k * a.column]));
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        sums[r][v] = simd::multiply_add(left, right[v], sums[r][v]);
      });
    });
  }
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) {
      Sum* const p = c + (i + r) * c_row + j + v * N;
      const int own = v + 1 < V ? N : count;
      simd::store_first(p, simd::load_array<N>(p, own) + simd::convert<Sum>(sums[r][v]), own);
    });
  });
}

/// c += a b: c is rows x columns, b depth x columns, both row by row without gaps within a row. The order of
/// every sum depends on the extents alone; it is one of b's type, and is added to c once.
template <class Left, class A, class Sum>
void multiply_add(const Strided<Left>& a, const A* b, Index b_row, Sum* c, Index c_row, Index rows,
                  Index columns, Index depth) {
  constexpr int N = simd::lanes<A>;
  const auto strip = [&]<int R, int V>(std::integral_constant<int, R>, std::integral_constant<int, V>,
                                       Index j) {
    const auto count = static_cast<int>(std::min<Index>(N, columns - j - (V - 1) * N));
    Index i = 0;
    for (; i + R <= rows; i += R) multiply_block<R, V>(a, b, b_row, c, c_row, depth, i, j, count);
    for (; i < rows; ++i) multiply_block<1, V>(a, b, b_row, c, c_row, depth, i, j, count);
  };
  for (Index j = 0; j < columns;) {
    // As many registers as hold the sums: twelve, if there are enough columns.
    const Index left = (columns - j + N - 1) / N;
    if (left == 3 || left > 4) {
      strip(std::integral_constant<int, 4>{}, std::integral_constant<int, 3>{}, j);
      j += 3 * N;
    } else if (left > 1) {
      strip(std::integral_constant<int, 4>{}, std::integral_constant<int, 2>{}, j);
      j += 2 * N;
    } else {
      strip(std::integral_constant<int, 8>{}, std::integral_constant<int, 1>{}, j);
      j += N;
    }
  }
}

/// sum a[i] b[i], in double.
template <class B>
double dot(const double* a, const B* b, Index size) {
  constexpr int N = simd::lanes<B>;
  using Wide = simd::Vec<double, N>;
  Wide sums[2] = {simd::zero<Wide>(), simd::zero<Wide>()};
  Index i = 0;
  for (; i + 2 * N <= size; i += 2 * N)
    unroll<2>([&](auto k) __attribute__((always_inline)) {
      const auto right = simd::convert<double>(simd::load<B>(b + i + k * N));
      sums[k] = simd::multiply_add(simd::load_array<N>(a + i + k * N, N), right, sums[k]);
    });
  double lanes[N];
  simd::store_first(lanes, sums[0] + sums[1], N);
  double total = 0.0;
  for (const double lane : lanes) total += lane;
  for (; i < size; ++i) total += a[i] * static_cast<double>(b[i]);
  return total;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
