// Lanes that change places.
#pragma once

#include "poolhead/core/simd_functions.hpp"

namespace poolhead::inline POOLHEAD_ISA::simd {

// Merging N vectors lane by lane, so that lane i of the answer holds all lanes of vector i, takes log2 N
// rounds. In the round of step H, lower takes the lower H of every 2 H lanes of a and of b, upper the rest.
namespace detail {
template <int H, int N, bool upper>
constexpr int butterfly_lane(int lane) {
  const int group = lane / (2 * H) * (2 * H);
  const int within = lane % (2 * H);
  return (within < H ? group + within : N + group + within - H) + (upper ? H : 0);
}
template <int H, bool upper, class T, int N>
POOLHEAD_INLINE Vec<T, N> butterfly(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (!Vec<T, N>::split) {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      return Vec<T, N>{shuffle<typename Vec<T, N>::Raw, N, butterfly_lane<H, N, upper>(I)...>(a.raw, b.raw)};
    }
    (std::make_integer_sequence<int, N>{});
  } else if constexpr (H == N / 2) {
    if constexpr (upper)
      return {a.hi, b.hi};
    else
      return {a.lo, b.lo};
  } else {
    return {butterfly<H, upper>(a.lo, b.lo), butterfly<H, upper>(a.hi, b.hi)};
  }
}
}  // namespace detail
template <int H, class T, int N>
POOLHEAD_INLINE Vec<T, N> lower(const Vec<T, N>& a, const Vec<T, N>& b) {
  return detail::butterfly<H, false>(a, b);
}
template <int H, class T, int N>
POOLHEAD_INLINE Vec<T, N> upper(const Vec<T, N>& a, const Vec<T, N>& b) {
  return detail::butterfly<H, true>(a, b);
}

/// Of the lanes of a and then b the even ones, or the odd ones.
template <bool odd, class T, int N>
POOLHEAD_INLINE Vec<T, N> every_other(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    return {every_other<odd>(a.lo, a.hi), every_other<odd>(b.lo, b.hi)};
  } else {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      return Vec<T, N>{detail::shuffle<typename Vec<T, N>::Raw, N, (2 * I + (odd ? 1 : 0))...>(a.raw, b.raw)};
    }
    (std::make_integer_sequence<int, N>{});
  }
}

/// The lanes of a and of b in turns, beginning with a's first, or with the first of their upper halves.
template <bool upper, class T, int N>
POOLHEAD_INLINE Vec<T, N> interleave(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    const auto& p = upper ? a.hi : a.lo;
    const auto& q = upper ? b.hi : b.lo;
    return {interleave<false>(p, q), interleave<true>(p, q)};
  } else {
    return [&]<int... I>(std::integer_sequence<int, I...>) {
      return Vec<T, N>{
          detail::shuffle<typename Vec<T, N>::Raw, N, ((upper ? N / 2 : 0) + I / 2 + (I % 2 == 0 ? 0 : N))...>(
              a.raw, b.raw)};
    }
    (std::make_integer_sequence<int, N>{});
  }
}

/// Of P rows, a power of 2, the first lanes, then the second ones, and so on, as rows again.
template <std::size_t P, class T, int N>
POOLHEAD_INLINE void interleave_rows(Vec<T, N> (&rows)[P]) {
  if constexpr (P > 1) {
    Vec<T, N> even[P / 2], odd[P / 2];
    poolhead::detail::unroll<P / 2>([&](auto i) __attribute__((always_inline)) {
      even[i] = rows[2 * i];
      odd[i] = rows[2 * i + 1];
    });
    interleave_rows(even);
    interleave_rows(odd);
    poolhead::detail::unroll<P / 2>([&](auto i) __attribute__((always_inline)) {
      rows[2 * i] = interleave<false>(even[i], odd[i]);
      rows[2 * i + 1] = interleave<true>(even[i], odd[i]);
    });
  }
}
/// Takes apart what interleave_rows has made.
template <std::size_t P, class T, int N>
POOLHEAD_INLINE void separate_rows(Vec<T, N> (&rows)[P]) {
  if constexpr (P > 1) {
    Vec<T, N> even[P / 2], odd[P / 2];
    poolhead::detail::unroll<P / 2>([&](auto i) __attribute__((always_inline)) {
      even[i] = every_other<false>(rows[2 * i], rows[2 * i + 1]);
      odd[i] = every_other<true>(rows[2 * i], rows[2 * i + 1]);
    });
    separate_rows(even);
    separate_rows(odd);
    poolhead::detail::unroll<P / 2>([&](auto i) __attribute__((always_inline)) {
      rows[2 * i] = even[i];
      rows[2 * i + 1] = odd[i];
    });
  }
}

/// Lane i in every lane.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> splat_lane(const Vec<T, N>& a, int i) {
  T lane;
  std::memcpy(&lane, reinterpret_cast<const unsigned char*>(&a) + static_cast<std::size_t>(i) * sizeof(T),
              sizeof(T));
  return splat<T, N>(lane);
}

/// The sum of all lanes, halves first.
template <class T, int N>
POOLHEAD_INLINE T total(const Vec<T, N>& a) {
  T each[N];
  std::memcpy(each, &a, sizeof each);
  for (int half = N / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) each[i] += each[i + half];
  return each[0];
}

/// Lane i of the answer is the sum of all lanes of rows[i], i < 2 H.
template <int H, class T, int N>
POOLHEAD_INLINE Vec<T, N> totals(Vec<T, N>* rows) {
  poolhead::detail::unroll<H>([&](auto i) __attribute__((always_inline)) {
    rows[i] = lower<H>(rows[i], rows[i + H]) + upper<H>(rows[i], rows[i + H]);
  });
  if constexpr (H == 1)
    return rows[0];
  else
    return totals<H / 2>(rows);
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
