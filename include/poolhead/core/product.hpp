// Small products of matrices: operands are tiles that fit a cache.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/core/walk.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// An (i, k) element is data[i * row + k * column].
template <class A>
struct Strided {
  const A* data;
  Index row;
  Index column;
};

/// The terms that are added at a time.
inline constexpr Index most_terms = 64;

/// c += a b for R rows, left[r * row + k] being a's, and V vectors of columns, the last of which holds `count`.
template <int R, int V, class A, class Sum>
POOLHEAD_INLINE void multiply_block(const A* left, Index row, const A* b, Index b_row, Sum* c, Index c_row,
                                    Index depth, int count) {
  constexpr int N = simd::lanes<A>;
  simd::Vec<A, N> sums[R][V];
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = simd::zero<simd::Vec<A, N>>(); });
  });
  const auto add = [&](auto whole) __attribute__((always_inline)) {
    for (Index k = 0; k < depth; ++k, b += b_row) {
      simd::Vec<A, N> right[V];
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        right[v] = whole || v + 1 < V ? simd::load<A>(b + v * N) : simd::load_first<A>(b + v * N, count);
      });
      unroll<R>([&](auto r) __attribute__((always_inline)) {
        const auto own = simd::splat<A, N>(left[r * row + k]);
        unroll<V>([&](auto v) __attribute__((always_inline)) {
          sums[r][v] = simd::multiply_add(own, right[v], sums[r][v]);
        });
      });
    }
  };
  if (count == N)
    add(std::true_type{});
  else
    add(std::false_type{});
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    unroll<V>([&](auto v) __attribute__((always_inline)) {
      Sum* const p = c + r * c_row + v * N;
      const int own = v + 1 < V ? N : count;
      simd::store_first(p, simd::load_array<N>(p, own) + simd::convert<Sum>(sums[r][v]), own);
    });
  });
}

/// How many of so many rows are multiplied together: twelve registers of sums leave some for a and b, and fewer
/// than four rows wait for their own sums.
inline Index rows_together(Index left) {
  if (left >= 9 || left == 6 || left == 7) return 6;
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

/// c += a b: c is rows x columns, b depth x columns, both row by row without gaps within a row. The order of
/// every sum depends on the extents alone; up to 64 terms are added in b's type, and their sums in c's.
template <class Left, class A, class Sum>
[[gnu::noinline]] void multiply_add(const Strided<Left>& a, const A* b, Index b_row, Sum* c, Index c_row,
                                    Index rows, Index columns, Index depth) {
  constexpr int N = simd::lanes<A>;
  constexpr Index most_rows = 48;
  // What is read of b stays in the first-level cache, as does a part of a where it is not read in place.
  struct Part;
  const bool in_place = std::same_as<Left, A> && a.column == 1;
  A* const part = in_place ? nullptr : workspace<Part, A>(most_rows * most_terms);
  for (Index first = 0; first < depth; first += most_terms) {
    const Index terms = std::min(most_terms, depth - first);
    for (Index top = 0; top < rows; top += most_rows) {
      const Index taken = std::min(most_rows, rows - top);
      const A* left = part;
      if constexpr (std::same_as<Left, A>) {
        if (in_place) left = a.data + top * a.row + first;
      }
      const Index row = in_place ? a.row : most_terms;
      for (Index i = 0; i < taken && !in_place; ++i) {
        const Left* const from = a.data + (top + i) * a.row + first * a.column;
        A* const to = part + i * most_terms;
        for (Index k = 0; k < terms; ++k) to[k] = static_cast<A>(from[k * a.column]);
      }
      const auto strip = [&](auto vectors, Index j) __attribute__((always_inline)) {
        constexpr int V = vectors;
        const auto count = static_cast<int>(std::min<Index>(N, columns - j - (V - 1) * N));
        const A* const right = b + first * b_row + j;
        for (Index i = 0; i < taken;) {
          const auto multiply = [&](auto together) __attribute__((always_inline)) {
            multiply_block<together, V>(left + i * row, row, right, b_row, c + (top + i) * c_row + j, c_row,
                                        terms, count);
            i += together;
          };
          switch (rows_together(taken - i)) {
            case 6:
              multiply(std::integral_constant<int, 6>{});
              break;
            case 4:
              multiply(std::integral_constant<int, 4>{});
              break;
            case 2:
              multiply(std::integral_constant<int, 2>{});
              break;
            default:
              multiply(std::integral_constant<int, 1>{});
          }
        }
      };
      Index j = 0;
      for (; j + N < columns; j += 2 * N) strip(std::integral_constant<int, 2>{}, j);
      if (j < columns) strip(std::integral_constant<int, 1>{}, j);
    }
  }
}

/// sum a[i] b[i], in double.
template <class B>
double dot(const double* a, const B* b, Index size) {
  constexpr int N = simd::lanes<B>;
  using Wide = simd::Vec<double, N>;
  Wide sums[4];
  unroll<4>([&](auto k) __attribute__((always_inline)) { sums[k] = simd::zero<Wide>(); });
  Index i = 0;
  for (; i + 4 * N <= size; i += 4 * N)
    unroll<4>([&](auto k) __attribute__((always_inline)) {
      const auto right = simd::convert<double>(simd::load<B>(b + i + k * N));
      sums[k] = simd::multiply_add(simd::load_array<N>(a + i + k * N, N), right, sums[k]);
    });
  double total = simd::total((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < size; ++i) total += a[i] * static_cast<double>(b[i]);
  return total;
}

/// sum a[i]^2, in a's type.
template <class A>
A square(const A* a, Index size) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  V sums[4];
  unroll<4>([&](auto k) __attribute__((always_inline)) { sums[k] = simd::zero<V>(); });
  Index i = 0;
  for (; i + 4 * N <= size; i += 4 * N)
    unroll<4>([&](auto k) __attribute__((always_inline)) {
      const V x = simd::load<A>(a + i + k * N);
      sums[k] = simd::multiply_add(x, x, sums[k]);
    });
  A total = simd::total((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; i < size; ++i) total += a[i] * a[i];
  return total;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
