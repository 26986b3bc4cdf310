// The rules. Those of the same name of ours that follow each other with parts 0, 1 … belong
// together; another part 0 begins an alternative, of which the first that the file has is taken
// (names: docs/CHECKPOINTS.md).
#include "format/tensor_rules.h"

#include <stddef.h>

#define LAYER  "model.layers.{l}."
#define ATTN   LAYER "self_attn."
#define EXPERT LAYER "mlp.experts."

// ---- Hugging Face -------------------------------------------------------------------------------

static const sg_tensor_rule llama_rules[] = {
    {LAYER "mlp.gate_up_proj.weight", LAYER "mlp.gate_proj.weight", SG_RULE_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", LAYER "mlp.up_proj.weight", SG_RULE_HALF, 1},
    {LAYER "mlp.gate_up_proj.bias", LAYER "mlp.gate_proj.bias", SG_RULE_HALF, 0},
    {LAYER "mlp.gate_up_proj.bias", LAYER "mlp.up_proj.bias", SG_RULE_HALF, 1},
    {0}};

// Experts one by one, or in the form that version 5 of the library holds them in.
#define EXPERTS(gate, up, down, part)                                                              \
    {EXPERT "gate_up_proj.weight", part gate, SG_RULE_EXPERT_HALF, 0},                             \
        {EXPERT "gate_up_proj.weight", part up, SG_RULE_EXPERT_HALF, 1},                           \
        {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj", SG_RULE_SAME, 0},                    \
        {EXPERT "down_proj.weight", part down, SG_RULE_EXPERT, 0},                                 \
    {                                                                                              \
        EXPERT "down_proj.weight", EXPERT "down_proj", SG_RULE_SAME, 0                             \
    }

#define SHARED LAYER "mlp.shared_experts."

static const sg_tensor_rule experts_rules[] = {
    {LAYER "mlp.router.weight", LAYER "mlp.gate.weight", SG_RULE_SAME, 0},
    EXPERTS("gate_proj.weight", "up_proj.weight", "down_proj.weight", EXPERT "{e}."),
    {SHARED "gate_up_proj.weight", SHARED "gate_proj.weight", SG_RULE_HALF, 0},
    {SHARED "gate_up_proj.weight", SHARED "up_proj.weight", SG_RULE_HALF, 1},
    {SHARED "down_proj.weight", SHARED "down_proj.weight", SG_RULE_SAME, 0},
    {0}};

#define ONE LAYER "mlp.shared_expert."

static const sg_tensor_rule one_shared_rules[] = {
    {SHARED "gate_up_proj.weight", ONE "gate_proj.weight", SG_RULE_HALF, 0},
    {SHARED "gate_up_proj.weight", ONE "up_proj.weight", SG_RULE_HALF, 1},
    {SHARED "down_proj.weight", ONE "down_proj.weight", SG_RULE_SAME, 0},
    {0}};

static const sg_tensor_rule mixtral_rules[] = {
    {LAYER "mlp.router.weight", LAYER "block_sparse_moe.gate.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.router.weight", LAYER "mlp.gate.weight", SG_RULE_SAME, 0},
    EXPERTS("w1.weight", "w3.weight", "w2.weight", LAYER "block_sparse_moe.experts.{e}."),
    {0}};

// As published, in blocks; or saved again in bf16.
static const sg_tensor_rule gpt_oss_rules[] = {
    {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj", SG_RULE_EXPERT_TRANSPOSED, 0},
    {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj_blocks", SG_RULE_MXFP4, 0},
    {EXPERT "gate_up_proj.bias", EXPERT "gate_up_proj_bias", SG_RULE_SAME, 0},
    {EXPERT "down_proj.weight", EXPERT "down_proj", SG_RULE_EXPERT_TRANSPOSED, 0},
    {EXPERT "down_proj.weight", EXPERT "down_proj_blocks", SG_RULE_MXFP4, 0},
    {EXPERT "down_proj.bias", EXPERT "down_proj_bias", SG_RULE_SAME, 0},
    {0}};

static const sg_tensor_rule gpt2_rules[] = {
    {"model.embed_tokens.weight", "wte.weight", SG_RULE_SAME, 0},
    {"model.embed_positions.weight", "wpe.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.weight", "h.{l}.ln_1.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.bias", "h.{l}.ln_1.bias", SG_RULE_SAME, 0},
    {ATTN "q_proj.weight", "h.{l}.attn.c_attn.weight", SG_RULE_THIRD_TRANSPOSED, 0},
    {ATTN "k_proj.weight", "h.{l}.attn.c_attn.weight", SG_RULE_THIRD_TRANSPOSED, 1},
    {ATTN "v_proj.weight", "h.{l}.attn.c_attn.weight", SG_RULE_THIRD_TRANSPOSED, 2},
    {ATTN "q_proj.bias", "h.{l}.attn.c_attn.bias", SG_RULE_THIRD, 0},
    {ATTN "k_proj.bias", "h.{l}.attn.c_attn.bias", SG_RULE_THIRD, 1},
    {ATTN "v_proj.bias", "h.{l}.attn.c_attn.bias", SG_RULE_THIRD, 2},
    {ATTN "o_proj.weight", "h.{l}.attn.c_proj.weight", SG_RULE_TRANSPOSED, 0},
    {ATTN "o_proj.bias", "h.{l}.attn.c_proj.bias", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.weight", "h.{l}.ln_2.weight", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.bias", "h.{l}.ln_2.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.weight", "h.{l}.mlp.c_fc.weight", SG_RULE_TRANSPOSED, 0},
    {LAYER "mlp.up_proj.bias", "h.{l}.mlp.c_fc.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.weight", "h.{l}.mlp.c_proj.weight", SG_RULE_TRANSPOSED, 0},
    {LAYER "mlp.down_proj.bias", "h.{l}.mlp.c_proj.bias", SG_RULE_SAME, 0},
    {"model.norm.weight", "ln_f.weight", SG_RULE_SAME, 0},
    {"model.norm.bias", "ln_f.bias", SG_RULE_SAME, 0},
    {0}};

#define NEOX "gpt_neox.layers.{l}."

static const sg_tensor_rule neox_rules[] = {
    {"model.embed_tokens.weight", "gpt_neox.embed_in.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.weight", NEOX "input_layernorm.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.bias", NEOX "input_layernorm.bias", SG_RULE_SAME, 0},
    {ATTN "q_proj.weight", NEOX "attention.query_key_value.weight", SG_RULE_HEAD_THIRD, 0},
    {ATTN "k_proj.weight", NEOX "attention.query_key_value.weight", SG_RULE_HEAD_THIRD, 1},
    {ATTN "v_proj.weight", NEOX "attention.query_key_value.weight", SG_RULE_HEAD_THIRD, 2},
    {ATTN "q_proj.bias", NEOX "attention.query_key_value.bias", SG_RULE_HEAD_THIRD, 0},
    {ATTN "k_proj.bias", NEOX "attention.query_key_value.bias", SG_RULE_HEAD_THIRD, 1},
    {ATTN "v_proj.bias", NEOX "attention.query_key_value.bias", SG_RULE_HEAD_THIRD, 2},
    {ATTN "o_proj.weight", NEOX "attention.dense.weight", SG_RULE_SAME, 0},
    {ATTN "o_proj.bias", NEOX "attention.dense.bias", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.weight", NEOX "post_attention_layernorm.weight", SG_RULE_SAME,
     0},
    {LAYER "post_attention_layernorm.bias", NEOX "post_attention_layernorm.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.weight", NEOX "mlp.dense_h_to_4h.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.bias", NEOX "mlp.dense_h_to_4h.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.weight", NEOX "mlp.dense_4h_to_h.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.bias", NEOX "mlp.dense_4h_to_h.bias", SG_RULE_SAME, 0},
    {"model.norm.weight", "gpt_neox.final_layer_norm.weight", SG_RULE_SAME, 0},
    {"model.norm.bias", "gpt_neox.final_layer_norm.bias", SG_RULE_SAME, 0},
    {"lm_head.weight", "embed_out.weight", SG_RULE_SAME, 0},
    {0}};

#define OPT "decoder.layers.{l}."

static const sg_tensor_rule opt_rules[] = {
    {"model.embed_tokens.weight", "decoder.embed_tokens.weight", SG_RULE_SAME, 0},
    {"model.embed_positions.weight", "decoder.embed_positions.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.weight", OPT "self_attn_layer_norm.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.bias", OPT "self_attn_layer_norm.bias", SG_RULE_SAME, 0},
    {ATTN "q_proj.weight", OPT "self_attn.q_proj.weight", SG_RULE_SAME, 0},
    {ATTN "q_proj.bias", OPT "self_attn.q_proj.bias", SG_RULE_SAME, 0},
    {ATTN "k_proj.weight", OPT "self_attn.k_proj.weight", SG_RULE_SAME, 0},
    {ATTN "k_proj.bias", OPT "self_attn.k_proj.bias", SG_RULE_SAME, 0},
    {ATTN "v_proj.weight", OPT "self_attn.v_proj.weight", SG_RULE_SAME, 0},
    {ATTN "v_proj.bias", OPT "self_attn.v_proj.bias", SG_RULE_SAME, 0},
    {ATTN "o_proj.weight", OPT "self_attn.out_proj.weight", SG_RULE_SAME, 0},
    {ATTN "o_proj.bias", OPT "self_attn.out_proj.bias", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.weight", OPT "final_layer_norm.weight", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.bias", OPT "final_layer_norm.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.weight", OPT "fc1.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.bias", OPT "fc1.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.weight", OPT "fc2.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.bias", OPT "fc2.bias", SG_RULE_SAME, 0},
    {"model.norm.weight", "decoder.final_layer_norm.weight", SG_RULE_SAME, 0},
    {"model.norm.bias", "decoder.final_layer_norm.bias", SG_RULE_SAME, 0},
    {0}};

// ---- GGUF and llama2.c --------------------------------------------------------------------------

#define BLK "blk.{l}."

static const sg_tensor_rule gguf_fused_rules[] = {
    {ATTN "q_proj.weight", BLK "attn_qkv.weight", SG_RULE_THIRD, 0},
    {ATTN "k_proj.weight", BLK "attn_qkv.weight", SG_RULE_THIRD, 1},
    {ATTN "v_proj.weight", BLK "attn_qkv.weight", SG_RULE_THIRD, 2},
    {ATTN "q_proj.bias", BLK "attn_qkv.bias", SG_RULE_THIRD, 0},
    {ATTN "k_proj.bias", BLK "attn_qkv.bias", SG_RULE_THIRD, 1},
    {ATTN "v_proj.bias", BLK "attn_qkv.bias", SG_RULE_THIRD, 2},
    {0}};

// Experts stacked, as they are written, or one by one as old files have them.
static const sg_tensor_rule gguf_experts_rules[] = {
    {LAYER "mlp.router.weight", BLK "ffn_gate_inp.weight", SG_RULE_SAME, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_gate_exps.weight", SG_RULE_STACKED_HALF, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_up_exps.weight", SG_RULE_STACKED_HALF, 1},
    {EXPERT "gate_up_proj.weight", BLK "ffn_gate.{e}.weight", SG_RULE_EXPERT_HALF, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_up.{e}.weight", SG_RULE_EXPERT_HALF, 1},
    {EXPERT "down_proj.weight", BLK "ffn_down_exps.weight", SG_RULE_SAME, 0},
    {EXPERT "down_proj.weight", BLK "ffn_down.{e}.weight", SG_RULE_EXPERT, 0},
    {SHARED "gate_up_proj.weight", BLK "ffn_gate_shexp.weight", SG_RULE_HALF, 0},
    {SHARED "gate_up_proj.weight", BLK "ffn_up_shexp.weight", SG_RULE_HALF, 1},
    {SHARED "down_proj.weight", BLK "ffn_down_shexp.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.shared_expert_gate.weight", BLK "ffn_gate_inp_shexp.weight", SG_RULE_ROW, 0},
    {0}};

static const sg_tensor_rule gguf_rules[] = {
    {"model.embed_tokens.weight", "token_embd.weight", SG_RULE_SAME, 0},
    {"model.embed_positions.weight", "position_embd.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.weight", BLK "attn_norm.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.bias", BLK "attn_norm.bias", SG_RULE_SAME, 0},
    {ATTN "q_proj.weight", BLK "attn_q.weight", SG_RULE_SAME, 0},
    {ATTN "k_proj.weight", BLK "attn_k.weight", SG_RULE_SAME, 0},
    {ATTN "v_proj.weight", BLK "attn_v.weight", SG_RULE_SAME, 0},
    {ATTN "q_proj.bias", BLK "attn_q.bias", SG_RULE_SAME, 0},
    {ATTN "k_proj.bias", BLK "attn_k.bias", SG_RULE_SAME, 0},
    {ATTN "v_proj.bias", BLK "attn_v.bias", SG_RULE_SAME, 0},
    {ATTN "q_norm.weight", BLK "attn_q_norm.weight", SG_RULE_SAME, 0},
    {ATTN "k_norm.weight", BLK "attn_k_norm.weight", SG_RULE_SAME, 0},
    {ATTN "o_proj.weight", BLK "attn_output.weight", SG_RULE_SAME, 0},
    {ATTN "o_proj.bias", BLK "attn_output.bias", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.weight", BLK "ffn_norm.weight", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.bias", BLK "ffn_norm.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.gate_up_proj.weight", BLK "ffn_gate.weight", SG_RULE_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", BLK "ffn_up.weight", SG_RULE_HALF, 1},
    {LAYER "mlp.up_proj.weight", BLK "ffn_up.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.up_proj.bias", BLK "ffn_up.bias", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.weight", BLK "ffn_down.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.down_proj.bias", BLK "ffn_down.bias", SG_RULE_SAME, 0},
    {"model.norm.weight", "output_norm.weight", SG_RULE_SAME, 0},
    {"model.norm.bias", "output_norm.bias", SG_RULE_SAME, 0},
    {"lm_head.weight", "output.weight", SG_RULE_SAME, 0},
    {0}};

#define L2C "layers.{l}."

static const sg_tensor_rule llama2c_rules[] = {
    {"model.embed_tokens.weight", "tok_embeddings.weight", SG_RULE_SAME, 0},
    {LAYER "input_layernorm.weight", L2C "attention_norm.weight", SG_RULE_SAME, 0},
    {ATTN "q_proj.weight", L2C "attention.wq.weight", SG_RULE_SAME, 0},
    {ATTN "k_proj.weight", L2C "attention.wk.weight", SG_RULE_SAME, 0},
    {ATTN "v_proj.weight", L2C "attention.wv.weight", SG_RULE_SAME, 0},
    {ATTN "o_proj.weight", L2C "attention.wo.weight", SG_RULE_SAME, 0},
    {LAYER "post_attention_layernorm.weight", L2C "ffn_norm.weight", SG_RULE_SAME, 0},
    {LAYER "mlp.gate_up_proj.weight", L2C "feed_forward.w1.weight", SG_RULE_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", L2C "feed_forward.w3.weight", SG_RULE_HALF, 1},
    {LAYER "mlp.down_proj.weight", L2C "feed_forward.w2.weight", SG_RULE_SAME, 0},
    {"model.norm.weight", "norm.weight", SG_RULE_SAME, 0},
    {"lm_head.weight", "output.weight", SG_RULE_SAME, 0},
    {0}};

// ---- kinds --------------------------------------------------------------------------------------

#define ROTARY_BUFFER ".rotary_emb.inv_freq"

const sg_tensor_map sg_map_same = {0};
const sg_tensor_map sg_map_llama = {.rules = {llama_rules}, .skips = {ROTARY_BUFFER}};
const sg_tensor_map sg_map_experts = {.rules = {llama_rules, experts_rules},
                                      .skips = {ROTARY_BUFFER}};
const sg_tensor_map sg_map_one_shared = {.rules = {llama_rules, one_shared_rules, experts_rules},
                                         .skips = {ROTARY_BUFFER}};
const sg_tensor_map sg_map_mixtral = {.rules = {mixtral_rules}, .skips = {ROTARY_BUFFER}};
const sg_tensor_map sg_map_gpt_oss = {.rules = {gpt_oss_rules}, .skips = {ROTARY_BUFFER}};
const sg_tensor_map sg_map_gpt2 = {.rules = {gpt2_rules},
                                   .prefixes = {"transformer.", ""},
                                   .probe = "wte.weight",
                                   .skips = {".attn.bias", ".attn.masked_bias"}};
const sg_tensor_map sg_map_gpt_neox = {
    .rules = {neox_rules}, .skips = {".attention.bias", ".attention.masked_bias", ROTARY_BUFFER}};
const sg_tensor_map sg_map_opt = {
    .rules = {opt_rules}, .prefixes = {"model.", ""}, .probe = "decoder.embed_tokens.weight"};
const sg_tensor_map sg_map_gguf = {.rules = {gguf_rules, gguf_fused_rules, gguf_experts_rules},
                                   .is_gguf = true};
const sg_tensor_map sg_map_gguf_gpt2 = {.rules = {gguf_fused_rules, gguf_rules}, .is_gguf = true};
const sg_tensor_map sg_map_llama2c = {.rules = {llama2c_rules}};
