// Pools over bins of adaptive grids, which the spatial pyramid and the adaptive pools are.
#pragma once

#include "poolhead/pool/bin_check.hpp"
#include "poolhead/pool/bin_gradient.hpp"
#include "poolhead/pool/bin_reduction.hpp"
#include "poolhead/pool/global_max.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// What the spatial pyramid and the adaptive pools share; Derived has grids() and is_max().
template <class Derived>
class BinPool : public PoolCalls<Derived> {
 public:
  static constexpr bool takes_mask = false;
  template <Scalar T>
  struct Cache : ArgmaxCache {};  // argmax is empty where the bins are averaged

  Index features(Index channels) const { return channels * grids().bins(); }

  // The protocol of PoolCalls.
  void check_parameters(std::string_view call, const FeatureShape& shape) const {
    grids().check(Derived::name, call, shape);
  }
  template <Scalar T>
  void prepare(Cache<T>& cache) const {
    if (is_max()) cache.argmax.resize(cache.shape.batch, features(cache.shape.channels));
  }
  template <Scalar T>
  void check_size(std::string_view call, const Cache<T>& cache) const {
    if (is_max()) cache.ArgmaxCache::check_size(Derived::name, call, features(cache.shape.channels));
  }
  template <Scalar T>
  void check_contents(const Cache<T>& cache) const {
    if (is_max()) check_bin_argmax(Derived::name, grids(), cache);
  }
  template <class, class X, class Y>
  auto inference(const X& x, const Y& y) const {
    return bind(x, y, Rows<Index>{});
  }
  template <class, class X, class Y, Scalar T>
  auto training(const X& x, const Y& y, Cache<T>& cache) const {
    return bind(x, y, is_max() ? cache.rows() : Rows<Index>{});
  }
  template <class I, class X, class Y, Scalar T>
  auto gradient(const X& x, const Y&, const Y& dy, const Cache<T>& cache, Derived*) const {
    // Many channels share what it takes to know which bins cover a position.
    const bool many = std::same_as<typename X::Layout, ChannelsLast> && x.channels() >= 256;
    const Index most_searched = many ? 3 * few_positions : few_positions;
    return detail::BinGradient<T, Y>{{grids(), x.shape()}, is_max(),     x.shape(), dy,
                                     cache.rows(),         most_searched};
  }

 private:
  Grids grids() const { return static_cast<const Derived&>(*this).grids(); }
  bool is_max() const { return static_cast<const Derived&>(*this).is_max(); }

  template <class X, class Y>
  auto bind(const X& x, const Y& y, const Rows<Index>& argmax) const {
    static_assert(!is_masked<X>, "poolhead: pools of bins take no mask: a bin may have no valid position");
    return BinHead<X, Y>{{{grids(), x.shape()}, y, argmax, x.channels()}, is_max()};
  }
};

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
