// The hidden channels of attention before ReLU where they are few: lanes are positions, of which there are
// enough to fill them.
#pragma once

#include "poolhead/pool/attention_tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Computes them for a tile, and how large its positions are, in one pass over it.
template <class X>
class HiddenChannels {
 public:
  using Tile = AttentionTile<X>;
  using A = typename Tile::A;

  /// weight: (hidden, channels of a tile), of the 1x1 convolution that makes them.
  HiddenChannels(const A* weight, const double* bias, Index hidden)
      : weight_(weight), bias_(bias), hidden_(hidden) {}

  /// to: rows of Tile::most positions, whole vectors of which are written. Whether no position's squares add up
  /// to more than most_squares.
  bool put(const Tile& tile, A* to, A most_squares) const {
    const V most = simd::splat<A, N>(most_squares);
    bool are_small = true;
    Index i = 0;
    for (; i + N <= tile.count; i += N)
      are_small = simd::all(add(tile, i, std::integral_constant<int, N>{}, to + i) <= most) && are_small;
    if (tile.count - i > N / 4) {
      are_small = simd::all(add(tile, i, static_cast<int>(tile.count - i), to + i) <= most) && are_small;
    } else {
      for (; i < tile.count; ++i) are_small = put_position(tile, i, to + i) <= most_squares && are_small;
    }
    return are_small;
  }

 private:
  static constexpr int N = simd::lanes<A>;
  static constexpr int M = simd::register_count / 2;  // channels whose elements are in registers
  using V = simd::Vec<A, N>;

  POOLHEAD_INLINE static V zero() { return simd::zero<V>(); }

  /// Puts those of `count` positions from i on, and returns the sums of their squares.
  template <class Count>
  POOLHEAD_INLINE V add(const Tile& tile, Index i, const Count& count, A* to) const {
    for (Index j = 0; j < hidden_; ++j)
      simd::store(to + j * Tile::most, simd::splat<A, N>(static_cast<A>(bias_[j])));
    V squares[2] = {zero(), zero()};
    Index c = 0;
    for (; c + M <= tile.channels; c += M)
      add_block(tile, i, count, c, std::integral_constant<int, M>{}, to, squares);
    if (c < tile.channels) add_block(tile, i, count, c, static_cast<int>(tile.channels - c), to, squares);
    return squares[0] + squares[1];
  }
  /// Adds what `channels` channels from c on give, which is added up first.
  template <class Count, class Channels>
  POOLHEAD_INLINE void add_block(const Tile& tile, Index i, const Count& count, Index c,
                                 const Channels& channels, A* to, V (&squares)[2]) const {
    V columns[M];
    load(tile, i, count, c, channels, columns);
    unroll<M>([&](auto k) __attribute__((always_inline)) {
      squares[k % 2] = simd::multiply_add(columns[k], columns[k], squares[k % 2]);
    });
    const A* weight = weight_ + c;
    for (Index j = 0; j < hidden_; ++j, weight += tile.channels, to += Tile::most) {
      V sums[4] = {zero(), zero(), zero(), zero()};
      unroll<M>([&](auto k) __attribute__((always_inline)) {
        const A own = k < channels ? weight[k] : A(0);
        sums[k % 4] = simd::multiply_add(simd::splat<A, N>(own), columns[k], sums[k % 4]);
      });
      simd::store(to, simd::load<A>(to) + ((sums[0] + sums[1]) + (sums[2] + sums[3])));
    }
  }
  /// columns[k] = channel c + k of positions i .. i + count - 1; 0 in the place of others.
  template <class Count, class Channels>
  POOLHEAD_INLINE static void load(const Tile& tile, Index i, const Count& count, Index c,
                                   const Channels& channels, V (&columns)[M]) {
    if constexpr (Tile::planes) {
      const A* const first = tile.values + c * tile.stride + i;
      unroll<M>([&](auto k) __attribute__((always_inline)) {
        columns[k] = zero();
        if (k >= channels) return;
        const A* const p = first + k * tile.stride;
        tile.rows().fetch_next(p);
        if constexpr (std::same_as<Count, int>)
          columns[k] = simd::load_first<A>(p, count);
        else
          columns[k] = simd::load<A>(p);
      });
    } else {
      unroll<M / N>([&](auto part) __attribute__((always_inline)) {
        V square[N];
        unroll<N>([&](auto q) __attribute__((always_inline)) {
          square[q] = zero();
          if (q >= count) return;
          const A* const p = tile.values + (i + q) * tile.stride + c + part * N;
          if (part * N * sizeof(A) % 64 == 0) tile.rows().fetch_next(p);
          if constexpr (std::same_as<Channels, int>)
            square[q] = simd::load_first<A>(p, std::clamp(channels - part * N, 0, N));
          else
            square[q] = simd::load<A>(p);
        });
        simd::transpose(square);
        unroll<N>([&](auto k) __attribute__((always_inline)) { columns[part * N + k] = square[k]; });
      });
    }
  }

  /// One of a few positions that are left, which would fill few lanes: lanes are channels. Returns its squares.
  A put_position(const Tile& tile, Index i, A* to) const {
    struct Position;
    struct Sums;
    const A* x = tile.values + i * tile.stride;
    if constexpr (Tile::planes) {
      A* const own = workspace<Position, A>(tile.channels);
      for (Index c = 0; c < tile.channels; ++c) own[c] = tile.values[c * tile.stride + i];
      x = own;
    }
    double* const sums = workspace<Sums, double>(hidden_);
    std::copy_n(bias_, hidden_, sums);
    add_row_products<A>(x, ContiguousRows<A>{weight_, tile.channels, hidden_, tile.channels}, sums);
    for (Index j = 0; j < hidden_; ++j) to[j * Tile::most] = static_cast<A>(sums[j]);
    return square(x, tile.channels);
  }

  const A* weight_;
  const double* bias_;
  Index hidden_;
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
