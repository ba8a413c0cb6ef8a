// The arithmetic of attention: tiles of positions, all of whose channels stand in rows. Scores, slopes and sums
// are double, as exponentials magnify what they lose; other products are of the accumulator's type within a
// tile.
#pragma once

#include "poolhead/core/product.hpp"
#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// What backward needs of forward.
struct AttentionCache : PoolCache {
  Eigen::Tensor<double, 2, Eigen::RowMajor> y;            ///< (N, C)
  Eigen::Tensor<double, 2, Eigen::RowMajor> weights;      ///< (N, 2): the largest log-weight, and their sum
  Eigen::Tensor<double, 2, Eigen::RowMajor> score;        ///< (N, S)
  Eigen::Tensor<double, 3, Eigen::RowMajor> activations;  ///< (N, S, hidden), after ReLU

  void resize(Index hidden) {
    y.resize(shape.batch, shape.channels);
    weights.resize(shape.batch, 2);
    score.resize(shape.batch, shape.positions());
    activations.resize(shape.batch, shape.positions(), hidden);
  }
  void check_size(std::string_view type, std::string_view call, Index hidden) const {
    const bool right = y.dimension(0) == shape.batch && y.dimension(1) == shape.channels &&
                       weights.dimension(0) == shape.batch && weights.dimension(1) == 2 &&
                       score.dimension(0) == shape.batch && score.dimension(1) == shape.positions() &&
                       activations.dimension(0) == shape.batch &&
                       activations.dimension(1) == shape.positions() && activations.dimension(2) == hidden;
    if (!right)
      fail<ValueError>(type, call, ": the cache's tensors are not those of its shape and ", hidden,
                       " hidden channels");
  }
};

/// ln sigmoid(score), and its derivative.
inline double log_sigmoid(double score) {
  return score < 0.0 ? score - std::log1p(std::exp(score)) : -std::log1p(std::exp(-score));
}
inline double log_sigmoid_slope(double score) {
  return score < 0.0 ? 1.0 / (1.0 + std::exp(score)) : std::exp(-score) / (1.0 + std::exp(-score));
}

/// A mean with weights e^l, over memory of size(channels) numbers: the largest l, sum e^(l - largest) and, for
/// each channel, sum e^(l - largest) x. Number may be const.
template <class Number>
struct WeightedMean {
  Number* numbers;

  static Index size(Index channels) { return channels + 2; }
  double largest() const { return numbers[0]; }
  double total() const { return numbers[1]; }
  Number* sums() const { return numbers + 2; }

  void clear(Index channels) const {
    std::fill_n(numbers, size(channels), 0.0);
    numbers[0] = -std::numeric_limits<double>::max();
  }
  /// Makes all sums relative to a larger l.
  void move_to(double l, Index channels) const {
    const double factor = std::exp(numbers[0] - l);
    numbers[0] = l;
    for (Index i = 1; i < size(channels); ++i) numbers[i] *= factor;
  }
  void merge(const double* other, Index channels) const {
    if (other[1] == 0.0) return;  // it has seen nothing
    if (other[0] > numbers[0]) move_to(other[0], channels);
    const double factor = std::exp(other[0] - numbers[0]);
    for (Index i = 1; i < size(channels); ++i) numbers[i] += factor * other[i];
  }
  template <class T>
  void finish(T* y, Index channels) const {
    for (Index c = 0; c < channels; ++c)
      y[c] = static_cast<T>(static_cast<Accumulator<T>>(sums()[c] / total()));
  }
};

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
  /// The length of a row, whole vectors.
  static Index padded(Index channels) { return (channels + N - 1) / N * N; }

  /// Takes the valid ones of positions begin .. end - 1.
  template <class X>
  void read(const X& x, Index n, Index begin, Index end) {
    struct Values;
    using T = std::remove_const_t<typename X::Scalar>;
    constexpr bool planes = std::same_as<typename X::Layout, ChannelsFirst>;
    const Index channels = x.channels();
    const auto* const sample = x.sample(n);
    count = 0;
    for (Index s = begin; s < end; ++s)
      if (is_valid(x, n, s)) positions[count++] = s;
    if constexpr (!planes && !is_masked<X> && std::same_as<A, T>) {
      values = sample + begin * channels;
      stride = channels;
      return;
    }
    stride = padded(channels);
    A* const rows = workspace<Values, A>(capacity(channels) * stride);
    values = rows;
    if constexpr (planes && !is_masked<X> && std::same_as<A, Accumulator<T>>) {
      for (Index c = 0; c < channels; c += N)
        turn_planes(sample + c * x.positions() + begin, x.positions(), count,
                    static_cast<int>(std::min<Index>(N, channels - c)), rows + c, stride);
    } else {
      for (Index i = 0; i < count; ++i)
        for (Index c = 0; c < channels; ++c)
          rows[i * stride + c] = static_cast<A>(static_cast<Accumulator<T>>(x(n, c, positions[i])));
    }
  }

  /// sums[c] += sum over positions of weights[i] x(i, c).
  void add_mean(const double* weights, double* sums, Index channels) const {
    const auto add = [&](auto vectors, Index c, int lanes) __attribute__((always_inline)) {
      constexpr int V = vectors;
      simd::Vec<double, N> own[V];
      unroll<V>([&](auto v)
                    __attribute__((always_inline)) { own[v] = simd::load_array<N>(sums + c + v * N, lanes); });
      for (Index i = 0; i < count; ++i) {
        const auto weight = simd::splat<double, N>(weights[i]);
        unroll<V>([&](auto v) __attribute__((always_inline)) {
          const A* const p = values + i * stride + c + v * N;
          const auto x = lanes == N ? simd::load<A>(p) : simd::load_first<A>(p, lanes);
          own[v] = simd::multiply_add(weight, simd::convert<double>(x), own[v]);
        });
      }
      unroll<V>([&](auto v)
                    __attribute__((always_inline)) { simd::store_first(sums + c + v * N, own[v], lanes); });
    };
    Index c = 0;
    for (; c + 4 * N <= channels; c += 4 * N) add(std::integral_constant<int, 4>{}, c, N);
    for (; c < channels; c += N)
      add(std::integral_constant<int, 1>{}, c, static_cast<int>(std::min<Index>(N, channels - c)));
  }
};

/// The type of products. The terms of a 16-bit gradient may cancel to less than floats keep.
template <Scalar T>
using AttentionProduct = std::conditional_t<sizeof(T) == 2, double, Accumulator<T>>;

/// f(begin, end) for tiles of the positions of x.
template <class X, class F>
void each_tile(const X& x, const F& f) {
  const Index step = AttentionTile<AttentionProduct<typename X::Scalar>>::capacity(x.channels());
  for (Index begin = 0; begin < x.positions(); begin += step) f(begin, std::min(begin + step, x.positions()));
}

/// The parameters of a pool in its accumulator's type, in memory of the calling thread.
template <class P>
struct AttentionWeights {
  using A = AttentionProduct<typename P::ParameterScalar>;

  Index channels;
  Index hidden;
  bool softmax;
  const A* weight;           // (hidden, C)
  const double* transposed;  // (C, hidden)
  const double* bias;        // (hidden)
  const double* score;       // (hidden)
  double score_bias;

  explicit AttentionWeights(const P& pool)
      : channels(pool.hidden.weight.dimension(1)),
        hidden(pool.hidden.weight.dimension(0)),
        softmax(pool.kind == P::softmax),
        score_bias(static_cast<double>(pool.score.bias(0))) {
    A* const rows = workspace<AttentionWeights, A>(hidden * channels);
    double* next = workspace<P, double>(hidden * channels + 2 * hidden);
    for (Index i = 0; i < hidden * channels; ++i)
      rows[i] =
          static_cast<A>(static_cast<Accumulator<typename P::ParameterScalar>>(pool.hidden.weight.data()[i]));
    weight = rows;
    const auto copy = [&](const auto& tensor) {
      double* const to = next;
      for (Index i = 0; i < hidden; ++i) to[i] = static_cast<double>(tensor.data()[i]);
      next += hidden;
      return to;
    };
    bias = copy(pool.hidden.bias);
    score = copy(pool.score.weight);
    for (Index j = 0; j < hidden; ++j)
      for (Index c = 0; c < channels; ++c) next[c * hidden + j] = static_cast<double>(weight[j * channels + c]);
    transposed = next;
  }

  /// What one sample is worth to a thread: its products, counted as memory traffic.
  template <class X>
  double bytes(const X& x) const {
    return static_cast<double>(x.positions() * channels) * static_cast<double>(8 + hidden);
  }

  /// Adds sample n to the mean. cache: where scores and activations are kept, or null.
  template <class X>
  void accumulate(const X& x, Index n, const WeightedMean<double>& mean, AttentionCache* cache) const {
    struct Activations;
    constexpr Index most = AttentionTile<A>::most;
    double* const activations = workspace<Activations, double>(most * hidden);
    AttentionTile<A> tile;
    each_tile(x, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      for (Index i = 0; i < tile.count; ++i) std::copy_n(bias, hidden, activations + i * hidden);
      multiply_add(Strided<A>{tile.values, tile.stride, 1}, transposed, hidden, activations, hidden, tile.count,
                   hidden, channels);
      double weights[most];
      double largest = mean.largest();
      for (Index i = 0; i < tile.count; ++i) {
        double* const row = activations + i * hidden;
        for (Index j = 0; j < hidden; ++j) row[j] = row[j] <= 0.0 ? 0.0 : row[j];  // a NaN stays
        const double value = dot(row, score, hidden) + score_bias;
        weights[i] = softmax ? value : log_sigmoid(value);
        if (weights[i] > largest) largest = weights[i];
        if (cache != nullptr) {
          cache->score(n, tile.positions[i]) = value;
          std::copy_n(row, hidden, &cache->activations(n, tile.positions[i], 0));
        }
      }
      if (largest > mean.largest())
        mean.move_to(std::min(largest, std::numeric_limits<double>::max()), channels);
      for (Index i = 0; i < tile.count; ++i) {
        weights[i] = std::exp(weights[i] - mean.largest());
        mean.numbers[1] += weights[i];
      }
      tile.add_mean(weights, mean.sums(), channels);
    });
  }
};

template <class P>
struct AttentionForward {
  using T = typename P::ParameterScalar;

  const P& pool;
  Rows<T> y;
  AttentionCache* cache;

  template <class X, class D>
  void run(const X& x, const D& device) const {
    const AttentionWeights<P> weights(pool);
    parallel_for(device, x.batch(), weights.bytes(x), [&](Index begin, Index end) {
      struct Mean;
      const Index channels = x.channels();
      const WeightedMean<double> mean{workspace<Mean, double>(WeightedMean<double>::size(channels))};
      for (Index n = begin; n < end; ++n) {
        mean.clear(channels);
        weights.accumulate(x, n, mean, cache);
        mean.finish(y.row(n), channels);
        if (cache == nullptr) continue;
        std::copy_n(mean.numbers, 2, &cache->weights(n, 0));
        for (Index c = 0; c < channels; ++c) cache->y(n, c) = mean.sums()[c] / mean.total();
      }
    });
  }
};

/// With w = a, l the logarithms of the weights and g = dy:
///   dl(s) = w(s) (g . x_s - g . y);   dx_s = w(s) g + W1' d(s), d = dl dl/dscore w2 where the activation is
///   above 0.
template <class P>
struct AttentionBackward {
  using T = typename P::ParameterScalar;
  using A = AttentionProduct<T>;
  static constexpr Index blocks = 8;  // of samples: parameter gradients are added up in this order

  const P& pool;
  Rows<const T> dy;
  const AttentionCache& cache;
  P& gradient;

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
    add(gradient.hidden.weight);
    add(gradient.hidden.bias);
    add(gradient.score.weight);
    add(gradient.score.bias);
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
        for (Index j = 0; j < hidden; ++j) {
          const double before = activation[j] == 0.0 ? 0.0 : slope * weights.score[j];
          slopes[i * hidden + j] = static_cast<A>(before);
          hidden_bias[j] += before;
          score_weight[j] += slope * activation[j];
        }
        if constexpr (!std::same_as<DX, Nowhere>) scale(static_cast<A>(weight), g, to + i * stride, channels);
      }
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
    constexpr int N = simd::lanes<A>;
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
        constexpr Index N = simd::lanes<A>;
        for (Index c = 0; c < channels; c += N)
          turn_back<N>(result + c, stride, tile.count, static_cast<int>(std::min(N, channels - c)),
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
