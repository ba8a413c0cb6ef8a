#!/usr/bin/env bash
# Installs what the tests need, builds tests and examples in build/tests and runs the tests. Arguments go to ctest.
# POOLHEAD_DATA_DIR: the folder that holds fashion-mnist/; without it, the tests that need it are skipped.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/tests
jobs=$(getconf _NPROCESSORS_ONLN)

. "$root/cmake/install_packages.sh"
install_packages g++ make cmake libeigen3-dev catch2 libcli11-dev nlohmann-json3-dev zlib1g-dev libstb-dev chromium clang

# What is built here is compiled for longer than it runs: -O1.
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DCMAKE_CXX_FLAGS_RELEASE="-O1 -DNDEBUG" \
  -DPOOLHEAD_BUILD_BENCH=OFF
cmake --build "$build" --parallel "$jobs"

results=$build/results.xml
rm -f "$results"
status=0
ctest --test-dir "$build" --output-on-failure --no-tests=error --parallel "$jobs" --timeout 600 \
  --output-junit "$results" "$@" || status=$?

if [ -z "${POOLHEAD_DATA_DIR:-}" ]; then
  echo "POOLHEAD_DATA_DIR is not set to a folder with fashion-mnist/ in it: the tests on Fashion-MNIST were skipped."
fi
# ctest's own figure of what it skipped includes what it could not start; that is a failure here.
count() { grep -c "$1" "$results" || true; }
passed=$(count '<testcase .* status="run">')
skipped=$(count '<skipped message="SKIP_')
failed=$(($(count '<testcase ') - passed - skipped))
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
