"""The points of include/sgatlin_probe.h once more: makes tests/golden/points/*.safetensors.

Run from anywhere: python3 tests/twins/points_twin.py. Needs torch and numpy (CPU). Parameters and
tokens are those of tests/golden/models/NAME.safetensors, so this comes after make_goldens.py. Each
file holds, in the order of the computation, the values at every point but those of the first layer
(B, T, ...) and, as "grad.POINT", the gradients of the mean cross-entropy with respect to them, in
float64 rounded to F32. Selected neurons are in the order of the selection.
"""

import json
import math
import pathlib

import torch

import ffn_twin as ffn
import model_twin as twin
from make_goldens import f32, i32, save

MODELS = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"
OUT = MODELS.parent / "points"
CASES = ("mlp", "moe", "peer", "sgatlin_gelu")


def read(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header, data = json.loads(data[8 : 8 + size]), data[8 + size :]
    kinds = {"F32": torch.float32, "I32": torch.int32}
    metadata = header.pop("__metadata__")
    out = {}
    for name, at in header.items():
        begin, end = at["data_offsets"]
        flat = torch.frombuffer(bytearray(data[begin:end]), dtype=kinds[at["dtype"]])
        out[name] = flat.view(at["shape"])
    return json.loads(metadata["config"]), out


class Points:
    """Notes values under the names of points, which keep their gradients."""

    def __init__(self):
        self.values, self.prefix = {}, ""

    def __call__(self, name, value):
        if value.requires_grad:
            value.retain_grad()
        self.values[self.prefix + name] = value
        return value


def norm(point, name, p, at, x, eps):
    point(name + ".hook_scale", ((x * x).mean(-1) + eps).sqrt().detach())
    return point(name + ".hook_normalized", twin.rms_norm(x, p[at], eps))


def attention(point, p, cfg, x):
    heads, head = cfg["num_attention_heads"], cfg["head_dim"]
    eps, base = cfg["rms_norm_eps"], cfg["rope_theta"]
    batch, tokens, _ = x.shape

    def project(name):
        return (x @ p[f"self_attn.{name}_proj.weight"].T).view(batch, tokens, heads, head)

    q = point("attn.hook_q", twin.rms_norm(project("q"), p["self_attn.q_norm.weight"], eps))
    q = point("attn.hook_rot_q", twin.rope(q, base))
    k = point("attn.hook_k", twin.rms_norm(project("k"), p["self_attn.k_norm.weight"], eps))
    k = point("attn.hook_rot_k", twin.rope(k, base))
    v = point("attn.hook_v", project("v"))
    scores = torch.einsum("bthe,bshe->bths", q, k) / math.sqrt(head)
    future = torch.ones(tokens, tokens, dtype=torch.bool).triu(1)[:, None, :]
    weights = ffn.softmax(scores.masked_fill(future, -math.inf))
    point("attn.hook_pattern", weights.detach())
    z = point("attn.hook_z", torch.einsum("bths,bshe->bthe", weights, v))
    z = z.reshape(batch, tokens, heads * head)
    return point("hook_attn_out", z @ p["self_attn.o_proj.weight"].T)


def selection(point, scores, ids):
    point("mlp.hook_gate_ids", ids)
    return point("mlp.hook_gate_scores", scores)


def mlp(point, p, cfg, x):
    pre = point("mlp.hook_pre", x @ p["up_proj.weight"].T)
    return point("mlp.hook_post", ffn.activate(cfg, pre, ffn.Pass())) @ p["down_proj.weight"].T


def neurons(point, p, cfg, x):
    """peer and sgatlin: neurons of a pool for each channel, or of one for all."""
    scores, ids = ffn.route(p, cfg, x)
    scores = selection(point, scores, ids)
    pools = cfg["ffn"] == "sgatlin"
    at = (torch.arange(cfg["ffn_channels"])[:, None].expand_as(ids), ids) if pools else (ids,)
    w_in, w_out = p["experts.w_in.weight"][at], p["experts.w_out.weight"][at]
    pre = point("mlp.hook_pre", torch.einsum("btcsd,btd->btcs", w_in, x))
    if pools:
        post = ffn.activate(cfg, pre * scores, ffn.Pass())
    else:
        post = ffn.activate(cfg, pre, ffn.Pass()) * ffn.softmax(scores)
    return torch.einsum("btcs,btcsd->btd", point("mlp.hook_post", post), w_out)


def experts(point, p, cfg, x):
    """moe: the gate and the linear half of each selected expert; post has the gate's score in."""
    shares = ffn.softmax(x @ p["router.weight"].T)
    scores, ids = ffn.top_k(shares, cfg["ffn_top_k"])
    scores = selection(point, scores.unsqueeze(2), ids.unsqueeze(2)).squeeze(2)
    up = p["experts.gate_up_proj.weight"][ids]  # (B, T, k, 2F, d)
    u = torch.einsum("btkfd,btd->btkf", up, x) + p["experts.gate_up_proj.bias"][ids]
    gate, linear = u.chunk(2, dim=-1)
    gate = point("mlp.hook_pre", gate.flatten(2)).view(gate.shape)
    linear = point("mlp.hook_pre_linear", linear.flatten(2)).view(linear.shape)
    h = ffn.clamped_swiglu(torch.cat([gate, linear], dim=-1), ffn.Pass())
    post = point("mlp.hook_post", (h * scores.unsqueeze(-1)).flatten(2)).view(h.shape)
    y = torch.einsum("btkf,btkdf->btd", post, p["experts.down_proj.weight"][ids])
    return y + torch.einsum("btk,btkd->btd", scores, p["experts.down_proj.bias"][ids])


FAMILIES = {"mlp": mlp, "peer": neurons, "sgatlin": neurons, "moe": experts}


def forward(point, params, cfg, inputs):
    eps, table = cfg["rms_norm_eps"], params["model.embed_tokens.weight"]
    h = point("hook_embed", table[inputs])
    for i in range(cfg["num_hidden_layers"]):
        p, point.prefix = twin.sub(params, f"model.layers.{i}."), f"blocks.{i}."
        h = point("hook_resid_pre", h)
        a = attention(point, p, cfg, norm(point, "ln1", p, "input_layernorm.weight", h, eps))
        h = point("hook_resid_mid", h + a)
        x = norm(point, "ln2", p, "post_attention_layernorm.weight", h, eps)
        y = FAMILIES[cfg["ffn"]](point, twin.sub(p, "mlp."), cfg, x)
        h = point("hook_resid_post", h + point("hook_mlp_out", y))
    point.prefix = ""
    x = norm(point, "ln_final", params, "model.norm.weight", h, eps)
    return point("logits", x @ table.T)


def make(name):
    cfg, golden = read(MODELS / f"{name}.safetensors")
    params = {n[6:]: t.double() for n, t in golden.items() if n.startswith("param.")}
    params = {n: t.requires_grad_() for n, t in params.items()}
    inputs, targets = golden["inputs"].long(), golden["targets"].long()
    point = Points()
    out = forward(point, params, cfg, inputs)
    assert (out - golden["logits"].double()).abs().max() < 1e-5, name
    twin.cross_entropy(out, cfg, targets).backward()
    tensors = {}
    for n, t in point.values.items():
        if n.startswith("blocks.0."):
            continue
        tensors[n] = i32(t) if t.dtype == torch.int64 else f32(t.detach())
        if t.grad is not None:
            tensors["grad." + n] = f32(t.grad)
    OUT.mkdir(exist_ok=True)
    save(OUT / f"{name}.safetensors", {"model": name}, tensors)
    print(name, len(point.values), "points")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        make(case)
