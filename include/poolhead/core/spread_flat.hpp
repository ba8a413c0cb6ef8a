// Gradients that are the same at all positions of a channel but a few, its peaks: what all share is computed
// and rounded once, and the peaks are written over it. The protocol of a gradient G is in core/spread.hpp.
#pragma once

#include "poolhead/core/blocks.hpp"
#include "poolhead/core/buffer.hpp"
#include "poolhead/core/coefficients.hpp"
#include "poolhead/core/walk.hpp"

#include <bit>
#include <cstring>

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The channels of a block: what each is given at all positions but its peaks, and the peaks with what stands
/// there. The peaks of one head follow on those of another. P: the type that holds positions.
template <class G, class T, class P>
struct FlatBlock {
  using A = typename G::Accumulator;
  using I = typename G::PositionLane;
  static constexpr int N = simd::lanes<A>;
  using V = simd::Vec<A, N>;
  using Position = simd::Vec<I, N>;

  Index channels, padded;
  T* elsewhere;
  T* value;     // at the peaks
  P* position;  // of the peaks

  FlatBlock(const G& gradient, Index n, Index c, Index end)
      : channels(end - c),
        padded((channels + N - 1) / N * N + simd::lanes<simd::IntOf<T>>),
        elsewhere(workspace<G, T>((1 + G::peaks) * padded)),
        value(elsewhere + padded),
        position(workspace<G, P>(G::peaks * padded)) {
    for (Index k = 0; k < channels; k += N) {
      const auto count = static_cast<int>(std::min<Index>(N, channels - k));
      const auto shared = gradient.prepare(ChannelLanes<A, I>{count}, n, c + k);
      if constexpr (!is_zero_elsewhere<G>)
        simd::store(elsewhere + k, at(gradient, shared, simd::splat<I, N>(static_cast<I>(-1))));
      Index to = k;
      gradient.each_peak(
          shared, [&](const Position& peak) __attribute__((always_inline)) {
            simd::store(value + to, at(gradient, shared, peak));
            simd::store_bits(position + to, simd::convert<P>(peak));
            to += padded;
          });
    }
  }
  /// dx[i * channel_step + s * position_step] at those peaks s of all channels i that count.
  template <class F>
  POOLHEAD_INLINE void write_peaks(T* dx, Index channel_step, Index position_step, const F& counts) const {
    T nowhere;
    for (Index peak = 0; peak < G::peaks * padded; peak += padded) {
      for (Index i = 0; i < channels; ++i) {
        const auto s = static_cast<Index>(position[peak + i]);
        *(counts(s) ? dx + (i * channel_step + s * position_step) : &nowhere) = value[peak + i];
      }
    }
  }
  /// A vector of channels, from k on, at position s.
  POOLHEAD_INLINE auto row(Index k, const simd::BitsOf<T>& s) const {
    auto bits = is_zero_elsewhere<G> ? simd::zero<simd::BitsOf<T>>() : simd::load_bits(elsewhere + k);
    unroll<G::peaks>([&](auto peak) __attribute__((always_inline)) {
      const Index from = peak * padded + k;
      bits = simd::select(simd::load_bits(position + from) == s, simd::load_bits(value + from), bits);
    });
    return bits;
  }

 private:
  /// What a vector of channels is given at one position each.
  POOLHEAD_INLINE static V at(const G& gradient, const typename G::Coefficients& shared,
                              const Position& position) {
    typename G::Sums none;
    const V unread[1] = {simd::zero<V>()};
    const Position positions[1] = {position};
    V value[1];
    gradient.at(shared, none, unread, positions, value);
    return value[0];
  }
};

/// Where one value is written to more than so many bytes of a map that no second-level cache holds, the
/// processor's own loop is faster than vectors: it does not read what it overwrites.
inline constexpr Index least_long_fill = 12288;

template <class X>
bool is_long_map(const X& x) {
  return bytes_of(x) > small_map_bytes;
}

/// Writes value to p[0 .. size - 1].
template <class T>
void fill_long(T* p, Index size, T value) {
#if defined(__x86_64__)
  constexpr auto each = static_cast<Index>(sizeof(std::uint64_t) / sizeof(T));
  T values[each];
  std::fill_n(values, each, value);
  const auto bits = std::bit_cast<std::uint64_t>(values);
  auto words = size / each;
  asm volatile("rep stosq" : "+D"(p), "+c"(words) : "a"(bits) : "memory");
  std::fill_n(p, size % each, value);
#else
  std::fill_n(p, size, value);
#endif
}

/// How many elements from p on the first vector of whole lines of a cache begins, of those that begin behind p.
template <class T>
POOLHEAD_INLINE Index next_line(const T* p) {
  constexpr auto L = static_cast<std::uintptr_t>(simd::lanes<simd::IntOf<T>>);
  return static_cast<Index>(L - reinterpret_cast<std::uintptr_t>(p) / sizeof(T) % L);
}

/// Writes 0 to p[0 .. size - 1]: vectors that share no line of a cache, but for the first and the last.
/// is_long: it is of a long map.
template <class T>
POOLHEAD_INLINE void fill_zero(T* p, Index size, bool is_long) {
  constexpr Index L = simd::lanes<simd::IntOf<T>>;
  if (is_long && size >= least_long_fill / static_cast<Index>(sizeof(T))) {
    std::memset(static_cast<void*>(p), 0, static_cast<std::size_t>(size) * sizeof(T));
    return;
  }
  const auto zero = simd::zero<simd::BitsOf<T>>();
  if (size < L) {
    for (Index s = 0; s < size; ++s) p[s] = T(0);
    return;
  }
  simd::store_bits(p, zero);
  Index s = next_line(p);
  for (; s + 4 * L <= size; s += 4 * L)
    unroll<4>([&](auto k) __attribute__((always_inline)) { simd::store_bits(p + s + k * L, zero); });
  for (; s + L <= size; s += L) simd::store_bits(p + s, zero);
  simd::store_bits(p + size - L, zero);
}

/// Writes values[i] to the plane i < count, all of `size` positions. is_long: they are of a long map.
template <class T>
POOLHEAD_INLINE void fill_planes(T* planes, Index size, const T* values, Index count, bool is_long) {
  using Bit = simd::IntOf<T>;
  constexpr Index L = simd::lanes<Bit>;
  if (is_long && size >= least_long_fill / static_cast<Index>(sizeof(T))) {
    for (Index i = 0; i < count; ++i) fill_long(planes + i * size, size, values[i]);
    return;
  }
  Index i = 0;
  constexpr Index tiny = std::max<Index>(L, 16);
  if (size <= tiny) {
    // Vectors reach into the planes that follow, and those are written after them.
    with_number<tiny / L>(
        static_cast<int>((size + L - 1) / L), [&](auto vectors) __attribute__((always_inline)) {
          for (; (count - i) * size >= vectors * L; ++i) {
            const auto bits = simd::splat_bits(values[i]);
            unroll<vectors>([&](auto k) __attribute__((always_inline)) {
              simd::store_bits(planes + i * size + k * L, bits);
            });
          }
        });
    for (; i < count; ++i) std::fill_n(planes + i * size, size, values[i]);
    return;
  }
  // Vectors that share no line of a cache, but for the first and the last: some are of two planes.
  auto bits = simd::splat_bits(values[0]);
  simd::store_bits(planes, bits);
  T* to = planes + next_line(planes);
  for (T* end = planes + size;; end += size) {
    for (; end - to >= 4 * L; to += 4 * L)
      unroll<4>([&](auto k) __attribute__((always_inline)) { simd::store_bits(to + k * L, bits); });
    for (; end - to >= L; to += L) simd::store_bits(to, bits);
    if (++i == count) return simd::store_bits(end - L, bits);
    const auto next = simd::splat_bits(values[i]);
    if (to < end) {
      const auto own = simd::splat<Bit, L>(static_cast<Bit>(end - to));
      simd::store_bits(to, simd::select(simd::iota<Bit, L>(0) < own, bits, next));
      to += L;
    }
    bits = next;
  }
}

/// to[0 .. size - 1] = from[0 .. size - 1].
template <class T>
POOLHEAD_INLINE void copy_row(const T* from, Index size, T* to) {
  constexpr Index L = simd::lanes<simd::IntOf<T>>;
  if (size < L) {
    for (Index k = 0; k < size; ++k) to[k] = from[k];
    return;
  }
  Index k = 0;
  for (; k + L <= size; k += L) simd::store_bits(to + k, simd::load_bits(from + k));
  if (k < size) simd::store_bits(to + size - L, simd::load_bits(from + size - L));
}

/// The same row at `count` positions, `stride` apart: short ones that follow on each other some at a time, and
/// whole vectors of such turned round so far that none lies in two lines of a cache.
template <class T>
POOLHEAD_INLINE void write_rows(const T* row, Index channels, T* to, Index stride, Index count) {
  constexpr Index L = simd::lanes<simd::IntOf<T>>;
  constexpr Index most_together = 256;  // elements
  struct Rows;
  struct Turned;
  if (channels != stride) {
    for (Index s = 0; s < count; ++s) copy_row(row, channels, to + s * stride);
    return;
  }
  Index size = channels;
  if (4 * channels <= most_together) {
    size *= std::min(most_together / channels, count);
    T* const rows = workspace<Rows, T>(size);
    std::copy_n(row, channels, rows);
    for (Index e = channels; e < size; e *= 2) std::copy_n(rows, std::min(e, size - e), rows + e);
    row = rows;
  }
  T* const end = to + count * channels;
  if (const Index head = next_line(to); head < L && size % L == 0 && count > 1) {
    T* const turned = workspace<Turned, T>(size);
    std::copy_n(row, head, std::copy_n(row + head, size - head, turned));
    to = std::copy_n(row, head, to);
    row = turned;
  }
  for (; to < end; to += size) copy_row(row, std::min<Index>(size, end - to), to);
}

/// Planes c .. end - 1, NCHW.
template <class G, class X, class T>
POOLHEAD_INLINE void write_flat_planes(const G& gradient, const X& x, T* dx, Index n, Index c, Index end) {
  const Index size = x.positions();
  T* const planes = dx + (n * x.channels() + c) * size;
  const FlatBlock<G, T, Index> flat(gradient, n, c, end);
  if constexpr (is_zero_elsewhere<G>)
    fill_zero(planes, (end - c) * size, is_long_map(x));
  else
    fill_planes(planes, size, flat.elsewhere, end - c, is_long_map(x));
  flat.write_peaks(planes, size, 1, [](Index) { return true; });
}

/// Up to so many positions, NHWC, a channel's peak is looked for at each of them: it stands too far from what
/// has just been written to be worth a store of its own.
inline constexpr Index few_positions = 100;

/// Channels c .. end - 1 of positions first .. last - 1 of sample n, NHWC.
template <class G, class X, class T>
POOLHEAD_INLINE void write_flat_rows(const G& gradient, const X& x, T* dx, Index n, Index c, Index end,
                                     Index first, Index last) {
  using Bit = simd::IntOf<T>;
  constexpr Index L = simd::lanes<Bit>;
  const Index stride = x.channels();
  const Index channels = end - c;
  T* const sample = dx + n * x.positions() * stride + c;
  T* const rows = sample + first * stride;
  const Index count = last - first;
  if constexpr (!is_vast<G>) {
    const bool is_small = G::peaks > 0 || count * channels < 1024;
    if (is_small && x.positions() <= few_positions && channels >= L) {
      const FlatBlock<G, T, Bit> flat(gradient, n, c, end);
      for (Index s = 0; s < count; ++s) {
        const auto at = simd::splat<Bit, L>(static_cast<Bit>(first + s));
        T* const row = rows + s * stride;
        Index k = 0;
        for (; k + L <= channels; k += L) simd::store_bits(row + k, flat.row(k, at));
        if (k < channels) simd::store_bits(row + channels - L, flat.row(channels - L, at));
      }
      return;
    }
  }
  const FlatBlock<G, T, Index> flat(gradient, n, c, end);
  if constexpr (is_zero_elsewhere<G>) {
    const Index together = channels == stride ? count : 1;
    for (Index s = 0; s < count; s += together)
      fill_zero(rows + s * stride, together * channels, is_long_map(x));
  } else {
    write_rows(flat.elsewhere, channels, rows, stride, count);
  }
  flat.write_peaks(sample, 1, stride, [=](Index s) { return first <= s && s < last; });
}

/// All of dx, NHWC. Positions are shared out, not channels: what a thread writes lies together.
template <class G, class X, class T, Device D>
void write_flat_map(const G& gradient, const X& x, T* dx, double bytes, const D& device) {
  // As many channels at a time as leave what they share in the first-level cache.
  constexpr Index together =
      16384 / static_cast<Index>(sizeof(typename G::Coefficients)) * simd::lanes<typename G::Accumulator>;
  const Index parts = sample_parts(x.shape(), x.positions(), bytes, device);
  const Index items = x.batch() * parts;
  parallel_for(device, items, bytes / static_cast<double>(items), [&](Index begin, Index end) {
    for (Index item = begin; item < end; ++item) {
      const Index part = item % parts;
      for (Index c = 0; c < x.channels(); c += together)
        write_flat_rows(gradient, x, dx, item / parts, c, std::min(c + together, x.channels()),
                        x.positions() * part / parts, x.positions() * (part + 1) / parts);
    }
  });
  gradient.finish();
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
