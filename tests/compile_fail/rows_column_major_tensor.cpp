// EXPECT: rows need a RowMajor tensor
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Rows = Eigen::Tensor<float, 2>;  // Eigen's default, ColMajor
#else
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;
#endif

void forward(const Tensor& x, Rows& y) { poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y); }
