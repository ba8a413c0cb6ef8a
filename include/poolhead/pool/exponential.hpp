// What LogSumExp, SoftPool, the generalised mean and the Lp norm have in common: sums of exponentials 2^(rate
// d(x)), kept relative to the largest one, which can neither overflow nor vanish. The generalised mean is
// LogSumExp of logarithms: (mean c^p)^(1/p) = exp((1/p) ln mean exp(p ln c)).
#pragma once

#include "poolhead/core/simd_math.hpp"
#include "poolhead/core/wide_sum.hpp"
#include "poolhead/pool/stream.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// d(x) = x - mark. A mark is what the sums are relative to, the largest x so far.
template <int N>
struct LinearMeasure {
  using Wide = simd::Doubles<N>;
  struct Mark {
    Wide value;

    template <class F>
    static Mark zip(const F& f, const Mark& a, const Mark& b) {
      return {f(a.value, b.value)};
    }
  };
  /// Marks stay finite, so that infinities are infinitely far from them.
  static constexpr double lowest = -std::numeric_limits<double>::max();

  POOLHEAD_INLINE static Mark mark(const Wide& x) { return {x}; }
  POOLHEAD_INLINE static Wide locate(const Wide& x) { return x; }
  POOLHEAD_INLINE static Wide distance(const Wide& x, const Mark& mark) { return x - mark.value; }
  POOLHEAD_INLINE static Wide distance(const Mark& a, const Mark& b) { return a.value - b.value; }
};

/// d(x) = log2(x / mark), x >= 0.
template <int N>
struct LogMeasure {
  using Wide = simd::Doubles<N>;
  struct Mark {
    Wide value;
    simd::Log2<N> log;

    template <class F>
    static Mark zip(const F& f, const Mark& a, const Mark& b) {
      return {f(a.value, b.value), simd::Log2<N>::zip(f, a.log, b.log)};
    }
  };
  static constexpr double lowest = 0.0;

  POOLHEAD_INLINE static Mark mark(const Wide& x) {
    // Of 0, which is only the first mark, a number below all logarithms, but finite.
    const auto log = simd::log2(x);
    const auto nothing = x == simd::zero<Wide>();
    return {x,
            {simd::select(nothing, simd::splat<double, N>(-2048.0), log.exponent),
             simd::select(nothing, simd::zero<Wide>(), log.fraction)}};
  }
  POOLHEAD_INLINE static simd::Log2<N> locate(const Wide& x) { return simd::log2(x); }
  POOLHEAD_INLINE static Wide distance(const simd::Log2<N>& x, const Mark& mark) { return x - mark.log; }
  POOLHEAD_INLINE static Wide distance(const Mark& a, const Mark& b) { return a.log - b.log; }
};

/// sum 2^(rate d(x)) and, where weighted, sum 2^(rate d(x)) d(x), in one pass: where a larger x comes, what has
/// been summed so far is scaled down.
template <class Measure, class A, bool weighted>
struct ExponentialSum {
  static constexpr int N = simd::lanes<A>;
  using Wide = simd::Doubles<N>;
  struct Nothing {
    static Nothing zip(const auto&, const Nothing&, const Nothing&) { return {}; }
  };
  using Weighted = std::conditional_t<weighted, WideSum<A, N>, Nothing>;

  typename Measure::Mark mark;
  Wide rate;
  WideSum<A, N> sum;
  [[no_unique_address]] Weighted weighted_sum;

  template <class F>
  static ExponentialSum zip(const F& f, const ExponentialSum& a, const ExponentialSum& b) {
    return {Measure::Mark::zip(f, a.mark, b.mark), f(a.rate, b.rate), WideSum<A, N>::zip(f, a.sum, b.sum),
            Weighted::zip(f, a.weighted_sum, b.weighted_sum)};
  }
  POOLHEAD_INLINE static ExponentialSum zero(const Wide& rate) {
    ExponentialSum out;
    out.mark = Measure::mark(simd::splat<double, N>(Measure::lowest));
    out.rate = rate;
    out.sum = WideSum<A, N>::zero();
    if constexpr (weighted) out.weighted_sum = WideSum<A, N>::zero();
    return out;
  }

  // Not inlined: functions of this size are worth a call, and shared by all traversals.
  template <int K, class Valid>
  [[gnu::noinline]] void add(const Wide (&x)[K], const Valid& valid) {
    Wide top = mark.value;
    for (int k = 0; k < K; ++k) top = simd::max(top, valid.select(k, x[k], top));
    if (simd::any(top > mark.value)) move_to(top);
    for (int k = 0; k < K; ++k) {
      const Wide distance = Measure::distance(Measure::locate(x[k]), mark);
      const Wide term = valid.select(k, simd::exp2(rate * distance), simd::zero<Wide>());
      sum.add(term);
      if constexpr (weighted) {
        // 2^-inf times -inf is 0, as the limit is.
        weighted_sum.add(simd::select(term == simd::zero<Wide>(), term, term * distance));
      }
    }
  }
  [[gnu::noinline]] void add(ExponentialSum other) {
    const Wide top = simd::max(mark.value, other.mark.value);
    move_to(top);
    other.move_to(top);
    sum.add(other.sum);
    if constexpr (weighted) weighted_sum.add(other.weighted_sum);
  }

 private:
  /// Makes the sums relative to a larger x.
  POOLHEAD_INLINE void move_to(const Wide& top) {
    const auto largest = simd::splat<double, N>(std::numeric_limits<double>::max());
    const auto next = Measure::mark(simd::select(top > largest, largest, top));
    const Wide distance = Measure::distance(mark, next);
    const Wide factor = simd::exp2(rate * distance);
    if constexpr (weighted) {
      auto shift = sum;
      shift.scale(simd::select(factor == simd::zero<Wide>(), simd::zero<Wide>(), distance));
      weighted_sum.add(shift);
      weighted_sum.scale(factor);
    }
    sum.scale(factor);
    mark = next;
  }
};

/// What backward needs to know of each plane, in double: a row's own rounding would be magnified by an
/// exponent.
struct WideCache : PoolCache {
  Eigen::Tensor<double, 3, Eigen::RowMajor> planes;  ///< (numbers a plane, N, C)
  mutable Buffer<double> shares;                     ///< (N, C): each plane's share of a parameter's gradient

  void resize(Index numbers, bool has_parameter) {
    planes.resize(numbers, shape.batch, shape.channels);
    if (has_parameter) shares.reserve(shape.batch * shape.channels);
  }
  void check_size(std::string_view type, std::string_view call, Index numbers) const {
    if (planes.dimension(0) != numbers || planes.dimension(1) != shape.batch ||
        planes.dimension(2) != shape.channels) {
      fail<ValueError>(type, call, ": the cache holds [", planes.dimension(0), ", ", planes.dimension(1), ", ",
                       planes.dimension(2), "] numbers, expected [", numbers, ", ", shape.batch, ", ",
                       shape.channels, "]");
    }
  }
};

/// A fold bound to y. fold.results(state, positions) are y and what backward needs, all in double.
template <class Fold, class X>
struct WideReduction : Fold {
  using T = typename X::Scalar;
  using typename Fold::State;

  X map;
  Rows<T> y;
  double* planes;  // of a WideCache, or null

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    const auto results = Fold::results(state, static_cast<double>(valid_positions(map, n)));
    put(y, n, c, simd::convert<typename Fold::Accumulator>(results.y), count);
    if (planes == nullptr) return;
    Index plane = n * map.channels() + c;
    for (const auto& kept : results.kept) {
      simd::store_first(planes + plane, kept, count);
      plane += map.batch() * map.channels();
    }
  }
};

/// y, and K numbers for backward.
template <int N, int K>
struct WideResults {
  simd::Doubles<N> y;
  simd::Doubles<N> kept[K];
};

/// What is kept of a sum of exponentials relative to a mark: the mark, the sum, and how far y is from the mark.
/// Their combinations would lose what a large mark hides.
template <class Lanes, int N>
struct KeptSum {
  simd::Doubles<N> mark, sum, offset;

  POOLHEAD_INLINE KeptSum(const Lanes& lanes, const double* planes, Index size, Index plane)
      : mark(lanes.wide(planes + plane)),
        sum(lanes.wide(planes + size + plane)),
        offset(lanes.wide(planes + 2 * size + plane)) {}
};

/// Adds the shares of a parameter's gradient to it: one number per channel, or one for all.
template <class T>
void add_shares(const double* shares, Index batch, Index channels,
                Eigen::Tensor<T, 1, Eigen::RowMajor>& gradient) {
  const auto add = [](T& to, double sum) {
    to = static_cast<T>(static_cast<Accumulator<T>>(static_cast<double>(to) + sum));
  };
  if (gradient.size() == 1) {
    double sum = 0.0;
    for (Index i = 0; i < batch * channels; ++i) sum += shares[i];
    add(gradient(0), sum);
    return;
  }
  for (Index c = 0; c < channels; ++c) {
    double sum = 0.0;
    for (Index n = 0; n < batch; ++n) sum += shares[n * channels + c];
    add(gradient(c), sum);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
