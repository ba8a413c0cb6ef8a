// Log-sum-exp pooling.
#pragma once

#include "poolhead/pool/exponential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class T, class I>
struct LogSumExpFold {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LinearMeasure<Accumulator, N>, Accumulator, false>;

  double rate;   // r log2(e)
  bool precise;  // whether terms are computed in double

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(rate));
  }
  static constexpr bool scans = true;
  bool wants_scan() const { return true; }
  POOLHEAD_INLINE V scan_start() const { return State::scan_start(); }
  template <int K, class Valid>
  POOLHEAD_INLINE V scan(const V& top, const V (&x)[K], const Valid& valid) const {
    return State::scan(top, x, valid);
  }
  POOLHEAD_INLINE V scan_lanes(const V& top) const { return State::scan_lanes(top); }
  POOLHEAD_INLINE void raise(State& state, const V& top) const { state.raise(top, precise); }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    state.add(x, valid, precise);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  POOLHEAD_INLINE WideResults<N, 3> results(const State& state, double positions) const {
    const Wide sum = state.sum.value();
    const Wide offset = simd::log2(sum / simd::splat<double, N>(positions)).value() / state.rate;
    const Wide mark = simd::convert<double>(state.mark.value);
    return {mark + offset, {mark, sum, offset}};
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<Accumulator>(results(state, positions).y);
  }
};

template <class X, class I>
struct LogSumExpGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  using Sums = Wide;

  using Number = Both<Accumulator, N>;

  struct Coefficients {
    Number scale, mark, rate;
  };

  double r;
  bool precise;
  X map;
  Rows<const T> dy;
  const double* planes;
  double* shares;  // (N, C)
  Eigen::Tensor<T, 1, Eigen::RowMajor>* parameter;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const KeptSum<Lanes, N> kept(lanes, planes, map.batch() * map.channels(), n * map.channels() + c);
    return {simd::convert<double>(lanes(dy.row(n) + c)) / kept.sum, kept.mark,
            simd::splat<double, N>(r * std::numbers::log2e)};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums& sums, const V& x, const simd::Vec<I, N>&,
                       const Valid& valid) const {
    if constexpr (std::same_as<Accumulator, float>) {
      if (!precise) return at_as<float>(shared, sums, x, valid);
    }
    return at_as<double>(shared, sums, x, valid);
  }
  template <class Lanes>
  POOLHEAD_INLINE void collect(const Lanes& lanes, const Sums& sums, Index n, Index c) const {
    // sum w (x - y) = sum w (x - mark) - (y - mark): the weights add up to 1.
    const Index plane = n * map.channels() + c;
    const KeptSum<Lanes, N> kept(lanes, planes, map.batch() * map.channels(), plane);
    const Wide y = simd::convert<double>(lanes(dy.row(n) + c)) * kept.offset;
    lanes.store(shares + plane, (lanes.total(sums) - y) / simd::splat<double, N>(r));
  }
  void finish() const { add_shares(shares, map.batch(), map.channels(), *parameter); }

 private:
  template <class C, class Valid>
  POOLHEAD_INLINE V at_as(const Coefficients& shared, Sums& sums, const V& x, const Valid& valid) const {
    const auto nothing = simd::zero<simd::Vec<C, N>>();
    const auto distance = simd::convert<C>(x) - shared.mark.template as<C>();
    const auto weight = shared.scale.template as<C>() * simd::exp2(shared.rate.template as<C>() * distance);
    // 2^-inf times -inf is 0, as the limit is.
    const auto share = simd::select(weight == nothing, weight, weight * distance);
    sums = sums + simd::convert<double>(valid.select(0, share, nothing));
    return simd::convert<Accumulator>(weight);
  }
};

}  // namespace detail

/// y = (1/r) ln(mean over positions of exp(r x));   dx = dy exp(r (x - y)) / S;
/// dr = sum dy / r (sum w x - y), w = exp(r (x - y)) / S.
///
/// features: C. r > 0 is learnable and shared (parameter "r", of shape [1]): towards 0 it gives the average,
/// towards infinity the maximum. Nothing overflows: exponents are relative to the plane's maximum. Pinheiro and
/// Collobert, From Image-level to Pixel-level Labeling, 2015. T is the scalar of the feature maps.
template <class T>
class LogSumExpPool : public PoolCalls<LogSumExpPool<T>>, public StreamCalls<LogSumExpPool<T>> {
  static_assert(Scalar<T>,
                "poolhead: the parameter of a LogSumExpPool is float, double, Eigen::half or Eigen::bfloat16: "
                "write LogSumExpPool<float>(1.0f)");

 public:
  static constexpr std::string_view name = "LogSumExpPool";
  using ParameterScalar = T;
  template <Scalar U>
  struct Cache : detail::WideCache {};

  Eigen::Tensor<T, 1, Eigen::RowMajor> r;  ///< [1], above 0

  /// Throws ValueError unless r > 0 and finite.
  explicit LogSumExpPool(T sharpness = T(1)) : r(1) {
    r.setConstant(sharpness);
    check_parameters("", {});
  }

  static constexpr auto parameters() { return std::tuple{detail::Member{"r", &LogSumExpPool::r}}; }

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  void check_parameters(std::string_view call, const FeatureShape&) const {
    if (r.size() != 1) detail::fail<ShapeError>(name, call, ": r is [", r.size(), "], expected [1]");
    if (const auto value = static_cast<double>(r(0)); !(value > 0.0 && std::isfinite(value)))
      detail::fail<ValueError>(name, call, ": r is ", value, ", expected a finite number above 0");
  }
  void prepare(Cache<T>& cache) const { cache.resize(3, true); }
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call, 3, true);
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<T>& y) const {
    return detail::WideReduction<detail::LogSumExpFold<T, I>, X>{fold<I>(), x, y, nullptr};
  }
  template <class I, class X>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::WideReduction<detail::LogSumExpFold<T, I>, X>{fold<I>(), x, y, cache.planes.data()};
  }
  template <class I, class X>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                LogSumExpPool* grad) const {
    return detail::LogSumExpGradient<X, I>{static_cast<double>(r(0)), precise(),           x,       dy,
                                           cache.planes.data(),       cache.shares.data(), &grad->r};
  }
  template <Scalar U>
  auto fold() const {
    static_assert(std::same_as<U, T>, "poolhead: a stream's scalar is that of the pool's parameters");
    return fold<simd::IntOf<Accumulator<T>>>();
  }

 private:
  bool precise() const { return static_cast<double>(r(0)) < detail::least_float_rate; }
  template <class I>
  detail::LogSumExpFold<T, I> fold() const {
    return {static_cast<double>(r(0)) * std::numbers::log2e, precise()};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
