// How bins are folded: of a tile of some positions of a few vectors of channels, lanes that are channels.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/grids.hpp"
#include "poolhead/pool/max_reduction.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The sum of m vectors, `step` elements apart, by halves.
template <int m, class A>
POOLHEAD_INLINE simd::Vec<A, simd::lanes<A>> sum_row(const A* p, Index step) {
  if constexpr (m == 1)
    return simd::load<A>(p);
  else
    return sum_row<m / 2>(p, step) + sum_row<m - m / 2>(p + m / 2 * step, step);
}

/// Sums in double of `together` floats at a time.
template <class A, int together>
struct BinSums {
  using State = WideSum<A, simd::lanes<A>>;

  template <int m>
  POOLHEAD_INLINE static State few(const A* p, Index step, Index) {
    constexpr int group = std::same_as<A, double> ? 1 : together;
    State sum = State::zero();
    unroll<(m + group - 1) / group>([&](auto g) __attribute__((always_inline)) {
      constexpr int first = g * group;
      sum.add(simd::convert<double>(sum_row<std::min(group, m - first)>(p + first * step, step)));
    });
    return sum;
  }
  POOLHEAD_INLINE static void append(State& to, const State& later) { to.add(later); }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) {
    State sum = a;
    sum.add(b);
    return sum;
  }
  POOLHEAD_INLINE static auto mean(const State& sum, const Window& bin) {
    return AverageFold<A, simd::IntOf<A>, false>().value(sum, static_cast<double>(bin.size()));
  }
};

/// BinMaxima and their positions.
template <class A, class I>
struct BinMaxima {
  static constexpr int N = simd::lanes<A>;
  using Fold = MaxFold<A, I>;
  using State = typename Fold::State;

  template <int m>
  POOLHEAD_INLINE static State few(const A* p, Index step, Index position) {
    const auto at = [&](Index u) __attribute__((always_inline)) {
      return State{simd::load<A>(p + u * step), simd::splat<I, N>(static_cast<I>(position + u))};
    };
    State top = at(0);
    unroll<m - 1>([&](auto u) __attribute__((always_inline)) { top = Fold::append(top, at(u + 1)); });
    return top;
  }
  POOLHEAD_INLINE static void append(State& to, const State& later) { to = Fold::append(to, later); }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) { return Fold().merge(a, b); }
};

/// sink(v, what Bins makes of the window for vector v), the tile being (positions, vectors) from position
/// `first` of the plane on.
template <class Bins, class A, class Sink>
POOLHEAD_INLINE void fold_window(const A* tile, Index vectors, Index first, const Window& window,
                                 const Sink& sink) {
  constexpr int N = simd::lanes<A>;
  constexpr int most = 8;
  const Index step = vectors * N;
  with_number<most>(
      static_cast<int>(std::min<Index>(window.columns, most)), [&](auto m) __attribute__((always_inline)) {
        for (Index v = 0; v < vectors; ++v) {
          const A* row = tile + (window.first - first) * step + v * N;
          Index position = window.first;
          const auto fold_row = [&](auto& state, Index w) __attribute__((always_inline)) {
            if constexpr (m == most) {
              for (; w + 4 <= window.columns; w += 4)
                Bins::append(state, Bins::template few<4>(row + w * step, step, position + w));
              for (; w < window.columns; ++w)
                Bins::append(state, Bins::template few<1>(row + w * step, step, position + w));
            }
          };
          auto state = Bins::template few<m>(row, step, position);
          fold_row(state, m);
          for (Index r = 1; r < window.rows; ++r) {
            row += window.step * step;
            position += window.step;
            Bins::append(state, Bins::template few<m>(row, step, position));
            fold_row(state, m);
          }
          sink(v, state);
        }
      });
}

/// Bins of at most so many rows and columns are summed in float: that and the share's rounding stay below 4 ulp
/// of the mean magnitude.
inline constexpr int most_short = 4;

/// sink(v, the sum of such a bin).
template <class A, class Sink>
POOLHEAD_INLINE void sum_short(const A* tile, Index vectors, const Window& window, const Sink& sink) {
  constexpr int N = simd::lanes<A>;
  const Index step = vectors * N;
  const A* const corner = tile + window.first * step;
  const Index down = window.step * step;
  with_number<most_short>(
      static_cast<int>(window.columns), [&](auto columns) __attribute__((always_inline)) {
        with_number<most_short>(
            static_cast<int>(window.rows), [&](auto rows) __attribute__((always_inline)) {
              for (Index v = 0; v < vectors; ++v) {
                const A* const from = corner + v * N;
                auto sum = sum_row<columns>(from, step);
                unroll<rows - 1>([&](auto r) __attribute__((always_inline)) {
                  sum = sum + sum_row<columns>(from + (r + 1) * down, step);
                });
                sink(v, sum);
              }
            });
      });
}

/// The means of all bins of planes that stand in the tile whole; values is (vectors, bins).
template <class A>
[[gnu::noinline]] void average_bins(const GridEdges& grids, const A* tile, Index vectors, A* values) {
  constexpr int N = simd::lanes<A>;
  const Index total = grids.grids().bins();
  A* to = values;
  for (Index k = 0; k < grids.count(); ++k) {
    for (Index i = 0; i < grids[k].rows; ++i) {
      for (Index j = 0; j < grids[k].columns; ++j, to += N) {
        const Window window = grids.window(k, i, j);
        const auto store = [&](Index v, const auto& mean) __attribute__((always_inline)) {
          simd::store(to + v * total * N, mean);
        };
        if constexpr (std::same_as<A, float>) {
          if (window.rows <= most_short && window.columns <= most_short) {
            const auto share = simd::splat<A, N>(A(1) / static_cast<A>(window.size()));
            sum_short(
                tile, vectors, window, [&](Index v, const auto& sum) __attribute__((always_inline)) {
                  store(v, sum * share);
                });
            continue;
          }
        }
        fold_window<BinSums<A, 8>>(
            tile, vectors, 0, window, [&](Index v, const auto& sum) __attribute__((always_inline)) {
              store(v, BinSums<A, 8>::mean(sum, window));
            });
      }
    }
  }
}

/// The maxima of the bins of those grids that no finer one makes up, and where they stand.
template <class A, class I>
[[gnu::noinline]] void max_bins(const GridEdges& grids, const A* tile, Index vectors, A* values, I* positions) {
  constexpr int N = simd::lanes<A>;
  const Index total = grids.grids().bins();
  Index b = 0;
  for (Index k = 0; k < grids.count(); ++k) {
    if (grids.finer(k) != k) {
      b += grids[k].bins();
      continue;
    }
    for (Index i = 0; i < grids[k].rows; ++i)
      for (Index j = 0; j < grids[k].columns; ++j, ++b)
        fold_window<BinMaxima<A, I>>(
            tile, vectors, 0,
            grids.window(k, i, j), [&](Index v, const auto& top) __attribute__((always_inline)) {
              simd::store(values + (v * total + b) * N, top.value);
              simd::store_first(positions + (v * total + b) * N, top.position, N);
            });
  }
}

/// Makes the maxima of coarse grids of those of fine ones, in the order of how many grids lie between.
template <class A, class I>
[[gnu::noinline]] void compose_bins(const GridEdges& grids, Index vectors, A* values, I* positions) {
  constexpr int N = simd::lanes<A>;
  const Index total = grids.grids().bins();
  for (Index steps = 1, left = 1; left > 0; ++steps) {
    left = 0;
    for (Index k = 0; k < grids.count(); ++k) {
      const Index between = grids.compositions(k);
      if (between > steps) ++left;
      if (between != steps) continue;
      const Grid grid = grids[k];
      const Grid fine = grids[grids.finer(k)];
      const Index down = fine.rows / grid.rows;
      const Index across = fine.columns / grid.columns;
      for (Index v = 0; v < vectors; ++v) {
        Index corner = v * total + grids.first_bin(grids.finer(k));
        Index to = v * total + grids.first_bin(k);
        for (Index i = 0; i < grid.rows; ++i, corner += down * fine.columns) {
          for (Index j = 0; j < grid.columns; ++j, ++to) {
            const auto part = [&](Index d, Index a) __attribute__((always_inline)) {
              const Index b = (corner + d * fine.columns + j * across + a) * N;
              return typename BinMaxima<A, I>::State{simd::load<A>(values + b),
                                                     simd::load_array<N>(positions + b, N)};
            };
            auto top = part(0, 0);
            for (Index d = 0; d < down; ++d)
              for (Index a = d == 0 ? 1 : 0; a < across; ++a) top = BinMaxima<A, I>::merge(top, part(d, a));
            simd::store(values + to * N, top.value);
            simd::store_first(positions + to * N, top.position, N);
          }
        }
      }
    }
  }
}

/// Planes that come row by row: every element goes to its cell alone, and a row of cells, when it is complete,
/// to the bins that cover it.
template <class Bins, class A>
class BinCells {
 public:
  using State = typename Bins::State;
  using Range = GridEdges::Range;

  BinCells(const GridEdges& grids, Index vectors) : cells(grids), grids_(grids), vectors_(vectors) {
    Index columns = 0;
    for (Index k = 0; k < grids.count(); ++k) columns = std::max(columns, grids[k].columns);
    const Index total = grids.grids().bins() * vectors;
    bins_ = workspace<BinCells, State>(total + (columns + cells.columns()) * vectors);
    row_ = bins_ + total;
    states_ = row_ + columns * vectors;
  }

  const GridCells<BinCells> cells;

  /// Some rows of the plane, of one row of cells, of which they are the first or not: the tile is theirs.
  [[gnu::noinline]] void add(const A* tile, const Range& rows, bool first) {
    const Index width = grids_.width();
    for (Index h = rows.begin; h < rows.end; ++h, first = false) {
      for (Index c = 0; c < cells.columns(); ++c) {
        State* const to = states_ + c * vectors_;
        const Window window{h * width + cells.column(c).begin, 1, cells.column(c).size(), 0};
        fold_window<Bins>(
            tile, vectors_, rows.begin * width,
            window, [&](Index v, const State& state) __attribute__((always_inline)) {
              if (first)
                to[v] = state;
              else
                Bins::append(to[v], state);
            });
      }
    }
  }
  /// Hands row r of cells on to the bins.
  [[gnu::noinline]] void close(Index r) {
    const Range* span = cells.spans();
    State* own = bins_;
    for (Index k = 0; k < grids_.count(); ++k) {
      const Grid grid = grids_[k];
      const Index step = grid.columns * vectors_;
      for (Index j = 0; j < grid.columns; ++j, ++span) {
        for (Index v = 0; v < vectors_; ++v) {
          State state = states_[span->begin * vectors_ + v];
          for (Index c = span->begin + 1; c < span->end; ++c)
            state = Bins::merge(state, states_[c * vectors_ + v]);
          row_[j * vectors_ + v] = state;
        }
      }
      const Range covering = cells.covering(k, r);
      for (Index i = covering.begin; i < covering.end; ++i) {
        State* const bins = own + i * step;
        if (cells.row(r).begin == grids_.rows(k, i).begin)
          std::copy_n(row_, step, bins);
        else
          for (Index b = 0; b < step; ++b) Bins::append(bins[b], row_[b]);
      }
      own += grid.bins() * vectors_;
    }
  }
  /// sink(v, b, state, window) for every bin.
  template <class Sink>
  void each(const Sink& sink) const {
    const State* next = bins_;
    Index b = 0;
    for (Index k = 0; k < grids_.count(); ++k)
      for (Index i = 0; i < grids_[k].rows; ++i)
        for (Index j = 0; j < grids_[k].columns; ++j, ++b)
          for (Index v = 0; v < vectors_; ++v) sink(v, b, *next++, grids_.window(k, i, j));
  }

 private:
  const GridEdges& grids_;
  Index vectors_;
  State *bins_, *row_, *states_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
