#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_CLASSIFIER_CONVOLUTION(, ChannelsFirst)
POOLHEAD_CLASSIFIER_CONVOLUTION(, ChannelsLast)
POOLHEAD_CLASSIFIER_DENSE()
}  // namespace poolhead::inline POOLHEAD_ISA
