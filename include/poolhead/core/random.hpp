// Random numbers by counter: the same seed gives the same numbers on every platform and any number of threads.
#pragma once

#include "poolhead/core/config.hpp"

#include <cmath>
#include <cstdint>
#include <numbers>

namespace poolhead::inline POOLHEAD_ISA {

/// A stateless generator: number i of stream `seed` is a hash of both (the finaliser of SplitMix64, Steele,
/// Lea and Flood, 2014).
class Random {
 public:
  explicit constexpr Random(std::uint64_t seed) : key_(mix(seed + golden_ratio)) {}

  /// 64 random bits.
  constexpr std::uint64_t bits(std::uint64_t i) const { return mix(key_ + i * golden_ratio); }
  /// Uniform in [0, 1), a multiple of 2^-53.
  constexpr double uniform(std::uint64_t i) const { return static_cast<double>(bits(i) >> 11) * 0x1p-53; }
  /// Standard normal (Box and Muller); numbers i are independent of uniform(i) of other streams only.
  double normal(std::uint64_t i) const {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform(2 * i)));
    return radius * std::cos(2.0 * std::numbers::pi * uniform(2 * i + 1));
  }
  /// Uniform in 0 .. count - 1 for a count below 2^32, to within 2^-32.
  constexpr std::uint64_t below(std::uint64_t count, std::uint64_t i) const {
    return (bits(i) >> 32) * count >> 32;
  }
  /// An independent stream.
  constexpr Random stream(std::uint64_t i) const { return Random(bits(~i)); }

 private:
  static constexpr std::uint64_t golden_ratio = 0x9e3779b97f4a7c15u;
  static constexpr std::uint64_t mix(std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }

  std::uint64_t key_;
};

}  // namespace poolhead::inline POOLHEAD_ISA
