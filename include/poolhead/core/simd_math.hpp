// Elementary functions on vectors of doubles, to within about an ulp. Float data is converted first: what is
// summed afterwards then has no rounding of its own. Polynomials are the functions' Taylor series, cut where a
// double no longer sees the next term.
#pragma once

#include "poolhead/core/simd.hpp"

#include <array>
#include <bit>
#include <numbers>

namespace poolhead::inline POOLHEAD_ISA::simd {

template <int N>
using Doubles = Vec<double, N>;

namespace detail {

/// c[0] + x (c[1] + x (c[2] + ...)).
template <int N, std::size_t Size>
POOLHEAD_INLINE Doubles<N> polynomial(const Doubles<N>& x, const std::array<double, Size>& c) {
  auto sum = splat<double, N>(c[Size - 1]);
  [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    ((sum = sum * x + splat<double, N>(c[Size - 2 - I])), ...);
  }
  (std::make_index_sequence<Size - 1>{});
  return sum;
}

/// (2^f - 1) / f = sum ln(2)^(k + 1) f^k / (k + 1)!
inline constexpr auto exp2_series = [] {
  std::array<double, 13> c{};
  double term = 1.0;
  for (std::size_t k = 0; k < c.size(); ++k) c[k] = term *= std::numbers::ln2 / static_cast<double>(k + 1);
  return c;
}();

/// 2 atanh(s) / s = sum 2 z^k / (2 k + 1), z = s^2, in units of ln(2).
inline constexpr auto log2_series = [] {
  std::array<double, 11> c{};
  for (std::size_t k = 0; k < c.size(); ++k) c[k] = 2.0 / static_cast<double>(2 * k + 1) * std::numbers::log2e;
  return c;
}();

inline constexpr double infinity = std::numeric_limits<double>::infinity();

}  // namespace detail

/// 2^x for results that are normal numbers: 0 below 2^-1022, infinity above 2^1023. NaN stays NaN.
template <int N>
POOLHEAD_INLINE Doubles<N> exp2(const Doubles<N>& x) {
  // Adding and subtracting 1.5 * 2^52 rounds to the nearest integer n and leaves it in the low bits.
  const auto shifter = splat<double, N>(0x1.8p52);
  const auto shifted = x + shifter;
  const auto f = x - (shifted - shifter);
  const auto scale = bit_cast<double>((bit_cast<std::int64_t>(shifted) << 52) +
                                      splat<std::int64_t, N>(std::bit_cast<std::int64_t>(1.0)));
  const auto power = scale + scale * (f * detail::polynomial(f, detail::exp2_series));
  const auto zero_or_power = select(x < splat<double, N>(-1022.0), zero<Doubles<N>>(), power);
  return select(x > splat<double, N>(1023.0), splat<double, N>(detail::infinity), zero_or_power);
}

/// A logarithm to base 2 as exponent + fraction, so that the difference of two keeps its low bits. exponent is
/// a whole number, fraction in [-0.5, 0.5]; of 0, infinity and NaN the fraction is -infinity, infinity and NaN.
template <int N>
struct Log2 {
  Doubles<N> exponent, fraction;

  template <class F>
  static Log2 zip(const F& f, const Log2& a, const Log2& b) {
    return {f(a.exponent, b.exponent), f(a.fraction, b.fraction)};
  }
  /// log2 of the quotient.
  POOLHEAD_INLINE Doubles<N> operator-(const Log2& other) const {
    return (exponent - other.exponent) + (fraction - other.fraction);
  }
  POOLHEAD_INLINE Doubles<N> value() const { return exponent + fraction; }
};

/// log2(x) for x >= 0.
template <int N>
POOLHEAD_INLINE Log2<N> log2(const Doubles<N>& x) {
  using Int = Vec<std::int64_t, N>;
  constexpr auto bits_of = [](double value) { return std::bit_cast<std::int64_t>(value); };
  const auto ints = [](std::int64_t value) { return splat<std::int64_t, N>(value); };
  const auto numbers = [](double value) { return splat<double, N>(value); };
  // Denormal numbers are made normal.
  const auto small = x < numbers(0x1p-1022);
  const Int bits = bit_cast<std::int64_t>(select(small, x * numbers(0x1p54), x));
  // x = 2^exponent m with m in [sqrt(1/2), sqrt(2)).
  constexpr double sqrt_half = std::numbers::sqrt2 / 2.0;
  const Int shifted = bits + ints(bits_of(1.0) - bits_of(sqrt_half));
  const auto exponent = bit_cast<double>((shifted >> 52) | ints(bits_of(0x1p52))) -
                        select(small, numbers(0x1p52 + 1023.0 + 54.0), numbers(0x1p52 + 1023.0));
  const auto m = bit_cast<double>((shifted & ints((std::int64_t{1} << 52) - 1)) + ints(bits_of(sqrt_half)));
  const auto f = m - numbers(1.0);
  const auto s = f / (f + numbers(2.0));
  const auto fraction = s * detail::polynomial(s * s, detail::log2_series);
  const auto number = select(x == zero<Doubles<N>>(), numbers(-detail::infinity), fraction);
  return {exponent, select(x < numbers(detail::infinity), number, x)};
}

/// The nearest whole number; |x| < 2^51.
template <int N>
POOLHEAD_INLINE Doubles<N> round(const Doubles<N>& x) {
  const auto shifter = splat<double, N>(0x1.8p52);
  return x + shifter - shifter;
}

/// 2^(x.exponent + x.fraction) over the whole range of double, denormal results included; the fraction may be
/// any number.
template <int N>
POOLHEAD_INLINE Doubles<N> exp2(const Log2<N>& x) {
  const auto limit = splat<double, N>(4096.0);
  const auto negative_limit = splat<double, N>(-4096.0);
  const auto below = select(x.fraction > limit, limit, x.fraction);
  const auto fraction = select(below < negative_limit, negative_limit, below);
  const auto carry = round(fraction);
  const auto exponent = x.exponent + carry;
  const auto half = round(exponent * splat<double, N>(0.5));
  return exp2(half) * (exp2(exponent - half) * exp2(fraction - carry));
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
