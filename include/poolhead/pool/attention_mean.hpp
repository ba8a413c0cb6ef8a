// Means whose weights are exponentials, and what is kept of them.
#pragma once

#include "poolhead/core/simd_math.hpp"
#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// What backward needs of forward. Of positions the valid ones come first, where there is a mask.
template <class A>
struct AttentionCache : PoolCache {
  Eigen::Tensor<double, 2, Eigen::RowMajor> y;        ///< (N, C)
  Eigen::Tensor<double, 2, Eigen::RowMajor> weights;  ///< (N, 2): the largest log-weight, and their sum
  Eigen::Tensor<double, 2, Eigen::RowMajor> score;    ///< (N, S)
  Eigen::Tensor<A, 3, Eigen::RowMajor> activations;   ///< (N, hidden, S), after ReLU

  void resize(Index hidden) {
    y.resize(shape.batch, shape.channels);
    weights.resize(shape.batch, 2);
    score.resize(shape.batch, shape.positions());
    activations.resize(shape.batch, hidden, shape.positions());
  }
  void check_size(std::string_view type, std::string_view call, Index hidden) const {
    const bool right = y.dimension(0) == shape.batch && y.dimension(1) == shape.channels &&
                       weights.dimension(0) == shape.batch && weights.dimension(1) == 2 &&
                       score.dimension(0) == shape.batch && score.dimension(1) == shape.positions() &&
                       activations.dimension(0) == shape.batch && activations.dimension(1) == hidden &&
                       activations.dimension(2) == shape.positions();
    if (!right)
      fail<ValueError>(type, call, ": the cache's tensors are not those of its shape and ", hidden,
                       " hidden channels");
  }
};

/// e^x; 0 where that is less than the smallest normal number.
template <int N>
POOLHEAD_INLINE simd::Doubles<N> exponential(const simd::Doubles<N>& x) {
  return simd::exp2(x * simd::splat<double, N>(std::numbers::log2e));
}

/// ln sigmoid(score), and its derivative.
template <int N>
struct LogSigmoid {
  simd::Doubles<N> value, slope;

  POOLHEAD_INLINE explicit LogSigmoid(const simd::Doubles<N>& score) {
    const auto zero = simd::zero<simd::Doubles<N>>();
    const auto one = simd::splat<double, N>(1.0);
    const auto power = exponential(zero - simd::abs(score));
    const auto log = simd::log2(one + power, power).value() * simd::splat<double, N>(std::numbers::ln2);
    value = simd::min(score, zero) - log;
    slope = simd::select(score < zero, one, power) / (one + power);
  }
};

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
    if (total() == 0.0) {  // as are the others
      numbers[0] = l;
      return;
    }
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
    const double factor = 1.0 / total();
    for (Index c = 0; c < channels; ++c) y[c] = static_cast<T>(static_cast<Accumulator<T>>(sums()[c] * factor));
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
