#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_CLASSIFIER_HEAD(, ChannelsFirst)
}  // namespace poolhead::inline POOLHEAD_ISA
