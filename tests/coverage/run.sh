#!/usr/bin/env bash
# Prints the README's table of what every pool can do, made by comparing each pool with the float64 oracle in both
# layouts and all scalars, and says whether the README has it. Builds in build/coverage, for twenty minutes and in 12 GB
# of memory: the tests that continuous integration runs look at the same pools more closely.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$root/build/coverage
mkdir -p "$build"

. "$root/cmake/install_packages.sh"
install_packages g++ pkg-config libeigen3-dev

compile="${CXX:-g++} -std=c++20 -O0 -I$root/include -I$root/tests $(pkg-config --cflags eigen3)"
unit() { $compile -DPOOLHEAD_SCALAR="$2" -DPOOLHEAD_TABLE="$1_coverage" -c "$root/tests/coverage/table.cpp" -o "$build/$1.o"; }
unit float float & unit double double
wait
# Of these, two at a time would take 24 GB.
unit half Eigen::half
unit bfloat16 Eigen::bfloat16
$compile "$root/tests/coverage/main.cpp" "$build"/{float,double,half,bfloat16}.o -o "$build/table"

"$build/table" | tee "$build/table.md"
if ! python3 -c 'import sys; sys.exit(open(sys.argv[1]).read() not in open(sys.argv[2]).read())' \
  "$build/table.md" "$root/README.md"; then
  echo "README.md has another table." >&2
  exit 1
fi
echo "README.md has this table."
