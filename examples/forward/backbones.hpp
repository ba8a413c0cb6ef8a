// Options that all backbones have.
#pragma once

#include "program.hpp"

#include <poolhead/model/resnet.hpp>

namespace forward {

/// Batch-norm follows --mode, also in a frozen backbone.
inline poolhead::BackboneOptions read_backbone(Options& options, poolhead::BackboneOptions defaults) {
  defaults.num_classes = options.number("num_classes", defaults.num_classes);
  defaults.in_channels = options.number("in_channels", defaults.in_channels);
  defaults.frozen = options.flag("frozen", defaults.frozen);
  defaults.frozen_statistics = false;
  return defaults;
}
inline poolhead::BackboneOptions read_backbone(Options& options, const std::vector<Index>& x) {
  auto read = read_backbone(options, poolhead::BackboneOptions{});
  read.head = read_head(options, x);
  read.include_top = options.flag("include_top", true);
  return read;
}

}  // namespace forward
