// The rectifier.
#pragma once

#include "poolhead/nn/elementwise.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// y = max(x, 0), NaN stays NaN;   dx = dy where y > 0, else 0. Of feature maps or rows; y may be x itself.
/// Nair and Hinton, 2010; torch.nn.ReLU.
class ReLU : public detail::Elementwise<ReLU> {
 public:
  static constexpr std::string_view name = "ReLU";
  static constexpr double cost = 2.0;

  template <class T>
  static T value(T x) {
    return x < T(0) ? T(0) : x;
  }
  template <class T>
  static T gradient(T dy, T y) {
    return y <= T(0) ? T(0) : dy;
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
