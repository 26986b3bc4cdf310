"""Usage and co-activation once more, in numpy: makes tests/golden/usage/usage.json.

Run from anywhere: python3 tests/twins/usage_twin.py. Needs numpy. Each case has selections drawn
with a Zipf-like preference for some neurons, the ids that were read, the sequences they are in, and
the statistics of include/sgatlin_usage.h, written from their definitions: whole matrices of who
selects whom, sums over them, sorted by numpy.
"""

import json
import pathlib

import numpy as np

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "usage"


def gini(x):
    """Mean absolute difference of all pairs over twice the mean."""
    x = np.asarray(x, float)
    return np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())


def evenness(x):
    x = np.asarray(x, float)
    p = x[x > 0] / x.sum()
    return {
        "used": (x > 0).mean(),
        "entropy": -(p * np.log2(p)).sum() / np.log2(len(x)),
        "min_max": x.min() / x.max(),
        "deviation": x.std() / x.mean(),
    }


def usage(hot, tokens, join):
    """hot: (rows, channels, N) of 0 and 1; join: whether channels have their neurons in common."""
    bins = hot.sum(1) if join else hot.reshape(len(hot), -1)
    ids = np.unique(tokens)
    seen = np.stack([(bins[tokens == t].sum(0) > 0) for t in ids])
    first = np.stack([(bins[np.argmax(tokens == t)] > 0) for t in ids])
    plain = bins.sum(0)
    return {
        **evenness(plain),
        "gini": gini(plain),
        "max_load": plain.max() / plain.mean(),
        "selections": int(plain.sum()),
        "token_gini": gini(seen.sum(0)),
        "first_gini": gini(first.sum(0)),
    }


def published(hot, sequences):
    counts = np.stack([hot[sequences == s].sum((0, 1)) for s in np.unique(sequences)])
    each = [evenness(c) for c in counts]
    return {
        "sequence": {k: float(np.mean([e[k] for e in each])) for k in each[0]},
        "global": evenness(counts.reshape(-1)),
    }


def together(gates, side):
    """gates: (rows, N) of 0 and 1."""
    both = gates.T @ gates
    alone = np.diag(both).copy()
    np.fill_diagonal(both, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        conditional = np.nan_to_num(both / alone[:, None])
        rows = np.nan_to_num(both / both.sum(1, keepdims=True))
    out = {"conditional": conditional.round(7).tolist(), "published": rows.round(7).tolist()}
    pairs = []
    for a in range(len(both)):
        for b in range(a + 1, len(both)):
            if both[a, b] >= 5:
                low = min(conditional[a, b], conditional[b, a])
                pairs.append((-low, -both[a, b], a, b))
    out["pairs"] = [[a, b, int(-n), -low] for low, n, a, b in sorted(pairs)[:6]]
    if side:
        n = np.arange(len(both))
        out["same_first"] = both[n[:, None] // side == n[None, :] // side].sum() / both.sum()
        out["same_second"] = both[n[:, None] % side == n[None, :] % side].sum() / both.sum()
    return out


def case(seed, rows, neurons, channels, k, side, join):
    rng = np.random.default_rng(seed)
    weights = 1 / np.arange(1, neurons + 1) ** 1.1
    tokens = rng.choice(9, rows, p=np.arange(9, 0, -1) / 45)
    sequences = np.sort(rng.integers(0, 4, rows))
    ids = np.zeros((rows, channels, k), int)
    for c in range(channels):
        order = rng.permutation(neurons)
        for r in range(rows):
            liked = np.roll(weights, 3 * tokens[r])
            ids[r, c] = np.sort(order[rng.choice(neurons, k, False, liked / liked.sum())])
    hot = np.zeros((rows, channels, neurons), int)
    np.put_along_axis(hot, ids, 1, 2)
    return {
        "neurons": neurons,
        "sub_keys": side,
        "shared": join,
        "ids": ids.tolist(),
        "tokens": tokens.tolist(),
        "sequences": sequences.tolist(),
        "channels": [usage(hot[:, c : c + 1], tokens, False) for c in range(channels)],
        "layer": usage(hot, tokens, join),
        "published": published(hot, sequences),
        "together": together(hot[:, 0], side),
    }


def main():
    OUT.mkdir(exist_ok=True)
    cases = [case(1, 90, 16, 2, 3, 4, False), case(2, 90, 10, 3, 2, 0, True)]
    (OUT / "usage.json").write_text(json.dumps(cases) + "\n")


if __name__ == "__main__":
    main()
