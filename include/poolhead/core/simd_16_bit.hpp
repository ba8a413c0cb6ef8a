// 16-bit elements of the vector layer: widened to floats, and rounded to nearest even from them.
#pragma once

#include "poolhead/core/simd_functions.hpp"

#include <cstring>

namespace poolhead::inline POOLHEAD_ISA::simd::detail {

template <class T>
inline constexpr bool is_16_bit = sizeof(T) == 2;

/// 16-bit elements as their bits.
template <int N>
struct Bits16 {
  typedef std::uint16_t Raw __attribute__((vector_size(2 * N)));
  Raw raw;
};

template <class T, int N>
POOLHEAD_INLINE Vec<float, N> widen(const Bits16<N>& bits) {
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) {
    // GCC 12 takes __builtin_convertvector apart into halves here, too.
#if defined(__AVX512F__)
    if constexpr (N == 16)
      return {(typename Vec<float, N>::Raw)(
          (typename Vec<std::int32_t, N>::Raw)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)bits.raw) << 16)};
#endif
#if defined(__AVX2__)
    if constexpr (N == 8)
      return {(typename Vec<float, N>::Raw)_mm256_slli_epi32(_mm256_cvtepu16_epi32((__m128i)bits.raw), 16)};
#endif
    typedef std::uint32_t Raw32 __attribute__((vector_size(4 * N)));
    return {(typename Vec<float, N>::Raw)(__builtin_convertvector(bits.raw, Raw32) << 16)};
  } else {
#if defined(__AVX512F__)
    // The zero-masked forms: GCC 12 calls the plain ones' undefined pass-through operand uninitialized.
    if constexpr (N == 16) return {_mm512_maskz_cvtph_ps(0xffff, (__m256i)bits.raw)};
#endif
#if defined(__F16C__)
    if constexpr (N == 8) return {_mm256_cvtph_ps((__m128i)bits.raw)};
#endif
    Vec<float, N> out;
    for (int i = 0; i < N; ++i) {
      out.raw[i] = static_cast<float>(Eigen::numext::bit_cast<Eigen::half>(std::uint16_t{bits.raw[i]}));
    }
    return out;
  }
}

template <class T, int N>
POOLHEAD_INLINE Bits16<N> narrow(const Vec<float, N>& a) {
  if constexpr (std::is_same_v<T, Eigen::bfloat16>) {
#if defined(__AVX512BF16__) && defined(__AVX512DQ__)
    // The instruction takes denormal numbers for 0.
    if constexpr (N == 16) {
      constexpr int denormal = 0x20;
      if (_mm512_fpclass_ps_mask(a.raw, denormal) == 0) [[likely]] {
        const auto rounded = _mm512_cvtneps_pbh(a.raw);
        Bits16<N> out;
        std::memcpy(&out, &rounded, sizeof out);
        return out;
      }
    }
#endif
    // A NaN is cut off: what has been computed with has the first bit of its payload set.
#if defined(__AVX512F__) && defined(__AVX512BW__)
    if constexpr (N == 16) {
      using Lanes = typename Vec<std::int32_t, N>::Raw;
      const auto ints = [](std::int32_t value) { return (__m512i)(Lanes{} + value); };
      const auto bits = (__m512i)a.raw;
      const auto half =
          _mm512_mask_blend_epi32(_mm512_test_epi32_mask(bits, ints(0x10000)), ints(0x7fff), ints(0x8000));
      const auto is_number = _mm512_cmp_ps_mask(a.raw, a.raw, _CMP_ORD_Q);
      const auto rounded = _mm512_mask_add_epi32(bits, is_number, bits, half);
      const auto upper = iota<std::int16_t, 2 * N>(0) + iota<std::int16_t, 2 * N>(1);
      const auto picked = _mm512_maskz_permutexvar_epi16(~__mmask32{}, (__m512i)upper.raw, rounded);
      Bits16<N> out;
      std::memcpy(&out, &picked, sizeof out);
      return out;
    }
#endif
    typedef std::uint32_t Raw32 __attribute__((vector_size(4 * N)));
    const Raw32 bits = (Raw32)a.raw;
    const Raw32 half = ((bits >> 16) & 1u) + 0x7fffu;
    const Raw32 rounded = bits + (half & (Raw32)(a.raw == a.raw));
#if defined(__AVX2__)
    if constexpr (N == 8) {
      const __m256i upper = _mm256_set1_epi64x(0x0f0e0b0a07060302);
      const __m256i packed = _mm256_shuffle_epi8((__m256i)rounded, upper);
      return {(typename Bits16<N>::Raw)_mm256_castsi256_si128(_mm256_permute4x64_epi64(packed, 0b1000))};
    }
#endif
    return {__builtin_convertvector(rounded >> 16, typename Bits16<N>::Raw)};
  } else {
#if defined(__AVX512F__)
    if constexpr (N == 16) {
      return {(typename Bits16<N>::Raw)_mm512_maskz_cvtps_ph(0xffff, a.raw,
                                                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
    }
#endif
#if defined(__F16C__)
    if constexpr (N == 8) {
      return {(typename Bits16<N>::Raw)_mm256_cvtps_ph(a.raw, _MM_FROUND_TO_NEAREST_INT)};
    }
#endif
    Bits16<N> out;
    for (int i = 0; i < N; ++i) {
      out.raw[i] = Eigen::numext::bit_cast<std::uint16_t>(static_cast<Eigen::half>(a.raw[i]));
    }
    return out;
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd::detail
