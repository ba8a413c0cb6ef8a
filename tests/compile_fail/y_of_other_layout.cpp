// EXPECT: y must have the memory layout of x
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

void forward(const Tensor& x, Tensor& y) {
  const ph::AdaptiveAveragePool pool(2, 2);
#ifdef POOLHEAD_WRONG
  pool.forward(ph::nchw(x), ph::nhwc(y));
#else
  pool.forward(ph::nchw(x), ph::nchw(y));
#endif
}
