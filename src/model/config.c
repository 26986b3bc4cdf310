// The configuration of a model: one table of fields serves config.json, command-line options and
// defaults, so that a field is stated once.
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "ffn/ffn.h"
#include "format/json.h"

typedef struct config_slot {
    sg_config_field field;
    size_t offset, bytes;
    bool filled; // 0 or "" is left out, and filled in: where it is said it is another thing
} config_slot;

#define CONFIG_ENTRY(kind, name, help, filled)                                                     \
    {                                                                                              \
        {#name, kind, help}, offsetof(sg_config, name), sizeof((sg_config){0}.name), filled        \
    }
#define CONFIG_SLOT(kind, name, help) CONFIG_ENTRY(kind, name, help, false)
#define CONFIG_FILL(kind, name, help) CONFIG_ENTRY(kind, name, help, true)

static const config_slot slots[] = {
    CONFIG_SLOT(SG_FIELD_INT, vocab_size, "tokens in the vocabulary"),
    CONFIG_SLOT(SG_FIELD_INT, hidden_size, "model width d"),
    CONFIG_SLOT(SG_FIELD_INT, num_hidden_layers, "layers"),
    CONFIG_FILL(SG_FIELD_INT, num_attention_heads, "attention heads"),
    CONFIG_FILL(SG_FIELD_INT, head_dim, "width of a head"),
    CONFIG_SLOT(SG_FIELD_INT, max_position_embeddings, "longest sequence"),
    CONFIG_FILL(SG_FIELD_NUMBER, rms_norm_eps, "epsilon of the norms"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_theta, "base of the rotary positions"),
    CONFIG_SLOT(SG_FIELD_INT, pad_token_id, "id of padding, -1: none"),
    CONFIG_SLOT(SG_FIELD_INT, eos_token_id, "id that ends a document, -1: none"),
    CONFIG_SLOT(SG_FIELD_INT, bos_token_id, "id put before a sequence, -1: none"),
    CONFIG_SLOT(SG_FIELD_INT, untied_classifier, "1: the classifier is not the embedding"),
    CONFIG_FILL(SG_FIELD_STRING, norm, "norms: rmsnorm, layernorm"),
    CONFIG_SLOT(SG_FIELD_INT, parallel_residual, "1: attention and FFN read the same"),
    CONFIG_SLOT(SG_FIELD_INT, num_key_value_heads, "heads of keys and values; 0: all"),
    CONFIG_FILL(SG_FIELD_STRING, qk_norm, "norm of queries and keys: head, full, none"),
    CONFIG_SLOT(SG_FIELD_NUMBER, clip_qkv, "limit of queries, keys and values; 0: none"),
    CONFIG_SLOT(SG_FIELD_INT, attention_bias, "1: queries, keys and values have biases"),
    CONFIG_SLOT(SG_FIELD_INT, attention_out_bias, "1: the projection behind attention has one"),
    CONFIG_SLOT(SG_FIELD_INT, attention_sinks, "1: each head has a sink"),
    CONFIG_SLOT(SG_FIELD_INT, sliding_window, "tokens that a token sees; 0: all"),
    CONFIG_SLOT(SG_FIELD_STRING, sliding_layers, "layers with that window, as --ffn-layers"),
    CONFIG_FILL(SG_FIELD_STRING, positions, "positions: rotary, learned"),
    CONFIG_SLOT(SG_FIELD_INT, position_offset, "row of the first learned position"),
    CONFIG_SLOT(SG_FIELD_INT, rotary_dim, "numbers of a head that turn; 0: all"),
    CONFIG_SLOT(SG_FIELD_INT, rope_interleaved, "1: neighbours turn together, not halves"),
    CONFIG_FILL(SG_FIELD_STRING, rope_scaling, "none, linear, llama3, yarn"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_factor, "factor of that scaling"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_low_freq_factor, "of llama3"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_high_freq_factor, "of llama3"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_beta_fast, "of yarn"),
    CONFIG_FILL(SG_FIELD_NUMBER, rope_beta_slow, "of yarn"),
    CONFIG_SLOT(SG_FIELD_NUMBER, rope_attention_factor, "of yarn; 0: by the factor"),
    CONFIG_FILL(SG_FIELD_INT, rope_original_positions, "of llama3 and yarn"),
    CONFIG_SLOT(SG_FIELD_INT, rope_exact_borders, "of yarn: 1: borders are not rounded"),
    CONFIG_FILL(SG_FIELD_STRING, ffn, "feed-forward family"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_router,
                "router: product_dense, product_key_value, dense, key_value"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_activation, "activation: identity, gelu, relu, swish"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_intermediate_size, "width F of mlp, glu or one expert"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_experts, "experts E of moe"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_channels, "channels C of peer and sgatlin"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_neurons, "neurons N of a pool"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_key_size, "router bottleneck K"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_top_k, "neurons k selected a channel, or experts a token"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_block_size, "cells g of a block of switch, randhash, avgk; 0: F"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_memory_factor, "cells of the memory, in multiples E of F"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_active_neurons, "cells k that a token reads; 0: F"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_gate, "what the score does in avgk: none, after"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_hash_seed, "seed of the blocks of a token in randhash"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_normaliser,
                "gates from selected scores: softmax, sigmoid, relu, gelu"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_query_norm, "norm of queries: none, layernorm, batchnorm"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_query_bias, "whether queries have a bias: 0, 1"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_layers, "sparse layers: all, every:N, or a list: 1,3"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_dense, "family of the other layers: mlp, glu"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_dense_size, "their width; 0: F, or four times the model's"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_share_pool, "1: one memory for all sparse layers"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_score, "scores of the router of moe: softmax, sigmoid"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_renormalise, "1: divide the selected scores by their sum"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_shared_experts, "experts of moe that every token takes"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_capacity_factor, "limit of rows a block takes in training"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_balance_loss, "weight of the balance loss"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_z_loss, "weight of the z loss"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_bias_rate, "step of the bias that balances moe"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_bias, "1: mlp, glu or experts have biases"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_glu_interleaved, "1: gates and values lie in turns"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_router_bias, "1: the router of moe has a bias"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_shared_size, "width of shared experts; 0: that of as many"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_shared_gate, "1: shared experts have a gate"),
};

enum { slot_count = sizeof slots / sizeof *slots };

// No size is larger; what is sensible for each field is for sg_config_complete to say.
static const int64_t config_most = (int64_t)1 << 40;

size_t sg_config_field_count(void)
{
    return slot_count;
}

const sg_config_field *sg_config_field_at(size_t index)
{
    return index < slot_count ? &slots[index].field : NULL;
}

const char *sg_config_family(size_t index)
{
    return sg_family_name(index);
}

bool sg_config_takes(const char *family, const char *field, char *text, size_t capacity)
{
    const sg_family *found = sg_family_find(family);
    text[0] = '\0';
    return found != NULL && sg_family_takes(found, field, text, capacity);
}

sg_config_value sg_config_get(const sg_config *config, size_t index)
{
    sg_config_value value = {.text = ""};
    if (index >= slot_count) return value;
    const void *at = (const char *)config + slots[index].offset;
    if (slots[index].field.kind == SG_FIELD_INT) value.integer = *(const int64_t *)at;
    if (slots[index].field.kind == SG_FIELD_NUMBER) value.number = *(const double *)at;
    if (slots[index].field.kind == SG_FIELD_STRING) value.text = at;
    return value;
}

static void *slot_at(sg_config *config, const config_slot *slot)
{
    return (char *)config + slot->offset;
}

// Of a field that is said to be nothing, which would be taken for left out.
static sg_status slot_said(const config_slot *slot, bool nothing, const char *where, sg_error *err)
{
    if (!nothing || !slot->filled) return SG_OK;
    const bool text = slot->field.kind == SG_FIELD_STRING;
    return sg_fail(err, where[0] == '\0' ? SG_ERR_ARGUMENT : SG_ERR_FORMAT,
                   "%s%s: found %s, expected %s, or that it is left out", where, slot->field.name,
                   text ? "\"\"" : "0", text ? "a name" : "at least 1");
}

// Numbers have two zeros: what is said is the negative one, what is left out the other.
static bool config_left_out(double value)
{
    return value == 0 && !signbit(value);
}

sg_status sg_config_set(sg_config *config, const char *name, const char *value, sg_error *err)
{
    const config_slot *slot = NULL;
    for (size_t i = 0; i < slot_count && slot == NULL; i++)
        if (strcmp(slots[i].field.name, name) == 0) slot = &slots[i];
    if (slot == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.60s: there is no such field of a configuration",
                       name);
    if (slot->field.kind == SG_FIELD_STRING) {
        if (strlen(value) >= slot->bytes)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s…\", expected a short name",
                           name, value);
        SG_TRY(slot_said(slot, value[0] == '\0', "", err));
        // The whole array, so that equal configurations are equal bytes.
        memset(slot_at(config, slot), 0, slot->bytes);
        snprintf(slot_at(config, slot), slot->bytes, "%s", value);
        return SG_OK;
    }
    char *end;
    if (slot->field.kind == SG_FIELD_INT) {
        long long number = strtoll(value, &end, 10);
        if (end == value || *end != '\0' || number < -1 || number > config_most)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "%s: found \"%.40s\", expected an integer from -1 to %lld", name, value,
                           (long long)config_most);
        SG_TRY(slot_said(slot, number == 0, "", err));
        *(int64_t *)slot_at(config, slot) = number;
        return SG_OK;
    }
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(number))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected a number", name, value);
    *(double *)slot_at(config, slot) = slot->filled && number == 0 ? -0.0 : number + 0.0;
    return SG_OK;
}

// ---- rules ------------------------------------------------------------------------------------

static sg_status config_range(int64_t value, const char *name, int64_t low, int64_t high,
                              sg_error *err)
{
    if (value >= low && value <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected %lld to %lld", name,
                   (long long)value, (long long)low, (long long)high);
}

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
    SG_TRY(config_range(*heads, "num_attention_heads", 1, 1 << 12, err));
    SG_TRY(config_range(*width, "head_dim", 2, 1 << 12, err));
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
    SG_TRY(config_range(c->max_position_embeddings, "max_position_embeddings", 1, 1 << 24, err));
    if (c->max_position_embeddings * c->head_dim <= most) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "max_position_embeddings: found %lld, expected at most %lld for heads of %lld",
                   (long long)c->max_position_embeddings, (long long)(most / c->head_dim),
                   (long long)c->head_dim);
}

// One of the names, the first where there is none.
static sg_status config_choice(char *value, size_t capacity, const char *field,
                               const char *const *choices, sg_error *err)
{
    if (value[0] == '\0') snprintf(value, capacity, "%s", choices[0]);
    char list[80] = "";
    for (int i = 0; choices[i] != NULL; i++) {
        if (strcmp(value, choices[i]) == 0) return SG_OK;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected one of %s", field, value,
                   list);
}

static sg_status config_positive(double value, const char *name, sg_error *err)
{
    if (value > 0 && value < 1e12) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected more than 0 and less than 1e12",
                   name, SG_NUMBER(value));
}

static sg_status config_scaling(sg_config *c, sg_error *err)
{
    static const char *const scalings[] = {"none", "linear", "llama3", "yarn", NULL};
    SG_TRY(config_choice(c->rope_scaling, sizeof c->rope_scaling, "rope_scaling", scalings, err));
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
    SG_TRY(config_positive(c->rope_factor, "rope_factor", err));
    if (llama3) {
        if (config_left_out(c->rope_low_freq_factor)) c->rope_low_freq_factor = 1;
        if (config_left_out(c->rope_high_freq_factor)) c->rope_high_freq_factor = 4;
        SG_TRY(config_positive(c->rope_low_freq_factor, "rope_low_freq_factor", err));
        if (!(c->rope_high_freq_factor > c->rope_low_freq_factor))
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "rope_high_freq_factor: found %s, expected more than "
                           "rope_low_freq_factor %s",
                           SG_NUMBER(c->rope_high_freq_factor), SG_NUMBER(c->rope_low_freq_factor));
    }
    if (yarn) {
        if (config_left_out(c->rope_beta_fast)) c->rope_beta_fast = 32;
        if (config_left_out(c->rope_beta_slow)) c->rope_beta_slow = 1;
        SG_TRY(config_positive(c->rope_beta_fast, "rope_beta_fast", err));
        SG_TRY(config_positive(c->rope_beta_slow, "rope_beta_slow", err));
        if (c->rope_attention_factor != 0)
            SG_TRY(config_positive(c->rope_attention_factor, "rope_attention_factor", err));
        SG_TRY(config_range(c->rope_exact_borders, "rope_exact_borders", 0, 1, err));
    }
    if (!llama3 && !yarn) return SG_OK;
    if (c->rope_original_positions == 0) c->rope_original_positions = c->max_position_embeddings;
    return config_range(c->rope_original_positions, "rope_original_positions", 1, 1 << 24, err);
}

static sg_status config_rotary(sg_config *c, sg_error *err)
{
    static const char *const positions[] = {"rotary", "learned", NULL};
    SG_TRY(config_choice(c->positions, sizeof c->positions, "positions", positions, err));
    if (strcmp(c->positions, "learned") == 0) {
        memset(c->rope_scaling, 0, sizeof c->rope_scaling);
        c->rotary_dim = c->rope_interleaved = 0;
        SG_TRY(config_range(c->position_offset, "position_offset", 0, 1 << 10, err));
        return config_scaling(c, err);
    }
    c->position_offset = 0;
    SG_TRY(config_range(c->rotary_dim, "rotary_dim", 0, c->head_dim, err));
    if (c->rotary_dim == c->head_dim) c->rotary_dim = 0;
    SG_TRY(config_range(c->rope_interleaved, "rope_interleaved", 0, 1, err));
    if (c->rotary_dim % 2 != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "rotary_dim: found %lld, expected an even number",
                       (long long)c->rotary_dim);
    return config_scaling(c, err);
}

static sg_status config_attention(sg_config *c, sg_error *err)
{
    static const char *const qk_norms[] = {"head", "full", "none", NULL};
    int64_t *groups = &c->num_key_value_heads;
    SG_TRY(config_range(*groups, "num_key_value_heads", 0, c->num_attention_heads, err));
    if (*groups == c->num_attention_heads) *groups = 0; // equal models have equal configurations
    if (*groups > 0 && c->num_attention_heads % *groups != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "num_key_value_heads: found %lld, expected a divisor of the %lld heads",
                       (long long)*groups, (long long)c->num_attention_heads);
    SG_TRY(config_choice(c->qk_norm, sizeof c->qk_norm, "qk_norm", qk_norms, err));
    if (!(c->clip_qkv >= 0 && c->clip_qkv < 1e12))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "clip_qkv: found %s, expected at least 0 and less than 1e12",
                       SG_NUMBER(c->clip_qkv));
    SG_TRY(config_range(c->attention_bias, "attention_bias", 0, 1, err));
    SG_TRY(config_range(c->attention_out_bias, "attention_out_bias", 0, 1, err));
    SG_TRY(config_range(c->attention_sinks, "attention_sinks", 0, 1, err));
    SG_TRY(config_range(c->sliding_window, "sliding_window", 0, 1 << 24, err));
    if (c->sliding_window == 0) {
        memset(c->sliding_layers, 0, sizeof c->sliding_layers);
        return SG_OK;
    }
    if (c->sliding_layers[0] == '\0') snprintf(c->sliding_layers, sizeof c->sliding_layers, "all");
    return sg_layers_check(c->sliding_layers, "sliding_layers", c->num_hidden_layers, err);
}

sg_status sg_config_complete(sg_config *c, sg_error *err)
{
    static const char *const norms[] = {"rmsnorm", "layernorm", NULL};
    SG_TRY(config_range(c->vocab_size, "vocab_size", 2, 1 << 24, err));
    SG_TRY(config_range(c->hidden_size, "hidden_size", 1, 1 << 20, err));
    SG_TRY(config_range(c->num_hidden_layers, "num_hidden_layers", 1, 1 << 9, err));
    SG_TRY(config_heads(c, err));
    SG_TRY(config_positions(c, err));
    if (config_left_out(c->rms_norm_eps)) c->rms_norm_eps = 1e-6;
    if (config_left_out(c->rope_theta)) c->rope_theta = 10000;
    if (!(c->rms_norm_eps >= 0 && c->rms_norm_eps < 1))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "rms_norm_eps: found %s, expected at least 0 and less than 1",
                       SG_NUMBER(c->rms_norm_eps));
    if (!(c->rope_theta >= 1 && c->rope_theta < 1e12))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "rope_theta: found %s, expected at least 1 and less than 1e12",
                       SG_NUMBER(c->rope_theta));
    SG_TRY(config_range(c->pad_token_id, "pad_token_id", -1, c->vocab_size - 1, err));
    SG_TRY(config_range(c->eos_token_id, "eos_token_id", -1, c->vocab_size - 1, err));
    SG_TRY(config_range(c->bos_token_id, "bos_token_id", -1, c->vocab_size - 1, err));
    SG_TRY(config_range(c->untied_classifier, "untied_classifier", 0, 1, err));
    SG_TRY(config_choice(c->norm, sizeof c->norm, "norm", norms, err));
    SG_TRY(config_range(c->parallel_residual, "parallel_residual", 0, 1, err));
    SG_TRY(config_attention(c, err));
    SG_TRY(config_rotary(c, err));
    return sg_ffn_complete(c, err);
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
    static const char *const scalings[] = {"none", "linear", "llama3", "yarn"};
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
    for (int i = 0; i < 4; i++)
        if (strcmp(c->rope_scaling, scalings[i]) == 0) o.kind = (sg_rope_scaling)i;
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
    snprintf(where, sizeof where, "%s: ", name);
    c->pad_token_id = c->eos_token_id = c->bos_token_id = -1;
    for (size_t i = 0; i < slot_count; i++) {
        const char *key = slots[i].field.name;
        const json_t *there = json_object_get(object, key);
        const bool given = there != NULL && !json_is_null(there);
        void *to = slot_at(c, &slots[i]);
        switch (slots[i].field.kind) {
        case SG_FIELD_INT:
            SG_TRY(sg_json_get_int(object, name, key, false, -1, config_most, to, err));
            SG_TRY(slot_said(&slots[i], given && *(int64_t *)to == 0, where, err));
            break;
        case SG_FIELD_NUMBER:
            SG_TRY(sg_json_get_number(object, name, key, false, to, err));
            if (*(double *)to == 0) *(double *)to = given && slots[i].filled ? -0.0 : 0.0;
            break;
        case SG_FIELD_STRING:
            text = "";
            SG_TRY(sg_json_get_string(object, name, key, false, &text, err));
            SG_TRY(slot_said(&slots[i], given && text[0] == '\0', where, err));
            if (strlen(text) >= slots[i].bytes)
                return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found \"%.40s…\", expected a name",
                               name, key, text);
            snprintf(to, slots[i].bytes, "%s", text);
            break;
        }
    }
    tied = !c->untied_classifier;
    SG_TRY(sg_json_get_bool(object, name, "tie_word_embeddings", false, &tied, err));
    c->untied_classifier = !tied;
    return SG_OK;
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
    for (size_t i = 0; i < slot_count && !failed; i++) {
        const void *from = (const char *)config + slots[i].offset;
        const char *key = slots[i].field.name;
        // 0 and "" are what a model has not; an id is 0 like any other, and -1 where there is none.
        if (slots[i].field.kind == SG_FIELD_INT) {
            int64_t number = *(const int64_t *)from;
            if (number == 0 && strstr(key, "_token_id") == NULL) continue;
            bool none = number < 0;
            failed = json_object_set_new(object, key, none ? json_null() : json_integer(number));
        } else if (slots[i].field.kind == SG_FIELD_NUMBER) {
            double number = *(const double *)from;
            if (!config_left_out(number))
                failed = json_object_set_new(object, key, json_real(number + 0.0));
        } else {
            const char *text = from;
            if (text[0] != '\0') failed = json_object_set_new(object, key, json_string(text));
        }
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

static void config_projection(const char *prefix, const char *name, int64_t out, int64_t in,
                              bool bias, sg_param_list *list)
{
    char full[64];
    snprintf(full, sizeof full, "self_attn.%s.weight", name);
    sg_param_add(list, prefix, full, 2, (int64_t[]){out, in}, SG_INIT_TRUNCATED, 1.0 / (double)in);
    snprintf(full, sizeof full, "self_attn.%s.bias", name);
    if (bias) sg_param_add(list, prefix, full, 1, &out, SG_INIT_ZERO, 0);
}

static void config_layer_params(const sg_config *c, int64_t layer, const char *prefix,
                                sg_param_list *list)
{
    const int64_t d = c->hidden_size, hd = c->head_dim;
    const int64_t w = c->num_attention_heads * hd, kv = sg_config_kv_heads(c) * hd;
    config_norm_params(c, prefix, "input_layernorm", list);
    config_projection(prefix, "q_proj", w, d, c->attention_bias, list);
    config_projection(prefix, "k_proj", kv, d, c->attention_bias, list);
    config_projection(prefix, "v_proj", kv, d, c->attention_bias, list);
    config_projection(prefix, "o_proj", d, w, c->attention_out_bias, list);
    const bool full = strcmp(c->qk_norm, "full") == 0;
    if (strcmp(c->qk_norm, "none") != 0) {
        sg_param_add(list, prefix, "self_attn.q_norm.weight", 1, full ? &w : &hd, SG_INIT_ONE, 0);
        sg_param_add(list, prefix, "self_attn.k_norm.weight", 1, full ? &kv : &hd, SG_INIT_ONE, 0);
    }
    if (c->attention_sinks)
        sg_param_add(list, prefix, "self_attn.sinks", 1, &c->num_attention_heads, SG_INIT_ZERO, 0);
    config_norm_params(c, prefix, "post_attention_layernorm", list);
    sg_ffn_params(c, layer, prefix, list);
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
