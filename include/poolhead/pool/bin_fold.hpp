// How bins are folded, lanes being channels: of short planes bin by bin; of others, in every row the runs that
// columns of bins cover, and those runs down the rows that a bin covers.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/grids.hpp"
#include "poolhead/pool/max_reduction.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

// What bins are folded to:
//
//   struct Bins {
//     struct State;
//     template <int m, int K>      // m consecutive positions, step apart, of K vectors of channels
//     static void few(const A* p, Index step, Index position, State (&)[K]);
//     static State append(const State& a, const State& later);    // `later` stands behind a
//     static State merge(const State& a, const State& b);         // in any order
//   };

/// sums[v] = vector v of m positions, `step` elements apart, added up by halves. Neighbours are loaded one
/// after the other: caches that give two vectors at a time take them from the two halves of a line.
template <int m, class A, int K>
POOLHEAD_INLINE void sum_row(const A* p, Index step, simd::Vec<A, simd::lanes<A>> (&sums)[K]) {
  if constexpr (m == 1) {
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = simd::load<A>(p + v * simd::lanes<A>); });
  } else {
    simd::Vec<A, simd::lanes<A>> others[K];
    sum_row<m / 2>(p, step, sums);
    sum_row<m - m / 2>(p + m / 2 * step, step, others);
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = sums[v] + others[v]; });
  }
}

/// Sums of so few floats that they need no double.
template <class A>
struct ShortSums {
  using State = simd::Vec<A, simd::lanes<A>>;

  template <int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index, State (&sums)[K]) {
    sum_row<m>(p, step, sums);
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) { return a + later; }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) { return a + b; }
  POOLHEAD_INLINE static auto mean(const State& sum, Index size) {
    return sum * simd::splat<A, simd::lanes<A>>(A(1) / static_cast<A>(size));
  }
};

/// Sums in double of `together` floats at a time.
template <class A, int together>
struct GroupSums {
  using State = WideSum<A, simd::lanes<A>>;

  template <int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index, State (&sums)[K]) {
    constexpr int group = std::same_as<A, double> ? 1 : together;
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = State::zero(); });
    unroll<(m + group - 1) / group>([&](auto g) __attribute__((always_inline)) {
      constexpr int first = g * group;
      simd::Vec<A, simd::lanes<A>> parts[K];
      sum_row<std::min(group, m - first)>(p + first * step, step, parts);
      unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v].add(simd::convert<double>(parts[v])); });
    });
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) { return merge(a, later); }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) {
    State sum = a;
    sum.add(b);
    return sum;
  }
  POOLHEAD_INLINE static auto mean(const State& sum, Index size) {
    return AverageFold<A, simd::IntOf<A>, false>().value(sum, static_cast<double>(size));
  }
};

/// Maxima and their positions, of what holds no NaN.
template <class A, class I>
struct BinMaxima {
  static constexpr int N = simd::lanes<A>;
  using State = typename MaxFold<A, I>::State;

  template <int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index position, State (&tops)[K]) {
    unroll<m>([&](auto s) __attribute__((always_inline)) {
      const auto at = simd::splat<I, N>(static_cast<I>(position + s));
      unroll<K>([&](auto v) __attribute__((always_inline)) {
        const State one{simd::load<A>(p + s * step + v * N), at};
        tops[v] = s == 0 ? one : append(tops[v], one);
      });
    });
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) {
    return pick(later.value > a.value, a, later);
  }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) {
    const auto earlier = simd::convert<simd::IntOf<A>>(b.position < a.position);
    return pick((b.value > a.value) | ((b.value == a.value) & earlier), a, b);
  }

 private:
  template <class M>
  POOLHEAD_INLINE static State pick(const M& b_wins, const State& a, const State& b) {
    return {simd::select(b_wins, b.value, a.value), simd::select(b_wins, b.position, a.position)};
  }
};

/// Folds the bins of planes that come some rows at a time, in order. Grids whose bins finer ones make up are
/// made of those at the end.
template <class Bins, class A, bool overlapping>
class BinFold {
 public:
  using State = typename Bins::State;
  using Range = GridEdges::Range;

  /// For `vectors` vectors of channels and at most so many rows at a time.
  BinFold(const GridEdges& grids, Index vectors, Index rows) : grids_(grids), vectors_(vectors) {
    Index columns = 0;
    for (Index k = 0; k < grids.count(); ++k)
      if (is_folded(k)) columns += grids[k].columns;
    row_step_ = columns * vectors;
    const Index total = grids.grids().bins() * vectors;
    bins_ = workspace<BinFold, State>(total + rows * row_step_);
    runs_ = bins_ + total;
  }

  /// Adds some rows, of which `from` is the first position; positions are `step` apart.
  void add(const A* from, Index step, const Range& rows) {
    fold_columns(from, step, rows);
    fold_rows(rows);
  }
  /// Adds planes as a whole, and nothing else: each bin takes its own positions, as overlapping ones are few.
  [[gnu::noinline]] void add_plane(const A* from, Index step) {
    State* to = bins_;
    for (Index k = 0; k < grids_.count(); ++k) {
      const Grid grid = grids_[k];
      if (!is_folded(k)) {
        to += grid.bins() * vectors_;
        continue;
      }
      for (Index i = 0; i < grid.rows; ++i) {
        for (Index j = 0; j < grid.columns; ++j, to += vectors_) {
          const Range rows = grids_.rows(k, i);
          const Range columns = grids_.columns(k, j);
          const Window window{rows.begin * grids_.width() + columns.begin, rows.size(), columns.size(),
                              grids_.width()};
          const A* const p = from + window.first * step;
          with_first(
              columns.size(), [&](auto m) __attribute__((always_inline)) {
                Index v = 0;
                for (; v + 2 <= vectors_; v += 2) fold_window<m, 2>(p + v * N, step, window, to + v);
                if (v < vectors_) fold_window<m, 1>(p + v * N, step, window, to + v);
              });
        }
      }
    }
  }
  /// The bins, (bins, vectors), when all rows have been added.
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

 private:
  static constexpr int N = simd::lanes<A>;
  static constexpr int most = 8;

  bool is_folded(Index k) const { return grids_.finer(k, overlapping) == k; }

  /// f(the first 1 .. most of count, as a constant): what follows are whole groups of `most`.
  template <class F>
  POOLHEAD_INLINE static void with_first(Index count, const F& f) {
    with_number<most>(static_cast<int>((count - 1) & (most - 1)) + 1, f);
  }

  /// states[v] = what count positions from p on, of which m come first, are folded to.
  template <int m, int K>
  POOLHEAD_INLINE static void fold_run(const A* p, Index step, Index count, Index position,
                                       State (&states)[K]) {
    Bins::template few<m>(p, step, position, states);
    for (Index w = m; w < count; w += most) {
      State later[K];
      Bins::template few<most>(p + w * step, step, position + w, later);
      unroll<K>([&](auto v) __attribute__((always_inline)) { states[v] = Bins::append(states[v], later[v]); });
    }
  }
  /// The same of the rows of a window that begins at p.
  template <int m, int K>
  POOLHEAD_INLINE static void fold_window(const A* p, Index step, const Window& window, State* to) {
    State states[K];
    fold_run<m>(p, step, window.columns, window.first, states);
    for (Index r = 1; r < window.rows; ++r) {
      State later[K];
      fold_run<m>(p + r * window.step * step, step, window.columns, window.first + r * window.step, later);
      unroll<K>([&](auto v) __attribute__((always_inline)) { states[v] = Bins::append(states[v], later[v]); });
    }
    unroll<K>([&](auto v) __attribute__((always_inline)) { to[v] = states[v]; });
  }
  /// Each row of a window by itself: to[r * row_step_] is row r.
  template <int m, int K>
  POOLHEAD_INLINE void fold_each_row(const A* p, Index step, const Window& window, State* to) const {
    for (Index r = 0; r < window.rows; ++r) {
      State states[K];
      fold_run<m>(p + r * window.step * step, step, window.columns, window.first + r * window.step, states);
      unroll<K>([&](auto v) __attribute__((always_inline)) { to[r * row_step_ + v] = states[v]; });
    }
  }
  [[gnu::noinline]] void fold_columns(const A* from, Index step, const Range& rows) {
    State* to = runs_;
    for (Index k = 0; k < grids_.count(); ++k) {
      if (!is_folded(k)) continue;
      for (Index j = 0; j < grids_[k].columns; ++j, to += vectors_) {
        const Range run = grids_.columns(k, j);
        const A* const p = from + run.begin * step;
        const Window window{rows.begin * grids_.width() + run.begin, rows.size(), run.size(), grids_.width()};
        with_first(
            run.size(), [&](auto m) __attribute__((always_inline)) {
              Index v = 0;
              for (; v + 2 <= vectors_; v += 2) fold_each_row<m, 2>(p + v * N, step, window, to + v);
              if (v < vectors_) fold_each_row<m, 1>(p + v * N, step, window, to + v);
            });
      }
    }
  }

  /// m states, one below the other.
  template <int m>
  POOLHEAD_INLINE static State fold_down(const State* run, Index step) {
    if constexpr (m == 1)
      return *run;
    else
      return Bins::append(fold_down<m / 2>(run, step), fold_down<m - m / 2>(run + m / 2 * step, step));
  }
  [[gnu::noinline]] void fold_rows(const Range& rows) {
    const State* runs = runs_;
    State* bins = bins_;
    for (Index k = 0; k < grids_.count(); bins += grids_[k].bins() * vectors_, ++k) {
      if (!is_folded(k)) continue;
      const Index across = grids_[k].columns * vectors_;
      for (Index i = 0; i < grids_[k].rows; ++i) {
        const Range own = grids_.rows(k, i);
        const Range now{std::max(own.begin, rows.begin), std::min(own.end, rows.end)};
        if (now.begin >= now.end) continue;
        const State* const first = runs + (now.begin - rows.begin) * row_step_;
        State* const to = bins + i * across;
        with_first(
            now.size(), [&](auto m) __attribute__((always_inline)) {
              if (now.size() <= most && now.begin == own.begin) {
                const State* const from = first;  // not read anew after each store
                State* const out = to;
                const Index step = row_step_;
                for (Index e = 0, end = across; e < end; ++e) out[e] = fold_down<m>(from + e, step);
                return;
              }
              for (Index e = 0; e < across; ++e) {
                State state = fold_down<m>(first + e, row_step_);
                for (Index r = m; r < now.size(); r += most)
                  state = Bins::append(state, fold_down<most>(first + e + r * row_step_, row_step_));
                to[e] = now.begin == own.begin ? state : Bins::append(to[e], state);
              }
            });
      }
      runs += across;
    }
  }

  /// Makes the bins of grid k of those of the finer one.
  [[gnu::noinline]] void compose(Index k) {
    const Index finer = grids_.finer(k, overlapping);
    const Grid grid = grids_[k];
    const Grid fine = grids_[finer];
    const Index down = fine.rows / grid.rows;
    const Index across = fine.columns / grid.columns;
    const State* corner = bins_ + grids_.first_bin(finer) * vectors_;
    State* to = bins_ + grids_.first_bin(k) * vectors_;
    const auto part = [&](Index d, Index a) { return (d * fine.columns + a) * vectors_; };
    for (Index i = 0; i < grid.rows; ++i, corner += part(down - 1, 0)) {
      for (Index j = 0; j < grid.columns; ++j, corner += part(0, across)) {
        for (Index v = 0; v < vectors_; ++v, ++to) {
          State state = corner[v];
          for (Index d = 0; d < down; ++d)
            for (Index a = d == 0 ? 1 : 0; a < across; ++a) state = Bins::merge(state, corner[part(d, a) + v]);
          *to = state;
        }
      }
    }
  }

  const GridEdges& grids_;
  Index vectors_, row_step_;
  State *bins_, *runs_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
