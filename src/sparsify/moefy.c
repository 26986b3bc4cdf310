// A dense model with the neurons of its feed-forward layers in blocks: each layer is split by the
// vectors of its neurons (in a gated layer those of the gates, which say when a neuron is active),
// its tables are written as rows of neurons in the order of the split, and a router is made of the
// split. Nothing is trained, and no text is read. (Zhang et al. 2022, MoEfication.)
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/publish.h"
#include "ffn/ffn.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_sparsify.h"
#include "sparsify/router_net.h"
#include "text/tokenizer.h"

sg_sparsify_options sg_sparsify_options_default(void)
{
    return (sg_sparsify_options){.split = "kmeans",
                                 .router = "centroid",
                                 .select = "top_k",
                                 .block_size = 32,
                                 .active = 0.25};
}

// ---- the configuration --------------------------------------------------------------------------

static bool moefy_is(const char *text, const char *name)
{
    return strcmp(text, name) == 0;
}

static sg_status moefy_check(const sg_sparsify_options *o, sg_error *err)
{
    if (!moefy_is(o->split, "random") && !moefy_is(o->split, "kmeans") &&
        !moefy_is(o->split, "auction"))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "split: found \"%.40s\", expected random, kmeans or auction", o->split);
    if (!moefy_is(o->router, "centroid") && !moefy_is(o->router, "random"))
        return sg_fail(err, SG_ERR_ARGUMENT, "router: found \"%.40s\", expected centroid or random",
                       o->router);
    if (!moefy_is(o->select, "top_k") && !moefy_is(o->select, "threshold"))
        return sg_fail(err, SG_ERR_ARGUMENT, "select: found \"%.40s\", expected top_k or threshold",
                       o->select);
    if (!(o->active > 0 && o->active <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "active: found %s, expected more than 0 and at most 1",
                       SG_NUMBER(o->active));
    return SG_OK;
}

static sg_status moefy_config(const sg_config *dense, const sg_sparsify_options *o, sg_config *c,
                              sg_error *err)
{
    *c = *dense;
    const int64_t F = dense->ffn_intermediate_size, g = o->block_size;
    SG_TRY(moefy_check(o, err));
    if (!moefy_is(dense->ffn, "mlp") && !moefy_is(dense->ffn, "glu"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model of family %s, expected dense layers: mlp or glu", dense->ffn);
    SG_TRY(sg_partition_fits(F, g, err));
    const int64_t k = llround(o->active * (double)(F / g));
    snprintf(c->ffn, sizeof c->ffn, "moefied");
    snprintf(c->ffn_router, sizeof c->ffn_router, "centroid");
    snprintf(c->ffn_select, sizeof c->ffn_select, "%s", o->select);
    c->ffn_threshold = moefy_is(o->select, "top_k") ? 0 : o->threshold;
    c->ffn_block_size = g;
    c->ffn_top_k = k > 0 ? k : 1;
    c->ffn_layers[0] = '\0';
    return sg_config_complete(c, err);
}

// ---- one layer ----------------------------------------------------------------------------------

// A layer as it was: rows of neurons. linear: of a gated layer; biases NULL where there are none.
typedef struct moefy_layer {
    int64_t neurons, d;
    sg_real *gate, *linear, *out; // (neurons, d)
    sg_real *gate_bias, *linear_bias;
    sg_real *room; // (2 neurons, d), for matrices as they are stored, and as they become
} moefy_layer;

static void layer_free(moefy_layer *l)
{
    sg_free(l->gate);
    sg_free(l->linear);
    sg_free(l->out);
    sg_free(l->gate_bias);
    sg_free(l->linear_bias);
    sg_free(l->room);
}

static sg_status layer_new(const sg_config *c, bool gated, moefy_layer *l, sg_error *err)
{
    const int64_t n = c->ffn_intermediate_size, d = c->hidden_size;
    const size_t matrix = (size_t)(n * d);
    *l = (moefy_layer){.neurons = n, .d = d};
    l->gate = sg_alloc_array(matrix, sizeof *l->gate);
    l->out = sg_alloc_array(matrix, sizeof *l->out);
    l->room = sg_alloc_array(2 * matrix, sizeof *l->room);
    bool enough = l->gate != NULL && l->out != NULL && l->room != NULL;
    if (gated) enough = enough && (l->linear = sg_alloc_array(matrix, sizeof *l->linear)) != NULL;
    for (int i = 0; c->ffn_bias && i < 1 + gated; i++) {
        sg_real **bias = i == 0 ? &l->gate_bias : &l->linear_bias;
        enough = enough && (*bias = sg_alloc_array((size_t)n, sizeof **bias)) != NULL;
    }
    if (enough) return SG_OK;
    layer_free(l);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a feed-forward layer");
}

// All numbers of a parameter.
static sg_status moefy_read(const sg_model *m, size_t index, sg_real *to, sg_error *err)
{
    sg_tensor_info info;
    SG_TRY(sg_model_tensor_info(m, index, &info, err));
    return sg_model_tensor_read(m, index, 0, info.rows, to, err);
}

// The same of a layer. SG_ERR_NOT_FOUND names it.
static sg_status layer_read(const sg_model *m, int64_t layer, const char *name, sg_real *to,
                            sg_error *err)
{
    char full[96];
    size_t index;
    snprintf(full, sizeof full, "model.layers.%lld.mlp.%s", (long long)layer, name);
    SG_TRY(sg_model_tensor_find(m, full, &index, err));
    return moefy_read(m, index, to, err);
}

// Gates and linear parts of `n` numbers each, from halves or pairs.
static void layer_halves(const moefy_layer *l, bool pairs, const sg_real *both, int64_t n,
                         sg_real *gate, sg_real *linear)
{
    const size_t bytes = (size_t)n * sizeof *gate;
    for (int64_t j = 0; j < l->neurons; j++) {
        memcpy(gate + j * n, both + (pairs ? 2 * j : j) * n, bytes);
        memcpy(linear + j * n, both + (pairs ? 2 * j + 1 : l->neurons + j) * n, bytes);
    }
}

static sg_status layer_take(const sg_model *m, int64_t layer, moefy_layer *l, sg_error *err)
{
    const sg_config *c = &m->config;
    const bool pairs = c->ffn_glu_interleaved != 0;
    SG_TRY(layer_read(m, layer, l->linear ? "gate_up_proj.weight" : "up_proj.weight",
                      l->linear ? l->room : l->gate, err));
    if (l->linear) layer_halves(l, pairs, l->room, l->d, l->gate, l->linear);
    if (c->ffn_bias)
        SG_TRY(layer_read(m, layer, l->linear ? "gate_up_proj.bias" : "up_proj.bias",
                          l->linear ? l->room : l->gate_bias, err));
    if (c->ffn_bias && l->linear) layer_halves(l, pairs, l->room, 1, l->gate_bias, l->linear_bias);
    SG_TRY(layer_read(m, layer, "down_proj.weight", l->room, err));
    for (int64_t j = 0; j < l->neurons; j++)
        for (int64_t i = 0; i < l->d; i++)
            l->out[j * l->d + i] = l->room[i * l->neurons + j];
    return SG_OK;
}

// ---- writing it ---------------------------------------------------------------------------------

// Where a parameter of the layer lies in the new model, whose weights are all f32 in memory.
static sg_real *sparse_values(const sg_model *m, int64_t layer, const char *name)
{
    char full[96];
    size_t index;
    snprintf(full, sizeof full, "model.layers.%lld.mlp.%s", (long long)layer, name);
    return sg_model_tensor_find(m, full, &index, NULL) == SG_OK ? m->values[index] : NULL;
}

// Rows of n numbers of a table and, gated, of another, block by block, in the order of the split.
static void sparse_rows(const sg_partition *split, sg_real *to, const sg_real *first,
                        const sg_real *second, int64_t n)
{
    const sg_real *const from[] = {first, second};
    const int parts = second != NULL ? 2 : 1;
    for (int64_t b = 0; b < split->blocks; b++)
        for (int part = 0; part < parts; part++)
            for (int64_t j = 0; j < split->size; j++) {
                const int64_t neuron = split->order[b * split->size + j];
                memcpy(to + ((b * parts + part) * split->size + j) * n, from[part] + neuron * n,
                       (size_t)n * sizeof *to);
            }
}

static sg_status sparse_write(const sg_model *sparse, int64_t layer, const moefy_layer *l,
                              const sg_partition *split, const sg_router_net *net, sg_error *err)
{
    const bool gated = l->linear != NULL, biased = l->gate_bias != NULL;
    const int64_t E = split->blocks;
    sg_real *up =
        sparse_values(sparse, layer, gated ? "experts.gate_up_proj.weight" : "experts.w_in.weight");
    sg_real *out = sparse_values(sparse, layer, "experts.w_out.weight");
    sg_real *weight = sparse_values(sparse, layer, "router.weight");
    sg_real *bias = sparse_values(sparse, layer, "router.bias");
    sg_real *up_bias =
        sparse_values(sparse, layer, gated ? "experts.gate_up_proj.bias" : "experts.w_in.bias");
    if (up == NULL || out == NULL || weight == NULL || bias == NULL || (biased && up_bias == NULL))
        return sg_fail(err, SG_ERR_INTERNAL, "layer %lld: found no tables", (long long)layer);
    sparse_rows(split, up, l->gate, l->linear, l->d);
    if (biased) sparse_rows(split, up_bias, l->gate_bias, l->linear_bias, 1);
    sparse_rows(split, out, l->out, NULL, l->d);
    memcpy(weight, net->weight, (size_t)(E * l->d) * sizeof *weight);
    memcpy(bias, net->bias, (size_t)E * sizeof *bias);
    return SG_OK;
}

static sg_status moefy_split(sg_compute compute, const sg_sparsify_options *o, const moefy_layer *l,
                             int64_t layer, sg_partition *split, double *distance, sg_error *err)
{
    const uint64_t seed = o->seed + (uint64_t)layer;
    if (moefy_is(o->split, "random")) {
        SG_TRY(sg_partition_random(l->neurons, o->block_size, seed, split, err));
    } else {
        sg_kmeans_options k = sg_kmeans_options_default();
        k.kind = moefy_is(o->split, "auction") ? SG_KMEANS_AUCTION : SG_KMEANS_EXACT;
        k.seed = seed;
        SG_TRY(sg_partition_kmeans(compute, l->gate, l->neurons, l->d, o->block_size, &k, split,
                                   NULL, err));
    }
    double sum = 0;
    sg_status status = sg_partition_distance(compute, split, l->gate, l->d, &sum, err);
    if (status != SG_OK) sg_partition_free(split);
    *distance += sum / (double)l->neurons;
    return status;
}

static sg_status moefy_layer_of(const sg_model *dense, const sg_sparsify_options *o, int64_t layer,
                                moefy_layer *l, sg_model *sparse, double *distance, sg_error *err)
{
    sg_partition split;
    sg_router_net net = {0};
    sg_real *bias = sparse_values(sparse, layer, "experts.w_out.bias");
    SG_TRY(layer_take(dense, layer, l, err));
    SG_TRY(moefy_split(dense->context->compute, o, l, layer, &split, distance, err));
    sg_status status =
        sg_router_of_centres(&split, l->gate, l->d, moefy_is(o->router, "random"), &net, err);
    if (status == SG_OK) status = sparse_write(sparse, layer, l, &split, &net, err);
    if (status == SG_OK && bias != NULL)
        status = layer_read(dense, layer, "down_proj.bias", bias, err);
    sg_router_net_free(&net);
    sg_partition_free(&split);
    return status;
}

// ---- the model ----------------------------------------------------------------------------------

// Everything but the feed-forward layers.
static sg_status moefy_copy(const sg_model *dense, const sg_model *sparse, sg_error *err)
{
    for (size_t i = 0; i < sparse->params.count; i++) {
        size_t from;
        if (sg_model_tensor_find(dense, sparse->params.specs[i].name, &from, NULL) == SG_OK)
            SG_TRY(moefy_read(dense, from, sparse->values[i], err));
    }
    return SG_OK;
}

static sg_status moefy_layers(const sg_model *dense, const sg_sparsify_options *o, sg_model *sparse,
                              double *distance, sg_error *err)
{
    const int64_t layers = dense->config.num_hidden_layers;
    moefy_layer l;
    SG_TRY(layer_new(&dense->config, moefy_is(dense->config.ffn, "glu"), &l, err));
    sg_status status = SG_OK;
    for (int64_t i = 0; status == SG_OK && i < layers; i++) {
        status = moefy_layer_of(dense, o, i, &l, sparse, distance, err);
        if (status != SG_OK)
            status = sg_fail_context(err, status, "layer %lld", (long long)i + 1);
        else if (o->progress != NULL && !o->progress(o->progress_user, i + 1, layers))
            status = sg_fail(err, SG_ERR_STOPPED, "stopped");
    }
    *distance /= (double)layers;
    layer_free(&l);
    return status;
}

static sg_status moefy_make(const sg_model *dense, const sg_sparsify_options *o,
                            const sg_config *config, sg_model **sparse, double *distance,
                            sg_error *err)
{
    const sg_tokenizer *t = o->tokenizer;
    SG_TRY(sg_model_new(dense->context, config, 0, sparse, err));
    (*sparse)->ends = dense->ends;
    SG_TRY(moefy_copy(dense, *sparse, err));
    SG_TRY(moefy_layers(dense, o, *sparse, distance, err));
    if (o->out == NULL) return SG_OK;
    return sg_model_write(*sparse, t ? t->json : NULL, t ? t->json_bytes : 0, o->out, err);
}

sg_status sg_sparsify(const sg_model *dense, const sg_sparsify_options *options, sg_model **sparse,
                      double *distance, sg_error *err)
{
    const sg_sparsify_options o = options ? *options : sg_sparsify_options_default();
    sg_config config;
    sg_claim *claim = NULL;
    double mean = 0;
    *sparse = NULL;
    SG_TRY(moefy_config(&dense->config, &o, &config, err));
    if (o.out != NULL) SG_TRY(sg_folder_claim(o.out, false, &claim, err));
    const sg_status status = moefy_make(dense, &o, &config, sparse, &mean, err);
    sg_folder_release(claim);
    if (distance != NULL) *distance = mean;
    if (status == SG_OK) return SG_OK;
    sg_model_free(*sparse);
    *sparse = NULL;
    return status;
}

sg_status sg_sparsify_set_threshold(sg_model *m, double threshold, sg_error *err)
{
    sg_config config = m->config;
    if (atomic_load(&m->users) > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "threshold: found sessions or batches of the model, expected none");
    if (!moefy_is(config.ffn, "moefied") || moefy_is(config.ffn_select, "top_k"))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "threshold: found a model of family %s%s, expected moefied with ffn_select "
                       "max, share or threshold",
                       config.ffn, moefy_is(config.ffn, "moefied") ? " that selects top_k" : "");
    config.ffn_threshold = threshold;
    memset(config.ffn_layer_threshold, 0, sizeof config.ffn_layer_threshold);
    SG_TRY(sg_config_complete(&config, err));
    m->config = config;
    m->layout++; // recorded passes have the old one
    return SG_OK;
}

// ---- what there is to gain ----------------------------------------------------------------------

static double outlook_bytes(const sg_model *m, size_t index)
{
    sg_tensor_info info;
    return sg_model_tensor_info(m, index, &info, NULL) == SG_OK ? (double)info.bytes : 0;
}

// A token reads all weights but the rows of an embedding that is no classifier.
static void outlook_weigh(const sg_model *m, sg_sparsify_outlook *look)
{
    for (size_t i = 0; i < m->params.count; i++) {
        const char *name = m->params.specs[i].name;
        const double bytes = outlook_bytes(m, i);
        const bool table = strstr(name, "embed_positions") != NULL ||
                           (strstr(name, "embed_tokens") != NULL && m->config.untied_classifier);
        if (table) continue;
        look->all_bytes += bytes;
        if (strstr(name, ".mlp.") != NULL) look->ffn_bytes += bytes;
    }
}

sg_status sg_sparsify_look(const sg_model *dense, const sg_sparsify_options *options,
                           sg_sparsify_outlook *look, sg_error *err)
{
    const sg_sparsify_options o = options ? *options : sg_sparsify_options_default();
    sg_config config;
    sg_cost cost;
    *look = (sg_sparsify_outlook){0};
    SG_TRY(moefy_config(&dense->config, &o, &config, err));
    SG_TRY(sg_config_cost(&dense->config, 1, 1, false, 1, &cost, err));
    outlook_weigh(dense, look);
    const sg_ffn_count was = sg_ffn_total(&dense->config), is = sg_ffn_total(&config);
    look->ffn_flops = was.memory_flops;
    look->all_flops = cost.forward_flops_per_sequence_all_in;
    look->router = is.router_flops / was.memory_flops;
    const double rest = look->all_bytes - look->ffn_bytes;
    const double left = (is.memory_flops + is.router_flops) / was.memory_flops;
    look->ceiling = look->all_bytes / rest;
    look->bound = look->all_bytes / (rest + left * look->ffn_bytes);
    return SG_OK;
}
