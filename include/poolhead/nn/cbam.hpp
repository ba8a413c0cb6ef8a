// The convolutional block attention module.
#pragma once

#include "poolhead/nn/conv2d.hpp"
#include "poolhead/nn/squeeze_excitation.hpp"
#include "poolhead/pool/concat.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = sigmoid(body(GAP(x)) + body(GMP(x))), rows (N, C): what CBAM scales channels by. The body sees both
/// pools as a batch of 2 N rows, so its weights are shared by construction.
template <class Body>
class PooledGate {
 public:
  static constexpr std::string_view name = "PooledGate";
  static constexpr bool is_composition = true;

  Body body;
  ConcatPool<GlobalAveragePool, GlobalMaxPool> pools{GlobalAveragePool{}, GlobalMaxPool{}};

  template <class X>
  struct Cache : detail::LayerCache<X> {
    using T = typename X::Scalar;
    decltype(std::declval<const ConcatPool<GlobalAveragePool, GlobalMaxPool>&>().make_cache(
        std::declval<const X&>())) pools;
    decltype(detail::make_cache(std::declval<const Body&>(), Rows<T>{}, Mode{})) body;
    Mode mode{};
    detail::Buffer<T> rows{};            ///< 2 N rows for the body, then what it made of them
    mutable detail::Buffer<T> slopes{};  ///< there
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    f(detail::wrapped_name<Body>(), self.body...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    return Rows<typename X::Scalar>(nullptr, x.batch(), x.channels());
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    using T = typename X::Scalar;
    const auto shape = detail::shape_of(x);
    const Rows<T> rows(nullptr, 2 * x.batch(), x.channels());
    Cache<std::remove_const_t<decltype(shape)>> cache{
        {shape}, pools.make_cache(shape), detail::make_cache(body, rows, mode), mode};
    cache.rows.reserve(2 * rows.size());
    if (mode.backward) cache.slopes.reserve(2 * rows.size());
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_rows(name, "::forward", "y", y, x.batch(), x.channels());
    const auto pooled = rows(x, cache.rows.data());
    const auto made = rows(x, cache.rows.data() + pooled.size());
    pools.forward(x, pairs(pooled), cache.pools, device);
    body.forward(Rows<const T>(pooled), made, cache.body, device);
    for (Index n = 0; n < x.batch(); ++n)
      for (Index c = 0; c < x.channels(); ++c) y(n, c) = detail::logistic(made(2 * n, c) + made(2 * n + 1, c));
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, PooledGate& gradient,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const Rows<const T> pooled = rows(x, cache.rows.data());
    const Rows<const T> made = rows(x, cache.rows.data() + pooled.size());
    const Rows<T> pooled_slopes = rows(x, cache.slopes.data());
    const Rows<T> made_slopes = rows(x, cache.slopes.data() + pooled.size());
    for (Index n = 0; n < x.batch(); ++n)
      for (Index c = 0; c < x.channels(); ++c)
        made_slopes(2 * n, c) = made_slopes(2 * n + 1, c) = dy(n, c) * y(n, c) * (1 - y(n, c));
    body.backward(pooled, made, Rows<const T>(made_slopes), pooled_slopes, cache.body, gradient.body, device);
    if constexpr (!std::same_as<DX, NoGradient>)
      pools.backward(x, pairs(pooled), pairs(pooled_slopes), dx, cache.pools, device);
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    f(self.body, cache.body);
  }

 private:
  /// 2 N rows: those of sample n are 2 n, its averages, and 2 n + 1, its maxima.
  template <class X, class T>
  static Rows<T> rows(const X& x, T* data) {
    return {data, 2 * x.batch(), x.channels()};
  }
  /// The same memory as the pools write it: N rows of averages and maxima.
  template <class T>
  static Rows<T> pairs(const Rows<T>& rows) {
    return {rows.data(), rows.batch() / 2, 2 * rows.features()};
  }
};

/// y (N, 2, H, W): mean and maximum over the channels at every position. The first of equal maxima gets the
/// gradient; a NaN is the maximum.
class ChannelStatistics {
 public:
  static constexpr std::string_view name = "ChannelStatistics";
  static constexpr bool backward_reads_output = false;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    std::vector<std::int32_t> argmax;  ///< a channel for each sample and position
  };

  template <class X>
  auto output_shape(const X& x) const {
    detail::check_input<typename X::Layout>(name, "::output_shape", x.shape());
    FeatureShape shape = x.shape();
    shape.channels = 2;
    return FeatureMap<typename X::Scalar, typename X::Layout>(nullptr, shape);
  }
  template <class X>
  auto make_cache(const X& x) const {
    Cache<decltype(detail::shape_of(x))> cache{{detail::shape_of(x)}, {}};
    cache.argmax.resize(static_cast<std::size_t>(x.batch() * x.positions()));
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, output_shape(x));
    std::int32_t* const argmax = cache.argmax.data();
    detail::each_sample(device, x, 1.0, [&](Index n, Index) {
      for (Index s = 0; s < x.positions(); ++s) {
        double sum = 0.0;
        Index place = 0;
        T best = x(n, 0, s);
        for (Index c = 0; c < x.channels(); ++c) {
          const T value = x(n, c, s);
          sum += value;
          if (!(value <= best) && best == best) best = value, place = c;
        }
        y(n, 0, s) = static_cast<T>(sum / static_cast<double>(x.channels()));
        y(n, 1, s) = best;
        argmax[n * x.positions() + s] = static_cast<std::int32_t>(place);
      }
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache,
                ChannelStatistics& /*gradient*/, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::each_sample(device, x, 1.0, [&](Index n, Index) {
        for (Index s = 0; s < x.positions(); ++s) {
          const T share = static_cast<T>(dy(n, 0, s) / static_cast<double>(x.channels()));
          for (Index c = 0; c < x.channels(); ++c) dx(n, c, s) = share;
          dx(n, cache.argmax[static_cast<std::size_t>(n * x.positions() + s)], s) += dy(n, 1, s);
        }
      });
    }
  }
};

/// Channels first, scaled by sigmoid(fc(GAP) + fc(GMP)) with one fc for both (dense C / reduction, ReLU, dense
/// C, without bias: channel_attention.fc.0/.2); then positions, scaled by sigmoid(conv 7x7 of mean and maximum
/// over channels), without bias: spatial_attention.conv. Woo et al., CBAM, 2018.
template <std::floating_point T>
auto cbam(Index channels, Index reduction = 16, std::uint64_t seed = 0) {
  const Index hidden = detail::reduced("cbam", channels, reduction);
  auto fc = named<"fc">(sequential(Dense<T>(channels, hidden, {.bias = false}), ReLU{},
                                   Dense<T>(hidden, channels, {.bias = false})));
  auto block = sequential(
      named<"channel_attention">(scale(PooledGate<decltype(fc)>{fc})),
      named<"spatial_attention">(scale(sequential(
          ChannelStatistics{}, named<"conv">(Conv2d<T>(2, 1, 7, {.padding = 3, .bias = false})), Sigmoid{}))));
  initialise(block, LinearUniform{}, seed);
  return block;
}

}  // namespace poolhead::inline POOLHEAD_ISA
