// Counts of selections and contributions of all neurons, by the points of every layer: the ids say
// which neuron a coefficient of hook_post is of.
#include "probe/neuron_usage.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

typedef struct usage_layer {
    sg_neuron_usage *of;
    sg_layer_usage counts;
    char names[2][64];
    int32_t *ids, *selected; // of the pass: (rows, channels, k); (rows, channels) counts
    size_t ids_room, selected_room;
    bool counted;
    int64_t k;
    int32_t *firsts; // (channels, neurons), or NULL
} usage_layer;

struct sg_neuron_usage {
    const sg_model *model;
    usage_layer *layers;
    int64_t layer_count, from, tokens;
    bool counts;
    sg_point_request *requests;
    sg_points points;
};

static sg_status usage_ids(void *user, const sg_point_values *v, sg_error *err)
{
    usage_layer *l = user;
    const size_t pairs = (size_t)(v->shape[0] * v->shape[1]);
    const size_t all = pairs * (size_t)v->shape[2];
    l->counted = v->counts != NULL;
    if (!sg_grow((void **)&l->ids, &l->ids_room, all, sizeof *l->ids) ||
        (l->counted &&
         !sg_grow((void **)&l->selected, &l->selected_room, pairs, sizeof *l->selected)))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
    memcpy(l->ids, v->ids, all * sizeof *l->ids);
    if (l->counted) memcpy(l->selected, v->counts, pairs * sizeof *l->selected);
    l->k = v->shape[2];
    return SG_OK;
}

static void usage_block(usage_layer *l, int64_t first, int64_t g, int64_t position, const float *z)
{
    sg_layer_usage *u = &l->counts;
    for (int64_t j = 0; l->of->counts && j < g; j++) {
        u->hits[first + j] += 1;
        u->sizes[first + j] += fabs((double)z[j]);
        u->sums[first + j] += (double)z[j];
    }
    for (int64_t j = 0; l->firsts != NULL && j < g; j++)
        if (l->firsts[first + j] > position) l->firsts[first + j] = (int32_t)position;
}

static sg_status usage_post(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    usage_layer *l = user;
    const sg_neuron_table *t = &l->counts.table;
    const int64_t width = v->rank == 3 ? v->shape[1] * v->shape[2] : v->shape[1];
    for (int64_t r = 0; r < v->shape[0]; r++) {
        const int64_t at = v->first_row + r;
        const int64_t position = (v->start != NULL ? v->start[at / v->length] : 0) + at % v->length;
        if (position < l->of->from) continue;
        if (t->layer == 0) l->of->tokens += l->of->counts;
        const float *z = v->values + r * width;
        if (t->dense) {
            usage_block(l, 0, width, position, z);
            continue;
        }
        const int64_t g = width / (t->channels * l->k);
        for (int64_t c = 0; c < t->channels; c++) {
            const int64_t pair = r * t->channels + c, k = l->counted ? l->selected[pair] : l->k;
            for (int64_t s = 0; s < k; s++)
                usage_block(l, c * t->neurons + l->ids[pair * l->k + s] * g, g, position,
                            z + (c * l->k + s) * g);
        }
    }
    return SG_OK;
}

static void usage_ask(sg_neuron_usage *u, usage_layer *l, int which, const char *name,
                      sg_point_fn call)
{
    snprintf(l->names[which], sizeof l->names[which], "blocks.%lld.mlp.%s",
             (long long)l->counts.table.layer, name);
    u->requests[u->points.count++] =
        (sg_point_request){.name = l->names[which], .use = SG_POINT_READ, .call = call, .user = l};
}

static sg_status usage_open(sg_neuron_usage *u, int64_t layer, sg_error *err)
{
    usage_layer *l = &u->layers[layer];
    sg_layer_usage *c = &l->counts;
    l->of = u;
    SG_TRY(sg_neuron_table_of(u->model, layer, &c->table, err));
    const size_t all = (size_t)(c->table.channels * c->table.neurons);
    c->hits = sg_alloc_zero(all, sizeof *c->hits);
    c->sizes = sg_alloc_zero(all, sizeof *c->sizes);
    c->sums = sg_alloc_zero(all, sizeof *c->sums);
    c->norms = sg_alloc_zero((size_t)(c->table.pools * c->table.neurons), sizeof *c->norms);
    if (c->hits == NULL || c->sizes == NULL || c->sums == NULL || c->norms == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
    if (!c->table.dense) usage_ask(u, l, 0, "hook_gate_ids", usage_ids);
    usage_ask(u, l, 1, "hook_post", usage_post);
    return sg_neuron_out_norms(&c->table, c->norms, err);
}

sg_status sg_neuron_usage_new(const sg_model *model, sg_neuron_usage **out, sg_error *err)
{
    sg_neuron_usage *u = sg_alloc_zero(1, sizeof *u);
    sg_status status = SG_OK;
    *out = NULL;
    if (u == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
    u->model = model;
    u->counts = true;
    const int64_t count = model->config.num_hidden_layers;
    u->layers = sg_alloc_zero((size_t)count, sizeof *u->layers);
    u->requests = sg_alloc_zero((size_t)count, 2 * sizeof *u->requests);
    if (u->layers == NULL || u->requests == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
    for (; status == SG_OK && u->layer_count < count; u->layer_count++)
        status = usage_open(u, u->layer_count, err);
    if (status != SG_OK) {
        sg_neuron_usage_free(u);
        return status;
    }
    u->points.items = u->requests;
    *out = u;
    return SG_OK;
}

void sg_neuron_usage_free(sg_neuron_usage *u)
{
    if (u == NULL) return;
    for (int64_t i = 0; u->layers != NULL && i < u->model->config.num_hidden_layers; i++) {
        usage_layer *l = &u->layers[i];
        sg_free(l->counts.hits);
        sg_free(l->counts.sizes);
        sg_free(l->counts.sums);
        sg_free(l->counts.norms);
        sg_free(l->ids);
        sg_free(l->selected);
        sg_free(l->firsts);
    }
    sg_free(u->layers);
    sg_free(u->requests);
    sg_free(u);
}

const sg_points *sg_neuron_usage_points(const sg_neuron_usage *u)
{
    return &u->points;
}

void sg_neuron_usage_from(sg_neuron_usage *u, int64_t from)
{
    u->from = from;
}

void sg_neuron_usage_set_tokens(sg_neuron_usage *u, int64_t tokens)
{
    u->tokens = tokens;
}

void sg_neuron_usage_count(sg_neuron_usage *u, bool counts)
{
    u->counts = counts;
}

sg_status sg_neuron_usage_firsts(sg_neuron_usage *u, sg_error *err)
{
    for (int64_t i = 0; i < u->layer_count; i++) {
        usage_layer *l = &u->layers[i];
        const int64_t all = l->counts.table.channels * l->counts.table.neurons;
        if (l->firsts == NULL) l->firsts = sg_alloc_array((size_t)all, sizeof *l->firsts);
        if (l->firsts == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "out of memory for counts of neurons");
        for (int64_t n = 0; n < all; n++)
            l->firsts[n] = INT32_MAX;
    }
    return SG_OK;
}

int32_t sg_neuron_usage_first(const sg_neuron_usage *u, int64_t layer, int64_t channel,
                              int64_t neuron)
{
    const usage_layer *l = &u->layers[layer];
    return l->firsts[channel * l->counts.table.neurons + neuron];
}

int64_t sg_neuron_usage_tokens(const sg_neuron_usage *u)
{
    return u->tokens;
}

const sg_layer_usage *sg_neuron_usage_layer(const sg_neuron_usage *u, int64_t layer)
{
    return &u->layers[layer].counts;
}

double sg_contribution_norm(const sg_layer_usage *u, int64_t channel, int64_t neuron)
{
    const int64_t at = channel * u->table.neurons + neuron;
    const int64_t pool = u->table.pools > 1 ? channel : 0;
    if (u->hits[at] == 0) return 0;
    return u->sizes[at] / u->hits[at] * (double)u->norms[pool * u->table.neurons + neuron];
}

// ---- random neurons that are like others --------------------------------------------------------

static double matched_usage(const sg_matched_neuron *n)
{
    return log1p(n->usage);
}

static double matched_norm(const sg_matched_neuron *n)
{
    return log(n->norm + 1e-12);
}

static double matched_deviation(const sg_matched_neuron *neurons, int64_t n,
                                double (*of)(const sg_matched_neuron *))
{
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < n; i++)
        sum += of(&neurons[i]);
    for (int64_t i = 0; i < n; i++) {
        const double apart = of(&neurons[i]) - sum / (double)n;
        squares += apart * apart;
    }
    return squares > 0 ? sqrt(squares / (double)n) : 1;
}

int64_t sg_matched_nearest(const sg_matched_neuron *neurons, int64_t n, sg_matched_neuron like,
                           int64_t most, int32_t *near, double *work)
{
    const double by_usage = matched_deviation(neurons, n, matched_usage);
    const double by_norm = matched_deviation(neurons, n, matched_norm);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (neurons[i].taken) continue;
        const double u = (matched_usage(&neurons[i]) - matched_usage(&like)) / by_usage;
        const double v = (matched_norm(&neurons[i]) - matched_norm(&like)) / by_norm;
        work[i] = u * u + v * v;
        if (count == most && work[near[most - 1]] <= work[i]) continue;
        int64_t at = count < most ? count++ : most - 1;
        for (; at > 0 && work[near[at - 1]] > work[i]; at--)
            near[at] = near[at - 1];
        near[at] = (int32_t)i;
    }
    return count;
}
