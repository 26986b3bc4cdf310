// Router "gate" of dense layers: every token takes the one block there is, the whole layer, and
// what is left out of it is decided by its own gates: neurons with |act(g)| <= ffn_threshold (of a
// layer without gates |act(u)|), memory_moefied.c. No parameters, nothing trained, no FLOPs of its
// own. (CATS, Lee et al. 2024; with threshold 0 and ReLU exact: ProSparse, Song et al. 2024.)
#include <string.h>

#include "ffn/ffn.h"

typedef struct gate_rule {
    bool wrong;
    const char *says; // "field: found …, expected …"
} gate_rule;

static sg_status gate_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self;
    const gate_rule rules[] = {
        {strcmp(c->ffn_select, "threshold") != 0, "ffn_select: found another, expected threshold"},
        {c->ffn_threshold < 0, "ffn_threshold: found a number below 0, expected 0 or more"},
        {sg_ffn_memory(c).blocks != 1,
         "ffn_block_size: found a part of the layer, expected 0: all of it"},
        {c->ffn_router_size != 0, "ffn_router_size: found a width, expected 0"},
        {c->ffn_mean != 0, "ffn_mean: found 1, expected 0"},
        {strcmp(c->ffn_gate, "none") != 0, "ffn_gate: found after, expected none"},
        {strcmp(c->ffn_activation, "clamped_swiglu") == 0,
         "ffn_activation: found clamped_swiglu, expected one whose gate stands alone"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s for router gate", rules[i].says);
    if (c->ffn_active_neurons <= c->ffn_intermediate_size) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "ffn_active_neurons: found %lld, expected at most the %lld of the layer",
                   (long long)c->ffn_active_neurons, (long long)c->ffn_intermediate_size);
}

static void gate_params(const sg_router *self, const sg_config *c, const char *prefix,
                        sg_param_list *list)
{
    (void)self, (void)c, (void)prefix, (void)list;
}

static sg_selection gate_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    sg_selection all = sg_select_all(b->tape, x, 1);
    all.unit = sg_ffn_memory(b->config).block;
    return all;
}

static sg_router_count gate_count(const sg_router *self, const sg_config *c)
{
    (void)self, (void)c;
    return (sg_router_count){0};
}

const sg_router sg_router_gate = {
    .name = "gate",
    .check = gate_check,
    .params = gate_params,
    .build = gate_build,
    .count = gate_count,
};
