// Maxima of 16-bit elements and their places, compared as integers: twice as many in a vector as floats, and
// nothing to widen.
#pragma once

#include "poolhead/core/simd_bits.hpp"

#include <limits>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class T>
struct OrderedMaxima {
  using Bit = simd::IntOf<T>;
  using Bits = simd::BitsOf<T>;
  static constexpr int L = simd::lanes<Bit>;
  static constexpr Index most_positions = std::numeric_limits<std::int16_t>::max();

  Bits value;     // ordered_bits
  Bits position;  // the first
  Bits least;     // where a NaN of the other sign shows

  POOLHEAD_INLINE static OrderedMaxima none() {
    const auto lowest = simd::splat_bits(static_cast<T>(-std::numeric_limits<float>::infinity()));
    return {simd::ordered_bits<T>(lowest), simd::zero<Bits>(), simd::zero<Bits>()};
  }
  /// Adds one vector or four, which stand behind all before.
  template <int K, class At>
  POOLHEAD_INLINE void add(const Bits (&x)[K], const At& positions) {
    static_assert(K == 1 || K == 4);
    Bits own[K], at[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      own[k] = simd::ordered_bits<T>(x[k]);
      at[k] = positions.at(k);
    });
    auto smallest = own[0];
    unroll<K - 1>([&](auto k)
                      __attribute__((always_inline)) { smallest = simd::smaller(smallest, own[k + 1]); });
    least = simd::smaller(least, smallest);
    // Neighbours first: none of them waits for the state.
    if constexpr (K == 4) {
      beat(own[0], at[0], own[1], at[1]);
      beat(own[2], at[2], own[3], at[3]);
      beat(own[0], at[0], own[2], at[2]);
    }
    beat(value, position, own[0], at[0]);
  }
  /// The maxima, NaN where there is one, and their places, which count where there is none.
  POOLHEAD_INLINE void store(T* values, Bit* positions) const {
    const auto infinity = simd::splat_bits(std::numeric_limits<T>::infinity());
    const auto nan = least < simd::zero<Bits>() - infinity;
    simd::store_bits(values, simd::ordered_bits<T>(value) | nan);
    simd::store_bits(positions, position);
  }

 private:
  POOLHEAD_INLINE static void beat(Bits& a, Bits& place, const Bits& later, const Bits& later_place) {
    const auto wins = a < later;
    a = simd::select(wins, later, a);
    place = simd::select(wins, later_place, place);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
