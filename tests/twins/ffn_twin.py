"""The feed-forward layers once more, in PyTorch: families, routers, and what they add to training.

Written from the formulas of docs/MODEL.md and of the publications named there, and from nothing
else. Plain tensor arithmetic that autograd differentiates: scores of all candidates are computed,
whole rows are gathered for every token, nothing is fused. Only for tiny shapes.

A layer gets its parameters by their names inside the layer, the configuration, x (B, T, d) and the
pass (class Pass) that it belongs to, which keeps what was decided on the way.
"""

import math

import torch

import rng_twin

GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016, the tanh approximation
GLU_ALPHA, GLU_LIMIT = 1.702, 7.0  # gpt-oss
NORM_EPS = 1e-5  # of the norms on a query
MOMENTUM = 0.1  # of batchnorm's running averages: new = 0.9 old + 0.1 batch

PRODUCT_MEMORIES = ("pkm", "pkm_ffn", "memory_plus")
KEY_MEMORIES = ("vanillam", "lorkm", *PRODUCT_MEMORIES)  # the score reads keys; blocks of one cell,
BLOCK_MEMORIES = ("switch", "randhash", "avgk")  # vanillam apart; here blocks of g cells
CELL_FAMILIES = KEY_MEMORIES + BLOCK_MEMORIES


class Pass:
    """One forward pass: what it is besides parameters and data, and what it decided, how narrowly.

    margin:  smallest score gap between a chosen candidate and the best one left out, any stage.
    kink:    smallest distance of a value from a point where its function is not smooth.
    buffers: values for after the step, by the names of the layer's parameters, a layer each.
    balance, z: auxiliary losses, one of every layer that has them, without weights.
    """

    def __init__(self, training=False):
        self.training, self.ids, self.layer = training, None, 0
        self.counted = None  # (B, T): rows with a target; the others load no block. None: all
        self.margin, self.kink, self.clipped, self.dropped = math.inf, math.inf, 0, 0
        self.selection, self.buffers, self.balance, self.z = [], {}, [], []

    def counts(self, ids, experts):
        """ids (B, T, b) -> how often each was taken by a row that counts."""
        if self.counted is not None:
            ids = ids[self.counted]
        return torch.stack([(ids == e).sum() for e in range(experts)])

    def mean(self, x):
        """x (B, T, ...): over the rows that count."""
        return x.flatten(0, 1).mean(0) if self.counted is None else x[self.counted].mean(0)

    def near(self, distances):
        self.kink = min(self.kink, float(distances.detach().abs().min()))


# ------------------------------------------------------------------ sizes


def cells(cfg):
    """N, the cells of a memory."""
    return cfg["ffn_memory_factor"] * cfg["ffn_intermediate_size"]


def active_cells(cfg):
    """k, the cells that a token reads, with all heads together."""
    return cfg.get("ffn_active_neurons") or cfg["ffn_intermediate_size"]


def block_size(cfg):
    return cfg.get("ffn_block_size") or cfg["ffn_intermediate_size"]


def router_shapes(cfg):
    d, channels, neurons = cfg["hidden_size"], cfg["ffn_channels"], cfg["ffn_neurons"]
    key, n = cfg["ffn_key_size"], math.isqrt(cfg["ffn_neurons"])
    router = cfg["ffn_router"]
    if router.startswith("product") and n * n != neurons:
        raise ValueError(f"ffn_neurons: {neurons} is no square")
    return {
        "product_dense": {"query.weight": (key, d), "keys.weight": (2 * channels * n, key)},
        "dense": {"query.weight": (key, d), "keys.weight": (channels * neurons, key)},
        "product_key_value": {
            "query.weight": (2 * channels * key, d),
            "keys.weight": (2, channels, n, key),
        },
        "key_value": {
            "query.weight": (channels * key, d),
            "keys.weight": (channels, neurons, key),
        },
    }[router]


def query_norm_shapes(cfg, width):
    kind = cfg.get("ffn_query_norm", "none")
    out = {}
    if kind == "layernorm":  # of each query, or half of one, by itself
        out["query_norm.weight"] = (cfg["ffn_key_size"],)
    if kind == "batchnorm":
        out["query_norm.weight"] = (width,)
        out["query_norm.bias"] = (width,)
        out["query_norm.running_mean"] = (width,)
        out["query_norm.running_var"] = (width,)
    return out


def cell_router_shapes(cfg):
    d, family, key = cfg["hidden_size"], cfg["ffn"], cfg.get("ffn_key_size")
    if family == "switch":
        return {"weight": (cells(cfg) // block_size(cfg), d)}
    if family == "lorkm":
        shapes = {"query.weight": (key, d), "keys.weight": (cells(cfg), key)}
        return shapes | query_norm_shapes(cfg, key)
    if family in PRODUCT_MEMORIES:
        heads, n = cfg["ffn_channels"], math.isqrt(cells(cfg))
        shapes = {"query.weight": (2 * heads * key, d)}
        if cfg.get("ffn_query_bias"):
            shapes["query.bias"] = (2 * heads * key,)
        shapes |= query_norm_shapes(cfg, 2 * heads * key)
        return shapes | {"keys.weight": (2, heads, n, key)}
    return {}


def expert_shapes(cfg, width, lead=()):
    d = cfg["hidden_size"]
    return {
        "gate_up_proj.weight": (*lead, 2 * width, d),
        "gate_up_proj.bias": (*lead, 2 * width),
        "down_proj.weight": (*lead, d, width),
        "down_proj.bias": (*lead, d),
    }


def router_and_memory_shapes(cfg):
    """Two tables: parameters of one layer alone, and those that layers may share."""
    d, family, width = cfg["hidden_size"], cfg["ffn"], cfg.get("ffn_intermediate_size")
    if family == "mlp":
        return {"up_proj.weight": (width, d), "down_proj.weight": (d, width)}, {}
    if family == "glu":
        return expert_shapes(cfg, width), {}
    if family == "moe":
        experts, own = cfg["ffn_experts"], {"router.weight": (cfg["ffn_experts"], d)}
        if cfg.get("ffn_bias_rate"):
            own["router.bias"] = (experts,)
        if cfg.get("ffn_shared_experts"):
            shared = expert_shapes(cfg, cfg["ffn_shared_experts"] * width)
            own |= {"shared_experts." + name: shape for name, shape in shared.items()}
        memory = expert_shapes(cfg, width, (experts,))
        return own, {"experts." + name: shape for name, shape in memory.items()}
    if family in CELL_FAMILIES:
        own = {"router." + name: shape for name, shape in cell_router_shapes(cfg).items()}
        memory = {"experts.w_out.weight": (cells(cfg), d)}
        if family == "memory_plus":
            for name in ("gate_proj", "out_proj"):
                own |= {name + ".weight": (d, d), name + ".bias": (d,)}
        if family not in ("lorkm", "pkm", "memory_plus"):
            memory["experts.w_in.weight"] = (cells(cfg), d)
        return own, memory
    if family == "omnimoe":
        own = {"router.keys.weight": (2 * math.isqrt(cfg["ffn_neurons"]), d)}
        own["shared_experts.gate_up_proj.weight"] = (2 * width, d)
        own["shared_experts.down_proj.weight"] = (d, width)
        pool = (cfg["ffn_neurons"], d)
        return own, {"experts.w_in.weight": pool, "experts.w_out.weight": pool}
    own = {"router." + name: shape for name, shape in router_shapes(cfg).items()}
    pool = (cfg["ffn_neurons"], d)  # peer: one pool for all channels
    if family == "sgatlin":
        pool = (cfg["ffn_channels"],) + pool
    return own, {"experts.w_in.weight": pool, "experts.w_out.weight": pool}


def is_buffer(name):
    """State that gradients and optimiser leave alone."""
    return name.endswith(("router.bias", "running_mean", "running_var"))


# ------------------------------------------------------------------ small functions


def top_k(scores, k, run=None):
    """The k largest of the last axis, descending, equal ones by lower index first."""
    values, ids = torch.sort(scores, dim=-1, descending=True, stable=True)
    if run is not None and scores.shape[-1] > k:
        gap = (values[..., k - 1] - values[..., k]).detach().min()
        run.margin = min(run.margin, float(gap))
    return values[..., :k], ids[..., :k]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + GELU_CUBIC * x**3)))


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


ACTIVATIONS = {
    "identity": lambda x: x,
    "gelu": gelu,
    "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "swish": lambda x: x / (1 + torch.exp(-x)),
}


def activate(cfg, x, run):
    if cfg["ffn_activation"] == "relu":
        run.near(x)
    return ACTIVATIONS[cfg["ffn_activation"]](x)


def softmax(x):
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def log_sum_exp(x):
    top = x.amax(-1, keepdim=True)
    return (top + (x - top).exp().sum(-1, keepdim=True).log()).squeeze(-1)


def normalise(kind, scores, run):
    """The scores selected by a head -> what its cells are multiplied with."""
    if kind == "softmax":
        return softmax(scores)
    if kind == "sigmoid":
        return sigmoid(scores)
    if kind == "relu":
        run.near(scores)
    return ACTIVATIONS[kind](scores)


def query_norm(p, cfg, q, run):
    """q (B, T, width)."""
    kind = cfg.get("ffn_query_norm", "none")
    if kind == "none":
        return q
    if kind == "layernorm":
        each = q.view(*q.shape[:2], -1, cfg["ffn_key_size"])
        centred = each - each.mean(-1, keepdim=True)
        r = torch.rsqrt((centred * centred).mean(-1, keepdim=True) + NORM_EPS)
        return (centred * r * p["router.query_norm.weight"]).view(q.shape)
    old = p["router.query_norm.running_mean"], p["router.query_norm.running_var"]
    mean, var = old
    if run.training:
        rows = q.shape[0] * q.shape[1]
        mean = q.mean((0, 1))
        var = ((q - mean) ** 2).mean((0, 1))
        after = run.buffers.setdefault(run.layer, {})
        unbiased = var * rows / (rows - 1)
        for name, a, b in zip(("mean", "var"), old, (mean, unbiased)):
            after["router.query_norm.running_" + name] = (
                (1 - MOMENTUM) * a + MOMENTUM * b
            ).detach()
    scale = p["router.query_norm.weight"] * torch.rsqrt(var + NORM_EPS)
    return (q - mean) * scale + p["router.query_norm.bias"]


# ------------------------------------------------------------------ routers by keys


def product_top_k(parts, k, run):
    """parts (B, T, 2, C, n) -> the k best of the n*n sums of every channel."""
    n = parts.shape[-1]
    s0, i0 = top_k(parts[:, :, 0], k, run)  # (B, T, C, k)
    s1, i1 = top_k(parts[:, :, 1], k, run)
    sums = (s0[..., :, None] + s1[..., None, :]).flatten(-2)  # rank in part 0 is the row
    pairs = (i0[..., :, None] * n + i1[..., None, :]).flatten(-2)
    scores, slot = top_k(sums, k, run)
    return scores, pairs.gather(-1, slot)


def route(p, cfg, x, run=None):
    """peer and sgatlin: x (B, T, d) -> scores, ids, both (B, T, C, k)."""
    channels, neurons = cfg["ffn_channels"], cfg["ffn_neurons"]
    key, k, router = cfg["ffn_key_size"], cfg["ffn_top_k"], cfg["ffn_router"]
    lead = x.shape[:2]
    q = x @ p["router.query.weight"].T
    keys = p["router.keys.weight"]
    if router == "dense":
        return top_k((q @ keys.T).view(*lead, channels, neurons), k, run)
    if router == "key_value":
        q = q.view(*lead, channels, key)
        return top_k(torch.einsum("btck,cnk->btcn", q, keys) / math.sqrt(key), k, run)
    if router == "product_dense":
        return product_top_k((q @ keys.T).view(*lead, 2, channels, math.isqrt(neurons)), k, run)
    if router == "product_key_value":
        q = q.view(*lead, 2, channels, key)
        parts = torch.einsum("btpck,pcnk->btpcn", q, keys) / math.sqrt(2 * key)
        return product_top_k(parts, k, run)
    raise ValueError(f"ffn_router: unknown {router}")


def route_pkm(p, cfg, x, run):
    """pkm, pkm_ffn and memory_plus: coefficients and ids, both (B, T, H, k)."""
    heads, key = cfg["ffn_channels"], cfg["ffn_key_size"]
    q = x @ p["router.query.weight"].T
    if cfg.get("ffn_query_bias"):
        q = q + p["router.query.bias"]
    q = query_norm(p, cfg, q, run).view(*x.shape[:2], 2, heads, key)
    parts = torch.einsum("btphk,phnk->btphn", q, p["router.keys.weight"])
    scores, ids = product_top_k(parts, active_cells(cfg) // heads, run)
    run.selection.append((scores, ids))
    return normalise(cfg["ffn_normaliser"], scores, run), ids


# ------------------------------------------------------------------ families


def clamped_swiglu(u, run):
    """u (..., 2F): gate half, linear half -> (..., F)."""
    gate, lin = u.chunk(2, dim=-1)
    run.near(torch.cat([gate - GLU_LIMIT, lin - GLU_LIMIT, lin + GLU_LIMIT], dim=-1))
    run.clipped += int((gate > GLU_LIMIT).sum() + (lin.abs() > GLU_LIMIT).sum())
    gate, lin = gate.clamp(max=GLU_LIMIT), lin.clamp(-GLU_LIMIT, GLU_LIMIT)
    return gate / (1 + torch.exp(-GLU_ALPHA * gate)) * (lin + 1)


def glu(p, at, x, run):
    u = x @ p[at + "gate_up_proj.weight"].T + p[at + "gate_up_proj.bias"]
    return clamped_swiglu(u, run) @ p[at + "down_proj.weight"].T + p[at + "down_proj.bias"]


def auxiliary(cfg, logits, shares, ids, run):
    """Balance loss E sum_i f_i P_i and z loss, kept in the pass. shares: of every token 1 in all."""
    experts = logits.shape[-1]
    often = run.counts(ids, experts).to(logits.dtype)
    if cfg.get("ffn_balance_loss"):
        run.balance.append(experts * (often / often.sum() * run.mean(shares)).sum())
    if cfg.get("ffn_z_loss"):
        run.z.append(run.mean(log_sum_exp(logits) ** 2))


def keep_within_capacity(cfg, ids, experts, run):
    """1 for a row that its block takes, 0 for one that finds it full: (B, T, b). Rows that do not
    count take no room."""
    factor = cfg.get("ffn_capacity_factor", 0)
    keep = torch.ones(ids.shape)
    if not run.training or not factor:
        return keep
    rows = ids.shape[0] * ids.shape[1]
    room = max(1, math.floor(factor * math.ceil(rows * ids.shape[2] / experts)))
    taken = [0] * experts
    flags, counted = keep.view(rows, -1), run.counted.flatten().tolist()
    for row, blocks in enumerate(ids.flatten(0, 1).tolist()):
        for i, e in enumerate(blocks):
            if counted[row]:
                flags[row, i] = float(taken[e] < room)
                run.dropped += taken[e] >= room
                taken[e] += 1
    return keep


def moe(p, cfg, x, run):
    experts, k = cfg["ffn_experts"], cfg["ffn_top_k"]
    logits = x @ p["router.weight"].T
    if cfg.get("ffn_score", "softmax") == "sigmoid":
        scores = sigmoid(logits)
        shares = scores / scores.sum(-1, keepdim=True)
    else:
        scores = shares = softmax(logits)
    if cfg.get("ffn_bias_rate"):
        _, ids = top_k(scores + p["router.bias"], k, run)
        gates = scores.gather(-1, ids)
    else:
        gates, ids = top_k(scores, k, run)
    auxiliary(cfg, logits, shares, ids, run)
    if cfg.get("ffn_bias_rate") and run.training:
        load = run.counts(ids, experts).to(x.dtype)
        after = p["router.bias"] + cfg["ffn_bias_rate"] * torch.sign(load.mean() - load)
        run.buffers.setdefault(run.layer, {})["router.bias"] = after
    if cfg.get("ffn_renormalise"):
        gates = gates / gates.sum(-1, keepdim=True)
    gates = gates * keep_within_capacity(cfg, ids, experts, run).to(x.dtype)
    run.selection.append((gates.unsqueeze(2), ids.unsqueeze(2)))
    y = torch.zeros_like(x)
    for e in range(experts):  # every expert on every token, weighted afterwards
        one = {name: t[e] for name, t in p.items() if name.startswith("experts.")}
        y = y + (gates * (ids == e)).sum(-1, keepdim=True) * glu(one, "experts.", x, run)
    if cfg.get("ffn_shared_experts"):
        y = y + glu(p, "shared_experts.", x, run)
    return y


def sgatlin(p, cfg, x, run):
    scores, ids = route(p, cfg, x, run)
    run.selection.append((scores, ids))
    channel = torch.arange(cfg["ffn_channels"])[:, None].expand_as(ids)
    w_in = p["experts.w_in.weight"][channel, ids]  # (B, T, C, k, d)
    w_out = p["experts.w_out.weight"][channel, ids]
    z = activate(cfg, torch.einsum("btcsd,btd->btcs", w_in, x) * scores, run)
    return torch.einsum("btcs,btcsd->btd", z, w_out)


def peer(p, cfg, x, run):
    scores, ids = route(p, cfg, x, run)
    run.selection.append((scores, ids))
    w_in, w_out = p["experts.w_in.weight"][ids], p["experts.w_out.weight"][ids]
    z = activate(cfg, torch.einsum("btcsd,btd->btcs", w_in, x), run) * softmax(scores)
    return torch.einsum("btcs,btcsd->btd", z, w_out)


def read_values(p, coefficients, ids):
    """Sum over the chosen of coefficient times value row; both (B, T, H, k)."""
    return torch.einsum("bths,bthsd->btd", coefficients, p["experts.w_out.weight"][ids])


def vanillam(p, cfg, x, run):
    m = activate(cfg, x @ p["experts.w_in.weight"].T, run)  # every cell of every token
    g = block_size(cfg)
    blocks = m.view(*m.shape[:2], -1, g)  # (B, T, N/g, g)
    scores, ids = top_k(blocks.mean(-1), active_cells(cfg) // g, run)
    run.selection.append((scores.unsqueeze(2), ids.unsqueeze(2)))
    chosen = torch.zeros(blocks.shape[:3], dtype=m.dtype).scatter(-1, ids, 1.0)
    return (blocks * chosen[..., None]).flatten(-2) @ p["experts.w_out.weight"]


def lorkm(p, cfg, x, run):
    t = query_norm(p, cfg, x @ p["router.query.weight"].T, run)
    m = activate(cfg, t @ p["router.keys.weight"].T, run)
    scores, ids = (s.unsqueeze(2) for s in top_k(m, active_cells(cfg), run))
    run.selection.append((scores, ids))
    return read_values(p, scores, ids)


def pkm(p, cfg, x, run):
    return read_values(p, *route_pkm(p, cfg, x, run))


def pkm_ffn(p, cfg, x, run):
    w, ids = route_pkm(p, cfg, x, run)
    keys = p["experts.w_in.weight"][ids]  # (B, T, H, k, d)
    m = activate(cfg, torch.einsum("bthsd,btd->bths", keys, x), run)
    return read_values(p, w * m, ids)


def memory_plus(p, cfg, x, run):
    b = read_values(p, *route_pkm(p, cfg, x, run))
    u = x @ p["gate_proj.weight"].T + p["gate_proj.bias"]
    return (b * u * sigmoid(u)) @ p["out_proj.weight"].T + p["out_proj.bias"]


def omnimoe(p, cfg, x, run):
    """As printed: log-softmax of rows and of columns, the K best of their sums, softmax over them."""
    n, k = math.isqrt(cfg["ffn_neurons"]), cfg["ffn_top_k"]
    logits = (x @ p["router.keys.weight"].T).view(*x.shape[:2], 2, 1, n)
    scores, ids = product_top_k(logits - log_sum_exp(logits)[..., None], k, run)
    g = softmax(scores)
    raw = logits[:, :, 0].gather(-1, ids // n) + logits[:, :, 1].gather(-1, ids % n)
    run.selection.append((raw, ids))
    w_in, w_out = p["experts.w_in.weight"][ids], p["experts.w_out.weight"][ids]
    z = g * activate(cfg, torch.einsum("btcsd,btd->btcs", w_in, x), run)
    gate, value = (x @ p["shared_experts.gate_up_proj.weight"].T).chunk(2, dim=-1)
    branch = (activate(cfg, gate, run) * value) @ p["shared_experts.down_proj.weight"].T
    return torch.einsum("btcs,btcsd->btd", z, w_out) + branch


def read_blocks(p, cfg, x, gates, ids, run):
    """Blocks of g cells, all of a block with one gate; gates and ids (B, T, b)."""
    g = block_size(cfg)
    rows = (ids[..., None] * g + torch.arange(g)).flatten(-2)  # (B, T, b g)
    m = activate(cfg, torch.einsum("btsd,btd->bts", p["experts.w_in.weight"][rows], x), run)
    w = gates[..., None].expand(*gates.shape, g).flatten(-2)
    return torch.einsum("bts,btsd->btd", w * m, p["experts.w_out.weight"][rows])


def switch(p, cfg, x, run):
    logits = x @ p["router.weight"].T
    shares = softmax(logits)
    gates, ids = top_k(shares, active_cells(cfg) // block_size(cfg), run)
    auxiliary(cfg, logits, shares, ids, run)
    if cfg.get("ffn_renormalise"):
        gates = gates / gates.sum(-1, keepdim=True)
    gates = gates * keep_within_capacity(cfg, ids, logits.shape[-1], run).to(x.dtype)
    run.selection.append((gates.unsqueeze(2), ids.unsqueeze(2)))
    return read_blocks(p, cfg, x, gates, ids, run)


def avgk(p, cfg, x, run):
    keys = p["experts.w_in.weight"]
    means = keys.view(-1, block_size(cfg), keys.shape[-1]).mean(1)
    logits = x @ means.T
    scores, ids = top_k(logits, active_cells(cfg) // block_size(cfg), run)
    auxiliary(cfg, logits, softmax(logits), ids, run)
    run.selection.append((scores.unsqueeze(2), ids.unsqueeze(2)))
    gates = sigmoid(scores) if cfg.get("ffn_gate") == "after" else torch.ones_like(scores)
    return read_blocks(p, cfg, x, gates, ids, run)


def hash_row(cfg, layer, token):
    """The first b entries of a shuffle of all blocks, by the law of docs/MODEL.md (Routers, hash)."""
    blocks = list(range(cells(cfg) // block_size(cfg)))
    b = active_cells(cfg) // block_size(cfg)
    stream = rng_twin.stream(f"model.layers.{layer}.mlp.router.hash")
    for j in range(b):
        at = j + rng_twin.below(cfg.get("ffn_hash_seed", 0), stream, token * b + j, len(blocks) - j)
        blocks[j], blocks[at] = blocks[at], blocks[j]
    return blocks[:b]


def randhash(p, cfg, x, run):
    table = [hash_row(cfg, run.layer, token) for token in range(cfg["vocab_size"])]
    ids = torch.tensor(table)[run.ids]  # (B, T, b): by token, not by hidden state
    run.selection.append((torch.ones(ids.shape).unsqueeze(2), ids.unsqueeze(2)))
    return read_blocks(p, cfg, x, torch.ones(ids.shape, dtype=x.dtype), ids, run)


def mlp(p, cfg, x, run):
    return activate(cfg, x @ p["up_proj.weight"].T, run) @ p["down_proj.weight"].T


FAMILIES = {f.__name__: f for f in (mlp, moe, sgatlin, peer, vanillam, lorkm, pkm, pkm_ffn)}
FAMILIES |= {f.__name__: f for f in (switch, avgk, randhash, memory_plus, omnimoe)}
FAMILIES["glu"] = lambda p, cfg, x, run: glu(p, "", x, run)


def feed_forward(p, cfg, x, run):
    return FAMILIES[cfg["ffn"]](p, cfg, x, run)


# ------------------------------------------------------------------ cost


def token_flops(cfg):
    """Counted FLOPs of one token in one layer, forward (docs/MODEL.md, Cost)."""
    d, width, family = cfg["hidden_size"], cfg.get("ffn_intermediate_size"), cfg["ffn"]
    key, heads, k = cfg.get("ffn_key_size"), cfg.get("ffn_channels"), cfg.get("ffn_top_k")
    if family == "mlp":
        return 4 * d * width
    if family == "glu":
        return 6 * d * width
    if family == "moe":
        shared = cfg.get("ffn_shared_experts", 0)
        return 2 * d * cfg["ffn_experts"] + (k + shared) * 6 * d * width
    if family in CELL_FAMILIES:
        n, k = cells(cfg), active_cells(cfg)
        if family == "vanillam":
            return 2 * d * n + 2 * k * d
        if family == "lorkm":
            return 2 * d * key + 2 * n * key + 2 * k * d
        if family in PRODUCT_MEMORIES:
            routing = heads * (4 * d * key + 4 * math.isqrt(n) * key)
            projections = 4 * d * d if family == "memory_plus" else 0
            return routing + (4 if family == "pkm_ffn" else 2) * k * d + projections
        scores = 0 if family == "randhash" else 2 * d * n // block_size(cfg)
        return scores + 4 * k * d
    n = math.isqrt(cfg["ffn_neurons"])
    if family == "omnimoe":
        return 2 * d * 2 * n + 4 * k * d + 6 * d * width
    routing = {
        "product_dense": 2 * d * key + 4 * heads * n * key,
        "product_key_value": 4 * heads * key * d + 4 * heads * n * key,
        "dense": 2 * d * key + 2 * key * cfg["ffn_neurons"] * heads,
        "key_value": 2 * heads * key * d + 2 * key * cfg["ffn_neurons"] * heads,
    }[cfg["ffn_router"]]
    return routing + 4 * k * heads * d
