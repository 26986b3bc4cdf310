"""Makes tests/golden/variants/NAME.safetensors: what the Hugging Face library computes from the checkpoint
tests/golden/checkpoints/NAME where its config.json says other things: `ids`, and `logits.VARIANT` of each;
the metadata has the members that a variant changes ("variants", JSON).

Run from anywhere: python3 tests/twins/variant_twin.py. Needs torch and transformers 5 (CPU).
"""

import json
import pathlib
import shutil
import tempfile

import torch
import transformers
from safetensors.torch import load_file, save_file

GOLDEN = pathlib.Path(__file__).resolve().parent.parent / "golden"
ROPE = dict(rope_type="default", rope_theta=500.0)
VARIANTS = {
    "llama": {
        "own head": dict(tie_word_embeddings=True),
        "no epsilon": dict(rms_norm_eps=0.0),
        "linear": dict(rope_parameters=dict(ROPE, rope_type="linear", factor=3.0)),
        "version 4": dict(rope_parameters=None, rope_theta=700.0,
                          rope_scaling=dict(type="linear", factor=3.0)),
        "unread": dict(rope_parameters=ROPE, pretraining_tp=2, invented=dict(a=1)),
    },
    "gpt_neox": {"no epsilon": dict(layer_norm_eps=0.0)},
}


def logits(name, change, ids):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        source = GOLDEN / "checkpoints" / name
        shutil.copy(source / "model.safetensors", folder)
        config = json.loads((source / "config.json").read_text())
        config.update(change)
        (folder / "config.json").write_text(json.dumps(config))
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager")
        model.train(False)
        with torch.no_grad():
            return model(ids[None].long(), use_cache=False).logits[0].contiguous()


def main():
    out = GOLDEN / "variants"
    out.mkdir(exist_ok=True)
    for name, variants in VARIANTS.items():
        ids = load_file(GOLDEN / "checkpoints" / name / "expected.safetensors")["ids"]
        made = {"logits." + v: logits(name, change, ids) for v, change in variants.items()}
        made["ids"] = ids
        plain = logits(name, {}, ids)
        for v in variants:
            print(name, v, float((made["logits." + v] - plain).abs().max()))
        save_file(made, out / f"{name}.safetensors", metadata={"variants": json.dumps(variants)})


if __name__ == "__main__":
    main()
