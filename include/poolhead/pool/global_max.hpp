// Global max pooling.
#pragma once

#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Whether b takes the place of a, where b stands later in the plane: it is greater, or the plane's first NaN.
template <class A, int N>
POOLHEAD_INLINE auto later_wins(const simd::Vec<A, N>& a, const simd::Vec<A, N>& b) {
  return ~(b <= a) & (a == a);
}

template <class T, class I>
struct MaxReduction {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;

  struct State {
    V value;
    simd::Vec<I, N> position;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return {f(a.value, b.value), f(a.position, b.position)};
    }
  };

  Rows<T> y;
  Index* argmax;  // null where nobody asks
  Index channels;

  static constexpr Accumulator padding() { return -std::numeric_limits<Accumulator>::infinity(); }
  POOLHEAD_INLINE State identity() const {
    return {simd::splat<Accumulator, N>(padding()), simd::zero<simd::Vec<I, N>>()};
  }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>& positions) const {
    const auto at = [&](int k) __attribute__((always_inline)) { return State{x[k], positions.at(k)}; };
    if constexpr (K == 1)
      state = later(state, at(0));
    else
      state = later(state, later(later(at(0), at(1)), later(at(2), at(3))));
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    // Here either may hold the earlier position: among equals, and among NaN, the smaller one wins.
    const auto unordered = (a.value != a.value) & (b.value != b.value);
    const auto tie = (a.value == b.value) | unordered;
    const auto earlier = simd::convert<simd::IntOf<Accumulator>>(b.position < a.position);
    return pick(later_wins(a.value, b.value) | (tie & earlier), a, b);
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    simd::store_first(y.row(n) + c, state.value, count);
    if (argmax == nullptr) return;
    const auto wide = simd::convert<Index>(state.position);
    std::memcpy(argmax + n * channels + c, &wide, static_cast<std::size_t>(count) * sizeof(Index));
  }

 private:
  template <class M>
  POOLHEAD_INLINE static State pick(const M& b_wins, const State& a, const State& b) {
    return {simd::select(b_wins, b.value, a.value), simd::select(b_wins, b.position, a.position)};
  }
  POOLHEAD_INLINE static State later(const State& a, const State& b) {
    return pick(later_wins(a.value, b.value), a, b);
  }
};

template <class T, class I>
struct MaxGradient {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;

  struct Coefficients {
    V dy;
    simd::Vec<I, N> argmax;
  };

  Rows<const T> dy;
  const Index* argmax;
  Index channels;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return {lanes(dy.row(n) + c), lanes(argmax + n * channels + c)};
  }
  POOLHEAD_INLINE V at(const Coefficients& shared, const V&, const simd::Vec<I, N>& position) const {
    return simd::select(position == shared.argmax, shared.dy, simd::zero<V>());
  }
};

}  // namespace detail

/// y[n, c] = max over positions s of x[n, c, s];   dx = dy at the argmax, 0 elsewhere.
///
/// features: C. The cache's argmax, (N, C), holds the position 0 .. S - 1 of the maximum: the first in
/// (height, width) order where several are equal (+0 equals -0), the first NaN where there is one; y is then
/// NaN. A plane of -inf gives -inf and position 0. Oquab et al., Is Object Localization for Free?, 2015;
/// torch.nn.AdaptiveMaxPool2d(1), Keras GlobalMaxPooling2D, ONNX GlobalMaxPool.
class GlobalMaxPool : public ReductionPool<GlobalMaxPool> {
 public:
  static constexpr std::string_view name = "GlobalMaxPool";
  template <Scalar T>
  struct Cache : PoolCache {
    Eigen::Tensor<Index, 2, Eigen::RowMajor> argmax;
  };

  Index features(Index channels) const { return channels; }

  // The protocol of ReductionPool.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.argmax.resize(cache.shape.batch, cache.shape.channels);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    const Index planes = cache.shape.batch * cache.shape.channels;
    if (cache.argmax.size() != planes) {
      detail::fail<ValueError>(name, call, ": the cache holds ", cache.argmax.size(), " argmax, expected ",
                               planes);
    }
  }
  /// backward trusts no position that it did not look at.
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    const Index positions = cache.shape.positions();
    for (Index i = 0; i < cache.argmax.size(); ++i) {
      const Index position = cache.argmax.data()[i];
      if (position < 0 || position >= positions) {
        detail::fail<ValueError>(name, "::backward: argmax of plane ", i, " is ", position,
                                 ", expected a position in 0..", positions - 1);
      }
    }
  }
  template <class I, Scalar T, class L>
  auto inference(const FeatureMap<const T, L>& x, const Rows<T>& y) const {
    return detail::MaxReduction<T, I>{y, nullptr, x.channels()};
  }
  template <class I, Scalar T, class L>
  auto reduction(const FeatureMap<const T, L>& x, const Rows<T>& y, Cache<T>& cache) const {
    return detail::MaxReduction<T, I>{y, cache.argmax.data(), x.channels()};
  }
  template <class I, Scalar T, class L>
  auto gradient(const FeatureMap<const T, L>& x, const Rows<const T>&, const Rows<const T>& dy,
                const Cache<T>& cache) const {
    return detail::MaxGradient<T, I>{dy, cache.argmax.data(), x.channels()};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
