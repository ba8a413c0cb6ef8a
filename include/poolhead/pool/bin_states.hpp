// What bins are folded to, lanes being channels: sums or maxima.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/max_reduction.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

// What bins are folded to:
//
//   struct Bins {
//     struct State;
//     struct Note;                 // of all positions of a vector of channels; Note{} before the first
//     static constexpr int most = 4;               // positions at a time, a power of 2
//     // m consecutive positions, step apart, of K vectors of channels: a state's first, or behind what it has
//     template <bool first, int m, int K>
//     static void few(const A* p, Index step, Index position, State (&)[K], Note (&)[K]);
//     static State append(const State& a, const State& later);    // `later` stands behind a
//     static State merge(const State& a, const State& b);         // in any order
//   };

/// sums[v] = vector v of m positions, `step` elements apart, added up by halves. Neighbours are loaded one
/// after the other: caches that give two vectors at a time take them from the two halves of a line.
template <int m, class A, int K>
POOLHEAD_INLINE void sum_row(const A* p, Index step, simd::Vec<A, simd::lanes<A>> (&sums)[K]) {
  if constexpr (m == 1) {
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = simd::load<A>(p + v * simd::lanes<A>); });
  } else {
    simd::Vec<A, simd::lanes<A>> others[K];
    sum_row<m / 2>(p, step, sums);
    sum_row<m - m / 2>(p + m / 2 * step, step, others);
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = sums[v] + others[v]; });
  }
}

struct NoNote {};

/// Sums of so few floats that they need no double.
template <class A>
struct ShortSums {
  using State = simd::Vec<A, simd::lanes<A>>;
  using Note = NoNote;
  static constexpr int most = 4;

  template <bool first, int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index, State (&sums)[K], Note (&)[K]) {
    State own[K];
    sum_row<m>(p, step, own);
    unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = first ? own[v] : sums[v] + own[v]; });
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) { return a + later; }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) { return a + b; }
  /// The mean of so many positions is their sum and share(size).
  static A share(Index size) { return A(1) / static_cast<A>(size); }
  POOLHEAD_INLINE static auto mean(const State& sum, A share) {
    return sum * simd::splat<A, simd::lanes<A>>(share);
  }
};

/// Sums in double of `together` floats at a time.
template <class A, int together>
struct GroupSums {
  using State = WideSum<A, simd::lanes<A>>;
  using Note = NoNote;
  static constexpr int most = std::max(together, 4);

  template <bool first, int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index, State (&sums)[K], Note (&)[K]) {
    constexpr int group = std::same_as<A, double> ? 1 : together;
    if constexpr (first) unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v] = State::zero(); });
    unroll<(m + group - 1) / group>([&](auto g) __attribute__((always_inline)) {
      constexpr int from = g * group;
      simd::Vec<A, simd::lanes<A>> parts[K];
      sum_row<std::min(group, m - from)>(p + from * step, step, parts);
      unroll<K>([&](auto v) __attribute__((always_inline)) { sums[v].add(simd::convert<double>(parts[v])); });
    });
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) { return merge(a, later); }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) {
    State sum = a;
    sum.add(b);
    return sum;
  }
  static double share(Index size) {
    const auto positions = static_cast<double>(size);
    return std::same_as<A, double> ? positions : 1.0 / positions;
  }
  POOLHEAD_INLINE static auto mean(const State& sum, double share) {
    const auto factor = simd::splat<double, simd::lanes<A>>(share);
    if constexpr (std::same_as<A, double>)
      return sum.value() / factor;  // as a product with the reciprocal is not rounded
    else
      return simd::convert<A>(sum.value() * factor);
  }
};

/// Maxima and their positions, of what holds no NaN. The note is a sum, which is NaN where there is one.
template <class A, class I>
struct BinMaxima {
  static constexpr int N = simd::lanes<A>;
  using Accumulator = A;
  using PositionLane = I;
  using State = typename MaxFold<A, I>::State;
  using Note = simd::Vec<A, N>;
  static constexpr int most = 4;

  template <bool first, int m, int K>
  POOLHEAD_INLINE static void few(const A* p, Index step, Index position, State (&tops)[K], Note (&notes)[K]) {
    const auto start = simd::splat<I, N>(static_cast<I>(position));
    unroll<m>([&](auto s) __attribute__((always_inline)) {
      const auto at = start + simd::splat<I, N>(s);
      unroll<K>([&](auto v) __attribute__((always_inline)) {
        const State one{simd::in_register(simd::load<A>(p + s * step + v * N)), at};
        tops[v] = first && s == 0 ? one : append(tops[v], one);
        notes[v] = notes[v] + one.value;
      });
    });
  }
  POOLHEAD_INLINE static State append(const State& a, const State& later) {
    return {simd::max(a.value, later.value), simd::select(later.value > a.value, later.position, a.position)};
  }
  POOLHEAD_INLINE static State merge(const State& a, const State& b) {
    const auto earlier = simd::convert<simd::IntOf<A>>(b.position < a.position);
    return pick((b.value > a.value) | ((b.value == a.value) & earlier), a, b);
  }

 private:
  template <class M>
  POOLHEAD_INLINE static State pick(const M& b_wins, const State& a, const State& b) {
    return {simd::select(b_wins, b.value, a.value), simd::select(b_wins, b.position, a.position)};
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
