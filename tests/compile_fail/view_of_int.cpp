// EXPECT: tensors hold float, double, Eigen::half or Eigen::bfloat16
#include <poolhead/core/view.hpp>

#ifdef POOLHEAD_WRONG
using Tensor = Eigen::Tensor<int, 4, Eigen::RowMajor>;
#else
using Tensor = Eigen::Tensor<Eigen::half, 4, Eigen::RowMajor>;
#endif

auto view(const Tensor& x) { return poolhead::nhwc(x); }
