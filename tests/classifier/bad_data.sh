#!/usr/bin/env bash
# bad_data.sh PROGRAM SCRATCH: whatever is wrong with data, images, weights or names, the program ends with code 2 and one
# sentence, and writes nothing.
set -euo pipefail
program=$1 scratch=$2
. "$(dirname "${BASH_SOURCE[0]}")/tiny_data.sh"
rm -rf "$scratch"
mkdir -p "$scratch"
cd "$scratch"
failures=0 checks=0

# refuses EXPECTED ARGUMENTS...
refuses() {
  local expected=$1 code=0
  shift
  checks=$((checks + 1))
  (ulimit -v 4000000; timeout 60 "$program" "$@") >out 2>err || code=$?
  if [ "$code" -ne 2 ] || [ -s out ] || [ "$(wc -l <err)" -ne 1 ] || ! grep -q -- "$expected" err; then
    failures=$((failures + 1))
    printf 'FAILED: %s\n  code %s, expected 2 and "%s"; it said\n' "$*" "$code" "$expected"
    head -5 out err
  fi
  if [ -e run ] || [ -e compare ] || [ -e explained ] || [ -e layers ]; then
    failures=$((failures + 1))
    echo "FAILED: $*: it wrote something"
    rm -rf run compare explained layers
  fi
}
# broken FILE: a fresh data set in bad/, of which the command that is read from stdin makes FILE.
broken() {
  rm -rf bad
  "$1" bad
}
images=bad/train-images-idx3-ubyte labels=bad/train-labels-idx1-ubyte

refuses "nowhere: is not a directory" train --data nowhere
mkdir nothing
refuses "has neither train-images" train --data nothing
broken idx; rm $images
refuses "has neither train-images-idx3-ubyte nor" train --data bad
broken idx; truncate -s 9000 $images
refuses "ends after 8984 values, expected 15680" train --data bad
broken idx; truncate -s 3 $labels
refuses "too few for an IDX header" train --data bad
broken idx; printf 'text' | dd of=$images conv=notrunc status=none
refuses "is not an IDX file" train --data bad
broken idx; printf '\x0d' | dd of=$images bs=1 seek=2 conv=notrunc status=none
refuses "has type code 13" train --data bad
broken idx; printf '\x0a' | dd of=$labels bs=1 seek=12 conv=notrunc status=none
refuses "label is 10 at byte 12, expected 0 to 9" train --data bad
broken idx; printf '\0\0\x08\x01\0\0\0\x05\0\1\2\3\4' >$labels
refuses "has 20 images, expected 5" train --data bad
broken idx; printf '\0\0\x08\x03\0\0\0\0\0\0\0\x1c\0\0\0\x1c' >$images
refuses "extent 0 is 0" train --data bad
broken idx; echo more >>$images
refuses "goes on after byte" train --data bad
broken idx; gzip $images; truncate -s 60 $images.gz
refuses "gzip data is cut short" train --data bad
broken idx; gzip $images; printf 'xxxx' | dd of=$images.gz bs=1 seek=30 conv=notrunc status=none
refuses "gzip data is corrupt\|gzip data is cut short\|ends after" train --data bad
# Bombs: a header that claims 4 GB and a file that has them, and one that goes on long after its images.
broken idx; rm $images
{ printf '\0\0\x08\x03\0\0\0\x14\0\0\x3b\x9a\0\0\x36\xb0'; head -c 1000000000 /dev/zero; } | gzip -1 >$images.gz
refuses "which makes more than 20971520 values" train --data bad
broken idx; { cat $images; head -c 1000000000 /dev/zero; } | gzip -1 >$images.gz; rm $images
refuses "goes on after byte 15696" train --data bad
broken idx; cp bad/t10k-labels-idx1-ubyte x; { printf '\0\0\x08\x03\0\0\0\x14\0\0\0\x0e\0\0\0\x0e'; head -c 3920 /dev/zero; } >bad/t10k-images-idx3-ubyte
refuses "training images are 28x28, those of validation 14x14" train --data bad

broken cifar10; truncate -s -5 bad/data_batch_1.bin
refuses "expected a multiple of 3073" train --data bad
broken cifar10; printf '\x63' | dd of=bad/test_batch.bin bs=1 seek=3073 conv=notrunc status=none
refuses "label is 99 at byte 3073" train --data bad
broken cifar10; : >bad/test_batch.bin
refuses "has 0 bytes" train --data bad
broken cifar10; rm bad/test_batch.bin
refuses "test_batch.bin: no such file" train --data bad

rm -rf bad; mkdir -p bad/cat bad/dog
refuses "has no PNG or JPEG file" train --data bad
echo "no image" >bad/cat/a.png; echo "no image" >bad/dog/a.jpg
refuses "a.png: is not an image" train --data bad
mkdir -p one/cat
refuses "has 1 folders, expected one for each of 2 to 256 classes" train --data one

refuses 'there is no network "nonsense", expected one of four-head' train --model nonsense
refuses 'there is no pool "nonsense", expected one of attention, ' train --model pooled --pool nonsense
refuses 'there is no pool "nonsense", expected some of attention, ' compare --pools gap,nonsense
refuses "optimizer" train --optimizer nonsense
refuses "schedule" train --schedule nonsense
refuses 'there is no "nonsense", expected flip, shift, erase or none' train --augment nonsense
refuses "epochs" train --epochs 0
refuses "learning-rate" train --learning-rate fast
refuses "subcommand" nonsense
refuses "subcommand"

# A run to ask wrong questions of.
cifar10 good
"$program" train --model conv-gap --data good --epochs 1 --threads 1 --out made >log
printf 'x' >text.png
refuses "text.png: is not an image" predict text.png --weights made
refuses "missing.png: no such file" predict missing.png --weights made
refuses "nowhere: no such file" evaluate --weights nowhere
refuses "text.png: has 1 bytes, too few" evaluate --weights text.png
broken idx
refuses "has images of 28x28x1 in 10 classes; the network takes 32x32x3 in 10" evaluate --weights made --data bad
refuses 'there is no layer "nonsense" with feature maps, expected one of network' layers --weights made --index 0 --layer nonsense
refuses 'there is no class "nonsense", expected a number below 10 or one of airplane' explain --weights made --index 0 --class nonsense
refuses "there are validation images 0 to 39" explain --weights made --index 40
refuses "no image: give files" explain --weights made
refuses "method" explain --weights made --index 0 --method nonsense
refuses "cam needs the maps" explain --weights made --index 0 --method cam --layer network.9
head -c 5000 made/model.safetensors >cut.safetensors
refuses "cut.safetensors" evaluate --weights cut.safetensors
cp -r made other
refuses "was made with --learning-rate 0.001, not 0.5" train --model conv-gap --data good --epochs 1 --out other --resume --learning-rate 0.5
cp -r good changed; printf '\x05' | dd of=changed/data_batch_1.bin bs=1 seek=3073 conv=notrunc status=none
refuses "was made with other data" train --model conv-gap --data changed --epochs 1 --out other --resume
head -c 3000 made/checkpoint.safetensors >other/checkpoint.safetensors
refuses "other/checkpoint.safetensors" train --model conv-gap --data good --epochs 1 --out other --resume
refuses "is no directory and cannot be made one" train --model conv-gap --data good --epochs 1 --out text.png

echo "$checks checks, $failures failures"
[ "$failures" -eq 0 ]
