// Layers one after another.
#pragma once

#include "poolhead/nn/named.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = part k(... part 1(part 0(x))); parts are layers, pools and compositions. Parameters are named by the
/// part's index, as in torch.nn.Sequential, or by its own name (named<"fc">(...)).
///
/// The cache keeps every intermediate once, or, for inference, two of them in turn; a layer that works in place
/// (ReLU) shares its input's memory.
template <class... Parts>
class Sequential : public detail::Composition<Parts...> {
  static constexpr std::size_t size = sizeof...(Parts);
  using Tuple = std::tuple<Parts...>;
  template <std::size_t I>
  using Part = std::tuple_element_t<I, Tuple>;

 public:
  static constexpr std::string_view name = "Sequential";
  static constexpr bool backward_reads_output = detail::backward_reads_output<Part<size - 1>>;

  using detail::Composition<Parts...>::Composition;
  using detail::Composition<Parts...>::parts;

 private:
  /// The views that go in and out of the parts: element I is x of part I, the last one y, all without data. x
  /// is the last of the views so far. (Joining tuples instead takes long to compile.)
  template <std::size_t I, class X, class... Views>
  auto chain(const X& x, const Views&... views) const {
    if constexpr (I == size) {
      return std::tuple<Views...>(views...);
    } else {
      const auto y = std::get<I>(parts).output_shape(x);
      return chain<I + 1>(y, views..., y);
    }
  }
  template <class X>
  auto chain_of(const X& x) const {
    const auto in = detail::shape_of(detail::as_view<const typename X::Scalar>(x));
    return chain<0>(in, in);
  }

  /// Whether part I overwrites its own input, the output of part I - 1.
  template <std::size_t I>
  static constexpr bool overwrites() {
    if constexpr (I == 0 || I >= size)
      return false;
    else
      return detail::works_in_place<Part<I>> && !detail::backward_reads_output<Part<I - 1>>;
  }
  /// Whether the output of part I is y itself: it is the last, or all that follow work in place.
  template <std::size_t I>
  static constexpr bool is_output() {
    if constexpr (I + 1 == size)
      return true;
    else
      return overwrites<I + 1>() && is_output<I + 1>();
  }

  template <class Views>
  struct CacheOf;
  template <class... Views>
  struct CacheOf<std::tuple<Views...>> {
    using T = typename std::tuple_element_t<0, std::tuple<Views...>>::Scalar;
    template <std::size_t... I>
    static auto part_caches(std::index_sequence<I...>)
        -> std::tuple<decltype(detail::make_cache(std::declval<const Part<I>&>(),
                                                  std::declval<std::tuple_element_t<I, std::tuple<Views...>>>(),
                                                  Mode{}))...>;

    std::tuple<Views...> views;
    decltype(part_caches(std::make_index_sequence<size>{})) parts;
    Mode mode{};
    std::array<Index, size> output_places{};  // of parts 0 .. size - 2
    std::array<Index, size> gradient_places{};
    detail::Intermediates<detail::Outputs, T> activations{};
    detail::Intermediates<detail::Gradients, T> gradients{};
    bool filled = false;
  };

 public:
  template <class X>
  auto output_shape(const X& x) const {
    return std::get<size>(chain_of(x));
  }

  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    const auto views = chain_of(x);
    auto caches = [&]<std::size_t... I>(std::index_sequence<I...>) {
      return std::tuple{detail::make_cache(std::get<I>(parts), std::get<I>(views), detail::inside(mode))...};
    }
    (std::make_index_sequence<size>{});
    CacheOf<std::remove_const_t<decltype(views)>> cache{views, std::move(caches), mode};
    detail::each_index<Tuple>([&](auto i) {
      if constexpr (i + 1 < size) {
        const Index elements = std::get<i + 1>(views).size();
        if constexpr (!is_output<i>() && !overwrites<i>())
          cache.output_places[i] = cache.activations.place(elements);
        else if constexpr (i > 0)
          cache.output_places[i] = cache.output_places[i - 1];
        cache.gradient_places[i] = cache.gradients.place(mode.backward ? elements : 0);
      }
    });
    cache.activations.allocate(mode.backward, mode.depth);
    cache.gradients.allocate(mode.keeps_gradients, mode.depth);
    return cache;
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, C& cache, const D& device = D{}) const {
    const auto in = detail::read_only(detail::as_view<const typename X::Scalar>(x));
    const auto out = detail::as_view<typename X::Scalar>(y);
    check(cache, in, out, "::forward");
    forward_from<0>(in, out, cache, device);
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Sequential& gradient,
                const D& device = D{}) const {
    const auto in = detail::read_only(detail::as_view<const typename X::Scalar>(x));
    const auto out = detail::read_only(detail::as_view<const typename X::Scalar>(y));
    const auto out_gradient = detail::read_only(detail::as_view<const typename X::Scalar>(dy));
    check(cache, in, out, "::backward");
    detail::check_shape(name, "::backward", "dy", out_gradient, out);
    detail::check_backward(name, cache.filled, cache.mode);
    if constexpr (!std::same_as<DX, NoGradient>) {
      detail::check_shape(name, "::backward", "dx", dx, in);
      if constexpr (requires { std::get<0>(parts).check_gives_dx(); }) std::get<0>(parts).check_gives_dx();
    }
    backward_to<0, size - 1>(in, out, out_gradient, dx, cache, gradient, device);
  }

  /// The output of part I: y itself, or its place in the cache.
  template <std::size_t I, class Y, class C>
  auto output_of(const Y& y, C& cache) const {
    if constexpr (is_output<I>())
      return y;
    else
      return detail::with_data(std::get<I + 1>(cache.views), cache.activations[cache.output_places[I]]);
  }
  template <std::size_t I, class X, class Y, class C, Device D>
  void forward_from(const X& x, const Y& y, C& cache, const D& device) const {
    const auto out = output_of<I>(y, cache);
    std::get<I>(parts).forward(x, out, std::get<I>(cache.parts), device);
    if constexpr (I + 1 < size)
      forward_from<I + 1>(detail::read_only(out), y, cache, device);
    else
      cache.filled = true;
  }
  /// Runs backward from part I down to part Last; returns nothing, dx being Last's.
  template <std::size_t Last, std::size_t I, class X, class Y, class DY, class DX, class C, class G, Device D>
  void backward_to(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, G& gradient,
                   const D& device) const {
    const auto out = detail::read_only(output_of<I>(y, cache));
    auto& part_gradient = std::get<I>(gradient.parts);
    if constexpr (I == Last) {
      std::get<I>(parts).backward(x, out, dy, dx, std::get<I>(cache.parts), part_gradient, device);
    } else {
      const auto in = output_of<I - 1>(y, cache);
      const auto in_gradient = gradient_of<I - 1>(cache);
      std::get<I>(parts).backward(detail::read_only(in), out, dy, in_gradient, std::get<I>(cache.parts),
                                  part_gradient, device);
      backward_to<Last, I - 1>(x, y, detail::read_only(in_gradient), dx, cache, gradient, device);
    }
  }
  /// Where the gradient of part I's output stands during backward: two buffers in turn are enough.
  template <std::size_t I, class C>
  auto gradient_of(const C& cache) const {
    return detail::with_data(std::get<I + 1>(cache.views), cache.gradients[cache.gradient_places[I]]);
  }

  // For walks (see nn/walk.hpp).

  /// f(part, its cache).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    detail::each_index<Tuple>([&](auto i) { f(std::get<i>(self.parts), std::get<i>(cache.parts)); });
  }
  /// f(name, part, its output, its cache).
  template <class Y, class C, class F>
  void visit_part_outputs(const Y& y, const C& cache, const F& f) const {
    detail::check_kept(name, "outputs", cache.mode.backward, "backward");
    detail::each_index<Tuple>([&](auto i) {
      f(detail::PartName<Part<i>>(i), std::get<i>(parts), detail::read_only(output_of<i>(y, cache)),
        std::get<i>(cache.parts));
    });
  }
  template <class DY, class C, class F>
  void visit_part_gradients(const DY& dy, const C& cache, const F& f) const {
    detail::check_kept(name, "gradients", cache.mode.keeps_gradients, "keeps_gradients");
    detail::each_index<Tuple>([&](auto i) {
      const auto& part = std::get<i>(parts);
      if constexpr (i + 1 == size)
        f(detail::PartName<Part<i>>(i), part, detail::read_only(dy), std::get<i>(cache.parts));
      else
        f(detail::PartName<Part<i>>(i), part, detail::read_only(gradient_of<i>(cache)),
          std::get<i>(cache.parts));
    });
  }

 private:
  template <class C, class X, class Y>
  void check(const C& cache, const X& x, const Y& y, std::string_view call) const {
    detail::check_shape(name, call, "the shape of the cache", std::get<0>(cache.views), x);
    detail::check_shape(name, call, "y", y, std::get<size>(cache.views));
  }
};

/// sequential(Conv2d<float>(3, 32, 3), ReLU{}, MaxPool2d(2), ...).
template <class... Parts>
Sequential<Parts...> sequential(Parts... parts) {
  return Sequential<Parts...>(std::move(parts)...);
}

}  // namespace poolhead::inline POOLHEAD_ISA
