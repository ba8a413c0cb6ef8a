// Helpers for tests of layers and networks: owning maps in either layout, and one forward or backward as a
// function.
#pragma once

#include <poolhead/nn/layer.hpp>

#include <vector>

#include "support/data.hpp"

namespace poolhead::test {

/// Elements (n, c, h, w) of noise, stored in the layout of L.
template <class T, class L>
struct Image {
  FeatureShape shape;
  std::vector<T> values;

  Image(Index n, Index c, Index h, Index w, std::uint64_t seed = 0)
      : values(static_cast<std::size_t>(n * c * h * w)) {
    shape.batch = n;
    shape.channels = c;
    shape.spatial = {1, h, w};
    const auto value = noise(seed);
    for (Index i = 0; i < n; ++i)
      for (Index j = 0; j < c; ++j)
        for (Index s = 0; s < h * w; ++s) view()(i, j, s) = static_cast<T>(value(i, j, s));
  }
  FeatureMap<T, L> view() { return {values.data(), shape}; }
  FeatureMap<const T, L> view() const { return {values.data(), shape}; }
};

/// A view's elements in logical order, (n, c, s) or (n, feature).
template <class T, class L>
std::vector<double> logical(const FeatureMap<T, L>& view) {
  std::vector<double> out;
  for (Index n = 0; n < view.batch(); ++n)
    for (Index c = 0; c < view.channels(); ++c)
      for (Index s = 0; s < view.positions(); ++s) out.push_back(static_cast<double>(view(n, c, s)));
  return out;
}
template <class T>
std::vector<double> logical(const Rows<T>& rows) {
  std::vector<double> out;
  for (Index n = 0; n < rows.batch(); ++n)
    for (Index f = 0; f < rows.features(); ++f) out.push_back(static_cast<double>(rows(n, f)));
  return out;
}

/// A layer, its cache, y, dy, dx and gradient for one input.
template <class Layer, class X>
struct Run {
  using T = typename X::Scalar;
  using Shape = decltype(std::declval<const Layer&>().output_shape(std::declval<const X&>()));

  Layer layer;
  X x;
  decltype(std::declval<const Layer&>().make_cache(std::declval<const X&>())) cache;
  std::vector<T> y_values, dy_values, dx_values;
  Layer gradient;

  Run(const Layer& given, const X& input)
      : layer(given),
        x(input),
        cache(given.make_cache(input)),
        y_values(static_cast<std::size_t>(given.output_shape(input).size()),
                 std::numeric_limits<T>::quiet_NaN()),
        dy_values(y_values.size(), T(0)),
        dx_values(static_cast<std::size_t>(input.size()), std::numeric_limits<T>::quiet_NaN()),
        gradient(zeros_like(given)) {}

  auto y() { return detail::with_data(layer.output_shape(x), y_values.data()); }
  auto dy() { return detail::with_data(layer.output_shape(x), dy_values.data()); }
  auto dx() { return detail::with_data(detail::shape_of(x), dx_values.data()); }

  template <class... Device>
  void forward(const Device&... device) {
    layer.forward(x, y(), cache, device...);
  }
  /// A backward of noise at y.
  template <class... Device>
  void backward(const Device&... device) {
    for (std::size_t i = 0; i < dy_values.size(); ++i)
      dy_values[i] = static_cast<T>(noise(77)(0, 0, static_cast<Index>(i)));
    layer.backward(x, y(), dy(), dx(), cache, gradient, device...);
  }
};

/// All parameters of a value, one after another.
template <class Value>
std::vector<double> all_parameters(const Value& value) {
  std::vector<double> out;
  visit_parameters(value,
                   [&](std::string_view, auto values) { out.insert(out.end(), values.begin(), values.end()); });
  return out;
}

/// Whether forward and backward give the bits of one thread on this many. The unit defines EIGEN_USE_THREADS.
template <class Layer, class X>
bool same_bits_on_threads(const Layer& layer, const X& x, int count) {
  Run serial(layer, x), threaded(layer, x);
  serial.forward();
  serial.backward();
  Eigen::ThreadPool pool(count);
  const Eigen::ThreadPoolDevice device(&pool, count);
  threaded.forward(device);
  threaded.backward(device);
  return threaded.y_values == serial.y_values && threaded.dx_values == serial.dx_values &&
         all_parameters(threaded.gradient) == all_parameters(serial.gradient);
}

}  // namespace poolhead::test
