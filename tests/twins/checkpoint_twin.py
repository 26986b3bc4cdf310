"""Makes tests/golden/checkpoints/NAME: tiny random checkpoints of the model types that are opened, as the
Hugging Face library writes them, with what its models compute from them.

Run from anywhere: python3 tests/twins/checkpoint_twin.py [NAME ...]. Needs torch, transformers 5 and
gguf (CPU). tests/golden/README.md says what the files hold. DeepSeekMoE, whose code is not in the library,
is a Llama of the library with experts written here.
"""

import json
import pathlib
import shutil
import sys

import gguf
import numpy
import torch
import transformers
from safetensors.torch import load_file, save_file
from torch import nn

OUT = pathlib.Path(__file__).resolve().parent.parent / "golden" / "checkpoints"
LENGTH = 12
MARGIN = 1e-3  # between the last expert that a token takes and the first that it does not

BASE = dict(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=24, max_position_embeddings=64,
            bos_token_id=1, eos_token_id=2, pad_token_id=None)
EXPERTS = dict(num_experts_per_tok=2, num_experts=4)


def rope(kind="default", theta=10000.0, **more):
    return dict(rope_parameters=dict(rope_type=kind, rope_theta=theta, **more))


def config(name):
    t = transformers
    without = {k: v for k, v in BASE.items() if k != "num_key_value_heads"}
    llama3 = rope("llama3", 500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=16)
    yarn = rope("yarn", 700.0, factor=4.0, original_max_position_embeddings=16)
    return {
        "llama": lambda: t.LlamaConfig(**BASE, **llama3, rms_norm_eps=1e-5),
        "llama_biases": lambda: t.LlamaConfig(**BASE, attention_bias=True, mlp_bias=True,
                                              tie_word_embeddings=True, head_dim=6),
        "mistral": lambda: t.MistralConfig(**BASE, **rope("linear", 900.0, factor=2.0),
                                           sliding_window=5),
        "qwen2": lambda: t.Qwen2Config(**BASE, **yarn, use_sliding_window=True, sliding_window=4,
                                       max_window_layers=1),
        "qwen3": lambda: t.Qwen3Config(**BASE, head_dim=6, tie_word_embeddings=True),
        "gpt2": lambda: t.GPT2Config(vocab_size=40, n_embd=16, n_layer=2, n_head=4, n_positions=32,
                                     n_inner=None, bos_token_id=1, eos_token_id=2),
        "gpt_neox": lambda: t.GPTNeoXConfig(**without, hidden_act="gelu",
                                            **rope(theta=3000.0, partial_rotary_factor=0.5)),
        "gpt_neox_sequential": lambda: t.GPTNeoXConfig(**{**without, "num_attention_heads": 2},
                                                       use_parallel_residual=False,
                                                       hidden_act="relu"),
        "opt": lambda: t.OPTConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, ffn_dim=24,
                                   num_attention_heads=4, max_position_embeddings=32,
                                   word_embed_proj_dim=16, bos_token_id=2, eos_token_id=2,
                                   pad_token_id=1),
        "arcee": lambda: t.ArceeConfig(**BASE, head_dim=6, mlp_bias=True),
        "mixtral": lambda: t.MixtralConfig(**BASE, num_local_experts=4, num_experts_per_tok=2,
                                           sliding_window=7),
        "olmoe": lambda: t.OlmoeConfig(**BASE, **EXPERTS, clip_qkv=1.5),
        "qwen2_moe": lambda: t.Qwen2MoeConfig(**BASE, **EXPERTS, moe_intermediate_size=10,
                                              shared_expert_intermediate_size=14,
                                              decoder_sparse_step=1, mlp_only_layers=[0]),
        "qwen3_moe": lambda: t.Qwen3MoeConfig(**BASE, **EXPERTS, head_dim=6, norm_topk_prob=True,
                                              moe_intermediate_size=10),
        "gpt_oss": lambda: t.GptOssConfig(**BASE, head_dim=6, num_local_experts=4,
                                          num_experts_per_tok=2, sliding_window=4,
                                          **rope("yarn", 1500.0, factor=8.0, beta_fast=32.0,
                                                 beta_slow=1.0, truncate=False,
                                                 original_max_position_embeddings=32)),
        "gpt_oss_mxfp4": lambda: t.GptOssConfig(**{**BASE, "hidden_size": 32,
                                                   "intermediate_size": 32}, head_dim=6,
                                                num_local_experts=4, num_experts_per_tok=2,
                                                sliding_window=4, **rope(theta=1500.0)),
        "deepseek": lambda: t.LlamaConfig(**{**BASE, "num_hidden_layers": 3}),
    }[name]()


NAMES = ["llama", "llama_biases", "mistral", "qwen2", "qwen3", "arcee", "gpt2", "gpt_neox",
         "gpt_neox_sequential", "opt", "mixtral", "olmoe", "qwen2_moe", "qwen3_moe", "gpt_oss",
         "gpt_oss_mxfp4", "deepseek"]
STORED = {"llama": torch.bfloat16, "gpt_neox": torch.float16, "qwen3_moe": torch.bfloat16}


class Gated(nn.Module):
    def __init__(self, d, f):
        super().__init__()
        self.gate_proj = nn.Linear(d, f, bias=False)
        self.up_proj = nn.Linear(d, f, bias=False)
        self.down_proj = nn.Linear(f, d, bias=False)

    def forward(self, x):
        return self.down_proj(nn.functional.silu(self.gate_proj(x)) * self.up_proj(x))


class DeepSeekLayer(nn.Module):
    """Softmax over all experts, the best k by their own probabilities, and experts for every token."""

    def __init__(self, d, f, experts, k, shared):
        super().__init__()
        self.gate = nn.Linear(d, experts, bias=False)
        self.experts = nn.ModuleList(Gated(d, f) for _ in range(experts))
        self.shared_experts = Gated(d, f * shared)
        self.k = k

    def forward(self, x):
        p = torch.softmax(self.gate(x), -1)
        weights, ids = torch.topk(p, self.k, -1)
        best = torch.sort(p, -1, descending=True).values
        self.margin = float((best[..., self.k - 1] - best[..., self.k]).min())
        every = torch.stack([e(x) for e in self.experts], -2)
        chosen = torch.gather(every, -2, ids[..., None].expand(*ids.shape, x.shape[-1]))
        return (weights[..., None] * chosen).sum(-2) + self.shared_experts(x)


def build(name):
    cfg = config(name)
    if name == "deepseek":
        model = transformers.LlamaForCausalLM(cfg)
        for i, layer in enumerate(model.model.layers):
            layer.mlp = DeepSeekLayer(16, 10, 6, 3, 2) if i >= 1 else Gated(16, 24)
        return model
    cfg._attn_implementation = "eager"
    if hasattr(cfg, "_experts_implementation"):
        cfg._experts_implementation = "eager"
    return transformers.AutoModelForCausalLM.from_config(cfg, attn_implementation="eager")


def draw(model, seed, dtype):
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in sorted(model.named_parameters()):
            noise = torch.randn(p.shape, generator=g)
            norm = "norm" in name or "ln_" in name
            scale = 0.2 if p.dim() < 2 else 0.35
            value = scale * noise + (1.0 if norm and name.endswith("weight") else 0.0)
            p.copy_(value.to(dtype).to(torch.float32))
    return torch.randint(3, 40, (1, LENGTH), generator=g)


FP4 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6])


def draw_mxfp4(model, seed):
    """Experts that blocks stand for exactly, and those blocks: (E, out, in/32, 16), scales beside."""
    g = torch.Generator().manual_seed(seed)
    blocks = {}
    with torch.no_grad():
        for name, p in model.named_parameters():
            if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
                continue
            experts, inner, outer = p.shape
            nibbles = torch.randint(0, 16, (experts, outer, inner // 32, 32), generator=g)
            scales = torch.randint(123, 127, (experts, outer, inner // 32), generator=g)
            values = FP4[nibbles] * torch.exp2(scales - 127.0)[..., None]
            p.copy_(values.reshape(experts, outer, inner).transpose(1, 2))
            pairs = nibbles.reshape(experts, outer, inner // 32, 16, 2)
            blocks[name + "_blocks"] = (pairs[..., 0] + 16 * pairs[..., 1]).to(torch.uint8)
            blocks[name + "_scales"] = scales.to(torch.uint8)
    return blocks


class Watch:
    """The narrowest choice that any router makes."""

    def __init__(self, model, k):
        self.least, self.k = 1.0, k
        for name, module in model.named_modules():
            if name.endswith(("mlp.gate", "mlp.router", "block_sparse_moe.gate")):
                module.register_forward_hook(self.look)

    def look(self, _module, _inputs, output):
        logits = output[0] if isinstance(output, tuple) else output
        best = torch.sort(logits.detach().float(), -1, descending=True).values
        if best.shape[-1] > self.k:
            self.least = min(self.least, float((best[..., self.k - 1] - best[..., self.k]).min()))


def compute(model, ids):
    model.train(False)
    logits = model(ids, use_cache=False).logits
    loss = nn.functional.cross_entropy(logits[0, :-1], ids[0, 1:])
    model.zero_grad()
    loss.backward()
    return logits.detach(), loss.detach()


def deepseek_config(cfg):
    return dict(model_type="deepseek", architectures=["DeepseekForCausalLM"], vocab_size=40,
                hidden_size=16, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                intermediate_size=24, moe_intermediate_size=10, n_routed_experts=6,
                n_shared_experts=2, num_experts_per_tok=3, first_k_dense_replace=1,
                moe_layer_freq=1, scoring_func="softmax", norm_topk_prob=False, hidden_act="silu",
                max_position_embeddings=64, rms_norm_eps=cfg.rms_norm_eps, rope_theta=10000,
                rope_scaling=None, attention_bias=False, tie_word_embeddings=False, bos_token_id=1,
                eos_token_id=2, torch_dtype="float32")


def make(name):
    dtype = STORED.get(name, torch.float32)
    for seed in range(1, 50):
        torch.manual_seed(seed)
        model = build(name).to(torch.float32)
        ids = draw(model, seed, dtype)
        blocks = draw_mxfp4(model, seed) if name.endswith("mxfp4") else {}
        watch = Watch(model, 3 if name == "deepseek" else 2)
        logits, loss = compute(model, ids)
        if watch.least > MARGIN:
            break
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    # Gradients are laid out as the weights are, so that the same rules cut them.
    for what in ["grads", "weights"]:
        if what == "grads":
            values = {n: p.detach().clone() for n, p in model.named_parameters()}
            with torch.no_grad():
                for p in model.parameters():
                    p.copy_(p.grad)
        if name == "deepseek":
            state = {n: t.detach().to(dtype if what == "weights" else torch.float32).contiguous()
                     for n, t in model.state_dict().items()}
            save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        else:
            model.to(dtype if what == "weights" else torch.float32).save_pretrained(folder)
        if what == "grads":
            shutil.move(folder / "model.safetensors", folder / "grads.safetensors")
            with torch.no_grad():
                for n, p in model.named_parameters():
                    p.copy_(values[n])
    if blocks:
        state = load_file(folder / "model.safetensors")
        state = {n: t for n, t in state.items() if n + "_blocks" not in blocks} | blocks
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    if name == "deepseek":
        (folder / "config.json").write_text(json.dumps(deepseek_config(model.config), indent=2))
    for extra in folder.glob("generation_config.json"):
        extra.unlink()
    save_file({"ids": ids[0].to(torch.int32), "logits": logits[0].contiguous(), "loss": loss[None]},
              folder / "expected.safetensors")
    size = sum(f.stat().st_size for f in folder.iterdir())
    names = load_file(folder / "model.safetensors")
    print(f"{name}: seed {seed}, {len(names)} tensors, {size} bytes, loss {float(loss):.4f}, "
          f"margin {watch.least:.4f}")


# ---- GGUF: every tensor in a type of its own, what the types stand for in the model ----------------

GGUF = {"gguf_llama": "llama", "gguf_llama3": "llama", "gguf_qwen3": "qwen3", "gguf_gpt2": "gpt2",
        "gguf_arcee": "arcee",
        "gguf_mixtral": "llama", "gguf_qwen2moe": "qwen2moe", "gguf_qwen3moe": "qwen3moe",
        "gguf_olmoe": "olmoe", "gguf_deepseek": "deepseek"}  # to their architectures
NEIGHBOURS = ["llama", "arcee", "deepseek"]  # of queries and keys turn together in files of these
LAYER_TENSORS = {
    "self_attn.q_proj": ("attn_q", "Q4_0"), "self_attn.k_proj": ("attn_k", "Q4_1"),
    "self_attn.v_proj": ("attn_v", "F16"), "self_attn.o_proj": ("attn_output", "Q5_0"),
    "self_attn.q_norm": ("attn_q_norm", "F32"), "self_attn.k_norm": ("attn_k_norm", "F32"),
    "mlp.gate_proj": ("ffn_gate", "Q8_0"), "mlp.up_proj": ("ffn_up", "Q8_0"),
    "mlp.down_proj": ("ffn_down", "Q5_1"), "input_layernorm": ("attn_norm", "F32"),
    "post_attention_layernorm": ("ffn_norm", "F32"), "mlp.gate": ("ffn_gate_inp", "F32"),
    "mlp.shared_expert_gate": ("ffn_gate_inp_shexp", "F32"),
    "attn.c_attn": ("attn_qkv", "Q8_0"), "attn.c_proj": ("attn_output", "F16"),
    "mlp.c_fc": ("ffn_up", "F32"), "mlp.c_proj": ("ffn_down", "Q4_1"),
    "ln_1": ("attn_norm", "F32"), "ln_2": ("ffn_norm", "F32")}
EXPERT_TENSORS = {"gate": ("ffn_gate_exps", "Q4_0"), "up": ("ffn_up_exps", "Q4_0"),
                  "down": ("ffn_down_exps", "Q8_0")}
SHARED_TENSORS = {"gate": ("ffn_gate_shexp", "Q5_1"), "up": ("ffn_up_shexp", "Q5_1"),
                  "down": ("ffn_down_shexp", "F16")}
OUTSIDE = {"model.embed_tokens.weight": ("token_embd.weight", "Q8_0"),
           "model.norm.weight": ("output_norm.weight", "F32"),
           "lm_head.weight": ("output.weight", "F16"),
           "transformer.wte.weight": ("token_embd.weight", "Q8_0"),
           "transformer.wpe.weight": ("position_embd.weight", "F32"),
           "transformer.ln_f.weight": ("output_norm.weight", "F32"),
           "transformer.ln_f.bias": ("output_norm.bias", "F32")}
WIDE = {**BASE, "hidden_size": 32, "intermediate_size": 64}


def gguf_model(name):
    t = transformers
    llama3 = rope("llama3", 500000.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=8192)
    cfg = {"gguf_llama": lambda: t.LlamaConfig(**WIDE, **rope(theta=900.0), rms_norm_eps=1e-5),
           "gguf_llama3": lambda: t.LlamaConfig(**WIDE, **llama3, rms_norm_eps=1e-5),
           "gguf_qwen3": lambda: t.Qwen3Config(**WIDE, head_dim=16, tie_word_embeddings=True),
           "gguf_arcee": lambda: t.ArceeConfig(**WIDE, head_dim=16),
           "gguf_gpt2": lambda: t.GPT2Config(vocab_size=40, n_embd=32, n_layer=2, n_head=4,
                                             n_positions=32, bos_token_id=1, eos_token_id=2),
           "gguf_mixtral": lambda: t.MixtralConfig(**{**WIDE, "intermediate_size": 32},
                                                   num_local_experts=4, num_experts_per_tok=2),
           "gguf_qwen2moe": lambda: t.Qwen2MoeConfig(**WIDE, **EXPERTS, moe_intermediate_size=32,
                                                     shared_expert_intermediate_size=64,
                                                     norm_topk_prob=False),
           "gguf_qwen3moe": lambda: t.Qwen3MoeConfig(**WIDE, **EXPERTS, head_dim=16,
                                                     norm_topk_prob=True,
                                                     moe_intermediate_size=32),
           "gguf_olmoe": lambda: t.OlmoeConfig(**{**WIDE, "intermediate_size": 32}, **EXPERTS),
           "gguf_deepseek": lambda: t.LlamaConfig(**{**WIDE, "num_hidden_layers": 3},
                                                  rms_norm_eps=1e-6)}[name]()
    if hasattr(cfg, "_experts_implementation"):
        cfg._experts_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(cfg, attn_implementation="eager")
    if name == "gguf_deepseek":
        for i, layer in enumerate(model.model.layers):
            layer.mlp = DeepSeekLayer(32, 32, 6, 3, 2) if i >= 1 else Gated(32, 64)
    return model.to(torch.float32)


def gguf_tensors(model):
    """Yields place, type and the parameters, or parts of one, that are stacked in that tensor."""
    stacks = {}
    for name, p in model.named_parameters():
        if name == "lm_head.weight" and model.config.tie_word_embeddings:
            continue
        if name in OUTSIDE:
            yield *OUTSIDE[name], [p.data]
            continue
        layer, rest = name.split("layers." if "layers." in name else ".h.", 1)[1].split(".", 1)
        kind = "bias" if rest.endswith(".bias") else "weight"
        rest = rest.removesuffix("." + kind)
        part = rest.rsplit(".", 1)[1].removesuffix("_proj") if "." in rest else ""
        if rest == "mlp.experts.gate_up_proj":  # gates, then values, of each expert
            half = p.shape[1] // 2
            for i, each in enumerate(["gate", "up"]):
                place, dtype = EXPERT_TENSORS[each]
                yield f"blk.{layer}.{place}.weight", dtype, [p.data[:, i * half:(i + 1) * half]]
        elif rest == "mlp.experts.down_proj":
            place, dtype = EXPERT_TENSORS["down"]
            yield f"blk.{layer}.{place}.weight", dtype, [p.data]
        elif rest.startswith("mlp.experts."):
            stacks.setdefault((layer, part), []).append(p.data)
        elif rest.startswith(("mlp.shared_expert.", "mlp.shared_experts.")):
            place, dtype = SHARED_TENSORS[part]
            yield f"blk.{layer}.{place}.weight", dtype, [p.data]
        else:
            place, dtype = LAYER_TENSORS[rest]
            values = p.data[0] if place == "ffn_gate_inp_shexp" else p.data
            yield f"blk.{layer}.{place}.{kind}", "F32" if kind == "bias" else dtype, [values]
    for (layer, part), parts in stacks.items():
        place, dtype = EXPERT_TENSORS[part]
        yield f"blk.{layer}.{place}.weight", dtype, parts


def neighbours(array, heads):
    rows = array.shape[0] // heads
    return array.reshape(heads, 2, rows // 2, -1).swapaxes(1, 2).reshape(array.shape)


def halves(array, heads):
    rows = array.shape[0] // heads
    return array.reshape(heads, rows // 2, 2, -1).swapaxes(1, 2).reshape(array.shape)


def gguf_quantise(model, architecture):
    """The tensors of the file. What their types stand for becomes the model's."""
    cfg, tensors = model.config, []
    for place, dtype, parts in gguf_tensors(model):
        turned = architecture == "gpt2" and parts[0].dim() == 2 and place.startswith("blk.")
        heads = {"attn_q": cfg.num_attention_heads,
                 "attn_k": getattr(cfg, "num_key_value_heads", 0)}.get(place.split(".")[-2], 0)
        moved = architecture in NEIGHBOURS and heads > 0
        rows = numpy.stack([p.numpy() for p in parts]) if len(parts) > 1 else parts[0].numpy()
        rows = rows.T.copy() if turned else neighbours(rows, heads) if moved else rows.copy()
        quant = gguf.GGMLQuantizationType[dtype]
        data = gguf.quants.quantize(rows, quant)
        value = gguf.quants.dequantize(data, quant).astype(numpy.float32).reshape(rows.shape)
        tensors.append((place, data, quant))
        value = value.T if turned else halves(value, heads) if moved else value
        for i, p in enumerate(parts):
            p.copy_(torch.from_numpy((value[i] if len(parts) > 1 else value).copy()))
    return tensors


def gguf_keys(out, name, cfg):
    architecture = GGUF[name]
    out.add_context_length(cfg.n_positions if architecture == "gpt2"
                           else cfg.max_position_embeddings)
    out.add_embedding_length(cfg.hidden_size)
    out.add_block_count(cfg.num_hidden_layers)
    out.add_feed_forward_length(128 if architecture == "gpt2" else cfg.intermediate_size)
    out.add_head_count(cfg.num_attention_heads)
    if architecture == "gpt2":
        out.add_layer_norm_eps(cfg.layer_norm_epsilon)
    else:
        head_dim = getattr(cfg, "head_dim", None) or cfg.hidden_size // cfg.num_attention_heads
        out.add_head_count_kv(cfg.num_key_value_heads)
        out.add_layer_norm_rms_eps(cfg.rms_norm_eps)
        out.add_rope_freq_base(cfg.rope_parameters["rope_theta"])
        out.add_key_length(head_dim)
        out.add_value_length(head_dim)
        out.add_rope_dimension_count(head_dim)
    if name == "gguf_deepseek":
        out.add_leading_dense_block_count(1)
        out.add_expert_feed_forward_length(32)
        out.add_expert_weights_scale(1.0)
        out.add_expert_count(6)
        out.add_expert_used_count(3)
        out.add_expert_shared_count(2)
    elif hasattr(cfg, "num_experts_per_tok"):
        out.add_expert_count(cfg.num_local_experts if name == "gguf_mixtral" else cfg.num_experts)
        out.add_expert_used_count(cfg.num_experts_per_tok)
        if hasattr(cfg, "moe_intermediate_size"):
            out.add_expert_feed_forward_length(cfg.moe_intermediate_size)
        if hasattr(cfg, "shared_expert_intermediate_size"):
            out.add_expert_shared_feed_forward_length(cfg.shared_expert_intermediate_size)
    letters = [f"<{i}>" for i in range(3)] + [chr(97 + i) for i in range(26)]
    letters += [chr(65 + i) for i in range(40 - len(letters))]
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre("gpt-2")
    out.add_token_list(letters)
    out.add_token_types([3] * 3 + [1] * 37)
    out.add_token_merges([])
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    if name == "gguf_llama3":  # more ends of a text
        out.add_eot_token_id(7)
        out.add_eom_token_id(9)


def make_gguf(name):
    for seed in range(1, 50):
        torch.manual_seed(seed)
        model = gguf_model(name)
        ids = draw(model, seed, torch.float32)
        tensors = gguf_quantise(model, GGUF[name])
        watch = Watch(model, 3 if name == "gguf_deepseek" else 2)
        logits, loss = compute(model, ids)
        if watch.least > MARGIN:
            break
    folder = OUT / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    out = gguf.GGUFWriter(str(folder / "model.gguf"), GGUF[name])
    gguf_keys(out, name, model.config)
    if name == "gguf_llama3":  # what each frequency is divided by
        scaled = model.model.rotary_emb.inv_freq.numpy().astype(numpy.float64)
        plain = 500000.0 ** -(numpy.arange(len(scaled)) / len(scaled))
        out.add_tensor("rope_freqs.weight", (plain / scaled).astype(numpy.float32))
    for place, data, quant in tensors:
        out.add_tensor(place, data, raw_dtype=quant)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()
    save_file({"ids": ids[0].to(torch.int32), "logits": logits[0].contiguous(), "loss": loss[None]},
              folder / "expected.safetensors")
    print(f"{name}: seed {seed}, {(folder / 'model.gguf').stat().st_size} bytes, "
          f"loss {float(loss):.4f}, margin {watch.least:.4f}")


if __name__ == "__main__":
    for each in sys.argv[1:] or NAMES + list(GGUF):
        (make_gguf if each in GGUF else make)(each)
