"""What numpy makes of the distillation of projections into MLPs (D2DMoE): makes
tests/golden/sparsify/distil.safetensors.

Run from anywhere: python3 tests/twins/distil_twin.py. Needs numpy and safetensors. Inputs are drawn
here in 32 bits and kept in the file; everything else is computed from them in 64 and rounded to
F32. Gradients are imaginary parts of f(p + i h) over h, exact to rounding. What the file holds:
tests/golden/README.md.
"""

import pathlib

import numpy as np
from safetensors.numpy import save_file

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "sparsify"
STEP = 1e-30
ROWS, MODULES = 24, 8  # rows of a batch, which are all there are; modules of the model
ALPHA, RATE, STEPS = 0.4, 0.02, 2
VALUES = ("up.weight", "up.bias", "down.weight", "down.bias")


def parts(t, p):
    """Mean squares, and square Hoyer, of complex parameters whose imaginary parts are tiny."""
    u = t["x"] @ p["up.weight"].T + p["up.bias"]
    a = np.where(u.real > 0, u, 0)
    off = a @ p["down.weight"].T + p["down.bias"] - t["x"] @ t["weight"].T - t["bias"]
    hoyer = a.sum(1) ** 2 / ((a * a).sum(1) + 1e-15)
    return (off * off).mean(), hoyer.mean()


def gradients(t, p, alpha):
    """Of 1/M (squares + alpha Hoyer)."""
    out = {}
    for name in VALUES:
        out[name] = np.zeros(p[name].shape)
        for at in np.ndindex(p[name].shape):
            moved = {n: v.astype(complex) for n, v in p.items()}
            moved[name][at] += 1j * STEP
            squares, hoyer = parts(t, moved)
            out[name][at] = (squares + alpha * hoyer).imag / STEP / MODULES
    return out


def steps(t, p):
    """AdamW without decay; the weight of Hoyer goes up from 0, the rate down along a cosine."""
    m, v = ({n: np.zeros(w.shape) for n, w in p.items()} for _ in range(2))
    for s in range(STEPS):
        g = gradients(t, p, ALPHA * s / STEPS)
        rate = RATE * (0.1 + 0.45 * (1 + np.cos(np.pi * s / STEPS)))
        for n in VALUES:
            m[n] = 0.9 * m[n] + 0.1 * g[n]
            v[n] = 0.999 * v[n] + 0.001 * g[n] ** 2
            at = m[n] / (1 - 0.9 ** (s + 1)), v[n] / (1 - 0.999 ** (s + 1))
            p[n] = p[n] - rate * at[0] / (np.sqrt(at[1]) + 1e-8)
    return p


def module(rng, inputs, hidden, outputs):
    sizes = {"x": (ROWS, inputs), "weight": (outputs, inputs), "bias": (outputs,),
             "up.weight": (hidden, inputs), "up.bias": (hidden,),
             "down.weight": (outputs, hidden), "down.bias": (outputs,)}
    kept = {n: np.float32(rng.standard_normal(s) * (1 if n == "x" else 0.6))
            for n, s in sizes.items()}
    t = {n: np.float64(v) for n, v in kept.items()}
    p = {n: t[n] for n in VALUES}
    squares, hoyer = parts(t, p)
    kept["losses"] = np.float32([squares.real, hoyer.real])
    kept |= {f"grad.{n}": np.float32(g) for n, g in gradients(t, p, ALPHA).items()}
    return kept | {f"after.{n}": np.float32(w) for n, w in steps(t, p).items()}


def main():
    rng = np.random.default_rng(25)
    tensors = {}
    for name, sizes in {"square": (6, 4, 6), "narrow": (7, 5, 3)}.items():
        tensors |= {f"{name}.{key}": value for key, value in module(rng, *sizes).items()}
    save_file(tensors, OUT / "distil.safetensors")


main()
