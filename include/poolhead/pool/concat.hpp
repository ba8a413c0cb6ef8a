// Several pools over one feature map, fused: one read of x forward, one write of dx backward.
#pragma once

#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Reductions that walk together.
template <class First, class... Others>
struct FusedReduction {
  using Accumulator = typename First::Accumulator;
  using PositionLane = typename First::PositionLane;
  static constexpr int N = simd::lanes<Accumulator>;
  static constexpr auto heads = std::index_sequence_for<First, Others...>{};
  using V = simd::Vec<Accumulator, N>;

  struct State {
    std::tuple<typename First::State, typename Others::State...> of;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
        return State{
            {std::tuple_element_t<I, decltype(a.of)>::zip(f, std::get<I>(a.of), std::get<I>(b.of))...}};
      }
      (heads);
    }
  };

  std::tuple<First, Others...> reductions;

  POOLHEAD_INLINE State identity() const {
    return std::apply(
        [](const auto&... r) __attribute__((always_inline)) { return State{{r.identity()...}}; }, reductions);
  }
  template <int K>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K],
                                  const Positions<PositionLane, N>& positions) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).accumulate(std::get<I>(state.of), x, positions), ...);
    }
    (heads);
  }
  /// Each head pads in its own way.
  template <int K>
  POOLHEAD_INLINE void accumulate_first(State& state, const V (&x)[K],
                                        const Positions<PositionLane, N>& positions, int count) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (detail::accumulate_first(std::get<I>(reductions), std::get<I>(state.of), x, positions, count), ...);
    }
    (heads);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      return State{{std::get<I>(reductions).merge(std::get<I>(a.of), std::get<I>(b.of))...}};
    }
    (heads);
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      (std::get<I>(reductions).finish(std::get<I>(state.of), n, c, count), ...);
    }
    (heads);
  }
};

/// Gradients that add up.
template <class First, class... Others>
struct FusedGradient {
  using Accumulator = typename First::Accumulator;
  using PositionLane = typename First::PositionLane;
  static constexpr bool reads_x = (First::reads_x || ... || Others::reads_x);
  using V = simd::Vec<Accumulator, simd::lanes<Accumulator>>;
  using Coefficients = std::tuple<typename First::Coefficients, typename Others::Coefficients...>;

  std::tuple<First, Others...> gradients;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... g)
            __attribute__((always_inline)) { return Coefficients{g.prepare(lanes, n, c)...}; },
        gradients);
  }
  template <class Position>
  POOLHEAD_INLINE V at(const Coefficients& shared, const V& x, const Position& position) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) __attribute__((always_inline)) {
      return (... + std::get<I>(gradients).at(std::get<I>(shared), x, position));
    }
    (std::index_sequence_for<First, Others...>{});
  }
};

}  // namespace detail

/// y[n] = the heads' rows side by side, in the order given; dx = the sum of the heads' gradients.
///
/// features: the sum of the heads'. Forward reads x once and backward writes dx once, however many heads there
/// are. The heads are public and are pools of their own; the cache holds one cache per head. Made by concat().
/// fastai's AdaptiveConcatPool2d, timm's catavgmax.
template <class... Pools>
class ConcatPool : public ReductionPool<ConcatPool<Pools...>> {
 public:
  static constexpr std::string_view name = "concat";
  static constexpr bool is_composition = true;
  template <Scalar T>
  struct Cache : PoolCache {
    std::tuple<typename Pools::template Cache<T>...> heads;
  };

  std::tuple<Pools...> heads;

  explicit ConcatPool(Pools... pools) : heads(std::move(pools)...) {}

  Index features(Index channels) const {
    return std::apply([&](const auto&... head) { return (head.features(channels) + ...); }, heads);
  }

  /// Hands every head, named by its index, to f; see visit_parameters.
  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    each([&](auto i) {
      char digits[4];
      const int length = std::snprintf(digits, sizeof digits, "%d", static_cast<int>(i));
      f(std::string_view(digits, static_cast<std::size_t>(length)), std::get<i>(self.heads)...);
    });
  }

  // The protocol of ReductionPool.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    each([&](auto i) {
      std::get<i>(cache.heads).shape = cache.shape;
      std::get<i>(heads).prepare(std::get<i>(cache.heads));
    });
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    each([&](auto i) { std::get<i>(heads).check_size(call, std::get<i>(cache.heads)); });
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    each([&](auto i) { std::get<i>(heads).check_contents(std::get<i>(cache.heads)); });
  }
  template <class C>
  void set_filled(C& cache) const {
    cache.filled = true;
    each([&](auto i) { std::get<i>(heads).set_filled(std::get<i>(cache.heads)); });
  }
  template <class I, Scalar T, class L>
  auto inference(const FeatureMap<const T, L>& x, const Rows<T>& y) const {
    return with_columns(
        x.channels(),
        [&](auto i, Index first, Index count) {
          return std::get<i>(heads).template inference<I>(x, y.columns(first, count));
        },
        []<class... R>(R... reductions) { return detail::FusedReduction<R...>{{reductions...}}; });
  }
  template <class I, Scalar T, class L>
  auto reduction(const FeatureMap<const T, L>& x, const Rows<T>& y, Cache<T>& cache) const {
    return with_columns(
        x.channels(),
        [&](auto i, Index first, Index count) {
          return std::get<i>(heads).template reduction<I>(x, y.columns(first, count), std::get<i>(cache.heads));
        },
        []<class... R>(R... reductions) { return detail::FusedReduction<R...>{{reductions...}}; });
  }
  template <class I, Scalar T, class L>
  auto gradient(const FeatureMap<const T, L>& x, const Rows<const T>& y, const Rows<const T>& dy,
                const Cache<T>& cache) const {
    return with_columns(
        x.channels(),
        [&](auto i, Index first, Index count) {
          return std::get<i>(heads).template gradient<I>(x, y.columns(first, count), dy.columns(first, count),
                                                         std::get<i>(cache.heads));
        },
        []<class... G>(G... gradients) { return detail::FusedGradient<G...>{{gradients...}}; });
  }

 private:
  template <class F>
  static void each(const F& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::integral_constant<std::size_t, I>{}), ...); }
    (std::index_sequence_for<Pools...>{});
  }

  /// fuse(bind(i, the head's first column, its number of columns)...).
  template <class Bind, class Fuse>
  auto with_columns(Index channels, const Bind& bind, const Fuse& fuse) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      std::array<Index, sizeof...(Pools) + 1> first{};
      each([&](auto i) { first[i + 1] = first[i] + std::get<i>(heads).features(channels); });
      return fuse(bind(std::integral_constant<std::size_t, I>{}, first[I], first[I + 1] - first[I])...);
    }
    (std::index_sequence_for<Pools...>{});
  }
};

/// Fuses pools over one feature map: concat(GlobalAveragePool{}, GlobalMaxPool{}).
template <Pool... Pools>
requires(sizeof...(Pools) > 0) ConcatPool<Pools...> concat(Pools... pools) {
  return ConcatPool<Pools...>(std::move(pools)...);
}

}  // namespace poolhead::inline POOLHEAD_ISA
