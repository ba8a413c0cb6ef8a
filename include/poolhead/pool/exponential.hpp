// What LogSumExp, SoftPool, the generalised mean and the Lp norm have in common: sums of exponentials 2^(rate
// d(x)), kept relative to the largest one, which can neither overflow nor vanish. The generalised mean is
// LogSumExp of logarithms: (mean c^p)^(1/p) = exp((1/p) ln mean exp(p ln c)).
#pragma once

#include "poolhead/core/simd_math.hpp"
#include "poolhead/core/wide_sum.hpp"
#include "poolhead/pool/stream.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// d(x) = x - mark. A mark is what the sums are relative to, the largest x so far; it stays finite, so that
/// infinities are infinitely far from it. A is the type of x, C that of the arithmetic.
template <class A, int N>
struct LinearMeasure {
  using V = simd::Vec<A, N>;
  struct Mark {
    V value;

    template <class F>
    static Mark zip(const F& f, const Mark& a, const Mark& b) {
      return {f(a.value, b.value)};
    }
  };
  static constexpr A lowest = -std::numeric_limits<A>::max();

  template <class C>
  POOLHEAD_INLINE static Mark mark(const V& x) {
    return {x};
  }
  /// The distances of vectors from one mark, or of one mark from another.
  template <class C>
  struct From {
    simd::Vec<C, N> mark;

    POOLHEAD_INLINE explicit From(const Mark& m) : mark(simd::convert<C>(m.value)) {}
    POOLHEAD_INLINE auto distance(const V& x) const { return simd::convert<C>(x) - mark; }
    POOLHEAD_INLINE auto distance(const Mark& m) const { return simd::convert<C>(m.value) - mark; }
  };
};

/// d(x) = log2(x / mark), x >= 0.
template <class A, int N>
struct LogMeasure {
  using V = simd::Vec<A, N>;
  struct Mark {
    V value;
    simd::Log2<double, N> log;

    template <class F>
    static Mark zip(const F& f, const Mark& a, const Mark& b) {
      return {f(a.value, b.value), simd::Log2<double, N>::zip(f, a.log, b.log)};
    }
  };
  static constexpr A lowest = 0;

  template <class C>
  POOLHEAD_INLINE static Mark mark(const V& x) {
    // Of 0, which is only the first mark, a number below all logarithms, but finite.
    const auto log = simd::log2(simd::convert<C>(x)).template as<double>();
    const auto nothing = x == simd::zero<V>();
    return {x,
            {simd::select(nothing, simd::splat<double, N>(-2048.0), log.exponent),
             simd::select(nothing, simd::zero<simd::Doubles<N>>(), log.fraction)}};
  }
  template <class C>
  struct From {
    simd::Log2<C, N> log;

    POOLHEAD_INLINE explicit From(const Mark& m) : log(m.log.template as<C>()) {}
    POOLHEAD_INLINE auto distance(const V& x) const { return simd::log2(simd::convert<C>(x)) - log; }
    POOLHEAD_INLINE auto distance(const Mark& m) const { return m.log.template as<C>() - log; }
  };
};

/// What a scan finds.
template <class A, int N>
struct LargestTop {
  simd::Vec<A, N> largest;
};

/// sum 2^(rate d(x)) and, where weighted, sum 2^(rate d(x)) d(x), in one pass: where a larger x comes, what has
/// been summed so far is scaled down. Sums are double; terms are computed in float for float data unless
/// precise.
template <class Measure, class A, bool has_weights>
struct ExponentialSum {
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  struct Nothing {
    static Nothing zip(const auto&, const Nothing&, const Nothing&) { return {}; }
  };
  using Weighted = std::conditional_t<has_weights, WideSum<A, N>, Nothing>;

  struct Sums {
    WideSum<A, N> sum;
    [[no_unique_address]] Weighted weighted;

    template <class F>
    static Sums zip(const F& f, const Sums& a, const Sums& b) {
      return {WideSum<A, N>::zip(f, a.sum, b.sum), Weighted::zip(f, a.weighted, b.weighted)};
    }
    static Sums zero() {
      Sums out;
      out.sum = WideSum<A, N>::zero();
      if constexpr (has_weights) out.weighted = WideSum<A, N>::zero();
      return out;
    }
    void add(const Sums& other) {
      sum.add(other.sum);
      if constexpr (has_weights) weighted.add(other.weighted);
    }
  };

  typename Measure::Mark mark;
  Wide rate;
  Sums sums;

  template <class F>
  static ExponentialSum zip(const F& f, const ExponentialSum& a, const ExponentialSum& b) {
    return {Measure::Mark::zip(f, a.mark, b.mark), f(a.rate, b.rate), Sums::zip(f, a.sums, b.sums)};
  }
  POOLHEAD_INLINE static ExponentialSum zero(const Wide& rate) {
    ExponentialSum out;
    out.mark = Measure::template mark<double>(simd::splat<A, N>(Measure::lowest));
    out.rate = rate;
    out.sums = Sums::zero();
    return out;
  }

  template <int K>
  POOLHEAD_INLINE void add(const V (&x)[K], bool precise) {
    if constexpr (std::same_as<A, float>) {
      if (!precise) return add_as<float>(x);
    }
    add_as<double>(x);
  }
  POOLHEAD_INLINE void add(const ExponentialSum& other) {
    if (simd::all(mark.value == other.mark.value)) {
      sums.add(other.sums);
    } else {
      add_moved(other);
    }
  }

  /// Of a part of the plane that comes next: the start of its maximum, and the maximum of what is seen of it.
  /// NaN are passed over, they show in the sums.
  using Top = LargestTop<A, N>;
  POOLHEAD_INLINE static Top scan_start() { return {simd::splat<A, N>(Measure::lowest)}; }
  template <int K>
  POOLHEAD_INLINE static Top scan(Top top, const V (&x)[K]) {
    unroll<K>([&](auto k) __attribute__((always_inline)) { top.largest = simd::max(top.largest, x[k]); });
    return top;
  }
  /// Makes the sums relative to top where it is the largest so far.
  POOLHEAD_INLINE void raise(const Top& top, bool precise) {
    if (!simd::any(top.largest > mark.value)) return;
    const auto largest = simd::splat<A, N>(std::numeric_limits<A>::max());
    const V next = simd::max(mark.value, simd::select(top.largest > largest, largest, top.largest));
    if constexpr (std::same_as<A, float>) {
      if (!precise) return raise_as<float>(next);
    }
    raise_as<double>(next);
  }

 private:
  // Not inlined: functions of this size are worth a call, and shared by all traversals.
  template <class C, int K>
  [[gnu::noinline]] void add_as(const V (&x)[K]) {
    const auto from = typename Measure::template From<C>(mark);
    const auto exponent = simd::convert<C>(rate);
    using Terms = simd::Vec<C, N>;
    Terms terms[K];
    [[maybe_unused]] Terms products[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const auto distance = from.distance(x[k]);
      terms[k] = simd::exp2(exponent * distance);
      // 2^-inf times -inf is 0, as the limit is.
      if constexpr (has_weights)
        products[k] = simd::select(terms[k] == simd::zero<Terms>(), terms[k], terms[k] * distance);
    });
    add_all(sums.sum, terms);
    if constexpr (has_weights) add_all(sums.weighted, products);
  }

  /// Up to four floats are added as such first.
  template <class C, int K>
  POOLHEAD_INLINE static void add_all(WideSum<A, N>& to, simd::Vec<C, N> (&terms)[K]) {
    if constexpr (std::same_as<C, float>) {
      for (int k = 1; k < K; ++k) terms[0] = terms[0] + terms[k];
      to.add(simd::convert<double>(terms[0]));
    } else {
      unroll<K>([&](auto k) __attribute__((always_inline)) { to.add(terms[k]); });
    }
  }

  [[gnu::noinline]] void add_moved(ExponentialSum other) {
    const auto later = other.mark.value > mark.value;
    const auto pick = [&](const auto& ours, const auto& theirs) { return simd::select(later, theirs, ours); };
    const auto top = Measure::Mark::zip(pick, mark, other.mark);
    move_to(top);
    other.move_to(top);
    sums.add(other.sums);
  }
  template <class C>
  [[gnu::noinline]] void raise_as(const V& top) {
    const auto next = Measure::template mark<C>(top);
    if (simd::all(mark.value == scan_start().largest))
      mark = next;  // the sums are empty
    else
      move_to(next);
  }

  /// Makes the sums relative to a larger x.
  POOLHEAD_INLINE void move_to(const typename Measure::Mark& next) {
    const Wide distance = typename Measure::template From<double>(next).distance(mark);
    const Wide factor = simd::exp2(rate * distance);
    if constexpr (has_weights) {
      auto shift = sums.sum;
      shift.scale(simd::select(factor == simd::zero<Wide>(), simd::zero<Wide>(), distance));
      sums.weighted.add(shift);
      sums.weighted.scale(factor);
    }
    sums.sum.scale(factor);
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
  void check_size(std::string_view type, std::string_view call, Index numbers, bool has_parameter) const {
    if (planes.dimension(0) != numbers || planes.dimension(1) != shape.batch ||
        planes.dimension(2) != shape.channels) {
      fail<ValueError>(type, call, ": the cache holds [", planes.dimension(0), ", ", planes.dimension(1), ", ",
                       planes.dimension(2), "] numbers, expected [", numbers, ", ", shape.batch, ", ",
                       shape.channels, "]");
    }
    if (const Index size = shape.batch * shape.channels; has_parameter && shares.size() < size)
      fail<ValueError>(type, call, ": the cache has room for ", shares.size(), " shares, expected ", size);
  }
};

/// A fold bound to y. fold.results(state, positions, put) hands y and what backward needs to put(y, kept...),
/// all in double, and returns what that returns. (GCC takes a structure of so many vectors apart by way of
/// memory.)
template <class Fold, class X>
struct WideReduction : Fold {
  using T = typename X::Scalar;
  using typename Fold::State;

  X map;
  Rows<T> y;
  double* planes;  // of a WideCache, or null

  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    Fold::results(state, static_cast<double>(valid_positions(map, n)), put_results(n, c, count));
  }
  POOLHEAD_INLINE auto put_results(Index n, Index c, int count) const {
    return [ this, n, c, count ](const auto& result, const auto&... kept) __attribute__((always_inline)) {
      put(y, n, c, simd::convert<typename Fold::Accumulator>(result), count);
      if (planes == nullptr) return;
      Index plane = n * map.channels() + c;
      const auto keep = [&](const auto& value) __attribute__((always_inline)) {
        simd::store_first(planes + plane, value, count);
        plane += map.batch() * map.channels();
      };
      (keep(kept), ...);
    };
  }
};

/// y alone of a fold's results.
struct OnlyResult {
  template <class Y, class... Kept>
  POOLHEAD_INLINE Y operator()(const Y& y, const Kept&...) const {
    return y;
  }
};

/// What is kept of a sum of exponentials relative to a mark: the mark, the sum, and how far y is from the mark.
/// Their combinations would lose what a large mark hides.
template <int N>
struct KeptSum {
  simd::Doubles<N> mark, sum, offset;

  template <class Lanes>
  POOLHEAD_INLINE KeptSum(const Lanes& lanes, const double* planes, Index size, Index plane)
      : mark(lanes.wide(planes + plane)),
        sum(lanes.wide(planes + size + plane)),
        offset(lanes.wide(planes + 2 * size + plane)) {}
};

/// Below this exponent (p, r) the roots that follow magnify what float terms lose.
inline constexpr double least_float_rate = 0.5;

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
