// Gradients of planes of NCHW where they lie: lanes are positions, which share what belongs to their plane. The
// protocol of a gradient G is in core/spread.hpp.
#pragma once

#include "poolhead/core/coefficients.hpp"
#include "poolhead/core/walk.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A dx that nobody wants, where only the parameters' gradient is.
struct Nowhere {
  Nowhere operator+(Index) const { return {}; }
  Nowhere& operator+=(Index) { return *this; }
};

/// From so many positions on, a plane of NCHW is worth coefficients and sums of its own.
inline constexpr Index least_long_plane = 128;

/// One plane of NCHW: four vectors at a time, then one by one. Lanes beyond the plane are given the value of
/// one inside, so that they do nothing out of the ordinary.
template <bool adds, class G, class T, class DX>
POOLHEAD_INLINE void spread_plane(const G& gradient, const T* plane, DX dx, Index size,
                                  const typename G::Coefficients& shared, typename G::Sums& sums) {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Position = simd::Vec<I, N>;
  const auto load = [](const auto* p, int count) __attribute__((always_inline)) {
    return count == N ? simd::load<A>(p) : simd::load_first<A>(p, count);
  };
  const auto at = [&]<int K>(Index s, const V(&x)[K], typename G::Sums& own, int count)
      __attribute__((always_inline)) {
    Position position[K];
    V value[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      position[k] = simd::iota<I, N>(static_cast<I>(0)) + simd::splat<I, N>(static_cast<I>(s + k * N));
    });
    gradient.at(shared, own, x, position, value);
    if constexpr (!std::same_as<DX, Nowhere>) {
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        auto* const to = dx + s + k * N;
        if constexpr (adds) value[k] = value[k] + load(to, count);
        if (count == N)
          simd::store(to, value[k]);
        else
          simd::store_first(to, value[k], count);
      });
    }
  };
  Index s = 0;
  for (; s + 4 * N <= size; s += 4 * N) {
    V x[4];
    unroll<4>([&](auto k) __attribute__((always_inline)) { x[k] = simd::load<A>(plane + s + k * N); });
    at(s, x, sums, N);
  }
  for (; s < size; s += N) {
    const auto count = static_cast<int>(std::min<Index>(N, size - s));
    const auto inside = simd::FirstLanes<A>{count}.mask;
    const V x[1] = {simd::select(inside, load(plane + s, count), simd::splat<A, N>(static_cast<A>(plane[s])))};
    auto own = typename G::Sums();
    at(s, x, own, count);
    sums.add_lanes(own, simd::convert<std::int64_t>(inside));
  }
}

/// Planes c .. end - 1, NCHW: lanes are positions, which share what belongs to their plane.
template <bool adds, class G, class X, class DX>
POOLHEAD_INLINE void spread_long_planes(const G& gradient, const X& x, DX dx, Index n, Index c, Index end) {
  using Lanes = ChannelLanes<typename G::Accumulator, typename G::PositionLane>;
  constexpr int N = simd::lanes<typename G::Accumulator>;
  const Index size = x.positions();
  for (; c < end; c += N) {
    const auto count = static_cast<int>(std::min<Index>(N, end - c));
    const auto shared = gradient.prepare(Lanes{count}, n, c);
    auto sums = typename G::Sums();
    for (int i = 0; i < count; ++i) {
      const auto own = lane_of(shared, i);
      auto of_plane = typename G::Sums();
      spread_plane<adds>(gradient, x.sample(n) + (c + i) * size, dx + (n * x.channels() + c + i) * size, size,
                         own, of_plane);
      sums.put_total(i, of_plane);
    }
    gradient.collect(Lanes{count}, sums, n, c);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
