// Squeeze-and-excitation.
#pragma once

#include "poolhead/nn/dense.hpp"
#include "poolhead/nn/relu.hpp"
#include "poolhead/nn/scale.hpp"
#include "poolhead/nn/sequential.hpp"
#include "poolhead/nn/sigmoid.hpp"
#include "poolhead/pool/global_average.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// C / reduction, rounded down, at least 1. Throws ValueError for sizes below 1.
inline Index reduced(std::string_view type, Index channels, Index reduction) {
  if (channels < 1 || reduction < 1)
    fail<ValueError>(type, ": channels is ", channels, " and reduction ", reduction, ", expected at least 1");
  return std::max<Index>(channels / reduction, 1);
}

}  // namespace detail

/// y = x sigmoid(W2 relu(W1 GAP(x))), one factor per channel; W1 is (C / reduction, C), W2 (C, C / reduction),
/// both without bias: excitation.0.weight, excitation.2.weight. Hu et al., Squeeze-and-Excitation Networks,
/// 2018.
template <std::floating_point T>
auto squeeze_excitation(Index channels, Index reduction = 16, std::uint64_t seed = 0) {
  const Index hidden = detail::reduced("squeeze_excitation", channels, reduction);
  auto block = scale(
      sequential(GlobalAveragePool{},
                 named<"excitation">(sequential(Dense<T>(channels, hidden, {.bias = false}), ReLU{},
                                                Dense<T>(hidden, channels, {.bias = false}), Sigmoid{}))));
  initialise(block, LinearUniform{}, seed);
  return block;
}

}  // namespace poolhead::inline POOLHEAD_ISA
