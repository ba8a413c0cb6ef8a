// Products of whole matrices, by the product that convolution is made of. Memory is the calling thread's and is
// kept: nothing is allocated once the largest product has been seen.
#pragma once

#include "poolhead/core/product.hpp"
#include "poolhead/nn/gathered_product.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// R rows of c = start + a b, where the rows of a and the columns of b are contiguous, b's column_stride apart:
/// scalar products, for so few rows that packing b would take longer.
template <int R, class T>
[[gnu::noinline]] void multiply_by_columns(const T* a, Index a_row, const T* b, Index column_stride, T* c,
                                           Index c_row, Index columns, Index depth, const SumStart<T>& start) {
  constexpr int N = simd::lanes<T>;
  constexpr int Together = 4;
  using Lanes = simd::Vec<T, N>;
  for (Index j = 0; j < columns; j += Together) {
    Lanes sums[R][Together];
    const T* column[Together];
    unroll<Together>([&](auto i) __attribute__((always_inline)) {
      column[i] = b + std::min<Index>(j + i, columns - 1) * column_stride;  // those beyond are not stored
      unroll<R>([&](auto r) __attribute__((always_inline)) { sums[r][i] = simd::zero<Lanes>(); });
    });
    const auto add = [&](const auto& load, Index k) __attribute__((always_inline)) {
      Lanes left[R];
      unroll<R>([&](auto r) __attribute__((always_inline)) { left[r] = load(a + r * a_row + k); });
      unroll<Together>([&](auto i) __attribute__((always_inline)) {
        const Lanes right = load(column[i] + k);
        unroll<R>([&](auto r) __attribute__((always_inline)) {
          sums[r][i] = simd::multiply_add(left[r], right, sums[r][i]);
        });
      });
    };
    Index k = 0;
    for (; k + N <= depth; k += N)
      add(
          [](const T* p) __attribute__((always_inline)) { return simd::load<T>(p); }, k);
    if (k < depth) {
      const auto rest = static_cast<int>(depth - k);
      add(
          [=](const T* p) __attribute__((always_inline)) { return simd::load_first<T>(p, rest); }, k);
    }
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      for (Index i = 0; i < std::min<Index>(Together, columns - j); ++i) {
        T& to = c[r * c_row + j + i];
        const T sum = simd::total(sums[r][i]) + (start.bias == nullptr ? T(0) : start.bias[j + i]);
        to = start.add ? to + sum : sum;
      }
    });
  }
}

/// Up to R rows of c = start + a b, where the rows of b are contiguous, from b as it lies: for so few rows, or
/// so few terms, that packing it would take longer. Four vectors of columns at a time.
template <int R, class T>
[[gnu::noinline]] void multiply_by_rows(const Strided<T>& a, const T* b, Index b_row, T* c, Index c_row,
                                        Index columns, Index depth, const SumStart<T>& start) {
  constexpr int N = simd::lanes<T>;
  using Lanes = simd::Vec<T, N>;
  const auto strip = [&](auto vectors, Index j, int last) __attribute__((always_inline)) {
    constexpr int V = vectors;
    const auto load = [=](const T* p, int v) __attribute__((always_inline)) {
      return v + 1 < V || last == N ? simd::load<T>(p + v * N) : simd::load_first<T>(p + v * N, last);
    };
    Lanes sums[R][V];
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = simd::zero<Lanes>(); });
    });
    for (Index k = 0; k < depth; ++k) {
      Lanes right[V];
      unroll<V>([&](auto v) __attribute__((always_inline)) { right[v] = load(b + k * b_row + j, v); });
      unroll<R>([&](auto r) __attribute__((always_inline)) {
        const auto element = simd::splat<T, N>(a.data[r * a.row + k * a.column]);
        unroll<V>([&](auto v) __attribute__((always_inline)) {
          sums[r][v] = simd::multiply_add(element, right[v], sums[r][v]);
        });
      });
    }
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      T* const to = c + r * c_row + j;
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        auto sum = sums[r][v];
        if (start.bias != nullptr) sum = sum + load(start.bias + j, v);
        if (start.add) sum = sum + load(to, v);
        if (v + 1 < V || last == N)
          simd::store(to + v * N, sum);
        else
          simd::store_first(to + v * N, sum, last);
      });
    });
  };
  Index j = 0;
  for (; j + 4 * N <= columns; j += 4 * N) strip(std::integral_constant<int, 4>{}, j, N);
  for (; j < columns; j += N)
    strip(std::integral_constant<int, 1>{}, j, static_cast<int>(std::min<Index>(N, columns - j)));
}

/// c = start + a b, c's rows contiguous and c_row apart; the rows or the columns of b are contiguous. The order
/// of every sum depends on the extents alone.
template <class T>
void matrix_product(const Strided<T>& a, const Strided<T>& b, T* c, Index c_row, Index rows, Index columns,
                    Index depth, const SumStart<T>& start = {}) {
  constexpr int few_rows = 3;
  constexpr Index few_terms = 8;
  if (b.column == 1 && (rows <= few_rows || depth <= few_terms)) {
    for (Index i = 0; i < rows; i += few_rows) {
      with_number<few_rows>(static_cast<int>(std::min<Index>(few_rows, rows - i)), [&](auto number) {
        multiply_by_rows<number>(Strided<T>{a.data + i * a.row, a.row, a.column}, b.data, b.row, c + i * c_row,
                                 c_row, columns, depth, start);
      });
    }
    return;
  }
  if (b.column != 1 && rows <= few_rows && a.column == 1) {
    with_number<few_rows>(static_cast<int>(rows), [&](auto number) {
      multiply_by_columns<number>(a.data, a.row, b.data, b.column, c, c_row, columns, depth, start);
    });
    return;
  }
  struct Offsets;
  struct Packed;
  Index* const a_row = workspace<Offsets, Index>(2 * rows + depth);
  Index* const own_row = a_row + rows;
  Index* const a_column = own_row + rows;
  for (Index i = 0; i < rows; ++i) {
    a_row[i] = i * a.row;
    own_row[i] = i * c_row;
  }
  for (Index k = 0; k < depth; ++k) a_column[k] = k * a.column;
  T* const packed = workspace<Packed, T>(Panels<T>::width * depth);
  for (Index j = 0; j < columns; j += Panels<T>::width) {
    const Panels<T> panel{std::min(Panels<T>::width, columns - j), depth};
    if (b.column == 1)
      pack_rows(panel, b.data + j, b.row, 0, depth, packed);
    else
      pack_columns(panel, b.data + j * b.column, b.column, 0, depth, packed);
    gathered_product(Gathered<T>{a.data, a_row, a_column}, rows, panel, packed, c + j, own_row,
                     {start.bias == nullptr ? nullptr : start.bias + j, start.add});
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
