// Where the averages and maxima of bins are put, and those that were folded as if all numbers were ordinary are
// made right.
#pragma once

#include "poolhead/core/tile.hpp"
#include "poolhead/pool/bin_states.hpp"
#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The results of the bins of x.
template <class X, class Y>
struct BinResults {
  using A = Accumulator<typename X::Scalar>;
  static constexpr int N = simd::lanes<A>;

  GridEdges grids;
  Y y;
  Rows<Index> argmax;  // without data where nobody asks
  Index channels;      // of x

 protected:
  template <class I>
  void put_tops(Index n, Index c, Index taken, const typename BinMaxima<A, I>::State* tops, Index pitch) const {
    using State = typename BinMaxima<A, I>::State;
    put(y, n, c, taken, reinterpret_cast<const A*>(&tops->value), pitch, sizeof(State) / sizeof(A));
    if (argmax.data() != nullptr)
      put(argmax, n, c, taken, reinterpret_cast<const I*>(&tops->position), pitch, sizeof(State) / sizeof(I));
  }

  /// Makes the first NaN of each bin that holds one its maximum.
  template <class I, class State>
  [[gnu::cold, gnu::noinline]] void put_nan(const X& x, Index n, Index c, Index count, State* tops,
                                            Index pitch) const {
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i) {
        for (Index j = 0; j < grids[k].columns; ++j, tops += pitch) {
          A values[N];
          I positions[N];
          simd::store(values, tops->value);
          simd::store_first(positions, tops->position, N);
          for (Index q = 0; q < count; ++q) {
            const Index s = first_nan(x, n, c + q, grids.window(k, i, j));
            if (s < 0) continue;
            values[q] = std::numeric_limits<A>::quiet_NaN();
            positions[q] = static_cast<I>(s);
          }
          *tops = {simd::load<A>(values), simd::load_array<N>(positions, N)};
        }
      }
    }
  }
  /// Where the first NaN of a window stands, or -1.
  static Index first_nan(const X& x, Index n, Index c, const Window& window) {
    for (Index r = 0; r < window.rows; ++r)
      for (Index s = window.first + r * window.step, w = 0; w < window.columns; ++s, ++w)
        if (std::isnan(static_cast<A>(x(n, c, s)))) return s;
    return -1;
  }

  /// Takes means that are not finite again; `step` lies between bins.
  [[gnu::cold, gnu::noinline]] void rescale(const X& x, Index n, Index c, Index count, A* mean,
                                            Index step) const {
    for (Index k = 0; k < grids.count(); ++k)
      for (Index i = 0; i < grids[k].rows; ++i)
        for (Index j = 0; j < grids[k].columns; ++j, mean += step)
          AverageReduction<X, NoArgmax, simd::IntOf<A>>(x, {}, grids.window(k, i, j))
              .rescale(mean, n, c, static_cast<int>(count));
  }

  /// Writes what stands in (bins, pitch), `unit` numbers from a vector to the next.
  template <class To, class Value>
  void put(const To& to, Index n, Index c, Index taken, const Value* values, Index pitch, Index unit) const {
    const Index step = pitch * unit;
    for (Index k = 0; k < grids.count(); ++k) {
      const auto rows = grid_rows(to, grids.grids(), channels, k);
      for (Index q = 0; q < taken; q += N)
        put_bins(rows, values + q / N * unit, step, grids[k].bins(), n, c + q,
                 static_cast<int>(std::min<Index>(N, taken - q)));
      values += grids[k].bins() * step;
    }
  }

  /// values[b * step + i]: bin b of channel c + i.
  template <class To, class Value>
  static void put_bins(const GridRows<To>& rows, const Value* values, Index step, Index bins, Index n, Index c,
                       int count) {
    To* const to = rows.data + n * rows.row_stride + c * rows.channel_stride;
    if (rows.channel_stride == 1) {
      for (Index b = 0; b < bins; ++b) {
        const auto value = simd::load_array<N>(values + b * step, N);
        if constexpr (std::is_integral_v<Value>)
          simd::store_first(to + b * rows.bin_stride, simd::convert<To>(value), count);
        else
          simd::store_first(to + b * rows.bin_stride, value, count);
      }
    } else {
      turn_back<N>(values, step, bins, count, to, rows.channel_stride);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
