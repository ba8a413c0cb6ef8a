// Branches on one input, joined.
#pragma once

#include "poolhead/nn/sequential.hpp"

namespace poolhead::inline POOLHEAD_ISA {
/// y = the branches' rows side by side; every branch reads x and writes its own columns of y, so nothing is
/// copied to be joined. dx = the sum of the branches' gradients. Parameters are named as in Sequential.
template <class... Branches>
class Concat : public detail::Composition<Branches...> {
  static constexpr std::size_t size = sizeof...(Branches);
  using Tuple = std::tuple<Branches...>;

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
    return [&]<std::size_t... I>(std::index_sequence<I...>) {
      return Cache<Shape>{
          {shape}, {detail::make_cache(std::get<I>(parts), shape, mode)...}, first_columns(x), mode};
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
};

/// Joins branches that end in rows: concat(sequential(conv, ReLU{}, GlobalMaxPool{}), sequential(...), ...). Of
/// pools alone, concat makes the fused ConcatPool.
template <class... Branches>
requires(sizeof...(Branches) > 0 && !(Pool<Branches> && ...)) Concat<Branches...> concat(Branches... branches) {
  return Concat<Branches...>(std::move(branches)...);
}

}  // namespace poolhead::inline POOLHEAD_ISA
