// Branches on one input, joined.
#pragma once

#include "poolhead/nn/conv2d.hpp"
#include "poolhead/nn/sequential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

// The convolution that a branch begins with, however deep in sequences it stands, and the branch around it:
// where its output and its output's gradient are, and what runs after it (forward) and before it (backward).
// Overloads rather than specialisations, because named parts derive from the layers they name.
template <class T>
std::true_type begins_with_convolution(const Conv2d<T>*);
template <class First, class... Rest>
auto begins_with_convolution(const Sequential<First, Rest...>*)
    -> decltype(begins_with_convolution(static_cast<const First*>(nullptr)));
std::false_type begins_with_convolution(...);

template <class T>
auto& leading_convolution(Conv2d<T>& convolution) {
  return convolution;
}
template <class T>
auto& leading_convolution(const Conv2d<T>& convolution) {
  return convolution;
}
template <class... Parts>
auto& leading_convolution(Sequential<Parts...>& branch) {
  return leading_convolution(std::get<0>(branch.parts));
}
template <class... Parts>
auto& leading_convolution(const Sequential<Parts...>& branch) {
  return leading_convolution(std::get<0>(branch.parts));
}

template <class T, class C>
auto& leading_cache(const Conv2d<T>&, C& cache) {
  return cache;
}
template <class... Parts, class C>
auto& leading_cache(const Sequential<Parts...>& branch, C& cache) {
  return leading_cache(std::get<0>(branch.parts), std::get<0>(cache.parts));
}

template <class T, class Y, class C>
auto leading_output(const Conv2d<T>&, const Y& y, C&) {
  return y;
}
template <class... Parts, class Y, class C>
auto leading_output(const Sequential<Parts...>& branch, const Y& y, C& cache) {
  return leading_output(std::get<0>(branch.parts), branch.template output_of<0>(y, cache),
                        std::get<0>(cache.parts));
}

template <class T, class Y, class C, Device D>
void forward_after_leading(const Conv2d<T>&, const Y&, C& cache, const D&) {
  cache.filled = true;
}
template <class... Parts, class Y, class C, Device D>
void forward_after_leading(const Sequential<Parts...>& branch, const Y& y, C& cache, const D& device) {
  const auto first = branch.template output_of<0>(y, cache);
  forward_after_leading(std::get<0>(branch.parts), first, std::get<0>(cache.parts), device);
  if constexpr (sizeof...(Parts) > 1)
    branch.template forward_from<1>(read_only(first), y, cache, device);
  else
    cache.filled = true;
}

/// Returns the gradient at the leading convolution's output.
template <class T, class Y, class DY, class C, Device D>
auto backward_before_leading(const Conv2d<T>&, const Y&, const DY& dy, const C&, Conv2d<T>&, const D&) {
  return dy;
}
template <class... Parts, class Y, class DY, class C, Device D>
auto backward_before_leading(const Sequential<Parts...>& branch, const Y& y, const DY& dy, const C& cache,
                             Sequential<Parts...>& gradient, const D& device) {
  constexpr std::size_t last = sizeof...(Parts) - 1;
  const auto& first = std::get<0>(branch.parts);
  auto& first_gradient = std::get<0>(gradient.parts);
  const auto first_output = read_only(branch.template output_of<0>(y, cache));
  if constexpr (last == 0) {
    return backward_before_leading(first, first_output, dy, std::get<0>(cache.parts), first_gradient, device);
  } else {
    const auto at_first = branch.template gradient_of<0>(cache);
    branch.template backward_to<1, last>(first_output, y, dy, at_first, cache, gradient, device);
    return backward_before_leading(first, first_output, read_only(at_first), std::get<0>(cache.parts),
                                   first_gradient, device);
  }
}

}  // namespace detail

/// y = the branches' rows side by side; every branch reads x and writes its own columns of y, so nothing is
/// copied to be joined. dx = the sum of the branches' gradients. Parameters are named as in Sequential.
///
/// Branches that all begin with convolutions of one geometry run these together, and add up dx as they go.
template <class... Branches>
class Concat : public detail::Composition<Branches...> {
  static constexpr std::size_t size = sizeof...(Branches);
  using Tuple = std::tuple<Branches...>;
  static constexpr bool all_begin_with_convolutions =
      (decltype(detail::begins_with_convolution(static_cast<const Branches*>(nullptr)))::value && ...);

 public:
  static constexpr std::string_view name = "Concat";
  static constexpr bool backward_reads_output = (detail::backward_reads_output<Branches> || ...);

  using detail::Composition<Branches...>::Composition;
  using detail::Composition<Branches...>::parts;

  template <class X>
  struct Cache : detail::LayerCache<X> {
    template <class Branch>
    using CacheOf =
        decltype(detail::make_cache(std::declval<const Branch&>(), std::declval<const X&>(), Mode{}));

    std::tuple<CacheOf<Branches>...> branches;
    std::array<Index, size + 1> first{};  ///< first column of each branch in y, and the end
    Mode mode{};
  };

  template <class X>
  auto output_shape(const X& x) const {
    return Rows<typename X::Scalar>(nullptr, x.batch(), first_columns(x)[size]);
  }

  template <class X>
  auto make_cache(const X& x, const Mode& mode = Mode::training) const {
    using Shape = decltype(detail::shape_of(x));
    const Shape shape = detail::shape_of(x);
    Mode branch_mode = mode;  // branches that begin together have their first outputs at the same time
    branch_mode.owns_memory = true;
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return Cache<Shape>{
          {shape}, {detail::make_cache(std::get<I>(parts), shape, branch_mode)...}, first_columns(x), mode};
    }
    (std::make_index_sequence<size>{});
  }

  template <class X, class Y, class C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, C& cache, const D& device = D{}) const {
    using T = typename X::Scalar;
    const auto in = detail::read_only(x);
    const auto out = detail::as_rows<T>(y);
    detail::check_shape(name, "::forward", "the shape of the cache", cache.shape, in);
    detail::check_rows(name, "::forward", "y", out, x.batch(), cache.first[size]);
    if constexpr (all_begin_with_convolutions) {
      if (same_geometry()) {
        const auto convolutions = [&]<std::size_t... I>(std::index_sequence<I...>) {
          return std::array{detail::leading_convolution(std::get<I>(parts))
                                .forward_part(detail::leading_output(std::get<I>(parts), columns<I>(out, cache),
                                                                     std::get<I>(cache.branches)))...};
        }
        (std::make_index_sequence<size>{});
        detail::each_index<Tuple>([&](auto i) {
          const auto& branch = std::get<i>(parts);
          auto& branch_cache = std::get<i>(cache.branches);
          detail::leading_convolution(branch).check_forward(
              in, detail::leading_output(branch, columns<i>(out, cache), branch_cache),
              detail::leading_cache(branch, branch_cache));
        });
        detail::convolve<T, typename X::Layout>(geometry(), in, convolutions, device);
        detail::each_index<Tuple>([&](auto i) {
          detail::forward_after_leading(std::get<i>(parts), columns<i>(out, cache), std::get<i>(cache.branches),
                                        device);
        });
        cache.filled = true;
        return;
      }
    }
    detail::each_index<Tuple>([&](auto i) {
      std::get<i>(parts).forward(in, columns<i>(out, cache), std::get<i>(cache.branches), device);
    });
    cache.filled = true;
  }

  template <class X, class Y, class DY, class DX, class C, Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Concat& gradient,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    const auto in = detail::read_only(x);
    const auto out = detail::as_rows<const T>(y);
    const auto out_gradient = detail::as_rows<const T>(dy);
    detail::check_shape(name, "::backward", "the shape of the cache", cache.shape, in);
    detail::check_backward(name, cache.filled, cache.mode);
    detail::check_rows(name, "::backward", "y", out, x.batch(), cache.first[size]);
    detail::check_rows(name, "::backward", "dy", out_gradient, x.batch(), cache.first[size]);
    if constexpr (!std::same_as<DX, NoGradient>) detail::check_shape(name, "::backward", "dx", dx, in);
    if constexpr (all_begin_with_convolutions) {
      if (same_geometry()) {
        const auto convolutions = [&]<std::size_t... I>(std::index_sequence<I...>) {
          return std::array{detail::leading_convolution(std::get<I>(parts))
                                .template backward_part<typename X::Layout>(
                                    detail::backward_before_leading(std::get<I>(parts), columns<I>(out, cache),
                                                                    columns<I>(out_gradient, cache),
                                                                    std::get<I>(cache.branches),
                                                                    std::get<I>(gradient.parts), device),
                                    detail::leading_convolution(std::get<I>(gradient.parts)))...};
        }
        (std::make_index_sequence<size>{});
        detail::convolve_backward<T, typename X::Layout>(geometry(), in, dx, convolutions, device);
        return;
      }
    }
    detail::each_index<Tuple>([&](auto i) {
      const auto branch_backward = [&](const auto& branch_dx) {
        std::get<i>(parts).backward(in, columns<i>(out, cache), columns<i>(out_gradient, cache), branch_dx,
                                    std::get<i>(cache.branches), std::get<i>(gradient.parts), device);
      };
      if constexpr (std::same_as<DX, NoGradient> || i == 0) {
        branch_backward(dx);
      } else {
        const auto own = detail::with_data(cache.shape, detail::workspace<Concat, T>(x.size()));
        branch_backward(own);
        detail::add_to(dx, detail::read_only(own), device);
      }
    });
  }

  // For walks (see nn/walk.hpp).
  template <class Self, class C, class F>
  static void visit_caches(Self& self, C& cache, const F& f) {
    detail::each_index<Tuple>([&](auto i) { f(std::get<i>(self.parts), std::get<i>(cache.branches)); });
  }
  template <class Y, class C, class F>
  void visit_part_outputs(const Y& y, const C& cache, const F& f) const {
    detail::each_index<Tuple>([&](auto i) {
      f(detail::PartName<std::tuple_element_t<i, Tuple>>(i), std::get<i>(parts),
        detail::read_only(columns<i>(y, cache)), std::get<i>(cache.branches));
    });
  }
  template <class DY, class C, class F>
  void visit_part_gradients(const DY& dy, const C& cache, const F& f) const {
    visit_part_outputs(dy, cache, f);
  }

 private:
  template <class X>
  std::array<Index, size + 1> first_columns(const X& x) const {
    std::array<Index, size + 1> first{};
    detail::each_index<Tuple>([&](auto i) {
      const auto shape = std::get<i>(parts).output_shape(detail::shape_of(x));
      static_assert(
          detail::is_rows<std::remove_const_t<decltype(shape)>>,
          "poolhead: concat joins branches that end in rows: close each with a pool or a dense layer");
      first[i + 1] = first[i] + shape.features();
    });
    return first;
  }

  template <std::size_t I, class T, class C>
  static Rows<T> columns(const Rows<T>& rows, const C& cache) {
    return rows.columns(cache.first[I], cache.first[I + 1] - cache.first[I]);
  }

  const detail::ConvolutionGeometry& geometry() const {
    return detail::leading_convolution(std::get<0>(parts)).geometry();
  }
  bool same_geometry() const {
    return std::apply(
        [&](const auto&... branch) {
          return ((detail::leading_convolution(branch).geometry() == geometry()) && ...);
        },
        parts);
  }
};

/// Joins branches that end in rows: concat(sequential(conv, ReLU{}, GlobalMaxPool{}), sequential(...), ...). Of
/// pools alone, concat makes the fused ConcatPool.
template <class... Branches>
requires(sizeof...(Branches) > 0 && !(Pool<Branches> && ...)) Concat<Branches...> concat(Branches... branches) {
  return Concat<Branches...>(std::move(branches)...);
}

}  // namespace poolhead::inline POOLHEAD_ISA
