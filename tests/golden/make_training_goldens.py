#!/usr/bin/env python3
"""Makes training.safetensors: PyTorch's optimizers, schedules and losses in float64.

    python3 make_training_goldens.py    # needs torch and numpy; the same bytes on every run

optimizer/<case> (20, 8): the parameters after each of 20 steps from `start` (8) along `gradients` (20, 8), for the
options of tests/optimizer_test.cpp; schedule/<case>: the rate, and /momentum, at steps 0 .. 49;
loss/<case>/value, /d: of `logits` or `probabilities` with `labels` or `targets`.
"""

import os

import numpy as np
import torch
import torch.nn.functional as F
from golden_data import hash64, write_safetensors

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)


def uniform(seed, *shape):
    """float64 in [-1, 1)."""
    bits = hash64(seed, np.arange(np.prod(shape), dtype=np.uint64)) >> np.uint64(11)
    return torch.from_numpy((bits.astype(np.float64) * 2.0**-52 - 1.0).reshape(shape))


tensors = {"start": uniform(1, 8), "gradients": uniform(2, 20, 8)}
tensors["gradients"][5] = 0.0  # a step along nothing still moves by momentum and decay

optimizers = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.1),
    "sgd-decay": lambda p: torch.optim.SGD(p, lr=0.1, weight_decay=0.05),
    "sgd-momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9),
    "sgd-dampening": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.8, dampening=0.3, weight_decay=0.01),
    "sgd-nesterov": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
    "adam": lambda p: torch.optim.Adam(p),
    "adam-decay": lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1),
    "adamw": lambda p: torch.optim.AdamW(p),
    "adamw-decay": lambda p: torch.optim.AdamW(p, lr=0.02, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.3),
}
for name, make in optimizers.items():
    parameter = torch.nn.Parameter(tensors["start"].clone())
    optimizer, path = make([parameter]), []
    for gradient in tensors["gradients"]:
        parameter.grad = gradient.clone()
        optimizer.step()
        path.append(parameter.detach().clone())
    tensors["optimizer/" + name] = torch.stack(path)

lr = torch.optim.lr_scheduler
schedules = {
    "step": lambda o: lr.StepLR(o, 7, gamma=0.3),
    "cosine": lambda o: lr.CosineAnnealingLR(o, 50, eta_min=1e-4),
    "one-cycle": lambda o: lr.OneCycleLR(o, 0.2, total_steps=50),
    "one-cycle-early": lambda o: lr.OneCycleLR(
        o, 0.2, total_steps=50, pct_start=0.1, div_factor=10, final_div_factor=100, base_momentum=0.8, max_momentum=0.9
    ),
}
for name, make in schedules.items():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.2, momentum=0.9)
    schedule, rates, momenta = make(optimizer), [], []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        momenta.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        if len(rates) < 50:
            schedule.step()
    tensors["schedule/" + name] = torch.tensor(rates)
    tensors["schedule/" + name + "/momentum"] = torch.tensor(momenta)

labels = torch.tensor([3, 0, 4, 1])
logits = 6 * uniform(3, 4, 5)
logits[0, :2] = torch.tensor([800.0, -800.0])
probabilities = (uniform(4, 4, 5) + 1) / 2
probabilities[1, :2] = torch.tensor([0.0, 1.0])
targets = (uniform(5, 4, 5) > 0).double()
targets[1, :2] = torch.tensor([1.0, 1.0])
targets[2] = (uniform(6, 5) + 1) / 2
tensors |= {"labels": labels, "logits": logits, "probabilities": probabilities, "targets": targets}
losses = {
    "cross-entropy": (logits, lambda z: F.cross_entropy(z, labels)),
    "cross-entropy-of-sigmoid": (logits, lambda z: F.cross_entropy(torch.sigmoid(z), labels)),
    "binary": (probabilities, lambda p: F.binary_cross_entropy(p, targets)),
    "binary-of-logits": (logits, lambda z: F.binary_cross_entropy_with_logits(z, targets)),
}
for name, (at, loss) in losses.items():
    x = at.clone().requires_grad_()
    value = loss(x)
    value.backward()
    tensors["loss/" + name + "/value"] = value.detach().reshape(1)
    tensors["loss/" + name + "/d"] = x.grad

path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "training.safetensors")
write_safetensors(path, {name: tensor.numpy() for name, tensor in tensors.items()}, {"torch": torch.__version__})
print(f"{path}: {len(tensors)} tensors, {os.path.getsize(path)} bytes")
