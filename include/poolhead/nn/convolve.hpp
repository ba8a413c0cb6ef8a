// One convolution, or its transpose, as gathered products.
#pragma once

#include "poolhead/nn/gathered_product.hpp"
#include "poolhead/nn/sweep.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

// The calling thread's memory: no layer needs its own. Offsets are tables of the gathered product.
struct PackedWeights {};
struct Tiles {};
struct Pixels {};
struct PositionOffsets {};
struct TargetOffsets {};
struct DepthOffsets {};

/// The time of products, put in bytes: some 4 flops take as long as one byte of memory.
inline double product_bytes(Index products) { return 0.5 * static_cast<double>(products); }

/// The weights as the right operand of a sweep. Convolution: depth (channel, tap), columns outputs. Transpose:
/// depth (output, tap) phase after phase, columns channels.
template <class T>
[[gnu::noinline]] void pack_weights(const Sweep& s, const T* weight, T* packed) {
  const Index taps = s.taps();
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  for (Index group = 0; group < s.groups; ++group, weight += from_channels * columns * taps) {
    if (!s.vertical.transposed) {
      const Panels<T> panels{columns, from_channels * taps};
      pack_columns(panels, weight, panels.depth, 0, panels.depth, packed);
      packed += panels.size();
      continue;
    }
    s.each_phase([&](Index v, Index h) {
      Index phase_taps = 0;
      s.each_tap(v, h, [&](Index, Index) { ++phase_taps; });
      const Panels<T> panels{columns, from_channels * phase_taps};
      if (taps == 1) pack_rows(panels, weight, columns, 0, panels.depth, packed);
      for (Index o = 0; taps > 1 && o < from_channels; ++o) {
        const T* const from = weight + o * columns * taps;
        if (phase_taps == taps) {
          pack_columns(panels, from, taps, o * taps, taps, packed);
        } else {
          Index k = o * phase_taps;
          s.each_tap(v, h, [&](Index tap, Index) {
            for (Index c = 0; c < columns; ++c)
              packed[panels.begin(c / panels.lanes * panels.lanes) + k * panels.stride(c) + c % panels.lanes] =
                  from[c * taps + tap];
            ++k;
          });
        }
      }
      packed += panels.size();
    });
  }
}

/// What the blocks of one sweep share.
template <class T>
struct SweepOperands {
  const T* source;
  const T* packed;
  const T* bias;
  T* target;
  const Index* positions;
  const Index* targets;
  const Index* depths;
};

/// One block. NHWC: targets are written where they belong; NCHW: to `pixels`, a pixel's channels together, and
/// turned to planes from there.
template <class T>
[[gnu::noinline]] void sweep_block(const Sweep& s, const SweepOperands<T>& operands, const SweepBlock& block,
                                   T* tile_memory, T* pixels) {
  const T* const tile = read_tile(s, block, operands.source, tile_memory);
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  const Index plane = s.vertical.target * s.horizontal.target;
  const Index height = block.last - block.first;
  const Index positions = height * s.horizontal.target;
  const T* packed = operands.packed;
  const Panels<T> shape{columns, 0};
  constexpr Index N = Panels<T>::lanes;
  // f(planes of a vector of channels, their count, the same in pixels) for every vector and sample
  const auto each_vector = [&](Index group, const auto& f) {
    for (Index n = 0; n < block.count; ++n)
      for (Index c = 0; c < columns; c += N)
        f(operands.target + ((block.n + n) * s.target_channels + group * columns + c) * plane +
              block.first * s.horizontal.target,
          static_cast<int>(std::min(N, columns - c)), pixels + n * positions * shape.padded_columns() + c);
  };
  for (Index group = 0; group < s.groups; ++group) {
    T* const to = s.channels_last
                      ? operands.target +
                            (block.n * plane + block.first * s.horizontal.target) * s.target_channels +
                            group * columns
                      : pixels;
    const T* const bias = operands.bias == nullptr ? nullptr : operands.bias + group * columns;
    Index first_position = 0, first_depth = 0;
    s.each_phase([&](Index v, Index h) {
      Index taps = 0;
      s.each_tap(v, h, [&](Index, Index) { ++taps; });
      const Panels<T> panels{columns, from_channels * taps};
      const Index row = s.horizontal.targets(h, s.horizontal.target);
      const Index rows = block.count * s.vertical.targets(v, height) * row;
      if (rows > 0)
        gathered_product<T>({tile + group * from_channels * s.tile.channel, operands.positions + first_position,
                             operands.depths + first_depth},
                            rows, panels, packed, to, operands.targets + first_position, {bias, false});
      packed += panels.size();
      first_depth += panels.depth;
      first_position +=
          s.samples * row * s.vertical.targets(v, std::min(s.units * s.vertical.phases(), s.vertical.target));
    });
    if (!s.channels_last)
      each_vector(group, [&](T* planes, int count, const T* from) {
        turn_back<static_cast<int>(N)>(from, shape.padded_columns(), positions, count, planes, plane);
      });
  }
}

/// A convolution, or its transpose: target = bias + weight * source.
template <class T, class L, Device D>
void convolve_one(const ConvolutionGeometry& geometry, bool transposed, const FeatureMap<const T, L>& source,
                  const T* weight, const T* bias, const FeatureMap<T, L>& target, const D& device) {
  constexpr bool channels_last = std::same_as<L, ChannelsLast>;
  Sweep s(geometry, channels_last, transposed, source.shape(), target.shape());
  const Index from_channels = s.source_channels / s.groups;
  const Panels<T> all{s.target_channels / s.groups, from_channels * s.taps()};
  const Index all_units = s.batch * s.vertical.units();
  const double bytes = product_bytes(target.size() * all.depth);
  Index threads = thread_count(device, all_units, bytes / static_cast<double>(all_units));
  // No sum depends on how targets are cut into blocks, so that may depend on threads.
  s.cut(sizeof(T), (channels_last ? 0 : all.padded_columns()) * static_cast<Index>(sizeof(T)),
        threads > 1 ? (all_units + 4 * threads - 1) / (4 * threads) : all_units);
  threads = std::min(threads, s.blocks());
  const Index pixel_size = channels_last ? 0 : s.positions() * all.padded_columns();
  T* const packed = workspace<PackedWeights, T>(s.groups * all.size());
  Index* const positions = workspace<PositionOffsets, Index>(s.positions());
  Index* const targets = workspace<TargetOffsets, Index>(s.positions());
  Index* const depths = workspace<DepthOffsets, Index>(all.depth);
  T* const tiles = workspace<Tiles, T>(threads * s.tile_size());
  T* const pixels = workspace<Pixels, T>(threads * pixel_size);
  pack_weights(s, weight, packed);
  s.list_depths(from_channels, depths);
  const Index column = channels_last ? s.target_channels : all.padded_columns();
  s.list_positions(positions, targets, column, target.positions() * column);
  const SweepOperands<T> operands{source.data(), packed, bias, target.data(), positions, targets, depths};
  parallel_parts(device, threads, s.blocks(), bytes, [&](Index thread, Index begin, Index end) {
    for (Index b = begin; b < end; ++b)
      sweep_block(s, operands, SweepBlock(s, b), tiles + thread * s.tile_size(), pixels + thread * pixel_size);
  });
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
