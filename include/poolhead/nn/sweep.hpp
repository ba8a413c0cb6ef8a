// A convolution over a whole map, cut into blocks: what a block reads, and the tables that its product needs.
#pragma once

#include "poolhead/core/simd_memory.hpp"
#include "poolhead/nn/convolution_geometry.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// The distances between neighbours of a map.
struct MapStrides {
  Index sample, channel, row, column;

  MapStrides(bool channels_last, Index channels, Index height, Index width)
      : sample(channels * height * width),
        channel(channels_last ? 1 : height * width),
        row(channels_last ? width * channels : width),
        column(channels_last ? channels : 1) {}
};

/// A convolution or its transpose, cut into blocks of samples or, where a sample is large, of units of rows. A
/// block reads its source from a tile with its padding around it, or in place where no padding is read.
struct Sweep {
  ConvolutionAxis vertical, horizontal;
  bool channels_last;
  Index groups;
  Index batch;
  Index source_channels, target_channels;
  bool in_place;
  Index samples = 1, units;  ///< of a block
  MapStrides source;
  MapStrides tile;

  Sweep(const ConvolutionGeometry& g, bool last, bool transposed, const FeatureShape& from,
        const FeatureShape& to)
      : vertical(g.kernel.height, g.stride.height, g.padding.height, g.dilation.height, from.height(),
                 to.height(), transposed),
        horizontal(g.kernel.width, g.stride.width, g.padding.width, g.dilation.width, from.width(), to.width(),
                   transposed),
        channels_last(last),
        groups(g.groups),
        batch(from.batch),
        source_channels(from.channels),
        target_channels(to.channels),
        in_place(vertical.inside() && horizontal.inside()),
        units(vertical.units()),
        source(last, from.channels, from.height(), from.width()),
        tile(source) {}

  /// Chooses blocks whose tile and targets, of `target_bytes` a position, stay in a second-level cache, and
  /// which are not more than `most` units of rows.
  void cut(Index source_bytes, Index target_bytes, Index most) {
    constexpr Index cache_bytes = 1 << 18;
    const Index all = vertical.units();
    const Index row = horizontal.extent(horizontal.units()) * vertical.step() * source_channels * source_bytes +
                      horizontal.target * vertical.phases() * target_bytes;
    const Index fit = std::max<Index>(std::min(cache_bytes / row, most), 1);
    samples = std::clamp<Index>(fit / all, 1, batch);
    units = std::min(all, std::max<Index>(fit, 4));
    if (samples > 1) units = all;
    if (!in_place) {
      tile = MapStrides(channels_last, pixel_size(source_bytes), vertical.extent(units),
                        horizontal.extent(horizontal.units()));
    }
  }

  /// Elements from pixel to pixel of a tile. Pixels that are a multiple of 512 bytes apart would share a few
  /// sets of the first-level cache.
  Index pixel_size(Index bytes) const {
    const bool spread = channels_last && taps() > 1 && source_channels * bytes % 512 == 0;
    return source_channels + (spread ? 64 / bytes : 0);
  }

  Index bands() const { return (vertical.units() + units - 1) / units; }
  Index blocks() const { return (batch + samples - 1) / samples * bands(); }
  Index tile_size() const { return in_place ? 0 : samples * tile.sample; }
  /// Target positions of a block, at most.
  Index positions() const {
    return samples * std::min(units * vertical.phases(), vertical.target) * horizontal.target;
  }
  Index taps() const { return vertical.kernel * horizontal.kernel; }

  /// f(vertical phase, horizontal phase)
  template <class F>
  void each_phase(const F& f) const {
    for (Index v = 0; v < vertical.phases(); ++v)
      for (Index h = 0; h < horizontal.phases(); ++h) f(v, h);
  }
  /// f(tap, offset in the tile) for the taps that a phase reads.
  template <class F>
  void each_tap(Index v, Index h, const F& f) const {
    for (Index i = 0; i < vertical.kernel; ++i) {
      for (Index j = 0; j < horizontal.kernel; ++j) {
        const Index row = vertical.tap(v, i);
        const Index column = horizontal.tap(h, j);
        if (row >= 0 && column >= 0) f(i * horizontal.kernel + j, row * tile.row + column * tile.column);
      }
    }
  }

  /// Offsets in the tile of every depth, (channel, tap), phase after phase.
  void list_depths(Index channels, Index* depths) const {
    each_phase([&](Index v, Index h) {
      for (Index c = 0; c < channels; ++c)
        each_tap(v, h, [&](Index, Index offset) { *depths++ = c * tile.channel + offset; });
    });
  }
  /// Of every target of a block, (sample, row, column), phase after phase: its offset in the tile and, where
  /// they are asked for, its own offset, neighbours being `column` apart and samples `sample`. The first of
  /// them are right for smaller blocks, too.
  void list_positions(Index* positions, Index* targets, Index column, Index sample) const {
    each_phase([&](Index v, Index h) {
      const Index rows = vertical.targets(v, std::min(units * vertical.phases(), vertical.target));
      const Index columns = horizontal.targets(h, horizontal.target);
      for (Index n = 0; n < samples; ++n) {
        for (Index i = 0; i < rows; ++i) {
          for (Index j = 0; j < columns; ++j) {
            *positions++ =
                n * tile.sample + i * vertical.step() * tile.row + j * horizontal.step() * tile.column;
            if (targets == nullptr) continue;
            const Index row = v + i * vertical.phases();
            *targets++ = n * sample + (row * horizontal.target + h + j * horizontal.phases()) * column;
          }
        }
      }
    });
  }
};

/// Samples n .. n + count - 1, target rows first .. last - 1.
struct SweepBlock {
  Index n, count, first, last;

  SweepBlock(const Sweep& sweep, Index block)
      : n(block / sweep.bands() * sweep.samples),
        count(std::min(sweep.samples, sweep.batch - n)),
        first(block % sweep.bands() * sweep.units * sweep.vertical.phases()),
        last(std::min(first + sweep.units * sweep.vertical.phases(), sweep.vertical.target)) {}
};

/// Copies count elements or zeroes them; inline, because rows of small maps are shorter than a call.
template <class T>
POOLHEAD_INLINE void copy_run(const T* from, Index count, T* to) {
  constexpr Index N = simd::lanes<T>;
  Index i = 0;
  for (; i + N <= count; i += N) simd::store(to + i, simd::load<T>(from + i));
  if (i < count) {
    const auto rest = static_cast<int>(count - i);
    simd::store_first(to + i, simd::load_first<T>(from + i, rest), rest);
  }
}

template <class T>
POOLHEAD_INLINE void zero_run(Index count, T* to) {
  constexpr Index N = simd::lanes<T>;
  const auto zeros = simd::zero<simd::Vec<T, simd::lanes<T>>>();
  Index i = 0;
  for (; i + N <= count; i += N) simd::store(to + i, zeros);
  if (i < count) simd::store_first(to + i, zeros, static_cast<int>(count - i));
}

/// Where a block's tile begins: in x, or in `memory`, to which it is copied with zeros around it.
template <class T>
[[gnu::noinline]] const T* read_tile(const Sweep& s, const SweepBlock& block, const T* x, T* memory) {
  const Index row = block.first / s.vertical.phases() * s.vertical.step() - s.vertical.before;
  x += block.n * s.source.sample;
  if (s.in_place) return x + row * s.source.row - s.horizontal.before * s.source.column;
  const Index height = s.vertical.extent(s.units);
  const Index width = s.horizontal.extent(s.horizontal.units());
  const Index top = std::clamp<Index>(-row, 0, height);
  const Index bottom = std::clamp<Index>(s.vertical.source - row, top, height);
  const Index left = std::clamp<Index>(s.horizontal.before, 0, width);
  const Index right = std::clamp<Index>(s.horizontal.source + s.horizontal.before, left, width);
  // Pixels of NHWC are runs of channels, which are one where nothing is between them; NCHW has runs of pixels.
  const bool one_run = !s.channels_last || s.tile.column == s.source_channels;
  const Index runs = one_run ? 1 : right - left;
  const Index run = one_run ? (right - left) * s.source.column : s.source_channels;
  for (Index n = 0; n < block.count; ++n) {
    for (Index c = 0; c < (s.channels_last ? 1 : s.source_channels); ++c) {
      const T* from = x + n * s.source.sample + c * s.source.channel + (row + top) * s.source.row +
                      (left - s.horizontal.before) * s.source.column;
      T* to = memory + n * s.tile.sample + c * s.tile.channel;
      std::fill_n(to, top * s.tile.row, T(0));
      to += top * s.tile.row;
      for (Index r = top; r < bottom; ++r, from += s.source.row, to += s.tile.row) {
        zero_run(left * s.tile.column, to);
        for (Index i = 0; i < runs; ++i)
          copy_run(from + i * s.source.column, run, to + (left + i) * s.tile.column);
        zero_run((width - right) * s.tile.column, to + right * s.tile.column);
      }
      std::fill_n(to, (height - bottom) * s.tile.row, T(0));
    }
  }
  return memory;
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
