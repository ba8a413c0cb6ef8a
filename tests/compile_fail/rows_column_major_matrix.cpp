// EXPECT: rows need a RowMajor matrix
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Rows = Eigen::MatrixXf;  // Eigen's default, ColMajor
#else
using Rows = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
#endif

void forward(const Tensor& x, Rows& y) { poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y); }
