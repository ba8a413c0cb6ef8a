// What the bins that cover a position give it.
#pragma once

#include "poolhead/core/spread.hpp"
#include "poolhead/pool/grid_cells.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// to[0 .. N - 1] = sum, or where it adds, += sum.
template <bool adds, class To, class A, int N>
POOLHEAD_INLINE void put_sum(To* to, const simd::Vec<A, N>& sum) {
  if constexpr (adds)
    simd::store(to, simd::load<A>(to) + sum);
  else
    simd::store(to, sum);
}

/// sink(e, the sum of N elements from row + offset(i) + e on, i < count).
template <class A, class Offset, class Sink>
POOLHEAD_INLINE void add_up(const A* row, const Offset& offset, Index count, Index length, const Sink& sink) {
  constexpr int N = simd::lanes<A>;
  constexpr int most = 6;
  with_number<most>(
      static_cast<int>(std::min<Index>(count, most)), [&](auto number) __attribute__((always_inline)) {
        const A* from[number];
        for (int i = 0; i < number; ++i) from[i] = row + offset(i);
        for (Index e = 0; e < length; e += N) {
          auto sum = simd::load<A>(from[0] + e);
          unroll<number - 1>([&](auto i) __attribute__((always_inline)) {
            sum = sum + simd::load<A>(from[i + 1] + e);
          });
          if constexpr (number == most)
            for (Index i = most; i < count; ++i) sum = sum + simd::load<A>(row + offset(i) + e);
          sink(e, sum);
        }
      });
}

/// The bins that cover each position of planes. Those of one grid that do are in consecutive rows and columns
/// of it.
class CoveringBins {
 public:
  using Range = GridEdges::Range;

  explicit CoveringBins(const GridEdges& grids) : grids_(grids) {
    struct Ranges;
    rows_ = workspace<Ranges, Range>(grids.count() * (grids.height() + grids.width()));
    columns_ = rows_ + grids.count() * grids.height();
    std::fill_n(rows_, grids.count() * (grids.height() + grids.width()), Range{0, 0});
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i) cover(rows_ + k * grids.height(), grids.rows(k, i), i);
      for (Index j = 0; j < grids[k].columns; ++j) cover(columns_ + k * grids.width(), grids.columns(k, j), j);
    }
  }
  /// How many bins cover position (h, w), and which, in their order: they are written to `bins`. Of all grids,
  /// or of those that no finer one makes up.
  Index find(Index h, Index w, bool all_grids, Index* bins) const {
    Index count = 0;
    Index first = 0;
    for (Index k = 0; k < grids_.count(); first += grids_[k].bins(), ++k) {
      if (!all_grids && grids_.finer(k, true) != k) continue;
      const Range down = rows_[k * grids_.height() + h];
      const Range across = columns_[k * grids_.width() + w];
      for (Index i = down.begin; i < down.end; ++i)
        for (Index j = across.begin; j < across.end; ++j) bins[count++] = first + i * grids_[k].columns + j;
    }
    return count;
  }

 private:
  /// Bin i covers `own`; those before it have been here.
  static void cover(Range* covering, const Range& own, Index i) {
    for (Index s = own.begin; s < own.end; ++s)
      covering[s] = {covering[s].end == 0 ? i : covering[s].begin, i + 1};
  }

  const GridEdges& grids_;
  Range *rows_, *columns_;
};

/// sink(e, the sum of those of N elements from peaks + bins[i] * pitch + 2 e on, i < count, behind which the
/// place is `at`), for e < length in steps of N.
template <class A, class Sink>
POOLHEAD_INLINE void add_up_at(const simd::Vec<A, simd::lanes<A>>& at, const A* peaks, Index pitch,
                               const Index* bins, Index count, Index length, const Sink& sink) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  constexpr int most = 9;
  const auto add = [&](V & sum, const A* peak) __attribute__((always_inline)) {
    sum = simd::select(simd::load<A>(peak + N) == at, sum + simd::load<A>(peak), sum);
  };
  with_number<most>(
      static_cast<int>(std::min<Index>(count, most)), [&](auto number) __attribute__((always_inline)) {
        const A* from[number];
        for (int i = 0; i < number; ++i) from[i] = peaks + bins[i] * pitch;
        for (Index e = 0; e < length; e += N) {
          auto sum = simd::zero<V>();
          unroll<number>([&](auto i) __attribute__((always_inline)) { add(sum, from[i] + 2 * e); });
          if constexpr (number == most)
            for (Index i = most; i < count; ++i) add(sum, peaks + bins[i] * pitch + 2 * e);
          sink(e, sum);
        }
      });
}

/// tile[s * stride + q] = the shares, (bins, vectors), of all bins that cover position s of channel q <
/// channels, or where it adds, += them; the tile begins with the first of the rows, and q goes up to whole
/// vectors. The positions of a cell are covered alike: what it gets is added up once.
template <bool adds, class A, class To>
[[gnu::noinline]] void spread_shares(const GridEdges& grids, const A* shares, Index channels, To* tile,
                                     Index stride, const GridEdges::Range& rows) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Range = GridEdges::Range;
  struct Cells;
  struct Row;
  const GridCells<Cells> cells(grids);
  const Index length = (channels + N - 1) / N * N;
  Index columns = 0;  // of bins, of all grids
  Index covered = 0;  // by each of them, in cells
  for (Index k = 0; k < grids.count(); ++k) {
    for (Index j = 0; j < grids[k].columns; ++j) covered += cells.spans()[columns + j].size();
    columns += grids[k].columns;
  }
  // The columns of bins that cover column c of cells are covering[first[c]] .. covering[first[c + 1] - 1].
  Index* const first = workspace<Row, Index>(cells.columns() + 1 + covered);
  Index* const covering = first + cells.columns() + 1;
  first[0] = 0;
  for (Index c = 0; c < cells.columns(); ++c) {
    first[c + 1] = first[c];
    for (Index j = 0; j < columns; ++j)
      if (cells.spans()[j].begin <= c && c < cells.spans()[j].end) covering[first[c + 1]++] = j * length;
  }
  // Of a row of cells, the sums down its columns of bins, and what each cell's positions get.
  A* const row = workspace<Row, A>((columns + cells.columns()) * length);
  A* const sums = row + columns * length;

  for (Index r = 0; r < cells.rows(); ++r) {
    const Range own{std::max(cells.row(r).begin, rows.begin), std::min(cells.row(r).end, rows.end)};
    if (own.begin >= own.end) continue;
    A* to = row;
    const A* from = shares;
    for (Index k = 0; k < grids.count(); ++k) {
      const Range bins = cells.covering(k, r);
      const Index step = grids[k].columns * length;
      add_up(
          from + bins.begin * step, [&](Index i) { return i * step; }, bins.size(),
          step, [&](Index e, const V& sum) __attribute__((always_inline)) { simd::store(to + e, sum); });
      to += step;
      from += grids[k].bins() * length;
    }
    const auto add_up_cell = [&](Index c, const auto& sink) __attribute__((always_inline)) {
      add_up(
          row, [&](Index i) { return covering[first[c] + i]; }, first[c + 1] - first[c], length, sink);
    };
    To* at = tile + (own.begin - rows.begin) * grids.width() * stride;
    if (own.size() == 1 && cells.columns() == grids.width()) {
      for (Index c = 0; c < cells.columns(); ++c, at += stride)
        add_up_cell(
            c, [&](Index e, const V& sum) __attribute__((always_inline)) { put_sum<adds>(at + e, sum); });
      continue;
    }
    for (Index c = 0; c < cells.columns(); ++c)
      add_up_cell(
          c, [&](Index e, const V& sum)
                 __attribute__((always_inline)) { simd::store(sums + c * length + e, sum); });
    // Row by row: memory is written in order.
    for (Index h = 0; h < own.size(); ++h)
      for (Index c = 0; c < cells.columns(); ++c)
        for (Index w = 0; w < cells.column(c).size(); ++w, at += stride)
          for (Index e = 0; e < length; e += N) put_sum<adds>(at + e, simd::load<A>(sums + c * length + e));
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
