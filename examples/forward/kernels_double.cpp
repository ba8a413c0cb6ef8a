#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_FORWARD_CONVOLUTION(, double, ChannelsFirst)
POOLHEAD_FORWARD_CONVOLUTION(, double, ChannelsLast)
POOLHEAD_FORWARD_DENSE(, double)
}  // namespace poolhead::inline POOLHEAD_ISA
