// Dense blocks: every layer reads what all layers before it have made.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = x, layer 1(x), layer 2(x, y1), ... side by side as channels: each layer takes all channels so far and
/// appends its own. Every channel is kept once, in y; what a layer reads is gathered again for its backward.
/// Parameters are under denselayer1, denselayer2, ... Huang et al., Densely Connected Convolutional Networks,
/// 2017; torchvision's _DenseBlock.
template <class L>
class DenseBlock {
  struct Input {};
  struct Output {};
  struct InputGradient {};
  struct BlockGradient {};

 public:
  static constexpr std::string_view name = "DenseBlock";
  static constexpr bool is_composition = true;
  static_assert(!detail::backward_reads_output<L>,
                "poolhead: layers of a dense block end in one whose backward does not read its output");

  std::vector<L> layers;

  /// Throws ValueError where there is no layer.
  explicit DenseBlock(std::vector<L> given) : layers(std::move(given)) {
    if (layers.empty()) detail::fail<ValueError>(name, ": there are no layers, expected at least one");
  }

  template <class X>
  struct Cache : detail::LayerCache<X> {
    std::vector<X> inputs, outputs;  ///< the shapes that layer i takes and makes
    std::vector<decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{}))>
        layers;
    Mode mode{};
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    const std::size_t count = std::min({self.layers.size()...});
    for (std::size_t i = 0; i < count; ++i) {
      char text[32];
      const int length = std::snprintf(text, sizeof text, "denselayer%zu", i + 1);
      f(std::string_view(text, static_cast<std::size_t>(length)), self.layers[i]...);
    }
  }

  template <class X>
  auto output_shape(const X& x) const {
    auto shape = detail::shape_of(x);
    for (const L& layer : layers)
      shape = with_channels(shape, shape.channels() + added(layer, shape).channels());
    return shape;
  }
  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    auto shape = detail::shape_of(x);
    Cache<decltype(shape)> cache{{shape}, {}, {}, {}, mode};
    for (const L& layer : layers) {
      cache.inputs.push_back(shape);
      cache.outputs.push_back(added(layer, shape));
      cache.layers.push_back(detail::make_cache(layer, shape, mode));
      shape = with_channels(shape, shape.channels() + cache.outputs.back().channels());
    }
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, x);
    detail::check_shape(name, "::forward", "y", y, output_shape(x));
    scatter(detail::read_only(x), y, 0, device);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto in = memory<Input, T>(cache.inputs[i]);
      const auto out = memory<Output, T>(cache.outputs[i]);
      gather(detail::read_only(y), in, 0, device);
      layers[i].forward(detail::read_only(in), out, cache.layers[i], device);
      scatter(detail::read_only(out), y, in.channels(), device);
    }
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, DenseBlock& gradient,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_layer_backward(name, cache, x, y, dy, dx);
    const auto total = memory<BlockGradient, T>(detail::shape_of(y));
    detail::copy_to(total, dy, device);
    for (std::size_t i = layers.size(); i-- > 0;) {
      const auto in = memory<Input, T>(cache.inputs[i]);
      const auto in_gradient = memory<InputGradient, T>(cache.inputs[i]);
      const auto out_gradient = memory<Output, T>(cache.outputs[i]);
      gather(detail::read_only(y), in, 0, device);
      gather(detail::read_only(total), out_gradient, in.channels(), device);
      layers[i].backward(detail::read_only(in), detail::read_only(out_gradient),
                         detail::read_only(out_gradient), in_gradient, cache.layers[i], gradient.layers[i],
                         device);
      each_run(in_gradient, total, 0, device, [](T* from, T* to, Index count) {
        for (Index k = 0; k < count; ++k) to[k] += from[k];
      });
    }
    if constexpr (!std::same_as<DX, NoGradient>) gather(detail::read_only(total), dx, 0, device);
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    for (std::size_t i = 0; i < self.layers.size(); ++i) f(self.layers[i], cache.layers[i]);
  }

 private:
  template <class Purpose, class T, class X>
  static auto memory(const X& shape) {
    return detail::with_data(shape, detail::workspace<std::pair<DenseBlock, Purpose>, T>(shape.size()));
  }
  template <class X>
  static X with_channels(const X& x, Index channels) {
    FeatureShape shape = x.shape();
    shape.channels = channels;
    return {nullptr, shape};
  }
  /// The shape of what a layer appends.
  template <class X>
  static X added(const L& layer, const X& x) {
    const X own = layer.output_shape(x);
    detail::check_shape(name, "::output_shape", "a layer's output", own, with_channels(x, own.channels()));
    return own;
  }

  /// f(narrow's elements, wide's, count) for every run that narrow's channels are in wide, from `first` on.
  template <class Narrow, class Wide, class D, class F>
  static void each_run(const Narrow& narrow, const Wide& wide, Index first, const D& device, const F& f) {
    detail::each_sample(device, narrow, 2.0, [&](Index n, Index count) {
      if constexpr (std::same_as<typename Wide::Layout, ChannelsFirst>) {
        f(narrow.sample(n), wide.sample(n) + first * wide.positions(), count);
      } else {
        for (Index s = 0; s < wide.positions(); ++s)
          f(narrow.sample(n) + s * narrow.channels(), wide.sample(n) + s * wide.channels() + first,
            narrow.channels());
      }
    });
  }
  template <class Wide, class Narrow, class D>
  static void gather(const Wide& wide, const Narrow& narrow, Index first, const D& device) {
    each_run(narrow, wide, first, device,
             [](auto* to, const auto* from, Index count) { std::copy_n(from, count, to); });
  }
  template <class Narrow, class Wide, class D>
  static void scatter(const Narrow& narrow, const Wide& wide, Index first, const D& device) {
    each_run(narrow, wide, first, device,
             [](const auto* from, auto* to, Index count) { std::copy_n(from, count, to); });
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
