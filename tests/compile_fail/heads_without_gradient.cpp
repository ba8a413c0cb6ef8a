// EXPECT: this pool has parameters: give backward a gradient from zeros_like(pool)
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;
using Tensor = Eigen::Tensor<float, 4, Eigen::RowMajor>;
using Rows = Eigen::Tensor<float, 2, Eigen::RowMajor>;

void backward(const Tensor& x, const Rows& y, const Rows& dy, Tensor& dx) {
#ifdef POOLHEAD_WRONG
  const auto heads = ph::concat(ph::GlobalMaxPool{}, ph::GeneralizedMeanPool(3.0f));
#else
  const auto heads = ph::concat(ph::GlobalMaxPool{}, ph::GlobalAveragePool{});
#endif
  const auto cache = heads.make_cache(ph::nchw(x));
  heads.backward(ph::nchw(x), y, dy, ph::nchw(dx), cache);
}
