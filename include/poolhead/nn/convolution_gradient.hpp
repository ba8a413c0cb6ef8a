// The gradient of a convolution for its weights and biases, as gathered products.
#pragma once

#include "poolhead/nn/convolve.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

struct WeightSums {};  // memory of the calling thread

/// sums = the parameter gradients of samples first .. end - 1: for each group weights (channel, tap, output),
/// then biases. Of the (channel, tap) only those of one slice of `slices`, the first of which has the biases.
template <class T>
[[gnu::noinline]] void sum_weight_gradients(Sweep s, Index first, Index end, Index slice, Index slices,
                                            const T* x, const T* dy, const Index* positions,
                                            const Index* depths, const Index* rows, T* tile_memory, T* pixels,
                                            T* sums) {
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  const Index depth = from_channels * s.taps();
  const Index plane = s.vertical.target * s.horizontal.target;
  const Index begin = depth * slice / slices;
  const Index count = depth * (slice + 1) / slices - begin;
  if (slice == 0) std::fill_n(sums + s.target_channels * depth, s.target_channels, T(0));
  x += first * s.source.sample;
  dy += first * s.target_channels * plane;
  s.batch = end - first;
  for (Index b = 0; b < s.blocks(); ++b) {
    const SweepBlock block(s, b);
    const T* const tile = read_tile(s, block, x, tile_memory);
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
      gathered_product<T>({tile + group * from_channels * s.tile.channel, depths + begin, positions}, count,
                          panels, pixels, sums + group * depth * columns, rows + begin, {nullptr, b > 0});
      if (slice == 0) add_columns(panels, pixels, sums + s.target_channels * depth + group * columns);
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
      simd::transpose(square);
      unroll<N>([&](auto r) __attribute__((always_inline)) {
        T* const p = to + (j + r) * rows + i;
        simd::store(p, simd::load<T>(p) + square[r]);
      });
    }
  }
  for (Index j = 0; j < columns; ++j)
    for (Index i = j < whole_columns ? whole_rows : 0; i < rows; ++i) to[j * rows + i] += from[i * columns + j];
}

/// gradient += dy^T x, bias_gradient (may be null) += the sum of dy.
template <class T, class L, Device D>
void add_weight_gradient(const ConvolutionGeometry& geometry, const FeatureMap<const T, L>& x,
                         const FeatureMap<const T, L>& dy, T* gradient, T* bias_gradient, const D& device) {
  Sweep s(geometry, std::same_as<L, ChannelsLast>, false, x.shape(), dy.shape());
  const Index from_channels = s.source_channels / s.groups;
  const Index columns = s.target_channels / s.groups;
  const Index depth = from_channels * s.taps();
  const Index parameters = s.target_channels * (depth + 1);
  // Samples are summed in parts, which follow from shapes alone; so the order of every sum is the same for
  // every number of threads. Threads keep the parts' sums apart, a lone thread adds each to the first at once.
  Index parts = 1;
  while (2 * parts <= std::min<Index>(s.batch, 32) && s.batch * dy.positions() >= 512 * parts &&
         2 * parts * parameters <= std::max<Index>(4 * parameters, Index{1} << 24))
    parts *= 2;
  const Panels<T> shape{columns, 0};
  s.cut(sizeof(T), shape.padded_columns() * static_cast<Index>(sizeof(T)),
        (s.batch + parts - 1) / parts * s.vertical.units());
  // Few parts are shared by threads, each of which computes a slice of the gradient.
  const Index most_slices = (depth + 31) / 32;
  const double bytes = product_bytes(dy.size() * depth);
  const Index wanted =
      thread_count(device, parts * most_slices, bytes / static_cast<double>(parts * most_slices));
  const Index slices = std::min((wanted + parts - 1) / parts, most_slices);
  const Index threads = std::min(wanted, parts * slices);
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
  parallel_parts(device, threads, parts * slices, bytes, [&](Index thread, Index begin, Index end) {
    for (Index item = begin; item < end; ++item) {
      const Index part = item / slices;
      T* const own = sums + (apart ? part : std::min<Index>(part, 1)) * parameters;
      sum_weight_gradients(s, s.batch * part / parts, s.batch * (part + 1) / parts, item % slices, slices,
                           x.data(), dy.data(), positions, depths, rows, tiles + thread * s.tile_size(),
                           pixels + thread * pixel_size, own);
      if (!apart && part > 0) add_part(own);
    }
  });
  for (Index part = 1; apart && part < parts; ++part) add_part(sums + part * parameters);
  const T* from = sums;
  T* to = gradient;
  for (Index group = 0; group < s.groups; ++group, from += depth * columns, to += depth * columns)
    add_transposed(from, depth, columns, to);
  if (bias_gradient == nullptr) return;
  for (Index o = 0; o < s.target_channels; ++o) bias_gradient[o] += from[o];
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
