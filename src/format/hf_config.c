// One row of a table a model type, which says by what defaults it differs from Llama; and readers
// of what several types have in common. Defaults are those of the configuration classes of
// transformers
// 4.57 and 5 (huggingface/transformers, configuration_*.py).
#include "format/hf_config.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "format/end_tokens.h"
#include "format/json.h"

typedef struct hf_type hf_type;

typedef struct hf_reading {
    const hf_type *type;
    const json_t *object;
    const char *name; // of the file
    sg_config *c;
    sg_asked *asked;
    sg_error *err;
} hf_reading;

struct hf_type {
    const char *model_type;
    double eps, theta;
    int64_t positions;
    bool tied;        // where the file does not say
    const char *bias; // key of the biases of q, k, v; "": always; NULL: never
    bool out_bias;    // the output projection goes by that key too
    const char *qk_norm;
    sg_status (*read)(const hf_reading *r); // what is its own
};

static const int64_t hf_most = (int64_t)1 << 40;

// ---- members ------------------------------------------------------------------------------------

static const json_t *hf_find(const hf_reading *r, const char *key)
{
    sg_asked_add(r->asked, key);
    const json_t *value = json_object_get(r->object, key);
    return json_is_null(value) ? NULL : value;
}

static sg_status hf_int(const hf_reading *r, const char *key, bool required, int64_t low,
                        int64_t *out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_int(r->object, r->name, key, required, low, hf_most, out, r->err);
}

// Layers are looked at one by one here, before anything has checked the configuration.
static sg_status hf_layers(const hf_reading *r, const char *key)
{
    enum { most = 1 << 12 };
    sg_asked_add(r->asked, key);
    return sg_json_get_int(r->object, r->name, key, true, 1, most, &r->c->num_hidden_layers,
                           r->err);
}

static sg_status hf_bool(const hf_reading *r, const char *key, bool *out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_bool(r->object, r->name, key, false, out, r->err);
}

// A 0 that is there is not one that is left out (sg_config).
static sg_status hf_number(const hf_reading *r, const char *key, double *out)
{
    const bool given = hf_find(r, key) != NULL;
    SG_TRY(sg_json_get_number(r->object, r->name, key, false, out, r->err));
    if (given && *out == 0) *out = -0.0;
    return SG_OK;
}

static sg_status hf_string(const hf_reading *r, const char *key, const char **out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_string(r->object, r->name, key, false, out, r->err);
}

static sg_status hf_array(const hf_reading *r, const char *key, json_t **out)
{
    sg_asked_add(r->asked, key);
    return sg_json_get_array(r->object, r->name, key, false, out, r->err);
}

static sg_status hf_refuse(const hf_reading *r, const char *key, const char *found,
                           const char *expected)
{
    return sg_fail(r->err, SG_ERR_UNSUPPORTED, "%s: \"%s\": found %.60s, expected %s for %s",
                   r->name, key, found, expected, r->type->model_type);
}

// A flag that must have one value.
static sg_status hf_must(const hf_reading *r, const char *key, bool expected)
{
    bool found = expected;
    SG_TRY(hf_bool(r, key, &found));
    return found == expected
               ? SG_OK
               : hf_refuse(r, key, found ? "true" : "false", expected ? "true" : "false");
}

static sg_status hf_must_be(const hf_reading *r, const char *key, const char *expected)
{
    const char *text = expected;
    char found[64];
    SG_TRY(hf_string(r, key, &text));
    snprintf(found, sizeof found, "\"%.60s\"", text);
    return strcmp(text, expected) == 0 ? SG_OK : hf_refuse(r, key, found, expected);
}

// An id, or the first of a list of them that the vocabulary has.
static sg_status hf_token(const hf_reading *r, const char *key, int64_t *id)
{
    sg_end_tokens ids = {0};
    sg_asked_add(r->asked, key);
    SG_TRY(sg_end_tokens_of_json(r->object, r->name, key, r->c->vocab_size, &ids, r->err));
    *id = ids.count > 0 ? ids.ids[0] : -1;
    return SG_OK;
}

// The activation of a dense layer, or of the gates of a gated one.
static sg_status hf_activation(const hf_reading *r, const char *key, const char *fallback,
                               bool gated)
{
    static const struct {
        const char *theirs, *plain, *gated;
    } names[] = {{"silu", "swish", "swiglu"},       {"swish", "swish", "swiglu"},
                 {"gelu", "gelu_erf", "geglu_erf"}, {"gelu_new", "gelu", "geglu"},
                 {"gelu_fast", "gelu", "geglu"},    {"gelu_pytorch_tanh", "gelu", "geglu"},
                 {"relu", "relu", "reglu"}};
    const char *text = fallback;
    SG_TRY(hf_string(r, key, &text));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(names[i].theirs, text) != 0) continue;
        snprintf(r->c->ffn_activation, sizeof r->c->ffn_activation, "%s",
                 gated ? names[i].gated : names[i].plain);
        return SG_OK;
    }
    char found[64];
    snprintf(found, sizeof found, "\"%.60s\"", text);
    return hf_refuse(r, key, found, "silu, gelu, gelu_new, gelu_pytorch_tanh or relu");
}

// ---- positions ----------------------------------------------------------------------------------

static bool hf_is(const hf_reading *r, const char *type)
{
    return strcmp(r->type->model_type, type) == 0;
}

static sg_status hf_rope_numbers(const hf_reading *rope)
{
    sg_config *c = rope->c;
    bool truncate = true;
    SG_TRY(hf_number(rope, "factor", &c->rope_factor));
    SG_TRY(hf_number(rope, "low_freq_factor", &c->rope_low_freq_factor));
    SG_TRY(hf_number(rope, "high_freq_factor", &c->rope_high_freq_factor));
    SG_TRY(hf_number(rope, "beta_fast", &c->rope_beta_fast));
    SG_TRY(hf_number(rope, "beta_slow", &c->rope_beta_slow));
    SG_TRY(hf_number(rope, "attention_factor", &c->rope_attention_factor));
    SG_TRY(hf_int(rope, "original_max_position_embeddings", false, 1, &c->rope_original_positions));
    SG_TRY(hf_bool(rope, "truncate", &truncate));
    c->rope_exact_borders = !truncate;
    if (hf_find(rope, "attention_factor") != NULL && !(c->rope_attention_factor > 0))
        return hf_refuse(rope, "attention_factor", "0 or less", "more than 0");
    for (int i = 0; i < 2; i++) {
        static const char *const keys[] = {"mscale", "mscale_all_dim"};
        double none = 0;
        SG_TRY(hf_number(rope, keys[i], &none));
        if (none != 0) return hf_refuse(rope, keys[i], "a number", "none");
    }
    return SG_OK;
}

// All that the object says is formula: nothing of it may be left unread.
static sg_status hf_rope_whole(const hf_reading *rope, const char *called)
{
    static const char *const numbers[] = {"factor",
                                          "low_freq_factor",
                                          "high_freq_factor",
                                          "beta_fast",
                                          "beta_slow",
                                          "attention_factor",
                                          "original_max_position_embeddings",
                                          "truncate"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)rope->object, key, value)
    {
        bool known = sg_asked_has(rope->asked, key) || strcmp(key, "finetuned") == 0;
        // Without a scaling they say nothing, except by how much.
        for (size_t i = 1; i < sizeof numbers / sizeof *numbers; i++)
            known = known || strcmp(key, numbers[i]) == 0;
        if (json_is_object(value))
            return sg_fail(rope->err, SG_ERR_UNSUPPORTED,
                           "%s: \"%s\": found \"%.60s\", numbers of one type of layers, expected "
                           "the same for all layers of a %s",
                           rope->name, called, key, rope->type->model_type);
        const bool one = json_is_number(value) && json_number_value(value) == 1;
        if (!known && strcmp(key, numbers[0]) == 0 && one) known = true;
        if (!known && !json_is_null(value))
            return sg_fail(rope->err, SG_ERR_UNSUPPORTED,
                           "%s: \"%s\": found \"%.60s\", expected no such member with this type of "
                           "scaling",
                           rope->name, called, key);
    }
    return SG_OK;
}

// Version 4 calls it "rope_scaling", version 5 "rope_parameters".
static sg_status hf_rope_find(const hf_reading *r, json_t **object, const char **called)
{
    static const char *const keys[] = {"rope_scaling", "rope_parameters"};
    json_t *found[2] = {0};
    for (int i = 0; i < 2; i++) {
        sg_asked_add(r->asked, keys[i]);
        SG_TRY(sg_json_get_object(r->object, r->name, keys[i], false, &found[i], r->err));
        if (json_object_size(found[i]) == 0) found[i] = NULL;
    }
    if (found[0] != NULL && found[1] != NULL && !json_equal(found[0], found[1]))
        return hf_refuse(r, keys[1], "other members than in \"rope_scaling\"", "one of the two");
    *object = found[0] != NULL ? found[0] : found[1];
    *called = keys[found[0] == NULL];
    return SG_OK;
}

static sg_status hf_rope_object(const hf_reading *r, json_t *object, const char *called,
                                double *fraction)
{
    sg_config *c = r->c;
    sg_asked asked = {0};
    const hf_reading rope = {r->type, object, r->name, c, &asked, r->err};
    const char *type = strcmp(called, "rope_scaling") == 0 ? NULL : "default";
    SG_TRY(hf_number(&rope, "rope_theta", &c->rope_theta));
    SG_TRY(hf_number(&rope, "partial_rotary_factor", fraction));
    SG_TRY(hf_string(&rope, "type", &type));
    SG_TRY(hf_string(&rope, "rope_type", &type));
    if (type == NULL)
        return hf_refuse(r, called, "no \"rope_type\"", "default, linear, llama3 or yarn");
    const bool known =
        strcmp(type, "linear") == 0 || strcmp(type, "llama3") == 0 || strcmp(type, "yarn") == 0;
    if (!known && strcmp(type, "default") != 0)
        return hf_refuse(&rope, "rope_type", type, "default, linear, llama3 or yarn");
    if (known) {
        snprintf(c->rope_scaling, sizeof c->rope_scaling, "%s", type);
        SG_TRY(hf_rope_numbers(&rope));
    }
    return hf_rope_whole(&rope, called);
}

static sg_status hf_rope(const hf_reading *r, double fraction)
{
    sg_config *c = r->c;
    json_t *object = NULL;
    const char *called;
    c->rope_theta = r->type->theta;
    SG_TRY(hf_number(r, "rope_theta", &c->rope_theta));
    SG_TRY(hf_number(r, "partial_rotary_factor", &fraction));
    SG_TRY(hf_rope_find(r, &object, &called));
    if (object != NULL) SG_TRY(hf_rope_object(r, object, called, &fraction));
    if (!hf_is(r, "gpt_neox") && fraction != 1)
        return hf_refuse(r, "partial_rotary_factor", "another number", "1 (the whole head turns)");
    if (!(fraction > 0 && fraction <= 1))
        return hf_refuse(r, "partial_rotary_factor", "another number", "more than 0, at most 1");
    c->rotary_dim = (int64_t)floor((double)c->head_dim * fraction);
    if (c->rotary_dim == 0 && c->head_dim > 0)
        return hf_refuse(r, "partial_rotary_factor", "less than one number of a head", "more");
    return SG_OK;
}

// A list of layers (from 1), runs as a range: "1,3" or "2-28".
static sg_status hf_put_layers(const hf_reading *r, const char *key,
                               bool (*has)(const void *, int64_t), const void *of, char *text,
                               size_t capacity)
{
    const int64_t layers = r->c->num_hidden_layers;
    size_t used = 0;
    text[0] = '\0';
    for (int64_t l = 0; l < layers; l++) {
        if (!has(of, l)) continue;
        int64_t last = l;
        while (last + 1 < layers && has(of, last + 1))
            last++;
        char item[48];
        int n = last > l ? snprintf(item, sizeof item, "%s%lld-%lld", used ? "," : "",
                                    (long long)l + 1, (long long)last + 1)
                         : snprintf(item, sizeof item, "%s%lld", used ? "," : "", (long long)l + 1);
        if (used + (size_t)n >= capacity)
            return hf_refuse(r, key, "too many runs of layers", "fewer");
        memcpy(text + used, item, (size_t)n + 1);
        used += (size_t)n;
        l = last;
    }
    return SG_OK;
}

static bool hf_is_sliding(const void *list, int64_t layer)
{
    const char *type = json_string_value(json_array_get(list, (size_t)layer));
    return type != NULL && strcmp(type, "sliding_attention") == 0;
}

// Layers that slide where the file does not list them.
typedef struct hf_slides {
    int64_t first, end;
    bool in_turns; // every other one, beginning with the first
} hf_slides;

static bool hf_is_slide(const void *of, int64_t layer)
{
    const hf_slides *s = of;
    return layer >= s->first && layer < s->end && (!s->in_turns || layer % 2 == 0);
}

// By the classes' defaults for "layer_types".
static sg_status hf_slides_of(const hf_reading *r, hf_slides *s)
{
    const char *type = r->type->model_type;
    const bool qwen2_moe = strcmp(type, "qwen2_moe") == 0;
    int64_t border = 28;
    *s = (hf_slides){.end = hf_most, .in_turns = qwen2_moe || strcmp(type, "gpt_oss") == 0};
    SG_TRY(hf_int(r, "max_window_layers", false, 0, &border));
    if (strcmp(type, "qwen2") == 0 || strcmp(type, "qwen3") == 0) s->first = border;
    if (qwen2_moe) s->end = border;
    return SG_OK;
}

// "layer_types" says which layers slide.
static sg_status hf_sliding(const hf_reading *r, int64_t window)
{
    sg_config *c = r->c;
    json_t *types = NULL;
    hf_slides slides;
    if (json_is_null(json_object_get(r->object, "sliding_window"))) window = 0; // null is none
    SG_TRY(hf_int(r, "sliding_window", false, 0, &window));
    const bool qwen = strncmp(r->type->model_type, "qwen", 4) == 0;
    bool used = window > 0;
    SG_TRY(hf_bool(r, "use_sliding_window", &used));
    if (qwen && hf_find(r, "use_sliding_window") == NULL) used = false;
    SG_TRY(hf_slides_of(r, &slides));
    sg_asked_add(r->asked, "layer_types");
    if (hf_find(r, "sliding_window") != NULL && window == 0 && (used || !qwen))
        return hf_refuse(r, "sliding_window", "0", "at least 1, or null");
    if (!used || window == 0) return SG_OK;
    SG_TRY(hf_array(r, "layer_types", &types));
    if (types != NULL && json_array_size(types) != (size_t)c->num_hidden_layers)
        return sg_fail(r->err, SG_ERR_FORMAT,
                       "%s: \"layer_types\": found %zu entries, expected one for each of the %lld "
                       "layers",
                       r->name, json_array_size(types), (long long)c->num_hidden_layers);
    for (size_t l = 0; types != NULL && l < json_array_size(types); l++) {
        const char *type = json_string_value(json_array_get(types, l));
        if (type == NULL ||
            (strcmp(type, "sliding_attention") != 0 && strcmp(type, "full_attention") != 0))
            return hf_refuse(r, "layer_types", type ? type : "no string",
                             "sliding_attention or full_attention");
    }
    if (types != NULL)
        SG_TRY(hf_put_layers(r, "layer_types", hf_is_sliding, types, c->sliding_layers,
                             sizeof c->sliding_layers));
    else
        SG_TRY(hf_put_layers(r, "max_window_layers", hf_is_slide, &slides, c->sliding_layers,
                             sizeof c->sliding_layers));
    c->sliding_window = c->sliding_layers[0] != '\0' ? window : 0;
    return SG_OK;
}

// ---- what the types of Llama's shape share ------------------------------------------------------

static sg_status hf_biases(const hf_reading *r)
{
    bool bias = r->type->bias != NULL;
    if (bias && r->type->bias[0] != '\0') {
        // Those whose class has biases unless the file says otherwise.
        bias = strcmp(r->type->model_type, "qwen2_moe") == 0 ||
               strcmp(r->type->model_type, "gpt_oss") == 0 ||
               strcmp(r->type->model_type, "gpt_neox") == 0;
        SG_TRY(hf_bool(r, r->type->bias, &bias));
    }
    r->c->attention_bias = bias;
    r->c->attention_out_bias = bias && r->type->out_bias;
    return SG_OK;
}

static sg_status hf_llama(const hf_reading *r)
{
    sg_config *c = r->c;
    bool tied = r->type->tied;
    c->max_position_embeddings = r->type->positions;
    SG_TRY(hf_int(r, "vocab_size", true, 2, &c->vocab_size));
    SG_TRY(hf_int(r, "hidden_size", true, 1, &c->hidden_size));
    SG_TRY(hf_layers(r, "num_hidden_layers"));
    SG_TRY(hf_int(r, "num_attention_heads", true, 1, &c->num_attention_heads));
    SG_TRY(hf_int(r, "num_key_value_heads", false, 1, &c->num_key_value_heads));
    SG_TRY(hf_int(r, "head_dim", false, 1, &c->head_dim));
    if (c->head_dim == 0) c->head_dim = c->hidden_size / c->num_attention_heads;
    SG_TRY(hf_int(r, "max_position_embeddings", false, 1, &c->max_position_embeddings));
    c->rms_norm_eps = r->type->eps;
    SG_TRY(hf_number(r, "rms_norm_eps", &c->rms_norm_eps));
    SG_TRY(hf_bool(r, "tie_word_embeddings", &tied));
    c->untied_classifier = !tied;
    SG_TRY(hf_token(r, "pad_token_id", &c->pad_token_id));
    SG_TRY(hf_token(r, "eos_token_id", &c->eos_token_id));
    SG_TRY(hf_token(r, "bos_token_id", &c->bos_token_id));
    snprintf(c->qk_norm, sizeof c->qk_norm, "%s", r->type->qk_norm);
    SG_TRY(hf_biases(r));
    return hf_rope(r, 1);
}

static void hf_family(const hf_reading *r, const char *family)
{
    snprintf(r->c->ffn, sizeof r->c->ffn, "%s", family);
}

static sg_status hf_read_llama(const hf_reading *r)
{
    bool bias = false;
    SG_TRY(hf_llama(r));
    hf_family(r, "glu");
    SG_TRY(hf_int(r, "intermediate_size", true, 1, &r->c->ffn_intermediate_size));
    SG_TRY(hf_bool(r, "mlp_bias", &bias));
    r->c->ffn_bias = bias;
    SG_TRY(hf_activation(r, "hidden_act", "silu", true));
    const bool llama = strcmp(r->type->model_type, "llama") == 0;
    return llama ? SG_OK : hf_sliding(r, strcmp(r->type->model_type, "mistral") == 0 ? 4096 : 0);
}

// ---- mixtures of experts ------------------------------------------------------------------------

// Which layers have experts.
typedef struct hf_placement {
    int64_t first, every; // (layer - offset) from `first` on, one of `every`
    bool counts_from_one;
    const json_t *dense; // layers that have none, or NULL
} hf_placement;

static bool hf_is_sparse(const void *of, int64_t layer)
{
    const hf_placement *p = of;
    for (size_t i = 0; i < json_array_size(p->dense); i++)
        if (json_integer_value(json_array_get(p->dense, i)) == layer) return false;
    return layer >= p->first && (layer + (p->counts_from_one ? 1 : 0)) % p->every == 0;
}

static sg_status hf_place(const hf_reading *r, const hf_placement *p, int64_t dense_size)
{
    sg_config *c = r->c;
    bool all = true;
    for (int64_t l = 0; l < c->num_hidden_layers && l < 1 << 10; l++)
        all = all && hf_is_sparse(p, l);
    if (all) return SG_OK;
    SG_TRY(hf_put_layers(r, "num_hidden_layers", hf_is_sparse, p, c->ffn_layers,
                         sizeof c->ffn_layers));
    if (c->ffn_layers[0] == '\0')
        return hf_refuse(r, "num_hidden_layers", "no layer with experts", "some");
    snprintf(c->ffn_dense, sizeof c->ffn_dense, "glu");
    c->ffn_dense_size = dense_size;
    return SG_OK;
}

// Experts of a width by one key; their number by any of three.
static sg_status hf_experts(const hf_reading *r, const char *width, int64_t experts, int64_t top_k)
{
    sg_config *c = r->c;
    SG_TRY(hf_llama(r));
    hf_family(r, "moe");
    c->ffn_experts = experts;
    c->ffn_top_k = top_k;
    SG_TRY(hf_int(r, width, true, 1, &c->ffn_intermediate_size));
    SG_TRY(hf_int(r, "num_experts", false, 1, &c->ffn_experts));
    SG_TRY(hf_int(r, "num_local_experts", false, 1, &c->ffn_experts));
    SG_TRY(hf_int(r, "n_routed_experts", false, 1, &c->ffn_experts));
    SG_TRY(hf_int(r, "num_experts_per_tok", false, 1, &c->ffn_top_k));
    return hf_activation(r, "hidden_act", "silu", true);
}

static sg_status hf_renormalise(const hf_reading *r, bool fallback)
{
    SG_TRY(hf_bool(r, "norm_topk_prob", &fallback));
    // One expert of a token: its share of itself is 1, which is no renormalisation of ours.
    r->c->ffn_renormalise = fallback;
    return SG_OK;
}

static sg_status hf_read_mixtral(const hf_reading *r)
{
    SG_TRY(hf_experts(r, "intermediate_size", 8, 2));
    r->c->ffn_renormalise = 1;
    return hf_sliding(r, 0);
}

static sg_status hf_read_olmoe(const hf_reading *r)
{
    SG_TRY(hf_experts(r, "intermediate_size", 64, 8));
    SG_TRY(hf_number(r, "clip_qkv", &r->c->clip_qkv));
    if (hf_find(r, "clip_qkv") != NULL && !(r->c->clip_qkv > 0))
        return hf_refuse(r, "clip_qkv", "0 or less", "more than 0, or null");
    return hf_renormalise(r, false);
}

static sg_status hf_read_qwen_moe(const hf_reading *r)
{
    const bool two = strcmp(r->type->model_type, "qwen2_moe") == 0;
    sg_config *c = r->c;
    hf_placement p = {.every = 1, .counts_from_one = true};
    json_t *dense = NULL;
    int64_t dense_size = 0;
    SG_TRY(hf_experts(r, "moe_intermediate_size", two ? 60 : 128, two ? 4 : 8));
    SG_TRY(hf_renormalise(r, false));
    SG_TRY(hf_int(r, "decoder_sparse_step", false, 1, &p.every));
    SG_TRY(hf_array(r, "mlp_only_layers", &dense));
    SG_TRY(hf_int(r, "intermediate_size", false, 1, &dense_size));
    if (json_array_size(dense) > (size_t)c->num_hidden_layers)
        return hf_refuse(r, "mlp_only_layers", "more layers than there are", "fewer");
    p.dense = dense;
    if (two) {
        c->ffn_shared_experts = 1;
        c->ffn_shared_gate = 1;
        c->ffn_shared_size = 5632;
        SG_TRY(hf_int(r, "shared_expert_intermediate_size", false, 1, &c->ffn_shared_size));
    }
    SG_TRY(hf_place(r, &p, dense_size));
    return hf_sliding(r, 0);
}

static sg_status hf_read_deepseek(const hf_reading *r)
{
    sg_config *c = r->c;
    hf_placement p = {.every = 1};
    int64_t dense_size = 11008;
    SG_TRY(hf_experts(r, "moe_intermediate_size", 0, 0));
    SG_TRY(hf_must_be(r, "scoring_func", "softmax"));
    SG_TRY(hf_renormalise(r, false));
    SG_TRY(hf_int(r, "first_k_dense_replace", false, 0, &p.first));
    SG_TRY(hf_int(r, "moe_layer_freq", false, 1, &p.every));
    SG_TRY(hf_int(r, "intermediate_size", false, 1, &dense_size));
    SG_TRY(hf_int(r, "n_shared_experts", false, 0, &c->ffn_shared_experts));
    double scale = 1;
    SG_TRY(hf_number(r, "routed_scaling_factor", &scale));
    if (scale != 1) return hf_refuse(r, "routed_scaling_factor", "another number", "1");
    return hf_place(r, &p, dense_size);
}

static sg_status hf_read_gpt_oss(const hf_reading *r)
{
    sg_config *c = r->c;
    double limit = 7, alpha = 1.702;
    SG_TRY(hf_experts(r, "intermediate_size", 128, 4));
    SG_TRY(hf_number(r, "swiglu_limit", &limit));
    SG_TRY(hf_number(r, "alpha", &alpha));
    SG_TRY(hf_number(r, "swiglu_alpha", &alpha));
    if (limit != 7) return hf_refuse(r, "swiglu_limit", "another number", "7");
    if (alpha != 1.702) return hf_refuse(r, "alpha", "another number", "1.702");
    // The class of the library scales positions (YaRN, factor 32) where nothing is said.
    if (hf_find(r, "rope_scaling") == NULL && hf_find(r, "rope_parameters") == NULL)
        return hf_refuse(r, "rope_scaling", "none", "how positions are scaled");
    snprintf(c->ffn_activation, sizeof c->ffn_activation, "clamped_swiglu");
    c->ffn_glu_interleaved = c->ffn_router_bias = c->ffn_renormalise = c->attention_sinks = 1;
    return hf_sliding(r, 128);
}

// ---- types of other shapes ----------------------------------------------------------------------

static void hf_old_style(const hf_reading *r)
{
    snprintf(r->c->norm, sizeof r->c->norm, "layernorm");
    hf_family(r, "mlp");
    r->c->ffn_bias = 1;
}

static sg_status hf_read_gpt_neox(const hf_reading *r)
{
    sg_config *c = r->c;
    double fraction = 0.25;
    bool parallel = true;
    SG_TRY(hf_llama(r));
    hf_old_style(r);
    SG_TRY(hf_number(r, "layer_norm_eps", &c->rms_norm_eps));
    SG_TRY(hf_number(r, "rotary_emb_base", &c->rope_theta));
    SG_TRY(hf_number(r, "rotary_pct", &fraction));
    // The reader of version 5 names has set what they say; these are older.
    const double theta = c->rope_theta;
    SG_TRY(hf_rope(r, fraction));
    if (hf_find(r, "rotary_emb_base") != NULL && hf_find(r, "rope_parameters") == NULL)
        c->rope_theta = theta;
    SG_TRY(hf_bool(r, "use_parallel_residual", &parallel));
    c->parallel_residual = parallel;
    SG_TRY(hf_int(r, "intermediate_size", true, 1, &c->ffn_intermediate_size));
    return hf_activation(r, "hidden_act", "gelu", false);
}

static void hf_learned(const hf_reading *r)
{
    sg_config *c = r->c;
    snprintf(c->positions, sizeof c->positions, "learned");
    snprintf(c->qk_norm, sizeof c->qk_norm, "none");
    c->attention_bias = c->attention_out_bias = 1;
    hf_old_style(r);
}

static sg_status hf_read_gpt2(const hf_reading *r)
{
    sg_config *c = r->c;
    bool tied = true;
    c->max_position_embeddings = r->type->positions;
    SG_TRY(hf_int(r, "vocab_size", true, 2, &c->vocab_size));
    SG_TRY(hf_int(r, "n_embd", true, 1, &c->hidden_size));
    SG_TRY(hf_layers(r, "n_layer"));
    SG_TRY(hf_int(r, "n_head", true, 1, &c->num_attention_heads));
    SG_TRY(hf_int(r, "n_positions", false, 1, &c->max_position_embeddings));
    c->ffn_intermediate_size = 4 * c->hidden_size;
    SG_TRY(hf_int(r, "n_inner", false, 1, &c->ffn_intermediate_size));
    c->rms_norm_eps = r->type->eps;
    SG_TRY(hf_number(r, "layer_norm_epsilon", &c->rms_norm_eps));
    SG_TRY(hf_bool(r, "tie_word_embeddings", &tied));
    c->untied_classifier = !tied;
    SG_TRY(hf_must(r, "scale_attn_weights", true));
    SG_TRY(hf_must(r, "scale_attn_by_inverse_layer_idx", false));
    SG_TRY(hf_must(r, "add_cross_attention", false));
    SG_TRY(hf_token(r, "eos_token_id", &c->eos_token_id));
    SG_TRY(hf_token(r, "bos_token_id", &c->bos_token_id));
    SG_TRY(hf_token(r, "pad_token_id", &c->pad_token_id));
    hf_learned(r);
    return hf_activation(r, "activation_function", "gelu_new", false);
}

static sg_status hf_read_opt(const hf_reading *r)
{
    sg_config *c = r->c;
    int64_t width;
    SG_TRY(hf_llama(r));
    hf_learned(r);
    c->rope_theta = 0;
    c->position_offset = 2;
    SG_TRY(hf_must(r, "do_layer_norm_before", true));
    SG_TRY(hf_must(r, "_remove_final_layer_norm", false));
    SG_TRY(hf_must(r, "layer_norm_elementwise_affine", true));
    SG_TRY(hf_must(r, "enable_bias", true));
    width = c->hidden_size;
    SG_TRY(hf_int(r, "word_embed_proj_dim", false, 1, &width));
    if (width != c->hidden_size)
        return hf_refuse(r, "word_embed_proj_dim", "another number", "hidden_size");
    SG_TRY(hf_int(r, "ffn_dim", true, 1, &c->ffn_intermediate_size));
    return hf_activation(r, "activation_function", "relu", false);
}

// ---- the table ----------------------------------------------------------------------------------

static const hf_type hf_types[] = {
    {"llama", 1e-6, 10000, 2048, false, "attention_bias", true, "none", hf_read_llama},
    {"mistral", 1e-6, 10000, 4096 * 32, false, NULL, false, "none", hf_read_llama},
    {"qwen2", 1e-6, 10000, 32768, false, "", false, "none", hf_read_llama},
    {"qwen3", 1e-6, 10000, 32768, false, "attention_bias", true, "head", hf_read_llama},
    {"gpt2", 1e-5, 0, 1024, true, NULL, false, "none", hf_read_gpt2},
    {"gpt_neox", 1e-5, 10000, 2048, false, "attention_bias", true, "none", hf_read_gpt_neox},
    {"opt", 1e-5, 10000, 2048, true, NULL, false, "none", hf_read_opt},
    {"mixtral", 1e-5, 1e6, 4096 * 32, false, NULL, false, "none", hf_read_mixtral},
    {"olmoe", 1e-5, 10000, 4096, false, "attention_bias", true, "full", hf_read_olmoe},
    {"qwen2_moe", 1e-6, 10000, 32768, false, "qkv_bias", false, "none", hf_read_qwen_moe},
    {"qwen3_moe", 1e-6, 10000, 32768, false, "attention_bias", true, "head", hf_read_qwen_moe},
    {"deepseek", 1e-6, 10000, 2048, false, "attention_bias", true, "none", hf_read_deepseek},
    {"gpt_oss", 1e-5, 150000, 131072, false, "attention_bias", true, "none", hf_read_gpt_oss},
};

const char *sg_hf_config_types(void)
{
    return "llama, mistral, qwen2, qwen3, gpt2, gpt_neox, opt, mixtral, olmoe, qwen2_moe, "
           "qwen3_moe, deepseek, gpt_oss";
}

sg_status sg_hf_config_read(const json_t *object, const char *name, sg_config *config,
                            sg_unread *unread, sg_error *err)
{
    const char *type = NULL;
    SG_TRY(sg_json_get_string(object, name, "model_type", true, &type, err));
    for (size_t i = 0; i < sizeof hf_types / sizeof *hf_types; i++) {
        if (strcmp(hf_types[i].model_type, type) != 0) continue;
        sg_asked asked = {0};
        const hf_reading r = {&hf_types[i], object, name, config, &asked, err};
        SG_TRY(sg_hf_keys_packed(object, name, hf_is(&r, "gpt_oss") ? "mxfp4" : NULL, err));
        SG_TRY(hf_types[i].read(&r));
        return sg_hf_keys_rest(object, name, config, &asked, unread, err);
    }
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: \"model_type\": found \"%.60s\", expected sgatlin or one of %s", name, type,
                   sg_hf_config_types());
}
