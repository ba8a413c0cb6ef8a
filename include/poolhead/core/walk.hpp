// How a plane of NCHW and the rows of NHWC are walked over, a few vectors at a time.
#pragma once

#include "poolhead/core/read_ahead.hpp"
#include "poolhead/core/simd_bits.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The lanes of the last vector of size consecutive positions.
template <class A>
simd::FirstLanes<A> last_lanes(Index size) {
  return {static_cast<int>((size - 1) % simd::lanes<A>) + 1};
}

/// f(vectors, position of the first lane, valid) for the `size` positions of one plane, NCHW: four vectors at a
/// time, then the rest, the very last vector in its `last` lanes. mask: the sample's, or null. ahead: asks for
/// what follows.
template <bool masked, class A, class T, class F>
POOLHEAD_INLINE void walk_plane(const T* plane, Index size, const simd::FirstLanes<A>& last_vector,
                                const unsigned char* mask, const ReadAhead& ahead, const F& f) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  Index s = 0;
  for (; s + 4 * N <= size; s += 4 * N) {
    ahead.fetch<4 * N * sizeof(T)>(plane + s);
    const V group[4] = {simd::load<A>(plane + s), simd::load<A>(plane + s + N),
                        simd::load<A>(plane + s + 2 * N), simd::load<A>(plane + s + 3 * N)};
    if constexpr (masked)
      f(group, s,
        SomeLanes<A, 4>{{simd::load_mask<A>(mask + s, N), simd::load_mask<A>(mask + s + N, N),
                         simd::load_mask<A>(mask + s + 2 * N, N), simd::load_mask<A>(mask + s + 3 * N, N)}});
    else
      f(group, s, EveryLane{});
  }
  if (s == size) return;
  const Index rest = size - s;
  const auto last = [&](auto count) __attribute__((always_inline)) {
    // All vectors but the last are whole.
    constexpr int K = count;
    V group[K];
    unroll<K - 1>([&](auto k) __attribute__((always_inline)) { group[k] = simd::load<A>(plane + s + k * N); });
    group[K - 1] = simd::load_first<A>(plane + s + (K - 1) * N, last_vector);
    if constexpr (masked) {
      SomeLanes<A, K> valid;
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        valid.lane[k] = simd::load_mask<A>(mask + s + k * N, k + 1 < K ? N : last_vector.count);
      });
      f(group, s, valid);
    } else {
      f(group, s, LastLanes<A, K>{last_vector.mask});
    }
  };
  if (rest <= N)
    last(std::integral_constant<int, 1>{});
  else if (rest <= 2 * N)
    last(std::integral_constant<int, 2>{});
  else if (rest <= 3 * N)
    last(std::integral_constant<int, 3>{});
  else
    last(std::integral_constant<int, 4>{});
}

/// How far apart the streams are in which so many positions of NHWC, of so many vectors each, are read, in any
/// order: memory answers several faster than one, and eight faster than four where each gives more than a
/// vector at a time. 1: one stream. Eight are one position closer than they need to be, as whole pages would
/// often lie between them, which meet in the same few lines of a cache.
inline Index streams_apart(Index positions, Index vectors) {
  return positions >= 1024 && vectors > 1 ? positions / 8 - 1 : std::max<Index>(positions / 4, 1);
}

/// Of eight streams, four and four take turns.
inline int turns_of_streams(Index positions, Index apart) {
  return apart > 1 && positions / apart >= 8 ? 1 : 0;
}
inline Index streams_of(Index positions, Index apart) {
  return apart == 1 ? 1 : 4 << turns_of_streams(positions, apart);
}
/// The groups of four positions in which so many are walked over; less than eight are left at the end.
inline Index row_groups(Index positions, Index apart) {
  return apart == 1 ? positions / 4 : apart << turns_of_streams(positions, apart);
}
struct GroupRange {
  Index begin, end;
};

/// f(v, vectors, position of the first, valid) for the positions begin .. end - 1 of channels 0 .. channels -
/// 1, NHWC, row by row as they lie in memory: four positions at a time, `apart` from each other, then one by
/// one; those that the mask leaves out are passed over. apart: 1, or streams_apart. ahead: asks for what
/// follows in each stream. v counts vectors of channels. With pairs, 2 u and 2 u + 1 are simd::load_pair's
/// where both are whole. only: some groups, the last of all with what is left after them.
template <bool masked, class A, bool pairs = false, class T, class F, class Ahead = NoReadAhead>
POOLHEAD_INLINE void walk_rows(const T* row, Index channels, Index stride, Index begin, Index end,
                               const unsigned char* mask, const F& f, Index apart = 1, const Ahead& ahead = {},
                               const GroupRange* only = nullptr) {
  constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  const Index whole = channels / N;
  const auto rest = static_cast<int>(channels - whole * N);
  const Index step = apart * stride;
  const auto positions = [&](auto count, Index s, auto asks) __attribute__((always_inline)) {
    constexpr int K = count;
    const T* const p = row + s * stride;
    V group[K];
    Index v = 0;
    if constexpr (pairs) {
      for (; v + 2 <= whole; v += 2) {
        V other[K];
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          if constexpr (asks) ahead.template fetch<2 * N * sizeof(T)>(p + k * step + v * N);
          simd::load_pair<A>(p + k * step + v * N, group[k], other[k]);
        });
        f(v, group, s, EveryLane{});
        f(v + 1, other, s, EveryLane{});
      }
    }
    for (; v < whole; ++v) {
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        if constexpr (asks) ahead.template fetch_vector<N * sizeof(T)>(p + k * step + v * N, v);
        group[k] = simd::load<A>(p + k * step + v * N);
      });
      f(v, group, s, EveryLane{});
    }
    if (rest == 0) return;
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      group[k] = simd::load_first<A>(p + k * step + whole * N, rest);
    });
    f(whole, group, s, EveryLane{});
  };
  const auto counts = [&](Index s) {
    if constexpr (masked) return mask[s] != 0;
    return true;
  };
  const int turns = turns_of_streams(end - begin, apart);
  const Index pitch = apart == 1 ? 4 : 1;
  const Index groups = row_groups(end - begin, apart);
  const GroupRange range = only == nullptr ? GroupRange{0, groups} : *only;
  for (Index g = range.begin; g < range.end; ++g) {
    const Index s = begin + (g >> turns) * pitch + (g & turns) * 4 * apart;
    if (counts(s) && counts(s + apart) && counts(s + 2 * apart) && counts(s + 3 * apart)) {
      if (ahead.asks())
        positions(std::integral_constant<int, 4>{}, s, std::bool_constant<Ahead::may_ask>{});
      else
        positions(std::integral_constant<int, 4>{}, s, std::false_type{});
      continue;
    }
    for (Index i = 0; i < 4; ++i)
      if (const Index at = s + i * apart; counts(at))
        positions(std::integral_constant<int, 1>{}, at, std::false_type{});
  }
  if (range.end < groups) return;
  for (Index s = begin + 4 * groups; s < end; ++s)
    if (counts(s)) positions(std::integral_constant<int, 1>{}, s, std::false_type{});
}

/// The vectors of a short plane.
inline constexpr int most_short_vectors = 8;

/// f(integral_constant<int, number>), number 1 .. most.
template <int most, class F>
POOLHEAD_INLINE void with_number(int number, const F& f) {
  if constexpr (most > 1) {
    if (number < most) return with_number<most - 1>(number, f);
  }
  f(std::integral_constant<int, most>{});
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
