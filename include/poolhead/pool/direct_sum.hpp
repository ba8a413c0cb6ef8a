// Sums of exponentials 2^(rate x) as they are, in one pass over floats: of planes that have no larger and no
// smaller ones than floats can hold, as ordinary planes do. The others are found out, and summed again relative
// to their maximum, in the way of pool/float_sum.hpp.
#pragma once

#include "poolhead/pool/float_sum.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Some channels, in ascending order.
struct ChannelList {
  Index* channels;
  Index size = 0;

  /// Appends c + i for each set bit i < count.
  [[gnu::cold, gnu::noinline]] void append(unsigned bits, Index c, int count) {
    for (int i = 0; i < count; ++i)
      if ((bits >> i & 1) != 0) channels[size++] = c + i;
  }
  /// f(from, to) for the runs of consecutive ones.
  template <class F>
  void each_run(const F& f) const {
    for (Index i = 0; i < size;) {
      const Index from = channels[i];
      Index to = from;
      while (i < size && channels[i] == to) ++to, ++i;
      f(from, to);
    }
  }
};

/// `count` sums; Sum is WideSum or ShortSum.
template <class Sum, int count>
struct SumsOf {
  Sum of[count];

  POOLHEAD_INLINE static SumsOf zero() {
    SumsOf out;
    unroll<count>([&](auto i) __attribute__((always_inline)) { out.of[i] = Sum::zero(); });
    return out;
  }
  template <class F>
  POOLHEAD_INLINE static SumsOf zip(const F& f, const SumsOf& a, const SumsOf& b) {
    SumsOf out;
    unroll<count>([&](auto i) __attribute__((always_inline)) { out.of[i] = Sum::zip(f, a.of[i], b.of[i]); });
    return out;
  }
  POOLHEAD_INLINE void add(const SumsOf& other) {
    unroll<count>([&](auto i) __attribute__((always_inline)) { of[i].add(other.of[i]); });
  }
  static constexpr bool widens = requires(const Sum& sum) { sum.widened(); };
  POOLHEAD_INLINE auto widened() const requires widens {
    SumsOf<decltype(of[0].widened()), count> out;
    unroll<count>([&](auto i) __attribute__((always_inline)) { out.of[i] = of[i].widened(); });
    return out;
  }
};

/// Adds up to four vectors, which are added to each other as such first.
template <int N, int K>
POOLHEAD_INLINE void add_terms(ShortSum<N>& to, const simd::Vec<float, N> (&terms)[K]) {
  to.add(terms);
}
template <int N, int K>
POOLHEAD_INLINE void add_terms(WideSum<float, N>& to, const simd::Vec<float, N> (&terms)[K]) {
  to.add(wide_total(terms));
}

/// What reductions of floats by sums share; Short are those of a short plane. A pool adds accumulate and
/// finish.
template <class Sum, class Short, class I>
struct SumReduction {
  using Accumulator = float;
  using PositionLane = I;
  static constexpr bool is_light = true;
  static constexpr bool any_order = true;
  static constexpr int N = simd::lanes<float>;
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  using State = Sum;
  using ShortState = Short;

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return State::zero();
  }
  template <class Lanes>
  POOLHEAD_INLINE ShortState short_identity(const Lanes&, Index, Index) const {
    return ShortState::zero();
  }
  template <class S>
  POOLHEAD_INLINE S merge(S a, const S& b) const {
    a.add(b);
    return a;
  }
};

/// Adds what reduction.terms(x, term) makes of the valid lanes.
template <class R, class S, class V, int K, class Valid>
POOLHEAD_INLINE void accumulate_terms(const R& reduction, S& state, const V (&x)[K], const Valid& valid) {
  V term[R::terms_of_each][K];
  reduction.terms(x, term);
  unroll<R::terms_of_each>([&](auto i) __attribute__((always_inline)) {
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      term[i][k] = valid.select(k, term[i][k], simd::zero<V>());
    });
  });
  reduction.add(state, term);
}

/// Fold::results(sums, put), sums: sum 2^(rate x) or, where Fold::less_one, sum (2^(rate x) - 1), and, where
/// Fold::has_weights, sum 2^(rate x) x, in double; put as that of WideReduction. Channels of other planes are
/// listed; Fold::is_fine_near_zero says whether what stands at the lower limit must not even show in a weighted
/// sum near 0.
template <class Fold, class Exact, class I, int count = Fold::has_weights ? 2 : 1, int N = simd::lanes<float>>
struct DirectReduction : SumReduction<SumsOf<WideSum<float, N>, count>, SumsOf<ShortSum<N>, count>, I> {
  // What a gradient finds of weighted sums that cancel would show it.
  static constexpr Index most_short_positions = Fold::has_weights ? 0 : 1023;
  using V = simd::Vec<float, N>;
  using Wide = simd::Doubles<N>;
  using State = SumsOf<WideSum<float, N>, count>;
  static constexpr double most_exponent = 120.0;

  Fold fold;
  const Exact& exact;
  ChannelList* extraordinary;
  V rate = simd::splat<float, N>(static_cast<float>(fold.rate));
  V limit = simd::splat<float, N>(static_cast<float>(most_exponent / fold.rate));

  template <class S, int K, class Valid>
  POOLHEAD_INLINE void accumulate(S& state, const V (&x)[K], const Positions<I, N>&, const Valid& valid) const {
    accumulate_terms(*this, state, x, valid);
  }
  static constexpr int terms_of_each = count;
  template <int K>
  POOLHEAD_INLINE void terms(const V (&x)[K], V (&term)[count][K]) const {
    V near[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      // A NaN, too, becomes the limit.
      term[0][k] = near[k] = simd::min(simd::max(x[k], simd::zero<V>() - limit), limit);
    });
    if constexpr (Fold::less_one) {
      V power[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) { power[k] = near[k]; });
      simd::short_exp2_less_one<K, N>(rate, power, term[0]);
    } else {
      simd::short_exp2<K, N>(rate, term[0]);
    }
    if constexpr (Fold::has_weights)
      unroll<K>([&](auto k) __attribute__((always_inline)) { term[1][k] = term[0][k] * near[k]; });
  }
  template <class S, int K>
  POOLHEAD_INLINE void add(S& state, const V (&term)[count][K]) const {
    unroll<count>([&](auto i) __attribute__((always_inline)) { add_terms(state.of[i], term[i]); });
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int channels) const {
    fold.results(state, exact.put_results(n, c, channels));
    // Below, what stands at the lower limit could show, or a sum less positions has lost too much; a single
    // element at the upper one is above. What is weighted is up to 120 / rate times as far from 0 there.
    constexpr double clear = Fold::has_weights ? 33.0 : 26.0;
    double lowest = fold.positions * std::exp2(clear - most_exponent);
    if constexpr (Fold::less_one) lowest = fold.positions * (Fold::least_mean - 1.0);
    const auto number = [](double value) { return simd::splat<double, N>(value); };
    const Wide& sum = state.of[0].sum;
    auto ordinary = (number(lowest) <= sum) & (sum <= number(std::exp2(most_exponent - 1.0)));
    if constexpr (Fold::is_fine_near_zero) {
      const auto weighted = simd::abs(state.of[1].sum);
      ordinary =
          ordinary & ((weighted == number(0.0)) | (number(lowest * most_exponent / fold.rate) <= weighted));
    }
    if (!simd::all(ordinary)) [[unlikely]]
      extraordinary->append(~simd::bits(ordinary), c, channels);
  }
};

/// What DirectReduction finds, to the last bit, of channels whose elements are so small that each weighs 1:
/// arithmetic on denormal numbers takes many times as long as on these 2^100 times as large ones. The other
/// channels are listed.
template <class Fold, class Exact, class I, int N = simd::lanes<float>>
struct TinyReduction : SumReduction<WideSum<float, N>, ShortSum<N>, I> {
  static constexpr int raised = 100;
  static constexpr bool is_usable = simd::detail::short_exp2.polynomial[0] == 1.0F;
  using V = simd::Vec<float, N>;

  Fold fold;
  const Exact& exact;
  ChannelList* others;

  template <class S, int K, class Valid>
  POOLHEAD_INLINE void accumulate(S& state, const V (&x)[K], const Positions<I, N>&, const Valid& valid) const {
    const auto number = [](float value) { return simd::splat<float, N>(value); };
    V term[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      V size = simd::raised_abs(x[k], raised);
      size = simd::select(size < number(0x1p36F), size, number(std::numeric_limits<float>::infinity()));
      const auto signed_bits = simd::bit_cast<std::int32_t>(size) | simd::sign_bits(x[k]);
      term[k] = valid.select(k, simd::bit_cast<float>(signed_bits), simd::zero<V>());
    });
    add_terms(state, term);
  }
  POOLHEAD_INLINE void finish(const WideSum<float, N>& state, Index n, Index c, int channels) const {
    const auto number = [](double value) { return simd::splat<double, N>(value); };
    SumsOf<WideSum<float, N>, 2> sums;
    sums.of[0].sum = number(fold.positions);
    sums.of[1].sum = state.sum * number(std::exp2(-raised));
    fold.results(sums, exact.put_results(n, c, channels));
    const auto ours = (state.sum - state.sum) == number(0.0);
    if (!simd::all(ours)) [[unlikely]]
      others->append(~simd::bits(ours), c, channels);
  }
};

/// Whether the first elements in memory, as base gives them, are next to nothing, as the others may be then.
template <class X, class Base>
bool begins_tiny(const X& x, Index n, Index c, Index end, const Base& base) {
  constexpr int N = simd::lanes<float>;
  constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;
  const Index size = in_planes ? x.positions() : end - c;
  const auto* const first = x.sample(n) + (in_planes ? c * x.positions() : c);
  const auto sizes = base(simd::load_first<float>(first, static_cast<int>(std::min<Index>(N, size))));
  const auto number = [](float value) { return simd::splat<float, N>(value); };
  return simd::all(sizes < number(0x1p-100F)) && simd::any(sizes > number(0.0F));
}

/// A head of exponentials that goes by a DirectReduction of Fold where there may be one, else, and for the
/// planes that this lists, by `others`, which is an ExponentialHead.
template <class Fold, class I, class Others>
struct DirectHead {
  static constexpr bool has_blocks = true;
  using Exact = decltype(Others::exact);

  Fold fold;
  Others others;

  template <class X>
  void reduce_block(const X& x, Index n, Index c, Index end) const {
    // Sums of what is 1 less keep their digits however small the rate is.
    if (others.precise && !Fold::less_one) return others.reduce_block(x, n, c, end);
    if constexpr (Fold::has_weights && TinyReduction<Fold, Exact, I>::is_usable) {
      if (begins_tiny(x, n, c, end, [](const auto& v) { return simd::abs(v); })) {
        struct Tiny;
        ChannelList left{workspace<Tiny, Index>(end - c)};
        reduce(TinyReduction<Fold, Exact, I>{{}, fold, others.exact, &left}, x, n, c, end);
        return left.each_run([&](Index from, Index to) { reduce_ordinary(x, n, from, to); });
      }
    }
    reduce_ordinary(x, n, c, end);
  }

 private:
  template <class X>
  void reduce_ordinary(const X& x, Index n, Index c, Index end) const {
    ChannelList extraordinary{workspace<DirectHead, Index>(end - c)};
    reduce(DirectReduction<Fold, Exact, I>{{}, fold, others.exact, &extraordinary}, x, n, c, end);
    extraordinary.each_run([&](Index from, Index to) { others.reduce_block(x, n, from, to); });
  }
};

template <class I, class X, class Fold, class Others>
auto direct_head(const Fold& fold, const Others& others) {
  // Without multiply-adds that round once, the exponents of large elements would lose digits, which
  // 16-bit types do not show.
  if constexpr (has_float_sums<X> && (simd::rounds_once || Fold::less_one))
    return DirectHead<Fold, I, Others>{fold, others};
  else
    return others;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
