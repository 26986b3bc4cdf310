"""What numpy makes of the losses that train a model to be sparse: tests/golden/sparsify/losses.safetensors.

Run from anywhere: python3 tests/twins/sparse_losses_twin.py. Needs numpy. Whole models with the
weights and the batch of tests/golden/models/{mlp,glu}.safetensors and other activations, written
from the formulas of docs/MODEL.md, in complex numbers of 64 bits: the derivative along a direction
v is the imaginary part of f(x + i h v) over h, exact to rounding. The direction is the weights
themselves. What the file holds: tests/golden/README.md.
"""

import json
import pathlib
import struct

import numpy as np

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
STEP = 1e-30
ALPHA, FLOOR = 0.3, -0.4  # weight and floor of the terms
ETA, LAMBDA, LEAST = 0.7, 0.01, 0.05  # of LTE


def read(name):
    data = (GOLDEN / "models" / f"{name}.safetensors").read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    kinds = {"F32": np.float32, "I32": np.int32}
    out = {}
    for key, entry in header.items():
        if key != "__metadata__":
            first, end = entry["data_offsets"]
            array = np.frombuffer(data[8 + size + first : 8 + size + end], kinds[entry["dtype"]])
            out[key] = array.reshape(entry["shape"])
    return json.loads(header["__metadata__"]["config"]), out


# ---- small functions, of complex numbers whose imaginary parts are tiny ---------------------------


def relu(x):
    return np.where(x.real > 0, x, 0)


def magnitude(x):
    return np.where(x.real < 0, -x, x)


def gelu(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x - x.real.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def rms_norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def rope(x, base):
    tokens, head = x.shape[1], x.shape[3]
    angle = np.arange(tokens)[:, None] * base ** (-np.arange(0, head, 2) / head)
    cos, sin = np.cos(angle)[:, None, :], np.sin(angle)[:, None, :]
    a, b = x[..., : head // 2], x[..., head // 2 :]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)


# ---- the model ------------------------------------------------------------------------------------


def attention(p, cfg, x):
    heads, head, eps = cfg["num_attention_heads"], cfg["head_dim"], cfg["rms_norm_eps"]
    b, t, _ = x.shape
    q, k, v = ((x @ p[f"self_attn.{n}_proj.weight"].T).reshape(b, t, heads, head) for n in "qkv")
    q = rope(rms_norm(q, p["self_attn.q_norm.weight"], eps), cfg["rope_theta"])
    k = rope(rms_norm(k, p["self_attn.k_norm.weight"], eps), cfg["rope_theta"])
    scores = np.einsum("bthe,bshe->bhts", q, k) / np.sqrt(head)
    scores = np.where(np.triu(np.ones((t, t)), 1) > 0, -1e30, scores)
    y = np.einsum("bhts,bshe->bthe", softmax(scores), v).reshape(b, t, heads * head)
    return y @ p["self_attn.o_proj.weight"].T


def feed_forward(p, kind, x, seen):
    """kind: mlp with relu or gelu, reglu, or soft: LTE's first stage, of relu in blocks."""
    if kind == "reglu":
        gate, linear = np.split(x @ p["mlp.gate_up_proj.weight"].T + p["mlp.gate_up_proj.bias"], 2, -1)
        seen.append((gate, relu(gate)))
        return (relu(gate) * linear) @ p["mlp.down_proj.weight"].T + p["mlp.down_proj.bias"]
    u = x @ p["mlp.up_proj.weight"].T
    h = gelu(u) if kind == "gelu" else relu(u)
    if kind == "soft":
        g = sigmoid(x @ p["mlp.router.weight"].T)
        seen.append(g)
        h = h * np.repeat(g, h.shape[-1] // g.shape[-1], -1)
    else:
        seen.append((u, h))
    return h @ p["mlp.down_proj.weight"].T


def forward(params, cfg, kind, inputs, targets):
    """Cross-entropy, and what each layer shows."""
    h, seen = params["model.embed_tokens.weight"][inputs], []
    for i in range(cfg["num_hidden_layers"]):
        at = f"model.layers.{i}."
        p = {n[len(at) :]: v for n, v in params.items() if n.startswith(at)}
        h = h + attention(p, cfg, rms_norm(h, p["input_layernorm.weight"], cfg["rms_norm_eps"]))
        x = rms_norm(h, p["post_attention_layernorm.weight"], cfg["rms_norm_eps"])
        h = h + feed_forward(p, kind, x, seen)
    h = rms_norm(h, params["model.norm.weight"], cfg["rms_norm_eps"])
    chances = softmax(h @ params["model.embed_tokens.weight"].T)
    taken = np.take_along_axis(chances, targets[..., None], -1)[..., 0]
    counted = targets != cfg["pad_token_id"]
    return -np.log(taken)[counted].mean(), seen, counted


# ---- the losses -----------------------------------------------------------------------------------


def hoyer(v):
    return v.sum(-1) ** 2 / (v * v).sum(-1)


def term(name, u, h):
    v = np.where(u.real > FLOOR, u, FLOOR) - FLOOR if name.startswith("clamped") else magnitude(h)
    return hoyer(v) if name.endswith("hoyer") else v.sum(-1)


def task_and_losses(params, cfg, case, inputs, targets):
    kind, name = case
    loss, seen, counted = forward(params, cfg, kind, inputs, targets)
    if name != "lte":
        return loss, [(ALPHA, np.mean([term(name, u, h)[counted].mean() for u, h in seen]))]
    efficiency = np.mean([(g * g)[counted].mean() for g in seen])
    away = [np.where(np.abs(g.real - 0.5) > LEAST, (g - 0.5) ** 2, LEAST**2) for g in seen]
    separability = np.mean([(1 / a)[counted].mean() for a in away])
    return loss, [(ETA, efficiency), (LAMBDA, separability)]


def measure(params, cfg, case, inputs, targets):
    moved = {n: v * (1 + 1j * STEP) for n, v in params.items()}
    loss, losses = task_and_losses(moved, cfg, case, inputs, targets)
    slope = loss.imag + sum(w * x.imag for w, x in losses)
    return [loss.real, *(x.real for _, x in losses)], slope / STEP


CASES = {
    "mlp": [("relu", "l1"), ("relu", "hoyer"), ("gelu", "clamped"), ("gelu", "clamped_hoyer")],
    "glu": [("reglu", "l1"), ("reglu", "hoyer"), ("reglu", "clamped")],
    "lte": [("soft", "lte")],
}


def routers(params, blocks):
    """Weights of the routers of LTE, which a dense model has not."""
    rng = np.random.default_rng(5)
    for i in (i for i in range(99) if f"model.layers.{i}.mlp.up_proj.weight" in params):
        width = params["model.norm.weight"].shape[0]
        drawn = np.float32(rng.standard_normal((blocks, width)) / np.sqrt(width))
        params[f"model.layers.{i}.mlp.router.weight"] = np.float64(drawn)
        yield f"router.{i}", drawn


def save(path, tensors):
    header, parts, at = {}, [], 0
    for name, array in tensors.items():
        data = np.ascontiguousarray(np.float32(array)).tobytes()
        header[name] = {"dtype": "F32", "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def main():
    out = {}
    for model, cases in CASES.items():
        cfg, file = read("mlp" if model == "lte" else model)
        params = {n[6:]: np.float64(v) for n, v in file.items() if n.startswith("param.")}
        if model == "lte":
            out |= dict(routers(params, cfg["ffn_intermediate_size"] // 4))
        for case in cases:
            values, slope = measure(params, cfg, case, file["inputs"], file["targets"])
            print(model, *case, values, slope)
            out[f"{model}.{case[1]}"] = np.array([*values, slope])
    save(GOLDEN / "sparsify" / "losses.safetensors", out)


if __name__ == "__main__":
    main()
