// The protocol of layers, which pools follow too, and what compositions need to know about a layer.
#pragma once

#include "poolhead/nn/mode.hpp"
#include "poolhead/pool/pool.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// A layer: a value whose members are its parameters and whose calls are const. x, y, dy and dx are views
/// (FeatureMap or Rows); output_shape(x) is the type and shape of y, a view without data.
///   make_cache(x), where it matters make_cache(x, mode)     memory for x's shape (see nn/mode.hpp)
///   forward(x, y, cache, device)                           fills y and the cache
///   backward(x, y, dy, dx, cache, gradient, device)        overwrites dx, adds to gradient
template <class L, class X = FeatureMap<const float, ChannelsLast>>
concept Layer = std::copyable<L> && requires(const L& layer, X x) {
  layer.make_cache(x);
} && requires(const L& layer, L& gradient, X x, decltype(layer.output_shape(x)) y,
              decltype(layer.make_cache(x))& cache) {
  layer.forward(x, y, cache);
  layer.backward(x, y, y, no_gradient, cache, gradient);
};

/// 2-d extents in (height, width); one number stands for both.
struct Extent2d {
  Index height;
  Index width;

  constexpr Extent2d(Index both) : height(both), width(both) {}
  constexpr Extent2d(Index h, Index w) : height(h), width(w) {}
  bool operator==(const Extent2d&) const = default;
};

namespace detail {

/// Whether a layer may write its output over its input (both then stay what backward expects).
template <class L>
inline constexpr bool works_in_place = requires {
  requires L::works_in_place;
};

/// Whether backward of a layer reads the y that its forward wrote; if not, the next layer may overwrite it.
template <class L>
inline constexpr bool backward_reads_output = !requires {
  requires !L::backward_reads_output;
};

/// The shape of one view over other memory.
template <class T, class L, class U>
FeatureMap<U, L> with_data(const FeatureMap<T, L>& shape, U* data) {
  return {data, shape.shape()};
}
template <class T, class U>
Rows<U> with_data(const Rows<T>& shape, U* data) {
  return {data, shape.batch(), shape.features()};
}

/// The view's type and shape, without its data and free of const.
template <class T, class L>
FeatureMap<std::remove_const_t<T>, L> shape_of(const FeatureMap<T, L>& x) {
  return {nullptr, x.shape()};
}
template <class T>
Rows<std::remove_const_t<T>> shape_of(const Rows<T>& x) {
  return {nullptr, x.batch(), x.features()};
}

/// Sample n of a feature map, row n of rows.
template <class T, class L>
T* sample(const FeatureMap<T, L>& x, Index n) {
  return x.sample(n);
}
template <class T>
T* sample(const Rows<T>& x, Index n) {
  return x.row(n);
}

/// View of const.
template <class T, class L>
FeatureMap<const T, L> read_only(const FeatureMap<T, L>& view) {
  return {view.data(), view.shape()};
}
template <class T>
Rows<const T> read_only(const Rows<T>& view) {
  return {view.data(), view.batch(), view.features(), view.stride()};
}

/// A feature map or rows, whatever the caller gave; every argument of a layer goes through here.
template <class T, class View>
auto as_view(View& view) {
  if constexpr (is_feature_map<std::remove_const_t<View>>)
    return view;
  else
    return as_rows<T>(view);
}

/// Extents as messages print them.
template <class T, class L>
TensorExtents<L> extents(const FeatureMap<T, L>& x) {
  return TensorExtents<L>(x.shape());
}
template <class T>
std::string extents(const Rows<T>& x) {
  return message("[", x.batch(), ", ", x.features(), "]");
}
template <class T, class U, class L>
bool same_shape(const FeatureMap<T, L>& a, const FeatureMap<U, L>& b) {
  return a.shape() == b.shape();
}
template <class T, class U>
bool same_shape(const Rows<T>& a, const Rows<U>& b) {
  return a.batch() == b.batch() && a.features() == b.features();
}

/// Throws ShapeError where got has not the shape of expected.
template <class Got, class Expected>
void check_shape(std::string_view type, std::string_view call, std::string_view what, const Got& got,
                 const Expected& expected) {
  if (!same_shape(got, expected)) {
    fail<ShapeError>(type, call, ": ", what, " is ", extents(got), ", expected ", extents(expected));
  }
}

/// What the caches of layers begin with: the shape they were made for, and whether forward has filled them.
template <class X>
struct LayerCache {
  X shape;
  bool filled = false;
};

/// f(n, elements) for every sample of x; `streams` times its memory is touched.
template <Device D, class X, class F>
void each_sample(const D& device, const X& x, double streams, const F& f) {
  if (x.batch() == 0) return;
  const Index count = x.size() / x.batch();
  const double bytes = streams * static_cast<double>(count) * static_cast<double>(sizeof(*x.data()));
  parallel_for(device, x.batch(), bytes, [&](Index begin, Index end) {
    for (Index n = begin; n < end; ++n) f(n, count);
  });
}

/// to += from, of one shape.
template <class To, class From, Device D>
void add_to(const To& to, const From& from, const D& device) {
  each_sample(device, to, 3.0, [&](Index n, Index count) {
    auto* const sum = sample(to, n);
    const auto* const term = sample(from, n);
    for (Index i = 0; i < count; ++i) sum[i] += term[i];
  });
}

/// to = from, of one shape.
template <class To, class From, Device D>
void copy_to(const To& to, const From& from, const D& device) {
  each_sample(device, to, 2.0,
              [&](Index n, Index count) { std::copy_n(sample(from, n), count, sample(to, n)); });
}

/// Throws ValueError where forward has left nothing for backward.
inline void check_backward(std::string_view type, bool filled, const Mode& mode) {
  check_filled(type, filled);
  if (!mode.backward) {
    fail<ValueError>(type, "::backward: the cache was made for inference, expected one that backward may use");
  }
}

/// Throws ValueError where a walk asks for what the cache has not kept.
inline void check_kept(std::string_view type, std::string_view what, bool kept, std::string_view flag) {
  if (!kept) fail<ValueError>(type, ": the cache keeps no ", what, ", expected one made with Mode::", flag);
}

/// The checks of every layer's backward.
template <class C, class X, class Y, class DY, class DX>
void check_layer_backward(std::string_view type, const C& cache, const X& x, const Y& y, const DY& dy,
                          const DX& dx) {
  check_shape(type, "::backward", "the shape of the cache", cache.shape, x);
  check_filled(type, cache.filled);
  check_shape(type, "::backward", "dy", dy, y);
  if constexpr (!std::same_as<DX, NoGradient>) check_shape(type, "::backward", "dx", dx, x);
}

}  // namespace detail
}  // namespace poolhead::inline POOLHEAD_ISA
