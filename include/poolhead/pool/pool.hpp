// What every pool has in common: the protocol, the checks and the calls.
#pragma once

#include "poolhead/core/heads.hpp"
#include "poolhead/core/parameters.hpp"

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
  using T = const typename X::Scalar;
  using L = typename X::Layout;
  return std::conditional_t<is_masked<X>, MaskedFeatureMap<T, L>, FeatureMap<T, L>>(x);
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

/// Given as dx, says that nobody needs the gradient at the input: a network's first layer then skips it. Given
/// as a pool's gradient, says that its parameters are fixed.
struct NoGradient {};
inline constexpr NoGradient no_gradient{};

namespace detail {

/// f with the lane type of positions: as wide as the accumulator's, except in planes of 2^31 positions and more
/// where P looks at them.
template <class P, class X, class F>
void with_positions(const X& x, const F& f) {
  using A = Accumulator<typename X::Scalar>;
  if constexpr (P::uses_positions)
    with_position_lanes<A>(x.positions(), f);
  else
    f(simd::IntOf<A>{});
}

/// The scalar of P's parameters; void where it has none, or any.
template <class P>
struct ParameterScalarOf {
  using type = void;
};
template <class P>
requires requires { typename P::ParameterScalar; }
struct ParameterScalarOf<P> {
  using type = typename P::ParameterScalar;
};
template <class P>
using ParameterScalar = typename ParameterScalarOf<P>::type;

/// What P's gradient is bound to: P or NoGradient. A pool without parameters has but one form.
template <class P, class G>
auto* gradient_of(const P&, G* gradient) {
  if constexpr (std::is_void_v<ParameterScalar<P>>)
    return static_cast<P*>(nullptr);
  else
    return gradient;
}

/// The scalar that the concept Pool tries P with.
template <class P>
using PoolScalar = std::conditional_t<std::is_void_v<ParameterScalar<P>>, float, ParameterScalar<P>>;

}  // namespace detail

/// A global pool: a value whose calls are const. One scalar and NCHW stand for all scalars and layouts.
template <class P, class T = detail::PoolScalar<P>>
concept Pool = std::copyable<P> &&
    requires(const P& pool, P& gradient, FeatureMap<const T, ChannelsFirst> x, FeatureMap<T, ChannelsFirst> dx,
             Rows<T> y, Rows<const T> dy, typename P::template Cache<T>& cache) {
  { pool.features(Index{1}) } -> std::same_as<Index>;
  { pool.make_cache(x) } -> std::same_as<typename P::template Cache<T>>;
  { pool(x) } -> std::same_as<Eigen::Tensor<T, 2, Eigen::RowMajor>>;
  pool.forward(x, y);
  pool.forward(x, y, cache);
  pool.backward(x, y, dy, dx, cache, gradient);
};

/// The calls of every pool. Derived says what it computes (see core/heads.hpp for what a head is):
///   static constexpr std::string_view name;
///   template <Scalar T> struct Cache : PoolCache;
///   Index features(Index channels) const;
///   auto inference<I>(x, y) const;                        // the head that fills y
///   auto training<I>(x, y, cache) const;                  // the head that fills y and the cache
///   auto gradient<I>(x, y, dy, cache, Derived*) const;    // the head that fills dx and adds to the gradient
/// where I is the lane type of positions, 32 bits wherever a float's plane allows it; and, where it has more to
/// say than the defaults below, the functions under "Defaults".
template <class Derived>
class PoolCalls {
 public:
  /// One call: allocates and returns y, (N, features). Throws as forward does.
  template <class X, Device D = Eigen::DefaultDevice>
  auto operator()(const X& x, const D& device = D{}) const {
    const auto input = checked_input(x, "::forward");
    Eigen::Tensor<typename X::Scalar, 2, Eigen::RowMajor> y(x.batch(), self().features(x.channels()));
    forward(input, y, device);
    return y;
  }

  /// A cache for feature maps of x's shape. Throws as forward does.
  template <class X>
  auto make_cache(const X& x) const {
    const auto input = checked_input(x, "::make_cache");
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

  /// Inference: fills y, (N, features), and keeps nothing. Throws ShapeError where x has no channel or no
  /// position or shapes disagree, ValueError for parameters out of their range or a mask's row without a valid
  /// position.
  template <class X, class Y, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, const D& device = D{}) const {
    const auto input = checked_input(x, "::forward");
    const auto output = self().template output<typename X::Scalar>(input, y, "::forward", "y");
    detail::with_positions<Derived>(input, [&]<class I>(I) {
      detail::run_forward(input, self().template inference<I>(input, output), device);
    });
  }

  /// Fills y and the cache. Throws as inference does, and ShapeError for a cache that was made for another
  /// shape.
  template <class X, class Y, std::derived_from<PoolCache> C, Device D = Eigen::DefaultDevice>
  void forward(const X& x, Y&& y, C& cache, const D& device = D{}) const {
    const auto input = checked_input(x, "::forward");
    const auto output = self().template output<typename X::Scalar>(input, y, "::forward", "y");
    check_cache<X, C>("::forward", input.shape(), cache);
    detail::with_positions<Derived>(input, [&]<class I>(I) {
      detail::run_forward(input, self().template training<I>(input, output, cache), device);
    });
    self().set_filled(cache);
  }

  /// Overwrites dx with the gradient at x of the loss whose gradient at y is dy, and adds to `gradient` that of
  /// the parameters. y and the cache are as forward left them. Throws as forward does, and ValueError for a
  /// cache that no forward has filled or for a dx that overlaps x; dx is then untouched. With no_gradient for
  /// dx, only the parameters' is computed.
  template <class X, class Y, class DY, class DX, std::derived_from<PoolCache> C,
            Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, Derived& gradient,
                const D& device = D{}) const {
    run_backward(x, y, dy, dx, cache, &gradient, device);
  }

  /// The same where the parameters are fixed: dx alone is computed, which is several times as fast where the
  /// gradient of a parameter takes logarithms.
  template <class X, class Y, class DY, class DX, std::derived_from<PoolCache> C,
            Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, const NoGradient& fixed,
                const D& device = D{}) const {
    run_backward(x, y, dy, dx, cache, &fixed, device);
  }

  /// The same for a pool without parameters.
  template <class X, class Y, class DY, class DX, std::derived_from<PoolCache> C,
            Device D = Eigen::DefaultDevice>
  void backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache,
                const D& device = D{}) const {
    static_assert(std::is_void_v<detail::ParameterScalar<Derived>>,
                  "poolhead: this pool has parameters: give backward a gradient from zeros_like(pool)");
    run_backward(x, y, dy, dx, cache, static_cast<Derived*>(nullptr), device);
  }

  // Defaults, which Derived may replace.

  /// Whether the lanes that count positions are used at all, and must then hold any position.
  static constexpr bool uses_positions = false;
  /// Whether feature maps may be masked.
  static constexpr bool takes_mask = true;

  /// Sizes the cache for cache.shape.
  template <class C>
  void prepare(C&) const {}
  /// Throws ValueError for parameters out of their range, ShapeError where they are not for so many channels,
  /// or the pool not for maps of this rank.
  void check_parameters(std::string_view, const FeatureShape&) const {}
  /// Both throw ValueError for a cache that somebody tampered with.
  template <class C>
  void check_size(std::string_view, const C&) const {}
  template <class C>
  void check_contents(const C&) const {}
  /// Throws where a value is no gradient of this pool: ShapeError where a parameter has another shape.
  void check_gradient(const Derived& gradient) const {
    visit_parameters_together(
        [](std::string_view parameter, const auto& own, const auto& other) {
          if (!std::ranges::equal(own.shape(), other.shape()))
            detail::fail<ShapeError>(Derived::name, "::backward: the gradient of ", parameter, " is ",
                                     other.shape(), ", expected ", own.shape());
        },
        self(), gradient);
  }
  /// Throws ValueError where the pool takes no mask, but the map has one.
  template <bool masked>
  void check_takes_mask() const {}
  /// Called by forward when the cache holds all that backward needs.
  template <class C>
  void set_filled(C& cache) const {
    cache.filled = true;
  }
  /// What inference, training and gradient see of y and dy.
  template <class T, class X, class Y>
  Rows<T> output(const X& x, Y& y, std::string_view call, std::string_view what) const {
    const auto rows = detail::as_rows<T>(y);
    detail::check_rows(Derived::name, call, what, rows, x.batch(), self().features(x.channels()));
    return rows;
  }

 private:
  const Derived& self() const { return static_cast<const Derived&>(*this); }

  template <class X>
  auto checked_input(const X& x, std::string_view call) const {
    using Own = detail::ParameterScalar<Derived>;
    const auto input = detail::as_input(x);
    static_assert(std::is_void_v<Own> || std::same_as<Own, typename X::Scalar>,
                  "poolhead: the pool's parameters must have the scalar type of the feature map");
    detail::check_input<typename X::Layout>(Derived::name, call, input.shape());
    self().check_parameters(call, input.shape());
    self().template check_takes_mask<detail::is_masked<std::remove_const_t<decltype(input)>>>();
    detail::check_mask(Derived::name, call, input);
    return input;
  }

  template <class X, class C>
  void check_cache(std::string_view call, const FeatureShape& x, const C& cache) const {
    constexpr bool own = std::same_as<C, typename Derived::template Cache<typename X::Scalar>>;
    static_assert(own,
                  "poolhead: this cache belongs to another pool or another scalar: take it from make_cache(x)");
    detail::check_cache<typename X::Layout>(Derived::name, call, cache.shape, x);
    if constexpr (own) self().check_size(call, cache);
  }

  /// G: Derived, or NoGradient where the parameters are fixed.
  template <class X, class Y, class DY, class DX, class C, class G, Device D>
  void run_backward(const X& x, const Y& y, const DY& dy, const DX& dx, const C& cache, G* gradient,
                    const D& device) const {
    using T = typename X::Scalar;
    constexpr bool wanted = !std::same_as<DX, NoGradient>;
    constexpr bool learns = std::same_as<G, Derived> && !std::is_void_v<detail::ParameterScalar<Derived>>;
    if constexpr (!wanted && !learns) {
      return;  // there is nothing to compute
    } else {
      const auto input = checked_input(x, "::backward");
      const auto output = self().template output<const T>(input, y, "::backward", "y");
      const auto output_gradient = self().template output<const T>(input, dy, "::backward", "dy");
      check_cache<X, C>("::backward", input.shape(), cache);
      detail::check_filled(Derived::name, cache.filled);
      self().check_contents(cache);
      if constexpr (learns) self().check_gradient(*gradient);
      const auto to = [&] {
        if constexpr (wanted) {
          const auto input_gradient = detail::as_input_gradient<X>(dx);
          detail::check_input_gradient(Derived::name, input, input_gradient);
          return input_gradient.data();
        } else {
          return detail::Nowhere{};
        }
      }();
      detail::with_positions<Derived>(input, [&]<class I>(I) {
        detail::run_backward<I>(input, to,
                                self().template gradient<I>(input, output, output_gradient, cache,
                                                            detail::gradient_of(self(), gradient)),
                                device);
      });
    }
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
