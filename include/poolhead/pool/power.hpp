// Sums of powers, which the generalised mean and the Lp norm are made of. Kind says what is raised, and to
// what:
//   Kind::rate(lanes, c)      p of channel c, or of one channel per lane
//   Kind::shared_rate()       p of all channels, or NaN
//   Kind::base(x)             max(x, eps), or abs(x)
//   Kind::base(x, least)      the same, but no less than least, which kind.least(number) has seen
//   Kind::averages            whether the sum is divided by the number of positions
//   Kind::exponent            p where it is 1, 2, 3 or 4 for all channels, else 0
#pragma once

#include "poolhead/pool/power_products.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// y = mark (sum / positions)^(1 / p), or without the division.
template <class Kind, int N, class Put>
POOLHEAD_INLINE auto power_results(const simd::Doubles<N>& mark, const simd::Doubles<N>& sum,
                                   const simd::Doubles<N>& p, double positions, const Put& put) {
  auto total = sum;
  if constexpr (Kind::averages) total = total / simd::splat<double, N>(positions);
  const auto y = mark * simd::exp2_full(simd::log2(total).value() / p);
  return put(y, y);
}

template <int K, class Kind, class V>
POOLHEAD_INLINE void to_bases(const Kind& kind, const V (&x)[K], V (&base)[K]) {
  unroll<K>([&](auto k) __attribute__((always_inline)) { base[k] = kind.base(x[k]); });
}

template <class Kind, class A, class I>
struct PowerFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Wide = simd::Doubles<N>;
  using State = ExponentialSum<LogMeasure<A, N>, A, false>;

  Kind kind;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index, Index c) const {
    return State::zero(kind.rate(lanes, c));
  }
  static constexpr bool scans = true;
  POOLHEAD_INLINE auto scan_start() const { return State::scan_start(); }
  template <int K>
  POOLHEAD_INLINE auto scan(const typename State::Top& top, const V (&x)[K]) const {
    V base[K];
    to_bases(kind, x, base);
    return State::scan(top, base);
  }
  POOLHEAD_INLINE void raise(State& state, const typename State::Top& top) const {
    state.raise(top, kind.precise);
  }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K]) const {
    V base[K];
    to_bases(kind, x, base);
    state.add(base, kind.precise);
  }
  POOLHEAD_INLINE State merge(State a, const State& b) const {
    a.add(b);
    return a;
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, double positions, const Put& put) const {
    return power_results<Kind, N>(simd::convert<double>(state.mark.value), state.sums.sum.value(), state.rate,
                                  positions, put);
  }
  POOLHEAD_INLINE V value(const State& state, double positions) const {
    return simd::convert<A>(results(state, positions, OnlyResult{}));
  }
};

/// The same of floats.
template <class Kind, class I>
struct PowerFloatFold {
  using PositionLane = I;
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;
  using State = FloatSum<true, false, N>;

  Kind kind;
  double positions;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index, Index c) const {
    return State::zero(kind.rate(lanes, c));
  }
  template <int K>
  POOLHEAD_INLINE auto scan(const FloatTop<N>& top, const V (&x)[K]) const {
    V base[K];
    to_bases(kind, x, base);
    return State::scan(top, base);
  }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K]) const {
    V base[K];
    to_bases(kind, x, base);
    state.add(base);
  }
  template <class Put>
  POOLHEAD_INLINE auto results(const State& state, Index, Index c, int count, const Put& put) const {
    return power_results<Kind, N>(state.wide_mark(), state.sums.sum,
                                  kind.rate(ChannelLanes<float, std::int32_t>{count}, c), positions, put);
  }
};

/// The head of a power pool: products where p is a small whole number, a series where it is another one of all
/// channels, else exponentials of logarithms.
template <class Kind, class I, class Exponentials>
struct PowerHead {
  static constexpr bool has_blocks = true;
  using Exact = decltype(Exponentials::exact);

  Kind kind;
  double positions;
  Exponentials exponentials;
  simd::PowerSeries series;

  template <class X>
  void reduce_block(const X& x, Index n, Index c, Index end) const {
    if (kind.exponent == 0 && !series.usable) return exponentials.reduce_block(x, n, c, end);
    const auto wide = [&](Index from, Index to) {
      if (kind.exponent != 0)
        reduce(WideProductReduction<Kind, Exponentials, I>{kind, positions, exponentials}, x, n, from, to);
      else
        exponentials.reduce_block(x, n, from, to);
    };
    const auto ordinary = [&](Index from, Index to) {
      sum<false>(x, n, from, to, [&](Index f, Index t) { sum<true>(x, n, f, t, wide); });
    };
    // Which of the two comes first changes no result.
    if (begins_tiny(x, n, c, end, [&](const auto& v) { return kind.base(v); }))
      sum<true>(x, n, c, end, ordinary);
    else
      ordinary(c, end);
  }

 private:
  /// By a ProductReduction, but for the channels of which it does not take care: these are the others'.
  template <bool tiny, class X, class Others>
  void sum(const X& x, Index n, Index c, Index end, const Others& others) const {
    ChannelList left{workspace<Others, Index>(end - c)};
    const auto by = [&](auto exponent) {
      const ProductReduction<exponent, tiny, Kind, Exact, I> products{
          {}, kind, positions, exponentials.exact, &left, series};
      if (!products.is_usable()) return others(c, end);
      reduce(products, x, n, c, end);
      left.each_run(others);
    };
    if (kind.exponent != 0)
      with_number<4>(kind.exponent, by);
    else
      by(std::integral_constant<int, 0>{});
  }
};

template <class Kind, class X>
auto power_head(const Kind& kind, const X& x, const Rows<typename X::Scalar>& y, double* planes) {
  using I = simd::IntOf<Accumulator<typename X::Scalar>>;  // positions mean nothing to it
  using Fold = PowerFold<Kind, Accumulator<typename X::Scalar>, I>;
  using Exact = WideReduction<Fold, X>;
  const Exact exact{{kind}, x, y, planes};
  const auto positions = static_cast<double>(x.positions());
  const auto exponentials = exponential_head(PowerFloatFold<Kind, I>{kind, positions}, exact, kind.precise);
  if constexpr (has_float_sums<X>) {
    PowerHead<Kind, I, std::remove_const_t<decltype(exponentials)>> head{kind, positions, exponentials, {}};
    // The root of less would magnify what is lost.
    if (kind.exponent == 0 && kind.shared_rate() >= 0.75) head.series = {kind.shared_rate(), 0x1p20};
    return head;
  } else {
    return exponentials;
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
