// The gradient of sums of powers. Kind: see pool/power.hpp, and
//   Kind::learnable           whether p has a gradient
//   Kind::gradient(value, x)  the value where x passes it on, with its sign
//   Kind::passes(x)           whether it does
#pragma once

#include "poolhead/pool/power.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

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
  // The gradient of p needs logarithms that are exact near 1.
  static constexpr bool has_series = !Kind::learnable && std::same_as<Accumulator, float>;
  using Sums = std::conditional_t<Kind::learnable, WideSums<N, 2>, NoSums>;  // q^p - 1, q^p log2 q

  struct Coefficients;
  /// What most elements of a plane need.
  struct Plane : LaneOfAll<Coefficients> {
    V unit, inverse, float_scale, whole_inverse;
    simd::Mask<Accumulator, N> ordinary;
  };
  struct Coefficients {
    Wide scale, y, p;
    V unit, float_y, inverse, float_p;  // y and its inverse in units, see unit_of
    V y_rest;                           // what y lost where it became a float
    V float_scale, whole_inverse;       // 1 / y where that is a normal float, else 0
    simd::Mask<Accumulator, N> ordinary;

    POOLHEAD_INLINE Coefficients all_of_lane(int i) const {
      return {lane_of(scale, i),         lane_of(y, i),       lane_of(p, i),
              lane_of(unit, i),          lane_of(float_y, i), lane_of(inverse, i),
              lane_of(float_p, i),       lane_of(y_rest, i),  lane_of(float_scale, i),
              lane_of(whole_inverse, i), lane_of(ordinary, i)};
    }
    POOLHEAD_INLINE auto lane(int i) const {
      if constexpr (has_series)
        return Plane{{this, i},
                     lane_of(unit, i),
                     lane_of(inverse, i),
                     lane_of(float_scale, i),
                     lane_of(whole_inverse, i),
                     lane_of(ordinary, i)};
      else
        return all_of_lane(i);
    }
  };

  Kind kind;
  X map;
  Rows<const T> dy;
  const double* planes;
  double* shares;  // (N, C)
  Eigen::Tensor<T, 1, Eigen::RowMajor>* parameter;
  bool precise = kind.precise;
  simd::PowerSeries series = power_series();  // of p - 1

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    using A = Accumulator;
    const auto nothing = simd::zero<Wide>();
    const auto one = simd::splat<double, N>(1.0);
    const Wide norm = lanes.wide(planes + n * map.channels() + c);
    const Wide p = kind.rate(lanes, c);
    Wide scale = simd::convert<double>(lanes(dy.row(n) + c));
    if constexpr (Kind::averages)
      scale = scale / simd::splat<double, N>(static_cast<double>(valid_positions(map, n)));
    const auto empty = norm == nothing;  // of zeros alone: no gradient
    scale = simd::select(empty, nothing, scale);
    const Wide y = simd::select(empty, one, norm);
    const Wide unit = unit_of(y);
    const Wide near_one = y * unit;
    const V float_y = simd::convert<A>(near_one);
    auto ordinary = near_one < simd::splat<double, N>(0x1p100);
    if (series.usable) ordinary = ordinary & (simd::splat<double, N>(0x1p-100) <= y);
    const auto moderate = (simd::splat<double, N>(0x1p-126) < y) & (y < simd::splat<double, N>(0x1p126));
    return {scale,
            y,
            p,
            simd::convert<A>(unit),
            float_y,
            simd::convert<A>(one / near_one),
            simd::convert<A>(p),
            simd::convert<A>(near_one - simd::convert<double>(float_y)),
            simd::convert<A>(scale),
            simd::convert<A>(simd::select(moderate, one / y, nothing)),
            simd::convert<simd::IntOf<A>>(ordinary)};
  }
  template <int K, class Shared>
  POOLHEAD_INLINE void at(const Shared& shared, Sums& sums, const V (&x)[K], const simd::Vec<I, N> (&)[K],
                          V (&dx)[K]) const {
    if constexpr (has_series) {
      if (series.usable && !simd::all(shared.ordinary)) [[unlikely]] {
        // Copies, as in exponential_gradient, but of little.
        V from[K], to[K];
        unroll<K>([&](auto k) __attribute__((always_inline)) { from[k] = x[k]; });
        if (put_raised(shared.unit, shared.inverse, shared.whole_inverse, shared.float_scale, shared.ordinary,
                       from, to)) {
          unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = to[k]; });
          return;
        }
      }
    }
    exponential_gradient(*this, shared, sums, x, dx);
  }

  template <int K, class Shared>
  POOLHEAD_INLINE void floats(const Shared& shared, Sums& sums, const V (&x)[K], V (&dx)[K]) const {
    if (kind.exponent != 0) return by_products(shared, sums, x, dx);
    if constexpr (has_series) {
      if (series.usable) return by_series(shared, x, dx);
    }
    by_logarithms(complete(shared), sums, x, dx);
  }
  template <int K>
  POOLHEAD_INLINE void exact(const Coefficients& shared, Sums& sums, const V (&x)[K], V (&dx)[K]) const {
    if constexpr (has_series) {
      if (series.usable) return by_raised_series(shared, x, dx);
    }
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      Wide added[2];
      dx[k] = exact_one(shared, x[k], added);
      if constexpr (Kind::learnable)
        unroll<2>([&](auto m) __attribute__((always_inline)) { sums.of[m] = sums.of[m] + added[m]; });
    });
  }

  POOLHEAD_INLINE void collect(const ChannelLanes<Accumulator, I>& lanes, const Sums& sums, Index n,
                               Index c) const {
    if constexpr (Kind::learnable) {
      const auto shared = prepare(lanes, n, c);
      const auto one = simd::splat<double, N>(1.0);
      const auto positions = simd::splat<double, N>(static_cast<double>(valid_positions(map, n)));
      const Wide excess = sums.of[0] / positions;
      const Wide product = sums.of[1] / positions;
      const Wide bracket = product / (one + excess) - simd::log2(one + excess, excess).value() / shared.p;
      const Wide outside = shared.scale * positions * shared.y / shared.p;
      lanes.store(shares + n * map.channels() + c,
                  outside * bracket * simd::splat<double, N>(std::numbers::ln2));
    }
  }
  void finish() const {
    if constexpr (Kind::learnable) add_shares(shares, map.batch(), map.channels(), *parameter);
  }

 private:
  simd::PowerSeries power_series() const {
    const bool wanted = has_series && kind.exponent == 0 && !precise;
    if (!wanted) return {};
    const double p = kind.shared_rate();
    if (p > 13.0) return {};  // logarithms near 1 lose less than a quotient that is a float
    // One of S numbers is at most S^(1/p) times their mean.
    const double largest = Kind::averages ? std::pow(static_cast<double>(map.positions()), 1.0 / p) : 1.0;
    return {p - 1.0, largest};
  }
  /// A coefficient that several vectors need: those of planes are in registers.
  template <class Shared>
  POOLHEAD_INLINE static V held(const V& coefficient) {
    if constexpr (std::same_as<Shared, Coefficients>)
      return simd::in_register(coefficient);
    else
      return coefficient;
  }
  /// q.
  template <int K, class Shared>
  POOLHEAD_INLINE void quotients(const Shared& shared, const V (&x)[K], V (&quotient)[K]) const {
    const V unit = held<Shared>(shared.unit);
    const V inverse = held<Shared>(shared.inverse);
    unroll<K>([&](auto k) __attribute__((always_inline)) { quotient[k] = kind.base(x[k]) * unit * inverse; });
  }
  /// q - 1. Where the base is near y, the difference is exact.
  template <int K>
  POOLHEAD_INLINE void less_ones(const Coefficients& shared, const V (&x)[K], V (&less_one)[K]) const {
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      less_one[k] = ((kind.base(x[k]) * shared.unit - shared.float_y) - shared.y_rest) * shared.inverse;
    });
  }
  /// log2(q).
  template <int K>
  POOLHEAD_INLINE static void logarithms(const V (&quotient)[K], const V (&less_one)[K], V (&log)[K]) {
    V exponent[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      simd::split_float(quotient[k], exponent[k], log[k]);
      log[k] = simd::select(exponent[k] == simd::zero<V>(), less_one[k], log[k]);
    });
    simd::short_log2<K, N>(exponent, log);
  }
  /// Adds q^p - 1 and q^p log2(q); whole: q^p.
  template <int K>
  POOLHEAD_INLINE static void add_to(Sums& sums, const V (&excess)[K], V (&whole)[K], const V (&log)[K]) {
    sums.of[0] = sums.of[0] + wide_total(excess);
    unroll<K>([&](auto k) __attribute__((always_inline)) { whole[k] = whole[k] * log[k]; });
    sums.of[1] = sums.of[1] + wide_total(whole);
  }
  /// power: q^(p - 1).
  template <int K, class Shared>
  POOLHEAD_INLINE void put(const Shared& shared, const V (&power)[K], const V (&x)[K], V (&dx)[K]) const {
    const V scale = held<Shared>(shared.float_scale);
    unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = kind.gradient(scale * power[k], x[k]); });
  }

  template <int K, class Shared>
  POOLHEAD_INLINE void by_products(const Shared& shared, Sums& sums, const V (&x)[K], V (&dx)[K]) const {
    V quotient[K], power[K];
    quotients(shared, x, quotient);
    small_powers(quotient, power);
    if constexpr (Kind::learnable) {
      V less_one[K], log[K], whole[K], excess[K];
      less_ones(shared, x, less_one);
      logarithms(quotient, less_one, log);
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        whole[k] = power[k] * quotient[k];
        excess[k] = small_excess(quotient[k], less_one[k], power[k]);
      });
      add_to(sums, excess, whole, log);
    }
    put(shared, power, x, dx);
  }
  template <int K>
  POOLHEAD_INLINE void by_logarithms(const Coefficients& shared, Sums& sums, const V (&x)[K],
                                     V (&dx)[K]) const {
    const V nothing = simd::zero<V>();
    const V one = simd::splat<float, N>(1.0F);
    const V least = simd::splat<float, N>(-125.9F);  // below, 2^x is 0
    V quotient[K], less_one[K], log[K], power[K];
    quotients(shared, x, quotient);
    less_ones(shared, x, less_one);
    logarithms(quotient, less_one, log);
    if constexpr (Kind::learnable) {
      V whole[K], excess[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        power[k] = whole[k] = simd::max(shared.float_p * log[k], least);
      });
      simd::short_exp2_less_one<K, N>(one, whole, excess);
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        whole[k] = simd::select(power[k] > least, whole[k], nothing);
        power[k] = whole[k] / quotient[k];
      });
      add_to(sums, excess, whole, log);
    } else {
      const V less = shared.float_p - one;
      unroll<K>([&](auto k)
                    __attribute__((always_inline)) { log[k] = power[k] = simd::max(less * log[k], least); });
      simd::short_exp2<K, N>(one, power);
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        power[k] = simd::select(log[k] > least, power[k], nothing);
      });
    }
    put(shared, power, x, dx);
  }
  /// dx by the series, or by logarithms for an element that is too small for it, whatever its neighbours are.
  template <int K, class Shared>
  POOLHEAD_INLINE void by_series(const Shared& shared, const V (&x)[K], V (&dx)[K]) const {
    V power[K];
    const V inverse = held<Shared>(shared.whole_inverse);
    auto small = simd::zero<simd::Mask<float, N>>();
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      power[k] = kind.base(x[k]) * inverse;
      small = small | is_small(power[k], x[k]);
    });
    simd::powers<K, N>(series, power);
    put(shared, power, x, dx);
    if (simd::any(small)) [[unlikely]] {
      // Copies, as in exponential_gradient.
      const auto coefficients = complete(shared);
      V from[K], to[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        from[k] = x[k];
        to[k] = dx[k];
      });
      replace_small(coefficients, from, to);
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = to[k]; });
    }
  }
  POOLHEAD_INLINE auto is_small(const V& quotient, const V& x) const {
    return kind.passes(x) & (quotient < simd::splat<float, N>(series.least));
  }
  /// Not inlined: its constants would take the registers of those that all elements need.
  template <int K>
  [[gnu::noinline]] void replace_small(const Coefficients& shared, const V (&x)[K], V (&dx)[K]) const {
    Sums none;
    V others[K];
    by_logarithms(shared, none, x, others);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = simd::select(is_small(kind.base(x[k]) * shared.whole_inverse, x[k]), others[k], dx[k]);
    });
  }

  /// Coefficients of planes whose y is tiny, beside ordinary ones: x may be denormal, and is raised there.
  struct Raised {
    V inverse, scale;
    simd::Mask<Accumulator, N> tiny, covered;  // covered: tiny or ordinary

    POOLHEAD_INLINE Raised(const V& unit, const V& raised_inverse, const V& whole_inverse, const V& float_scale,
                           const simd::Mask<Accumulator, N>& ordinary)
        : scale(float_scale),
          tiny((unit == simd::splat<Accumulator, N>(0x1p64F)) & ~ordinary),
          covered(ordinary | tiny) {
      inverse = simd::select(tiny, raised_inverse, whole_inverse);
    }
  };
  /// dx by the series, which is right where `covered` says so.
  template <int K>
  POOLHEAD_INLINE void raised_series(const Raised& shared, const V (&x)[K], V (&dx)[K],
                                     simd::Mask<float, N> (&covered)[K]) const {
    V power[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const V base = kind.base(x[k]);
      power[k] = simd::select(shared.tiny, simd::raised_abs(base, 64), base) * shared.inverse;
      covered[k] = shared.covered & ~is_small(power[k], x[k]);
    });
    simd::powers<K, N>(series, power);
    unroll<K>([&](auto k)
                  __attribute__((always_inline)) { dx[k] = kind.gradient(shared.scale * power[k], x[k]); });
  }
  /// Whether that was all.
  template <int K>
  [[gnu::noinline]] bool put_raised(const V unit, const V inverse, const V whole_inverse, const V scale,
                                    const simd::Mask<float, N> ordinary, const V (&x)[K], V (&dx)[K]) const {
    simd::Mask<float, N> covered[K];
    raised_series(Raised(unit, inverse, whole_inverse, scale, ordinary), x, dx, covered);
    auto all = covered[0];
    unroll<K>([&](auto k) __attribute__((always_inline)) { all = all & covered[k]; });
    return simd::all(all);
  }
  /// What is too small for the series, and other planes, in double.
  template <int K>
  POOLHEAD_INLINE void by_raised_series(const Coefficients& shared, const V (&x)[K], V (&dx)[K]) const {
    simd::Mask<float, N> covered[K];
    const Raised raised(shared.unit, shared.inverse, shared.whole_inverse, shared.float_scale, shared.ordinary);
    raised_series(raised, x, dx, covered);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      Wide none[2];
      if (!simd::all(covered[k])) dx[k] = simd::select(covered[k], dx[k], exact_one(shared, x[k], none));
    });
  }

  /// q^(p - 1), p = 1, 2, 3, 4.
  template <int K>
  POOLHEAD_INLINE void small_powers(const V (&quotient)[K], V (&power)[K]) const {
    if (kind.exponent == 1) {
      unroll<K>([&](auto k) __attribute__((always_inline)) { power[k] = simd::splat<Accumulator, N>(1); });
      return;
    }
    with_number<3>(
        kind.exponent - 1, [&](auto exponent) __attribute__((always_inline)) {
          unroll<K>([&](auto k)
                        __attribute__((always_inline)) { power[k] = small_power<exponent>(quotient[k]); });
        });
  }
  /// q^p - 1 = (q - 1)(1 + q + ... + q^(p - 1)).
  POOLHEAD_INLINE V small_excess(const V& quotient, const V& less_one, const V& power) const {
    const V one = simd::splat<Accumulator, N>(1);
    if (kind.exponent == 2) return less_one * (one + quotient);
    if (kind.exponent == 3) return less_one * (one + quotient + power);
    if (kind.exponent == 4) return less_one * ((one + quotient) * (one + quotient * quotient));
    return less_one;
  }

  /// One vector in double, with what it adds to the sums. Not inlined: it is for the few.
  [[gnu::noinline]] V exact_one(const Coefficients& shared, const V& x, Wide (&added)[2]) const {
    const Wide nothing = simd::zero<Wide>();
    const Wide one = simd::splat<double, N>(1.0);
    const Wide base = simd::convert<double>(kind.base(x));
    const Wide quotient = base / shared.y;
    const Wide less_one = (base - shared.y) / shared.y;
    const Wide log = simd::log2(quotient, less_one).value();
    const auto whole = simd::exp2_less_one(shared.p * log);
    // 0^(p - 1) is 0, 1 or infinite.
    const Wide of_zero = simd::select(
        shared.p > one, nothing,
        simd::select(shared.p == one, one, simd::splat<double, N>(std::numeric_limits<double>::infinity())));
    const Wide power = simd::select(whole.power == nothing, of_zero, whole.power / quotient);
    added[0] = whole.less_one;
    added[1] = simd::select(whole.power == nothing, nothing, whole.power * log);  // 0 ln 0 is 0
    return kind.gradient(simd::convert<Accumulator>(shared.scale * power), x);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
