#!/usr/bin/env bash
# Trains three networks for one epoch on Fashion-MNIST and looks whether the loss falls: its mean over the epoch is below
# that of guessing, ln 10, and after the epoch it is below that mean. Not part of tests/run.sh: it takes some minutes.
# POOLHEAD_DATA_DIR: the folder that holds fashion-mnist/.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${POOLHEAD_DATA_DIR:?is not set: the folder that holds fashion-mnist/ is needed}"
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

for model in conv-gap four-head-basic four-head; do
  bash "$root/examples/run.sh" train --model "$model" --data "$POOLHEAD_DATA_DIR/fashion-mnist" --epochs 1 \
    --learning-rate 1e-3 --out "$scratch/$model" >"$scratch/log" 2>&1 || { cat "$scratch/log"; exit 1; }
  tail -n 1 "$scratch/$model/metrics.csv" | awk -F, -v model="$model" '
    { printf "%s: mean loss %.3f, after the epoch %.3f, %.2f %% right, %.0f s\n", model, $3, $5, 100 * $6, $7 }
    !($5 < $3 && $3 < log(10)) { print "FAILED: the loss of " model " does not fall"; exit 1 }'
done
