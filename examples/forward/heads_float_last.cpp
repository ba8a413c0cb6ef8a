#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_FORWARD_HEAD(, float, ChannelsLast)
}  // namespace poolhead::inline POOLHEAD_ISA
