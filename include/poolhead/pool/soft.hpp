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
  using State = ExponentialSum<LinearMeasure<A, N>, A, true>;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(std::numbers::log2e));
  }
  static constexpr bool scans = true;
  bool wants_scan() const { return true; }
  POOLHEAD_INLINE V scan_start() const { return State::scan_start(); }
  template <int K, class Valid>
  POOLHEAD_INLINE V scan(const V& top, const V (&x)[K], const Valid& valid) const {
    return State::scan(top, x, valid);
  }
  POOLHEAD_INLINE V scan_lanes(const V& top) const { return State::scan_lanes(top); }
  POOLHEAD_INLINE void raise(State& state, const V& top) const { state.raise(top, false); }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    state.add(x, valid, false);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  POOLHEAD_INLINE WideResults<N, 3> results(const State& state, double) const {
    const Wide sum = state.sum.value();
    const Wide offset = state.weighted_sum.value() / sum;
    const Wide mark = simd::convert<double>(state.mark.value);
    return {mark + offset, {mark, sum, offset}};
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

  // Arithmetic in the accumulator's own type: nothing magnifies its rounding.
  struct Coefficients {
    V scale, mark, offset;
  };

  X map;
  Rows<const T> dy;
  const double* planes;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    using A = Accumulator;
    const KeptSum<Lanes, N> kept(lanes, planes, map.batch() * map.channels(), n * map.channels() + c);
    return {simd::convert<A>(simd::convert<double>(lanes(dy.row(n) + c)) / kept.sum),
            simd::convert<A>(kept.mark), simd::convert<A>(kept.offset)};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums&, const V& x, const simd::Vec<I, N>&,
                       const Valid&) const {
    using A = Accumulator;
    const V distance = x - shared.mark;
    const V weight =
        shared.scale * simd::exp2(simd::splat<A, N>(static_cast<A>(std::numbers::log2e)) * distance);
    const V gradient = weight * (simd::splat<A, N>(A(1)) + (distance - shared.offset));
    return simd::select(weight == simd::zero<V>(), weight, gradient);
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
    cache.detail::WideCache::check_size(name, call, 3, false);
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
