// What the vector layer has instructions for, lane by lane: extremes, roots, multiply-adds, lookups, and what a
// mask says.
#pragma once

#include "poolhead/core/simd.hpp"

#include <cmath>

namespace poolhead::inline POOLHEAD_ISA::simd {

/// The sign bits, and nothing else.
template <class T, int N>
POOLHEAD_INLINE Mask<T, N> sign_bits(const Vec<T, N>& a) {
  return bit_cast<IntOf<T>>(a) & splat<IntOf<T>, N>(std::numeric_limits<IntOf<T>>::min());
}
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> abs(const Vec<T, N>& a) {
  return bit_cast<T>(bit_cast<IntOf<T>>(a) & splat<IntOf<T>, N>(std::numeric_limits<IntOf<T>>::max()));
}

/// b where it is greater, else a: a NaN in b is passed over, a NaN in a stays.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> max(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    return {max(a.lo, b.lo), max(a.hi, b.hi)};
  } else {
    // The compilers do not find these by themselves.
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, float>) return {_mm512_maskz_max_ps(0xffff, b.raw, a.raw)};
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_maskz_max_pd(0xff, b.raw, a.raw)};
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && std::is_same_v<T, float>) return {_mm256_max_ps(b.raw, a.raw)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_max_pd(b.raw, a.raw)};
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && std::is_same_v<T, float>) return {_mm_max_ps(b.raw, a.raw)};
    if constexpr (bytes == 16 && std::is_same_v<T, double>) return {_mm_max_pd(b.raw, a.raw)};
#endif
    return select(b > a, b, a);
  }
}

/// a where it is less, else b: a NaN in a gives b.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> min(const Vec<T, N>& a, const Vec<T, N>& b) {
  return select(a < b, a, b);
}

/// How many numbers a table has that is looked up in one instruction; 1 where the machine has none.
#if defined(__AVX2__)
inline constexpr int lookup_size = register_bytes == 64 ? 32 : 8;
#else
inline constexpr int lookup_size = 1;
#endif
inline constexpr bool has_lookup = lookup_size > 1;

/// table[index % size] for each lane; of 8 numbers, or of lookup_size, in one instruction where the machine
/// has_lookup.
template <int N, int size>
POOLHEAD_INLINE Vec<float, N> lookup(const float (&table)[size], const Vec<std::int32_t, N>& index) {
#if defined(__AVX512F__)
  if constexpr (N == 16 && size == 32)
    return {_mm512_permutex2var_ps(_mm512_loadu_ps(table), (__m512i)index.raw, _mm512_loadu_ps(table + 16))};
  if constexpr (N == 16 && size == 8)
    return {_mm512_permutexvar_ps((__m512i)index.raw, _mm512_broadcast_f32x8(_mm256_loadu_ps(table)))};
#endif
#if defined(__AVX2__)
  if constexpr (N == 8 && size == 8)
    return {_mm256_permutevar8x32_ps(_mm256_loadu_ps(table), (__m256i)index.raw)};
#endif
  Vec<float, N> out;
  for (int i = 0; i < N; ++i) out.raw[i] = table[index.raw[i] & (size - 1)];
  return out;
}

template <class T, int N>
POOLHEAD_INLINE Vec<T, N> sqrt(const Vec<T, N>& a) {
  if constexpr (Vec<T, N>::split) {
    return {sqrt(a.lo), sqrt(a.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_maskz_sqrt_pd(0xff, a.raw)};
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_sqrt_pd(a.raw)};
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && std::is_same_v<T, double>) return {_mm_sqrt_pd(a.raw)};
#endif
    Vec<T, N> out;
    for (int i = 0; i < N; ++i) out.raw[i] = std::sqrt(a.raw[i]);
    return out;
  }
}

#if defined(__FMA__)
inline constexpr bool rounds_once = true;
#else
inline constexpr bool rounds_once = false;
#endif

/// a b + c, rounded once where the machine can.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> multiply_add(const Vec<T, N>& a, const Vec<T, N>& b, const Vec<T, N>& c) {
  if constexpr (Vec<T, N>::split) {
    return {multiply_add(a.lo, b.lo, c.lo), multiply_add(a.hi, b.hi, c.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
#if defined(__AVX512F__)
    if constexpr (bytes == 64 && std::is_same_v<T, float>) return {_mm512_fmadd_ps(a.raw, b.raw, c.raw)};
    if constexpr (bytes == 64 && std::is_same_v<T, double>) return {_mm512_fmadd_pd(a.raw, b.raw, c.raw)};
#endif
#if defined(__FMA__)
    if constexpr (bytes == 32 && std::is_same_v<T, float>) return {_mm256_fmadd_ps(a.raw, b.raw, c.raw)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>) return {_mm256_fmadd_pd(a.raw, b.raw, c.raw)};
#endif
    return a * b + c;
  }
}

/// The lanes of which either is NaN.
template <class T, int N>
POOLHEAD_INLINE Mask<T, N> unordered(const Vec<T, N>& a, const Vec<T, N>& b) {
  if constexpr (Vec<T, N>::split) {
    return {unordered(a.lo, b.lo), unordered(a.hi, b.hi)};
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = N * sizeof(T);
    using Raw [[maybe_unused]] = typename Mask<T, N>::Raw;
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (bytes == 64 && std::is_same_v<T, float>)
      return {(Raw)_mm512_movm_epi32(_mm512_cmp_ps_mask(a.raw, b.raw, _CMP_UNORD_Q))};
    if constexpr (bytes == 64 && std::is_same_v<T, double>)
      return {(Raw)_mm512_movm_epi64(_mm512_cmp_pd_mask(a.raw, b.raw, _CMP_UNORD_Q))};
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && std::is_same_v<T, float>)
      return {(Raw)_mm256_cmp_ps(a.raw, b.raw, _CMP_UNORD_Q)};
    if constexpr (bytes == 32 && std::is_same_v<T, double>)
      return {(Raw)_mm256_cmp_pd(a.raw, b.raw, _CMP_UNORD_Q)};
#endif
    return (a != a) | (b != b);
  }
}

namespace detail {
/// bits() of a register of 16-bit lanes.
template <class Raw>
POOLHEAD_INLINE unsigned bits_of_16(const Raw& mask) {
#if defined(__AVX512BW__)
  if constexpr (sizeof(mask) == 64) return _mm512_movepi16_mask((__m512i)mask);
#endif
#if defined(__AVX2__)
  if constexpr (sizeof(mask) == 32) {
    const auto bytes = _mm256_packs_epi16((__m256i)mask, (__m256i)mask);
    return static_cast<unsigned>(
        _mm_movemask_epi8(_mm256_castsi256_si128(_mm256_permute4x64_epi64(bytes, 0b1000))));
  }
#endif
#if defined(__SSE2__)
  if constexpr (sizeof(mask) == 16)
    return static_cast<unsigned>(_mm_movemask_epi8(_mm_packs_epi16((__m128i)mask, __m128i{})));
#endif
  unsigned result = 0;
  for (std::size_t i = 0; i < sizeof(mask) / 2; ++i) result |= (mask[i] != 0 ? 1u : 0u) << i;
  return result;
}
}  // namespace detail

/// Bit i is whether lane i of a mask is set.
template <class I, int N>
POOLHEAD_INLINE unsigned bits(const Vec<I, N>& mask) {
  if constexpr (Vec<I, N>::split) {
    return bits(mask.lo) | bits(mask.hi) << (N / 2);
  } else {
    [[maybe_unused]] constexpr std::size_t bytes = sizeof(mask.raw);
    [[maybe_unused]] constexpr bool wide = sizeof(I) == 8;
    if constexpr (sizeof(I) == 2) return detail::bits_of_16(mask.raw);
#if defined(__AVX512F__) && defined(__AVX512DQ__)
    if constexpr (bytes == 64 && wide) return _mm512_movepi64_mask((__m512i)mask.raw);
    if constexpr (bytes == 64) return _mm512_movepi32_mask((__m512i)mask.raw);
#endif
#if defined(__AVX__)
    if constexpr (bytes == 32 && wide)
      return static_cast<unsigned>(_mm256_movemask_pd((__m256d)mask.raw));
    else if constexpr (bytes == 32)
      return static_cast<unsigned>(_mm256_movemask_ps((__m256)mask.raw));
#endif
#if defined(__SSE2__)
    if constexpr (bytes == 16 && wide)
      return static_cast<unsigned>(_mm_movemask_pd((__m128d)mask.raw));
    else if constexpr (bytes == 16)
      return static_cast<unsigned>(_mm_movemask_ps((__m128)mask.raw));
#endif
    unsigned result = 0;
    for (int i = 0; i < N; ++i) result |= (mask.raw[i] != 0 ? 1u : 0u) << i;
    return result;
  }
}

/// Whether every lane of a mask is set.
template <class I, int N>
POOLHEAD_INLINE bool all(const Vec<I, N>& mask) {
  if constexpr (Vec<I, N>::split)
    return all(mask.lo & mask.hi);
  else
    return bits(mask) == (N == 32 ? ~0u : (1u << N % 32) - 1);
}

/// Whether the first count (1 .. N) lanes of a mask are set.
template <class I, int N>
POOLHEAD_INLINE bool all(const Vec<I, N>& mask, int count) {
  return (~bits(mask) & ((2u << (count - 1)) - 1)) == 0;
}

/// Whether any lane of a mask is set.
template <class I, int N>
POOLHEAD_INLINE bool any(const Vec<I, N>& mask) {
  return bits(mask) != 0;
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
