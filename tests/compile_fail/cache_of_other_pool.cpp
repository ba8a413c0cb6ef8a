// EXPECT: this cache belongs to another pool or another scalar: take it from make_cache(x)
#include <poolhead/poolhead.hpp>

namespace ph = poolhead;

void test() {
  const Eigen::Tensor<float, 4, Eigen::RowMajor> x(1, 2, 3, 4);
  Eigen::Tensor<float, 2, Eigen::RowMajor> y(1, 2);
  ph::GlobalMaxPool pool;
#ifdef POOLHEAD_WRONG
  auto cache = ph::GlobalAveragePool{}.make_cache(ph::nchw(x));
#else
  auto cache = pool.make_cache(ph::nchw(x));
#endif
  pool.forward(ph::nchw(x), y, cache);
}
