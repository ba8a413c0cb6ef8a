// The traversal of a global reduction: every element of a feature map is read once, in memory order as far as
// the layout allows, and a reduction states only identity, accumulate, merge and finish.
//
//   struct Reduction {
//     using Accumulator = float;                       // float or double
//     using PositionLane = std::int32_t;               // as wide as Accumulator, or 64 bits
//     struct State {                                   // only vectors of lanes<Accumulator> lanes
//       template <class F> static State zip(const F& f, const State& a, const State& b);
//     };
//     static Accumulator padding();                    // an element that changes no state
//     State identity() const;
//     template <int K>                                 // K consecutive vectors, K = 1 or 4
//     void accumulate(State&, const Vec (&x)[K], const Positions& positions) const;
//     State merge(const State& a, const State& b) const;
//     void finish(const State&, Index n, Index c, int count) const;   // lanes = channels c .. c + count - 1
//   };
//
// In NHWC a lane is a channel throughout. In NCHW a lane is every N-th position of one plane; the lanes of N
// planes are merged together, in log2 N rounds that halve their number, until a lane is a channel again.
// Which thread runs, and where a block ends, never changes the order in which a channel's elements are folded.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/simd_memory.hpp"
#include "poolhead/core/view.hpp"

#include <bit>

namespace poolhead::inline POOLHEAD_ISA {

/// Where K consecutive vectors stand in their planes: lane i of vector k is position first[i] + k * step.
template <class I, int N>
struct Positions {
  simd::Vec<I, N> first;
  I step;

  POOLHEAD_INLINE simd::Vec<I, N> at(int k) const {
    return first + simd::splat<I, N>(static_cast<I>(k) * step);
  }
};

namespace detail {

/// f(integral_constant<int, 0>) ... f(integral_constant<int, N - 1>), so that arrays indexed by the argument
/// live in registers.
template <int N, class F>
POOLHEAD_INLINE void unroll(const F& f) {
  [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    (f(std::integral_constant<int, I>{}), ...);
  }
  (std::make_integer_sequence<int, N>{});
}

template <class R>
inline constexpr int reduction_lanes = simd::lanes<typename R::Accumulator>;

/// How many channel vectors share one walk over the positions: what half of the registers hold.
template <class State>
inline constexpr int channel_block = static_cast<int>(std::bit_floor(static_cast<unsigned>(
    std::clamp(simd::register_count / 2 * simd::register_bytes / static_cast<int>(sizeof(State)), 1, 8))));

/// Accumulates the first count elements of K vectors; the others are 0 on entry.
template <class R, class State, class V, int K, class P>
POOLHEAD_INLINE void accumulate_first(const R& reduction, State& state, const V (&x)[K], const P& positions,
                                      int count) {
  if constexpr (requires { reduction.accumulate_first(state, x, positions, count); }) {
    reduction.accumulate_first(state, x, positions, count);
  } else if constexpr (R::padding() == 0) {
    reduction.accumulate(state, x, positions);
  } else {
    using A = typename R::Accumulator;
    using Lane = simd::IntOf<A>;
    constexpr int N = simd::lanes<A>;
    V padded[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const auto inside = simd::iota<Lane, N>(k * N) < simd::splat<Lane, N>(static_cast<Lane>(count));
      padded[k] = simd::select(inside, x[k], simd::splat<A, N>(R::padding()));
    });
    reduction.accumulate(state, padded, positions);
  }
}

template <class R, class T>
POOLHEAD_INLINE typename R::State reduce_plane(const R& reduction, const T* x, Index positions) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const auto lane = simd::iota<I, N>(0);
  const auto at = [&](Index s) { return Positions<I, N>{lane + simd::splat<I, N>(static_cast<I>(s)), N}; };
  auto state = reduction.identity();
  Index s = 0;
  for (; s + 4 * N <= positions; s += 4 * N) {
    const V group[4] = {simd::load<A>(x + s), simd::load<A>(x + s + N), simd::load<A>(x + s + 2 * N),
                        simd::load<A>(x + s + 3 * N)};
    reduction.accumulate(state, group, at(s));
  }
  if (s < positions) {
    // The rest, padded: four vectors at once cost a reduction little more than one.
    const Index rest = positions - s;
    const int count = static_cast<int>(rest);
    const auto load = [&](Index from) __attribute__((always_inline)) {
      return from + N <= rest
                 ? simd::load<A>(x + s + from)
                 : simd::load_first<A>(x + s + from, static_cast<int>(std::max<Index>(rest - from, 0)));
    };
    if (rest <= N) {
      const V one[1] = {load(0)};
      accumulate_first(reduction, state, one, at(s), count);
    } else {
      const V group[4] = {load(0), load(N), load(2 * N), load(3 * N)};
      accumulate_first(reduction, state, group, at(s), count);
    }
  }
  return state;
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
template <class R, class T>
void reduce_planes(const R& reduction, const FeatureMap<const T, ChannelsFirst>& x, Index n, Index c,
                   int count) {
  constexpr int N = reduction_lanes<R>;
  const Index positions = x.positions();
  const T* plane = x.sample(n) + c * positions;
  typename R::State states[N];
  for (int i = 0; i < count; ++i, plane += positions) states[i] = reduce_plane(reduction, plane, positions);
  for (int i = count; i < N; ++i) states[i] = reduction.identity();
  reduction.finish(merge_lanes<N / 2>(reduction, states), n, c, count);
}

/// Channels c .. of sample n, NHWC: B whole vectors of channels, or (partial) the last count < N channels.
template <int B, bool partial, class R, class T>
POOLHEAD_INLINE void reduce_channels(const R& reduction, const FeatureMap<const T, ChannelsLast>& x, Index n,
                                     Index c, int count) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const Index positions = x.positions();
  const Index stride = x.channels();
  const T* p = x.sample(n) + c;
  const auto load = [&](const T* q) __attribute__((always_inline)) {
    if constexpr (partial)
      return simd::load_first<A>(q, count);
    else
      return simd::load<A>(q);
  };
  typename R::State states[B];
  unroll<B>([&](auto b) __attribute__((always_inline)) { states[b] = reduction.identity(); });
  Index s = 0;
  for (; s + 4 <= positions; s += 4, p += 4 * stride) {
    const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), 1};
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      const T* q = p + b * N;
      const V group[4] = {load(q), load(q + stride), load(q + 2 * stride), load(q + 3 * stride)};
      reduction.accumulate(states[b], group, at);
    });
  }
  for (; s < positions; ++s, p += stride) {
    const Positions<I, N> at{simd::splat<I, N>(static_cast<I>(s)), 1};
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      const V one[1] = {load(p + b * N)};
      reduction.accumulate(states[b], one, at);
    });
  }
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    reduction.finish(states[b], n, c + b * N, partial ? count : N);
  });
}

/// Channels c .. end - 1 of sample n, NHWC, in blocks of B vectors, then of fewer.
template <int B, class R, class T>
void reduce_channel_range(const R& reduction, const FeatureMap<const T, ChannelsLast>& x, Index n, Index c,
                          Index end) {
  constexpr int N = reduction_lanes<R>;
  for (; c + B * N <= end; c += B * N) reduce_channels<B, false>(reduction, x, n, c, N);
  if constexpr (B > 1) {
    reduce_channel_range<B / 2>(reduction, x, n, c, end);
  } else if (c < end) {
    reduce_channels<1, true>(reduction, x, n, c, static_cast<int>(end - c));
  }
}

/// Reduces every plane of x. The shape has been checked: at least one channel and one position.
template <class R, class T, class L, Device D>
void reduce(const FeatureMap<const T, L>& x, const R& reduction, const D& device) {
  constexpr int N = reduction_lanes<R>;
  constexpr int B = std::same_as<L, ChannelsFirst> ? 1 : channel_block<typename R::State>;
  const Index channels = x.channels();
  const Index groups = (channels + B * N - 1) / (B * N);
  const double bytes = static_cast<double>(std::min<Index>(channels, B * N)) *
                       static_cast<double>(x.positions()) * static_cast<double>(sizeof(T));
  parallel_for(device, x.batch() * groups, bytes, [&](Index begin, Index end) {
    for (Index item = begin; item < end; ++item) {
      const Index n = item / groups;
      const Index c = item % groups * (B * N);
      const Index last = std::min<Index>(c + B * N, channels);
      if constexpr (std::same_as<L, ChannelsFirst>) {
        reduce_planes(reduction, x, n, c, static_cast<int>(last - c));
      } else {
        reduce_channel_range<B>(reduction, x, n, c, last);
      }
    }
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
