// The traversal of a reduction: every element of a window of each plane is read once, in memory order as far as
// the layout allows, and a reduction states only identity, accumulate, merge and finish.
//
//   struct Reduction {
//     using Accumulator = float;                       // float or double
//     using PositionLane = std::int32_t;               // as wide as Accumulator, or 64 bits
//     struct State {                                   // only vectors of lanes<Accumulator> lanes
//       template <class F> static State zip(const F& f, const State& a, const State& b);
//     };
//     template <class Lanes>                           // lanes(p): one value per lane from p + channel
//     State identity(const Lanes& lanes, Index n, Index c) const;
//     template <int K, class Valid>                    // K consecutive vectors, K = 1 or 4, of which some
//     lanes void accumulate(State&, const Vec (&x)[K], const Positions&, const Valid&) const;   // may not
//     count State merge(const State& a, const State& b) const; void finish(const State&, Index n, Index c, int
//     count) const;   // lanes = channels c .. c + count - 1
//   };
//
// A reduction whose sums are relative to a maximum also has `static constexpr bool scans = true` and
//     bool wants_scan() const;
//     V scan(V top, const Vec (&x)[K], const Valid&) const;         // the larger of top and x
//     void raise(State&, const V& top) const;                       // no x until the next raise is larger
// and finds each part of a plane already in the cache when it accumulates it.
//
// In NHWC a lane is a channel throughout. In NCHW a lane is every N-th position of one plane; the lanes of N
// planes are merged together, in log2 N rounds that halve their number, until a lane is a channel again.
// Which thread runs, and where a block ends, never changes the order in which a channel's elements are folded.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/lanes.hpp"
#include "poolhead/core/mask.hpp"

#include <bit>
#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Positions of a plane: rows of `columns` consecutive ones, `step` apart.
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

/// How many channel vectors share one walk over the positions: what half of the registers hold, or, where a
/// call for each of them does the work, a few cache lines.
template <class R>
constexpr int channel_block() {
  if constexpr (scans<R>) return 4;
  constexpr int fit =
      simd::register_count / 2 * simd::register_bytes / static_cast<int>(sizeof(typename R::State));
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(std::clamp(fit, 1, 8))));
}

/// What is left of the channels goes in smaller blocks; every size costs its users' compilers as much as the
/// first.
template <int B>
inline constexpr int smaller_block = B > 4 ? 2 : 1;

/// f(vectors, position of the first lane, valid) for the consecutive positions begin .. end - 1 of one plane,
/// NCHW: four vectors at a time, then the rest. mask: the sample's, or null.
template <bool masked, class A, class T, class F>
POOLHEAD_INLINE void walk_plane(const T* plane, Index begin, Index end, const unsigned char* mask, const F& f) {
  using Lane = simd::IntOf<A>;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  Index s = begin;
  for (; s + 4 * N <= end; s += 4 * N) {
    const V group[4] = {simd::load<A>(plane + s), simd::load<A>(plane + s + N),
                        simd::load<A>(plane + s + 2 * N), simd::load<A>(plane + s + 3 * N)};
    if constexpr (masked)
      f(group, s,
        SomeLanes<A, 4>{{simd::load_mask<A>(mask + s, N), simd::load_mask<A>(mask + s + N, N),
                         simd::load_mask<A>(mask + s + 2 * N, N), simd::load_mask<A>(mask + s + 3 * N, N)}});
    else
      f(group, s, EveryLane{});
  }
  if (s == end) return;
  const auto rest = static_cast<int>(end - s);
  const auto last = [&](auto count) __attribute__((always_inline)) {
    // All vectors but the last are whole.
    constexpr int K = count;
    V group[K];
    SomeLanes<A, K> valid;
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const T* const from = plane + s + k * N;
      const int inside = k + 1 < K ? N : rest - k * N;
      group[k] = k + 1 < K ? simd::load<A>(from) : simd::load_first<A>(from, inside);
      if constexpr (masked)
        valid.lane[k] = simd::load_mask<A>(mask + s + k * N, inside);
      else
        valid.lane[k] = simd::iota<Lane, N>(0) < simd::splat<Lane, N>(static_cast<Lane>(inside));
    });
    f(group, s, valid);
  };
  if (rest <= N)
    last(std::integral_constant<int, 1>{});
  else if (rest <= 2 * N)
    last(std::integral_constant<int, 2>{});
  else if (rest <= 3 * N)
    last(std::integral_constant<int, 3>{});
  else
    last(std::integral_constant<int, 4>{});
}

/// Folds the consecutive positions begin .. end - 1 of one plane, NCHW.
template <bool masked, class R, class T>
POOLHEAD_INLINE void reduce_run(const R& reduction, typename R::State& state, const T* plane, Index begin,
                                Index end, const unsigned char* mask) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  const auto accumulate = [&](const auto& x, Index s, const auto& valid) __attribute__((always_inline)) {
    const Positions<I, N> at{simd::iota<I, N>(0) + simd::splat<I, N>(static_cast<I>(s)), N};
    reduction.accumulate(state, x, at, valid);
  };
  if constexpr (scans<R>) {
    if (reduction.wants_scan()) {
      constexpr Index part = 4096;
      for (; begin < end; begin += part) {
        const Index stop = std::min(begin + part, end);
        auto top = reduction.scan_start();
        walk_plane<masked, A>(
            plane, begin, stop,
            mask, [&](const auto& x, Index, const auto& valid) __attribute__((always_inline)) {
              top = reduction.scan(top, x, valid);
            });
        reduction.raise(state, reduction.scan_lanes(top));
        walk_plane<masked, A>(plane, begin, stop, mask, accumulate);
      }
      return;
    }
  }
  walk_plane<masked, A>(plane, begin, end, mask, accumulate);
}

/// Merges the lanes of states[0 .. 2 H - 1] until lane i of the answer holds all of states[i].
template <int H, class R, class State>
POOLHEAD_INLINE State merge_lanes(const R& reduction, State* states) {
  const auto lower = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::lower<H>(p, q);
  };
  const auto upper = [](const auto& p, const auto& q) __attribute__((always_inline)) {
    return simd::upper<H>(p, q);
  };
  for (int i = 0; i < H; ++i) {
    states[i] = reduction.merge(State::zip(lower, states[i], states[i + H]),
                                State::zip(upper, states[i], states[i + H]));
  }
  if constexpr (H == 1)
    return states[0];
  else
    return merge_lanes<H / 2>(reduction, states);
}

// The two functions that follow are not inlined: each device and each block of code that calls a pool would
// have a copy of its own.

/// Channels c .. c + count - 1 (count <= N) of sample n, NCHW.
template <class R, class X>
[[gnu::noinline]] void reduce_planes(const R& reduction, const X& x, const Window& window, Index n, Index c,
                                     int count) {
  using A = typename R::Accumulator;
  constexpr int N = reduction_lanes<R>;
  const Index positions = x.positions();
  const auto* plane = x.sample(n) + c * positions;
  const unsigned char* const mask = mask_row(x, n);
  typename R::State states[N];
  for (int i = 0; i < N; ++i) {
    // Beyond the last channel stand identities of it, so that all lanes hold a channel's parameters.
    auto state = reduction.identity(SharedLane<A, typename R::PositionLane>{}, n, c + std::min(i, count - 1));
    if (i < count) {
      for (Index row = 0; row < window.rows; ++row) {
        const Index first = window.first + row * window.step;
        reduce_run<is_masked<X>>(reduction, state, plane, first, first + window.columns, mask);
      }
      plane += positions;
    }
    states[i] = state;  // until here in registers
  }
  reduction.finish(merge_lanes<N / 2>(reduction, states), n, c, count);
}

/// f(b, vectors, position of the first, valid) for the positions begin .. end - 1 of B vectors of channels,
/// NHWC: four positions at a time, then one by one; those that the mask leaves out are passed over.
template <int B, bool partial, bool masked, class A, class T, class F>
POOLHEAD_INLINE void walk_channels(const T* channel, Index stride, Index begin, Index end, int count,
                                   const unsigned char* mask, const F& f) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const auto load = [&](const T* q) __attribute__((always_inline)) {
    if constexpr (partial)
      return simd::load_first<A>(q, count);
    else
      return simd::load<A>(q);
  };
  const auto one_position = [&](Index s) __attribute__((always_inline)) {
    if constexpr (masked)
      if (mask[s] == 0) return;
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      const V one[1] = {load(channel + s * stride + b * N)};
      f(b, one, s, EveryLane{});
    });
  };
  Index s = begin;
  for (; s + 4 <= end; s += 4) {
    if constexpr (masked) {
      if (mask[s] == 0 || mask[s + 1] == 0 || mask[s + 2] == 0 || mask[s + 3] == 0) {
        for (Index k = s; k < s + 4; ++k) one_position(k);
        continue;
      }
    }
    const T* const p = channel + s * stride;
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      const T* const q = p + b * N;
      const V group[4] = {load(q), load(q + stride), load(q + 2 * stride), load(q + 3 * stride)};
      f(b, group, s, EveryLane{});
    });
  }
  for (; s < end; ++s) one_position(s);
}

/// Channels c .. of sample n, NHWC: B whole vectors of channels, or (partial) the last count < N channels.
template <int B, bool partial, class R, class X>
POOLHEAD_INLINE void reduce_channels(const R& reduction, const X& x, const Window& window, Index n, Index c,
                                     int count) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  const Index stride = x.channels();
  const auto* const channel = x.sample(n) + c;
  const unsigned char* const mask = mask_row(x, n);
  typename R::State states[B];
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    states[b] = reduction.identity(ChannelLanes<A, I>{count}, n, c + b * N);
  });
  const auto walk = [&](Index begin, Index end, const auto& f) __attribute__((always_inline)) {
    walk_channels<B, partial, is_masked<X>, A>(channel, stride, begin, end, count, mask, f);
  };
  const auto accumulate = [&](auto b, const auto& group, Index s, const auto& valid)
      __attribute__((always_inline)) {
    reduction.accumulate(states[b], group, Positions<I, N>{simd::splat<I, N>(static_cast<I>(s)), 1}, valid);
  };
  for (Index row = 0; row < window.rows; ++row) {
    Index s = window.first + row * window.step;
    const Index end = s + window.columns;
    if constexpr (scans<R>) {
      if (reduction.wants_scan()) {
        constexpr Index part = 128;
        for (; s < end; s += part) {
          const Index stop = std::min(s + part, end);
          decltype(reduction.scan_start()) tops[B];
          unroll<B>([&](auto b) __attribute__((always_inline)) { tops[b] = reduction.scan_start(); });
          walk(
              s, stop, [&](auto b, const auto& group, Index, const auto& valid) __attribute__((always_inline)) {
                tops[b] = reduction.scan(tops[b], group, valid);
              });
          unroll<B>([&](auto b) __attribute__((always_inline)) { reduction.raise(states[b], tops[b]); });
          walk(s, stop, accumulate);
        }
        continue;
      }
    }
    walk(s, end, accumulate);
  }
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    reduction.finish(states[b], n, c + b * N, partial ? count : N);
  });
}

/// Channels c .. end - 1 of sample n, NHWC, in blocks of B vectors, then of fewer.
template <int B, class R, class X>
[[gnu::noinline]] void reduce_channel_range(const R& reduction, const X& x, const Window& window, Index n,
                                            Index c, Index end) {
  constexpr int N = reduction_lanes<R>;
  for (; c + B * N <= end; c += B * N) reduce_channels<B, false>(reduction, x, window, n, c, N);
  if constexpr (B > 1) {
    reduce_channel_range<smaller_block<B>>(reduction, x, window, n, c, end);
  } else if (c < end) {
    reduce_channels<1, true>(reduction, x, window, n, c, static_cast<int>(end - c));
  }
}

/// Reduces one window of the planes c .. end - 1 of sample n: at most N of them in NCHW.
template <class R, class X>
void reduce_window(const R& reduction, const X& x, const Window& window, Index n, Index c, Index end) {
  if constexpr (std::same_as<typename X::Layout, ChannelsFirst>)
    reduce_planes(reduction, x, window, n, c, static_cast<int>(end - c));
  else
    reduce_channel_range<channel_block<R>()>(reduction, x, window, n, c, end);
}

/// Reductions that walk together.
template <class... Reductions>
struct FusedReduction {
  using First = std::tuple_element_t<0, std::tuple<Reductions...>>;
  using Accumulator = typename First::Accumulator;
  using PositionLane = typename First::PositionLane;
  static constexpr int N = simd::lanes<Accumulator>;
  static constexpr auto heads = std::index_sequence_for<Reductions...>{};
  using V = simd::Vec<Accumulator, N>;

  struct State {
    std::tuple<typename Reductions::State...> of;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        return State{{Reductions::State::zip(f, std::get<I>(a.of), std::get<I>(b.of))...}};
      }
      (heads);
    }
  };

  std::tuple<Reductions...> reductions;

  static constexpr bool scans = (detail::scans<Reductions> || ...);
  bool wants_scan() const {
    return each_scanning([](const auto&... r) { return (false || ... || r.wants_scan()); });
  }
  POOLHEAD_INLINE auto scan_start() const {
    return each_scanning([](const auto&... r)
                             __attribute__((always_inline)) { return std::tuple{r.scan_start()...}; });
  }
  template <class Tops, int K, class Valid>
  POOLHEAD_INLINE Tops scan(const Tops& tops, const V (&x)[K], const Valid& valid) const {
    return each_scanning([&](const auto&... r) __attribute__((always_inline)) {
      return std::apply(
          [&](const auto&... top) __attribute__((always_inline)) { return Tops{r.scan(top, x, valid)...}; },
          tops);
    });
  }
  template <class Tops>
  POOLHEAD_INLINE Tops scan_lanes(const Tops& tops) const {
    return each_scanning([&](const auto&... r) __attribute__((always_inline)) {
      return std::apply(
          [&](const auto&... top) __attribute__((always_inline)) { return Tops{r.scan_lanes(top)...}; }, tops);
    });
  }
  template <class Tops>
  POOLHEAD_INLINE void raise(State& state, const Tops& tops) const {
    raise_from<0, 0>(state, tops);
  }

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... r) __attribute__((always_inline)) { return State{{r.identity(lanes, n, c)...}}; },
        reductions);
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<PositionLane, N>& positions,
                                  const Valid& valid) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).accumulate(std::get<I>(state.of), x, positions, valid), ...);
    }
    (heads);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      return State{{std::get<I>(reductions).merge(std::get<I>(a.of), std::get<I>(b.of))...}};
    }
    (heads);
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).finish(std::get<I>(state.of), n, c, count), ...);
    }
    (heads);
  }

 private:
  /// f(the reductions that scan ...).
  template <class F>
  POOLHEAD_INLINE auto each_scanning(const F& f) const {
    const auto only = [](const auto& r) __attribute__((always_inline)) {
      if constexpr (detail::scans<std::remove_cvref_t<decltype(r)>>)
        return std::tie(r);
      else
        return std::tuple<>();
    };
    return std::apply(
        [&](const auto&... r)
            __attribute__((always_inline)) { return std::apply(f, std::tuple_cat(only(r)...)); },
        reductions);
  }
  template <std::size_t I, std::size_t Top, class Tops>
  POOLHEAD_INLINE void raise_from(State& state, const Tops& tops) const {
    if constexpr (I < sizeof...(Reductions)) {
      constexpr bool one = detail::scans<std::tuple_element_t<I, std::tuple<Reductions...>>>;
      if constexpr (one) std::get<I>(reductions).raise(std::get<I>(state.of), std::get<Top>(tops));
      raise_from<I + 1, Top + (one ? 1 : 0)>(state, tops);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
