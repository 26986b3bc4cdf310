"""Patching once more: makes tests/golden/patch/*.

Run from anywhere: python3 tests/twins/patch_twin.py. Needs torch and numpy (CPU). Models are those
of tests/golden/models/NAME.safetensors, so this comes after make_goldens.py; forward passes are
those of points_twin.py, with gates of another run put in at the points of gates.

NAME.safetensors holds prompts (P, T), the first tokens of their answers (P), and for every ordered
pair (a, b) of prompts, a != b, in the order of a then b, and for every patch (layers, position):
what a run of a with gates of b comes to. statistics.json holds values of pairs with their means,
intervals and p, computed with the same draws by numpy.
"""

import json
import math

import numpy as np
import torch

import points_twin as points
import rng_twin as rng
from make_goldens import f32, i32, save

OUT = points.MODELS.parent / "patch"
CASES = ("mlp", "moe", "peer", "sgatlin_gelu")
PROMPTS, TOKENS, START = 4, 6, 2
GATES = {"mlp": ("mlp.hook_post",)}  # of a dense layer; else
SELECTION = ("mlp.hook_gate_ids", "mlp.hook_gate_scores")


class Patched(points.Points):
    """Puts in rows of another run at some layers and one token."""

    def __init__(self, names, layers, position, other):
        super().__init__()
        self.names, self.layers, self.position, self.other = names, layers, position, other

    def __call__(self, name, value):
        full = self.prefix + name
        layer = self.prefix[len("blocks.") :].rstrip(".")
        if name in self.names and layer and int(layer) in self.layers:
            if not value.is_floating_point():  # ids are used where they lie
                value[:, self.position] = self.other[full][:, self.position]
            else:
                value = value.clone()
                value[:, self.position] = self.other[full][:, self.position]
        self.values[full] = value
        return value


def run(params, cfg, tokens, patched=None):
    point = patched or points.Points()
    with torch.no_grad():
        out = points.forward(point, params, cfg, tokens[None])
    return out[0, -1], {n: t.clone() for n, t in point.values.items()}


def prompts(cfg, seed):
    """Prompts that begin alike."""
    vocab = cfg["vocab_size"]
    tokens = torch.tensor(
        [
            [rng.below(seed, 1, t if t < START else p * TOKENS + t, vocab) for t in range(TOKENS)]
            for p in range(PROMPTS)
        ]
    )
    drawn = [rng.below(seed, 2, p, vocab // PROMPTS) for p in range(PROMPTS)]
    answers = torch.tensor([PROMPTS * n + p for p, n in enumerate(drawn)])
    return tokens, answers


def measure(out, before, a, b):
    p, q = torch.log_softmax(before, 0), torch.log_softmax(out, 0)
    return (
        out[a] - out[b],
        q[a],
        q[b],
        (p.exp() * (p - q)).sum(),
        1 + (out > out[a]).sum(),
        float(out[b] > out[a]),
    )


def make(name):
    cfg, golden = points.read(points.MODELS / f"{name}.safetensors")
    params = {n[6:]: t.double() for n, t in golden.items() if n.startswith("param.")}
    layers = list(range(cfg["num_hidden_layers"]))
    sets = [layers] + [[layer] for layer in layers]
    tokens, answers = prompts(cfg, 11)
    runs = [run(params, cfg, t) for t in tokens]
    pairs = [(a, b) for a in range(PROMPTS) for b in range(PROMPTS) if a != b]
    base = [measure(runs[a][0], runs[a][0], answers[a], answers[b]) for a, b in pairs]
    rows, effects = [], []
    names = GATES.get(cfg["ffn"], SELECTION)
    for chosen in sets:
        for position in (START + 1, TOKENS - 1):
            for (a, b), clean in zip(pairs, base):
                patched = Patched(names, chosen, position, runs[b][1])
                out, _ = run(params, cfg, tokens[a], patched)
                rows.append(measure(out, runs[a][0], answers[a], answers[b]))
                other = base[pairs.index((b, a))]
                effects.append((clean[0] - rows[-1][0]) / (clean[0] + other[0] + 1e-8))
    shape = (len(sets), 2, len(pairs))
    tensors = {
        "tokens": i32(tokens),
        "answers": i32(answers),
        "base": f32(torch.tensor(base, dtype=torch.float64)),
        "measures": f32(torch.tensor(rows, dtype=torch.float64).view(*shape, 6)),
        "effects": f32(torch.tensor(effects, dtype=torch.float64).view(shape)),
    }
    save(OUT / f"{name}.safetensors", {"model": name, "start": str(START)}, tensors)
    print(name, "effects", float(min(effects)), "to", float(max(effects)))


# ------------------------------------------------------------------ statistics


def resampled(values, weights, first, second, members, count, seed):
    stream, out = rng.stream("statistics.bootstrap"), []
    for r in range(count):
        drawn = [rng.below(seed, stream, r * members + i, members) for i in range(members)]
        times = np.bincount(drawn, minlength=members)
        w = times[first] * times[second]
        keep = (w > 0) & ~np.isnan(values)
        if keep.any():
            out.append((w * values)[keep].sum() / (w * weights)[keep].sum())
    return np.array(out)


def flips(values, member, members, seed, count):
    """p, all assignments of signs or some of them."""
    used = [m for m in range(members) if (~np.isnan(values) & (member == m)).any()]
    sums = np.array([np.nansum(values[member == m]) for m in used])
    seen = abs(sums.sum()) * (1 - 1e-12)
    if 2 ** len(used) <= count:
        signs = 1 - 2 * (np.arange(2 ** len(used))[:, None] >> np.arange(len(used)) & 1)
        return float((abs(signs @ sums) >= seen).mean())
    stream, words, far = rng.stream("statistics.flips"), (len(used) + 63) // 64, 0
    for i in range(count):
        bits = [rng.u64(seed, stream, i * words + w) for w in range(words)]
        signs = np.array([1 - 2 * (bits[m // 64] >> m % 64 & 1) for m in range(len(used))])
        far += abs(signs @ sums) >= seen
    return (1 + far) / (1 + count)


def holm(p):
    """Holm 1979, step by step."""
    order, out, most = np.argsort(p, kind="stable"), np.empty(len(p)), 0.0
    for i, at in enumerate(order):
        most = max(most, min(1.0, (len(p) - i) * p[at]))
        out[at] = most
    return out.tolist()


def statistics():
    generator, cases = np.random.default_rng(3), []
    for members, count, skip in ((5, 300, False), (9, 200, True), (70, 60, False)):
        pairs = [(a, b) for a in range(members) for b in range(members) if a != b][:300]
        first, second = np.array(pairs).T
        of_member = generator.normal(size=members)
        values = 0.3 + of_member[first] + 0.2 * generator.normal(size=len(pairs))
        weights = 1 + generator.random(len(pairs))
        if skip:
            values[::7] = np.nan
        out = {"members": members, "resamples": count, "seed": 5, "flips": 200 if members > 5 else 64}
        out |= {"first": first.tolist(), "second": second.tolist(), "weights": weights.tolist()}
        out["values"] = [None if math.isnan(v) else v for v in values]
        for key, w in (("mean", np.ones(len(pairs))), ("of_sums", weights)):
            means = resampled(values, w, first, second, members, count, 5)
            keep = ~np.isnan(values)
            low, high = np.percentile(means, [2.5, 97.5])
            out[key] = [float(values[keep].sum() / w[keep].sum()), float(low), float(high)]
        out["p"] = flips(values, first, members, 5, out["flips"])
        cases.append(out)
    p = [0.01, 0.04, 0.03, 0.005, 0.9, 0.04]
    text = json.dumps({"cases": cases, "p": p, "holm": holm(np.array(p))})
    (OUT / "statistics.json").write_text(text + "\n")


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    rng.check()
    for case in CASES:
        make(case)
    statistics()
