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
template <int exponent, class V>
POOLHEAD_INLINE V small_power(const V& x) {
  if constexpr (exponent <= 1)
    return x;
  else if constexpr (exponent == 2)
    return x * x;
  else if constexpr (exponent == 3)
    return x * x * x;
  else
    return (x * x) * (x * x);
}

/// f(integral_constant<int, exponent>), exponent 1 .. 4.
template <class F>
POOLHEAD_INLINE auto with_exponent(int exponent, const F& f) {
  switch (exponent) {
    case 1:
      return f(std::integral_constant<int, 1>{});
    case 2:
      return f(std::integral_constant<int, 2>{});
    case 3:
      return f(std::integral_constant<int, 3>{});
    default:
      return f(std::integral_constant<int, 4>{});
  }
}

template <class Kind, class A, class I>
struct PowerFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LogMeasure<A, N>, A, false>;

  Kind kind;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index, Index c) const {
    return State::zero(kind.rate(lanes, c));
  }
  static constexpr bool scans = true;
  bool wants_scan() const { return kind.exponent == 0; }
  POOLHEAD_INLINE V scan_start() const { return State::scan_start(); }
  template <int K, class Valid>
  POOLHEAD_INLINE V scan(const V& top, const V (&x)[K], const Valid& valid) const {
    V base[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) { base[k] = kind.base(x[k]); });
    return State::scan(top, base, valid);
  }
  POOLHEAD_INLINE V scan_lanes(const V& top) const { return State::scan_lanes(top); }
  POOLHEAD_INLINE void raise(State& state, const V& top) const { state.raise(top, kind.precise); }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    V base[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) { base[k] = kind.base(x[k]); });
    if (kind.exponent == 0) {
      state.add(base, valid, kind.precise);
    } else {
      // The powers of floats cannot overflow a double.
      with_exponent(
          kind.exponent, [&](auto exponent) __attribute__((always_inline)) {
            unroll<K>([&](auto k) __attribute__((always_inline)) {
              const V counted = valid.select(k, base[k], simd::zero<V>());
              state.sum.add(small_power<exponent>(simd::convert<double>(counted)));
            });
          });
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
    const Wide root = simd::exp2_full(simd::log2(total).value() / state.rate);
    return kind.exponent != 0 ? root : simd::convert<double>(state.mark.value) * root;
  }
  POOLHEAD_INLINE WideResults<N, 1> results(const State& state, double positions) const {
    const Wide y = wide(state, positions);
    return {y, {y}};
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<A>(wide(state, positions));
  }
};

/// dx = scale (base / y)^(p - 1), which Kind::gradient(value, x) completes. For a learnable p
/// (Kind::learnable), with q = base / y and means over positions, dp = g y / p (mean(q^p ln q) / mean(q^p) -
/// ln(mean(q^p)) / p). y cancels from the bracket, whatever it has been rounded to, and means of q^p are taken
/// as 1 + mean(q^p - 1), so that nothing is lost where a plane hardly varies.
template <class Kind, class X, class I>
struct PowerGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  struct PowerSums {
    Wide excess, product;  // sum q^p - 1, sum q^p log2 q
  };
  using Sums = std::conditional_t<Kind::learnable, PowerSums, NoSums>;
  using Number = Both<Accumulator, N>;

  struct Coefficients {
    Number scale, y, inverse, p, less_one;
    V y_rest;  // what y lost where it became a float
  };

  Kind kind;
  X map;
  Rows<const T> dy;
  const double* planes;
  double* shares;  // (N, C)
  Eigen::Tensor<T, 1, Eigen::RowMajor>* parameter;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const auto nothing = simd::zero<Wide>();
    const auto one = simd::splat<double, N>(1.0);
    const Wide norm = lanes.wide(planes + n * map.channels() + c);
    const Wide rate = kind.rate(lanes, c);
    Wide scale = simd::convert<double>(lanes(dy.row(n) + c));
    if constexpr (Kind::averages)
      scale = scale / simd::splat<double, N>(static_cast<double>(valid_positions(map, n)));
    const auto empty = norm == nothing;  // of zeros alone: no gradient
    const Wide y = simd::select(empty, one, norm);
    const Wide rounded = simd::convert<double>(simd::convert<Accumulator>(y));
    return {simd::select(empty, nothing, scale),    y, one / y, rate, rate - one,
            simd::convert<Accumulator>(y - rounded)};
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums& sums, const V& x, const simd::Vec<I, N>&,
                       const Valid& valid) const {
    if constexpr (std::same_as<Accumulator, float>) {
      if (!kind.precise) return at_as<float>(shared, sums, x, valid);
    }
    return at_as<double>(shared, sums, x, valid);
  }
  template <class Lanes>
  POOLHEAD_INLINE void collect(const Lanes& lanes, const Sums& sums, Index n, Index c) const {
    if constexpr (Kind::learnable) {
      const auto shared = prepare(lanes, n, c);
      const auto one = simd::splat<double, N>(1.0);
      const auto positions = simd::splat<double, N>(static_cast<double>(valid_positions(map, n)));
      const Wide excess = lanes.total(sums.excess) / positions;
      const Wide product = lanes.total(sums.product) / positions;
      const Wide bracket = product / (one + excess) - simd::log2(one + excess, excess).value() / shared.p.wide;
      const Wide outside = shared.scale.wide * positions * shared.y.wide / shared.p.wide;
      lanes.store(shares + n * map.channels() + c,
                  outside * bracket * simd::splat<double, N>(std::numbers::ln2));
    }
  }
  void finish() const {
    if constexpr (Kind::learnable) add_shares(shares, map.batch(), map.channels(), *parameter);
  }

 private:
  template <class C, class Valid>
  POOLHEAD_INLINE V at_as(const Coefficients& shared, Sums& sums, const V& x, const Valid& valid) const {
    using W = simd::Vec<C, N>;
    const auto numbers = [](double value) { return simd::splat<C, N>(static_cast<C>(value)); };
    const V base = kind.base(x);
    const W wide = simd::convert<C>(base);
    // q and q - 1, which where base is near y follows from their difference: that is exact.
    W quotient, less_one;
    if constexpr (Kind::learnable) {
      W difference = wide - shared.y.template as<C>();
      if constexpr (std::same_as<C, Accumulator>) difference = difference - shared.y_rest;
      if constexpr (std::same_as<C, double>) {  // whose inverse could overflow
        quotient = wide / shared.y.wide;
        less_one = difference / shared.y.wide;
      } else {
        quotient = wide * shared.inverse.narrow;
        less_one = difference * shared.inverse.narrow;
      }
    } else {
      // y may be so small that floats hold a few of its digits only.
      const Wide whole = simd::convert<double>(base) / shared.y.wide;
      quotient = simd::convert<C>(whole);
      less_one = simd::convert<C>(whole - simd::splat<double, N>(1.0));
    }
    W power = numbers(1.0);  // q^(p - 1)
    if (kind.exponent > 1) {
      power = with_exponent(
          kind.exponent - 1, [&](auto exponent)
                                 __attribute__((always_inline)) { return small_power<exponent>(quotient); });
    }
    if constexpr (Kind::learnable) {
      const W log = simd::log2(quotient, less_one).value();
      W whole, excess;  // q^p, q^p - 1
      if (kind.exponent == 0) {
        const auto both = simd::exp2_less_one(shared.p.template as<C>() * log);
        whole = both.power;
        excess = both.less_one;
        // 0^(p - 1) is 0, 1 or infinite.
        const W rate = shared.less_one.template as<C>();
        const W nothing = numbers(0.0);
        const W of_zero = simd::select(
            rate > nothing, nothing,
            simd::select(rate == nothing, numbers(1.0), numbers(std::numeric_limits<double>::infinity())));
        power = simd::select(whole == nothing, of_zero, whole / quotient);
      } else {
        whole = power * quotient;
        // q^p - 1 = (q - 1)(1 + q + ... + q^(p - 1))
        excess = less_one;
        if (kind.exponent == 2) excess = less_one * (numbers(1.0) + quotient);
        if (kind.exponent == 3) excess = less_one * (numbers(1.0) + quotient + power);
        if (kind.exponent == 4)
          excess = less_one * ((numbers(1.0) + quotient) * (numbers(1.0) + quotient * quotient));
      }
      sums.excess = sums.excess + simd::convert<double>(valid.select(0, excess, numbers(0.0)));
      // 0 ln 0 is 0.
      const W product = simd::select(whole == numbers(0.0), whole, whole * log);
      sums.product = sums.product + simd::convert<double>(valid.select(0, product, numbers(0.0)));
    } else if (kind.exponent == 0) {
      power = simd::exp2(shared.less_one.template as<C>() * simd::log2(quotient, less_one).value());
    }
    return kind.gradient(simd::convert<Accumulator>(shared.scale.template as<C>() * power), x);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
