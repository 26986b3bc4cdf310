"""The language models once more, in PyTorch: the oracle of the golden files.

Owns the transformer, every feed-forward family and router, the loss, the schedule and AdamW,
written from the formulas of docs/MODEL.md and from nothing else, so that an error in the C library
and an error here have no common cause. Everything is plain tensor arithmetic that autograd
differentiates; no fused operation, no half precision. It runs in the precision of its parameters
(float64 for the golden files) and is made for tiny shapes: the gathered rows (B, T, C, k, d) are
held in memory.

Only make_goldens.py uses it; nothing of the build, the tests or the program needs Python.
"""

import math

import torch

GELU_CUBIC = 0.044715  # Hendrycks & Gimpel 2016, the tanh approximation
GLU_ALPHA, GLU_LIMIT = 1.702, 7.0  # gpt-oss


# ------------------------------------------------------------------ shapes and counts


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


def ffn_shapes(cfg):
    d, family, width = cfg["hidden_size"], cfg["ffn"], cfg.get("ffn_intermediate_size")
    if family == "mlp":
        return {"up_proj.weight": (width, d), "down_proj.weight": (d, width)}
    if family == "glu":
        return {
            "gate_up_proj.weight": (2 * width, d),
            "gate_up_proj.bias": (2 * width,),
            "down_proj.weight": (d, width),
            "down_proj.bias": (d,),
        }
    if family == "moe":
        experts = cfg["ffn_experts"]
        return {
            "router.weight": (experts, d),
            "experts.gate_up_proj.weight": (experts, 2 * width, d),
            "experts.gate_up_proj.bias": (experts, 2 * width),
            "experts.down_proj.weight": (experts, d, width),
            "experts.down_proj.bias": (experts, d),
        }
    shapes = {"router." + name: shape for name, shape in router_shapes(cfg).items()}
    pool = (cfg["ffn_neurons"], d)  # peer: one pool for all channels
    if family == "sgatlin":
        pool = (cfg["ffn_channels"],) + pool
    shapes["experts.w_in.weight"] = pool
    shapes["experts.w_out.weight"] = pool
    return shapes


def shapes(cfg):
    """Every parameter's name and shape, in the order of the forward pass."""
    d, inner = cfg["hidden_size"], cfg["num_attention_heads"] * cfg["head_dim"]
    out = {"model.embed_tokens.weight": (cfg["vocab_size"], d)}
    for i in range(cfg["num_hidden_layers"]):
        at = f"model.layers.{i}."
        out[at + "input_layernorm.weight"] = (d,)
        for name in ("q", "k", "v"):
            out[at + f"self_attn.{name}_proj.weight"] = (inner, d)
        out[at + "self_attn.o_proj.weight"] = (d, inner)
        out[at + "self_attn.q_norm.weight"] = (cfg["head_dim"],)
        out[at + "self_attn.k_norm.weight"] = (cfg["head_dim"],)
        out[at + "post_attention_layernorm.weight"] = (d,)
        for name, shape in ffn_shapes(cfg).items():
            out[at + "mlp." + name] = shape
    out["model.norm.weight"] = (d,)
    return out


def forward_flops(cfg, tokens):
    """Counted FLOPs of one sequence, forward (docs/MODEL.md, Cost)."""
    d, width, k = cfg["hidden_size"], cfg.get("ffn_intermediate_size"), cfg.get("ffn_top_k")
    inner = cfg["num_attention_heads"] * cfg["head_dim"]
    attention = 4 * tokens * 2 * d * inner + 2 * 2 * tokens * tokens * inner
    if cfg["ffn"] == "mlp":
        ffn = 4 * d * width
    elif cfg["ffn"] == "glu":
        ffn = 6 * d * width
    elif cfg["ffn"] == "moe":
        ffn = 2 * d * cfg["ffn_experts"] + k * 6 * d * width
    else:
        channels, key = cfg["ffn_channels"], cfg["ffn_key_size"]
        n = math.isqrt(cfg["ffn_neurons"])
        router = {
            "product_dense": 2 * d * key + 4 * channels * n * key,
            "product_key_value": 4 * channels * key * d + 4 * channels * n * key,
            "dense": 2 * d * key + 2 * key * cfg["ffn_neurons"] * channels,
            "key_value": 2 * channels * key * d + 2 * key * cfg["ffn_neurons"] * channels,
        }[cfg["ffn_router"]]
        ffn = router + 4 * k * channels * d
    return cfg["num_hidden_layers"] * (attention + tokens * ffn)


# ------------------------------------------------------------------ small functions


class Trace:
    """What a forward pass decided, and how narrowly.

    margin: smallest score gap between a chosen candidate and the best one left out, any stage.
    kink:   smallest distance of a value from a point where its function is not smooth.
    """

    def __init__(self):
        self.margin, self.kink, self.clipped, self.selection = math.inf, math.inf, 0, []


def top_k(scores, k, trace=None):
    """The k largest of the last axis, descending, equal ones by lower index first."""
    values, ids = torch.sort(scores, dim=-1, descending=True, stable=True)
    if trace is not None and scores.shape[-1] > k:
        gap = (values[..., k - 1] - values[..., k]).detach().min()
        trace.margin = min(trace.margin, float(gap))
    return values[..., :k], ids[..., :k]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + GELU_CUBIC * x**3)))


ACTIVATIONS = {
    "identity": lambda x: x,
    "gelu": gelu,
    "relu": lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
    "swish": lambda x: x / (1 + torch.exp(-x)),
}


def rms_norm(x, weight, eps):
    return x * (torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight)


def softmax(x):
    e = torch.exp(x - x.amax(-1, keepdim=True))
    return e / e.sum(-1, keepdim=True)


def rope(x, base):
    """x (B, T, H, hd): pairs (i, i + hd/2) turn by t * base^(-2i/hd)."""
    tokens, head = x.shape[1], x.shape[3]
    freq = base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * freq  # (T, hd/2)
    cos, sin = angle.cos().to(x.dtype)[:, None, :], angle.sin().to(x.dtype)[:, None, :]
    a, b = x[..., : head // 2], x[..., head // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


# ------------------------------------------------------------------ routers


def route(p, cfg, x, trace=None):
    """x (B, T, d) -> scores, ids, both (B, T, C, k)."""
    channels, neurons = cfg["ffn_channels"], cfg["ffn_neurons"]
    key, k, router = cfg["ffn_key_size"], cfg["ffn_top_k"], cfg["ffn_router"]
    n = math.isqrt(neurons)
    lead = x.shape[:2]
    q = x @ p["router.query.weight"].T
    keys = p["router.keys.weight"]
    if router == "dense":
        return top_k((q @ keys.T).view(*lead, channels, neurons), k, trace)
    if router == "key_value":
        q = q.view(*lead, channels, key)
        return top_k(torch.einsum("btck,cnk->btcn", q, keys) / math.sqrt(key), k, trace)
    if router == "product_dense":
        parts = (q @ keys.T).view(*lead, 2, channels, n)
    elif router == "product_key_value":
        q = q.view(*lead, 2, channels, key)
        parts = torch.einsum("btpck,pcnk->btpcn", q, keys) / math.sqrt(2 * key)
    else:
        raise ValueError(f"ffn_router: unknown {router}")
    s0, i0 = top_k(parts[:, :, 0], k, trace)  # (B, T, C, k)
    s1, i1 = top_k(parts[:, :, 1], k, trace)
    sums = (s0[..., :, None] + s1[..., None, :]).flatten(-2)  # rank in part 0 is the row
    pairs = (i0[..., :, None] * n + i1[..., None, :]).flatten(-2)
    scores, slot = top_k(sums, k, trace)
    return scores, pairs.gather(-1, slot)


# ------------------------------------------------------------------ feed-forward layers


def clamped_swiglu(u, trace=None):
    """u (..., 2F): gate half, linear half -> (..., F)."""
    gate, lin = u.chunk(2, dim=-1)
    if trace is not None:
        edges = torch.cat([gate - GLU_LIMIT, lin - GLU_LIMIT, lin + GLU_LIMIT], dim=-1)
        trace.kink = min(trace.kink, float(edges.detach().abs().min()))
        trace.clipped += int((gate > GLU_LIMIT).sum() + (lin.abs() > GLU_LIMIT).sum())
    gate, lin = gate.clamp(max=GLU_LIMIT), lin.clamp(-GLU_LIMIT, GLU_LIMIT)
    return gate / (1 + torch.exp(-GLU_ALPHA * gate)) * (lin + 1)


def moe(p, cfg, x, trace=None):
    weights, ids = top_k(softmax(x @ p["router.weight"].T), cfg["ffn_top_k"], trace)
    if trace is not None:
        trace.selection.append((weights.unsqueeze(2), ids.unsqueeze(2)))
    y = torch.zeros_like(x)
    for e in range(cfg["ffn_experts"]):  # every expert on every token, weighted afterwards
        u = x @ p["experts.gate_up_proj.weight"][e].T + p["experts.gate_up_proj.bias"][e]
        out = clamped_swiglu(u, trace) @ p["experts.down_proj.weight"][e].T
        out = out + p["experts.down_proj.bias"][e]
        y = y + (weights * (ids == e)).sum(-1, keepdim=True) * out
    return y


def sgatlin(p, cfg, x, trace=None):
    scores, ids = route(p, cfg, x, trace)
    if trace is not None:
        trace.selection.append((scores, ids))
    channel = torch.arange(cfg["ffn_channels"])[:, None].expand_as(ids)
    w_in = p["experts.w_in.weight"][channel, ids]  # (B, T, C, k, d)
    w_out = p["experts.w_out.weight"][channel, ids]
    gated = torch.einsum("btcsd,btd->btcs", w_in, x) * scores
    if trace is not None and cfg["ffn_activation"] == "relu":
        trace.kink = min(trace.kink, float(gated.detach().abs().min()))
    z = ACTIVATIONS[cfg["ffn_activation"]](gated)
    return torch.einsum("btcs,btcsd->btd", z, w_out)


def peer(p, cfg, x, trace=None):
    scores, ids = route(p, cfg, x, trace)
    if trace is not None:
        trace.selection.append((scores, ids))
    w_in, w_out = p["experts.w_in.weight"][ids], p["experts.w_out.weight"][ids]
    z = gelu(torch.einsum("btcsd,btd->btcs", w_in, x)) * softmax(scores)
    return torch.einsum("btcs,btcsd->btd", z, w_out)


def feed_forward(p, cfg, x, trace=None):
    family = cfg["ffn"]
    if family == "mlp":
        return gelu(x @ p["up_proj.weight"].T) @ p["down_proj.weight"].T
    if family == "glu":
        u = x @ p["gate_up_proj.weight"].T + p["gate_up_proj.bias"]
        return clamped_swiglu(u, trace) @ p["down_proj.weight"].T + p["down_proj.bias"]
    return {"moe": moe, "peer": peer, "sgatlin": sgatlin}[family](p, cfg, x, trace)


# ------------------------------------------------------------------ transformer


def attention(p, cfg, x):
    heads, head = cfg["num_attention_heads"], cfg["head_dim"]
    eps, base = cfg["rms_norm_eps"], cfg["rope_theta"]
    batch, tokens, _ = x.shape
    q, k, v = (
        (x @ p[f"self_attn.{name}_proj.weight"].T).view(batch, tokens, heads, head)
        for name in ("q", "k", "v")
    )
    q = rope(rms_norm(q, p["self_attn.q_norm.weight"], eps), base) / math.sqrt(head)
    k = rope(rms_norm(k, p["self_attn.k_norm.weight"], eps), base)
    scores = torch.einsum("bthe,bshe->bhts", q, k)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    scores = scores.masked_fill(future, -math.inf)
    out = torch.einsum("bhts,bshe->bthe", softmax(scores), v)
    return out.reshape(batch, tokens, heads * head) @ p["self_attn.o_proj.weight"].T


def sub(params, prefix):
    return {name[len(prefix) :]: t for name, t in params.items() if name.startswith(prefix)}


def logits(params, cfg, inputs, trace=None):
    """inputs (B, T) int64 -> (B, T, V)."""
    eps, table = cfg["rms_norm_eps"], params["model.embed_tokens.weight"]
    h = table[inputs]
    for i in range(cfg["num_hidden_layers"]):
        p = sub(params, f"model.layers.{i}.")
        h = h + attention(p, cfg, rms_norm(h, p["input_layernorm.weight"], eps))
        x = rms_norm(h, p["post_attention_layernorm.weight"], eps)
        h = h + feed_forward(sub(p, "mlp."), cfg, x, trace)
    return rms_norm(h, params["model.norm.weight"], eps) @ table.T


def cross_entropy(out, cfg, targets):
    """Mean over the targets that are not padding."""
    top = out.amax(-1, keepdim=True)
    lse = (top + (out - top).exp().sum(-1, keepdim=True).log()).squeeze(-1)
    ce = lse - out.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    weight = (targets != cfg["pad_token_id"]).to(out.dtype)
    return (ce * weight).sum() / weight.sum()


# ------------------------------------------------------------------ training


def learning_rate(train, count):
    """Warm-up, stable, square-root decay; count is the number of updates already made."""
    steps, warmup, peak = train["steps"], train["warmup_steps"], train["learning_rate"]
    decay = int(train["decay_fraction"] * steps)
    if count < warmup:
        return peak * count / warmup
    j = count - (steps - decay)
    return peak if j < 0 else peak * (1 - math.sqrt(j / decay))


def decays(name, tensor):
    return tensor.ndim != 1 and not name.endswith(".bias")


class AdamW:
    def __init__(self, params, train):
        self.train, self.count = train, 0
        self.m = {name: torch.zeros_like(t) for name, t in params.items()}
        self.v = {name: torch.zeros_like(t) for name, t in params.items()}

    def step(self, params, grads):
        """Clips, updates in place; returns the norm before clipping and the rate used."""
        t = self.train
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        scale = t["clip_norm"] / norm if norm >= t["clip_norm"] else 1.0
        lr = learning_rate(t, self.count)
        self.count += 1
        for name, p in params.items():
            g = grads[name] * scale
            self.m[name] = t["beta1"] * self.m[name] + (1 - t["beta1"]) * g
            self.v[name] = t["beta2"] * self.v[name] + (1 - t["beta2"]) * g * g
            m = self.m[name] / (1 - t["beta1"] ** self.count)
            v = self.v[name] / (1 - t["beta2"] ** self.count)
            decay = t["weight_decay"] if decays(name, p) else 0.0
            with torch.no_grad():
                p -= lr * (m / (v.sqrt() + t["eps"]) + decay * p)
        return norm, lr


def loss_and_grads(params, cfg, inputs, targets, trace=None):
    leaves = {name: t.detach().requires_grad_(True) for name, t in params.items()}
    out = logits(leaves, cfg, inputs, trace)
    loss = cross_entropy(out, cfg, targets)
    grads = torch.autograd.grad(loss, list(leaves.values()))
    return out.detach(), loss.detach(), dict(zip(leaves, grads))
