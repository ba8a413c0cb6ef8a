// EXPECT: write GeneralizedMeanPool<float>(3.0f)
#include <poolhead/poolhead.hpp>

void pool() {
#ifdef POOLHEAD_WRONG
  poolhead::GeneralizedMeanPool pool(3);
#else
  poolhead::GeneralizedMeanPool pool(3.0f);
#endif
  static_cast<void>(pool);
}
