"""Checks of the twins themselves, before anything is made from them: published counts, identities
between methods, and closed forms of gradients."""

import math

import torch

import ffn_twin as ffn
import model_twin as twin
import rng_twin
from golden_cases import BASE, batch, branched, dense, init, keyed, memory, sparse


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


def layer(cfg, gen):
    """Parameters of one layer, and hidden states for it."""
    p = twin.sub(init(cfg, gen), "model.layers.0.mlp.")
    return p, torch.randn(3, 20, cfg["hidden_size"], generator=gen, dtype=torch.float64)


def close(a, b):
    return a.shape == b.shape and float((a - b).abs().max()) < 1e-12


def as_mlp(p, x):
    return ffn.gelu(x @ p["experts.w_in.weight"].T) @ p["experts.w_out.weight"]


def check_dense(gen):
    """All blocks selected, or one block that is all cells, is a dense layer of all cells."""
    for family, g, k in (("vanillam", 1, 32), ("vanillam", 4, 32), ("avgk", 2, 32), ("avgk", 32, 32)):
        cfg = memory(family, ffn_block_size=g, ffn_active_neurons=k)
        p, x = layer(cfg, gen)
        assert close(ffn.feed_forward(p, cfg, x, ffn.Pass()), as_mlp(p, x)), (family, g)
    cfg = memory("switch", ffn_block_size=32, ffn_active_neurons=32)
    p, x = layer(cfg, gen)
    assert close(ffn.switch(p, cfg, x, ffn.Pass()), as_mlp(p, x))  # the only p is 1
    cfg = memory("randhash", ffn_block_size=4, ffn_active_neurons=32)
    p, x = layer(cfg, gen)
    run = ffn.Pass()
    run.ids = torch.randint(0, 29, x.shape[:2], generator=gen)
    assert close(ffn.randhash(p, cfg, x, run), as_mlp(p, x))


def check_hash():
    """Distinct blocks, other ones for other tokens, layers and seeds, each about equally often."""
    cfg = memory("randhash", ffn_block_size=2, ffn_hash_seed=7)
    rows = [ffn.hash_row(cfg, 0, token) for token in range(1000)]
    assert all(len(set(row)) == 4 for row in rows)
    often = [sum(b in row for row in rows) for b in range(16)]
    assert all(250 / 1.3 < n < 250 * 1.3 for n in often), often
    for other in (cfg | {"ffn_hash_seed": 8}, 0), (cfg, 1):
        same = sum(ffn.hash_row(*other, token) == rows[token] for token in range(1000))
        assert same < 5, same  # one in 43,680 by chance


def check_average_keys(gen):
    """x . mean of keys = mean of x . key; with blocks of one cell the key products decide."""
    cfg = memory("avgk", ffn_block_size=4)
    p, x = layer(cfg, gen)
    run = ffn.Pass()
    ffn.avgk(p, cfg, x, run)
    keys = x @ p["experts.w_in.weight"].T
    blocks = keys.view(*x.shape[:2], -1, 4).mean(-1)
    assert torch.equal(run.selection[0][1][:, :, 0], ffn.top_k(blocks, 2)[1])
    cells = memory("avgk", ffn_block_size=1)
    ffn.avgk(p, cells, x, run)
    scores, ids = ffn.top_k(keys, 8)
    assert torch.equal(run.selection[1][1][:, :, 0], ids) and close(run.selection[1][0][:, :, 0], scores)


def check_product_memory(gen):
    """The k best of all n^2 sums, by looking at all of them."""
    cfg = keyed("pkm", ffn_normaliser="softmax", ffn_query_bias=1)
    p, x = layer(cfg, gen)
    run = ffn.Pass()
    y = ffn.pkm(p, cfg, x, run)
    heads, key, n = 2, 4, 6
    q = (x @ p["router.query.weight"].T + p["router.query.bias"]).view(*x.shape[:2], 2, heads, key)
    keys, expected = p["router.keys.weight"], torch.zeros_like(x)
    for h in range(heads):
        first, second = (q[:, :, part, h] @ keys[part, h].T for part in (0, 1))
        every = (first[..., :, None] + second[..., None, :]).reshape(*x.shape[:2], n * n)
        scores, ids = ffn.top_k(every, 4)
        assert torch.equal(ids, run.selection[0][1][:, :, h])
        weights = torch.zeros_like(every).scatter(-1, ids, torch.softmax(scores, -1))
        expected += weights @ p["experts.w_out.weight"]
    assert close(y, expected)


def check_low_rank(gen):
    """lorkm whose first factor is the identity is vanillam with blocks of one cell."""
    full = memory("vanillam", ffn_block_size=1)
    p, x = layer(full, gen)
    low = memory("lorkm", ffn_key_size=12)
    q = {"router.query.weight": torch.eye(12, dtype=torch.float64)}
    q |= {"router.keys.weight": p["experts.w_in.weight"]}
    q |= {"experts.w_out.weight": p["experts.w_out.weight"]}
    assert close(ffn.vanillam(p, full, x, ffn.Pass()), ffn.lorkm(q, low, x, ffn.Pass()))


def check_memory_plus(gen):
    """With a gate of 1 (silu(1.278465) = 1) and a projection that does nothing it is pkm."""
    cfg = keyed("memory_plus", "identity", ffn_normaliser="softmax", ffn_query_bias=1)
    p, x = layer(cfg, gen)
    p["gate_proj.weight"].zero_()
    p["gate_proj.bias"].fill_(1.2784645427610738)
    p["out_proj.weight"].copy_(torch.eye(cfg["hidden_size"]))
    p["out_proj.bias"].zero_()
    assert close(ffn.memory_plus(p, cfg, x, ffn.Pass()), ffn.pkm(p, cfg, x, ffn.Pass()))


def check_omnimoe(gen):
    """One head of peer whose keys are the matrices of rows and columns and whose query is x, and a
    gated layer beside it: the log-softmax of a part moves all of its sums alike."""
    cfg = branched()
    p, x = layer(cfg, gen)
    d = cfg["hidden_size"]
    peer = p | {"router.query.weight": torch.eye(d, dtype=torch.float64)}
    other = cfg | {"ffn": "peer", "ffn_router": "product_dense", "ffn_channels": 1}
    gate, value = (x @ p["shared_experts.gate_up_proj.weight"].T).chunk(2, dim=-1)
    branch = torch.nn.functional.silu(gate) * value @ p["shared_experts.down_proj.weight"].T
    expected = ffn.peer(peer, other | {"ffn_key_size": d}, x, ffn.Pass()) + branch
    assert close(ffn.omnimoe(p, cfg, x, ffn.Pass()), expected)
    every = p | {"experts.w_in.weight": torch.zeros(25, d, dtype=torch.float64)}
    every["shared_experts.down_proj.weight"] = torch.zeros_like(p["shared_experts.down_proj.weight"])
    every["experts.w_out.weight"] = torch.ones(25, d, dtype=torch.float64)
    act, ffn.ACTIVATIONS["swish"] = ffn.ACTIVATIONS["swish"], lambda a: torch.ones_like(a)
    sums = ffn.omnimoe(every, cfg, x, ffn.Pass())  # of the gates
    ffn.ACTIVATIONS["swish"] = act
    assert close(sums, torch.ones_like(x))


def check_norms(gen):
    """Against PyTorch's own layers."""
    q = torch.randn(3, 20, 5, generator=gen, dtype=torch.float64)
    cfg = memory("lorkm", ffn_key_size=5, ffn_query_norm="batchnorm")
    p, run = layer(cfg, gen)[0], ffn.Pass(training=True)
    own = torch.nn.BatchNorm1d(5, dtype=torch.float64)
    at = "router.query_norm."
    with torch.no_grad():
        own.weight.copy_(p[at + "weight"])
        own.bias.copy_(p[at + "bias"])
        own.running_mean.copy_(p[at + "running_mean"])
        own.running_var.copy_(p[at + "running_var"])
        assert close(ffn.query_norm(p, cfg, q, run), own(q.flatten(0, 1)).view(q.shape))
        assert close(run.buffers[0][at + "running_mean"], own.running_mean)
        assert close(run.buffers[0][at + "running_var"], own.running_var)
        after, own = p | run.buffers[0], own.eval()
        assert close(ffn.query_norm(after, cfg, q, ffn.Pass()), own(q.flatten(0, 1)).view(q.shape))
        layernorm = cfg | {"ffn_query_norm": "layernorm"}
        expected = torch.nn.functional.layer_norm(q, (5,), p[at + "weight"], eps=ffn.NORM_EPS)
        assert close(ffn.query_norm(p, layernorm, q, run), expected)


def check_balance():
    """1 when all are taken equally often, whatever the shares; the number of blocks at collapse."""
    cfg, blocks = {"ffn_balance_loss": 1, "ffn_z_loss": 1}, 4
    ids = torch.arange(8).view(1, 8, 1) % blocks
    logits = torch.randn(1, 8, blocks, generator=torch.Generator().manual_seed(2))
    run = ffn.Pass()
    ffn.auxiliary(cfg, logits.double(), ffn.softmax(logits.double()), ids, run)
    one = torch.zeros(1, 8, blocks, dtype=torch.float64)
    one[..., 2] = 1
    ffn.auxiliary(cfg, one * 50, one, torch.full_like(ids, 2), run)
    assert abs(float(run.balance[0]) - 1) < 1e-12 and float(run.balance[1]) == blocks
    z = torch.logsumexp(logits.double(), -1).square().mean()
    assert abs(float(run.z[0] - z)) < 1e-12


def check_cells_flops():
    """The table of Liu et al. as the specification has it: F = k = 4 d."""
    d, e, g, key, heads = 32, 4, 8, 6, 3
    cfg = {"hidden_size": d, "ffn_intermediate_size": 4 * d, "ffn_memory_factor": e}
    cfg |= {"ffn_block_size": g, "ffn_key_size": key, "ffn_channels": heads}
    dm, k, blocks = 4 * d * e, 4 * d, 4 * d * e // g
    n = math.isqrt(dm)
    selection = heads * (2 * d * 2 * key + 2 * n * 2 * key)  # d_l = 2 K
    expected = {
        "randhash": 16 * d * d,
        "switch": 16 * d * d + 2 * blocks * d,
        "avgk": 16 * d * d + 2 * blocks * d,
        "vanillam": 8 * e * d * d + 8 * d * d,
        "lorkm": 2 * d * key + 2 * dm * key + 8 * d * d,
        "pkm": selection + 2 * k * d,  # k of all heads together
        "pkm_ffn": selection + 4 * k * d,
        "memory_plus": selection + 2 * k * d + 4 * d * d,
    }
    for family, flops in expected.items():
        assert ffn.token_flops(cfg | {"ffn": family}) == flops, family
    # Memory+ at d 1024: 4 heads of 512 numbers, 1024 keys a half, 32 read a head: 12.8 MFLOP.
    plus = {"ffn": "memory_plus", "hidden_size": 1024, "ffn_key_size": 256, "ffn_channels": 4}
    plus |= {"ffn_memory_factor": 1024, "ffn_intermediate_size": 1024, "ffn_active_neurons": 128}
    assert ffn.token_flops(plus) == 2 * 2**21 + 2 * 2**21 + 2**18 + 4 * 2**20 == 12845056


def check_all():
    rng_twin.check()
    check_counts()
    check_cells_flops()
    check_ties()
    check_schedule()
    check_balance()
    check_hash()
    gen = torch.Generator().manual_seed(1)
    check_product_keys(gen)
    check_causal(gen)
    for activation in ffn.ACTIVATIONS:
        check_gradient(activation, gen)
    for check in (
        check_dense,
        check_average_keys,
        check_product_memory,
        check_low_rank,
        check_memory_plus,
        check_omnimoe,
        check_norms,
    ):
        check(gen)
