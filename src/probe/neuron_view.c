// What a neuron reads and writes, told in tokens. With e_t a token's embedding, u_t its row of the
// classifier, g and b gain and shift of the norm in front of the layer, G the gain of the last
// norm:
//
//     reads    w_in . x_t      x_t = g (e_t - mean) / s(e_t) + b: the layer's norm of e_t, as if
//                              nothing else were in the stream (RMSNorm: no mean, no shift)
//     writes   u_t . (G (w_out - mean)): the logit lens (nostalgebraist 2020) of one unit of the
//                              neuron's coefficient, before the last norm divides by its scale
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "probe/neuron_tables.h"
#include "sgatlin_usage.h"

enum { view_piece = 64 }; // rows of a table read at a time

typedef struct view_work {
    const sg_model *model;
    sg_neuron_table table;
    int64_t width;
    float *row, *gain, *shift, *piece; // (width), (width), (width), (view_piece, width)
    bool shifts;
} view_work;

static sg_status view_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for what a neuron reads and writes");
}

static sg_status view_begin(view_work *w, sg_error *err)
{
    const size_t d = (size_t)w->width;
    w->row = sg_alloc_array(d, sizeof *w->row);
    w->gain = sg_alloc_array(d, sizeof *w->gain);
    w->shift = sg_alloc_zero(d, sizeof *w->shift);
    w->piece = sg_alloc_array(d * view_piece, sizeof *w->piece);
    w->shifts = sg_config_norm_shifts(&w->model->config);
    if (w->row == NULL || w->gain == NULL || w->shift == NULL || w->piece == NULL)
        return view_memory(err);
    return SG_OK;
}

static void view_end(view_work *w)
{
    sg_free(w->row);
    sg_free(w->gain);
    sg_free(w->shift);
    sg_free(w->piece);
}

// A vector (width), whose numbers are rows.
static sg_status view_vector(const view_work *w, const char *name, float *values, sg_error *err)
{
    size_t index;
    SG_TRY(sg_model_tensor_find(w->model, name, &index, err));
    return sg_model_tensor_read(w->model, index, 0, w->width, values, err);
}

static sg_status view_norm(view_work *w, const char *prefix, sg_error *err)
{
    char name[96];
    snprintf(name, sizeof name, "%s.weight", prefix);
    SG_TRY(view_vector(w, name, w->gain, err));
    snprintf(name, sizeof name, "%s.bias", prefix);
    return w->shifts ? view_vector(w, name, w->shift, err) : SG_OK;
}

static double view_mean(const view_work *w, const float *row)
{
    double sum = 0;
    for (int64_t i = 0; i < w->width; i++)
        sum += row[i];
    return w->shifts ? sum / (double)w->width : 0;
}

static double view_length(const float *row, int64_t width)
{
    double sum = 0;
    for (int64_t i = 0; i < width; i++)
        sum += (double)row[i] * row[i];
    return sqrt(sum);
}

// norm(e), in its place.
static void view_normalise(const view_work *w, float *e)
{
    const double mean = view_mean(w, e);
    double sum = 0;
    for (int64_t i = 0; i < w->width; i++)
        sum += (e[i] - mean) * (e[i] - mean);
    const double scale = sqrt(sum / (double)w->width + w->model->config.rms_norm_eps);
    for (int64_t i = 0; i < w->width; i++)
        e[i] = (float)((e[i] - mean) / scale * w->gain[i] + w->shift[i]);
}

static sg_token_match view_match(const view_work *w, int64_t token, const float *x, double length)
{
    double dot = 0;
    for (int64_t i = 0; i < w->width; i++)
        dot += (double)x[i] * w->row[i];
    const double by = view_length(x, w->width) * length;
    return (sg_token_match){(int32_t)token, (float)dot, by > 0 ? (float)(dot / by) : 0};
}

// Keeps the first `count` in the order of sign * key, of equal ones the lower token.
static void view_keep(sg_token_match *list, int64_t *used, int64_t count, sg_token_match match,
                      bool cosine, float sign)
{
    const float key = sign * (cosine ? match.cosine : match.dot);
    int64_t at = *used < count ? (*used)++ : count;
    for (; at > 0; at--) {
        const float before = sign * (cosine ? list[at - 1].cosine : list[at - 1].dot);
        if (!(key > before)) break;
        if (at < count) list[at] = list[at - 1];
    }
    if (at < count) list[at] = match;
}

// Both lists of a table (vocabulary, width); `normed`: rows go through the norm, and cosine
// decides.
static sg_status view_search(const view_work *w, const char *name, bool normed, int64_t count,
                             sg_token_match *most, sg_token_match *least, sg_error *err)
{
    size_t index;
    int64_t up = 0, down = 0;
    const int64_t tokens = w->model->config.vocab_size;
    const double length = view_length(w->row, w->width);
    SG_TRY(sg_model_tensor_find(w->model, name, &index, err));
    for (int64_t first = 0; first < tokens; first += view_piece) {
        const int64_t rows = tokens - first < view_piece ? tokens - first : view_piece;
        SG_TRY(sg_model_tensor_read(w->model, index, first, rows, w->piece, err));
        for (int64_t r = 0; r < rows; r++) {
            float *x = w->piece + r * w->width;
            if (normed) view_normalise(w, x);
            const sg_token_match match = view_match(w, first + r, x, length);
            view_keep(most, &up, count, match, normed, 1);
            view_keep(least, &down, count, match, normed, -1);
        }
    }
    return SG_OK;
}

static sg_status view_lists(sg_token_match **most, sg_token_match **least, int64_t count,
                            sg_error *err)
{
    *most = sg_alloc_array((size_t)count + 1, sizeof **most);
    *least = sg_alloc_array((size_t)count + 1, sizeof **least);
    return *most != NULL && *least != NULL ? SG_OK : view_memory(err);
}

static sg_status view_reads(view_work *w, sg_neuron_view *v, sg_error *err)
{
    char prefix[64];
    v->in_norm = NAN;
    v->reads = w->table.in != SG_NEURON_NO_TABLE;
    if (!v->reads) return SG_OK;
    SG_TRY(sg_neuron_in(&w->table, v->channel, v->neuron, w->row, err));
    v->in_norm = view_length(w->row, w->width);
    snprintf(prefix, sizeof prefix, "model.layers.%lld.post_attention_layernorm",
             (long long)v->layer);
    SG_TRY(view_norm(w, prefix, err));
    SG_TRY(view_lists(&v->read_most, &v->read_least, v->count, err));
    return view_search(w, "model.embed_tokens.weight", true, v->count, v->read_most, v->read_least,
                       err);
}

static sg_status view_writes(view_work *w, sg_neuron_view *v, sg_error *err)
{
    SG_TRY(sg_neuron_out(&w->table, v->channel, v->neuron, w->row, err));
    v->out_norm = view_length(w->row, w->width);
    v->writes = w->table.summed;
    if (!v->writes) return SG_OK;
    SG_TRY(view_norm(w, "model.norm", err));
    const double mean = view_mean(w, w->row);
    for (int64_t i = 0; i < w->width; i++)
        w->row[i] = (float)((w->row[i] - mean) * w->gain[i]);
    SG_TRY(view_lists(&v->write_most, &v->write_least, v->count, err));
    const bool untied = w->model->config.untied_classifier != 0;
    return view_search(w, untied ? "lm_head.weight" : "model.embed_tokens.weight", false, v->count,
                       v->write_most, v->write_least, err);
}

// Of the block that a neuron is in; -1 without product keys.
static void view_keys(const sg_neuron_table *t, sg_neuron_view *v)
{
    const int64_t n = sg_neuron_sub_keys(t), block = v->neuron / t->block;
    v->first_key = n > 0 ? block / n : -1;
    v->second_key = n > 0 ? block % n : -1;
}

sg_status sg_neuron_view_of(const sg_model *model, int64_t layer, int64_t channel, int64_t neuron,
                            int64_t count, sg_neuron_view *view, sg_error *err)
{
    view_work w = {.model = model};
    const int64_t tokens = model->config.vocab_size;
    *view = (sg_neuron_view){.layer = layer, .channel = channel, .neuron = neuron};
    if (count < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "count: found %lld, expected at least 0",
                       (long long)count);
    SG_TRY(sg_neuron_table_of(model, layer, &w.table, err));
    SG_TRY(sg_neuron_check(&w.table, "no such neuron", channel, neuron, err));
    w.width = w.table.width;
    view->count = count < tokens ? count : tokens;
    view->block = w.table.block;
    view->dense = w.table.dense;
    view_keys(&w.table, view);
    sg_status status = view_begin(&w, err);
    if (status == SG_OK) status = view_reads(&w, view, err);
    if (status == SG_OK) status = view_writes(&w, view, err);
    view_end(&w);
    if (status != SG_OK) sg_neuron_view_free(view);
    return status;
}

void sg_neuron_view_free(sg_neuron_view *view)
{
    sg_free(view->read_most);
    sg_free(view->read_least);
    sg_free(view->write_most);
    sg_free(view->write_least);
    *view = (sg_neuron_view){0};
}
