// poolhead: global pooling heads over Eigen tensors.
#pragma once

// The one place that holds the version: CMake reads these three lines.
#define POOLHEAD_VERSION_MAJOR 0
#define POOLHEAD_VERSION_MINOR 1
#define POOLHEAD_VERSION_PATCH 0
