// Positions of a sample in tiles, all of whose channels stand in rows.
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/mask.hpp"
#include "poolhead/core/tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Positions of one sample whose channels stand in rows, `stride` apart; those that a mask leaves out are not
/// among them.
template <class A>
struct AttentionTile {
  static constexpr Index most = 64;
  static constexpr int N = simd::lanes<A>;
  Index positions[most];
  Index count = 0;
  const A* values = nullptr;
  Index stride = 0;

  /// How many positions of so many channels stay in a cache.
  static Index capacity(Index channels) { return std::clamp<Index>(65536 / channels, 16, most); }
  /// The length of a row: whole vectors, and a line more, as rows a power of 2 apart would share a few sets of
  /// the first-level cache.
  static Index padded(Index channels) {
    return (channels + N - 1) / N * N + 64 / static_cast<Index>(sizeof(A));
  }

  /// Takes all channels of the valid ones of positions begin .. end - 1.
  template <class X>
  void read(const X& x, Index n, Index begin, Index end) {
    read(x, n, begin, end, 0, x.channels());
  }
  /// Takes `channels` channels of those, from channel `first` on.
  template <class X>
  void read(const X& x, Index n, Index begin, Index end, Index first, Index channels) {
    struct Values;
    using T = std::remove_const_t<typename X::Scalar>;
    constexpr bool planes = std::same_as<typename X::Layout, ChannelsFirst>;
    const auto* const sample = x.sample(n);
    count = 0;
    for (Index s = begin; s < end; ++s)
      if (is_valid(x, n, s)) positions[count++] = s;
    if constexpr (!planes && !is_masked<X> && std::same_as<A, T>) {
      if (channels == x.channels()) {  // a few of many are copied: see padded()
        values = sample + begin * channels;
        stride = channels;
        return;
      }
    }
    stride = padded(channels);
    A* const rows = workspace<Values, A>(capacity(channels) * stride);
    values = rows;
    if constexpr (planes && !is_masked<X> && std::same_as<A, Accumulator<T>>) {
      for (Index c = 0; c < channels; c += N)
        turn_planes(sample + (first + c) * x.positions() + begin, x.positions(), count,
                    static_cast<int>(std::min<Index>(N, channels - c)), rows + c, stride);
    } else {
      for (Index i = 0; i < count; ++i)
        for (Index c = 0; c < channels; ++c)
          rows[i * stride + c] = static_cast<A>(static_cast<Accumulator<T>>(x(n, first + c, positions[i])));
    }
  }

  /// sums[c] += sum over positions of weights[i] x(i, c), in Sum; floats are added to the doubles together.
  template <class Sum>
  void add_mean(const double* weights, double* sums, Index channels) const {
    using V = simd::Vec<Sum, N>;
    V factor[most];
    for (Index i = 0; i < count; ++i) factor[i] = simd::splat<Sum, N>(static_cast<Sum>(weights[i]));
    const auto add = [&](auto vectors, Index c, int lanes) __attribute__((always_inline)) {
      constexpr int K = vectors;
      V own[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) { own[k] = simd::zero<V>(); });
      for (Index i = 0; i < count; ++i) {
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          const A* const p = values + i * stride + c + k * N;
          const auto x = lanes == N ? simd::load<A>(p) : simd::load_first<A>(p, lanes);
          own[k] = simd::multiply_add(factor[i], simd::convert<Sum>(x), own[k]);
        });
      }
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        double* const p = sums + c + k * N;
        simd::store_first(p, simd::load_array<N>(p, lanes) + simd::convert<double>(own[k]), lanes);
      });
    };
    constexpr int together = V::split ? 4 : 8;
    Index c = 0;
    for (; c + together * N <= channels; c += together * N) add(std::integral_constant<int, together>{}, c, N);
    for (; c < channels; c += N)
      add(std::integral_constant<int, 1>{}, c, static_cast<int>(std::min<Index>(N, channels - c)));
  }
};

/// The type of products. The terms of a 16-bit gradient may cancel to less than floats keep.
template <Scalar T>
using AttentionProduct = std::conditional_t<sizeof(T) == 2, double, Accumulator<T>>;

/// f(begin, end) for tiles of the positions of x, of which so many channels are read together.
template <class X, class F>
void each_tile(const X& x, Index channels, const F& f) {
  const Index most = AttentionTile<AttentionProduct<typename X::Scalar>>::capacity(channels);
  const Index tiles = (x.positions() + most - 1) / most;
  const Index step = (x.positions() + tiles - 1) / tiles;
  for (Index begin = 0; begin < x.positions(); begin += step) f(begin, std::min(begin + step, x.positions()));
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
