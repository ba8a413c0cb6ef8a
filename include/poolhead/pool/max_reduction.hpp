// The maximum of a plane, and where its first one stands.
#pragma once

#include "poolhead/pool/max_places.hpp"
#include "poolhead/pool/ordered_maxima.hpp"

#include <cstring>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// Whether b takes the place of a, where b stands later in the plane: it is greater, or the plane's first NaN.
template <class A, int N>
POOLHEAD_INLINE auto later_wins(const simd::Vec<A, N>& a, const simd::Vec<A, N>& b) {
  return ~(b <= a) & (a == a);
}

template <class A, class I>
struct MaxFold {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  static constexpr A lowest = -std::numeric_limits<A>::infinity();

  struct State {
    V value;
    simd::Vec<I, N> position;

    template <class F>
    static State zip(const F& f, const State& a, const State& b) {
      return {f(a.value, b.value), f(a.position, b.position)};
    }
  };

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return {simd::splat<A, N>(lowest), simd::zero<simd::Vec<I, N>>()};
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const Positions<I, N>& positions,
                                  const Valid& valid) const {
    const auto at = [&](int k) __attribute__((always_inline)) {
      return State{valid.select(k, x[k], simd::splat<A, N>(lowest)), positions.at(k)};
    };
    if constexpr (K == 1)
      state = append(state, at(0));
    else if constexpr (K == 2)
      state = append(state, append(at(0), at(1)));
    else if constexpr (K == 3)
      state = append(state, append(append(at(0), at(1)), at(2)));
    else
      state = append(state, append(append(at(0), at(1)), append(at(2), at(3))));
  }
  /// b stands behind a.
  POOLHEAD_INLINE static State append(const State& a, const State& b) {
    return pick(later_wins(a.value, b.value), a, b);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    // Here either may hold the earlier position: among equals, and among NaN, the smaller one wins.
    const auto unordered = (a.value != a.value) & (b.value != b.value);
    const auto tie = (a.value == b.value) | unordered;
    const auto earlier = simd::convert<simd::IntOf<A>>(b.position < a.position);
    return pick(later_wins(a.value, b.value) | (tie & earlier), a, b);
  }
  POOLHEAD_INLINE V value(const State& state, double) const { return state.value; }

 private:
  template <class M>
  POOLHEAD_INLINE static State pick(const M& b_wins, const State& a, const State& b) {
    return {simd::select(b_wins, b.value, a.value), simd::select(b_wins, b.position, a.position)};
  }
};

/// Argmax: where to put positions, or NoArgmax.
struct NoArgmax {};

/// The maximum and where it stands are found together. Of 16-bit planes in NCHW the maximum comes first, which
/// is a few instructions, and then its place, as twice as many fit a vector for that.
template <class X, class Y, class Argmax, class I>
struct MaxReduction {
  using T = typename X::Scalar;
  using A = poolhead::Accumulator<T>;
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool is_light = true;
  static constexpr bool any_order = true;
  static constexpr int N = simd::lanes<A>;
  static constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;
  static constexpr bool asked = !std::same_as<Argmax, NoArgmax>;
  static constexpr bool has_position = asked && (!in_planes || sizeof(T) > 2);
  static constexpr Effort effort = asked ? Effort::compares : Effort::sums;
  static constexpr A lowest = -std::numeric_limits<A>::infinity();
  using V = simd::Vec<A, N>;
  using Position = simd::Vec<I, N>;

  struct Nothing {};
  struct State {
    V value;
    [[no_unique_address]] std::conditional_t<has_position, Position, Nothing> position;

    template <class F>
    POOLHEAD_INLINE static State zip(const F& f, const State& a, const State& b) {
      State out{f(a.value, b.value), {}};
      if constexpr (has_position) out.position = f(a.position, b.position);
      return out;
    }
  };

  X map;
  Y y;
  Argmax argmax;

  /// In blocks that are wide enough for each element to be compared by itself, a NaN is passed over: a sum
  /// shows that there is one, or infinities of both signs.
  struct SummedState {
    V value;
    Position position;
    V sum;
  };
  static constexpr bool has_wide_blocks = has_position && simd::register_count == 32;
  /// Those of 16-bit elements are OrderedMaxima.
  static constexpr bool has_ordered_blocks = has_wide_blocks && sizeof(T) == 2;
  using BlockElement = std::conditional_t<has_ordered_blocks, simd::IntOf<T>, A>;
  static constexpr int most_block_vectors = has_wide_blocks ? 8 : 6;
  template <int vectors>
  static constexpr bool is_wide = has_wide_blocks && (vectors >= 6);
  template <int vectors>
  using BlockState = std::conditional_t<has_ordered_blocks, OrderedMaxima<T>,
                                        std::conditional_t<is_wide<vectors>, SummedState, State>>;
  template <int vectors>
  POOLHEAD_INLINE static BlockState<vectors> block_identity() {
    if constexpr (has_ordered_blocks)
      return OrderedMaxima<T>::none();
    else if constexpr (is_wide<vectors>)
      return {simd::splat<A, N>(lowest), simd::zero<Position>(), simd::zero<V>()};
    else
      return lowest_state();
  }
  template <int vectors>
  static constexpr int block_positions = has_ordered_blocks ? (vectors > 4 ? 1 : 4)
                                         : is_wide<vectors> ? 1
                                                            : 2;
  /// Rows that are one block, which are read as they lie in memory, and samples that a cache holds; unless the
  /// map is more than any cache holds, and rows that are apart take more than it takes to compare them.
  static bool has_channel_blocks(const X& x, Index vectors) {
    if (has_ordered_blocks && x.positions() > OrderedMaxima<T>::most_positions) return false;
    const bool is_row = vectors <= (has_ordered_blocks ? 2 : 1) * most_block_vectors;
    if (is_row) return has_ordered_blocks || bytes_of(x) <= cached_map_bytes;
    if (has_wide_blocks && vectors >= most_block_vectors)
      return bytes_of(x) <= std::min(x.batch() * small_map_bytes, cached_map_bytes);
    return has_position && bytes_of(x) <= small_map_bytes;
  }

  MaxReduction(const X& x, const Y& output, const Argmax& positions) : map(x), y(output), argmax(positions) {}

  template <class Lanes>
  POOLHEAD_INLINE State identity(const Lanes&, Index, Index) const {
    return lowest_state();
  }
  /// The state of a plane of so many vectors.
  template <int K, class At, class Valid>
  POOLHEAD_INLINE State whole(const V (&x)[K], const At& positions, const Valid& valid) const {
    State state;
    const auto nan = top_of(x, positions, valid, state);
    state.value = or_nan(state.value, nan);
    return state;
  }
  template <int K, class At, class Valid>
  POOLHEAD_INLINE void accumulate(State& state, const V (&x)[K], const At& positions,
                                  const Valid& valid) const {
    State top;
    const auto nan = top_of(x, positions, valid, top);
    if constexpr (has_position) {
      if constexpr (std::same_as<At, LaterPositions<I, N>>) {
        const auto wins = state.value < top.value;
        state.position = simd::select(wins, top.position, state.position);
        state.value = or_nan(simd::select(wins, top.value, state.value), nan);
      } else {
        state = pick(top.value, top.position, nan,
                     State{simd::in_register(state.value), simd::in_register(state.position)});
      }
    } else {
      state.value = or_nan(simd::max(state.value, top.value), nan);
    }
  }
  template <int K, class At, class Valid>
  POOLHEAD_INLINE void accumulate(SummedState& state, const V (&x)[K], const At& positions,
                                  const Valid&) const {
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const V own = simd::in_register(x[k]);
      const auto wins = state.value < own;
      state.value = simd::select(wins, own, state.value);
      state.position = simd::select(wins, positions.at(k), state.position);
      state.sum = state.sum + own;
    });
  }
  template <int K, class At>
  POOLHEAD_INLINE void accumulate(OrderedMaxima<T>& state, const simd::BitsOf<T> (&x)[K], const At& positions,
                                  const EveryLane&) const {
    state.add(x, positions);
  }
  POOLHEAD_INLINE State merge(const State& a, const State& b) const {
    if constexpr (has_position)
      return pick(b.value, b.position, simd::unordered(b.value, b.value), a);
    else
      return {or_nan(simd::max(a.value, b.value), simd::unordered(b.value, b.value)), {}};
  }
  POOLHEAD_INLINE void finish(const State& state, Index n, Index c, int count) const {
    put(y, n, c, located(state, n, c, count), count);
  }
  POOLHEAD_INLINE void finish(const SummedState& state, Index n, Index c, int count) const {
    State found{state.value, state.position};
    const auto nan = simd::unordered(state.sum, state.sum);
    if (simd::any(nan)) [[unlikely]]
      found.value = or_nan(found.value, nan & holds_nan(n, c, count));
    finish(found, n, c, count);
  }
  POOLHEAD_INLINE void finish(const OrderedMaxima<T>& state, Index n, Index c, int count) const {
    T values[OrderedMaxima<T>::L];
    simd::IntOf<T> positions[OrderedMaxima<T>::L];
    state.store(values, positions);
    for (int i = 0; i < count; i += N) {
      I each[N];
      for (int k = 0; k < N; ++k) each[k] = positions[i + k];
      finish(State{simd::load<A>(values + i), simd::load_array<N>(each)}, n, c + i, std::min(N, count - i));
    }
  }
  /// The maxima as they stand in the map: which zero, which NaN. Writes where they stand.
  POOLHEAD_INLINE V located(const State& state, Index n, Index c, int count) const {
    const bool plain = simd::all((state.value < simd::zero<V>()) | (simd::zero<V>() < state.value), count);
    if constexpr (!asked) {
      if (plain) return state.value;
    }
    const auto at = places(state, n, c, count);
    if constexpr (asked) put(argmax, n, c, at, count);
    return plain ? state.value : values_at(at, n, c, count);
  }

 private:
  /// Of some vectors: the numbers' maximum and the first position of it, and where NaN are, which may stand at
  /// any.
  template <int K, class At, class Valid>
  POOLHEAD_INLINE simd::Mask<A, N> top_of(const V (&x)[K], const At& positions, const Valid& valid,
                                          State& top) const {
    V own[K];
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      // What is compared once and no more may come from the first-level cache a second time.
      const V kept = has_position || in_planes ? simd::in_register(x[k]) : x[k];
      own[k] = valid.select(k, kept, simd::splat<A, N>(lowest));
    });
    top.value = own[0];
    unroll<K - 1>([&](auto k) __attribute__((always_inline)) { top.value = simd::max(top.value, own[k + 1]); });
    if constexpr (has_position) {
      // NaN are few enough to be looked up.
      top.position = positions.at(K - 1);
      unroll<K - 1>([&](auto k) __attribute__((always_inline)) {
        constexpr int before = K - 2 - k;
        top.position = simd::select(own[before] == top.value, positions.at(before), top.position);
      });
    }
    auto nan = simd::unordered(own[0], own[K > 1 ? 1 : 0]);
    if constexpr (K > 2) nan = nan | simd::unordered(own[2], own[K - 1]);
    return nan;
  }
  /// Which of the two holds the maximum, or the earlier one; NaN where the mask or the state says so.
  POOLHEAD_INLINE static State pick(const V& top, const Position& at, const simd::Mask<A, N>& nan,
                                    const State& state) {
    const auto earlier = simd::convert<simd::IntOf<A>>(at < state.position);
    const auto wins = (state.value < top) | ((state.value == top) & earlier);
    return {or_nan(simd::select(wins, top, state.value), nan), simd::select(wins, at, state.position)};
  }
  POOLHEAD_INLINE static State lowest_state() {
    State state{simd::splat<A, N>(lowest), {}};
    if constexpr (has_position) state.position = simd::zero<Position>();
    return state;
  }
  /// Which of the planes c .. c + count - 1 hold a NaN.
  [[gnu::cold, gnu::noinline]] simd::Mask<A, N> holds_nan(Index n, Index c, int count) const {
    simd::IntOf<A> holds[N]{};
    for (int i = 0; i < count; ++i)
      for (Index s = 0; s < map.positions() && holds[i] == 0; ++s)
        if (const auto x = map(n, c + i, s); x != x) holds[i] = -1;
    return simd::load_array<N>(holds, N);
  }
  /// NaN where the mask is set.
  POOLHEAD_INLINE static V or_nan(const V& x, const simd::Mask<A, N>& mask) {
    return simd::bit_cast<A>(simd::bit_cast<simd::IntOf<A>>(x) | mask);
  }
  /// As find_places, of any map and for NaN too: then the first NaN.
  [[gnu::noinline]] simd::Vec<Index, N> look_up(const V& value, Index n, Index c, int count) const {
    A values[N];
    Index at[N]{};
    simd::store(values, value);
    for (int i = 0; i < count; ++i) {
      const auto is = [&](A x) { return x == values[i] || (x != x && values[i] != values[i]); };
      while (!is_valid(map, n, at[i]) || !is(static_cast<A>(map(n, c + i, at[i])))) ++at[i];
    }
    return simd::load_array<N>(at, N);
  }
  POOLHEAD_INLINE simd::Vec<Index, N> places(const State& state, Index n, Index c, int count) const {
    if constexpr (has_position) {
      if (simd::all(simd::splat<A, N>(lowest) < state.value, count)) [[likely]]
        return simd::convert<Index>(state.position);
    } else if constexpr (in_planes && !is_masked<X>) {
      const Index positions = map.positions();
      if (simd::all(state.value == state.value, count)) [[likely]]
        return find_places(map.sample(n) + c * positions, positions, count, state.value);
    }
    return look_up(state.value, n, c, count);
  }
  [[gnu::noinline]] V values_at(const simd::Vec<Index, N>& at, Index n, Index c, int count) const {
    A values[N]{};
    Index each[N];
    std::memcpy(each, &at, sizeof each);
    for (int i = 0; i < count; ++i) values[i] = static_cast<A>(map(n, c + i, each[i]));
    return simd::load<A>(values);
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
