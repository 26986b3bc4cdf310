"""The cases of tests/golden/models: configurations, training settings, parameters and data."""

import math

import torch

import ffn_twin as ffn
import model_twin as twin

STEPS = 10
MIN_GAP, MIN_GAP_TRAIN = 1e-4, 2e-5  # selection margins: one forward pass, all training steps
TRAIN = {
    "steps": STEPS,
    "warmup_steps": 3,
    "decay_fraction": 0.4,
    "learning_rate": 0.01,
    "clip_norm": 4.0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.3,
}
BASE = {
    "model_type": "sgatlin",
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 12,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000,
    "tie_word_embeddings": True,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 1,
}


def sparse(family, router, activation, **more):
    pool = {"ffn_channels": 2, "ffn_neurons": 25, "ffn_key_size": 8, "ffn_top_k": 3}
    out = {"ffn": family, "ffn_router": router, "ffn_activation": activation}
    return out | pool | more


def dense(family, router, activation, **more):
    return {"ffn": family, "ffn_router": router, "ffn_activation": activation} | more


ODD = {
    "hidden_size": 24,
    "num_attention_heads": 3,
    "head_dim": 8,
    "max_position_embeddings": 17,
    "ffn_channels": 3,
    "ffn_neurons": 49,
    "ffn_top_k": 5,
}
SMALL = BASE | {
    "vocab_size": 29,
    "hidden_size": 12,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "head_dim": 6,
    "max_position_embeddings": 10,
}


def memory(family, activation="gelu", **more):
    """32 cells, of which a token reads 8."""
    out = {"ffn": family, "ffn_activation": activation}
    return SMALL | out | {"ffn_intermediate_size": 8, "ffn_memory_factor": 4} | more


def keyed(family, activation="gelu", **more):
    """Two heads over 36 cells, addressed by 2 x 6 keys of 4."""
    sizes = {"ffn_intermediate_size": 9, "ffn_active_neurons": 8, "ffn_key_size": 4}
    return memory(family, activation, ffn_channels=2, **(sizes | more))


def branched(activation="swish", **more):
    """25 neurons, of which a token reads 3, beside a gated layer."""
    out = {"ffn": "omnimoe", "ffn_router": "product_linear", "ffn_activation": activation}
    out |= {"ffn_normaliser": "softmax", "ffn_intermediate_size": 7}
    return SMALL | out | {"ffn_neurons": 25, "ffn_top_k": 3} | more


def experts(**more):
    out = dense("moe", "linear", "clamped_swiglu", ffn_intermediate_size=5, ffn_experts=5)
    return SMALL | out | {"ffn_top_k": 2} | more


# name: (configuration, batch size); widths of 44 and 20 leave a tail for every vector length
CASES = {
    "mlp": (dense("mlp", "all", "gelu", ffn_intermediate_size=44), 2),
    "glu": (dense("glu", "all", "clamped_swiglu", ffn_intermediate_size=44), 2),
    "moe": (
        dense(
            "moe",
            "linear",
            "clamped_swiglu",
            ffn_intermediate_size=20,
            ffn_experts=4,
            ffn_top_k=2,
            max_position_embeddings=14,
        ),
        2,
    ),
    "peer": (sparse("peer", "product_key_value", "gelu", max_position_embeddings=14), 3),
    "sgatlin_product_dense": (sparse("sgatlin", "product_dense", "identity"), 2),
    "sgatlin_product_key_value": (sparse("sgatlin", "product_key_value", "identity"), 2),
    "sgatlin_dense": (sparse("sgatlin", "dense", "identity", ffn_neurons=16), 2),
    "sgatlin_key_value": (sparse("sgatlin", "key_value", "identity", ffn_neurons=16), 2),
    "sgatlin_gelu": (sparse("sgatlin", "product_dense", "gelu", ffn_neurons=16), 3),
    "sgatlin_relu": (sparse("sgatlin", "product_dense", "relu", ffn_neurons=16), 2),
    "sgatlin_swish": (sparse("sgatlin", "product_dense", "swish", ffn_neurons=16), 2),
    "sgatlin_odd": (sparse("sgatlin", "product_dense", "identity", **ODD), 2),
    "vanillam": (memory("vanillam"), 2),
    "vanillam_blocks": (memory("vanillam", ffn_block_size=4), 2),
    "vanillam_relu": (memory("vanillam", "relu", ffn_block_size=2, ffn_active_neurons=6), 2),
    "lorkm": (memory("lorkm", ffn_key_size=5), 2),
    "lorkm_layernorm": (
        memory("lorkm", "swish", ffn_key_size=5, ffn_query_norm="layernorm"),
        2,
    ),
    "lorkm_batchnorm": (memory("lorkm", ffn_key_size=5, ffn_query_norm="batchnorm"), 2),
    "pkm": (keyed("pkm", "identity", ffn_normaliser="softmax", ffn_query_bias=1), 2),
    "pkm_sigmoid": (keyed("pkm", "identity", ffn_normaliser="sigmoid", ffn_query_norm="layernorm"), 2),
    "pkm_relu": (keyed("pkm", "identity", ffn_normaliser="relu"), 2),
    "pkm_gelu": (
        keyed("pkm", "identity", ffn_normaliser="gelu", ffn_query_norm="batchnorm"),
        3,
    ),
    "pkm_ffn": (keyed("pkm_ffn", ffn_normaliser="softmax", ffn_query_bias=1), 2),
    "pkm_ffn_sigmoid": (
        keyed("pkm_ffn", "relu", ffn_normaliser="sigmoid", ffn_query_norm="batchnorm"),
        2,
    ),
    "switch": (memory("switch", ffn_block_size=8, ffn_balance_loss=0.2), 2),
    "switch_blocks": (
        memory("switch", "relu", ffn_block_size=2, ffn_renormalise=1, ffn_z_loss=0.05),
        2,
    ),
    "switch_wide": (
        memory("switch", ffn_block_size=17, ffn_intermediate_size=17, ffn_capacity_factor=1.0),
        2,
    ),
    "randhash": (memory("randhash", ffn_block_size=2, num_hidden_layers=2, ffn_hash_seed=7), 2),
    "randhash_cells": (memory("randhash", "relu", ffn_block_size=1), 2),
    "randhash_wide": (
        memory("randhash", ffn_block_size=16, ffn_intermediate_size=32, ffn_memory_factor=2),
        2,
    ),
    "avgk": (memory("avgk", ffn_block_size=4), 2),
    "avgk_cells": (memory("avgk", ffn_block_size=1, ffn_balance_loss=0.1), 2),
    "avgk_wide": (
        memory("avgk", ffn_block_size=16, ffn_intermediate_size=32, ffn_memory_factor=2),
        2,
    ),
    "avgk_gate": (memory("avgk", ffn_block_size=2, ffn_gate="after"), 2),
    "moe_balanced": (
        experts(ffn_renormalise=1, ffn_balance_loss=0.2, ffn_z_loss=0.05, num_hidden_layers=2),
        2,
    ),
    "moe_capacity": (experts(ffn_capacity_factor=1.2, ffn_balance_loss=0.1), 2),
    "moe_sigmoid": (
        experts(
            ffn_score="sigmoid",
            ffn_renormalise=1,
            ffn_shared_experts=2,
            ffn_bias_rate=0.02,
            ffn_balance_loss=0.1,
        ),
        2,
    ),
    "layers_every": (
        memory("avgk", ffn_block_size=2, num_hidden_layers=4, ffn_layers="every:2", ffn_dense="mlp"),
        2,
    ),
    "layers_list": (
        sparse("sgatlin", "product_dense", "identity", ffn_neurons=16)
        | SMALL
        | {"num_hidden_layers": 3, "ffn_layers": "1,3", "ffn_dense": "glu", "ffn_dense_size": 10},
        2,
    ),
    "shared_pool": (
        keyed("pkm_ffn", ffn_normaliser="softmax", ffn_share_pool=1)
        | {"num_hidden_layers": 3, "ffn_layers": "1,3", "ffn_dense": "mlp"},
        2,
    ),
    "shared_experts": (experts(num_hidden_layers=2, ffn_share_pool=1), 2),
    "memory_plus": (
        keyed("memory_plus", "identity", ffn_normaliser="softmax", ffn_query_bias=1),
        2,
    ),
    "memory_plus_shared": (
        keyed("memory_plus", "identity", ffn_normaliser="softmax", ffn_share_pool=1)
        | {"num_hidden_layers": 3, "ffn_layers": "1,3", "ffn_dense": "mlp"},
        2,
    ),
    "omnimoe": (branched(), 2),
    "omnimoe_gelu": (branched("gelu", num_hidden_layers=2, ffn_neurons=16, ffn_top_k=2), 2),
    "attention_mlps": (
        SMALL
        | dense("mlp", "all", "gelu", ffn_intermediate_size=9, num_hidden_layers=2)
        | {"attention_mlp_q": "5", "attention_mlp_k": "0,6", "attention_mlp_v": "7,0"}
        | {"attention_mlp_o": "6"},
        2,
    ),
}
# where the common settings would clip always or never, or move the loss too little
TRAIN_OF = {
    "mlp": {"clip_norm": 3.0},
    "glu": {"clip_norm": 5.5, "learning_rate": 0.02},
    "moe": {"clip_norm": 5.0, "learning_rate": 0.02},
    "peer": {"clip_norm": 2.5},
    "sgatlin_product_dense": {"clip_norm": 5.5},
    "sgatlin_gelu": {"clip_norm": 3.0},
    "sgatlin_product_key_value": {"learning_rate": 0.02},
    "sgatlin_swish": {"learning_rate": 0.02},
    "sgatlin_odd": {"clip_norm": 3.5},
    "pkm_gelu": {"clip_norm": 1.5},
    "moe_balanced": {"clip_norm": 3.0},
    "moe_capacity": {"clip_norm": 3.0},
    "layers_list": {"clip_norm": 2.5},
    "randhash": {"clip_norm": 3.0},
    "shared_experts": {"clip_norm": 4.0},
    "omnimoe": {"clip_norm": 3.0},
    "omnimoe_gelu": {"clip_norm": 3.0},
}


def settings(name):
    small = {"learning_rate": 0.02, "clip_norm": 2.0} if "vocab_size" in CASES[name][0] else {}
    return TRAIN | small | TRAIN_OF.get(name, {})


# ------------------------------------------------------------------ parameters and data


def init(cfg, gen):
    """Not the published initialisation: louder, so that every part matters to the loss, and with no
    scale of exactly 1 and no bias of exactly 0 that would hide its absence."""
    params = {}
    for name, shape in twin.shapes(cfg).items():
        t = torch.randn(shape, generator=gen, dtype=torch.float64)
        if name.endswith("norm.weight"):
            t = 1 + 0.2 * t
        elif name.endswith("router.bias"):
            t = 0.1 * t
        elif name.endswith(".bias"):
            t = 0.5 * t
        elif "experts.w_" in name:
            t = 0.3 * t
        elif "gate_up_proj" in name:
            t = 0.4 * t  # loud enough to reach the clamp at 7
        elif name.endswith("running_mean"):
            t = 0.3 * t
        elif name.endswith("running_var"):
            t = (0.3 * t).exp()
        elif "router.query" in name or "router.keys" in name:
            t = t / math.sqrt(shape[-1])
            if cfg.get("ffn_router", "").endswith("key_value") and "keys" in name:
                t = t * math.sqrt(shape[-1])
        else:
            t = t / math.sqrt(shape[-1])
        params[name] = t.float().double()  # exactly representable in 32 bits
    return params


def batch(cfg, rows, gen):
    """Rows that can be learnt (four next tokens in five follow from the last), documents that end
    in the row, and padding at the end of the last row."""
    vocab, tokens = cfg["vocab_size"], cfg["max_position_embeddings"]
    targets = torch.zeros(rows, tokens, dtype=torch.int64)
    for b in range(rows):
        draw = torch.randint(0, 1 << 30, (tokens, 2), generator=gen).tolist()
        token = 2 + draw[0][0] % (vocab - 2)
        for t in range(tokens):
            targets[b, t] = token
            follow = 2 + (5 * token + 3) % 17
            token = follow if draw[t][1] % 5 else 2 + draw[t][0] % (vocab - 2)
        targets[b, tokens // 2 - b] = cfg["eos_token_id"]
    pad = 2 + int(torch.randint(0, 3, (1,), generator=gen))
    targets[-1, -pad:] = cfg["pad_token_id"]
    targets[-1, -pad - 1] = cfg["eos_token_id"]
    inputs = torch.cat([torch.full((rows, 1), cfg["bos_token_id"]), targets[:, :-1]], dim=1)
    return inputs, targets
