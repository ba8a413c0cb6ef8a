#!/usr/bin/env python3
"""Checks pools.safetensors against the closed formulas of the pools and their gradients, in long double.

    python3 check_pool_goldens.py        # needs numpy only

Shares nothing with make_pool_goldens.py but the inputs: no torch, no autograd, masks as weights instead of
selection. Prints the largest error by pool, relative to 1 + |value| (of averages, the mean of
|x|; of a parameter's gradient, its largest element), and fails where one passes its limit.
"""

import json
import os
import sys

import numpy as np
from golden_data import generate, generate_mask, read_safetensors, summarise

LIMIT = {"y": 1e-13, "dx": 1e-13, "grad": 1e-11}  # a tenth or less of what a replay in double may differ by
Real = np.longdouble


class Plane:
    """x (N, C, S) in long double, the valid positions (N, 1, S), and dy of the head's columns (N, features)."""

    def __init__(self, x, valid, dy, shape):
        self.x, self.valid, self.dy, self.shape = x, valid, dy, shape
        self.count = valid.sum(2, keepdims=True)

    def sum(self, values):
        return np.where(self.valid, values, 0).sum(2, keepdims=True)

    def mean(self, values):
        return self.sum(values) / self.count

    def first_best(self):
        """The position of the first NaN, or of the first maximum, among the valid ones."""
        result = np.zeros(self.x.shape[:2], np.int64)
        for n, c in np.ndindex(result.shape):
            positions = np.flatnonzero(self.valid[n, 0])
            values = self.x[n, c, positions]
            nan = np.isnan(values)
            result[n, c] = positions[np.flatnonzero(nan if nan.any() else values == values.max())[0]]
        return result

    def at(self, positions, values):
        out = np.zeros_like(self.x)
        np.put_along_axis(out, positions[:, :, None], values, 2)
        return out


def average(plane, head, own):
    g = plane.dy[:, :, None]
    return plane.mean(plane.x)[..., 0], np.where(plane.valid, g / plane.count, 0), {}


def maximum(plane, head, own):
    best = plane.first_best()
    y = np.take_along_axis(plane.x, best[:, :, None], 2)[..., 0]
    return y, plane.at(best, plane.dy[:, :, None]), {}


def average_max(plane, head, own):
    y1, dx1, _ = average(plane, head, own)
    y2, dx2, _ = maximum(plane, head, own)
    return (y1 + y2) / 2, (dx1 + dx2) / 2, {}


def lp(plane, head, own):
    p, g, size = Real(head["p"]), plane.dy[:, :, None], np.abs(plane.x)
    y = plane.sum(size**p) ** (1 / p)
    dx = np.where(y == 0, 0, g * np.sign(plane.x) * (size / np.where(y == 0, 1, y)) ** (p - 1))
    return y[..., 0], dx, {}


def generalized_mean(plane, head, own):
    eps, p, g = Real(head["eps"]), own["p"][None, :, None], plane.dy[:, :, None]
    c = np.where(plane.x < eps, eps, plane.x)
    top = np.where(plane.valid & np.isfinite(c), c, eps).max(2, keepdims=True)
    powers = (c / top) ** p
    total = plane.sum(powers)
    y = top * (total / plane.count) ** (1 / p)
    dx = np.where((plane.x >= eps) & plane.valid, g / plane.count * (c / y) ** (p - 1), 0)
    # sum c^p ln c / sum c^p - ln y, both less ln top
    spread = plane.sum(powers * np.log(c / top)) / total - np.log(total / plane.count) / p
    dp = (g * y / p * spread)[..., 0].sum(0)
    return y[..., 0], dx, {"p": dp if own["p"].size > 1 else dp.sum(keepdims=True)}


def log_sum_exp(plane, head, own):
    r, g = own["r"][0], plane.dy[:, :, None]
    top = np.where(plane.valid, plane.x, -np.inf).max(2, keepdims=True)
    away = np.where(plane.valid, plane.x - np.where(np.isfinite(top), top, 0), 0)
    e = np.where(plane.valid, np.exp(r * away), 0)
    w = e / e.sum(2, keepdims=True)
    y = np.where(np.isfinite(top), top, 0) + np.log(plane.mean(e)) / r
    dr = (g * (plane.sum(w * away) - np.log(plane.mean(e)) / r) / r).sum()
    return y[..., 0], g * w, {"r": np.array([dr])}


def soft(plane, head, own):
    g = plane.dy[:, :, None]
    top = plane.x.max(2, keepdims=True)
    w = np.exp(plane.x - top)
    w = w / w.sum(2, keepdims=True)
    away = plane.x - top
    y = (w * away).sum(2, keepdims=True)
    return (top + y)[..., 0], g * w * (1 + away - y), {}


def bins(length, count):
    for i in range(count):
        yield i * length // count, (i + 1) * length // count + ((i + 1) * length % count > 0)


def grids(plane, head, own):
    """SpatialPyramidPool and the adaptive pools: one bin after another."""
    n, c, h, w = plane.shape
    if "levels" in head:
        levels, kind = [(level, level) for level in head["levels"]], head["kind"]
    else:
        levels, kind = [head["grid"]], "max" if "Max" in head["type"] else "average"
    one = average if kind == "average" else maximum
    y = np.zeros((n, 0), Real)
    dx = np.zeros((n, c, h, w), Real)
    column = 0
    for rows, columns in levels:
        part = np.zeros((n, c, rows, columns), Real)
        g = plane.dy[:, column : column + part[0].size].reshape(part.shape)
        for i, (top, bottom) in enumerate(bins(h, rows)):
            for j, (left, right) in enumerate(bins(w, columns)):
                area = (bottom - top) * (right - left)
                inside = plane.x.reshape(plane.shape)[:, :, top:bottom, left:right].reshape(n, c, area)
                piece = Plane(inside, np.ones((n, 1, area), bool), g[:, :, i, j], None)
                part[:, :, i, j], gradient, _ = one(piece, head, own)
                dx[:, :, top:bottom, left:right] += gradient.reshape(n, c, bottom - top, right - left)
        y = np.concatenate([y, part.reshape(n, -1)], 1)
        column += part[0].size
    return y, dx.reshape(n, c, h * w), {}


def attention(plane, head, own):
    w1, b1, w2, b2 = (own[k] for k in ("hidden.weight", "hidden.bias", "score.weight", "score.bias"))
    x = np.where(plane.valid, plane.x, 0)
    z = np.stack([w1 @ sample for sample in x]) + b1[None, :, None]
    score = np.stack([w2 @ sample for sample in np.maximum(z, 0)]) + b2[None, :, None]  # (N, 1, S)
    softmax = head["kind"] == "softmax"
    log_a = score if softmax else -np.logaddexp(Real(0), -score)
    log_a = np.where(plane.valid, log_a, -np.inf)
    a = np.exp(log_a - log_a.max(2, keepdims=True))
    a = a / a.sum(2, keepdims=True)
    g = plane.dy[:, :, None]
    y = (a * x).sum(2, keepdims=True)
    d_log_a = a * (g * (x - y)).sum(1, keepdims=True)
    d_score = d_log_a if softmax else d_log_a / (1 + np.exp(score))
    d_score = np.where(plane.valid, d_score, 0)
    dz = np.where(z > 0, w2.reshape(1, -1, 1) * d_score, 0)
    dx = g * a + np.stack([w1.T @ sample for sample in dz])
    return (
        y[..., 0],
        np.where(plane.valid, dx, 0),
        {
            "hidden.weight": sum(d @ sample.T for d, sample in zip(dz, x)),
            "hidden.bias": dz.sum((0, 2)),
            "score.weight": (d_score * np.maximum(z, 0)).sum((0, 2))[None, :],
            "score.bias": d_score.sum((0, 1, 2))[None],
        },
    )


FORMULA = {
    "GlobalAveragePool": average,
    "GlobalMaxPool": maximum,
    "GlobalLpPool": lp,
    "GeneralizedMeanPool": generalized_mean,
    "LogSumExpPool": log_sum_exp,
    "SoftPool": soft,
    "AverageMaxPool": average_max,
    "SpatialPyramidPool": grids,
    "AdaptiveAveragePool": grids,
    "AdaptiveMaxPool": grids,
    "AttentionPool": attention,
}
AVERAGES = ("GlobalAveragePool", "AdaptiveAveragePool", "AverageMaxPool", "SpatialPyramidPool")


def parameter(case, head, name):
    c = case["shape"][1]
    short = name.split(".", 1)[1] if name[0].isdigit() else name
    hidden = head.get("hidden", 0)
    shape = {
        "p": (1 if head.get("shared") else c,),
        "r": (1,),
        "hidden.weight": (hidden, c),
        "hidden.bias": (hidden,),
        "score.weight": (1, hidden),
        "score.bias": (1,),
    }[short]
    return short, generate(case["parameters"][name], 1, 1, int(np.prod(shape))).reshape(shape).astype(Real)


def evaluate(case, of=lambda x: x):
    n, c, h, w = case["shape"]
    x = of(generate(case["x"], n, c, h * w).astype(Real))
    valid = np.ones((n, 1, h * w), bool)
    if "mask" in case:
        valid = generate_mask(case["mask"], n, h * w)[:, None, :]
        x = np.where(valid, x, Real(0))
    heads = case["pool"].get("heads", [case["pool"]])
    sizes = []
    for head in heads:
        levels = [(level, level) for level in head.get("levels", [])] or [head.get("grid", (1, 1))]
        sizes.append(c * sum(a * b for a, b in levels))
    dy = generate(case["dy"], n, 1, sum(sizes))[:, 0].astype(Real)
    result, y, column = {"dx": np.zeros_like(x)}, [], 0
    for i, (head, size) in enumerate(zip(heads, sizes)):
        prefix = f"{i}." if "heads" in case["pool"] else ""
        own = dict(parameter(case, head, name) for name in case["parameters"] if name.startswith(prefix))
        plane = Plane(x, valid, dy[:, column : column + size], case["shape"])
        part, dx, gradients = FORMULA[head["type"]](plane, head, own)
        y.append(part)
        result["dx"] = result["dx"] + dx
        result.update({f"grad/{prefix}{name}": value for name, value in gradients.items()})
        column += size
    result["y"] = np.concatenate(y, 1)
    return result


def error(got, expected, scale):
    """The largest |got - expected| / scale; where got is NaN or infinite, expected must be the same."""
    same = np.isnan(got) & np.isnan(expected) | (got == expected)
    if (np.isnan(got) != np.isnan(expected)).any():
        return np.inf
    return float(np.where(same, 0, np.abs(got - expected) / scale).max(initial=0))


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    tensors, metadata = read_safetensors(os.path.join(folder, "pools.safetensors"))
    worst, used, failed = {}, 0, False
    for i, case in enumerate(json.loads(metadata["cases"])):
        with np.errstate(all="ignore"):
            result = evaluate(case)
        for suffix, values in result.items():
            kind = suffix.split("/")[0]
            name = f"{i}/{suffix}"
            scale = np.abs(values)
            if kind == "grad":
                scale = np.full_like(scale, np.nanmax(scale, initial=0))
            if kind == "y" and case["pool"]["type"] in AVERAGES:  # x cancels
                with np.errstate(all="ignore"):
                    scale = evaluate(case, np.abs)["y"]
            with np.errstate(all="ignore"):
                if name in tensors:
                    golden = tensors[name].reshape(values.shape)
                    if kind != "y":  # NaN says that nothing is defined
                        values = np.where(np.isnan(golden), np.nan, values)
                    found = error(golden, values, 1 + scale)
                    used += 1
                else:
                    parts, scales = summarise(values), summarise(scale)
                    samples, projections = tensors[name + ".samples"], tensors[name + ".projections"]
                    found = max(
                        error(samples, parts[".samples"], 1 + scales[".samples"]),
                        error(projections, parts[".projections"], 1 + scales[".projections"][-1]),
                    )
                    used += 2
            key = (case["pool"]["type"] + (" masked" if "mask" in case else ""), kind)
            worst[key] = max(worst.get(key, (0, "")), (found, case["name"]))
            failed |= not found <= LIMIT[kind]
    argmaxes = sum("argmax" in name for name in tensors)
    for (pool, kind), (found, name) in sorted(worst.items()):
        print(f"{pool:32} {kind:5} {found:9.2e}   {name}")
    tensors_checked = sum(".checksum" not in name and "argmax" not in name for name in tensors)
    if failed or used != tensors_checked:
        sys.exit(f"FAILED: {used} of {tensors_checked} tensors compared")
    print(f"{used} tensors agree; those of argmax ({argmaxes}) are not compared, but the dx that they decide")


if __name__ == "__main__":
    main()
