"""Edits of neurons once more: makes tests/golden/steer/*.

Run from anywhere: python3 tests/twins/steer_twin.py. Needs torch and numpy (CPU). Models are those
of tests/golden/models/NAME.safetensors, so this comes after make_goldens.py; forward passes are
those of points_twin.py. Here a layer's neurons are all written out: z (B, T, C, N) with 0 where one
is not selected, edited as a whole, and summed over all of them.

NAME.json is a file of edits; NAME.safetensors holds tokens (T), logits without edits and with them
(T, V), and how many tokens selected each neuron that is edited, by layer, channel and number.
"""

import json

import torch

import ffn_twin as ffn
import model_twin as twin
import points_twin as points
import rng_twin as rng
from make_goldens import f32, i32, save

OUT = points.MODELS.parent / "steer"
CASES = ("mlp", "moe", "peer", "sgatlin_gelu")
TOKENS = 10


def tables(cfg, p):
    """w_out of all neurons: (pools, N, d)."""
    if cfg["ffn"] == "mlp":
        return p["down_proj.weight"].T[None]
    if cfg["ffn"] == "moe":  # (E, d, F): neuron e F + j is column j of expert e
        return p["experts.down_proj.weight"].transpose(1, 2).flatten(0, 1)[None]
    w_out = p["experts.w_out.weight"]
    return w_out if w_out.dim() == 3 else w_out[None]


class Steered(points.Points):
    def __init__(self, params, cfg, edits):
        super().__init__()
        self.params, self.cfg, self.edits = params, cfg, edits
        self.selected = {}

    def edited(self, layer, z, seen):
        """z, seen (B, T, C, N); edits one after the other."""
        z = z.clone()
        for e in self.edits:
            if e["layer"] != layer:
                continue
            channels = range(z.shape[2]) if e.get("channel") == "all" else [e.get("channel", 0)]
            at = e.get("positions", range(e.get("from", 0), e.get("to", TOKENS - 1) + 1))
            for c in channels:
                key = (layer, c, e["neuron"])
                self.selected.setdefault(key, set()).update(
                    t for t in at if bool(seen[0, t, c, e["neuron"]])
                )
                for t in at:
                    one = z[0, t, c, e["neuron"]]
                    do = {"scale": lambda: one * e["by"], "fix": lambda: e["at"], "remove": lambda: 0}
                    z[0, t, c, e["neuron"]] = do[e["do"]]()
        return z

    def __call__(self, name, value):
        self.values[self.prefix + name] = value
        if name != "hook_mlp_out":
            return value
        layer = int(self.prefix.split(".")[1])
        p = twin.sub(twin.sub(self.params, f"model.layers.{layer}."), "mlp.")
        w_out = tables(self.cfg, p)
        post = self.values[self.prefix + "mlp.hook_post"]
        if self.cfg["ffn"] == "mlp":
            z, seen = post.unsqueeze(2), torch.ones_like(post.unsqueeze(2), dtype=torch.bool)
        else:
            ids = self.values[self.prefix + "mlp.hook_gate_ids"]
            ids = ids if ids.dim() == 4 else ids.unsqueeze(2)
            post = post if post.dim() == 4 else post.unsqueeze(2)
            g = post.shape[3] // ids.shape[3]
            ids = (ids.unsqueeze(-1) * g + torch.arange(g)).flatten(3)
            z = torch.zeros(*ids.shape[:3], w_out.shape[1], dtype=post.dtype).scatter(3, ids, post)
            seen = torch.zeros_like(z, dtype=torch.bool).scatter(
                3, ids, torch.ones_like(ids, dtype=torch.bool)
            )
        more = self.edited(layer, z, seen) - z
        w_out = w_out.expand(more.shape[2], -1, -1)
        return value + torch.einsum("btcn,cnd->btd", more, w_out)


def run(params, cfg, tokens, edits):
    point = Steered(params, cfg, edits)
    with torch.no_grad():
        out = points.forward(point, params, cfg, tokens[None])
    return out[0], point


def choose(params, cfg, tokens):
    """Neurons that are selected at the last token, and some that may not be."""
    _, point = run(params, cfg, tokens, [])
    layers = cfg["num_hidden_layers"]
    edits = []
    for layer in range(layers):
        first, free = 1, 3
        channel = {}
        if cfg["ffn"] != "mlp":
            ids = point.values[f"blocks.{layer}.mlp.hook_gate_ids"]
            ids = ids if ids.dim() == 4 else ids.unsqueeze(2)
            c = ids.shape[2] - 1
            g = cfg["ffn_intermediate_size"] if cfg["ffn"] == "moe" else 1
            first = int(ids[0, -1, c, 0]) * g
            channel = {"channel": c}
        at = {"layer": layer, **channel}
        edits += [
            {**at, "neuron": first, "do": "scale", "by": 3.5},
            {**at, "neuron": first + 1 if cfg["ffn"] in ("mlp", "moe") else 2, "do": "remove"},
            {**at, "neuron": free, "do": "fix", "at": 1.25, "from": 2},
            {**at, "neuron": free, "do": "scale", "by": -2, "positions": [4, 7]},
            {**at, "channel": "all", "neuron": 5, "do": "scale", "by": 2, "from": 1, "to": 6},
        ]
    return edits


def make(name):
    cfg, golden = points.read(points.MODELS / f"{name}.safetensors")
    params = {n[6:]: t.double() for n, t in golden.items() if n.startswith("param.")}
    tokens = torch.tensor([rng.below(13, 1, t, cfg["vocab_size"]) for t in range(TOKENS)])
    edits = choose(params, cfg, tokens)
    plain, _ = run(params, cfg, tokens, [])
    steered, point = run(params, cfg, tokens, edits)
    OUT.mkdir(exist_ok=True)
    counts = [[*key, len(at)] for key, at in sorted(point.selected.items())]
    save(
        OUT / f"{name}.safetensors",
        {"model": name},
        {
            "tokens": i32(tokens),
            "plain": f32(plain),
            "steered": f32(steered),
            "selected": i32(torch.tensor(counts)),
        },
    )
    text = {"format": "sgatlin edits", "version": 1, "edits": edits}
    (OUT / f"{name}.json").write_text(json.dumps(text, indent=1) + "\n")
    print(name, "logits move by", float((steered - plain).abs().max()), counts)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for case in CASES:
        make(case)
