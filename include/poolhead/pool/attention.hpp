// Attention pooling: positions weighted by a score that two 1x1 convolutions give them.
#pragma once

#include "poolhead/core/random.hpp"
#include "poolhead/pool/attention_gradient.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// Weight (out, in) and bias (out) of a 1x1 convolution.
template <class T>
struct Projection {
  Eigen::Tensor<T, 2, Eigen::RowMajor> weight;
  Eigen::Tensor<T, 1, Eigen::RowMajor> bias;

  static constexpr auto parameters() {
    return std::tuple{detail::Member{"weight", &Projection::weight}, detail::Member{"bias", &Projection::bias}};
  }
};

template <class T>
class AttentionStream;

/// score(s) = w2 . relu(W1 x_s + b1) + b2 for the vector x_s of all channels at position s; y = sum a(s) x_s
/// with softmax: a = softmax over positions of the score, or sigmoid: a = sigmoid(score) / sum sigmoid(score).
///
/// features: C. Parameters: hidden.weight (hidden, C), hidden.bias (hidden), score.weight (1, hidden),
/// score.bias (1); gradients are exact for x and all four. Weights are kept as logarithms, so scores of any
/// size give a weighted mean. relu'(0) is 0. Ilse et al., Attention-based Deep
/// Multiple Instance Learning, 2018, with ReLU; two torch.nn.Conv2d(1). T is the scalar of the feature maps.
template <class T>
class AttentionPool : public PoolCalls<AttentionPool<T>> {
  static_assert(
      Scalar<T>,
      "poolhead: the parameters of an AttentionPool are float, double, Eigen::half or Eigen::bfloat16");

 public:
  static constexpr std::string_view name = "AttentionPool";
  static constexpr bool is_composition = true;
  using ParameterScalar = T;
  enum Kind { softmax, sigmoid };
  template <Scalar U>
  struct Cache : detail::AttentionCache<detail::AttentionProduct<U>> {};

  Projection<T> hidden;
  Projection<T> score;
  Kind kind;

  /// Weights start at Xavier's uniform values from the seed, biases at 0. Throws ShapeError for an extent
  /// below 1.
  AttentionPool(Index channels, Index hidden_channels, Kind weighting = softmax, std::uint64_t seed = 0)
      : kind(weighting) {
    if (channels < 1 || hidden_channels < 1)
      detail::fail<ShapeError>(name, ": channels and hidden are ", channels, " and ", hidden_channels,
                               ", expected at least 1");
    const Random random(seed);
    start(hidden, channels, hidden_channels, random.stream(0));
    start(score, hidden_channels, 1, random.stream(1));
  }

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f(std::string_view("hidden"), self.hidden...);
    f(std::string_view("score"), self.score...);
  }

  Index features(Index channels) const { return channels; }

  /// A stream (see PoolStream) for `channels` planes of each of `batch` samples.
  AttentionStream<T> start(Index batch, Index channels) const { return {*this, batch, channels}; }
  template <Scalar U>
  requires std::same_as<U, T> AttentionStream<T> start(Index batch, Index channels)
  const { return {*this, batch, channels}; }
  template <class X>
  requires detail::is_feature_map<X> AttentionStream<T> start(const X& x)
  const { return {*this, x.batch(), x.channels()}; }

  // The protocol of PoolCalls.
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    const Index units = hidden.weight.dimension(0);
    const Index channels = hidden.weight.dimension(1);
    if (shape.channels != channels)
      detail::fail<ShapeError>(name, call, ": x has ", shape.channels, " channels, expected ", channels);
    if (units < 1)
      detail::fail<ShapeError>(name, call, ": there are ", units, " hidden channels, expected at least 1");
    if (hidden.bias.size() != units || score.weight.dimension(0) != 1 || score.weight.dimension(1) != units ||
        score.bias.size() != 1)
      detail::fail<ShapeError>(name, call, ": parameters disagree: hidden.weight is [", units, ", ", channels,
                               "], hidden.bias [", hidden.bias.size(), "], score.weight [",
                               score.weight.dimension(0), ", ", score.weight.dimension(1), "], score.bias [",
                               score.bias.size(), "]");
  }
  void prepare(Cache<T>& cache) const { cache.resize(hidden.weight.dimension(0)); }
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.check_size(name, call, hidden.weight.dimension(0));
  }
  template <class I, class X>
  auto inference(const X&, const Rows<T>& y) const {
    return detail::AttentionForward<AttentionPool>{*this, y, nullptr};
  }
  template <class I, class X>
  auto training(const X&, const Rows<T>& y, Cache<T>& cache) const {
    return detail::AttentionForward<AttentionPool>{*this, y, &cache};
  }
  template <class I, class X>
  auto gradient(const X&, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                AttentionPool* grad) const {
    return detail::AttentionBackward<AttentionPool>{*this, dy, cache, grad};
  }
  template <class I, class X>
  auto gradient(const X&, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                const NoGradient*) const {
    return detail::AttentionBackward<AttentionPool>{*this, dy, cache, nullptr};
  }

 private:
  static void start(Projection<T>& projection, Index in, Index out, const Random& random) {
    const double bound = std::sqrt(6.0 / static_cast<double>(in + out));
    projection.weight.resize(out, in);
    projection.bias.resize(out);
    projection.bias.setConstant(T(0));
    for (Index i = 0; i < projection.weight.size(); ++i) {
      const double value = bound * (2.0 * random.uniform(static_cast<std::uint64_t>(i)) - 1.0);
      projection.weight.data()[i] = static_cast<T>(static_cast<Accumulator<T>>(value));
    }
  }
};

/// What attention has seen so far of a batch; see PoolStream, whose calls it has.
template <class T>
class AttentionStream {
 public:
  AttentionStream(const AttentionPool<T>& pool, Index batch, Index channels)
      : pool_(pool), batch_(batch), channels_(channels) {
    detail::checked_size(std::array{batch, channels}, AttentionPool<T>::name, "::start");
    FeatureShape shape;
    shape.channels = channels;
    pool_.check_parameters("::start", shape);
    means_.assign(static_cast<std::size_t>(batch * stride()), 0.0);
    for (Index n = 0; n < batch; ++n) mean(n).clear(channels);
  }

  template <class X, Device D = Eigen::DefaultDevice>
  void add(const X& tile, const D& device = D{}) {
    const auto x = detail::as_input(tile);
    static_assert(std::same_as<typename X::Scalar, T>, "poolhead: a stream's tiles have its scalar type");
    if (x.batch() != batch_ || x.channels() != channels_ || x.positions() == 0)
      detail::fail<ShapeError>(AttentionPool<T>::name, "::add: the tile is ",
                               detail::TensorExtents<typename X::Layout>(x.shape()), ", expected a batch of ",
                               batch_, ", ", channels_, " channels and at least one position");
    const detail::AttentionWeights<AttentionPool<T>> weights(pool_, detail::Pass::forward);
    detail::parallel_for(device, batch_, weights.bytes(x), [&](Index begin, Index end) {
      for (Index n = begin; n < end; ++n) weights.accumulate(x, n, mean(n), nullptr);
    });
  }

  void merge(const AttentionStream& other) {
    if (other.batch_ != batch_ || other.channels_ != channels_)
      detail::fail<ShapeError>(AttentionPool<T>::name, "::merge: the other stream has a batch of ",
                               other.batch_, " and ", other.channels_, " channels, expected ", batch_, " and ",
                               channels_);
    merge(std::span<const double>(other.means_));
  }

  template <class Y>
  void finish(Y&& y) const {
    const auto rows = detail::as_rows<T>(y);
    detail::check_rows(AttentionPool<T>::name, "::finish", "y", rows, batch_, channels_);
    for (Index n = 0; n < batch_; ++n)
      if (mean(n).total() == 0.0)
        detail::fail<ValueError>(AttentionPool<T>::name, "::finish: sample ", n,
                                 " has seen no position, expected at least one");
    for (Index n = 0; n < batch_; ++n) mean(n).finish(rows.row(n), channels_);
  }

  /// For each sample: the largest log-weight, the sum of the weights relative to it, and of the weighted
  /// elements.
  std::vector<double> partial() const { return means_; }

  void merge(std::span<const double> partial) {
    if (partial.size() != means_.size())
      detail::fail<ValueError>(AttentionPool<T>::name, "::merge: there are ", partial.size(),
                               " numbers, expected ", means_.size());
    for (Index n = 0; n < batch_; ++n) mean(n).merge(partial.data() + n * stride(), channels_);
  }

 private:
  AttentionPool<T> pool_;
  Index batch_, channels_;
  std::vector<double> means_;

  Index stride() const { return detail::WeightedMean<double>::size(channels_); }
  auto mean(Index n) { return detail::WeightedMean<double>{means_.data() + n * stride()}; }
  auto mean(Index n) const { return detail::WeightedMean<const double>{means_.data() + n * stride()}; }
};

}  // namespace poolhead::inline POOLHEAD_ISA
