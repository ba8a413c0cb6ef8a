// Where the maxima of planes of NCHW stand, once they are known: the planes are in the cache.
#pragma once

#include "poolhead/core/reduce.hpp"

#include <bit>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Where the first of something stands.
template <class I, int N>
struct MaxPlace {
  simd::Vec<I, N> at;

  template <class F>
  POOLHEAD_INLINE static MaxPlace zip(const F& f, const MaxPlace& a, const MaxPlace& b) {
    return {f(a.at, b.at)};
  }
  POOLHEAD_INLINE static MaxPlace earlier(const MaxPlace& a, const MaxPlace& b) {
    return {simd::select(b.at < a.at, b.at, a.at)};
  }
};

/// Of N planes of not many vectors each: the first position of plane i that holds value i. It is there, for all
/// i < count.
template <class A, class T>
POOLHEAD_INLINE void find_short_places(const T* planes, Index positions, int count,
                                       const simd::FirstLanes<A>& last, const A* values,
                                       MaxPlace<simd::IntOf<A>, simd::lanes<A>>* places) {
  using I = simd::IntOf<A>;
  constexpr int N = simd::lanes<A>;
  for (int i = 0; i < N; ++i) {
    MaxPlace<I, N> place{simd::splat<I, N>(std::numeric_limits<I>::max())};
    const T* const plane = planes + std::min(i, count - 1) * positions;
    const auto value = simd::splat<A, N>(values[i]);
    // From behind, so that the first remains. What stands beyond the plane stands behind what is looked for.
    const auto look_at = [&](const auto& x, const auto& at) __attribute__((always_inline)) {
      place.at = simd::select(x == value, at, place.at);
    };
    Index s = (positions - 1) / N * N;
    auto at = simd::iota<I, N>(static_cast<I>(s));
    look_at(simd::load_first<A>(plane + s, last), at);
    const auto step_back = [&](auto vectors) __attribute__((always_inline)) {
      s -= vectors * N;
      at = at - simd::splat<I, N>(static_cast<I>(vectors * N));
      unroll<vectors>([&](auto k) __attribute__((always_inline)) {
        constexpr int v = vectors - 1 - k;
        look_at(simd::load<A>(plane + s + v * N), at + simd::splat<I, N>(static_cast<I>(v * N)));
      });
    };
    while (s >= 4 * N) step_back(std::integral_constant<int, 4>{});
    while (s > 0) step_back(std::integral_constant<int, 1>{});
    places[i] = place;
  }
}

/// The first position of a long plane that holds value. It is there.
template <class A, class T>
POOLHEAD_INLINE Index long_position(const T* plane, Index positions, A value) {
  constexpr int N = simd::lanes<A>;
  constexpr int together = std::min(64 / N, most_short_vectors);
  const auto wanted = simd::splat<A, N>(value);
  for (Index s = 0;; s = std::min(s + together * N, positions - together * N)) {
    std::uint64_t found = 0;  // a bit for each position
    unroll<together>([&](auto k) __attribute__((always_inline)) {
      found |= std::uint64_t{simd::bits(simd::load<A>(plane + s + k * N) == wanted)} << (k * N);
    });
    if (found != 0) return s + std::countr_zero(found);
  }
}

/// The first position that holds value, of a plane of 16-bit elements of at least a vector of them; of `number`
/// vectors, up to 64 positions, where that is not 0. It is there.
template <int number, class T>
POOLHEAD_INLINE Index narrow_position(const T* plane, Index positions, T value) {
  using Bit = simd::IntOf<T>;
  constexpr int L = simd::lanes<Bit>;
  const auto bits = Eigen::numext::bit_cast<Bit>(value);
  constexpr auto all_but_sign = std::numeric_limits<Bit>::max();
  // +0 is as good as -0.
  const auto mask = simd::splat<Bit, L>((bits & all_but_sign) == 0 ? all_but_sign : Bit{-1});
  const auto wanted = simd::splat<Bit, L>(bits) & mask;
  const auto found = [&](Index s) __attribute__((always_inline)) {
    return std::uint64_t{simd::bits((simd::load_bits(plane + s) & mask) == wanted)};
  };
  const Index last = positions - L;  // reaches back
  if constexpr (number > 0) {        // a bit for each position
    std::uint64_t all = found(last) << last;
    unroll<number - 1>([&](auto v) __attribute__((always_inline)) { all |= found(v * L) << (v * L); });
    return std::countr_zero(all);
  } else {
    for (Index s = 0; s < last; s += L)
      if (const auto some = found(s); some != 0) return s + std::countr_zero(some);
    return last + std::countr_zero(found(last));
  }
}

/// Of count <= N planes, the first position of plane i that holds value i. It is there.
template <class T, class A, int N>
POOLHEAD_INLINE simd::Vec<Index, N> find_places(const T* planes, Index positions, int count,
                                                const simd::Vec<A, N>& value) {
  const Index vectors = (positions + N - 1) / N;
  Index each[N]{};
  if constexpr (sizeof(T) == 2) {
    constexpr Index L = simd::lanes<simd::IntOf<T>>;
    if (positions >= L) {
      T values[N];
      simd::store(values, value);
      const auto find = [&](auto number) __attribute__((always_inline)) {
        for (int i = 0; i < count; ++i)
          each[i] = narrow_position<number>(planes + i * positions, positions, values[i]);
      };
      if (positions <= 64)
        with_number<64 / L>(static_cast<int>((positions + L - 1) / L), find);
      else
        find(std::integral_constant<int, 0>{});
      return simd::load_array<N>(each, N);
    }
  }
  A values[N];
  simd::store(values, value);
  if (vectors <= 128) {
    MaxPlace<simd::IntOf<A>, N> found[N];
    find_short_places<A>(planes, positions, count, last_lanes<A>(positions), values, found);
    const auto earlier = [](const auto& a, const auto& b) __attribute__((always_inline)) {
      return MaxPlace<simd::IntOf<A>, N>::earlier(a, b);
    };
    return simd::convert<Index>(merge_lanes<N / 2>(found, earlier).at);
  }
  for (int i = 0; i < count; ++i) each[i] = long_position(planes + i * positions, positions, values[i]);
  return simd::load_array<N>(each, N);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
