// ResNet-18 and ResNet-50, and the transfer model on the latter.
#pragma once

#include "poolhead/nn/any_head.hpp"
#include "poolhead/nn/batch_norm2d.hpp"
#include "poolhead/nn/conv2d.hpp"
#include "poolhead/nn/dense.hpp"
#include "poolhead/nn/dropout.hpp"
#include "poolhead/nn/freezable.hpp"
#include "poolhead/nn/max_pool2d.hpp"
#include "poolhead/nn/optional.hpp"
#include "poolhead/nn/repeat.hpp"
#include "poolhead/nn/residual.hpp"
#include "poolhead/nn/softmax.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct BackboneOptions {
  Index in_channels = 3;
  Index num_classes = 1000;
  HeadOptions head{};       ///< in place of the average; height and width are those of the images
  bool include_top = true;  ///< whether a dense layer makes logits of the pooled features
  bool frozen = false;      ///< see Freezable
  bool frozen_statistics = true;
};

namespace detail {

template <class T>
Conv2d<T> plain_conv(Index in, Index out, Index kernel, Index stride = 1) {
  return Conv2d<T>(in, out, kernel, {.stride = stride, .padding = kernel / 2, .bias = false});
}

/// A 1x1 convolution and batch-norm where a block changes the shape: downsample.0, downsample.1.
template <class T>
auto downsample(Index in, Index out, Index stride) {
  const auto make = [&] {
    return named<"downsample">(sequential(plain_conv<T>(in, out, 1, stride), BatchNorm2d<T>(out)));
  };
  return in == out && stride == 1 ? Optional<decltype(make())>() : Optional(make());
}

/// conv 3x3, batch-norm, ReLU, conv 3x3, batch-norm, added to the input or its downsampling, ReLU.
template <class T>
auto basic_block(Index in, Index width, Index stride) {
  return residual(
      sequential(named<"conv1">(plain_conv<T>(in, width, 3, stride)), named<"bn1">(BatchNorm2d<T>(width)),
                 ReLU{}, named<"conv2">(plain_conv<T>(width, width, 3)), named<"bn2">(BatchNorm2d<T>(width))),
      downsample<T>(in, width, stride));
}

/// conv 1x1, 3x3 (with the stride: version 1.5), 1x1 to 4 width channels, batch-norm after each.
template <class T>
auto bottleneck(Index in, Index width, Index stride) {
  return residual(
      sequential(named<"conv1">(plain_conv<T>(in, width, 1)), named<"bn1">(BatchNorm2d<T>(width)), ReLU{},
                 named<"conv2">(plain_conv<T>(width, width, 3, stride)), named<"bn2">(BatchNorm2d<T>(width)),
                 ReLU{}, named<"conv3">(plain_conv<T>(width, 4 * width, 1)),
                 named<"bn3">(BatchNorm2d<T>(4 * width))),
      downsample<T>(in, 4 * width, stride));
}

/// All before the pool: conv 7x7 and max-pool 3, both of stride 2, then four stages of blocks.
template <class T, class MakeBlock>
auto resnet_backbone(Index in_channels, const std::array<Index, 4>& depths, Index expansion,
                     const MakeBlock& make_block) {
  Index channels = 64;
  const auto stage = [&](std::size_t i) {
    const Index width = Index{64} << i;
    std::vector<decltype(make_block(Index{}, Index{}, Index{}))> blocks;
    for (Index b = 0; b < depths[i]; ++b)
      blocks.push_back(make_block(std::exchange(channels, expansion * width), width, b == 0 && i > 0 ? 2 : 1));
    return Repeat(std::move(blocks));
  };
  auto stage1 = stage(0), stage2 = stage(1), stage3 = stage(2), stage4 = stage(3);
  return sequential(named<"conv1">(plain_conv<T>(in_channels, 64, 7, 2)), named<"bn1">(BatchNorm2d<T>(64)),
                    ReLU{}, MaxPool2d(3, {.stride = 2, .padding = 1}), named<"layer1">(std::move(stage1)),
                    named<"layer2">(std::move(stage2)), named<"layer3">(std::move(stage3)),
                    named<"layer4">(std::move(stage4)));
}
template <class T>
auto resnet18_backbone(Index in_channels) {
  return resnet_backbone<T>(in_channels, {2, 2, 2, 2}, 1, [](Index in, Index width, Index stride) {
    return basic_block<T>(in, width, stride);
  });
}
template <class T>
auto resnet50_backbone(Index in_channels) {
  return resnet_backbone<T>(in_channels, {3, 4, 6, 3}, 4, [](Index in, Index width, Index stride) {
    return bottleneck<T>(in, width, stride);
  });
}

/// The options of a head on a backbone: height and width are of its maps, no more of the images.
template <class T, class Backbone>
HeadOptions head_on(const Backbone& backbone, const BackboneOptions& options) {
  HeadOptions head = options.head;
  if (head.pool == "flatten") {
    const auto maps =
        backbone.output_shape(nchw(static_cast<T*>(nullptr), 1, options.in_channels, head.height, head.width));
    head.height = maps.height();
    head.width = maps.width();
  }
  return head;
}

/// Draws the weights of a network whose first part is a backbone, and then freezes that, where it is to be.
template <class Network>
Network finish_backbone(Network network, const BackboneOptions& options, std::uint64_t seed) {
  initialise(network, KaimingNormal{}, seed);
  auto& backbone = std::get<0>(network.parts);
  backbone.frozen = options.frozen;
  backbone.frozen_statistics = options.frozen_statistics;
  return network;
}

/// backbone, head (avgpool), dense (fc) or none.
template <class T, class Backbone>
auto resnet(Backbone backbone, Index channels, const BackboneOptions& options, std::uint64_t seed) {
  const AnyHead<T> head(head_on<T>(backbone, options), channels, seed);
  Optional<Dense<T>> top;
  if (options.include_top) top = Optional(Dense<T>(head.features(channels), options.num_classes));
  return finish_backbone(sequential(unprefixed(Freezable(std::move(backbone))), named<"avgpool">(head),
                                    named<"fc">(std::move(top))),
                         options, seed);
}

}  // namespace detail

/// He et al., Deep Residual Learning, 2016, with 18 layers. Input (N, in_channels, H, W); output (N,
/// num_classes), logits, or the pooled features. Names are torchvision's, and avgpool.* of the head.
template <std::floating_point T>
auto resnet18(const BackboneOptions& options = {}, std::uint64_t seed = 0) {
  return detail::resnet<T>(detail::resnet18_backbone<T>(options.in_channels), 512, options, seed);
}

/// The same with 50 layers, in version 1.5 (the stride is in the 3x3 convolutions).
template <std::floating_point T>
auto resnet50(const BackboneOptions& options = {}, std::uint64_t seed = 0) {
  return detail::resnet<T>(detail::resnet50_backbone<T>(options.in_channels), 2048, options, seed);
}

/// A new classifier on a trained ResNet-50 (frozen unless the options say else): the head, dropout .2, dense,
/// softmax. Output (N, num_classes), probabilities. Names are those of resnet50.
template <std::floating_point T>
auto transfer_model(const BackboneOptions& options = {.num_classes = 20, .frozen = true},
                    std::uint64_t seed = 0, double dropout = 0.2) {
  auto backbone = detail::resnet50_backbone<T>(options.in_channels);
  const AnyHead<T> head(detail::head_on<T>(backbone, options), 2048, seed);
  return detail::finish_backbone(
      sequential(unprefixed(Freezable(std::move(backbone))), named<"avgpool">(head), Dropout(dropout),
                 named<"fc">(Dense<T>(head.features(2048), options.num_classes)), Softmax{}),
      options, seed);
}

}  // namespace poolhead::inline POOLHEAD_ISA
