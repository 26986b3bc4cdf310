// Keys are ARCHITECTURE.key (github.com/ggml-org/ggml, docs/gguf.md). Llama's and DeepSeek's
// queries and keys are stored so that neighbours are rotated together; those of the others as
// Hugging Face has them. What llama.cpp has in its code and not in the file (whether shares of
// experts are renormalised …) is in the table of architectures (gguf_architecture.c).
#include "format/gguf_architecture.h"

#include <stdio.h>
#include <string.h>

typedef struct gguf_reading {
    const sg_gguf *file;
    const sg_gguf_architecture *known;
    sg_config *c;
    sg_asked *asked;
    sg_error *err;
} gguf_reading;

static const int64_t gguf_most = (int64_t)1 << 40;

static const char *gguf_key(const gguf_reading *r, const char *key, char text[128])
{
    sg_asked_add(r->asked, key);
    snprintf(text, 128, "%.40s.%.80s", r->known->name, key);
    return text;
}

static sg_status gguf_int(const gguf_reading *r, const char *key, bool required, int64_t *out)
{
    char text[128];
    return sg_gguf_get_int(r->file, gguf_key(r, key, text), required, 0, gguf_most, out, r->err);
}

// From 1 on: a 0 that is there is not one that is left out (sg_config).
static sg_status gguf_size(const gguf_reading *r, const char *key, bool required, int64_t *out)
{
    char text[128];
    return sg_gguf_get_int(r->file, gguf_key(r, key, text), required, 1, gguf_most, out, r->err);
}

// Nor is a number.
static sg_status gguf_number_of(const gguf_reading *r, const char *key, bool required, double *out)
{
    char text[128];
    gguf_key(r, key, text);
    SG_TRY(sg_gguf_get_number(r->file, text, required, out, r->err));
    if (*out == 0 && sg_gguf_value_find(r->file, text) != NULL) *out = -0.0;
    return SG_OK;
}

static sg_status gguf_number(const gguf_reading *r, const char *key, double *out)
{
    return gguf_number_of(r, key, false, out);
}

static sg_status gguf_refuse(const gguf_reading *r, const char *key, double found,
                             const char *expected)
{
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: key %s.%s: found %g, expected %s",
                   sg_gguf_name(r->file), r->known->name, key, found, expected);
}

// Factors of single frequencies. Llama 3's are known by their form (low_freq_factor 1,
// high_freq_factor 4 in all that were published); their largest is the factor of the scaling.
static sg_status gguf_rope_freqs(const gguf_reading *r, const char *scaling)
{
    sg_config *c = r->c;
    const sg_tensor_view *view = sg_gguf_find(r->file, SG_GGUF_ROPE_FREQS);
    const int64_t pairs = (c->rotary_dim ? c->rotary_dim : c->head_dim) / 2;
    char shape[192];
    if (!r->known->freqs || strcmp(scaling, "none") != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: tensor %s: found factors of single frequencies with architecture %.40s "
                       "and scaling \"%.40s\", expected them with llama and none",
                       sg_gguf_name(r->file), view->name, r->known->name, scaling);
    if (view->dtype != SG_DTYPE_F32 || view->ndim != 1 || view->shape[0] != pairs || pairs == 0)
        return sg_fail(r->err, SG_ERR_MISMATCH, "%s: tensor %s: found %s %s, expected F32 [%lld]",
                       sg_gguf_name(r->file), view->name, sg_dtype_name(view->dtype),
                       sg_tensor_view_shape_text(view, shape, sizeof shape), (long long)pairs);
    for (int64_t i = 0; i < pairs; i++) {
        float factor;
        memcpy(&factor, (const char *)view->data + (size_t)i * sizeof factor, sizeof factor);
        if ((double)factor > c->rope_factor) c->rope_factor = (double)factor;
    }
    snprintf(c->rope_scaling, sizeof c->rope_scaling, "llama3");
    c->rope_low_freq_factor = 1;
    c->rope_high_freq_factor = 4;
    c->rope_original_positions = SG_GGUF_ROPE_ORIGINAL;
    return gguf_size(r, "rope.scaling.original_context_length", false, &c->rope_original_positions);
}

// By how much positions are scaled where the file does not say in which way, or says "linear": as
// llama.cpp has it, linearly, by this key or by that of its first years, and not at all by 0.
static sg_status gguf_linear(const gguf_reading *r)
{
    sg_config *c = r->c;
    double factor = 0;
    SG_TRY(gguf_number(r, "rope.scale_linear", &factor));
    SG_TRY(gguf_number(r, "rope.scaling.factor", &factor));
    if (factor == 0 || factor == 1) return SG_OK;
    snprintf(c->rope_scaling, sizeof c->rope_scaling, "linear");
    c->rope_factor = factor;
    return SG_OK;
}

static sg_status gguf_rope(const gguf_reading *r)
{
    sg_config *c = r->c;
    const char *scaling = NULL;
    char text[128];
    c->rope_theta = 10000;
    SG_TRY(gguf_number(r, "rope.freq_base", &c->rope_theta));
    SG_TRY(gguf_size(r, "rope.dimension_count", false, &c->rotary_dim));
    SG_TRY(sg_gguf_get_string(r->file, gguf_key(r, "rope.scaling.type", text), false, &scaling,
                              r->err));
    if (scaling == NULL || strcmp(scaling, "linear") == 0) SG_TRY(gguf_linear(r));
    if (sg_gguf_find(r->file, SG_GGUF_ROPE_FREQS) != NULL)
        return gguf_rope_freqs(r, scaling != NULL              ? scaling
                                  : c->rope_scaling[0] != '\0' ? c->rope_scaling
                                                               : "none");
    // With the way "none" factors are passed over.
    sg_asked_add(r->asked, "rope.scaling.factor");
    sg_asked_add(r->asked, "rope.scale_linear");
    if (scaling == NULL || strcmp(scaling, "none") == 0 || strcmp(scaling, "linear") == 0)
        return SG_OK;
    if (strcmp(scaling, "yarn") != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: key %s: found \"%.40s\", expected none, linear or yarn",
                       sg_gguf_name(r->file), text, scaling);
    snprintf(c->rope_scaling, sizeof c->rope_scaling, "%s", scaling);
    SG_TRY(gguf_number(r, "rope.scaling.factor", &c->rope_factor));
    SG_TRY(gguf_number(r, "rope.scaling.yarn_beta_fast", &c->rope_beta_fast));
    SG_TRY(gguf_number(r, "rope.scaling.yarn_beta_slow", &c->rope_beta_slow));
    return gguf_size(r, "rope.scaling.original_context_length", false, &c->rope_original_positions);
}

// ---- experts ------------------------------------------------------------------------------------

// Keys by which other models of the same names differ.
static sg_status gguf_experts_as_usual(const gguf_reading *r)
{
    char text[128];
    bool norm = r->known->renormalise;
    int64_t gating = 1, groups = 1; // softmax
    double scale = 1, clamp = 0;
    const char *key = "expert_weights_norm";
    SG_TRY(sg_gguf_get_bool(r->file, gguf_key(r, key, text), false, &norm, r->err));
    if (norm != r->known->renormalise)
        return gguf_refuse(r, key, norm ? 1 : 0, r->known->renormalise ? "true" : "false");
    key = "expert_weights_scale";
    SG_TRY(gguf_number(r, key, &scale));
    if (scale != 1 && scale != 0) return gguf_refuse(r, key, scale, "1");
    key = "expert_gating_func";
    SG_TRY(gguf_int(r, key, false, &gating));
    if (gating != 1) return gguf_refuse(r, key, (double)gating, "1, a softmax");
    key = "expert_group_count";
    SG_TRY(gguf_int(r, key, false, &groups));
    if (groups > 1) return gguf_refuse(r, key, (double)groups, "one group");
    key = "attention.clamp_kqv";
    SG_TRY(gguf_number(r, key, &clamp));
    return clamp == 0 ? SG_OK : gguf_refuse(r, key, clamp, "none");
}

// Widths that a file leaves out are as llama.cpp has them: that of all experts of a token together
// is feed_forward_length, which is that of one where the architecture knows no other.
static sg_status gguf_expert_widths(const gguf_reading *r, int64_t dense)
{
    sg_config *c = r->c;
    const bool shares = r->known->shared == SG_GGUF_SHARED_GATE;
    if (!r->known->width) return SG_OK;
    c->ffn_intermediate_size = c->ffn_top_k > 0 ? dense / c->ffn_top_k : 0;
    SG_TRY(gguf_int(r, "expert_feed_forward_length", r->known->shared == SG_GGUF_SHARED_COUNT,
                    &c->ffn_intermediate_size));
    if (!shares) return SG_OK;
    c->ffn_shared_experts = c->ffn_shared_gate = 1;
    c->ffn_shared_size = dense;
    return gguf_int(r, "expert_shared_feed_forward_length", false, &c->ffn_shared_size);
}

// Layers in front that have no experts.
static sg_status gguf_leading_layers(const gguf_reading *r, int64_t dense)
{
    sg_config *c = r->c;
    int64_t leading = 0;
    SG_TRY(gguf_int(r, "leading_dense_block_count", false, &leading));
    if (leading == 0) return SG_OK;
    if (r->known->shared != SG_GGUF_SHARED_COUNT || leading >= c->num_hidden_layers)
        return gguf_refuse(r, "leading_dense_block_count", (double)leading,
                           r->known->shared == SG_GGUF_SHARED_COUNT ? "less than block_count"
                                                                    : "0");
    if (leading + 1 == c->num_hidden_layers)
        snprintf(c->ffn_layers, sizeof c->ffn_layers, "%lld", (long long)leading + 1);
    else
        snprintf(c->ffn_layers, sizeof c->ffn_layers, "%lld-%lld", (long long)leading + 1,
                 (long long)c->num_hidden_layers);
    snprintf(c->ffn_dense, sizeof c->ffn_dense, "glu");
    c->ffn_dense_size = dense;
    return SG_OK;
}

// A model has experts where the architecture must, or the file says so.
static sg_status gguf_experts(const gguf_reading *r)
{
    sg_config *c = r->c;
    const int64_t dense = c->ffn_intermediate_size;
    SG_TRY(
        gguf_int(r, "expert_count", r->known->experts == SG_GGUF_EXPERTS_ALWAYS, &c->ffn_experts));
    if (c->ffn_experts == 0 && r->known->experts == SG_GGUF_EXPERTS_ALWAYS)
        return gguf_refuse(r, "expert_count", 0, "at least one");
    if (c->ffn_experts == 0) return SG_OK;
    if (r->known->experts == SG_GGUF_EXPERTS_NEVER)
        return gguf_refuse(r, "expert_count", (double)c->ffn_experts, "a model without experts");
    snprintf(c->ffn, sizeof c->ffn, "moe");
    SG_TRY(gguf_int(r, "expert_used_count", true, &c->ffn_top_k));
    c->ffn_renormalise = r->known->renormalise;
    if (r->known->shared == SG_GGUF_SHARED_COUNT)
        SG_TRY(gguf_int(r, "expert_shared_count", false, &c->ffn_shared_experts));
    SG_TRY(gguf_expert_widths(r, dense));
    SG_TRY(gguf_leading_layers(r, dense));
    return gguf_experts_as_usual(r);
}

// ---- the whole ----------------------------------------------------------------------------------

// The vocabulary is as long as its table.
static sg_status gguf_vocabulary(const gguf_reading *r)
{
    const sg_tensor_view *table = sg_gguf_find(r->file, "token_embd.weight");
    if (table == NULL || table->ndim != 2)
        return sg_fail(r->err, SG_ERR_MISMATCH, "%s: tensor token_embd.weight is missing",
                       sg_gguf_name(r->file));
    r->c->vocab_size = table->shape[0];
    return SG_OK;
}

static sg_status gguf_read(const gguf_reading *r)
{
    sg_config *c = r->c;
    const bool gpt2 = r->known->gpt2;
    const char *activation = r->known->activation;
    SG_TRY(gguf_vocabulary(r));
    SG_TRY(gguf_size(r, "embedding_length", true, &c->hidden_size));
    SG_TRY(gguf_size(r, "block_count", true, &c->num_hidden_layers));
    SG_TRY(gguf_size(r, "attention.head_count", true, &c->num_attention_heads));
    SG_TRY(gguf_size(r, "attention.head_count_kv", false, &c->num_key_value_heads));
    SG_TRY(gguf_size(r, "attention.key_length", false, &c->head_dim));
    if (c->head_dim == 0 && c->num_attention_heads > 0)
        c->head_dim = c->hidden_size / c->num_attention_heads;
    SG_TRY(gguf_size(r, "context_length", true, &c->max_position_embeddings));
    SG_TRY(gguf_size(r, "feed_forward_length", true, &c->ffn_intermediate_size));
    SG_TRY(gguf_number_of(
        r, gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon", true,
        &c->rms_norm_eps));
    SG_TRY(sg_gguf_get_token(r->file, "tokenizer.ggml.bos_token_id", c->vocab_size,
                             &c->bos_token_id, r->err));
    SG_TRY(sg_gguf_get_token(r->file, "tokenizer.ggml.eos_token_id", c->vocab_size,
                             &c->eos_token_id, r->err));
    SG_TRY(sg_gguf_get_token(r->file, "tokenizer.ggml.padding_token_id", c->vocab_size,
                             &c->pad_token_id, r->err));
    c->untied_classifier = sg_gguf_find(r->file, "output.weight") != NULL;
    // Biases are there where their tensors are.
    c->attention_bias =
        sg_gguf_find(r->file, gpt2 ? "blk.0.attn_qkv.bias" : "blk.0.attn_q.bias") != NULL;
    c->attention_out_bias = sg_gguf_find(r->file, "blk.0.attn_output.bias") != NULL;
    snprintf(c->qk_norm, sizeof c->qk_norm, "%s", r->known->qk_norm);
    snprintf(c->ffn, sizeof c->ffn, "%s", activation ? "mlp" : "glu");
    snprintf(c->ffn_activation, sizeof c->ffn_activation, "%s", activation ? activation : "swiglu");
    if (gpt2) {
        snprintf(c->norm, sizeof c->norm, "layernorm");
        snprintf(c->positions, sizeof c->positions, "learned");
        c->ffn_bias = 1;
        return gguf_experts(r); // it has none
    }
    c->rope_interleaved = r->known->neighbours;
    SG_TRY(gguf_experts(r));
    return gguf_rope(r);
}

// Files that hold something beside a model, or a part of one.
static sg_status gguf_check_kind(const sg_gguf *file, sg_error *err)
{
    const char *kind = "model";
    SG_TRY(sg_gguf_get_string(file, "general.type", false, &kind, err));
    if (strcmp(kind, "model") == 0) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: key general.type: found \"%.40s\"%s, expected \"model\"",
                   sg_gguf_name(file), kind,
                   strcmp(kind, "adapter") == 0 ? ", low-rank adapters: open those as a folder of "
                                                  "the library PEFT beside their model"
                                                : "");
}

sg_status sg_gguf_config_read(const sg_gguf *file, sg_config *config, sg_unread *unread,
                              sg_error *err)
{
    const char *architecture = NULL;
    char names[200];
    SG_TRY(gguf_check_kind(file, err));
    SG_TRY(sg_gguf_get_string(file, "general.architecture", true, &architecture, err));
    const sg_gguf_architecture *known = sg_gguf_architecture_find(architecture);
    if (known == NULL)
        return sg_fail(
            err, SG_ERR_UNSUPPORTED, "%s: key general.architecture: found \"%.40s\", expected %s",
            sg_gguf_name(file), architecture, sg_gguf_architecture_names(names, sizeof names));
    sg_asked asked = {0};
    const gguf_reading r = {file, known, config, &asked, err};
    SG_TRY(gguf_read(&r));
    return sg_gguf_keys_rest(file, architecture, config, &asked, unread, err);
}
