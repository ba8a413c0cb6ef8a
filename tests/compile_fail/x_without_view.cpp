// EXPECT: name the memory layout at the call: nchw(x), nhwc(x), channels_first(x) or channels_last(x)
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

Rows pool(const Tensor& x) {
#ifdef POOLHEAD_WRONG
  return poolhead::GlobalMaxPool{}(x);
#else
  return poolhead::GlobalMaxPool{}(poolhead::nchw(x));
#endif
}
