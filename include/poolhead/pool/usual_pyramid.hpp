// The usual pyramid, levels 1, 2 and 4, over planes of a few rows and columns, whose bins are smaller than what
// a loop over each of them costs. Planes are gone through row by row: what the row gives the columns of bins of
// all levels, or they give it, is code of its own for each width.
#pragma once

#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The pyramid of levels 1, 2 and 4 over planes of 4 x 4 to 15 x 15 positions. Lanes are channels.
struct UsualPyramid {
  static constexpr Index levels[] = {1, 2, 4};
  static constexpr int bins = 21;
  static constexpr int columns = 7;  // of bins, of all levels
  static constexpr int least = 4;    // no row is in three bins of a level
  static constexpr int most = 15;    // rows of more are better added up in NCHW before they are turned

  static bool suits(const GridEdges& grids) {
    if (grids.count() != 3) return false;
    for (Index k = 0; k < 3; ++k)
      if (grids[k].rows != levels[k] || grids[k].columns != levels[k]) return false;
    return std::min(grids.height(), grids.width()) >= least && std::max(grids.height(), grids.width()) <= most;
  }
  /// f(how many columns planes have, as a constant).
  template <class F>
  static void with_width(const GridEdges& grids, const F& f) {
    with_number<most - least + 1>(static_cast<int>(grids.width() - least + 1),
                                  [&](auto number) { f(std::integral_constant<int, number + least - 1>{}); });
  }
};

/// With which rows its bins begin and end.
class RowEnds : UsualPyramid {
 public:
  explicit RowEnds(const GridEdges& grids) {
    for (Index k = 0; k < 3; ++k)
      for (Index i = 0; i < levels[k]; ++i) {
        const auto rows = grids.rows(k, i);
        if (i > 0 && rows.begin < grids.rows(k, i - 1).end)
          shared_[k] |= 1U << rows.begin;
        else
          begins_[k] |= 1U << rows.begin;
        ends_[k] |= 1U << (rows.end - 1);
      }
  }
  /// Whether bins of level k begin with row h, of which none ends with it.
  bool begins(Index k, Index h) const { return (begins_[k] >> h & 1) != 0; }
  bool ends(Index k, Index h) const { return (ends_[k] >> h & 1) != 0; }
  /// Whether one ends with row h, and the next begins with it, too.
  bool is_shared(Index k, Index h) const { return (shared_[k] >> h & 1) != 0; }

 private:
  unsigned begins_[3] = {}, ends_[3] = {}, shared_[3] = {};  // bit h: row h
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
