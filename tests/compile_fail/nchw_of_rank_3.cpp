// EXPECT: for ranks 3 and 5 use channels_first or channels_last
#include <poolhead/core/view.hpp>

using Tensor = Eigen::Tensor<float, 3, Eigen::RowMajor>;

#ifdef POOLHEAD_WRONG
auto view(Tensor& x) { return poolhead::nchw(x); }
#else
auto view(Tensor& x) { return poolhead::channels_first(x); }
#endif
