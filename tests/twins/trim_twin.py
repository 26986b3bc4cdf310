"""What numpy makes of feed-forward layers that leave neurons out by their gates (CATS), and of
products that leave inputs out (TEAL, WINA): makes tests/golden/sparsify/trim.safetensors.

Run from anywhere: python3 tests/twins/trim_twin.py. Needs numpy and safetensors. Inputs are drawn
here in 32 bits and kept in the file; everything else is computed from them in 64 and rounded to
F32. What the file holds: tests/golden/README.md.
"""

import math
import pathlib

import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "sparsify"
ROWS, WIDTH, NEURONS = 20, 24, 40


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def relu(x):
    return np.maximum(x, 0)


def layer(rng, act, gated):
    """A layer, the threshold that half of its sizes do not exceed, and what comes of it."""
    sizes = {"x": (ROWS, WIDTH), "gate": (NEURONS, WIDTH), "gate_bias": (NEURONS,),
             "out": (NEURONS, WIDTH)}
    if gated:
        sizes |= {"linear": (NEURONS, WIDTH), "linear_bias": (NEURONS,)}
    t = {name: np.float32(rng.standard_normal(size) / 3) for name, size in sizes.items()}
    w = {name: np.float64(value) for name, value in t.items()}
    a = act(w["x"] @ w["gate"].T + w["gate_bias"])
    ordered = np.sort(np.abs(a).ravel())
    # Between two sizes, so that rounding moves none across.
    middle = ordered.size // 2
    while ordered[middle + 1] - ordered[middle] < 1e-4:
        middle += 1
    threshold = (ordered[middle] + ordered[middle + 1]) / 2
    z = a * (w["x"] @ w["linear"].T + w["linear_bias"]) if gated else a
    z[np.abs(a) <= threshold] = 0
    t["threshold"] = np.float32([threshold])
    t["y"] = np.float32(z @ w["out"])
    return t


def product(rng, scaled):
    """A matrix, the threshold that 40 % of the sizes of its inputs do not exceed; the product."""
    sizes = {"x": (ROWS, WIDTH), "w": (NEURONS, WIDTH), "bias": (NEURONS,)}
    t = {name: np.float32(rng.standard_normal(size) / 3) for name, size in sizes.items()}
    w = {name: np.float64(value) for name, value in t.items()}
    t["norms"] = np.float32(np.linalg.norm(w["w"], axis=0))
    a = np.abs(w["x"]) * (np.linalg.norm(w["w"], axis=0) if scaled else 1)
    ordered = np.sort(a.ravel())
    t["least"] = np.float32([ordered[math.ceil(0.4 * ordered.size) - 1]])
    middle = int(0.4 * ordered.size)
    while ordered[middle + 1] - ordered[middle] < 1e-4:
        middle += 1
    threshold = (ordered[middle] + ordered[middle + 1]) / 2
    t["threshold"] = np.float32([threshold])
    t["kept"] = np.float32(np.where(a <= threshold, 0, w["x"]))
    t["y"] = np.float32(np.where(a <= threshold, 0, w["x"]) @ w["w"].T + w["bias"])
    return t


def main():
    rng = np.random.default_rng(16)
    tensors = {}
    for name, act, gated in [("swiglu", silu, True), ("geglu_erf", gelu, True),
                             ("swish", silu, False), ("relu", relu, False)]:
        tensors |= {f"{name}.{key}": value for key, value in layer(rng, act, gated).items()}
    for name, scaled in [("teal", False), ("wina", True)]:
        tensors |= {f"{name}.{key}": value for key, value in product(rng, scaled).items()}
    save_file(tensors, OUT / "trim.safetensors")


main()
