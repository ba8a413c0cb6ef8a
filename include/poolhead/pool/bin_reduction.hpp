// The averages and maxima of bins of adaptive grids. Lanes are channels; a
// row of a plane is summed column by column of bins, and then goes to the rows of bins that cover it.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"
#include "poolhead/pool/grids.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Averages of bins. Up to four floats are added as such; in bins of 1,024 positions and more, two.
template <class A>
struct BinAverages {
  static constexpr int N = simd::lanes<A>;
  using State = WideSum<A, N>;
  static constexpr bool composes = false;  // bins overlap

  static int chain(Index bin_size) { return std::same_as<A, double> ? 1 : bin_size < 1024 ? 4 : 2; }
  /// m elements of a row, load(w) for each from w on.
  template <int m, class Load>
  POOLHEAD_INLINE static State few(const Load& load, Index w, Index) {
    State sum = State::zero();
    if constexpr (std::same_as<A, double>) {
      unroll<m>([&](auto u) __attribute__((always_inline)) { sum.add(load(w + u)); });
    } else {
      auto all = load(w);
      unroll<m - 1>([&](auto u) __attribute__((always_inline)) { all = all + load(w + u + 1); });
      sum.sum = simd::convert<double>(all);
    }
    return sum;
  }
  POOLHEAD_INLINE static void append(State& to, const State& later) { to.add(later); }
  /// again(): where a sum is not finite.
  template <class Again>
  POOLHEAD_INLINE static auto mean(const State& state, double positions, const Again& again) {
    const auto mean = AverageFold<A, simd::IntOf<A>, false>().value(state, positions);
    if (!simd::all((mean - mean) == simd::zero<simd::Vec<A, N>>())) [[unlikely]]
      return again();
    return mean;
  }
};

/// Maxima of bins, and their positions.
template <class A, class I>
struct BinMaxima {
  static constexpr int N = simd::lanes<A>;
  using Fold = MaxFold<A, I>;
  using State = typename Fold::State;
  static constexpr bool composes = true;

  static int chain(Index) { return 4; }
  template <int m, class Load>
  POOLHEAD_INLINE static State few(const Load& load, Index w, Index first) {
    const auto at = [&](Index u) __attribute__((always_inline)) {
      return State{load(u), simd::splat<I, N>(static_cast<I>(first + u))};
    };
    State top = at(w);
    unroll<m - 1>([&](auto u) __attribute__((always_inline)) { top = Fold::append(top, at(w + u + 1)); });
    return top;
  }
  POOLHEAD_INLINE static void append(State& to, const State& later) { to = Fold::append(to, later); }
};

/// sink(v, what the columns of a row give for vector v of channels), load(w, v) for each; the row's first
/// position is `first`.
template <class Bins, class Load, class Sink>
POOLHEAD_INLINE void fold_row(const Load& load, Index vectors, Index first, const GridEdges::Range& columns,
                              Index bin_size, const Sink& sink) {
  const int chain = Bins::chain(bin_size);
  const auto fixed = [&](auto m) __attribute__((always_inline)) {
    for (Index v = 0; v < vectors; ++v)
      sink(v, Bins::template few<m>(
                  [&](Index w) __attribute__((always_inline)) { return load(w, v); }, columns.begin, first));
  };
  const auto many = [&](auto m) __attribute__((always_inline)) {
    for (Index v = 0; v < vectors; ++v) {
      const auto own = [&](Index w) __attribute__((always_inline)) { return load(w, v); };
      auto state = Bins::template few<1>(own, columns.begin, first);
      Index w = columns.begin + 1;
      for (; w + m <= columns.end; w += m) Bins::append(state, Bins::template few<m>(own, w, first));
      for (; w < columns.end; ++w) Bins::append(state, Bins::template few<1>(own, w, first));
      sink(v, state);
    }
  };
  // Four and m more.
  const auto twice = [&](auto m) __attribute__((always_inline)) {
    for (Index v = 0; v < vectors; ++v) {
      const auto own = [&](Index w) __attribute__((always_inline)) { return load(w, v); };
      auto state = Bins::template few<4>(own, columns.begin, first);
      Bins::append(state, Bins::template few<m>(own, columns.begin + 4, first));
      sink(v, state);
    }
  };
  if (chain < 4) return many(std::integral_constant<int, 2>{});
  if (columns.size() > 8) return many(std::integral_constant<int, 4>{});
  with_number<8>(
      static_cast<int>(columns.size()), [&](auto size) __attribute__((always_inline)) {
        if constexpr (size <= 4)
          fixed(size);
        else
          twice(std::integral_constant<int, size - 4>{});
      });
}

/// Reduces every bin of a block of channels.
template <class X, class Y, class I>
struct BinHead {
  static constexpr bool has_blocks = true;
  using T = typename X::Scalar;
  using A = Accumulator<T>;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;

  GridEdges grids;
  bool max;
  Y y;
  Rows<Index> argmax;  // without data where nobody asks
  Index channels;      // of x

  void reduce_block(const X& x, Index n, Index c, Index end) const {
    if (max)
      reduce_block<BinMaxima<A, I>>(x, n, c, end);
    else
      reduce_block<BinAverages<A>>(x, n, c, end);
  }

 private:
  template <class Bins>
  [[gnu::noinline]] void reduce_block(const X& x, Index n, Index c, Index end) const {
    const Index step = grids.vectors_together() * N;
    for (; c < end; c += step) {
      const Index taken = std::min(step, end - c);
      if constexpr (std::same_as<typename X::Layout, ChannelsFirst>) {
        reduce_planes<Bins>(x, n, c, taken);
      } else {
        const Index whole = taken / N;
        const auto* const channel = x.sample(n) + c;
        const Index stride = x.channels();
        if (whole > 0)
          reduce_rows<Bins>(
              x, n, c, whole, N, [&](Index s, Index v) __attribute__((always_inline)) {
                return simd::load<A>(channel + s * stride + v * N);
              });
        if (const auto rest = static_cast<int>(taken - whole * N); rest > 0)
          reduce_rows<Bins>(
              x, n, c + whole * N, 1, rest, [&](Index s, Index) __attribute__((always_inline)) {
                return simd::load_first<A>(channel + s * stride + whole * N, rest);
              });
      }
    }
  }

  /// Some planes, turned so many rows at a time that they stay in the first-level cache.
  template <class Bins>
  void reduce_planes(const X& x, Index n, Index c, Index taken) const {
    struct Tile;
    const Index width = x.width();
    const Index vectors = (taken + N - 1) / N;
    const Index step = std::clamp<Index>(4096 / (vectors * N * width), 1, x.height());
    A* const tile = workspace<Tile, A>(vectors * N * width * step);
    auto states = begin<Bins>(vectors);
    for (Index h = 0; h < x.height(); h += step) {
      const Index stop = std::min(h + step, x.height());
      for (Index v = 0; v < vectors; ++v)
        turn_planes(x.sample(n) + (c + v * N) * x.positions() + h * width, x.positions(), (stop - h) * width,
                    static_cast<int>(std::min<Index>(N, taken - v * N)), tile + v * N, vectors * N);
      for (Index row = h; row < stop; ++row)
        add_row<Bins>(
            states, vectors, row, [&](Index w, Index v) __attribute__((always_inline)) {
              return simd::load<A>(tile + (((row - h) * width + w) * vectors + v) * N);
            });
    }
    finish<Bins>(x, states, n, c, vectors, static_cast<int>(taken - (vectors - 1) * N));
  }

  /// Vectors of channels of which the last has `count`, load(s, v) at position s.
  template <class Bins, class Load>
  POOLHEAD_INLINE void reduce_rows(const X& x, Index n, Index c, Index vectors, int count,
                                   const Load& load) const {
    auto states = begin<Bins>(vectors);
    for (Index h = 0; h < x.height(); ++h)
      add_row<Bins>(
          states, vectors,
          h, [&](Index w, Index v) __attribute__((always_inline)) { return load(h * x.width() + w, v); });
    finish<Bins>(x, states, n, c, vectors, count);
  }

  template <class Bins>
  struct States {
    typename Bins::State* of;   // (bins, vectors)
    typename Bins::State* row;  // (columns, vectors) of one grid
    GridEdges::Range* covering;
  };
  template <class Bins>
  States<Bins> begin(Index vectors) const {
    using State = typename Bins::State;
    const Index total = grids.grids().bins() * vectors;
    State* const states = workspace<Bins, State>(2 * total);
    auto* const covering = workspace<Bins, GridEdges::Range>(grids.count());
    std::fill_n(covering, grids.count(), GridEdges::Range{0, 0});
    return {states, states + total, covering};
  }

  template <class Bins, class Load>
  POOLHEAD_INLINE void add_row(const States<Bins>& states, Index vectors, Index h, const Load& load) const {
    auto* own = states.of;
    for (Index k = 0; k < grids.count(); ++k) {
      const Grid grid = grids[k];
      if (!Bins::composes || grids.finer(k) == k) {
        grids.advance(k, h, states.covering[k]);
        const Index first = states.covering[k].begin;
        const Index last = states.covering[k].end;
        const Index rows = grids.rows(k, first).size();
        for (Index j = 0; j < grid.columns; ++j) {
          const auto columns = grids.columns(k, j);
          auto* const to = states.row + j * vectors;
          fold_row<Bins>(
              load, vectors, h * grids.width(), columns,
              rows * columns.size(), [&](Index v, const auto& state) __attribute__((always_inline)) {
                to[v] = state;
              });
        }
        const Index step = grid.columns * vectors;
        for (Index i = first; i < last; ++i) {
          auto* const bins = own + i * step;
          if (h == grids.rows(k, i).begin)
            std::copy_n(states.row, step, bins);
          else
            for (Index b = 0; b < step; ++b) Bins::append(bins[b], states.row[b]);
        }
      }
      own += grid.bins() * vectors;
    }
  }

  /// Writes the features of vectors of channels of which the last has `count`.
  template <class Bins>
  void finish(const X& x, const States<Bins>& states, Index n, Index c, Index vectors, int count) const {
    struct Values;
    const Index total = grids.grids().bins();
    A* const values = workspace<Values, A>(total * vectors * N);  // (vectors, bins)
    I* const positions = workspace<Values, I>(Bins::composes ? total * vectors * N : 0);
    if constexpr (Bins::composes) compose<Bins>(states.of, vectors);
    const auto own = [&](Index v) { return v + 1 < vectors ? N : count; };
    const auto* next = states.of;
    Index b = 0;
    for (Index k = 0; k < grids.count(); ++k) {
      for (Index i = 0; i < grids[k].rows; ++i) {
        for (Index j = 0; j < grids[k].columns; ++j, ++b) {
          const Window window = grids.window(k, i, j);
          for (Index v = 0; v < vectors; ++v, ++next) {
            const Index to = (v * total + b) * N;
            if constexpr (Bins::composes) {
              simd::store(values + to, next->value);
              // Of -inf alone nothing was ever greater: the first position stands for them all.
              const auto nothing = next->value == simd::splat<A, N>(Bins::Fold::lowest);
              simd::store_first(
                  positions + to,
                  simd::select(nothing, simd::splat<I, N>(static_cast<I>(window.first)), next->position), N);
            } else {
              simd::store(values + to, Bins::mean(*next, static_cast<double>(window.size()), [&] {
                            const AverageReduction<X, NoArgmax, I> average(x, {}, window);
                            return average.mean(*next, n, c + v * N, own(v));
                          }));
            }
          }
        }
      }
    }
    for (Index v = 0; v < vectors; ++v) {
      Index first = v * total * N;
      for (Index k = 0; k < grids.count(); ++k) {
        const Index bins = grids[k].bins();
        put_bins(grid_rows(y, grids.grids(), channels, k), values + first, bins, n, c + v * N, own(v));
        if constexpr (Bins::composes)
          if (argmax.data() != nullptr)
            put_bins(grid_rows(argmax, grids.grids(), channels, k), positions + first, bins, n, c + v * N,
                     own(v));
        first += bins * N;
      }
    }
  }

  /// Makes the bins of coarse grids of those of fine ones, in the order of how many grids lie between.
  template <class Bins>
  void compose(typename Bins::State* states, Index vectors) const {
    for (Index steps = 1, left = 1; left > 0; ++steps) {
      left = 0;
      for (Index k = 0; k < grids.count(); ++k) {
        const Index between = compositions(k);
        if (between > steps) ++left;
        if (between != steps) continue;
        const Grid grid = grids[k];
        const Grid fine = grids[grids.finer(k)];
        const Index down = fine.rows / grid.rows;
        const Index across = fine.columns / grid.columns;
        const auto* corner = states + grids.first_bin(grids.finer(k)) * vectors;
        auto* to = states + grids.first_bin(k) * vectors;
        const typename Bins::Fold fold;
        for (Index i = 0; i < grid.rows; ++i, corner += down * fine.columns * vectors)
          for (Index j = 0; j < grid.columns; ++j)
            for (Index v = 0; v < vectors; ++v, ++to) {
              const auto* const part = corner + j * across * vectors + v;
              *to = *part;
              for (Index d = 0; d < down; ++d)
                for (Index a = d == 0 ? 1 : 0; a < across; ++a)
                  *to = fold.merge(*to, part[(d * fine.columns + a) * vectors]);
            }
      }
    }
  }
  /// How many compositions lie between grid k and one that is not composed.
  Index compositions(Index k) const {
    Index steps = 0;
    for (Index from = grids.finer(k); from != k; from = grids.finer(k)) {
      k = from;
      ++steps;
    }
    return steps;
  }

  /// values[b * N + i]: bin b of channel c + i.
  template <class To, class Value>
  static void put_bins(const GridRows<To>& rows, const Value* values, Index bins, Index n, Index c, int count) {
    To* const to = rows.data + n * rows.row_stride + c * rows.channel_stride;
    if (rows.bin_stride == 1 && bins > 1) {
      turn_back<N>(values, N, bins, count, to, rows.channel_stride);
    } else {
      for (Index b = 0; b < bins; ++b)
        for (int i = 0; i < count; ++i)
          to[b * rows.bin_stride + i * rows.channel_stride] = static_cast<To>(values[b * N + i]);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
