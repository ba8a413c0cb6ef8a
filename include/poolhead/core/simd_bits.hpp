// Elements as their bits, a register full of them, and 16-bit elements two vectors at a time.
#pragma once

#include "poolhead/core/simd_memory.hpp"

namespace poolhead::inline POOLHEAD_ISA::simd {

/// The 2 N elements of 16 bits from p on as two vectors: of bfloat16 every other one, which takes no more than
/// a shift and a mask, of half in order.
template <class A, class T>
POOLHEAD_INLINE void load_pair(const T* p, Vec<A, lanes<A>>& a, Vec<A, lanes<A>>& b) {
  constexpr int N = lanes<A>;
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) {
    Vec<std::int32_t, N> words;
    std::memcpy(&words.raw, p, sizeof words.raw);
    a = bit_cast<float>(words << 16);
    b = bit_cast<float>(words & splat<std::int32_t, N>(-0x10000));
  } else {
    a = load<A>(p);
    b = load<A>(p + N);
  }
}
/// Which of the 2 N elements stand in the first of the two vectors, or in the second.
template <class A, class T, bool second>
POOLHEAD_INLINE Mask<A, lanes<A>> places_in_pair() {
  using I = IntOf<A>;
  constexpr int N = lanes<A>;
  if constexpr (std::is_same_v<T, Eigen::bfloat16>)
    return iota<I, N>(second ? 1 : 0) + iota<I, N>(0);
  else
    return iota<I, N>(second ? N : 0);
}

/// The bits of as many T as a register holds.
template <class T>
using BitsOf = Vec<IntOf<T>, lanes<IntOf<T>>>;

template <class T>
POOLHEAD_INLINE BitsOf<T> splat_bits(T value) {
  return splat<IntOf<T>, lanes<IntOf<T>>>(Eigen::numext::bit_cast<IntOf<T>>(value));
}
template <class T>
POOLHEAD_INLINE BitsOf<T> load_bits(const T* p) {
  BitsOf<T> out;
  std::memcpy(&out.raw, p, sizeof out.raw);
  return out;
}
/// The first count, and 0 behind them.
template <class T>
POOLHEAD_INLINE BitsOf<T> load_first_bits(const T* p, int count) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(T) == 2)
    return {(typename BitsOf<T>::Raw)_mm512_maskz_loadu_epi16(~std::uint32_t{} >> (32 - count), p)};
#endif
  auto out = zero<BitsOf<T>>();
  std::memcpy(&out.raw, p, static_cast<std::size_t>(count) * sizeof(T));
  return out;
}
/// Elements of 16 bits as integers in the same order, those of -0 and 0 the same; and such integers as
/// elements.
template <class T>
POOLHEAD_INLINE BitsOf<T> ordered_bits(const BitsOf<T>& bits) {
  static_assert(sizeof(T) == 2);
  using Unsigned = std::uint16_t;  // which may wrap around where nothing comes of it
  const auto turned = splat<Unsigned, lanes<Unsigned>>(0x8000) - bit_cast<Unsigned>(bits);
  return select(bits < zero<BitsOf<T>>(), bit_cast<IntOf<T>>(turned), bits);
}
/// The smaller ones.
template <int N>
POOLHEAD_INLINE Vec<std::int16_t, N> smaller(const Vec<std::int16_t, N>& a, const Vec<std::int16_t, N>& b) {
#if defined(__AVX512BW__)  // which GCC 12 does not find
  if constexpr (N == 32)
    return {(typename Vec<std::int16_t, N>::Raw)_mm512_min_epi16((__m512i)a.raw, (__m512i)b.raw)};
#endif
  return select(b < a, b, a);
}
template <class T, class I, int N>
POOLHEAD_INLINE void store_bits(T* p, const Vec<I, N>& bits) {
  static_assert(sizeof(T) == sizeof(I));
  if constexpr (Vec<I, N>::split) {
    store_bits(p, bits.lo);
    store_bits(p + N / 2, bits.hi);
  } else {
    std::memcpy(static_cast<void*>(p), &bits.raw, sizeof bits.raw);
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
