// Keys of a GGUF file that no reader asked for (llama.cpp, src/llama-arch.cpp, has all their
// names). Those of positions, attention and experts belong to the formula, whatever they are
// called: one that is not in the table is refused.
#include "format/config_keys.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

// The numbers (bools: 0, 1) at which a key changes nothing; NULL: at any value.
static const struct {
    const char *key, *plain;
} gkeys[] = {
    {"rope.scaling.attn_factor", "1"},
    {"rope.scaling.yarn_attn_factor", "1"},
    {"rope.scaling.yarn_log_multiplier", "0"},
    {"rope.scaling.yarn_ext_factor", "-1"},
    {"rope.scaling.finetuned", NULL},
    // Of ways of scaling that the file does not take.
    {"rope.scaling.original_context_length", NULL},
    {"rope.scaling.yarn_beta_fast", NULL},
    {"rope.scaling.yarn_beta_slow", NULL},
    {"attention.causal", "1"},
    {"attention.max_alibi_bias", "0"},
    {"attention.clamp_kqv", "0"},
    {"attention.scale", "0"},
    {"attention.output_scale", "0 1"},
    {"attention.sliding_window", "0"},
    {"expert_used_count", NULL}, // of a model without any
    {"expert_shared_count", "0"},
    {"expert_group_count", "0 1"},
    {"expert_group_used_count", "0 1"},
    {"expert_gating_func", "0 1"},
    {"expert_weights_scale", "0 1"},
    {"expert_weights_norm", "0"},
    {"expert_feed_forward_length", NULL},
    {"logit_scale", "0 1"},
    {"residual_scale", "0 1"},
    {"embedding_scale", "0 1"},
    {"attn_logit_softcapping", "0"},
    {"final_logit_softcapping", "0"},
    {"router_logit_softcapping", "0"},
    {"use_parallel_residual", "0"},
    {"leading_dense_block_count", "0"},
    {"interleave_moe_layer_step", "0 1"},
    {"moe_every_n_layers", "0 1"},
    {"nextn_predict_layers", "0"},
    {"swin_norm", "0"},
    {"vocab_size", NULL}, // as long as the table
    {"tensor_data_layout", NULL},
};

// A number of a scalar; false for texts and arrays.
static bool gkeys_number(const sg_gguf *file, const sg_gguf_value *value, double *number)
{
    int64_t whole = 0;
    bool flag = false;
    if (value->is_array || value->type == SG_GGUF_STRING) return false;
    if (sg_gguf_get_number(file, value->key, true, number, NULL) == SG_OK) return true;
    if (sg_gguf_get_bool(file, value->key, true, &flag, NULL) == SG_OK) {
        *number = flag;
        return true;
    }
    if (sg_gguf_get_int(file, value->key, true, INT64_MIN, INT64_MAX, &whole, NULL) != SG_OK)
        return false;
    *number = (double)whole;
    return true;
}

static bool gkeys_is_plain(double number, const char *plain)
{
    double one;
    int used;
    for (const char *at = plain; sscanf(at, "%lf%n", &one, &used) == 1; at += used)
        if (number == one) return true;
    return false;
}

static sg_status gkeys_refuse(const sg_gguf *file, const sg_gguf_value *value, const char *expected,
                              sg_error *err)
{
    double number;
    char found[80];
    if (gkeys_number(file, value, &number))
        snprintf(found, sizeof found, "%.9g", number);
    else if (value->text != NULL && !value->is_array)
        snprintf(found, sizeof found, "\"%.60s\"", value->text);
    else
        snprintf(found, sizeof found, "%s", value->is_array ? "an array" : "another value");
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: key %.200s: found %s, expected %s: it changes what is computed",
                   sg_gguf_name(file), value->key, found, expected);
}

// Whether the configuration makes a value plain that the table has not.
static bool gkeys_by_config(const char *key, double number, const sg_config *c)
{
    if (strcmp(key, "attention.value_length") == 0) return number == (double)c->head_dim;
    // A window that no sequence is longer than.
    if (strcmp(key, "attention.sliding_window") == 0)
        return number >= (double)c->max_position_embeddings;
    if (strcmp(key, "attention.scale") == 0)
        return fabs(number * sqrt((double)c->head_dim) - 1) < 1e-5;
    if (strcmp(key, "rope.scaling.yarn_ext_factor") == 0)
        return number == (strcmp(c->rope_scaling, "yarn") == 0 ? 1 : 0);
    return false;
}

static bool gkeys_begins(const char *key, const char *start)
{
    return strncmp(key, start, strlen(start)) == 0;
}

static sg_status gkeys_one(const sg_gguf *file, const sg_gguf_value *value, const char *key,
                           const sg_config *c, sg_unread *unread, sg_error *err)
{
    double number = 0;
    const bool scalar = gkeys_number(file, value, &number);
    if (scalar && gkeys_by_config(key, number, c)) return SG_OK;
    if (strcmp(key, "attention.value_length") == 0)
        return gkeys_refuse(file, value, "attention.key_length", err);
    for (size_t i = 0; i < sizeof gkeys / sizeof *gkeys; i++) {
        if (strcmp(gkeys[i].key, key) != 0) continue;
        if (gkeys[i].plain == NULL || (scalar && gkeys_is_plain(number, gkeys[i].plain)))
            return SG_OK;
        return gkeys_refuse(file, value, gkeys[i].plain, err);
    }
    if (gkeys_begins(key, "rope.") || gkeys_begins(key, "attention.") ||
        gkeys_begins(key, "expert_"))
        return gkeys_refuse(file, value, "none for this architecture", err);
    sg_unread_add(unread, value->key);
    return SG_OK;
}

sg_status sg_gguf_keys_rest(const sg_gguf *file, const char *architecture, const sg_config *config,
                            const sg_asked *asked, sg_unread *unread, sg_error *err)
{
    static const char *const others[] = {"general.", "tokenizer.", "quantize.", "split.",
                                         "imatrix."};
    const size_t n = strlen(architecture);
    for (size_t i = 0; i < sg_gguf_value_count(file); i++) {
        const sg_gguf_value *value = sg_gguf_value_at(file, i);
        bool other = false;
        for (size_t k = 0; k < sizeof others / sizeof *others; k++)
            other = other || gkeys_begins(value->key, others[k]);
        if (other) continue;
        if (strncmp(value->key, architecture, n) != 0 || value->key[n] != '.') {
            sg_unread_add(unread, value->key);
            continue;
        }
        const char *key = value->key + n + 1;
        if (!sg_asked_has(asked, key)) SG_TRY(gkeys_one(file, value, key, config, unread, err));
    }
    return SG_OK;
}
