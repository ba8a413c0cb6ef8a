// The product that convolution is made of. Its left operand is never laid out as a matrix: element (i, k) is
// found at the sum of an offset of row i and an offset of depth k. With positions as rows and taps as depth,
// and with the two exchanged, that is every convolution and its weight gradient (the "indirect" and "implicit"
// GEMM of the field), whatever the layout, stride or dilation.
#pragma once

#include "poolhead/core/tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Element (i, k) is data[row[i] + depth[k]].
template <class T>
struct Gathered {
  const T* data;
  const Index* row;
  const Index* depth;
};

/// The right operand lies in panels of two vectors of columns (the last one of one, where that is enough), each
/// depth by depth: what the inner loop reads is contiguous.
template <class T>
struct Panels {
  static constexpr Index lanes = simd::lanes<T>;
  static constexpr Index width = 2 * lanes;

  Index columns;
  Index depth;

  Index padded_columns() const { return (columns + lanes - 1) / lanes * lanes; }
  Index size() const { return padded_columns() * depth; }
  /// The vector of columns from `column` (a multiple of lanes) on, and the distance of its depths.
  Index begin(Index column) const { return column / width * width * depth + column % width; }
  Index stride(Index column) const { return std::min(width, padded_columns() - column / width * width); }
};

/// Element (k, j) of the panels, k from `first` on, is from[j * column_stride + k - first].
template <class T>
[[gnu::noinline]] void pack_columns(const Panels<T>& panels, const T* from, Index column_stride, Index first,
                                    Index count, T* to) {
  for (Index j = 0; j < panels.columns; j += panels.lanes) {
    const Index stride = panels.stride(j);
    turn_planes<T>(from + j * column_stride, column_stride, count,
                   static_cast<int>(std::min(panels.lanes, panels.columns - j)),
                   to + panels.begin(j) + first * stride, stride);
  }
}

/// Element (k, j) of the panels, k from `first` on, is from[(k - first) * row_stride + j].
template <class T>
[[gnu::noinline]] void pack_rows(const Panels<T>& panels, const T* from, Index row_stride, Index first,
                                 Index count, T* to) {
  for (Index j = 0; j < panels.columns; j += panels.lanes) {
    const Index stride = panels.stride(j);
    const auto own = static_cast<int>(std::min(panels.lanes, panels.columns - j));
    const T* p = from + j;
    T* out = to + panels.begin(j) + first * stride;
    if (own == panels.lanes) {
      for (Index k = 0; k < count; ++k, p += row_stride, out += stride) simd::store(out, simd::load<T>(p));
    } else {
      for (Index k = 0; k < count; ++k, p += row_stride, out += stride)
        simd::store(out, simd::load_first<T>(p, own));
    }
  }
}

// How many rows share a vector, or two, of columns. Nine are the taps of a 3x3 kernel, and chains enough to
// hide the latency of each; Clang loads all elements of a depth at once, which then need registers, too.
#if defined(__clang__)
inline constexpr int rows_of_one_vector = 7;
#else
inline constexpr int rows_of_one_vector = 9;
#endif
inline constexpr int rows_of_two_vectors = simd::register_count == 32 ? 8 : 6;

/// What the sums of a product begin with.
template <class T>
struct SumStart {
  const T* bias = nullptr;  ///< of the columns; null for zeros
  bool add = false;         ///< to what is there
};

/// Up to R rows from `row` on, V vectors of columns, the last of which has `last`. Each sum is one chain over
/// the depth, joined to its start at the end. R V sums, V columns and one element fill the registers.
template <int R, int V, class T>
POOLHEAD_INLINE void gathered_block(const T* a, const Index* row, Index rows, const Index* offset, Index depth,
                                    const T* b, Index b_stride, T* c, const Index* c_row, int last,
                                    const SumStart<T>& start) {
  constexpr int N = simd::lanes<T>;
  using Lanes = simd::Vec<T, N>;
  Lanes sums[R][V];
  Index at[R];
  unroll<R>([&](auto r) __attribute__((always_inline)) {
    at[r] = row[std::min<Index>(r, rows - 1)];  // rows beyond repeat the last one, and are not stored
    unroll<V>([&](auto v) __attribute__((always_inline)) { sums[r][v] = simd::zero<Lanes>(); });
  });
#if defined(__clang__)  // which would unroll it, and run out of registers
#pragma clang loop unroll(disable)
#endif
  for (Index k = 0; k < depth; ++k, b += b_stride) {
    const T* const left = a + offset[k];
    Lanes right[V];
    unroll<V>([&](auto v) __attribute__((always_inline)) { right[v] = simd::load<T>(b + v * N); });
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      const auto element = simd::splat<T, N>(left[at[r]]);
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        sums[r][v] = simd::multiply_add(element, right[v], sums[r][v]);
      });
    });
  }
  Lanes bias[V];
  unroll<V>([&](auto v) __attribute__((always_inline)) {
    bias[v] = start.bias == nullptr ? simd::zero<Lanes>()
                                    : simd::load_array<N>(start.bias + v * N, v + 1 < V ? N : last);
  });
  const auto finish = [&](auto whole) __attribute__((always_inline)) {
    unroll<R>([&](auto r) __attribute__((always_inline)) {
      if (r >= rows) return;
      T* const to = c + c_row[r];
      unroll<V>([&](auto v) __attribute__((always_inline)) {
        const int own = v + 1 < V || whole ? N : last;
        auto sum = sums[r][v] + bias[v];
        if (start.add)
          sum = sum + (own == N ? simd::load<T>(to + v * N) : simd::load_array<N>(to + v * N, own));
        if (own == N)
          simd::store(to + v * N, sum);
        else
          simd::store_first(to + v * N, sum, own);
      });
    });
  };
  if (last == N)
    finish(std::true_type{});
  else
    finish(std::false_type{});
}

/// c = start + a b; row i of c is at c + c_row[i]. A sum is made of chains over fixed stretches of the depth:
/// its bits depend on the extents alone.
template <class T>
[[gnu::noinline]] void gathered_product(const Gathered<T>& a, Index rows, const Panels<T>& panels, const T* b,
                                        T* c, const Index* c_row, const SumStart<T>& start) {
  constexpr int N = simd::lanes<T>;
  // A stretch of a panel stays in half of a first-level cache while all rows pass.
  constexpr Index stretch = 16384 / (2 * simd::register_bytes);
  for (Index j = 0; j < panels.columns; j += panels.width) {
    const Index stride = panels.stride(j);
    const auto last = static_cast<int>(std::min(panels.columns - j, stride) - (stride - N));
    SumStart<T> own = start;
    if (own.bias != nullptr) own.bias += j;
    Index k = 0;
    do {
      const Index depth = std::min(stretch, panels.depth - k);
      const T* const panel = b + panels.begin(j) + k * stride;
      const auto strip = [&]<int R, int V>(std::integral_constant<int, R>, std::integral_constant<int, V>)
          __attribute__((always_inline)) {
        for (Index i = 0; i < rows; i += R)
          gathered_block<R, V>(a.data, a.row + i, rows - i, a.depth + k, depth, panel, stride, c + j, c_row + i,
                               last, own);
      };
      if (stride == N)
        strip(std::integral_constant<int, rows_of_one_vector>{}, std::integral_constant<int, 1>{});
      else
        strip(std::integral_constant<int, rows_of_two_vectors>{}, std::integral_constant<int, 2>{});
      own = {nullptr, true};
      k += depth;
    } while (k < panels.depth);
  }
}

/// to[j] += the sum of the panels' column j over the depth, in four interleaved chains.
template <class T>
[[gnu::noinline]] void add_columns(const Panels<T>& panels, const T* from, T* to) {
  constexpr int N = simd::lanes<T>;
  for (Index j = 0; j < panels.columns; j += N) {
    const Index stride = panels.stride(j);
    const T* p = from + panels.begin(j);
    simd::Vec<T, N> sums[4];
    unroll<4>([&](auto i) __attribute__((always_inline)) { sums[i] = simd::zero<simd::Vec<T, N>>(); });
    Index k = 0;
    for (; k + 4 <= panels.depth; k += 4, p += 4 * stride)
      unroll<4>([&](auto i)
                    __attribute__((always_inline)) { sums[i] = sums[i] + simd::load<T>(p + i * stride); });
    for (; k < panels.depth; ++k, p += stride) sums[0] = sums[0] + simd::load<T>(p);
    const auto own = static_cast<int>(std::min<Index>(N, panels.columns - j));
    simd::store_first(to + j, simd::load_array<N>(to + j, own) + ((sums[0] + sums[1]) + (sums[2] + sums[3])),
                      own);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
