// Rows of lanes that become columns.
#pragma once

#include "poolhead/core/simd_lanes.hpp"
#include "poolhead/core/simd_memory.hpp"

namespace poolhead::inline POOLHEAD_ISA::simd {

// Turning a square of N x N lanes takes log2 N rounds, too. Shuffles within 16 bytes, and of 16 bytes as a
// whole, are the ones that every instruction set does at once.
namespace detail {
/// The lanes of one piece of 16 bytes.
template <class T, int N>
inline constexpr int piece = std::min(N, 16 / static_cast<int>(sizeof(T)));

/// Of the pieces of a and then b the even ones, or the odd ones.
template <bool odd, class T, int N>
POOLHEAD_INLINE Vec<T, N> every_other_piece(const Vec<T, N>& a, const Vec<T, N>& b) {
  constexpr int L = piece<T, N>;
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    return Vec<T, N>{
        shuffle<typename Vec<T, N>::Raw, N, ((2 * (I / L) + (odd ? 1 : 0)) * L + I % L)...>(a.raw, b.raw)};
  }
  (std::make_integer_sequence<int, N>{});
}
/// In each piece, U lanes of a and of b in turns, beginning with their first, or with the first of their upper
/// halves.
template <int U, bool upper, class T, int N>
POOLHEAD_INLINE Vec<T, N> interleave_pieces(const Vec<T, N>& a, const Vec<T, N>& b) {
  constexpr int L = piece<T, N>;
  return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
    return Vec<T, N>{shuffle<typename Vec<T, N>::Raw, N,
                             (I / L * L + (upper ? L / 2 : 0) + I % L / (2 * U) * U + I % U +
                              (I % L / U % 2 == 0 ? 0 : N))...>(a.raw, b.raw)};
  }
  (std::make_integer_sequence<int, N>{});
}
/// Turns the squares of lanes within pieces. From round to round, rows that are 2, 4, ... apart meet.
template <int U, std::size_t Rows, class T, int N>
POOLHEAD_INLINE void transpose_pieces(Vec<T, N> (&rows)[Rows]) {
  constexpr int L = piece<T, N>;
  if constexpr (U < L) {
    Vec<T, N> next[Rows];
    poolhead::detail::unroll<Rows / 2>([&](auto pair) __attribute__((always_inline)) {
      // Of the L rows, pair i goes to where the lanes it brings together belong.
      constexpr int group = pair / (L / 2) * L;
      constexpr int i = pair % (L / 2);
      constexpr int from = group + i / U * 2 * U + i % U;
      constexpr int to = group + i / U * 2 * U + i % U * 2;
      next[to] = interleave_pieces<U, false>(rows[from], rows[from + U]);
      next[to + 1] = interleave_pieces<U, true>(rows[from], rows[from + U]);
    });
    poolhead::detail::unroll<Rows>([&](auto i) __attribute__((always_inline)) { rows[i] = next[i]; });
    transpose_pieces<2 * U>(rows);
  }
}
/// Turns the square of pieces; L rows share a row of it. G: how many are left to be halved.
template <int G, class T, int N>
POOLHEAD_INLINE void transpose_of_pieces(Vec<T, N> (&rows)[N]) {
  constexpr int L = piece<T, N>;
  if constexpr (G > 1) {
    Vec<T, N> next[N];
    poolhead::detail::unroll<N / 2>([&](auto pair) __attribute__((always_inline)) {
      constexpr int from = pair / L * 2 * L + pair % L;
      next[pair] = every_other_piece<false>(rows[from], rows[from + L]);
      next[pair + N / 2] = every_other_piece<true>(rows[from], rows[from + L]);
    });
    poolhead::detail::unroll<N>([&](auto i) __attribute__((always_inline)) { rows[i] = next[i]; });
    transpose_of_pieces<G / 2>(rows);
  }
}
/// N lanes, a piece from each of the pointers row(first), row(first + L), row(first + 2 L), ...
template <class A, int N, class T, class Row>
POOLHEAD_INLINE Vec<A, N> load_pieces(const Row& row, int first) {
  constexpr int L = piece<A, lanes<A>>;
  if constexpr (is_16_bit<T>) {
    using Words = Vec<std::int64_t, N / L>;
    static_assert(L * sizeof(T) == sizeof(std::int64_t));
    const auto word = [&](int q) __attribute__((always_inline)) {
      std::int64_t result;
      std::memcpy(&result, row(q), sizeof result);
      return result;
    };
    const Words words = [&]<int... R>(std::integer_sequence<int, R...>) __attribute__((always_inline)) {
      return Words{typename Words::Raw{word(first + R * L)...}};
    }
    (std::make_integer_sequence<int, N / L>{});
    Bits16<N> bits;
    std::memcpy(&bits.raw, &words.raw, sizeof bits.raw);
    return widen<T>(bits);
  } else if constexpr (N == L) {
    Vec<A, N> out;
    std::memcpy(&out.raw, row(first), sizeof out.raw);
    return out;
  } else {
    const auto lo = load_pieces<A, N / 2, T>(row, first);
    const auto hi = load_pieces<A, N / 2, T>(row, first + N / 2);
    return [&]<int... I>(std::integer_sequence<int, I...>) __attribute__((always_inline)) {
      return Vec<A, N>{shuffle<typename Vec<A, N>::Raw, N / 2, I...>(lo.raw, hi.raw)};
    }
    (std::make_integer_sequence<int, N>{});
  }
}
/// As pairs of rows H apart swap their lanes, which suits registers of any number.
template <int H, class T, int N>
POOLHEAD_INLINE void transpose_by_halves(Vec<T, N> (&rows)[N]) {
  poolhead::detail::unroll<N / 2>([&](auto pair) __attribute__((always_inline)) {
    constexpr int i = pair / H * 2 * H + pair % H;
    const auto a = rows[i];
    const auto b = rows[i + H];
    rows[i] = lower<H>(a, b);
    rows[i + H] = upper<H>(a, b);
  });
  if constexpr (H > 1) transpose_by_halves<H / 2>(rows);
}
}  // namespace detail

/// How many columns load_turned loads.
template <class A>
inline constexpr int turned_lanes = detail::piece<A, lanes<A>>;

/// Lane q of column i is row(q)[i]; row(q) is a pointer to T.
template <class A, class T, class Row>
POOLHEAD_INLINE void load_turned(const Row& row, Vec<A, lanes<A>> (&columns)[turned_lanes<A>]) {
  poolhead::detail::unroll<turned_lanes<A>>([&](auto i) __attribute__((always_inline)) {
    columns[i] = detail::load_pieces<A, lanes<A>, T>(row, i);
  });
  detail::transpose_pieces<1>(columns);
}

/// Turns the rows of a square of N x N lanes into its columns.
template <class T, int N>
POOLHEAD_INLINE void transpose(Vec<T, N> (&rows)[N]) {
  if constexpr (Vec<T, N>::split) {
    detail::transpose_by_halves<N / 2>(rows);
  } else {
    detail::transpose_of_pieces<N / detail::piece<T, N>>(rows);
    detail::transpose_pieces<1>(rows);
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
