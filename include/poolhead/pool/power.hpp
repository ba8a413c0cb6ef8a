// Sums of powers, which the generalised mean and the Lp norm are made of. Kind says what is raised, and to
// what:
//   Kind::rate(lanes, c)      p of channel c, or of one channel per lane
//   Kind::base(x)             max(x, eps), or abs(x)
//   Kind::averages            whether the sum is divided by the number of positions
//   Kind::exponent            p where it is 1, 2, 3 or 4 for all channels, else 0
#pragma once

#include "poolhead/pool/exponential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// p as a small whole number whose powers are products; 0 where it is none. The powers of doubles could
/// overflow.
template <Scalar T>
int small_exponent(double p) {
  const bool small = p == 1.0 || p == 2.0 || p == 3.0 || p == 4.0;
  return small && !std::same_as<T, double> ? static_cast<int>(p) : 0;
}

/// x^exponent, exponent 0 .. 4.
template <int N>
POOLHEAD_INLINE simd::Doubles<N> small_power(const simd::Doubles<N>& x, int exponent) {
  switch (exponent) {
    case 0:
      return simd::splat<double, N>(1.0);
    case 1:
      return x;
    case 2:
      return x * x;
    case 3:
      return x * x * x;
    default:
      return (x * x) * (x * x);
  }
}

template <class Kind, class A, class I>
struct PowerFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LogMeasure<N>, A, false>;

  Kind kind;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index, Index c) const {
    return State::zero(kind.rate(lanes, c));
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    Wide base[K];
    for (int k = 0; k < K; ++k) base[k] = simd::convert<double>(kind.base(x[k]));
    if (kind.exponent == 0) {
      state.add(base, valid);
    } else {
      for (int k = 0; k < K; ++k)
        state.sum.add(valid.select(k, small_power(base[k], kind.exponent), simd::zero<Wide>()));
    }
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    if (kind.exponent == 0)
      a.add(b);
    else
      a.sum.add(b.sum);
    return a;
  }
  POOLHEAD_INLINE Wide wide(const State& state, double positions) const {
    auto total = state.sum.value();
    if constexpr (Kind::averages) total = total / simd::splat<double, N>(positions);
    if (kind.exponent == 1) return total;
    const Wide root = simd::log2(total).value() / state.rate;
    if (kind.exponent != 0) return simd::exp2(simd::Log2<N>{simd::zero<Wide>(), root});
    return simd::exp2(simd::Log2<N>{state.mark.log.exponent, state.mark.log.fraction + root});
  }
  POOLHEAD_INLINE WideResults<N, 1> results(const State& state, double positions) const {
    const Wide y = wide(state, positions);
    return {y, {y}};
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<A>(wide(state, positions));
  }
};

/// dx = scale (base / y)^(p - 1), which Kind::gradient(value, x) completes; and, for a learnable p
/// (Kind::learnable), dp = sum g y / p (sum w ln(c / y)), w = (c / y)^p / S.
template <class Kind, class X, class I>
struct PowerGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  using Sums = std::conditional_t<Kind::learnable, Wide, NoSums>;

  struct Coefficients {
    Wide scale, inverse, less_one, share;
    simd::Log2<N> log;
  };

  Kind kind;
  X map;
  Rows<const T> dy;
  const double* y;  // (N, C)
  double* shares;   // (N, C)
  Eigen::Tensor<T, 1, Eigen::RowMajor>* parameter;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const auto one = simd::splat<double, N>(1.0);
    const auto nothing = simd::zero<Wide>();
    const Wide norm = lanes.wide(y + n * map.channels() + c);
    const Wide rate = kind.rate(lanes, c);
    Wide scale = simd::convert<double>(lanes(dy.row(n) + c));
    if constexpr (Kind::averages)
      scale = scale / simd::splat<double, N>(static_cast<double>(valid_positions(map, n)));
    const auto empty = norm == nothing;  // of zeros alone: no gradient
    scale = simd::select(empty, nothing, scale);
    const Wide safe = simd::select(empty, one, norm);
    return {scale, one / safe, rate - one, scale * norm * simd::splat<double, N>(std::numbers::ln2) / rate,
            simd::log2(safe)};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums& sums, const V& x, const simd::Vec<I, N>&,
                       const Valid& valid) const {
    const Wide base = simd::convert<double>(kind.base(x));
    const Wide quotient = base * shared.inverse;
    Wide power;
    if (kind.exponent == 0 || Kind::learnable) {
      const Wide log = simd::log2(base) - shared.log;
      power = kind.exponent == 0 ? simd::exp2(shared.less_one * log) : small_power(quotient, kind.exponent - 1);
      if constexpr (Kind::learnable) sums = sums + valid.select(0, power * quotient * log, simd::zero<Wide>());
    } else {
      power = small_power(quotient, kind.exponent - 1);
    }
    return kind.gradient(simd::convert<Accumulator>(shared.scale * power), x);
  }
  template <class Lanes>
  POOLHEAD_INLINE void collect(const Lanes& lanes, const Sums& sums, Index n, Index c) const {
    if constexpr (Kind::learnable)
      lanes.put(shares + n * map.channels() + c, sums * prepare(lanes, n, c).share);
  }
  void finish() const {
    if constexpr (Kind::learnable) add_shares(shares, map.batch(), map.channels(), *parameter);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
