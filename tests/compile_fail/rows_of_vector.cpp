// EXPECT: rows are a rank-2 RowMajor Eigen::Tensor, a RowMajor Eigen::Matrix, a Map of one
#include <poolhead/poolhead.hpp>

#include <vector>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Rows = std::vector<float>;
#else
using Rows = poolhead::Rows<float>;
#endif

void forward(const Tensor& x, Rows& y) { poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y); }
