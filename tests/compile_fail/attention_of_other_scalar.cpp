// EXPECT: the pool's parameters must have the scalar type of the feature map
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;

#ifdef POOLHEAD_WRONG
using Parameter = float;
#else
using Parameter = double;
#endif

void forward(const Eigen::Tensor<double, 4, Eigen::RowMajor>& x) {
  const ph::AttentionPool<Parameter> pool(8, 2);
  auto y = pool(ph::nchw(x));
  static_cast<void>(y);
}
