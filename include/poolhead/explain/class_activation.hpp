// Class activation maps: where a network looked when it scored a class.
#pragma once

#include "poolhead/core/view.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace poolhead::inline POOLHEAD_ISA {

/// One map for each sample, (N, height, width).
using HeatMaps = Eigen::Tensor<double, 3, Eigen::RowMajor>;

// a (N, K, H, W) are the activations of a layer, g of the same shape the gradient of the class's score there
// (see Mode::keeps_gradients for how a network leaves it). Maps are of the layer's size; normalise() and
// resize_maps() make pictures of them.

namespace detail {

template <class A, class G>
void check_gradient(std::string_view call, const A& a, const G& g) {
  if (!(a.shape() == g.shape())) {
    fail<ShapeError>(call, ": the gradient is ", TensorExtents<typename G::Layout>(g.shape()), ", expected ",
                     TensorExtents<typename A::Layout>(a.shape()), ", the shape of the activations");
  }
}

/// relu(sum over k of weight(n, k, s) a[n, k, s]), or without relu.
template <class A, class Weight>
HeatMaps weighted_sum(const A& a, const Weight& weight, bool rectified) {
  HeatMaps maps(a.batch(), a.height(), a.width());
  for (Index n = 0; n < a.batch(); ++n) {
    for (Index s = 0; s < a.positions(); ++s) {
      double sum = 0.0;
      for (Index k = 0; k < a.channels(); ++k) sum += weight(n, k, s) * static_cast<double>(a(n, k, s));
      maps.data()[n * a.positions() + s] = rectified ? std::max(sum, 0.0) : sum;
    }
  }
  return maps;
}

/// relu(sum over k of w[n, k] a[n, k, s]) with w[n, k] = term(n, k).
template <class A, class Term>
HeatMaps channel_weighted_sum(const A& a, const Term& term) {
  Eigen::Tensor<double, 2, Eigen::RowMajor> weights(a.batch(), a.channels());
  for (Index n = 0; n < a.batch(); ++n) {
    for (Index k = 0; k < a.channels(); ++k) weights(n, k) = term(n, k);
  }
  return weighted_sum(
      a, [&](Index n, Index k, Index) { return weights(n, k); }, true);
}

}  // namespace detail

/// CAM, M[n](s) = sum over k of w[k] a[n, k, s]: w is the class's row of the dense layer that follows global
/// average pooling, so that the mean of M is the score (but for the bias). Negative values speak against the
/// class. Throws ShapeError where w has not one weight per channel. Zhou et al., Learning Deep Features for
/// Discriminative Localization, 2016.
template <class T, class L, class W>
HeatMaps class_activation_map(const FeatureMap<T, L>& a, std::span<W> w) {
  if (static_cast<Index>(w.size()) != a.channels()) {
    detail::fail<ShapeError>("class_activation_map: ", w.size(), " weights, expected ", a.channels(),
                             ", one per channel");
  }
  return detail::weighted_sum(
      a, [&](Index, Index k, Index) { return static_cast<double>(w[static_cast<std::size_t>(k)]); }, false);
}

/// Grad-CAM, M = relu(sum over k of w[k] a[k]) with w[k] = mean over s of g[k, s].
/// Selvaraju et al., Grad-CAM, 2017.
template <class T, class L, class U>
HeatMaps grad_cam(const FeatureMap<T, L>& a, const FeatureMap<U, L>& g) {
  detail::check_gradient("grad_cam", a, g);
  return detail::channel_weighted_sum(a, [&](Index n, Index k) {
    double sum = 0.0;
    for (Index s = 0; s < g.positions(); ++s) sum += static_cast<double>(g(n, k, s));
    return sum / static_cast<double>(g.positions());
  });
}

/// Grad-CAM++, M = relu(sum over k of w[k] a[k]) with w[k] = sum over s of alpha[k, s] relu(g[k, s]) and
///   alpha[k, s] = g^2 / (2 g^2 + (sum over s of a[k, s]) g^3), 0 where the denominator is 0.
/// The paper's factor exp(score), which is the same for all of a map, is left out.
/// Chattopadhay et al., Grad-CAM++, 2018.
template <class T, class L, class U>
HeatMaps grad_cam_plus_plus(const FeatureMap<T, L>& a, const FeatureMap<U, L>& g) {
  detail::check_gradient("grad_cam_plus_plus", a, g);
  return detail::channel_weighted_sum(a, [&](Index n, Index k) {
    double total = 0.0, weight = 0.0;
    for (Index s = 0; s < a.positions(); ++s) total += static_cast<double>(a(n, k, s));
    for (Index s = 0; s < a.positions(); ++s) {
      // Divided by g^2 throughout: squares and cubes of small gradients would vanish.
      const double slope = static_cast<double>(g(n, k, s));
      const double denominator = 2.0 + total * slope;
      if (slope > 0.0 && denominator != 0.0) weight += slope / denominator;
    }
    return weight;
  });
}

/// Layer-CAM, M(s) = relu(sum over k of relu(g[k, s]) a[k, s]). Jiang et al., LayerCAM, 2021.
template <class T, class L, class U>
HeatMaps layer_cam(const FeatureMap<T, L>& a, const FeatureMap<U, L>& g) {
  detail::check_gradient("layer_cam", a, g);
  return detail::weighted_sum(
      a, [&](Index n, Index k, Index s) { return std::max(static_cast<double>(g(n, k, s)), 0.0); }, true);
}

/// Every map on its own from its minimum, 0, to its maximum, 1. A map that is the same everywhere says nothing
/// and becomes 0; so does one that has a value that is not finite.
inline void normalise(HeatMaps& maps) {
  const Index positions = maps.dimension(1) * maps.dimension(2);
  for (Index n = 0; n < maps.dimension(0); ++n) {
    double* const map = maps.data() + n * positions;
    const double least = *std::min_element(map, map + positions);
    const double range = *std::max_element(map, map + positions) - least;
    const bool flat =
        !(range > 0.0) || !std::all_of(map, map + positions, [](double v) { return std::isfinite(v); });
    for (Index s = 0; s < positions; ++s) map[s] = flat ? 0.0 : (map[s] - least) / range;
  }
}

}  // namespace poolhead::inline POOLHEAD_ISA
