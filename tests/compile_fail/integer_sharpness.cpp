// EXPECT: write LogSumExpPool<float>(1.0f)
#include <poolhead/poolhead.hpp>

void pool() {
#ifdef POOLHEAD_WRONG
  poolhead::LogSumExpPool pool(1);
#else
  poolhead::LogSumExpPool pool(1.0f);
#endif
  static_cast<void>(pool);
}
