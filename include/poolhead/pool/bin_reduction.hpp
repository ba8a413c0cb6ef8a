// The averages and maxima of bins of adaptive grids. Lanes are channels: some vectors of them are turned (NCHW)
// or copied (NHWC) to a tile that stays in the first-level cache, planes as a whole or some rows at a time.
#pragma once

#include "poolhead/pool/bin_fold.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Reduces every bin of a block of channels.
template <class X, class Y, class I>
struct BinHead {
  static constexpr bool has_blocks = true;
  using T = typename X::Scalar;
  using A = Accumulator<T>;
  static constexpr int N = simd::lanes<A>;

  GridEdges grids;
  bool max;
  Y y;
  Rows<Index> argmax;  // without data where nobody asks
  Index channels;      // of x

  [[gnu::noinline]] void reduce_block(const X& x, Index n, Index c, Index end) const {
    const Index size = x.positions();
    // A short plane's bins are summed element by element, though they overlap: in floats, and in registers.
    const bool whole = size <= most_whole;
    const Index fitting = std::min(tile_elements / ((whole ? size : x.width()) * N), grids.vectors_together());
    const Index together = std::clamp<Index>(fitting, 1, most_vectors);
    for (; c < end; c += together * N) {
      const Index taken = std::min(together * N, end - c);
      const Index vectors = (taken + N - 1) / N;
      const Results to = results(vectors);
      if (!whole) {
        if (max)
          fold_rows<BinMaxima<A, I>>(x, n, c, taken, to);
        else if (size < 1024)
          fold_rows<BinSums<A, 8>>(x, n, c, taken, to);
        else
          fold_rows<BinSums<A, 2>>(x, n, c, taken, to);
      } else {
        A* const tile = fill(x, n, c, taken, 0, size);
        if (max)
          max_bins(grids, tile, vectors, to.values, to.positions);
        else
          average_bins(grids, tile, vectors, to.values);
      }
      if (max)
        compose_bins(grids, vectors, to.values, to.positions);
      else
        check_means(x, n, c, taken, to);
      put(n, c, taken, to);
    }
  }

 private:
  static constexpr Index tile_elements = 8192;
  static constexpr Index most_whole = 256;
  static constexpr Index most_vectors = 16;

  /// (vectors, bins) of vectors of channels.
  struct Results {
    A* values;
    I* positions;
  };
  Results results(Index vectors) const {
    struct Values;
    const Index count = grids.grids().bins() * vectors * N;
    return {workspace<Values, A>(count), max ? workspace<Values, I>(count) : nullptr};
  }

  /// tile (count, vectors): the positions first .. first + count - 1 of channels c .. c + taken - 1.
  A* fill(const X& x, Index n, Index c, Index taken, Index first, Index count) const {
    struct Tile;
    const Index vectors = (taken + N - 1) / N;
    const Index step = vectors * N;
    A* const tile = workspace<Tile, A>(count * step);
    if constexpr (std::same_as<typename X::Layout, ChannelsFirst>) {
      for (Index v = 0; v < vectors; ++v)
        turn_planes(x.sample(n) + (c + v * N) * x.positions() + first, x.positions(), count,
                    static_cast<int>(std::min<Index>(N, taken - v * N)), tile + v * N, step);
    } else {
      const Index whole = taken / N;
      const auto rest = static_cast<int>(taken - whole * N);
      const auto* from = x.sample(n) + first * x.channels() + c;
      A* to = tile;
      for (Index s = 0; s < count; ++s, from += x.channels(), to += step) {
        for (Index v = 0; v < whole; ++v) simd::store(to + v * N, simd::load<A>(from + v * N));
        if (rest > 0) simd::store(to + whole * N, simd::load_first<A>(from + whole * N, rest));
      }
    }
    return tile;
  }

  template <class Bins>
  void fold_rows(const X& x, Index n, Index c, Index taken, const Results& to) const {
    const Index vectors = (taken + N - 1) / N;
    const Index total = grids.grids().bins();
    const Index step = std::max<Index>(tile_elements / (vectors * N * x.width()), 1);
    BinCells<Bins, A> bins(grids, vectors);
    for (Index r = 0; r < bins.cells.rows(); ++r) {
      const auto rows = bins.cells.row(r);
      for (Index h = rows.begin; h < rows.end; h += step) {
        const Index stop = std::min(h + step, rows.end);
        bins.add(fill(x, n, c, taken, h * x.width(), (stop - h) * x.width()), {h, stop}, h == rows.begin);
      }
      bins.close(r);
    }
    bins.each([&](Index v, Index b, const auto& state, const Window& bin) {
      const Index at = (v * total + b) * N;
      if constexpr (std::same_as<Bins, BinMaxima<A, I>>) {
        simd::store(to.values + at, state.value);
        simd::store_first(to.positions + at, state.position, N);
      } else {
        simd::store(to.values + at, Bins::mean(state, bin));
      }
    });
  }

  /// Takes means that are not finite again: a sum may overflow though its mean need not.
  void check_means(const X& x, Index n, Index c, Index taken, const Results& to) const {
    const Index total = grids.grids().bins();
    A* value = to.values;
    for (Index q = 0; q < taken; q += N, value += total * N) {
      auto check = simd::zero<simd::Vec<A, N>>();
      for (Index b = 0; b < total; ++b)
        check = simd::multiply_add(simd::load<A>(value + b * N), simd::zero<simd::Vec<A, N>>(), check);
      if (simd::all(check == check)) [[likely]]
        continue;
      A* mean = value;
      for (Index k = 0; k < grids.count(); ++k)
        for (Index i = 0; i < grids[k].rows; ++i)
          for (Index j = 0; j < grids[k].columns; ++j, mean += N)
            AverageReduction<X, NoArgmax, I>(x, {}, grids.window(k, i, j))
                .rescale(mean, n, c + q, static_cast<int>(std::min<Index>(N, taken - q)));
    }
  }

  void put(Index n, Index c, Index taken, const Results& from) const {
    Index first = 0;
    const Index total = grids.grids().bins();
    for (Index k = 0; k < grids.count(); ++k) {
      const Index bins = grids[k].bins();
      const auto rows = grid_rows(y, grids.grids(), channels, k);
      const auto places = grid_rows(argmax, grids.grids(), channels, k);
      for (Index q = 0; q < taken; q += N) {
        const auto count = static_cast<int>(std::min<Index>(N, taken - q));
        const Index at = (q / N * total + first) * N;
        put_bins(rows, from.values + at, bins, n, c + q, count);
        if (max && argmax.data() != nullptr) put_bins(places, from.positions + at, bins, n, c + q, count);
      }
      first += bins;
    }
  }

  /// values[b * N + i]: bin b of channel c + i.
  template <class To, class Value>
  static void put_bins(const GridRows<To>& rows, const Value* values, Index bins, Index n, Index c, int count) {
    To* const to = rows.data + n * rows.row_stride + c * rows.channel_stride;
    if (rows.channel_stride == 1) {
      for (Index b = 0; b < bins; ++b) {
        const auto value = simd::load_array<N>(values + b * N, N);
        if constexpr (std::is_integral_v<Value>)
          simd::store_first(to + b * rows.bin_stride, simd::convert<To>(value), count);
        else
          simd::store_first(to + b * rows.bin_stride, value, count);
      }
    } else {
      turn_back<N>(values, N, bins, count, to, rows.channel_stride);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
