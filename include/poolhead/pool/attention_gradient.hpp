// The gradient of attention.
#pragma once

#include "poolhead/pool/attention_kernel.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// With w = a, l the logarithms of the weights and g = dy:
///   dl(s) = w(s) (g . x_s - g . y);   dx_s = w(s) g + W1' d(s), d = dl dl/dscore w2 where the activation is
///   above 0.
template <class P>
struct AttentionBackward {
  using T = typename P::ParameterScalar;
  using A = AttentionProduct<T>;
  static constexpr Index N = simd::lanes<A>;
  static constexpr Index blocks = 8;  // of samples: parameter gradients are added up in this order
  // The gradient of so many hidden weights, in double, would leave the cache between two tiles. Products then
  // wait until all slopes are known, and are those of all tiles with a part of the channels at a time.
  static constexpr Index many_weights = 32768;
  static constexpr Index part_channels = 128;

  const P& pool;
  Rows<const T> dy;
  const AttentionCache<A>& cache;
  P* gradient;  // null where the parameters are fixed

  template <class X, class DX, class D>
  void run(const X& x, const DX& dx, bool adds, const D& device) const {
    struct Partial;
    struct Memory;
    const AttentionWeights<P> weights(pool);
    const Index hidden = weights.hidden;
    const Index matrix = hidden * x.channels();
    const bool in_parts = matrix >= many_weights;
    const Index kept_of_sample = in_parts ? Kept::size(x.positions(), hidden) : 0;
    A* const kept = in_parts ? workspace<Memory, A>(x.batch() * kept_of_sample) : nullptr;
    const Index size = 2 * hidden + 1 + (in_parts ? 0 : matrix);
    double* const partial = workspace<Partial, double>(blocks * size);
    const Index count = std::min(blocks, x.batch());
    const double bytes = weights.bytes(x) * static_cast<double>(x.batch());
    parallel_for(device, count, 3.0 * bytes / static_cast<double>(std::max<Index>(count, 1)),
                 [&](Index first, Index last) {
                   struct Running;
                   for (Index block = first; block < last; ++block) {
                     double* const own = partial + block * size;
                     std::fill_n(own, 2 * hidden + 1, 0.0);
                     Sums<X> sums{hidden, x.channels(), own + 2 * hidden + 1,
                                  in_parts ? nullptr : workspace<Running, A>(matrix)};
                     for (Index n = x.batch() * block / count; n < x.batch() * (block + 1) / count; ++n)
                       sample(x, dx, adds, weights, n, own, sums,
                              in_parts ? kept + n * kept_of_sample : nullptr);
                     sums.flush();
                   }
                 });
    if (in_parts && (gradient != nullptr || !std::same_as<DX, Nowhere>)) {
      const Index parts = (x.channels() + part_channels - 1) / part_channels;
      parallel_for(device, parts, 2.0 * bytes / static_cast<double>(parts), [&](Index first, Index last) {
        for (Index part = first; part < last; ++part)
          multiply_part(x, dx, adds, weights, part * part_channels, kept);
      });
    }
    if (gradient == nullptr || count == 0) return;
    const double ones[blocks] = {1, 1, 1, 1, 1, 1, 1, 1};
    add_weighted_rows<double>(ones, ContiguousRows<double>{partial + size, size, count - 1, size}, partial);
    const double* next = partial;
    const auto add = [&](auto& tensor) {
      for (Index i = 0; i < tensor.size(); ++i) add_to(tensor.data()[i], next[i]);
      next += tensor.size();
    };
    add(gradient->hidden.bias);
    add(gradient->score.weight);
    add(gradient->score.bias);
    if (!in_parts)
      Sums<X>{hidden, x.channels(), partial + 2 * hidden + 1, nullptr}.add_to(gradient->hidden.weight, 0);
  }

 private:
  /// The gradient of a part of the hidden weights, in the order that its product makes it: rows of channels, or
  /// with planes, of hidden channels.
  template <class X>
  struct Sums {
    static constexpr bool planes = AttentionTile<X>::planes;
    static constexpr int most_tiles = 8;  // whose products are added up in their own type
    Index hidden;
    Index channels;
    double* data;
    A* running;
    int tiles = 0;
    bool empty = true;

    Index size() const { return hidden * channels; }
    /// multiply(sums, start) adds a tile's product.
    template <class F>
    void add(const F& multiply) {
      multiply(running, ProductStart<A>{.adds = tiles > 0});
      if (++tiles == most_tiles) flush();
    }
    void flush() {
      if (tiles == 0) return;
      for (Index i = 0; i < size(); ++i) data[i] = (empty ? 0.0 : data[i]) + static_cast<double>(running[i]);
      tiles = 0;
      empty = false;
    }
    void add_to(Eigen::Tensor<T, 2, Eigen::RowMajor>& weight, Index first) const {
      constexpr Index L = simd::lanes<double>;
      constexpr Index few = planes ? 16 : 64;  // channels, of which lines are written as a whole
      struct Few;
      double* const turned = planes ? workspace<Few, double>(hidden * few) : nullptr;
      for (Index c = 0; c < channels; c += few) {
        const Index count = std::min(few, channels - c);
        for (Index k = 0; planes && k < count; k += L)
          turn_planes(data + (c + k) * hidden, hidden, hidden, static_cast<int>(std::min(L, count - k)),
                      turned + k, few);
        for (Index j = 0; j < hidden; ++j) {
          const double* const sums = planes ? turned + j * few : data + j * channels + c;
          T* const to = &weight(j, first + c);
          for (Index k = 0; k < count; ++k) AttentionBackward::add_to(to[k], sums[k]);
        }
      }
    }
  };

  /// Channels first .. first + count - 1, and what belongs to them.
  template <class X>
  struct Part {
    Index first;
    Index count;
    const A* g;
    const A* weight;  // (hidden, count), rows `row` apart
    Index row;
    const A* transposed;  // (count, hidden), rows `transposed_row` apart
    Index transposed_row;
    A* rows;  // room for a tile that becomes dx
  };

  /// What backward computes of valid positions: their weights and, hidden channel by hidden channel, the
  /// gradients before ReLU.
  struct Kept {
    A* weights;
    A* slopes;
    Index stride;

    static Index size(Index positions, Index hidden) { return padded(positions) * (hidden + 1); }
    static Index padded(Index positions) { return (positions + N - 1) / N * N; }
    Kept(A* memory, Index positions)
        : weights(memory), slopes(memory + padded(positions)), stride(padded(positions)) {}
    void move_on(Index count) {
      weights += count;
      slopes += count;
    }
  };

  static void add_to(T& to, double sum) {
    to = static_cast<T>(static_cast<Accumulator<T>>(static_cast<double>(to) + sum));
  }

  /// The room that a tile of so many channels takes as rows.
  template <class Tile>
  static Index room(Index channels) {
    return Tile::planes ? channels * Tile::most : Tile::capacity(channels) * Tile::padded(channels);
  }

  /// Adds sample n to the gradients of parameters and makes its dx; where memory is given to keep what products
  /// need, it leaves those, which are dx and the gradient of the matrix, to multiply_part.
  template <class X, class DX>
  void sample(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index n, double* partial,
              Sums<X>& sums, A* kept_memory) const {
    struct Scratch;
    struct Wide;
    using Tile = AttentionTile<X>;
    const Index channels = x.channels();
    const Index hidden = weights.hidden;
    double* const wide_g = workspace<Wide, double>(channels);
    const bool keeps = kept_memory != nullptr;
    const Index padded = Tile::padded(channels);
    A* const g =
        workspace<Scratch, A>(padded + (keeps ? 0 : room<Tile>(channels) + Kept::size(Tile::most, hidden)));
    A* const rows = g + padded;
    Kept kept = keeps ? Kept(kept_memory, x.positions()) : Kept(rows + room<Tile>(channels), Tile::most);
    double* const hidden_bias = partial;
    double* const score_weight = hidden_bias + hidden;
    double* const score_bias = score_weight + hidden;
    const Part<X> whole{0, channels, g, weights.weight, channels, weights.transposed, weights.row, rows};

    double g_y = 0.0;
    for (Index c = 0; c < channels; ++c) {
      g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, c)));
      wide_g[c] = static_cast<double>(g[c]);
    }
    add_row_products(wide_g, ContiguousRows<double>{&cache.y(n, 0), channels, 1, channels}, &g_y);
    Tile tile;
    Index seen = 0;
    each_tile(x, channels, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      double slopes[Tile::most] = {};
      if constexpr (Tile::planes)
        add_weighted_rows<double>(wide_g, tile.rows(), slopes);
      else
        add_row_products<double>(wide_g, tile.rows(), slopes);
      weigh(weights, n, seen, tile.count, g_y, slopes, kept.weights);
      for (Index i = 0; i < tile.count; ++i) *score_bias += slopes[i];
      const A* const activations = &cache.activations(n, 0, seen);
      const ContiguousRows<A> after{activations, x.positions(), hidden, tile.count};
      add_row_products<double>(slopes, after, score_weight);
      for (Index i = 0; i < tile.count; i += N) {
        const auto own = static_cast<int>(std::min<Index>(N, tile.count - i));
        const auto slope = simd::convert<A>(simd::load_array<static_cast<int>(N)>(slopes + i, own));
        for (Index j = 0; j < hidden; ++j) {
          const auto active = simd::load_first<A>(activations + j * x.positions() + i, own);
          const auto before = simd::splat<A, static_cast<int>(N)>(static_cast<A>(weights.score[j])) * slope;
          simd::store_first(kept.slopes + j * kept.stride + i,
                            simd::select(active == simd::zero<simd::Vec<A, N>>(), active, before), own);
        }
      }
      double ones[Tile::most];
      std::fill_n(ones, tile.count, 1.0);
      add_row_products<double>(ones, ContiguousRows<A>{kept.slopes, kept.stride, hidden, tile.count},
                               hidden_bias);
      if (keeps)
        kept.move_on(tile.count);
      else
        multiply(x, dx, adds, n, tile, kept, whole, hidden, sums, begin, end);
      seen += tile.count;
    });
  }

  /// From the products g . x_s of `count` positions of sample n, `first` on, makes dl / dscore; and their
  /// weights.
  void weigh(const AttentionWeights<P>& weights, Index n, Index first, Index count, double g_y, double* slopes,
             A* to) const {
    constexpr int L = simd::lanes<A>;
    const auto wide = [](double value) { return simd::splat<double, L>(value); };
    for (Index i = 0; i < count; i += L) {
      const auto own = static_cast<int>(std::min<Index>(L, count - i));
      auto log = simd::load_array<L>(&cache.score(n, first + i), own);
      auto slope = wide(1.0);
      if (!weights.softmax) {
        const LogSigmoid<L> sigmoid(log);
        log = sigmoid.value;
        slope = sigmoid.slope;
      }
      const auto weight = exponential(log - wide(cache.weights(n, 0))) / wide(cache.weights(n, 1));
      simd::store_first(to + i, simd::convert<A>(weight), own);
      slope = weight * (simd::load_array<L>(slopes + i, own) - wide(g_y)) * slope;
      simd::store_first(slopes + i, slope, own);
    }
  }

  /// The products of all tiles for the channels from `first` on. One thread adds up a part, sample by sample,
  /// in a cache: no sums of other threads, and each element of the gradient is written once.
  template <class X, class DX>
  void multiply_part(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index first,
                     A* kept_memory) const {
    struct Memory;
    struct Own;
    using Tile = AttentionTile<X>;
    const Index hidden = weights.hidden;
    const Index count = std::min(part_channels, x.channels() - first);
    double* const memory = workspace<Memory, double>(hidden * count);
    struct Running;
    Sums<X> sums{hidden, count, memory, workspace<Running, A>(hidden * count)};
    // Rows next to each other: as far apart as the matrix's they would share a few sets of the cache.
    A* const weight = workspace<Own, A>(hidden * count + Tile::padded(count) + room<Tile>(count));
    A* const g = weight + hidden * count;
    for (Index j = 0; j < hidden; ++j)
      std::copy_n(weights.weight + j * x.channels() + first, count, weight + j * count);
    const Part<X> part{first,       count,
                       g,           weight,
                       count,       weights.transposed + first * weights.row,
                       weights.row, g + Tile::padded(count)};
    Tile tile;
    for (Index n = 0; n < x.batch(); ++n) {
      for (Index c = 0; c < count; ++c) g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, first + c)));
      Kept kept(kept_memory + n * Kept::size(x.positions(), hidden), x.positions());
      each_tile(x, count, [&](Index begin, Index end) {
        tile.read(x, n, begin, end, first, count);
        multiply(x, dx, adds, n, tile, kept, part, hidden, sums, begin, end);
        kept.move_on(tile.count);
      });
    }
    if (gradient == nullptr) return;
    sums.flush();
    sums.add_to(gradient->hidden.weight, first);
  }

  /// Adds a tile's products to the sums, and makes its dx.
  template <class X, class DX>
  void multiply(const X& x, const DX& dx, bool adds, Index n, const AttentionTile<X>& tile, const Kept& kept,
                const Part<X>& part, Index hidden, Sums<X>& sums, Index begin, Index end) const {
    using Tile = AttentionTile<X>;
    if (gradient != nullptr && tile.count > 0) {
      sums.add([&](A* to, const ProductStart<A>& start) {
        if constexpr (Tile::planes) {
          struct Turned;
          const Index row = (hidden + N - 1) / N * N;
          A* const turned = workspace<Turned, A>(Tile::most * row);
          for (Index j = 0; j < hidden; j += N)
            turn_planes(kept.slopes + j * kept.stride, kept.stride, tile.count,
                        static_cast<int>(std::min(N, hidden - j)), turned + j, row);
          multiply_add(tile.by_channel(), turned, row, to, hidden, part.count, hidden, tile.count, start);
        } else {
          multiply_add(Strided<A>{kept.slopes, kept.stride, 1}, tile.values, tile.stride, to, part.count,
                       hidden, part.count, tile.count, start);
        }
      });
    }
    if constexpr (!std::same_as<DX, Nowhere>) {
      constexpr bool in_place = !is_masked<X> && std::same_as<DX, A*>;
      A* rows = part.rows;
      Index stride = Tile::planes ? Tile::most : Tile::padded(part.count);
      if constexpr (in_place) {
        const FeatureMap<T, typename X::Layout> to(dx, x.shape());
        rows = &to(n, part.first, begin);
        stride = Tile::planes ? x.positions() : x.channels();
      }
      const bool add = in_place && adds;
      if constexpr (Tile::planes) {
        // One position or two, which a vector would be too much for, are products of a vector and the matrix.
        const Index left = tile.count % N <= 2 ? tile.count % N : 0;
        multiply_add(Strided<A>{part.transposed, part.transposed_row, 1}, kept.slopes, kept.stride, rows,
                     stride, part.count, tile.count - left, hidden, {add, part.g, kept.weights});
        for (Index i = tile.count - left; i < tile.count; ++i)
          multiply_position(part, kept, hidden, i, rows + i, stride, add);
      } else {
        multiply_add(Strided<A>{kept.slopes, 1, kept.stride}, part.weight, part.row, rows, stride, tile.count,
                     part.count, hidden, {add, kept.weights, part.g});
      }
      if constexpr (!in_place) write(x, dx, adds, n, tile, rows, stride, part, begin, end);
    }
  }

  /// What is dx of position i of a tile, in elements of `to` that are `stride` apart.
  template <class X>
  static void multiply_position(const Part<X>& part, const Kept& kept, Index hidden, Index i, A* to,
                                Index stride, bool adds) {
    struct Memory;
    struct Sums;
    A* const slopes = workspace<Memory, A>(hidden);
    double* const sums = workspace<Sums, double>(part.count);
    for (Index j = 0; j < hidden; ++j) slopes[j] = kept.slopes[j * kept.stride + i];
    for (Index c = 0; c < part.count; ++c)
      sums[c] = static_cast<double>(part.g[c]) * static_cast<double>(kept.weights[i]);
    add_row_products<A>(slopes, ContiguousRows<A>{part.transposed, part.transposed_row, part.count, hidden},
                        sums);
    for (Index c = 0; c < part.count; ++c)
      to[c * stride] = static_cast<A>(sums[c]) + (adds ? to[c * stride] : A(0));
  }

  /// Writes, or adds, elements of dx that lie next to each other.
  static void put(const A* from, Index size, bool adds, T* to) {
    using V = Accumulator<T>;
    constexpr int L = simd::lanes<V>;
    for (Index k = 0; k < size; k += L) {
      const auto own = static_cast<int>(std::min<Index>(L, size - k));
      auto value = simd::load_array<L>(from + k, own);
      if (adds) value = value + simd::convert<A>(simd::load_first<V>(to + k, own));
      simd::store_first(to + k, simd::convert<V>(value), own);
    }
  }

  template <class X>
  static void write(const X& x, T* dx, bool adds, Index n, const AttentionTile<X>& tile, const A* rows,
                    Index stride, const Part<X>& part, Index begin, Index end) {
    constexpr bool planes = AttentionTile<X>::planes;
    const FeatureMap<T, typename X::Layout> to(dx, x.shape());
    const auto outer = planes ? part.count : tile.count;
    const auto inner = planes ? tile.count : part.count;
    for (Index i = 0; i < outer; ++i) {
      if constexpr (is_masked<X>) {
        for (Index k = 0; k < inner; ++k)
          put(rows + i * stride + k, 1, adds,
              &to(n, part.first + (planes ? i : k), tile.positions[planes ? k : i]));
      } else {
        put(rows + i * stride, inner, adds, &to(n, part.first + (planes ? i : 0), begin + (planes ? 0 : i)));
      }
    }
    if constexpr (is_masked<X>) {
      if (adds) return;
      for (Index s = begin; s < end; ++s)
        if (!is_valid(x, n, s))
          for (Index c = 0; c < part.count; ++c) to(n, part.first + c, s) = T(0);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
