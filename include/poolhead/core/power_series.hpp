// Powers of floats without logarithms: x = 2^e m, and x^p = 2^(p e) m^p, the first from tables, the second from
// a polynomial, all of them made for one p.
#pragma once

#include "poolhead/core/simd_short.hpp"

#include <algorithm>

namespace poolhead::inline POOLHEAD_ISA::simd {

/// x^p to some 3 ulp for x in [least, most], if usable. m^p is a polynomial where p is between -1/4 and 6;
/// greater powers are squares of squares of such a one.
struct PowerSeries {
  static constexpr std::size_t terms = 8;

  // 2^(p e) = of_ones[E % 8] of_eights[E / 8 % 8], E being the exponent field; without lookups, of_all[E % 64].
  alignas(32) float of_ones[8];
  alignas(32) float of_eights[8];
  float of_all[has_lookup ? 1 : 64];
  std::array<float, terms> polynomial;  // of m - 1
  float least, most;                    // least^abs(p) is a normal float
  int squarings = 0;
  bool usable = false;

  PowerSeries() = default;
  /// For numbers up to `largest`, at least 1, and as small as there is room for.
  PowerSeries(double p, double largest) {
    usable = p >= -0.25 && p <= 96.0 && largest < 0x1p60;
    if (!usable) return;
    double root = p;
    for (; root > 6.0; root /= 2.0) ++squarings;
    const auto lowest_exponent = [](int block) { return 8 * block - detail::Format<float>::bias; };
    const int last = (std::ilogb(largest) + 1 + detail::Format<float>::bias) / 8;
    int first = last - 7;
    while (root * lowest_exponent(first) < -126.0) ++first;
    for (int i = 0; i < 8; ++i) {
      const int block = last - 7 + i;
      of_ones[i] = static_cast<float>(std::exp2(root * i));
      of_eights[block % 8] =
          block < first ? 0.0F : static_cast<float>(std::exp2(root * lowest_exponent(block)));
    }
    if constexpr (!has_lookup)
      for (int i = 0; i < 64; ++i) of_all[i] = of_ones[i % 8] * of_eights[i / 8];
    const double low = lowest_exponent(first);
    least = static_cast<float>(std::exp2(p > 0.0 ? std::max(low, -120.0 / p) : low));
    most = static_cast<float>(std::exp2(lowest_exponent(last + 1)) * (1.0 - 0x1p-24));
    polynomial = detail::chebyshev_polynomial<float, terms>(
        0.0, 1.0, [&](double less_one) { return std::pow(1.0 + less_one, root); });
  }
};

/// x becomes x^p.
template <int K, int N>
POOLHEAD_INLINE void powers(const PowerSeries& series, Floats<K, N>& x) {
  using Int = std::int32_t;
  constexpr int mantissa = detail::Format<float>::mantissa;
  Floats<K, N> scale, power;
  each<K>([&](auto k) __attribute__((always_inline)) {
    const auto bits = bit_cast<Int>(x[k]);
    const auto exponent = bits >> mantissa;
    if constexpr (has_lookup)
      scale[k] = lookup<N>(series.of_ones, exponent) * lookup<N>(series.of_eights, exponent >> 3);
    else
      scale[k] = lookup<N>(series.of_all, exponent);
    const auto m =
        bit_cast<float>((bits & splat<Int, N>((1 << mantissa) - 1)) | splat<Int, N>(std::bit_cast<Int>(1.0F)));
    x[k] = m - splat<float, N>(1.0F);
  });
  detail::polynomials<K, N>(x, series.polynomial, power);
  each<K>([&](auto k) __attribute__((always_inline)) { x[k] = scale[k] * power[k]; });
  for (int i = 0; i < series.squarings; ++i)
    each<K>([&](auto k) __attribute__((always_inline)) { x[k] = x[k] * x[k]; });
}

}  // namespace poolhead::inline POOLHEAD_ISA::simd
