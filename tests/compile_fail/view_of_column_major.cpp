// EXPECT: a view needs a RowMajor tensor
#include <poolhead/core/view.hpp>

#ifdef POOLHEAD_WRONG
using Tensor = Eigen::Tensor<float, 4>;  // Eigen's default, ColMajor
#else
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
#endif

auto view(Tensor& x) { return poolhead::nchw(x); }
