#include "format/gguf_config_write.h"

#include "format/gguf_config.h"

#include <stdio.h>
#include <string.h>

// ---- what can be said
// -----------------------------------------------------------------------------

static bool ggufc_is(const char *architecture, const char *name)
{
    return strcmp(architecture, name) == 0;
}

static bool ggufc_has(const char *field, const char *value)
{
    return strcmp(field, value) == 0;
}

const char *sg_gguf_config_architecture(const sg_config *c)
{
    const bool head = ggufc_has(c->qk_norm, "head");
    if (ggufc_has(c->norm, "layernorm")) return "gpt2";
    if (!ggufc_has(c->ffn, "moe"))
        return head ? "qwen3" : c->attention_bias && !c->attention_out_bias ? "qwen2" : "llama";
    if (c->ffn_shared_gate) return "qwen2moe";
    if (c->ffn_shared_experts > 0) return "deepseek";
    return head ? "qwen3moe" : ggufc_has(c->qk_norm, "full") ? "olmoe" : "llama";
}

static void ggufc_say_gpt2(sg_config *said)
{
    snprintf(said->norm, sizeof said->norm, "layernorm");
    snprintf(said->positions, sizeof said->positions, "learned");
    snprintf(said->qk_norm, sizeof said->qk_norm, "none");
    snprintf(said->ffn, sizeof said->ffn, "mlp");
    snprintf(said->ffn_activation, sizeof said->ffn_activation, "gelu");
    said->attention_bias = said->attention_out_bias = said->ffn_bias = 1;
}

static void ggufc_say_rope(const sg_config *c, bool llama, sg_config *said)
{
    said->rope_theta = c->rope_theta;
    said->rotary_dim = c->rotary_dim;
    if (llama && ggufc_has(c->rope_scaling, "llama3")) {
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

static void ggufc_say_experts(const sg_config *c, const char *architecture, sg_config *said)
{
    const bool qwen2moe = ggufc_is(architecture, "qwen2moe");
    const bool deepseek = ggufc_is(architecture, "deepseek");
    snprintf(said->ffn, sizeof said->ffn, "moe");
    said->ffn_experts = c->ffn_experts;
    said->ffn_top_k = c->ffn_top_k;
    said->ffn_renormalise = ggufc_is(architecture, "llama") || ggufc_is(architecture, "qwen3moe");
    if (qwen2moe) {
        said->ffn_shared_experts = said->ffn_shared_gate = 1;
        said->ffn_shared_size = c->ffn_shared_size
                                    ? c->ffn_shared_size
                                    : c->ffn_shared_experts * c->ffn_intermediate_size;
    }
    if (!deepseek) return;
    said->ffn_shared_experts = c->ffn_shared_experts;
    if (ggufc_leading(c) == 0) return;
    memcpy(said->ffn_layers, c->ffn_layers, sizeof said->ffn_layers);
    snprintf(said->ffn_dense, sizeof said->ffn_dense, "glu");
    said->ffn_dense_size = c->ffn_dense_size;
}

// What llama.cpp reads beyond the keys: heads that make up the width, a classifier of its own.
static bool ggufc_is_plain(const char *architecture)
{
    return ggufc_is(architecture, "gpt2") || ggufc_is(architecture, "qwen2moe") ||
           ggufc_is(architecture, "olmoe") || ggufc_is(architecture, "deepseek");
}

static bool ggufc_is_qwen2(const char *architecture)
{
    return strncmp(architecture, "qwen2", 5) == 0;
}

sg_status sg_gguf_config_say(const sg_config *c, const char *architecture, sg_config *said,
                             sg_error *err)
{
    const bool gpt2 = ggufc_is(architecture, "gpt2"), llama = ggufc_is(architecture, "llama");
    const bool moe = ggufc_has(c->ffn, "moe");
    const char *family = gpt2 ? "mlp" : "glu";
    if (!moe && !ggufc_has(c->ffn, family))
        return sg_fail(err, SG_ERR_UNSUPPORTED, "ffn: found \"%s\", expected \"%s\" for GGUF's %s",
                       c->ffn, family, architecture);
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
    if (!ggufc_is_plain(architecture)) said->head_dim = c->head_dim;
    if (gpt2) {
        said->num_key_value_heads = 0;
        ggufc_say_gpt2(said);
        return SG_OK;
    }
    snprintf(said->ffn, sizeof said->ffn, "glu");
    snprintf(said->ffn_activation, sizeof said->ffn_activation, "swiglu");
    snprintf(said->qk_norm, sizeof said->qk_norm, "%s",
             strncmp(architecture, "qwen3", 5) == 0 ? "head"
             : ggufc_is(architecture, "olmoe")      ? "full"
                                                    : "none");
    said->attention_bias = llama ? c->attention_bias : ggufc_is_qwen2(architecture);
    said->attention_out_bias = llama ? c->attention_out_bias : 0;
    said->rope_interleaved = llama || ggufc_is(architecture, "deepseek");
    if (ggufc_is_plain(architecture)) said->untied_classifier = 1;
    if (moe) ggufc_say_experts(c, architecture, said);
    ggufc_say_rope(c, llama, said);
    return SG_OK;
}

// ---- saying it
// ------------------------------------------------------------------------------------

typedef struct ggufc_writing {
    const char *architecture;
    sg_gguf_metadata *metadata;
    char key[128];
} ggufc_writing;

static const char *ggufc_key(ggufc_writing *w, const char *key)
{
    snprintf(w->key, sizeof w->key, "%s.%s", w->architecture, key);
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
    const bool qwen2moe = ggufc_is(w->architecture, "qwen2moe");
    const bool deepseek = ggufc_is(w->architecture, "deepseek");
    ggufc_int(w, "expert_count", c->ffn_experts);
    ggufc_int(w, "expert_used_count", c->ffn_top_k);
    if (qwen2moe || deepseek || ggufc_is(w->architecture, "qwen3moe"))
        ggufc_int(w, "expert_feed_forward_length", c->ffn_intermediate_size);
    if (qwen2moe)
        ggufc_int(w, "expert_shared_feed_forward_length",
                  c->ffn_shared_size ? c->ffn_shared_size : c->ffn_intermediate_size);
    if (!deepseek) return;
    ggufc_int(w, "expert_shared_count", c->ffn_shared_experts);
    ggufc_int(w, "leading_dense_block_count", ggufc_leading(c));
    ggufc_number(w, "expert_weights_scale", 1);
}

// Of a dense layer; else what llama.cpp divides among the experts of a token, which have theirs as
// a key.
static int64_t ggufc_width(const sg_config *c, const char *architecture)
{
    if (c->ffn_dense_size > 0) return c->ffn_dense_size;
    const bool one = !ggufc_has(c->ffn, "moe") || ggufc_is(architecture, "llama") ||
                     ggufc_is(architecture, "olmoe");
    return one ? c->ffn_intermediate_size : c->ffn_intermediate_size * c->ffn_top_k;
}

void sg_gguf_config_put(const sg_config *c, const char *architecture, sg_dtype dtype,
                        sg_gguf_metadata *metadata)
{
    ggufc_writing w = {.architecture = architecture, .metadata = metadata};
    const bool gpt2 = ggufc_is(architecture, "gpt2");
    sg_gguf_put_string(metadata, "general.architecture", architecture);
    sg_gguf_put_u32(metadata, "general.file_type", ggufc_file_type(dtype));
    if (dtype == SG_DTYPE_Q8_0) sg_gguf_put_u32(metadata, "general.quantization_version", 2);
    ggufc_int(&w, "vocab_size", c->vocab_size);
    ggufc_int(&w, "context_length", c->max_position_embeddings);
    ggufc_int(&w, "embedding_length", c->hidden_size);
    ggufc_int(&w, "block_count", c->num_hidden_layers);
    ggufc_int(&w, "feed_forward_length", ggufc_width(c, architecture));
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
