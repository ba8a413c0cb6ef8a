#!/usr/bin/env bash
# The tests that take minutes to compile, which tests/run.sh leaves out: what every call refuses, pools by name, what
# their peers' suites ask, every pool on threads, masks of bfloat16, fused pools beside the oracle and PyTorch, and of
# some tests the scalars that tests/run.sh leaves out.
# Builds in build/long; arguments go to ctest.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/long
jobs=$(getconf _NPROCESSORS_ONLN)

. "$root/cmake/install_packages.sh"
install_packages g++ make cmake libeigen3-dev catch2 nlohmann-json3-dev zlib1g-dev

# With -O3 and AVX-512, pools by name take 14 GB and a quarter of an hour to compile.
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -DPOOLHEAD_BUILD_LONG_TESTS=ON -DPOOLHEAD_BUILD_BENCH=OFF -DPOOLHEAD_BUILD_EXAMPLES=OFF
cmake --build "$build" --parallel "$jobs" --target any_pool_test peers_test refusal_test refusal_advisory_test \
  refusal_cache_test refusal_parameters_test pool_oracle_threads_test pool_oracle_concat_test mask_test golden_concat_test \
  golden_concat_attention_test allocation_test pool_api_test
ctest --test-dir "$build" --output-on-failure --no-tests=error -R "^(any_pool|peers|refusal|pool_oracle_threads|pool_oracle_concat|mask|golden_concat|allocation|pool_api)" "$@"
