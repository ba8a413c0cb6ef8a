// The mean of the average and the maximum.
#pragma once

#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Both halves walk together and meet in finish.
template <class X, class Argmax, class I>
struct AverageMaxReduction : FusedReduction<AverageReduction<X, Rows<typename X::Scalar>, I>,
                                            MaxReduction<X, Rows<typename X::Scalar>, Argmax, I>> {
  using T = typename X::Scalar;
  using A = poolhead::Accumulator<T>;
  using Average = AverageReduction<X, Rows<T>, I>;
  using Max = MaxReduction<X, Rows<T>, Argmax, I>;
  using Fused = FusedReduction<Average, Max>;
  using typename Fused::State;

  AverageMaxReduction(const X& x, const Rows<T>& y, const Argmax& argmax)
      : Fused(Fused::make(Average(x, y, whole_plane(x.shape())), Max(x, y, argmax))) {}

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    const auto half = simd::splat<A, simd::lanes<A>>(A(0.5));
    const auto& max = this->others.first;
    const auto mean = this->first.mean(state.first, n, c, count);
    put(max.y, n, c, mean * half + max.located(state.others.first, n, c, count) * half, count);
  }
};

template <class X, class I>
struct AverageMaxGradient {
  using T = typename X::Scalar;
  using Average = AverageGradient<X, I>;
  using Max = MaxGradient<T, I>;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
  static constexpr int peaks = 1;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Sums = NoSums;
  struct Coefficients {
    typename Average::Coefficients average;
    typename Max::Coefficients max;

    POOLHEAD_INLINE Coefficients lane(int i) const { return {lane_of(average, i), max.lane(i)}; }
  };

  Average average;
  Max max;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return {average.prepare(lanes, n, c), max.prepare(lanes, n, c)};
  }
  template <int K>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums& sums, const V (&x)[K],
                          const simd::Vec<I, N> (&position)[K], V (&dx)[K]) const {
    V share[K];
    average.at(shared.average, sums, x, position, share);
    max.at(shared.max, sums, x, position, dx);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = simd::splat<Accumulator, N>(Accumulator(0.5)) * (share[k] + dx[k]);
    });
  }
  template <class F>
  POOLHEAD_INLINE void each_peak(const Coefficients& shared, const F& f) const {
    max.each_peak(shared.max, f);
  }
  void collect(const ChannelLanes<Accumulator, I>&, const Sums&, Index, Index) const {}
  void finish() const {}
};

}  // namespace detail

/// y = (mean over positions of x + max over positions of x) / 2;   dx = dy / (2 S), and dy / 2 more at the
/// argmax.
///
/// features: C. The accuracy, ties and NaN of GlobalAveragePool and GlobalMaxPool. timm's "avgmax".
class AverageMaxPool : public PoolCalls<AverageMaxPool> {
 public:
  static constexpr std::string_view name = "AverageMaxPool";
  static constexpr bool uses_positions = true;
  template <Scalar T>
  struct Cache : detail::ArgmaxCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.argmax.resize(cache.shape.batch, cache.shape.channels);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::ArgmaxCache::check_size(name, call, cache.shape.channels);
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    cache.detail::ArgmaxCache::check_contents(name);
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return detail::AverageMaxReduction<X, detail::NoArgmax, I>(x, y, {});
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::AverageMaxReduction<X, Rows<Index>, I>(x, y, cache.rows());
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                AverageMaxPool*) const {
    return detail::AverageMaxGradient<X, I>{{x, dy}, {dy, cache.rows()}};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
