// The classifier on attention-pooled features.
#pragma once

#include "poolhead/nn/attention_head.hpp"
#include "poolhead/nn/dense.hpp"
#include "poolhead/nn/dropout.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/sequential.hpp"

namespace poolhead::inline POOLHEAD_ISA {

struct AttentionClassifierOptions {
  Index in_channels = 1024;
  Index num_classes = 3;
  Index hidden = 512;
  Index attention_hidden = 0;  ///< 0: channels / 8, at least 1
  std::array<double, 2> dropout{0.5, 0.3};
};

namespace detail {

/// attention_pool, then dropout, dense, ReLU, dropout, dense: attention_pool.attention.0/.2, classifier.1/.4.
template <class T>
auto attention_top(Index channels, const AttentionClassifierOptions& options) {
  const Index hidden =
      options.attention_hidden != 0 ? options.attention_hidden : std::max<Index>(channels / 8, 1);
  return sequential(named<"attention_pool">(AttentionHead<T>(channels, hidden, AttentionPool<T>::sigmoid)),
                    named<"classifier">(sequential(
                        Dropout(options.dropout[0], 1), Dense<T>(channels, options.hidden), ReLU{},
                        Dropout(options.dropout[1], 2), Dense<T>(options.hidden, options.num_classes))));
}

}  // namespace detail

/// Sigmoid attention over the positions of x, dropout, dense, ReLU, dropout, dense. Input: feature maps
/// (N, in_channels, H, W); output (N, num_classes), logits. Names: attention_pool.attention.0/.2,
/// classifier.1/.4.
template <std::floating_point T>
auto attention_classifier(const AttentionClassifierOptions& options = {}, std::uint64_t seed = 0) {
  auto network = detail::attention_top<T>(options.in_channels, options);
  initialise(network, LinearUniform{}, seed);
  return network;
}

}  // namespace poolhead::inline POOLHEAD_ISA
