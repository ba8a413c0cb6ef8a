// EXPECT: name the memory layout at the call: nchw(x), nhwc(x), channels_first(x) or channels_last(x)
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

void forward(const Tensor& x, Rows& y) {
#ifdef POOLHEAD_WRONG
  poolhead::GlobalMaxPool{}.forward(x, y);
#else
  poolhead::GlobalMaxPool{}.forward(poolhead::nchw(x), y);
#endif
}
