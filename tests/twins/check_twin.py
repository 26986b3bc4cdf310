"""Checks of the twins themselves, before anything is made from them: published counts, identities
between methods, and closed forms of gradients."""

import math

import torch

import ffn_twin as ffn
import model_twin as twin
import rng_twin
from golden_cases import BASE, batch, dense, init, sparse


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
    for layer, parameters, flops in published:
        cfg = base | layer
        assert sum(math.prod(s) for s in twin.shapes(cfg).values()) == parameters, layer["ffn"]
        assert twin.forward_flops(cfg, 1024) == flops, layer["ffn"]


def check_ties():
    values, ids = ffn.top_k(torch.tensor([1.0, 2.0, 2.0, 0.0, 2.0, 1.0]), 5)
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
    s, ids = ffn.route(p, cfg, x)
    wide = cfg | {"ffn_router": "key_value", "ffn_key_size": 2 * key}
    s_all, ids_all = ffn.route(other, wide, x)
    assert torch.equal(ids, ids_all) and (s - s_all).abs().max() < 1e-13


def slope(activation, x):
    if activation == "gelu":
        c, u = math.sqrt(2 / math.pi), 1 + 3 * ffn.GELU_CUBIC * x * x
        t = math.tanh(c * (x + ffn.GELU_CUBIC * x**3))
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
    y = ffn.sgatlin(dict(zip(p, leaves[1:])), cfg, leaves[0], ffn.Pass())
    expected = torch.autograd.grad(y, leaves, dy)

    wq, wk, w_in, w_out = p.values()
    n, k, channels = math.isqrt(cfg["ffn_neurons"]), cfg["ffn_top_k"], cfg["ffn_channels"]
    act = ffn.ACTIVATIONS[activation]
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


def check_all():
    rng_twin.check()
    check_counts()
    check_ties()
    check_schedule()
    gen = torch.Generator().manual_seed(1)
    check_product_keys(gen)
    check_causal(gen)
    for activation in ffn.ACTIVATIONS:
        check_gradient(activation, gen)
