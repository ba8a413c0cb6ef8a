// The traversal of a gradient: dx is written once, element by element, and read never.
//
//   struct Gradient {
//     using Accumulator = float;
//     using PositionLane = std::int32_t;
//     static constexpr bool reads_x = false;           // whether at() needs the value of x
//     struct Coefficients { ... };                     // what one channel's elements share
//     using Sums = NoSums;                             // or Vec<double>: what a parameter's gradient sums up
//     template <class Lanes>                           // lanes(p): one value per lane from p + channel
//     Coefficients prepare(const Lanes& lanes, Index n, Index c) const;
//     template <class Valid>                           // dx, and adds to the sums where a lane is valid
//     Vec at(const Coefficients&, Sums&, const Vec& x, const PositionVec& position, const Valid&) const;
//     template <class Lanes>                           // keeps the sums of channel c ...
//     void collect(const Lanes& lanes, const Sums&, Index n, Index c) const;
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
struct NoSums {};

namespace detail {

/// A dx that nobody wants, where only the parameters' gradient is.
struct Nowhere {
  Nowhere operator+(Index) const { return {}; }
  Nowhere& operator+=(Index) { return *this; }
};

/// Gradients that add up; of none at all, 0.
template <class A, class I, class... Gradients>
struct FusedGradient {
  using Accumulator = A;
  using PositionLane = I;
  static constexpr bool reads_x = (false || ... || Gradients::reads_x);
  static constexpr int N = simd::lanes<A>;
  static constexpr auto heads = std::index_sequence_for<Gradients...>{};
  using V = simd::Vec<A, N>;
  using Coefficients = std::tuple<typename Gradients::Coefficients...>;
  using Sums = std::tuple<typename Gradients::Sums...>;

  std::tuple<Gradients...> gradients;

  template <class Lanes>
  POOLHEAD_INLINE Coefficients prepare(const Lanes& lanes, Index n, Index c) const {
    return std::apply(
        [&](const auto&... g)
            __attribute__((always_inline)) { return Coefficients{g.prepare(lanes, n, c)...}; },
        gradients);
  }
  template <class Valid>
  POOLHEAD_INLINE V at(const Coefficients& shared, Sums& sums, const V& x, const simd::Vec<I, N>& position,
                       const Valid& valid) const {
    return [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      if constexpr (sizeof...(K) == 0)
        return simd::zero<V>();
      else
        return (... + std::get<K>(gradients).at(std::get<K>(shared), std::get<K>(sums), x, position, valid));
    }
    (heads);
  }
  template <class Lanes>
  POOLHEAD_INLINE void collect(const Lanes& lanes, const Sums& sums, Index n, Index c) const {
    [&]<std::size_t... K>(std::index_sequence<K...>) __attribute__((always_inline)) {
      (std::get<K>(gradients).collect(lanes, std::get<K>(sums), n, c), ...);
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

  /// One vector of dx: count (of N) elements.
  template <class DX, class Valid>
  POOLHEAD_INLINE void write(DX dx, int count, const typename G::Coefficients& shared, typename G::Sums& sums,
                             const V& x, const simd::Vec<I, N>& position, const Valid& valid,
                             const A* row) const {
    V value = gradient.at(shared, sums, x, position, valid);
    if constexpr (by_rows) value = value + (count == N ? simd::load<A>(row) : simd::load_first<A>(row, count));
    value = valid.select(0, value, simd::zero<V>());
    if constexpr (!std::same_as<DX, Nowhere>) {
      if constexpr (adds) value = value + (count == N ? simd::load<A>(dx) : simd::load_first<A>(dx, count));
      if (count == N)
        simd::store(dx, value);
      else
        simd::store_first(dx, value, count);
    }
  }

  /// One plane of channel c, NCHW. base: what the row gradients add to it, or null where they are asked row by
  /// row.
  template <class X, class DX>
  [[gnu::noinline]] void plane(const X& x, DX dx, Index n, Index c, const A* base) const {
    const SharedLane<A, I> lanes;
    const auto* values = x.sample(n) + c * x.positions();
    [[maybe_unused]] const unsigned char* const mask = mask_row(x, n);
    dx += (n * x.channels() + c) * x.positions();
    const auto shared = gradient.prepare(lanes, n, c);
    auto sums = typename G::Sums();
    const auto lane = simd::iota<I, N>(0);
    const Index rows = by_rows && base == nullptr ? x.height() : 1;
    const Index width = x.positions() / rows;
    const auto write_at = [&](Index s, int count, const A* row) __attribute__((always_inline)) {
      auto value = simd::zero<V>();
      if constexpr (G::reads_x)
        value = count == N ? simd::load<A>(values + s) : simd::load_first<A>(values + s, count);
      const auto position = lane + simd::splat<I, N>(static_cast<I>(s));
      if constexpr (is_masked<X>) {
        write(dx + s, count, shared, sums, value, position,
              SomeLanes<A, 1>{{simd::load_mask<A>(mask + s, count)}}, row);
      } else if (count == N) {
        write(dx + s, N, shared, sums, value, position, EveryLane{}, row);
      } else {
        using Lane = simd::IntOf<A>;
        const auto inside = simd::iota<Lane, N>(0) < simd::splat<Lane, N>(static_cast<Lane>(count));
        write(dx + s, count, shared, sums, value, position, SomeLanes<A, 1>{{inside}}, row);
      }
    };
    for (Index h = 0; h < rows; ++h) {
      const A* const row = base != nullptr ? base : fill_row(width, 1, n, c, 1, h);
      const Index first = h * width;
      Index w = 0;
      for (; w + N <= width; w += N) write_at(first + w, N, row + w);
      if (w < width) write_at(first + w, static_cast<int>(width - w), row + w);
    }
    gradient.collect(lanes, sums, n, c);
  }

  /// Planes c .. end - 1, NCHW: at most turned_planes of them where there are row gradients.
  template <class X, class DX>
  void planes(const X& x, DX dx, Index n, Index c, Index end) const {
    const Index size = x.positions();
    const A* base = nullptr;
    if constexpr (by_rows) {
      if (const Index stride = turned_planes<A>(size); stride > 0) {
        A* const tile = fill_planes(size, stride, n, c, end - c);
        A* const turned = tile + size * stride;
        for (Index q = 0; q < end - c; q += N)
          turn_back(tile + q, stride, size, static_cast<int>(std::min<Index>(N, end - c - q)),
                    turned + q * size);
        base = turned;
      }
    }
    for (Index q = c; q < end; ++q) plane(x, dx, n, q, base == nullptr ? base : base + (q - c) * size);
  }

  /// B whole vectors of channels, or (partial) the last count < N channels, NHWC.
  template <int B, bool partial, class X, class DX>
  POOLHEAD_INLINE void channels(const X& x, DX dx, Index n, Index c, int count) const {
    const Index stride = x.channels();
    [[maybe_unused]] const unsigned char* const mask = mask_row(x, n);
    const ChannelLanes<A, I> lanes{count};
    typename G::Coefficients shared[B];
    typename G::Sums sums[B];
    unroll<B>([&](auto b) __attribute__((always_inline)) {
      shared[b] = gradient.prepare(lanes, n, c + b * N);
      sums[b] = typename G::Sums();
    });
    const Index taken = partial ? count : B * N;
    const bool whole = by_rows && x.positions() * (B * N) <= most_tile_elements;
    const Index rows = by_rows && !whole ? x.height() : 1;
    const Index width = x.positions() / rows;
    Index offset = n * x.positions() * stride + c;
    for (Index h = 0; h < rows; ++h) {
      const A* row = nullptr;
      if constexpr (by_rows)
        row = whole ? fill_planes(width, B * N, n, c, taken) : fill_row(width, B * N, n, c, taken, h);
      for (Index w = 0; w < width; ++w, offset += stride, row += by_rows ? B * N : 0) {
        const Index s = h * width + w;
        if constexpr (is_masked<X>) {
          if (mask[s] == 0) {
            if constexpr (!adds && !std::same_as<DX, Nowhere>)
              std::fill_n(dx + offset, taken, typename X::Scalar(0));
            continue;
          }
        }
        const auto position = simd::splat<I, N>(static_cast<I>(s));
        unroll<B>([&](auto b) __attribute__((always_inline)) {
          auto value = simd::zero<V>();
          if constexpr (G::reads_x && partial)
            value = simd::load_first<A>(x.data() + offset, count);
          else if constexpr (G::reads_x)
            value = simd::load<A>(x.data() + offset + b * N);
          write(dx + offset + b * N, partial ? count : N, shared[b], sums[b], value, position, EveryLane{},
                row + b * N);
        });
      }
    }
    unroll<B>([&](auto b) __attribute__((always_inline)) { gradient.collect(lanes, sums[b], n, c + b * N); });
  }

  template <int B, class X, class DX>
  [[gnu::noinline]] void channel_range(const X& x, DX dx, Index n, Index c, Index end) const {
    for (; c + B * N <= end; c += B * N) channels<B, false>(x, dx, n, c, N);
    if constexpr (B > 1) {
      channel_range<smaller_block<B>>(x, dx, n, c, end);
    } else if (c < end) {
      channels<1, true>(x, dx, n, c, static_cast<int>(end - c));
    }
  }

  /// Writes every element of dx, a pointer or Nowhere. The shapes have been checked: dx is of x's, and is not
  /// x.
  template <class X, class DX, Device D>
  void run(const X& x, DX dx, const D& device) const {
    struct Held {
      struct State {
        typename G::Coefficients coefficients;
        typename G::Sums sums;
      };
    };
    constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;
    constexpr int B = in_planes ? 1 : channel_block<Held>();
    const Index block = !in_planes ? B * N : by_rows ? std::max<Index>(turned_planes<A>(x.positions()), 1) : 1;
    const Index groups = (x.channels() + block - 1) / block;
    const double bytes = static_cast<double>(std::min(x.channels(), block)) *
                         static_cast<double>(x.positions()) *
                         static_cast<double>((G::reads_x ? 2 : 1) * sizeof(typename X::Scalar));
    parallel_for(device, x.batch() * groups, bytes, [&](Index begin, Index end) {
      for (Index item = begin; item < end; ++item) {
        const Index n = item / groups;
        const Index c = item % groups * block;
        const Index last = std::min(c + block, x.channels());
        if constexpr (in_planes)
          planes(x, dx, n, c, last);
        else
          channel_range<B>(x, dx, n, c, last);
      }
    });
    gradient.finish();
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
