"""Times training steps of the same models in PyTorch on the CPU, as a peer to compare with.

Written the way a PyTorch user would: library attention, norms, top-k, cross-entropy and fused
AdamW. The sparse layer can be written in four ways (--gather), from the public code of the paper to
the kindest to the library:

    index      rows gathered into (B, T, C, k, d) tensors by indexing
    embedding  the same through torch.nn.functional.embedding: a much faster backward pass
    bag        the sum over neurons by embedding_bag, which gathers nothing; dots as embedding
    dense      all neurons by two dense products, the selected picked out: no gather at all

--dtype bf16 computes through torch.autocast: weights, their gradients and AdamW stay f32, products
and attention are bf16, the residual stream and the loss f32. Rows are gathered in bf16 from a table
that is rounded once a step (1.2 to 1.5 times as fast as rows in f32, rounded when they are read);
but embedding_bag reads its table and one weight a row in f32: not every version takes both in bf16,
and in one that does it was no faster.

--compile puts the loss through torch.compile. Tokens follow the skewed law of `sgatlin bench`.
Prints one JSON line a model, with the machine's own limits (matrix products, read) measured in the
same run. --check FILE compares loss and gradients with a golden file instead: f32 within 2e-5;
bf16, with the neurons that f32 selects, as another choice is no error of rounding, within what bf16
can hold. bench/peers/run puts all of it beside ours.

    python3 bench/peers/torch_step.py --threads 2 --batch 2 --steps 5
    python3 bench/peers/torch_step.py --dtype bf16 --gather bag --compile
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
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def attention(p, at, cfg, x, cos, sin):
    heads, h, eps = cfg["num_attention_heads"], cfg["head_dim"], cfg["rms_norm_eps"]
    batch, tokens, _ = x.shape

    def head(name):
        y = F.linear(x, p[at + f"self_attn.{name}_proj.weight"])
        return y.view(batch, tokens, heads, h).transpose(1, 2)

    def turned(name):  # in the type of the products, f32 within
        y = head(name)
        weight = p[at + f"self_attn.{name}_norm.weight"].to(y.dtype)
        return rotate(F.rms_norm(y, (h,), weight, eps), cos, sin)

    q, k = turned("q"), turned("k")
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
    x, w_in = x.to(gate.dtype), w_in.to(gate.dtype)
    if how != "bag":
        w_out = w_out.to(gate.dtype)
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
            per_sample_weights=z.float().flatten(-2).flatten(0, 1),
            mode="sum",
        ).view_as(x)
    return torch.einsum("btck,btckd->btd", z, gather(w_out, ids, how))


def sgatlin(p, at, cfg, x, how, ids=None):
    """ids: the neurons to read, where they are not to be selected here."""
    channels, k = cfg["ffn_channels"], cfg["ffn_top_k"]
    n = math.isqrt(cfg["ffn_neurons"])
    q = F.linear(x, p[at + "mlp.router.query.weight"])
    s = F.linear(q, p[at + "mlp.router.keys.weight"]).view(*x.shape[:2], 2, channels, n)
    if ids is None:
        part, found = s.topk(k, dim=-1)  # (B, T, 2, C, k)
        sums = (part[:, :, 0, :, :, None] + part[:, :, 1, :, None, :]).flatten(-2)
        pairs = (found[:, :, 0, :, :, None] * n + found[:, :, 1, :, None, :]).flatten(-2)
        gate, slot = sums.topk(k, dim=-1)
        ids = pairs.gather(-1, slot)
    else:
        gate = s[:, :, 0].gather(-1, ids // n) + s[:, :, 1].gather(-1, ids % n)
    w_in, w_out = (p[at + f"mlp.experts.{name}.weight"] for name in ("w_in", "w_out"))
    return memory(x, ids, gate, w_in, w_out, how)


def loss_of(p, cfg, inputs, targets, how, dtype="f32", ids=None):
    """ids: of each layer, the neurons to read; None: those it selects."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bf16"):
        return loss_within(p, cfg, inputs, targets, how, ids)


def loss_within(p, cfg, inputs, targets, how, ids):
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
            h = h + sgatlin(p, at, cfg, x, how, ids and ids[i])
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
    """GFLOP/s of matrix products and GB/s of reading (a sum over 256 MiB), best of five."""
    rates = {}
    for name, dtype in (("gemm_gflops", torch.float32), ("gemm_bf16_gflops", torch.bfloat16)):
        a, b = torch.randn(2048, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
        rates[name] = 2 * 2048 * 1024 * 1024 / best_of(5, lambda a=a, b=b: a @ b) / 1e9
    big = torch.ones(64 << 20)
    rates["read_gb_s"] = big.numel() * 4 / best_of(5, big.sum) / 1e9
    return {name: round(rate, 1) for name, rate in rates.items()}


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
        loss = work(p, cfg, inputs, targets, args.gather, args.dtype)
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
    return {
        "peer": "torch " + torch.__version__,
        "model": name,
        "gather": args.gather if cfg["ffn"] == "sgatlin" else None,
        "compile": args.compile,
        "dtype": args.dtype,
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
        **machine(),
    }


# Of loss and gradients (each gradient's largest error over its largest number). bf16 keeps 8 bits:
# one rounding is off by 2^-9 at most, and some twenty follow each other here, forward and backward.
BOUNDS = {"f32": (2e-5, 2e-5), "bf16": (2**-7, 2**-4)}


def golden(path):
    """Configuration and tensors of a safetensors file of f32 and integers."""
    with open(path, "rb") as f:
        head = json.loads(f.read(int.from_bytes(f.read(8), "little")))
        data = bytearray(f.read())
    cfg = json.loads(head.pop("__metadata__")["config"])
    types = {"F32": torch.float32, "I32": torch.int32, "I64": torch.int64}
    tensors = {}
    for name, t in head.items():
        first, end = t["data_offsets"]
        flat = torch.frombuffer(data[first:end], dtype=types[t["dtype"]])
        tensors[name] = flat.view(t["shape"])
    return cfg, tensors


def check(path, args):
    cfg, t = golden(path)
    if cfg.get("ffn_router") not in ("all", "product_dense") or cfg["ffn_activation"] not in (
        "gelu" if cfg["ffn"] == "mlp" else "identity",
    ):
        sys.exit(f"{path}: this peer has only mlp and sgatlin with product_dense and identity")
    p = {k[6:]: torch.nn.Parameter(v) for k, v in t.items() if k.startswith("param.")}
    ids = None
    if args.dtype == "bf16" and cfg["ffn"] == "sgatlin":
        ids = [t[f"selection.{i}.ids"].long() for i in range(cfg["num_hidden_layers"])]
    work = torch.compile(loss_of) if args.compile else loss_of
    loss = work(p, cfg, t["inputs"].long(), t["targets"].long(), args.gather, args.dtype, ids)
    loss.backward()
    worst = max(
        float((p[k[5:]].grad - v).abs().max() / v.abs().max())
        for k, v in t.items()
        if k.startswith("grad.")
    )
    error = abs(loss.item() - float(t["loss"]))
    of_loss, of_gradient = BOUNDS[args.dtype]
    print(json.dumps({"loss_error": error, "gradient_error": worst}))
    if not (error < of_loss and worst < of_gradient):
        sys.exit(f"{path}: this peer computes something else")


def main():
    ask = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ask.add_argument("--model", choices=sorted(MODELS), action="append", help="default: all")
    ask.add_argument("--gather", choices=("index", "embedding", "bag", "dense"), default="index")
    ask.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="of products")
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
        check(args.check, args)
        return
    for name in args.model or sorted(MODELS):
        print(json.dumps(bench(name, args)), flush=True)


if __name__ == "__main__":
    main()
