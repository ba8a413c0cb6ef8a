#!/usr/bin/env python3
"""Makes explain.safetensors: class activation maps by their definitions, in PyTorch's float64 with autograd.

    python3 make_explain_goldens.py     # needs torch and numpy; the same bytes on every run

A network (conv 2>4 k3 p1, ReLU, max-pool 2; GAP, dense 4>3) with weights.*, two images x (2, 2, 6, 8), the
activations after the pool, the gradients of class 1's logit there, and the maps cam, grad, grad++, layer (2, 3, 4)
and score (1, 3, 4, of image 0). ramp, ramp/resized: bilinear interpolation with antialias, up and down.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F
from golden_data import hash64, write_safetensors

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
CLASS = 1


def uniform(seed, *shape):
    bits = hash64(seed, np.arange(np.prod(shape), dtype=np.uint64)) >> np.uint64(11)
    return torch.from_numpy((bits.astype(np.float64) * 2.0**-52 - 1.0).reshape(shape))


x = uniform(1, 2, 2, 6, 8)
weights = {"0.weight": uniform(2, 4, 2, 3, 3), "0.bias": uniform(3, 4) / 4,
           "fc.weight": uniform(4, 3, 4), "fc.bias": uniform(5, 3)}
weights["0.bias"][2] = -100.0  # a channel that is 0 everywhere: its mask is flat


def layer(x):
    return F.max_pool2d(F.relu(F.conv2d(x, weights["0.weight"], weights["0.bias"], padding=1)), 2)


def head(a):
    # Squared, so that the gradients differ from place to place.
    return F.linear((a * a).mean((2, 3)), weights["fc.weight"], weights["fc.bias"])


a = layer(x).requires_grad_()
logits = head(a)
(g,) = torch.autograd.grad(logits[:, CLASS].sum(), a)
a = a.detach()


def weighted(w):
    return (w * a).sum(1)


total = a.sum((2, 3), keepdim=True)
denominator = 2 * g**2 + total * g**3
alpha = torch.where(denominator != 0, g**2 / torch.where(denominator != 0, denominator, 1), 0)
maps = {
    "cam": weighted(weights["fc.weight"][CLASS][None, :, None, None]),
    "grad": F.relu(weighted(g.mean((2, 3), keepdim=True))),
    "grad++": F.relu(weighted((alpha * F.relu(g)).sum((2, 3), keepdim=True))),
    "layer": F.relu(weighted(F.relu(g))),
}

scores = []
for k in range(4):
    mask = F.interpolate(a[:1, k : k + 1], size=x.shape[2:], mode="bilinear")
    span = mask.max() - mask.min()
    mask = (mask - mask.min()) / span if span > 0 else torch.zeros_like(mask)
    scores.append(head(layer(x[:1] * mask))[0, CLASS])
w = torch.softmax(torch.stack(scores), 0)
maps["score"] = F.relu((w[None, :, None, None] * a[:1]).sum(1))

ramp = uniform(6, 1, 1, 7, 10)
tensors = {"x": x, "a": a, "g": g, "logits": logits.detach(), "ramp": ramp}
tensors |= {"weights." + name: value for name, value in weights.items()}
tensors |= {"maps/" + name: value for name, value in maps.items()}
for size in [(7, 10), (3, 4), (11, 25), (2, 30)]:
    # torch computes antialiased interpolation in float64, too
    tensors["ramp/%dx%d" % size] = F.interpolate(ramp, size=size, mode="bilinear", antialias=True)[0, 0]

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "explain.safetensors")
write_safetensors(path, {name: tensor.numpy() for name, tensor in tensors.items()}, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes")
