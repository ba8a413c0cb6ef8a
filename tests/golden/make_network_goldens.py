"""Writes networks.safetensors: what PyTorch makes of every network, forward and backward, in float64.

Neither weights nor inputs are stored: element i of the tensor called NAME is value(NAME, i), a float32, in Python here
and in C++ in tests/network_golden_test.cpp. A case's metadata is JSON: model, options, shape of x, mode. Its results
are stored as CASE/NAME: of y, dx, grad.<parameter> and the updated buffers the elements, or, of larger ones, 16 of
them from hashed places; after these, four projections on hashed signs, the magnitude that errors are measured against
(see scale_of in check_networks.py), and the error of PyTorch's own float32, over that magnitude.

    python3 make_network_goldens.py     (needs torch and torchvision; Debian: python3-torch, python3-torchvision)
"""

import json
import os

import numpy as np
import torch
from torch import nn

from check_networks import error, options_text, run_torch, scale_of
from golden_data import hash64, write_safetensors
from network_modules import build

FULL = 64
SAMPLES = 16
PROJECTIONS = 4


def name_seed(name):
    """FNV-1a."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    return seed


def value(name, shape):
    """The tensor of this name: u = uniform in [-1, 1), a multiple of 2^-23, shifted and scaled by powers of two."""
    count = int(np.prod(shape))
    u = (hash64(name_seed(name), np.arange(count, dtype=np.uint64)) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1
    last = name.split(".")[-1]
    if len(shape) >= 2 and last in ("weight", "clusters"):
        exponent = 0  # the least with 3 * 4^exponent >= the fan in
        while 3 * 4**exponent < np.prod(shape[1:]):
            exponent += 1
        u = u * 2.0**-exponent
    elif last in ("running_var", "weight"):
        u = 1 + u / 4
    elif last in ("running_mean", "bias"):
        u = u / 4
    elif last in ("p", "r"):
        u = 2 + u / 2
    elif last == "num_batches_tracked":
        return torch.full(shape, 7)
    return torch.from_numpy(u.reshape(shape))


def summary(name, reference, own, scale):
    """What is stored of a tensor, as one row of numbers."""
    flat = reference.reshape(-1).astype(np.float64)
    index = np.arange(flat.size, dtype=np.uint64)
    picked = flat
    if flat.size > FULL:
        at = hash64(name_seed(name), np.arange(SAMPLES, dtype=np.uint64)) % np.uint64(flat.size)
        picked = flat[at.astype(np.int64)]
    bits = hash64(name_seed(name) ^ 1, index)
    signs = [np.where((bits >> np.uint64(k)) & np.uint64(1) == 1, 1.0, -1.0) for k in range(PROJECTIONS)]
    projections = [float((flat * sign).sum()) for sign in signs]
    return np.concatenate([picked, projections, [scale, error(own, reference, scale)]])


def cases():
    few = {"num_classes": 3, "hidden": 8}
    for name in ("four-head-basic", "four-head-branches", "four-head-filters"):
        yield name, few, [2, 3, 9, 8]
    for fourth in ("spp", "softmax-attention", "sigmoid-attention"):
        yield "four-head", {**few, "fourth": fourth}, [2, 3, 17, 16]
    yield "conv-gap", {}, [2, 1, 28, 28]
    yield "conv-gmp", {"num_classes": 4}, [2, 1, 17, 20]
    pools = ["avg", "max", "mixed", "gem", "lse", "soft", "spp", "improved-spp", "softmax-attention"]
    for pool in pools + ["sigmoid-attention"]:
        yield "pooled-cnn", {"pool": pool, "num_classes": 3}, [2, 3, 5, 6]
    flat = {"pool": "flatten", "num_classes": 3, "height": 7, "width": 8, "hidden": 6}
    yield "pooled-cnn", flat, [2, 3, 7, 8]
    yield "keras-cnn", flat, [2, 3, 7, 8]
    yield "keras-cnn", {"num_classes": 3}, [2, 3, 8, 9]
    yield "simple-cnn", {}, [2, 3, 16, 17]
    yield "gap-classification", {"in_channels": 6, "num_classes": 3}, [3, 6, 3, 4]
    yield "multi-scale", {}, [2, 3, 16, 18]
    yield "progressive", {"num_classes": 3}, [2, 3, 16, 18]
    yield "attention-classifier", {"in_channels": 20, "hidden": 7, "num_classes": 3}, [2, 20, 4, 3]
    yield "squeeze-excitation", {"in_channels": 20, "reduction": 4}, [2, 20, 5, 4]
    yield "cbam", {"in_channels": 20, "reduction": 4}, [2, 20, 5, 8]
    for intra in (0, 1):
        yield "netvlad", {"in_channels": 7, "clusters": 4, "intra_normalise": intra}, [2, 7, 5, 4]
    for name in ("concat-pool", "gem", "lse", "soft", "spp", "improved-spp", "softmax-attention", "sigmoid-attention"):
        yield name, {"in_channels": 20}, [2, 20, 5, 6]
    yield "spp", {"in_channels": 20, "levels": [1, 3], "spp_pool": "max"}, [2, 20, 5, 6]
    yield "resnet18", {"num_classes": 3}, [1, 3, 64, 64]
    yield "resnet18", {"pool": "gem", "include_top": 0, "frozen": 1}, [2, 3, 32, 32]
    yield "resnet50", {"num_classes": 3}, [1, 3, 64, 64]
    yield "transfer-model", {"num_classes": 3}, [2, 3, 32, 32]
    yield "densenet121", {"num_classes": 3}, [1, 3, 64, 64]
    yield "densenet121-attention", {"num_classes": 3, "hidden": 8, "attention_hidden": 5}, [1, 3, 64, 64]


def main():
    torch.set_num_threads(2)
    tensors, metadata = {}, {}
    for number, (name, options, shape) in enumerate(cases()):
        module = build(name, options)
        state = {key: value(key, tuple(tensor.shape)) for key, tensor in module.state_dict().items()}
        module.load_state_dict({key: tensor.to(module.state_dict()[key].dtype) for key, tensor in state.items()})
        x = value("x", tuple(shape)).float()
        y = module.eval()(x)
        outputs = y if isinstance(y, dict) else {"": y}
        slopes = {suffix: value("dy" + suffix, tuple(tensor.shape)).float() for suffix, tensor in outputs.items()}
        frozen = options.get("frozen", 1 if name == "transfer-model" else 0) == 1
        norms = any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
        for train in (False, True) if norms else (False,):
            reference = run_torch(module, x, slopes, torch.float64, train, frozen)
            own = run_torch(module, x, slopes, torch.float32, train, frozen)
            case = f"{number:02}-{name}-{'train' if train else 'eval'}"
            pairs = [text for text in options_text(options) if text != "--option"]
            metadata[case] = json.dumps({"model": name, "options": pairs, "shape": shape, "train": train})
            for key, expected in reference.items():
                tensors[f"{case}/{key}"] = summary(key, expected, own[key], scale_of(key, reference, train))
        print(name, options, flush=True)
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "networks.safetensors")
    write_safetensors(path, tensors, metadata)
    print(os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
