// Several reductions in one walk.
#pragma once

#include "poolhead/core/reduce.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

struct NoState {
  POOLHEAD_INLINE static NoState zip(const auto&, const NoState&, const NoState&) { return {}; }
};

/// The state of a reduction and those of the others. (No tuple: what is returned is built where it stays.)
template <class S, class Others>
struct FusedState {
  static constexpr bool widens = detail::widens<S> || detail::widens<Others>;

  S first;
  [[no_unique_address]] Others others;

  template <class F>
  POOLHEAD_INLINE static FusedState zip(const F& f, const FusedState& a, const FusedState& b) {
    return {S::zip(f, a.first, b.first), Others::zip(f, a.others, b.others)};
  }
  POOLHEAD_INLINE FusedState<Widened<S>, Widened<Others>> widened() const {
    return {detail::widened(first), detail::widened(others)};
  }
};

/// Reductions that walk together.
template <class... Reductions>
struct FusedReduction {
  static constexpr bool is_light = true;
  static constexpr Effort effort = Effort::compares;  // at least, as there are two and more
  static constexpr bool any_order = true;
  using State = NoState;

  static FusedReduction make() { return {}; }
  POOLHEAD_INLINE State identity(const auto&, Index, Index) const { return {}; }
  POOLHEAD_INLINE void accumulate(State&, const auto&, const auto&, const auto&) const {}
  POOLHEAD_INLINE State merge(const State&, const State&) const { return {}; }
  POOLHEAD_INLINE void finish(const State&, Index, Index, int) const {}
};
template <class R, class... Rest>
struct FusedReduction<R, Rest...> {
  using Others = FusedReduction<Rest...>;
  using Accumulator = typename R::Accumulator;
  using PositionLane = typename R::PositionLane;
  using State = FusedState<typename R::State, typename Others::State>;
  using ShortState = FusedState<detail::ShortState<R>, detail::ShortState<Others>>;
  static constexpr bool is_light = detail::is_light<R> && detail::is_light<Others>;
  static constexpr Effort effort = std::max(effort_of<R>(), Others::effort);
  static constexpr bool any_order = detail::any_order<R> && detail::any_order<Others>;

  R first;
  [[no_unique_address]] Others others;

  static FusedReduction make(const R& reduction, const Rest&... rest) {
    return {reduction, Others::make(rest...)};
  }
  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes& lanes, Index n, Index c) const {
    return {first.identity(lanes, n, c), others.identity(lanes, n, c)};
  }
  template <class Lanes>
  POOLHEAD_INLINE ShortState short_identity(const Lanes& lanes, Index n, Index c) const {
    return {detail::short_identity(first, lanes, n, c), detail::short_identity(others, lanes, n, c)};
  }
  template <class S, class Vectors, class At, class Valid>
  POOLHEAD_INLINE void accumulate(S& state, const Vectors& x, const At& positions, const Valid& valid) const {
    first.accumulate(state.first, x, positions, valid);
    others.accumulate(state.others, x, positions, valid);
  }
  template <class S>
  POOLHEAD_INLINE S merge(const S& a, const S& b) const {
    return {first.merge(a.first, b.first), others.merge(a.others, b.others)};
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    first.finish(state.first, n, c, count);
    others.finish(state.others, n, c, count);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
