#!/usr/bin/env bash
# Installs what the main example needs, builds it for this machine in build/examples and runs it. Arguments go to
# the program: bash examples/run.sh --help
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/examples

. "$root/cmake/install_packages.sh"
install_packages g++ make cmake libeigen3-dev libcli11-dev nlohmann-json3-dev zlib1g-dev libstb-dev

# A compiler newer than we know may warn of more; that is no reason not to run.
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DPOOLHEAD_NATIVE=ON -DPOOLHEAD_WERROR=OFF \
  -DPOOLHEAD_BUILD_TESTS=OFF -DPOOLHEAD_BUILD_BENCH=OFF
cmake --build "$build" --target poolhead_classifier --parallel "$(getconf _NPROCESSORS_ONLN)"
exec "$build/examples/poolhead_classifier" "$@"
