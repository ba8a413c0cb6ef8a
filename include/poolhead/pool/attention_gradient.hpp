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
  static constexpr int N = simd::lanes<A>;
  static constexpr Index blocks = 8;  // of samples: parameter gradients are added up in this order
  // The gradient of so many hidden weights, in double, would leave the cache between two tiles. Products then
  // wait until all slopes are known, and are those of all tiles with a part of the channels at a time.
  static constexpr Index many_weights = 32768;
  static constexpr Index part_channels = 128;

  const P& pool;
  Rows<const T> dy;
  const AttentionCache& cache;
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
    std::fill_n(partial, blocks * size, 0.0);
    const Index count = std::min(blocks, x.batch());
    const double bytes = weights.bytes(x) * static_cast<double>(x.batch());
    parallel_for(device, count, 3.0 * bytes / static_cast<double>(std::max<Index>(count, 1)),
                 [&](Index first, Index last) {
                   for (Index block = first; block < last; ++block)
                     for (Index n = x.batch() * block / count; n < x.batch() * (block + 1) / count; ++n)
                       sample(x, dx, adds, weights, n, partial + block * size,
                              in_parts ? kept + n * kept_of_sample : nullptr);
                 });
    if (in_parts && (gradient != nullptr || !std::same_as<DX, Nowhere>)) {
      const Index parts = (x.channels() + part_channels - 1) / part_channels;
      parallel_for(device, parts, 2.0 * bytes / static_cast<double>(parts), [&](Index first, Index last) {
        for (Index part = first; part < last; ++part)
          multiply_part(x, dx, adds, weights, part * part_channels, kept);
      });
    }
    if (gradient == nullptr) return;
    const double* next = partial;
    const auto add = [&](auto& tensor) {
      for (Index i = 0; i < tensor.size(); ++i) {
        double sum = 0.0;
        for (Index block = 0; block < count; ++block) sum += next[block * size + i];
        add_to(tensor.data()[i], sum);
      }
      next += tensor.size();
    };
    add(gradient->hidden.bias);
    add(gradient->score.weight);
    add(gradient->score.bias);
    if (!in_parts) add(gradient->hidden.weight);
  }

 private:
  using Tile = AttentionTile<A>;

  /// Channels first .. first + count - 1, and what belongs to them.
  struct Part {
    Index first;
    Index count;
    const A* weight;  // (hidden, count), rows `row` apart
    Index row;
    double* sums;  // (hidden, count): the gradient of weight
  };

  /// Rows of a part's channels that become dx.
  struct Result {
    A* rows = nullptr;
    Index stride = 0;
    bool in_place = false;  // they are dx's own
  };

  /// What is kept of a sample: weights of valid positions and, row by row, the gradients before ReLU.
  struct Kept {
    A* weights;
    A* slopes;

    static Index size(Index positions, Index hidden) { return positions * (hidden + 1); }
    Kept(A* memory, Index positions) : weights(memory), slopes(memory + positions) {}
    void move_on(Index count, Index hidden) {
      weights += count;
      slopes += count * hidden;
    }
  };

  static void add_to(T& to, double sum) {
    to = static_cast<T>(static_cast<Accumulator<T>>(static_cast<double>(to) + sum));
  }

  /// Adds sample n to the gradients of parameters and makes its dx; where memory is given to keep what products
  /// need, it leaves those, which are dx and the gradient of the matrix, to multiply_part.
  template <class X, class DX>
  void sample(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index n, double* partial,
              A* kept_memory) const {
    struct Scratch;
    struct Wide;
    const Index channels = x.channels();
    const Index hidden = weights.hidden;
    const Index most = Tile::capacity(channels);
    double* const wide_g = workspace<Wide, double>(channels);
    const bool keeps = kept_memory != nullptr;
    const Index padded = Tile::padded(channels);
    A* const g = workspace<Scratch, A>(padded + (keeps ? 0 : most * padded + Kept::size(most, hidden)));
    A* const rows = g + padded;
    Kept kept = keeps ? Kept(kept_memory, x.positions()) : Kept(rows + most * padded, most);
    double* const hidden_bias = partial;
    double* const score_weight = hidden_bias + hidden;
    double* const score_bias = score_weight + hidden;
    const Part whole{0, channels, weights.weight, channels, score_bias + 1};

    double g_y = 0.0;
    for (Index c = 0; c < channels; ++c) {
      g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, c)));
      wide_g[c] = static_cast<double>(g[c]);
      g_y += wide_g[c] * cache.y(n, c);
    }
    Tile tile;
    each_tile(x, channels, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      const Result result = keeps ? Result{} : place(x, dx, adds, n, begin, whole, rows);
      A* const slopes = kept.slopes;
      for (Index i = 0; i < tile.count; ++i) {
        const Index s = tile.positions[i];
        const double score = cache.score(n, s);
        const double l = weights.softmax ? score : log_sigmoid(score);
        const double weight = std::exp(l - cache.weights(n, 0)) / cache.weights(n, 1);
        double slope = weight * (dot(wide_g, tile.values + i * tile.stride, channels) - g_y);
        if (!weights.softmax) slope *= log_sigmoid_slope(score);
        *score_bias += slope;
        const double* const activation = &cache.activations(n, s, 0);
        for (Index j = 0; j < hidden; j += N) {
          const auto own = static_cast<int>(std::min<Index>(N, hidden - j));
          const auto load = [&](const double* p) { return simd::load_array<N>(p + j, own); };
          const auto add = [&](double* sums, const simd::Vec<double, N>& value) {
            simd::store_first(sums + j, load(sums) + value, own);
          };
          const auto after = load(activation);
          const auto wide_slope = simd::splat<double, N>(slope);
          const auto before = simd::select(after == simd::zero<simd::Vec<double, N>>(), after,
                                           wide_slope * load(weights.score));
          simd::store_first(slopes + i * hidden + j, simd::convert<A>(before), own);
          add(hidden_bias, before);
          add(score_weight, wide_slope * after);
        }
        if (keeps)
          kept.weights[i] = static_cast<A>(weight);
        else if constexpr (!std::same_as<DX, Nowhere>)
          scale(static_cast<A>(weight), g, result.rows + i * result.stride, channels);
      }
      if (keeps)
        kept.move_on(tile.count, hidden);
      else
        multiply(x, dx, adds, n, tile, slopes, hidden, whole, result, begin, end);
    });
  }

  /// The products of all tiles for the channels from `first` on. One thread adds up a part, sample by sample,
  /// in a cache: no sums of other threads, and each element of the gradient is written once.
  template <class X, class DX>
  void multiply_part(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index first,
                     A* kept_memory) const {
    struct Sums;
    struct Own;
    const Index hidden = weights.hidden;
    const Index count = std::min(part_channels, x.channels() - first);
    double* const sums = workspace<Sums, double>(hidden * count);
    std::fill_n(sums, hidden * count, 0.0);
    // Rows next to each other: as far apart as the matrix's they would share a few sets of the cache.
    const Index padded = Tile::padded(count);
    A* const weight = workspace<Own, A>(hidden * count + (Tile::capacity(count) + 1) * padded);
    A* const g = weight + hidden * count;
    A* const rows = g + padded;
    for (Index j = 0; j < hidden; ++j)
      std::copy_n(weights.weight + j * x.channels() + first, count, weight + j * count);
    const Part part{first, count, weight, count, sums};
    Tile tile;
    for (Index n = 0; n < x.batch(); ++n) {
      for (Index c = 0; c < count; ++c) g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, first + c)));
      Kept kept(kept_memory + n * Kept::size(x.positions(), hidden), x.positions());
      each_tile(x, count, [&](Index begin, Index end) {
        tile.read(x, n, begin, end, first, count);
        const Result result = place(x, dx, adds, n, begin, part, rows);
        if constexpr (!std::same_as<DX, Nowhere>)
          for (Index i = 0; i < tile.count; ++i)
            scale(kept.weights[i], g, result.rows + i * result.stride, count);
        multiply(x, dx, adds, n, tile, kept.slopes, hidden, part, result, begin, end);
        kept.move_on(tile.count, hidden);
      });
    }
    if (gradient == nullptr) return;
    for (Index j = 0; j < hidden; ++j)
      for (Index c = 0; c < count; ++c) add_to(gradient->hidden.weight(j, first + c), sums[j * count + c]);
  }

  /// Where the rows of a tile from position `begin` on go; nowhere without dx.
  template <class X, class DX>
  static Result place(const X& x, const DX& dx, bool adds, Index n, Index begin, const Part& part, A* rows) {
    if constexpr (std::same_as<DX, Nowhere>) return {};
    if constexpr (std::same_as<typename X::Layout, ChannelsLast> && !is_masked<X> && std::same_as<DX, A*>) {
      if (!adds) return {dx + (n * x.positions() + begin) * x.channels() + part.first, x.channels(), true};
    }
    return {rows, Tile::padded(part.count), false};
  }

  /// Adds a tile's products to the sums, and to the rows that become dx.
  template <class X, class DX>
  void multiply(const X& x, const DX& dx, bool adds, Index n, const Tile& tile, const A* slopes, Index hidden,
                const Part& part, Result result, Index begin, Index end) const {
    if (gradient != nullptr)
      multiply_add(Strided<A>{slopes, 1, hidden}, tile.values, tile.stride, part.sums, part.count, hidden,
                   part.count, tile.count);
    if constexpr (!std::same_as<DX, Nowhere>) {
      multiply_add(Strided<A>{slopes, hidden, 1}, part.weight, part.row, result.rows, result.stride, tile.count,
                   part.count, hidden);
      if (!result.in_place) write(x, dx, adds, n, tile, result, part, begin, end);
    }
  }

  /// to = factor * g
  POOLHEAD_INLINE static void scale(A factor, const A* g, A* to, Index size) {
    Index c = 0;
    for (; c + N <= size; c += N) simd::store(to + c, simd::splat<A, N>(factor) * simd::load<A>(g + c));
    for (; c < size; ++c) to[c] = factor * g[c];
  }

  template <class X>
  static void write(const X& x, T* dx, bool adds, Index n, const Tile& tile, Result result, const Part& part,
                    Index begin, Index end) {
    const Index channels = part.count;
    const FeatureMap<T, typename X::Layout> to(dx, x.shape());
    constexpr bool turns = std::same_as<typename X::Layout, ChannelsFirst> && !is_masked<X>;
    if constexpr (turns && std::same_as<A, Accumulator<T>>) {
      if (!adds) {
        for (Index c = 0; c < channels; c += N)
          turn_back<N>(result.rows + c, result.stride, tile.count,
                       static_cast<int>(std::min<Index>(N, channels - c)), &to(n, part.first + c, begin),
                       x.positions());
        return;
      }
    }
    for (Index i = 0; i < tile.count; ++i) {
      for (Index c = 0; c < channels; ++c) {
        T& element = to(n, part.first + c, tile.positions[i]);
        A value = result.rows[i * result.stride + c];
        if (adds) value += static_cast<A>(static_cast<Accumulator<T>>(element));
        element = static_cast<T>(static_cast<Accumulator<T>>(value));
      }
    }
    if constexpr (is_masked<X>) {
      if (adds) return;
      for (Index s = begin; s < end; ++s)
        if (!is_valid(x, n, s))
          for (Index c = 0; c < channels; ++c) to(n, part.first + c, s) = T(0);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
