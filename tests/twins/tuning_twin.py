"""Makes tests/golden/tuning: ten training steps of the Hugging Face library's models that go on from the
checkpoints of tests/golden/checkpoints, all weights (full_NAME) or low-rank adapters of the library PEFT
(lora_NAME, which is an adapter folder too); and what the library PEFT makes of configurations of adapters
(rules.json): which modules have one, of which rank and scale.

Run from anywhere: python3 tests/twins/tuning_twin.py [rules | NAME ...]. Needs torch, transformers 5 and peft (CPU).
tests/golden/README.md says what the files hold.
"""

import json
import pathlib
import shutil
import sys

import torch
import transformers
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key
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
    # Of the checkpoint in front of the line.
    "llama-head": dict(r=3, lora_alpha=6, target_modules=r".*\.(q|down)_proj|lm_head",
                       exclude_modules=["layers.0.mlp.down_proj"], rank_pattern={"lm_head": 2},
                       alpha_pattern={r"0\.self_attn\.q_proj": 5}),
    "llama-layers": dict(r=2, lora_alpha=6, target_modules=["k_proj", "mlp.up_proj", "lm_head"],
                         layers_to_transform=[1], layers_pattern="layers"),
}
MODULES = ["model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.q_proj",
           "model.layers.11.self_attn.v_proj", "model.layers.1.mlp.down_proj",
           "transformer.h.3.attn.c_attn", "lm_head", "h.3.attn.c_attn"]
RULES = [
    dict(target_modules=["q_proj", "v_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=["layers.1.self_attn.q_proj"]),
    dict(target_modules=["q_proj"], exclude_modules=r".*\.1\..*"),
    dict(target_modules=["q_proj", "c_attn", "lm_head"], layers_to_transform=1),
    dict(target_modules=["q_proj", "c_attn", "lm_head"], layers_to_transform=[0, 3]),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[3], layers_pattern="h"),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[1, 3], layers_pattern=["h", "layers"]),
    dict(target_modules=["q_proj", "c_attn"], layers_to_transform=[1], layers_pattern=["block"]),
    dict(target_modules=["self_attn.q_proj", "model.layers.1.mlp.down_proj"], layers_to_transform=[0]),
    dict(target_modules=["_proj", "proj"]),
    dict(target_modules=r"(?!.*\.0\.).*\.(q|v)_proj"),
    dict(target_modules=r"q_proj"),
    dict(target_modules=r"model\.layers\.1.*"),
    dict(target_modules=[".*_proj"]),
    dict(target_modules=["q_proj", "v_proj", "down_proj", "lm_head"],
         rank_pattern={"q_proj": 4, "layers.1.self_attn.q_proj": 16, "lm_head": 2},
         alpha_pattern={"layers.1.self_attn.q_proj": 3, "v_proj": 32, "^lm_head": 7}),
    dict(target_modules=["q_proj", "v_proj", "down_proj"], use_rslora=True,
         rank_pattern={r"layers\.(1|11)\..*": 5, "proj": 9}, alpha_pattern={"own_proj": 1.5}),
    dict(target_modules=["q_proj", "lm_head"], alpha_pattern={r"model\.layers\.0.*": 0.5},
         rank_pattern={r".*head": 1, "lm_head": 3}),
]


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
    base = open_model(name.split("-")[0])
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
    if isinstance(config["target_modules"], list):
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


def rules(out):
    made = []
    for given in RULES:
        config = LoraConfig(r=8, lora_alpha=16, **given)
        modules = {}
        for name in MODULES:
            if not check_target_module_exists(config, name):
                modules[name] = None
                continue
            rank = config.rank_pattern.get(get_pattern_key(config.rank_pattern.keys(), name), config.r)
            alpha = config.alpha_pattern.get(get_pattern_key(config.alpha_pattern.keys(), name),
                                             config.lora_alpha)
            modules[name] = [rank, alpha / (rank ** 0.5 if config.use_rslora else rank)]
        made.append(dict(config=dict(peft_type="LORA", r=8, lora_alpha=16, **given), modules=modules))
    (out / "rules.json").write_text(json.dumps(made, indent=1) + "\n")
    print("rules", sum(m is not None for r in made for m in r["modules"].values()))


def main():
    out = GOLDEN / "tuning"
    out.mkdir(parents=True, exist_ok=True)
    rules(out)
    if sys.argv[1:] == ["rules"]:
        return
    for name in ["llama", "qwen3_moe"]:
        if len(sys.argv) < 2:
            full(name, out)
    for name in LORA:
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            lora(name, out)


if __name__ == "__main__":
    main()
