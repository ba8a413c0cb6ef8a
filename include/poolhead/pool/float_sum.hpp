// Sums of exponentials of floats relative to the largest, in as few steps as floats need: what LogSumExp,
// SoftPool, the generalised mean and the Lp norm run on planes that pool/direct_sum.hpp and
// pool/power_products.hpp pass on. One that holds an infinity or a NaN, or numbers at the ends of the range, is
// found out and summed again in the way of pool/exponential.hpp, which knows no exceptions.
#pragma once

#include "poolhead/core/simd_short.hpp"
#include "poolhead/pool/exponential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The largest of what has been seen, and 0, or NaN where an infinity or a NaN was among it.
template <int N>
struct FloatTop {
  simd::Vec<float, N> largest, check;
};

/// The sum of up to four vectors, which are added as such, in double.
template <class A, int N, int K>
POOLHEAD_INLINE simd::Doubles<N> wide_total(const simd::Vec<A, N> (&terms)[K]) {
  auto all = terms[0];
  if constexpr (K == 4) {
    all = (terms[0] + terms[1]) + (terms[2] + terms[3]);
  } else {
    unroll<K - 1>([&](auto k) __attribute__((always_inline)) { all = all + terms[k + 1]; });
  }
  return simd::convert<double>(all);
}

/// Where 2^(rate x) becomes too small for a float: below, terms stand for 0.
template <int N>
POOLHEAD_INLINE simd::Vec<float, N> least_distance(const simd::Vec<float, N>& rate) {
  return simd::splat<float, N>(-125.9F) / rate;
}

/// The power of 2 that brings the largest of a plane, far from 1 as it may be, to where it and its reciprocal
/// are normal floats.
template <class A, int N>
POOLHEAD_INLINE simd::Vec<A, N> unit_of(const simd::Vec<A, N>& largest) {
  const auto number = [](double value) { return simd::splat<A, N>(static_cast<A>(value)); };
  return simd::select(largest < number(0x1p-60), number(0x1p64),
                      simd::select(largest > number(0x1p60), number(0x1p-64), number(1.0)));
}

/// sum 2^(rate d(x)) and, where weighted, sum 2^(rate d(x)) d(x), d(x) = x - mark or, with logs, log2(x /
/// mark); the mark is the largest x so far. The mark of a plane that holds no ordinary numbers is NaN.
template <bool logs, bool has_weights, int N>
struct FloatSum {
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  struct Nothing {};
  using Weighted = std::conditional_t<has_weights, Wide, Nothing>;
  static constexpr float lowest = logs ? 0.0F : -std::numeric_limits<float>::max();

  struct Sums {
    Wide sum;
    [[no_unique_address]] Weighted weighted;

    POOLHEAD_INLINE static Sums zero() {
      if constexpr (has_weights)
        return {simd::zero<Wide>(), simd::zero<Wide>()};
      else
        return {simd::zero<Wide>(), {}};
    }
  };

  Sums sums;
  V mark, rate, least;
  [[no_unique_address]] std::conditional_t<logs, V, Nothing> unit, inverse;  // 1 / (mark unit)

  POOLHEAD_INLINE static FloatSum zero(const Wide& exponent) {
    FloatSum out;
    out.sums = Sums::zero();
    out.mark = simd::splat<float, N>(lowest);
    out.rate = simd::convert<float>(exponent);
    out.least = least_distance(out.rate);
    return out;
  }
  POOLHEAD_INLINE static FloatTop<N> scan_start() { return {simd::splat<float, N>(lowest), simd::zero<V>()}; }
  template <int K>
  POOLHEAD_INLINE static FloatTop<N> scan(FloatTop<N> top, const V (&x)[K]) {
    // A sum that overflows makes a plane extraordinary, too, which is slower and right.
    V largest = x[0], sum = x[0];
    if constexpr (K == 4) {
      largest = simd::max(simd::max(x[0], x[1]), simd::max(x[2], x[3]));
      sum = (x[0] + x[1]) + (x[2] + x[3]);
    } else {
      unroll<K - 1>([&](auto k) __attribute__((always_inline)) {
        largest = simd::max(largest, x[k + 1]);
        sum = sum + x[k + 1];
      });
    }
    top.largest = simd::max(top.largest, largest);
    top.check = simd::multiply_add(sum, simd::zero<V>(), top.check);
    return top;
  }
  POOLHEAD_INLINE void raise(const FloatTop<N>& top) {
    const V next = top.largest + top.check;
    if (simd::all(mark == simd::splat<float, N>(lowest)))
      begin(next);  // the sums are empty
    else if (!simd::all(next <= mark))
      move_to(simd::select((next <= mark) | (mark != mark), mark, next));
  }

  template <int K>
  POOLHEAD_INLINE void add(const V (&x)[K]) {
    V distance[K], term[K];
    if constexpr (logs) {
      V exponent[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        simd::split_float((x[k] * unit) * inverse, exponent[k], distance[k]);
      });
      simd::short_log2<K, N>(exponent, distance);
    } else {
      unroll<K>([&](auto k) __attribute__((always_inline)) { distance[k] = x[k] - mark; });
    }
    unroll<K>([&](auto k)
                  __attribute__((always_inline)) { term[k] = distance[k] = simd::max(distance[k], least); });
    simd::short_exp2<K, N>(rate, term);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      // A sum of 1 and more does not see a term of 2^-126; the weighted sum may be 0.
      if constexpr (has_weights) term[k] = simd::select(distance[k] > least, term[k], simd::zero<V>());
    });
    sums.sum = sums.sum + wide_total(term);
    if constexpr (has_weights) {
      unroll<K>([&](auto k) __attribute__((always_inline)) { term[k] = term[k] * distance[k]; });
      sums.weighted = sums.weighted + wide_total(term);
    }
  }

  /// Which lanes hold a plane of ordinary numbers.
  POOLHEAD_INLINE auto ordinary() const {
    return (mark == mark) & simd::convert<std::int32_t>((sums.sum - sums.sum) == simd::zero<Wide>());
  }
  /// What x / mark is relative to, as the reciprocal was rounded.
  POOLHEAD_INLINE Wide wide_mark() const {
    if constexpr (logs) {
      const auto one = simd::splat<float, N>(1.0F);
      const auto empty = simd::convert<std::int64_t>(mark == simd::zero<V>());
      const V around = unit_of(mark);
      return simd::select(empty, simd::zero<Wide>(),
                          simd::splat<double, N>(1.0) /
                              (simd::convert<double>(one / (mark * around)) * simd::convert<double>(around)));
    } else {
      return simd::convert<double>(mark);
    }
  }

 private:
  POOLHEAD_INLINE void begin(const V& next) {
    mark = next;
    if constexpr (logs) {
      const auto nothing = simd::zero<V>();
      unit = unit_of(mark);
      inverse = simd::select(mark == nothing, nothing, simd::splat<float, N>(1.0F) / (mark * unit));
    }
  }
  [[gnu::noinline]] void move_to(const V& next) {
    const Wide before = wide_mark();
    begin(next);
    Wide distance;
    if constexpr (logs)
      distance = simd::log2(before / wide_mark()).value();
    else
      distance = before - wide_mark();
    const Wide factor = simd::exp2(simd::convert<double>(rate) * distance);
    if constexpr (has_weights) {
      const auto shift = simd::select(factor == simd::zero<Wide>(), simd::zero<Wide>(), distance);
      sums.weighted = factor * (sums.weighted + sums.sum * shift);
    }
    sums.sum = sums.sum * factor;
  }
};

/// What the folds of floats share. A pool adds identity and results.
template <class Sum, class I, int lanes>
struct FloatFold {
  using PositionLane = I;
  using State = Sum;
  static constexpr int N = lanes;
  using V = simd::Vec<float, N>;

  template <int K>
  POOLHEAD_INLINE auto scan(const FloatTop<N>& top, const V (&x)[K]) const {
    return State::scan(top, x);
  }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K]) const {
    state.add(x);
  }
};

/// f(from, to) for the runs of set bits among the first count.
template <class F>
void each_run(unsigned bits, int count, const F& f) {
  const auto is = [&](int i) { return i < count && (bits >> i & 1) != 0; };
  for (int i = 0; i < count; ++i) {
    const int from = i;
    while (is(i)) ++i;
    if (i > from) f(from, i);
  }
}

/// A block of channels: fast where its planes are ordinary, else by the reduction `exact`. Fold has a FloatSum
/// as State and gives results(state, n, c, count, put) as those of WideReduction.
template <class Fold, class Exact>
struct FloatReduction : Fold {
  using Accumulator = float;
  using State = typename Fold::State;
  static constexpr int N = simd::lanes<float>;
  static constexpr bool scans = true;

  Exact exact;

  POOLHEAD_INLINE auto scan_start() const { return State::scan_start(); }
  POOLHEAD_INLINE void raise(State& state, const FloatTop<N>& top) const { state.raise(top); }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    Fold::results(state, n, c, count, exact.put_results(n, c, count));
    const auto ordinary = state.ordinary();
    if (!simd::all(ordinary)) [[unlikely]]
      repeat(ordinary, n, c, count);
  }

 private:
  [[gnu::cold, gnu::noinline]] void repeat(const simd::Mask<float, N>& ordinary, Index n, Index c,
                                           int count) const {
    each_run(~simd::bits(ordinary), count,
             [&](int from, int to) { reduce(exact, exact.map, n, c + from, c + to); });
  }
};

/// A head of sums of exponentials: it walks over blocks of channels alone, as it computes for longer than it
/// reads.
template <class Fast, class Exact>
struct ExponentialHead {
  static constexpr bool has_blocks = true;

  Fast fast;  // a FloatReduction, or Exact where there is none
  Exact exact;
  bool precise;

  template <class X>
  void reduce_block(const X& x, Index n, Index c, Index end) const {
    if constexpr (!std::same_as<Fast, Exact>) {
      if (!precise) return reduce(fast, x, n, c, end);
    }
    reduce(exact, x, n, c, end);
  }
};

/// The gradient of channels of which some, or all, go by gradient.exact.
template <class G, class V, int K>
[[gnu::noinline]] void mixed_gradient(const G& gradient, const typename G::Coefficients& shared,
                                      typename G::Sums& sums, const V (&x)[K], V (&dx)[K]) {
  if constexpr (std::same_as<typename G::Accumulator, float>) {
    if (!gradient.precise && simd::any(shared.ordinary)) {
      // The neighbours of other channels are no reason to do anything in another way.
      const auto pick = [&](const auto& p, const auto& q) { return simd::select(shared.ordinary, p, q); };
      V floats[K];
      auto float_sums = sums;
      gradient.floats(shared, float_sums, x, floats);
      gradient.exact(shared, sums, x, dx);
      sums = G::Sums::zip(pick, float_sums, sums);
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = pick(floats[k], dx[k]); });
      return;
    }
  }
  gradient.exact(shared, sums, x, dx);
}

/// The gradient of exponentials: gradient.floats(shared, sums, x, dx) in floats for the channels that
/// shared.ordinary names, gradient.exact(shared, sums, x, dx) for the others, and for all where
/// gradient.precise says so.
template <class G, class Shared, class V, int K>
POOLHEAD_INLINE void exponential_gradient(const G& gradient, const Shared& shared, typename G::Sums& sums,
                                          const V (&x)[K], V (&dx)[K]) {
  if constexpr (std::same_as<typename G::Accumulator, float>) {
    if (!gradient.precise && simd::all(shared.ordinary)) [[likely]]
      return gradient.floats(shared, sums, x, dx);
  }
  // Copies, as what a function that is not inlined gets to see would not stay in registers above.
  const auto coefficients = complete(shared);
  auto totals = sums;
  V from[K], to[K];
  unroll<K>([&](auto k) __attribute__((always_inline)) { from[k] = x[k]; });
  mixed_gradient(gradient, coefficients, totals, from, to);
  unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = to[k]; });
  sums = totals;
}

/// Whether the elements of X are summed in floats: not those of double, nor masked ones.
template <class X>
inline constexpr bool has_float_sums = std::same_as<Accumulator<typename X::Scalar>, float> && !is_masked<X>;

/// precise: whether not even ordinary planes go by the fold of floats.
template <class FloatFold, class Fold, class X>
auto exponential_head(const FloatFold& fold, const WideReduction<Fold, X>& exact, bool precise) {
  using Exact = WideReduction<Fold, X>;
  if constexpr (has_float_sums<X>)
    return ExponentialHead<FloatReduction<FloatFold, Exact>, Exact>{{fold, exact}, exact, precise};
  else
    return ExponentialHead<Exact, Exact>{exact, exact, precise};
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
