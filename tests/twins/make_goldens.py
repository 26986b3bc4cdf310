"""Makes tests/golden/models/*.safetensors from model_twin.py (see tests/golden/README.md).

Run from anywhere: python3 tests/twins/make_goldens.py [NAME ...]. Needs torch and numpy (CPU).
Before anything is written the twin itself is checked: against published parameter and FLOP counts,
against identities between routers, and against the closed form of the sgatlin gradient. A case
whose selections are decided too narrowly for 32-bit arithmetic is drawn again with the next seed.
"""

import json
import math
import pathlib
import struct
import sys

import numpy as np
import torch

import check_twin
import ffn_twin as ffn
import model_twin as twin
from golden_cases import BASE, CASES, MIN_GAP, MIN_GAP_TRAIN, STEPS, batch, init, settings

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "models"

# ------------------------------------------------------------------ cases


def run(cfg, train, params, batches, limits=(0, 0)):
    """Logits, one forward and backward pass, the training steps; None if a choice was too narrow."""
    seen, first = ffn.Pass(), ffn.Pass(training=True)
    out = twin.logits(params, cfg, batches[-1][0], seen).detach()
    _, loss, grads = twin.loss_and_grads(params, cfg, *batches[-1], first)
    if min(seen.margin, seen.kink, first.margin, first.kink) <= limits[0]:
        return None
    params = {name: t.clone() for name, t in params.items()}
    adam, losses, norms, rates, passes = twin.AdamW(params, train), [], [], [], []
    for inputs, targets in batches[:STEPS]:
        passes.append(ffn.Pass(training=True))
        _, step_loss, step_grads = twin.loss_and_grads(params, cfg, inputs, targets, passes[-1])
        if min(passes[-1].margin, passes[-1].kink) <= limits[1]:
            return None
        norm, lr = adam.step(params, step_grads)
        twin.step_buffers(params, passes[-1])
        losses.append(float(step_loss))
        norms.append(norm)
        rates.append(lr)
    return {
        "logits": out,
        "loss": loss,
        "grads": grads,
        "losses": losses,
        "norms": norms,
        "rates": rates,
        "passes": [seen, first, *passes],
        "buffers": {name: t for name, t in params.items() if ffn.is_buffer(name)},
    }


def single_precision(cfg, train, params, batches, exact):
    """How far the same formulas come out in 32 bits: what a test may at least ask for."""
    low = run(cfg, train, {name: t.float() for name, t in params.items()}, batches)
    grad = max(
        float((low["grads"][n].double() - g).abs().max() / g.abs().max())
        for n, g in exact["grads"].items()
    )
    losses = max(abs(a - b) / b for a, b in zip(low["losses"], exact["losses"]))
    norms = max(abs(a - b) / b for a, b in zip(low["norms"], exact["norms"]))
    drift = 0.0
    for a, b in zip(low["passes"], exact["passes"]):
        for (mine, ids), (theirs, exact_ids) in zip(a.selection, b.selection):
            if not torch.equal(ids, exact_ids):
                return None
            drift = max(drift, float((mine.detach().double() - theirs.detach()).abs().max()))
    if min(t.margin for t in exact["passes"]) < 4 * drift:
        return None
    return {
        "logits": float((low["logits"].double() - exact["logits"]).abs().max()),
        "grad": grad,
        "losses": losses,
        "norms": norms,
        "scores": drift,
    }


def draw(cfg, train, rows, seed):
    """The first parameters and data, from seed on, whose choices 32 bits will not turn over."""
    for seed in range(seed, seed + 1000):
        gen = torch.Generator().manual_seed(seed)
        params = init(cfg, gen)
        batches = [batch(cfg, rows, gen) for _ in range(STEPS + 1)]
        result = run(cfg, train, params, batches, (MIN_GAP, MIN_GAP_TRAIN))
        if result is None:
            continue
        error = single_precision(cfg, train, params, batches, result)
        if error is not None:
            return seed, params, batches, result, error


def check_case(name, cfg, train, params, batches, result):
    for key, grad in result["grads"].items():
        assert grad.abs().max() > 1e-5, (name, key)
    losses, norms = result["losses"], result["norms"]
    tail = range(STEPS - 4, STEPS)
    untrained = [twin.cross_entropy(twin.logits(params, cfg, i), cfg, t) for i, t in batches]
    untrained = sum(float(untrained[i]) for i in tail)
    assert sum(losses[i] for i in tail) < 0.93 * untrained, (name, untrained / 4, losses)
    clip = train["clip_norm"]
    assert min(norms) < 0.95 * clip and 1.05 * clip < max(norms), (name, sorted(norms))
    assert all((t == cfg["pad_token_id"]).any() for _, t in batches)
    first = result["passes"][0]
    if name in ("glu", "moe"):  # the smaller cases are too quiet for the clamp
        assert first.clipped > 0, name
    if name == "moe":
        for _, ids in first.selection:
            assert set(ids.flatten().tolist()) == set(range(cfg["ffn_experts"])), name
    if cfg.get("ffn_capacity_factor"):
        assert sum(p.dropped > 0 for p in result["passes"]) > STEPS / 2, name


def sensitivity(cfg, train, params, batches, exact):
    """How much wrong training would show in the losses, relative: the smallest over the errors."""
    wrong = [
        {"clip_norm": math.inf},
        {"weight_decay": 0.0},
        {"beta2": 0.99},
        {"warmup_steps": train["warmup_steps"] + 1},
        {"decay_fraction": train["decay_fraction"] - 0.1},
    ]
    losses = [run(cfg, train | change, params, batches)["losses"] for change in wrong]
    right, twin.decays = twin.decays, lambda name, tensor: True
    losses.append(run(cfg, train, params, batches)["losses"])
    twin.decays = right
    return min(max(abs(a - b) / b for a, b in zip(w, exact["losses"])) for w in losses)


def save(path, metadata, tensors):
    """safetensors with the header in a fixed order, so that the same run gives the same bytes."""
    kinds = {"float32": "F32", "int32": "I32"}
    header, parts, at = {"__metadata__": metadata}, [], 0
    for name, array in tensors.items():
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {
            "dtype": kinds[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [at, at + len(data)],
        }
        parts.append(data)
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(parts))


def f32(x):
    return np.asarray(x.numpy() if torch.is_tensor(x) else x, dtype=np.float32)


def i32(x):
    return x.numpy().astype(np.int32)


def make(name):
    ffn, rows = CASES[name]
    cfg = BASE | ffn
    train = settings(name)
    seed = 1000 * (1 + list(CASES).index(name))
    seed, params, batches, result, error = draw(cfg, train, rows, seed)
    check_case(name, cfg, train, params, batches, result)
    shows = sensitivity(cfg, train, params, batches, result)
    assert shows > 50 * error["losses"], (name, shows, error)
    tensors = {"inputs": i32(batches[-1][0]), "targets": i32(batches[-1][1])}
    tensors["logits"] = f32(result["logits"])
    tensors["loss"] = f32([float(result["loss"])])
    first = result["passes"][0]
    for layer, (scores, ids) in enumerate(first.selection):
        tensors[f"selection.{layer}.ids"] = i32(ids)
        tensors[f"selection.{layer}.scores"] = f32(scores.detach())
    tensors |= {"param." + n: f32(t) for n, t in params.items()}
    tensors |= {"grad." + n: f32(t) for n, t in result["grads"].items()}
    tensors["train.inputs"] = i32(torch.stack([b[0] for b in batches[:STEPS]]))
    tensors["train.targets"] = i32(torch.stack([b[1] for b in batches[:STEPS]]))
    tensors["losses"], tensors["grad_norms"] = f32(result["losses"]), f32(result["norms"])
    tensors["lrs"] = f32(result["rates"])
    tensors |= {"final." + n: f32(t) for n, t in result["buffers"].items()}
    metadata = {"config": json.dumps(cfg), "train": json.dumps(train), "seed": str(seed)}
    path = OUT / f"{name}.safetensors"
    save(path, metadata, tensors)
    print(
        f"| {name} | {seed} | {path.stat().st_size // 1000} | {first.margin:.1e} | "
        f"{min(p.margin for p in result['passes'][2:]):.1e} | {result['losses'][0]:.3f} -> {result['losses'][-1]:.3f} | "
        f"{min(result['norms']):.2f} .. {max(result['norms']):.2f} | {error['logits']:.1e} | "
        f"{error['grad']:.1e} | {error['losses']:.1e} | {error['norms']:.1e} | "
        f"{error['scores']:.1e} | "
        f"{shows:.1e} |",
        flush=True,
    )


def main():
    torch.set_num_threads(1)
    check_twin.check_all()
    OUT.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or CASES:
        make(name)


if __name__ == "__main__":
    main()
