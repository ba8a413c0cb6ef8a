// The gradients of bins of adaptive grids.
#pragma once

#include "poolhead/pool/bin_cover.hpp"
#include "poolhead/pool/pyramid_backward.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The gradients of the bins, for some rows of planes.
template <class T, class DY>
struct BinGradient {
  static constexpr bool has_rows = true;

  GridEdges grids;
  bool max;
  FeatureShape shape;
  DY dy;
  Rows<const Index> argmax;
  Index most_searched;  // positions

  template <bool adds, class To>
  void put_rows(To* tile, Index stride, Index n, Index c, Index channels, Index first, Index last) const {
    using A = Accumulator<To>;
    if (scatters()) {
      // Those of 16 bits go to a copy of wider numbers, as several may meet at one position.
      if constexpr (std::same_as<To, A>) scatter_maxima<adds>(tile, stride, n, c, channels, first, last);
    } else if (max) {
      find_maxima<adds>(tile, stride, n, c, channels, first, last);
    } else {
      const Index step = grids.vectors_together() * simd::lanes<A>;
      for (Index q = 0; q < channels; q += step) {
        const Index taken = std::min(step, channels - q);
        const A* const own = shares<A>(n, c + q, taken);
        if constexpr (std::same_as<A, float>) {
          if (UsualPyramid::suits(grids)) {
            const PyramidShares<adds, To> rows(grids, own, taken);
            for (Index h = first; h < last; ++h)
              rows.spread(h, tile + q + (h - first) * grids.width() * stride, stride);
            continue;
          }
        }
        spread_shares<adds>(grids, own, taken, tile + q, stride, {first, last});
      }
    }
  }
  bool puts_planes() const { return max; }
  /// Wide registers look for maxima at each of a few positions in less time than it takes to go to each
  /// maximum.
  bool scatters() const { return max && (simd::register_bytes < 64 || shape.positions() > most_searched); }
  /// Writes planes of NCHW where they lie, of averages: rows that the same bins cover are copies of one, which
  /// is all that is added up and turned. Where these would be too many it writes nothing, and says so.
  template <class A>
  bool put_bands(A* planes, Index n, Index c, Index channels) const {
    constexpr Index N = simd::lanes<A>;
    struct Tile;
    const Index height = shape.height();
    const Index width = shape.width();
    Index edges[GridEdges::most_bands + 1];
    const Index bands = max ? 0 : grids.bands(height, edges);
    const Index size = bands * width;
    if (bands == 0 || 2 * bands > height || width < N || size > most_band_elements) return false;
    const GridEdges over_bands = grids.over_bands(edges, bands);
    const Index most = std::clamp<Index>(most_band_elements / size, 1, 8) * N;
    A* const tile = workspace<Tile, A>(2 * most * size);
    A* const rows = tile + most * size;
    for (Index q = 0; q < channels; q += most) {
      const Index taken = std::min(most, channels - q);
      const Index length = (taken + N - 1) / N * N;
      spread_shares<false>(over_bands, shares<A>(n, c + q, taken), taken, tile, length, {0, bands});
      for (Index v = 0; v < taken; v += N)
        turn_back<N>(tile + v, length, size, static_cast<int>(std::min(N, taken - v)), rows + v * size, size);
      for (Index i = 0; i < taken; ++i, planes += height * width)
        for (Index b = 0; b < bands; ++b)
          for (Index h = edges[b]; h < edges[b + 1]; ++h)
            put_row(rows + i * size + b * width, width, h + 1 == height, planes + h * width);
    }
    return true;
  }
  /// Writes planes of NCHW where they lie, of maxima.
  template <class A>
  void put_planes(A* planes, Index n, Index c, Index channels) const {
    const Index size = shape.positions();
    const Index together = std::clamp<Index>(6144 / size, 4, 128);  // planes in the first-level cache
    for (Index q = 0; q < channels; q += together, planes += together * size) {
      const Index now = std::min(together, channels - q);
      std::fill_n(planes, now * size, A(0));
      for (Index k = 0; k < grids.count(); ++k) add_maxima<true>(planes, 1, size, n, c + q, now, k, {0, 0});
    }
  }

 private:
  static constexpr Index most_band_elements = 2048;  // of a plane

  /// Copies a row of a plane; what lies behind it is written later, unless it is the last one.
  template <class A>
  POOLHEAD_INLINE static void put_row(const A* from, Index width, bool is_last, A* to) {
    constexpr Index N = simd::lanes<A>;
    Index w = 0;
    for (; w + N <= width; w += N) simd::store(to + w, simd::load<A>(from + w));
    if (w == width) return;
    const auto rest = static_cast<int>(width - w);
    if (is_last)
      simd::store_first(to + w, simd::load_first<A>(from + w, rest), rest);
    else
      simd::store(to + w, simd::load_first<A>(from + w, rest));
  }
  /// What put_rows does for maxima, at each position in turn: it takes the gradients of those bins that cover
  /// it and have their maximum there.
  template <bool adds, class To>
  void find_maxima(To* tile, Index stride, Index n, Index c, Index channels, Index first, Index last) const {
    using A = Accumulator<To>;
    constexpr Index N = simd::lanes<A>;
    using V = simd::Vec<A, simd::lanes<A>>;
    struct Bins;
    const CoveringBins covering(grids);
    const Index bins = grids.grids().bins();
    Index* const found = workspace<Bins, Index>(bins);
    const Index step = std::clamp<Index>(1024 / bins, 1, 32) * N;
    for (Index q = 0; q < channels; q += step) {
      const Index taken = std::min(step, channels - q);
      const Index length = (taken + N - 1) / N * N;
      A* const own = peaks<A>(n, c + q, taken);
      const bool all_grids = !hand_down(own, peak_pitch<A>(taken), length);
      if (all_grids) peaks<A>(n, c + q, taken);  // once more
      To* to = tile + q;
      if constexpr (std::same_as<A, float>) {
        if (!all_grids && UsualPyramid::suits(grids)) {
          const Index pitch = peak_pitch<A>(taken);
          const PyramidPeaks<adds, To> rows(grids, own + grids.first_bin(2) * pitch, pitch, taken);
          for (Index h = first; h < last; ++h, to += shape.width() * stride) rows.spread(h, to, stride);
          continue;
        }
      }
      for (Index h = first; h < last; ++h) {
        for (Index w = 0; w < shape.width(); ++w, to += stride) {
          const Index count = covering.find(h, w, all_grids, found);
          const auto at = simd::splat<A, simd::lanes<A>>(static_cast<A>(h * shape.width() + w));
          add_up_at(
              at, own, peak_pitch<A>(taken), found, count,
              length, [&](Index e, const V& sum) __attribute__((always_inline)) {
                put_sum<adds>(to + e, sum);
              });
        }
      }
    }
  }
  /// The same, maximum by maximum.
  template <bool adds, class A>
  void scatter_maxima(A* tile, Index stride, Index n, Index c, Index channels, Index first, Index last) const {
    const Index begin = first * shape.width();
    const Index end = last * shape.width();
    const bool whole = first == 0 && last == shape.height();
    constexpr Index step = 8 * simd::lanes<A>;
    for (Index q = 0; q < channels; q += step) {
      const Index now = std::min(step, channels - q);
      if constexpr (!adds) clear(tile + q, stride, end - begin, now);
      for (Index k = 0; k < grids.count(); ++k) {
        if (whole)
          add_maxima<true>(tile + q, stride, 1, n, c + q, now, k, {0, 0});
        else
          add_maxima<false>(tile + q, stride, 1, n, c + q, now, k, {begin, end});
      }
    }
  }
  /// tile[s * stride + q] = 0, s < positions, q < channels.
  template <class A>
  static void clear(A* tile, Index stride, Index positions, Index channels) {
    if (stride == channels) {
      std::fill_n(tile, positions * channels, A(0));
      return;
    }
    constexpr Index N = simd::lanes<A>;
    for (Index s = 0; s < positions; ++s, tile += stride) {
      Index q = 0;
      for (; q + N <= channels; q += N) simd::store(tile + q, simd::zero<simd::Vec<A, simd::lanes<A>>>());
      std::fill_n(tile + q, channels - q, A(0));
    }
  }
  /// Of the positions in `own`, or of all.
  template <bool whole, class A>
  [[gnu::noinline]] void add_maxima(A* tile, Index stride, Index channel_stride, Index n, Index c,
                                    Index channels, Index k, const GridEdges::Range& own) const {
    const GridRows<const T> g = grid_rows(dy, grids.grids(), shape.channels, k);
    const GridRows<const Index> at = grid_rows(argmax, grids.grids(), shape.channels, k);
    const T* gradients = g.data + n * g.row_stride + c * g.channel_stride;
    const Index* positions = &at(n, c, 0);
    const Index bins = grids[k].bins();
    const auto add = [&](auto own_stride) __attribute__((always_inline)) {
      for (Index q = 0; q < channels; ++q) {
        A* const plane = tile + q * channel_stride;
        const auto add_one = [&](Index b) __attribute__((always_inline)) {
          const Index s = positions[b];
          if (whole || (s >= own.begin && s < own.end))
            plane[(s - own.begin) * own_stride] += static_cast<A>(gradients[b * g.bin_stride]);
        };
        Index b = 0;
        for (; b + 4 <= bins; b += 4) unroll<4>([&](auto i) __attribute__((always_inline)) { add_one(b + i); });
        for (; b < bins; ++b) add_one(b);
        gradients += g.channel_stride;
        positions += at.channel_stride;
      }
    };
    // A product with a constant takes less time.
    if (stride == scattered_channels)
      add(std::integral_constant<Index, scattered_channels>{});
    else
      add(stride);
  }

  /// Puts those of the bins, (bins, vectors), for channels c .. c + taken - 1, `apart` from vector to vector
  /// and `pitch` from bin to bin.
  template <class A>
  void turn_gradients(Index n, Index c, Index taken, A* to, Index apart, Index pitch) const {
    constexpr int N = simd::lanes<A>;
    const Index vectors = (taken + N - 1) / N;
    for (Index k = 0; k < grids.count(); to += grids[k].bins() * pitch, ++k) {
      const GridRows<const T> g = grid_rows(dy, grids.grids(), shape.channels, k);
      for (Index v = 0; v < vectors; ++v) {
        const T* const from = g.data + n * g.row_stride + (c + v * N) * g.channel_stride;
        const auto count = static_cast<int>(std::min<Index>(N, taken - v * N));
        if (g.channel_stride != 1)
          turn_planes(from, g.channel_stride, grids[k].bins(), count, to + v * apart, pitch);
        else
          for (Index b = 0; b < grids[k].bins(); ++b)
            simd::store(to + b * pitch + v * apart, simd::load_first<A>(from + b * g.bin_stride, count));
      }
    }
  }
  /// From a bin to the next among the peaks: an odd number of pairs of vectors, so that not all bins want the
  /// same few lines of a cache.
  template <class A>
  static Index peak_pitch(Index taken) {
    constexpr Index N = simd::lanes<A>;
    return ((taken + N - 1) / N | 1) * 2 * N;
  }
  /// The gradients of the bins, (bins, vectors), for channels c .. c + taken - 1, behind each vector the
  /// positions of the maxima, as numbers.
  template <class A>
  A* peaks(Index n, Index c, Index taken) const {
    constexpr int N = simd::lanes<A>;
    struct Peaks;
    const Index vectors = (taken + N - 1) / N;
    const Index bins = grids.grids().bins();
    const Index pitch = peak_pitch<A>(taken);
    A* const all = workspace<Peaks, A>(bins * (pitch + taken));
    A* const places = all + bins * pitch;
    turn_gradients(n, c, taken, all, 2 * N, pitch);
    A* to = all + N;
    for (Index k = 0; k < grids.count(); to += grids[k].bins() * pitch, ++k) {
      const Index own = grids[k].bins();
      const Index* const from = &grid_rows(argmax, grids.grids(), shape.channels, k)(n, c, 0);
      Index i = 0;
      for (; i + N <= taken * own; i += N)
        simd::store(places + i, simd::convert<A>(simd::load_array<N>(from + i)));
      for (; i < taken * own; ++i) places[i] = static_cast<A>(from[i]);
      for (Index v = 0; v < vectors; ++v)
        turn_planes(static_cast<const A*>(places + v * N * own), own, own,
                    static_cast<int>(std::min<Index>(N, taken - v * N)), to + v * 2 * N, pitch);
    }
    return all;
  }
  /// The maximum of a bin that finer ones make up is that of one of them, which gets its gradient, too. Whether
  /// all had one: a cache need not be what forward has left in it.
  template <class A>
  bool hand_down(A* peaks, Index pitch, Index length) const {
    constexpr int N = simd::lanes<A>;
    const auto every = simd::zero<simd::Mask<A, N>>() == simd::zero<simd::Mask<A, N>>();
    auto missing = ~every;
    for (Index steps = grids.count() - 1; steps > 0; --steps) {
      for (Index k = 0; k < grids.count(); ++k) {
        if (grids.compositions(k, true) != steps) continue;
        const Index finer = grids.finer(k, true);
        const Grid fine = grids[finer];
        const Index down = fine.rows / grids[k].rows;
        const Index across = fine.columns / grids[k].columns;
        const A* from = peaks + grids.first_bin(k) * pitch;
        for (Index b = 0; b < grids[k].bins(); ++b, from += pitch) {
          const Index corner = b / grids[k].columns * down * fine.columns + b % grids[k].columns * across;
          A* const to = peaks + (grids.first_bin(finer) + corner) * pitch;
          for (Index e = 0; e < 2 * length; e += 2 * N) {
            const auto gradient = simd::load<A>(from + e);
            const auto place = simd::load<A>(from + e + N);
            auto left = every;
            for (Index d = 0; d < down; ++d)
              for (Index a = 0; a < across; ++a) {
                A* const own = to + (d * fine.columns + a) * pitch + e;
                const auto sum = simd::load<A>(own);
                const auto same = (simd::load<A>(own + N) == place) & left;
                simd::store(own, simd::select(same, sum + gradient, sum));
                left = left & ~same;
              }
            missing = missing | left;
          }
        }
      }
    }
    return !simd::any(missing);
  }
  /// What each position of a bin gets, (bins, vectors), for channels c .. c + taken - 1.
  template <class A>
  const A* shares(Index n, Index c, Index taken) const {
    constexpr int N = simd::lanes<A>;
    struct Shares;
    const Index length = (taken + N - 1) / N * N;
    A* const all = workspace<Shares, A>(grids.grids().bins() * length);
    turn_gradients(n, c, taken, all, N, length);
    A* next = all;
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i) {
        for (Index j = 0; j < grids[k].columns; ++j, next += length) {
          const auto share = simd::splat<A, N>(A(1) / static_cast<A>(grids.window(k, i, j).size()));
          for (Index q = 0; q < length; q += N) simd::store(next + q, share * simd::load<A>(next + q));
        }
      }
    }
    return all;
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
