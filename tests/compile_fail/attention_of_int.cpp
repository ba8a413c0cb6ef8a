// EXPECT: the parameters of an AttentionPool are float, double, Eigen::half or Eigen::bfloat16
#include <poolhead/poolhead.hpp>

#ifdef POOLHEAD_WRONG
using Pool = poolhead::AttentionPool<int>;
#else
using Pool = poolhead::AttentionPool<float>;
#endif

void pool() {
  const Pool pool(8, 2);
  static_cast<void>(pool.features(8));
}
