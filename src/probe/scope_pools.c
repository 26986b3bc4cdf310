// The gates of a page, channel by channel. Of each row (a token) the neurons are ascending, the
// first as it is, the others as differences; scores are q of low + (high - low) q / 63, activations
// q of sign(q) (q / 31)^2 most, lengths of w_out q of most q / 65535, of the neurons that fire.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "ffn/ffn.h"
#include "format/json.h"
#include "probe/records.h"
#include "probe/scope_page.h"

enum { score_levels = 63, activation_levels = 31 };

// What one channel has, while its columns are made.
typedef struct pool_rows {
    const sg_record_layer *layer;
    sg_gate_rows scores, activations;
    int32_t *values; // (hits, or rows)
    int32_t *used;   // (used_count) neurons that fire, ascending
    int64_t used_count;
    sg_record_neuron *neurons; // (layer->neurons)
} pool_rows;

static int64_t pool_hits(const pool_rows *p)
{
    return p->scores.begins[p->scores.rows];
}

// ---- columns ------------------------------------------------------------------------------------

static sg_status pool_column(sg_scope_page *page, const pool_rows *p, sg_page_type type,
                             int64_t count, json_t *object, const char *key, sg_error *err)
{
    json_t *reference;
    SG_TRY(sg_page_columns_add(&page->columns, type, p->values, count, &reference, err));
    return sg_scope_set(object, key, reference, err);
}

// How many neurons fire in each row of the text, where that is not always `slots`.
static sg_status pool_counts(sg_scope_page *page, pool_rows *p, json_t *object, sg_error *err)
{
    const sg_gate_rows *g = &p->scores;
    bool all = true;
    int64_t r = 0;
    for (int64_t t = 0; t < page->count; t++) {
        while (r < g->rows && g->tokens[r] < page->tokens[t].id)
            r++;
        const bool has = r < g->rows && g->tokens[r] == page->tokens[t].id;
        p->values[t] = has ? (int32_t)(g->begins[r + 1] - g->begins[r]) : 0;
        all = all && p->values[t] == p->layer->slots;
    }
    if (all) return SG_OK;
    return pool_column(page, p, sg_page_type_for(p->layer->slots), page->count, object, "counts",
                       err);
}

static sg_status pool_neurons(sg_scope_page *page, pool_rows *p, json_t *object, sg_error *err)
{
    const sg_gate_rows *g = &p->scores;
    for (int64_t r = 0; r < g->rows; r++)
        for (int64_t i = g->begins[r]; i < g->begins[r + 1]; i++)
            p->values[i] = g->neurons[i] - (i > g->begins[r] ? g->neurons[i - 1] : 0);
    return pool_column(page, p, sg_page_type_for(p->layer->neurons), pool_hits(p), object, "neuron",
                       err);
}

static sg_status pool_scores(sg_scope_page *page, pool_rows *p, json_t *object, sg_error *err)
{
    const float *s = p->scores.scores;
    double low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < pool_hits(p); i++) {
        low = fmin(low, s[i]);
        high = fmax(high, s[i]);
    }
    if (!isfinite(low) || !isfinite(high)) low = high = 0;
    for (int64_t i = 0; i < pool_hits(p); i++)
        p->values[i] = high > low ? (int32_t)lround((s[i] - low) / (high - low) * score_levels) : 0;
    SG_TRY(sg_scope_set(object, "score_levels", json_integer(score_levels), err));
    SG_TRY(sg_scope_set(object, "score_low", json_real(low), err));
    SG_TRY(sg_scope_set(object, "score_high", json_real(high), err));
    return pool_column(page, p, SG_PAGE_U8, pool_hits(p), object, "score", err);
}

static sg_status pool_activations(sg_scope_page *page, pool_rows *p, json_t *object, sg_error *err)
{
    const float *a = p->activations.scores;
    double most = 0;
    for (int64_t i = 0; i < pool_hits(p); i++)
        most = fmax(most, fabs(a[i]));
    if (!isfinite(most)) most = 0;
    for (int64_t i = 0; i < pool_hits(p); i++) {
        const double size = most > 0 ? sqrt(fmin(1, fabs(a[i]) / most)) * activation_levels : 0;
        p->values[i] = (int32_t)(a[i] < 0 ? -lround(size) : lround(size));
    }
    SG_TRY(sg_scope_set(object, "activation_levels", json_integer(activation_levels), err));
    SG_TRY(sg_scope_set(object, "activation_most", json_real(most), err));
    return pool_column(page, p, SG_PAGE_I8, pool_hits(p), object, "activation", err);
}

// Of blocks there is no one length: an activation is that of the whole block already.
static sg_status pool_norms(sg_scope_page *page, pool_rows *p, json_t *object, sg_error *err)
{
    double most = 0;
    for (int64_t i = 0; i < p->used_count; i++) {
        const double norm = p->neurons[p->used[i]].out_norm;
        most = fmax(most, isfinite(norm) ? norm : 1);
    }
    for (int64_t i = 0; i < p->used_count; i++) {
        const double norm = p->neurons[p->used[i]].out_norm;
        p->values[i] =
            most > 0 ? (int32_t)lround((isfinite(norm) ? norm : 1) / most * UINT16_MAX) : 0;
    }
    SG_TRY(sg_scope_set(object, "norm_most", json_real(most), err));
    return pool_column(page, p, SG_PAGE_U16, p->used_count, object, "norm", err);
}

// ---- a channel ----------------------------------------------------------------------------------

static sg_status pool_read(sg_scope_page *page, sg_record *record, const sg_scope_pool *pool,
                           pool_rows *p, sg_error *err)
{
    SG_TRY(sg_record_gates(record, pool->layer, pool->channel, 0, &p->scores, err));
    SG_TRY(sg_record_activations(record, pool->layer, pool->channel, 0, &p->activations, err));
    const int64_t hits = pool_hits(p), rows = p->scores.rows;
    if (p->activations.rows != rows || p->activations.begins[rows] != hits ||
        memcmp(p->activations.neurons, p->scores.neurons,
               (size_t)hits * sizeof *p->scores.neurons) != 0)
        return sg_fail(err, SG_ERR_INTERNAL, "record: found other neurons with activations");
    const int64_t room = sg_scope_max(sg_scope_max(hits, page->count), p->layer->neurons);
    p->values = sg_alloc_array((size_t)room, sizeof *p->values);
    p->used = sg_alloc_array((size_t)p->layer->neurons, sizeof *p->used);
    p->neurons = sg_alloc_array((size_t)p->layer->neurons, sizeof *p->neurons);
    if (p->values == NULL || p->used == NULL || p->neurons == NULL) return sg_scope_memory(err);
    SG_TRY(sg_record_neurons(record, pool->layer, pool->channel, p->neurons, err));
    for (int64_t n = 0; n < p->layer->neurons; n++)
        if (p->neurons[n].hits > 0) p->used[p->used_count++] = (int32_t)n;
    return SG_OK;
}

static sg_status pool_columns(sg_scope_page *page, sg_scope_pool *pool, pool_rows *p, sg_error *err)
{
    pool->hits = json_pack("{s:I}", "channel", (json_int_t)pool->channel);
    if (pool->hits == NULL) return sg_scope_memory(err);
    SG_TRY(pool_counts(page, p, pool->hits, err));
    SG_TRY(pool_neurons(page, p, pool->hits, err));
    SG_TRY(pool_scores(page, p, pool->hits, err));
    SG_TRY(pool_activations(page, p, pool->hits, err));
    return pool_norms(page, p, pool->hits, err);
}

static void pool_free(pool_rows *p)
{
    sg_gate_rows_free(&p->scores);
    sg_gate_rows_free(&p->activations);
    sg_free(p->values);
    sg_free(p->used);
    sg_free(p->neurons);
}

static sg_status pool_make(sg_scope_page *page, sg_scope_pool *pool, const sg_record_layer *layer,
                           sg_error *err)
{
    const sg_scope_model *model = &page->options->models[pool->model];
    pool_rows rows = {.layer = layer};
    pool->first = page->columns.count;
    sg_status status = pool_read(page, model->record, pool, &rows, err);
    if (status == SG_OK) status = pool_columns(page, pool, &rows, err);
    if (status == SG_OK && model->model != NULL && layer->unit == 1)
        status = sg_scope_lens(page, model->model, pool->layer, pool->channel, rows.used,
                               rows.used_count, &pool->lens, err);
    pool->end = page->columns.count;
    pool_free(&rows);
    return status;
}

// ---- all channels -------------------------------------------------------------------------------

static sg_status pools_list(sg_scope_page *page, size_t model, sg_error *err)
{
    const sg_scope_options *o = page->options;
    const sg_record_info *info = sg_record_get_info(o->models[model].record);
    int64_t layer = -1, rank = 0;
    for (size_t i = 0; i < info->channel_count; i++) {
        const sg_record_channel *c = &info->channels[i];
        if (!sg_list_has(o->layers, c->layer) || !sg_list_has(o->channels, c->channel)) continue;
        if (!sg_grow((void **)&page->pools, &page->pool_capacity, page->pool_count + 1,
                     sizeof *page->pools))
            return sg_scope_memory(err);
        rank = c->layer == layer ? rank + 1 : 0;
        layer = c->layer;
        page->pools[page->pool_count++] =
            (sg_scope_pool){.model = model, .layer = c->layer, .channel = c->channel, .rank = rank};
    }
    return SG_OK;
}

sg_status sg_scope_pools(sg_scope_page *page, sg_error *err)
{
    const sg_scope_options *o = page->options;
    for (size_t m = 0; m < o->model_count; m++)
        SG_TRY(pools_list(page, m, err));
    if (page->pool_count == 0)
        return sg_fail(err, SG_ERR_NOT_FOUND,
                       "layers %s, channels %s: found none of them in the record",
                       o->layers ? o->layers : "all", o->channels ? o->channels : "all");
    if (o->part != NULL) o->part(o->user, "neurons");
    for (size_t i = 0; i < page->pool_count; i++) {
        sg_scope_pool *pool = &page->pools[i];
        if (o->progress != NULL && !o->progress(o->user, (int64_t)i, (int64_t)page->pool_count))
            return sg_fail(err, SG_ERR_STOPPED, "stopped before the page was written");
        SG_TRY(pool_make(page, pool,
                         sg_record_find_layer(o->models[pool->model].record, pool->layer), err));
    }
    return SG_OK;
}
