// SoftPool: the average weighted by the exponentials of the elements themselves.
#pragma once

#include "poolhead/pool/exponential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class A, class I>
struct SoftFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LinearMeasure<N>, A, true>;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(std::numbers::log2e));
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    Wide wide[K];
    for (int k = 0; k < K; ++k) wide[k] = simd::convert<double>(x[k]);
    state.add(wide, valid);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  POOLHEAD_INLINE WideResults<N, 3> results(const State& state, double) const {
    const Wide sum = state.sum.value();
    const Wide offset = state.weighted_sum.value() / sum;
    return {state.mark.value + offset, {state.mark.value, sum, offset}};
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<A>(results(state, positions).y);
  }
};

template <class X, class I>
struct SoftGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  using Sums = NoSums;

  struct Coefficients {
    Wide scale, mark, offset;
  };

  X map;
  Rows<const T> dy;
  const double* planes;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const KeptSum<Lanes, N> kept(lanes, planes, map.batch() * map.channels(), n * map.channels() + c);
    return {simd::convert<double>(lanes(dy.row(n) + c)) / kept.sum, kept.mark, kept.offset};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums&, const V& x, const simd::Vec<I, N>&,
                       const Valid&) const {
    const Wide distance = simd::convert<double>(x) - shared.mark;
    const Wide weight = shared.scale * simd::exp2(simd::splat<double, N>(std::numbers::log2e) * distance);
    const Wide gradient = weight * (simd::splat<double, N>(1.0) + (distance - shared.offset));
    return simd::convert<Accumulator>(simd::select(weight == simd::zero<Wide>(), weight, gradient));
  }
  template <class Lanes>
  void collect(const Lanes&, const Sums&, Index, Index) const {}
  void finish() const {}
};

}  // namespace detail

/// y = sum over positions of w x, w = softmax over positions of x;   dx = dy w (1 + x - y).
///
/// features: C. Exponents are relative to the plane's maximum, so nothing overflows; an element of -inf has
/// weight 0. Stergiou et al., Refining activation downsampling with SoftPool, 2021, over the whole plane.
class SoftPool : public PoolCalls<SoftPool>, public StreamCalls<SoftPool> {
 public:
  static constexpr std::string_view name = "SoftPool";
  template <Scalar T>
  struct Cache : detail::WideCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.resize(3, false);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call, 3);
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return bind<I>(x, y, nullptr);
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return bind<I>(x, y, cache.planes.data());
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                SoftPool*) const {
    return detail::SoftGradient<X, I>{x, dy, cache.planes.data()};
  }
  template <Scalar T>
  auto fold() const {
    return detail::SoftFold<Accumulator<T>, simd::IntOf<Accumulator<T>>>{};
  }

 private:
  template <class I, class X, Scalar T>
  static auto bind(const X& x, const Rows<T>& y, double* planes) {
    return detail::WideReduction<detail::SoftFold<Accumulator<T>, I>, X>{{}, x, y, planes};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
