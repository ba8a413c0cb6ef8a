// How bins are folded, lanes being channels: rows that the same bins cover are taken together, as far as they
// are there; of each column of bins, what these rows hold is folded once and goes to the bins above each other
// that share it.
#pragma once

#include "poolhead/pool/bin_states.hpp"
#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Folds the bins of planes that come some rows at a time, in order. Grids whose bins finer ones make up are
/// made of those at the end.
template <class Bins, class A, bool overlapping>
class BinFold {
 public:
  using State = typename Bins::State;
  using Note = typename Bins::Note;
  using Range = GridEdges::Range;

  BinFold(const GridEdges& grids, Index vectors) : grids_(grids), vectors_(vectors), pitch_(vectors | 1) {
    Index folded = 0;
    for (Index k = 0; k < grids.count(); ++k) folded += is_folded(k) ? 1 : 0;
    cells_ = folded > 1 ? grids.cells() : 0;
    const Index bins = grids.grids().bins();
    bins_ = workspace<BinFold, State>((bins + cells_) * pitch_);
    cell_states_ = bins_ + bins * pitch_;
    notes_ = workspace<BinFold, Note>(vectors);
    std::fill_n(notes_, vectors, Note{});
  }

  /// Adds planes as a whole, and nothing else: each bin takes its own positions, as overlapping ones are few.
  void add_plane(const A* from, Index step) {
    each_grid([&](Index k, State* to) {
      for (Index i = 0; i < grids_[k].rows; ++i) {
        const Range rows = grids_.rows(k, i);
        for (Index j = 0; j < grids_[k].columns; ++j, to += pitch_) {
          const Range run = grids_.columns(k, j);
          const Index position = rows.begin * grids_.width() + run.begin;
          fold_windows(from + position * step, step, position, rows.size(), run.size(), to, 0, 0, 1);
        }
      }
    });
  }
  /// Adds some rows, of which `from` is the first position; positions are `step` apart. Each is read in its
  /// turn.
  void add(const A* from, Index step, const Range& rows) {
    for (Range now{rows.begin, rows.begin}; now.begin < rows.end; now.begin = now.end) {
      now.end = rows.end;
      each_grid([&](Index k, State*) {
        const Range covering = grids_.covering(k, now.begin);
        now.end = std::min(now.end, grids_.rows(k, covering.begin).end);
        if (covering.end < grids_[k].rows) now.end = std::min(now.end, grids_.rows(k, covering.end).begin);
      });
      add_band(from + (now.begin - rows.begin) * grids_.width() * step, step, now);
    }
  }
  /// From a bin to the next, in vectors: an odd number, so that not all of them want the same few lines of a
  /// cache.
  Index pitch() const { return pitch_; }
  /// The bins, (bins, pitch), when all rows have been added.
  State* finish() {
    for (Index steps = 1, left = 1; left > 0; ++steps) {
      left = 0;
      for (Index k = 0; k < grids_.count(); ++k) {
        const Index between = grids_.compositions(k, overlapping);
        if (between > steps) ++left;
        if (between == steps) compose(k);
      }
    }
    return bins_;
  }
  /// What has been noted of every vector.
  const Note* notes() const { return notes_; }

 private:
  static constexpr int N = simd::lanes<A>;
  static constexpr int most = is_vast<Bins> ? 1 : Bins::most;
  /// From so many vectors on, four of them are folded together. Wide sums of fewer are read faster from memory
  /// in two turns than in one piece.
  static constexpr Index least_wide = std::same_as<State, WideSum<A, N>> ? 8 : 4;

  bool is_folded(Index k) const { return grids_.finer(k, overlapping) == k; }

  /// f(the first 1 .. most of count, as a constant): what follows are whole groups of `most`.
  template <class F>
  POOLHEAD_INLINE static void with_first(Index count, const F& f) {
    with_number<most>(static_cast<int>((count - 1) & (most - 1)) + 1, f);
  }

  /// Folds count positions from p on, of which m come first.
  template <bool first, int m, int K>
  POOLHEAD_INLINE static void fold_run(const A* p, Index step, Index count, Index position, State (&states)[K],
                                       Note (&notes)[K]) {
    Bins::template few<first, m>(p, step, position, states, notes);
    for (Index w = m; w < count; w += most)
      Bins::template few<false, most>(p + w * step, step, position + w, states, notes);
  }
  /// Bins in one column, `down` apart: what they get is appended to the `old` ones and is the first of the
  /// `fresh` ones, which come later.
  struct Targets {
    State* to;
    Index down, old, fresh;

    template <int K>
    POOLHEAD_INLINE void put(Index v, const State (&states)[K]) const {
      State* at = to + v;
      for (Index i = old; i > 0; --i, at += down)
        unroll<K>([&](auto q) __attribute__((always_inline)) { at[q] = Bins::append(at[q], states[q]); });
      for (Index i = fresh; i > 0; --i, at += down)
        unroll<K>([&](auto q) __attribute__((always_inline)) { at[q] = states[q]; });
    }
  };
  /// Folds vectors v .. v + K - 1 of a window that begins at p.
  template <int m, int K>
  POOLHEAD_INLINE static void fold_window(const A* p, Index step, const Window& window, Index v,
                                          const Targets& targets, Note* all_notes) {
    State states[K];
    Note notes[K];
    unroll<K>([&](auto i) __attribute__((always_inline)) { notes[i] = all_notes[v + i]; });
    fold_run<true, m>(p, step, window.columns, window.first, states, notes);
    for (Index r = 1; r < window.rows; ++r)
      fold_run<false, m>(p + r * window.step * step, step, window.columns, window.first + r * window.step,
                         states, notes);
    targets.put(v, states);
    unroll<K>([&](auto i) __attribute__((always_inline)) { all_notes[v + i] = notes[i]; });
  }
  /// Folds a window of which p is the first position, at `position` of the plane. (Numbers, and no structures,
  /// as these would have to go through memory.)
  [[gnu::noinline]] void fold_windows(const A* p, Index step, Index position, Index rows, Index columns,
                                      State* to, Index down, Index old, Index fresh) {
    const Window window{position, rows, columns, grids_.width()};
    const Targets targets{to, down, old, fresh};
    const Index vectors = vectors_;
    Note* const notes = notes_;
    with_first(
        columns, [&](auto m) __attribute__((always_inline)) {
          Index v = 0;
          if constexpr (!is_vast<Bins>) {
            if (vectors >= least_wide)
              for (; v + 4 <= vectors; v += 4) fold_window<m, 4>(p + v * N, step, window, v, targets, notes);
            for (; v + 2 <= vectors; v += 2) fold_window<m, 2>(p + v * N, step, window, v, targets, notes);
          }
          for (; v < vectors; ++v) fold_window<m, 1>(p + v * N, step, window, v, targets, notes);
        });
  }
  /// f(k, its bins) for the grids that are not made of finer ones.
  template <class F>
  void each_grid(const F& f) const {
    State* bins = bins_;
    for (Index k = 0; k < grids_.count(); bins += grids_[k].bins() * pitch_, ++k)
      if (is_folded(k)) f(k, bins);
  }
  /// Adds rows that the same bins cover, of which p is the first position. Where several grids would read them
  /// again, the columns between all their edges are folded first.
  void add_band(const A* p, Index step, const Range& rows) {
    const Index position = rows.begin * grids_.width();
    const bool by_cells = cells_ > 0 && rows.size() > 1;
    for (Index c = 0; by_cells && c < cells_; ++c) {
      const Range run = grids_.cell(c);
      fold_windows(p + run.begin * step, step, position + run.begin, rows.size(), run.size(),
                   cell_states_ + c * pitch_, 0, 0, 1);
    }
    each_grid([&](Index k, State* bins) {
      const Range covering = grids_.covering(k, rows.begin);
      const Index down = grids_[k].columns * pitch_;
      Index old = 0;
      while (old < covering.size() && grids_.rows(k, covering.begin + old).begin < rows.begin) ++old;
      const Index fresh = covering.size() - old;
      State* to = bins + covering.begin * down;
      for (Index j = 0; j < grids_[k].columns; ++j, to += pitch_) {
        const Range run = grids_.columns(k, j);
        if (by_cells)
          merge_cells(run, {to, down, old, fresh});
        else
          fold_windows(p + run.begin * step, step, position + run.begin, rows.size(), run.size(), to, down, old,
                       fresh);
      }
    });
  }
  void merge_cells(const Range& run, const Targets& targets) const {
    Range own{0, 0};
    while (grids_.cell(own.begin).begin < run.begin) ++own.begin;
    own.end = own.begin;
    while (own.end < cells_ && grids_.cell(own.end).begin < run.end) ++own.end;
    const State* const cells = cell_states_ + own.begin * pitch_;
    const auto merge = [&](auto number, Index v) __attribute__((always_inline)) {
      constexpr int K = number;
      State states[K];
      unroll<K>([&](auto i) __attribute__((always_inline)) { states[i] = cells[v + i]; });
      for (Index c = 1; c < own.size(); ++c)
        unroll<K>([&](auto i) __attribute__((always_inline)) {
          states[i] = Bins::merge(states[i], cells[c * pitch_ + v + i]);
        });
      targets.put(v, states);
    };
    Index v = 0;
    for (; v + 4 <= vectors_; v += 4) merge(std::integral_constant<int, 4>{}, v);
    for (; v < vectors_; ++v) merge(std::integral_constant<int, 1>{}, v);
  }

  /// Makes the bins of grid k of those of the finer one.
  [[gnu::noinline]] void compose(Index k) {
    const Index finer = grids_.finer(k, overlapping);
    const Grid grid = grids_[k];
    const Grid fine = grids_[finer];
    const Index down = fine.rows / grid.rows;
    const Index across = fine.columns / grid.columns;
    const State* corner = bins_ + grids_.first_bin(finer) * pitch_;
    State* to = bins_ + grids_.first_bin(k) * pitch_;
    const auto part = [&](Index d, Index a) { return (d * fine.columns + a) * pitch_; };
    for (Index i = 0; i < grid.rows; ++i, corner += part(down - 1, 0)) {
      for (Index j = 0; j < grid.columns; ++j, corner += part(0, across)) {
        for (Index v = 0; v < vectors_; ++v) {
          State state = corner[v];
          for (Index d = 0; d < down; ++d)
            for (Index a = d == 0 ? 1 : 0; a < across; ++a) state = Bins::merge(state, corner[part(d, a) + v]);
          to[v] = state;
        }
        to += pitch_;
      }
    }
  }

  const GridEdges& grids_;
  Index vectors_, pitch_, cells_;
  State *bins_, *cell_states_;
  Note* notes_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
