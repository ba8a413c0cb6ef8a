// Sums of powers, which the generalised mean and the Lp norm are made of. Kind says what is raised, and to
// what:
//   Kind::rate(lanes, c)      p of channel c, or of one channel per lane
//   Kind::base(x)             max(x, eps), or abs(x)
//   Kind::averages            whether the sum is divided by the number of positions
//   Kind::exponent            p where it is 1, 2, 3 or 4 for all channels, else 0
#pragma once

#include "poolhead/pool/float_sum.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// p as a small whole number whose powers are products; 0 where it is none. The powers of doubles could
/// overflow.
template <Scalar T>
int small_exponent(double p) {
  const bool small = p == 1.0 || p == 2.0 || p == 3.0 || p == 4.0;
  return small && !std::same_as<T, double> ? static_cast<int>(p) : 0;
}

/// x^exponent, exponent 0 .. 4.
template <int exponent, class V>
POOLHEAD_INLINE V small_power(const V& x) {
  if constexpr (exponent <= 1)
    return x;
  else if constexpr (exponent == 2)
    return x * x;
  else if constexpr (exponent == 3)
    return x * x * x;
  else
    return (x * x) * (x * x);
}

/// x^(1 / exponent), exponent 1 .. 4, for 0 and for x in the range of normal floats.
template <int N>
POOLHEAD_INLINE simd::Doubles<N> small_root(const simd::Doubles<N>& x, int exponent) {
  if (exponent == 1) return x;
  if (exponent == 2) return simd::sqrt(x);
  if (exponent == 4) return simd::sqrt(simd::sqrt(x));
  // A root of a few digits, then Newton's step, which doubles them.
  simd::Floats<1, N> power, root;
  simd::split_float(simd::convert<float>(x), power[0], root[0]);
  simd::short_log2<1, N>(power, root);
  simd::short_exp2<1, N>(simd::splat<float, N>(1.0F / 3.0F), root);
  const auto y = simd::convert<double>(root[0]);
  const auto nothing = simd::zero<simd::Doubles<N>>();
  return simd::select(x == nothing, nothing, y - (y - x / (y * y)) * simd::splat<double, N>(1.0 / 3.0));
}

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

/// Sums of products of floats, for p = 1, 2, 3, 4. Planes whose powers leave the range of floats, or may have
/// lost something at its lower end, are summed again as exponentials.
template <int exponent, class Kind, class Exponentials, class I>
struct ProductReduction {
  using Accumulator = float;
  using PositionLane = I;
  static constexpr bool is_light = true;
  static constexpr bool any_order = true;
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  using State = WideSum<float, N>;

  using ShortState = ShortSum<N>;

  Kind kind;
  double positions;
  Exponentials exponentials;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero();
  }
  template <class Lanes>
  POOLHEAD_INLINE ShortState short_identity(const Lanes&, Index, Index) const {
    return ShortState::zero();
  }
  template <class S, int K, class Valid>
  POOLHEAD_INLINE void accumulate(S& state, const V (&x)[K], const Positions<I, N>&, const Valid& valid) const {
    V power[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      power[k] = valid.select(k, small_power<exponent>(kind.base(x[k])), simd::zero<V>());
    });
    if constexpr (std::same_as<S, ShortState>)
      state.add(power);
    else
      state.add(wide_total(power));
  }
  template <class S>
  POOLHEAD_INLINE S merge(S a, const S& b) const {
    a.add(b);
    return a;
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    auto total = state.sum;
    if constexpr (Kind::averages) total = total / simd::splat<double, N>(positions);
    const Wide y = small_root<N>(total, exponent);
    exponentials.exact.put_results(n, c, count)(y, y);
    // A sum of the elements themselves loses nothing there.
    const auto least = simd::splat<double, N>(exponent == 1 ? 0.0 : positions * 0x1p-100);
    const auto most = simd::splat<double, N>(static_cast<double>(std::numeric_limits<float>::max()));
    const auto ordinary = (least <= state.sum) & (state.sum <= most);
    if (!simd::all(ordinary)) [[unlikely]]
      repeat(ordinary, n, c, count);
  }

 private:
  [[gnu::cold, gnu::noinline]] void repeat(const simd::Vec<std::int64_t, N>& ordinary, Index n, Index c,
                                           int count) const {
    unsigned others = ~simd::bits(ordinary);
    for (int i = 0; i < count; ++i)
      if ((others >> i & 1) != 0 && is_nothing(n, c + i)) others &= ~(1u << i);
    each_run(others, count,
             [&](int from, int to) { exponentials.reduce_block(exponentials.exact.map, n, c + from, c + to); });
  }
  /// Whether a plane is of zeros alone, as they are after ReLU: its sum of 0 is exact.
  bool is_nothing(Index n, Index c) const {
    const auto nothing = simd::zero<V>();
    const auto& map = exponentials.exact.map;
    for (Index s = 0; s < map.positions(); ++s) {
      const auto x = simd::splat<float, N>(static_cast<float>(map(n, c, s)));
      if (!simd::all(kind.base(x) == nothing)) return false;
    }
    return true;
  }
};

/// The head of a power pool: products where p is a small whole number, else exponentials of logarithms.
template <class Kind, class I, class Exponentials>
struct PowerHead {
  static constexpr bool has_blocks = true;

  Kind kind;
  double positions;
  Exponentials exponentials;

  bool revisits() const { return kind.exponent == 0; }
  template <class X>
  void reduce_block(const X& x, Index n, Index c, Index end) const {
    if (kind.exponent == 0) return exponentials.reduce_block(x, n, c, end);
    with_number<4>(kind.exponent, [&](auto exponent) {
      reduce(ProductReduction<exponent, Kind, Exponentials, I>{kind, positions, exponentials}, x, n, c, end);
    });
  }
};

template <class I, class Kind, class X>
auto power_head(const Kind& kind, const X& x, const Rows<typename X::Scalar>& y, double* planes) {
  using Fold = PowerFold<Kind, Accumulator<typename X::Scalar>, I>;
  using Exact = WideReduction<Fold, X>;
  const Exact exact{{kind}, x, y, planes};
  const auto positions = static_cast<double>(x.positions());
  const auto exponentials = exponential_head(PowerFloatFold<Kind, I>{kind, positions}, exact, kind.precise);
  if constexpr (has_float_sums<X>)
    return PowerHead<Kind, I, std::remove_const_t<decltype(exponentials)>>{kind, positions, exponentials};
  else
    return exponentials;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
