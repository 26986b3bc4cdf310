// Weights of sparsity losses over a run, as D2DMoE has them (Szatkowski et al. 2024), t of n steps:
//
//     constant  a        linear  a t / n        warmup  a min(1, 2 t / n)
//
// A weight is a function of the step alone, so a run that goes on has the same bits.
#include "train/sparse_losses.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"
#include "ffn/sparsity.h"
#include "model/projections.h"
#include "train/run_fields.h"

// ---- rules --------------------------------------------------------------------------------------

// That an option which means nothing here was left as it comes.
static sg_status sparse_unused(const sg_train_options *o, const char *name, const char *without,
                               sg_error *err)
{
    char option[SG_RUN_OPTION];
    const sg_run_field *row = sg_run_field_find(name);
    if (sg_run_field_is_older(row, o)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: given, but there is no %s",
                   sg_field_option(&row->field, option, sizeof option), without);
}

sg_status sg_sparse_check(const sg_train_options *o, sg_error *err)
{
    static const char *const of_term[] = {"sparsity_modules", "sparsity_weight", "sparsity_ramp",
                                          "sparsity_floor"};
    static const char *const of_lte[] = {"lte_efficiency", "lte_separability", "lte_least"};
    for (size_t i = 0; i < sizeof of_term / sizeof *of_term; i++)
        if (o->sparsity_term == SG_SPARSITY_NONE)
            SG_TRY(sparse_unused(o, of_term[i], "sparsity-term", err));
    for (size_t i = 0; i < sizeof of_lte / sizeof *of_lte; i++)
        if (o->lte_stage != 1) SG_TRY(sparse_unused(o, of_lte[i], "lte-stage 1", err));
    if (o->lte_stage == 1 && o->lora_rank > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "lte-stage: found 1 with lora-rank, expected 2: stage 1 trains routers");
    if (!o->relufy || o->init[0] != '\0') return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "relufy: given, but there is no model to go on from (init)");
}

// ---- the configuration --------------------------------------------------------------------------

static int64_t sparse_layers(const sg_config *c, bool (*takes)(const sg_config *config))
{
    sg_config own;
    int64_t count = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        count += takes(sg_ffn_layer_config(c, l, &own));
    return count;
}

static sg_status sparse_relufy(sg_config *c, sg_error *err)
{
    if (sg_relufy(c)) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "relufy: found ffn_activation %s of family %s, which has none with zeros",
                   c->ffn_activation, c->ffn);
}

static sg_status sparse_term(const sg_train_options *o, const sg_config *c, sg_error *err)
{
    const bool clamped =
        o->sparsity_term == SG_SPARSITY_CLAMPED || o->sparsity_term == SG_SPARSITY_CLAMPED_HOYER;
    if (o->sparsity_modules != SG_SPARSITY_OF_FFN && !sg_projections_any(c))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "sparsity-modules: found %s, but no projection of attention is an MLP "
                       "(attention_mlp_q, _k, _v, _o), expected ffn",
                       o->sparsity_modules == SG_SPARSITY_OF_BOTH ? "both" : "attention");
    if (o->sparsity_modules == SG_SPARSITY_OF_ATTENTION) return SG_OK;
    if (sparse_layers(c, sg_takes_term) == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "sparsity-term: found family %s, none of whose layers is of mlp, glu or "
                       "moefied",
                       c->ffn);
    if (!clamped && strcmp(c->ffn_activation, "clamped_swiglu") == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "sparsity-term: found clamped_swiglu, whose gates have no zeros, expected "
                       "another ffn_activation (--relufy), or clamped or clamped_hoyer");
    if (clamped && strcmp(c->ffn, "moefied") == 0 && strcmp(c->ffn_select, "top_k") != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "sparsity-term: found %s with ffn_select %s, expected top_k: what a token "
                       "does not read has no activations before the nonlinearity",
                       o->sparsity_term == SG_SPARSITY_CLAMPED ? "clamped" : "clamped_hoyer",
                       c->ffn_select);
    return SG_OK;
}

// All blocks of each layer: one number where they have as many, else a list.
static sg_status sparse_all_blocks(sg_config *c, sg_error *err)
{
    size_t used = 0;
    c->ffn_layer_top_k[0] = '\0';
    if (c->ffn_layer_block_size[0] == '\0') {
        c->ffn_top_k = sg_ffn_memory(c).blocks;
        return SG_OK;
    }
    char list[sizeof c->ffn_layer_top_k];
    for (int64_t l = 0; l < c->num_hidden_layers && used < sizeof list; l++)
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%lld", l > 0 ? "," : "",
                                 (long long)sg_ffn_memory_at(c, l).blocks);
    if (used >= sizeof list)
        return sg_fail(err, SG_ERR_ARGUMENT, "lte-stage: the blocks of %lld layers are no list",
                       (long long)c->num_hidden_layers);
    memcpy(c->ffn_layer_top_k, list, used + 1);
    return SG_OK;
}

// What is evaluated and saved, and trained in the second stage: hard selection.
static sg_status sparse_lte(const sg_train_options *o, sg_config *c, sg_error *err)
{
    if (sparse_layers(c, sg_takes_lte) == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "lte-stage: found family %s with router %s, expected moefied with sigmoid",
                       c->ffn, c->ffn_router);
    if (o->lte_stage == 1 && c->ffn_mean)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "lte-stage: found 1 with ffn_mean 1, expected 0: a block that is not read "
                       "gives nothing");
    snprintf(c->ffn_gate, sizeof c->ffn_gate, "none");
    snprintf(c->ffn_select, sizeof c->ffn_select, "threshold");
    c->ffn_threshold = 0.5;
    memset(c->ffn_layer_threshold, 0, sizeof c->ffn_layer_threshold);
    SG_TRY(sparse_all_blocks(c, err));
    return sg_ffn_complete(c, err);
}

sg_status sg_sparse_change(const sg_train_options *o, sg_config *c, sg_error *err)
{
    if (o->relufy) SG_TRY(sparse_relufy(c, err));
    if (o->lte_stage > 0) SG_TRY(sparse_lte(o, c, err));
    return o->sparsity_term != SG_SPARSITY_NONE ? sparse_term(o, c, err) : SG_OK;
}

void sg_sparse_say(sg_context *context, const sg_config *before, const sg_config *after)
{
    static const char *const names[] = {"ffn_activation",     "ffn_gate",  "ffn_select",
                                        "ffn_threshold",      "ffn_top_k", "ffn_layer_top_k",
                                        "ffn_layer_threshold"};
    char was[64], is[64];
    const sg_field *field;
    for (size_t i = 0; (field = sg_config_field_at(i)) != NULL; i++)
        for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
            if (strcmp(field->name, names[n]) != 0) continue;
            sg_field_text(field, before, was, sizeof was);
            sg_field_text(field, after, is, sizeof is);
            if (strcmp(was, is) != 0)
                sg_log(context, SG_LOG_INFO, "%s: %s -> %s", field->name, was, is);
        }
}

// ---- the losses ---------------------------------------------------------------------------------

sg_sparsity sg_sparse_of_options(const sg_train_options *o)
{
    return (sg_sparsity){.term = o->sparsity_term,
                         .modules = o->sparsity_modules,
                         .floor = o->sparsity_floor,
                         .soft = o->lte_stage == 1,
                         .least = o->lte_least};
}

double sg_ramp_at(sg_ramp ramp, double weight, int64_t step, int64_t steps)
{
    const double done = steps > 0 ? (double)step / (double)steps : 1;
    if (ramp == SG_RAMP_LINEAR) return weight * fmin(1, done);
    return ramp == SG_RAMP_WARMUP ? weight * fmin(1, 2 * done) : weight;
}

void sg_sparse_weigh(sg_graph *graph, const sg_train_options *o, int64_t step, int64_t steps)
{
    const double weight = sg_ramp_at(o->sparsity_ramp, o->sparsity_weight, step, steps);
    sg_graph_weigh(graph, sg_is_term, weight);
    sg_graph_weigh(graph, sg_is_attention_term, weight);
    sg_graph_weigh(graph, sg_is_efficiency, o->lte_efficiency);
    sg_graph_weigh(graph, sg_is_separability, o->lte_separability);
}

// ---- what they come to --------------------------------------------------------------------------

sg_status sg_sparse_means_new(int64_t layers, sg_sparse_means *m, sg_error *err)
{
    *m = (sg_sparse_means){.layers = layers};
    m->zeros = sg_alloc_zero(3 * (size_t)layers, sizeof *m->zeros);
    if (m->zeros == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run");
    m->unread = m->zeros + layers;
    m->attention_zeros = m->unread + layers;
    return SG_OK;
}

void sg_sparse_means_free(sg_sparse_means *m)
{
    sg_free(m->zeros);
    *m = (sg_sparse_means){0};
}

void sg_sparse_means_begin(sg_sparse_means *m)
{
    m->term = m->attention_term = m->efficiency = m->separability = 0;
    for (int64_t l = 0; l < 3 * m->layers; l++)
        m->zeros[l] = NAN;
}

// The losses of one kind are recorded layer by layer, of those that take it.
static void sparse_add_zeros(const sg_graph *graph, const sg_config *c, double share,
                             bool (*is)(const sg_node *node), bool (*takes)(const sg_config *of),
                             double *zeros)
{
    sg_config own;
    int64_t layer = 0;
    for (int i = 0; i < sg_tape_nodes(graph->tape); i++) {
        const sg_node *node = sg_tape_node_at(graph->tape, i);
        if (!is(node)) continue;
        while (!takes(sg_ffn_layer_config(c, layer, &own)))
            layer++;
        zeros[layer] = (isnan(zeros[layer]) ? 0 : zeros[layer]) + share * sg_row_loss_zeros(node);
        layer++;
    }
}

static int64_t sparse_mlps(const sg_config *c, int64_t layer)
{
    int64_t count = 0;
    for (int i = 0; i < SG_PROJECTIONS; i++)
        count += sg_projection_size_of(c, layer, (sg_projection)i).hidden > 0;
    return count;
}

// Those of attention: as many in a row as a layer has MLPs.
static void sparse_add_attention_zeros(const sg_graph *graph, const sg_config *c, double share,
                                       double *zeros)
{
    int64_t layer = 0, of_layer = 0;
    for (int i = 0; i < sg_tape_nodes(graph->tape); i++) {
        const sg_node *node = sg_tape_node_at(graph->tape, i);
        if (!sg_is_attention_term(node)) continue;
        while (of_layer == sparse_mlps(c, layer)) {
            layer++;
            of_layer = 0;
        }
        const double mean = sg_row_loss_zeros(node) / (double)sparse_mlps(c, layer);
        zeros[layer] = (isnan(zeros[layer]) ? 0 : zeros[layer]) + share * mean;
        of_layer++;
    }
}

void sg_sparse_means_add(sg_sparse_means *m, const sg_graph *graph, const sg_config *c,
                         double share)
{
    m->term += share * sg_graph_loss_mean(graph, sg_is_term);
    m->attention_term += share * sg_graph_loss_mean(graph, sg_is_attention_term);
    m->efficiency += share * sg_graph_loss_mean(graph, sg_is_efficiency);
    m->separability += share * sg_graph_loss_mean(graph, sg_is_separability);
    sparse_add_zeros(graph, c, share, sg_is_term, sg_takes_term, m->zeros);
    sparse_add_attention_zeros(graph, c, share, m->attention_zeros);
    sparse_add_zeros(graph, c, share, sg_is_efficiency, sg_takes_lte, m->unread);
}
