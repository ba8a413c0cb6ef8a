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
//
// Otherwise, in NHWC a lane is a channel throughout; in NCHW a lane is every N-th position of one plane; the
// lanes of N planes are merged together, in log2 N rounds that halve their number, until a lane is a channel
// again. Which thread runs, and where a block ends, never changes the order in which a channel's elements are
// folded.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/mask.hpp"
#include "poolhead/core/reduce_pairs.hpp"
#include "poolhead/core/tile.hpp"
#include "poolhead/core/walk.hpp"

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
inline constexpr int reduction_lanes = simd::lanes<typename R::Accumulator>;

template <class R>
inline constexpr bool scans = requires {
  requires R::scans;
};

template <class R>
inline constexpr bool is_light = requires {
  requires R::is_light;
};

template <class R>
struct ShortStateOf {
  using Type = typename R::State;
};
template <class R>
requires requires { typename R::ShortState; }
struct ShortStateOf<R> {
  using Type = typename R::ShortState;
};
template <class R>
using ShortState = typename ShortStateOf<R>::Type;

/// The state of a short plane that has seen nothing.
template <class R, class Lanes>
POOLHEAD_INLINE ShortState<R> short_identity(const R& reduction, const Lanes& lanes, Index n, Index c) {
  if constexpr (requires { typename R::ShortState; })
    return reduction.short_identity(lanes, n, c);
  else
    return reduction.identity(lanes, n, c);
}
/// Whether a state is a short plane's, that becomes another.
template <class State>
inline constexpr bool widens = requires {
  requires State::widens;
};
template <class State>
POOLHEAD_INLINE auto widened(const State& state) {
  if constexpr (widens<State>)
    return state.widened();
  else
    return state;
}
template <class State>
using Widened = decltype(widened(std::declval<State>()));

/// From here on, planes take turns: memory answers several streams faster than one. What is read of each at a
/// time is whole groups of four vectors, so that no sum depends on it.
inline constexpr Index long_plane = 1024;
template <class A>
inline constexpr Index plane_step = 16 * simd::lanes<A>;

/// How many elements of all planes of a sample are scanned before they are accumulated, NHWC: they stay in the
/// second-level cache while as many more come to it.
inline constexpr Index scanned_elements = 32768;

/// Folds the consecutive positions begin .. end - 1 of one plane, NCHW.
template <bool masked, class R, class T>
POOLHEAD_INLINE void reduce_run(const R& reduction, typename R::State& state, const T* plane, Index begin,
                                Index end, const simd::FirstLanes<typename R::Accumulator>& last,
                                const unsigned char* mask) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  walk_plane<masked, A>(
      plane, begin, end, last,
      mask, [&](const auto& x, Index s, const auto& valid) __attribute__((always_inline)) {
        const Positions<I, N> at{simd::iota<I, N>(0) + simd::splat<I, N>(static_cast<I>(s)), N};
        reduction.accumulate(state, x, at, valid);
      });
}

/// Folds a plane of that many vectors, the last of them in its `last` lanes.
template <int vectors, class R, class T>
POOLHEAD_INLINE void reduce_short(const R& reduction, ShortState<R>& state, const T* plane,
                                  const simd::FirstLanes<typename R::Accumulator>& last) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  unroll<(vectors + 3) / 4>([&](auto group) __attribute__((always_inline)) {
    constexpr int first = 4 * group;
    constexpr int K = std::min(vectors - first, 4);
    constexpr bool whole = first + K < vectors;
    simd::Vec<A, N> x[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const T* const from = plane + (first + k) * N;
      x[k] = whole || k + 1 < K ? simd::load<A>(from) : simd::load_first<A>(from, last);
    });
    const Positions<I, N> at{simd::iota<I, N>(static_cast<I>(first * N)), N};
    if constexpr (whole)
      reduction.accumulate(state, x, at, EveryLane{});
    else
      reduction.accumulate(state, x, at, LastLanes<A, K>{last.mask});
  });
}

/// Merges the lanes of states[0 .. 2 H - 1] until lane i of the answer holds all of states[i].
template <int H, class State, class Merge>
POOLHEAD_INLINE auto merge_lanes(State* states, const Merge& merge) {
  const auto lower = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::lower<H>(p, q);
  };
  const auto upper = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::upper<H>(p, q);
  };
  const auto round = [&](int i) __attribute__((always_inline)) {
    return merge(State::zip(lower, states[i], states[i + H]), State::zip(upper, states[i], states[i + H]));
  };
  const auto merge_on = [&](auto* merged) __attribute__((always_inline)) {
    if constexpr (H == 1)
      return merged[0];
    else
      return merge_lanes<H / 2>(merged, merge);
  };
  if constexpr (H == 2 && widens<State>) {
    Widened<State> merged[H];
    for (int i = 0; i < H; ++i) merged[i] = round(i).widened();
    return merge_on(merged);
  } else {
    for (int i = 0; i < H; ++i) states[i] = round(i);
    return merge_on(states);
  }
}

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

/// states[i] = what fold(state, plane, begin, end) makes of plane c + i of sample n, i < count <= N, NCHW,
/// `step` positions at a time in each of them; identity(lane, c) is the state of a plane before.
template <int N, class X, class State, class Identity, class Fold>
POOLHEAD_INLINE void fold_planes(const X& x, Index n, Index c, int count, Index step, State (&states)[N],
                                 const Identity& identity, const Fold& fold) {
  const Index positions = x.positions();
  const auto* const planes = x.sample(n) + c * positions;
  for (Index begin = 0; begin < positions; begin += step) {
    for (int i = 0; i < N; ++i) {
      // Beyond the last channel stand identities of it, so that all lanes hold a channel's parameters.
      State state = begin == 0 ? identity(c + std::min(i, count - 1)) : states[i];
      if (i < count) fold(state, planes + i * positions, begin, std::min(begin + step, positions));
      states[i] = state;  // until here in registers
    }
  }
}

/// Planes c .. c + count - 1 (count <= N) of sample n, NCHW, in one of the ways there are.
template <class R, class X>
POOLHEAD_INLINE void reduce_whole_planes(const R& reduction, const X& x, Index n, Index c, int count,
                                         const simd::FirstLanes<typename R::Accumulator>& last) {
  using A = typename R::Accumulator;
  using Lane = SharedLane<A, typename R::PositionLane>;
  constexpr Index N = reduction_lanes<R>;
  constexpr bool pairs = any_order<R> && sizeof(typename X::Scalar) == 2 && !is_masked<X>;
  const Index positions = x.positions();
  const Index vectors = (positions + N - 1) / N;
  const auto identity = [&](Index own) __attribute__((always_inline)) {
    return reduction.identity(Lane{}, n, own);
  };
  const auto finish = [&](auto* states) __attribute__((always_inline)) {
    const auto merge = [&](const auto& a, const auto& b) __attribute__((always_inline)) {
      return reduction.merge(a, b);
    };
    reduction.finish(merge_lanes<N / 2>(states, merge), n, c, count);
  };
  [[maybe_unused]] const auto fold_short = [&](auto most, Index number, const auto& part)
      __attribute__((always_inline)) {
    ShortState<R> states[N];
    with_number<most>(
        static_cast<int>(number), [&](auto parts) __attribute__((always_inline)) {
          fold_planes(
              x, n, c, count, positions, states,
              [&](Index own)
                  __attribute__((always_inline)) { return short_identity(reduction, Lane{}, n, own); },
              [&](auto& state, const auto* plane, Index, Index)
                  __attribute__((always_inline)) { part(parts, state, plane); });
        });
    finish(states);
  };
  typename R::State states[N];
  if constexpr (pairs) {
    if (positions >= 2 * N) {
      const LastPairLanes<typename X::Scalar, A> last_pair(positions);
      const auto part = [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
        reduce_pairs<number>(reduction, state, plane, positions, last_pair);
      };
      if constexpr (is_light<R>) {
        if (vectors <= most_short_vectors)
          return fold_short(std::integral_constant<int, most_short_vectors / 2>{}, (vectors + 1) / 2, part);
      }
      fold_planes(
          x, n, c, count, positions, states,
          identity, [&](auto& state, const auto* plane, Index, Index) __attribute__((always_inline)) {
            part(std::integral_constant<int, 0>{}, state, plane);
          });
      return finish(states);
    }
  } else if constexpr (is_light<R> && !is_masked<X>) {
    if (vectors <= most_short_vectors)
      return fold_short(
          std::integral_constant<int, most_short_vectors>{},
          vectors, [&](auto number, auto& state, const auto* plane) __attribute__((always_inline)) {
            reduce_short<number>(reduction, state, plane, last);
          });
  }
  const unsigned char* const mask = mask_row(x, n);
  fold_planes(
      x, n, c, count, positions < long_plane ? positions : plane_step<A>, states,
      identity, [&](auto& state, const auto* plane, Index begin, Index end) __attribute__((always_inline)) {
        reduce_run<is_masked<X>>(reduction, state, plane, begin, end, last, mask);
      });
  finish(states);
}

// The two functions that follow are not inlined: each device and each block of code that calls a pool would
// have a copy of its own.

/// Channels c .. end - 1 of sample n, NCHW.
template <class R, class X>
[[gnu::noinline]] void reduce_planes(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  constexpr Index N = reduction_lanes<R>;
  const Index positions = x.positions();
  [[maybe_unused]] const auto last = last_lanes<A>(positions);
  struct Tile;
  [[maybe_unused]] A* const tile = scans<R> ? workspace<Tile, A>(turned_positions<A> * N) : nullptr;
  for (; c < end; c += N) {
    const auto count = static_cast<int>(std::min(N, end - c));
    if constexpr (scans<R>) {
      reduction.finish(scan_turned(reduction, x, n, c, count, tile), n, c, count);
    } else {
      reduce_whole_planes(reduction, x, n, c, count, last);
    }
  }
}

/// Channels c .. end - 1 of sample n, NHWC. Their states stand in memory that stays in the first-level cache.
template <class R, class X>
[[gnu::noinline]] void reduce_channels(const R& reduction, const X& x, Index n, Index c, Index end) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using State = typename R::State;
  constexpr int N = simd::lanes<A>;
  const Index channels = end - c;
  const Index vectors = (channels + N - 1) / N;
  const auto count = [&](Index v) { return static_cast<int>(std::min<Index>(N, channels - v * N)); };
  State* const states = workspace<R, State>(vectors);
  for (Index v = 0; v < vectors; ++v)
    states[v] = reduction.identity(ChannelLanes<A, I>{count(v)}, n, c + v * N);
  const Index last = x.positions();
  const Index apart = any_order<R> ? std::max<Index>(last / 4, 1) : 1;
  const auto walk = [&](Index from, Index to, const auto& f) __attribute__((always_inline)) {
    walk_rows<is_masked<X>, A, has_row_pairs<R, X>>(x.sample(n) + c, channels, x.channels(), from, to,
                                                    mask_row(x, n), f, apart);
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

/// Reduces the planes c .. end - 1 of sample n.
template <class R, class X>
void reduce(const R& reduction, const X& x, Index n, Index c, Index end) {
  if constexpr (std::same_as<typename X::Layout, ChannelsFirst>)
    reduce_planes(reduction, x, n, c, end);
  else
    reduce_channels(reduction, x, n, c, end);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
