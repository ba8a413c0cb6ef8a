// Global average pooling.
#pragma once

#include "poolhead/core/wide_sum.hpp"
#include "poolhead/pool/pool.hpp"
#include "poolhead/pool/stream.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// exact: every float goes on in double at once, so that no sum overflows. Otherwise pairs of float vectors
/// are added first, which keeps the mean within 1 ulp; planes that may stay in cache take groups of four:
/// within 1.25, and faster.
template <class A, class I, bool exact>
struct AverageFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool is_light = true;
  static constexpr Effort effort = Effort::sums;
  static constexpr bool any_order = true;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using State = WideSum<A, N>;

  bool pairs = true;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero();
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    const auto value = [&](int k) __attribute__((always_inline)) { return valid.or_zero(k, x[k]); };
    if constexpr (std::same_as<A, double> || exact) {
      unroll<K>([&](auto k) __attribute__((always_inline)) { state.add(simd::convert<double>(value(k))); });
    } else if constexpr (K <= 2) {
      auto sum = value(0);
      if constexpr (K == 2) sum = sum + value(1);
      state.add(simd::convert<double>(sum));
    } else {
      auto sum = value(2);
      if constexpr (K == 4) sum = sum + value(3);
      if (pairs) {
        state.add(simd::convert<double>(value(0) + value(1)));
        state.add(simd::convert<double>(sum));
      } else {
        state.add(simd::convert<double>((value(0) + value(1)) + sum));
      }
    }
  }
  template <class S>
  POOLHEAD_INLINE S merge(const S& a, const S& b) const {
    S merged = a;
    merged.add(b);
    return merged;
  }
  /// The mean of what `positions` positions left in the state.
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    // For doubles, a division: the product of a reciprocal is not rounded as the quotient is.
    if constexpr (std::same_as<A, double>)
      return state.value() / simd::splat<double, N>(positions);
    else
      return simd::convert<A>(state.value() * simd::splat<double, N>(1.0 / positions));
  }
};

template <class X, class Y, class I>
struct AverageReduction : AverageFold<Accumulator<typename X::Scalar>, I, false> {
  using T = typename X::Scalar;
  using A = poolhead::Accumulator<T>;
  using Fold = AverageFold<A, I, false>;
  using Fold::N;
  using typename Fold::State;
  using typename Fold::V;

  X map;
  Y y;
  Window window;
  double share;  // 1 / positions

  using ShortState = std::conditional_t<std::same_as<A, float>, ShortSum<N>, State>;
  using Fold::accumulate;
  static constexpr bool passes_over_zeros = true;
  // 16 bits do not show what floats lose.
  static constexpr Index most_short_positions = sizeof(T) == 2 ? 1023 : 0;

  template <class Lanes>
  POOLHEAD_INLINE ShortState short_identity(const Lanes&, Index, Index) const {
    return ShortState::zero();
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(ShortSum<N>& state, const V (&x)[K], const Positions<I, N>&,
                                  const Valid& valid) const {
    V value[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) { value[k] = valid.or_zero(k, x[k]); });
    state.add(value);
  }

  static constexpr int most_block_vectors = 6;
  using BlockElement = A;
  template <int>
  using BlockState = State;
  template <int>
  POOLHEAD_INLINE static State block_identity() {
    return State::zero();
  }
  template <int>
  static constexpr int block_positions = 4;
  /// Rows of a few vectors, which are read as they lie in memory, of maps that a cache holds.
  static bool has_channel_blocks(const X& x, Index vectors) {
    // Short states read pairs of vectors, which is worth their memory from so many on.
    if (most_short_positions > 0 && vectors > 1 && x.positions() * vectors >= 128) return false;
    return vectors <= most_block_vectors && bytes_of(x) <= (vectors <= 4 ? cached_map_bytes : small_map_bytes);
  }

  AverageReduction(const X& x, const Y& output, const Window& part)
      : Fold{part.size() >= 1024 && sizeof(T) > 2},
        map(x),
        y(output),
        window(part),
        share(1.0 / static_cast<double>(part.size())) {}

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    put(y, n, c, mean(state, n, c, count), count);
  }

  /// The mean of the first count channels from c on; a sum that is not finite is taken again, scaled.
  POOLHEAD_INLINE V mean(const State& state, Index n, Index c, int count) const {
    V result;
    if constexpr (is_masked<X> || std::same_as<A, double>)
      result = Fold::value(state, static_cast<double>(is_masked<X> ? valid_positions(map, n) : window.size()));
    else
      result = simd::convert<A>(state.value() * simd::splat<double, N>(share));
    const auto finite = (result - result) == simd::zero<V>();
    if (!simd::all(finite)) [[unlikely]] {
      A means[N];
      simd::store(means, result);
      rescale(means, n, c, count);
      result = simd::load<A>(means);
    }
    return result;
  }
  /// Takes those of the count means again that are not finite: their planes hold infinities or NaN, or the sum
  /// overflows though its mean need not.
  [[gnu::cold, gnu::noinline]] void rescale(A* means, Index n, Index c, int count) const {
    constexpr double scale = 0x1p-64;
    const Index positions = is_masked<X> ? valid_positions(map, n) : window.size();
    for (int i = 0; i < count; ++i) {
      if (std::isfinite(means[i])) continue;  // its neighbours are no reason to take it again
      double sum = 0.0;
      for (Index row = 0; row < window.rows; ++row) {
        const Index first = window.first + row * window.step;
        for (Index s = first; s < first + window.columns; ++s)
          if (is_valid(map, n, s)) sum += scale * static_cast<double>(map(n, c + i, s));
      }
      means[i] = static_cast<A>(sum / static_cast<double>(positions) / scale);
    }
  }
};

template <class X, class I>
struct AverageGradient {
  using T = typename X::Scalar;
  using Accumulator = poolhead::Accumulator<T>;
  using PositionLane = I;
  static constexpr bool reads_x = false;
  static constexpr int peaks = 0;
  static constexpr int N = simd::lanes<Accumulator>;
  using Coefficients = simd::Vec<Accumulator, N>;
  using Sums = NoSums;

  X map;
  Rows<const T> dy;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    const auto positions = static_cast<Accumulator>(valid_positions(map, n));
    return lanes(dy.row(n) + c) / simd::splat<Accumulator, N>(positions);
  }
  template <int K>
  POOLHEAD_INLINE void at(const Coefficients& share, Sums&, const Coefficients (&)[K],
                          const simd::Vec<I, N> (&)[K], Coefficients (&dx)[K]) const {
    unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = share; });
  }
  template <class F>
  POOLHEAD_INLINE void each_peak(const Coefficients&, const F&) const {}
  void collect(const ChannelLanes<Accumulator, I>&, const Sums&, Index, Index) const {}
  void finish() const {}
};

}  // namespace detail

/// y[n, c] = mean over positions s of x[n, c, s];   dx[n, c, s] = dy[n, c] / S.
///
/// features: C. Float sums run in double after a first addition or two, in short planes after five, and double
/// sums are compensated, so y is within 1 ulp of the mean magnitude of x from 1,024 positions on and within 2.5
/// below; sums of half and bfloat16 are floats for up to 1,023 positions, then double, and are rounded
/// once, at the end. No finite sum overflows. A NaN in a plane makes its mean NaN. Lin et al.,
/// Network In Network, 2013; torch.nn.AdaptiveAvgPool2d(1), Keras GlobalAveragePooling2D, ONNX
/// GlobalAveragePool.
class GlobalAveragePool : public PoolCalls<GlobalAveragePool>, public StreamCalls<GlobalAveragePool> {
 public:
  static constexpr std::string_view name = "GlobalAveragePool";
  template <Scalar T>
  struct Cache : PoolCache {};

  Index features(Index channels) const { return channels; }

  // The protocol of PoolCalls and StreamCalls.
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return detail::AverageReduction<X, Rows<typename X::Scalar>, I>(x, y, detail::whole_plane(x.shape()));
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>&) const {
    return inference<I>(x, y);
  }
  template <class I, class X, Scalar T>
  auto gradient(const X& x, const Rows<const T>&, const Rows<const T>& dy, const Cache<T>&,
                GlobalAveragePool*) const {
    return detail::AverageGradient<X, I>{x, dy};
  }
  template <Scalar T>
  auto fold() const {
    return detail::AverageFold<Accumulator<T>, simd::IntOf<Accumulator<T>>, true>{};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
