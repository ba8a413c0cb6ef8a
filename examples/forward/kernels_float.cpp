#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_FORWARD_CONVOLUTION(, float, ChannelsFirst)
POOLHEAD_FORWARD_CONVOLUTION(, float, ChannelsLast)
POOLHEAD_FORWARD_DENSE(, float)
}  // namespace poolhead::inline POOLHEAD_ISA
