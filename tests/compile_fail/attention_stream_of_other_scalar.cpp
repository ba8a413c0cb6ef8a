// EXPECT: a stream's tiles have its scalar type
#include <poolhead/poolhead.hpp>

#ifdef POOLHEAD_WRONG
using Tile = Eigen::Tensor<double, 4, Eigen::RowMajor>;
#else
using Tile = Eigen::Tensor<float, 4, Eigen::RowMajor>;
#endif

void add(const Tile& tile) {
  auto stream = poolhead::AttentionPool<float>(8, 2).start(2, 8);
  stream.add(poolhead::nchw(tile));
}
