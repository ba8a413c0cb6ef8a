// EXPECT: this pool has parameters: give backward a gradient from zeros_like(pool)
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

void backward(const Tensor& x, const Rows& y, const Rows& dy, Tensor& dx) {
  const ph::GeneralizedMeanPool pool(3.0f);
  const auto cache = pool.make_cache(ph::nchw(x));
#ifdef POOLHEAD_WRONG
  pool.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache);
#else
  auto gradient = ph::zeros_like(pool);
  pool.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache, gradient);
#endif
}
