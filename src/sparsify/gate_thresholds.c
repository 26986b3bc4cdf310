// Dense models that leave neurons out by their size, on thresholds of a text, trained in nothing:
//
//     threshold of a layer = the size that the share 1 - active of its values does not exceed,
//     values |act(x w_gate)|, in a plain layer |act(x w_in)|       (CATS, Lee et al. 2024)
//
// The neurons of a layer are one block, read by router gate (ffn/router_gate.c).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/gated.h"
#include "ffn/moefied.h"
#include "sparsify/dense_layer.h"
#include "sparsify/magnitudes.h"
#include "sparsify/moefy.h"
#include "sparsify/trim_model.h"

static sg_status gates_config(const sg_sparsify_options *o, sg_config *c, sg_error *err)
{
    const int64_t active = llround(o->active * (double)c->ffn_intermediate_size);
    (void)err;
    snprintf(c->ffn, sizeof c->ffn, "moefied");
    snprintf(c->ffn_router, sizeof c->ffn_router, "gate");
    snprintf(c->ffn_select, sizeof c->ffn_select, "threshold");
    c->ffn_block_size = 0;
    c->ffn_top_k = 1;
    c->ffn_active_neurons = active > 0 ? active : 1;
    return SG_OK;
}

static bool gates_there(const sg_trim_work *t)
{
    return sg_ffn_is_gated(&t->dense->config);
}

// ---- thresholds ---------------------------------------------------------------------------------

typedef struct gates_sizes {
    const sg_trim_work *t;
    sg_magnitudes magnitudes;
    sg_real *room; // (n) where values are gates
    int64_t n;
} gates_sizes;

static sg_status gates_add(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    gates_sizes *s = user;
    const sg_trim_work *t = s->t;
    if (!gates_there(t)) return sg_magnitudes_add(&s->magnitudes, values, 1, n, NULL, err);
    if (s->n < n) {
        sg_free(s->room);
        s->room = sg_alloc_array((size_t)n, sizeof *s->room);
        s->n = s->room != NULL ? n : 0;
        if (s->room == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for gates");
    }
    const sg_glu_form form = sg_glu_form_of(&t->dense->config);
    t->dense->context->compute.kernels->act_forward(s->room, values, sg_glu_activation(form.kind),
                                                    n);
    return sg_magnitudes_add(&s->magnitudes, s->room, 1, n, NULL, err);
}

// One pass: sizes and places (group, count).
static sg_status gates_group(sg_trim_work *t, gates_sizes *sizes, sg_calibration_place *places,
                             sg_error *err)
{
    for (int64_t i = 0; i < t->group; i++) {
        sizes[i].t = t;
        SG_TRY(sg_magnitudes_new(&sizes[i].magnitudes, err));
        places[i] =
            (sg_calibration_place){.layer = t->first + i,
                                   .name = gates_there(t) ? "mlp.hook_pre" : "mlp.hook_post",
                                   .call = gates_add,
                                   .user = &sizes[i]};
    }
    SG_TRY(sg_calibration_places(&t->text, SG_USE_CALIBRATION, t->dense, places, t->group,
                                 sg_trim_go_on, t, err));
    for (int64_t i = 0; i < t->group; i++) {
        const int64_t layer = t->first + i;
        SG_TRY(sg_magnitudes_threshold(&sizes[i].magnitudes, 1 - t->o->active,
                                       &t->thresholds[layer], err));
        SG_TRY(sg_trim_found(t, layer, err));
    }
    return SG_OK;
}

static sg_status gates_find(sg_trim_work *t, sg_error *err)
{
    const size_t count = (size_t)t->group;
    gates_sizes *sizes = sg_alloc_zero(count, sizeof *sizes);
    sg_calibration_place *places = sg_alloc_zero(count, sizeof *places);
    sg_status status = sizes != NULL && places != NULL
                           ? gates_group(t, sizes, places, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for thresholds");
    for (size_t i = 0; sizes != NULL && i < count; i++) {
        sg_magnitudes_free(&sizes[i].magnitudes);
        sg_free(sizes[i].room);
    }
    sg_free(sizes);
    sg_free(places);
    return status;
}

// ---- the model ----------------------------------------------------------------------------------

// Rows of gates and linear parts, and of w_out, as they lie in a dense layer that was read.
static sg_status gates_layer(const sg_trim_work *t, int64_t layer, sg_dense_layer *l, sg_error *err)
{
    const int64_t parts = l->gated ? 2 : 1, numbers = l->neurons * l->d;
    SG_TRY(sg_dense_layer_read(t->dense, layer, l, err));
    sg_real *up = sg_moefy_values(t->made, layer,
                                  l->gated ? "experts.gate_up_proj.weight" : "experts.w_in.weight");
    sg_real *up_bias = sg_moefy_values(
        t->made, layer, l->gated ? "experts.gate_up_proj.bias" : "experts.w_in.bias");
    sg_real *out = sg_moefy_values(t->made, layer, "experts.w_out.weight");
    sg_real *bias = sg_moefy_values(t->made, layer, "experts.w_out.bias");
    if (up == NULL || out == NULL || (l->gate_bias != NULL && (up_bias == NULL || bias == NULL)))
        return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found no tables", (long long)layer + 1);
    memcpy(up, l->gate, (size_t)(parts * numbers) * sizeof *up);
    memcpy(out, l->out, (size_t)numbers * sizeof *out);
    if (l->gate_bias == NULL) return SG_OK;
    memcpy(up_bias, l->gate_bias, (size_t)(parts * l->neurons) * sizeof *up_bias);
    return sg_dense_layer_parameter(t->dense, layer, "down_proj.bias", bias, err);
}

static sg_status gates_fill(sg_trim_work *t, sg_error *err)
{
    sg_dense_layer l = {0};
    SG_TRY(sg_dense_layer_new(&t->dense->config, &l, err));
    sg_status status = SG_OK;
    for (int64_t i = 0; status == SG_OK && i < t->layers; i++)
        status = gates_layer(t, i, &l, err);
    sg_dense_layer_free(&l);
    return status;
}

static char *gates_list(sg_config *c, int place, size_t *bytes)
{
    (void)place;
    *bytes = sizeof c->ffn_layer_threshold;
    return c->ffn_layer_threshold;
}

// ---- the test -----------------------------------------------------------------------------------

typedef struct gates_count {
    double above, all;
} gates_count;

// What multiplies w_out is 0 where a neuron was left out.
static sg_status gates_count_above(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    gates_count *c = user;
    (void)err;
    for (int64_t i = 0; i < n; i++)
        c->above += values[i] != 0;
    c->all += (double)n;
    return SG_OK;
}

// Gates are computed, or w_in, whatever is left out. Layers are of one size.
static void gates_result(sg_trim_work *t, const gates_count *counts)
{
    const double parts = gates_there(t) ? 3 : 2;
    double kept = 0, spared = 0;
    for (int64_t i = 0; i < t->layers; i++) {
        sg_config own;
        const double share = counts[i].above / counts[i].all;
        const sg_config *c = sg_ffn_layer_config(&t->made->config, i, &own);
        kept += share;
        spared += (1 - share) * (double)sg_moefied_spared(c) / parts;
    }
    t->result->kept = kept / (double)t->layers;
    t->result->executed = 1 - spared / (double)t->layers;
}

static sg_status gates_counts(sg_trim_work *t, sg_error *err)
{
    gates_count *counts = sg_alloc_zero((size_t)t->layers, sizeof *counts);
    sg_calibration_place *places = sg_alloc_zero((size_t)t->layers, sizeof *places);
    sg_status status = counts != NULL && places != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a test");
    for (int64_t i = 0; status == SG_OK && i < t->layers; i++)
        places[i] = (sg_calibration_place){
            .layer = i, .name = "mlp.hook_post", .call = gates_count_above, .user = &counts[i]};
    if (status == SG_OK)
        status = sg_calibration_places(&t->text, SG_USE_TEST, t->made, places, t->layers,
                                       sg_trim_go_on, t, err);
    if (status == SG_OK) gates_result(t, counts);
    sg_free(places);
    sg_free(counts);
    return status;
}

const sg_trim_method sg_trim_gates = {
    .places = 1,
    .layer_bytes = SG_MAGNITUDES_BYTES,
    .config = gates_config,
    .fill = gates_fill,
    .find = gates_find,
    .list = gates_list,
    .count = gates_counts,
};
