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

  const P& pool;
  Rows<const T> dy;
  const AttentionCache& cache;
  P* gradient;  // null where the parameters are fixed

  template <class X, class DX, class D>
  void run(const X& x, const DX& dx, bool adds, const D& device) const {
    struct Partial;
    const AttentionWeights<P> weights(pool);
    const Index channels = x.channels();
    const Index hidden = weights.hidden;
    const Index size = hidden * channels + 2 * hidden + 1;
    double* const partial = workspace<Partial, double>(blocks * size);
    std::fill_n(partial, blocks * size, 0.0);
    const Index count = std::min(blocks, x.batch());
    const double block_bytes = 3.0 * weights.bytes(x) * static_cast<double>(x.batch()) /
                               static_cast<double>(std::max<Index>(count, 1));
    parallel_for(device, count, block_bytes, [&](Index first, Index last) {
      for (Index block = first; block < last; ++block)
        for (Index n = x.batch() * block / count; n < x.batch() * (block + 1) / count; ++n)
          sample(x, dx, adds, weights, n, partial + block * size);
    });
    if (gradient == nullptr) return;
    const double* next = partial;
    const auto add = [&](auto& tensor) {
      for (Index i = 0; i < tensor.size(); ++i) {
        double sum = 0.0;
        for (Index block = 0; block < count; ++block) sum += next[block * size + i];
        T& to = tensor.data()[i];
        to = static_cast<T>(static_cast<Accumulator<T>>(static_cast<double>(to) + sum));
      }
      next += tensor.size();
    };
    add(gradient->hidden.weight);
    add(gradient->hidden.bias);
    add(gradient->score.weight);
    add(gradient->score.bias);
  }

 private:
  template <class X, class DX>
  void sample(const X& x, const DX& dx, bool adds, const AttentionWeights<P>& weights, Index n,
              double* partial) const {
    struct Scratch;
    using Tile = AttentionTile<A>;
    const Index channels = x.channels();
    const Index hidden = weights.hidden;
    const Index padded = Tile::padded(channels);
    const Index most = Tile::capacity(channels);
    struct Wide;
    double* const wide_g = workspace<Wide, double>(channels);
    A* const g = workspace<Scratch, A>(padded + most * (hidden + padded));
    A* const slopes = g + padded;              // (count, hidden): the gradient before ReLU
    A* const result = slopes + most * hidden;  // (count, C), rows of whole vectors
    double* const hidden_weight = partial;
    double* const hidden_bias = hidden_weight + hidden * channels;
    double* const score_weight = hidden_bias + hidden;
    double* const score_bias = score_weight + hidden;

    double g_y = 0.0;
    for (Index c = 0; c < channels; ++c) {
      g[c] = static_cast<A>(static_cast<Accumulator<T>>(dy(n, c)));
      wide_g[c] = static_cast<double>(g[c]);
      g_y += wide_g[c] * cache.y(n, c);
    }
    Tile tile;
    each_tile(x, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      A* to = result;
      Index stride = padded;
      bool in_place = false;  // the rows of the result are dx's
      if constexpr (std::same_as<typename X::Layout, ChannelsLast> && !is_masked<X> && std::same_as<DX, A*>) {
        if (!adds) {
          to = dx + (n * x.positions() + begin) * channels;
          stride = channels;
          in_place = true;
        }
      }
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
        if constexpr (!std::same_as<DX, Nowhere>) scale(static_cast<A>(weight), g, to + i * stride, channels);
      }
      if (gradient != nullptr)
        multiply_add(Strided<A>{slopes, 1, hidden}, tile.values, tile.stride, hidden_weight, channels, hidden,
                     channels, tile.count);
      if constexpr (!std::same_as<DX, Nowhere>) {
        multiply_add(Strided<A>{slopes, hidden, 1}, weights.weight, channels, to, stride, tile.count, channels,
                     hidden);
        if (!in_place) write(x, dx, adds, n, tile, result, padded, begin, end);
      }
    });
  }

  /// to = factor * g
  static void scale(A factor, const A* g, A* to, Index size) {
    Index c = 0;
    for (; c + N <= size; c += N) simd::store(to + c, simd::splat<A, N>(factor) * simd::load<A>(g + c));
    for (; c < size; ++c) to[c] = factor * g[c];
  }

  template <class X>
  static void write(const X& x, T* dx, bool adds, Index n, const AttentionTile<A>& tile, const A* result,
                    Index stride, Index begin, Index end) {
    const Index channels = x.channels();
    const FeatureMap<T, typename X::Layout> to(dx, x.shape());
    constexpr bool turns = std::same_as<typename X::Layout, ChannelsFirst> && !is_masked<X>;
    if constexpr (turns && std::same_as<A, Accumulator<T>>) {
      if (!adds) {
        for (Index c = 0; c < channels; c += N)
          turn_back<N>(result + c, stride, tile.count, static_cast<int>(std::min<Index>(N, channels - c)),
                       &to(n, c, begin), x.positions());
        return;
      }
    }
    for (Index i = 0; i < tile.count; ++i) {
      for (Index c = 0; c < channels; ++c) {
        T& element = to(n, c, tile.positions[i]);
        A value = result[i * stride + c];
        if (adds) value += static_cast<A>(static_cast<Accumulator<T>>(element));
        element = static_cast<T>(static_cast<Accumulator<T>>(value));
      }
    }
    if constexpr (is_masked<X>) {
      if (adds) return;
      for (Index s = begin; s < end; ++s)
        if (!is_valid(x, n, s))
          for (Index c = 0; c < channels; ++c) to(n, c, s) = T(0);
    }
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
