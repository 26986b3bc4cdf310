"""Makes tests/golden/models/*.safetensors from model_twin.py (see tests/golden/README.md).

Run from anywhere: python3 tests/twins/make_goldens.py [NAME ...]. Needs torch and numpy (CPU).
Before anything is written the twin itself is checked: against published parameter and FLOP counts,
against identities between routers, and against the closed form of the sgatlin gradient. A case
whose selections are decided too narrowly for 32-bit arithmetic is drawn again with the next seed.
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch

import model_twin as twin

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"
STEPS = 10
MIN_GAP, MIN_GAP_TRAIN = 1e-4, 2e-5  # selection margins: one forward pass, all training steps
TRAIN = {
    "steps": STEPS,
    "warmup_steps": 3,
    "decay_fraction": 0.4,
    "learning_rate": 0.01,
    "clip_norm": 4.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.3,
}
BASE = {
    "model_type": "sgatlin",
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 12,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 1,
}


def sparse(family, router, activation, **more):
    pool = {"ffn_channels": 2, "ffn_neurons": 25, "ffn_key_size": 8, "ffn_top_k": 3}
    out = {"ffn": family, "ffn_router": router, "ffn_activation": activation}
    return out | pool | more


def dense(family, router, activation, **more):
    return {"ffn": family, "ffn_router": router, "ffn_activation": activation} | more


ODD = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 17,
    "ffn_channels": 3,
    "ffn_neurons": 49,
    "ffn_top_k": 5,
}
# name: (configuration, batch size); widths of 44 and 20 leave a tail for every vector length
CASES = {
    "mlp": (dense("mlp", "all", "gelu", ffn_intermediate_size=44), 2),
    "glu": (dense("glu", "all", "clamped_swiglu", ffn_intermediate_size=44), 2),
    "moe": (
        dense(
            "moe",
            "linear",
            "clamped_swiglu",
            ffn_intermediate_size=20,
            ffn_experts=4,
            ffn_top_k=2,
            max_position_embeddings=14,
        ),
        2,
    ),
    "peer": (sparse("peer", "product_key_value", "gelu", max_position_embeddings=14), 3),
    "sgatlin_product_dense": (sparse("sgatlin", "product_dense", "identity"), 2),
    "sgatlin_product_key_value": (sparse("sgatlin", "product_key_value", "identity"), 2),
    "sgatlin_dense": (sparse("sgatlin", "dense", "identity", ffn_neurons=16), 2),
    "sgatlin_key_value": (sparse("sgatlin", "key_value", "identity", ffn_neurons=16), 2),
    "sgatlin_gelu": (sparse("sgatlin", "product_dense", "gelu", ffn_neurons=16), 3),
    "sgatlin_relu": (sparse("sgatlin", "product_dense", "relu", ffn_neurons=16), 2),
    "sgatlin_swish": (sparse("sgatlin", "product_dense", "swish", ffn_neurons=16), 2),
    "sgatlin_odd": (sparse("sgatlin", "product_dense", "identity", **ODD), 2),
}
# where the common settings would clip always or never, or move the loss too little
TRAIN_OF = {
    "mlp": {"clip_norm": 3.0},
    "glu": {"clip_norm": 5.5, "learning_rate": 0.02},
    "moe": {"clip_norm": 5.0, "learning_rate": 0.02},
    "peer": {"clip_norm": 2.5},
    "sgatlin_product_dense": {"clip_norm": 5.5},
    "sgatlin_gelu": {"clip_norm": 3.0},
    "sgatlin_product_key_value": {"learning_rate": 0.02},
    "sgatlin_swish": {"learning_rate": 0.02},
    "sgatlin_odd": {"clip_norm": 3.5},
}


def settings(name):
    return TRAIN | TRAIN_OF.get(name, {})


# ------------------------------------------------------------------ parameters and data


def init(cfg, gen):
    """Not the published initialisation: louder, so that every part matters to the loss, and with no
    scale of exactly 1 and no bias of exactly 0 that would hide its absence."""
    params = {}
    for name, shape in twin.shapes(cfg).items():
        t = torch.randn(shape, generator=gen, dtype=torch.float64)
        if name.endswith("norm.weight"):
            t = 1 + 0.2 * t
        elif name.endswith(".bias"):
            t = 0.5 * t
        elif "experts.w_" in name:
            t = 0.3 * t
        elif "gate_up_proj" in name:
            t = 0.4 * t  # loud enough to reach the clamp at 7
        elif "router.query" in name or "router.keys" in name:
            t = t / math.sqrt(shape[-1])
            if cfg["ffn_router"].endswith("key_value") and "keys" in name:
                t = t * math.sqrt(shape[-1])
        else:
            t = t / math.sqrt(shape[-1])
        params[name] = t.float().double()  # exactly representable in 32 bits
    return params


def batch(cfg, rows, gen):
    """Rows that can be learnt (four next tokens in five follow from the last), documents that end
    in the row, and padding at the end of the last row."""
    vocab, tokens = cfg["vocab_size"], cfg["max_position_embeddings"]
    targets = torch.zeros(rows, tokens, dtype=torch.int64)
    for b in range(rows):
        draw = torch.randint(0, 1 << 30, (tokens, 2), generator=gen).tolist()
        token = 2 + draw[0][0] % (vocab - 2)
        for t in range(tokens):
            targets[b, t] = token
            follow = 2 + (5 * token + 3) % 17
            token = follow if draw[t][1] % 5 else 2 + draw[t][0] % (vocab - 2)
        targets[b, tokens // 2 - b] = cfg["eos_token_id"]
    pad = 2 + int(torch.randint(0, 3, (1,), generator=gen))
    targets[-1, -pad:] = cfg["pad_token_id"]
    targets[-1, -pad - 1] = cfg["eos_token_id"]
    inputs = torch.cat([torch.full((rows, 1), cfg["bos_token_id"]), targets[:, :-1]], dim=1)
    return inputs, targets


# ------------------------------------------------------------------ checks of the twin itself


def check_counts():
    """Published counts of the TinyStories configuration, vocabulary 8192 and 1024 tokens."""
    base = BASE | {"vocab_size": 8192, "hidden_size": 256, "num_hidden_layers": 4}
    base |= {"num_attention_heads": 4, "head_dim": 64}
    pool = {"ffn_channels": 8, "ffn_neurons": 1024, "ffn_key_size": 128, "ffn_top_k": 8}
    wide = {"ffn_intermediate_size": 1024}
    published = [
        (dense("mlp", "all", "gelu", **wide), 5245696, 10737418240),
        (dense("glu", "all", "clamped_swiglu", **wide), 6303488, 12884901888),
        (dense("moe", "linear", "x", ffn_experts=8, ffn_top_k=2, **wide), 28396288, 19344130048),
        (sparse("peer", "product_key_value", "gelu", **pool), 7604992, 11542724608),
        (sparse("sgatlin", "product_dense", "identity", **pool), 20318976, 7516192768),
    ]
    for ffn, parameters, flops in published:
        cfg = base | ffn
        assert sum(math.prod(s) for s in twin.shapes(cfg).values()) == parameters, ffn["ffn"]
        assert twin.forward_flops(cfg, 1024) == flops, ffn["ffn"]


def check_ties():
    values, ids = twin.top_k(torch.tensor([1.0, 2.0, 2.0, 0.0, 2.0, 1.0]), 5)
    assert ids.tolist() == [1, 2, 4, 0, 5] and values.tolist() == [2, 2, 2, 1, 1]


def check_schedule():
    train = {"steps": 8280, "warmup_steps": 100, "decay_fraction": 0.2, "learning_rate": 1e-3}
    points = {0: 0, 1: 1e-5, 50: 5e-4, 100: 1e-3, 6624: 1e-3, 6625: 9.7542634e-4, 7038: 5e-4}
    for count, lr in (points | {8279: 3.0198e-7}).items():
        assert math.isclose(twin.learning_rate(train, count), lr, rel_tol=2e-5), count


def check_product_keys(gen):
    """product_key_value equals key_value on the N concatenated keys."""
    cfg = BASE | sparse("sgatlin", "product_key_value", "identity")
    p = twin.sub(init(cfg, gen), "model.layers.0.mlp.")
    channels, key, d = cfg["ffn_channels"], cfg["ffn_key_size"], cfg["hidden_size"]
    n = math.isqrt(cfg["ffn_neurons"])
    keys = p["router.keys.weight"]
    whole = torch.empty(channels, n * n, 2 * key, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            whole[:, i * n + j] = torch.cat([keys[0, :, i], keys[1, :, j]], dim=-1)
    query = p["router.query.weight"].view(2, channels, key, d)
    query = torch.cat([query[0], query[1]], dim=1).reshape(2 * channels * key, d)
    other = p | {"router.keys.weight": whole, "router.query.weight": query}
    x = torch.randn(4, 50, d, generator=gen, dtype=torch.float64)
    s, ids = twin.route(p, cfg, x)
    wide = cfg | {"ffn_router": "key_value", "ffn_key_size": 2 * key}
    s_all, ids_all = twin.route(other, wide, x)
    assert torch.equal(ids, ids_all) and (s - s_all).abs().max() < 1e-13


def slope(activation, x):
    if activation == "gelu":
        c, u = math.sqrt(2 / math.pi), 1 + 3 * twin.GELU_CUBIC * x * x
        t = math.tanh(c * (x + twin.GELU_CUBIC * x**3))
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * c * u
    if activation == "swish":
        s = 1 / (1 + math.exp(-x))
        return s + x * s * (1 - s)
    return {"identity": 1.0, "relu": float(x > 0)}[activation]


def check_gradient(activation, gen):
    """The sgatlin layer token by token with its closed-form backward pass, against autograd."""
    cfg = BASE | sparse("sgatlin", "product_dense", activation)
    p = twin.sub(init(cfg, gen), "model.layers.0.mlp.")
    x = torch.randn(1, 9, cfg["hidden_size"], generator=gen, dtype=torch.float64)
    dy = torch.randn(x.shape, generator=gen, dtype=torch.float64)
    leaves = [t.detach().requires_grad_(True) for t in (x, *p.values())]
    y = twin.sgatlin(dict(zip(p, leaves[1:])), cfg, leaves[0])
    expected = torch.autograd.grad(y, leaves, dy)

    wq, wk, w_in, w_out = p.values()
    n, k, channels = math.isqrt(cfg["ffn_neurons"]), cfg["ffn_top_k"], cfg["ffn_channels"]
    act = twin.ACTIVATIONS[activation]
    got = [torch.zeros_like(t) for t in leaves]
    dx, dwq, dwk, dw_in, dw_out = got
    for t in range(x.shape[1]):
        xt, dyt = x[0, t], dy[0, t]
        q = wq @ xt
        s = wk @ q
        ds = torch.zeros_like(s)
        yt = torch.zeros_like(xt)
        for c in range(channels):
            row = [c * n, (channels + c) * n]  # where part 0 and part 1 of this channel start
            part = s[row[0] : row[0] + n], s[row[1] : row[1] + n]
            pairs = [(float(part[0][i] + part[1][j]), i, j) for i in range(n) for j in range(n)]
            pairs.sort(key=lambda e: -e[0])
            for g, i, j in pairs[:k]:
                w, v = w_in[c, i * n + j], w_out[c, i * n + j]
                a = float(w @ xt)
                z = float(act(torch.tensor(a * g, dtype=torch.float64)))
                yt += z * v
                dag = slope(activation, a * g) * float(dyt @ v)
                dw_out[c, i * n + j] += z * dyt
                dw_in[c, i * n + j] += g * dag * xt
                dx[0, t] += g * dag * w
                ds[row[0] + i] += a * dag
                ds[row[1] + j] += a * dag
        dq = wk.T @ ds
        dwk += torch.outer(ds, q)
        dwq += torch.outer(dq, xt)
        dx[0, t] += wq.T @ dq
        assert (yt - y[0, t]).abs().max() < 1e-12
    for mine, auto in zip(got, expected):
        assert (mine - auto).abs().max() < 1e-12, activation


def check_causal(gen):
    """A changed token changes no earlier logits, and padding on the right none before it."""
    cfg = BASE | sparse("sgatlin", "product_dense", "identity")
    params = init(cfg, gen)
    inputs, _ = batch(cfg, 2, gen)
    other = inputs.clone()
    other[:, 7] = (other[:, 7] + 1) % cfg["vocab_size"]
    a, b = (twin.logits(params, cfg, i) for i in (inputs, other))
    assert torch.equal(a[:, :7], b[:, :7]) and not torch.equal(a[:, 7:], b[:, 7:])


# ------------------------------------------------------------------ cases


def run(cfg, train, params, batches, limits=(0, 0)):
    """One forward and backward pass, then the training steps; None if a choice was too narrow."""
    trace = twin.Trace()
    out, loss, grads = twin.loss_and_grads(params, cfg, *batches[-1], trace)
    if min(trace.margin, trace.kink) <= limits[0]:
        return None
    first = trace
    params = {name: t.clone() for name, t in params.items()}
    adam, losses, norms, rates = twin.AdamW(params, train), [], [], []
    last = twin.Trace()
    for inputs, targets in batches[:STEPS]:
        _, step_loss, step_grads = twin.loss_and_grads(params, cfg, inputs, targets, last)
        if min(last.margin, last.kink) <= limits[1]:
            return None
        norm, lr = adam.step(params, step_grads)
        losses.append(float(step_loss))
        norms.append(norm)
        rates.append(lr)
    return {
        "logits": out,
        "loss": loss,
        "grads": grads,
        "losses": losses,
        "norms": norms,
        "rates": rates,
        "traces": (first, last),
    }


def single_precision(cfg, train, params, batches, exact):
    """How far the same formulas come out in 32 bits: what a test may at least ask for."""
    low = run(cfg, train, {name: t.float() for name, t in params.items()}, batches)
    grad = max(
        float((low["grads"][n].double() - g).abs().max() / g.abs().max())
        for n, g in exact["grads"].items()
    )
    losses = max(abs(a - b) / b for a, b in zip(low["losses"], exact["losses"]))
    norms = max(abs(a - b) / b for a, b in zip(low["norms"], exact["norms"]))
    drift = 0.0
    for a, b in zip(low["traces"], exact["traces"]):
        for (mine, ids), (theirs, exact_ids) in zip(a.selection, b.selection):
            if not torch.equal(ids, exact_ids):
                return None
            drift = max(drift, float((mine.detach().double() - theirs.detach()).abs().max()))
    if min(t.margin for t in exact["traces"]) < 4 * drift:
        return None
    return {
        "logits": float((low["logits"].double() - exact["logits"]).abs().max()),
        "grad": grad,
        "losses": losses,
        "norms": norms,
        "scores": drift,
    }


def draw(cfg, train, rows, seed):
    """The first parameters and data, from seed on, whose choices 32 bits will not turn over."""
    for seed in range(seed, seed + 1000):
        gen = torch.Generator().manual_seed(seed)
        params = init(cfg, gen)
        batches = [batch(cfg, rows, gen) for _ in range(STEPS + 1)]
        result = run(cfg, train, params, batches, (MIN_GAP, MIN_GAP_TRAIN))
        if result is None:
            continue
        error = single_precision(cfg, train, params, batches, result)
        if error is not None:
            return seed, params, batches, result, error


def check_case(name, cfg, train, params, batches, result):
    for key, grad in result["grads"].items():
        assert grad.abs().max() > 1e-5, (name, key)
    losses, norms = result["losses"], result["norms"]
    tail = range(STEPS - 4, STEPS)
    untrained = [twin.cross_entropy(twin.logits(params, cfg, i), cfg, t) for i, t in batches]
    untrained = sum(float(untrained[i]) for i in tail)
    assert sum(losses[i] for i in tail) < 0.9 * untrained, (name, untrained / 4, losses)
    clip = train["clip_norm"]
    assert min(norms) < 0.95 * clip and 1.05 * clip < max(norms), (name, sorted(norms))
    assert all((t == cfg["pad_token_id"]).any() for _, t in batches)
    first, _ = result["traces"]
    if cfg["ffn_activation"] == "clamped_swiglu":
        assert first.clipped > 0, name
    if cfg["ffn"] == "moe":
        for _, ids in first.selection:
            assert set(ids.flatten().tolist()) == set(range(cfg["ffn_experts"])), name


def sensitivity(cfg, train, params, batches, exact):
    """How much wrong training would show in the losses, relative: the smallest over the errors."""
    wrong = [
        {"clip_norm": math.inf},
        {"weight_decay": 0.0},
        {"beta2": 0.99},
        {"warmup_steps": train["warmup_steps"] + 1},
        {"decay_fraction": train["decay_fraction"] - 0.1},
    ]
    losses = [run(cfg, train | change, params, batches)["losses"] for change in wrong]
    right, twin.decays = twin.decays, lambda name, tensor: True
    losses.append(run(cfg, train, params, batches)["losses"])
    twin.decays = right
    return min(max(abs(a - b) / b for a, b in zip(w, exact["losses"])) for w in losses)


def save(path, metadata, tensors):
    """safetensors with the header in a fixed order, so that the same run gives the same bytes."""
    kinds = {"float32": "F32", "int32": "I32"}
    header, parts, at = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def f32(x):
    return np.asarray(x.numpy() if torch.is_tensor(x) else x, dtype=np.float32)


def i32(x):
    return x.numpy().astype(np.int32)


def make(name):
    ffn, rows = CASES[name]
    cfg = BASE | ffn
    train = settings(name)
    seed = 1000 * (1 + list(CASES).index(name))
    seed, params, batches, result, error = draw(cfg, train, rows, seed)
    check_case(name, cfg, train, params, batches, result)
    shows = sensitivity(cfg, train, params, batches, result)
    assert shows > 50 * error["losses"], (name, shows, error)
    tensors = {"inputs": i32(batches[-1][0]), "targets": i32(batches[-1][1])}
    tensors["logits"] = f32(result["logits"])
    tensors["loss"] = f32([float(result["loss"])])
    first, last = result["traces"]
    for layer, (scores, ids) in enumerate(first.selection):
        tensors[f"selection.{layer}.ids"] = i32(ids)
        tensors[f"selection.{layer}.scores"] = f32(scores.detach())
    tensors |= {"param." + n: f32(t) for n, t in params.items()}
    tensors |= {"grad." + n: f32(t) for n, t in result["grads"].items()}
    tensors["train.inputs"] = i32(torch.stack([b[0] for b in batches[:STEPS]]))
    tensors["train.targets"] = i32(torch.stack([b[1] for b in batches[:STEPS]]))
    tensors["losses"], tensors["grad_norms"] = f32(result["losses"]), f32(result["norms"])
    tensors["lrs"] = f32(result["rates"])
    metadata = {"config": json.dumps(cfg), "train": json.dumps(train), "seed": str(seed)}
    path = OUT / f"{name}.safetensors"
    save(path, metadata, tensors)
    print(
        f"| {name} | {seed} | {path.stat().st_size // 1000} | {first.margin:.1e} | "
        f"{last.margin:.1e} | {result['losses'][0]:.3f} -> {result['losses'][-1]:.3f} | "
        f"{min(result['norms']):.2f} .. {max(result['norms']):.2f} | {error['logits']:.1e} | "
        f"{error['grad']:.1e} | {error['losses']:.1e} | {error['norms']:.1e} | "
        f"{error['scores']:.1e} | "
        f"{shows:.1e} |",
        flush=True,
    )


def main():
    torch.set_num_threads(1)
    check_counts()
    check_ties()
    check_schedule()
    gen = torch.Generator().manual_seed(1)
    check_product_keys(gen)
    check_causal(gen)
    for activation in twin.ACTIVATIONS:
        check_gradient(activation, gen)
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or CASES:
        make(name)


if __name__ == "__main__":
    main()
