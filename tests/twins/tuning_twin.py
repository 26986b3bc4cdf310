"""Makes tests/golden/tuning: ten training steps of the Hugging Face library's models that go on from the
checkpoints of tests/golden/checkpoints, all weights (full_NAME) or low-rank adapters of the library PEFT
(lora_NAME, which is an adapter folder too).

Run from anywhere: python3 tests/twins/tuning_twin.py. Needs torch, transformers 5 and peft (CPU).
tests/golden/README.md says what the files hold.
"""

import json
import pathlib
import shutil

import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
STEPS, BATCH, LENGTH = 10, 2, 12
RECIPE = dict(lr=1e-3, weight_decay=0.1, clip=0.5)
LORA = {
    "llama": dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "gate_proj", "down_proj"]),
    "gpt2": dict(r=2, lora_alpha=3, target_modules=["c_attn", "mlp.c_proj"], fan_in_fan_out=True),
    "gpt_neox": dict(r=2, lora_alpha=4, use_rslora=True,
                     target_modules=["query_key_value", "dense_4h_to_h"]),
    "qwen2_moe": dict(r=2, lora_alpha=2, target_modules=["o_proj", "shared_expert.up_proj"]),
    "opt": dict(r=4, lora_alpha=8, rank_pattern={"fc1": 1}, target_modules=["out_proj", "fc1"]),
}


def open_model(name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        GOLDEN / "checkpoints" / name, dtype=torch.float32, attn_implementation="eager",
        experts_implementation="eager") if "moe" in name else \
        transformers.AutoModelForCausalLM.from_pretrained(
            GOLDEN / "checkpoints" / name, dtype=torch.float32, attn_implementation="eager")
    model.train(False)  # no dropout anywhere; gradients flow all the same
    return model


def batches(seed):
    g = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, 40, (STEPS, BATCH, LENGTH + 1), generator=g)
    return ids[..., :-1].contiguous(), ids[..., 1:].contiguous()


def loss_of(model, inputs, targets):
    logits = model(inputs, use_cache=False).logits
    return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(model, seed):
    """AdamW without decay of vectors, gradients cut to a norm; the batches, losses and norms."""
    params = [p for p in model.parameters() if p.requires_grad]
    groups = [dict(params=[p for p in params if p.dim() > 1], weight_decay=RECIPE["weight_decay"]),
              dict(params=[p for p in params if p.dim() < 2], weight_decay=0.0)]
    optimizer = torch.optim.AdamW([g for g in groups if g["params"]], lr=RECIPE["lr"],
                                  betas=(0.9, 0.999), eps=1e-8)
    inputs, targets = batches(seed)
    losses, norms = [], []
    for step in range(STEPS):
        optimizer.zero_grad()
        loss = loss_of(model, inputs[step], targets[step])
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(params, RECIPE["clip"]))
        losses.append(loss.detach())
        optimizer.step()
    return dict(inputs=inputs.to(torch.int32), targets=targets.to(torch.int32),
                losses=torch.stack(losses), norms=torch.stack(norms))


def full(name, out):
    result = train(open_model(name), 5)
    save_file({k: v.contiguous() for k, v in result.items()}, out / f"full_{name}.safetensors",
              metadata={"recipe": json.dumps(RECIPE)})
    print("full", name, [round(float(x), 4) for x in result["losses"]])


def lora(name, out):
    base = open_model(name)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", bias="none", lora_dropout=0.0,
                                            **LORA[name]))
    model.train(False)
    g = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for key, p in sorted(model.named_parameters()):
            if p.requires_grad:  # not the zeros that B begins with
                p.copy_(0.3 * torch.randn(p.shape, generator=g))
    folder = out / f"lora_{name}"
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = name
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    with torch.no_grad():
        logits = model(batches(5)[0][0], use_cache=False).logits.contiguous()
    result = train(model, 5)
    result["logits"] = logits
    later = out / "later"
    model.save_pretrained(later)
    for key, value in load_file(later / "adapter_model.safetensors").items():
        result["final." + key] = value
    shutil.rmtree(later)
    save_file({k: v.contiguous() for k, v in result.items()}, folder / "expected.safetensors",
              metadata={"recipe": json.dumps(RECIPE)})
    print("lora", name, [round(float(x), 4) for x in result["losses"]])


def main():
    out = GOLDEN / "tuning"
    out.mkdir(parents=True, exist_ok=True)
    for name in ["llama", "qwen3_moe"]:
        full(name, out)
    for name in LORA:
        lora(name, out)


if __name__ == "__main__":
    main()
