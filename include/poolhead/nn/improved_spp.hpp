// Spatial pyramid pooling with a dense layer for each level.
#pragma once

#include "poolhead/nn/dense.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/sequential.hpp"
#include "poolhead/pool/spatial_pyramid.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// For every level l: average bins l x l, flattened (C l^2), dense to floor(out_features / levels), ReLU; the
/// levels side by side. Parameters: level_projections.i.0.weight and .bias. He et al., 2014, with projections.
template <std::floating_point T>
class ImprovedSpp {
 public:
  static constexpr std::string_view name = "ImprovedSpp";
  static constexpr bool is_composition = true;

  SpatialPyramidPool pool;
  std::vector<Sequential<Dense<T>, ReLU>> level_projections;

  /// Throws ValueError for sizes below 1, or fewer features than levels.
  explicit ImprovedSpp(Index channels, Index out_features = 256, std::vector<Index> levels = {1, 2, 4},
                       std::uint64_t seed = 0)
      : pool(std::move(levels)) {
    const auto count = static_cast<Index>(pool.levels.size());
    if (channels < 1 || out_features < count)
      detail::fail<ValueError>(name, ": channels and out_features are ", channels, " and ", out_features,
                               ", expected at least 1 channel and ", count, " features, one for each level");
    for (const Index level : pool.levels)
      level_projections.push_back(
          sequential(Dense<T>(channels * level * level, out_features / count, seed++), ReLU{}));
  }

  template <class X>
  struct Cache : detail::LayerCache<X> {
    using Pooled = Rows<T>;
    typename SpatialPyramidPool::template Cache<T> pool;
    std::vector<decltype(std::declval<const Sequential<Dense<T>, ReLU>&>().make_cache(Pooled{}))> levels{};
    Pooled pooled_shape{};
    Mode mode{};
    detail::Buffer<T> pooled{};
    mutable detail::Buffer<T> slopes{};  ///< there
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    const std::size_t count = std::min({self.level_projections.size()...});
    for (std::size_t i = 0; i < count; ++i) {
      char text[48];
      const int length = std::snprintf(text, sizeof text, "level_projections.%zu", i);
      f(std::string_view(text, static_cast<std::size_t>(length)), self.level_projections[i]...);
    }
  }

  template <class X>
  Rows<T> output_shape(const X& x) const {
    return {nullptr, x.batch(), static_cast<Index>(level_projections.size()) * width()};
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    const auto shape = detail::shape_of(x);
    Cache<std::remove_const_t<decltype(shape)>> cache{{shape}, pool.make_cache(shape)};
    cache.mode = mode;
    cache.pooled_shape = pool.output_shape(shape);
    each_level(shape, [&](std::size_t i, Index first, Index count) {
      cache.levels.push_back(level_projections[i].make_cache(cache.pooled_shape.columns(first, count), mode));
    });
    cache.pooled.reserve(cache.pooled_shape.size());
    if (mode.backward) cache.slopes.reserve(cache.pooled_shape.size());
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, output_shape(x));
    const Rows<T> pooled = detail::with_data(cache.pooled_shape, cache.pooled.data());
    pool.forward(x, pooled, cache.pool, device);
    each_level(x, [&](std::size_t i, Index first, Index count) {
      level_projections[i].forward(pooled.columns(first, count), column(y, i), cache.levels[i], device);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, ImprovedSpp& gradient,
                const D& device = D{}) const {
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const Rows<const T> pooled = detail::with_data(cache.pooled_shape, cache.pooled.data());
    const Rows<T> slopes = detail::with_data(cache.pooled_shape, cache.slopes.data());
    each_level(x, [&](std::size_t i, Index first, Index count) {
      level_projections[i].backward(pooled.columns(first, count), column(y, i), column(dy, i),
                                    slopes.columns(first, count), cache.levels[i],
                                    gradient.level_projections[i], device);
    });
    if constexpr (!std::same_as<DX, NoGradient>) pool.backward(x, pooled, slopes, dx, cache.pool, device);
  }

 private:
  /// Features of a level.
  Index width() const { return std::get<0>(level_projections.front().parts).out_features(); }
  template <class Y>
  Y column(const Y& y, std::size_t i) const {
    return y.columns(static_cast<Index>(i) * width(), width());
  }
  /// f(i, first column of the pooled rows, columns).
  template <class X, class F>
  void each_level(const X& x, const F& f) const {
    Index first = 0;
    for (std::size_t i = 0; i < level_projections.size(); ++i) {
      const Index count = x.channels() * pool.levels[i] * pool.levels[i];
      f(i, first, count);
      first += count;
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
