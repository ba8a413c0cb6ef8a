// SoftPool: the average weighted by the exponentials of the elements themselves.
#pragma once

#include "poolhead/pool/direct_sum.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// y = mark + offset, offset = weighted / sum.
template <int N, class Put>
POOLHEAD_INLINE auto soft_results(const simd::Doubles<N>& mark, const simd::Doubles<N>& sum,
                                  const simd::Doubles<N>& weighted, const Put& put) {
  const auto offset = weighted / sum;
  return put(mark + offset, mark, sum, offset);
}

template <class A, class I>
struct SoftFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LinearMeasure<A, N>, A, true>;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(std::numbers::log2e));
  }
  static constexpr bool scans = true;
  POOLHEAD_INLINE auto scan_start() const { return State::scan_start(); }
  template <int K>
  POOLHEAD_INLINE auto scan(const typename State::Top& top, const V (&x)[K]) const {
    return State::scan(top, x);
  }
  POOLHEAD_INLINE void raise(State& state, const typename State::Top& top) const { state.raise(top, false); }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K]) const {
    state.add(x, false);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, double, const Put& put) const {
    return soft_results<N>(simd::convert<double>(state.mark.value), state.sums.sum.value(),
                           state.sums.weighted.value(), put);
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<A>(results(state, positions, OnlyResult{}));
  }
};

/// The same of floats.
template <class I>
struct SoftFloatFold : FloatFold<FloatSum<false, true, simd::lanes<float>>, I, simd::lanes<float>> {
  static constexpr int N = simd::lanes<float>;
  using State = FloatSum<false, true, N>;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero(simd::splat<double, N>(std::numbers::log2e));
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, Index, Index, int, const Put& put) const {
    return soft_results<N>(state.wide_mark(), state.sums.sum, state.sums.weighted, put);
  }
};

/// The same of the exponentials as they are. The mark is y as a float, which is what backward starts from.
template <class T>
struct SoftDirectFold {
  static constexpr bool has_weights = true;
  static constexpr bool less_one = false;
  static constexpr bool is_fine_near_zero = sizeof(T) == 2;  // 16-bit types have more digits there
  // As a float, which is what the terms are computed with: y is the same to 2^-26 of the variance.
  static constexpr double rate = static_cast<float>(std::numbers::log2e);

  double positions;

  template <class Sums, class Put>
  POOLHEAD_INLINE auto results(const Sums& sums, const Put& put) const {
    constexpr int N = simd::lanes<float>;
    const auto y = sums.of[1].sum / sums.of[0].sum;
    const auto mark = simd::convert<double>(simd::convert<float>(y));
    const auto factor = simd::short_exp2(simd::splat<double, N>(-rate) * mark);
    return put(y, mark, sums.of[0].sum * factor, y - mark);
  }
};

template <class X, class I>
struct SoftGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = true;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using Wide = simd::Doubles<N>;
  using Sums = NoSums;

  struct Coefficients {
    V scale, mark, offset;
    simd::Mask<Accumulator, N> ordinary;

    POOLHEAD_INLINE Coefficients lane(int i) const {
      return {lane_of(scale, i), lane_of(mark, i), lane_of(offset, i), lane_of(ordinary, i)};
    }
  };
  static constexpr bool precise = false;

  X map;
  Rows<const T> dy;
  const double* planes;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    using A = Accumulator;
    const KeptSum<N> kept(lanes, planes, map.batch() * map.channels(), n * map.channels() + c);
    return {simd::convert<A>(simd::convert<double>(lanes(dy.row(n) + c)) / kept.sum),
            simd::convert<A>(kept.mark), simd::convert<A>(kept.offset),
            simd::convert<simd::IntOf<A>>((kept.sum - kept.sum) == simd::zero<Wide>())};
  }
  template <int K>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums& sums, const V (&x)[K], const simd::Vec<I, N> (&)[K],
                          V (&dx)[K]) const {
    exponential_gradient(*this, shared, sums, x, dx);
  }
  template <int K>
  POOLHEAD_INLINE void floats(const Coefficients& shared, Sums&, const V (&x)[K], V (&dx)[K]) const {
    const V rate = simd::splat<float, N>(static_cast<float>(std::numbers::log2e));
    const V least = least_distance(rate);
    V distance[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      dx[k] = distance[k] = simd::max(x[k] - shared.mark, least);
    });
    simd::short_exp2<K, N>(rate, dx);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const V slope = simd::splat<float, N>(1.0F) + (distance[k] - shared.offset);
      dx[k] = simd::select(distance[k] > least, shared.scale * dx[k] * slope, simd::zero<V>());
    });
  }
  /// In the accumulator's own type, too: nothing magnifies its rounding.
  template <int K>
  POOLHEAD_INLINE void exact(const Coefficients& shared, Sums&, const V (&x)[K], V (&dx)[K]) const {
    using A = Accumulator;
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const V distance = x[k] - shared.mark;
      const V weight =
          shared.scale * simd::exp2(simd::splat<A, N>(static_cast<A>(std::numbers::log2e)) * distance);
      const V gradient = weight * (simd::splat<A, N>(A(1)) + (distance - shared.offset));
      dx[k] = simd::select(weight == simd::zero<V>(), weight, gradient);
    });
  }
  void collect(const ChannelLanes<Accumulator, I>&, const Sums&, Index, Index) const {}
  void finish() const {}
};

}  // namespace detail

/// y = sum over positions of w x, w = softmax over positions of x;   dx = dy w (1 + x - y).
///
/// features: C. Large exponents are relative to the plane's maximum, so nothing overflows; an element of -inf
/// has weight 0. Stergiou et al., Refining activation downsampling with SoftPool, 2021, over the whole plane.
class SoftPool : public PoolCalls<SoftPool>, public StreamCalls<SoftPool> {
 public:
  static constexpr std::string_view name = "SoftPool";
  template <Scalar T>
  struct Cache : detail::WideCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    cache.resize(3, false);
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    cache.detail::WideCache::check_size(name, call, 3, false);
  }
  template <class, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return bind(x, y, nullptr);
  }
  template <class, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return bind(x, y, cache.planes.data());
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>& cache,
                SoftPool*) const {
    return detail::SoftGradient<X, I>{x, dy, cache.planes.data()};
  }
  template <Scalar T>
  auto fold() const {
    return detail::SoftFold<Accumulator<T>, simd::IntOf<Accumulator<T>>>{};
  }

 private:
  template <class X, Scalar T>
  static auto bind(const X& x, const Rows<T>& y, double* planes) {
    using I = simd::IntOf<Accumulator<T>>;  // positions mean nothing to it
    return detail::direct_head<I, X>(
        detail::SoftDirectFold<T>{static_cast<double>(x.positions())},
        detail::exponential_head(
            detail::SoftFloatFold<I>{},
            detail::WideReduction<detail::SoftFold<Accumulator<T>, I>, X>{{}, x, y, planes}, false));
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
