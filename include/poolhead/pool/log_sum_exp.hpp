// Log-sum-exp pooling.
#pragma once

#include "poolhead/pool/direct_sum.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// y = mark + offset, offset = log2(sum / positions) / rate.
template <int N, class Put>
POOLHEAD_INLINE auto log_sum_exp_results(const simd::Doubles<N>& mark, const simd::Doubles<N>& sum,
                                         const simd::Doubles<N>& rate, double positions, const Put& put) {
  const auto offset = simd::log2(sum / simd::splat<double, N>(positions)).value() / rate;
  return put(mark + offset, mark, sum, offset);
}

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
  POOLHEAD_INLINE auto scan_start() const { return State::scan_start(); }
  template <int K>
  POOLHEAD_INLINE auto scan(const typename State::Top& top, const V (&x)[K]) const {
    return State::scan(top, x);
  }
  POOLHEAD_INLINE void raise(State& state, const typename State::Top& top) const { state.raise(top, precise); }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K]) const {
    state.add(x, precise);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, double positions, const Put& put) const {
    return log_sum_exp_results<N>(simd::convert<double>(state.mark.value), state.sums.sum.value(), state.rate,
                                  positions, put);
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<Accumulator>(results(state, positions, OnlyResult{}));
  }
};

/// The same of floats.
template <class I>
struct LogSumExpFloatFold : FloatFold<FloatSum<false, false, simd::lanes<float>>, I, simd::lanes<float>> {
  static constexpr int N = simd::lanes<float>;
  using State = FloatSum<false, false, N>;

  double rate;  // r log2(e)
  double positions;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(rate));
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, Index, Index, int, const Put& put) const {
    return log_sum_exp_results<N>(state.wide_mark(), state.sums.sum, simd::splat<double, N>(rate), positions,
                                  put);
  }
};

/// The same of the exponentials as they are. The mark is y as a float, which is what backward starts from. The
/// logarithm of a mean near 1 is only as good as the mean: 16-bit types, whose digits near 0 are finer, take
/// the mean of 1 less.
template <class T>
struct LogSumExpDirectFold {
  static constexpr bool has_weights = false;
  static constexpr bool less_one = sizeof(T) == 2;
  static constexpr bool is_fine_near_zero = false;
  // Of smaller ones, float terms less 1 lose more than T shows.
  static constexpr double least_mean = simd::detail::power_of_2<double>(std::numeric_limits<T>::digits - 22);

  double rate;  // r log2(e), as a float: what the terms are computed with
  double positions;

  template <class Sums, class Put>
  POOLHEAD_INLINE auto results(const Sums& sums, const Put& put) const {
    constexpr int N = simd::lanes<float>;
    const auto number = [](double value) { return simd::splat<double, N>(value); };
    const auto mean = sums.of[0].sum * number(1.0 / positions);
    const auto log = less_one ? simd::short_log2(mean + number(1.0), mean) : simd::short_log2(mean);
    const auto y = log * number(1.0 / rate);
    const auto mark = simd::convert<double>(simd::rounded<T>(simd::convert<float>(y)));
    const auto offset = y - mark;
    if constexpr (less_one)
      return put(y, mark, number(positions) * simd::short_exp2(offset * number(rate)), offset);
    // exp(r offset) = 1 + z + z^2 / 2: z is less than 2^-17.
    const auto z = offset * number(rate * std::numbers::ln2);
    const auto sum = number(positions) * (number(1.0) + z * (number(1.0) + z * number(0.5)));
    return put(y, mark, sum, offset);
  }
};

/// learns: whether r has a gradient.
template <class X, class I, bool learns>
struct LogSumExpGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  // What y lost where it became the mark is too little for 16-bit types to see, but not for what is left of
  // terms that cancel: it is found again from the mean of exp(r (x - mark)) - 1.
  static constexpr bool less_one = learns && sizeof(T) == 2;
  using Sums = std::conditional_t<learns, WideSums<N, less_one ? 2 : 1>, NoSums>;

  struct Coefficients;
  /// What most elements of a plane need.
  struct Plane : LaneOfAll<Coefficients> {
    V float_scale, float_mark;
    simd::Mask<Accumulator, N> ordinary;
  };
  struct Coefficients {
    Wide scale, mark;
    V float_scale, float_mark;
    simd::Mask<Accumulator, N> ordinary;

    POOLHEAD_INLINE Coefficients all_of_lane(int i) const {
      return {lane_of(scale, i), lane_of(mark, i), lane_of(float_scale, i), lane_of(float_mark, i),
              lane_of(ordinary, i)};
    }
    POOLHEAD_INLINE auto lane(int i) const {
      if constexpr (std::same_as<Accumulator, float>)
        return Plane{{this, i}, lane_of(float_scale, i), lane_of(float_mark, i), lane_of(ordinary, i)};
      else
        return all_of_lane(i);
    }
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
    using A = Accumulator;
    const KeptSum<N> kept(lanes, planes, map.batch() * map.channels(), n * map.channels() + c);
    const Wide scale = simd::convert<double>(lanes(dy.row(n) + c)) / kept.sum;
    return {scale, kept.mark, simd::convert<A>(scale), simd::convert<A>(kept.mark),
            simd::convert<simd::IntOf<A>>((kept.sum - kept.sum) == simd::zero<Wide>())};
  }
  template <int K, class Shared>
  POOLHEAD_INLINE void at(const Shared& shared, Sums& sums, const V (&x)[K], const simd::Vec<I, N> (&)[K],
                          V (&dx)[K]) const {
    exponential_gradient(*this, shared, sums, x, dx);
  }
  template <int K, class Shared>
  POOLHEAD_INLINE void floats(const Shared& shared, Sums& sums, const V (&x)[K], V (&dx)[K]) const {
    const V rate = simd::splat<float, N>(static_cast<float>(r * std::numbers::log2e));
    const V least = least_distance(rate);
    V distance[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = distance[k] = simd::max(x[k] - shared.float_mark, least);
    });
    if constexpr (less_one) {
      V rest[K];
      simd::short_exp2_less_one<K, N>(rate, dx, rest);
      sums.of[1] = sums.of[1] + wide_total(rest);
    } else {
      simd::short_exp2<K, N>(rate, dx);
    }
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = simd::select(distance[k] > least, shared.float_scale * dx[k], simd::zero<V>());
      if constexpr (learns) distance[k] = dx[k] * distance[k];
    });
    if constexpr (learns) sums.of[0] = sums.of[0] + wide_total(distance);
  }
  template <int K>
  POOLHEAD_INLINE void exact(const Coefficients& shared, Sums& sums, const V (&x)[K], V (&dx)[K]) const {
    const auto nothing = simd::zero<Wide>();
    const Wide rate = simd::splat<double, N>(r * std::numbers::log2e);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const Wide distance = simd::convert<double>(x[k]) - shared.mark;
      const auto exponential = simd::exp2_less_one(rate * distance);
      const Wide weight = shared.scale * exponential.power;
      if constexpr (less_one) sums.of[1] = sums.of[1] + exponential.less_one;
      // 2^-inf times -inf is 0, as the limit is.
      [[maybe_unused]] const Wide share = simd::select(weight == nothing, weight, weight * distance);
      if constexpr (learns) sums.of[0] = sums.of[0] + share;
      dx[k] = simd::convert<Accumulator>(weight);
    });
  }
  POOLHEAD_INLINE void collect(const ChannelLanes<Accumulator, I>& lanes, const Sums& sums, Index n,
                               Index c) const {
    if constexpr (learns) {
      // sum w (x - y) = sum w (x - mark) - (y - mark): the weights add up to 1.
      const Index plane = n * map.channels() + c;
      const KeptSum<N> kept(lanes, planes, map.batch() * map.channels(), plane);
      Wide weighted = sums.of[0];
      Wide offset = kept.offset;
      if constexpr (less_one) {
        const auto number = [](double value) { return simd::splat<double, N>(value); };
        const auto positions = number(static_cast<double>(valid_positions(map, n)));
        const Wide rest = sums.of[1] / positions;
        const Wide mean = number(1.0) + rest;
        const auto is_near = simd::abs(rest) < number(0.25);
        weighted = simd::select(is_near, weighted * (kept.sum / (positions * mean)), weighted);
        offset =
            simd::select(is_near, simd::log2(mean, rest).value() / number(r * std::numbers::log2e), offset);
      }
      const Wide y = simd::convert<double>(lanes(dy.row(n) + c)) * offset;
      lanes.store(shares + plane, (weighted - y) / simd::splat<double, N>(r));
    }
  }
  void finish() const {
    if constexpr (learns) add_shares(shares, map.batch(), map.channels(), *parameter);
  }
};

}  // namespace detail

/// y = (1/r) ln(mean over positions of exp(r x));   dx = dy exp(r (x - y)) / S;
/// dr = sum dy / r (sum w x - y), w = exp(r (x - y)) / S.
///
/// features: C. r > 0 is learnable and shared (parameter "r", of shape [1]): towards 0 it gives the average,
/// towards infinity the maximum. Nothing overflows: large exponents are relative to the plane's maximum.
/// Pinheiro and Collobert, From Image-level to Pixel-level Labeling, 2015. T is the scalar of the feature maps.
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
    r(0) = sharpness;
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
  template <class, class X>
  auto inference(const X& x, const Rows<T>& y) const {
    return head(x, y, nullptr);
  }
  template <class, class X>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return head(x, y, cache.planes.data());
  }
  template <class I, class X>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                LogSumExpPool* grad) const {
    return detail::LogSumExpGradient<X, I, true>{static_cast<double>(r(0)), precise(),           x,       dy,
                                                 cache.planes.data(),       cache.shares.data(), &grad->r};
  }
  template <class I, class X>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                const NoGradient*) const {
    return detail::LogSumExpGradient<X, I, false>{static_cast<double>(r(0)), precise(), x,      dy,
                                                  cache.planes.data(),       nullptr,   nullptr};
  }
  template <Scalar U>
  auto fold() const {
    static_assert(std::same_as<U, T>, "poolhead: a stream's scalar is that of the pool's parameters");
    return fold<simd::IntOf<Accumulator<T>>>();
  }

 private:
  template <class X>
  auto head(const X& x, const Rows<T>& y, double* planes) const {
    using I = simd::IntOf<Accumulator<T>>;  // positions mean nothing to it
    const detail::LogSumExpFold<T, I> exact = fold<I>();
    const auto positions = static_cast<double>(x.positions());
    const auto relative = detail::exponential_head(
        detail::LogSumExpFloatFold<I>{{}, exact.rate, positions},
        detail::WideReduction<detail::LogSumExpFold<T, I>, X>{exact, x, y, planes}, precise());
    const double rate = static_cast<float>(exact.rate);
    return detail::direct_head<I, X>(detail::LogSumExpDirectFold<T>{rate, positions}, relative);
  }
  bool precise() const { return static_cast<double>(r(0)) < detail::least_float_rate; }
  template <class I>
  detail::LogSumExpFold<T, I> fold() const {
    return {static_cast<double>(r(0)) * std::numbers::log2e, precise()};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
