// DenseNet-121, plain and with the documents' attention head.
#pragma once

#include "poolhead/model/attention_classifier.hpp"
#include "poolhead/model/resnet.hpp"
#include "poolhead/nn/average_pool2d.hpp"
#include "poolhead/nn/dense_block.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// batch-norm, ReLU, conv 1x1 to 128, batch-norm, ReLU, conv 3x3 to 32: norm1, conv1, norm2, conv2.
template <class T>
auto densenet_layer(Index in) {
  return sequential(named<"norm1">(BatchNorm2d<T>(in)), ReLU{}, named<"conv1">(plain_conv<T>(in, 128, 1)),
                    named<"norm2">(BatchNorm2d<T>(128)), ReLU{}, named<"conv2">(plain_conv<T>(128, 32, 3)));
}
template <class T>
auto densenet_block(Index in, Index count) {
  std::vector<decltype(densenet_layer<T>(in))> layers;
  for (Index i = 0; i < count; ++i) layers.push_back(densenet_layer<T>(in + 32 * i));
  return DenseBlock(std::move(layers));
}
/// Halves channels and size: norm, conv.
template <class T>
auto densenet_transition(Index in) {
  return sequential(named<"norm">(BatchNorm2d<T>(in)), ReLU{}, named<"conv">(plain_conv<T>(in, in / 2, 1)),
                    AveragePool2d(2));
}
/// torchvision's features: conv 7x7, max-pool 3, four dense blocks with transitions between, a last batch-norm.
template <class T>
auto densenet121_features(Index in_channels) {
  return sequential(
      named<"conv0">(plain_conv<T>(in_channels, 64, 7, 2)), named<"norm0">(BatchNorm2d<T>(64)), ReLU{},
      MaxPool2d(3, {.stride = 2, .padding = 1}), named<"denseblock1">(densenet_block<T>(64, 6)),
      named<"transition1">(densenet_transition<T>(256)), named<"denseblock2">(densenet_block<T>(128, 12)),
      named<"transition2">(densenet_transition<T>(512)), named<"denseblock3">(densenet_block<T>(256, 24)),
      named<"transition3">(densenet_transition<T>(1024)), named<"denseblock4">(densenet_block<T>(512, 16)),
      named<"norm5">(BatchNorm2d<T>(1024)));
}

}  // namespace detail

/// Huang et al., Densely Connected Convolutional Networks, 2017, with 121 layers: features, ReLU, the head,
/// dense. Input (N, in_channels, H, W) of at least 32x32; output (N, num_classes), logits, or the pooled
/// features. Names are torchvision's, features.* and classifier, and global_pool.* of the head.
template <std::floating_point T>
auto densenet121(const BackboneOptions& options = {}, std::uint64_t seed = 0) {
  auto features = detail::densenet121_features<T>(options.in_channels);
  const AnyHead<T> head(detail::head_on<T>(features, options), 1024, seed);
  Optional<Dense<T>> top;
  if (options.include_top) top = Optional(Dense<T>(head.features(1024), options.num_classes));
  return detail::finish_backbone(sequential(named<"features">(Freezable(std::move(features))), ReLU{},
                                            named<"global_pool">(head), named<"classifier">(std::move(top))),
                                 options, seed);
}

/// The documents' medical classifier: DenseNet-121's features (without the last ReLU), sigmoid attention,
/// dropout, dense, ReLU, dropout, dense. Output (N, num_classes), logits. Names: backbone.*,
/// attention_pool.attention.0/.2, classifier.1/.4. The top's in_channels is 1024 whatever it says; options has
/// those of the backbone.
template <std::floating_point T>
auto densenet121_attention(const BackboneOptions& options = {}, const AttentionClassifierOptions& top = {},
                           std::uint64_t seed = 0) {
  return detail::finish_backbone(
      sequential(named<"backbone">(Freezable(detail::densenet121_features<T>(options.in_channels))),
                 unprefixed(detail::attention_top<T>(1024, top))),
      options, seed);
}

}  // namespace poolhead::inline POOLHEAD_ISA
