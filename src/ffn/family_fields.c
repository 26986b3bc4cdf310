// The fields of a configuration that belong to the feed-forward layer: which family has which, and
// what they may be.
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "ffn/ffn.h"

// The sizes a family may have, and what they may be; router and block have rules beyond these.
static const struct {
    unsigned has;
    const char *name;
    size_t offset;
    int64_t least, most;
} family_sizes[] = {
    {SG_HAS_WIDTH, "ffn_intermediate_size", offsetof(sg_config, ffn_intermediate_size), 1, 1 << 24},
    {SG_HAS_EXPERTS, "ffn_experts", offsetof(sg_config, ffn_experts), 1, 1 << 16},
    {SG_HAS_CHANNELS, "ffn_channels", offsetof(sg_config, ffn_channels), 1, 1 << 12},
    {SG_HAS_NEURONS, "ffn_neurons", offsetof(sg_config, ffn_neurons), 1, 1 << 30},
    {SG_HAS_KEY, "ffn_key_size", offsetof(sg_config, ffn_key_size), 1, 1 << 16},
    {SG_HAS_TOP_K, "ffn_top_k", offsetof(sg_config, ffn_top_k), 1, SG_TOPK_MAX},
    {SG_HAS_BLOCK, "ffn_block_size", offsetof(sg_config, ffn_block_size), 0, 1 << 30},
    {SG_HAS_FACTOR, "ffn_memory_factor", offsetof(sg_config, ffn_memory_factor), 1, 1 << 16},
    {SG_HAS_ACTIVE, "ffn_active_neurons", offsetof(sg_config, ffn_active_neurons), 0, 1 << 30},
    {SG_HAS_HASH, "ffn_hash_seed", offsetof(sg_config, ffn_hash_seed), 0, (int64_t)1 << 40},
    {SG_HAS_RENORMALISE, "ffn_renormalise", offsetof(sg_config, ffn_renormalise), 0, 1},
    {SG_HAS_SHARED, "ffn_shared_experts", offsetof(sg_config, ffn_shared_experts), 0, 1 << 10},
    {SG_HAS_BIAS, "ffn_query_bias", offsetof(sg_config, ffn_query_bias), 0, 1},
    {SG_HAS_LAYER_BIAS, "ffn_bias", offsetof(sg_config, ffn_bias), 0, 1},
    {SG_HAS_PAIRS, "ffn_glu_interleaved", offsetof(sg_config, ffn_glu_interleaved), 0, 1},
    {SG_HAS_SHARED, "ffn_router_bias", offsetof(sg_config, ffn_router_bias), 0, 1},
    {SG_HAS_SHARED, "ffn_shared_size", offsetof(sg_config, ffn_shared_size), 0, 1 << 24},
    {SG_HAS_SHARED, "ffn_shared_gate", offsetof(sg_config, ffn_shared_gate), 0, 1},
};

// Likewise the numbers, from 0.
static const struct {
    unsigned has;
    const char *name;
    size_t offset;
    double most;
} family_numbers[] = {
    {SG_HAS_CAPACITY, "ffn_capacity_factor", offsetof(sg_config, ffn_capacity_factor), 1e6},
    {SG_HAS_BALANCE, "ffn_balance_loss", offsetof(sg_config, ffn_balance_loss), 1e3},
    {SG_HAS_Z, "ffn_z_loss", offsetof(sg_config, ffn_z_loss), 1e3},
    {SG_HAS_BIAS_RATE, "ffn_bias_rate", offsetof(sg_config, ffn_bias_rate), 1},
};

// The fields that are names, and where a family lists them.
static const struct {
    const char *name;
    size_t offset;
} family_names[] = {
    {"ffn_router", offsetof(sg_family, routers)},
    {"ffn_activation", offsetof(sg_family, activations)},
    {"ffn_gate", offsetof(sg_family, gates)},
    {"ffn_normaliser", offsetof(sg_family, normalisers)},
    {"ffn_query_norm", offsetof(sg_family, query_norms)},
    {"ffn_score", offsetof(sg_family, scores)},
};

static bool family_takes_name(const sg_family *family, size_t offset, char *text, size_t capacity)
{
    const char *const *choices = (const void *)((const char *)family + offset);
    for (int i = 0; i < SG_FAMILY_CHOICES && choices[i] != NULL; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return choices[0] != NULL;
}

bool sg_family_takes(const sg_family *family, const char *field, char *text, size_t capacity)
{
    text[0] = '\0';
    for (size_t i = 0; i < sizeof family_names / sizeof *family_names; i++)
        if (strcmp(family_names[i].name, field) == 0)
            return family_takes_name(family, family_names[i].offset, text, capacity);
    for (size_t i = 0; i < sizeof family_sizes / sizeof *family_sizes; i++) {
        if (strcmp(family_sizes[i].name, field) != 0) continue;
        snprintf(text, capacity, "%lld to %lld", (long long)family_sizes[i].least,
                 (long long)family_sizes[i].most);
        return family->has & family_sizes[i].has;
    }
    for (size_t i = 0; i < sizeof family_numbers / sizeof *family_numbers; i++) {
        if (strcmp(family_numbers[i].name, field) != 0) continue;
        snprintf(text, capacity, "0 to %g", family_numbers[i].most);
        return family->has & family_numbers[i].has;
    }
    const bool of_sparse = strcmp(field, "ffn_layers") == 0 || strcmp(field, "ffn_dense") == 0 ||
                           strcmp(field, "ffn_dense_size") == 0 ||
                           strcmp(field, "ffn_share_pool") == 0;
    return !of_sparse || sg_family_is_sparse(family);
}

sg_status sg_family_check_sizes(sg_config *c, const sg_family *family, sg_error *err)
{
    for (size_t i = 0; i < sizeof family_sizes / sizeof *family_sizes; i++) {
        int64_t *value = (int64_t *)((char *)c + family_sizes[i].offset);
        if (!(family->has & family_sizes[i].has)) {
            *value = 0;
        } else if (*value < family_sizes[i].least || *value > family_sizes[i].most) {
            return sg_fail(
                err, SG_ERR_ARGUMENT, "%s: found %lld, expected %lld to %lld for family %s",
                family_sizes[i].name, (long long)*value, (long long)family_sizes[i].least,
                (long long)family_sizes[i].most, family->name);
        }
    }
    for (size_t i = 0; i < sizeof family_numbers / sizeof *family_numbers; i++) {
        double *value = (double *)((char *)c + family_numbers[i].offset);
        if (!(family->has & family_numbers[i].has))
            *value = 0;
        else if (!(*value >= 0 && *value <= family_numbers[i].most))
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected 0 to %s for family %s",
                           family_numbers[i].name, SG_NUMBER(*value),
                           SG_NUMBER(family_numbers[i].most), family->name);
    }
    return SG_OK;
}

static sg_status family_choice(char *value, size_t capacity, const char *const *choices,
                               const char *field, const char *family, sg_error *err)
{
    if (choices[0] == NULL) { // the family has no such field
        memset(value, 0, capacity);
        return SG_OK;
    }
    if (value[0] == '\0') {
        snprintf(value, capacity, "%s", choices[0]);
        return SG_OK;
    }
    char list[160] = "";
    for (int i = 0; i < SG_FAMILY_CHOICES && choices[i] != NULL; i++) {
        if (strcmp(value, choices[i]) == 0) return SG_OK;
        size_t used = strlen(list);
        snprintf(list + used, sizeof list - used, "%s%s", i ? ", " : "", choices[i]);
    }
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected one of %s for family %s",
                   field, value, list, family);
}

sg_status sg_family_check_names(sg_config *c, const sg_family *family, sg_error *err)
{
    SG_TRY(family_choice(c->ffn_router, sizeof c->ffn_router, family->routers, "ffn_router",
                         family->name, err));
    SG_TRY(family_choice(c->ffn_activation, sizeof c->ffn_activation, family->activations,
                         "ffn_activation", family->name, err));
    SG_TRY(family_choice(c->ffn_gate, sizeof c->ffn_gate, family->gates, "ffn_gate", family->name,
                         err));
    SG_TRY(family_choice(c->ffn_normaliser, sizeof c->ffn_normaliser, family->normalisers,
                         "ffn_normaliser", family->name, err));
    SG_TRY(family_choice(c->ffn_query_norm, sizeof c->ffn_query_norm, family->query_norms,
                         "ffn_query_norm", family->name, err));
    SG_TRY(family_choice(c->ffn_score, sizeof c->ffn_score, family->scores, "ffn_score",
                         family->name, err));
    return SG_OK;
}
