// The arithmetic of attention. Scores, slopes and sums are double, as exponentials magnify what they lose;
// products are of the accumulator's type within a tile, and of double where large scores would show the
// difference.
#pragma once

#include "poolhead/pool/attention_hidden.hpp"
#include "poolhead/pool/attention_mean.hpp"
#include "poolhead/pool/attention_tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

enum class Pass { forward, backward };

/// The parameters of a pool, in memory of the calling thread where they are not the pool's own, and what the
/// pass needs of them.
template <class P>
struct AttentionWeights {
  using T = typename P::ParameterScalar;
  using A = AttentionProduct<T>;
  static constexpr Index N = simd::lanes<A>;

  Index channels;
  Index hidden;
  bool softmax;
  const A* weight;  // (hidden, C)
  Index row;
  const A* transposed = nullptr;  // (C, row): rows of whole vectors; where it is needed
  const double* bias;             // (row)
  const double* score;            // (hidden)
  double score_bias;
  double gain;  // sqrt(sum over units of score^2 |weight|^2)

  AttentionWeights(const P& pool, Pass pass)
      : channels(pool.hidden.weight.dimension(1)),
        hidden(pool.hidden.weight.dimension(0)),
        softmax(pool.kind == P::softmax),
        weight(as_products(pool.hidden.weight)),
        row((hidden + N - 1) / N * N),
        score_bias(static_cast<double>(pool.score.bias(0))) {
    double* next = workspace<P, double>(2 * row);
    const auto copy = [&](const auto& tensor) {
      double* const to = next;
      for (Index i = 0; i < row; ++i) to[i] = i < hidden ? static_cast<double>(tensor.data()[i]) : 0.0;
      next += row;
      return to;
    };
    bias = copy(pool.hidden.bias);
    score = copy(pool.score.weight);
    if (pass == Pass::backward || !are_few()) {
      struct Transposed;
      A* const to = workspace<Transposed, A>(channels * row);
      for (Index j = 0; j < hidden; j += N)
        turn_planes(weight + j * channels, channels, channels, static_cast<int>(std::min(N, hidden - j)),
                    to + j, row);
      transposed = to;
    }
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
  void accumulate(const X& x, Index n, const WeightedMean<double>& mean, AttentionCache<A>* cache) const {
    const double* wide = nullptr;
    AttentionTile<X> tile;
    Index first = 0;
    each_tile(x, channels, [&](Index begin, Index end) {
      tile.read(x, n, begin, end);
      if (tile.count == 0) return;
      if (const A* const before = activations(tile); before != nullptr) {
        add(tile, before, mean, n, first, cache);
      } else {
        if (wide == nullptr) wide = wide_columns();
        add(tile, activations(tile, wide), mean, n, first, cache);
      }
      first += tile.count;
    });
  }

 private:
  /// What products of floats lose of a score is about an ulp of gain |x_s| / sqrt(C), and y loses as much times
  /// the elements' size. Above this many ulps of 1 the products are double.
  static constexpr double most_lost = 4.0;

  A most_squares() const {
    constexpr double largest = std::numeric_limits<A>::max();
    if constexpr (std::same_as<A, double>) return std::numeric_limits<A>::infinity();
    return static_cast<A>(std::min(most_lost * static_cast<double>(channels) / gain, largest));
  }
  /// Whether the hidden channels fill one vector at most; those of 16 bytes, half of one.
  bool are_few() const { return hidden <= (simd::register_bytes >= 32 ? N : N / 2); }
  /// The hidden channels of a tile before ReLU, rows of most positions; null where products of A would show.
  template <class X>
  const A* activations(const AttentionTile<X>& tile) const {
    if (!are_few()) return is_ordinary(tile) ? activations(tile, transposed) : nullptr;
    struct Sums;
    A* const to = workspace<Sums, A>(hidden * AttentionTile<X>::most);
    const bool are_small = HiddenChannels<X>(weight, bias, hidden).put(tile, to, most_squares());
    return are_small || std::same_as<A, double> ? to : nullptr;
  }
  template <class X>
  bool is_ordinary(const AttentionTile<X>& tile) const {
    if constexpr (std::same_as<A, double>) return true;
    double squares[AttentionTile<X>::most] = {};
    if constexpr (AttentionTile<X>::planes)
      add_squares_down<A>(tile.rows(), squares);
    else
      add_squares_across<A>(tile.rows(), squares);
    bool ordinary = true;
    for (Index i = 0; i < tile.count; ++i)
      ordinary = ordinary & (squares[i] <= static_cast<double>(most_squares()));
    return ordinary;
  }
  /// The same by products of type Sum. columns: (C, row).
  template <class Sum, class X>
  const Sum* activations(const AttentionTile<X>& tile, const Sum* columns) const {
    struct Sums;
    struct Turned;
    constexpr Index L = simd::lanes<Sum>;
    constexpr Index most = AttentionTile<X>::most;
    Sum* const to = workspace<Sums, Sum>(row * most);
    Sum* const sums = workspace<Turned, Sum>(row * most);
    for (Index i = 0; i < tile.count; ++i)
      for (Index j = 0; j < row; ++j) sums[i * row + j] = static_cast<Sum>(bias[j]);
    multiply_add(tile.by_position(), columns, row, sums, row, tile.count, hidden, channels, {}, true);
    for (Index i = 0; i < tile.count; i += L)
      turn_planes(sums + i * row, row, row, static_cast<int>(std::min(L, tile.count - i)), to + i, most);
    return to;
  }
  const double* wide_columns() const {
    struct Wide;
    double* const to = workspace<Wide, double>(channels * row);
    for (Index c = 0; c < channels; ++c)
      for (Index j = 0; j < row; ++j)
        to[c * row + j] = j < hidden ? static_cast<double>(weight[j * channels + c]) : 0.0;
    return to;
  }

  /// Adds a tile to the mean; `first` of the sample's positions have been seen.
  template <class Sum, class X>
  void add(const AttentionTile<X>& tile, const Sum* activations, const WeightedMean<double>& mean, Index n,
           Index first, AttentionCache<A>* cache) const {
    constexpr int L = simd::lanes<Sum>;
    constexpr Index most = AttentionTile<X>::most;
    using Wide = simd::Doubles<L>;
    const Index padded = (tile.count + L - 1) / L * L;
    double logs[most];
    for (Index i = 0; i < padded; i += L) {
      const auto own = static_cast<int>(std::min<Index>(L, tile.count - i));
      Wide value = simd::zero<Wide>();
      for (Index j = 0; j < hidden; ++j) {
        const auto zero = simd::zero<simd::Vec<Sum, L>>();
        const auto after = simd::max(simd::load<Sum>(activations + j * most + i), zero);  // a NaN stays
        value = simd::multiply_add(simd::convert<double>(after), simd::splat<double, L>(score[j]), value);
        if (cache != nullptr) keep(after, &cache->activations(n, j, first + i), own);
      }
      value = value + simd::splat<double, L>(score_bias);
      if (cache != nullptr) simd::store_first(&cache->score(n, first + i), value, own);
      simd::store_first(logs + i, softmax ? value : LogSigmoid<L>(value).value, L);
    }
    std::fill(logs + tile.count, logs + padded, -std::numeric_limits<double>::infinity());
    double largest = mean.largest();
    for (Index i = 0; i < tile.count; ++i)
      if (logs[i] > largest) largest = logs[i];
    if (largest > mean.largest()) mean.move_to(std::min(largest, std::numeric_limits<double>::max()), channels);
    Sum weights[most];
    Wide total = simd::zero<Wide>();
    for (Index i = 0; i < padded; i += L) {
      const Wide power = exponential(simd::load_array<L>(logs + i) - simd::splat<double, L>(mean.largest()));
      total = total + power;
      simd::store(weights + i, simd::convert<Sum>(power));
    }
    mean.numbers[1] += simd::total(total);
    if constexpr (AttentionTile<X>::planes)
      add_row_products<Sum>(weights, tile.rows(), mean.sums());
    else
      add_weighted_rows<Sum>(weights, tile.rows(), mean.sums());
  }

  /// Numbers that are too large for A become its largest.
  template <class Sum, int L>
  static void keep(const simd::Vec<Sum, L>& after, A* to, int own) {
    if constexpr (std::same_as<Sum, A>)
      simd::store_first(to, after, own);
    else
      simd::store_first(
          to, simd::convert<A>(simd::min(simd::splat<Sum, L>(std::numeric_limits<A>::max()), after)), own);
  }

  static const A* as_products(const Eigen::Tensor<T, 2, Eigen::RowMajor>& tensor) {
    if constexpr (std::same_as<A, T>) return tensor.data();
    A* const to = workspace<AttentionWeights, A>(tensor.size());
    for (Index i = 0; i < tensor.size(); ++i)
      to[i] = static_cast<A>(static_cast<Accumulator<T>>(tensor.data()[i]));
    return to;
  }
};

template <class P>
struct AttentionForward {
  using T = typename P::ParameterScalar;

  const P& pool;
  Rows<T> y;
  AttentionCache<AttentionProduct<T>>* cache;

  template <class X, class D>
  void run(const X& x, const D& device) const {
    const AttentionWeights<P> weights(pool, Pass::forward);
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
        mean.finish(&cache->y(n, 0), channels);
      }
    });
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
