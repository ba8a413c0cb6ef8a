// EXPECT: name the memory layout at the call
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

void backward(const Tensor& x, const Rows& y, const Rows& dy, Tensor& dx) {
  poolhead::GlobalMaxPool pool;
  const auto cache = pool.make_cache(poolhead::nchw(x));
#ifdef POOLHEAD_WRONG
  pool.backward(poolhead::nchw(x), y, dy, dx, cache);
#else
  pool.backward(poolhead::nchw(x), y, dy, poolhead::nchw(dx), cache);
#endif
}
