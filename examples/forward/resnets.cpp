#include "backbones.hpp"

namespace {

using Shape = std::vector<poolhead::Index>;

template <class T>
auto resnet18(Options& options, const Shape& x) {
  return poolhead::resnet18<T>(forward::read_backbone(options, x));
}
template <class T>
auto resnet50(Options& options, const Shape& x) {
  return poolhead::resnet50<T>(forward::read_backbone(options, x));
}
template <class T>
auto transfer_model(Options& options, const Shape& x) {
  auto read = forward::read_backbone(options, poolhead::BackboneOptions{.num_classes = 20, .frozen = true});
  read.head = forward::read_head(options, x);
  return poolhead::transfer_model<T>(read, 0, 0.0);
}

}  // namespace

std::vector<Model> resnets() {
  return {POOLHEAD_FORWARD_MODEL("resnet18", resnet18), POOLHEAD_FORWARD_MODEL("resnet50", resnet50),
          POOLHEAD_FORWARD_MODEL("transfer-model", transfer_model)};
}
