// The table: one row a model type, in the order in which one is looked for that fits a
// configuration. Defaults are those of the configuration classes of transformers 4.57 and 5
// (huggingface/transformers, configuration_*.py).
#include "format/hf_type.h"

#include <stdio.h>
#include <string.h>

#include "format/json.h"

#define FIELD(field_) .field = offsetof(sg_config, field_)
#define SIZE(key, field_)                                                                          \
    {                                                                                              \
        .name = key, .kind = SG_HF_INT, FIELD(field_), .low = 1                                    \
    }
#define NEEDED(key, field_, low_)                                                                  \
    {                                                                                              \
        .name = key, .kind = SG_HF_INT, FIELD(field_), .low = (low_), .required = true             \
    }
#define NUMBER(key, field_)                                                                        \
    {                                                                                              \
        .name = key, .kind = SG_HF_NUMBER, FIELD(field_)                                           \
    }
#define FLAG(key, field_)                                                                          \
    {                                                                                              \
        .name = key, .kind = SG_HF_FLAG, FIELD(field_)                                             \
    }
#define TOKEN(key, field_)                                                                         \
    {                                                                                              \
        .name = key, .kind = SG_HF_TOKEN, FIELD(field_)                                            \
    }
#define OWN(key, read_, write_)                                                                    \
    {                                                                                              \
        .name = key, .read = (read_), .write = (write_)                                            \
    }

// ---- what most types have -----------------------------------------------------------------------

// Layers are gone through one by one, before anything has checked the configuration.
static sg_status type_read_layers(const sg_hf_reading *r, const sg_hf_key *key)
{
    sg_asked_add(r->asked, key->name);
    return sg_json_get_int(r->object, r->name, key->name, true, 1, SG_HF_MOST_LAYERS,
                           &r->c->num_hidden_layers, r->err);
}

static void type_write_groups(sg_hf_writing *w, const sg_hf_key *key)
{
    const int64_t groups = w->c->num_key_value_heads;
    sg_hf_put(w, key->name, json_integer(groups > 0 ? groups : w->c->num_attention_heads));
}

static sg_status type_read_head_dim(const sg_hf_reading *r, const sg_hf_key *key)
{
    sg_config *c = r->c;
    SG_TRY(sg_hf_get_int(r, key->name, false, 1, &c->head_dim));
    if (c->head_dim == 0) c->head_dim = c->hidden_size / c->num_attention_heads;
    return SG_OK;
}

// One key for the biases of all four projections.
static sg_status type_read_biases(const sg_hf_reading *r, const sg_hf_key *key)
{
    bool bias = r->c->attention_bias != 0;
    SG_TRY(sg_hf_get_bool(r, key->name, &bias));
    r->c->attention_bias = r->c->attention_out_bias = bias;
    return SG_OK;
}

#define LAYERS(key)                                                                                \
    {                                                                                              \
        .name = key, .kind = SG_HF_INT, FIELD(num_hidden_layers), .read = type_read_layers         \
    }
#define HEAD_DIM                                                                                   \
    {                                                                                              \
        .name = "head_dim", .kind = SG_HF_INT, FIELD(head_dim), .read = type_read_head_dim         \
    }
#define BIASES                                                                                     \
    {                                                                                              \
        .name = "attention_bias", .kind = SG_HF_FLAG, FIELD(attention_bias),                       \
        .read = type_read_biases                                                                   \
    }
#define TIED                                                                                       \
    {                                                                                              \
        .name = "tie_word_embeddings", .kind = SG_HF_NOT, FIELD(untied_classifier)                 \
    }
#define TOKENS                                                                                     \
    TOKEN("pad_token_id", pad_token_id), TOKEN("eos_token_id", eos_token_id),                      \
        TOKEN("bos_token_id", bos_token_id)
#define ACTIVATION(key)                                                                            \
    {                                                                                              \
        .name = key, .kind = SG_HF_ACTIVATION                                                      \
    }

static const sg_hf_key llama_shape[] = {NEEDED("vocab_size", vocab_size, 2),
                                        NEEDED("hidden_size", hidden_size, 1),
                                        LAYERS("num_hidden_layers"),
                                        NEEDED("num_attention_heads", num_attention_heads, 1),
                                        {.name = "num_key_value_heads",
                                         .kind = SG_HF_INT,
                                         FIELD(num_key_value_heads),
                                         .low = 1,
                                         .write = type_write_groups},
                                        HEAD_DIM,
                                        SIZE("max_position_embeddings", max_position_embeddings),
                                        NUMBER("rms_norm_eps", rms_norm_eps),
                                        TIED,
                                        TOKENS,
                                        ACTIVATION("hidden_act"),
                                        OWN("rope_theta", sg_hf_read_rope, sg_hf_write_rope),
                                        {0}};

// One layer, or one expert, has this width.
static const sg_hf_key width[] = {NEEDED("intermediate_size", ffn_intermediate_size, 1), {0}};

// ---- dense types --------------------------------------------------------------------------------

static const sg_hf_key llama_keys[] = {BIASES, FLAG("mlp_bias", ffn_bias), {0}};

#define MLP_BIAS                                                                                   \
    {                                                                                              \
        .name = "mlp_bias", .kind = SG_HF_FLAG, FIELD(ffn_bias), .unwritten = true                 \
    }
#define WINDOW OWN("sliding_window", sg_hf_read_window, sg_hf_write_window)

static void type_write_window_used(sg_hf_writing *w, const sg_hf_key *key)
{
    sg_hf_put(w, key->name, json_boolean(w->c->sliding_window > 0));
}

#define WINDOW_USED OWN("use_sliding_window", NULL, type_write_window_used)
#define LAYER_TYPES OWN("layer_types", NULL, sg_hf_write_layer_types)

static const sg_hf_key mistral_keys[] = {MLP_BIAS, WINDOW, {0}};

static const sg_hf_key qwen_keys[] = {
    MLP_BIAS, WINDOW_USED, WINDOW, LAYER_TYPES, OWN("max_window_layers", NULL, sg_hf_write_border),
    {0}};

static const sg_hf_key bias_keys[] = {BIASES, {0}};

// ---- mixtures of experts ------------------------------------------------------------------------

// Their number by any of three keys.
static sg_status type_read_experts(const sg_hf_reading *r, const sg_hf_key *key)
{
    static const char *const keys[] = {"num_experts", "num_local_experts", "n_routed_experts"};
    (void)key;
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        SG_TRY(sg_hf_get_int(r, keys[i], false, 1, &r->c->ffn_experts));
    return SG_OK;
}

#define EXPERTS(key)                                                                               \
    {                                                                                              \
        .name = key, .kind = SG_HF_INT, FIELD(ffn_experts), .read = type_read_experts              \
    }
#define TOP_K SIZE("num_experts_per_tok", ffn_top_k)
// One expert of a token: its share of itself is 1, which is no renormalisation of ours.
#define RENORMALISED FLAG("norm_topk_prob", ffn_renormalise)

static const sg_hf_key mixtral_keys[] = {EXPERTS("num_local_experts"), TOP_K, WINDOW, {0}};

static sg_status type_read_clip(const sg_hf_reading *r, const sg_hf_key *key)
{
    SG_TRY(sg_hf_get_number(r, key->name, &r->c->clip_qkv));
    if (sg_hf_find(r, key->name) != NULL && !(r->c->clip_qkv > 0))
        return sg_hf_refuse(r, key->name, "0 or less", "more than 0, or null");
    return SG_OK;
}

static void type_write_clip(sg_hf_writing *w, const sg_hf_key *key)
{
    sg_hf_put(w, key->name, w->c->clip_qkv > 0 ? json_real(w->c->clip_qkv) : json_null());
}

static const sg_hf_key olmoe_keys[] = {EXPERTS("num_experts"),
                                       TOP_K,
                                       RENORMALISED,
                                       BIASES,
                                       OWN("clip_qkv", type_read_clip, type_write_clip),
                                       {0}};

// Which layers have experts.
typedef struct type_placement {
    int64_t first, every; // (layer - offset) from `first` on, one of `every`
    bool counts_from_one;
    const json_t *dense; // layers that have none, or NULL
} type_placement;

static bool type_is_sparse(const void *of, int64_t layer)
{
    const type_placement *p = of;
    for (size_t i = 0; i < json_array_size(p->dense); i++)
        if (json_integer_value(json_array_get(p->dense, i)) == layer) return false;
    return layer >= p->first && (layer + (p->counts_from_one ? 1 : 0)) % p->every == 0;
}

static sg_status type_place(const sg_hf_reading *r, const type_placement *p, int64_t dense_size)
{
    sg_config *c = r->c;
    bool all = true;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        all = all && type_is_sparse(p, l);
    if (all) return SG_OK;
    SG_TRY(sg_hf_list_layers(r, "num_hidden_layers", type_is_sparse, p, c->ffn_layers,
                             sizeof c->ffn_layers));
    if (c->ffn_layers[0] == '\0')
        return sg_hf_refuse(r, "num_hidden_layers", "no layer with experts", "some");
    snprintf(c->ffn_dense, sizeof c->ffn_dense, "glu");
    c->ffn_dense_size = dense_size;
    return SG_OK;
}

static void type_write_dense_size(sg_hf_writing *w, const sg_hf_key *key)
{
    const sg_config *c = w->c;
    sg_hf_put(w, key->name,
              json_integer(c->ffn_dense_size > 0 ? c->ffn_dense_size : c->ffn_intermediate_size));
}

static sg_status type_read_dense_layers(const sg_hf_reading *r, const sg_hf_key *key)
{
    type_placement p = {.every = 1, .counts_from_one = true};
    json_t *dense = NULL;
    int64_t dense_size = 0;
    SG_TRY(sg_hf_get_int(r, "decoder_sparse_step", false, 1, &p.every));
    SG_TRY(sg_hf_get_array(r, key->name, &dense));
    SG_TRY(sg_hf_get_int(r, "intermediate_size", false, 1, &dense_size));
    if (json_array_size(dense) > (size_t)r->c->num_hidden_layers)
        return sg_hf_refuse(r, key->name, "more layers than there are", "fewer");
    p.dense = dense;
    return type_place(r, &p, dense_size);
}

static void type_write_dense_layers(sg_hf_writing *w, const sg_hf_key *key)
{
    json_t *dense = json_array();
    for (int64_t l = 0; l < w->c->num_hidden_layers; l++)
        if (!w->layers->sparse(w->c, l) && json_array_append_new(dense, json_integer(l)) != 0)
            w->failed = true;
    sg_hf_put(w, key->name, dense);
}

static void type_write_one(sg_hf_writing *w, const sg_hf_key *key)
{
    sg_hf_put(w, key->name, json_integer(1));
}

static const sg_hf_key qwen_moe_keys[] = {
    NEEDED("moe_intermediate_size", ffn_intermediate_size, 1),
    EXPERTS("num_experts"),
    TOP_K,
    RENORMALISED,
    OWN("intermediate_size", NULL, type_write_dense_size),
    OWN("mlp_only_layers", type_read_dense_layers, type_write_dense_layers),
    OWN("decoder_sparse_step", NULL, type_write_one),
    WINDOW_USED,
    WINDOW,
    {0}};

static void type_write_shared_size(sg_hf_writing *w, const sg_hf_key *key)
{
    const sg_config *c = w->c;
    sg_hf_put(w, key->name,
              json_integer(c->ffn_shared_size > 0
                               ? c->ffn_shared_size
                               : c->ffn_shared_experts * c->ffn_intermediate_size));
}

static const sg_hf_key qwen2_moe_keys[] = {LAYER_TYPES,
                                           FLAG("qkv_bias", attention_bias),
                                           {.name = "shared_expert_intermediate_size",
                                            .kind = SG_HF_INT,
                                            FIELD(ffn_shared_size),
                                            .low = 1,
                                            .write = type_write_shared_size},
                                           {0}};

static sg_status type_read_first_sparse(const sg_hf_reading *r, const sg_hf_key *key)
{
    type_placement p = {.every = 1};
    int64_t dense_size = 11008;
    SG_TRY(sg_hf_get_int(r, key->name, false, 0, &p.first));
    SG_TRY(sg_hf_get_int(r, "moe_layer_freq", false, 1, &p.every));
    SG_TRY(sg_hf_get_int(r, "intermediate_size", false, 1, &dense_size));
    return type_place(r, &p, dense_size);
}

static void type_write_first_sparse(sg_hf_writing *w, const sg_hf_key *key)
{
    int64_t first = 0;
    while (first < w->c->num_hidden_layers && !w->layers->sparse(w->c, first))
        first++;
    sg_hf_put(w, key->name, json_integer(first));
}

static const sg_hf_key deepseek_keys[] = {
    NEEDED("moe_intermediate_size", ffn_intermediate_size, 1),
    OWN("intermediate_size", NULL, type_write_dense_size),
    EXPERTS("n_routed_experts"),
    {.name = "n_shared_experts", .kind = SG_HF_INT, FIELD(ffn_shared_experts)},
    TOP_K,
    OWN("first_k_dense_replace", type_read_first_sparse, type_write_first_sparse),
    OWN("moe_layer_freq", NULL, type_write_one),
    RENORMALISED,
    {.name = "scoring_func", .kind = SG_HF_IS_TEXT, .text = "softmax"},
    BIASES,
    {.name = "routed_scaling_factor", .kind = SG_HF_IS_NUMBER, .number = 1, .unwritten = true},
    {0}};

// The class of the library scales positions (YaRN, factor 32) where nothing is said.
static sg_status type_read_scaled(const sg_hf_reading *r, const sg_hf_key *key)
{
    if (sg_hf_find(r, key->name) == NULL && sg_hf_find(r, "rope_parameters") == NULL)
        return sg_hf_refuse(r, key->name, "none", "how positions are scaled");
    return SG_OK;
}

static void type_write_unscaled(sg_hf_writing *w, const sg_hf_key *key)
{
    if (strcmp(w->c->rope_scaling, "none") != 0) return;
    sg_hf_put(w, key->name,
              json_pack("{s:s, s:f}", "rope_type", "default", "rope_theta", w->c->rope_theta));
}

// The class has a window in any case; layers that do not see it are listed.
static void type_write_any_window(sg_hf_writing *w, const sg_hf_key *key)
{
    sg_hf_put(w, key->name, json_integer(w->c->sliding_window > 0 ? w->c->sliding_window : 128));
}

// Whatever the file calls its activation.
static sg_status type_read_clamped(const sg_hf_reading *r, const sg_hf_key *key)
{
    (void)key;
    sg_hf_set_activation(r->c, "clamped_swiglu");
    return SG_OK;
}

static const sg_hf_key gpt_oss_keys[] = {
    OWN("rope_scaling", type_read_scaled, type_write_unscaled),
    EXPERTS("num_local_experts"),
    TOP_K,
    BIASES,
    {.name = "swiglu_limit", .kind = SG_HF_IS_NUMBER, .number = 7},
    {.name = "alpha", .kind = SG_HF_IS_NUMBER, .number = 1.702, .unwritten = true},
    {.name = "swiglu_alpha", .kind = SG_HF_IS_NUMBER, .number = 1.702, .unwritten = true},
    {.name = "hidden_act", .read = type_read_clamped, .unwritten = true},
    OWN("sliding_window", sg_hf_read_window, type_write_any_window),
    LAYER_TYPES,
    {0}};

// ---- types of other shapes ----------------------------------------------------------------------

#define MUST(key, value)                                                                           \
    {                                                                                              \
        .name = key, .kind = SG_HF_IS_FLAG, .low = (value), .unwritten = true                      \
    }

static sg_status type_read_inner(const sg_hf_reading *r, const sg_hf_key *key)
{
    r->c->ffn_intermediate_size = 4 * r->c->hidden_size;
    return sg_hf_get_int(r, key->name, false, 1, &r->c->ffn_intermediate_size);
}

static const sg_hf_key gpt2_keys[] = {
    NEEDED("vocab_size", vocab_size, 2),
    NEEDED("n_embd", hidden_size, 1),
    LAYERS("n_layer"),
    NEEDED("n_head", num_attention_heads, 1),
    SIZE("n_positions", max_position_embeddings),
    {.name = "n_inner", .kind = SG_HF_INT, FIELD(ffn_intermediate_size), .read = type_read_inner},
    NUMBER("layer_norm_epsilon", rms_norm_eps),
    TIED,
    ACTIVATION("activation_function"),
    TOKENS,
    MUST("scale_attn_weights", true),
    MUST("scale_attn_by_inverse_layer_idx", false),
    MUST("add_cross_attention", false),
    {0}};

static const sg_hf_key gpt_neox_keys[] = {
    NEEDED("vocab_size", vocab_size, 2),
    NEEDED("hidden_size", hidden_size, 1),
    LAYERS("num_hidden_layers"),
    NEEDED("num_attention_heads", num_attention_heads, 1),
    NEEDED("intermediate_size", ffn_intermediate_size, 1),
    SIZE("max_position_embeddings", max_position_embeddings),
    NUMBER("layer_norm_eps", rms_norm_eps),
    TIED,
    FLAG("use_parallel_residual", parallel_residual),
    BIASES,
    ACTIVATION("hidden_act"),
    TOKENS,
    {.name = "head_dim", .read = type_read_head_dim, .unwritten = true},
    OWN("rope_theta", sg_hf_read_part_rope, sg_hf_write_part_rope),
    {0}};

// The embedding has the width of the layers.
static sg_status type_read_embedding_width(const sg_hf_reading *r, const sg_hf_key *key)
{
    int64_t found = r->c->hidden_size;
    SG_TRY(sg_hf_get_int(r, key->name, false, 1, &found));
    return found == r->c->hidden_size ? SG_OK
                                      : sg_hf_refuse(r, key->name, "another number", "hidden_size");
}

static const sg_hf_key opt_keys[] = {
    NEEDED("vocab_size", vocab_size, 2),
    NEEDED("hidden_size", hidden_size, 1),
    {.name = "word_embed_proj_dim",
     .kind = SG_HF_INT,
     FIELD(hidden_size),
     .read = type_read_embedding_width},
    LAYERS("num_hidden_layers"),
    NEEDED("num_attention_heads", num_attention_heads, 1),
    NEEDED("ffn_dim", ffn_intermediate_size, 1),
    SIZE("max_position_embeddings", max_position_embeddings),
    TIED,
    {.name = "do_layer_norm_before", .kind = SG_HF_IS_FLAG, .low = true},
    {.name = "enable_bias", .kind = SG_HF_IS_FLAG, .low = true},
    {.name = "layer_norm_elementwise_affine", .kind = SG_HF_IS_FLAG, .low = true},
    ACTIVATION("activation_function"),
    TOKENS,
    MUST("_remove_final_layer_norm", false),
    {0}};

// ---- the table ----------------------------------------------------------------------------------

#define RMS(family, activation, norm_, eps, theta, positions)                                      \
    .ffn = (family), .ffn_activation = (activation), .qk_norm = (norm_), .untied_classifier = 1,   \
    .rms_norm_eps = (eps), .rope_theta = (theta), .max_position_embeddings = (positions)
#define LLAMA(family, norm_, eps, theta, positions)                                                \
    RMS(family, "swiglu", norm_, eps, theta, positions)
#define WITH_BIASES(activation, positions_)                                                        \
    .norm = "layernorm", .ffn = "mlp", .ffn_activation = (activation), .qk_norm = "none",          \
    .ffn_bias = 1, .rms_norm_eps = 1e-5, .max_position_embeddings = (positions_),                  \
    .attention_bias = 1, .attention_out_bias = 1

static const sg_hf_type hf_types[] = {
    {.name = "llama",
     .architecture = "LlamaForCausalLM",
     .start = {LLAMA("glu", "none", 1e-6, 10000, 2048)},
     .keys = {llama_shape, width, llama_keys},
     .map = &sg_map_llama,
     .divided = true},
    {.name = "mistral",
     .architecture = "MistralForCausalLM",
     .start = {LLAMA("glu", "none", 1e-6, 10000, 4096 * 32)},
     .keys = {llama_shape, width, mistral_keys},
     .map = &sg_map_llama,
     .window = {.size = 4096}},
    {.name = "qwen2",
     .architecture = "Qwen2ForCausalLM",
     .start = {LLAMA("glu", "none", 1e-6, 10000, 32768), .attention_bias = 1},
     .keys = {llama_shape, width, qwen_keys},
     .map = &sg_map_llama,
     .window = {.asked_for = true, .from_border = true}},
    {.name = "qwen3",
     .architecture = "Qwen3ForCausalLM",
     .start = {LLAMA("glu", "head", 1e-6, 10000, 32768)},
     .keys = {llama_shape, width, qwen_keys, bias_keys},
     .map = &sg_map_llama,
     .window = {.asked_for = true, .from_border = true}},
    {.name = "arcee",
     .architecture = "ArceeForCausalLM",
     .start = {RMS("mlp", "relu2", "none", 1e-5, 10000, 4096)},
     .keys = {llama_shape, width, llama_keys},
     .map = &sg_map_llama,
     .divided = true},
    {.name = "gpt2",
     .architecture = "GPT2LMHeadModel",
     .start = {WITH_BIASES("gelu", 1024), .positions = "learned"},
     .keys = {gpt2_keys},
     .map = &sg_map_gpt2,
     .divided = true},
    {.name = "gpt_neox",
     .architecture = "GPTNeoXForCausalLM",
     .start = {WITH_BIASES("gelu_erf", 2048), .rope_theta = 10000, .untied_classifier = 1,
               .parallel_residual = 1},
     .keys = {gpt_neox_keys},
     .map = &sg_map_gpt_neox,
     .rotary_share = 0.25,
     .divided = true},
    {.name = "opt",
     .architecture = "OPTForCausalLM",
     .start = {WITH_BIASES("relu", 2048), .positions = "learned", .position_offset = 2},
     .keys = {opt_keys},
     .map = &sg_map_opt,
     .divided = true},
    {.name = "mixtral",
     .architecture = "MixtralForCausalLM",
     .start = {LLAMA("moe", "none", 1e-5, 1e6, 4096 * 32), .ffn_experts = 8, .ffn_top_k = 2,
               .ffn_renormalise = 1},
     .keys = {llama_shape, width, mixtral_keys},
     .map = &sg_map_mixtral},
    {.name = "olmoe",
     .architecture = "OlmoeForCausalLM",
     .start = {LLAMA("moe", "full", 1e-5, 10000, 4096), .ffn_experts = 64, .ffn_top_k = 8},
     .keys = {llama_shape, width, olmoe_keys},
     .map = &sg_map_experts},
    {.name = "qwen2_moe",
     .architecture = "Qwen2MoeForCausalLM",
     .start = {LLAMA("moe", "none", 1e-6, 10000, 32768), .attention_bias = 1, .ffn_experts = 60,
               .ffn_top_k = 4, .ffn_shared_experts = 1, .ffn_shared_gate = 1,
               .ffn_shared_size = 5632},
     .keys = {llama_shape, qwen_moe_keys, qwen2_moe_keys},
     .map = &sg_map_one_shared,
     .window = {.asked_for = true, .to_border = true, .in_turns = true}},
    {.name = "qwen3_moe",
     .architecture = "Qwen3MoeForCausalLM",
     .start = {LLAMA("moe", "head", 1e-6, 10000, 32768), .ffn_experts = 128, .ffn_top_k = 8},
     .keys = {llama_shape, qwen_moe_keys, bias_keys},
     .map = &sg_map_experts,
     .window = {.asked_for = true}},
    {.name = "deepseek",
     .architecture = "DeepseekForCausalLM",
     .start = {LLAMA("moe", "none", 1e-6, 10000, 2048)},
     .keys = {llama_shape, deepseek_keys},
     .map = &sg_map_experts,
     .remote = true},
    {.name = "gpt_oss",
     .architecture = "GptOssForCausalLM",
     .start = {LLAMA("moe", "none", 1e-5, 150000, 131072), .attention_bias = 1,
               .attention_sinks = 1, .ffn_experts = 128, .ffn_top_k = 4, .ffn_renormalise = 1,
               .ffn_glu_interleaved = 1, .ffn_router_bias = 1},
     .keys = {llama_shape, width, gpt_oss_keys},
     .map = &sg_map_gpt_oss,
     .window = {.size = 128, .in_turns = true},
     .packed = "mxfp4"},
};
enum { hf_type_count = sizeof hf_types / sizeof *hf_types };

const sg_hf_type *sg_hf_type_at(size_t index)
{
    return index < hf_type_count ? &hf_types[index] : NULL;
}

const sg_hf_type *sg_hf_type_find(const char *name)
{
    for (size_t i = 0; i < hf_type_count; i++)
        if (strcmp(hf_types[i].name, name) == 0) return &hf_types[i];
    return NULL;
}
