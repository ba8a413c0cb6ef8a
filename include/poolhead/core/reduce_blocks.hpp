// Maps of NHWC a few vectors of channels at a time, from the first position to the last, with states that stay
// in registers. core/reduce.hpp says what a reduction gives for it.
#pragma once

#include "poolhead/core/lanes.hpp"
#include "poolhead/core/mask.hpp"
#include "poolhead/core/simd_bits.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class R, class X>
inline constexpr bool may_have_channel_blocks = !is_masked<X> && !is_vast<R> && requires(const X& x) {
  R::has_channel_blocks(x, Index{});
};

/// B vectors of channels of sample n, the first of them c, NHWC; the last holds `count`, an integral constant
/// where it is whole.
template <int B, class R, class X, class Count>
POOLHEAD_INLINE void reduce_block(const R& reduction, const X& x, Index n, Index c, const Count& count) {
  using A = typename R::Accumulator;
  using E = typename R::BlockElement;
  constexpr bool are_bits = !std::same_as<E, A>;
  using I = std::conditional_t<are_bits, E, typename R::PositionLane>;
  constexpr int N = simd::lanes<E>;
  typename R::template BlockState<B> states[B];
  unroll<B>([&](auto v) __attribute__((always_inline)) { states[v] = R::template block_identity<B>(); });
  const Index stride = x.channels();
  const auto* row = x.sample(n) + c;
  const auto load = [&](const auto* p) __attribute__((always_inline)) {
    if constexpr (!are_bits)
      return simd::load<A>(p);
    else if constexpr (std::same_as<Count, int>)
      return simd::load_first_bits(p, count);
    else
      return simd::load_bits(p);
  };
  const auto positions = [&](auto together, Index s) __attribute__((always_inline)) {
    constexpr int K = together;
    // Once, and not from a general register for each vector that takes it.
    const LaterPositions<I, N> at{{simd::in_register(simd::splat<I, N>(static_cast<I>(s))), 1}};
    unroll<B>([&](auto v) __attribute__((always_inline)) {
      simd::Vec<E, N> group[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) { group[k] = load(row + k * stride + v * N); });
      reduction.accumulate(states[v], group, at, EveryLane{});
    });
    row += K * stride;
  };
  const Index last = x.positions();
  constexpr int group = R::template block_positions<B>;
  Index s = 0;
  for (; s + group <= last; s += group) positions(std::integral_constant<int, group>{}, s);
  for (; s < last; ++s) positions(std::integral_constant<int, 1>{}, s);
  unroll<B>([&](auto v) __attribute__((always_inline)) {
    reduction.finish(states[v], n, c + v * N, v + 1 < B ? N : static_cast<int>(count));
  });
}

/// Vectors of channels from c on, of sample n, NHWC; returns the first channel that is left.
template <class R, class X>
Index reduce_blocks(const R& reduction, const X& x, Index n, Index c, Index end) {
  constexpr int N = simd::lanes<typename R::BlockElement>;
  const auto blocks = [&](auto vectors) __attribute__((always_inline)) {
    for (; c + vectors * N <= end; c += vectors * N)
      reduce_block<vectors>(reduction, x, n, c, std::integral_constant<int, N>{});
  };
  if constexpr (R::most_block_vectors > 6) blocks(std::integral_constant<int, R::most_block_vectors>{});
  blocks(std::integral_constant<int, 6>{});
  blocks(std::integral_constant<int, 4>{});
  blocks(std::integral_constant<int, 2>{});
  blocks(std::integral_constant<int, 1>{});
  if constexpr (!std::same_as<typename R::BlockElement, typename R::Accumulator>) {
    if (c < end) reduce_block<1>(reduction, x, n, c, static_cast<int>(end - c));
    c = end;
  }
  return c;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
