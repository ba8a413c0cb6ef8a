// poolhead: global pooling heads for convolutional networks, over Eigen tensors. Includes only.
#pragma once

#include "poolhead/core/device.hpp"
#include "poolhead/core/error.hpp"
#include "poolhead/core/parameters.hpp"
#include "poolhead/core/rows.hpp"
#include "poolhead/core/view.hpp"
#include "poolhead/pool/concat.hpp"
#include "poolhead/pool/global_average.hpp"
#include "poolhead/pool/global_max.hpp"
#include "poolhead/pool/pool.hpp"
#include "poolhead/version.hpp"
