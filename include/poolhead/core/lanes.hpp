// What the two traversals hand to a pool: where the lanes of a vector stand, which of them count, and how a
// channel's own numbers reach them.
#pragma once

#include "poolhead/core/rows.hpp"
#include "poolhead/core/simd_memory.hpp"

namespace poolhead::inline POOLHEAD_ISA {

namespace detail {

/// Whether R, a reduction or a gradient, counts positions in lanes that are wider than its numbers': those of
/// planes of 2^31 positions and more. No way that suits short planes or few channels is instantiated for them.
template <class R>
inline constexpr bool is_vast = false;
template <class R>
requires requires { typename R::PositionLane; }
inline constexpr bool is_vast<R> = sizeof(typename R::PositionLane) > sizeof(typename R::Accumulator);

/// f with the lane type of positions in planes of so many: as wide as the accumulator A wherever they allow it.
/// (Padding may count some vectors beyond the end.)
template <class A, class F>
void with_position_lanes(Index positions, const F& f) {
  using Narrow = simd::IntOf<A>;
  if (positions < std::numeric_limits<Narrow>::max() - 1024)
    f(Narrow{});
  else
    f(std::int64_t{});
}

}  // namespace detail

/// Where K consecutive vectors stand in their planes: lane i of vector k is position first[i] + k * step.
template <class I, int N>
struct Positions {
  simd::Vec<I, N> first;
  I step;

  POOLHEAD_INLINE simd::Vec<I, N> at(int k) const {
    return first + simd::splat<I, N>(static_cast<I>(k) * step);
  }
};

/// The same, behind all that the state has seen.
template <class I, int N>
struct LaterPositions : Positions<I, N> {};

// select(k, value, otherwise): value in the lanes of vector k that count. or_zero(k, x): x as it has been
// loaded, 0 in the others; where the load has left 0 in these, nothing is to be done.

/// Every lane of K vectors counts.
struct EveryLane {
  template <class V>
  POOLHEAD_INLINE V select(int, const V& value, const V&) const {
    return value;
  }
  template <class V>
  POOLHEAD_INLINE V or_zero(int, const V& x) const {
    return x;
  }
};

/// Every lane of K vectors counts but some of the last vector's.
template <class A, int K>
struct LastLanes {
  simd::Mask<A, simd::lanes<A>> last;

  template <class V>
  POOLHEAD_INLINE V select(int k, const V& value, const V& otherwise) const {
    return k + 1 < K ? value : simd::select(last, value, otherwise);
  }
  template <class V>
  POOLHEAD_INLINE V or_zero(int, const V& x) const {
    return x;
  }
};

/// Every lane of K vectors counts but some of the last two.
template <class A, int K>
struct LastPair {
  const simd::Mask<A, simd::lanes<A>> (&last)[2];

  template <class V>
  POOLHEAD_INLINE V select(int k, const V& value, const V& otherwise) const {
    return k + 2 < K ? value : simd::select(last[k + 2 - K], value, otherwise);
  }
  template <class V>
  POOLHEAD_INLINE V or_zero(int k, const V& x) const {
    return select(k, x, simd::zero<V>());
  }
};

/// Some lanes of K vectors count: those inside the plane and, where there is a mask, valid.
template <class A, int K>
struct SomeLanes {
  simd::Mask<A, simd::lanes<A>> lane[K];

  /// value where the lanes of vector k count, otherwise where they do not.
  template <class V>
  POOLHEAD_INLINE V select(int k, const V& value, const V& otherwise) const {
    return simd::select(lane[k], value, otherwise);
  }
  /// The elements x of vector k as they were loaded, 0 where they do not count. (What is beyond the plane was
  /// loaded as 0.)
  template <class V>
  POOLHEAD_INLINE V or_zero(int k, const V& x) const {
    return simd::select(lane[k], x, simd::zero<V>());
  }
};

namespace detail {

/// Writes lanes to the channels c .. c + count - 1 of row n. Rows of bins have an overload of their own.
template <class T, class A, int N>
POOLHEAD_INLINE void put(const Rows<T>& y, Index n, Index c, const simd::Vec<A, N>& value, int count) {
  simd::store_first(y.row(n) + c, value, count);
}

/// NCHW: the lanes of a vector are positions of one channel, so they share its value. Positions arrive as I,
/// elements as A.
template <class A, class I>
struct SharedLane {
  static constexpr int N = simd::lanes<A>;

  POOLHEAD_INLINE auto operator()(const Index* p) const { return simd::splat<I, N>(static_cast<I>(*p)); }
  template <Scalar T>
  POOLHEAD_INLINE auto operator()(const T* p) const {
    return simd::splat<A, N>(static_cast<A>(*p));
  }
};

/// The lanes are `count` consecutive channels. Doubles arrive as they are.
template <class A, class I>
struct ChannelLanes {
  static constexpr int N = simd::lanes<A>;
  int count;

  POOLHEAD_INLINE auto operator()(const Index* p) const {
    return simd::convert<I>(simd::load_array<N>(p, count));
  }
  template <Scalar T>
  POOLHEAD_INLINE auto operator()(const T* p) const {
    return count == N ? simd::load<A>(p) : simd::load_first<A>(p, count);
  }
  POOLHEAD_INLINE auto wide(const double* p) const { return simd::load_array<N>(p, count); }
  POOLHEAD_INLINE void store(double* p, const simd::Vec<double, N>& value) const {
    simd::store_first(p, value, count);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
