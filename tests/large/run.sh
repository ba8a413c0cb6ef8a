#!/usr/bin/env bash
# Every pool on more than 2^31 elements. Builds large_pools.cpp and prints one line for each pool: seconds, the
# most memory it held, and ok or FAILED with the reason. Takes up to 14 GiB and, on two cores, a quarter of an
# hour; names of pools as arguments run only those. To be run by hand, alone on the machine.
#   CXX, CXXFLAGS: the compiler (c++), and what to add to -O3 -march=native.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build/large
. "$root/cmake/install_packages.sh"
install_packages g++ libeigen3-dev

mkdir -p "$build"
# shellcheck disable=SC2086
"${CXX:-c++}" -std=c++20 -O3 -march=native ${CXXFLAGS:-} -I"$root/include" -isystem /usr/include/eigen3 \
  "$root/tests/large/large_pools.cpp" -o "$build/large_pools" -pthread

if [ $# -eq 0 ]; then mapfile -t pools < <("$build/large_pools" --list); else pools=("$@"); fi
status=0
for pool in "${pools[@]}"; do
  code=0
  "$build/large_pools" "$pool" || code=$?
  # A pool that was killed has printed nothing.
  if [ "$code" -gt 2 ]; then printf '%-17s FAILED: ended with code %d\n' "$pool" "$code"; fi
  if [ "$code" -ne 0 ]; then status=1; fi
done
exit "$status"
