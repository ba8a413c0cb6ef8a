// The multi-scale feature extractor: the maps of four blocks, and the global average of each.
#pragma once

#include "poolhead/model/norm_block.hpp"
#include "poolhead/pool/global_average.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// The outputs of MultiScale, or the gradients there: the map of each block, and its global average.
template <class T, class L>
struct MultiScaleOutputs {
  using Scalar = std::remove_const_t<T>;
  std::array<FeatureMap<T, L>, 4> spatial;
  std::array<Rows<T>, 4> global;
};

/// Blocks to 64, 128, 256 and 512 channels (conv 3x3, batch-norm, ReLU, max-pool 2), each on the one before. y
/// is a MultiScaleOutputs: block i writes y.spatial[i], where block i + 1 reads it, and y.global[i] is its
/// average over positions. Input (N, in_channels, H, W) of at least 16x16. Names: conv_blocks.i.0,
/// conv_blocks.i.1.
template <std::floating_point T>
class MultiScale {
  using Block = detail::NormBlock<T>;
  struct Gradient {};

 public:
  static constexpr std::string_view name = "MultiScale";
  static constexpr bool is_composition = true;

  std::vector<Block> blocks;

  explicit MultiScale(Index in_channels = 3, std::uint64_t seed = 0) {
    for (Index channels : {64, 128, 256, 512})
      blocks.push_back(detail::norm_block<T>(std::exchange(in_channels, channels), channels));
    initialise(*this, LinearUniform{}, seed);
  }

  template <class X>
  struct Cache : detail::LayerCache<X> {
    std::vector<decltype(std::declval<const Block&>().make_cache(std::declval<const X&>()))> blocks;
    GlobalAveragePool::Cache<T> pools[4];
    Mode mode{};
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    constexpr std::string_view names[] = {"conv_blocks.0", "conv_blocks.1", "conv_blocks.2", "conv_blocks.3"};
    for (std::size_t i = 0; i < 4; ++i) f(names[i], self.blocks[i]...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    MultiScaleOutputs<T, typename X::Layout> shape;
    auto in = detail::shape_of(x);
    for (std::size_t i = 0; i < 4; ++i) {
      in = shape.spatial[i] = blocks[i].output_shape(in);
      shape.global[i] = Rows<T>(nullptr, in.batch(), in.channels());
    }
    return shape;
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    Cache<decltype(detail::shape_of(x))> cache{{detail::shape_of(x)}, {}, {}, mode};
    auto in = detail::shape_of(x);
    for (std::size_t i = 0; i < 4; ++i) {
      cache.blocks.push_back(blocks[i].make_cache(in, mode));
      in = blocks[i].output_shape(in);
      cache.pools[i] = GlobalAveragePool{}.make_cache(in);
    }
    return cache;
  }

  template <class X, class L, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const MultiScaleOutputs<T, L>& y, C& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    auto in = detail::read_only(x);
    for (std::size_t i = 0; i < 4; ++i) {
      blocks[i].forward(in, y.spatial[i], cache.blocks[i], device);
      in = y.spatial[i];
      GlobalAveragePool{}.forward(in, y.global[i], cache.pools[i], device);
    }
    cache.filled = true;
  }

  /// dy has a gradient for every output; see Layer.
  template <class X, class L, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const MultiScaleOutputs<const T, L>& y, const MultiScaleOutputs<const T, L>& dy,
                const DX& dx, const C& cache, MultiScale& gradient, const D& device = D{}) const {
    detail::check_backward(name, cache.filled, cache.mode);
    for (std::size_t i = 4; i-- > 0;) {
      detail::check_shape(name, "::backward", "dy", dy.spatial[i], y.spatial[i]);
      detail::check_shape(name, "::backward", "dy", dy.global[i], y.global[i]);
      // The gradient at this block's map: what the next block left there, and that of both outputs.
      const auto total = gradient_at(i, y);
      if (i == 3) detail::copy_to(total, dy.spatial[i], device);
      detail::each_sample(device, total, 3.0, [&](Index n, Index) {
        const double positions = static_cast<double>(total.positions());
        for (Index c = 0; c < total.channels(); ++c) {
          const T share = static_cast<T>(dy.global[i](n, c) / positions);
          for (Index s = 0; s < total.positions(); ++s)
            total(n, c, s) += share + (i == 3 ? T(0) : dy.spatial[i](n, c, s));
        }
      });
      const auto slope = detail::read_only(total);
      if (i == 0)
        blocks[0].backward(x, y.spatial[0], slope, dx, cache.blocks[0], gradient.blocks[0], device);
      else
        blocks[i].backward(y.spatial[i - 1], y.spatial[i], slope, gradient_at(i - 1, y), cache.blocks[i],
                           gradient.blocks[i], device);
    }
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    for (std::size_t i = 0; i < 4; ++i) f(self.blocks[i], cache.blocks[i]);
  }

 private:
  /// Two buffers in turn are enough.
  template <class L>
  static FeatureMap<T, L> gradient_at(std::size_t i, const MultiScaleOutputs<const T, L>& y) {
    const Index largest = std::max(y.spatial[0].size(), y.spatial[1].size());
    T* const memory = detail::workspace<Gradient, T>(2 * largest);
    return {memory + static_cast<Index>(i % 2) * largest, y.spatial[i].shape()};
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
