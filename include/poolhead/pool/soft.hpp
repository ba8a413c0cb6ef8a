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
  POOLHEAD_INLINE Wide wide(const State& state) const {
    return state.mark.value + state.weighted_sum.value() / state.sum.value();
  }
  POOLHEAD_INLINE V value(const State& state, double) const { return simd::convert<A>(wide(state)); }
};

template <class X, class I>
struct SoftReduction : SoftFold<Accumulator<typename X::Scalar>, I> {
  using T = typename X::Scalar;
  using Fold = SoftFold<poolhead::Accumulator<T>, I>;
  using typename Fold::State;

  X map;
  Rows<T> y;
  double* wide_y;   // (N, C), or null
  double* log_sum;  // (N, C), or null

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    const auto value = Fold::wide(state);
    put(y, n, c, simd::convert<poolhead::Accumulator<T>>(value), count);
    if (wide_y == nullptr) return;
    const auto ln2 = simd::splat<double, Fold::N>(std::numbers::ln2);
    simd::store_first(wide_y + n * map.channels() + c, value, count);
    simd::store_first(log_sum + n * map.channels() + c,
                      state.mark.value + simd::log2(state.sum.value()).value() * ln2, count);
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
    Wide dy, y, log_sum;
  };

  X map;
  Rows<const T> dy;
  const double* y;        // (N, C)
  const double* log_sum;  // (N, C)

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const Index plane = n * map.channels() + c;
    return {simd::convert<double>(lanes(dy.row(n) + c)), lanes.wide(y + plane), lanes.wide(log_sum + plane)};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums&, const V& x, const simd::Vec<I, N>&,
                       const Valid&) const {
    const auto one = simd::splat<double, N>(1.0);
    const Wide wide = simd::convert<double>(x);
    const Wide weight = simd::exp2(simd::splat<double, N>(std::numbers::log2e) * (wide - shared.log_sum));
    const Wide gradient = shared.dy * weight * (one + (wide - shared.y));
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
  struct Cache : detail::WideCache {
    Eigen::Tensor<double, 2, Eigen::RowMajor> log_sum;  ///< (N, C): ln sum exp(x)
  };

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.y.resize(cache.shape.batch, cache.shape.channels);
    cache.log_sum.resize(cache.shape.batch, cache.shape.channels);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call);
    if (cache.log_sum.dimensions() != cache.y.dimensions())
      detail::fail<ValueError>(name, call, ": the cache's log_sum and y differ in shape");
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return detail::SoftReduction<X, I>{{}, x, y, nullptr, nullptr};
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::SoftReduction<X, I>{{}, x, y, cache.y.data(), cache.log_sum.data()};
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                SoftPool*) const {
    return detail::SoftGradient<X, I>{x, dy, cache.y.data(), cache.log_sum.data()};
  }
  template <Scalar T>
  auto fold() const {
    return detail::SoftFold<Accumulator<T>, simd::IntOf<Accumulator<T>>>{};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
