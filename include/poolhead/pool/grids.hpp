// Where the bins of adaptive grids lie, and where their features stand.
#pragma once

#include "poolhead/core/reduce.hpp"

#include <algorithm>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Bin i of n over a length covers [begin, end) = [floor(i length / n), ceil((i + 1) length / n)), PyTorch's
/// rule. Products are split, so that they fit wherever the result does.
inline Index bin_begin(Index i, Index n, Index length) { return i * (length / n) + i * (length % n) / n; }
inline Index bin_end(Index i, Index n, Index length) {
  return (i + 1) * (length / n) + ((i + 1) * (length % n) + n - 1) / n;
}

struct Grid {
  Index rows;
  Index columns;

  Index bins() const { return rows * columns; }
};

/// The grids of one pool: one per level of a pyramid, or one alone.
struct Grids {
  const Index* levels;  // of a pyramid; null for `one`
  Index count;
  Grid one;

  Grid operator[](Index k) const { return levels == nullptr ? one : Grid{levels[k], levels[k]}; }
  Index bins() const {
    Index sum = 0;
    for (Index k = 0; k < count; ++k) sum += (*this)[k].bins();
    return sum;
  }
  /// Throws ValueError for a grid without bins, ShapeError where there are more features than an Index counts
  /// or x is no map of two spatial axes.
  void check(std::string_view type, std::string_view call, const FeatureShape& shape) const {
    if (count == 0) fail<ValueError>(type, call, ": there are no levels, expected at least one");
    Index total = 0;
    for (Index k = 0; k < count; ++k) {
      const Grid grid = (*this)[k];
      if (grid.rows < 1 || grid.columns < 1)
        fail<ValueError>(type, call, ": a grid has ", grid.rows, " x ", grid.columns,
                         " bins, expected at least 1 x 1");
      const Index size = checked_size(std::array{std::max<Index>(shape.batch, 1),
                                                 std::max<Index>(shape.channels, 1), grid.rows, grid.columns},
                                      type, call);
      if (__builtin_add_overflow(total, size, &total))
        fail<ShapeError>(type, call, ": there are 2^63 features and more");
    }
    if (shape.rank != 4)
      fail<ShapeError>(type, call, ": x is of rank ", static_cast<Index>(shape.rank),
                       ", expected 4: bins need two spatial axes");
  }
};

/// Grids over maps of one size. The edges of their bins stand in a table, as divisions cost more than a small
/// bin does; where it is too small for them, they are computed each time.
class GridEdges {
 public:
  struct Range {
    Index begin, end;
    Index size() const { return end - begin; }
  };
  static constexpr Index most_bands = 32;

  GridEdges(const Grids& grids, const FeatureShape& shape)
      : grids_(grids), height_(shape.height()), width_(shape.width()) {
    Index rows = 0;
    Index columns = 0;
    tabled_ = grids.count <= most_grids && height_ <= most_length && width_ <= most_length;
    for (Index k = 0; k < grids.count && tabled_; ++k) {
      const Grid grid = grids[k];
      tabled_ = rows + grid.rows <= most_edges && columns + grid.columns <= most_edges;
      if (!tabled_) break;
      first_row_[k] = rows;
      first_column_[k] = columns;
      for (Index i = 0; i < grid.rows; ++i) rows_[rows++] = narrow(range(i, grid.rows, height_));
      for (Index j = 0; j < grid.columns; ++j) columns_[columns++] = narrow(range(j, grid.columns, width_));
    }
    if (tabled_) {
      for (Index j = 0; j < columns; ++j) {
        column_edges_[2 * j] = columns_[j].begin;
        column_edges_[2 * j + 1] = columns_[j].end;
      }
      std::sort(column_edges_, column_edges_ + 2 * columns);
      cells_ = std::unique(column_edges_, column_edges_ + 2 * columns) - column_edges_ - 1;
    }
    for (Index k = 0; k < std::min(grids.count, most_grids); ++k) {
      const Index finer = find_finer(k);
      const bool apart = height_ % grids[finer].rows == 0 && width_ % grids[finer].columns == 0;
      finer_[0][k] = apart ? finer : k;
      finer_[1][k] = finer;
    }
  }

  Index count() const { return grids_.count; }
  Grid operator[](Index k) const { return grids_[k]; }
  const Grids& grids() const { return grids_; }
  /// The rows (columns) of the plane that row (column) i of grid k covers.
  Range rows(Index k, Index i) const {
    return tabled_ ? wide(rows_[first_row_[k] + i]) : range(i, grids_[k].rows, height_);
  }
  Range columns(Index k, Index j) const {
    return tabled_ ? wide(columns_[first_column_[k] + j]) : range(j, grids_[k].columns, width_);
  }
  /// Makes `covering`, the rows of grid k that cover some row before h, or {0, 0}, those that cover row h.
  void advance(Index k, Index h, Range& covering) const {
    while (rows(k, covering.begin).end <= h) ++covering.begin;
    while (covering.end < grids_[k].rows && rows(k, covering.end).begin <= h) ++covering.end;
  }
  /// The rows of grid k that cover row h of the plane.
  Range covering(Index k, Index h) const {
    Range result{0, 0};
    if (!tabled_) result.begin = result.end = bin_begin(h, height_, grids_[k].rows);
    advance(k, h, result);
    return result;
  }
  /// The columns between one edge of any grid's bins and the next, and how many such there are: 0 where they
  /// are too many.
  Range cell(Index c) const { return {column_edges_[c], column_edges_[c + 1]}; }
  Index cells() const { return cells_; }
  /// The bands into which the edges of all bins cut the rows, those higher than `most` cut on: edges[b] is
  /// where band b begins. Returns how many there are; 0 where they are more than edges has room for.
  Index bands(Index most, Index (&edges)[most_bands + 1]) const {
    Index count = 0;
    edges[0] = 0;
    while (edges[count] < height_) {
      if (!tabled_ || count == most_bands) return 0;
      Index end = std::min(edges[count] + most, height_);
      for (Index k = 0; k < grids_.count; ++k) {
        const Range over = covering(k, edges[count]);
        end = std::min(end, rows(k, over.begin).end);
        if (over.end < grids_[k].rows) end = std::min(end, rows(k, over.end).begin);
      }
      edges[++count] = end;
    }
    return count;
  }
  /// The same grids over planes whose rows are those bands.
  GridEdges over_bands(const Index (&edges)[most_bands + 1], Index count) const {
    GridEdges result = *this;
    result.height_ = count;
    const auto band = [&](std::int32_t row) {
      return static_cast<std::int32_t>(std::lower_bound(edges, edges + count, row) - edges);
    };
    Index total = 0;
    for (Index k = 0; k < grids_.count; ++k) total += grids_[k].rows;
    for (Index i = 0; i < total; ++i) result.rows_[i] = {band(rows_[i].begin), band(rows_[i].end)};
    return result;
  }
  Index height() const { return height_; }
  Index width() const { return width_; }

  /// How many vectors of channels take every step together: their bins are to stay in a cache.
  Index vectors_together() const { return std::clamp<Index>(1024 / grids_.bins(), 1, 16); }

  /// Where the bins of grid k begin among all bins, grid after grid.
  Index first_bin(Index k) const {
    Index first = 0;
    for (Index before = 0; before < k; ++before) first += grids_[before].bins();
    return first;
  }
  /// The coarsest of the grids whose bins make up those of grid k, a whole number of them in each direction; k
  /// where there is none, or where its bins overlap though they must not.
  Index finer(Index k, bool overlapping) const { return k < most_grids ? finer_[overlapping ? 1 : 0][k] : k; }
  /// How many grids one must be made from another before grid k.
  Index compositions(Index k, bool overlapping) const {
    Index steps = 0;
    for (Index from = finer(k, overlapping); from != k; from = finer(k, overlapping)) {
      k = from;
      ++steps;
    }
    return steps;
  }

  Window window(Index k, Index i, Index j) const {
    const Range down = rows(k, i);
    const Range across = columns(k, j);
    // Rows without a gap between them are one.
    if (across.size() == width_) return {down.begin * width_, 1, down.size() * width_, 0};
    return {down.begin * width_ + across.begin, down.size(), across.size(), width_};
  }

 private:
  Index find_finer(Index k) const {
    Index best = k;
    const Grid own = grids_[k];
    for (Index i = 0; i < std::min(grids_.count, most_grids); ++i) {
      const Grid other = grids_[i];
      const bool divides = other.rows % own.rows == 0 && other.columns % own.columns == 0;
      if (divides && other.bins() > own.bins() && (best == k || other.bins() < grids_[best].bins())) best = i;
    }
    return best;
  }

  static constexpr Index most_grids = 8;
  static constexpr Index most_edges = 32;
  static constexpr Index most_length = std::numeric_limits<std::int32_t>::max();
  struct Narrow {
    std::int32_t begin, end;
  };

  static Range range(Index i, Index n, Index length) {
    return {bin_begin(i, n, length), bin_end(i, n, length)};
  }
  static Narrow narrow(const Range& wide) {
    return {static_cast<std::int32_t>(wide.begin), static_cast<std::int32_t>(wide.end)};
  }
  static Range wide(const Narrow& narrow) { return {narrow.begin, narrow.end}; }

  Grids grids_;
  Index height_, width_;
  bool tabled_;
  Index first_row_[most_grids], first_column_[most_grids];
  Narrow rows_[most_edges], columns_[most_edges];
  Index cells_ = 0;
  std::int32_t column_edges_[2 * most_edges];
  Index finer_[2][most_grids];
};

/// The features of one grid: bin b of channel c of sample n.
template <class T>
struct GridRows {
  T* data = nullptr;
  Index row_stride = 0;
  Index channel_stride = 0;
  Index bin_stride = 0;

  T& operator()(Index n, Index c, Index b) const {
    return data[n * row_stride + c * channel_stride + b * bin_stride];
  }
};

/// The features of grid k in rows: grids one after another, in each of them channel by channel.
template <class T>
GridRows<T> grid_rows(const Rows<T>& rows, const Grids& grids, Index channels, Index k) {
  Index first = 0;
  for (Index level = 0; level < k; ++level) first += channels * grids[level].bins();
  return {rows.data() == nullptr ? nullptr : rows.data() + first, rows.stride(), grids[k].bins(), 1};
}
/// An adaptive pool's feature map is one grid.
template <class T>
GridRows<T> grid_rows(const GridRows<T>& map, const Grids&, Index, Index) {
  return map;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
