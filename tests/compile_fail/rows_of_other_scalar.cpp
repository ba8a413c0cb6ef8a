// EXPECT: rows must have the scalar type of the feature map
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Rows = Eigen::Tensor<double, 2, Eigen::RowMajor>;
#else
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;
#endif

void forward(const Tensor& x, Rows& y) { poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y); }
