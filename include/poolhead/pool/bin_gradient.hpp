// The gradients of bins of adaptive grids.
#pragma once

#include "poolhead/core/spread.hpp"
#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Adds the gradients of the bins to planes, or to one row of them.
template <class T, class DY>
struct BinGradient {
  static constexpr bool has_rows = true;

  GridEdges grids;
  bool max;
  FeatureShape shape;
  DY dy;
  Rows<const Index> argmax;

  template <class A>
  void add_plane(A* tile, Index stride, Index n, Index c, Index channels) const {
    add_rows(tile, stride, n, c, channels, {0, shape.height()});
  }
  template <class A>
  void add_row(A* row, Index stride, Index n, Index c, Index channels, Index h) const {
    add_rows(row, stride, n, c, channels, {h, h + 1});
  }

 private:
  template <class A>
  void add_rows(A* tile, Index stride, Index n, Index c, Index channels, const GridEdges::Range& rows) const {
    if (max) {
      for (Index k = 0; k < grids.count(); ++k) add_maxima(tile, stride, n, c, channels, k, rows);
    } else {
      const Index step = grids.vectors_together() * simd::lanes<A>;
      for (Index q = 0; q < channels; q += step)
        add_averages(tile + q, stride, n, c + q, std::min(step, channels - q), rows);
    }
  }

  template <class A>
  void add_maxima(A* tile, Index stride, Index n, Index c, Index channels, Index k,
                  const GridEdges::Range& rows) const {
    const Index begin = rows.begin * shape.width();
    const Index end = rows.end * shape.width();
    const GridRows<const T> g = grid_rows(dy, grids.grids(), shape.channels, k);
    const GridRows<const Index> at = grid_rows(argmax, grids.grids(), shape.channels, k);
    const Index bins = grids[k].bins();
    for (Index q = 0; q < channels; ++q) {
      const T* const gradients = g.data + n * g.row_stride + (c + q) * g.channel_stride;
      const Index* const positions = &at(n, c + q, 0);
      for (Index b = 0; b < bins; ++b) {
        const Index s = positions[b];
        if (s >= begin && s < end)
          tile[(s - begin) * stride + q] += static_cast<A>(gradients[b * g.bin_stride]);
      }
    }
  }

  /// Channels c .. c + taken - 1. All rows of bins that cover a row of the plane are added up, and spread over
  /// their columns once.
  template <class A>
  void add_averages(A* tile, Index stride, Index n, Index c, Index taken, const GridEdges::Range& rows) const {
    constexpr int N = simd::lanes<A>;
    using V = simd::Vec<A, N>;
    struct Shares;
    const Index width = shape.width();
    const Index whole = taken / N;
    const auto rest = static_cast<int>(taken - whole * N);
    const Index vectors = whole + (rest > 0 ? 1 : 0);
    A* const shares = workspace<Shares, A>(grids.grids().bins() * vectors * N);  // (bins, vectors)
    auto* const covering = workspace<Shares, GridEdges::Range>(grids.count());
    std::fill_n(covering, grids.count(), GridEdges::Range{0, 0});
    A* next = shares;
    for (Index k = 0; k < grids.count(); ++k) {
      const GridRows<const T> g = grid_rows(dy, grids.grids(), shape.channels, k);
      const Grid grid = grids[k];
      for (Index v = 0; v < vectors; ++v) {
        const T* const from = g.data + n * g.row_stride + (c + v * N) * g.channel_stride;
        const int count = v < whole ? N : rest;
        if (g.bin_stride == 1)
          turn_planes(from, g.channel_stride, grid.bins(), count, next + v * N, vectors * N);
        else
          for (Index b = 0; b < grid.bins(); ++b)
            simd::store(next + (b * vectors + v) * N, simd::load_first<A>(from + b * g.bin_stride, count));
      }
      for (Index i = 0; i < grid.rows; ++i) {
        for (Index j = 0; j < grid.columns; ++j, next += vectors * N) {
          const Index area = grids.rows(k, i).size() * grids.columns(k, j).size();
          const auto share = simd::splat<A, N>(A(1) / static_cast<A>(area));
          for (Index v = 0; v < vectors; ++v) simd::store(next + v * N, share * simd::load<A>(next + v * N));
        }
      }
    }
    for (Index h = rows.begin; h < rows.end; ++h) {
      A* const to = tile + (h - rows.begin) * width * stride;
      const A* own = shares;
      for (Index k = 0; k < grids.count(); ++k) {
        const Grid grid = grids[k];
        grids.advance(k, h, covering[k]);
        const Index first = covering[k].begin;
        const Index last = covering[k].end;
        for (Index j = 0; j < grid.columns; ++j) {
          const auto columns = grids.columns(k, j);
          const auto add = [&](Index v, int count) __attribute__((always_inline)) {
            const auto share = [&](Index i) __attribute__((always_inline)) {
              return simd::load<A>(own + ((i * grid.columns + j) * vectors + v) * N);
            };
            V sum = share(first);
            for (Index i = first + 1; i < last; ++i) sum = sum + share(i);
            for (Index w = columns.begin; w < columns.end; ++w) {
              A* const at = to + w * stride + v * N;
              if (count == N)
                simd::store(at, simd::load<A>(at) + sum);
              else
                simd::store_first(at, simd::load_first<A>(at, count) + sum, count);
            }
          };
          for (Index v = 0; v < whole; ++v) add(v, N);
          if (rest > 0) add(whole, rest);
        }
        own += grid.bins() * vectors * N;
      }
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
