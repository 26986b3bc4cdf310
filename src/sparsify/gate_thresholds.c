// Dense models that leave neurons out by their size, on thresholds of a text, trained in nothing:
//
//     threshold of a layer = the size that the share 1 - active of its values does not exceed,
//     values |act(x w_gate)|, in a plain layer |act(x w_in)|       (CATS, Lee et al. 2024)
//
// The neurons of a layer are one block, read by router gate (ffn/router_gate.c). Thresholds are of
// the dense model's values, those of one layer whatever the others leave out.
#include "sparsify/gate_thresholds.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "ffn/gated.h"
#include "model/config.h"
#include "sparsify/calibration.h"
#include "sparsify/dense_layer.h"
#include "sparsify/magnitudes.h"
#include "sparsify/moefy.h"
#include "text/tokenizer.h"

typedef struct trim {
    sg_model *dense, *made;
    const sg_sparsify_options *o;
    sg_sparsify_result *result;
    sg_config config;
    sg_calibration text;
    int64_t layers, group; // of the model; of a pass
    int64_t first;         // of this pass
    double *thresholds;    // (layers)
    bool gated;
} trim;

static bool trim_go_on(void *user, int64_t done, int64_t total)
{
    const trim *t = user;
    const sg_sparsify_options *o = t->o;
    if (o->progress == NULL) return true;
    return o->progress(o->progress_user, t->first + t->group * done / total, t->layers);
}

// ---- the configuration --------------------------------------------------------------------------

static sg_status trim_check(const sg_config *dense, const sg_sparsify_options *o, sg_error *err)
{
    if (strcmp(o->trim, "cats") != 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "trim: found \"%.40s\", expected cats", o->trim);
    if (!(o->active > 0 && o->active <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "active: found %s, expected more than 0 and at most 1",
                       SG_NUMBER(o->active));
    if (strcmp(dense->ffn, "mlp") != 0 && strcmp(dense->ffn, "glu") != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model of family %s, expected dense layers: mlp or glu", dense->ffn);
    if ((o->text == NULL && o->data == NULL) || o->calibration_tokens < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: thresholds are of a text, expected a text or packed data, and "
                       "calibration_tokens of 1 or more",
                       o->trim);
    return SG_OK;
}

sg_status sg_trim_config(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                         sg_error *err)
{
    SG_TRY(trim_check(dense, o, err));
    *c = *dense;
    const int64_t active = llround(o->active * (double)dense->ffn_intermediate_size);
    snprintf(c->ffn, sizeof c->ffn, "moefied");
    snprintf(c->ffn_router, sizeof c->ffn_router, "gate");
    snprintf(c->ffn_select, sizeof c->ffn_select, "threshold");
    c->ffn_block_size = 0;
    c->ffn_top_k = 1;
    c->ffn_active_neurons = active > 0 ? active : 1;
    return sg_config_complete(c, err);
}

// ---- thresholds ---------------------------------------------------------------------------------

typedef struct trim_sizes {
    const trim *t;
    sg_magnitudes magnitudes;
    sg_real *room; // (n) where values are gates
    int64_t n;
} trim_sizes;

static sg_status trim_add(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    trim_sizes *s = user;
    const trim *t = s->t;
    if (!t->gated) return sg_magnitudes_add(&s->magnitudes, values, 1, n, NULL, err);
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
static sg_status trim_group(trim *t, int64_t group, trim_sizes *sizes, sg_calibration_place *places,
                            sg_error *err)
{
    for (int64_t i = 0; i < group; i++) {
        sizes[i].t = t;
        SG_TRY(sg_magnitudes_new(&sizes[i].magnitudes, err));
        places[i] = (sg_calibration_place){.layer = t->first + i,
                                           .name = t->gated ? "mlp.hook_pre" : "mlp.hook_post",
                                           .call = trim_add,
                                           .user = &sizes[i]};
    }
    SG_TRY(sg_calibration_places(&t->text, SG_USE_CALIBRATION, t->dense, places, group, trim_go_on,
                                 t, err));
    for (int64_t i = 0; i < group; i++)
        SG_TRY(sg_magnitudes_threshold(&sizes[i].magnitudes, 1 - t->o->active,
                                       &t->thresholds[t->first + i], err));
    return SG_OK;
}

static sg_status trim_pass(trim *t, int64_t group, sg_error *err)
{
    const size_t count = (size_t)group;
    trim_sizes *sizes = sg_alloc_zero(count, sizeof *sizes);
    sg_calibration_place *places = sg_alloc_zero(count, sizeof *places);
    sg_status status = sizes != NULL && places != NULL
                           ? trim_group(t, group, sizes, places, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for thresholds");
    for (size_t i = 0; sizes != NULL && i < count; i++) {
        sg_magnitudes_free(&sizes[i].magnitudes);
        sg_free(sizes[i].room);
    }
    sg_free(sizes);
    sg_free(places);
    return status;
}

// As many layers a pass as there is memory for their histograms; one at least.
static sg_status trim_find(trim *t, sg_error *err)
{
    t->thresholds = sg_alloc_zero((size_t)t->layers, sizeof *t->thresholds);
    if (t->thresholds == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for thresholds");
    t->group = t->o->memory / SG_MAGNITUDES_BYTES;
    if (t->group < 1) t->group = 1;
    if (t->group > t->layers) t->group = t->layers;
    for (t->first = 0; t->first < t->layers; t->first += t->group) {
        const int64_t left = t->layers - t->first;
        SG_TRY(trim_pass(t, left < t->group ? left : t->group, err));
        t->result->passes++;
    }
    return SG_OK;
}

// The list of the configuration, to six digits.
static sg_status trim_list(trim *t, sg_error *err)
{
    char *list = t->config.ffn_layer_threshold;
    const size_t most = sizeof t->config.ffn_layer_threshold;
    size_t used = 0;
    for (int64_t l = 0; l < t->layers && used < most; l++)
        used += (size_t)snprintf(list + used, most - used, "%s%.6g", l > 0 ? "," : "",
                                 t->thresholds[l]);
    if (used < most) return sg_config_complete(&t->config, err);
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "found %lld layers, whose thresholds do not fit into a list of %zu characters",
                   (long long)t->layers, most - 1);
}

// ---- the model ----------------------------------------------------------------------------------

// Rows of gates and linear parts, and of w_out, as they lie in a dense layer that was read.
static sg_status trim_layer(const trim *t, int64_t layer, sg_dense_layer *l, sg_error *err)
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

static sg_status trim_make(trim *t, sg_error *err)
{
    sg_dense_layer l = {0};
    SG_TRY(sg_model_new(t->dense->context, &t->config, 0, &t->made, err));
    t->made->ends = t->dense->ends;
    SG_TRY(sg_moefy_copy(t->dense, t->made, err));
    SG_TRY(sg_dense_layer_new(&t->dense->config, &l, err));
    sg_status status = SG_OK;
    for (int64_t i = 0; status == SG_OK && i < t->layers; i++)
        status = trim_layer(t, i, &l, err);
    sg_dense_layer_free(&l);
    return status;
}

// ---- the test -----------------------------------------------------------------------------------

typedef struct trim_count {
    double above, all;
} trim_count;

// What multiplies w_out is 0 where a neuron was left out.
static sg_status trim_count_above(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    trim_count *c = user;
    (void)err;
    for (int64_t i = 0; i < n; i++)
        c->above += values[i] != 0;
    c->all += (double)n;
    return SG_OK;
}

static sg_status trim_counts(trim *t, sg_error *err)
{
    const double parts = t->gated ? 3 : 2;
    trim_count count = {0};
    sg_calibration_place *places = sg_alloc_zero((size_t)t->layers, sizeof *places);
    if (places == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a test");
    for (int64_t i = 0; i < t->layers; i++)
        places[i] = (sg_calibration_place){
            .layer = i, .name = "mlp.hook_post", .call = trim_count_above, .user = &count};
    const sg_status status = sg_calibration_places(&t->text, SG_USE_TEST, t->made, places,
                                                   t->layers, trim_go_on, t, err);
    sg_free(places);
    // Gates are computed, or w_in, whatever is left out.
    t->result->kept = count.above / count.all;
    t->result->executed = (1 + (parts - 1) * t->result->kept) / parts;
    return status;
}

static sg_status trim_test(trim *t, sg_error *err)
{
    double loss;
    t->result->dense_perplexity = t->result->sparse_perplexity = NAN;
    t->result->kept = t->result->executed = NAN;
    t->result->test_tokens = t->text.parts[SG_USE_TEST].rows;
    if (t->result->test_tokens == 0) return SG_OK;
    t->group = 0;
    SG_TRY(sg_calibration_loss(&t->text, SG_USE_TEST, t->dense, &loss, NULL, trim_go_on, t, err));
    t->result->dense_perplexity = exp(loss);
    SG_TRY(sg_calibration_loss(&t->text, SG_USE_TEST, t->made, &loss, NULL, trim_go_on, t, err));
    t->result->sparse_perplexity = exp(loss);
    return trim_counts(t, err);
}

// ---- all of it ----------------------------------------------------------------------------------

static sg_status trim_work(trim *t, sg_error *err)
{
    const sg_sparsify_options *o = t->o;
    const sg_calibration_source source = {.text = o->text,
                                          .text_bytes = o->text_bytes,
                                          .tokenizer = o->tokenizer,
                                          .data = o->data,
                                          .context = o->context,
                                          .tokens = {o->calibration_tokens, 0, o->test_tokens}};
    SG_TRY(sg_calibration_new(t->dense, &source, &t->text, err));
    t->result->lost_bytes = t->text.lost_bytes;
    t->result->replaced = t->text.replaced;
    SG_TRY(trim_find(t, err));
    SG_TRY(trim_list(t, err));
    SG_TRY(trim_make(t, err));
    SG_TRY(trim_test(t, err));
    const sg_tokenizer *k = o->tokenizer;
    if (o->out == NULL) return SG_OK;
    return sg_model_write(t->made, k ? k->json : NULL, k ? k->json_bytes : 0, o->out, err);
}

sg_status sg_trim_model(sg_model *dense, const sg_sparsify_options *o, sg_model **made,
                        sg_sparsify_result *result, sg_error *err)
{
    sg_claim *claim = NULL;
    trim t = {.dense = dense, .o = o, .result = result, .layers = dense->config.num_hidden_layers};
    *made = NULL;
    SG_TRY(sg_trim_config(&dense->config, o, &t.config, err));
    t.gated = sg_ffn_is_gated(&dense->config);
    if (o->out != NULL) SG_TRY(sg_folder_claim(o->out, false, &claim, err));
    const sg_status status = trim_work(&t, err);
    sg_folder_release(claim);
    sg_calibration_free(&t.text);
    sg_free(t.thresholds);
    if (status == SG_OK)
        *made = t.made;
    else
        sg_model_free(t.made);
    return status;
}
