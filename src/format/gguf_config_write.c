// gguf_config.c the other way: what a file of an architecture can say of a model, and saying it.
#include "format/gguf_architecture.h"

#include <stdio.h>
#include <string.h>

// ---- what can be said ---------------------------------------------------------------------------

static bool ggufc_has(const char *field, const char *value)
{
    return strcmp(field, value) == 0;
}

static void ggufc_say_gpt2(sg_config *said)
{
    snprintf(said->norm, sizeof said->norm, "layernorm");
    snprintf(said->positions, sizeof said->positions, "learned");
    said->attention_bias = said->attention_out_bias = said->ffn_bias = 1;
}

static void ggufc_say_rope(const sg_config *c, const sg_gguf_architecture *known, sg_config *said)
{
    said->rope_theta = c->rope_theta;
    said->rotary_dim = c->rotary_dim;
    if (known->freqs && ggufc_has(c->rope_scaling, "llama3")) {
        snprintf(said->rope_scaling, sizeof said->rope_scaling, "llama3");
        said->rope_factor = c->rope_factor;
        said->rope_low_freq_factor = 1;
        said->rope_high_freq_factor = 4;
        said->rope_original_positions = c->rope_original_positions;
    }
    if (!ggufc_has(c->rope_scaling, "linear") && !ggufc_has(c->rope_scaling, "yarn")) return;
    memcpy(said->rope_scaling, c->rope_scaling, sizeof said->rope_scaling);
    said->rope_factor = c->rope_factor;
    if (!ggufc_has(c->rope_scaling, "yarn")) return;
    said->rope_beta_fast = c->rope_beta_fast;
    said->rope_beta_slow = c->rope_beta_slow;
    said->rope_original_positions = c->rope_original_positions;
}

// The number of layers in front without experts, if those behind them all have some; else 0.
static int64_t ggufc_leading(const sg_config *c)
{
    char text[64];
    for (int64_t k = 1; k < c->num_hidden_layers; k++) {
        snprintf(text, sizeof text, "%lld-%lld", (long long)k + 1, (long long)c->num_hidden_layers);
        if (k + 1 == c->num_hidden_layers) snprintf(text, sizeof text, "%lld", (long long)k + 1);
        if (ggufc_has(c->ffn_layers, text)) return k;
    }
    return 0;
}

static void ggufc_say_experts(const sg_config *c, const sg_gguf_architecture *known,
                              sg_config *said)
{
    snprintf(said->ffn, sizeof said->ffn, "moe");
    said->ffn_experts = c->ffn_experts;
    said->ffn_top_k = c->ffn_top_k;
    said->ffn_renormalise = known->renormalise;
    if (known->shared == SG_GGUF_SHARED_GATE) {
        said->ffn_shared_experts = said->ffn_shared_gate = 1;
        said->ffn_shared_size = c->ffn_shared_size
                                    ? c->ffn_shared_size
                                    : c->ffn_shared_experts * c->ffn_intermediate_size;
    }
    if (known->shared != SG_GGUF_SHARED_COUNT) return;
    said->ffn_shared_experts = c->ffn_shared_experts;
    if (ggufc_leading(c) == 0) return;
    memcpy(said->ffn_layers, c->ffn_layers, sizeof said->ffn_layers);
    snprintf(said->ffn_dense, sizeof said->ffn_dense, "glu");
    said->ffn_dense_size = c->ffn_dense_size;
}

sg_status sg_gguf_config_say(const sg_config *c, const sg_gguf_architecture *known, sg_config *said,
                             sg_error *err)
{
    const bool moe = ggufc_has(c->ffn, "moe"), as_it_is = known->biases == SG_GGUF_BIASES_FREE;
    const char *family = known->activation ? "mlp" : "glu";
    if (!moe && !ggufc_has(c->ffn, family))
        return sg_fail(err, SG_ERR_UNSUPPORTED, "ffn: found \"%s\", expected \"%s\" for GGUF's %s",
                       c->ffn, family, known->name);
    *said = (sg_config){.vocab_size = c->vocab_size,
                        .hidden_size = c->hidden_size,
                        .num_hidden_layers = c->num_hidden_layers,
                        .num_attention_heads = c->num_attention_heads,
                        .num_key_value_heads = c->num_key_value_heads,
                        .max_position_embeddings = c->max_position_embeddings,
                        .rms_norm_eps = c->rms_norm_eps,
                        .untied_classifier = c->untied_classifier,
                        .pad_token_id = c->pad_token_id,
                        .eos_token_id = c->eos_token_id,
                        .bos_token_id = c->bos_token_id,
                        .ffn_intermediate_size = c->ffn_intermediate_size};
    if (!known->plain) said->head_dim = c->head_dim;
    snprintf(said->ffn, sizeof said->ffn, "%s", family);
    snprintf(said->ffn_activation, sizeof said->ffn_activation, "%s",
             known->activation ? known->activation : "swiglu");
    snprintf(said->qk_norm, sizeof said->qk_norm, "%s", known->qk_norm);
    if (known->gpt2) {
        said->num_key_value_heads = 0;
        ggufc_say_gpt2(said);
        return SG_OK;
    }
    said->attention_bias = as_it_is ? c->attention_bias : known->biases == SG_GGUF_BIASES_ALWAYS;
    said->attention_out_bias = as_it_is ? c->attention_out_bias : 0;
    said->rope_interleaved = known->neighbours;
    if (known->plain) said->untied_classifier = 1;
    if (moe) ggufc_say_experts(c, known, said);
    ggufc_say_rope(c, known, said);
    return SG_OK;
}

// ---- saying it ----------------------------------------------------------------------------------

typedef struct ggufc_writing {
    const sg_gguf_architecture *known;
    sg_gguf_metadata *metadata;
    char key[128];
} ggufc_writing;

static const char *ggufc_key(ggufc_writing *w, const char *key)
{
    snprintf(w->key, sizeof w->key, "%s.%s", w->known->name, key);
    return w->key;
}

// Sizes of a configuration are far below 2^32 (sg_config_complete).
static void ggufc_int(ggufc_writing *w, const char *key, int64_t value)
{
    sg_gguf_put_u32(w->metadata, ggufc_key(w, key), (uint32_t)value);
}

static void ggufc_number(ggufc_writing *w, const char *key, double value)
{
    sg_gguf_put_f32(w->metadata, ggufc_key(w, key), (float)value);
}

static void ggufc_token(ggufc_writing *w, const char *key, int64_t id)
{
    if (id >= 0) sg_gguf_put_u32(w->metadata, key, (uint32_t)id);
}

static void ggufc_rope(ggufc_writing *w, const sg_config *c)
{
    ggufc_int(w, "rope.dimension_count", c->rotary_dim ? c->rotary_dim : c->head_dim);
    ggufc_number(w, "rope.freq_base", c->rope_theta);
    if (ggufc_has(c->rope_scaling, "none")) return;
    if (ggufc_has(c->rope_scaling, "llama3")) { // the caller writes the tensor
        if (c->rope_original_positions != SG_GGUF_ROPE_ORIGINAL)
            ggufc_int(w, "rope.scaling.original_context_length", c->rope_original_positions);
        return;
    }
    sg_gguf_put_string(w->metadata, ggufc_key(w, "rope.scaling.type"), c->rope_scaling);
    ggufc_number(w, "rope.scaling.factor", c->rope_factor);
    if (!ggufc_has(c->rope_scaling, "yarn")) return;
    ggufc_int(w, "rope.scaling.original_context_length", c->rope_original_positions);
    ggufc_number(w, "rope.scaling.yarn_beta_fast", c->rope_beta_fast);
    ggufc_number(w, "rope.scaling.yarn_beta_slow", c->rope_beta_slow);
}

// "general.file_type", as llama.cpp numbers it.
static uint32_t ggufc_file_type(sg_dtype dtype)
{
    switch (dtype) {
    case SG_DTYPE_F16:
        return 1;
    case SG_DTYPE_Q8_0:
        return 7;
    case SG_DTYPE_BF16:
        return 32;
    default:
        return 0;
    }
}

static void ggufc_experts(ggufc_writing *w, const sg_config *c)
{
    const sg_gguf_shared shared = w->known->shared;
    ggufc_int(w, "expert_count", c->ffn_experts);
    ggufc_int(w, "expert_used_count", c->ffn_top_k);
    if (w->known->width) ggufc_int(w, "expert_feed_forward_length", c->ffn_intermediate_size);
    if (shared == SG_GGUF_SHARED_GATE)
        ggufc_int(w, "expert_shared_feed_forward_length",
                  c->ffn_shared_size ? c->ffn_shared_size : c->ffn_intermediate_size);
    if (shared != SG_GGUF_SHARED_COUNT) return;
    ggufc_int(w, "expert_shared_count", c->ffn_shared_experts);
    ggufc_int(w, "leading_dense_block_count", ggufc_leading(c));
    ggufc_number(w, "expert_weights_scale", 1);
}

// Of a dense layer; else what llama.cpp divides among the experts of a token, which have theirs as
// a key.
static int64_t ggufc_width(const sg_config *c, const sg_gguf_architecture *known)
{
    if (c->ffn_dense_size > 0) return c->ffn_dense_size;
    const bool one = !ggufc_has(c->ffn, "moe") || !known->width;
    return one ? c->ffn_intermediate_size : c->ffn_intermediate_size * c->ffn_top_k;
}

void sg_gguf_config_put(const sg_config *c, const sg_gguf_architecture *known, sg_dtype dtype,
                        sg_gguf_metadata *metadata)
{
    ggufc_writing w = {.known = known, .metadata = metadata};
    const bool gpt2 = known->gpt2;
    sg_gguf_put_string(metadata, "general.architecture", known->name);
    sg_gguf_put_u32(metadata, "general.file_type", ggufc_file_type(dtype));
    if (dtype == SG_DTYPE_Q8_0) sg_gguf_put_u32(metadata, "general.quantization_version", 2);
    ggufc_int(&w, "vocab_size", c->vocab_size);
    ggufc_int(&w, "context_length", c->max_position_embeddings);
    ggufc_int(&w, "embedding_length", c->hidden_size);
    ggufc_int(&w, "block_count", c->num_hidden_layers);
    ggufc_int(&w, "feed_forward_length", ggufc_width(c, known));
    if (ggufc_has(c->ffn, "moe")) ggufc_experts(&w, c);
    ggufc_int(&w, "attention.head_count", c->num_attention_heads);
    ggufc_int(&w, "attention.head_count_kv",
              c->num_key_value_heads ? c->num_key_value_heads : c->num_attention_heads);
    ggufc_number(&w, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                 c->rms_norm_eps);
    if (!gpt2) {
        ggufc_int(&w, "attention.key_length", c->head_dim);
        ggufc_int(&w, "attention.value_length", c->head_dim);
        ggufc_rope(&w, c);
    }
    ggufc_token(&w, "tokenizer.ggml.bos_token_id", c->bos_token_id);
    ggufc_token(&w, "tokenizer.ggml.eos_token_id", c->eos_token_id);
    ggufc_token(&w, "tokenizer.ggml.padding_token_id", c->pad_token_id);
}
