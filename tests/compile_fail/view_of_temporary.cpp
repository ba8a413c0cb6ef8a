// EXPECT: a view of a temporary Tensor would dangle: give the tensor a name first
#include <poolhead/core/view.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
Tensor make();

void use() {
#ifdef POOLHEAD_WRONG
  auto x = poolhead::nchw(make());
#else
  Tensor tensor = make();
  auto x = poolhead::nchw(tensor);
#endif
  static_cast<void>(x);
}
