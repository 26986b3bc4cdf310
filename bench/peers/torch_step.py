"""Times training steps of the same models in PyTorch on the CPU, as a peer to compare with.

Written the way a PyTorch user would: library attention, norms, top-k, cross-entropy and fused
AdamW, f32. The sparse layer can be written in four ways (--gather), from the public code of the
paper to the kindest to the library:

    index      rows gathered into (B, T, C, k, d) tensors by indexing
    embedding  the same through torch.nn.functional.embedding: a much faster backward pass
    bag        the sum over neurons by embedding_bag, which gathers nothing; dots as embedding
    dense      all neurons by two dense products, the selected picked out: no gather at all

--compile puts the loss through torch.compile. Tokens follow the skewed law of `sgatlin bench`.
Prints one JSON line a model, with the machine's own limits (matrix product, read) measured in the
same run. --check FILE compares loss and gradients with a golden file instead. bench/peers/run puts
all of it beside ours.

    python3 bench/peers/torch_step.py --threads 2 --batch 2 --steps 5
    python3 bench/peers/torch_step.py --check tests/golden/models/sgatlin_product_dense.safetensors
"""

import argparse
import json
import math
import resource
import statistics
import sys
import time

import torch
import torch.nn.functional as F

COMMON = {
    "vocab_size": 8192,
    "hidden_size": 256,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "head_dim": 64,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "pad_token_id": 0,
}
MODELS = {
    "tinystories-mlp": COMMON | {"ffn": "mlp", "ffn_intermediate_size": 1024},
    "tinystories-sgatlin": COMMON
    | {
        "ffn": "sgatlin",
        "ffn_router": "product_dense",
        "ffn_activation": "identity",
        "ffn_channels": 8,
        "ffn_neurons": 1024,
        "ffn_key_size": 128,
        "ffn_top_k": 8,
    },
}


def init(cfg):
    d, layers = cfg["hidden_size"], cfg["num_hidden_layers"]
    inner = cfg["num_attention_heads"] * cfg["head_dim"]

    def normal(*shape, variance):
        return torch.nn.Parameter(torch.randn(shape) * math.sqrt(variance))

    def ones(size):
        return torch.nn.Parameter(torch.ones(size))

    p = {"model.embed_tokens.weight": normal(cfg["vocab_size"], d, variance=1 / d)}
    p["model.norm.weight"] = ones(d)
    for i in range(layers):
        at = f"model.layers.{i}."
        p[at + "input_layernorm.weight"] = ones(d)
        p[at + "post_attention_layernorm.weight"] = ones(d)
        for name in "qkv":
            p[at + f"self_attn.{name}_proj.weight"] = normal(inner, d, variance=1 / d)
        p[at + "self_attn.o_proj.weight"] = normal(d, inner, variance=1 / inner)
        p[at + "self_attn.q_norm.weight"] = ones(cfg["head_dim"])
        p[at + "self_attn.k_norm.weight"] = ones(cfg["head_dim"])
        if cfg["ffn"] == "mlp":
            width = cfg["ffn_intermediate_size"]
            p[at + "mlp.up_proj.weight"] = normal(width, d, variance=1 / d)
            p[at + "mlp.down_proj.weight"] = normal(d, width, variance=1 / width)
        else:
            channels, neurons, key = (cfg["ffn_" + n] for n in ("channels", "neurons", "key_size"))
            rows = 2 * channels * math.isqrt(neurons)
            p[at + "mlp.router.query.weight"] = normal(key, d, variance=1 / d)
            p[at + "mlp.router.keys.weight"] = normal(rows, key, variance=1 / key)
            for name in ("w_in", "w_out"):
                p[at + f"mlp.experts.{name}.weight"] = normal(
                    channels, neurons, d, variance=1 / neurons
                )
    return p


def rotary(cfg, tokens):
    h = cfg["head_dim"]
    freq = cfg["rope_theta"] ** (-torch.arange(0, h, 2, dtype=torch.float64) / h)
    angle = torch.arange(tokens, dtype=torch.float64)[:, None] * freq
    return angle.cos().float(), angle.sin().float()


def rotate(x, cos, sin):  # x (B, H, T, h)
    a, b = x.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def attention(p, at, cfg, x, cos, sin):
    heads, h, eps = cfg["num_attention_heads"], cfg["head_dim"], cfg["rms_norm_eps"]
    batch, tokens, _ = x.shape

    def head(name):
        y = F.linear(x, p[at + f"self_attn.{name}_proj.weight"])
        return y.view(batch, tokens, heads, h).transpose(1, 2)

    q = rotate(F.rms_norm(head("q"), (h,), p[at + "self_attn.q_norm.weight"], eps), cos, sin)
    k = rotate(F.rms_norm(head("k"), (h,), p[at + "self_attn.k_norm.weight"], eps), cos, sin)
    y = F.scaled_dot_product_attention(q, k, head("v"), is_causal=True)
    y = y.transpose(1, 2).reshape(batch, tokens, heads * h)
    return F.linear(y, p[at + "self_attn.o_proj.weight"])


def gather(table, ids, how):
    """table (C, N, d), ids (B, T, C, k) -> (B, T, C, k, d)."""
    channel = torch.arange(table.shape[0])[:, None]
    if how == "index":
        return table[channel, ids]
    return F.embedding(ids + channel * table.shape[1], table.flatten(0, 1))


def memory(x, ids, gate, w_in, w_out, how):
    """x (B, T, d), ids and gate (B, T, C, k) -> (B, T, d): gate times dot, summed over neurons."""
    if how == "dense":
        dots = F.linear(x, w_in.flatten(0, 1)).unflatten(-1, w_in.shape[:2])
        z = dots.gather(-1, ids) * gate
        return torch.zeros_like(dots).scatter(-1, ids, z).flatten(-2) @ w_out.flatten(0, 1)
    z = torch.einsum("btckd,btd->btck", gather(w_in, ids, how), x) * gate
    if how == "bag":
        rows = (ids + torch.arange(w_out.shape[0])[:, None] * w_out.shape[1]).flatten(-2)
        return F.embedding_bag(
            rows.flatten(0, 1),
            w_out.flatten(0, 1),
            per_sample_weights=z.flatten(-2).flatten(0, 1),
            mode="sum",
        ).view_as(x)
    return torch.einsum("btck,btckd->btd", z, gather(w_out, ids, how))


def sgatlin(p, at, cfg, x, how):
    channels, k = cfg["ffn_channels"], cfg["ffn_top_k"]
    n = math.isqrt(cfg["ffn_neurons"])
    q = F.linear(x, p[at + "mlp.router.query.weight"])
    s = F.linear(q, p[at + "mlp.router.keys.weight"]).view(*x.shape[:2], 2, channels, n)
    part, ids = s.topk(k, dim=-1)  # (B, T, 2, C, k)
    sums = (part[:, :, 0, :, :, None] + part[:, :, 1, :, None, :]).flatten(-2)
    pairs = (ids[:, :, 0, :, :, None] * n + ids[:, :, 1, :, None, :]).flatten(-2)
    gate, slot = sums.topk(k, dim=-1)
    ids = pairs.gather(-1, slot)
    w_in, w_out = (p[at + f"mlp.experts.{name}.weight"] for name in ("w_in", "w_out"))
    return memory(x, ids, gate, w_in, w_out, how)


def loss_of(p, cfg, inputs, targets, how):
    d, eps = (cfg["hidden_size"],), cfg["rms_norm_eps"]
    table = p["model.embed_tokens.weight"]
    cos, sin = rotary(cfg, inputs.shape[1])
    h = F.embedding(inputs, table)
    for i in range(cfg["num_hidden_layers"]):
        at = f"model.layers.{i}."
        x = F.rms_norm(h, d, p[at + "input_layernorm.weight"], eps)
        h = h + attention(p, at, cfg, x, cos, sin)
        x = F.rms_norm(h, d, p[at + "post_attention_layernorm.weight"], eps)
        if cfg["ffn"] == "mlp":
            x = F.gelu(F.linear(x, p[at + "mlp.up_proj.weight"]), approximate="tanh")
            h = h + F.linear(x, p[at + "mlp.down_proj.weight"])
        else:
            h = h + sgatlin(p, at, cfg, x, how)
    logits = F.linear(F.rms_norm(h, d, p["model.norm.weight"], eps), table).flatten(0, 1)
    return F.cross_entropy(logits, targets.flatten(), ignore_index=cfg["pad_token_id"])


def best_of(runs, work):
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def machine():
    """GFLOP/s of a matrix product and GB/s of reading (a sum over 256 MiB), best of five."""
    a, b = torch.randn(2048, 1024), torch.randn(1024, 1024)
    big = torch.ones(64 << 20)
    product = best_of(5, lambda: a @ b)
    return 2 * 2048 * 1024 * 1024 / product / 1e9, big.numel() * 4 / best_of(5, big.sum) / 1e9


def bench(name, args):
    torch.manual_seed(1)
    cfg = MODELS[name]
    p = init(cfg)
    groups = [
        {"params": [t for t in p.values() if t.ndim != 1], "weight_decay": 0.1},
        {"params": [t for t in p.values() if t.ndim == 1], "weight_decay": 0.0},
    ]
    adam = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, fused=True)
    rows = (torch.rand(args.batch, args.tokens + 1) ** 3 * cfg["vocab_size"]).long()
    inputs, targets = rows[:, :-1].contiguous(), rows[:, 1:].contiguous()
    parts = {"forward_s": [], "backward_s": [], "optimizer_s": [], "step_s": []}
    losses = []
    work = torch.compile(loss_of) if args.compile else loss_of
    for step in range(args.warmup + args.steps):
        t0 = time.perf_counter()
        loss = work(p, cfg, inputs, targets, args.gather)
        t1 = time.perf_counter()
        loss.backward()
        t2 = time.perf_counter()
        torch.nn.utils.clip_grad_norm_(list(p.values()), 2.0)
        adam.step()
        adam.zero_grad()
        t3 = time.perf_counter()
        losses.append(loss.item())
        if step >= args.warmup:
            for key, seconds in zip(parts, (t1 - t0, t2 - t1, t3 - t2, t3 - t0)):
                parts[key].append(seconds)
    out = {key: round(statistics.median(times), 4) for key, times in parts.items()}
    gflops, gbytes = machine()
    return {
        "peer": "torch " + torch.__version__,
        "model": name,
        "gather": args.gather if cfg["ffn"] == "sgatlin" else None,
        "compile": args.compile,
        "threads": torch.get_num_threads(),
        "batch": args.batch,
        "tokens": args.tokens,
        "steps": args.steps,
        "parameters": sum(t.numel() for t in p.values()),
        **out,
        "step_min_s": round(min(parts["step_s"]), 4),
        "step_max_s": round(max(parts["step_s"]), 4),
        "tokens_per_s": round(args.batch * args.tokens / statistics.median(parts["step_s"])),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "gemm_gflops": round(gflops, 1),
        "read_gb_s": round(gbytes, 1),
    }


def check(path, how):
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        cfg = json.loads(f.metadata()["config"])
        t = {key: f.get_tensor(key) for key in f.keys()}
    if cfg.get("ffn_router") not in ("all", "product_dense") or cfg["ffn_activation"] not in (
        "gelu" if cfg["ffn"] == "mlp" else "identity",
    ):
        sys.exit(f"{path}: this peer has only mlp and sgatlin with product_dense and identity")
    p = {k[6:]: torch.nn.Parameter(v) for k, v in t.items() if k.startswith("param.")}
    loss = loss_of(p, cfg, t["inputs"].long(), t["targets"].long(), how)
    loss.backward()
    worst = max(
        float((p[k[5:]].grad - v).abs().max() / v.abs().max())
        for k, v in t.items()
        if k.startswith("grad.")
    )
    error = abs(loss.item() - float(t["loss"]))
    print(json.dumps({"loss_error": error, "gradient_error": worst}))
    if not (error < 2e-5 and worst < 2e-5):
        sys.exit(f"{path}: this peer computes something else")


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--model", choices=sorted(MODELS), action="append", help="default: all")
    ask.add_argument("--gather", choices=("index", "embedding", "bag", "dense"), default="index")
    ask.add_argument("--compile", action="store_true", help="through torch.compile")
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--batch", type=int, default=2)
    ask.add_argument("--tokens", type=int, default=1024)
    ask.add_argument("--steps", type=int, default=5)
    ask.add_argument("--warmup", type=int, default=2)
    ask.add_argument("--check", metavar="FILE")
    args = ask.parse_args()
    torch.set_num_threads(args.threads)
    if args.check:
        check(args.check, args.gather)
        return
    for name in args.model or sorted(MODELS):
        print(json.dumps(bench(name, args)), flush=True)


if __name__ == "__main__":
    main()
