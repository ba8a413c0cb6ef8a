#!/usr/bin/env bash
# kill.sh PROGRAM SCRATCH: a run that is killed with -9 again and again, while it trains and while it saves, and is
# resumed each time, must end with the bits of one that is never stopped.
set -euo pipefail
program=$1 scratch=$2 kills=${3:-25}
. "$(dirname "${BASH_SOURCE[0]}")/tiny_data.sh"
rm -rf "$scratch"
cifar10 "$scratch/data"

train() {
  exec "$program" train --model "$model" --data "$scratch/data" --epochs 8 --batch-size 16 --augment \
    --optimizer "$optimizer" --schedule cosine --threads 1 "$@"
}
# Everything but the seconds.
metrics() { cut -d, -f1-6 "$1/metrics.csv"; }

for run in "four-head-norm adamw" "conv-gap sgd"; do
  read -r model optimizer <<<"$run"
  whole=$scratch/$model-whole killed=$scratch/$model-killed
  (train --out "$whole") >/dev/null
  RANDOM=7
  done=0
  for ((kill = 0; kill < kills; kill++)); do
    (train --out "$killed" --resume) >>"$scratch/log" 2>&1 &
    pid=$!
    sleep "0.$(printf %03d $((RANDOM % 700)))"
    if kill -9 "$pid" 2>/dev/null; then done=$((done + 1)); fi
    wait "$pid" 2>/dev/null || true
    # Whatever is there can be read: nothing is ever half written.
    for file in model last; do
      [ ! -e "$killed/$file.safetensors" ] || "$program" evaluate --weights "$killed/$file.safetensors" >/dev/null
    done
  done
  (train --out "$killed" --resume) >>"$scratch/log"
  cmp "$whole/model.safetensors" "$killed/model.safetensors"
  cmp "$whole/last.safetensors" "$killed/last.safetensors"
  diff <(metrics "$whole") <(metrics "$killed")
  if ls -A "$killed" | grep -q '\.tmp$'; then
    echo "temporary files are left in $killed"
    exit 1
  fi
  echo "$model, $optimizer: killed $done times, the same bits"
  [ "$done" -gt 0 ]
done

# Ctrl-C finishes the step, saves, says how to go on, and ends with 130; the rest leads to the same bits.
model=conv-gap optimizer=sgd
whole=$scratch/conv-gap-whole interrupted=$scratch/interrupted
(trap - INT; train --out "$interrupted") >"$scratch/interrupted.log" 2>&1 &
pid=$!
until grep -qs "epoch 1/8" "$scratch/interrupted.log"; do sleep 0.01; done
kill -INT "$pid"
code=0
wait "$pid" || code=$?
if [ "$code" -eq 130 ]; then
  grep -q -- "--resume goes on" "$scratch/interrupted.log"
  (train --out "$interrupted" --resume) >/dev/null
elif [ "$code" -ne 0 ]; then
  echo "Ctrl-C: it ended with $code"
  exit 1
fi
cmp "$whole/last.safetensors" "$interrupted/last.safetensors"
echo "Ctrl-C: code $code, the same bits"

# A comparison that is stopped keeps the heads that were complete.
compared=$scratch/compared
(trap - INT; exec "$program" compare --data "$scratch/data" --pools gap,gmp --epochs 30 --batch-size 16 --threads 1 \
  --out "$compared") >"$scratch/compared.log" 2>&1 &
pid=$!
until [ -s "$compared/compare.csv" ]; do
  kill -0 "$pid"
  sleep 0.01
done
kill -INT "$pid"
code=0
wait "$pid" || code=$?
[ "$code" -eq 130 ]
grep -q "the heads that were complete are kept" "$scratch/compared.log"
[ "$(cut -d, -f1 "$compared/compare.csv" | tr '\n' ' ')" = "head gap " ]
[ -s "$compared/report.html" ]
echo "a stopped comparison: code $code, one head is kept"
