"""What both sides of the goldens share: hashed data, the summary of large tensors, and the file format.

tests/golden/replay.hpp does the same in C++. Inputs are never stored: they follow from a seed. Every value is a
float32, so that a float and a double replay of a case see the same input and the same reference.
"""

import json
import struct

import numpy as np

FULL_Y = 600  # a y or an argmax with more elements is summarised
FULL_DX = 300  # so is a dx
SAMPLES = 128
PROJECTIONS = 4
SAMPLE_SEED = 0x5A3D
PROJECTION_SEED = 0x9A71


def hash64(seed, index):
    """splitmix64 as in tests/support/data.hpp: the same uint64 for the same arguments on every machine."""
    with np.errstate(over="ignore"):
        seed, index = np.asarray(seed, np.uint64), np.asarray(index, np.uint64)
        z = seed * np.uint64(0xD1342543DE82EF95) + (index + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def hash_grid(seed, n, c, s):
    """hash(seed, n, c, s) for all n, c, s below the three extents, as (N, C, S)."""
    rows = hash64(seed, np.arange(n, dtype=np.uint64))[:, None, None]
    channels = hash64(rows, np.arange(c, dtype=np.uint64)[None, :, None])
    return hash64(channels, np.arange(s, dtype=np.uint64)[None, None, :])


def generate(spec, n, c, s):
    """The (N, C, S) float64 values that spec describes, each of them a float32.

    noise:    float32(offset + scale * u), u = (hash >> 40) * 2^-23 - 1 in [-1, 1), scale a power of two
    choice:   values[hash % len(values)]
    specials: value where hash(seed, n, c, s) % every == 0; later ones win
    """
    if spec["kind"] == "noise":
        u = (hash_grid(spec["seed"], n, c, s) >> np.uint64(40)).astype(np.float64) * 2.0**-23 - 1.0
        with np.errstate(over="raise"):
            values = (spec["offset"] + spec["scale"] * u).astype(np.float32).astype(np.float64)
    else:
        table = np.array([float(value) for value in spec["values"]])
        values = table[(hash_grid(spec["seed"], n, c, s) % np.uint64(len(table))).astype(np.int64)]
    for special in spec.get("specials", []):
        at = hash_grid(special["seed"], n, c, s) % np.uint64(special["every"]) == 0
        values = np.where(at, float(special["value"]), values)
    assert np.array_equal(values, values.astype(np.float32), equal_nan=True), "data must be float32"
    return values


def generate_mask(spec, n, s):
    """(N, S) of bool: `percent` of the positions are valid, and one of each row for certain."""
    valid = hash_grid(spec["seed"], n, 1, s)[:, 0] % np.uint64(100) < spec["percent"]
    for row in range(n):
        valid[row, int(hash_grid(spec["seed"], n, 2, 1)[row, 1, 0] % np.uint64(s))] = True
    return valid


def summarise(values):
    """{suffix: tensor} that stands for a large tensor: samples from hashed places, and its projections on
    hashed signs followed by the sum of its magnitudes. Of integers: samples, and a sum weighted by hashes."""
    flat = values.reshape(-1)
    at = hash64(SAMPLE_SEED, np.arange(SAMPLES, dtype=np.uint64)) % np.uint64(flat.size)
    samples = flat[at.astype(np.int64)]
    bits = hash64(PROJECTION_SEED, np.arange(flat.size, dtype=np.uint64))
    if flat.dtype == np.int64:
        with np.errstate(over="ignore"):
            total = ((flat.astype(np.uint64) + np.uint64(1)) * bits).sum(dtype=np.uint64)
        return {".samples": samples, ".checksum": np.array([total]).view(np.int64)}
    assert np.isfinite(flat).all(), "a summarised tensor must be finite"
    projections = [
        np.where((bits >> np.uint64(k)) & np.uint64(1) == 1, flat, -flat).sum() for k in range(PROJECTIONS)
    ]
    return {".samples": samples, ".projections": np.array(projections + [np.abs(flat).sum()])}


def write_safetensors(path, tensors, metadata):
    """tensors: {name: F64 or I64 array}, metadata: {key: text}. The same arguments give the same bytes."""
    header, pieces, offset = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).astype({"f": "<f8", "i": "<i8"}[array.dtype.kind]).tobytes()
        header[name] = {
            "dtype": {"f": "F64", "i": "I64"}[array.dtype.kind],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(data)],
        }
        pieces.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + b"".join(pieces))


def read_safetensors(path):
    """({name: array}, metadata) of a file that write_safetensors wrote."""
    with open(path, "rb") as file:
        data = file.read()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = (8 + size + at for at in entry["data_offsets"])
        dtype = {"F64": "<f8", "I64": "<i8"}[entry["dtype"]]
        tensors[name] = np.frombuffer(data[begin:end], dtype).reshape(entry["shape"])
    return tensors, metadata
