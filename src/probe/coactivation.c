// Which neurons of a channel are selected in the same rows. With n_ij the rows that select both i
// and j != i, n_i those that select i, T all rows:
//
//     P(j | i) = n_ij / n_i      lift = n_ij T / (n_i n_j)      published: n_ij / sum over j of n_ij
//
// The last is what the script of Schug, arXiv 2606.07414, prints as P(j | i): where a channel
// selects k neurons a row it is the first over k - 1. The matrix is never in memory: its row i
// comes from the rows that select i, found by an index.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/npy.h"
#include "sgatlin_usage.h"

typedef struct pair_work {
    const sg_layer_selections *layer;
    const sg_selection_rows *gates;
    int64_t *begins; // (neurons + 1): rows[begins[i]] … select neuron i
    int64_t *rows;
    int64_t *together; // (neurons): n_ij of the neuron i at hand
} pair_work;

static void pair_free(pair_work *w)
{
    sg_free(w->begins);
    sg_free(w->rows);
    sg_free(w->together);
}

// Whether selection i of a row is the same neuron as the one before it, which counts once.
static bool pair_again(const sg_selection_rows *g, int64_t row, int64_t i)
{
    return i > g->begins[row] && g->neurons[i] == g->neurons[i - 1];
}

// A counting sort of all selections by neuron.
static sg_status pair_begin(pair_work *w, const sg_layer_selections *layer, int64_t channel,
                            sg_error *err)
{
    const sg_selection_rows *g = w->gates = &layer->gates[channel];
    const int64_t n = layer->neurons;
    w->layer = layer;
    w->begins = sg_alloc_zero((size_t)n + 2, sizeof *w->begins);
    w->rows = sg_alloc_array((size_t)g->begins[layer->rows] + 1, sizeof *w->rows);
    w->together = sg_alloc_zero((size_t)n, sizeof *w->together);
    if (w->begins == NULL || w->rows == NULL || w->together == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for counting what is used together");
    for (int64_t r = 0; r < layer->rows; r++)
        for (int64_t i = g->begins[r]; i < g->begins[r + 1]; i++)
            w->begins[g->neurons[i] + 2] += !pair_again(g, r, i);
    for (int64_t i = 0; i < n; i++)
        w->begins[i + 2] += w->begins[i + 1];
    for (int64_t r = 0; r < layer->rows; r++)
        for (int64_t i = g->begins[r]; i < g->begins[r + 1]; i++)
            if (!pair_again(g, r, i)) w->rows[w->begins[g->neurons[i] + 1]++] = r;
    return SG_OK;
}

static int64_t pair_rows_of(const pair_work *w, int64_t neuron)
{
    return w->begins[neuron + 1] - w->begins[neuron];
}

// together[j] for all j; together[neuron] is 0.
static void pair_count(pair_work *w, int64_t neuron)
{
    const sg_selection_rows *g = w->gates;
    memset(w->together, 0, (size_t)w->layer->neurons * sizeof *w->together);
    for (int64_t at = w->begins[neuron]; at < w->begins[neuron + 1]; at++) {
        const int64_t r = w->rows[at];
        for (int64_t i = g->begins[r]; i < g->begins[r + 1]; i++)
            w->together[g->neurons[i]] += !pair_again(g, r, i);
    }
    w->together[neuron] = 0;
}

static sg_neuron_pair pair_of(const pair_work *w, int64_t a, int64_t b)
{
    sg_neuron_pair p = {.a = (int32_t)a,
                        .b = (int32_t)b,
                        .count = w->together[b],
                        .of_a = pair_rows_of(w, a),
                        .of_b = pair_rows_of(w, b)};
    p.given_a = (double)p.count / (double)p.of_a;
    p.given_b = (double)p.count / (double)p.of_b;
    p.lift = (double)p.count * (double)w->layer->rows / ((double)p.of_a * (double)p.of_b);
    return p;
}

// ---- the first pairs ----------------------------------------------------------------------------

typedef bool (*pair_before)(const sg_neuron_pair *a, const sg_neuron_pair *b);

static bool pair_needs_more(const sg_neuron_pair *a, const sg_neuron_pair *b)
{
    const double x = fmin(a->given_a, a->given_b), y = fmin(b->given_a, b->given_b);
    if (x != y) return x > y;
    if (a->count != b->count) return a->count > b->count;
    return a->a != b->a ? a->a < b->a : a->b < b->b;
}

static bool pair_has_more(const sg_neuron_pair *a, const sg_neuron_pair *b)
{
    return a->count != b->count ? a->count > b->count : a->b < b->b;
}

// Keeps the first `most` in order.
static void pair_keep(sg_neuron_pair *list, int64_t *count, int64_t most, sg_neuron_pair pair,
                      pair_before before)
{
    if (*count == most) {
        if (most == 0 || !before(&pair, &list[most - 1])) return;
        (*count)--;
    }
    int64_t at = (*count)++;
    for (; at > 0 && before(&pair, &list[at - 1]); at--)
        list[at] = list[at - 1];
    list[at] = pair;
}

// Events, and those whose neurons have a sub-key in common.
static void pair_events(const pair_work *w, sg_coactivation *c)
{
    const sg_selection_rows *g = w->gates;
    const int64_t n = w->layer->sub_keys;
    int64_t first = 0, second = 0;
    for (int64_t r = 0; r < w->layer->rows; r++)
        for (int64_t i = g->begins[r]; i < g->begins[r + 1]; i++)
            for (int64_t j = g->begins[r]; j < i && !pair_again(g, r, i); j++) {
                if (pair_again(g, r, j)) continue;
                c->events++;
                if (n == 0) continue;
                first += g->neurons[i] / n == g->neurons[j] / n;
                second += g->neurons[i] % n == g->neurons[j] % n;
            }
    const bool told = n > 0 && c->events > 0;
    c->same_first = told ? (double)first / (double)c->events : NAN;
    c->same_second = told ? (double)second / (double)c->events : NAN;
    c->chance = n > 0 ? 1 / (double)(n + 1) : NAN; // (n - 1) of the n^2 - 1 others
}

sg_status sg_coactivation_find(const sg_layer_selections *layer, int64_t channel, int64_t most,
                               int64_t least, sg_coactivation *c, sg_error *err)
{
    pair_work w = {0};
    *c = (sg_coactivation){
        .layer = layer->layer, .channel = layer->channel_numbers[channel], .rows = layer->rows};
    sg_status status = pair_begin(&w, layer, channel, err);
    c->pairs = sg_alloc_array((size_t)most + 1, sizeof *c->pairs);
    if (status == SG_OK && c->pairs == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld pairs", (long long)most);
    for (int64_t a = 0; status == SG_OK && a < layer->neurons; a++) {
        if (pair_rows_of(&w, a) < least) continue;
        pair_count(&w, a);
        for (int64_t b = a + 1; b < layer->neurons; b++)
            if (w.together[b] > 0 && w.together[b] >= least)
                pair_keep(c->pairs, &c->count, most, pair_of(&w, a, b), pair_needs_more);
    }
    if (status == SG_OK) pair_events(&w, c);
    pair_free(&w);
    if (status != SG_OK) sg_coactivation_free(c);
    return status;
}

void sg_coactivation_free(sg_coactivation *result)
{
    sg_free(result->pairs);
    *result = (sg_coactivation){0};
}

sg_status sg_coactive_neurons(const sg_layer_selections *layer, int64_t channel, int64_t neuron,
                              int64_t most, sg_neuron_pair **pairs, int64_t *count, sg_error *err)
{
    pair_work w = {0};
    *count = 0;
    sg_status status = pair_begin(&w, layer, channel, err);
    *pairs = status == SG_OK ? sg_alloc_array((size_t)most + 1, sizeof **pairs) : NULL;
    if (status == SG_OK && *pairs == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld pairs", (long long)most);
    if (status == SG_OK) {
        pair_count(&w, neuron);
        for (int64_t b = 0; b < layer->neurons; b++)
            if (w.together[b] > 0)
                pair_keep(*pairs, count, most, pair_of(&w, neuron, b), pair_has_more);
    }
    pair_free(&w);
    return status;
}

// ---- the matrix ---------------------------------------------------------------------------------

static void pair_matrix_row(pair_work *w, int64_t neuron, sg_coactivation_form form, float *row)
{
    double by = (double)pair_rows_of(w, neuron);
    pair_count(w, neuron);
    if (form == SG_COACTIVATION_PUBLISHED) {
        int64_t sum = 0;
        for (int64_t j = 0; j < w->layer->neurons; j++)
            sum += w->together[j];
        by = (double)sum;
    }
    for (int64_t j = 0; j < w->layer->neurons; j++)
        row[j] = by > 0 ? (float)((double)w->together[j] / by) : 0;
}

static sg_status pair_write(pair_work *w, sg_coactivation_form form, sg_writer *writer,
                            sg_error *err)
{
    const int64_t n = w->layer->neurons;
    unsigned char header[SG_NPY_HEADER];
    const sg_tensor_view view = {.dtype = SG_DTYPE_F32, .ndim = 2, .shape = {n, n}};
    float *row = sg_alloc_array((size_t)n, sizeof *row);
    if (row == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a row of pairs");
    sg_writer_put(writer, header, sg_npy_header(&view, header));
    sg_status status = SG_OK;
    for (int64_t i = 0; i < n && status == SG_OK; i++) {
        pair_matrix_row(w, i, form, row);
        sg_writer_put(writer, row, (size_t)n * sizeof *row);
        if (i % 64 == 0) status = sg_writer_flush(writer, err); // a full disk is noticed now
    }
    sg_free(row);
    return status;
}

sg_status sg_coactivation_write(const sg_layer_selections *layer, int64_t channel,
                                sg_coactivation_form form, const char *path, bool force,
                                sg_error *err)
{
    pair_work w = {0};
    sg_writer *writer = NULL;
    sg_status status = pair_begin(&w, layer, channel, err);
    if (status == SG_OK)
        status =
            sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &writer, err);
    if (status == SG_OK) {
        status = pair_write(&w, form, writer, err);
        if (status == SG_OK)
            status = sg_writer_replace(writer, err);
        else
            sg_writer_withdraw(writer);
    }
    pair_free(&w);
    return status;
}
