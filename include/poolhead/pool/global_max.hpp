// Global max pooling.
#pragma once

#include "poolhead/pool/pool.hpp"
#include "poolhead/pool/stream.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Whether b takes the place of a, where b stands later in the plane: it is greater, or the plane's first NaN.
template <class A, int N>
POOLHEAD_INLINE auto later_wins(const simd::Vec<A, N>& a, const simd::Vec<A, N>& b) {
  return ~(b <= a) & (a == a);
}

template <class A, class I>
struct MaxFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  static constexpr A lowest = -std::numeric_limits<A>::infinity();

  struct State {
    V value;
    simd::Vec<I, N> position;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return {f(a.value, b.value), f(a.position, b.position)};
    }
  };

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return {simd::splat<A, N>(lowest), simd::zero<simd::Vec<I, N>>()};
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>& positions,
                                  const Valid& valid) const {
    const auto at = [&](int k) __attribute__((always_inline)) {
      return State{valid.select(k, x[k], simd::splat<A, N>(lowest)), positions.at(k)};
    };
    if constexpr (K == 1)
      state = append(state, at(0));
    else if constexpr (K == 2)
      state = append(state, append(at(0), at(1)));
    else if constexpr (K == 3)
      state = append(state, append(append(at(0), at(1)), at(2)));
    else
      state = append(state, append(append(at(0), at(1)), append(at(2), at(3))));
  }
  /// b stands behind a.
  POOLHEAD_INLINE static State append(const State& a, const State& b) {
    return pick(later_wins(a.value, b.value), a, b);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    // Here either may hold the earlier position: among equals, and among NaN, the smaller one wins.
    const auto unordered = (a.value != a.value) & (b.value != b.value);
    const auto tie = (a.value == b.value) | unordered;
    const auto earlier = simd::convert<simd::IntOf<A>>(b.position < a.position);
    return pick(later_wins(a.value, b.value) | (tie & earlier), a, b);
  }
  POOLHEAD_INLINE V value(const State& state, double) const { return state.value; }

 private:
  template <class M>
  POOLHEAD_INLINE static State pick(const M& b_wins, const State& a, const State& b) {
    return {simd::select(b_wins, b.value, a.value), simd::select(b_wins, b.position, a.position)};
  }
};

/// Argmax: where to put positions, or NoArgmax.
struct NoArgmax {};
template <int N>
POOLHEAD_INLINE void put(NoArgmax, Index, Index, const simd::Vec<Index, N>&, int) {}

template <class X, class Y, class Argmax, class I>
struct MaxReduction : MaxFold<Accumulator<typename X::Scalar>, I> {
  using T = typename X::Scalar;
  using Fold = MaxFold<poolhead::Accumulator<T>, I>;
  using typename Fold::State;
  static constexpr int N = Fold::N;

  X map;
  Y y;
  Argmax argmax;

  MaxReduction(const X& x, const Y& output, const Argmax& positions) : map(x), y(output), argmax(positions) {}

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    put(y, n, c, state.value, count);
    put_argmax(state, n, c, count);
  }
  POOLHEAD_INLINE void put_argmax(const State& state, Index n, Index c, int count) const {
    if constexpr (!std::same_as<Argmax, NoArgmax>) {
      auto position = simd::convert<Index>(state.position);
      // Of -inf alone nothing was ever greater: the first position that counts stands for them all.
      const auto nothing = state.value == simd::splat<poolhead::Accumulator<T>, N>(Fold::lowest);
      if (simd::any(nothing)) [[unlikely]]
        position = simd::select(nothing, simd::splat<Index, N>(first_valid(n)), position);
      put(argmax, n, c, position, count);
    }
  }

 private:
  Index first_valid(Index n) const {
    Index s = 0;
    while (!is_valid(map, n, s)) ++s;
    return s;
  }
};

template <class T, class I>
struct MaxGradient {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
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

  POOLHEAD_INLINE Coefficients prepare(const ChannelLanes<Accumulator, I>& lanes, Index n, Index c) const {
    return {lanes(dy.row(n) + c), lanes(argmax.row(n) + c)};
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums&, const V (&)[K],
                          const simd::Vec<I, N> (&position)[K], const Valid&, V (&dx)[K]) const {
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = simd::select(position[k] == shared.argmax, shared.dy, simd::zero<V>());
    });
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
