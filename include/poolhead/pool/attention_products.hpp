// The products of attention's gradient.
#pragma once

#include "poolhead/pool/attention_tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Adds to an element of a gradient.
template <Scalar T>
void add_to_gradient(T& to, double sum) {
  to = static_cast<T>(static_cast<Accumulator<T>>(static_cast<double>(to) + sum));
}

/// What backward computes of valid positions: their weights and, hidden channel by hidden channel, the
/// gradients before ReLU.
template <class A>
struct AttentionSlopes {
  static constexpr Index N = simd::lanes<A>;
  A* weights;
  A* slopes;
  Index stride;

  static Index size(Index positions, Index hidden) { return padded(positions) * (hidden + 1); }
  static Index padded(Index positions) { return (positions + N - 1) / N * N; }
  AttentionSlopes(A* memory, Index positions)
      : weights(memory), slopes(memory + padded(positions)), stride(padded(positions)) {}
  void move_on(Index count) {
    weights += count;
    slopes += count;
  }
};

/// The gradient of a part of the hidden weights, in the order that its product makes it: rows of channels, or
/// with planes, of hidden channels, unless these are few.
template <class X>
struct AttentionSums {
  using T = typename AttentionTile<X>::T;
  using A = typename AttentionTile<X>::A;
  static constexpr bool planes = AttentionTile<X>::planes;
  static constexpr int most_tiles = 8;  // whose products are added up in their own type
  Index hidden;
  Index channels;
  double* data;
  A* running;
  int tiles = 0;
  bool empty = true;

  Index size() const { return hidden * channels; }
  /// Whether the hidden channels would fill so few lanes that these are positions.
  bool are_few() const { return planes && hidden <= simd::lanes<A> / 2; }
  /// Adds what a tile and its slopes give.
  void add(const AttentionTile<X>& tile, const AttentionSlopes<A>& own) {
    constexpr Index N = simd::lanes<A>;
    if (are_few()) {
      if (empty) std::fill_n(data, size(), 0.0);
      empty = false;
      ContiguousRows<A> rows = tile.rows();
      rows.ahead = 0;  // it has been asked for
      for (Index j = 0; j < hidden; ++j)
        add_row_products<A>(own.slopes + j * own.stride, rows, data + j * channels);
      return;
    }
    const ProductStart<A> start{.adds = tiles > 0};
    if constexpr (planes) {
      struct Turned;
      const Index row = (hidden + N - 1) / N * N;
      A* const turned = workspace<Turned, A>(AttentionTile<X>::most * row);
      for (Index j = 0; j < hidden; j += N)
        turn_planes(own.slopes + j * own.stride, own.stride, tile.count,
                    static_cast<int>(std::min(N, hidden - j)), turned + j, row);
      multiply_add(tile.by_channel(), turned, row, running, hidden, channels, hidden, tile.count, start, true);
    } else {
      multiply_add(Strided<A>{own.slopes, own.stride, 1}, tile.values, tile.stride, running, channels, hidden,
                   channels, tile.count, start);
    }
    if (++tiles == most_tiles) flush();
  }
  void flush() {
    if (tiles == 0) return;
    for (Index i = 0; i < size(); ++i) data[i] = (empty ? 0.0 : data[i]) + static_cast<double>(running[i]);
    tiles = 0;
    empty = false;
  }
  /// Adds them to the weights of the channels from `first` on.
  void add_to(Eigen::Tensor<T, 2, Eigen::RowMajor>& weight, Index first) const {
    constexpr Index L = simd::lanes<double>;
    constexpr Index few = planes ? 16 : 64;  // channels, of which lines are written as a whole
    const bool turns = planes && !are_few();
    struct Few;
    double* const turned = turns ? workspace<Few, double>(hidden * few) : nullptr;
    for (Index c = 0; c < channels; c += few) {
      const Index count = std::min(few, channels - c);
      for (Index k = 0; turns && k < count; k += L)
        turn_planes(data + (c + k) * hidden, hidden, hidden, static_cast<int>(std::min(L, count - k)),
                    turned + k, few);
      for (Index j = 0; j < hidden; ++j) {
        const double* const sums = turns ? turned + j * few : data + j * channels + c;
        T* const to = &weight(j, first + c);
        for (Index k = 0; k < count; ++k) add_to_gradient(to[k], sums[k]);
      }
    }
  }
};

/// Channels first .. first + count - 1, and what belongs to them.
template <class X>
struct AttentionPart {
  using Tile = AttentionTile<X>;
  using A = typename Tile::A;

  Index first;
  Index count;
  const A* g;
  const A* weight;  // (hidden, count), rows `row` apart
  Index row;
  const A* transposed;  // (count, hidden), rows `transposed_row` apart
  Index transposed_row;
  A* rows;  // room for a tile that becomes dx
};

/// Where the dx of a map goes.
template <class X>
struct AttentionResult {
  using Tile = AttentionTile<X>;
  using T = typename Tile::T;
  using A = typename Tile::A;
  static constexpr Index N = simd::lanes<A>;
  static constexpr bool planes = Tile::planes;
  static constexpr bool in_place = !is_masked<X> && std::same_as<T, A>;

  const X& x;
  FeatureMap<T, typename X::Layout> to;
  bool adds;

  AttentionResult(const X& map, T* dx, bool adds_to_it) : x(map), to(dx, map.shape()), adds(adds_to_it) {}

  /// How many numbers AttentionPart::rows has room for.
  static Index room(Index channels) {
    return planes ? channels * Tile::most : Tile::capacity(channels) * Tile::padded(channels);
  }

  /// Makes the dx of a part of a tile, which is of positions begin .. end - 1 of sample n.
  void write(const Tile& tile, const AttentionSlopes<A>& own, const AttentionPart<X>& part, Index hidden,
             Index n, Index begin, Index end) const {
    A* rows = part.rows;
    Index stride = planes ? Tile::most : Tile::padded(part.count);
    if constexpr (in_place) {
      rows = &to(n, part.first, begin);
      stride = planes ? x.positions() : x.channels();
    }
    const bool add = in_place && adds;
    if constexpr (planes) {
      // One position or two, which a vector would be too much for, are products of a vector and the matrix.
      const Index left = tile.count % N <= 2 ? tile.count % N : 0;
      multiply_add(Strided<A>{part.transposed, part.transposed_row, 1}, own.slopes, own.stride, rows, stride,
                   part.count, tile.count - left, hidden, {add, part.g, own.weights});
      for (Index i = tile.count - left; i < tile.count; ++i)
        multiply_position(own, part, hidden, i, rows + i, stride, add);
    } else {
      multiply_add(Strided<A>{own.slopes, 1, own.stride}, part.weight, part.row, rows, stride, tile.count,
                   part.count, hidden, {add, own.weights, part.g});
    }
    if constexpr (!in_place) copy(tile, part, rows, stride, n, begin, end);
  }

 private:
  /// What is dx of position i of a tile, in elements of `out` that are `stride` apart.
  static void multiply_position(const AttentionSlopes<A>& own, const AttentionPart<X>& part, Index hidden,
                                Index i, A* out, Index stride, bool add) {
    struct Slopes;
    struct Sums;
    A* const slopes = workspace<Slopes, A>(hidden);
    double* const sums = workspace<Sums, double>(part.count);
    for (Index j = 0; j < hidden; ++j) slopes[j] = own.slopes[j * own.stride + i];
    for (Index c = 0; c < part.count; ++c)
      sums[c] = static_cast<double>(part.g[c]) * static_cast<double>(own.weights[i]);
    add_row_products<A>(slopes, ContiguousRows<A>{part.transposed, part.transposed_row, part.count, hidden},
                        sums);
    for (Index c = 0; c < part.count; ++c)
      out[c * stride] = static_cast<A>(sums[c]) + (add ? out[c * stride] : A(0));
  }

  void copy(const Tile& tile, const AttentionPart<X>& part, const A* rows, Index stride, Index n, Index begin,
            Index end) const {
    const Index outer = planes ? part.count : tile.count;
    const Index inner = planes ? tile.count : part.count;
    for (Index i = 0; i < outer; ++i) {
      const A* const row = rows + i * stride;
      if constexpr (is_masked<X>) {
        for (Index k = 0; k < inner; ++k)
          put(row + k, 1, &to(n, part.first + (planes ? i : k), tile.positions[planes ? k : i]));
      } else {
        put(row, inner, &to(n, part.first + (planes ? i : 0), begin + (planes ? 0 : i)));
      }
    }
    if constexpr (is_masked<X>) {
      if (adds) return;
      for (Index s = begin; s < end; ++s)
        if (!is_valid(x, n, s))
          for (Index c = 0; c < part.count; ++c) to(n, part.first + c, s) = T(0);
    }
  }

  /// Writes, or adds, elements that lie next to each other.
  void put(const A* from, Index size, T* out) const {
    using V = Accumulator<T>;
    constexpr int L = simd::lanes<V>;
    for (Index k = 0; k < size; k += L) {
      const auto own = static_cast<int>(std::min<Index>(L, size - k));
      auto value = simd::load_array<L>(from + k, own);
      if (adds) value = value + simd::convert<A>(simd::load_first<V>(out + k, own));
      simd::store_first(out + k, simd::convert<V>(value), own);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
