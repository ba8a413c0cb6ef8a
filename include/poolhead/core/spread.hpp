// The traversal of a gradient: dx is written once, element by element, and read never.
//
//   struct Gradient {
//     using Accumulator = float;
//     using PositionLane = std::int32_t;
//     static constexpr bool reads_x = false;           // whether at() needs the value of x
//     struct Coefficients {                            // what one channel's elements share; or a vector
//       Coefficients lane(int i) const;                // the i-th channel's for all lanes
//     };
//     using Sums = NoSums;                             // or WideSums: what a parameter's gradient sums up
//     Coefficients prepare(const ChannelLanes&, Index n, Index c) const;
//     template <int K, class Valid>                    // K vectors of dx; adds to the sums where a lane is
//     valid void at(const Coefficients&, Sums&, const Vec (&x)[K], const PositionVec (&)[K], const Valid&,
//             Vec (&dx)[K]) const;
//     void collect(const ChannelLanes&, const Sums&, Index n, Index c) const;   // the sums of channels c ...
//     void finish() const;                             // after all channels: the gradient of the parameters
//   };
//
// Bins have no value at an element alone. They add to a block of planes at a time, channels in lanes, in
// scratch memory, or, where that would leave the cache, to one row of them:
//
//   struct RowGradient {                               // tile[s * stride + k] += dx(n, c + k, s), k < channels
//     template <class A>
//     void add_plane(A* tile, Index stride, Index n, Index c, Index channels) const;
//     template <class A>                               // the same for the positions of row h
//     void add_row(A* row, Index stride, Index n, Index c, Index channels, Index h) const;
//   };
#pragma once

#include "poolhead/core/buffer.hpp"
#include "poolhead/core/reduce.hpp"
#include "poolhead/core/tile.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The sums of a gradient without parameters.
struct NoSums {
  template <class F>
  static NoSums zip(const F&, const NoSums&, const NoSums&) {
    return {};
  }
  static NoSums merge(const NoSums&, const NoSums&) { return {}; }
};

/// M sums in double.
template <int N, int M>
struct WideSums {
  simd::Vec<double, N> of[M];

  template <class F>
  POOLHEAD_INLINE static WideSums zip(const F& f, const WideSums& a, const WideSums& b) {
    WideSums out;
    detail::unroll<M>([&](auto m) __attribute__((always_inline)) { out.of[m] = f(a.of[m], b.of[m]); });
    return out;
  }
  POOLHEAD_INLINE static WideSums merge(const WideSums& a, const WideSums& b) {
    return zip(
        [](const auto& p, const auto& q) __attribute__((always_inline)) { return p + q; }, a, b);
  }
};

namespace detail {

/// A dx that nobody wants, where only the parameters' gradient is.
struct Nowhere {
  Nowhere operator+(Index) const { return {}; }
  Nowhere& operator+=(Index) { return *this; }
};

/// Coefficients of channel i, in every lane.
template <class T, int N>
POOLHEAD_INLINE auto lane_of(const simd::Vec<T, N>& coefficients, int i) {
  return simd::splat_lane(coefficients, i);
}
template <class C>
requires requires(const C& c) { c.lane(0); }
POOLHEAD_INLINE C lane_of(const C& coefficients, int i) { return coefficients.lane(i); }

/// Gradients that add up; of none at all, 0.
template <class A, class I, class... Gradients>
struct FusedGradient {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool reads_x = (false || ... || Gradients::reads_x);
  static constexpr int N = simd::lanes<A>;
  static constexpr auto heads = std::index_sequence_for<Gradients...>{};
  using V = simd::Vec<A, N>;

  struct Coefficients {
    std::tuple<typename Gradients::Coefficients...> of;

    POOLHEAD_INLINE Coefficients lane(int i) const {
      return std::apply(
          [&](const auto&... c) __attribute__((always_inline)) { return Coefficients{{lane_of(c, i)...}}; },
          of);
    }
  };
  struct Sums {
    std::tuple<typename Gradients::Sums...> of;

    template <class F>
    POOLHEAD_INLINE static Sums zip(const F& f, const Sums& a, const Sums& b) {
      return [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
        return Sums{{Gradients::Sums::zip(f, std::get<K>(a.of), std::get<K>(b.of))...}};
      }
      (heads);
    }
    POOLHEAD_INLINE static Sums merge(const Sums& a, const Sums& b) {
      return [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
        return Sums{{Gradients::Sums::merge(std::get<K>(a.of), std::get<K>(b.of))...}};
      }
      (heads);
    }
  };

  std::tuple<Gradients...> gradients;

  POOLHEAD_INLINE Coefficients prepare(const ChannelLanes<A, I>& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... g)
            __attribute__((always_inline)) { return Coefficients{{g.prepare(lanes, n, c)...}}; },
        gradients);
  }
  template <int K, class Valid>
  POOLHEAD_INLINE void at(const Coefficients& shared, Sums& sums, const V (&x)[K],
                          const simd::Vec<I, N> (&position)[K], const Valid& valid, V (&dx)[K]) const {
    unroll<static_cast<int>(sizeof...(Gradients))>([&](auto g) __attribute__((always_inline)) {
      V one[K];
      std::get<g>(gradients).at(std::get<g>(shared.of), std::get<g>(sums.of), x, position, valid, one);
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = g == 0 ? one[k] : dx[k] + one[k]; });
    });
    if constexpr (sizeof...(Gradients) == 0)
      unroll<K>([&](auto k) __attribute__((always_inline)) { dx[k] = simd::zero<V>(); });
  }
  POOLHEAD_INLINE void collect(const ChannelLanes<A, I>& lanes, const Sums& sums, Index n, Index c) const {
    [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      (std::get<K>(gradients).collect(lanes, std::get<K>(sums.of), n, c), ...);
    }
    (heads);
  }
  void finish() const {
    std::apply([](const auto&... g) { (g.finish(), ...); }, gradients);
  }
};

/// What one pass of backward does: G at every element, RowGradients by rows, on top of what dx holds already
/// where it adds.
template <bool adds, class G, class... RowGradients>
struct Spread {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  static constexpr int N = simd::lanes<A>;
  static constexpr bool by_rows = sizeof...(RowGradients) > 0;
  using V = simd::Vec<A, N>;

  G gradient;
  std::tuple<RowGradients...> row_gradients;

  /// A row of scratch, filled by the row gradients.
  POOLHEAD_INLINE const A* fill_row(Index width, Index stride, Index n, Index c, Index channels,
                                    Index h) const {
    if constexpr (by_rows) {
      A* const row = workspace<Spread, A>(width * stride);
      std::fill_n(row, width * stride, A(0));
      std::apply([&](const auto&... g) { (g.add_row(row, stride, n, c, channels, h), ...); }, row_gradients);
      return row;
    } else {
      return nullptr;
    }
  }
  /// The same for whole planes, with room for as many elements again.
  A* fill_planes(Index positions, Index stride, Index n, Index c, Index channels) const {
    struct Tile;
    A* const tile = workspace<Tile, A>(2 * positions * stride);
    std::fill_n(tile, positions * stride, A(0));
    std::apply([&](const auto&... g) { (g.add_plane(tile, stride, n, c, channels), ...); }, row_gradients);
    return tile;
  }

  using Position = simd::Vec<I, N>;
  using Lanes = ChannelLanes<A, I>;
  template <int K>
  using Vectors = std::integral_constant<int, K>;

  /// K vectors of dx, `step` apart, of count[k] elements each. What rows add to them stands row_step apart.
  template <int K, class DX, class Valid>
  POOLHEAD_INLINE void write(DX dx, Index step, const int (&count)[K], const typename G::Coefficients& shared,
                             typename G::Sums& sums, const V (&x)[K], const Position (&position)[K],
                             const Valid& valid, const A* row, Index row_step) const {
    V value[K];
    gradient.at(shared, sums, x, position, valid, value);
    unroll<K>([&](auto k) __attribute__((always_inline)) {
      const auto load = [&](const auto* p) __attribute__((always_inline)) {
        return count[k] == N ? simd::load<A>(p) : simd::load_first<A>(p, count[k]);
      };
      if constexpr (by_rows) value[k] = value[k] + load(row + k * row_step);
      value[k] = valid.select(k, value[k], simd::zero<V>());
      if constexpr (!std::same_as<DX, Nowhere>) {
        auto* const to = dx + k * step;
        if constexpr (adds) value[k] = value[k] + load(to);
        if (count[k] == N)
          simd::store(to, value[k]);
        else
          simd::store_first(to, value[k], count[k]);
      }
    });
  }

  /// One plane, NCHW, at its values and its dx. base: what the row gradients add to it, or null where they are
  /// asked row by row.
  template <class X, class DX>
  POOLHEAD_INLINE void plane(const X& x, DX dx, Index n, Index c, const typename G::Coefficients& shared,
                             typename G::Sums& sums, const A* base) const {
    [[maybe_unused]] const auto* const values = x.sample(n) + c * x.positions();
    [[maybe_unused]] const unsigned char* const mask = mask_row(x, n);
    dx += (n * x.channels() + c) * x.positions();
    const Index rows = by_rows && base == nullptr ? x.height() : 1;
    const Index width = x.positions() / rows;
    // K vectors, all of them whole or the last ones of a row.
    const auto write_at = [&]<int K, bool whole>(std::bool_constant<whole>, Vectors<K>, Index s, Index count,
                                                 const A* row) __attribute__((always_inline)) {
      V value[K];
      Position position[K];
      SomeLanes<A, K> inside;
      int own[K];
      unroll<K>([&](auto k) __attribute__((always_inline)) {
        const Index at = s + k * N;
        own[k] = whole ? N : static_cast<int>(std::clamp<Index>(count - k * N, 0, N));
        value[k] = simd::zero<V>();
        if constexpr (G::reads_x)
          value[k] = whole ? simd::load<A>(values + at) : simd::load_first<A>(values + at, own[k]);
        position[k] = simd::iota<I, N>(0) + simd::splat<I, N>(static_cast<I>(at));
        if constexpr (is_masked<X>) {
          inside.lane[k] = simd::load_mask<A>(mask + at, own[k]);
        } else if constexpr (!whole) {
          using Lane = simd::IntOf<A>;
          inside.lane[k] = simd::iota<Lane, N>(0) < simd::splat<Lane, N>(static_cast<Lane>(own[k]));
        }
      });
      if constexpr (is_masked<X> || !whole)
        write(dx + s, N, own, shared, sums, value, position, inside, row, N);
      else
        write(dx + s, N, own, shared, sums, value, position, EveryLane{}, row, N);
    };
    for (Index h = 0; h < rows; ++h) {
      const A* const row = base != nullptr ? base : fill_row(width, 1, n, c, 1, h);
      const Index first = h * width;
      Index w = 0;
      for (; w + 4 * N <= width; w += 4 * N)
        write_at(std::true_type{}, Vectors<4>{}, first + w, 4 * N, row + w);
      // What computes for long computes on four vectors at once, even if some are empty.
      constexpr int K = G::reads_x ? 4 : 1;
      for (; w < width; w += K * N)
        write_at(std::false_type{}, Vectors<K>{}, first + w, std::min<Index>(K * N, width - w), row + w);
    }
  }

  /// Planes c .. end - 1, NCHW, of at least a vector, that are written and nothing else. The last vector of a
  /// plane reaches back into the one before.
  template <class X, class T>
  POOLHEAD_INLINE void write_planes(const X& x, T* dx, Index n, Index c, Index end) const {
    const Index size = x.positions();
    const auto each = [&](const auto& write_plane) __attribute__((always_inline)) {
      for (; c < end; c += N) {
        const auto count = static_cast<int>(std::min<Index>(N, end - c));
        const auto shared = gradient.prepare(Lanes{count}, n, c);
        for (int i = 0; i < count; ++i) write_plane(lane_of(shared, i), dx + (n * x.channels() + c + i) * size);
      }
    };
    const auto write_at = [&](const auto& shared, T* plane, Index s) __attribute__((always_inline)) {
      typename G::Sums none;
      const V unread[1] = {simd::zero<V>()};
      const Position at[1] = {simd::iota<I, N>(static_cast<I>(0)) + simd::splat<I, N>(static_cast<I>(s))};
      V value[1];
      gradient.at(shared, none, unread, at, EveryLane{}, value);
      simd::store(plane + s, value[0]);
    };
    const Index vectors = (size + N - 1) / N;
    if (vectors <= most_short_vectors) {
      with_number<most_short_vectors>(
          static_cast<int>(vectors), [&](auto number) __attribute__((always_inline)) {
            each([&](const auto& shared, T* plane) __attribute__((always_inline)) {
              unroll<number - 1>([&](auto k)
                                     __attribute__((always_inline)) { write_at(shared, plane, k * N); });
              write_at(shared, plane, size - N);
            });
          });
    } else {
      each([&](const auto& shared, T* plane) __attribute__((always_inline)) {
        Index s = 0;
        for (; s + 4 * N <= size; s += 4 * N)
          unroll<4>([&](auto k) __attribute__((always_inline)) { write_at(shared, plane, s + k * N); });
        for (; s + N <= size; s += N) write_at(shared, plane, s);
        write_at(shared, plane, size - N);
      });
    }
  }

  /// Planes c .. end - 1, NCHW: at most turned_planes of them where there are row gradients.
  template <class X, class DX>
  [[gnu::noinline]] void planes(const X& x, DX dx, Index n, Index c, Index end) const {
    using Sums = typename G::Sums;
    const Index size = x.positions();
    if constexpr (!G::reads_x && !by_rows && !adds && !is_masked<X> && std::is_pointer_v<DX>) {
      if (size >= N) return write_planes(x, dx, n, c, end);
    }
    const A* base = nullptr;
    if constexpr (by_rows) {
      if (const Index stride = turned_planes<A>(size); stride > 0) {
        A* const tile = fill_planes(size, stride, n, c, end - c);
        A* const turned = tile + size * stride;
        for (Index q = 0; q < end - c; q += N)
          turn_back<N>(tile + q, stride, size, static_cast<int>(std::min<Index>(N, end - c - q)),
                       turned + q * size, size);
        base = turned;
      }
    }
    for (Index q = c; q < end; q += N) {
      const auto count = static_cast<int>(std::min<Index>(N, end - q));
      const auto shared = gradient.prepare(Lanes{count}, n, q);
      Sums sums[N];
      for (int i = 0; i < N; ++i) {
        auto own = Sums();
        if (i < count)
          plane(x, dx, n, q + i, lane_of(shared, i), own, base == nullptr ? base : base + (q + i - c) * size);
        sums[i] = own;
      }
      gradient.collect(Lanes{count},
                       merge_lanes<N / 2>(
                           sums, [](const Sums& a, const Sums& b)
                                     __attribute__((always_inline)) { return Sums::merge(a, b); }),
                       n, q);
    }
  }

  struct Held {
    typename G::Coefficients coefficients;
    typename G::Sums sums;
  };

  /// Channels c .. end - 1 of sample n, NHWC, in the order of memory: four positions at a time, then one by
  /// one.
  template <class X, class DX>
  [[gnu::noinline]] void channels(const X& x, DX dx, Index n, Index c, Index end) const {
    const Index stride = x.channels();
    const Index taken = end - c;
    const Index vectors = (taken + N - 1) / N;
    const Index padded = vectors * N;
    const auto count = [&](Index v) { return static_cast<int>(std::min<Index>(N, taken - v * N)); };
    [[maybe_unused]] const unsigned char* const mask = mask_row(x, n);
    [[maybe_unused]] const auto* const values = x.sample(n) + c;
    dx += n * x.positions() * stride + c;
    Held* const held = workspace<Spread, Held>(vectors);
    for (Index v = 0; v < vectors; ++v)
      held[v] = {gradient.prepare(Lanes{count(v)}, n, c + v * N), typename G::Sums()};
    const bool whole = by_rows && x.positions() * padded <= most_tile_elements;
    const Index rows = by_rows && !whole ? x.height() : 1;
    const Index width = x.positions() / rows;
    for (Index h = 0; h < rows; ++h) {
      const A* row = nullptr;
      if constexpr (by_rows)
        row = whole ? fill_planes(width, padded, n, c, taken) : fill_row(width, padded, n, c, taken, h);
      const auto positions = [&](auto group, Index w) __attribute__((always_inline)) {
        const Index s = h * width + w;
        const auto one_vector = [&](Index v, int lanes) __attribute__((always_inline)) {
          constexpr int K = group;
          const Index offset = s * stride + v * N;
          V value[K];
          Position position[K];
          unroll<K>([&](auto k) __attribute__((always_inline)) {
            value[k] = simd::zero<V>();
            if constexpr (G::reads_x)
              value[k] = lanes == N ? simd::load<A>(values + offset + k * stride)
                                    : simd::load_first<A>(values + offset + k * stride, lanes);
            position[k] = simd::splat<I, N>(static_cast<I>(s + k));
          });
          int own[K];
          std::fill_n(own, K, lanes);
          write(dx + offset, stride, own, held[v].coefficients, held[v].sums, value, position, EveryLane{},
                by_rows ? row + w * padded + v * N : nullptr, padded);
        };
        const Index complete = taken / N;
        for (Index v = 0; v < complete; ++v) one_vector(v, N);
        if (complete < vectors) one_vector(complete, count(complete));
      };
      const auto counts = [&](Index w) {
        if constexpr (is_masked<X>) return mask[h * width + w] != 0;
        return true;
      };
      for (Index w = 0; w < width;) {
        // What does not read x writes the faster the fewer rows it writes at once.
        if (G::reads_x && w + 4 <= width && counts(w) && counts(w + 1) && counts(w + 2) && counts(w + 3)) {
          positions(std::integral_constant<int, 4>{}, w);
          w += 4;
          continue;
        }
        if (counts(w)) {
          positions(std::integral_constant<int, 1>{}, w);
        } else if constexpr (!adds && !std::same_as<DX, Nowhere>) {
          std::fill_n(dx + (h * width + w) * stride, taken, typename X::Scalar(0));
        }
        ++w;
      }
    }
    for (Index v = 0; v < vectors; ++v) gradient.collect(Lanes{count(v)}, held[v].sums, n, c + v * N);
  }

  /// Writes every element of dx, a pointer or Nowhere. The shapes have been checked: dx is of x's, and is not
  /// x.
  template <class X, class DX, Device D>
  void run(const X& x, DX dx, const D& device) const {
    constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;
    const double bytes =
        static_cast<double>(x.size()) * static_cast<double>((G::reads_x ? 2 : 1) * sizeof(typename X::Scalar));
    ChannelBlocks blocks = short_blocks<N>(x.shape());
    if constexpr (!in_planes) {
      blocks = channel_blocks<N>(x.shape(), sizeof(Held), by_rows, bytes, device);
    } else if constexpr (by_rows) {
      blocks = plane_blocks<A>(x.shape());
    }
    const Index items = x.batch() * blocks.count;
    parallel_for(device, items, bytes / static_cast<double>(items), [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index n = item / blocks.count;
        const Index c = item % blocks.count * blocks.channels;
        const Index last = std::min(c + blocks.channels, x.channels());
        if constexpr (in_planes)
          planes(x, dx, n, c, last);
        else
          channels(x, dx, n, c, last);
      }
    });
    gradient.finish();
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
