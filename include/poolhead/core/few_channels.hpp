// Maps of NHWC whose channels fill no whole vectors: a sample is taken as the run of numbers that it is. After
// `cycle` vectors a lane is the same channel again, `step` positions later.
#pragma once

#include "poolhead/core/blocks.hpp"
#include "poolhead/core/buffer.hpp"
#include "poolhead/core/mask.hpp"
#include "poolhead/core/reduce_pairs.hpp"

#include <numeric>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The lanes of a sample that is read as a run of vectors of A.
template <class A>
struct ChannelCycle {
  static constexpr Index N = simd::lanes<A>;
  Index channels, cycle, step;

  /// Where there are many positions, four vectors at least, as none of them waits for the one before.
  explicit ChannelCycle(const FeatureShape& x) : ChannelCycle(x.channels) {
    if (cycle > 1 || x.positions() < 2048) return;
    cycle *= 4;
    step *= 4;
  }

  /// Whether what rows of vectors would leave empty is more than it takes to put a channel together again; and
  /// to put its coefficients where its elements are.
  static bool pays(const FeatureShape& x) {
    const ChannelCycle own(x.channels);
    return own.saved(x) >= 20 + 16 * own.cycle;
  }
  static bool pays_to_spread(const FeatureShape& x) {
    const ChannelCycle own(x.channels);
    return own.saved(x) >= 50 * own.cycle;
  }
  /// The channel and the position of a lane, counted from the first vector's first.
  Index channel(Index lane) const { return lane % channels; }
  template <class I>
  simd::Vec<I, static_cast<int>(N)> positions(Index vector) const {
    I each[N];
    for (Index i = 0; i < N; ++i) each[i] = static_cast<I>((vector * N + i) / channels);
    return simd::load_array<static_cast<int>(N)>(each);
  }
  /// f(vector of the cycle, K, number of the first element, position of the cycle's first, whole): K vectors, a
  /// cycle apart, four at a time, then one by one, the last of them not whole.
  template <class F>
  POOLHEAD_INLINE void walk(Index size, const F& f) const {
    const auto four = std::integral_constant<int, 4>{};
    const auto one = std::integral_constant<int, 1>{};
    Index e = 0, position = 0;
    for (; e + 4 * cycle * N <= size; e += 4 * cycle * N, position += 4 * step)
      for (Index j = 0; j < cycle; ++j) f(j, four, e + j * N, position, std::true_type{});
    Index j = 0;
    for (; e + N <= size; e += N) {
      f(j, one, e, position, std::true_type{});
      if (++j < cycle) continue;
      j = 0;
      position += step;
    }
    if (e < size) f(j, one, e, position, std::false_type{});
  }

 private:
  explicit ChannelCycle(Index of) : channels(of), cycle(of / std::gcd(of, N)), step(N / std::gcd(of, N)) {}

  Index rows() const { return (channels + N - 1) / N; }
  /// Vectors.
  Index saved(const FeatureShape& x) const {
    return channels < 2 * N ? x.positions() * (rows() * N - channels) / N : 0;
  }
};

/// Lanes that are channels of a vector of a cycle. Doubles arrive as they are.
template <class A, class I>
struct CycleLanes {
  static constexpr int N = simd::lanes<A>;
  const ChannelCycle<A>& cycle;
  Index first;  // lane of the cycle

  POOLHEAD_INLINE auto operator()(const Index* p) const { return simd::convert<I>(gathered<Index>(p)); }
  template <Scalar T>
  POOLHEAD_INLINE auto operator()(const T* p) const {
    return gathered<A>(p);
  }
  POOLHEAD_INLINE auto wide(const double* p) const { return gathered<double>(p); }

 private:
  template <class To, class T>
  simd::Vec<To, N> gathered(const T* p) const {
    To each[N];
    for (Index i = 0; i < N; ++i) each[i] = static_cast<To>(p[cycle.channel(first + i)]);
    return simd::load_array<N>(each);
  }
};

/// The lanes from `first` on of two vectors in a row; 0 < first < N.
template <class T, int N>
POOLHEAD_INLINE simd::Vec<T, N> joined_lanes(const simd::Vec<T, N>& a, const simd::Vec<T, N>& b, Index first) {
  T each[2 * N];
  std::memcpy(each, &a, sizeof a);
  std::memcpy(each + N, &b, sizeof b);
  return simd::load_array<N>(each + first);
}

template <class R, class X>
inline constexpr bool has_cycles =
    any_order<R>&& std::same_as<typename X::Layout, ChannelsLast> && !is_masked<X> && !is_vast<R>;

/// Channels c .. end - 1 of sample n, NHWC. All channels are folded, so that a channel's elements are in the
/// same order whatever others are asked for.
template <class R, class X, class Ahead>
[[gnu::noinline]] void reduce_cycles(const R& reduction, const X& x, Index n, Index c, Index end,
                                     const Ahead& ahead) {
  using A = typename R::Accumulator;
  using I = typename R::PositionLane;
  using State = typename R::State;
  constexpr int N = simd::lanes<A>;
  struct First;
  const ChannelCycle<A> lanes(x.shape());
  const Index size = x.positions() * x.channels();
  const simd::FirstLanes<A> last = last_lanes<A>(size);
  State* const states = workspace<R, State>(lanes.cycle);
  auto* const first = workspace<First, simd::Vec<I, N>>(lanes.cycle);
  for (Index j = 0; j < lanes.cycle; ++j) {
    states[j] =
        reduction.identity(ChannelLanes<A, I>{static_cast<int>(std::min<Index>(N, x.channels()))}, n, 0);
    first[j] = lanes.template positions<I>(j);
  }
  const auto* const from = x.sample(n);
  lanes.walk(
      size, [&](Index j, auto count, Index e, Index position, auto whole) __attribute__((always_inline)) {
        constexpr int K = count;
        simd::Vec<A, N> group[K];
        if constexpr (whole)
          unroll<K>([&](auto k) __attribute__((always_inline)) {
            ahead.template fetch<N * sizeof(typename X::Scalar)>(from + e + k * lanes.cycle * N);
            group[k] = simd::load<A>(from + e + k * lanes.cycle * N);
          });
        else
          group[0] = simd::load_first<A>(from + e, last);
        const LaterPositions<I, N> at{
            {first[j] + simd::splat<I, N>(static_cast<I>(position)), static_cast<I>(lanes.step)}};
        if constexpr (whole)
          reduction.accumulate(states[j], group, at, EveryLane{});
        else
          reduction.accumulate(states[j], group, at, LastLanes<A, 1>{last.mask});
      });
  const auto from_lane = [&](Index lane) __attribute__((always_inline)) {
    const State& state = states[lane / N];
    if (lane % N == 0) return state;
    const auto join = [&](const auto& a, const auto& b) __attribute__((always_inline)) {
      return joined_lanes(a, b, lane % N);
    };
    return State::zip(join, state, states[std::min(lane / N + 1, lanes.cycle - 1)]);
  };
  // The later half of the lanes goes to the earlier one until a channel has one lane; how many it has is a
  // power of two.
  for (Index half = lanes.cycle * N / 2; half >= lanes.channels; half /= 2)
    for (Index lane = 0; lane < half; lane += N)
      states[lane / N] = reduction.merge(states[lane / N], from_lane(half + lane));
  for (; c < end; c += N) reduction.finish(from_lane(c), n, c, static_cast<int>(std::min<Index>(N, end - c)));
}

/// dx of sample n, NHWC, of a gradient that reads x and has no sums.
template <bool adds, class G, class X, class DX>
[[gnu::noinline]] void spread_cycles(const G& gradient, const X& x, DX dx, Index n) {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  using Coefficients = typename G::Coefficients;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  struct First;
  const ChannelCycle<A> lanes(x.shape());
  const Index size = x.positions() * x.channels();
  const simd::FirstLanes<A> last = last_lanes<A>(size);
  auto* const shared = workspace<G, Coefficients>(lanes.cycle);
  auto* const first = workspace<First, simd::Vec<I, N>>(lanes.cycle);
  for (Index j = 0; j < lanes.cycle; ++j) {
    shared[j] = gradient.prepare(CycleLanes<A, I>{lanes, j * N}, n, 0);
    first[j] = lanes.template positions<I>(j);
  }
  const auto* const from = x.sample(n);
  dx += n * size;
  lanes.walk(
      size, [&](Index j, auto count, Index e, Index position, auto whole) __attribute__((always_inline)) {
        constexpr int K = count;
        const auto load = [&](const auto* p) __attribute__((always_inline)) {
          if constexpr (whole)
            return simd::load<A>(p);
          else
            return simd::load_first<A>(p, last);
        };
        typename G::Sums none;
        simd::Vec<I, N> positions[K];
        V group[K], value[K];
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          group[k] = load(from + e + k * lanes.cycle * N);
          positions[k] = first[j] + simd::splat<I, N>(static_cast<I>(position + k * lanes.step));
        });
        gradient.at(shared[j], none, group, positions, value);
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          auto* const to = dx + e + k * lanes.cycle * N;
          if constexpr (adds) value[k] = value[k] + load(to);
          if constexpr (whole)
            simd::store(to, value[k]);
          else
            simd::store_first(to, value[k], last.count);
        });
      });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
