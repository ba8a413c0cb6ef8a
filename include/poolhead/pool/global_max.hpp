// Global max pooling.
#pragma once

#include "poolhead/pool/max_reduction.hpp"
#include "poolhead/pool/pool.hpp"
#include "poolhead/pool/stream.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

template <class T, class I>
struct MaxGradient {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
  static constexpr int peaks = 1;
  static constexpr bool is_zero_elsewhere = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Sums = NoSums;

  struct Coefficients {
    V dy;
    simd::Vec<I, N> argmax;

    POOLHEAD_INLINE Coefficients lane(int i) const {
      return {simd::splat_lane(dy, i), simd::splat_lane(argmax, i)};
    }
  };

  Rows<const T> dy;
  Rows<const Index> argmax;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return {lanes(dy.row(n) + c), lanes(argmax.row(n) + c)};
  }
  template <int K>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums&, const V (&)[K],
                          const simd::Vec<I, N> (&position)[K], V (&dx)[K]) const {
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = simd::select(position[k] == shared.argmax, shared.dy, simd::zero<V>());
    });
  }
  template <class F>
  POOLHEAD_INLINE void each_peak(const Coefficients& shared, const F& f) const {
    f(shared.argmax);
  }
  void collect(const ChannelLanes<Accumulator, I>&, const Sums&, Index, Index) const {}
  void finish() const {}
};

/// The cache of pools that keep, for each feature, where its maximum stood.
struct ArgmaxCache : PoolCache {
  Eigen::Tensor<Index, 2, Eigen::RowMajor> argmax;  ///< (N, features), positions 0 .. S - 1

  Rows<Index> rows() { return {argmax.data(), argmax.dimension(0), argmax.dimension(1)}; }
  Rows<const Index> rows() const { return {argmax.data(), argmax.dimension(0), argmax.dimension(1)}; }

  void check_size(std::string_view type, std::string_view call, Index features) const {
    if (argmax.dimension(0) != shape.batch || argmax.dimension(1) != features) {
      fail<ValueError>(type, call, ": the cache holds [", argmax.dimension(0), ", ", argmax.dimension(1),
                       "] argmax, expected [", shape.batch, ", ", features, "]");
    }
  }
  /// backward trusts no position that it did not look at.
  void check_contents(std::string_view type) const {
    const Index positions = shape.positions();
    std::uint64_t largest = 0;  // a negative number is larger than any position
    for (Index i = 0; i < argmax.size(); ++i)
      largest = std::max(largest, static_cast<std::uint64_t>(argmax.data()[i]));
    if (largest < static_cast<std::uint64_t>(positions)) return;
    for (Index i = 0; i < argmax.size(); ++i) {
      const Index position = argmax.data()[i];
      if (position < 0 || position >= positions) {
        fail<ValueError>(type, "::backward: argmax of plane ", i, " is ", position,
                         ", expected a position in 0..", positions - 1);
      }
    }
  }
};

}  // namespace detail

/// y[n, c] = max over positions s of x[n, c, s];   dx = dy at the argmax, 0 elsewhere.
///
/// features: C. The cache's argmax, (N, C), holds the position 0 .. S - 1 of the maximum: the first in
/// (height, width) order where several are equal (+0 equals -0), the first NaN where there is one; y is then
/// NaN. A plane of -inf gives -inf and position 0. Oquab et al., Is Object Localization for Free?, 2015;
/// torch.nn.AdaptiveMaxPool2d(1), Keras GlobalMaxPooling2D, ONNX GlobalMaxPool.
class GlobalMaxPool : public PoolCalls<GlobalMaxPool>, public StreamCalls<GlobalMaxPool> {
 public:
  static constexpr std::string_view name = "GlobalMaxPool";
  static constexpr bool uses_positions = true;
  template <Scalar T>
  struct Cache : detail::ArgmaxCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.argmax.resize(cache.shape.batch, cache.shape.channels);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::ArgmaxCache::check_size(name, call, cache.shape.channels);
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    cache.detail::ArgmaxCache::check_contents(name);
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return bind<I>(x, y, detail::NoArgmax{});
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return bind<I>(x, y, cache.rows());
  }
  template <class I, class X, Scalar T>
  auto gradient(const X&, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                GlobalMaxPool*) const {
    return detail::MaxGradient<T, I>{dy, cache.rows()};
  }
  template <Scalar T>
  auto fold() const {
    return detail::MaxFold<Accumulator<T>, simd::IntOf<Accumulator<T>>>{};
  }

 private:
  template <class I, class X, class Y, class Argmax>
  static auto bind(const X& x, const Y& y, const Argmax& argmax) {
    return detail::MaxReduction<X, Y, Argmax, I>(x, y, argmax);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
