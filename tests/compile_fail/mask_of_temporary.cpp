// EXPECT: a view of a temporary mask would dangle: give the mask a name first
#include <poolhead/poolhead.hpp>

using Mask = Eigen::Tensor<bool, 2, Eigen::RowMajor>;
Mask make();

void use(const Eigen::Tensor<float, 4, Eigen::RowMajor>& x) {
#ifdef POOLHEAD_WRONG
  auto masked = poolhead::masked(poolhead::nchw(x), make());
#else
  const Mask mask = make();
  auto masked = poolhead::masked(poolhead::nchw(x), mask);
#endif
  static_cast<void>(masked);
}
