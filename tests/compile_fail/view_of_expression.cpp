// EXPECT: evaluate an expression into a Tensor first
#include <poolhead/core/view.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

void use(const Tensor& a, const Tensor& b) {
#ifdef POOLHEAD_WRONG
  auto x = poolhead::nchw(a + b);
#else
  const Tensor sum = a + b;
  auto x = poolhead::nchw(sum);
#endif
  static_cast<void>(x);
}
