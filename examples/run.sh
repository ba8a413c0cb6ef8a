#!/usr/bin/env bash
# Installs what the main example needs, builds it for this machine in build/examples and runs it: without arguments a
# comparison of pooling heads on embedded data that ends with the path of a report to open; arguments go to the program
# (bash examples/run.sh train --help).
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/examples

. "$root/cmake/install_packages.sh"
install_packages g++ make cmake libeigen3-dev libcli11-dev nlohmann-json3-dev zlib1g-dev libstb-dev

# A compiler newer than we know may warn of more; that is no reason not to run.
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DPOOLHEAD_NATIVE=ON -DPOOLHEAD_WERROR=OFF \
  -DPOOLHEAD_BUILD_TESTS=OFF -DPOOLHEAD_BUILD_BENCH=OFF
cmake --build "$build" --target poolhead_classifier --parallel "$(getconf _NPROCESSORS_ONLN)"
program=$build/examples/poolhead_classifier
[ $# -eq 0 ] || exec "$program" "$@"

# The demonstration: one backbone under four heads, on data that show what each of them misses.
exec "$program" compare --data synthetic --pools gap,gmp,gap+gmp --epochs 3 --learning-rate 2e-3 \
  --schedule one-cycle --out "$build/demonstration"
