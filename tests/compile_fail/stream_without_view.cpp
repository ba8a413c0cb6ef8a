// EXPECT: name the memory layout at the call: nchw(x), nhwc(x), channels_first(x) or channels_last(x)
#include <poolhead/poolhead.hpp>

void add(const Eigen::Tensor<float, 4, Eigen::RowMajor>& tile) {
  auto stream = poolhead::GlobalMaxPool{}.start<float>(2, 8);
#ifdef POOLHEAD_WRONG
  stream.add(tile);
#else
  stream.add(poolhead::nchw(tile));
#endif
}
