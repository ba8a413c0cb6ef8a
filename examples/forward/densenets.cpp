#include "backbones.hpp"

#include <poolhead/model/densenet.hpp>

namespace {

using Shape = std::vector<poolhead::Index>;

template <class T>
auto densenet121(Options& options, const Shape& x) {
  return poolhead::densenet121<T>(forward::read_backbone(options, x));
}
template <class T>
auto densenet121_attention(Options& options, const Shape&) {
  const auto backbone = forward::read_backbone(options, poolhead::BackboneOptions{.num_classes = 3});
  poolhead::AttentionClassifierOptions top{.num_classes = backbone.num_classes, .dropout = {0.0, 0.0}};
  top.hidden = options.number("hidden", top.hidden);
  top.attention_hidden = options.number("attention_hidden", 1024 / 8);
  return poolhead::densenet121_attention<T>(backbone, top);
}

}  // namespace

std::vector<Model> densenets() {
  return {POOLHEAD_FORWARD_MODEL("densenet121", densenet121),
          POOLHEAD_FORWARD_MODEL("densenet121-attention", densenet121_attention)};
}
