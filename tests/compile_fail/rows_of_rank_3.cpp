// EXPECT: rows need a tensor of rank 2, (N, features)
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Rows = Eigen::Tensor<float, 3, Eigen::RowMajor>;
#else
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;
#endif

void forward(const Tensor& x, Rows& y) { poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y); }
