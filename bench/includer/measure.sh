#!/usr/bin/env bash
# measure.sh OUTPUT COMPILER FLAGS...: the seconds to compile the umbrella and, for comparison, the Tensor header of
# Eigen alone, at -O2 (medians of three, in turn), and the bytes of a stripped program with one GAP call and of one
# with an empty main.
set -euo pipefail
output=$1
shift
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

seconds_to_compile() {
  local start
  start=$(date +%s%N)
  "${compiler[@]}" -O2 -c "$here/$1.cpp" -o "$scratch/$1.o"
  awk -v start="$start" -v end="$(date +%s%N)" 'BEGIN { print (end - start) * 1e-9 }'
}
stripped_bytes() {
  "${compiler[@]}" -O2 "$here/$1.cpp" -o "$scratch/$1.out"
  strip "$scratch/$1.out"
  stat -c %s "$scratch/$1.out"
}
median() { sort -g "$1" | sed -n 2p; }

compiler=("$@")
seconds_to_compile eigen >/dev/null  # so that all files are in memory
for _ in 1 2 3; do
  seconds_to_compile eigen >>"$scratch/eigen"
  seconds_to_compile umbrella >>"$scratch/umbrella"
done
printf '{"umbrella_seconds": %s, "eigen_seconds": %s, "stripped_bytes": %s, "empty_bytes": %s}\n' \
  "$(median "$scratch/umbrella")" "$(median "$scratch/eigen")" \
  "$(stripped_bytes one_pool)" "$(stripped_bytes empty)" >"$output"
