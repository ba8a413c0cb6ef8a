// EXPECT: y must have the scalar type of x, and not be const where it is written to
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;

#ifdef POOLHEAD_WRONG
using Output = Eigen::Tensor<double, 4, Eigen::RowMajor>;
#else
using Output = Eigen::Tensor<float, 4, Eigen::RowMajor>;
#endif

void forward(const Eigen::Tensor<float, 4, Eigen::RowMajor>& x, Output& y) {
  const ph::AdaptiveMaxPool pool(2, 2);
  pool.forward(ph::nchw(x), ph::nchw(y));
}
