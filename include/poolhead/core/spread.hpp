// The traversal of a global reduction's gradient: dx is written once, element by element, and read never.
//
//   struct Gradient {
//     using Accumulator = float;
//     using PositionLane = std::int32_t;
//     static constexpr bool reads_x = false;           // whether at() needs the value of x
//     struct Coefficients { ... };                     // what one channel's elements share
//     template <class Lanes>                           // lanes(p): one value per lane from p + channel
//     Coefficients prepare(const Lanes& lanes, Index n, Index c) const;
//     Vec at(const Coefficients&, const Vec& x, const PositionVec& position) const;   // dx
//   };
#pragma once

#include "poolhead/core/reduce.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// NCHW: the lanes of a vector are positions of one channel, so they share its value.
template <class A, class I>
struct SharedLane {
  POOLHEAD_INLINE auto operator()(const Index* p) const {
    return simd::splat<I, simd::lanes<A>>(static_cast<I>(*p));
  }
  template <Scalar T>
  POOLHEAD_INLINE auto operator()(const T* p) const {
    return simd::splat<A, simd::lanes<A>>(static_cast<A>(*p));
  }
};

/// NHWC: the lanes are `count` consecutive channels.
template <class A, class I>
struct ChannelLanes {
  int count;

  POOLHEAD_INLINE auto operator()(const Index* p) const {
    auto wide = simd::zero<simd::Vec<Index, simd::lanes<A>>>();
    std::memcpy(static_cast<void*>(&wide), p, static_cast<std::size_t>(count) * sizeof(Index));
    return simd::convert<I>(wide);
  }
  template <Scalar T>
  POOLHEAD_INLINE auto operator()(const T* p) const {
    return count == simd::lanes<A> ? simd::load<A>(p) : simd::load_first<A>(p, count);
  }
};

/// One plane of channel c, NCHW.
template <class G, class T>
POOLHEAD_INLINE void spread_plane(const G& gradient, const T* x, T* dx, Index positions, Index n, Index c) {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  constexpr int N = simd::lanes<A>;
  const auto shared = gradient.prepare(SharedLane<A, I>{}, n, c);
  const auto lane = simd::iota<I, N>(0);
  auto value = simd::zero<simd::Vec<A, N>>();
  Index s = 0;
  for (; s + N <= positions; s += N) {
    if constexpr (G::reads_x) value = simd::load<A>(x + s);
    simd::store(dx + s, gradient.at(shared, value, lane + simd::splat<I, N>(static_cast<I>(s))));
  }
  if (s < positions) {
    const int rest = static_cast<int>(positions - s);
    if constexpr (G::reads_x) value = simd::load_first<A>(x + s, rest);
    simd::store_first(dx + s, gradient.at(shared, value, lane + simd::splat<I, N>(static_cast<I>(s))), rest);
  }
}

/// B whole vectors of channels, or (partial) the last count < N channels, NHWC.
template <int B, bool partial, class G, class T>
POOLHEAD_INLINE void spread_channels(const G& gradient, const FeatureMap<const T, ChannelsLast>& x, T* dx,
                                     Index n, Index c, int count) {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  constexpr int N = simd::lanes<A>;
  const Index positions = x.positions();
  const Index stride = x.channels();
  Index offset = n * positions * stride + c;
  typename G::Coefficients shared[B];
  unroll<B>([&](auto b) __attribute__((always_inline)) {
    shared[b] = gradient.prepare(ChannelLanes<A, I>{count}, n, c + b * N);
  });
  for (Index s = 0; s < positions; ++s, offset += stride) {
    const auto position = simd::splat<I, N>(static_cast<I>(s));
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      auto value = simd::zero<simd::Vec<A, N>>();
      if constexpr (G::reads_x && partial)
        value = simd::load_first<A>(x.data() + offset, count);
      else if constexpr (G::reads_x)
        value = simd::load<A>(x.data() + offset + b * N);
      const auto result = gradient.at(shared[b], value, position);
      if constexpr (partial)
        simd::store_first(dx + offset, result, count);
      else
        simd::store(dx + offset + b * N, result);
    });
  }
}

template <int B, class G, class T>
void spread_channel_range(const G& gradient, const FeatureMap<const T, ChannelsLast>& x, T* dx, Index n,
                          Index c, Index end) {
  constexpr int N = reduction_lanes<G>;
  for (; c + B * N <= end; c += B * N) spread_channels<B, false>(gradient, x, dx, n, c, N);
  if constexpr (B > 1) {
    spread_channel_range<B / 2>(gradient, x, dx, n, c, end);
  } else if (c < end) {
    spread_channels<1, true>(gradient, x, dx, n, c, static_cast<int>(end - c));
  }
}

/// Writes every element of dx. The shapes have been checked: dx is of x's, and is not x.
template <class G, class T, class L, Device D>
void spread(const FeatureMap<const T, L>& x, T* dx, const G& gradient, const D& device) {
  constexpr int N = reduction_lanes<G>;
  constexpr int B = std::same_as<L, ChannelsFirst> ? 1 : channel_block<typename G::Coefficients>;
  const Index channels = x.channels();
  const Index positions = x.positions();
  const Index block = std::same_as<L, ChannelsFirst> ? 1 : B * N;
  const Index groups = (channels + block - 1) / block;
  const double bytes = static_cast<double>(std::min(channels, block)) * static_cast<double>(positions) *
                       static_cast<double>((G::reads_x ? 2 : 1) * sizeof(T));
  parallel_for(device, x.batch() * groups, bytes, [&](Index begin, Index end) {
    for (Index item = begin; item < end; ++item) {
      const Index n = item / groups;
      const Index c = item % groups * block;
      if constexpr (std::same_as<L, ChannelsFirst>) {
        spread_plane(gradient, x.data() + item * positions, dx + item * positions, positions, n, c);
      } else {
        spread_channel_range<B>(gradient, x, dx, n, c, std::min(c + block, channels));
      }
    }
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
