// Sums of powers without logarithms: products where the exponent is a small whole number, else a series. Kind
// is that of pool/power.hpp.
#pragma once

#include "poolhead/core/power_series.hpp"
#include "poolhead/pool/direct_sum.hpp"

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

/// The cube root of 0 and of x in the range of normal floats: r = x^(-1/3) to the digits of a float by Newton's
/// steps, which need no division, from what a third of x's bits says; then one for x r^2, in double.
template <int N>
POOLHEAD_INLINE simd::Doubles<N> cube_root(const simd::Doubles<N>& x) {
  const auto number = [](float value) { return simd::splat<float, N>(value); };
  const auto near = simd::convert<float>(x);
  const auto bits = simd::convert<float>(simd::bit_cast<std::int32_t>(near));
  const auto third = simd::convert<std::int32_t>(bits * number(1.0F / 3.0F));
  auto r = simd::bit_cast<float>(simd::splat<std::int32_t, N>(0x54A2FA8C) - third);  // to 4 %
  for (int step = 0; step < 3; ++step) {
    const auto rest = number(1.0F) - (near * r) * (r * r);
    r = simd::multiply_add(rest, r * number(1.0F / 3.0F), r);
  }
  const auto root = simd::convert<double>((near * r) * r);
  const auto slope = simd::convert<double>(r * r * number(1.0F / 3.0F));
  return simd::multiply_add(x - root * root * root, slope, root);
}

/// x^(1 / exponent), exponent 1 .. 4, for 0 and for x in the range of normal floats.
template <int N>
POOLHEAD_INLINE simd::Doubles<N> small_root(const simd::Doubles<N>& x, int exponent) {
  if (exponent == 1) return x;
  if (exponent == 2) return simd::sqrt(x);
  if (exponent == 4) return simd::sqrt(simd::sqrt(x));
  return cube_root<N>(x);
}

/// Sums of powers of floats: of products for exponent = 1, 2, 3, 4, by the series for 0. Channels whose powers
/// leave the range of floats, or may have lost something at its lower end, are listed. tiny: in units that make
/// normal numbers of denormal ones; of channels alone that would surely be listed otherwise.
template <int exponent, bool tiny, class Kind, class Exact, class I, int N = simd::lanes<float>>
struct ProductReduction : SumReduction<WideSum<float, N>, ShortSum<N>, I> {
  static constexpr bool by_series = exponent == 0;
  static constexpr Effort effort = by_series ? Effort::computes : Effort::sums;
  // Its power is the smallest normal number: below, products take many times as long on some machines, and add
  // nothing to the sum of an ordinary plane.
  static constexpr float smallest = exponent == 1   ? 0.0F
                                    : exponent == 2 ? 0x1p-63F
                                    : exponent == 3 ? 0x1p-42F
                                                    : 0x1.6A09E8p-32F;
  static constexpr Index most_short_positions = 1023;
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  using State = WideSum<float, N>;

  Kind kind;
  double positions;
  const Exact& exact;
  ChannelList* others;
  const simd::PowerSeries& series;
  int raised = tiny ? exponent_of_unit() : 0;
  double lowest_sum = tiny ? 0.0 : lowest();
  double highest_sum = tiny ? highest_tiny() : highest();
  V least = simd::splat<float, N>(tiny ? series.least : kind.least(by_series ? series.least : smallest));

  /// Whether there is something for it to do.
  bool is_usable() const { return highest_sum > 0.0; }

  template <class S, int K, class Valid>
  POOLHEAD_INLINE void accumulate(S& state, const V (&x)[K], const Positions<I, N>&, const Valid& valid) const {
    accumulate_terms(*this, state, x, valid);
  }
  static constexpr int terms_of_each = 1;
  template <int K>
  POOLHEAD_INLINE void terms(const V (&x)[K], V (&term)[1][K]) const {
    V(&power)[K] = term[0];
    V base[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      if constexpr (tiny)
        base[k] = simd::raised_abs(kind.base(x[k]), raised);
      else
        base[k] = exponent == 1 ? kind.base(x[k]) : kind.base(x[k], least);
      // A NaN, too, becomes the most.
      power[k] =
          by_series ? simd::min(base[k], simd::splat<float, N>(series.most)) : small_power<exponent>(base[k]);
      if constexpr (tiny && by_series) power[k] = simd::max(power[k], least);
    });
    if constexpr (by_series) simd::powers<K, N>(series, power);
    if constexpr (tiny && by_series)
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        power[k] = simd::select(base[k] == simd::zero<V>(), base[k], power[k]);
      });
  }
  template <class S, int K>
  POOLHEAD_INLINE void add(S& state, const V (&term)[1][K]) const {
    add_terms(state, term[0]);
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    const auto number = [](double value) { return simd::splat<double, N>(value); };
    auto total = state.sum;
    if constexpr (Kind::averages) total = total * number(1.0 / positions);
    Wide y = root(total);
    if constexpr (tiny) y = simd::select(total == number(0.0), total, y * number(std::exp2(-raised)));
    exact.put_results(n, c, count)(y, y);
    const auto ours = (number(lowest_sum) <= state.sum) & (state.sum <= number(highest_sum));
    if (!simd::all(ours)) [[unlikely]]
      others->append(~simd::bits(ours), c, count);
  }

 private:
  POOLHEAD_INLINE Wide root(const Wide& x) const {
    if constexpr (by_series)
      return simd::short_exp2(simd::short_log2(x) * simd::splat<double, N>(1.0 / kind.shared_rate()));
    else
      return small_root<N>(x, exponent);
  }
  /// Sums below may have lost something. A sum of the elements themselves does not.
  double lowest() const {
    if (exponent == 1) return 0.0;
    if (!by_series) return positions * 0x1p-100;
    return kind.least(0.0F) < series.least ? positions * 0x1p26 * power(series.least) : 0.0;
  }
  double highest() const {
    const auto largest = static_cast<double>(std::numeric_limits<float>::max());
    return by_series ? std::min(largest, 0.99 * power(series.most)) : largest;
  }
  /// What a plane has at most that is surely below the lowest ordinary sum.
  double highest_tiny() const {
    return raised == 0 ? 0.0
                       : std::min(highest(), 0.999 * lowest() * power(std::exp2(static_cast<float>(raised))));
  }
  double power(float x) const { return std::pow(static_cast<double>(x), kind.shared_rate()); }
  /// In the unit 2^-k, the powers of all denormal numbers are normal, means of cubes as well. 0: there is none.
  int exponent_of_unit() const {
    if constexpr (!by_series) return exponent == 2 ? 87 : 118;
    const auto lowest_exponent = static_cast<int>(std::ceil(std::log2(series.least)));
    return lowest_exponent < -22 ? lowest_exponent + 149 : 0;
  }
};

/// Sums of products in double, where no power of a float leaves the range. Planes whose sum is not finite,
/// because they hold an infinity or a NaN, are summed again as exponentials.
template <class Kind, class Exponentials, class I>
struct WideProductReduction {
  using Accumulator = float;
  using PositionLane = I;
  static constexpr bool any_order = true;
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  using State = WideSum<float, N>;

  Kind kind;
  double positions;
  const Exponentials& exponentials;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero();
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    with_number<4>(
        kind.exponent, [&](auto exponent) __attribute__((always_inline)) {
          Wide power[K];
          unroll<K>([&](auto k) __attribute__((always_inline)) {
            const V base = valid.select(k, kind.base(x[k]), simd::zero<V>());
            power[k] = small_power<exponent>(simd::convert<double>(base));
          });
          state.add(wide_total(power));
        });
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    auto total = state.sum;
    if constexpr (Kind::averages) total = total / simd::splat<double, N>(positions);
    const Wide y = root(total);
    exponentials.exact.put_results(n, c, count)(y, y);
    const auto finite = (state.sum - state.sum) == simd::zero<Wide>();
    each_run(~simd::bits(finite), count,
             [&](int from, int to) { exponentials.reduce_block(exponentials.exact.map, n, c + from, c + to); });
  }

 private:
  POOLHEAD_INLINE Wide root(const Wide& x) const {
    if (kind.exponent != 3) return small_root<N>(x, kind.exponent);
    const auto nothing = simd::zero<Wide>();
    const auto third = simd::log2(x).value() / simd::splat<double, N>(3.0);
    return simd::select(x == nothing, nothing, simd::exp2_full(third));
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
