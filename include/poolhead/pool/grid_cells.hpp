// The cells into which the edges of the bins of adaptive grids cut planes.
#pragma once

#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The cells into which the edges of all bins cut the planes: no edge goes through one. The tables stand in the
/// calling thread's memory, until Purpose's next.
template <class Purpose>
class GridCells {
 public:
  using Range = GridEdges::Range;

  explicit GridCells(const GridEdges& grids) : grids_(grids) {
    Index columns = 0;  // of bins
    for (Index k = 0; k < grids.count(); ++k) columns += grids[k].columns;
    const Index height = grids.height();
    const Index width = grids.width();
    row_edges_ = workspace<Purpose, Index>(height + 1 + 2 * (width + 1));
    column_edges_ = row_edges_ + height + 1;
    Index* const rank = column_edges_ + width + 1;  // of a column among the edges
    std::fill_n(row_edges_, height + 1 + width + 1, 0);
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i)
        row_edges_[grids.rows(k, i).begin] = row_edges_[grids.rows(k, i).end] = 1;
      for (Index j = 0; j < grids[k].columns; ++j)
        column_edges_[grids.columns(k, j).begin] = column_edges_[grids.columns(k, j).end] = 1;
    }
    rows_ = collect(row_edges_, height, nullptr);
    columns_ = collect(column_edges_, width, rank);
    spans_ = workspace<Purpose, Range>(columns + grids.count());
    covering_ = spans_ + columns;
    Range* span = spans_;
    for (Index k = 0; k < grids.count(); ++k)
      for (Index j = 0; j < grids[k].columns; ++j)
        *span++ = {rank[grids.columns(k, j).begin], rank[grids.columns(k, j).end]};
    std::fill_n(covering_, grids.count(), Range{0, 0});
  }

  Index rows() const { return rows_; }
  Index columns() const { return columns_; }
  /// The rows (columns) of the plane in row (column) c of cells.
  Range row(Index c) const { return {row_edges_[c], row_edges_[c + 1]}; }
  Range column(Index c) const { return {column_edges_[c], column_edges_[c + 1]}; }
  /// The columns of cells of each column of bins, grid after grid.
  const Range* spans() const { return spans_; }
  /// The rows of bins of grid k that cover row c of cells. Calls for one k are in the order of c.
  Range covering(Index k, Index c) const {
    grids_.advance(k, row_edges_[c], covering_[k]);
    return covering_[k];
  }

 private:
  /// Makes marks at 0 .. length the list of where they stand; how many cells lie between them.
  static Index collect(Index* marks, Index length, Index* rank) {
    Index count = 0;
    for (Index s = 0; s <= length; ++s) {
      if (marks[s] == 0) continue;
      if (rank != nullptr) rank[s] = count;
      marks[count++] = s;
    }
    return count - 1;
  }

  const GridEdges& grids_;
  Index *row_edges_, *column_edges_;
  Index rows_, columns_;
  Range *spans_, *covering_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
