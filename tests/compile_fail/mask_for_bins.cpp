// EXPECT: pools of bins take no mask: a bin may have no valid position
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;

void use(const Eigen::Tensor<float, 4, Eigen::RowMajor>& x,
         const Eigen::Tensor<bool, 2, Eigen::RowMajor>& mask) {
  const auto masked = ph::masked(ph::nchw(x), mask);
#ifdef POOLHEAD_WRONG
  auto y = ph::SpatialPyramidPool({1, 2})(masked);
#else
  auto y = ph::GlobalAveragePool{}(masked);
#endif
  static_cast<void>(y);
}
