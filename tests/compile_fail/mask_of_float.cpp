// EXPECT: a mask holds bool or std::uint8_t
#include <poolhead/poolhead.hpp>

#ifdef POOLHEAD_WRONG
using Valid = float;
#else
using Valid = std::uint8_t;
#endif

void use(const Eigen::Tensor<float, 4, Eigen::RowMajor>& x,
         const Eigen::Tensor<Valid, 2, Eigen::RowMajor>& mask) {
  auto masked = poolhead::masked(poolhead::nchw(x), mask);
  static_cast<void>(masked);
}
