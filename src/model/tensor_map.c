// The rules, and the arithmetic that turns one into pieces. A rule gives a name of ours and one of
// theirs, with {l} for the layer and {e} for the expert, and how the one is cut from the other.
// Rules of the same name of ours that follow each other with parts 0, 1 … belong together; another
// part 0 begins an alternative, of which the first that the file has is taken (names:
// docs/CHECKPOINTS.md).
#include "model/tensor_map.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

typedef enum map_how {
    MAP_SAME,          // as it is
    MAP_TURNED,        // (in, out) for (out, in)
    MAP_THIRD,         // ours is the part-th of three runs of rows: q, k, v
    MAP_THIRD_TURNED,  // of three runs of columns
    MAP_HEAD_THIRD,    // the same for each head on its own
    MAP_ROW,           // a vector for our one row
    MAP_HALF,          // theirs is the part-th half of ours: gates, values
    MAP_EXPERT,        // a tensor for each expert
    MAP_EXPERT_HALF,   // two of them, each the part-th half of an expert
    MAP_STACKED_HALF,  // the same, theirs one tensor (E, out / 2, in) each
    MAP_EXPERT_TURNED, // one tensor (E, in, out) for (E, out, in)
    MAP_MXFP4          // NAME_blocks (…, in/32, 16) and NAME_scales (…, in/32) of bytes
} map_how;

typedef struct map_rule {
    const char *ours, *theirs;
    map_how how;
    int part;
} map_rule;

struct sg_tensor_map {
    const char *type;
    const map_rule
        *rules[4];           // lists looked through in turn, each ended by a NULL; NULL: same names
    const char *prefixes[3]; // what may stand before their names, the first when writing
    const char *probe;       // a tensor that tells which prefix it is
    const char *skips[6];    // ends of names of buffers
};

#define LAYER  "model.layers.{l}."
#define ATTN   LAYER "self_attn."
#define EXPERT LAYER "mlp.experts."

// ---- Hugging Face
// ---------------------------------------------------------------------------------

static const map_rule llama_rules[] = {
    {LAYER "mlp.gate_up_proj.weight", LAYER "mlp.gate_proj.weight", MAP_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", LAYER "mlp.up_proj.weight", MAP_HALF, 1},
    {LAYER "mlp.gate_up_proj.bias", LAYER "mlp.gate_proj.bias", MAP_HALF, 0},
    {LAYER "mlp.gate_up_proj.bias", LAYER "mlp.up_proj.bias", MAP_HALF, 1},
    {0}};

// Experts one by one, or in the form that version 5 of the library holds them in.
#define MAP_EXPERTS(gate, up, down, part)                                                          \
    {EXPERT "gate_up_proj.weight", part gate, MAP_EXPERT_HALF, 0},                                 \
        {EXPERT "gate_up_proj.weight", part up, MAP_EXPERT_HALF, 1},                               \
        {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj", MAP_SAME, 0},                        \
        {EXPERT "down_proj.weight", part down, MAP_EXPERT, 0},                                     \
    {                                                                                              \
        EXPERT "down_proj.weight", EXPERT "down_proj", MAP_SAME, 0                                 \
    }

#define SHARED LAYER "mlp.shared_experts."

static const map_rule experts_rules[] = {
    {LAYER "mlp.router.weight", LAYER "mlp.gate.weight", MAP_SAME, 0},
    MAP_EXPERTS("gate_proj.weight", "up_proj.weight", "down_proj.weight", EXPERT "{e}."),
    {SHARED "gate_up_proj.weight", SHARED "gate_proj.weight", MAP_HALF, 0},
    {SHARED "gate_up_proj.weight", SHARED "up_proj.weight", MAP_HALF, 1},
    {SHARED "down_proj.weight", SHARED "down_proj.weight", MAP_SAME, 0},
    {0}};

#define ONE LAYER "mlp.shared_expert."

static const map_rule one_shared_rules[] = {
    {SHARED "gate_up_proj.weight", ONE "gate_proj.weight", MAP_HALF, 0},
    {SHARED "gate_up_proj.weight", ONE "up_proj.weight", MAP_HALF, 1},
    {SHARED "down_proj.weight", ONE "down_proj.weight", MAP_SAME, 0},
    {0}};

static const map_rule mixtral_rules[] = {
    {LAYER "mlp.router.weight", LAYER "block_sparse_moe.gate.weight", MAP_SAME, 0},
    {LAYER "mlp.router.weight", LAYER "mlp.gate.weight", MAP_SAME, 0},
    MAP_EXPERTS("w1.weight", "w3.weight", "w2.weight", LAYER "block_sparse_moe.experts.{e}."),
    {0}};

// As published, in blocks; or saved again in bf16.
static const map_rule gpt_oss_rules[] = {
    {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj", MAP_EXPERT_TURNED, 0},
    {EXPERT "gate_up_proj.weight", EXPERT "gate_up_proj_blocks", MAP_MXFP4, 0},
    {EXPERT "gate_up_proj.bias", EXPERT "gate_up_proj_bias", MAP_SAME, 0},
    {EXPERT "down_proj.weight", EXPERT "down_proj", MAP_EXPERT_TURNED, 0},
    {EXPERT "down_proj.weight", EXPERT "down_proj_blocks", MAP_MXFP4, 0},
    {EXPERT "down_proj.bias", EXPERT "down_proj_bias", MAP_SAME, 0},
    {0}};

static const map_rule gpt2_rules[] = {
    {"model.embed_tokens.weight", "wte.weight", MAP_SAME, 0},
    {"model.embed_positions.weight", "wpe.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.weight", "h.{l}.ln_1.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.bias", "h.{l}.ln_1.bias", MAP_SAME, 0},
    {ATTN "q_proj.weight", "h.{l}.attn.c_attn.weight", MAP_THIRD_TURNED, 0},
    {ATTN "k_proj.weight", "h.{l}.attn.c_attn.weight", MAP_THIRD_TURNED, 1},
    {ATTN "v_proj.weight", "h.{l}.attn.c_attn.weight", MAP_THIRD_TURNED, 2},
    {ATTN "q_proj.bias", "h.{l}.attn.c_attn.bias", MAP_THIRD, 0},
    {ATTN "k_proj.bias", "h.{l}.attn.c_attn.bias", MAP_THIRD, 1},
    {ATTN "v_proj.bias", "h.{l}.attn.c_attn.bias", MAP_THIRD, 2},
    {ATTN "o_proj.weight", "h.{l}.attn.c_proj.weight", MAP_TURNED, 0},
    {ATTN "o_proj.bias", "h.{l}.attn.c_proj.bias", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.weight", "h.{l}.ln_2.weight", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.bias", "h.{l}.ln_2.bias", MAP_SAME, 0},
    {LAYER "mlp.up_proj.weight", "h.{l}.mlp.c_fc.weight", MAP_TURNED, 0},
    {LAYER "mlp.up_proj.bias", "h.{l}.mlp.c_fc.bias", MAP_SAME, 0},
    {LAYER "mlp.down_proj.weight", "h.{l}.mlp.c_proj.weight", MAP_TURNED, 0},
    {LAYER "mlp.down_proj.bias", "h.{l}.mlp.c_proj.bias", MAP_SAME, 0},
    {"model.norm.weight", "ln_f.weight", MAP_SAME, 0},
    {"model.norm.bias", "ln_f.bias", MAP_SAME, 0},
    {0}};

#define NEOX "gpt_neox.layers.{l}."

static const map_rule neox_rules[] = {
    {"model.embed_tokens.weight", "gpt_neox.embed_in.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.weight", NEOX "input_layernorm.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.bias", NEOX "input_layernorm.bias", MAP_SAME, 0},
    {ATTN "q_proj.weight", NEOX "attention.query_key_value.weight", MAP_HEAD_THIRD, 0},
    {ATTN "k_proj.weight", NEOX "attention.query_key_value.weight", MAP_HEAD_THIRD, 1},
    {ATTN "v_proj.weight", NEOX "attention.query_key_value.weight", MAP_HEAD_THIRD, 2},
    {ATTN "q_proj.bias", NEOX "attention.query_key_value.bias", MAP_HEAD_THIRD, 0},
    {ATTN "k_proj.bias", NEOX "attention.query_key_value.bias", MAP_HEAD_THIRD, 1},
    {ATTN "v_proj.bias", NEOX "attention.query_key_value.bias", MAP_HEAD_THIRD, 2},
    {ATTN "o_proj.weight", NEOX "attention.dense.weight", MAP_SAME, 0},
    {ATTN "o_proj.bias", NEOX "attention.dense.bias", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.weight", NEOX "post_attention_layernorm.weight", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.bias", NEOX "post_attention_layernorm.bias", MAP_SAME, 0},
    {LAYER "mlp.up_proj.weight", NEOX "mlp.dense_h_to_4h.weight", MAP_SAME, 0},
    {LAYER "mlp.up_proj.bias", NEOX "mlp.dense_h_to_4h.bias", MAP_SAME, 0},
    {LAYER "mlp.down_proj.weight", NEOX "mlp.dense_4h_to_h.weight", MAP_SAME, 0},
    {LAYER "mlp.down_proj.bias", NEOX "mlp.dense_4h_to_h.bias", MAP_SAME, 0},
    {"model.norm.weight", "gpt_neox.final_layer_norm.weight", MAP_SAME, 0},
    {"model.norm.bias", "gpt_neox.final_layer_norm.bias", MAP_SAME, 0},
    {"lm_head.weight", "embed_out.weight", MAP_SAME, 0},
    {0}};

#define OPT "decoder.layers.{l}."

static const map_rule opt_rules[] = {
    {"model.embed_tokens.weight", "decoder.embed_tokens.weight", MAP_SAME, 0},
    {"model.embed_positions.weight", "decoder.embed_positions.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.weight", OPT "self_attn_layer_norm.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.bias", OPT "self_attn_layer_norm.bias", MAP_SAME, 0},
    {ATTN "q_proj.weight", OPT "self_attn.q_proj.weight", MAP_SAME, 0},
    {ATTN "q_proj.bias", OPT "self_attn.q_proj.bias", MAP_SAME, 0},
    {ATTN "k_proj.weight", OPT "self_attn.k_proj.weight", MAP_SAME, 0},
    {ATTN "k_proj.bias", OPT "self_attn.k_proj.bias", MAP_SAME, 0},
    {ATTN "v_proj.weight", OPT "self_attn.v_proj.weight", MAP_SAME, 0},
    {ATTN "v_proj.bias", OPT "self_attn.v_proj.bias", MAP_SAME, 0},
    {ATTN "o_proj.weight", OPT "self_attn.out_proj.weight", MAP_SAME, 0},
    {ATTN "o_proj.bias", OPT "self_attn.out_proj.bias", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.weight", OPT "final_layer_norm.weight", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.bias", OPT "final_layer_norm.bias", MAP_SAME, 0},
    {LAYER "mlp.up_proj.weight", OPT "fc1.weight", MAP_SAME, 0},
    {LAYER "mlp.up_proj.bias", OPT "fc1.bias", MAP_SAME, 0},
    {LAYER "mlp.down_proj.weight", OPT "fc2.weight", MAP_SAME, 0},
    {LAYER "mlp.down_proj.bias", OPT "fc2.bias", MAP_SAME, 0},
    {"model.norm.weight", "decoder.final_layer_norm.weight", MAP_SAME, 0},
    {"model.norm.bias", "decoder.final_layer_norm.bias", MAP_SAME, 0},
    {0}};

// ---- GGUF and llama2.c
// ----------------------------------------------------------------------------

#define BLK "blk.{l}."

static const map_rule gguf_fused_rules[] = {
    {ATTN "q_proj.weight", BLK "attn_qkv.weight", MAP_THIRD, 0},
    {ATTN "k_proj.weight", BLK "attn_qkv.weight", MAP_THIRD, 1},
    {ATTN "v_proj.weight", BLK "attn_qkv.weight", MAP_THIRD, 2},
    {ATTN "q_proj.bias", BLK "attn_qkv.bias", MAP_THIRD, 0},
    {ATTN "k_proj.bias", BLK "attn_qkv.bias", MAP_THIRD, 1},
    {ATTN "v_proj.bias", BLK "attn_qkv.bias", MAP_THIRD, 2},
    {0}};

// Experts stacked, as they are written, or one by one as old files have them.
static const map_rule gguf_experts_rules[] = {
    {LAYER "mlp.router.weight", BLK "ffn_gate_inp.weight", MAP_SAME, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_gate_exps.weight", MAP_STACKED_HALF, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_up_exps.weight", MAP_STACKED_HALF, 1},
    {EXPERT "gate_up_proj.weight", BLK "ffn_gate.{e}.weight", MAP_EXPERT_HALF, 0},
    {EXPERT "gate_up_proj.weight", BLK "ffn_up.{e}.weight", MAP_EXPERT_HALF, 1},
    {EXPERT "down_proj.weight", BLK "ffn_down_exps.weight", MAP_SAME, 0},
    {EXPERT "down_proj.weight", BLK "ffn_down.{e}.weight", MAP_EXPERT, 0},
    {SHARED "gate_up_proj.weight", BLK "ffn_gate_shexp.weight", MAP_HALF, 0},
    {SHARED "gate_up_proj.weight", BLK "ffn_up_shexp.weight", MAP_HALF, 1},
    {SHARED "down_proj.weight", BLK "ffn_down_shexp.weight", MAP_SAME, 0},
    {LAYER "mlp.shared_expert_gate.weight", BLK "ffn_gate_inp_shexp.weight", MAP_ROW, 0},
    {0}};

static const map_rule gguf_rules[] = {
    {"model.embed_tokens.weight", "token_embd.weight", MAP_SAME, 0},
    {"model.embed_positions.weight", "position_embd.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.weight", BLK "attn_norm.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.bias", BLK "attn_norm.bias", MAP_SAME, 0},
    {ATTN "q_proj.weight", BLK "attn_q.weight", MAP_SAME, 0},
    {ATTN "k_proj.weight", BLK "attn_k.weight", MAP_SAME, 0},
    {ATTN "v_proj.weight", BLK "attn_v.weight", MAP_SAME, 0},
    {ATTN "q_proj.bias", BLK "attn_q.bias", MAP_SAME, 0},
    {ATTN "k_proj.bias", BLK "attn_k.bias", MAP_SAME, 0},
    {ATTN "v_proj.bias", BLK "attn_v.bias", MAP_SAME, 0},
    {ATTN "q_norm.weight", BLK "attn_q_norm.weight", MAP_SAME, 0},
    {ATTN "k_norm.weight", BLK "attn_k_norm.weight", MAP_SAME, 0},
    {ATTN "o_proj.weight", BLK "attn_output.weight", MAP_SAME, 0},
    {ATTN "o_proj.bias", BLK "attn_output.bias", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.weight", BLK "ffn_norm.weight", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.bias", BLK "ffn_norm.bias", MAP_SAME, 0},
    {LAYER "mlp.gate_up_proj.weight", BLK "ffn_gate.weight", MAP_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", BLK "ffn_up.weight", MAP_HALF, 1},
    {LAYER "mlp.up_proj.weight", BLK "ffn_up.weight", MAP_SAME, 0},
    {LAYER "mlp.up_proj.bias", BLK "ffn_up.bias", MAP_SAME, 0},
    {LAYER "mlp.down_proj.weight", BLK "ffn_down.weight", MAP_SAME, 0},
    {LAYER "mlp.down_proj.bias", BLK "ffn_down.bias", MAP_SAME, 0},
    {"model.norm.weight", "output_norm.weight", MAP_SAME, 0},
    {"model.norm.bias", "output_norm.bias", MAP_SAME, 0},
    {"lm_head.weight", "output.weight", MAP_SAME, 0},
    {0}};

#define L2C "layers.{l}."

static const map_rule llama2c_rules[] = {
    {"model.embed_tokens.weight", "tok_embeddings.weight", MAP_SAME, 0},
    {LAYER "input_layernorm.weight", L2C "attention_norm.weight", MAP_SAME, 0},
    {ATTN "q_proj.weight", L2C "attention.wq.weight", MAP_SAME, 0},
    {ATTN "k_proj.weight", L2C "attention.wk.weight", MAP_SAME, 0},
    {ATTN "v_proj.weight", L2C "attention.wv.weight", MAP_SAME, 0},
    {ATTN "o_proj.weight", L2C "attention.wo.weight", MAP_SAME, 0},
    {LAYER "post_attention_layernorm.weight", L2C "ffn_norm.weight", MAP_SAME, 0},
    {LAYER "mlp.gate_up_proj.weight", L2C "feed_forward.w1.weight", MAP_HALF, 0},
    {LAYER "mlp.gate_up_proj.weight", L2C "feed_forward.w3.weight", MAP_HALF, 1},
    {LAYER "mlp.down_proj.weight", L2C "feed_forward.w2.weight", MAP_SAME, 0},
    {"model.norm.weight", "norm.weight", MAP_SAME, 0},
    {"lm_head.weight", "output.weight", MAP_SAME, 0},
    {0}};

// ---- kinds --------------------------------------------------------------------------------------

#define LLAMA_MAP(type_, ...)                                                                      \
    {                                                                                              \
        .type = type_, .rules = {__VA_ARGS__}, .skips = { ".rotary_emb.inv_freq" }                 \
    }

static const sg_tensor_map maps[] = {
    {.type = "sgatlin"},
    LLAMA_MAP("llama", llama_rules),
    LLAMA_MAP("mistral", llama_rules),
    LLAMA_MAP("qwen2", llama_rules),
    LLAMA_MAP("qwen3", llama_rules),
    LLAMA_MAP("mixtral", mixtral_rules),
    LLAMA_MAP("olmoe", experts_rules),
    LLAMA_MAP("qwen2_moe", llama_rules, one_shared_rules, experts_rules),
    LLAMA_MAP("qwen3_moe", llama_rules, experts_rules),
    LLAMA_MAP("deepseek", llama_rules, experts_rules),
    LLAMA_MAP("gpt_oss", gpt_oss_rules),
    {.type = "gpt2",
     .rules = {gpt2_rules},
     .prefixes = {"transformer.", ""},
     .probe = "wte.weight",
     .skips = {".attn.bias", ".attn.masked_bias"}},
    {.type = "gpt_neox",
     .rules = {neox_rules},
     .skips = {".attention.bias", ".attention.masked_bias", ".rotary_emb.inv_freq"}},
    {.type = "opt",
     .rules = {opt_rules},
     .prefixes = {"model.", ""},
     .probe = "decoder.embed_tokens.weight"},
    {.type = "gguf", .rules = {gguf_rules, gguf_fused_rules, gguf_experts_rules}},
    {.type = "gguf.gpt2", .rules = {gguf_fused_rules, gguf_rules}}, // as it is written
    {.type = "llama2c", .rules = {llama2c_rules}},
};

const sg_tensor_map *sg_tensor_map_find(const char *type)
{
    for (size_t i = 0; i < sizeof maps / sizeof *maps; i++)
        if (strcmp(maps[i].type, type) == 0) return &maps[i];
    return NULL;
}

const sg_tensor_map *sg_tensor_map_of_modules(const sg_tensor_map *map)
{
    const bool own =
        map == NULL || strcmp(map->type, "gguf") == 0 || strcmp(map->type, "llama2c") == 0;
    return own ? &maps[0] : map;
}

// ---- names
// ----------------------------------------------------------------------------------------

// "model.layers.12.x" as "model.layers.{l}.x"; *layer stays where there is none.
static void map_pattern(const char *name, char pattern[SG_PARAM_NAME], int64_t *layer)
{
    static const char start[] = "model.layers.";
    const size_t n = sizeof start - 1;
    char *end = NULL;
    snprintf(pattern, SG_PARAM_NAME, "%s", name);
    if (strncmp(name, start, n) != 0 || name[n] < '0' || name[n] > '9') return;
    *layer = strtoll(name + n, &end, 10);
    snprintf(pattern, SG_PARAM_NAME, "%s{l}%s", start, end);
}

// A name of theirs with its numbers; false when it is too long.
static bool map_name(const char *prefix, const char *pattern, int64_t layer, int64_t expert,
                     char name[SG_PARAM_NAME])
{
    size_t used = (size_t)snprintf(name, SG_PARAM_NAME, "%s", prefix);
    for (const char *p = pattern; *p != '\0' && used < SG_PARAM_NAME; p++) {
        const bool is_layer = strncmp(p, "{l}", 3) == 0, is_expert = strncmp(p, "{e}", 3) == 0;
        if (is_layer || is_expert) {
            used += (size_t)snprintf(name + used, SG_PARAM_NAME - used, "%lld",
                                     (long long)(is_layer ? layer : expert));
            p += 2;
        } else {
            name[used++] = *p;
        }
        if (used < SG_PARAM_NAME) name[used] = '\0';
    }
    return used < SG_PARAM_NAME;
}

static const char *map_prefix(const sg_tensor_map *map, const sg_tensors *tensors)
{
    if (map->prefixes[0] == NULL) return "";
    for (int i = 0; tensors != NULL && map->prefixes[i] != NULL; i++) {
        char name[SG_PARAM_NAME];
        if (map_name(map->prefixes[i], map->probe, 0, 0, name) &&
            tensors->find(tensors->file, name) != NULL)
            return map->prefixes[i];
    }
    return map->prefixes[0];
}

// ---- rules into pieces
// ----------------------------------------------------------------------------

typedef struct map_work {
    const sg_tensor_map *map;
    const sg_config *config;
    const sg_param_spec *spec;
    const sg_tensors *tensors;
    sg_pieces *pieces;
    const char *prefix;
    int64_t layer, rows, width; // of the parameter as a matrix
    sg_error *err;
} map_work;

static sg_status map_add(const map_work *w, sg_piece piece)
{
    sg_pieces *all = w->pieces;
    if (w->tensors != NULL) {
        piece.view = w->tensors->find(w->tensors->file, piece.tensor);
        if (piece.view == NULL)
            return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s is missing", w->tensors->name,
                           piece.tensor);
        bool fits = piece.view->ndim == piece.ndim;
        for (int i = 0; fits && i < piece.ndim; i++)
            fits = piece.view->shape[i] == piece.shape[i];
        if (!fits) {
            char found[128], expected[128];
            sg_tensor_view wanted = *piece.view;
            wanted.ndim = piece.ndim;
            memcpy(wanted.shape, piece.shape, sizeof wanted.shape);
            return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s: found shape %s, expected %s",
                           w->tensors->name, piece.tensor,
                           sg_tensor_view_shape_text(piece.view, found, sizeof found),
                           sg_tensor_view_shape_text(&wanted, expected, sizeof expected));
        }
    }
    if (all->count == all->capacity) {
        size_t capacity = all->capacity ? 2 * all->capacity : 8;
        sg_piece *items = sg_realloc(all->items, capacity * sizeof *items);
        if (items == NULL)
            return sg_fail(w->err, SG_ERR_MEMORY, "out of memory for the tensors of a model");
        all->items = items;
        all->capacity = capacity;
    }
    all->items[all->count++] = piece;
    return SG_OK;
}

// A piece of a matrix (rows, width) of theirs, or a vector of `rows` where ours is one.
static sg_piece map_matrix(const map_work *w, int64_t rows, int64_t width, int64_t first,
                           int64_t count)
{
    sg_piece piece = {.first = first, .count = count, .ndim = w->spec->rank == 1 ? 1 : 2};
    piece.shape[0] = rows;
    if (piece.ndim == 2) piece.shape[1] = width;
    return piece;
}

static sg_status map_named(const map_work *w, const map_rule *rule, int64_t expert, sg_piece piece)
{
    if (!map_name(w->prefix, rule->theirs, w->layer, expert, piece.tensor))
        return sg_fail(w->err, SG_ERR_INTERNAL, "%s: the name of its tensor is too long",
                       w->spec->name);
    return map_add(w, piece);
}

static sg_status map_same(const map_work *w, const map_rule *rule)
{
    sg_piece piece = {.count = w->rows, .ndim = w->spec->rank};
    memcpy(piece.shape, w->spec->shape, (size_t)piece.ndim * sizeof *piece.shape);
    return map_named(w, rule, 0, piece);
}

static sg_status map_head_thirds(const map_work *w, const map_rule *rule)
{
    const int64_t hd = w->config->head_dim;
    for (int64_t h = 0; h < w->rows / hd; h++) {
        sg_piece piece = map_matrix(w, 3 * w->rows, w->width, h * hd, hd);
        piece.row = (3 * h + rule->part) * hd;
        SG_TRY(map_named(w, rule, 0, piece));
    }
    return SG_OK;
}

// Experts are the first dimension of the parameter. `of` rules make up one of them; stacked: each
// rule is one tensor of all experts.
static sg_status map_experts(const map_work *w, const map_rule *rule, int of, bool stacked)
{
    const int64_t experts = w->spec->shape[0], rows = w->rows / experts / of;
    for (int64_t e = 0; e < experts; e++)
        for (int i = 0; i < of; i++) {
            sg_piece piece = map_matrix(w, rows, w->width, (e * of + i) * rows, rows);
            if (stacked) {
                piece.ndim = 3;
                memcpy(piece.shape, (int64_t[]){experts, rows, w->width}, 3 * sizeof *piece.shape);
                piece.row = e * rows;
            }
            SG_TRY(map_named(w, rule + i, e, piece));
        }
    return SG_OK;
}

static sg_status map_experts_turned(const map_work *w, const map_rule *rule)
{
    const int64_t experts = w->spec->shape[0], rows = w->rows / experts;
    for (int64_t e = 0; e < experts; e++)
        SG_TRY(map_named(w, rule, 0,
                         (sg_piece){.first = e * rows,
                                    .count = rows,
                                    .ndim = 3,
                                    .shape = {experts, w->width, rows},
                                    .row = e * w->width,
                                    .turned = true}));
    return SG_OK;
}

// A table (E, out, in) in blocks of 32; the scales lie in a tensor of the same name but its end.
static sg_status map_mxfp4(const map_work *w, const map_rule *rule)
{
    const int64_t blocks = w->width / 32;
    char name[SG_PARAM_NAME];
    sg_piece piece = {
        .count = w->rows, .ndim = 4, .shape = {w->spec->shape[0], w->spec->shape[1], blocks, 16}};
    if (w->width % 32 != 0)
        return sg_fail(w->err, SG_ERR_MISMATCH, "%s: found rows of %lld, expected a multiple of 32",
                       w->spec->name, (long long)w->width);
    SG_TRY(map_named(w, rule, 0, piece));
    sg_piece *added = &w->pieces->items[w->pieces->count - 1];
    if (w->tensors == NULL) return SG_OK;
    snprintf(name, sizeof name, "%.*s_scales", (int)(strlen(added->tensor) - strlen("_blocks")),
             added->tensor);
    added->scales = w->tensors->find(w->tensors->file, name);
    if (added->scales == NULL)
        return sg_fail(w->err, SG_ERR_MISMATCH, "%s: tensor %s is missing", w->tensors->name, name);
    const sg_tensor_view *s = added->scales;
    if (s->ndim != 3 || s->shape[0] != piece.shape[0] || s->shape[1] != piece.shape[1] ||
        s->shape[2] != blocks || s->dtype != SG_DTYPE_U8 || added->view->dtype != SG_DTYPE_U8)
        return sg_fail(w->err, SG_ERR_MISMATCH,
                       "%s: tensor %s: expected bytes, one for each block of %s", w->tensors->name,
                       name, added->tensor);
    return SG_OK;
}

static sg_status map_apply(const map_work *w, const map_rule *rule)
{
    const int64_t R = w->rows, k = w->width;
    sg_piece piece;
    switch (rule->how) {
    case MAP_SAME:
        return map_same(w, rule);
    case MAP_TURNED:
        piece = map_matrix(w, k, R, 0, R);
        piece.turned = true;
        return map_named(w, rule, 0, piece);
    case MAP_THIRD:
        piece = map_matrix(w, 3 * R, k, 0, R);
        piece.row = rule->part * R;
        return map_named(w, rule, 0, piece);
    case MAP_THIRD_TURNED:
        piece = map_matrix(w, k, 3 * R, 0, R);
        piece.column = rule->part * R;
        piece.turned = true;
        return map_named(w, rule, 0, piece);
    case MAP_HEAD_THIRD:
        return map_head_thirds(w, rule);
    case MAP_ROW:
        return map_named(w, rule, 0, (sg_piece){.count = R, .ndim = 1, .shape = {k}});
    case MAP_HALF:
        for (int i = 0; i < 2; i++)
            SG_TRY(map_named(w, rule + i, 0, map_matrix(w, R / 2, k, i * (R / 2), R / 2)));
        return SG_OK;
    case MAP_EXPERT:
        return map_experts(w, rule, 1, false);
    case MAP_EXPERT_HALF:
        return map_experts(w, rule, 2, false);
    case MAP_STACKED_HALF:
        return map_experts(w, rule, 2, true);
    case MAP_EXPERT_TURNED:
        return map_experts_turned(w, rule);
    case MAP_MXFP4:
        return map_mxfp4(w, rule);
    }
    return SG_OK;
}

// Whether a rule begins an alternative: those behind it may be its further parts.
static bool map_begins(const map_rule *rule)
{
    return rule->part == 0 || rule->how == MAP_THIRD || rule->how == MAP_THIRD_TURNED ||
           rule->how == MAP_HEAD_THIRD;
}

// The first alternative for a name of ours that the file has; the first of all where it has none.
static const map_rule *map_rule_of(const map_work *w, const char *pattern)
{
    const map_rule *first = NULL;
    for (size_t l = 0; l < sizeof w->map->rules / sizeof *w->map->rules; l++)
        for (const map_rule *r = w->map->rules[l]; r != NULL && r->ours != NULL; r++) {
            char name[SG_PARAM_NAME];
            if (strcmp(r->ours, pattern) != 0 || !map_begins(r)) continue;
            if (first == NULL) first = r;
            if (w->tensors != NULL && map_name(w->prefix, r->theirs, w->layer, 0, name) &&
                w->tensors->find(w->tensors->file, name) != NULL)
                return r;
        }
    return first;
}

static const char map_table[] = "model.embed_tokens.weight", map_head[] = "lm_head.weight";

// A tied model may have its one matrix under the classifier's name alone.
static bool map_is_under_head(const map_work *w)
{
    const sg_tensors *tensors = w->tensors;
    return tensors != NULL && !w->config->untied_classifier &&
           strcmp(w->spec->name, map_table) == 0 &&
           sg_tensor_map_embedding(w->map, tensors) == NULL &&
           tensors->find(tensors->file, sg_tensor_map_head(w->map)) != NULL;
}

sg_status sg_tensor_map_pieces(const sg_tensor_map *map, const sg_config *config,
                               const sg_param_spec *spec, const sg_tensors *tensors,
                               sg_pieces *pieces, sg_error *err)
{
    char pattern[SG_PARAM_NAME];
    map_work w = {.map = map,
                  .config = config,
                  .spec = spec,
                  .tensors = tensors,
                  .pieces = pieces,
                  .prefix = map_prefix(map, tensors),
                  .width = spec->rank > 1 ? spec->shape[spec->rank - 1] : 1,
                  .err = err};
    w.rows = spec->count / w.width;
    pieces->count = 0;
    map_pattern(spec->name, pattern, &w.layer);
    if (map_is_under_head(&w)) {
        w.prefix = "";
        return map_same(&w, &(map_rule){.theirs = sg_tensor_map_head(map)});
    }
    const map_rule *rule = map_rule_of(&w, pattern);
    // What no rule names is named alike, without a prefix.
    if (rule == NULL) {
        w.prefix = "";
        return map_same(&w, &(map_rule){.theirs = pattern});
    }
    return map_apply(&w, rule);
}

void sg_pieces_free(sg_pieces *pieces)
{
    sg_free(pieces->items);
    *pieces = (sg_pieces){0};
}

// ---- what is beside parameters
// --------------------------------------------------------------------

const char *sg_tensor_map_head(const sg_tensor_map *map)
{
    const map_work w = {.map = map};
    const map_rule *rule = map_rule_of(&w, map_head);
    return rule != NULL ? rule->theirs : map_head;
}

const sg_tensor_view *sg_tensor_map_embedding(const sg_tensor_map *map, const sg_tensors *tensors)
{
    char name[SG_PARAM_NAME];
    const map_work w = {.map = map, .tensors = tensors, .prefix = map_prefix(map, tensors)};
    const map_rule *rule = map_rule_of(&w, map_table);
    const bool fits =
        map_name(rule != NULL ? w.prefix : "", rule != NULL ? rule->theirs : map_table, 0, 0, name);
    return fits ? tensors->find(tensors->file, name) : NULL;
}

const char *sg_tensor_map_buffer(const sg_tensor_map *map, const char *tensor)
{
    const size_t n = strlen(tensor);
    for (size_t i = 0; i < sizeof map->skips / sizeof *map->skips && map->skips[i] != NULL; i++) {
        const size_t m = strlen(map->skips[i]);
        if (n >= m && strcmp(tensor + n - m, map->skips[i]) == 0) return map->skips[i];
    }
    return NULL;
}

bool sg_tensor_map_is_gguf(const sg_tensor_map *map)
{
    return strncmp(map->type, "gguf", 4) == 0;
}
