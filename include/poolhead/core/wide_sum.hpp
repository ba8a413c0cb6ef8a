// Sums that lose nothing that a mean could show.
#pragma once

#include "poolhead/core/simd_functions.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The sum of what stems from float data, in double.
template <class A, int N>
struct WideSum {
  using Wide = simd::Vec<double, N>;
  Wide sum;

  POOLHEAD_INLINE static WideSum zero() { return {simd::zero<Wide>()}; }
  template <class F>
  static WideSum zip(const F& f, const WideSum& a, const WideSum& b) {
    return {f(a.sum, b.sum)};
  }
  POOLHEAD_INLINE void add(const Wide& x) { sum = sum + x; }
  POOLHEAD_INLINE void add(const WideSum& other) { sum = sum + other.sum; }
  POOLHEAD_INLINE void scale(const Wide& factor) { sum = sum * factor; }
  POOLHEAD_INLINE Wide value() const { return sum; }
};

/// The sum of what stems from double data, with the rounding error of every addition carried along (Knuth's
/// TwoSum).
template <int N>
struct WideSum<double, N> {
  using Wide = simd::Vec<double, N>;
  Wide sum, error;

  POOLHEAD_INLINE static WideSum zero() { return {simd::zero<Wide>(), simd::zero<Wide>()}; }
  template <class F>
  static WideSum zip(const F& f, const WideSum& a, const WideSum& b) {
    return {f(a.sum, b.sum), f(a.error, b.error)};
  }
  POOLHEAD_INLINE void add(const Wide& x) {
    const auto total = sum + x;
    const auto shadow = total - sum;
    error = error + ((sum - (total - shadow)) + (x - shadow));
    sum = total;
  }
  POOLHEAD_INLINE void add(const WideSum& other) {
    add(other.sum);
    error = error + other.error;
  }
  POOLHEAD_INLINE void scale(const Wide& factor) {
    sum = sum * factor;
    error = error * factor;
  }
  POOLHEAD_INLINE Wide value() const {
    // Infinities and NaN have no rounding error: there the error is NaN, and the sum alone is right.
    return sum + simd::select(error == error, error, simd::zero<Wide>());
  }
};

/// The sum of the floats of a short plane: up to eight in a lane, whose lanes are merged as floats until two
/// are left. What a tree of five levels loses is within 2.5 ulp of the mean magnitude (the worst of some
/// millions of planes of all kinds).
template <int N>
struct ShortSum {
  static constexpr bool widens = true;
  simd::Vec<float, N> sum;

  POOLHEAD_INLINE static ShortSum zero() { return {simd::splat<float, N>(-0.0F)}; }
  template <class F>
  POOLHEAD_INLINE static ShortSum zip(const F& f, const ShortSum& a, const ShortSum& b) {
    return {f(a.sum, b.sum)};
  }
  template <int K>
  POOLHEAD_INLINE void add(const simd::Vec<float, N> (&x)[K]) {
    if constexpr (K == 4) {
      sum = sum + ((x[0] + x[1]) + (x[2] + x[3]));
    } else if constexpr (K == 3) {
      sum = sum + ((x[0] + x[1]) + x[2]);
    } else if constexpr (K == 2) {
      sum = sum + (x[0] + x[1]);
    } else {
      sum = sum + x[0];
    }
  }
  POOLHEAD_INLINE void add(const ShortSum& other) { sum = sum + other.sum; }
  POOLHEAD_INLINE WideSum<float, N> widened() const { return {simd::convert<double>(sum)}; }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
