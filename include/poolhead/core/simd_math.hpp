// Elementary functions on vectors of floats and of doubles, to within an ulp or two. Polynomials are the
// functions' Taylor series, cut where the type no longer sees the next term.
#pragma once

#include "poolhead/core/simd_functions.hpp"

#include <array>
#include <bit>
#include <numbers>

namespace poolhead::inline POOLHEAD_ISA::simd {

template <int N>
using Doubles = Vec<double, N>;

namespace detail {

/// The format of A: mantissa bits, exponent bias, and how many terms the series need.
template <class A>
struct Format;
template <>
struct Format<float> {
  static constexpr int mantissa = 23;
  static constexpr int bias = 127;
  static constexpr std::size_t exp2_terms = 8;
  static constexpr std::size_t log2_terms = 6;
};
template <>
struct Format<double> {
  static constexpr int mantissa = 52;
  static constexpr int bias = 1023;
  static constexpr std::size_t exp2_terms = 13;
  static constexpr std::size_t log2_terms = 11;
};

/// c[0] + x (c[1] + x (c[2] + ...)).
template <class A, int N, std::size_t Size>
POOLHEAD_INLINE Vec<A, N> polynomial(const Vec<A, N>& x, const std::array<A, Size>& c) {
  auto sum = splat<A, N>(c[Size - 1]);
  [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
    ((sum = multiply_add(sum, x, splat<A, N>(c[Size - 2 - I]))), ...);
  }
  (std::make_index_sequence<Size - 1>{});
  return sum;
}

/// (2^f - 1) / f = sum ln(2)^(k + 1) f^k / (k + 1)!
template <class A>
inline constexpr auto exp2_series = [] {
  std::array<A, Format<A>::exp2_terms> c{};
  double term = 1.0;
  for (std::size_t k = 0; k < c.size(); ++k)
    c[k] = static_cast<A>(term *= std::numbers::ln2 / static_cast<double>(k + 1));
  return c;
}();

/// 2 atanh(s) / s = sum 2 z^k / (2 k + 1), z = s^2, in units of ln(2).
template <class A>
inline constexpr auto log2_series = [] {
  std::array<A, Format<A>::log2_terms> c{};
  for (std::size_t k = 0; k < c.size(); ++k)
    c[k] = static_cast<A>(2.0 / static_cast<double>(2 * k + 1) * std::numbers::log2e);
  return c;
}();

template <class A>
constexpr A power_of_2(int exponent) {
  A power = 1;
  for (; exponent > 0; --exponent) power *= 2;
  for (; exponent < 0; ++exponent) power /= 2;
  return power;
}

/// Adding it and subtracting it again rounds to the nearest whole number, which it leaves in the low bits.
template <class A>
inline constexpr A shifter = A(1.5) * power_of_2<A>(Format<A>::mantissa);

}  // namespace detail

/// A logarithm to base 2 as exponent + fraction, so that the difference of two keeps its low bits. exponent is
/// a whole number, fraction in [-0.5, 0.5]; of 0, infinity and NaN the fraction is -infinity, infinity and NaN.
template <class A, int N>
struct Log2 {
  Vec<A, N> exponent, fraction;

  template <class F>
  static Log2 zip(const F& f, const Log2& a, const Log2& b) {
    return {f(a.exponent, b.exponent), f(a.fraction, b.fraction)};
  }
  /// log2 of the quotient.
  POOLHEAD_INLINE Vec<A, N> operator-(const Log2& other) const {
    return (exponent - other.exponent) + (fraction - other.fraction);
  }
  POOLHEAD_INLINE Vec<A, N> value() const { return exponent + fraction; }
  template <class To>
  POOLHEAD_INLINE Log2<To, N> as() const {
    return {convert<To>(exponent), convert<To>(fraction)};
  }
};

/// 2^x, and 2^x - 1 to the last digits where x is small.
template <class A, int N>
struct Exp2 {
  Vec<A, N> power, less_one;
};

/// 2^x for results that are normal numbers: 0 below 2^(1 - bias), infinity above 2^bias. NaN stays NaN.
template <class A, int N>
POOLHEAD_INLINE Exp2<A, N> exp2_less_one(const Vec<A, N>& x) {
  using Format = detail::Format<A>;
  using Int = IntOf<A>;
  const auto numbers = [](A value) { return splat<A, N>(value); };
  const auto shifted = x + numbers(detail::shifter<A>);
  const auto f = x - (shifted - numbers(detail::shifter<A>));
  const auto scale =
      bit_cast<A>((bit_cast<Int>(shifted) << Format::mantissa) + splat<Int, N>(std::bit_cast<Int>(A(1))));
  const auto rest = scale * (f * detail::polynomial(f, detail::exp2_series<A>));
  const auto within = [&](const auto& value, A below) {
    const auto or_low = select(x < numbers(A(1 - Format::bias)), numbers(below), value);
    return select(x > numbers(A(Format::bias)), numbers(std::numeric_limits<A>::infinity()), or_low);
  };
  return {within(scale + rest, A(0)), within(rest + (scale - numbers(A(1))), A(-1))};
}
template <class A, int N>
POOLHEAD_INLINE Vec<A, N> exp2(const Vec<A, N>& x) {
  return exp2_less_one(x).power;
}

/// log2(x) for x >= 0. less_one: where x is near 1, x - 1, perhaps to more digits than x itself can hold.
template <class A, int N>
POOLHEAD_INLINE Log2<A, N> log2(const Vec<A, N>& x, const Vec<A, N>& less_one) {
  using Format = detail::Format<A>;
  using Int = IntOf<A>;
  constexpr auto bits_of = [](A value) { return std::bit_cast<Int>(value); };
  constexpr A whole = detail::power_of_2<A>(Format::mantissa);
  constexpr int raise = Format::mantissa + 2;
  const auto ints = [](Int value) { return splat<Int, N>(value); };
  const auto numbers = [](A value) { return splat<A, N>(value); };
  // Denormal numbers are made normal.
  const auto small = x < numbers(std::numeric_limits<A>::min());
  const auto bits = bit_cast<Int>(select(small, x * numbers(detail::power_of_2<A>(raise)), x));
  // x = 2^exponent m with m in [sqrt(1/2), sqrt(2)).
  constexpr A sqrt_half = static_cast<A>(std::numbers::sqrt2 / 2.0);
  const auto shifted = bits + ints(bits_of(A(1)) - bits_of(sqrt_half));
  const auto exponent =
      bit_cast<A>((shifted >> Format::mantissa) | ints(bits_of(whole))) -
      select(small, numbers(whole + A(Format::bias + raise)), numbers(whole + A(Format::bias)));
  const auto m = bit_cast<A>((shifted & ints((Int{1} << Format::mantissa) - 1)) + ints(bits_of(sqrt_half)));
  const auto f = select(exponent == zero<Vec<A, N>>(), less_one, m - numbers(A(1)));
  const auto s = f / (f + numbers(A(2)));
  const auto fraction = s * detail::polynomial(s * s, detail::log2_series<A>);
  const auto infinity = numbers(std::numeric_limits<A>::infinity());
  const auto number = select(x == zero<Vec<A, N>>(), zero<Vec<A, N>>() - infinity, fraction);
  return {exponent, select(x < infinity, number, x)};
}

template <class A, int N>
POOLHEAD_INLINE Log2<A, N> log2(const Vec<A, N>& x) {
  return log2(x, x - splat<A, N>(A(1)));
}

/// abs(x) 2^k, k = 0 .. 126, by the bits alone: arithmetic on denormal numbers takes many times as long as on
/// others. No more than 2^127, which is what a NaN becomes, too.
template <int N>
POOLHEAD_INLINE Vec<float, N> raised_abs(const Vec<float, N>& x, int k) {
  using Int = std::int32_t;
  constexpr Int one = Int{1} << detail::Format<float>::mantissa;
  const auto ints = [](Int value) { return splat<Int, N>(value); };
  const auto bits = bit_cast<Int>(abs(x));
  const auto most = ints((254 - k) * one);
  const auto raised = select(bits < most, bits, most) + ints(k * one);
  // 0.m 2^-126, with a 1 in place of the 0, less what that adds.
  const auto denormal = bit_cast<float>(raised + ints(one)) - bit_cast<float>(ints((k + 1) * one));
  return select(bits < ints(one), denormal, bit_cast<float>(raised));
}

/// 2^x over the whole range of double, denormal results and infinity included.
template <int N>
POOLHEAD_INLINE Doubles<N> exp2_full(const Doubles<N>& x) {
  const auto limit = splat<double, N>(4096.0);
  const auto below = select(x > limit, limit, x);
  const auto within = select(below < zero<Doubles<N>>() - limit, zero<Doubles<N>>() - limit, below);
  const auto half = within * splat<double, N>(0.5);
  const auto whole =
      half + splat<double, N>(detail::shifter<double>) - splat<double, N>(detail::shifter<double>);
  const auto power = exp2(whole);
  const auto rest = within - whole;
  return power * exp2(rest);
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
