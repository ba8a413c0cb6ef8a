// The traversal of a reduction: every element of each plane is read once, in memory order as far as the layout
// allows, and a reduction states only identity, accumulate, merge and finish.
//
//   struct Reduction {
//     using Accumulator = float;                       // float or double
//     using PositionLane = std::int32_t;               // as wide as Accumulator, or 64 bits
//     struct State {                                   // only vectors of lanes<Accumulator> lanes
//       template <class F> static State zip(const F& f, const State& a, const State& b);
//     };
//     // lanes(p): one value per lane from p + channel
//     template <class Lanes>
//     State identity(const Lanes& lanes, Index n, Index c) const;
//     // K consecutive vectors, K = 1 .. 4, of which some lanes may not count
//     template <int K, class Valid>
//     void accumulate(State&, const Vec (&x)[K], const Positions&, const Valid&) const;
//     State merge(const State& a, const State& b) const;
//     // lanes = channels c .. c + count - 1
//     void finish(const State&, Index n, Index c, int count) const;
//   };
//
// A reduction whose sums are relative to a maximum walks alone, with lanes that are channels in either layout
// (some planes of NCHW are turned for it), and finds each part of a plane already in the cache when it
// accumulates it. In place of merge it has `static constexpr bool scans = true` and
//     Top scan_start() const;
//     Top scan(Top top, const Vec (&x)[K]) const;                   // the larger of top and x
//     void raise(State&, const Top&) const;                         // no x until the next raise is larger
//     void accumulate(State&, const Vec (&x)[K]) const;
//
// Where lanes may stand for other channels than in identity and finish (NHWC), and elements come in any order,
// with their positions in NHWC and without in NCHW, it says `static constexpr bool any_order = true`.
//
// A reduction of a few instructions says `static constexpr bool is_light = true`: short planes of NCHW are then
// unrolled for it. It may have a narrower state for these,
//     using ShortState = ...;                          // of one plane
//     ShortState short_identity(const Lanes& lanes, Index n, Index c) const;
// with accumulate and merge of its own, which becomes a State by widened() when two lanes of a plane are left.
// Where longer planes may have it, too, NHWC for some positions and then the next, it says
//     static constexpr Index most_short_positions = 1023;
// Where it computes no functions of what it reads, it says
//     static constexpr Effort effort = Effort::sums;   // or compares
// Where zeros change nothing, and positions do not count, it says
//     static constexpr bool passes_over_zeros = true;
// Where it adds up what it computes of each element alone, it may say so:
//     static constexpr int terms_of_each = 1;
//     void terms(const Vec (&x)[K], Vec (&term)[terms_of_each][K]) const;
//     void add(State&, const Vec (&term)[terms_of_each][K]) const;
// And what is all of a plane may be less work than what comes to something:
//     template <int K, class Valid>
//     State whole(const Vec (&x)[K], const Positions&, const Valid&) const;
//
// Where a map of NHWC, whose rows have so many vectors, is better walked over some vectors of channels at a
// time, their states in registers, it says
//     static bool has_channel_blocks(const X& x, Index vectors);
//     static constexpr int most_block_vectors = 6;     // or 8
//     using BlockElement = Accumulator;                // what the vectors hold
//     template <int> using BlockState = State;         // of a block of so many vectors; another than State has
//     template <int> static State block_identity();    // accumulate and finish of its own
//     template <int> static constexpr int block_positions = 4;    // that many at a time
// and is given LaterPositions then. Where a BlockElement is the bits of an element, std::int16_t, positions are
// of that type, too, of which there are no more than it has numbers for, and the last vector of a row may hold
// fewer channels.
//
// Otherwise, in NHWC a lane is a channel throughout; in NCHW a lane is every N-th position of one plane; the
// lanes of N planes are merged together, in log2 N rounds that halve their number, until a lane is a channel
// again. Tiny planes are turned, and their lanes are channels, too, which get LaterPositions. Which thread
// runs, and where a block ends, never changes the order in which a channel's elements are folded.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/few_channels.hpp"
#include "poolhead/core/reduce_blocks.hpp"
#include "poolhead/core/reduce_planes.hpp"
#include "poolhead/core/tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Some positions of a plane: rows of `columns` consecutive ones, `step` apart.
struct Window {
  Index first;
  Index rows;
  Index columns;
  Index step;

  Index size() const { return rows * columns; }
};

inline Window whole_plane(const FeatureShape& shape) { return {0, 1, shape.positions(), 0}; }

template <class R>
inline constexpr bool scans = requires {
  requires R::scans;
};

/// How many elements of all planes of a sample are scanned before they are accumulated, NHWC: they stay in the
/// second-level cache while as many more come to it.
inline constexpr Index scanned_elements = 32768;

/// One part of some planes, walk(f) being their positions: their largest first, then the sums relative to that,
/// while fetch(v, position) asks for what comes next.
template <class R, class Top, class Walk, class Fetch>
POOLHEAD_INLINE void scan_part(const R& reduction, typename R::State* states, Top* tops, Index vectors,
                               const Walk& walk, const Fetch& fetch) {
  std::fill_n(tops, vectors, reduction.scan_start());
  walk([&](Index v, const auto& group, Index, const auto&)
           __attribute__((always_inline)) { tops[v] = reduction.scan(tops[v], group); });
  for (Index v = 0; v < vectors; ++v) reduction.raise(states[v], tops[v]);
  walk([&](Index v, const auto& group, Index s, const auto&) __attribute__((always_inline)) {
    fetch(v, s);
    reduction.accumulate(states[v], group);
  });
}

/// Channels c .. c + count - 1 (count <= N) of sample n, NCHW, turned into the tile part by part.
template <class R, class X>
POOLHEAD_INLINE auto scan_turned(const R& reduction, const X& x, Index n, Index c, int count,
                                 typename R::Accumulator* tile) {
  using A = typename R::Accumulator;
  constexpr Index N = reduction_lanes<R>;
  const Index positions = x.positions();
  auto state = reduction.identity(ChannelLanes<A, typename R::PositionLane>{count}, n, c);
  auto top = reduction.scan_start();
  for (Index s = 0; s < positions; s += turned_positions<A>) {
    const Index now = std::min(turned_positions<A>, positions - s);
    turn_planes(x.sample(n) + c * positions + s, positions, now, count, tile, N);
    const unsigned char* const mask = is_masked<X> ? mask_row(x, n) + s : nullptr;
    scan_part(
        reduction, &state, &top, 1,
        [&](const auto& f) __attribute__((always_inline)) {
          walk_rows<is_masked<X>, A>(static_cast<const A*>(tile), N, N, 0, now, mask, f);
        },
        [](Index, Index) {});
  }
  return state;
}

// The functions that follow are not inlined: each device and each block of code that calls a pool would
// have a copy of its own.

/// Of how many positions planes are.
enum class PlaneSize { tiny, brief, any };

/// Channels c .. end - 1 of sample n, NCHW.
template <PlaneSize size, class R, class X>
[[gnu::noinline]] void reduce_planes(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  constexpr Index N = reduction_lanes<R>;
  [[maybe_unused]] const ReadAhead ahead = ahead_of_planes<R>(x, size != PlaneSize::any);
  struct Tile;
  [[maybe_unused]] A* const tile = scans<R> ? workspace<Tile, A>(turned_positions<A> * N) : nullptr;
  // Some vectors of channels are finished together: none of them waits for another, and the next planes for
  // none.
  constexpr int together = 8;
  const auto count = [&](Index of) { return static_cast<int>(std::min(N, end - of)); };
  while (c < end) {
    typename R::State states[together];
    const Index first = c;
    for (int v = 0; v < together && c < end; ++v, c += N) {
      if constexpr (scans<R>) {
        states[v] = scan_turned(reduction, x, n, c, count(c), tile);
      } else if constexpr (size != PlaneSize::any) {
        if constexpr (size == PlaneSize::tiny)
          states[v] = reduce_tiny_planes(reduction, x, n, c, count(c));
        else
          states[v] = reduce_short_planes(reduction, x, n, c, count(c));
        ahead.fetch(x.sample(n) + c * x.positions(), count(c) * x.positions());
      } else {
        states[v] = reduce_long_planes(reduction, x, n, c, count(c), ahead);
      }
    }
    for (int v = 0; first + v * N < c; ++v) reduction.finish(states[v], n, first + v * N, count(first + v * N));
  }
}

/// Channels c .. end - 1 of sample n, NHWC, with sums that are floats for some 100 positions: parts of a map,
/// one after the other. (Averages of floats would lose up to 4 ulp for a gain of 6 %.)
template <class R, class X>
[[gnu::noinline]] void reduce_parts(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using State = typename R::State;
  using Short = ShortState<R>;
  constexpr int N = simd::lanes<A>;
  constexpr Index most_groups = 25;
  const Index channels = end - c;
  const Index vectors = (channels + N - 1) / N;
  const auto count = [&](Index v) { return static_cast<int>(std::min<Index>(N, channels - v * N)); };
  State* const states = workspace<R, State>(vectors);
  Short* const own = workspace<R, Short>(vectors);
  const Index apart = streams_apart(x.positions(), row_vectors<A>(x));
  const Index groups = row_groups(x.positions(), apart);
  const auto ahead = ahead_of_rows<R>(x, streams_of(x.positions(), apart));
  const Index parts = std::max<Index>((groups + most_groups - 1) / most_groups, 1);
  for (Index part = 0; part < parts; ++part) {
    for (Index v = 0; v < vectors; ++v)
      own[v] = short_identity(reduction, ChannelLanes<A, I>{count(v)}, n, c + v * N);
    const GroupRange range{part * groups / parts, (part + 1) * groups / parts};
    walk_rows<false, A, has_row_pairs<R, X>>(
        x.sample(n) + c, channels, x.channels(), 0, x.positions(), nullptr,
        [&](Index v, const auto& group, Index s, const auto& valid) __attribute__((always_inline)) {
          const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), static_cast<I>(apart)};
          reduction.accumulate(own[v], group, at, valid);
        },
        apart, ahead, &range);
    if constexpr (has_row_pairs<R, X>) order_states(own, channels / N);
    for (Index v = 0; v < vectors; ++v)
      states[v] = part == 0 ? State(widened(own[v])) : reduction.merge(states[v], widened(own[v]));
  }
  for (Index v = 0; v < vectors; ++v) reduction.finish(states[v], n, c + v * N, count(v));
}

/// Channels c .. end - 1 of sample n, NHWC. Their states stand in memory that stays in the first-level cache.
template <class R, class X>
[[gnu::noinline]] void reduce_channels(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using State = typename R::State;
  constexpr int N = simd::lanes<A>;
  if constexpr (may_have_channel_blocks<R, X>) {
    if (R::has_channel_blocks(x, row_vectors<A>(x))) c = reduce_blocks(reduction, x, n, c, end);
    if (c == end) return;
  }
  if constexpr (most_short_positions<R> != 0 && !is_masked<X>) return reduce_parts(reduction, x, n, c, end);
  const Index channels = end - c;
  const Index vectors = (channels + N - 1) / N;
  const auto count = [&](Index v) { return static_cast<int>(std::min<Index>(N, channels - v * N)); };
  State* const states = workspace<R, State>(vectors);
  for (Index v = 0; v < vectors; ++v)
    states[v] = reduction.identity(ChannelLanes<A, I>{count(v)}, n, c + v * N);
  const Index last = x.positions();
  const Index apart = any_order<R> ? streams_apart(last, row_vectors<A>(x)) : 1;
  const auto ahead = ahead_of_rows<R>(x, streams_of(last, apart));
  const auto walk = [&](Index from, Index to, const auto& f) __attribute__((always_inline)) {
    walk_rows<is_masked<X>, A, has_row_pairs<R, X>>(x.sample(n) + c, channels, x.channels(), from, to,
                                                    mask_row(x, n), f, apart, ahead);
  };
  if constexpr (scans<R>) {
    auto* const tops = workspace<R, decltype(reduction.scan_start())>(vectors);
    const Index part = std::max<Index>(scanned_elements / x.channels(), 16);
    for (Index s = 0; s < last; s += part)
      scan_part(
          reduction, states, tops,
          vectors, [&](const auto& f) __attribute__((always_inline)) { walk(s, std::min(s + part, last), f); },
          [&](Index v, Index at) __attribute__((always_inline)) {
            if (v % 2 != 0) return;
            const auto* const next = x.sample(n) + (at + part) * x.channels() + c + v * N;
            unroll<4>([&](auto k) __attribute__((always_inline)) {
              __builtin_prefetch(next + k * x.channels(), 0, 2);
            });
          });
  } else {
    walk(
        0, last, [&](Index v, const auto& group, Index s, const auto& valid) __attribute__((always_inline)) {
          const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), static_cast<I>(apart)};
          reduction.accumulate(states[v], group, at, valid);
        });
  }
  if constexpr (has_row_pairs<R, X>) order_states(states, channels / N);
  for (Index v = 0; v < vectors; ++v) reduction.finish(states[v], n, c + v * N, count(v));
}

/// The same of planes of one position, which are channels next to each other in either layout.
template <class R, class X>
[[gnu::noinline]] void reduce_single(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  for (; c < end; c += N) {
    const auto count = static_cast<int>(std::min<Index>(N, end - c));
    auto state = reduction.identity(ChannelLanes<A, I>{count}, n, c);
    const simd::Vec<A, N> one[1] = {simd::load_first<A>(x.sample(n) + c, count)};
    reduction.accumulate(state, one, Positions<I, N>{simd::zero<simd::Vec<I, N>>(), 1}, EveryLane{});
    reduction.finish(state, n, c, count);
  }
}

/// Reduces the planes c .. end - 1 of sample n.
template <class R, class X>
void reduce(const R& reduction, const X& x, Index n, Index c, Index end) {
  if constexpr (std::same_as<typename X::Layout, ChannelsFirst>) {
    if constexpr (!is_masked<X> && !scans<R> && !is_vast<R>) {
      if (x.positions() == 1) return reduce_single(reduction, x, n, c, end);
      if (are_tiny_planes<R>(x)) return reduce_planes<PlaneSize::tiny>(reduction, x, n, c, end);
    }
    if constexpr (is_light<R> && !is_masked<X>) {
      if (are_short_planes<R>(x)) return reduce_planes<PlaneSize::brief>(reduction, x, n, c, end);
    }
    reduce_planes<PlaneSize::any>(reduction, x, n, c, end);
  } else {
    if constexpr (has_cycles<R, X>) {
      if (ChannelCycle<typename R::Accumulator>::pays(x.shape())) {
        if (is_far(x)) return reduce_cycles(reduction, x, n, c, end, ReadAhead(far_ahead));
        return reduce_cycles(reduction, x, n, c, end, NoReadAhead{});
      }
    }
    reduce_channels(reduction, x, n, c, end);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
