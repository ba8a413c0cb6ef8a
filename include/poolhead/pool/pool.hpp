// What every pool has in common: the protocol, the checks, and the calls of pools that are one reduction.
#pragma once

#include "poolhead/core/parameters.hpp"
#include "poolhead/core/rows.hpp"
#include "poolhead/core/spread.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// What forward leaves for backward begins with this stamp; the caller owns it and reuses it from call to call.
struct PoolCache {
  FeatureShape shape;   ///< the shape it was made for
  bool filled = false;  ///< set by forward
};

namespace detail {

template <class L>
void check_input(std::string_view type, std::string_view call, const FeatureShape& x) {
  if (x.channels == 0 || x.positions() == 0) {
    fail<ShapeError>(type, call, ": x is ", TensorExtents<L>(x),
                     ", expected at least one channel and one position");
  }
}

template <class T>
void check_rows(std::string_view type, std::string_view call, std::string_view what, const Rows<T>& rows,
                Index batch, Index features) {
  if (rows.batch() != batch || rows.features() != features) {
    fail<ShapeError>(type, call, ": ", what, " is [", rows.batch(), ", ", rows.features(), "], expected [",
                     batch, ", ", features, "]");
  }
}

template <class L>
void check_cache(std::string_view type, std::string_view call, const FeatureShape& made_for,
                 const FeatureShape& x) {
  if (made_for != x) {
    fail<ShapeError>(type, call, ": the cache was made for ", TensorExtents<L>(made_for), ", expected ",
                     TensorExtents<L>(x));
  }
}

inline void check_filled(std::string_view type, bool filled) {
  if (!filled) fail<ValueError>(type, "::backward: the cache is empty, expected one that forward has filled");
}

/// dx has x's shape, and shares no memory with it.
template <class T, class L>
void check_input_gradient(std::string_view type, const FeatureMap<const T, L>& x, const FeatureMap<T, L>& dx) {
  if (dx.shape() != x.shape()) {
    fail<ShapeError>(type, "::backward: dx is ", TensorExtents<L>(dx.shape()), ", expected ",
                     TensorExtents<L>(x.shape()));
  }
  const std::less<const T*> before;
  const T* const written = dx.data();
  if (x.size() > 0 && before(written, x.data() + x.size()) && before(x.data(), written + x.size())) {
    fail<ValueError>(type, "::backward: dx overlaps x, expected memory of its own");
  }
}

/// The const view of x, after the compile-time checks that every call shares.
template <class X>
auto as_input(const X& x) {
  static_assert(is_feature_map<X>,
                "poolhead: name the memory layout at the call: nchw(x), nhwc(x), channels_first(x) or "
                "channels_last(x)");
  return FeatureMap<const typename X::Scalar, typename X::Layout>(x);
}

template <class X, class DX>
auto as_input_gradient(const DX& dx) {
  static_assert(is_feature_map<DX>,
                "poolhead: name the memory layout at the call: nchw(x), nhwc(x), channels_first(x) or "
                "channels_last(x)");
  static_assert(std::same_as<typename X::Layout, typename DX::Layout>,
                "poolhead: dx must have the memory layout of x");
  static_assert(std::same_as<typename X::Scalar, typename DX::Scalar>,
                "poolhead: dx must have the scalar type of x");
  static_assert(std::is_convertible_v<decltype(dx.data()), typename X::Scalar*>,
                "poolhead: dx is written to, but it is a view of const");
  return FeatureMap<typename X::Scalar, typename X::Layout>(dx.data(), dx.shape());
}

}  // namespace detail

/// Given as dx, says that nobody needs the gradient at the input: a network's first layer then skips it.
struct NoGradient {};
inline constexpr NoGradient no_gradient{};

/// A global pool: a value whose calls are const. float and NCHW stand for all scalars and layouts.
template <class P>
concept Pool = std::copyable<P> &&
    requires(const P& pool, P& gradient, FeatureMap<const float, ChannelsFirst> x,
             FeatureMap<float, ChannelsFirst> dx, Rows<float> y, Rows<const float> dy,
             typename P::template Cache<float>& cache) {
  { pool.features(Index{1}) } -> std::same_as<Index>;
  { pool.make_cache(x) } -> std::same_as<typename P::template Cache<float>>;
  { pool(x) } -> std::same_as<Eigen::Tensor<float, 2, Eigen::RowMajor>>;
  pool.forward(x, y);
  pool.forward(x, y, cache);
  pool.backward(x, y, dy, dx, cache, gradient);
};

/// The calls of a pool that is one reduction and one gradient (see core/reduce.hpp and core/spread.hpp).
/// Derived has
///   static constexpr std::string_view name;
///   template <Scalar T> struct Cache : PoolCache;
///   Index features(Index channels) const;
///   void prepare(Cache<T>&) const;                        // sizes the cache for cache.shape
///   auto inference<I>(x, y) const;                        // the reduction that fills y
///   auto reduction<I>(x, y, cache) const;                 // the reduction that fills y and the cache
///   auto gradient<I>(x, y, dy, cache) const;              // the gradient that fills dx
///   void check_size(call, const Cache<T>&) const;         // both throw ValueError for a cache
///   void check_contents(const Cache<T>&) const;           // that somebody tampered with
/// where I is the lane type of positions: 32 bits wherever a float's plane allows it.
template <class Derived>
class ReductionPool {
 public:
  /// One call: allocates and returns y, (N, features). Throws ShapeError when x has no channel or no position.
  template <class X, Device D = Eigen::DefaultDevice>
  auto operator()(const X& x, const D& device = D{}) const {
    const auto input = detail::as_input(x);
    Eigen::Tensor<typename X::Scalar, 2, Eigen::RowMajor> y(x.batch(), self().features(x.channels()));
    forward(input, y, device);
    return y;
  }

  /// A cache for feature maps of x's shape. Throws ShapeError when x has no channel or no position.
  template <class X>
  auto make_cache(const X& x) const {
    const auto input = detail::as_input(x);
    detail::check_input<typename X::Layout>(Derived::name, "::make_cache", input.shape());
    typename Derived::template Cache<typename X::Scalar> cache;
    cache.shape = input.shape();
    self().prepare(cache);
    return cache;
  }

  /// The shape of y for x, as rows without data.
  template <class X>
  Rows<typename X::Scalar> output_shape(const X& x) const {
    return {nullptr, x.batch(), self().features(x.channels())};
  }

  /// Inference: fills y, (N, features), and keeps nothing. Throws ShapeError where shapes disagree.
  template <class X, class Y, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, const D& device = D{}) const {
    const auto input = detail::as_input(x);
    const auto rows = checked_forward(input, y);
    with_positions(
        input, [&]<class I>(I) { detail::reduce(input, self().template inference<I>(input, rows), device); });
  }

  /// Fills y and the cache. Throws ShapeError where shapes disagree or the cache was made for another shape.
  template <class X, class Y, std::derived_from<PoolCache> C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, C& cache, const D& device = D{}) const {
    const auto input = detail::as_input(x);
    const auto rows = checked_forward(input, y);
    check_cache<X, C>("::forward", input.shape(), cache);
    with_positions(input, [&]<class I>(I) {
      detail::reduce(input, self().template reduction<I>(input, rows, cache), device);
    });
    self().set_filled(cache);
  }

  /// Overwrites dx with the gradient at x of the loss whose gradient at y is dy. y and the cache are as forward
  /// left them. Throws ShapeError where shapes disagree, ValueError for a cache that no forward has filled or
  /// for a dx that overlaps x; dx is then untouched.
  template <class X, class Y, class DY, class DX, std::derived_from<PoolCache> C,
            Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache,
                const D& device = D{}) const {
    using T = typename X::Scalar;
    const auto input = detail::as_input(x);
    const auto output = detail::as_input_gradient<X>(dx);
    const auto rows = detail::as_rows<const T>(y);
    const auto row_gradients = detail::as_rows<const T>(dy);
    const Index features = self().features(input.channels());
    detail::check_input<typename X::Layout>(Derived::name, "::backward", input.shape());
    detail::check_rows(Derived::name, "::backward", "y", rows, input.batch(), features);
    detail::check_rows(Derived::name, "::backward", "dy", row_gradients, input.batch(), features);
    detail::check_input_gradient(Derived::name, input, output);
    check_cache<X, C>("::backward", input.shape(), cache);
    detail::check_filled(Derived::name, cache.filled);
    self().check_contents(cache);
    with_positions(input, [&]<class I>(I) {
      const auto gradient = self().template gradient<I>(input, rows, row_gradients, cache);
      detail::spread(input, output.data(), gradient, device);
    });
  }

  /// The same; there are no parameters, so the gradient value stays as it is.
  template <class X, class Y, class DY, class DX, std::derived_from<PoolCache> C,
            Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Derived& /*gradient*/,
                const D& device = D{}) const {
    backward(x, y, dy, dx, cache, device);
  }

  /// The same for a network's first layer: nobody needs dx, and there is nothing else to compute.
  template <class X, class Y, class DY, std::derived_from<PoolCache> C, Device D = Eigen::DefaultDevice>
  void backward(const X&, const Y&, const DY&, const NoGradient&, const C&, Derived&, const D& = D{}) const {}

  /// Called by forward when the cache holds all that backward needs.
  template <class C>
  void set_filled(C& cache) const {
    cache.filled = true;
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  template <class X, class C>
  void check_cache(std::string_view call, const FeatureShape& x, const C& cache) const {
    constexpr bool own = std::same_as<C, typename Derived::template Cache<typename X::Scalar>>;
    static_assert(own,
                  "poolhead: this cache belongs to another pool or another scalar: take it from make_cache(x)");
    detail::check_cache<typename X::Layout>(Derived::name, call, cache.shape, x);
    if constexpr (own) self().check_size(call, cache);
  }

  template <class X, class Y>
  auto checked_forward(const X& x, Y& y) const {
    const auto rows = detail::as_rows<typename X::Scalar>(y);
    detail::check_input<typename X::Layout>(Derived::name, "::forward", x.shape());
    detail::check_rows(Derived::name, "::forward", "y", rows, x.batch(), self().features(x.channels()));
    return rows;
  }

  // Positions take lanes as wide as the accumulator's, except in planes of 2^31 positions and more. (Padding
  // may count some vectors beyond the end.)
  template <class X, class F>
  static void with_positions(const X& x, const F& f) {
    using Narrow = simd::IntOf<Accumulator<typename X::Scalar>>;
    if (x.positions() < std::numeric_limits<Narrow>::max() - 1024)
      f(Narrow{});
    else
      f(std::int64_t{});
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
