// Loads and stores of the vector layer. A is the accumulator of T: 16-bit types widen on load and round to
// nearest even on store. Pointers need no alignment.
#pragma once

#include "poolhead/core/simd_16_bit.hpp"

#include <algorithm>
#include <cstring>

namespace poolhead::inline POOLHEAD_ISA::simd {

namespace detail {

/// Copies count elements, count < N, in pieces whose sizes are powers of two: inline, unlike memcpy.
template <int N, class T>
POOLHEAD_INLINE void copy_few(void* to, const void* from, int count) {
  auto* out = static_cast<unsigned char*>(to);
  const auto* in = static_cast<const unsigned char*>(from);
  const auto piece = [&](auto elements) __attribute__((always_inline)) {
    if ((count & elements) == 0) return;
    constexpr std::size_t bytes = elements * sizeof(T);
    std::memcpy(out, in, bytes);
    out += bytes;
    in += bytes;
  };
  if constexpr (N > 8) piece(std::integral_constant<int, 8>{});
  if constexpr (N > 4) piece(std::integral_constant<int, 4>{});
  if constexpr (N > 2) piece(std::integral_constant<int, 2>{});
  piece(std::integral_constant<int, 1>{});
}

/// The first count (0 .. 7) of eight numbers of 16 bits, in general registers: what goes through memory in
/// pieces cannot be read back as a whole before it has arrived there.
template <class Raw, class T>
POOLHEAD_INLINE void load_few_of_8(Raw* out, const T* p, int count) {
  const auto bits = [&](auto word, int first) __attribute__((always_inline)) {
    std::memcpy(&word, static_cast<const void*>(p + first), sizeof word);
    return static_cast<std::uint64_t>(word);
  };
  typedef std::uint64_t Words __attribute__((vector_size(16)));
  Words words{};
  if (count >= 4) {
    // The last four, less what the first four have.
    words[0] = bits(std::uint64_t{}, 0);
    if (count > 4) words[1] = bits(std::uint64_t{}, count - 4) >> (16 * (8 - count));
  } else if (count > 0) {
    words[0] = bits(std::uint16_t{}, 0);
    if (count > 1) words[0] |= bits(std::uint16_t{}, 1) << 16;
    if (count > 2) words[0] |= bits(std::uint16_t{}, 2) << 32;
  }
  *out = (Raw)words;
}

#if defined(__AVX__)
/// Its 8 (4) numbers from 8 - count (4 - count) on are -1 in the first count lanes, 0 in the others.
inline constexpr std::int32_t first_of_8[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
inline constexpr std::int64_t first_of_4[8] = {-1, -1, -1, -1};
#endif

/// The first count (0 .. N) elements at p, the other lanes 0; nothing beyond them is touched.
template <class Raw, class T>
POOLHEAD_INLINE Raw load_first_raw(const T* p, int count) {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) == 2)
    return (Raw)_mm256_maskz_loadu_epi16(static_cast<__mmask16>((1u << count) - 1), p);
  else if constexpr (sizeof(T) == 4 && sizeof(Raw) == 32)
    return (Raw)_mm256_maskz_loadu_ps(static_cast<__mmask8>((1u << count) - 1), p);
  else if constexpr (sizeof(T) == 4)
    return (Raw)_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1), p);
  else
    return (Raw)_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << count) - 1), p);
#else
#if defined(__AVX__)
  if constexpr (sizeof(Raw) == 32 && sizeof(T) == 4) {
    const auto lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first_of_8 + 8 - count));
    return (Raw)_mm256_maskload_ps(reinterpret_cast<const float*>(p), lanes);
  } else if constexpr (sizeof(Raw) == 32 && sizeof(T) == 8) {
    const auto lanes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(first_of_4 + 4 - count));
    return (Raw)_mm256_maskload_pd(reinterpret_cast<const double*>(p), lanes);
  }
#endif
  constexpr int N = sizeof(Raw) / sizeof(T);
  Raw out{};
  if (count == N)
    std::memcpy(&out, p, sizeof out);
  else if constexpr (sizeof(T) == 2 && N == 8)
    load_few_of_8(&out, p, count);
  else
    copy_few<N, T>(&out, p, count);
  return out;
#endif
}

template <class Raw, class T>
POOLHEAD_INLINE void store_first_raw(T* p, const Raw& raw, int count) {
#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__) && defined(__AVX512VL__)
  if constexpr (sizeof(T) == 2)
    _mm256_mask_storeu_epi16(p, static_cast<__mmask16>((1u << count) - 1), (__m256i)raw);
  else if constexpr (sizeof(T) == 4 && sizeof(Raw) == 32)
    _mm256_mask_storeu_ps(p, static_cast<__mmask8>((1u << count) - 1), (__m256)raw);
  else if constexpr (sizeof(T) == 4)
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << count) - 1), (__m512)raw);
  else
    _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1u << count) - 1), (__m512d)raw);
#else
  // Masked stores of AVX take dozens of steps on some machines.
  constexpr int N = sizeof(Raw) / sizeof(T);
  if (count == N)
    std::memcpy(static_cast<void*>(p), &raw, sizeof raw);
  else
    copy_few<N, T>(p, &raw, count);
#endif
}

}  // namespace detail

template <class A, class T>
POOLHEAD_INLINE Vec<A, lanes<A>> load(const T* p) {
  constexpr int N = lanes<A>;
  if constexpr (detail::is_16_bit<T>) {
    detail::Bits16<N> bits;
    std::memcpy(&bits.raw, p, sizeof bits.raw);
    return detail::widen<T>(bits);
  } else {
    Vec<A, N> out;
    std::memcpy(&out.raw, p, sizeof out.raw);
    return out;
  }
}

/// What store<T> leaves of a.
template <class T, class A, int N>
POOLHEAD_INLINE Vec<A, N> rounded(const Vec<A, N>& a) {
  if constexpr (detail::is_16_bit<T>)
    return detail::widen<T>(detail::narrow<T>(a));
  else
    return a;
}

/// a, in a register: GCC would rather load again what is used several times than keep it, and the ports that
/// loads go through are soon full.
template <class T, int N>
POOLHEAD_INLINE Vec<T, N> in_register(Vec<T, N> a) {
  if constexpr (Vec<T, N>::split) {
    a.lo = in_register(a.lo);
    a.hi = in_register(a.hi);
  } else {
#if defined(__AVX__)
    asm("" : "+v"(a.raw));
#endif
  }
  return a;
}

/// The first count (0 .. N) elements at p; the other lanes are 0.
template <class A, class T>
POOLHEAD_INLINE Vec<A, lanes<A>> load_first(const T* p, int count) {
  constexpr int N = lanes<A>;
  if constexpr (detail::is_16_bit<T>) {
    using Bits = detail::Bits16<N>;
    return detail::widen<T>(Bits{detail::load_first_raw<typename Bits::Raw>(p, count)});
  } else {
    return {detail::load_first_raw<typename Vec<A, N>::Raw>(p, count)};
  }
}

/// The first `count` (1 .. N) lanes of a vector of A, for loads in a loop.
template <class A>
struct FirstLanes {
  int count;
  Mask<A, lanes<A>> mask =
      iota<IntOf<A>, lanes<A>>(0) < splat<IntOf<A>, lanes<A>>(static_cast<IntOf<A>>(count));
};
template <class A, class T>
POOLHEAD_INLINE Vec<A, lanes<A>> load_first(const T* p, const FirstLanes<A>& first) {
#if defined(__AVX__)
  if constexpr (register_bytes == 32 && std::is_same_v<T, float>)
    return {(typename Vec<A, lanes<A>>::Raw)_mm256_maskload_ps(p, (__m256i)first.mask.raw)};
  else if constexpr (register_bytes == 32 && std::is_same_v<T, double>)
    return {(typename Vec<A, lanes<A>>::Raw)_mm256_maskload_pd(p, (__m256i)first.mask.raw)};
#endif
  return load_first<A>(p, first.count);
}

/// Lanes first .. last - 1 of a vector at p, and 0 in the others, whose memory is not touched.
POOLHEAD_INLINE Vec<float, lanes<float>> load_between(const float* p, int first, int last) {
#if defined(__AVX512F__)
  return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1U << last) - (1U << first)), p)};
#else
  auto out = zero<Vec<float, lanes<float>>>();
  for (int i = first; i < last; ++i) out.raw[i] = p[i];
  return out;
#endif
}

template <class T, class A, int N>
POOLHEAD_INLINE void store(T* p, const Vec<A, N>& a) {
  if constexpr (detail::is_16_bit<T>) {
    const auto bits = detail::narrow<T>(a);
    std::memcpy(static_cast<void*>(p), &bits.raw, sizeof bits.raw);
  } else {
    std::memcpy(static_cast<void*>(p), &a.raw, sizeof a.raw);
  }
}

/// Writes the first count (1 .. N) lanes and nothing else.
template <class T, class A, int N>
POOLHEAD_INLINE void store_first(T* p, const Vec<A, N>& a, int count) {
  if constexpr (detail::is_16_bit<T>)
    detail::store_first_raw(p, detail::narrow<T>(a).raw, count);
  else if constexpr (Vec<A, N>::split) {
    store_first(p, a.lo, std::min(count, N / 2));
    if (count > N / 2) store_first(p + N / 2, a.hi, count - N / 2);
  } else
    detail::store_first_raw(p, a.raw, count);
}

/// N plain numbers at p, as lanes of their own type over as many registers as that takes.
template <int N, class T>
POOLHEAD_INLINE Vec<T, N> load_array(const T* p) {
  if constexpr (Vec<T, N>::split) {
    return {load_array<N / 2>(p), load_array<N / 2>(p + N / 2)};
  } else {
    Vec<T, N> out;
    std::memcpy(&out.raw, p, sizeof out.raw);
    return out;
  }
}

/// The first count (0 .. N) of plain numbers at p, as lanes of their own type over as many registers as that
/// takes; the other lanes are 0.
template <int N, class T>
POOLHEAD_INLINE Vec<T, N> load_array(const T* p, int count) {
  if constexpr (Vec<T, N>::split)
    return {load_array<N / 2>(p, std::min(count, N / 2)),
            count > N / 2 ? load_array<N / 2>(p + N / 2, count - N / 2) : zero<Vec<T, N / 2>>()};
  else
    return {detail::load_first_raw<typename Vec<T, N>::Raw>(p, count)};
}

/// The lanes whose byte among the first count (0 .. N) at p is not 0.
template <class A>
POOLHEAD_INLINE Mask<A, lanes<A>> load_mask(const unsigned char* p, int count) {
  constexpr int N = lanes<A>;
  typedef unsigned char Bytes __attribute__((vector_size(N)));
  Bytes bytes{};
  std::memcpy(&bytes, p, static_cast<std::size_t>(count));
  using Raw = typename Mask<A, N>::Raw;
  return {(Raw)(__builtin_convertvector(bytes, Raw) != Raw{})};
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
