// The averages and maxima of bins of adaptive grids. Lanes are channels. Some vectors of them are turned (NCHW)
// to a tile that stays in the first-level cache; where planes have rows that the same bins cover, these are
// added up before. NHWC is read where it lies, many vectors at a time, so that memory is read in order.
#pragma once

#include "poolhead/pool/bin_fold.hpp"
#include "poolhead/pool/bin_results.hpp"
#include "poolhead/pool/pyramid_forward.hpp"

#include <optional>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Reduces every bin of a block of channels. is_cached: whether another head has just read it.
template <class X, class Y>
struct BinHead : BinResults<X, Y> {
  static constexpr bool has_blocks = true;
  using Results = BinResults<X, Y>;
  using T = typename X::Scalar;
  using Results::grids;
  using Results::N;
  using typename Results::A;

  bool max;

  [[gnu::noinline]] void reduce_block(const X& x, Index n, Index c, Index end, bool is_cached = false) const {
    const bool fetches = !is_cached && bytes_of(x) > near_map_bytes;
    if constexpr (std::same_as<A, float>) {
      if (goes_by_rows(x)) return reduce_by_rows(x, n, c, end, fetches);
    }
    const Bands bands(*this);
    std::optional<GridEdges> over_bands;
    if (bands.count > 0) over_bands.emplace(grids.over_bands(bands.edges, bands.count));
    const GridEdges& edges = bands.count > 0 ? *over_bands : grids;
    const Index height = edges.height();
    const Index width = edges.width();
    // So many rows at a time. No sum may depend on how many channels there are.
    const bool whole = (is_short() && (in_planes || reads_in_place)) || bands.count > 0;
    const Index bins = grids.grids().bins();
    const Index fitting = std::min(tile_elements / ((whole ? height : 1) * width * N), 1024 / bins);
    const Index most_turned = whole || !in_planes ? 16 : 8;
    const Index turned = fitting < 4 ? std::max<Index>(fitting, 1) : std::min(fitting / 4 * 4, most_turned);
    const Index rows =
        whole ? height : std::max<Index>(tile_elements / ((in_planes ? turned : 16) * N * width), 1);
    while (c < end) {
      // Whole vectors are read where they lie, if they can be.
      const bool in_place = reads_in_place && end - c >= N;
      const Index together = in_place ? std::clamp<Index>(2048 / bins, 1, most_vectors) : turned;
      const Index taken = std::min(together * N, in_place ? (end - c) / N * N : end - c);
      const Index step = (taken + N - 1) / N * N;
      if (in_planes && fetches && bands.count == 0 && x.positions() <= most_fetched_positions)
        fetch_whole<1>(x.sample(n) + c * x.positions(), taken * x.positions());
      const auto feed = [&](auto& fold) {
        if (bands.count > 0) return fold.add_plane(add_up_bands(x, n, c, taken, bands, fetches), step);
        for (Index h = 0; h < height; h += rows) {
          const GridEdges::Range now{h, std::min(h + rows, height)};
          const Index first = h * width;
          if constexpr (reads_in_place) {
            if (in_place) {
              const auto* const from = x.sample(n) + first * x.channels() + c;
              if (fetches && !whole && taken == x.channels()) fetch_whole<2>(from, now.size() * width * taken);
              fold.add(from, x.channels(), now);
              continue;
            }
          }
          const A* const tile = fill(x, n, c, taken, first, now.size() * width);
          // Once turned, a plane is in the first-level cache.
          if (in_planes && whole)
            fold.add_plane(tile, step);
          else
            fold.add(tile, step, now);
        }
      };
      if (max)
        with_position_lanes<A>(x.positions(), [&]<class I>(I) { find_maxima<I>(x, n, c, taken, feed); });
      else if (is_short() && !std::same_as<A, double>)
        find_means<ShortSums<A>>(edges, x, n, c, taken, feed);
      else if (x.positions() < 1024 && bands.count == 0)
        find_means<GroupSums<A, 8>>(edges, x, n, c, taken, feed);
      else
        find_means<GroupSums<A, 2>>(edges, x, n, c, taken, feed);
      c += taken;
    }
  }

 private:
  static constexpr bool reads_in_place = std::same_as<typename X::Layout, ChannelsLast> && std::same_as<T, A>;
  static constexpr Index tile_elements = 8192;
  static constexpr Index cache_way = 4096;
  static constexpr Index most_vectors = 64;
  static constexpr Index most_fetched_positions = 2048;  // longer planes are streams by themselves
  static constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;

  /// NCHW: where rows that the same bins cover are added up before what is left of a plane is turned, these
  /// rows.
  struct Bands {
    Index count = 0;
    Index edges[GridEdges::most_bands + 1];

    explicit Bands(const BinHead& head) {
      const GridEdges& all = head.grids;
      if (!in_planes || head.max || all.width() < N || all.height() * all.width() >= 1024) return;
      count = all.bands(8, edges);
      if (4 * count > 3 * all.height()) count = 0;
    }
  };

  /// What is folded piece by piece leaves memory waiting: it is asked for as a whole, if a near cache holds it.
  /// Rows of NHWC go to the second level's: they come faster than the first would take them. (Inlined, as a
  /// call of a function that does nothing else may be left out.)
  template <int level>
  POOLHEAD_INLINE static void fetch_whole(const T* from, Index size) {
    constexpr Index most_bytes = 1 << 19;
    if (size * static_cast<Index>(sizeof(T)) <= most_bytes) ReadAhead(4096).fetch<level>(from, size);
  }
  /// Whether the plane is so small that floats are summed as such.
  bool is_short() const { return grids.height() <= 16 && grids.width() <= 16; }

  /// tile (bands, width, vectors): of channels c .. c + taken - 1 the sums down the bands.
  A* add_up_bands(const X& x, Index n, Index c, Index taken, const Bands& bands, bool fetches) const {
    struct Tile;
    const Index width = x.width();
    const Index size = bands.count * width;
    const Index step = (taken + N - 1) / N * N;
    A* const tile = workspace<Tile, A>(size * step + N * size);
    A* const planes = tile + size * step;
    const ReadAhead ahead0(fetches ? 4096 : 0);
    const ReadAhead ahead(fetches ? far_ahead : 0);
    for (Index q = 0; q < taken; q += N) {
      const auto count = static_cast<int>(std::min<Index>(N, taken - q));
      const T* plane = x.sample(n) + (c + q) * x.positions();
      A* to = planes;
      for (int i = 0; i < count; ++i, plane += x.positions()) {
        ahead.fetch(plane, x.positions());
        for (Index b = 0; b < bands.count; ++b, to += width) {
          const T* const first = plane + bands.edges[b] * width;
          const T* const last = plane + bands.edges[b + 1] * width;
          for (Index w = 0; w < width; w += N) {
            const Index at = std::min(w, width - N);  // some of them once more
            auto sum = simd::load<A>(first + at);
            for (const T* row = first + width; row < last; row += width) sum = sum + simd::load<A>(row + at);
            simd::store(to + at, sum);
          }
        }
      }
      turn_planes(static_cast<const A*>(planes), size, size, count, tile + q, step);
    }
    return tile;
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

  /// NHWC: whether positions are so far apart that those of a plane want the same few lines of a first-level
  /// cache: the neighbours that come with a vector are gone before their turn.
  static bool is_crowded(const X& x) {
    constexpr Index way = simd::register_bytes == 64 ? cache_way : cache_way / 2;
    return reads_in_place && x.channels() * static_cast<Index>(sizeof(T)) % way == 0;
  }
  /// Whether bins are those of UsualPyramid, by rows, a few vectors of channels at a time. Crowded planes are
  /// copied for it; where that takes too long, they are better read in memory's order.
  bool goes_by_rows(const X& x) const {
    if (!UsualPyramid::suits(grids)) return false;
    if (is_crowded(x)) return x.positions() <= 49;
    const bool is_half_crowded =
        reads_in_place && x.channels() * static_cast<Index>(sizeof(T)) % (cache_way / 2) == 0;
    return !is_half_crowded || x.positions() <= (max ? 49 : 100);
  }
  void reduce_by_rows(const X& x, Index n, Index c, Index end, bool fetches) const {
    if (max) {
      const PyramidMaxima rows(grids);
      walk_by_rows<1>(x, n, c, end, fetches, [&](auto, Index first, const A* p, auto step, Index count) {
        PyramidMaxima::State tops[UsualPyramid::bins];
        const auto note = rows.put_maxima(p, step, tops);
        if (simd::any(note != note)) [[unlikely]]
          this->template put_nan<std::int32_t>(x, n, first, count, tops, 1);
        this->template put_tops<std::int32_t>(n, first, count, tops, 1);
      });
    } else {
      constexpr int K = in_planes ? 1 : PyramidMeans::most_together;
      const PyramidMeans rows(grids);
      walk_by_rows<K>(
          x, n, c, end, fetches, [&](auto together, Index first, const A* p, auto step, Index count) {
            constexpr int own = together;
            A means[UsualPyramid::bins * own * N];
            if (!rows.put_means<own>(p, step, means)) [[unlikely]]
              for (int v = 0; v < own; ++v)
                this->rescale(x, n, first + v * N, std::min<Index>(N, count - v * N), means + v * N, own * N);
            this->put(this->y, n, first, count, means, own, N);
          });
    }
  }
  /// take(K or 1, channel, its first position, from one to the next, count): all channels, so many vectors at a
  /// time, where they lie or copied.
  template <int K, class Take>
  POOLHEAD_INLINE void walk_by_rows(const X& x, Index n, Index c, Index end, bool fetches,
                                    const Take& take) const {
    const Index size = x.positions();
    // NHWC: what has the same place in the next sample.
    const ReadAhead ahead(!fetches    ? 0
                          : in_planes ? 8192
                                      : size * x.channels() * static_cast<Index>(sizeof(T)));
    while (c < end) {
      const Index whole = (end - c) / (K * N) * (K * N);
      const Index taken = in_planes || whole == 0 ? std::min<Index>(N, end - c) : std::min<Index>(whole, 4 * N);
      ahead.fetch<in_planes ? 1 : 2>(x.sample(n) + c * size, taken * size);
      if (in_planes || whole == 0) {
        take(std::integral_constant<int, 1>{}, c, fill(x, n, c, taken, 0, size),
             std::integral_constant<Index, N>{}, taken);
        c += taken;
        continue;
      }
      const A* p = nullptr;
      Index step = taken;
      if constexpr (reads_in_place) {
        if (!is_crowded(x)) {
          p = x.sample(n) + c;
          step = x.channels();
        }
      }
      if (p == nullptr) p = fill(x, n, c, taken, 0, size);
      for (const Index last = c + taken; c < last; p += K * N, c += K * N)
        take(std::integral_constant<int, K>{}, c, p, step, Index{K * N});
    }
  }

  template <class Bins, class Feed>
  void find_means(const GridEdges& edges, const X& x, Index n, Index c, Index taken, const Feed& feed) const {
    struct Means;
    struct Shares;
    const Index vectors = (taken + N - 1) / N;
    BinFold<Bins, A, false> fold(edges, vectors);
    feed(fold);
    const auto* const sums = fold.finish();
    const Index bins = grids.grids().bins();
    A* const means = workspace<Means, A>(bins * N);  // of a vector, in the first-level cache until they are put
    auto* const shares = workspace<Shares, decltype(Bins::share(1))>(bins);
    auto* share = shares;
    for (Index k = 0; k < grids.count(); ++k)
      for (Index i = 0; i < grids[k].rows; ++i)
        for (Index j = 0; j < grids[k].columns; ++j)
          *share++ = Bins::share(grids.rows(k, i).size() * grids.columns(k, j).size());
    for (Index v = 0; v < vectors; ++v) {
      const Index first = c + v * N;
      const Index count = std::min<Index>(N, taken - v * N);
      auto check = simd::zero<simd::Mask<A, N>>();
      for (Index b = 0; b < bins; ++b) {
        const auto mean = Bins::mean(sums[b * fold.pitch() + v], shares[b]);
        check = check | simd::bit_cast<simd::IntOf<A>>(mean - mean);  // 0 of what is finite
        simd::store(means + b * N, mean);
      }
      // A sum may overflow though its mean need not.
      if (simd::any(check != simd::zero<simd::Mask<A, N>>())) [[unlikely]]
        this->rescale(x, n, first, count, means, N);
      this->put(this->y, n, first, count, means, 1, N);
    }
  }

  /// I: the lanes of positions.
  template <class I, class Feed>
  void find_maxima(const X& x, Index n, Index c, Index taken, const Feed& feed) const {
    using Bins = BinMaxima<A, I>;
    using State = typename Bins::State;
    const Index vectors = (taken + N - 1) / N;
    BinFold<Bins, A, true> fold(grids, vectors);
    feed(fold);
    State* const tops = fold.finish();
    for (Index v = 0; v < vectors; ++v)
      if (simd::any(fold.notes()[v] != fold.notes()[v])) [[unlikely]]
        this->template put_nan<I>(x, n, c + v * N, std::min<Index>(N, taken - v * N), tops + v, fold.pitch());
    this->template put_tops<I>(n, c, taken, tops, fold.pitch());
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
