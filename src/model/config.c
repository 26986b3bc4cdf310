// The rules of a configuration that need more than one field, config.json, and the parameters that
// follow from it. The fields themselves are stated in config_fields.c.
#include "model/config.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "ffn/ffn.h"
#include "ffn/trimmed.h"
#include "format/json.h"
#include "format/json_fields.h"
#include "model/projections.h"

// ---- rules ------------------------------------------------------------------------------------

// Fills in one field and checks it against its row.
#define CONFIG_FIELD(member)                                                                       \
    sg_config_check_field(c, sg_config_field(offsetof(sg_config, member)), err)

// Heads and their width, each from the other where one is missing. Both given, they need not
// multiply to the width of the model.
static sg_status config_heads(sg_config *c, sg_error *err)
{
    int64_t d = c->hidden_size, *heads = &c->num_attention_heads, *width = &c->head_dim;
    if (*width == 0 && *heads == 0) *width = 64;
    bool from_heads = *width == 0;
    int64_t given = from_heads ? *heads : *width;
    if ((*width == 0 || *heads == 0) && given > 0) {
        if (d % given != 0)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "%s: not given, and hidden_size %lld is no multiple of %s %lld",
                           from_heads ? "head_dim" : "num_attention_heads", (long long)d,
                           from_heads ? "num_attention_heads" : "head_dim", (long long)given);
        *(from_heads ? width : heads) = d / given;
    }
    SG_TRY(CONFIG_FIELD(num_attention_heads));
    SG_TRY(CONFIG_FIELD(head_dim));
    if (*width % 2 != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "head_dim: found %lld, expected an even number",
                       (long long)*width);
    return SG_OK;
}

// The table of angles is made when a model is opened: a few bytes of config.json must not ask for
// more memory than the largest published models (128 k positions of 128) do many times over.
static sg_status config_positions(const sg_config *c, sg_error *err)
{
    const int64_t most = (int64_t)1 << 27;
    if (c->max_position_embeddings * c->head_dim <= most) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "max_position_embeddings: found %lld, expected at most %lld for heads of %lld",
                   (long long)c->max_position_embeddings, (long long)(most / c->head_dim),
                   (long long)c->head_dim);
}

static sg_status config_llama3(sg_config *c, sg_error *err)
{
    SG_TRY(CONFIG_FIELD(rope_low_freq_factor));
    SG_TRY(CONFIG_FIELD(rope_high_freq_factor));
    if (c->rope_high_freq_factor > c->rope_low_freq_factor) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "rope_high_freq_factor: found %s, expected more than rope_low_freq_factor %s",
                   SG_NUMBER(c->rope_high_freq_factor), SG_NUMBER(c->rope_low_freq_factor));
}

static sg_status config_yarn(sg_config *c, sg_error *err)
{
    SG_TRY(CONFIG_FIELD(rope_beta_fast));
    SG_TRY(CONFIG_FIELD(rope_beta_slow));
    if (c->rope_attention_factor != 0) SG_TRY(CONFIG_FIELD(rope_attention_factor));
    return CONFIG_FIELD(rope_exact_borders);
}

static sg_status config_scaling(sg_config *c, sg_error *err)
{
    SG_TRY(CONFIG_FIELD(rope_scaling));
    const bool llama3 = strcmp(c->rope_scaling, "llama3") == 0;
    const bool yarn = strcmp(c->rope_scaling, "yarn") == 0;
    if (strcmp(c->rope_scaling, "none") == 0) c->rope_factor = 0;
    if (!llama3) c->rope_low_freq_factor = c->rope_high_freq_factor = 0;
    if (!yarn) {
        c->rope_beta_fast = c->rope_beta_slow = c->rope_attention_factor = 0;
        c->rope_exact_borders = 0;
    }
    if (!llama3 && !yarn) c->rope_original_positions = 0;
    if (strcmp(c->rope_scaling, "none") == 0) return SG_OK;
    SG_TRY(CONFIG_FIELD(rope_factor));
    if (llama3) SG_TRY(config_llama3(c, err));
    if (yarn) SG_TRY(config_yarn(c, err));
    if (!llama3 && !yarn) return SG_OK;
    if (c->rope_original_positions == 0) c->rope_original_positions = c->max_position_embeddings;
    return CONFIG_FIELD(rope_original_positions);
}

static sg_status config_rotary(sg_config *c, sg_error *err)
{
    if (strcmp(c->positions, "learned") == 0) {
        memset(c->rope_scaling, 0, sizeof c->rope_scaling);
        c->rotary_dim = c->rope_interleaved = 0;
        SG_TRY(CONFIG_FIELD(position_offset));
        return config_scaling(c, err);
    }
    c->position_offset = 0;
    if (c->rotary_dim < 0 || c->rotary_dim > c->head_dim)
        return sg_fail(err, SG_ERR_ARGUMENT, "rotary_dim: found %lld, expected 0 to %lld",
                       (long long)c->rotary_dim, (long long)c->head_dim);
    if (c->rotary_dim == c->head_dim) c->rotary_dim = 0;
    SG_TRY(CONFIG_FIELD(rope_interleaved));
    if (c->rotary_dim % 2 != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "rotary_dim: found %lld, expected an even number",
                       (long long)c->rotary_dim);
    return config_scaling(c, err);
}

static sg_status config_attention(sg_config *c, sg_error *err)
{
    int64_t *groups = &c->num_key_value_heads;
    if (*groups == c->num_attention_heads) *groups = 0; // equal models have equal configurations
    if (*groups > 0 && c->num_attention_heads % *groups != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "num_key_value_heads: found %lld, expected a divisor of the %lld heads",
                       (long long)*groups, (long long)c->num_attention_heads);
    if (c->sliding_window == 0) {
        memset(c->sliding_layers, 0, sizeof c->sliding_layers);
        return SG_OK;
    }
    SG_TRY(CONFIG_FIELD(sliding_layers));
    return sg_layers_check(c->sliding_layers, "sliding_layers", c->num_hidden_layers, err);
}

static sg_status config_ids(const sg_config *c, sg_error *err)
{
    const int64_t ids[] = {c->pad_token_id, c->eos_token_id, c->bos_token_id};
    static const char *const names[] = {"pad_token_id", "eos_token_id", "bos_token_id"};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i] >= c->vocab_size)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected -1 to %lld", names[i],
                           (long long)ids[i], (long long)c->vocab_size - 1);
    return SG_OK;
}

static sg_status config_trimmed(const sg_config *c, sg_error *err)
{
    SG_TRY(sg_trimmed_check(c, err));
    if (!sg_trimmed_any(c) || !sg_projections_any(c)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "trim_attention, …: found thresholds of inputs, expected none beside "
                   "attention_mlp_q, _k, _v or _o");
}

sg_status sg_config_complete(sg_config *c, sg_error *err)
{
    SG_TRY(sg_config_check_fields(c, err));
    SG_TRY(config_ids(c, err));
    SG_TRY(config_heads(c, err));
    SG_TRY(config_positions(c, err));
    SG_TRY(config_attention(c, err));
    SG_TRY(config_rotary(c, err));
    SG_TRY(sg_projections_complete(c, err));
    SG_TRY(CONFIG_FIELD(trim_scaled));
    SG_TRY(sg_ffn_complete(c, err));
    return config_trimmed(c, err);
}

bool sg_config_norm_shifts(const sg_config *c)
{
    return strcmp(c->norm, "layernorm") == 0;
}

int64_t sg_config_kv_heads(const sg_config *c)
{
    return c->num_key_value_heads ? c->num_key_value_heads : c->num_attention_heads;
}

int64_t sg_config_rotary_dim(const sg_config *c)
{
    return c->rotary_dim ? c->rotary_dim : c->head_dim;
}

bool sg_config_is_rotary(const sg_config *c)
{
    return strcmp(c->positions, "rotary") == 0;
}

sg_rope_options sg_config_rope(const sg_config *c)
{
    const sg_field *scaling = sg_config_field(offsetof(sg_config, rope_scaling));
    sg_rope_options o = {.dim = sg_config_rotary_dim(c),
                         .theta = c->rope_theta,
                         .factor = c->rope_factor,
                         .low_freq_factor = c->rope_low_freq_factor,
                         .high_freq_factor = c->rope_high_freq_factor,
                         .beta_fast = c->rope_beta_fast,
                         .beta_slow = c->rope_beta_slow,
                         .attention_factor = c->rope_attention_factor,
                         .original_positions = c->rope_original_positions,
                         .truncate = c->rope_exact_borders == 0,
                         .interleaved = c->rope_interleaved != 0};
    if (c->rope_scaling[0] != '\0')
        o.kind = (sg_rope_scaling)sg_field_choice_of(scaling, c->rope_scaling);
    return o;
}

// ---- config.json ------------------------------------------------------------------------------

static sg_status config_read(const json_t *object, const char *name, sg_config *c, sg_error *err)
{
    const char *text = NULL;
    bool tied;
    SG_TRY(sg_json_get_string(object, name, "model_type", true, &text, err));
    if (strcmp(text, "sgatlin") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"model_type\": found \"%.60s\", expected \"sgatlin\"", name, text);
    char where[SG_PATH_MAX];
    const sg_field *field;
    snprintf(where, sizeof where, "%s: ", name);
    for (size_t i = 0; (field = sg_config_field_at(i)) != NULL; i++) {
        const json_t *there = json_object_get(object, field->name);
        if (!(field->flags & (SG_FIELD_FILLED | SG_FIELD_RULED))) sg_field_fill(field, c);
        SG_TRY(sg_json_to_field(object, name, field, false, -1, SG_CONFIG_MOST, c, err));
        if (there != NULL && !json_is_null(there)) SG_TRY(sg_config_said(field, c, where, err));
    }
    tied = !c->untied_classifier;
    SG_TRY(sg_json_get_bool(object, name, "tie_word_embeddings", false, &tied, err));
    c->untied_classifier = !tied;
    return SG_OK;
}

void sg_config_unread(const json_t *object, sg_unread *unread)
{
    const char *key;
    json_t *value;
    const sg_field *field;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        bool read = strcmp(key, "tie_word_embeddings") == 0 || sg_hf_key_is_idle(key);
        for (size_t i = 0; !read && (field = sg_config_field_at(i)) != NULL; i++)
            read = strcmp(key, field->name) == 0;
        if (!read) sg_unread_add(unread, key);
    }
}

sg_status sg_config_parse(const char *text, size_t bytes, const char *name, sg_config *config,
                          sg_error *err)
{
    json_t *object;
    *config = (sg_config){0};
    SG_TRY(sg_json_parse(text, bytes, name, &object, err));
    sg_status status = config_read(object, name, config, err);
    json_decref(object);
    if (status != SG_OK) return status;
    status = sg_config_complete(config, err);
    // Here the value comes from a file: say so, and that the file is what is wrong.
    return status == SG_OK ? SG_OK : sg_fail_context(err, SG_ERR_FORMAT, "%s", name);
}

json_t *sg_config_json(const sg_config *config)
{
    sg_json_setup();
    json_t *object = json_pack("{s:s, s:[s], s:b, s:s}", "model_type", "sgatlin", "architectures",
                               "SgatlinForCausalLM", "tie_word_embeddings",
                               config->untied_classifier == 0, "dtype", "float32");
    int failed = object == NULL;
    const sg_field *field;
    for (size_t i = 0; (field = sg_config_field_at(i)) != NULL && !failed; i++) {
        // 0 and "" are what a model has not; an id is 0 like any other, and -1 where there is none.
        const bool id = strstr(field->name, "_token_id") != NULL;
        if (!id && sg_field_is_empty(field, config)) continue;
        const bool none = id && *(const int64_t *)sg_field_of(field, config) < 0;
        failed = json_object_set_new(object, field->name,
                                     none ? json_null() : sg_json_from_field(field, config));
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

// ---- parameters -------------------------------------------------------------------------------

static void config_norm_params(const sg_config *c, const char *prefix, const char *name,
                               sg_param_list *list)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    sg_param_add(list, prefix, full, 1, &c->hidden_size, SG_INIT_ONE, 0);
    if (!sg_config_norm_shifts(c)) return;
    snprintf(full, sizeof full, "%s.bias", name);
    sg_param_add(list, prefix, full, 1, &c->hidden_size, SG_INIT_ZERO, 0);
}

static void config_layer_params(const sg_config *c, int64_t layer, const char *prefix,
                                sg_param_list *list)
{
    const int64_t hd = c->head_dim, w = c->num_attention_heads * hd;
    const int64_t kv = sg_config_kv_heads(c) * hd;
    config_norm_params(c, prefix, "input_layernorm", list);
    for (int i = 0; i < SG_PROJECTIONS; i++)
        sg_projection_params(c, layer, (sg_projection)i, prefix, list);
    const bool full = strcmp(c->qk_norm, "full") == 0;
    if (strcmp(c->qk_norm, "none") != 0) {
        sg_param_add(list, prefix, "self_attn.q_norm.weight", 1, full ? &w : &hd, SG_INIT_ONE, 0);
        sg_param_add(list, prefix, "self_attn.k_norm.weight", 1, full ? &kv : &hd, SG_INIT_ONE, 0);
    }
    sg_trimmed_params(c, SG_TRIMMED_ATTENTION, prefix, list);
    sg_trimmed_params(c, SG_TRIMMED_ATTENTION_OUT, prefix, list);
    if (c->attention_sinks)
        sg_param_add(list, prefix, "self_attn.sinks", 1, &c->num_attention_heads, SG_INIT_ZERO, 0);
    config_norm_params(c, prefix, "post_attention_layernorm", list);
    sg_ffn_params(c, layer, prefix, list);
    sg_trimmed_params(c, SG_TRIMMED_FFN, prefix, list);
    sg_trimmed_params(c, SG_TRIMMED_FFN_DOWN, prefix, list);
}

sg_status sg_config_params(const sg_config *c, sg_param_list *list, sg_error *err)
{
    const int64_t table[] = {c->vocab_size, c->hidden_size};
    const double variance = 1.0 / (double)c->hidden_size;
    *list = (sg_param_list){0};
    sg_param_add(list, "", "model.embed_tokens.weight", 2, table, SG_INIT_NORMAL, variance);
    if (!sg_config_is_rotary(c))
        sg_param_add(list, "", "model.embed_positions.weight", 2,
                     (int64_t[]){c->position_offset + c->max_position_embeddings, c->hidden_size},
                     SG_INIT_NORMAL, variance);
    for (int64_t l = 0; l < c->num_hidden_layers && list->status == SG_OK; l++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)l);
        config_layer_params(c, l, prefix, list);
    }
    config_norm_params(c, "", "model.norm", list);
    if (c->untied_classifier)
        sg_param_add(list, "", "lm_head.weight", 2, table, SG_INIT_TRUNCATED, variance);
    sg_status status = list->status;
    if (status == SG_OK) return SG_OK;
    sg_param_list_free(list);
    return status == SG_ERR_MEMORY
               ? sg_fail(err, status, "out of memory for the list of parameters")
               : sg_fail(err, status, "the configuration has more than 2^48 parameters");
}
