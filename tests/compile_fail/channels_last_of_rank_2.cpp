// EXPECT: channels_first and channels_last view tensors of rank 3, 4 or 5
#include <poolhead/core/view.hpp>

#ifdef POOLHEAD_WRONG
using Tensor = Eigen::Tensor<float, 2, Eigen::RowMajor>;
#else
using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;
#endif

auto view(Tensor& x) { return poolhead::channels_last(x); }
