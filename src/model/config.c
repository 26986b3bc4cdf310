// The configuration of a model: one table of fields serves config.json, command-line options and
// defaults, so that a field is stated once.
#include "model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/ffn.h"
#include "format/json.h"

typedef struct config_slot {
    sg_config_field field;
    size_t offset, bytes;
} config_slot;

#define CONFIG_SLOT(kind, name, help)                                                              \
    {                                                                                              \
        {#name, kind, help}, offsetof(sg_config, name), sizeof((sg_config){0}.name)                \
    }

static const config_slot slots[] = {
    CONFIG_SLOT(SG_FIELD_INT, vocab_size, "tokens in the vocabulary"),
    CONFIG_SLOT(SG_FIELD_INT, hidden_size, "model width d"),
    CONFIG_SLOT(SG_FIELD_INT, num_hidden_layers, "layers"),
    CONFIG_SLOT(SG_FIELD_INT, num_attention_heads, "attention heads"),
    CONFIG_SLOT(SG_FIELD_INT, head_dim, "width of a head"),
    CONFIG_SLOT(SG_FIELD_INT, max_position_embeddings, "longest sequence"),
    CONFIG_SLOT(SG_FIELD_NUMBER, rms_norm_eps, "epsilon of the norms"),
    CONFIG_SLOT(SG_FIELD_NUMBER, rope_theta, "base of the rotary positions"),
    CONFIG_SLOT(SG_FIELD_INT, pad_token_id, "id of padding, -1: none"),
    CONFIG_SLOT(SG_FIELD_INT, eos_token_id, "id that ends a document, -1: none"),
    CONFIG_SLOT(SG_FIELD_INT, bos_token_id, "id put before a sequence, -1: none"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn, "feed-forward family"),
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
    CONFIG_SLOT(SG_FIELD_INT, ffn_dense_size, "their width"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_share_pool, "1: one memory for all sparse layers"),
    CONFIG_SLOT(SG_FIELD_STRING, ffn_score, "scores of the router of moe: softmax, sigmoid"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_renormalise, "1: divide the selected scores by their sum"),
    CONFIG_SLOT(SG_FIELD_INT, ffn_shared_experts, "experts of moe that every token takes"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_capacity_factor, "limit of rows a block takes in training"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_balance_loss, "weight of the balance loss"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_z_loss, "weight of the z loss"),
    CONFIG_SLOT(SG_FIELD_NUMBER, ffn_bias_rate, "step of the bias that balances moe"),
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
        *(int64_t *)slot_at(config, slot) = number;
        return SG_OK;
    }
    double number = strtod(value, &end);
    if (end == value || *end != '\0' || !isfinite(number))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected a number", name, value);
    *(double *)slot_at(config, slot) = number;
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

sg_status sg_config_complete(sg_config *c, sg_error *err)
{
    SG_TRY(config_range(c->vocab_size, "vocab_size", 2, 1 << 24, err));
    SG_TRY(config_range(c->hidden_size, "hidden_size", 1, 1 << 20, err));
    SG_TRY(config_range(c->num_hidden_layers, "num_hidden_layers", 1, 1 << 9, err));
    SG_TRY(config_heads(c, err));
    SG_TRY(config_positions(c, err));
    if (c->rms_norm_eps == 0) c->rms_norm_eps = 1e-6;
    if (c->rope_theta == 0) c->rope_theta = 10000;
    if (!(c->rms_norm_eps > 0 && c->rms_norm_eps < 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "rms_norm_eps: found %g, expected between 0 and 1",
                       c->rms_norm_eps);
    if (!(c->rope_theta >= 1 && c->rope_theta < 1e12))
        return sg_fail(err, SG_ERR_ARGUMENT, "rope_theta: found %g, expected 1 to 1e12",
                       c->rope_theta);
    SG_TRY(config_range(c->pad_token_id, "pad_token_id", -1, c->vocab_size - 1, err));
    SG_TRY(config_range(c->eos_token_id, "eos_token_id", -1, c->vocab_size - 1, err));
    SG_TRY(config_range(c->bos_token_id, "bos_token_id", -1, c->vocab_size - 1, err));
    return sg_ffn_complete(c, err);
}

// ---- config.json ------------------------------------------------------------------------------

static sg_status config_read(const json_t *object, const char *name, sg_config *c, sg_error *err)
{
    const char *text = NULL;
    SG_TRY(sg_json_get_string(object, name, "model_type", true, &text, err));
    if (strcmp(text, "sgatlin") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"model_type\": found \"%.60s\", expected \"sgatlin\"", name, text);
    bool tied = true;
    SG_TRY(sg_json_get_bool(object, name, "tie_word_embeddings", false, &tied, err));
    if (!tied)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: \"tie_word_embeddings\": found false, expected true", name);
    c->pad_token_id = c->eos_token_id = c->bos_token_id = -1;
    for (size_t i = 0; i < slot_count; i++) {
        const char *key = slots[i].field.name;
        void *to = slot_at(c, &slots[i]);
        switch (slots[i].field.kind) {
        case SG_FIELD_INT:
            SG_TRY(sg_json_get_int(object, name, key, false, -1, config_most, to, err));
            break;
        case SG_FIELD_NUMBER:
            SG_TRY(sg_json_get_number(object, name, key, false, to, err));
            break;
        case SG_FIELD_STRING:
            text = "";
            SG_TRY(sg_json_get_string(object, name, key, false, &text, err));
            if (strlen(text) >= slots[i].bytes)
                return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found \"%.40s…\", expected a name",
                               name, key, text);
            snprintf(to, slots[i].bytes, "%s", text);
            break;
        }
    }
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
                               "SgatlinForCausalLM", "tie_word_embeddings", 1, "dtype", "float32");
    int failed = object == NULL;
    for (size_t i = 0; i < slot_count && !failed; i++) {
        const void *from = (const char *)config + slots[i].offset;
        const char *key = slots[i].field.name;
        if (slots[i].field.kind == SG_FIELD_INT) {
            int64_t number = *(const int64_t *)from;
            if (number == 0 && strncmp(key, "ffn_", 4) == 0) continue; // not of this family
            bool none = number < 0;
            failed = json_object_set_new(object, key, none ? json_null() : json_integer(number));
        } else if (slots[i].field.kind == SG_FIELD_NUMBER) {
            double number = *(const double *)from;
            if (number == 0 && strncmp(key, "ffn_", 4) == 0) continue;
            failed = json_object_set_new(object, key, json_real(number));
        } else {
            const char *text = from;
            if (text[0] == '\0' && strncmp(key, "ffn_", 4) == 0) continue;
            failed = json_object_set_new(object, key, json_string(text));
        }
    }
    if (failed) {
        json_decref(object);
        return NULL;
    }
    return object;
}

// ---- parameters -------------------------------------------------------------------------------

static void config_layer_params(const sg_config *c, int64_t layer, const char *prefix,
                                sg_param_list *list)
{
    int64_t d = c->hidden_size, hd = c->head_dim, w = c->num_attention_heads * hd;
    const double in = 1.0 / (double)d, out = 1.0 / (double)w;
    sg_param_add(list, prefix, "input_layernorm.weight", 1, &d, SG_INIT_ONE, 0);
    sg_param_add(list, prefix, "self_attn.q_proj.weight", 2, (int64_t[]){w, d}, SG_INIT_TRUNCATED,
                 in);
    sg_param_add(list, prefix, "self_attn.k_proj.weight", 2, (int64_t[]){w, d}, SG_INIT_TRUNCATED,
                 in);
    sg_param_add(list, prefix, "self_attn.v_proj.weight", 2, (int64_t[]){w, d}, SG_INIT_TRUNCATED,
                 in);
    sg_param_add(list, prefix, "self_attn.o_proj.weight", 2, (int64_t[]){d, w}, SG_INIT_TRUNCATED,
                 out);
    sg_param_add(list, prefix, "self_attn.q_norm.weight", 1, &hd, SG_INIT_ONE, 0);
    sg_param_add(list, prefix, "self_attn.k_norm.weight", 1, &hd, SG_INIT_ONE, 0);
    sg_param_add(list, prefix, "post_attention_layernorm.weight", 1, &d, SG_INIT_ONE, 0);
    sg_ffn_params(c, layer, prefix, list);
}

sg_status sg_config_params(const sg_config *c, sg_param_list *list, sg_error *err)
{
    *list = (sg_param_list){0};
    sg_param_add(list, "", "model.embed_tokens.weight", 2,
                 (int64_t[]){c->vocab_size, c->hidden_size}, SG_INIT_NORMAL,
                 1.0 / (double)c->hidden_size);
    for (int64_t l = 0; l < c->num_hidden_layers && list->status == SG_OK; l++) {
        char prefix[64];
        snprintf(prefix, sizeof prefix, "model.layers.%lld.", (long long)l);
        config_layer_params(c, l, prefix, list);
    }
    sg_param_add(list, "", "model.norm.weight", 1, &c->hidden_size, SG_INIT_ONE, 0);
    sg_status status = list->status;
    if (status == SG_OK) return SG_OK;
    sg_param_list_free(list);
    return status == SG_ERR_MEMORY
               ? sg_fail(err, status, "out of memory for the list of parameters")
               : sg_fail(err, status, "the configuration has more than 2^48 parameters");
}
