"""Exact traces once more: makes tests/golden/trace/*.safetensors.

Run from anywhere: python3 tests/twins/trace_twin.py. Needs torch and numpy (CPU). Parameters and
tokens (the first sequence) are those of tests/golden/models/NAME.safetensors, so this comes after
make_goldens.py. The model is written with everything that a trace holds fixed detached (attention
weights, what norms divide by, selections, their gates), and automatic differentiation does the
rest: what a node contributes to logit ANSWER less logit AGAINST behind the last token is the sum of
its value times its gradient, and an edge into a neuron that neuron's derivative by the stream times
what the source wrote.

    embedding (T), attention (L, H, T, T) of queries and sources, neurons (L, T, M): contributions
    ids, channels (L, T, M) I32: which neurons
    beside (L, T): of what a layer adds beside its neurons, where it does
    edge.embedding (M), edge.attention (M, L, H, T), edge.neurons (M, L-1, M): into the neurons of
        the last layer at the last token, from what is at that token
    values (M): theirs
    difference (1)
"""

import math
import pathlib

import torch

import ffn_twin as ffn
import model_twin as twin
from make_goldens import f32, i32, save
from points_twin import MODELS, read

OUT = MODELS.parent / "trace"
CASES = (
    "mlp",
    "moe",
    "peer",
    "sgatlin_product_dense",
    "sgatlin_gelu",
    "vanillam_blocks",
    "pkm",
    "memory_plus",
    "omnimoe",
    "avgk_gate",
)
ANSWER, AGAINST = 17, 23


def norm(x, weight, eps):
    """x (T, d); what it divides by is held fixed."""
    scale = ((x * x).mean(-1, keepdim=True) + eps).sqrt().detach()
    return x / scale * weight


def attention(p, cfg, x):
    """What each head brings to each query from each source: (H, T, T, d)."""
    heads, head = cfg["num_attention_heads"], cfg["head_dim"]
    eps, base = cfg["rms_norm_eps"], cfg["rope_theta"]
    tokens = x.shape[0]

    def project(name, of):
        return (of @ p[f"self_attn.{name}_proj.weight"].T).view(1, tokens, heads, head)

    fixed = x.detach()
    q = twin.rope(twin.rms_norm(project("q", fixed), p["self_attn.q_norm.weight"], eps), base)
    k = twin.rope(twin.rms_norm(project("k", fixed), p["self_attn.k_norm.weight"], eps), base)
    scores = torch.einsum("bthe,bshe->bhts", q, k)[0] / math.sqrt(head)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)
    pattern = ffn.softmax(scores.masked_fill(future, -math.inf))
    w_o = p["self_attn.o_proj.weight"].view(-1, heads, head)
    return torch.einsum("hts,she,dhe->htsd", pattern, project("v", x)[0], w_o)


# ------------------------------------------------------------------ families
# Each: x (T, d) -> ids, channels (T, M), coefficients of w_out and w_out (T, M, d), what is beside
# them (T, d) or None, biases (T, d) or None.


def numbered(ids, channels):
    """ids (T, C, k) -> both (T, M)."""
    of = torch.arange(channels)[:, None].expand_as(ids)
    return ids.flatten(1), of.flatten(1)


def mlp(p, cfg, x):
    post = ffn.activate(cfg, x @ p["up_proj.weight"].T, ffn.Pass())
    ids = torch.arange(post.shape[1]).expand(post.shape)
    w_out = p["down_proj.weight"].T.expand(post.shape[0], -1, -1)
    return ids, torch.zeros_like(ids), post, w_out, None, None


def neurons(p, cfg, x):
    scores, ids = ffn.route(p, cfg, x[None].detach())
    scores, ids = scores[0], ids[0]
    flat, channels = numbered(ids, cfg["ffn_channels"])
    pools = cfg["ffn"] == "sgatlin"
    at = (channels, flat) if pools else (flat,)
    pre = torch.einsum("tmd,td->tm", p["experts.w_in.weight"][at], x)
    if pools:
        post = ffn.activate(cfg, pre * scores.flatten(1), ffn.Pass())
    else:
        post = ffn.activate(cfg, pre, ffn.Pass()) * ffn.softmax(scores).flatten(1)
    return flat, channels, post, p["experts.w_out.weight"][at], None, None


def experts(p, cfg, x):
    shares = ffn.softmax(x.detach() @ p["router.weight"].T)
    scores, ids = ffn.top_k(shares, cfg["ffn_top_k"])
    u = torch.einsum("tkfd,td->tkf", p["experts.gate_up_proj.weight"][ids], x)
    h = ffn.clamped_swiglu(u + p["experts.gate_up_proj.bias"][ids], ffn.Pass())
    width = h.shape[-1]
    w_out = p["experts.down_proj.weight"][ids].transpose(-1, -2).flatten(1, 2)
    biases = torch.einsum("tk,tkd->td", scores, p["experts.down_proj.bias"][ids])
    flat = (ids[..., None] * width + torch.arange(width)).flatten(1)
    post = (h * scores[..., None]).flatten(1)
    return flat, torch.zeros_like(flat), post, w_out, None, biases


def vanillam(p, cfg, x):
    m = ffn.activate(cfg, x @ p["experts.w_in.weight"].T, ffn.Pass())
    g = ffn.block_size(cfg)
    means = m.detach().view(m.shape[0], -1, g).mean(-1)
    _, ids = ffn.top_k(means, ffn.active_cells(cfg) // g)
    flat = (ids[..., None] * g + torch.arange(g)).flatten(1)
    return flat, torch.zeros_like(flat), m.gather(1, flat), p["experts.w_out.weight"][flat], None, None


def values(p, cfg, x):
    w, ids = ffn.route_pkm(p, cfg, x[None].detach(), ffn.Pass())
    flat, channels = numbered(ids[0], cfg["ffn_channels"])
    post = w[0].flatten(1)
    w_out, biases = p["experts.w_out.weight"][flat], None
    if cfg["ffn"] == "memory_plus":  # silu of the token's gate is held fixed
        u = x.detach() @ p["gate_proj.weight"].T + p["gate_proj.bias"]
        w_out = (w_out * (u * ffn.sigmoid(u))[:, None]) @ p["out_proj.weight"].T
        biases = p["out_proj.bias"].expand_as(x)
    return flat, channels, post, w_out, None, biases


def omnimoe(p, cfg, x):
    n, k = math.isqrt(cfg["ffn_neurons"]), cfg["ffn_top_k"]
    logits = (x.detach() @ p["router.keys.weight"].T).view(1, -1, 2, 1, n)
    scores, ids = ffn.product_top_k(logits, k, None)
    flat, gates = ids[0, :, 0], ffn.softmax(scores[0, :, 0])
    pre = torch.einsum("tmd,td->tm", p["experts.w_in.weight"][flat], x)
    post = gates * ffn.activate(cfg, pre, ffn.Pass())
    gate, value = (x @ p["shared_experts.gate_up_proj.weight"].T).chunk(2, dim=-1)
    branch = ffn.activate(cfg, gate, ffn.Pass()) * value
    beside = branch @ p["shared_experts.down_proj.weight"].T
    return flat, torch.zeros_like(flat), post, p["experts.w_out.weight"][flat], beside, None


def avgk(p, cfg, x):
    g, keys = ffn.block_size(cfg), p["experts.w_in.weight"]
    means = keys.view(-1, g, keys.shape[-1]).mean(1)
    scores, ids = ffn.top_k(x.detach() @ means.T, ffn.active_cells(cfg) // g)
    flat = (ids[..., None] * g + torch.arange(g)).flatten(1)
    gates = ffn.sigmoid(scores)[..., None].expand(*scores.shape, g).flatten(1)
    post = gates * ffn.activate(cfg, torch.einsum("tmd,td->tm", keys[flat], x), ffn.Pass())
    return flat, torch.zeros_like(flat), post, p["experts.w_out.weight"][flat], None, None


FAMILIES = {
    "mlp": mlp,
    "peer": neurons,
    "sgatlin": neurons,
    "moe": experts,
    "vanillam": vanillam,
    "pkm": values,
    "memory_plus": values,
    "omnimoe": omnimoe,
    "avgk": avgk,
}


# ------------------------------------------------------------------ a trace


def node(x):
    """A value whose gradient is kept, whether or not it depends on anything."""
    if not x.requires_grad:
        x = x.detach().requires_grad_()
    x.retain_grad()
    return x


def trace(params, cfg, inputs):
    eps, table = cfg["rms_norm_eps"], params["model.embed_tokens.weight"]
    h = embedding = node(table[inputs])
    kept = []
    for i in range(cfg["num_hidden_layers"]):
        p = twin.sub(params, f"model.layers.{i}.")
        a = node(attention(p, cfg, norm(h, p["input_layernorm.weight"], eps)))
        mid = h = h + a.sum((0, 2))
        x = norm(h, p["post_attention_layernorm.weight"], eps)
        mine = twin.sub(p, "mlp.") | twin.sub(params, twin.SHARED)
        ids, channels, post, w_out, beside, biases = FAMILIES[cfg["ffn"]](mine, cfg, x)
        post = node(post)
        h = h + torch.einsum("tm,tmd->td", post, w_out)
        if beside is not None:
            beside = node(beside)
            h = h + beside
        if biases is not None:
            h = h + biases
        kept.append((a, mid, ids, channels, post, w_out, beside))
    out = norm(h, params["model.norm.weight"], eps) @ table.T
    return embedding, kept, out


def edges(embedding, kept):
    """Into the neurons of the last layer at the last token."""
    _, mid, _, _, post, _, _ = kept[-1]
    rows = []
    for z in post[-1]:
        row = torch.zeros_like(mid)
        if post.grad_fn is not None:
            row = torch.autograd.grad(z, mid, retain_graph=True)[0]
        rows.append(row[-1])
    r = torch.stack(rows)  # (M, d)
    before = kept[:-1]
    return {
        "edge.embedding": r @ embedding[-1],
        "edge.attention": torch.stack([torch.einsum("md,hsd->mhs", r, k[0][:, -1]) for k in kept], 1),
        "edge.neurons": torch.stack(
            [torch.einsum("md,nd,n->mn", r, k[5][-1], k[4][-1]) for k in before], 1
        )
        if before
        else torch.zeros(len(rows), 0, post.shape[1]),
        "values": post[-1],
    }


def make(name):
    cfg, golden = read(MODELS / f"{name}.safetensors")
    params = {n[6:]: t.double() for n, t in golden.items() if n.startswith("param.")}
    embedding, kept, out = trace(params, cfg, golden["inputs"].long()[0])
    assert (out - golden["logits"].double()[0]).abs().max() < 1e-5, name
    difference = out[-1, ANSWER] - out[-1, AGAINST]
    difference.backward(retain_graph=True)

    def contribution(x):
        zero = torch.zeros_like(x) if x.grad is None else x.grad
        return x.detach() * zero

    tensors = {
        "embedding": contribution(embedding).sum(-1),
        "attention": torch.stack([contribution(k[0]).sum(-1) for k in kept]),
        "neurons": torch.stack([contribution(k[4]) for k in kept]),
    }
    if kept[0][6] is not None:
        tensors["beside"] = torch.stack([contribution(k[6]).sum(-1) for k in kept])
    tensors |= edges(embedding, kept)
    tensors["difference"] = difference[None]
    if cfg["ffn"] == "sgatlin" and cfg["ffn_activation"] == "identity":  # nothing else is in it
        assert abs(tensors["embedding"].sum() - difference) < 1e-12
    tensors = {n: f32(t.detach()) for n, t in tensors.items()}
    tensors["ids"] = i32(torch.stack([k[2] for k in kept]))
    tensors["channels"] = i32(torch.stack([k[3] for k in kept]))
    OUT.mkdir(exist_ok=True)
    save(OUT / f"{name}.safetensors", {"model": name}, tensors)
    print(name, float(difference.detach()))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        make(case)
