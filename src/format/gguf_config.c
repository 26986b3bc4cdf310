// Keys are ARCHITECTURE.key (github.com/ggml-org/ggml, docs/gguf.md). Llama's queries and keys are
// stored so that neighbours turn together; those of the other architectures as Hugging Face has them.
#include "format/gguf_config.h"

#include <stdio.h>
#include <string.h>

typedef struct gguf_reading {
    const sg_gguf *file;
    const char *architecture;
    sg_config *c;
    sg_error *err;
} gguf_reading;

static const int64_t gguf_most = (int64_t)1 << 40;

static const char *gguf_key(const gguf_reading *r, const char *key, char text[128])
{
    snprintf(text, 128, "%.40s.%.80s", r->architecture, key);
    return text;
}

static sg_status gguf_int(const gguf_reading *r, const char *key, bool required, int64_t *out)
{
    char text[128];
    return sg_gguf_get_int(r->file, gguf_key(r, key, text), required, 0, gguf_most, out, r->err);
}

static sg_status gguf_number(const gguf_reading *r, const char *key, double *out)
{
    char text[128];
    return sg_gguf_get_number(r->file, gguf_key(r, key, text), false, out, r->err);
}

static sg_status gguf_token(const gguf_reading *r, const char *key, int64_t *out)
{
    *out = -1;
    SG_TRY(sg_gguf_get_int(r->file, key, false, -1, gguf_most, out, r->err));
    if (*out >= r->c->vocab_size) *out = -1;
    return SG_OK;
}

static bool gguf_is(const gguf_reading *r, const char *architecture)
{
    return strcmp(r->architecture, architecture) == 0;
}

static sg_status gguf_rope(const gguf_reading *r)
{
    sg_config *c = r->c;
    const char *scaling = "none";
    char text[128];
    c->rope_theta = 10000;
    SG_TRY(gguf_number(r, "rope.freq_base", &c->rope_theta));
    SG_TRY(gguf_int(r, "rope.dimension_count", false, &c->rotary_dim));
    SG_TRY(sg_gguf_get_string(r->file, gguf_key(r, "rope.scaling.type", text), false, &scaling,
                              r->err));
    if (sg_gguf_find(r->file, "rope_freqs.weight") != NULL)
        return sg_fail(
            r->err, SG_ERR_UNSUPPORTED,
            "%s: tensor rope_freqs.weight: found factors of single frequencies, expected "
            "none",
            sg_gguf_name(r->file));
    if (strcmp(scaling, "none") == 0) return SG_OK;
    if (strcmp(scaling, "linear") != 0 && strcmp(scaling, "yarn") != 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: key %s: found \"%.40s\", expected none, linear or yarn",
                       sg_gguf_name(r->file), text, scaling);
    snprintf(c->rope_scaling, sizeof c->rope_scaling, "%s", scaling);
    SG_TRY(gguf_number(r, "rope.scaling.factor", &c->rope_factor));
    if (strcmp(scaling, "linear") == 0) return SG_OK;
    SG_TRY(gguf_number(r, "rope.scaling.yarn_beta_fast", &c->rope_beta_fast));
    SG_TRY(gguf_number(r, "rope.scaling.yarn_beta_slow", &c->rope_beta_slow));
    return gguf_int(r, "rope.scaling.original_context_length", false, &c->rope_original_positions);
}

static sg_status gguf_refuse_experts(const gguf_reading *r)
{
    int64_t experts = 0;
    SG_TRY(gguf_int(r, "expert_count", false, &experts));
    if (experts == 0) return SG_OK;
    return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                   "%s: key %s.expert_count: found %lld, expected a model without experts",
                   sg_gguf_name(r->file), r->architecture, (long long)experts);
}

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
    const bool gpt2 = gguf_is(r, "gpt2");
    SG_TRY(gguf_vocabulary(r));
    SG_TRY(gguf_int(r, "embedding_length", true, &c->hidden_size));
    SG_TRY(gguf_int(r, "block_count", true, &c->num_hidden_layers));
    SG_TRY(gguf_int(r, "attention.head_count", true, &c->num_attention_heads));
    SG_TRY(gguf_int(r, "attention.head_count_kv", false, &c->num_key_value_heads));
    SG_TRY(gguf_int(r, "attention.key_length", false, &c->head_dim));
    if (c->head_dim == 0 && c->num_attention_heads > 0)
        c->head_dim = c->hidden_size / c->num_attention_heads;
    SG_TRY(gguf_int(r, "context_length", true, &c->max_position_embeddings));
    SG_TRY(gguf_int(r, "feed_forward_length", true, &c->ffn_intermediate_size));
    SG_TRY(gguf_refuse_experts(r));
    c->rms_norm_eps = 1e-5;
    SG_TRY(gguf_number(r,
                       gpt2 ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
                       &c->rms_norm_eps));
    SG_TRY(gguf_token(r, "tokenizer.ggml.bos_token_id", &c->bos_token_id));
    SG_TRY(gguf_token(r, "tokenizer.ggml.eos_token_id", &c->eos_token_id));
    SG_TRY(gguf_token(r, "tokenizer.ggml.padding_token_id", &c->pad_token_id));
    c->untied_classifier = sg_gguf_find(r->file, "output.weight") != NULL;
    // Biases are there where their tensors are.
    c->attention_bias =
        sg_gguf_find(r->file, gpt2 ? "blk.0.attn_qkv.bias" : "blk.0.attn_q.bias") != NULL;
    c->attention_out_bias = sg_gguf_find(r->file, "blk.0.attn_output.bias") != NULL;
    snprintf(c->qk_norm, sizeof c->qk_norm, "%s", gguf_is(r, "qwen3") ? "head" : "none");
    if (gpt2) {
        snprintf(c->norm, sizeof c->norm, "layernorm");
        snprintf(c->positions, sizeof c->positions, "learned");
        snprintf(c->ffn, sizeof c->ffn, "mlp");
        snprintf(c->ffn_activation, sizeof c->ffn_activation, "gelu");
        c->ffn_bias = 1;
        return SG_OK;
    }
    snprintf(c->ffn, sizeof c->ffn, "glu");
    snprintf(c->ffn_activation, sizeof c->ffn_activation, "swiglu");
    c->rope_interleaved = gguf_is(r, "llama");
    return gguf_rope(r);
}

sg_status sg_gguf_config_read(const sg_gguf *file, sg_config *config, sg_error *err)
{
    static const char *const known[] = {"llama", "qwen2", "qwen3", "gpt2"};
    const char *architecture = NULL;
    SG_TRY(sg_gguf_get_string(file, "general.architecture", true, &architecture, err));
    const gguf_reading r = {file, architecture, config, err};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (gguf_is(&r, known[i])) return gguf_read(&r);
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: key general.architecture: found \"%.40s\", expected llama, qwen2, qwen3 or "
                   "gpt2",
                   sg_gguf_name(file), architecture);
}
