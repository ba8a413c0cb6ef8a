// EXPECT: dx is written to, but it is a view of const
#include <poolhead/poolhead.hpp>

using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
using Gradient = const Tensor;
#else
using Gradient = Tensor;
#endif

void backward(const Tensor& x, const Rows& y, const Rows& dy, Gradient& dx) {
  poolhead::GlobalMaxPool pool;
  const auto cache = pool.make_cache(poolhead::nchw(x));
  pool.backward(poolhead::nchw(x), y, dy, poolhead::nchw(dx), cache);
}
