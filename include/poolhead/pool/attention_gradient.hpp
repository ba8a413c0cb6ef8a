// The gradient of attention.
#pragma once

#include "poolhead/pool/attention_kernel.hpp"
#include "poolhead/pool/attention_products.hpp"

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
    const AttentionWeights<P> weights(pool, Pass::backward);
    const Index hidden = weights.hidden;
    const Index matrix = hidden * x.channels();
    const bool in_parts = matrix >= many_weights;
    const Index kept_of_sample = in_parts ? AttentionSlopes<A>::size(x.positions(), hidden) : 0;
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
                     AttentionSums<X> sums{hidden, x.channels(), own + 2 * hidden + 1,
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
      for (Index i = 0; i < tensor.size(); ++i) add_to_gradient(tensor.data()[i], next[i]);
      next += tensor.size();
    };
    add(gradient->hidden.bias);
    add(gradient->score.weight);
    add(gradient->score.bias);
    if (!in_parts)
      AttentionSums<X>{hidden, x.channels(), partial + 2 * hidden + 1, nullptr}.add_to(gradient->hidden.weight,
                                                                                       0);
  }

 private:
  /// Adds sample n to the gradients of parameters and makes its dx; where memory is given to keep what products
  /// need, it leaves those, which are dx and the gradient of the matrix, to multiply_part.
  template <class X, class DX>
  void sample(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index n, double* partial,
              AttentionSums<X>& sums, A* kept_memory) const {
    struct Scratch;
    struct Wide;
    using Tile = AttentionTile<X>;
    const Index channels = x.channels();
    const Index hidden = weights.hidden;
    double* const wide_g = workspace<Wide, double>(channels);
    const bool keeps = kept_memory != nullptr;
    const Index padded = Tile::padded(channels);
    A* const g = workspace<Scratch, A>(
        padded +
        (keeps ? 0 : AttentionResult<X>::room(channels) + AttentionSlopes<A>::size(Tile::most, hidden)));
    A* const rows = g + padded;
    AttentionSlopes<A> kept = keeps ? AttentionSlopes<A>(kept_memory, x.positions())
                                    : AttentionSlopes<A>(rows + AttentionResult<X>::room(channels), Tile::most);
    double* const hidden_bias = partial;
    double* const score_weight = hidden_bias + hidden;
    double* const score_bias = score_weight + hidden;
    const AttentionPart<X> whole{0,        channels,           g,           weights.weight,
                                 channels, weights.transposed, weights.row, rows};

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
        multiply(x, dx, adds, tile, kept, whole, sums, n, begin, end);
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
    AttentionSums<X> sums{hidden, count, memory, workspace<Running, A>(hidden * count)};
    // Rows next to each other: as far apart as the matrix's they would share a few sets of the cache.
    A* const weight = workspace<Own, A>(hidden * count + Tile::padded(count) + AttentionResult<X>::room(count));
    A* const g = weight + hidden * count;
    for (Index j = 0; j < hidden; ++j)
      std::copy_n(weights.weight + j * x.channels() + first, count, weight + j * count);
    const AttentionPart<X> part{first,       count,
                                g,           weight,
                                count,       weights.transposed + first * weights.row,
                                weights.row, g + Tile::padded(count)};
    Tile tile;
    for (Index n = 0; n < x.batch(); ++n) {
      for (Index c = 0; c < count; ++c) g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, first + c)));
      AttentionSlopes<A> kept(kept_memory + n * AttentionSlopes<A>::size(x.positions(), hidden), x.positions());
      each_tile(x, count, [&](Index begin, Index end) {
        tile.read(x, n, begin, end, first, count);
        multiply(x, dx, adds, tile, kept, part, sums, n, begin, end);
        kept.move_on(tile.count);
      });
    }
    if (gradient == nullptr) return;
    sums.flush();
    sums.add_to(gradient->hidden.weight, first);
  }

  /// Adds a tile's products to the sums, and makes its dx.
  template <class X, class DX>
  void multiply(const X& x, const DX& dx, bool adds, const AttentionTile<X>& tile,
                const AttentionSlopes<A>& kept, const AttentionPart<X>& part, AttentionSums<X>& sums, Index n,
                Index begin, Index end) const {
    if (gradient != nullptr && tile.count > 0) sums.add(tile, kept);
    if constexpr (!std::same_as<DX, Nowhere>)
      AttentionResult<X>(x, dx, adds).write(tile, kept, part, sums.hidden, n, begin, end);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
