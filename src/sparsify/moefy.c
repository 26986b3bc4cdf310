// A dense model with the neurons of its feed-forward layers in blocks. Layer by layer: its split
// and its router (moefy_layer.c), then its tables as rows of neurons in the order of the split.
// Inputs of layers are collected for as many layers at a time as memory is allowed for. (Zhang et
// al. 2022, MoEfication, and its successors.)
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/gated.h"
#include "model/config.h"
#include "sparsify/moefy_keep.h"
#include "sparsify/projection_mlps.h"
#include "sparsify/trim_model.h"
#include "text/tokenizer.h"

// ---- all layers ---------------------------------------------------------------------------------

typedef struct moefy {
    sg_model *dense, *sparse;
    const sg_sparsify_options *o;
    sg_sparsify_result *result;
    sg_calibration text;
    sg_dense_layer layer;
    sg_real *x;           // (group, rows, d) inputs of layers
    int64_t group, first; // layers that x has room for; the first of those that are in it
    sg_kept_work work;
} moefy;

static bool moefy_go_on(const moefy *m)
{
    const sg_sparsify_options *o = m->o;
    return o->progress == NULL ||
           o->progress(o->progress_user, m->work.done, m->dense->config.num_hidden_layers);
}

static bool moefy_pass(void *user, int64_t done, int64_t total)
{
    (void)done, (void)total;
    return moefy_go_on(user);
}

// Room for inputs of as many layers as are allowed.
static sg_status moefy_room(moefy *m, sg_error *err)
{
    const sg_config *c = &m->dense->config;
    const int64_t numbers = m->text.rows * c->hidden_size;
    const int64_t bytes = numbers * (int64_t)sizeof *m->x;
    if (numbers == 0) return SG_OK;
    m->group = m->o->memory / bytes;
    if (m->group > c->num_hidden_layers) m->group = c->num_hidden_layers;
    m->first = -m->group;
    if (m->group < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "memory: found %lld bytes, expected %lld or more, for the inputs of one "
                       "layer for %lld tokens",
                       (long long)m->o->memory, (long long)bytes, (long long)m->text.rows);
    m->x = sg_alloc_array((size_t)m->group, (size_t)bytes);
    return m->x != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for inputs of layers");
}

// Inputs of a layer, and with them those of the layers behind it that there is room for.
static sg_status moefy_inputs(moefy *m, int64_t layer, const sg_real **x, sg_error *err)
{
    const int64_t layers = m->dense->config.num_hidden_layers;
    *x = NULL;
    if (m->x == NULL) return SG_OK;
    if (layer >= m->first + m->group) {
        m->first = layer;
        SG_TRY(sg_calibration_inputs(&m->text, m->dense, layer, sg_min(m->group, layers - layer),
                                     m->x, moefy_pass, m, err));
        m->result->passes++;
    }
    *x = m->x + (layer - m->first) * m->text.rows * m->dense->config.hidden_size;
    return SG_OK;
}

// What a kept layer must be like.
static sg_moefy_shape moefy_shape(const moefy *m)
{
    const sg_config *c = &m->sparse->config;
    const sg_dense_layer *l = &m->layer;
    const int64_t E = c->ffn_intermediate_size / c->ffn_block_size;
    static const struct {
        const char *name;
        sg_router_form form;
    } forms[] = {{"centroid", SG_ROUTER_CENTROID},
                 {"mlp", SG_ROUTER_MLP},
                 {"norm", SG_ROUTER_NORM},
                 {"sigmoid", SG_ROUTER_SIGMOID},
                 {"representative", SG_ROUTER_REPRESENTATIVE}};
    sg_moefy_shape s = {.neurons = l->neurons,
                        .size = c->ffn_block_size,
                        .shared = m->o->shared_blocks,
                        .net = {.d = l->d, .blocks = E, .rows = E},
                        .means = c->ffn_mean || sg_moefy_centres(m->o)};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++)
        if (sg_moefy_is(c->ffn_router, forms[i].name)) s.net.form = forms[i].form;
    const bool representative = s.net.form == SG_ROUTER_REPRESENTATIVE;
    if (s.net.form == SG_ROUTER_MLP || s.net.form == SG_ROUTER_NORM)
        s.net.width = c->ffn_router_size != 0 ? c->ffn_router_size : E;
    if (representative && l->gated) s.net.rows = 2 * E;
    s.biased = s.net.form == SG_ROUTER_CENTROID || (representative && l->gate_bias != NULL);
    return s;
}

// A layer that is kept, or is made and, where the model goes into a folder, kept.
static sg_status moefy_layer_make(moefy *m, sg_moefy_source *source, sg_moefy_layer *made,
                                  sg_error *err)
{
    const sg_moefy_shape shape = moefy_shape(m);
    bool found;
    SG_TRY(sg_moefy_keep_load(&m->work, source->layer, &shape, made, &found, err));
    if (found) m->result->resumed++;
    if (found) return SG_OK;
    SG_TRY(moefy_inputs(m, source->layer, &source->x, err));
    SG_TRY(sg_moefy_layer_make(source, made, err));
    const sg_status status = sg_moefy_keep_save(&m->work, source->layer, made, err);
    if (status != SG_OK) sg_moefy_layer_free(made);
    return status;
}

static sg_status moefy_layer_of(moefy *m, int64_t layer, sg_error *err)
{
    sg_moefy_layer made;
    sg_moefy_source source = {.compute = m->dense->context->compute,
                              .options = m->o,
                              .config = &m->sparse->config,
                              .dense = &m->layer,
                              .text = &m->text,
                              .layer = layer};
    SG_TRY(sg_dense_layer_read(m->dense, layer, &m->layer, err));
    SG_TRY(moefy_layer_make(m, &source, &made, err));
    sg_status status = sg_moefy_write(m->dense, m->sparse, layer, &m->layer, &made, err);
    m->result->distance += made.quality.distance;
    if (m->o->layers != NULL) m->o->layers[layer] = made.quality;
    sg_moefy_layer_free(&made);
    return status;
}

static sg_status moefy_layers(moefy *m, sg_error *err)
{
    const int64_t layers = m->dense->config.num_hidden_layers;
    SG_TRY(sg_dense_layer_new(&m->dense->config, &m->layer, err));
    SG_TRY(moefy_room(m, err));
    for (int64_t i = 0; i < layers; i++) {
        const sg_status status = moefy_layer_of(m, i, err);
        if (status != SG_OK && status != SG_ERR_STOPPED)
            return sg_fail_context(err, status, "layer %lld", (long long)i + 1);
        SG_TRY(status);
        m->work.done = i + 1;
        if (!moefy_go_on(m)) return sg_kept_stopped(&m->work, err);
    }
    m->result->distance /= (double)layers;
    sg_free(m->x);
    m->x = NULL;
    return SG_OK;
}

// ---- the test -----------------------------------------------------------------------------------

// FLOPs of the sparse layers where tokens read `blocks` in the mean, over those of the dense ones.
static double moefy_executed(const sg_config *dense, const sg_config *sparse, const double *blocks)
{
    const sg_ffn_count was = sg_ffn_total(dense), is = sg_ffn_total(sparse);
    const int64_t layers = dense->num_hidden_layers;
    const double shared = (double)layers * sg_shared_flops(sparse);
    double mean = 0;
    for (int64_t i = 0; i < layers; i++)
        mean += blocks[i] / (double)layers;
    const double routed = (is.memory_flops - shared) * mean / (double)sparse->ffn_top_k;
    return (routed + shared + is.router_flops) / was.memory_flops;
}

static sg_status moefy_test(moefy *m, sg_error *err)
{
    double loss;
    m->result->dense_perplexity = m->result->sparse_perplexity = m->result->executed = NAN;
    m->result->test_tokens = m->text.parts[SG_USE_TEST].rows;
    if (m->result->test_tokens == 0) return SG_OK;
    double *blocks = sg_alloc_array((size_t)m->dense->config.num_hidden_layers, sizeof *blocks);
    if (blocks == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a test");
    sg_status status =
        sg_calibration_loss(&m->text, SG_USE_TEST, m->dense, &loss, NULL, moefy_pass, m, err);
    if (status == SG_OK) {
        m->result->dense_perplexity = exp(loss);
        status = sg_calibration_loss(&m->text, SG_USE_TEST, m->sparse, &loss, blocks, moefy_pass, m,
                                     err);
    }
    if (status == SG_OK) {
        m->result->sparse_perplexity = exp(loss);
        m->result->executed = moefy_executed(&m->dense->config, &m->sparse->config, blocks);
    }
    sg_free(blocks);
    return status;
}

// ---- the model ----------------------------------------------------------------------------------

// Everything but the feed-forward layers.
sg_status sg_moefy_copy(const sg_model *dense, const sg_model *sparse, sg_error *err)
{
    for (size_t i = 0; i < sparse->params.count; i++) {
        size_t from;
        sg_tensor_info info;
        if (sg_model_tensor_find(dense, sparse->params.specs[i].name, &from, NULL) != SG_OK)
            continue;
        SG_TRY(sg_model_tensor_info(dense, from, &info, err));
        SG_TRY(sg_model_tensor_read(dense, from, 0, info.rows, sparse->values[i], err));
    }
    return SG_OK;
}

static sg_status moefy_begin(moefy *m, const sg_config *config, sg_error *err)
{
    json_t *plan;
    SG_TRY(sg_moefy_plan(m->dense, m->o, config, &m->text, &plan, err));
    const sg_status status = sg_kept_begin(&m->work, plan, err);
    json_decref(plan);
    return status;
}

static sg_status moefy_make(moefy *m, const sg_config *config, sg_error *err)
{
    const sg_tokenizer *t = m->o->tokenizer;
    SG_TRY(sg_moefy_text(m->dense, m->o, &m->text, m->result, err));
    if (m->o->out != NULL) SG_TRY(moefy_begin(m, config, err));
    SG_TRY(sg_model_new(m->dense->context, config, 0, &m->sparse, err));
    m->sparse->ends = m->dense->ends;
    SG_TRY(sg_moefy_copy(m->dense, m->sparse, err));
    SG_TRY(moefy_layers(m, err));
    SG_TRY(moefy_test(m, err));
    if (m->o->out == NULL) return SG_OK;
    SG_TRY(sg_model_write(m->sparse, t ? t->json : NULL, t ? t->json_bytes : 0, m->o->out, err));
    return sg_kept_end(&m->work, err);
}

sg_status sg_sparsify(sg_model *dense, const sg_sparsify_options *options, sg_model **sparse,
                      sg_sparsify_result *result, sg_error *err)
{
    const sg_sparsify_options o = options ? *options : sg_sparsify_options_default();
    sg_config config;
    sg_sparsify_result own;
    moefy m = {.dense = dense, .o = &o, .result = result != NULL ? result : &own};
    *sparse = NULL;
    *m.result = (sg_sparsify_result){.kept = NAN};
    if (o.projections != NULL) return sg_projections_make(dense, &o, sparse, m.result, err);
    if (o.trim != NULL) return sg_trim_model(dense, &o, sparse, m.result, err);
    SG_TRY(sg_moefy_config(&dense->config, &o, &config, err));
    SG_TRY(sg_kept_open(o.out, &m.work, err));
    const sg_status status = moefy_make(&m, &config, err);
    sg_kept_close(&m.work, status);
    sg_dense_layer_free(&m.layer);
    sg_calibration_free(&m.text);
    sg_free(m.x);
    if (status == SG_OK)
        *sparse = m.sparse;
    else
        sg_model_free(m.sparse);
    return status;
}
