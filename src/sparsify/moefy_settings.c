// How much a model that is there reads: its threshold, or its count of blocks, moved without
// training anything anew.
#include <math.h>
#include <stdio.h>

#include "ffn/trimmed.h"
#include "model/config.h"
#include "model/model.h"
#include "sparsify/moefy.h"

static sg_status settings_check(const sg_model *m, const char *setting, sg_error *err)
{
    if (atomic_load(&m->users) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found sessions or batches of the model, expected none", setting);
}

static sg_status settings_take(sg_model *m, sg_config *config, sg_error *err)
{
    SG_TRY(sg_config_complete(config, err));
    m->config = *config;
    m->layout++; // recorded passes have the old one
    return SG_OK;
}

// Thresholds of inputs, times a factor.
static sg_status settings_inputs(sg_config *c, double factor, sg_error *err)
{
    if (!(factor >= 0))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "threshold: found %s, expected 0 or more, which thresholds of inputs are "
                       "multiplied by",
                       SG_NUMBER(factor));
    for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
        size_t bytes, used = 0;
        const sg_config was = *c;
        char *list = sg_trimmed_list(c, (sg_trimmed)place, &bytes);
        const bool there = list[0] != '\0';
        for (int64_t l = 0; there && l < c->num_hidden_layers && used < bytes; l++)
            used += (size_t)snprintf(list + used, bytes - used, "%s%.6g", l > 0 ? "," : "",
                                     factor * sg_trimmed_threshold(&was, (sg_trimmed)place, l));
        if (used >= bytes)
            return sg_fail(err, SG_ERR_UNSUPPORTED,
                           "threshold: found %lld layers, too many for their thresholds",
                           (long long)c->num_hidden_layers);
    }
    return SG_OK;
}

sg_status sg_sparsify_set_threshold(sg_model *m, double threshold, sg_error *err)
{
    sg_config config = m->config;
    SG_TRY(settings_check(m, "threshold", err));
    if (!sg_moefy_is(config.ffn, "moefied") && sg_trimmed_any(&config)) {
        SG_TRY(settings_inputs(&config, threshold, err));
        return settings_take(m, &config, err);
    }
    if (!sg_moefy_is(config.ffn, "moefied") || sg_moefy_is(config.ffn_select, "top_k"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "threshold: found a model of family %s%s, expected moefied with ffn_select "
                       "max, share or threshold, or one with thresholds of inputs",
                       config.ffn, sg_moefy_is(config.ffn, "moefied") ? " that selects top_k" : "");
    config.ffn_threshold = threshold;
    memset(config.ffn_layer_threshold, 0, sizeof config.ffn_layer_threshold);
    return settings_take(m, &config, err);
}

// ---- a share of blocks --------------------------------------------------------------------------

// Those of a layer that every token reads.
static int64_t active_shared(const sg_config *c, const sg_memory_shape *m)
{
    return sg_ffn_shared_width(c) / m->block;
}

// Blocks that a router chooses in a layer, for a share of those and the ones that are shared.
static int64_t active_count(const sg_config *c, int64_t layer, double share)
{
    const sg_memory_shape m = sg_ffn_memory_at(c, layer);
    const int64_t shared = active_shared(c, &m);
    return llround(share * (double)(m.blocks + shared)) - shared;
}

bool sg_active_is_shared(const sg_config *c, double share)
{
    bool any = false;
    for (int64_t l = 0; l < c->num_hidden_layers && sg_ffn_shared_width(c) > 0; l++)
        any = any || (sg_ffn_is_sparse(c, l) && active_count(c, l, share) < 1);
    return any;
}

static sg_status active_blocks(const sg_config *c, int64_t layer, double share, int64_t *k,
                               sg_error *err)
{
    const sg_memory_shape m = sg_ffn_memory_at(c, layer);
    const int64_t shared = active_shared(c, &m);
    *k = active_count(c, layer, share);
    if (shared > 0 && *k < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "active: found %s of %lld blocks, expected more than the %lld shared ones",
                       SG_NUMBER(share), (long long)(m.blocks + shared), (long long)shared);
    if (*k < 1) *k = 1;
    return SG_OK;
}

// Where layers have different ones, as a list.
static sg_status active_list(sg_config *c, double share, sg_error *err)
{
    char list[sizeof c->ffn_layer_top_k] = "";
    size_t used = 0;
    for (int64_t l = 0; l < c->num_hidden_layers && used < sizeof list; l++) {
        int64_t k = 1;
        if (sg_ffn_is_sparse(c, l)) SG_TRY(active_blocks(c, l, share, &k, err));
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%lld", l > 0 ? "," : "",
                                 (long long)k);
    }
    if (used >= sizeof list)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "active: found %lld layers, too many for their counts",
                       (long long)c->num_hidden_layers);
    memcpy(c->ffn_layer_top_k, list, sizeof list);
    return SG_OK;
}

sg_status sg_sparsify_set_active(sg_model *m, double share, sg_error *err)
{
    sg_config config = m->config;
    SG_TRY(settings_check(m, "active", err));
    if (!sg_moefy_is(config.ffn, "moefied"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "active: found a model of family %s, expected moefied", config.ffn);
    if (sg_ffn_router(&config) == &sg_router_gate)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "active: found router gate, which reads by a threshold, expected one that "
                       "chooses blocks");
    if (!(share > 0 && share <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "active: found %s, expected more than 0 and at most 1",
                       SG_NUMBER(share));
    memset(config.ffn_layer_top_k, 0, sizeof config.ffn_layer_top_k);
    if (config.ffn_layer_block_size[0] != '\0')
        SG_TRY(active_list(&config, share, err));
    else
        SG_TRY(active_blocks(&config, sg_ffn_first_sparse(&config), share, &config.ffn_top_k, err));
    return settings_take(m, &config, err);
}
