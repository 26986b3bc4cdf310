"""The language models once more, in PyTorch: the oracle of the golden files.

Owns the transformer, which layers are sparse, the losses, the schedule and AdamW; the feed-forward
layers are in ffn_twin.py. Both are written from the formulas of docs/MODEL.md and from nothing
else, so that an error in the C library and an error here have no common cause. Everything is plain
tensor arithmetic that autograd differentiates; no fused operation, no half precision. It runs in
the precision of its parameters (float64 for the golden files) and is made for tiny shapes: the
gathered rows (B, T, C, k, d) are held in memory.

Only make_goldens.py and check_twin.py use it; nothing of the build, the tests or the program needs
Python.
"""

import math

import torch

import ffn_twin as ffn

SHARED = "model.shared_memory."

# ------------------------------------------------------------------ shapes and counts


def is_sparse(cfg, i):
    """Whether layer i, counted from 0, is of the family "ffn" (else of the family "ffn_dense")."""
    where = cfg.get("ffn_layers", "all")
    if where == "all":
        return True
    if where.startswith("every:"):
        return (i + 1) % int(where[6:]) == 0
    return i + 1 in [int(number) for number in where.split(",")]


def layer_config(cfg, i):
    if is_sparse(cfg, i):
        return cfg
    kind = cfg["ffn_dense"]
    width = cfg.get("ffn_dense_size") or cfg.get("ffn_intermediate_size") or 4 * cfg["hidden_size"]
    activation = {"mlp": "gelu", "glu": "clamped_swiglu"}[kind]
    return cfg | {"ffn": kind, "ffn_activation": activation, "ffn_intermediate_size": width}


def hidden_width(cfg, which, i):
    """Of the MLP that stands for a projection of attention in layer i; 0: it is linear."""
    items = cfg.get(f"attention_mlp_{which}", "0").split(",")
    return int(items[i if len(items) > 1 else 0])


def projection_shapes(cfg, which, i, outputs, inputs):
    hidden, at = hidden_width(cfg, which, i), f"self_attn.{which}_proj."
    if not hidden:
        return {at + "weight": (outputs, inputs)}
    return {
        at + "mlp.up_proj.weight": (hidden, inputs),
        at + "mlp.up_proj.bias": (hidden,),
        at + "mlp.down_proj.weight": (outputs, hidden),
        at + "mlp.down_proj.bias": (outputs,),
    }


def shapes(cfg):
    """Every parameter's name and shape, in the order of the forward pass."""
    d, inner = cfg["hidden_size"], cfg["num_attention_heads"] * cfg["head_dim"]
    out = {"model.embed_tokens.weight": (cfg["vocab_size"], d)}
    for i in range(cfg["num_hidden_layers"]):
        at = f"model.layers.{i}."
        out[at + "input_layernorm.weight"] = (d,)
        for which, outputs, inputs in [(c, inner, d) for c in "qkv"] + [("o", d, inner)]:
            own = projection_shapes(cfg, which, i, outputs, inputs)
            out |= {at + name: shape for name, shape in own.items()}
        out[at + "self_attn.q_norm.weight"] = (cfg["head_dim"],)
        out[at + "self_attn.k_norm.weight"] = (cfg["head_dim"],)
        out[at + "post_attention_layernorm.weight"] = (d,)
        own, memory = ffn.router_and_memory_shapes(layer_config(cfg, i))
        pool = SHARED if cfg.get("ffn_share_pool") and is_sparse(cfg, i) else at + "mlp."
        out |= {at + "mlp." + name: shape for name, shape in own.items()}
        out |= {pool + name: shape for name, shape in memory.items()}
    out["model.norm.weight"] = (d,)
    return out


def forward_flops(cfg, tokens):
    """Counted FLOPs of one sequence, forward (docs/MODEL.md, Cost)."""
    d, inner = cfg["hidden_size"], cfg["num_attention_heads"] * cfg["head_dim"]
    layers = range(cfg["num_hidden_layers"])
    attention = 2 * 2 * tokens * tokens * inner
    projections = 0
    for i in layers:
        for which in "qkvo":
            hidden = hidden_width(cfg, which, i)
            projections += 2 * hidden * (d + inner) if hidden else 2 * d * inner
    feed_forward = sum(ffn.token_flops(layer_config(cfg, i)) for i in layers)
    return len(layers) * attention + tokens * (projections + feed_forward)


# ------------------------------------------------------------------ small functions


def rms_norm(x, weight, eps):
    return x * (torch.rsqrt((x * x).mean(-1, keepdim=True) + eps) * weight)


def rope(x, base):
    """x (B, T, H, hd): pairs (i, i + hd/2) turn by t * base^(-2i/hd)."""
    tokens, head = x.shape[1], x.shape[3]
    freq = base ** (-torch.arange(0, head, 2, dtype=torch.float64) / head)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * freq  # (T, hd/2)
    cos, sin = angle.cos().to(x.dtype)[:, None, :], angle.sin().to(x.dtype)[:, None, :]
    a, b = x[..., : head // 2], x[..., head // 2 :]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


# ------------------------------------------------------------------ transformer


def project(p, which, x, run):
    at = f"self_attn.{which}_proj."
    if at + "weight" in p:
        return x @ p[at + "weight"].T
    u = x @ p[at + "mlp.up_proj.weight"].T + p[at + "mlp.up_proj.bias"]
    run.near(u)
    h = torch.where(u > 0, u, torch.zeros_like(u))
    return h @ p[at + "mlp.down_proj.weight"].T + p[at + "mlp.down_proj.bias"]


def attention(p, cfg, x, run):
    heads, head = cfg["num_attention_heads"], cfg["head_dim"]
    eps, base = cfg["rms_norm_eps"], cfg["rope_theta"]
    batch, tokens, _ = x.shape
    q, k, v = (
        project(p, name, x, run).view(batch, tokens, heads, head)
        for name in ("q", "k", "v")
    )
    q = rope(rms_norm(q, p["self_attn.q_norm.weight"], eps), base) / math.sqrt(head)
    k = rope(rms_norm(k, p["self_attn.k_norm.weight"], eps), base)
    scores = torch.einsum("bthe,bshe->bhts", q, k)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    scores = scores.masked_fill(future, -math.inf)
    out = torch.einsum("bhts,bshe->bthe", ffn.softmax(scores), v)
    return project(p, "o", out.reshape(batch, tokens, heads * head), run)


def sub(params, prefix):
    return {name[len(prefix) :]: t for name, t in params.items() if name.startswith(prefix)}


def logits(params, cfg, inputs, run=None):
    """inputs (B, T) int64 -> (B, T, V)."""
    eps, table = cfg["rms_norm_eps"], params["model.embed_tokens.weight"]
    run = run or ffn.Pass()
    run.ids = inputs
    h = table[inputs]
    for i in range(cfg["num_hidden_layers"]):
        p, run.layer = sub(params, f"model.layers.{i}."), i
        h = h + attention(p, cfg, rms_norm(h, p["input_layernorm.weight"], eps), run)
        x = rms_norm(h, p["post_attention_layernorm.weight"], eps)
        mine = sub(p, "mlp.")
        if is_sparse(cfg, i):
            mine |= sub(params, SHARED)
        h = h + ffn.feed_forward(mine, layer_config(cfg, i), x, run)
    return rms_norm(h, params["model.norm.weight"], eps) @ table.T


def cross_entropy(out, cfg, targets):
    """Mean over the targets that are not padding."""
    ce = ffn.log_sum_exp(out) - out.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    weight = (targets != cfg["pad_token_id"]).to(out.dtype)
    return (ce * weight).sum() / weight.sum()


def auxiliary(cfg, run):
    """What training minimises beside the cross-entropy."""
    balance, z = cfg.get("ffn_balance_loss", 0), cfg.get("ffn_z_loss", 0)
    return balance * sum(run.balance) + z * sum(run.z)


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


def trained(params):
    return {name: t for name, t in params.items() if not ffn.is_buffer(name)}


class AdamW:
    def __init__(self, params, train):
        self.train, self.count = train, 0
        self.m = {name: torch.zeros_like(t) for name, t in trained(params).items()}
        self.v = {name: torch.zeros_like(t) for name, t in trained(params).items()}

    def step(self, params, grads):
        """Clips, updates in place; returns the norm before clipping and the rate used."""
        t = self.train
        norm = math.sqrt(sum(float((g * g).sum()) for g in grads.values()))
        scale = t["clip_norm"] / norm if norm >= t["clip_norm"] else 1.0
        lr = learning_rate(t, self.count)
        self.count += 1
        for name, p in trained(params).items():
            g = grads[name] * scale
            self.m[name] = t["beta1"] * self.m[name] + (1 - t["beta1"]) * g
            self.v[name] = t["beta2"] * self.v[name] + (1 - t["beta2"]) * g * g
            m = self.m[name] / (1 - t["beta1"] ** self.count)
            v = self.v[name] / (1 - t["beta2"] ** self.count)
            decay = t["weight_decay"] if decays(name, p) else 0.0
            with torch.no_grad():
                p -= lr * (m / (v.sqrt() + t["eps"]) + decay * p)
        return norm, lr


def loss_and_grads(params, cfg, inputs, targets, run):
    """Logits, cross-entropy, and the gradients of everything that training minimises."""
    leaves = {name: t.detach().requires_grad_(True) for name, t in trained(params).items()}
    run.counted = targets != cfg["pad_token_id"]
    out = logits(params | leaves, cfg, inputs, run)
    loss = cross_entropy(out, cfg, targets)
    grads = torch.autograd.grad(loss + auxiliary(cfg, run), list(leaves.values()))
    return out.detach(), loss.detach(), dict(zip(leaves, grads))


def step_buffers(params, run):
    """Once a step, after the update."""
    for layer, after in run.buffers.items():
        for name, value in after.items():
            params[f"model.layers.{layer}.mlp.{name}"] = value
