// Layers of one type one after another, as many as the run decides.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = layer k(... layer 1(layer 0(x))) for at least one layer; all have one type, and feature maps go in and
/// out. Parameters are named by the layer's index. What Sequential is to a tuple, Repeat is to a vector: a deep
/// network is compiled once for all of its blocks.
template <class L>
class Repeat {
 public:
  static constexpr std::string_view name = "Repeat";
  static constexpr bool is_composition = true;
  static constexpr bool backward_reads_output = detail::backward_reads_output<L>;

  std::vector<L> layers;

  /// Throws ValueError where there is no layer.
  explicit Repeat(std::vector<L> given) : layers(std::move(given)) {
    if (layers.empty()) detail::fail<ValueError>(name, ": there are no layers, expected at least one");
  }

  template <class X>
  struct Cache {
    std::vector<X> views;  ///< element i is the shape of layer i's input, the last that of y
    std::vector<decltype(detail::make_cache(std::declval<const L&>(), std::declval<const X&>(), Mode{}))>
        layers;
    Mode mode{};
    detail::Intermediates<detail::Outputs, typename X::Scalar> activations{};
    detail::Intermediates<detail::Gradients, typename X::Scalar> gradients{};
    bool filled = false;
  };

  template <class F, class... Self>
  static void visit_parts(const F& f, Self&... self) {
    const std::size_t count = std::min({self.layers.size()...});
    for (std::size_t i = 0; i < count; ++i) f(detail::PartName<void>(i), self.layers[i]...);
  }

  template <class X>
  auto output_shape(const X& x) const {
    auto shape = layers.front().output_shape(detail::shape_of(x));
    for (std::size_t i = 1; i < layers.size(); ++i) shape = layers[i].output_shape(shape);
    return shape;
  }

  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    using Shape = decltype(detail::shape_of(x));
    Cache<Shape> cache{{detail::shape_of(x)}, {}, mode};
    for (const L& layer : layers) {
      cache.layers.push_back(detail::make_cache(layer, cache.views.back(), detail::inside(mode)));
      cache.views.push_back(layer.output_shape(cache.views.back()));
    }
    for (std::size_t i = 1; i < layers.size(); ++i) {
      cache.activations.place(cache.views[i].size());
      cache.gradients.place(mode.backward ? cache.views[i].size() : 0);
    }
    cache.activations.allocate(mode.backward, mode.depth);
    cache.gradients.allocate(mode.keeps_gradients, mode.depth);
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, const Y& y, C& cache, const D& device = D{}) const {
    check(cache, x, y, "::forward");
    auto in = detail::read_only(x);
    for (std::size_t i = 0; i < layers.size(); ++i) {
      const auto out = output_of(i, y, cache);
      layers[i].forward(in, out, cache.layers[i], device);
      in = out;
    }
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Repeat& gradient,
                const D& device = D{}) const {
    check(cache, x, y, "::backward");
    detail::check_shape(name, "::backward", "dy", dy, y);
    detail::check_backward(name, cache.filled, cache.mode);
    auto slope = detail::read_only(dy);
    for (std::size_t i = layers.size() - 1; i > 0; --i) {
      const auto to = gradient_of(i - 1, cache);
      layers[i].backward(output_of(i - 1, y, cache), output_of(i, y, cache), slope, to, cache.layers[i],
                         gradient.layers[i], device);
      slope = to;
    }
    layers[0].backward(detail::read_only(x), output_of(0, y, cache), slope, dx, cache.layers[0],
                       gradient.layers[0], device);
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    for (std::size_t i = 0; i < self.layers.size(); ++i) f(self.layers[i], cache.layers[i]);
  }
  template <class Y, class C, class F>
  void visit_part_outputs(const Y& y, const C& cache, const F& f) const {
    detail::check_kept(name, "outputs", cache.mode.backward, "backward");
    for (std::size_t i = 0; i < layers.size(); ++i)
      f(detail::PartName<void>(i), layers[i], output_of(i, y, cache), cache.layers[i]);
  }
  template <class DY, class C, class F>
  void visit_part_gradients(const DY& dy, const C& cache, const F& f) const {
    detail::check_kept(name, "gradients", cache.mode.keeps_gradients, "keeps_gradients");
    for (std::size_t i = 0; i + 1 < layers.size(); ++i)
      f(detail::PartName<void>(i), layers[i], detail::read_only(gradient_of(i, cache)), cache.layers[i]);
    f(detail::PartName<void>(layers.size() - 1), layers.back(), detail::read_only(dy), cache.layers.back());
  }

 private:
  template <class Y, class C>
  Y output_of(std::size_t i, const Y& y, const C& cache) const {
    if (i + 1 == layers.size()) return y;
    return detail::with_data(cache.views[i + 1], cache.activations[static_cast<Index>(i)]);
  }
  template <class C>
  auto gradient_of(std::size_t i, const C& cache) const {
    return detail::with_data(cache.views[i + 1], cache.gradients[static_cast<Index>(i)]);
  }
  template <class C, class X, class Y>
  void check(const C& cache, const X& x, const Y& y, std::string_view call) const {
    detail::check_shape(name, call, "the shape of the cache", cache.views.front(), x);
    detail::check_shape(name, call, "y", y, cache.views.back());
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
