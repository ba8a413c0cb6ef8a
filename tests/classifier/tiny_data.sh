# shellcheck shell=bash
# Sourced: small data sets out of nothing but the shell.

# cifar10 DIRECTORY: 120 + 40 images in CIFAR-10's format. A record is a label, and 3072 bytes that follow from the label
# and the image's number.
cifar10() {
  mkdir -p "$1"
  cifar10_records 0 120 >"$1/data_batch_1.bin"
  cifar10_records 120 160 >"$1/test_batch.bin"
}
cifar10_records() {
  local i
  for ((i = $1; i < $2; i++)); do
    printf "\\x0$((i * 7 % 10))"
    (yes "$((i * 7 % 10)) $((i % 13))" || true) | head -c 3072
  done
}

# idx DIRECTORY: 20 + 20 images of 28x28 in MNIST's format, two of each class.
idx() {
  mkdir -p "$1"
  local split
  for split in train t10k; do
    { printf '\0\0\x08\x03\0\0\0\x14\0\0\0\x1c\0\0\0\x1c'; (yes "$split" || true) | head -c 15680; } >"$1/$split-images-idx3-ubyte"
    { printf '\0\0\x08\x01\0\0\0\x14'; printf '\0\1\2\3\4\5\6\7\x08\x09\0\1\2\3\4\5\6\7\x08\x09'; } >"$1/$split-labels-idx1-ubyte"
  done
}
