// Score-CAM: class activation maps without gradients.
#pragma once

#include "poolhead/core/resize.hpp"
#include "poolhead/explain/class_activation.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// Every map at another size, bilinear.
inline HeatMaps resize_maps(const HeatMaps& maps, Index height, Index width) {
  HeatMaps result(maps.dimension(0), height, width);
  const Index from = maps.dimension(1) * maps.dimension(2);
  for (Index n = 0; n < maps.dimension(0); ++n) {
    const auto one =
        resize_values(maps.data() + n * from, maps.dimension(1), maps.dimension(2), 1, height, width);
    std::copy(one.begin(), one.end(), result.data() + n * height * width);
  }
  return result;
}

/// Score-CAM of one image x (1, C, H, W), whose activations at the layer are a (1, K, h, w):
///   M = relu(sum over k of w[k] a[k]),   w = softmax over k of score(x * mask[k]),
/// mask[k] being a[k] at the size of x, normalised to 0 .. 1 (all 0 where a[k] is the same everywhere). The
/// paper's baseline score, the same for all k, cancels in the softmax.
///
/// score(view) gives the class's score for one image like x. Wang et al., Score-CAM, 2020.
template <class T, class L, class U, class M, class Score>
HeatMaps score_cam(const FeatureMap<T, L>& x, const FeatureMap<U, M>& a, const Score& score) {
  using Scalar = typename FeatureMap<T, L>::Scalar;
  if (x.batch() != 1 || a.batch() != 1) {
    detail::fail<ShapeError>("score_cam: x has ", x.batch(), " samples and a ", a.batch(), ", expected 1 each");
  }
  std::vector<Scalar> memory(static_cast<std::size_t>(x.size()));
  const FeatureMap<Scalar, L> masked(memory.data(), x.shape());
  std::vector<double> weights;
  for (Index k = 0; k < a.channels(); ++k) {
    HeatMaps mask(1, a.height(), a.width());
    for (Index s = 0; s < a.positions(); ++s) mask.data()[s] = static_cast<double>(a(0, k, s));
    mask = resize_maps(mask, x.height(), x.width());
    normalise(mask);
    for (Index c = 0; c < x.channels(); ++c) {
      for (Index s = 0; s < x.positions(); ++s) {
        masked(0, c, s) = static_cast<Scalar>(static_cast<double>(x(0, c, s)) * mask.data()[s]);
      }
    }
    weights.push_back(static_cast<double>(score(FeatureMap<const Scalar, L>(memory.data(), x.shape()))));
  }
  const double largest = *std::max_element(weights.begin(), weights.end());
  double sum = 0.0;
  for (double& weight : weights) sum += weight = std::exp(weight - largest);
  return detail::channel_weighted_sum(
      a, [&](Index, Index k) { return weights[static_cast<std::size_t>(k)] / sum; });
}

}  // namespace poolhead::inline POOLHEAD_ISA
