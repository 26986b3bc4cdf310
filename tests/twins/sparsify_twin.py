"""What numpy, scipy and PyTorch make of splits of neurons, of routers and of terms that make
activations sparse: makes tests/golden/sparsify/*.safetensors.

Run from anywhere: python3 tests/twins/sparsify_twin.py. Needs numpy, scipy, torch. Inputs are drawn
here in 32 bits and kept in the files; everything else is computed from them in 64 and rounded to
F32. What each file holds: tests/golden/README.md.
"""

import pathlib

import numpy as np
import torch
from make_goldens import f32, save
from scipy.optimize import linear_sum_assignment

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "sparsify"


def i32(x):
    return np.asarray(x, dtype=np.int32)


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def drawn(rng, *shape):
    """Normal numbers that 32 bits hold."""
    return np.float64(f32(rng.standard_normal(shape)))


# ---- splits --------------------------------------------------------------------------------------


def auction(score, m):
    """Blocks (rows of score) bid for neurons; returns the block of each."""
    blocks, neurons = score.shape
    limit = 2 * m
    eps = max(1e-4, 2 * (score.max() - score.min()) / limit)
    cost, value, won, rounds = np.zeros(neurons), score.copy(), [], 0
    while True:
        bid = np.zeros_like(score)
        lists = []
        for e in range(blocks):
            order = np.argsort(-value[e], kind="stable")[: m + 1]
            bid[e, order[:m]] = value[e, order[:m]] - value[e, order[m]] + eps
            lists.append(order[:m])
        if 0 < rounds < limit:
            for e, j in won:
                bid[e, j] = eps
        high, winner = bid.max(0), bid.argmax(0)
        if (high > 0).all():
            labels = np.full(neurons, -1)
            for e in range(blocks):
                labels[lists[e]] = e
            assert (np.bincount(labels, minlength=blocks) == m).all()
            return labels
        cost += high
        value = score - cost
        won = [(winner[j], j) for j in range(neurons) if high[j] > 0]
        for e, j in won:
            value[e, j] = score.max() if rounds < limit else score[e, j]
        rounds += 1


def exact(square, m):
    """The block of each neuron at the least sum of squared distances."""
    rows, places = linear_sum_assignment(np.repeat(square, m, axis=1))
    labels = np.empty(len(square), int)
    labels[rows] = places // m
    return labels


def means(x, labels, blocks):
    return np.stack([x[labels == e].mean(0) for e in range(blocks)])


def squares(x, centres):
    return ((x[:, None] - centres) ** 2).sum(2)


def objective(x, labels, centres):
    return ((x - centres[labels]) ** 2).sum()


def balanced(x, start, m, assign, rounds=100):
    blocks = len(x) // m
    centres, best = means(x, start, blocks), (np.inf, None)
    labels = None
    for _ in range(rounds):
        was = labels
        labels = assign(squares(x, centres))
        centres = means(x, labels, blocks)
        best = min(best, (objective(x, labels, centres), labels), key=lambda b: b[0])
        if was is not None and (was == labels).all():
            break
    return best


def splits():
    rng = np.random.default_rng(1)
    blocks, m, d = 12, 8, 10
    middle = drawn(rng, blocks, d)
    near = middle[rng.integers(blocks, size=blocks * m)]
    w = np.float64(f32(near + 0.6 * drawn(rng, blocks * m, d)))
    x = unit(w)
    start = rng.permutation(blocks * m) // m
    score = np.float64(f32(-np.sqrt(squares(x, means(x, start, blocks))).T))
    cost = np.float64(f32(squares(x, drawn(rng, blocks, d))))
    cheapest = exact(cost, m)
    wanted = np.float64(f32(-np.arange(96.0) - rng.random((12, 96))))  # by all, in one order
    by_auction = balanced(x, start, m, lambda s: auction(-np.sqrt(s).T, m))
    by_flow = balanced(x, start, m, lambda s: exact(s, m))
    save(OUT / "splits.safetensors", {}, {
        "vectors": f32(w), "start": i32(start),
        "auction.scores": f32(score), "auction.labels": i32(auction(score, m)),
        "contest.scores": f32(wanted), "contest.labels": i32(auction(wanted, m)),
        "auction.objective": f32([by_auction[0]]), "auction.split": i32(by_auction[1]),
        "exact.costs": f32(cost), "exact.labels": i32(cheapest),
        "exact.sum": f32([cost[np.arange(len(cost)), cheapest].sum()]),
        "exact.objective": f32([by_flow[0]]), "exact.split": i32(by_flow[1]),
    })  # fmt: skip


def pairs():
    """Sums of pairs over groups of 8 tokens, the last of which is not full."""
    rng = np.random.default_rng(3)
    a = np.float64(f32(np.where(rng.random((300, 37)) < 0.2, np.abs(drawn(rng, 300, 37)), -1.0)))
    a[:, 5] = -0.5  # never active
    positive = np.maximum(a, 0)
    clamped = sum(np.minimum(g.T @ g, 1) for g in np.split(positive, range(8, 300, 8)))
    percents = np.array([10.0, 33.3, 50.0, 90.0, 100.0])
    save(OUT / "pairs.safetensors", {}, {
        "activations": f32(a), "clamped": f32(clamped), "products": f32(positive.T @ positive),
        "percents": f32(percents),
        "percentiles": f32(np.percentile(clamped, np.float64(f32(percents)))),
    })  # fmt: skip


# ---- routers -------------------------------------------------------------------------------------


def trained(weights, forward, loss, x, targets, optimiser, epochs):
    """Weights after so many steps on all tokens at once, and the losses on the way."""
    weights = [torch.tensor(w, requires_grad=True) for w in weights]
    steps, losses = optimiser(weights), []
    for _ in range(epochs):
        steps.zero_grad()
        value = loss(forward(x, *weights), targets)
        value.backward()
        steps.step()
        losses.append(value.item())
    return [f32(w.detach()) for w in weights], f32(losses)


def captured(scores, truth, k):
    best = np.argsort(-scores, 1, kind="stable")[:, :k]
    some = truth.sum(1) > 0
    return (np.take_along_axis(truth, best, 1).sum(1)[some] / truth.sum(1)[some]).mean()


def routers():
    rng = np.random.default_rng(4)
    tokens, d, blocks, m, width, epochs = 60, 12, 6, 4, 5, 12
    x, w, up = drawn(rng, tokens, d), drawn(rng, blocks * m, d), drawn(rng, blocks * m, d)
    w_out, bias = drawn(rng, blocks * m, d), drawn(rng, d)
    labels = rng.permutation(blocks * m) // m
    hidden, weight = drawn(rng, width, d) / 4, drawn(rng, blocks, width) / 4
    hidden, weight = np.float64(f32(hidden)), np.float64(f32(weight))
    x[7] = -w.mean(0) * 9  # hardly anything is active
    a = np.float64(f32(x @ w.T))
    unit_x, relu = unit(x), np.maximum(a, 0)
    mean = np.float64(f32(relu.mean(0)))
    of = [labels == e for e in range(blocks)]
    block = lambda values: np.stack([values[:, e].sum(1) for e in of], 1)  # noqa: E731
    positive = np.float64(f32(block(relu)))
    norms = [np.linalg.norm(relu[:, e] @ w_out[e], axis=1) for e in of]
    norms = np.float64(f32(np.stack(norms, 1)))
    centres = means(unit(w), labels, blocks)
    first = np.stack([np.flatnonzero(labels == e)[0] for e in range(blocks)])
    similar = lambda c: unit_x @ c.T - (c**2).sum(1) / 2  # noqa: E731
    mlp = torch.sigmoid(torch.tanh(torch.tensor(unit_x @ centres.T)))
    gate = torch.nn.functional.silu(torch.tensor(x @ w[first].T)) * torch.tensor(x @ up[first].T)
    tensor = torch.tensor
    of_mlp, mlp_losses = trained(
        [centres, np.eye(blocks)], lambda x, u, v: torch.tanh(x @ u.T) @ v.T,
        torch.nn.functional.binary_cross_entropy_with_logits, tensor(unit_x),
        tensor(positive / positive.max()), lambda w: torch.optim.Adam(w, 0.01), epochs,
    )  # fmt: skip
    of_norm, norm_losses = trained(
        [hidden, weight], lambda x, u, v: (torch.relu(x @ u.T) @ v.T).abs(),
        torch.nn.functional.mse_loss, tensor(x), tensor(norms),
        lambda w: torch.optim.AdamW(w, 0.001, weight_decay=0.01), epochs,
    )  # fmt: skip
    save(OUT / "routers.safetensors", {}, {
        "x": f32(x), "vectors": f32(w), "up": f32(up), "w_out": f32(w_out), "bias": f32(bias),
        "labels": i32(labels), "activations": f32(a), "relu": f32(relu), "means": f32(mean),
        "hidden": f32(hidden), "weight": f32(weight),
        "positive": f32(positive), "norms": f32(norms),
        "deviations": f32(block((relu - mean) ** 2)), "absolutes": f32(block(abs(relu - mean))),
        "centroid": f32(similar(centres)), "control": f32(similar(unit(w)[first])),
        "mlp": f32(mlp), "norm": f32(abs(np.maximum(x @ hidden.T, 0) @ weight.T)),
        "representative": f32(gate), "folded": f32(bias + mean @ w_out),
        "captured": f32([captured(similar(centres), positive, k) for k in range(1, blocks + 1)]),
        "mlp.hidden": of_mlp[0], "mlp.weight": of_mlp[1], "mlp.losses": mlp_losses,
        "norm.hidden": of_norm[0], "norm.weight": of_norm[1], "norm.losses": norm_losses,
    })  # fmt: skip


# ---- terms ---------------------------------------------------------------------------------------


def hoyer(a):
    return (a.abs().sum(-1) ** 2 / ((a**2).sum(-1) + 1e-15)).mean()


def terms():
    """Published terms, with their gradients by autograd."""
    rng = np.random.default_rng(2)
    x = torch.tensor(drawn(rng, 9, 33) * 3, requires_grad=True)
    t = torch.tensor(np.float64(f32(rng.random((9, 33)))))
    gate = torch.tensor(np.float64(f32(rng.random((9, 33)))), requires_grad=True)
    floor = torch.clamp(x, min=-2.5) + 2.5
    least = torch.clamp((gate - 0.5) ** 2, min=0.05**2)
    of = {
        "l1": (torch.relu(x).sum(-1).mean(), x),
        "hoyer": (hoyer(torch.relu(x)), x),
        "l1_clamped": (floor.sum(-1).mean(), x),
        "hoyer_clamped": (hoyer(floor), x),
        "cross_entropy": (torch.nn.functional.binary_cross_entropy_with_logits(x, t), x),
        "squares": (torch.nn.functional.mse_loss(x, t), x),
        "efficiency": ((gate**2).mean(), gate),
        "separability": ((1 / least).mean(), gate),
    }
    tensors = {"x": f32(x.detach()), "targets": f32(t), "gates": f32(gate.detach())}
    for name, (value, leaf) in of.items():
        tensors[name] = f32([value.detach()])
        tensors["grad." + name] = f32(torch.autograd.grad(value, leaf, retain_graph=True)[0])
    save(OUT / "terms.safetensors", {}, tensors)


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    splits()
    pairs()
    routers()
    terms()
