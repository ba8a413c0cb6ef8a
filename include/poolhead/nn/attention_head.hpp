// Attention pooling under the names that it has in PyTorch.
#pragma once

#include "poolhead/pool/attention.hpp"

namespace poolhead::inline POOLHEAD_ISA {

/// AttentionPool, its parameters named and shaped as those of a torch.nn.Sequential(Conv2d(C, hidden, 1), ReLU,
/// Conv2d(hidden, 1, 1)) called attention: attention.0.weight (hidden, C, 1, 1), attention.0.bias,
/// attention.2.weight (1, hidden, 1, 1), attention.2.bias.
template <class T>
class AttentionHead : public AttentionPool<T> {
 public:
  static constexpr bool has_parameter_views = true;
  using AttentionPool<T>::AttentionPool;

  template <class F, class... Self>
  static void visit_views(const F& f, Self&... self) {
    f(std::string_view("attention.0.weight"), convolution(self.hidden.weight)...);
    f(std::string_view("attention.0.bias"), detail::view_parameter(self.hidden.bias)...);
    f(std::string_view("attention.2.weight"), convolution(self.score.weight)...);
    f(std::string_view("attention.2.bias"), detail::view_parameter(self.score.bias)...);
  }

 private:
  template <class Weight>
  static auto convolution(Weight& weight) {
    const std::array<Index, 4> shape{weight.dimension(0), weight.dimension(1), 1, 1};
    return ParameterView(weight.data(), std::span<const Index>(shape));
  }
};

}  // namespace poolhead::inline POOLHEAD_ISA
