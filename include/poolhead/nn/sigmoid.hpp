// The logistic function.
#pragma once

#include "poolhead/nn/elementwise.hpp"

namespace poolhead::inline POOLHEAD_ISA {
namespace detail {

/// 1 / (1 + exp(-x)), without overflow.
template <class T>
T logistic(T x) {
  const T small = std::exp(-std::abs(x));
  return (x < T(0) ? small : T(1)) / (T(1) + small);
}

}  // namespace detail

/// y = 1 / (1 + exp(-x));   dx = dy y (1 - y). Of feature maps or rows; y may be x itself. torch.nn.Sigmoid.
class Sigmoid : public detail::Elementwise<Sigmoid> {
 public:
  static constexpr std::string_view name = "Sigmoid";
  static constexpr double cost = 16.0;

  template <class T>
  static T value(T x) {
    return detail::logistic(x);
  }
  template <class T>
  static T gradient(T dy, T y) {
    return dy * y * (T(1) - y);
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
