// Global average pooling.
#pragma once

#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The sum of float data, in double, where what rounding is left vanishes in the mean.
template <class A, int N>
struct WideSum {
  using Wide = simd::Vec<double, N>;
  Wide sum;

  POOLHEAD_INLINE static WideSum zero() { return {simd::zero<Wide>()}; }
  template <class F>
  static WideSum zip(const F& f, const WideSum& a, const WideSum& b) {
    return {f(a.sum, b.sum)};
  }
  POOLHEAD_INLINE void add(const simd::Vec<A, N>& x) { sum = sum + simd::convert<double>(x); }
  POOLHEAD_INLINE void merge(const WideSum& other) { sum = sum + other.sum; }
  POOLHEAD_INLINE simd::Vec<A, N> mean(double positions) const {
    return simd::convert<A>(sum / simd::splat<double, N>(positions));
  }
};

/// The sum of double data, with the rounding error of every addition carried along (Knuth's TwoSum).
template <int N>
struct WideSum<double, N> {
  using Wide = simd::Vec<double, N>;
  Wide sum, error;

  POOLHEAD_INLINE static WideSum zero() { return {simd::zero<Wide>(), simd::zero<Wide>()}; }
  template <class F>
  static WideSum zip(const F& f, const WideSum& a, const WideSum& b) {
    return {f(a.sum, b.sum), f(a.error, b.error)};
  }
  POOLHEAD_INLINE void add(const simd::Vec<double, N>& x) {
    const auto total = sum + x;
    const auto shadow = total - sum;
    error = error + ((sum - (total - shadow)) + (x - shadow));
    sum = total;
  }
  POOLHEAD_INLINE void merge(const WideSum& other) {
    add(other.sum);
    error = error + other.error;
  }
  POOLHEAD_INLINE simd::Vec<double, N> mean(double positions) const {
    // Infinities and NaN have no rounding error: there the error is NaN, and the sum alone is right.
    const auto corrected = sum + simd::select(error == error, error, simd::zero<Wide>());
    return corrected / simd::splat<double, N>(positions);
  }
};

template <class T, class L, class I>
struct AverageReduction {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr int N = simd::lanes<Accumulator>;
  using V = simd::Vec<Accumulator, N>;
  using State = WideSum<Accumulator, N>;

  FeatureMap<const T, L> map;
  Rows<T> y;
  double positions;
  // Pairs keep the mean within 1 ulp. Planes that may stay in cache take groups of four: within 1.25, and
  // faster.
  bool long_plane;

  static constexpr Accumulator padding() { return 0; }
  POOLHEAD_INLINE State identity() const { return State::zero(); }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&) const {
    if constexpr (K == 1)
      state.add(x[0]);
    else if constexpr (std::same_as<Accumulator, double>)
      unroll<K>([&](auto k) __attribute__((always_inline)) { state.add(x[k]); });
    else if (long_plane) {
      state.add(x[0] + x[1]);
      state.add(x[2] + x[3]);
    } else {
      state.add((x[0] + x[1]) + (x[2] + x[3]));
    }
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    State merged = a;
    merged.merge(b);
    return merged;
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    const auto mean = state.mean(positions);
    simd::store_first(y.row(n) + c, mean, count);
    const auto finite = (mean - mean) == simd::zero<V>();
    if (!simd::all(finite)) [[unlikely]]
      for (int i = 0; i < count; ++i) y(n, c + i) = rescaled_mean(n, c + i);
  }

 private:
  /// The mean of a plane that holds infinities or NaN, or whose sum overflows though its mean need not.
  [[gnu::cold, gnu::noinline]] T rescaled_mean(Index n, Index c) const {
    constexpr double scale = 0x1p-64;
    double sum = 0.0;
    for (Index s = 0; s < map.positions(); ++s) sum += scale * static_cast<double>(map(n, c, s));
    return static_cast<T>(static_cast<Accumulator>(sum / positions / scale));
  }
};

template <class T, class I>
struct AverageGradient {
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
  static constexpr int N = simd::lanes<Accumulator>;
  using Coefficients = simd::Vec<Accumulator, N>;

  Rows<const T> dy;
  Accumulator positions;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return lanes(dy.row(n) + c) / simd::splat<Accumulator, N>(positions);
  }
  POOLHEAD_INLINE Coefficients at(const Coefficients& share, const Coefficients&,
                                  const simd::Vec<I, N>&) const {
    return share;
  }
};

}  // namespace detail

/// y[n, c] = mean over positions s of x[n, c, s];   dx[n, c, s] = dy[n, c] / S.
///
/// features: C. Float sums run in double after a first addition or two, and double sums are compensated, so y
/// is within 1 ulp of the mean magnitude of x from 1,024 positions on and within 1.25 below; half and bfloat16
/// are rounded once, at the end. No finite sum overflows. A NaN in a plane makes its mean NaN. Lin et al.,
/// Network In Network, 2013; torch.nn.AdaptiveAvgPool2d(1), Keras GlobalAveragePooling2D, ONNX
/// GlobalAveragePool.
class GlobalAveragePool : public ReductionPool<GlobalAveragePool> {
 public:
  static constexpr std::string_view name = "GlobalAveragePool";
  template <Scalar T>
  struct Cache : PoolCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of ReductionPool.
  template <Scalar T>
  void prepare(Cache<T>&) const {}
  template <Scalar T>
  void check_size(std::string_view, const Cache<T>&) const {}
  template <Scalar T>
  void check_contents(const Cache<T>&) const {}
  template <class I, Scalar T, class L>
  auto inference(const FeatureMap<const T, L>& x, const Rows<T>& y) const {
    return detail::AverageReduction<T, L, I>{x, y, static_cast<double>(x.positions()), x.positions() >= 1024};
  }
  template <class I, Scalar T, class L>
  auto reduction(const FeatureMap<const T, L>& x, const Rows<T>& y, Cache<T>&) const {
    return inference<I>(x, y);
  }
  template <class I, Scalar T, class L>
  auto gradient(const FeatureMap<const T, L>& x, const Rows<const T>&, const Rows<const T>& dy,
                const Cache<T>&) const {
    return detail::AverageGradient<T, I>{dy, static_cast<Accumulator<T>>(x.positions())};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
