// Elementary functions in as few steps as floats need: polynomials that are short, for the arguments that each
// function names (others give any number).
#pragma once

#include "poolhead/core/simd_math.hpp"

namespace poolhead::inline POOLHEAD_ISA::simd {
namespace detail {

/// The polynomial of so many terms that agrees with f at Chebyshev's points of [low, high]: all but the best
/// there is, and shorter than Taylor's.
template <class A, std::size_t Terms, class F>
constexpr std::array<A, Terms> chebyshev_polynomial(double low, double high, const F& f) {
  // cos((2 k + 1) pi / (2 Terms)) by its Taylor series.
  const auto cosine = [](double x) {
    double sum = 1.0;
    double term = 1.0;
    for (int k = 1; k < 20; ++k) sum += term *= -x * x / static_cast<double>((2 * k - 1) * (2 * k));
    return sum;
  };
  double points[Terms], newton[Terms];
  for (std::size_t k = 0; k < Terms; ++k) {
    const double angle = static_cast<double>(2 * k + 1) * std::numbers::pi / static_cast<double>(2 * Terms);
    points[k] = (low + high) / 2.0 + (high - low) / 2.0 * cosine(angle);
    newton[k] = f(points[k]);
  }
  for (std::size_t order = 1; order < Terms; ++order)
    for (std::size_t k = Terms - 1; k >= order; --k)
      newton[k] = (newton[k] - newton[k - 1]) / (points[k] - points[k - order]);
  double sum[Terms]{};
  for (std::size_t k = Terms; k-- > 0;) {
    for (std::size_t i = Terms - 1; i > 0; --i) sum[i] = sum[i - 1] - sum[i] * points[k];
    sum[0] = newton[k] - sum[0] * points[k];
  }
  std::array<A, Terms> coefficients{};
  for (std::size_t i = 0; i < Terms; ++i) coefficients[i] = static_cast<A>(sum[i]);
  return coefficients;
}

constexpr double exp2_of_small(double f) {
  double sum = 1.0;
  double term = 1.0;
  for (int k = 1; k < 24; ++k) sum += term *= f * std::numbers::ln2 / k;
  return sum;
}

/// 2^f for f in [-range, range].
template <class A, std::size_t Terms>
constexpr auto exp2_polynomial(double range) {
  return chebyshev_polynomial<A, Terms>(-range, range, exp2_of_small);
}

/// (2^f - 1) / f for f in [-range, range].
template <std::size_t Terms>
constexpr auto exp2_slope(double range) {
  return chebyshev_polynomial<float, Terms>(-range, range, [](double f) {
    double sum = std::numbers::ln2;
    double term = std::numbers::ln2;
    for (int k = 2; k < 20; ++k) sum += term *= f * std::numbers::ln2 / k;
    return sum;
  });
}

/// 2^x = 2^(i / size) 2^f with whole i, size being that of a table where the machine has lookups, else 1:
/// i % size from the table, f from a polynomial.
struct ShortExp2 {
  static constexpr int size = lookup_size;
  static constexpr int bits = std::countr_zero(static_cast<unsigned>(size));
  static constexpr int shift = Format<float>::mantissa - bits;
  static constexpr std::size_t terms = size == 32 ? 3 : size == 8 ? 4 : 7;

  static constexpr std::size_t slope_terms = size == 32 ? 3 : size == 8 ? 4 : 6;

  std::array<float, terms> polynomial = exp2_polynomial<float, terms>(0.5 / size);
  std::array<float, slope_terms> slope = exp2_slope<slope_terms>(0.5 / size);
  alignas(
      64) float table[size];  // 2^(i / size), less what adding i << shift to its bits adds below the exponent

  constexpr ShortExp2() : table() {
    for (int i = 0; i < size; ++i) {
      const auto power =
          std::bit_cast<std::int32_t>(static_cast<float>(exp2_of_small(static_cast<double>(i) / size)));
      table[i] = std::bit_cast<float>(power - (i << shift));
    }
  }
};
inline constexpr ShortExp2 short_exp2;

/// log2((1 + s) / (1 - s)) / s as a function of z = s^2, where the quotient is in [sqrt(1/2), sqrt(2)).
template <class A, std::size_t Terms>
inline constexpr auto log2_polynomial = chebyshev_polynomial<A, Terms>(0.0, 0.02945, [](double z) {
  double sum = 0.0;
  double power = 2.0 * std::numbers::log2e;
  for (int k = 0; k < 14; ++k, power *= z) sum += power / (2 * k + 1);
  return sum;
});
inline constexpr auto short_log2 = log2_polynomial<float, 4>;

}  // namespace detail

// Of floats: K vectors at a time, step by step: in each step, none waits for another.

template <int K, int N>
using Floats = Vec<float, N>[K];

/// f(k) for k = 0 .. K - 1.
template <int K, class F>
POOLHEAD_INLINE void each(const F& f) {
  poolhead::detail::unroll<K>(f);
}

namespace detail {
/// sum = c[0] + x (c[1] + x (c[2] + ...)).
template <int K, int N, std::size_t Size>
POOLHEAD_INLINE void polynomials(const Floats<K, N>& x, const std::array<float, Size>& c, Floats<K, N>& sum) {
  each<K>([&](auto k) __attribute__((always_inline)) { sum[k] = splat<float, N>(c[Size - 1]); });
  [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    (each<K>([&](auto k) __attribute__((always_inline)) {
       sum[k] = multiply_add(sum[k], x[k], splat<float, N>(c[Size - 2 - I]));
     }),
     ...);
  }
  (std::make_index_sequence<Size - 1>{});
}
}  // namespace detail

namespace detail {
/// 2^(rate x) = scale 2^rest, x becoming the rest.
template <int K, int N>
POOLHEAD_INLINE void split_exponent(const Vec<float, N>& rate, Floats<K, N>& x, Floats<K, N>& scale) {
  using Int = std::int32_t;
  const auto shift = splat<float, N>(shifter<float> / ShortExp2::size);
  Floats<K, N> shifted;
  each<K>([&](auto k) __attribute__((always_inline)) { shifted[k] = multiply_add(rate, x[k], shift); });
  each<K>([&](auto k) __attribute__((always_inline)) {
    x[k] = multiply_add(rate, x[k], shift - shifted[k]);
    const auto whole = bit_cast<Int>(shifted[k]);
    scale[k] = bit_cast<float>(bit_cast<Int>(lookup<N>(detail::short_exp2.table, whole)) +
                               (whole << ShortExp2::shift));
  });
}
}  // namespace detail

/// x becomes 2^(rate x), rate x in -126 .. 126.
template <int K, int N>
POOLHEAD_INLINE void short_exp2(const Vec<float, N>& rate, Floats<K, N>& x) {
  Floats<K, N> scale, power;
  detail::split_exponent<K, N>(rate, x, scale);
  detail::polynomials<K, N>(x, detail::short_exp2.polynomial, power);
  each<K>([&](auto k) __attribute__((always_inline)) { x[k] = scale[k] * power[k]; });
}

/// x becomes 2^(rate x), and less_one 2^(rate x) - 1, rate x in -126 .. 126.
template <int K, int N>
POOLHEAD_INLINE void short_exp2_less_one(const Vec<float, N>& rate, Floats<K, N>& x, Floats<K, N>& less_one) {
  Floats<K, N> scale, slope;
  detail::split_exponent<K, N>(rate, x, scale);
  detail::polynomials<K, N>(x, detail::short_exp2.slope, slope);
  each<K>([&](auto k) __attribute__((always_inline)) {
    const auto rest = x[k] * slope[k];
    x[k] = multiply_add(scale[k], rest, scale[k]);
    less_one[k] = multiply_add(scale[k], rest, scale[k] - splat<float, N>(1.0F));
  });
}

/// Takes normal numbers above 0 apart: x = 2^exponent (1 + less_one) in [sqrt(1/2), sqrt(2)). 0 is taken for
/// 2^-127.
template <int N>
POOLHEAD_INLINE void split_float(const Vec<float, N>& x, Vec<float, N>& exponent, Vec<float, N>& less_one) {
  using Int = std::int32_t;
  constexpr auto bits_of = [](float value) { return std::bit_cast<Int>(value); };
  constexpr float sqrt_half = static_cast<float>(std::numbers::sqrt2 / 2.0);
  constexpr float whole = detail::power_of_2<float>(23);
  const auto ints = [](Int value) { return splat<Int, N>(value); };
  const auto shifted = bit_cast<Int>(x) + ints(bits_of(1.0F) - bits_of(sqrt_half));
  exponent = bit_cast<float>((shifted >> 23) | ints(bits_of(whole))) - splat<float, N>(whole + 127.0F);
  const auto mantissa = bit_cast<float>((shifted & ints((1 << 23) - 1)) + ints(bits_of(sqrt_half)));
  less_one = mantissa - splat<float, N>(1.0F);
}

/// less_one becomes exponent + log2(1 + less_one), as split_float gives them.
template <int K, int N>
POOLHEAD_INLINE void short_log2(const Floats<K, N>& exponent, Floats<K, N>& less_one) {
  Floats<K, N> square, series;
  each<K>([&](auto k) __attribute__((always_inline)) {
    less_one[k] = less_one[k] / (less_one[k] + splat<float, N>(2.0F));
    square[k] = less_one[k] * less_one[k];
  });
  detail::polynomials<K, N>(square, detail::short_log2, series);
  each<K>([&](auto k) __attribute__((always_inline)) {
    less_one[k] = multiply_add(less_one[k], series[k], exponent[k]);
  });
}

// Of doubles, to 2^-35, which floats cannot tell from the whole.

/// log2(x) for normal x above 0. less_one: where x is near 1, x - 1, perhaps to more digits than x itself can
/// hold.
template <int N>
POOLHEAD_INLINE Doubles<N> short_log2(const Doubles<N>& x, const Doubles<N>& less_one) {
  using Int = std::int64_t;
  constexpr int mantissa = detail::Format<double>::mantissa;
  constexpr auto bits_of = [](double value) { return std::bit_cast<Int>(value); };
  constexpr double sqrt_half = std::numbers::sqrt2 / 2.0;
  constexpr double whole = detail::power_of_2<double>(mantissa);
  const auto number = [](double value) { return splat<double, N>(value); };
  const auto ints = [](Int value) { return splat<Int, N>(value); };
  const auto bits = bit_cast<Int>(x) + ints(bits_of(1.0) - bits_of(sqrt_half));
  const auto exponent = bit_cast<double>((bits >> mantissa) | ints(bits_of(whole))) -
                        number(whole + detail::Format<double>::bias);
  const auto m = bit_cast<double>((bits & ints((Int{1} << mantissa) - 1)) + ints(bits_of(sqrt_half)));
  const auto f = select(exponent == number(0.0), less_one, m - number(1.0));
  const auto s = f / (f + number(2.0));
  return multiply_add(s, detail::polynomial(s * s, detail::log2_polynomial<double, 5>), exponent);
}
template <int N>
POOLHEAD_INLINE Doubles<N> short_log2(const Doubles<N>& x) {
  return short_log2(x, x - splat<double, N>(1.0));
}

/// 2^x, x in -1022 .. 1022.
template <int N>
POOLHEAD_INLINE Doubles<N> short_exp2(const Doubles<N>& x) {
  using Int = std::int64_t;
  const auto shifter = splat<double, N>(detail::shifter<double>);
  const auto shifted = x + shifter;
  static constexpr auto series = detail::exp2_polynomial<double, 8>(0.5);
  const auto power = detail::polynomial(x - (shifted - shifter), series);
  return bit_cast<double>(bit_cast<Int>(power) + (bit_cast<Int>(shifted) << detail::Format<double>::mantissa));
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
