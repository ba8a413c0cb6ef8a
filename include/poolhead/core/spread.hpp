// The traversal of a gradient: dx is written once, element by element, and read never.
//
//   struct Gradient {
//     using Accumulator = float;
//     using PositionLane = std::int32_t;
//     static constexpr bool reads_x = false;           // whether at() needs the value of x
//     struct Coefficients {                            // what a channel's elements share; or a vector
//       Lane lane(int i) const;                        // the i-th channel's for all lanes, which at() takes,
//       too
//     };
//     using Sums = NoSums;                             // or WideSums: what a parameter's gradient sums up
//     // lanes(p): one value per lane from p + channel
//     Coefficients prepare(const Lanes& lanes, Index n, Index c) const;
//     template <int K>                                 // K vectors of dx; adds to the sums
//     void at(const Coefficients&, Sums&, const Vec (&x)[K], const PositionVec (&)[K], Vec (&dx)[K]) const;
//     void collect(const ChannelLanes&, const Sums&, Index n, Index c) const;   // the sums of channels c ...
//     void finish() const;                             // after all channels: the gradient of the parameters
//     // without reads_x: at how many positions, at most, a channel's dx is not as at the others, where at() is
//     // asked for position -1; and f(those positions of a vector of channels) for each of them
//     static constexpr int peaks = 1;
//     void each_peak(const Coefficients&, const F& f) const;
//   };
//
// Bins have no value at an element alone. They give some rows of a block of planes at a time, channels in
// lanes, in scratch memory that stays in a cache, or in dx itself (of 16 bits, too, unless planes are put):
//
//   struct RowGradient {
//     template <bool adds, class To>  // tile[s * stride + k] (+)= dx(n, c + k, s), k < channels, up to whole
//     void put_rows(To* tile, Index stride, Index n, Index c, Index channels, Index first, Index last) const;
//     bool scatters() const;          // vectors, s = 0 in row `first`; whether it goes from element to element
//     bool puts_planes() const;       // of a channel; or whether planes are written at once:
//     template <class A>
//     void put_planes(A* planes, Index n, Index c, Index channels) const;
//     template <class A>              // writes planes of NCHW by some of their rows, or says that it does not
//     bool put_bands(A* planes, Index n, Index c, Index channels) const;
//   };
#pragma once

#include "poolhead/core/blocks.hpp"
#include "poolhead/core/buffer.hpp"
#include "poolhead/core/few_channels.hpp"
#include "poolhead/core/mask.hpp"
#include "poolhead/core/spread_flat.hpp"
#include "poolhead/core/spread_planes.hpp"

#include <tuple>

namespace poolhead::inline POOLHEAD_ISA {

namespace detail {

/// How many elements of planes the channels that row gradients add to at once may have, NHWC. Whole planes stay
/// in the second-level cache; where they leave but a short run of channels at each position, which memory is
/// slow to read and write, some rows of more channels do.
template <class A>
Index most_row_elements(const FeatureShape& x) {
  constexpr Index of_planes = 32768;
  constexpr Index of_a_row = 16384;
  constexpr Index short_run = 16 * simd::lanes<A>;
  return of_planes >= short_run * x.positions() ? of_planes : of_a_row * x.height();
}

/// What one pass of backward does: G at every element, RowGradients by rows, on top of what dx holds already
/// where it adds.
template <bool adds, class G, class... RowGradients>
struct Spread {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  static constexpr int N = simd::lanes<A>;
  static constexpr bool by_rows = sizeof...(RowGradients) > 0;
  using V = simd::Vec<A, N>;
  /// Whether dx is what one row gradient gives; and whether in its own type.
  template <class DX>
  static constexpr bool is_one = sizeof...(RowGradients) == 1 && !adds && G::is_empty &&
                                 !std::same_as<DX, Nowhere>;
  template <class DX>
  static constexpr bool is_alone = is_one<DX>&& std::same_as<DX, A*>;

  G gradient;
  std::tuple<RowGradients...> row_gradients;

  using Position = simd::Vec<I, N>;
  using Lanes = ChannelLanes<A, I>;

  /// Whether dx is written and nothing else.
  template <class X, class DX>
  static constexpr bool is_flat =
      !G::reads_x && !by_rows && !adds && !is_masked<X> && !std::same_as<DX, Nowhere>;

  struct Held {
    typename G::Coefficients coefficients;
    typename G::Sums sums;
  };

  /// What the row gradients give rows first .. last - 1 of some channels.
  const A* fill_rows(Index width, Index stride, Index n, Index c, Index channels, Index first,
                     Index last) const {
    const Index size = (last - first) * width * stride;
    A* const tile = workspace<Spread, A>(size);
    std::apply(
        [&](const auto& g, const auto&... others) {
          g.template put_rows<false>(tile, stride, n, c, channels, first, last);
          (others.template put_rows<true>(tile, stride, n, c, channels, first, last), ...);
        },
        row_gradients);
    return tile;
  }

  template <class T>
  POOLHEAD_INLINE static void copy(const A* from, Index count, T* to) {
    const auto whole = [&](Index e) __attribute__((always_inline)) {
      simd::store(to + e, simd::load<A>(from + e));
    };
    if (count == scattered_channels)
      return unroll<scattered_channels / N>([&](auto v) __attribute__((always_inline)) { whole(v * N); });
    Index e = 0;
    for (; e + N <= count; e += N) whole(e);
    if (const auto rest = static_cast<int>(count - e); rest > 0)
      simd::store_first(to + e, simd::load_first<A>(from + e, rest), rest);
  }
  /// The planes that one row gradient puts, a few at a time, which stay in the first-level cache.
  template <class T>
  void put_narrow_planes(T* dx, Index size, Index n, Index c, Index end) const {
    struct Planes;
    const Index together = std::clamp<Index>(6144 / size, 1, 128);
    A* const planes = workspace<Planes, A>(together * size);
    for (; c < end; c += together) {
      const Index now = std::min(together, end - c);
      std::get<0>(row_gradients).put_planes(planes, n, c, now);
      copy(planes, now * size, dx);
      dx += now * size;
    }
  }

  /// Lanes that are channels, `stride` apart from position to position: four positions at a time, a quarter of
  /// all apart, as memory answers streams faster than pieces of lines, then one by one. values and dx are those
  /// of position `first`, mask the sample's; base is what the row gradients give, base_stride apart.
  template <bool masked, class Values, class DX>
  POOLHEAD_INLINE void spread_rows(Values values, DX dx, Index stride, Index first, Index count, Index channels,
                                   const unsigned char* mask, const A* base, Index base_stride,
                                   Held* held) const {
    const Index apart = count / 4;
    const auto positions = [&](auto group, Index s) __attribute__((always_inline)) {
      constexpr int K = group;
      const auto one_vector = [&](Index v, int lanes) __attribute__((always_inline)) {
        const Index offset = s * stride + v * N;
        const auto load = [&](const auto* p) __attribute__((always_inline)) {
          return lanes == N ? simd::load<A>(p) : simd::load_first<A>(p, lanes);
        };
        V x[K], value[K];
        Position position[K];
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          x[k] = simd::zero<V>();
          if constexpr (G::reads_x) x[k] = load(values + offset + k * apart * stride);
          position[k] = simd::splat<I, N>(static_cast<I>(first + s + k * apart));
        });
        gradient.at(held[v].coefficients, held[v].sums, x, position, value);
        unroll<K>([&](auto k) __attribute__((always_inline)) {
          if constexpr (by_rows)
            value[k] = value[k] + simd::load<A>(base + (s + k * apart) * base_stride + v * N);
          if constexpr (!std::same_as<DX, Nowhere>) {
            auto* const to = dx + offset + k * apart * stride;
            if constexpr (adds) value[k] = value[k] + load(to);
            if (lanes == N)
              simd::store(to, value[k]);
            else
              simd::store_first(to, value[k], lanes);
          }
        });
      };
      const Index whole = channels / N;
      for (Index v = 0; v < whole; ++v) one_vector(v, N);
      if (whole * N < channels) one_vector(whole, static_cast<int>(channels - whole * N));
    };
    const auto counts = [&](Index s) {
      if constexpr (masked) return mask[first + s] != 0;
      return true;
    };
    const auto one_position = [&](Index s) __attribute__((always_inline)) {
      if (counts(s)) {
        positions(std::integral_constant<int, 1>{}, s);
      } else if constexpr (!adds && !std::same_as<DX, Nowhere>) {
        std::fill_n(dx + s * stride, channels, std::remove_pointer_t<DX>(0));
      }
    };
    Index s = 0;
    // What does not read x writes the faster the fewer rows it writes at once. Sums over a part of the rows
    // must not depend on where it begins.
    if constexpr (G::reads_x && !(by_rows && G::has_sums)) {
      for (Index g = 0; g < apart; ++g) {
        if (counts(g) && counts(g + apart) && counts(g + 2 * apart) && counts(g + 3 * apart))
          positions(std::integral_constant<int, 4>{}, g);
        else
          unroll<4>([&](auto k) { one_position(g + k * apart); });
      }
      s = 4 * apart;
    }
    for (; s < count; ++s) one_position(s);
  }

  /// Planes c .. end - 1, NCHW: at most turned_planes of them where there are row gradients. Short ones are
  /// turned, so many positions at a time that they stay in the first-level cache, and turned back. Vast ones
  /// are read, if they are, where they lie.
  template <class X, class DX>
  [[gnu::noinline]] void planes(const X& x, DX dx, Index n, Index c, Index end) const {
    const Index size = x.positions();
    if constexpr (is_flat<X, DX>) {
      if constexpr (!is_vast<G>) {
        if (size == 1) return write_flat_rows(gradient, x, dx, n, c, end, 0, 1);
      }
      write_flat_planes(gradient, x, dx, n, c, end);
    } else {
      constexpr bool may_lie = G::reads_x && !by_rows && !is_masked<X>;
      if constexpr (may_lie) {
        if (is_vast<G> || size >= least_long_plane<G>)
          return spread_long_planes<adds>(gradient, x, dx, n, c, end);
      }
      if constexpr (!may_lie || !is_vast<G>) turned_or_by_rows(x, dx, n, c, end);
    }
  }
  /// The same of planes that are turned, or get what row gradients give them.
  template <class X, class DX>
  POOLHEAD_INLINE void turned_or_by_rows(const X& x, DX dx, Index n, Index c, Index end) const {
    using T = typename X::Scalar;
    constexpr bool writes = !std::same_as<DX, Nowhere>;
    const Index size = x.positions();
    const Index turned = by_rows ? turned_planes<A>(size) : 0;
    if constexpr (is_one<DX> && !is_alone<DX>) {
      if (std::get<0>(row_gradients).puts_planes() && size <= most_tile_elements)
        return put_narrow_planes(dx + (n * x.channels() + c) * size, size, n, c, end);
    }
    if constexpr (is_alone<DX>) {
      T* const planes = dx + (n * x.channels() + c) * size;
      const auto& alone = std::get<0>(row_gradients);
      if (alone.puts_planes()) return alone.put_planes(planes, n, c, end - c);
      if (alone.put_bands(planes, n, c, end - c)) return;
      if (turned > 0) {
        const A* const tile = fill_rows(x.width(), turned, n, c, end - c, 0, x.height());
        for (Index q = 0; q < end - c; q += N)
          turn_back<N>(tile + q, turned, size, static_cast<int>(std::min<Index>(N, end - c - q)),
                       planes + q * size, size);
        return;
      }
    }
    const A* base = nullptr;
    if constexpr (by_rows) {
      if (turned > 0) base = fill_rows(x.width(), turned, n, c, end - c, 0, x.height());
    }
    const bool row_by_row = by_rows && turned == 0;
    const Index step = row_by_row ? x.width() : std::min(turned_positions<A>, size);
    struct Tile;
    A* const tile = workspace<Tile, A>(2 * step * N);
    A* const out = tile + step * N;
    for (Index q = c; q < end; q += N) {
      const auto count = static_cast<int>(std::min<Index>(N, end - q));
      Held held{gradient.prepare(Lanes{count}, n, q), typename G::Sums()};
      for (Index s = 0; s < size; s += step) {
        const Index now = std::min(step, size - s);
        [[maybe_unused]] const auto own_dx = dx + ((n * x.channels() + q) * size + s);
        if constexpr (G::reads_x) turn_planes(x.sample(n) + q * size + s, size, now, count, tile, Index{N});
        if constexpr (adds && writes) turn_planes<A, T>(own_dx, size, now, count, out, Index{N});
        const A* own_base = turned > 0 ? base + s * turned + (q - c) : nullptr;
        if constexpr (by_rows) {
          if (row_by_row) own_base = fill_rows(step, N, n, q, count, s / step, s / step + 1);
        }
        const auto spread = [&](auto to) __attribute__((always_inline)) {
          spread_rows<is_masked<X>>(static_cast<const A*>(tile), to, Index{N}, s, now, Index{N}, mask_row(x, n),
                                    own_base, row_by_row ? Index{N} : turned, &held);
        };
        if constexpr (writes) {
          spread(out);
          turn_back<N>(out, Index{N}, now, count, own_dx, size);
        } else {
          spread(Nowhere{});
        }
      }
      gradient.collect(Lanes{count}, held.sums, n, q);
    }
  }

  /// Channels c .. end - 1 of sample n, NHWC.
  template <class X, class DX>
  [[gnu::noinline]] void channels(const X& x, DX dx, Index n, Index c, Index end) const {
    if constexpr (G::reads_x && !G::has_sums && !by_rows && !is_masked<X> && !std::same_as<DX, Nowhere> &&
                  !is_vast<G>) {
      if (ChannelCycle<A>::pays_to_spread(x.shape())) return spread_cycles<adds>(gradient, x, dx, n);
    }
    const Index stride = x.channels();
    const Index taken = end - c;
    if constexpr (is_one<DX>) {
      const auto& alone = std::get<0>(row_gradients);
      const Index size = x.positions();
      const DX own_dx = dx + n * size * stride + c;
      // What is scattered over a short plane's few elements finds them in a cache.
      if (alone.scatters() && size * scattered_channels <= most_scattered) {
        for (Index q = 0; q < taken; q += scattered_channels) {
          const Index now = std::min<Index>(scattered_channels, taken - q);
          const A* const base = fill_rows(x.width(), scattered_channels, n, c + q, now, 0, x.height());
          for (Index s = 0; s < size; ++s) copy(base + s * scattered_channels, now, own_dx + s * stride + q);
        }
        return;
      }
      if (taken % N == 0 && (is_alone<DX> || !alone.scatters()))
        return alone.template put_rows<false>(own_dx, stride, n, c, taken, 0, x.height());
    }
    const Index vectors = (taken + N - 1) / N;
    const Index padded = vectors * N;
    const auto count = [&](Index v) { return static_cast<int>(std::min<Index>(N, taken - v * N)); };
    Held* const held = workspace<Spread, Held>(vectors);
    for (Index v = 0; v < vectors; ++v)
      held[v] = {gradient.prepare(Lanes{count(v)}, n, c + v * N), typename G::Sums()};
    const Index height = by_rows ? x.height() : 1;
    const Index width = x.positions() / height;
    const Index together = std::clamp<Index>(most_tile_elements / (width * padded), 1, height);
    for (Index h = 0; h < height; h += together) {
      const Index last = std::min(h + together, height);
      const A* base = nullptr;
      if constexpr (by_rows) base = fill_rows(width, padded, n, c, taken, h, last);
      spread_rows<is_masked<X>>(x.sample(n) + h * width * stride + c,
                                dx + ((n * x.positions() + h * width) * stride + c), stride, h * width,
                                (last - h) * width, taken, mask_row(x, n), base, padded, held);
    }
    for (Index v = 0; v < vectors; ++v) gradient.collect(Lanes{count(v)}, held[v].sums, n, c + v * N);
  }

  /// Writes every element of dx, a pointer or Nowhere. The shapes have been checked: dx is of x's, and is not
  /// x.
  template <class X, class DX, Device D>
  void run(const X& x, DX dx, const D& device) const {
    constexpr bool in_planes = std::same_as<typename X::Layout, ChannelsFirst>;
    constexpr int passes = (G::reads_x ? 2 : 1) + (by_rows ? 1 : 0);  // or what takes as long
    const double bytes =
        static_cast<double>(x.size()) * static_cast<double>(passes * sizeof(typename X::Scalar));
    if constexpr (!in_planes && is_flat<X, DX>) return write_flat_map(gradient, x, dx, bytes, device);
    ChannelBlocks blocks = short_blocks<N>(x.shape());
    if constexpr (!in_planes) {
      const Index most_kept = G::reads_x ? most_kept_bytes(bytes, 16384) : 16384;
      blocks = channel_blocks<N>(x.shape(), sizeof(Held), most_kept,
                                 by_rows ? most_row_elements<A>(x.shape()) : 0, bytes, device);
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
