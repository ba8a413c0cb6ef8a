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

/// From so many positions on, a plane of NCHW is worth coefficients and sums of its own. Registers of 512 bits
/// have masks for what is left of a plane, and so many shuffles in a transposition that nearly all are, but for
/// sums, whose lanes are added up plane by plane.
template <class G, int N = simd::lanes<typename G::Accumulator>>
inline constexpr Index least_long_plane = simd::register_bytes == 64 && !G::has_sums ? 2 * N + 1 : 128;

/// One plane of NCHW: four vectors at a time, then the rest, the very last vector in its `last` lanes. Lanes
/// beyond the plane are given the value of one inside, so that they do nothing out of the ordinary.
template <bool adds, class G, class T, class DX, class Shared>
POOLHEAD_INLINE void spread_plane(const G& gradient, const T* plane, DX dx, Index size,
                                  const simd::FirstLanes<typename G::Accumulator>& last, const Shared& shared,
                                  typename G::Sums& sums) {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const auto at = [&](auto group, Index s, typename G::Sums& own, auto whole) __attribute__((always_inline)) {
    constexpr int K = group;
    simd::Vec<I, N> position[K];
    V x[K], value[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const T* const from = plane + s + k * N;
      position[k] = simd::iota<I, N>(static_cast<I>(0)) + simd::splat<I, N>(static_cast<I>(s + k * N));
      x[k] = whole || k + 1 < K ? simd::load<A>(from)
                                : simd::select(last.mask, simd::load_first<A>(from, last),
                                               simd::splat<A, N>(static_cast<A>(*from)));
    });
    gradient.at(shared, own, x, position, value);
    if constexpr (!std::same_as<DX, Nowhere>) {
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        auto* const to = dx + s + k * N;
        if (whole || k + 1 < K) {
          if constexpr (adds) value[k] = value[k] + simd::load<A>(to);
          simd::store(to, value[k]);
        } else {
          if constexpr (adds) value[k] = value[k] + simd::load_first<A>(to, last);
          simd::store_first(to, value[k], last.count);
        }
      });
    }
  };
  Index s = 0;
  for (; s + 4 * N <= size; s += 4 * N) at(std::integral_constant<int, 4>{}, s, sums, std::true_type{});
  if (s == size) return;
  if constexpr (!G::has_sums) {
    with_number<4>(
        static_cast<int>((size - s + N - 1) / N), [&](auto group) __attribute__((always_inline)) {
          at(group, s, sums, std::false_type{});
        });
  } else {
    for (; s + N < size; s += N) at(std::integral_constant<int, 1>{}, s, sums, std::true_type{});
    auto own = typename G::Sums();
    at(std::integral_constant<int, 1>{}, s, own, std::false_type{});
    sums.add_lanes(own, simd::convert<std::int64_t>(last.mask));
  }
}

/// Planes c .. end - 1, NCHW: lanes are positions, which share what belongs to their plane.
template <bool adds, class G, class X, class DX>
POOLHEAD_INLINE void spread_long_planes(const G& gradient, const X& x, DX dx, Index n, Index c, Index end) {
  using A = typename G::Accumulator;
  using Lanes = ChannelLanes<A, typename G::PositionLane>;
  constexpr int N = simd::lanes<A>;
  const Index size = x.positions();
  const auto last = last_lanes<A>(size);
  const auto* plane = x.sample(n) + c * size;
  dx = dx + (n * x.channels() + c) * size;
  for (; c < end; c += N) {
    const auto count = static_cast<int>(std::min<Index>(N, end - c));
    const auto shared = gradient.prepare(Lanes{count}, n, c);
    auto sums = typename G::Sums();
    for (int i = 0; i < count; ++i, plane += size, dx += size) {
      const auto own = lane_of(shared, i);
      auto of_plane = typename G::Sums();
      spread_plane<adds>(gradient, plane, dx, size, last, own, of_plane);
      sums.put_total(i, of_plane);
    }
    gradient.collect(Lanes{count}, sums, n, c);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
