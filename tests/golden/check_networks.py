"""Runs poolhead_forward on every network, head and option with random weights, beside PyTorch in float64.

A longer check than the goldens: python3 check_networks.py PROGRAM [--only WORD] [--quick]. Each case runs in both
layouts, on one thread and on two (whose bits must agree), in float and in double, in eval mode and, with batch-norm,
in train mode. A tensor's error is its largest difference over its largest magnitude; it passes at 1e-10 (double),
1e-5 or four times the error of PyTorch's own float (float). Rounding decides on which side of a ReLU's kink a number
close to it falls, and a number on the other side changes a gradient by much more than rounding. So PyTorch's error is the
larger of its two float arithmetics', with oneDNN and without, and in train mode that of its worst tensor.
"""

import argparse
import json
import os
import struct
import subprocess
import sys
import tempfile

import numpy as np
import torch
from torch import nn

from network_modules import build

DTYPES = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
NUMPY = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


def save(path, tensors):
    header, data = {}, b""
    for name, tensor in tensors.items():
        tensor = tensor.detach().contiguous()
        raw = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy().tobytes()
        header[name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load(path):
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {
        name: np.frombuffer(
            data[8 + size + entry["data_offsets"][0] : 8 + size + entry["data_offsets"][1]], NUMPY[entry["dtype"]]
        ).reshape(entry["shape"])
        for name, entry in header.items()
    }


def randomise(module, generator):
    """Batch-norm and pools away from where they start; everything a float32."""
    uniform = lambda like, low, high: torch.rand(like.shape, generator=generator) * (high - low) + low
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.weight.copy_(uniform(layer.weight, 0.5, 1.5))
                layer.bias.copy_(uniform(layer.bias, -0.3, 0.3))
                layer.running_mean.copy_(uniform(layer.running_mean, -0.5, 0.5))
                layer.running_var.copy_(uniform(layer.running_var, 0.5, 2.0))
                layer.num_batches_tracked.fill_(5)
        for name, parameter in module.named_parameters():
            if name.split(".")[-1] in ("p", "r"):
                parameter.copy_(uniform(parameter, 0.7, 4.0))


def run_torch(module, x, slopes, dtype, train, frozen):
    """Everything that the program writes, from PyTorch. The module keeps its state."""
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    module.to(dtype).train(train)
    x = x.to(dtype).requires_grad_(not frozen)
    y = module(x)
    outputs = y if isinstance(y, dict) else {"": y}
    result = {"y" + suffix: tensor.detach().double().numpy() for suffix, tensor in outputs.items()}
    parameters = dict(module.named_parameters())
    if frozen:
        heads = ("avgpool.", "global_pool.", "fc.", "classifier.", "attention_pool.")
        parameters = {name: value for name, value in parameters.items() if name.startswith(heads)}
    total = sum((tensor * slopes[suffix].to(dtype)).sum() for suffix, tensor in outputs.items())
    wanted = list(parameters.values()) + ([] if frozen else [x])
    gradients = torch.autograd.grad(total, wanted) if wanted else []
    for name, gradient in zip(list(parameters) + ["dx"], gradients):
        result["dx" if name == "dx" else "grad." + name] = gradient.double().numpy()
    if train:
        for name, buffer in module.named_buffers():
            result[name] = buffer.detach().clone().double().numpy()
    module.to(torch.float32)
    module.load_state_dict(state)
    return result


def error(ours, reference, scale):
    if ours.shape != reference.shape:
        return float("inf")
    if reference.size == 0:
        return 0.0
    difference = np.abs(ours.astype(np.float64) - reference).max()
    return 0.0 if difference == 0 else float("inf") if scale == 0 else difference / scale


def scale_of(name, reference, train):
    """The magnitude that an error is measured against. A sum that cancels is measured by its terms: a convolution's
    bias before batch-norm has no effect in training, and softmax-attention's scores may be shifted at will, so these
    gradients are rounding alone; the gradients of the weight beside them, or of the norm's own bias, are not."""
    scale = np.abs(reference[name]).max() if reference[name].size else 0.0
    parts = name.split(".")
    if not name.startswith("grad.") or parts[-1] != "bias":
        return scale
    beside = [".".join(parts[:-1] + ["weight"])] if "attention" in parts else []
    if train and parts[-2].isdigit():
        norm = parts[:-2] + [str(int(parts[-2]) + 1)]
        if ".".join(norm[1:] + ["running_mean"]) in reference:
            beside += [".".join(norm + [kind]) for kind in ("bias", "weight")]
    return max([scale] + [np.abs(reference[other]).max() for other in beside if other in reference])


def options_text(options):
    for key, value in options.items():
        yield "--option"
        yield f"{key}={','.join(map(str, value)) if isinstance(value, (tuple, list)) else value}"


def check(program, folder, case, quick):
    name, options, shape = case["model"], case.get("options", {}), case["shape"]
    frozen = options.get("frozen", 1 if name == "transfer-model" else 0) == 1
    generator = torch.Generator().manual_seed(case["seed"])
    torch.manual_seed(case["seed"])
    module = build(name, {**options, **({"in_channels": shape[1]} if name in CHANNELS_FROM_X else {})})
    randomise(module, generator)
    x = torch.randn(shape, generator=generator)
    if case.get("positive"):
        x = x.abs()
    module.eval()
    with torch.no_grad():
        y = module(x)
    outputs = y if isinstance(y, dict) else {"": y}
    slopes = {suffix: torch.randn(tensor.shape, generator=generator) for suffix, tensor in outputs.items()}
    norms = any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    weights, given, written = (os.path.join(folder, f"{part}.safetensors") for part in "wxy")
    save(weights, module.state_dict())
    save(given, {"x": x, **{"dy" + suffix: slope for suffix, slope in slopes.items()}, "label": torch.zeros(2).long()})

    worst = {}
    for train in (False, True) if norms else (False,):
        reference = run_torch(module, x, slopes, torch.float64, train, frozen)
        own = []
        for torch.backends.mkldnn.enabled in (False, True):
            floats = run_torch(module, x, slopes, torch.float32, train, frozen)
            own.append({key: error(floats[key], reference[key], scale_of(key, reference, train)) for key in reference})
        allowed = {key: 4 * max(errors[key] for errors in own) for key in reference}
        if train:
            allowed = dict.fromkeys(reference, max(allowed.values()))
        for scalar in ("float", "double"):
            for layout in ("nchw", "nhwc"):
                results = []
                for threads in (1,) if quick else (1, 2):
                    command = [program, "--model", name, *options_text(options), "--weights", weights, "--input", given]
                    command += ["--output", written, "--layout", layout, "--threads", str(threads)]
                    command += ["--mode", "train" if train else "eval"] + (["--double"] if scalar == "double" else [])
                    if os.path.exists(written):
                        os.remove(written)
                    done = subprocess.run(command, capture_output=True, text=True)
                    if done.returncode != 0:
                        return f"exit code {done.returncode}: {done.stderr.strip()}"
                    results.append(load(written))
                if len(results) == 2 and any(
                    results[0][key].tobytes() != results[1][key].tobytes() for key in results[0]
                ):
                    return f"{scalar} {layout}: other bits on two threads"
                ours = results[0]
                if set(ours) != set(reference):
                    return f"other tensors: {sorted(set(ours) ^ set(reference))[:6]}"
                for key, expected in reference.items():
                    scale = scale_of(key, reference, train)
                    got = error(ours[key], expected, scale)
                    limit = 1e-10 if scalar == "double" else max(1e-5, allowed[key])
                    kind = (scalar, "train" if train else "eval")
                    worst[kind] = max(worst.get(kind, (0, 0, "")), (got / limit, got, key))
    text = ", ".join(f"{' '.join(kind)} {got:.1e} ({key})" for kind, (_, got, key) in worst.items())
    bad = any(share > 1 for share, _, _ in worst.values())
    return ("over the limit: " if bad else "ok: ") + text


CHANNELS_FROM_X = ("squeeze-excitation", "cbam", "netvlad", "improved-spp", "softmax-attention", "sigmoid-attention")
POOLS = ["avg", "max", "mixed", "gem", "lse", "soft", "spp", "improved-spp", "softmax-attention", "sigmoid-attention"]


def cases():
    image = [3, 3, 16, 16]
    for kind in ("basic", "branches", "filters"):
        yield {"model": f"four-head-{kind}", "shape": [3, 3, 17, 14], "options": {"num_classes": 7, "hidden": 40}}
    yield {"model": "four-head-basic", "shape": [18, 1, 16, 16], "options": {"in_channels": 1}}
    for fourth in ("spp", "softmax-attention", "sigmoid-attention"):
        yield {"model": "four-head", "shape": [2, 3, 20, 18], "options": {"fourth": fourth, "hidden": 32}}
    yield {"model": "four-head", "shape": [2, 3, 20, 18], "options": {"levels": (1, 3), "spp_pool": "max"}}
    yield {"model": "four-head", "shape": image, "options": {"fourth": "softmax-attention", "attention_hidden": 3}}
    for name in ("conv-gap", "conv-gmp"):
        yield {"model": name, "shape": [5, 1, 28, 28]}
        yield {"model": name, "shape": [2, 3, 19, 25], "options": {"in_channels": 3, "num_classes": 4}}
    for pool in POOLS:
        yield {"model": "pooled-cnn", "shape": [2, 3, 9, 11], "options": {"pool": pool, "num_classes": 6}}
    flat = {"pool": "flatten", "height": 6, "width": 5, "hidden": 40}
    yield {"model": "pooled-cnn", "shape": [2, 3, 6, 5], "options": flat}
    yield {"model": "pooled-cnn", "shape": [2, 3, 9, 9], "options": {"pool": "spp", "levels": (2, 3), "spp_pool": "max"}}
    yield {"model": "pooled-cnn", "shape": [2, 3, 9, 9], "options": {"pool": "improved-spp", "out_features": 50}}
    yield {"model": "pooled-cnn", "shape": [2, 3, 9, 9], "options": {"pool": "sigmoid-attention", "attention_hidden": 5}}
    yield {"model": "keras-cnn", "shape": [2, 3, 12, 11]}
    yield {"model": "keras-cnn", "shape": [2, 3, 9, 10], "options": {**flat, "height": 9, "width": 10}}
    yield {"model": "simple-cnn", "shape": [2, 3, 32, 40]}
    yield {"model": "simple-cnn", "shape": [2, 3, 16, 24], "options": {**flat, "height": 16, "width": 24}}
    yield {"model": "gap-classification", "shape": [3, 512, 4, 5]}
    yield {"model": "gap-classification", "shape": [3, 20, 4, 5], "options": {"in_channels": 20, "num_classes": 9}}
    yield {"model": "multi-scale", "shape": [2, 3, 32, 36]}
    yield {"model": "progressive", "shape": [2, 3, 33, 32], "options": {"num_classes": 11}}
    yield {"model": "attention-classifier", "shape": [2, 1024, 4, 4]}
    sizes = {"in_channels": 40, "hidden": 16, "attention_hidden": 7, "num_classes": 4}
    yield {"model": "attention-classifier", "shape": [2, 40, 5, 4], "options": sizes}
    yield {"model": "squeeze-excitation", "shape": [3, 40, 6, 5], "options": {"reduction": 8}}
    yield {"model": "squeeze-excitation", "shape": [3, 7, 6, 5]}
    yield {"model": "cbam", "shape": [3, 40, 9, 8], "options": {"reduction": 4}}
    yield {"model": "cbam", "shape": [2, 6, 5, 4]}
    yield {"model": "netvlad", "shape": [3, 24, 6, 5], "options": {"clusters": 5}}
    yield {"model": "netvlad", "shape": [3, 24, 6, 5], "options": {"clusters": 5, "intra_normalise": 1}}
    for name in ("concat-pool", "gem", "lse", "soft", "spp", "improved-spp", "softmax-attention", "sigmoid-attention"):
        yield {"model": name, "shape": [3, 40, 9, 7], "positive": name == "gem"}
    yield {"model": "spp", "shape": [3, 40, 9, 7], "options": {"levels": (1, 2, 3, 6), "spp_pool": "max"}}
    yield {"model": "resnet18", "shape": [1, 3, 64, 64]}
    yield {"model": "resnet18", "shape": [3, 1, 48, 40], "options": {"in_channels": 1, "num_classes": 5, "pool": "gem"}}
    yield {"model": "resnet18", "shape": [2, 3, 64, 64], "options": {"include_top": 0, "pool": "softmax-attention"}}
    yield {"model": "resnet18", "shape": [2, 3, 64, 64], "options": {"frozen": 1, "num_classes": 5, "pool": "lse"}}
    yield {
        "model": "resnet18",
        "shape": [2, 3, 64, 32],
        "options": {"pool": "flatten", "height": 64, "width": 32, "hidden": 30},
    }
    yield {"model": "resnet50", "shape": [1, 3, 64, 64]}
    yield {"model": "resnet50", "shape": [2, 3, 64, 64], "options": {"num_classes": 5, "include_top": 0}}
    yield {"model": "resnet50", "shape": [2, 3, 64, 64], "options": {"num_classes": 5, "frozen": 1}}
    yield {"model": "transfer-model", "shape": [2, 3, 64, 64]}
    yield {"model": "transfer-model", "shape": [2, 3, 64, 64], "options": {"frozen": 0, "num_classes": 4}}
    yield {"model": "densenet121", "shape": [1, 3, 64, 64]}
    yield {"model": "densenet121", "shape": [2, 3, 64, 64], "options": {"pool": "improved-spp", "num_classes": 4}}
    yield {"model": "densenet121", "shape": [2, 3, 64, 64], "options": {"frozen": 1, "include_top": 0, "pool": "gem"}}
    yield {"model": "densenet121-attention", "shape": [2, 3, 64, 64]}
    yield {"model": "densenet121-attention", "shape": [2, 3, 64, 64], "options": {"frozen": 1, "hidden": 9}}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--only", default="", help="models whose name contains this")
    parser.add_argument("--quick", action="store_true", help="one thread only")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for case in cases():
            if arguments.only not in case["model"]:
                continue
            verdict = check(os.path.abspath(arguments.program), folder, {**case, "seed": arguments.seed}, arguments.quick)
            failed += not verdict.startswith("ok")
            options = " ".join(f"{key}={value}" for key, value in case.get("options", {}).items())
            print(f"{case['model']} {options} {case['shape']}: {verdict}", flush=True)
    print(f"{failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
