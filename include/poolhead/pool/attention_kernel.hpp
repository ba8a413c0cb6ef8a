// The arithmetic of attention. Scores, slopes and sums are double, as exponentials magnify what they lose;
// products are of the accumulator's type within a tile, and of double where large scores would show the
// difference.
#pragma once

#include "poolhead/core/product.hpp"
#include "poolhead/pool/attention_tile.hpp"
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

/// The parameters of a pool, in memory of the calling thread where they are not the pool's own.
template <class P>
struct AttentionWeights {
  using T = typename P::ParameterScalar;
  using F = AttentionProduct<T>;
  static constexpr Index N = simd::lanes<F>;

  Index channels;
  Index hidden;
  bool softmax;
  const F* weight;      // (hidden, C)
  const F* transposed;  // (C, row): rows of whole vectors
  Index row;
  const double* bias;   // (hidden)
  const double* score;  // (hidden)
  double score_bias;
  double gain;  // sqrt(sum over units of score^2 |weight|^2)

  explicit AttentionWeights(const P& pool)
      : channels(pool.hidden.weight.dimension(1)),
        hidden(pool.hidden.weight.dimension(0)),
        softmax(pool.kind == P::softmax),
        weight(as_products(pool.hidden.weight)),
        row((hidden + N - 1) / N * N),
        score_bias(static_cast<double>(pool.score.bias(0))) {
    double* next = workspace<P, double>(2 * hidden);
    const auto copy = [&](const auto& tensor) {
      double* const to = next;
      for (Index i = 0; i < hidden; ++i) to[i] = static_cast<double>(tensor.data()[i]);
      next += hidden;
      return to;
    };
    bias = copy(pool.hidden.bias);
    score = copy(pool.score.weight);
    struct Transposed;
    F* const columns = workspace<Transposed, F>(channels * row);
    for (Index j = 0; j < hidden; j += N)
      turn_planes(weight + j * channels, channels, channels, static_cast<int>(std::min(N, hidden - j)),
                  columns + j, row);
    transposed = columns;
    double squares = 0.0;
    for (Index j = 0; j < hidden; ++j)
      squares += score[j] * score[j] * static_cast<double>(square(weight + j * channels, channels));
    gain = std::sqrt(squares);
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
    constexpr Index most = AttentionTile<F>::most;
    double* const activations = workspace<Activations, double>(most * hidden);
    const double* wide = nullptr;
    AttentionTile<F> tile;
    each_tile(x, channels, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      for (Index i = 0; i < tile.count; ++i) std::copy_n(bias, hidden, activations + i * hidden);
      const auto multiply = [&](const auto* columns, Index stride) {
        multiply_add(Strided<F>{tile.values, tile.stride, 1}, columns, stride, activations, hidden, tile.count,
                     hidden, channels);
      };
      const bool ordinary = is_ordinary(tile);
      if (ordinary) {
        multiply(transposed, row);
      } else {
        if (wide == nullptr) wide = wide_columns();
        multiply(wide, hidden);
      }
      double weights[most];
      double largest = mean.largest();
      for (Index i = 0; i < tile.count; ++i) {
        double* const own = activations + i * hidden;
        for (Index j = 0; j < hidden; ++j) own[j] = own[j] <= 0.0 ? 0.0 : own[j];  // a NaN stays
        const double value = dot(own, score, hidden) + score_bias;
        weights[i] = softmax ? value : log_sigmoid(value);
        if (weights[i] > largest) largest = weights[i];
        if (cache != nullptr) {
          cache->score(n, tile.positions[i]) = value;
          std::copy_n(own, hidden, &cache->activations(n, tile.positions[i], 0));
        }
      }
      if (largest > mean.largest())
        mean.move_to(std::min(largest, std::numeric_limits<double>::max()), channels);
      for (Index i = 0; i < tile.count; ++i) {
        weights[i] = std::exp(weights[i] - mean.largest());
        mean.numbers[1] += weights[i];
      }
      if (ordinary)
        tile.template add_mean<F>(weights, mean.sums(), channels);
      else
        tile.template add_mean<double>(weights, mean.sums(), channels);
    });
  }

 private:
  /// What products of floats lose of a score is about an ulp of gain |x_s| / sqrt(C), and y loses as much times
  /// the elements' size. Above this many ulps of 1 the products are double.
  static constexpr double most_lost = 4.0;

  bool is_ordinary(const AttentionTile<F>& tile) const {
    if constexpr (std::same_as<F, double>) return true;
    F largest = 0;
    bool finite = true;
    for (Index i = 0; i < tile.count; ++i) {
      const F size = square(tile.values + i * tile.stride, channels);
      finite = finite && size <= std::numeric_limits<F>::max();
      largest = std::max(largest, size);
    }
    return finite && gain * static_cast<double>(largest) <= most_lost * static_cast<double>(channels);
  }

  static const F* as_products(const Eigen::Tensor<T, 2, Eigen::RowMajor>& tensor) {
    if constexpr (std::same_as<F, T>) return tensor.data();
    F* const to = workspace<AttentionWeights, F>(tensor.size());
    for (Index i = 0; i < tensor.size(); ++i)
      to[i] = static_cast<F>(static_cast<Accumulator<T>>(tensor.data()[i]));
    return to;
  }
  const double* wide_columns() const {
    struct Wide;
    double* const to = workspace<Wide, double>(channels * hidden);
    for (Index j = 0; j < hidden; ++j)
      for (Index c = 0; c < channels; ++c) to[c * hidden + j] = static_cast<double>(weight[j * channels + c]);
    return to;
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

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
