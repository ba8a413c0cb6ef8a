#!/usr/bin/env bash
# tour.sh PROGRAM SCRATCH: every subcommand does what its help says, on small data.
set -euo pipefail
program=$1 scratch=$2
. "$(dirname "${BASH_SOURCE[0]}")/tiny_data.sh"
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch"
cifar10 data
fail() {
  echo "FAILED: $*"
  exit 1
}
train() { "$program" train --data data --batch-size 24 --epochs 3 --augment "$@" >>log; }

# The same bits on any number of threads, with batch-norm and a learned pool.
for model in "four-head-norm" "pooled --pool attention" "conv-gap"; do
  # shellcheck disable=SC2086
  for threads in 1 3; do train --model $model --threads $threads --out threads-$threads; done
  cmp threads-1/last.safetensors threads-3/last.safetensors || fail "$model on 1 and 3 threads"
done
# Layouts agree but for rounding, on all networks.
for model in four-head four-head-norm four-head-basic conv-gap conv-gmp "pooled --pool spp" "pooled --pool flatten"; do
  # shellcheck disable=SC2086
  for layout in nhwc nchw; do train --model $model --layout $layout --optimizer sgd --threads 2 --out $layout; done
  paste -d, nhwc/metrics.csv nchw/metrics.csv | tail -n +2 | awk -F, -v model="$model" '
    function off(a, b) { return a - b > 0.02 || b - a > 0.02 }
    off($3, $10) || off($5, $12) { print "FAILED: " model ", NHWC and NCHW: " $0; failed = 1 }
    END { exit failed }'
done

# evaluate says of the best weights what metrics.csv says of its best epoch.
train --model four-head-norm --threads 2 --out run
best=$(tail -n +2 run/metrics.csv | sort -t, -k6,6gr -k1,1n | head -1 | awk -F, '{ printf "accuracy %.2f %%, loss %.4f", 100 * $6, $5 }')
"$program" evaluate --weights run >evaluation
grep -qx "$best" evaluation || fail "evaluate, expected $best: $(cat evaluation)"
grep -q "confusion matrix" evaluation

is_png() { [ "$(head -c 8 "$1" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ] || fail "$1 is no PNG file"; }
train --model pooled --pool gap --threads 2 --out gap
"$program" explain --weights gap --index 0,5 --method all --class frog --out maps >explanation
[ "$(find maps -name '*.png' | wc -l)" -eq 10 ] || fail "explain: $(ls maps)"
for file in maps/*.png; do is_png "$file"; done
grep -q "map of frog at features.7" explanation
"$program" layers --weights gap --index 3 --layer all --out grids >listing
is_png grids/image-3-features.0.png
grep -q "features.7.png: 128 maps of 8x8" listing || fail "layers: $(cat listing)"
"$program" observe --weights run --images 40 >table
grep -Eq '^conv_layers.10 +128x8x8 .* 0$' table || fail "observe: $(cat table)"

# A JPEG file of 16x16 in colour, brought to the network's size.
base64 -d >picture.jpg <<'JPEG'
/9j/4AAQSkZJRgABAQAAAQABAAD/2wCEAA0JCgsKCA0LCgsODg0PEyAVExISEyccHhcgLikxMC4pLSwzOko+MzZGNywtQFdBRkxOUlNSMj5aYV
pQYEpRUk8BDg4OExETJhUVJk81LTVPT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT09PT//AABEIABAAEAMB
IgACEQEDEQH/xAGiAAABBQEBAQEBAQAAAAAAAAAAAQIDBAUGBwgJCgsQAAIBAwMCBAMFBQQEAAABfQECAwAEEQUSITFBBhNRYQcicRQygZGhCC
NCscEVUtHwJDNicoIJChYXGBkaJSYnKCkqNDU2Nzg5OkNERUZHSElKU1RVVldYWVpjZGVmZ2hpanN0dXZ3eHl6g4SFhoeIiYqSk5SVlpeYmZqi
o6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2drh4uPk5ebn6Onq8fLz9PX29/j5+gEAAwEBAQEBAQEBAQAAAAAAAAECAwQFBgcICQ
oLEQACAQIEBAMEBwUEBAABAncAAQIDEQQFITEGEkFRB2FxEyIygQgUQpGhscEJIzNS8BVictEKFiQ04SXxFxgZGiYnKCkqNTY3ODk6Q0RFRkdI
SUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqCg4SFhoeIiYqSk5SVlpeYmZqio6Slpqeoqaqys7S1tre4ubrCw8TFxsfIycrS09TV1tfY2dri4+
Tl5ufo6ery8/T19vf4+fr/2gAMAwEAAhEDEQA/AOYtdO6fLWva6d0+Wte107p8tbFrp3T5aqvjvMMqzHbU/9k=
JPEG
"$program" predict picture.jpg maps/image-0-cam.png --weights run --top 2 >answers
[ "$(grep -c '%' answers)" -eq 4 ] || fail "predict: $(cat answers)"
# A network of grey images takes colour ones, too.
idx grey
"$program" train --model conv-gap --data grey --epochs 1 --threads 1 --out grey-run >>log
"$program" predict picture.jpg --weights grey-run --top 10 | awk '/%/ { sum += $1 } END { exit !(sum > 99.9 && sum < 100.1) }' ||
  fail "probabilities do not add up to 100 %"

# compare's table, of two seeds.
"$program" compare --pools gap,gmp --seeds 2 --data data --epochs 1 --threads 2 --out both >>log
[ "$(wc -l <both/compare.csv)" -eq 3 ] || fail "compare: $(cat both/compare.csv)"

for command in train evaluate predict compare explain layers observe; do
  "$program" "$command" --help >help  # not a pipe, which grep -q would close early
  grep -q "Exit codes: 0 done; 2" help || fail "$command --help"
done
echo "all subcommands work"
