// Sums that lose nothing that a mean could show.
#pragma once

#include "poolhead/core/simd.hpp"

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

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
