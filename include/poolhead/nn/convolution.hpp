// The kernel seam of convolution: forward and backward of one or several convolutions of one geometry on one
// input.
#pragma once

#include "poolhead/nn/convolution_geometry.hpp"
#include "poolhead/nn/gathered_product.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// One of the convolutions: its parameters, (O, I / groups, kh, kw) and (O) or null, and its side of the data.
template <class T, class L>
struct ConvolutionForward {
  const T* weight;
  const T* bias;
  FeatureMap<T, L> y;
};
template <class T, class L>
struct ConvolutionBackward {
  const T* weight;
  FeatureMap<const T, L> dy;
  T* weight_gradient;
  T* bias_gradient;  ///< null without bias
};

// The calling thread's memory: no layer needs its own. Offsets are tables of the gathered product.
struct PackedWeights {};
struct Tiles {};
struct Pixels {};
struct WeightSums {};
struct PositionOffsets {};
struct TargetOffsets {};
struct DepthOffsets {};

/// Threads are chosen by the time of a product, put in bytes: some 4 flops take as long as one byte of memory.
template <Device D>
Index product_threads(const D& device, Index items, Index products) {
  return thread_count(device, items, 0.5 * static_cast<double>(products) / static_cast<double>(items));
}

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
  bool add;  ///< to what is in target
  const Index* positions;
  const Index* targets;
  const Index* depths;
};

/// One block. NHWC: targets are written where they belong; NCHW: to `pixels`, a pixel's channels together, and
/// turned to planes from there.
template <class T>
[[gnu::noinline]] void sweep_block(const Sweep& s, const SweepOperands<T>& operands, const SweepBlock& block,
                                   T* tile_memory, T* pixels, bool fresh) {
  const T* const tile = read_tile(s, block, operands.source, tile_memory, fresh);
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
    if (!s.channels_last && operands.add)
      each_vector(group, [&](T* planes, int count, T* to) {
        turn_planes<T>(planes, plane, positions, count, to, shape.padded_columns());
      });
    T* const to = s.channels_last
                      ? operands.target + (block.n * plane + block.first * s.horizontal.target) *
                                              s.target_channels + group * columns
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
                            rows, panels, packed, to, operands.targets + first_position, {bias, operands.add});
      packed += panels.size();
      first_depth += panels.depth;
      first_position += s.samples * row *
                        s.vertical.targets(v, std::min(s.units * s.vertical.phases(), s.vertical.target));
    });
    if (!s.channels_last)
      each_vector(group, [&](T* planes, int count, const T* from) {
        turn_back<static_cast<int>(N)>(from, shape.padded_columns(), positions, count, planes, plane);
      });
  }
}

/// A convolution, or its transpose: target (+)= bias + weight * source.
template <class T, class L, Device D>
void convolve_one(const ConvolutionGeometry& geometry, bool transposed, const FeatureMap<const T, L>& source,
                  const T* weight, const T* bias, const FeatureMap<T, L>& target, bool add, const D& device) {
  constexpr bool channels_last = std::same_as<L, ChannelsLast>;
  Sweep s(geometry, channels_last, transposed, source.shape(), target.shape());
  const Index from_channels = s.source_channels / s.groups;
  const Panels<T> all{s.target_channels / s.groups, from_channels * s.taps()};
  const Index all_units = s.batch * s.vertical.units();
  Index threads = product_threads(device, all_units, target.size() * all.depth);
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
  const SweepOperands<T> operands{source.data(), packed, bias, target.data(), add, positions, targets, depths};
  parallel_parts(device, threads, s.blocks(), [&](Index thread, Index begin, Index end) {
    for (Index b = begin; b < end; ++b)
      sweep_block(s, operands, SweepBlock(s, b), tiles + thread * s.tile_size(), pixels + thread * pixel_size,
                  b == begin);
  });
}

/// sums = the parameter gradients of samples first .. end - 1: for each group weights (channel, tap, output),
/// then biases.
template <class T>
[[gnu::noinline]] void sum_weight_gradients(Sweep s, Index first, Index end, const T* x, const T* dy,
                                            const Index* positions, const Index* depths, const Index* rows,
                                            T* tile_memory, T* pixels, T* sums) {
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  const Index depth = from_channels * s.taps();
  const Index plane = s.vertical.target * s.horizontal.target;
  std::fill_n(sums + s.target_channels * depth, s.target_channels, T(0));
  x += first * s.source.sample;
  dy += first * s.target_channels * plane;
  s.batch = end - first;
  for (Index b = 0; b < s.blocks(); ++b) {
    const SweepBlock block(s, b);
    const T* const tile = read_tile(s, block, x, tile_memory, b == 0);
    const Index in_sample = (block.last - block.first) * s.horizontal.target;
    const Panels<T> panels{columns, block.count * in_sample};
    for (Index group = 0; group < s.groups; ++group) {
      const T* from = dy + block.n * s.target_channels * plane;
      if (s.channels_last) {
        from += block.first * s.horizontal.target * s.target_channels + group * columns;
        pack_rows(panels, from, s.target_channels, 0, panels.depth, pixels);
      } else {
        from += group * columns * plane + block.first * s.horizontal.target;
        for (Index n = 0; n < block.count; ++n, from += s.target_channels * plane)
          pack_columns(panels, from, plane, n * in_sample, in_sample, pixels);
      }
      gathered_product<T>({tile + group * from_channels * s.tile.channel, depths, positions}, depth, panels,
                          pixels, sums + group * depth * columns, rows, {nullptr, b > 0});
      add_columns(panels, pixels, sums + s.target_channels * depth + group * columns);
    }
  }
}

/// to (columns x rows) += the transpose of from (rows x columns), in squares that stay in cache.
template <class T>
[[gnu::noinline]] void add_transposed(const T* from, Index rows, Index columns, T* to) {
  constexpr Index N = simd::lanes<T>;
  const Index whole_rows = rows / N * N;
  const Index whole_columns = columns / N * N;
  for (Index j = 0; j < whole_columns; j += N) {
    for (Index i = 0; i < whole_rows; i += N) {
      simd::Vec<T, N> square[N];
      unroll<N>([&](auto r) __attribute__((always_inline)) {
        square[r] = simd::load<T>(from + (i + r) * columns + j);
      });
      simd::transpose<N / 2>(square);
      unroll<N>([&](auto r) __attribute__((always_inline)) {
        T* const p = to + (j + r) * rows + i;
        simd::store(p, simd::load<T>(p) + square[r]);
      });
    }
  }
  for (Index j = 0; j < columns; ++j)
    for (Index i = j < whole_columns ? whole_rows : 0; i < rows; ++i) to[j * rows + i] += from[i * columns + j];
}

/// weight_gradient += dy^T x, bias_gradient += the sum of dy.
template <class T, class L, Device D>
void weight_gradient(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x,
                     const ConvolutionBackward<T, L>& one, const D& device) {
  Sweep s(geometry, std::same_as<L, ChannelsLast>, false, x.shape(), one.dy.shape());
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  const Index depth = from_channels * s.taps();
  const Index parameters = s.target_channels * (depth + 1);
  // Samples are summed in parts, which follow from shapes alone; so the order of every sum is the same for
  // every number of threads. Threads keep the parts' sums apart, a lone thread adds each to the first at once.
  Index parts = 1;
  while (2 * parts <= std::min<Index>(s.batch, 32) && s.batch * one.dy.positions() >= 512 * parts &&
         2 * parts * parameters <= std::max<Index>(4 * parameters, Index{1} << 24))
    parts *= 2;
  const Panels<T> shape{columns, 0};
  s.cut(sizeof(T), shape.padded_columns() * static_cast<Index>(sizeof(T)),
        (s.batch + parts - 1) / parts * s.vertical.units());
  const Index threads = product_threads(device, parts, one.dy.size() * depth);
  const bool apart = threads > 1;
  const Index pixel_size = s.positions() * shape.padded_columns();
  T* const sums = workspace<WeightSums, T>((apart ? parts : std::min<Index>(parts, 2)) * parameters);
  Index* const positions = workspace<PositionOffsets, Index>(s.positions());
  Index* const depths = workspace<DepthOffsets, Index>(depth);
  Index* const rows = workspace<TargetOffsets, Index>(depth);
  T* const tiles = workspace<Tiles, T>(threads * s.tile_size());
  T* const pixels = workspace<Pixels, T>(threads * pixel_size);
  s.list_depths(from_channels, depths);
  s.list_positions(positions, nullptr, 0, 0);
  for (Index k = 0; k < depth; ++k) rows[k] = k * columns;
  const auto add_part = [&](const T* part) {
    for (Index i = 0; i < parameters; ++i) sums[i] += part[i];
  };
  parallel_parts(device, threads, parts, [&](Index thread, Index begin, Index end) {
    for (Index part = begin; part < end; ++part) {
      T* const own = sums + (apart ? part : std::min<Index>(part, 1)) * parameters;
      sum_weight_gradients(s, s.batch * part / parts, s.batch * (part + 1) / parts, x.data(), one.dy.data(),
                           positions, depths, rows, tiles + thread * s.tile_size(),
                           pixels + thread * pixel_size, own);
      if (!apart && part > 0) add_part(own);
    }
  });
  for (Index part = 1; apart && part < parts; ++part) add_part(sums + part * parameters);
  const T* from = sums;
  T* to = one.weight_gradient;
  for (Index group = 0; group < s.groups; ++group, from += depth * columns, to += depth * columns)
    add_transposed(from, depth, columns, to);
  if (one.bias_gradient == nullptr) return;
  for (Index o = 0; o < s.target_channels; ++o) one.bias_gradient[o] += from[o];
}

/// y = x * weight + bias for every convolution of the list.
template <class T, class L, Device D>
void convolve(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x,
              std::span<const ConvolutionForward<T, L>> convolutions, const D& device) {
  if (x.batch() == 0) return;
  for (const auto& one : convolutions)
    convolve_one<T, L>(geometry, false, x, one.weight, one.bias, one.y, false, device);
}

/// For every convolution of the list: weight_gradient += dy^T x, bias_gradient += sum of dy; dx, where it is
/// asked for, is overwritten with the sum of their gradients.
template <class T, class L, class DX, Device D>
void convolve_backward(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x, const DX& dx,
                       std::span<const ConvolutionBackward<T, L>> convolutions, const D& device) {
  if (x.batch() == 0) return;
  bool add = false;
  for (const auto& one : convolutions) {
    weight_gradient(geometry, x, one, device);
    if constexpr (!std::same_as<DX, NoGradient>)
      convolve_one<T, L>(geometry, true, one.dy, one.weight, nullptr, dx, std::exchange(add, true), device);
  }
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
