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

/// How many channel vectors share one walk over the positions: what half of the registers hold.
template <class State>
inline constexpr int channel_block = static_cast<int>(std::bit_floor(static_cast<unsigned>(
    std::clamp(simd::register_count / 2 * simd::register_bytes / static_cast<int>(sizeof(State)), 1, 8))));

/// Folds the consecutive positions begin .. end - 1 of one plane, NCHW. mask: the sample's, or null.
template <bool masked, class R, class T>
POOLHEAD_INLINE void reduce_run(const R& reduction, typename R::State& state, const T* plane, Index begin,
                                Index end, const unsigned char* mask) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using Lane = simd::IntOf<A>;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const auto lane = simd::iota<I, N>(0);
  const auto at = [&](Index s) __attribute__((always_inline)) {
    return Positions<I, N>{lane + simd::splat<I, N>(static_cast<I>(s)), N};
  };
  Index s = begin;
  for (; s + 4 * N <= end; s += 4 * N) {
    const V group[4] = {simd::load<A>(plane + s), simd::load<A>(plane + s + N),
                        simd::load<A>(plane + s + 2 * N), simd::load<A>(plane + s + 3 * N)};
    if constexpr (masked) {
      reduction.accumulate(
          state, group, at(s),
          SomeLanes<A, 4>{{simd::load_mask<A>(mask + s, N), simd::load_mask<A>(mask + s + N, N),
                           simd::load_mask<A>(mask + s + 2 * N, N), simd::load_mask<A>(mask + s + 3 * N, N)}});
    } else {
      reduction.accumulate(state, group, at(s), EveryLane{});
    }
  }
  if (s == end) return;
  // The rest, padded: four vectors at once cost a reduction little more than one.
  const auto rest = static_cast<int>(end - s);
  const auto valid = [&](int from) __attribute__((always_inline)) {
    if constexpr (masked)
      return simd::load_mask<A>(mask + s + from, std::clamp(rest - from, 0, N));
    else
      return simd::iota<Lane, N>(static_cast<Lane>(from)) < simd::splat<Lane, N>(static_cast<Lane>(rest));
  };
  const auto load = [&](int from) __attribute__((always_inline)) {
    return from + N <= rest ? simd::load<A>(plane + s + from)
                            : simd::load_first<A>(plane + s + from, std::max(rest - from, 0));
  };
  if (rest <= N) {
    const V one[1] = {load(0)};
    reduction.accumulate(state, one, at(s), SomeLanes<A, 1>{{valid(0)}});
  } else {
    const V group[4] = {load(0), load(N), load(2 * N), load(3 * N)};
    reduction.accumulate(state, group, at(s),
                         SomeLanes<A, 4>{{valid(0), valid(N), valid(2 * N), valid(3 * N)}});
  }
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

/// Channels c .. c + count - 1 (count <= N) of sample n, NCHW.
template <class R, class X>
void reduce_planes(const R& reduction, const X& x, const Window& window, Index n, Index c, int count) {
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

/// Channels c .. of sample n, NHWC: B whole vectors of channels, or (partial) the last count < N channels.
template <int B, bool partial, class R, class X>
POOLHEAD_INLINE void reduce_channels(const R& reduction, const X& x, const Window& window, Index n, Index c,
                                     int count) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const Index stride = x.channels();
  const auto* const channel = x.sample(n) + c;
  [[maybe_unused]] const unsigned char* const mask = mask_row(x, n);
  const auto load = [&](const auto* q) __attribute__((always_inline)) {
    if constexpr (partial)
      return simd::load_first<A>(q, count);
    else
      return simd::load<A>(q);
  };
  typename R::State states[B];
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    states[b] = reduction.identity(ChannelLanes<A, I>{count}, n, c + b * N);
  });
  for (Index row = 0; row < window.rows; ++row) {
    Index s = window.first + row * window.step;
    const Index end = s + window.columns;
    const auto one_position = [&]() __attribute__((always_inline)) {
      const auto* p = channel + s * stride;
      const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), 1};
      unroll<B>([&](auto b) __attribute__((always_inline)) {
        const V one[1] = {load(p + b * N)};
        reduction.accumulate(states[b], one, at, EveryLane{});
      });
    };
    for (; s + 4 <= end; s += 4) {
      if constexpr (is_masked<X>) {
        if (mask[s] == 0 || mask[s + 1] == 0 || mask[s + 2] == 0 || mask[s + 3] == 0) {
          const Index after = s + 4;
          for (; s < after; ++s)
            if (mask[s] != 0) one_position();
          s -= 4;
          continue;
        }
      }
      const auto* p = channel + s * stride;
      const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), 1};
      unroll<B>([&](auto b) __attribute__((always_inline)) {
        const auto* q = p + b * N;
        const V group[4] = {load(q), load(q + stride), load(q + 2 * stride), load(q + 3 * stride)};
        reduction.accumulate(states[b], group, at, EveryLane{});
      });
    }
    for (; s < end; ++s) {
      if constexpr (is_masked<X>)
        if (mask[s] == 0) continue;
      one_position();
    }
  }
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    reduction.finish(states[b], n, c + b * N, partial ? count : N);
  });
}

/// Channels c .. end - 1 of sample n, NHWC, in blocks of B vectors, then of fewer.
template <int B, class R, class X>
void reduce_channel_range(const R& reduction, const X& x, const Window& window, Index n, Index c, Index end) {
  constexpr int N = reduction_lanes<R>;
  for (; c + B * N <= end; c += B * N) reduce_channels<B, false>(reduction, x, window, n, c, N);
  if constexpr (B > 1) {
    reduce_channel_range<B / 2>(reduction, x, window, n, c, end);
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
    reduce_channel_range<channel_block<typename R::State>>(reduction, x, window, n, c, end);
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
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
