// The progressive feature extractor: global averages of three stages, together.
#pragma once

#include "poolhead/model/norm_block.hpp"
#include "poolhead/nn/concat.hpp"
#include "poolhead/nn/dense.hpp"
#include "poolhead/pool/global_average.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct ProgressiveOptions {
  Index in_channels = 3;
  Index num_classes = 1000;
};

/// Stages to 64, 128, 256 and 512 channels (conv 3x3, batch-norm, ReLU, max-pool 2); the global averages of
/// stages 2, 3 and 4 side by side (896), dense. Input (N, in_channels, H, W) of at least 16x16; output (N,
/// num_classes), logits. Names: stage1.0, stage1.1 ... stage4.1, classifier.
template <std::floating_point T>
auto progressive(const ProgressiveOptions& options = {}, std::uint64_t seed = 0) {
  using detail::norm_block;
  auto after3 =
      unprefixed(concat(GlobalAveragePool{},
                        unprefixed(sequential(named<"stage4">(norm_block<T>(256, 512)), GlobalAveragePool{}))));
  auto after2 =
      unprefixed(concat(GlobalAveragePool{},
                        unprefixed(sequential(named<"stage3">(norm_block<T>(128, 256)), std::move(after3)))));
  auto network = sequential(named<"stage1">(norm_block<T>(options.in_channels, 64)),
                            named<"stage2">(norm_block<T>(64, 128)), std::move(after2),
                            named<"classifier">(Dense<T>(128 + 256 + 512, options.num_classes)));
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
