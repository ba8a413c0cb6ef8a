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

/// What a product is added to: c, and the products of an element of `rows` and one of `columns`.
template <class A>
struct ProductStart {
  bool adds = true;  ///< to c
  const A* rows = nullptr;
  const A* columns = nullptr;
};

/// c = start + a b for R rows and V vectors of columns, the last of which holds `count`. whole_rows: it can be
/// read as a whole in b.
template <int R, int V, class Left, class A, class Sum>
POOLHEAD_INLINE void multiply_block(const Strided<Left>& a, const A* b, Index b_row, Sum* c, Index c_row,
                                    Index depth, int count, bool whole_rows, const ProductStart<A>& start) {
  constexpr int N = simd::lanes<A>;
  constexpr int near = 4;  // rows that are addressed from one pointer
  const Left* left[(R + near - 1) / near];
  unroll<(R + near - 1) / near>([&](auto i)
                                    __attribute__((always_inline)) { left[i] = a.data + i * near * a.row; });
  simd::Vec<A, N> sums[R][V];
  const auto each = [](const auto& f) __attribute__((always_inline)) {
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      unroll<V>([&](auto v) __attribute__((always_inline)) { f(r, v); });
    });
  };
  each([&](auto r, auto v) __attribute__((always_inline)) { sums[r][v] = simd::zero<simd::Vec<A, N>>(); });
  const auto add = [&](auto whole) __attribute__((always_inline)) {
    for (Index k = 0; k < depth; ++k, b += b_row) {
      simd::Vec<A, N> right[V];
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        right[v] = whole || v + 1 < V ? simd::load<A>(b + v * N) : simd::load_first<A>(b + v * N, count);
      });
      unroll<R>([&](auto r) __attribute__((always_inline)) {
        const auto own = simd::splat<A, N>(static_cast<A>(left[r / near][r % near * a.row]));
        unroll<V>([&](auto v) __attribute__((always_inline)) {
          sums[r][v] = simd::multiply_add(own, right[v], sums[r][v]);
        });
      });
      unroll<(R + near - 1) / near>([&](auto i) __attribute__((always_inline)) { left[i] += a.column; });
    }
  };
  // Where a register has masks, they cost nothing, and a second loop only time to compile.
  if (simd::register_bytes < 64 && (count == N || whole_rows))
    add(std::true_type{});
  else
    add(std::false_type{});
  each([&](auto r, auto v) __attribute__((always_inline)) {
    Sum* const p = c + r * c_row + v * N;
    const int own = v + 1 < V ? N : count;
    if (start.rows != nullptr)
      sums[r][v] = simd::multiply_add(simd::splat<A, N>(start.rows[r]),
                                      simd::load_first<A>(start.columns + v * N, own), sums[r][v]);
    auto sum = simd::convert<Sum>(sums[r][v]);
    if (start.adds) sum = simd::load_array<N>(p, own) + sum;
    simd::store_first(p, sum, own);
  });
}

/// c = start + a b: c is rows x columns, b depth x columns, both row by row without gaps within a row. The
/// order of every sum depends on the extents alone; up to 64 terms are added in b's type, and their sums in
/// c's.
template <class Left, class A, class Sum>
[[gnu::noinline]] void multiply_add(const Strided<Left>& a, const A* b, Index b_row, Sum* c, Index c_row,
                                    Index rows, Index columns, Index depth, const ProductStart<A>& start = {},
                                    bool whole_rows = false) {
  constexpr int N = simd::lanes<A>;
  // Of the registers two are columns, and one is an element.
  constexpr int few_rows = 6;
  constexpr int most_rows = simd::register_count == 32 ? 12 : few_rows;
  for (Index first = 0; first < depth; first += most_terms) {
    const Index terms = std::min(most_terms, depth - first);
    const auto strip = [&](auto vectors, Index j) __attribute__((always_inline)) {
      constexpr int V = vectors;
      const auto count = static_cast<int>(std::min<Index>(N, columns - j - (V - 1) * N));
      for (Index i = 0; i < rows;) {
        // As many rows in each block as in the others: few would wait for their own sums. Above six, even
        // numbers, as each number is a loop of its own; of an odd one, five rows are left for the end.
        const Index left = rows - i;
        const bool is_odd = most_rows > few_rows && left > few_rows && left % 2 != 0;
        const Index even = is_odd ? left - 5 : left;
        const Index blocks = (even + most_rows - 1) / most_rows;
        Index together = (even + blocks - 1) / blocks;
        if (together > few_rows && together % 2 != 0) ++together;
        ProductStart<A> own;
        if (first == 0) own.adds = start.adds;
        if (first == 0 && start.rows != nullptr) {
          own.rows = start.rows + i;
          own.columns = start.columns + j;
        }
        const auto multiply = [&](auto number) __attribute__((always_inline)) {
          multiply_block<number, V>(Strided<Left>{a.data + i * a.row + first * a.column, a.row, a.column},
                                    b + first * b_row + j, b_row, c + i * c_row + j, c_row, terms, count,
                                    whole_rows, own);
        };
        if (together <= few_rows)
          with_number<few_rows>(static_cast<int>(together), multiply);
        else if constexpr (most_rows > few_rows)
          with_number<(most_rows - few_rows) / 2>(
              static_cast<int>(together - few_rows) / 2, [&](auto pairs) __attribute__((always_inline)) {
                multiply(std::integral_constant<int, few_rows + 2 * pairs>{});
              });
        i += together;
      }
    };
    Index j = 0;
    for (; j + N < columns; j += 2 * N) strip(std::integral_constant<int, 2>{}, j);
    if (j < columns) strip(std::integral_constant<int, 1>{}, j);
  }
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
