"""Makes tests/golden/hidden_states/NAME.safetensors: what the Hugging Face library hands out of the
checkpoints in tests/golden/checkpoints, under the names of include/sgatlin_probe.h.

Run from anywhere: python3 tests/twins/hidden_states_twin.py [NAME ...]. Needs torch and transformers 5
(CPU). Hidden states and attentions are those of output_hidden_states and output_attentions; outputs of
modules, and what goes into the last product of attention and feed-forward layer, are seen by hooks of
torch. "grad.POINT" is the gradient of the summed losses, "difference.POINT" that of the difference of two
logits. tests/golden/README.md says what the files hold.
"""

import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

CHECKPOINTS = pathlib.Path(__file__).resolve().parent.parent / "golden" / "checkpoints"
OUT = CHECKPOINTS.parent / "hidden_states"
DIFFERENCE = (5, 7)  # logit of the first less that of the second, behind the last token
NAMES = {  # blocks, their attention, its last product, feed-forward layer, its last product, last norm
    "gpt2": ("transformer.h", "attn", "c_proj", "mlp", "c_proj", "transformer.ln_f"),
    "gpt_neox": ("gpt_neox.layers", "attention", "dense", "mlp", "dense_4h_to_h",
                 "gpt_neox.final_layer_norm"),
    "llama": ("model.layers", "self_attn", "o_proj", "mlp", "down_proj", "model.norm"),
    "mistral": ("model.layers", "self_attn", "o_proj", "mlp", "down_proj", "model.norm"),
    "mixtral": ("model.layers", "self_attn", "o_proj", "mlp", None, "model.norm"),
}


class Seen(dict):
    """Values by the names of points, which keep their gradients."""

    def put(self, name, value):
        value = value[0] if isinstance(value, tuple) else value
        if value.requires_grad:
            value.retain_grad()
        self[name] = value

    def output(self, module, name):
        module.register_forward_hook(lambda _m, _i, out: self.put(name, out))

    def input(self, module, name):
        module.register_forward_pre_hook(lambda _m, args: self.put(name, args[0]))


def watch(model, name):
    seen = Seen()
    blocks, attention, attention_last, mlp, mlp_last, norm = NAMES[name]
    for l, block in enumerate(model.get_submodule(blocks)):
        at = f"blocks.{l}."
        norms = ("ln_1", "ln_2") if name == "gpt2" else ("input_layernorm", "post_attention_layernorm")
        seen.output(block, at + "hook_resid_post")
        seen.output(block.get_submodule(norms[0]), at + "ln1.hook_normalized")
        seen.output(block.get_submodule(norms[1]), at + "ln2.hook_normalized")
        seen.output(block.get_submodule(attention), at + "hook_attn_out")
        seen.input(block.get_submodule(attention).get_submodule(attention_last), at + "attn.hook_z")
        seen.output(block.get_submodule(mlp), at + "hook_mlp_out")
        if mlp_last is not None:
            seen.input(block.get_submodule(mlp).get_submodule(mlp_last), at + "mlp.hook_post")
    seen.output(model.get_submodule(norm), "ln_final.hook_normalized")
    return seen


def gradients(seen, objective, prefix, out):
    for value in seen.values():
        value.grad = None
    objective.backward(retain_graph=True)
    for point, value in seen.items():
        if value.requires_grad and value.grad is not None:
            out[prefix + point] = value.grad[0].reshape(value.shape[1], -1).clone()


def make(name):
    model = transformers.AutoModelForCausalLM.from_pretrained(
        CHECKPOINTS / name, dtype=torch.float32, attn_implementation="eager").eval()
    ids = load_file(CHECKPOINTS / name / "expected.safetensors")["ids"].long()
    seen = watch(model, name)
    result = model(ids[None], output_hidden_states=True, output_attentions=True)
    # The last of the hidden states is behind the last norm.
    for l, value in enumerate(result.hidden_states[:-1]):
        seen.put(f"blocks.{l}.hook_resid_pre", value)
    last = len(result.attentions)
    assert torch.equal(result.hidden_states[last], seen["ln_final.hook_normalized"])
    out = {point: value[0].reshape(value.shape[1], -1) for point, value in seen.items()}
    for l, value in enumerate(result.attentions):  # (1, heads, T, T)
        out[f"blocks.{l}.attn.hook_pattern"] = value[0].transpose(0, 1).reshape(len(ids), -1)
    out["logits"] = result.logits[0]
    losses = torch.nn.functional.cross_entropy(result.logits[0, :-1], ids[1:], reduction="sum")
    gradients(seen, losses, "grad.", out)
    first, second = (result.logits[0, -1, i] for i in DIFFERENCE)
    gradients(seen, first - second, "difference.", out)
    out = {point: value.detach().float().contiguous().clone() for point, value in out.items()}
    out["ids"] = ids.int()
    OUT.mkdir(exist_ok=True)
    save_file(out, OUT / f"{name}.safetensors", metadata={"transformers": transformers.__version__})
    print(name, len(out))


if __name__ == "__main__":
    for case in sys.argv[1:] or NAMES:
        make(case)
