#!/usr/bin/env python3
"""Makes pools.safetensors: what PyTorch says the pools of poolhead give, in float64 with autograd.

    python3 make_pool_goldens.py        # needs torch and numpy; the same bytes on every run

The file's metadata holds the list of cases ("cases", JSON): pool, shape, where x, dy, the mask and the
parameters come from (golden_data.generate), all of them float32 values. Tensors are called <case>/y, /argmax,
/dx and /grad/<parameter>; large ones are summarised (golden_data.summarise). In dx and gradients of parameters
NaN stands for "not defined there": where y is NaN or infinite, only pools that average or select have one.

Every pool is torch's own operator where that gives the definition, rewritten with a detached shift or scale m
where float64 would overflow or cancel (f(x) = m f(x / m), f(x) = m + f(x - m)). PyTorch differs from poolhead's
definitions, and is not used, in these points:
  - amax spreads the gradient over ties; here, as in adaptive_max_pool2d, it goes to the first of them.
  - Of several NaN, max_pool2d and adaptive_max_pool2d report the last as argmax; here it is the first (as
    torch.max(dim) and numpy.argmax have it). amax and logsumexp give NaN for the whole plane's gradient.
  - x.abs().pow(p).sum().pow(1 / p) has a NaN gradient where the plane is all 0 (p > 1); here it is 0, as in
    torch.linalg.vector_norm.
  - lp_pool2d takes no abs(): with odd or fractional p it is another function.
  - torch.maximum(x, eps) halves the gradient at x == eps; here, as in clamp, x == eps passes all of it.
  - logsumexp of all -inf has a NaN gradient; no case depends on it.
"""

import json
import math
import os

import numpy as np
import torch
import torch.nn.functional as F
from golden_data import FULL_DX, FULL_Y, generate, generate_mask, hash64, summarise, write_safetensors

torch.set_num_threads(1)

# ---------------------------------------------------------------------------------------------- the pools
# Each takes x (N, C, H, W), its part of the case and its parameters by name, and gives (N, features).


def average(x, pool, parameters):
    return x.mean((2, 3))


def bins(length, count):
    return [(i * length // count, -(-(i + 1) * length // count)) for i in range(count)]


def argmax(x, grid):
    """Each bin's maximum as h * W + w, (N, C, oh * ow): its first NaN, else the first of the largest."""
    n, c, h, w = x.shape
    values = x.detach().numpy()
    result = np.empty((n, c, grid[0], grid[1]), np.int64)
    for i, (top, bottom) in enumerate(bins(h, grid[0])):
        for j, (left, right) in enumerate(bins(w, grid[1])):
            best = values[:, :, top:bottom, left:right].reshape(n, c, -1).argmax(2)
            result[:, :, i, j] = (top + best // (right - left)) * w + left + best % (right - left)
    if not np.isnan(values).any():
        assert np.array_equal(result, F.adaptive_max_pool2d(x, grid, return_indices=True)[1].numpy())
    return torch.from_numpy(result.reshape(n, c, -1))


def adaptive_max(x, pool, parameters):
    return x.flatten(2).gather(2, argmax(x, pool["grid"])).flatten(1)


def adaptive_average(x, pool, parameters):
    return F.adaptive_avg_pool2d(x, pool["grid"]).flatten(1)


def maximum(x, pool, parameters):
    return adaptive_max(x, {"grid": (1, 1)}, parameters)


def average_max(x, pool, parameters):
    return (average(x, pool, parameters) + maximum(x, pool, parameters)) / 2


def pyramid(x, pool, parameters):
    one = adaptive_average if pool["kind"] == "average" else adaptive_max
    return torch.cat([one(x, {"grid": (level, level)}, parameters) for level in pool["levels"]], 1)


def finite_or(value, otherwise):
    """A shift or a scale: a constant for autograd, and harmless where the plane is not finite."""
    value = value.detach()
    return torch.where(value.isfinite(), value, torch.full_like(value, otherwise))


def lp(x, pool, parameters):
    x = x.flatten(2)
    scale = finite_or(x.abs().amax(2, keepdim=True), 1.0)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale[..., 0] * torch.linalg.vector_norm(x / scale, ord=pool["p"], dim=2)


def generalized_mean(x, pool, parameters):
    clamped = x.flatten(2).clamp(min=pool["eps"])
    scale = finite_or(clamped.amax(2, keepdim=True), 1.0)
    p = parameters["p"].view(1, -1, 1)
    return (scale * ((clamped / scale) ** p).mean(2, keepdim=True) ** (1 / p))[..., 0]


def log_sum_exp(x, pool, parameters):
    x, r = x.flatten(2), parameters["r"]
    if float(r * (x.max() - x.min())) <= 4:  # exp(r x) is nearly linear there: keep the digits of r x
        shift = x.detach().mean(2, keepdim=True).float().double()
        return (shift + torch.log1p(torch.expm1(r * (x - shift)).mean(2, keepdim=True)) / r)[..., 0]
    shift = finite_or(x.amax(2, keepdim=True), 0.0)
    return (shift + torch.log(torch.exp(r * (x - shift)).mean(2, keepdim=True)) / r)[..., 0]


def soft(x, pool, parameters):
    x = x.flatten(2)
    shift = finite_or(x.amax(2, keepdim=True), 0.0)
    return shift[..., 0] + (torch.softmax(x, 2) * (x - shift)).sum(2)


def hidden_layer(x, parameters):
    weight = parameters["hidden.weight"]
    return F.conv2d(x, weight[:, :, None, None], parameters["hidden.bias"])


def attention(x, pool, parameters):
    hidden = torch.relu(hidden_layer(x, parameters))
    score = F.conv2d(hidden, parameters["score.weight"][:, :, None, None], parameters["score.bias"]).flatten(2)
    # sigmoid: a / sum a is the softmax of log a, which does not vanish where a does.
    weights = torch.softmax(score if pool["kind"] == "softmax" else F.logsigmoid(score), 2)
    return (weights * x.flatten(2)).sum(2)


def below(prefix, parameters):
    """The parameters whose names begin with prefix, without it."""
    return {name[len(prefix) :]: value for name, value in parameters.items() if name.startswith(prefix)}


def concat(x, pool, parameters):
    columns = []
    for i, head in enumerate(pool["heads"]):
        prefix = f"{i}."
        columns.append(FORWARD[head["type"]](x, head, below(prefix, parameters)))
    return torch.cat(columns, 1)


FORWARD = {
    "GlobalAveragePool": average,
    "GlobalMaxPool": maximum,
    "GlobalLpPool": lp,
    "GeneralizedMeanPool": generalized_mean,
    "LogSumExpPool": log_sum_exp,
    "SoftPool": soft,
    "AverageMaxPool": average_max,
    "SpatialPyramidPool": pyramid,
    "AdaptiveAveragePool": adaptive_average,
    "AdaptiveMaxPool": adaptive_max,
    "AttentionPool": attention,
    "concat": concat,
}
SMOOTH = ("GlobalLpPool", "GeneralizedMeanPool", "LogSumExpPool", "SoftPool", "AttentionPool")


def grids_of_argmax(pool):
    """The grids whose argmax the cache of this pool shows."""
    if pool["type"] in ("GlobalMaxPool", "AverageMaxPool"):
        return [(1, 1)]
    if pool["type"] == "AdaptiveMaxPool":
        return [pool["grid"]]
    if pool["type"] == "SpatialPyramidPool" and pool["kind"] == "max":
        return [(level, level) for level in pool["levels"]]
    return []


def parameter_shapes(pool, channels):
    if pool["type"] == "concat":
        shapes = {}
        for i, head in enumerate(pool["heads"]):
            shapes.update({f"{i}.{name}": shape for name, shape in parameter_shapes(head, channels).items()})
        return shapes
    if pool["type"] == "GeneralizedMeanPool":
        return {"p": (1,) if pool["shared"] else (channels,)}
    if pool["type"] == "LogSumExpPool":
        return {"r": (1,)}
    if pool["type"] == "AttentionPool":
        hidden = pool["hidden"]
        return {
            "hidden.weight": (hidden, channels),
            "hidden.bias": (hidden,),
            "score.weight": (1, hidden),
            "score.bias": (1,),
        }
    return {}


# ---------------------------------------------------------------------------------------------- one case


def inputs(case):
    """x (N, C, S) with what the mask hides in it, the mask or None, dy, and the parameters."""
    n, c, h, w = case["shape"]
    x, mask = generate(case["x"], n, c, h * w), None
    if "mask" in case:
        mask = generate_mask(case["mask"], n, h * w)
        x = np.where(mask[:, None, :], x, float(case["mask"]["garbage"]))
    parameters = {
        name: generate(case["parameters"][name], 1, 1, math.prod(shape)).reshape(shape)
        for name, shape in parameter_shapes(case["pool"], c).items()
    }
    return x, mask, parameters


def samples_of(x, mask, case):
    """What a pool sees, as (positions, part): the whole batch, or each sample's valid positions in a row."""
    if mask is None:
        yield None, x.view(case["shape"])
    else:
        for n, valid in enumerate(mask):
            positions = torch.from_numpy(np.flatnonzero(valid))
            yield positions, x[n : n + 1].index_select(2, positions)[:, :, None, :]


def evaluate(case):
    """{suffix: array} of the case: y, argmax, dx and the gradients of the parameters."""
    x, mask, parameters = inputs(case)
    x = torch.from_numpy(x).requires_grad_()
    parameters = {name: torch.from_numpy(value).requires_grad_() for name, value in parameters.items()}
    pool = case["pool"]
    y, best = [], []
    for positions, part in samples_of(x, mask, case):
        y.append(FORWARD[pool["type"]](part, pool, parameters))
        found = [argmax(part, grid).flatten(1) for grid in grids_of_argmax(pool)]
        if found:
            best.append(torch.cat(found, 1) if positions is None else positions[torch.cat(found, 1)])
    y = torch.cat(y)
    dy = torch.from_numpy(generate(case["dy"], y.shape[0], 1, y.shape[1])[:, 0])
    y.backward(dy)

    result = {"y": y.detach().numpy()}
    if best:
        result["argmax"] = torch.cat(best).numpy()
    result["dx"] = x.grad.numpy()
    for name, value in parameters.items():
        result[f"grad/{name}"] = value.grad.numpy()
    leave_undefined(case, x.detach().numpy(), result)
    return result


def leave_undefined(case, x, result):
    """Puts NaN where no definition says what a gradient is, and makes sure that it is nowhere else."""
    channels, first = case["shape"][1], 0
    pool = case["pool"]
    heads = pool["heads"] if pool["type"] == "concat" else [pool]
    defined = np.ones(result["dx"].shape, bool)
    for i, head in enumerate(heads):
        y = result["y"][:, first:]
        if head["type"] in SMOOTH:
            prefix = f"grad/{i}." if pool["type"] == "concat" else "grad/"
            bad = ~np.isfinite(y[:, :channels])
            if head["type"] == "AttentionPool":
                bad[:] = bad.any(1, keepdims=True)
            defined[bad] = False
            if head["type"] == "LogSumExpPool":
                bad |= np.isneginf(x).any(2)  # 0 * inf
            for name in parameter_shapes(head, channels):
                gradient = result[prefix + name]
                gradient[bad.any(0) if gradient.shape == (channels,) and name == "p" else bad.any()] = np.nan
                assert bad.any() or not np.isnan(gradient).any(), case["name"]
        first += features(head, channels)
    result["dx"][~defined] = np.nan
    assert not np.isnan(result["dx"][defined]).any(), case["name"]


def features(pool, channels):
    if pool["type"] == "SpatialPyramidPool":
        return channels * sum(level * level for level in pool["levels"])
    return channels * math.prod(pool.get("grid", (1,)))


def distance_from_kink(case):
    """How close a hidden unit of an attention head comes to 0, where the gradient of relu jumps."""
    x, mask, parameters = inputs(case)
    heads = case["pool"].get("heads", [case["pool"]])
    nearest = math.inf
    for i, head in enumerate(heads):
        if head["type"] == "AttentionPool":
            prefix = f"{i}." if "heads" in case["pool"] else ""
            own = {name: torch.from_numpy(value) for name, value in below(prefix, parameters).items()}
            for _, part in samples_of(torch.from_numpy(x), mask, case):
                nearest = min(nearest, float(hidden_layer(part, own).abs().nan_to_num(math.inf).min()))
    return nearest


# ---------------------------------------------------------------------------------------------- the cases

SHAPES = [
    (1, 1, 1, 1),
    (5, 3, 1, 1),
    (2, 17, 1, 1),
    (3, 3, 7, 7),
    (2, 17, 7, 7),
    (1, 33, 7, 7),
    (2, 3, 13, 17),
    (1, 17, 7, 11),
    (1, 129, 7, 11),
    (4, 1, 14, 14),
    (2, 33, 14, 14),
    (1, 3, 28, 28),
    (1, 17, 28, 28),
    (2, 1, 56, 56),
    (1, 5, 56, 56),
    (2, 3, 1, 29),
    (1, 33, 1, 64),
    (1, 1, 1, 300),
    (1, 2048, 1, 1),
    (2, 2048, 1, 3),
    (1, 2048, 3, 3),
    (2, 129, 2, 2),
    (5, 17, 3, 5),
    (1, 1, 31, 37),
]
LARGE = [(3, 33, 56, 56), (3, 2048, 7, 7)]  # more than a megabyte of float, so that two threads share the work
SPECIAL = [(2, 5, 7, 7), (1, 17, 1, 29), (3, 3, 5, 13), (1, 33, 3, 3)]  # for data that is not finite

NOISE = {  # name: (offset, scale)
    "uniform": (0.0, 1.0),
    "shifted": (1e4, 1.0),
    "positive": (1.0625, 1.0),
    "wide": (0.0, 32.0),
    "tiny": (0.0, 2.0**-100),
    "denormal": (0.0, 2.0**-130),
    "below_eps": (0.0, 2.0**-21),
    "largest": (1.5 * 2.0**127, 2.0**125),
}
CHOICE = {
    "ties": ["-2", "-1", "0", "1", "2"],
    "zeros": ["0", "-0"],
    "low_zeros": ["0", "-0", "-1"],
    "constant": ["0.1"],
    "negative": ["-3"],
    "all_zero": ["0"],
    "all_minus_inf": ["-inf"],
}
SPECIALS = {  # name: (noise, [(value, every)])
    "nan": ("uniform", [("nan", 37)]),
    "nans": ("uniform", [("nan", 3)]),
    "inf": ("uniform", [("inf", 41)]),
    "minus_inf": ("uniform", [("-inf", 5)]),
    "nonfinite": ("uniform", [("inf", 23), ("-inf", 29), ("nan", 31)]),
    "huge": ("uniform", [("1e30", 19), ("-1e30", 23)]),
    "floor": ("positive", [("0", 5), ("-3", 7), ("1e-7", 9), ("5e-7", 11)]),
    "at_eps": ("positive", [("0", 5), (repr(2.0**-20), 3)]),
    "zero_some": ("uniform", [("0", 4), ("-0", 7)]),
}
DY_SCALES = (1.0, 16.0, 1.0, 2.0**-8)


def float32_text(text):
    return repr(float(np.float32(text)))


class Cases:
    def __init__(self):
        self.cases = []

    def seed(self, purpose):
        """A seed of its own for every case and purpose, small enough for any JSON reader."""
        return int(hash64(hash64(0x600D, len(self.cases)), purpose) >> np.uint64(40))

    def data(self, name):
        base, specials = SPECIALS.get(name, (name, []))
        if base in NOISE:
            spec = {"kind": "noise", "seed": self.seed(0), "offset": NOISE[base][0], "scale": NOISE[base][1]}
        else:
            spec = {"kind": "choice", "seed": self.seed(0), "values": [float32_text(v) for v in CHOICE[base]]}
        if specials:
            spec["specials"] = [
                {"seed": self.seed(100 + i), "every": every, "value": float32_text(value)}
                for i, (value, every) in enumerate(specials)
            ]
        return spec

    def parameters(self, pool, channels, settings):
        specs = {}
        for i, name in enumerate(parameter_shapes(pool, channels)):
            last = name.split(".", 1)[1] if name[0].isdigit() else name
            spec = {"kind": "choice", "seed": self.seed(200 + i)}
            if last in ("p", "r"):
                spec["values"] = [float32_text(v) for v in settings[last]]
            elif last == "score.bias":
                spec["values"] = [float32_text(settings.get("score", 0.25))]
            else:
                fan = {"hidden.weight": channels, "score.weight": settings.get("hidden", 8)}.get(last, 12)
                gain = settings.get("gain", 1.0) if last == "score.weight" else 1.0
                scale = gain * 2.0 ** round(math.log2((3 / fan) ** 0.5))
                spec |= {"kind": "noise", "offset": 0.0, "scale": scale}
            specs[name] = spec
        return specs

    def add(self, label, pool, shape, data, mask=None, **settings):
        """settings: the values of p and r, and for attention score (its bias) and gain."""
        index, extents = len(self.cases), "x".join(map(str, shape))
        case = {
            "name": f"{index}: {label} on {extents} {data}" + (" masked" if mask else ""),
            "pool": pool,
            "shape": list(shape),
            "x": self.data(data),
            "dy": {"kind": "noise", "seed": self.seed(1), "offset": 0.0, "scale": DY_SCALES[index % 4]},
            "parameters": self.parameters(pool, shape[1], settings),
        }
        if mask:
            case["mask"] = {"seed": self.seed(2), "percent": mask[0], "garbage": float32_text(mask[1])}
        if any(name.endswith("hidden.bias") for name in case["parameters"]):
            while distance_from_kink(case) < 2.0**-17:
                for name, spec in case["parameters"].items():
                    if name.endswith("hidden.bias"):
                        spec["seed"] += 1
        self.cases.append(case)

    def cross(self, label, pool, count, data, start=0, masks=(None,), **settings):
        """The pool on `count` shapes and, in turn, the kinds of data."""
        for i in range(count):
            shape = SHAPES[(start + 7 * i) % len(SHAPES)]
            self.add(label, pool, shape, data[(start + i) % len(data)], masks[i % len(masks)], **settings)

    def special(self, label, pool, data, masks=(None,), **settings):
        """The pool on data that has places where a gradient may not be defined."""
        for i, name in enumerate(data):
            shape = SPECIAL[(i + len(self.cases)) % len(SPECIAL)]
            self.add(label, pool, shape, name, masks[i % len(masks)], **settings)


def gem(shared, eps=1e-6):
    return {"type": "GeneralizedMeanPool", "shared": shared, "eps": eps}


def attention_pool(hidden, kind):
    return {"type": "AttentionPool", "hidden": hidden, "kind": kind}


def pyramid_pool(levels, kind):
    return {"type": "SpatialPyramidPool", "levels": levels, "kind": kind}


def concat_pool(kind, *heads):
    """kind names the concatenation's C++ type in golden_concat_*test.cpp."""
    return {"type": "concat", "kind": kind, "heads": [{"type": h} if isinstance(h, str) else h for h in heads]}


EXPONENTS = (0.5, 1, 2, 2.7, 3, 4, 8, 30, 100)
NONFINITE = ["nan", "nans", "inf", "minus_inf", "all_minus_inf", "nonfinite"]


def make_cases():
    c = Cases()

    # Linear in what they select: defined for every input.
    linear = ["uniform", "shifted", "ties", "huge", "largest", "tiny", "constant", "denormal"]
    for name in ("GlobalAveragePool", "GlobalMaxPool", "AverageMaxPool"):
        pool = {"type": name}
        c.cross(name, pool, 24, linear, start=len(name))
        for shape in LARGE:
            c.add(name, pool, shape, "uniform")
        c.special(name, pool, NONFINITE)
        if name != "GlobalAveragePool":
            c.special(name, pool, ["zeros", "low_zeros", "negative"])

    for kind in ("average", "max"):
        for i, levels in enumerate([[1, 2, 4], [1, 2, 3, 6], [5], [1], [3, 1], [8, 2]]):
            label = f"SpatialPyramidPool {kind} {'-'.join(map(str, levels))}"
            pool = pyramid_pool(levels, kind)
            c.cross(label, pool, 4, linear, start=5 * i + 1)
            c.special(label, pool, [NONFINITE[i]])
        c.add(f"SpatialPyramidPool {kind} 1-2-4", pyramid_pool([1, 2, 4], kind), LARGE[0], "uniform")
        c.add(f"SpatialPyramidPool {kind} 1-2-4", pyramid_pool([1, 2, 4], kind), LARGE[1], "shifted")

    for name in ("AdaptiveAveragePool", "AdaptiveMaxPool"):
        for i, grid in enumerate([[1, 1], [2, 3], [7, 7], [1, 5], [4, 1], [9, 20], [60, 3]]):
            pool, label = {"type": name, "grid": grid}, f"{name} {grid[0]}x{grid[1]}"
            c.cross(label, pool, 3 if grid != [60, 3] else 1, linear, start=3 * i + 2)
            c.special(label, pool, [NONFINITE[i % len(NONFINITE)]])
        c.add(f"{name} 3x5", {"type": name, "grid": [3, 5]}, LARGE[0], "uniform")
        c.add(f"{name} 2x2", {"type": name, "grid": [2, 2]}, LARGE[1], "ties")

    # Norms and means of powers.
    for i, p in enumerate((1, 1.5, 2, 3, 4, 7.3, 30)):
        pool, label = {"type": "GlobalLpPool", "p": float(np.float32(p))}, f"GlobalLpPool p={p}"
        c.cross(label, pool, 5, ["uniform", "ties", "tiny", "huge", "shifted", "zero_some"], start=4 * i)
        c.special(label, pool, [["nan", "all_zero"], ["inf"], ["denormal", "all_zero"], ["nans"]][i % 4])
    c.add("GlobalLpPool p=3", {"type": "GlobalLpPool", "p": 3.0}, LARGE[0], "uniform")
    c.add("GlobalLpPool p=7.3", {"type": "GlobalLpPool", "p": float(np.float32(7.3))}, LARGE[1], "wide")

    positive = ["positive", "uniform", "floor", "huge", "below_eps", "shifted", "ties", "largest"]
    for i, p in enumerate(EXPONENTS):
        c.cross(f"GeneralizedMeanPool p={p}", gem(True), 4, positive, start=5 * i + 3, p=[p])
        c.special(f"GeneralizedMeanPool p={p}", gem(True), [["nan", "inf", "minus_inf", "nans"][i % 4]], p=[p])
        c.special(f"GeneralizedMeanPool p={p} eps=2^-20", gem(True, 2.0**-20), ["at_eps"], p=[p])
    c.cross("GeneralizedMeanPool per channel", gem(False), 16, positive, start=1, p=EXPONENTS)
    c.special("GeneralizedMeanPool per channel", gem(False), ["nan", "inf", "minus_inf", "nans"], p=EXPONENTS)
    c.special("GeneralizedMeanPool per channel eps=2^-20", gem(False, 2.0**-20), ["at_eps"] * 2, p=EXPONENTS)
    c.add("GeneralizedMeanPool p=3", gem(True), LARGE[1], "positive", p=[3])
    c.add("GeneralizedMeanPool p=2.7", gem(True), LARGE[0], "uniform", p=[2.7])
    c.add("GeneralizedMeanPool per channel", gem(False), LARGE[0], "positive", p=EXPONENTS)
    c.add("GeneralizedMeanPool per channel", gem(False), LARGE[1], "positive", p=EXPONENTS)

    # Exponentials.
    exponential = ["uniform", "wide", "shifted", "ties", "huge", "tiny", "positive", "constant"]
    for i, r in enumerate((0.01, 0.1, 1, 5, 50)):
        pool, label = {"type": "LogSumExpPool"}, f"LogSumExpPool r={r}"
        c.cross(label, pool, 6, exponential + ["largest"], start=5 * i, r=[r])
        c.special(label, pool, [["nan"], ["inf"], ["minus_inf"], ["nans"], ["minus_inf"]][i], r=[r])
    c.add("LogSumExpPool r=10", {"type": "LogSumExpPool"}, LARGE[0], "uniform", r=[10])
    c.add("LogSumExpPool r=0.5", {"type": "LogSumExpPool"}, LARGE[1], "wide", r=[0.5])
    c.cross("SoftPool", {"type": "SoftPool"}, 20, exponential + ["largest"], start=2)
    c.special("SoftPool", {"type": "SoftPool"}, ["nan", "nans"])
    for shape in LARGE:
        c.add("SoftPool", {"type": "SoftPool"}, shape, "wide")

    attended = ["uniform", "positive", "ties", "uniform", "wide", "constant"]
    for kind in ("softmax", "sigmoid"):
        for i, (hidden, gain) in enumerate([(1, 1), (3, 4), (8, 1), (16, 8), (33, 1)]):
            label = f"AttentionPool {kind} hidden={hidden}"
            c.cross(label, attention_pool(hidden, kind), 3, attended, start=7 * i + 2, hidden=hidden, gain=gain)
        for score in (-200, 200, -1000):
            label = f"AttentionPool {kind} scores near {score}"
            c.cross(label, attention_pool(4, kind), 2, attended, start=4, score=score)
        c.special(f"AttentionPool {kind} hidden=5", attention_pool(5, kind), ["nan"])
        for hidden, shape in zip((5, 16), LARGE):
            c.add(f"AttentionPool {kind} hidden={hidden}", attention_pool(hidden, kind), shape, "uniform")

    # Heads side by side.
    soft_and_hard = ["uniform", "positive", "ties", "shifted"]
    gap, gmp = "GlobalAveragePool", "GlobalMaxPool"
    mixed = concat_pool("average max", gap, gmp)
    c.cross("concat average max", mixed, 6, linear, start=1)
    c.special("concat average max", mixed, ["nan", "inf", "nonfinite", "zeros"])
    four = concat_pool("average max gem pyramid", gap, gmp, gem(True), pyramid_pool([1, 2, 4], "average"))
    c.cross("concat average max gem pyramid", four, 10, soft_and_hard + ["floor"], start=4, p=[3])
    c.special("concat average max gem pyramid", four, ["nan", "inf"], p=[3])
    attentive = concat_pool("attention gem max", attention_pool(6, "softmax"), gem(False), gmp)
    c.cross("concat attention gem max", attentive, 8, ["uniform", "positive", "ties"], start=9, p=EXPONENTS)
    grids = concat_pool(
        "lse pyramid soft adaptive sigmoid",
        "LogSumExpPool",
        pyramid_pool([1, 3], "max"),
        "SoftPool",
        {"type": "AdaptiveAveragePool", "grid": [2, 3]},
        attention_pool(3, "sigmoid"),
    )
    c.cross(f"concat {grids['kind']}", grids, 8, ["uniform", "positive", "ties"], start=14, r=[2])
    rest = concat_pool(
        "lp average_max adaptive",
        {"type": "GlobalLpPool", "p": 3.0},
        "AverageMaxPool",
        {"type": "AdaptiveMaxPool", "grid": [3, 2]},
    )
    c.cross("concat lp average_max adaptive", rest, 8, soft_and_hard + ["huge"], start=19)
    for pool, shapes in ((four, LARGE), (attentive, LARGE[:1]), (grids, LARGE[:1]), (rest, LARGE[:1])):
        for shape in shapes:
            c.add(f"concat {pool['kind']}", pool, shape, "uniform", p=[3], r=[2])

    # Masks: what they hide must not matter.
    masks = [(70, "nan"), (25, "1e30"), (3, "nan"), (100, "nan"), (60, "inf")]
    for name in ("GlobalAveragePool", "GlobalMaxPool"):
        c.cross(name, {"type": name}, 13, linear, start=6, masks=masks)
        c.special(name, {"type": name}, ["nan", "nonfinite", "all_minus_inf"], masks=masks)
        for shape in LARGE:
            c.add(name, {"type": name}, shape, "uniform", masks[0])
    c.cross("GeneralizedMeanPool p=3", gem(True), 8, positive, start=2, masks=masks, p=[3])
    c.cross("GeneralizedMeanPool per channel", gem(False), 8, positive, start=11, masks=masks, p=EXPONENTS)
    c.special("GeneralizedMeanPool p=4", gem(True), ["nan", "at_eps"], masks=masks, p=[4])
    c.add("GeneralizedMeanPool p=3", gem(True), LARGE[0], "positive", masks[0], p=[3])
    for kind in ("softmax", "sigmoid"):
        for hidden in (2, 9):
            pool, label = attention_pool(hidden, kind), f"AttentionPool {kind} hidden={hidden}"
            c.cross(label, pool, 5, attended, start=8 + hidden, masks=masks, hidden=hidden)
        label = f"AttentionPool {kind} scores near -200"
        c.cross(label, attention_pool(4, kind), 2, attended, start=4, masks=masks, score=-200)
        c.add(f"AttentionPool {kind} hidden=5", attention_pool(5, kind), LARGE[0], "uniform", masks[0])
    return c.cases


def main():
    cases = make_cases()
    tensors = {}
    largest_float = float(np.finfo(np.float32).max)
    for i, case in enumerate(cases):
        for suffix, values in evaluate(case).items():
            assert np.abs(values[np.isfinite(values)]).max(initial=0) <= largest_float, case["name"]
            undefined = values.dtype.kind == "f" and not np.isfinite(values).all()
            limit = FULL_DX if suffix == "dx" else FULL_Y
            parts = {"": values} if undefined or values.size <= limit else summarise(values)
            tensors.update({f"{i}/{suffix}{part}": array for part, array in parts.items()})
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pools.safetensors")
    metadata = {
        "cases": json.dumps(cases, separators=(",", ":")),
        "made by": f"make_pool_goldens.py, torch {torch.__version__}, numpy {np.__version__}",
    }
    write_safetensors(path, tensors, metadata)
    print(f"{len(cases)} cases, {len(tensors)} tensors, {os.path.getsize(path) / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
