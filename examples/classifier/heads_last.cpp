#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_CLASSIFIER_HEAD(, ChannelsLast)
}  // namespace poolhead::inline POOLHEAD_ISA
