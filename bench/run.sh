#!/usr/bin/env bash
# Installs what the benchmark and the rivals need, builds everything in build/bench, times every pool beside the
# roofline and the rivals, and writes tables (Markdown and CSV) and a picture into build/bench/results. Arguments go
# to the benchmark: bash bench/run.sh --benchmark_filter=GAP. Exit code 1: a result was wrong.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$root/build/bench
results=$build/results

. "$root/cmake/install_packages.sh"
# OpenBLAS by OpenMP makes libtorch's matrix products fast, on as many threads as the rest of it.
install_packages g++ make cmake binutils libeigen3-dev libbenchmark-dev libtorch-dev libdnnl-dev \
  libopenblas0-openmp python3 python3-matplotlib

# A compiler newer than we know may warn of more; that is no reason not to run.
cmake -S "$root" -B "$build" -DCMAKE_BUILD_TYPE=Release -DPOOLHEAD_NATIVE=ON -DPOOLHEAD_WERROR=OFF \
  -DPOOLHEAD_BUILD_TESTS=OFF -DPOOLHEAD_BUILD_EXAMPLES=OFF
cmake --build "$build" --parallel "$(getconf _NPROCESSORS_ONLN)" --target poolhead_bench poolhead_bench_baseline

mkdir -p "$results"
rm -f "$results"/*
cmake --build "$build" --target poolhead_bench_includer
cp "$build/bench/includer.json" "$results"
status=0
"$build/bench/poolhead_bench" --benchmark_out="$results/results.json" "$@" || status=$?
"$build/bench/poolhead_bench_baseline" --benchmark_out="$results/baseline.json" \
  --benchmark_filter='/(forward|backward)/.*/float/8x(512x14x14|256x28x28)/threads:1' || status=$?

# The Python that has matplotlib: the system's, where another one comes first in PATH.
python=python3
"$python" -c 'import matplotlib' 2>/dev/null || python=/usr/bin/python3
PYTHONDONTWRITEBYTECODE=1 "$python" "$root/bench/report.py" "$results"
echo "The tables are in $results/results.md and results.csv, the picture is results.svg."
exit "$status"
