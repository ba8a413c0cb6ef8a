#include "kernels.hpp"

namespace poolhead::inline POOLHEAD_ISA {
POOLHEAD_FORWARD_HEAD(, double, ChannelsLast)
}  // namespace poolhead::inline POOLHEAD_ISA
