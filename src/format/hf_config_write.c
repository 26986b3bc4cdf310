// One row of a table a model type: its class, and what it says beyond what types of Llama's shape
// share.
#include "format/hf_config_write.h"

#include <math.h>
#include <string.h>

#include "format/hf_config.h"
#include "format/json.h"

typedef struct hf_writing {
    const sg_config *c;
    const sg_hf_layers *layers;
    json_t *object;
    bool failed; // out of memory
} hf_writing;

typedef struct hf_form {
    const char *type, *family, *architecture;
    bool native;
    bool divided; // the class wants heads that divide the width
    void (*write)(hf_writing *w);
} hf_form;

// ---- members ------------------------------------------------------------------------------------

static void hfw_put(hf_writing *w, const char *key, json_t *value)
{
    if (json_object_set_new(w->object, key, value) != 0) w->failed = true;
}

static void hfw_int(hf_writing *w, const char *key, int64_t value)
{
    hfw_put(w, key, json_integer(value));
}

static void hfw_number(hf_writing *w, const char *key, double value)
{
    hfw_put(w, key, json_real(value));
}

static void hfw_bool(hf_writing *w, const char *key, bool value)
{
    hfw_put(w, key, json_boolean(value));
}

static void hfw_token(hf_writing *w, const char *key, int64_t id)
{
    hfw_put(w, key, id < 0 ? json_null() : json_integer(id));
}

// The library's name of an activation, of dense layers or of the gates of gated ones. One that it
// does not have is shown as the default, and found different when the file is read back.
static void hfw_activation(hf_writing *w, const char *key)
{
    static const char *const names[][2] = {{"swish", "silu"},    {"swiglu", "silu"},
                                           {"gelu_erf", "gelu"}, {"geglu_erf", "gelu"},
                                           {"gelu", "gelu_new"}, {"geglu", "gelu_pytorch_tanh"},
                                           {"relu", "relu"},     {"reglu", "relu"}};
    const char *theirs = "silu";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i][0], w->c->ffn_activation) == 0) theirs = names[i][1];
    hfw_put(w, key, json_string(theirs));
}

static void hfw_tokens(hf_writing *w)
{
    hfw_token(w, "pad_token_id", w->c->pad_token_id);
    hfw_token(w, "eos_token_id", w->c->eos_token_id);
    hfw_token(w, "bos_token_id", w->c->bos_token_id);
}

// ---- positions ----------------------------------------------------------------------------------

static void hfw_rope(hf_writing *w)
{
    const sg_config *c = w->c;
    hfw_number(w, "rope_theta", c->rope_theta);
    if (strcmp(c->rope_scaling, "none") == 0) return;
    json_t *scaling = json_object();
    hf_writing inside = {.c = c, .object = scaling};
    hfw_put(&inside, "rope_type", json_string(c->rope_scaling));
    hfw_number(&inside, "rope_theta", c->rope_theta);
    hfw_number(&inside, "factor", c->rope_factor);
    if (strcmp(c->rope_scaling, "llama3") == 0) {
        hfw_number(&inside, "low_freq_factor", c->rope_low_freq_factor);
        hfw_number(&inside, "high_freq_factor", c->rope_high_freq_factor);
    }
    if (strcmp(c->rope_scaling, "yarn") == 0) {
        hfw_number(&inside, "beta_fast", c->rope_beta_fast);
        hfw_number(&inside, "beta_slow", c->rope_beta_slow);
        hfw_bool(&inside, "truncate", c->rope_exact_borders == 0);
        if (c->rope_attention_factor != 0)
            hfw_number(&inside, "attention_factor", c->rope_attention_factor);
    }
    if (c->rope_original_positions > 0)
        hfw_int(&inside, "original_max_position_embeddings", c->rope_original_positions);
    w->failed = w->failed || inside.failed;
    hfw_put(w, "rope_scaling", scaling);
}

// Of a type in which all layers see the same window or none.
static void hfw_window(hf_writing *w)
{
    const int64_t window = w->c->sliding_window;
    hfw_put(w, "sliding_window", window > 0 ? json_integer(window) : json_null());
}

static void hfw_layer_types(hf_writing *w)
{
    json_t *types = json_array();
    for (int64_t l = 0; l < w->c->num_hidden_layers; l++)
        if (json_array_append_new(types,
                                  json_string(w->layers->slides(w->c, l) ? "sliding_attention"
                                                                         : "full_attention")) != 0)
            w->failed = true;
    hfw_put(w, "layer_types", types);
}

// Of a type that lists which layers do.
static void hfw_windows(hf_writing *w)
{
    hfw_bool(w, "use_sliding_window", w->c->sliding_window > 0);
    hfw_window(w);
    hfw_layer_types(w);
}

// ---- types of Llama's shape
// -----------------------------------------------------------------------

static void hfw_llama_shape(hf_writing *w)
{
    const sg_config *c = w->c;
    const int64_t groups = c->num_key_value_heads;
    hfw_int(w, "vocab_size", c->vocab_size);
    hfw_int(w, "hidden_size", c->hidden_size);
    hfw_int(w, "num_hidden_layers", c->num_hidden_layers);
    hfw_int(w, "num_attention_heads", c->num_attention_heads);
    hfw_int(w, "num_key_value_heads", groups > 0 ? groups : c->num_attention_heads);
    hfw_int(w, "head_dim", c->head_dim);
    hfw_int(w, "max_position_embeddings", c->max_position_embeddings);
    hfw_number(w, "rms_norm_eps", c->rms_norm_eps);
    hfw_bool(w, "tie_word_embeddings", !c->untied_classifier);
    hfw_tokens(w);
    hfw_activation(w, "hidden_act");
    hfw_rope(w);
}

static void hfw_dense(hf_writing *w)
{
    hfw_llama_shape(w);
    hfw_int(w, "intermediate_size", w->c->ffn_intermediate_size);
}

static void hfw_llama(hf_writing *w)
{
    hfw_dense(w);
    hfw_bool(w, "attention_bias", w->c->attention_bias != 0);
    hfw_bool(w, "mlp_bias", w->c->ffn_bias != 0);
}

static void hfw_mistral(hf_writing *w)
{
    hfw_dense(w);
    hfw_window(w);
}

static void hfw_first_window(hf_writing *w)
{
    int64_t first = 0;
    while (first < w->c->num_hidden_layers && !w->layers->slides(w->c, first))
        first++;
    hfw_int(w, "max_window_layers", first);
}

static void hfw_qwen2(hf_writing *w)
{
    hfw_dense(w);
    hfw_windows(w);
    hfw_first_window(w);
}

static void hfw_qwen3(hf_writing *w)
{
    hfw_qwen2(w);
    hfw_bool(w, "attention_bias", w->c->attention_bias != 0);
}

// ---- mixtures of experts ------------------------------------------------------------------------

static void hfw_mixtral(hf_writing *w)
{
    hfw_dense(w);
    hfw_int(w, "num_local_experts", w->c->ffn_experts);
    hfw_int(w, "num_experts_per_tok", w->c->ffn_top_k);
    hfw_window(w);
}

static void hfw_experts(hf_writing *w, const char *width)
{
    const sg_config *c = w->c;
    hfw_llama_shape(w);
    hfw_int(w, width, c->ffn_intermediate_size);
    hfw_int(w, "num_experts", c->ffn_experts);
    hfw_int(w, "num_experts_per_tok", c->ffn_top_k);
    hfw_bool(w, "norm_topk_prob", c->ffn_renormalise != 0);
}

static void hfw_olmoe(hf_writing *w)
{
    hfw_experts(w, "intermediate_size");
    hfw_bool(w, "attention_bias", w->c->attention_bias != 0);
    hfw_put(w, "clip_qkv", w->c->clip_qkv > 0 ? json_real(w->c->clip_qkv) : json_null());
}

static void hfw_qwen_moe(hf_writing *w)
{
    const sg_config *c = w->c;
    json_t *dense = json_array();
    hfw_experts(w, "moe_intermediate_size");
    hfw_int(w, "intermediate_size",
            c->ffn_dense_size > 0 ? c->ffn_dense_size : c->ffn_intermediate_size);
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        if (!w->layers->sparse(c, l) && json_array_append_new(dense, json_integer(l)) != 0)
            w->failed = true;
    hfw_put(w, "mlp_only_layers", dense);
    hfw_int(w, "decoder_sparse_step", 1);
}

static void hfw_qwen2_moe(hf_writing *w)
{
    const sg_config *c = w->c;
    hfw_qwen_moe(w);
    hfw_windows(w);
    hfw_bool(w, "qkv_bias", c->attention_bias != 0);
    hfw_int(w, "shared_expert_intermediate_size",
            c->ffn_shared_size > 0 ? c->ffn_shared_size
                                   : c->ffn_shared_experts * c->ffn_intermediate_size);
}

static void hfw_qwen3_moe(hf_writing *w)
{
    hfw_qwen_moe(w);
    hfw_bool(w, "use_sliding_window", w->c->sliding_window > 0);
    hfw_window(w);
    hfw_bool(w, "attention_bias", w->c->attention_bias != 0);
}

static void hfw_deepseek(hf_writing *w)
{
    const sg_config *c = w->c;
    int64_t first = 0;
    while (first < c->num_hidden_layers && !w->layers->sparse(c, first))
        first++;
    hfw_llama_shape(w);
    hfw_int(w, "moe_intermediate_size", c->ffn_intermediate_size);
    hfw_int(w, "intermediate_size",
            c->ffn_dense_size > 0 ? c->ffn_dense_size : c->ffn_intermediate_size);
    hfw_int(w, "n_routed_experts", c->ffn_experts);
    hfw_int(w, "n_shared_experts", c->ffn_shared_experts);
    hfw_int(w, "num_experts_per_tok", c->ffn_top_k);
    hfw_int(w, "first_k_dense_replace", first);
    hfw_int(w, "moe_layer_freq", 1);
    hfw_bool(w, "norm_topk_prob", c->ffn_renormalise != 0);
    hfw_put(w, "scoring_func", json_string("softmax"));
    hfw_bool(w, "attention_bias", c->attention_bias != 0);
}

static void hfw_gpt_oss(hf_writing *w)
{
    hfw_dense(w);
    // Its class scales positions (YaRN, factor 32) where nothing is said.
    if (strcmp(w->c->rope_scaling, "none") == 0)
        hfw_put(w, "rope_scaling",
                json_pack("{s:s, s:f}", "rope_type", "default", "rope_theta", w->c->rope_theta));
    hfw_int(w, "num_local_experts", w->c->ffn_experts);
    hfw_int(w, "num_experts_per_tok", w->c->ffn_top_k);
    hfw_bool(w, "attention_bias", w->c->attention_bias != 0);
    hfw_number(w, "swiglu_limit", 7);
    // Its class has a window in any case; layers that do not see it are listed.
    hfw_int(w, "sliding_window", w->c->sliding_window > 0 ? w->c->sliding_window : 128);
    hfw_layer_types(w);
}

// ---- types of other shapes ----------------------------------------------------------------------

static void hfw_gpt2(hf_writing *w)
{
    const sg_config *c = w->c;
    hfw_int(w, "vocab_size", c->vocab_size);
    hfw_int(w, "n_embd", c->hidden_size);
    hfw_int(w, "n_layer", c->num_hidden_layers);
    hfw_int(w, "n_head", c->num_attention_heads);
    hfw_int(w, "n_positions", c->max_position_embeddings);
    hfw_int(w, "n_inner", c->ffn_intermediate_size);
    hfw_number(w, "layer_norm_epsilon", c->rms_norm_eps);
    hfw_bool(w, "tie_word_embeddings", !c->untied_classifier);
    hfw_activation(w, "activation_function");
    hfw_tokens(w);
}

// The share of a head that turns; readers cut the product with its width down to a whole number.
static double hfw_share(int64_t part, int64_t whole)
{
    double share = (double)part / (double)whole;
    while ((int64_t)floor((double)whole * share) < part)
        share = nextafter(share, 2);
    return share;
}

static void hfw_gpt_neox(hf_writing *w)
{
    const sg_config *c = w->c;
    const int64_t turns = c->rotary_dim ? c->rotary_dim : c->head_dim;
    const double share = hfw_share(turns, c->head_dim);
    hfw_int(w, "vocab_size", c->vocab_size);
    hfw_int(w, "hidden_size", c->hidden_size);
    hfw_int(w, "num_hidden_layers", c->num_hidden_layers);
    hfw_int(w, "num_attention_heads", c->num_attention_heads);
    hfw_int(w, "intermediate_size", c->ffn_intermediate_size);
    hfw_int(w, "max_position_embeddings", c->max_position_embeddings);
    hfw_number(w, "layer_norm_eps", c->rms_norm_eps);
    hfw_bool(w, "tie_word_embeddings", !c->untied_classifier);
    hfw_bool(w, "use_parallel_residual", c->parallel_residual != 0);
    hfw_bool(w, "attention_bias", c->attention_bias != 0);
    hfw_activation(w, "hidden_act");
    hfw_tokens(w);
    hfw_rope(w);
    hfw_number(w, "rotary_pct", share);
    hfw_number(w, "rotary_emb_base", c->rope_theta);
    json_t *scaling = json_object_get(w->object, "rope_scaling");
    if (scaling != NULL &&
        json_object_set_new(scaling, "partial_rotary_factor", json_real(share)) != 0)
        w->failed = true;
}

static void hfw_opt(hf_writing *w)
{
    const sg_config *c = w->c;
    hfw_int(w, "vocab_size", c->vocab_size);
    hfw_int(w, "hidden_size", c->hidden_size);
    hfw_int(w, "word_embed_proj_dim", c->hidden_size);
    hfw_int(w, "num_hidden_layers", c->num_hidden_layers);
    hfw_int(w, "num_attention_heads", c->num_attention_heads);
    hfw_int(w, "ffn_dim", c->ffn_intermediate_size);
    hfw_int(w, "max_position_embeddings", c->max_position_embeddings);
    hfw_bool(w, "tie_word_embeddings", !c->untied_classifier);
    hfw_bool(w, "do_layer_norm_before", true);
    hfw_bool(w, "enable_bias", true);
    hfw_bool(w, "layer_norm_elementwise_affine", true);
    hfw_activation(w, "activation_function");
    hfw_tokens(w);
}

// ---- the table ----------------------------------------------------------------------------------

// In the order in which a type is looked for that fits a configuration.
static const hf_form hf_forms[] = {
    {"llama", "glu", "LlamaForCausalLM", true, true, hfw_llama},
    {"mistral", "glu", "MistralForCausalLM", true, false, hfw_mistral},
    {"qwen2", "glu", "Qwen2ForCausalLM", true, false, hfw_qwen2},
    {"qwen3", "glu", "Qwen3ForCausalLM", true, false, hfw_qwen3},
    {"gpt2", "mlp", "GPT2LMHeadModel", true, true, hfw_gpt2},
    {"gpt_neox", "mlp", "GPTNeoXForCausalLM", true, true, hfw_gpt_neox},
    {"opt", "mlp", "OPTForCausalLM", true, true, hfw_opt},
    {"mixtral", "moe", "MixtralForCausalLM", true, false, hfw_mixtral},
    {"olmoe", "moe", "OlmoeForCausalLM", true, false, hfw_olmoe},
    {"qwen2_moe", "moe", "Qwen2MoeForCausalLM", true, false, hfw_qwen2_moe},
    {"qwen3_moe", "moe", "Qwen3MoeForCausalLM", true, false, hfw_qwen3_moe},
    {"gpt_oss", "moe", "GptOssForCausalLM", true, false, hfw_gpt_oss},
    {"deepseek", "moe", "DeepseekForCausalLM", false, false, hfw_deepseek},
};

enum { hf_form_count = sizeof hf_forms / sizeof *hf_forms };

const char *sg_hf_config_type(size_t index, bool *native)
{
    if (index >= hf_form_count) return NULL;
    *native = hf_forms[index].native;
    return hf_forms[index].type;
}

static const hf_form *hfw_find(const char *type)
{
    for (size_t i = 0; i < hf_form_count; i++)
        if (strcmp(hf_forms[i].type, type) == 0) return &hf_forms[i];
    return NULL;
}

sg_status sg_hf_config_write(const sg_config *c, const char *type, const sg_hf_layers *layers,
                             json_t **object, sg_error *err)
{
    *object = NULL;
    const hf_form *form = hfw_find(type);
    if (form == NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "model type: found \"%.60s\", expected sgatlin or one of %s", type,
                       sg_hf_config_types());
    if (strcmp(c->ffn, form->family) != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "ffn: found \"%s\", expected \"%s\" for model type %s", c->ffn, form->family,
                       type);
    if (form->divided && c->hidden_size % c->num_attention_heads != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "num_attention_heads: found %lld, expected a divisor of hidden_size %lld "
                       "for model type %s",
                       (long long)c->num_attention_heads, (long long)c->hidden_size, type);
    sg_json_setup();
    hf_writing w = {.c = c, .layers = layers, .object = json_object()};
    hfw_put(&w, "model_type", json_string(type));
    hfw_put(&w, "architectures", json_pack("[s]", form->architecture));
    form->write(&w);
    if (w.failed) {
        json_decref(w.object);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for config.json");
    }
    *object = w.object;
    return SG_OK;
}
