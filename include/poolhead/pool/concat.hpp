// Several pools over one feature map, fused: one read of x forward, one write of dx backward.
#pragma once

#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// A function that returns the first of its types that is not void; void where there is none.
template <class... Scalars>
void first_scalar() requires(sizeof...(Scalars) == 0);
template <class First, class... Others>
auto first_scalar() {
  if constexpr (!std::is_void_v<First>)
    return First{};
  else
    return first_scalar<Others...>();
}

}  // namespace detail

/// y[n] = the heads' rows side by side, in the order given; dx = the sum of the heads' gradients.
///
/// features: the sum of the heads'. Forward reads x once and backward writes dx once, however many heads there
/// are. The heads are public and are pools of their own; the cache holds one cache per head. Made by concat().
/// fastai's AdaptiveConcatPool2d, timm's catavgmax.
template <class... Pools>
class ConcatPool : public PoolCalls<ConcatPool<Pools...>> {
 public:
  static constexpr std::string_view name = "concat";
  static constexpr bool is_composition = true;
  static constexpr bool uses_positions = (Pools::uses_positions || ...);
  static constexpr bool takes_mask = (Pools::takes_mask && ...);
  using ParameterScalar = decltype(detail::first_scalar<detail::ParameterScalar<Pools>...>());
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

  // The protocol of PoolCalls.
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    each([&](auto i) {
      std::get<i>(cache.heads).shape = cache.shape;
      std::get<i>(heads).prepare(std::get<i>(cache.heads));
    });
  }
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    each([&](auto i) { std::get<i>(heads).check_parameters(call, shape); });
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    each([&](auto i) {
      if (std::get<i>(cache.heads).shape != cache.shape)
        detail::fail<ValueError>(name, call, ": the cache of head ", static_cast<Index>(i),
                                 " is of another shape than the whole");
      std::get<i>(heads).check_size(call, std::get<i>(cache.heads));
    });
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    each([&](auto i) {
      detail::check_filled(std::tuple_element_t<i, std::tuple<Pools...>>::name,
                           std::get<i>(cache.heads).filled);
      std::get<i>(heads).check_contents(std::get<i>(cache.heads));
    });
  }
  template <class C>
  void set_filled(C& cache) const {
    cache.filled = true;
    each([&](auto i) { std::get<i>(heads).set_filled(std::get<i>(cache.heads)); });
  }
  template <class I, class X>
  auto inference(const X& x, const Rows<typename X::Scalar>& y) const {
    return bind(x.channels(), [&](auto i, Index first, Index count) {
      return std::get<i>(heads).template inference<I>(x, y.columns(first, count));
    });
  }
  template <class I, class X, Scalar T>
  auto training(const X& x, const Rows<T>& y, Cache<T>& cache) const {
    return bind(x.channels(), [&](auto i, Index first, Index count) {
      return std::get<i>(heads).template training<I>(x, y.columns(first, count), std::get<i>(cache.heads));
    });
  }
  /// G: ConcatPool, or NoGradient where the parameters are fixed.
  template <class I, class X, Scalar T, class G>
  auto gradient(const X& x, const Rows<const T>& y, const Rows<const T>& dy, const Cache<T>& cache,
                G* grad) const {
    return bind(x.channels(), [&](auto i, Index first, Index count) {
      auto* const head_grad = [&] {
        if constexpr (std::same_as<G, ConcatPool>)
          return grad == nullptr ? nullptr : &std::get<i>(grad->heads);
        else
          return detail::gradient_of(std::get<i>(heads), grad);
      }();
      return std::get<i>(heads).template gradient<I>(x, y.columns(first, count), dy.columns(first, count),
                                                     std::get<i>(cache.heads), head_grad);
    });
  }

 private:
  template <class F>
  static void each(const F& f) {
    [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::integral_constant<std::size_t, I>{}), ...); }
    (std::index_sequence_for<Pools...>{});
  }

  /// The heads, each bound by bind_one(i, the head's first column, its number of columns).
  template <class Bind>
  auto bind(Index channels, const Bind& bind_one) const {
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      std::array<Index, sizeof...(Pools) + 1> first{};
      each([&](auto i) { first[i + 1] = first[i] + std::get<i>(heads).features(channels); });
      using Bound =
          detail::Heads<decltype(bind_one(std::integral_constant<std::size_t, I>{}, Index{}, Index{}))...>;
      return Bound{{bind_one(std::integral_constant<std::size_t, I>{}, first[I], first[I + 1] - first[I])...}};
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
