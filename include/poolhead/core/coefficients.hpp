// What a gradient keeps for each channel: coefficients, and sums for its parameters.
#pragma once

#include "poolhead/core/simd_lanes.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The sums of a gradient without parameters.
struct NoSums {
  template <class F>
  static NoSums zip(const F&, const NoSums&, const NoSums&) {
    return {};
  }
  template <class Valid>
  POOLHEAD_INLINE void add_lanes(const NoSums&, const Valid&) {}
  POOLHEAD_INLINE void put_total(int, const NoSums&) {}
};

/// M sums in double.
template <int N, int M>
struct WideSums {
  simd::Vec<double, N> of[M];

  template <class F>
  POOLHEAD_INLINE static WideSums zip(const F& f, const WideSums& a, const WideSums& b) {
    WideSums out;
    detail::unroll<M>([&](auto m) __attribute__((always_inline)) { out.of[m] = f(a.of[m], b.of[m]); });
    return out;
  }
  /// Adds other in the lanes that are valid.
  POOLHEAD_INLINE void add_lanes(const WideSums& other, const simd::Vec<std::int64_t, N>& valid) {
    detail::unroll<M>([&](auto m) __attribute__((always_inline)) {
      of[m] = of[m] + simd::select(valid, other.of[m], simd::zero<simd::Vec<double, N>>());
    });
  }
  /// Lane i becomes the sum of all lanes of other.
  POOLHEAD_INLINE void put_total(int i, const WideSums& other) {
    const auto lane = simd::iota<std::int64_t, N>(0) == simd::splat<std::int64_t, N>(i);
    detail::unroll<M>([&](auto m) __attribute__((always_inline)) {
      of[m] = simd::select(lane, simd::splat<double, N>(simd::total(other.of[m])), of[m]);
    });
  }
};

namespace detail {

/// Coefficients of channel i, in every lane: of a structure, what lane(i) gives, which may be the part that
/// most elements need, with the rest to be had by complete().
template <class T, int N>
POOLHEAD_INLINE auto lane_of(const simd::Vec<T, N>& coefficients, int i) {
  return simd::splat_lane(coefficients, i);
}
template <class C>
requires requires(const C& c) { c.lane(0); }
POOLHEAD_INLINE auto lane_of(const C& coefficients, int i) { return coefficients.lane(i); }
template <class C>
using LaneOf = decltype(lane_of(std::declval<const C&>(), 0));

/// What lane(i) may give beside the coefficients that most elements need: where all of them stand.
template <class C>
struct LaneOfAll {
  const C* all;
  int lane;

  POOLHEAD_INLINE C complete() const { return all->all_of_lane(lane); }
};

/// All coefficients.
template <class C>
POOLHEAD_INLINE auto complete(const C& coefficients) {
  if constexpr (requires { coefficients.complete(); })
    return coefficients.complete();
  else
    return coefficients;
}

/// Whether a gradient is 0 but at its peaks.
template <class G>
inline constexpr bool is_zero_elsewhere = requires {
  requires G::is_zero_elsewhere;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
