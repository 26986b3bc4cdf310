// How evenly neurons are selected, from the selections of a layer. Three countings of one channel:
//
//     plain    x_i = rows that select neuron i
//     token    x_i = different input ids of which some row selects i ("each unique input token
//              counted once": Schug, arXiv 2606.07414, figure 8, whose script is not released)
//     first    the same with the first row of each id alone, the other reading of that phrase
//
// and the published callback's, which merges channels and looks at each sequence by itself.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "probe/evenness.h"
#include "sgatlin_usage.h"

typedef struct usage_row {
    int32_t token;
    int64_t row;
} usage_row;

typedef struct usage_work {
    const sg_layer_selections *layer;
    usage_row *order;  // (rows), by token, then by row
    int64_t *counts;   // (bins of the layer)
    int32_t *stamps;   // likewise: 1 + the number of the token that counted last
    int64_t bins;      // of the layer
    int64_t different; // tokens
} usage_work;

static int usage_row_order(const void *a, const void *b)
{
    const usage_row *x = a, *y = b;
    if (x->token != y->token) return x->token < y->token ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

static sg_status usage_begin(usage_work *w, sg_error *err)
{
    const sg_layer_selections *l = w->layer;
    w->bins = l->neurons * (l->shared ? 1 : l->channels);
    w->order = sg_alloc_array((size_t)l->rows + 1, sizeof *w->order);
    w->counts = sg_alloc_array((size_t)w->bins, sizeof *w->counts);
    w->stamps = sg_alloc_array((size_t)w->bins, sizeof *w->stamps);
    if (w->order == NULL || w->counts == NULL || w->stamps == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for counting what is used");
    for (int64_t r = 0; r < l->rows; r++)
        w->order[r] = (usage_row){l->tokens[r], r};
    qsort(w->order, (size_t)l->rows, sizeof *w->order, usage_row_order);
    for (int64_t r = 0; r < l->rows; r++)
        w->different += r == 0 || w->order[r].token != w->order[r - 1].token;
    return SG_OK;
}

// Channels first … end - 1 into bins from 0 on.
typedef struct usage_channels {
    int64_t first, end, bins;
} usage_channels;

static int64_t usage_bin(const usage_work *w, const usage_channels *c, int64_t channel)
{
    return w->layer->shared ? 0 : (channel - c->first) * w->layer->neurons;
}

static void usage_plain(usage_work *w, const usage_channels *c)
{
    memset(w->counts, 0, (size_t)c->bins * sizeof *w->counts);
    for (int64_t channel = c->first; channel < c->end; channel++) {
        const sg_selection_rows *g = &w->layer->gates[channel];
        int64_t *counts = w->counts + usage_bin(w, c, channel);
        for (int64_t i = 0; i < g->begins[w->layer->rows]; i++)
            counts[g->neurons[i]]++;
    }
}

// Each token once a bin: of all its rows, or of its first.
static void usage_by_token(usage_work *w, const usage_channels *c, bool first_row)
{
    memset(w->counts, 0, (size_t)c->bins * sizeof *w->counts);
    memset(w->stamps, 0, (size_t)c->bins * sizeof *w->stamps);
    int32_t token = 0; // number of, from 1
    for (int64_t r = 0; r < w->layer->rows; r++) {
        const bool begins = r == 0 || w->order[r].token != w->order[r - 1].token;
        token += begins;
        if (first_row && !begins) continue;
        for (int64_t channel = c->first; channel < c->end; channel++) {
            const sg_selection_rows *g = &w->layer->gates[channel];
            const int64_t bin = usage_bin(w, c, channel), row = w->order[r].row;
            for (int64_t i = g->begins[row]; i < g->begins[row + 1]; i++) {
                int32_t *stamp = &w->stamps[bin + g->neurons[i]];
                w->counts[bin + g->neurons[i]] += *stamp != token;
                *stamp = token;
            }
        }
    }
}

static sg_gate_usage usage_of(usage_work *w, int64_t first, int64_t end)
{
    const sg_layer_selections *l = w->layer;
    const usage_channels c = {first, end, l->neurons * (l->shared ? 1 : end - first)};
    usage_plain(w, &c);
    const sg_evenness e = sg_evenness_of(w->counts, c.bins);
    sg_gate_usage u = {.layer = l->layer,
                       .channel = -1,
                       .bins = c.bins,
                       .selections = e.sum,
                       .rows = l->rows,
                       .used = e.used,
                       .entropy = e.entropy,
                       .gini = e.sum > 0 ? e.gini : NAN,
                       .max_load = e.max_load,
                       .min_max = e.min_max,
                       .deviation = e.deviation,
                       .tokens = w->different};
    usage_by_token(w, &c, false);
    u.token_gini = e.sum > 0 ? sg_evenness_of(w->counts, c.bins).gini : NAN;
    usage_by_token(w, &c, true);
    const sg_evenness f = sg_evenness_of(w->counts, c.bins);
    u.first_gini = f.sum > 0 ? f.gini : NAN;
    return u;
}

// ---- as published -------------------------------------------------------------------------------

static void usage_count_sequence(const usage_work *w, int64_t first, int64_t end)
{
    memset(w->counts, 0, (size_t)w->layer->neurons * sizeof *w->counts);
    for (int64_t channel = 0; channel < w->layer->channels; channel++) {
        const sg_selection_rows *g = &w->layer->gates[channel];
        for (int64_t i = g->begins[first]; i < g->begins[end]; i++)
            w->counts[g->neurons[i]]++;
    }
}

static void usage_published(const usage_work *w, sg_published_usage *p)
{
    const sg_layer_selections *l = w->layer;
    sg_evenness_sums all = {0};
    *p = (sg_published_usage){.layer = l->layer, .bins = l->neurons};
    for (int64_t first = 0, end; first < l->rows; first = end) {
        sg_evenness_sums one = {0};
        end = first + 1;
        while (end < l->rows && l->sequences[end] == l->sequences[first])
            end++;
        usage_count_sequence(w, first, end);
        sg_evenness_add(&one, w->counts, l->neurons);
        sg_evenness_add(&all, w->counts, l->neurons);
        const sg_evenness e = sg_evenness_of_sums(&one);
        p->sequences++;
        p->sequence_used += e.used;
        p->sequence_entropy += e.entropy;
        p->sequence_min_max += e.min_max;
        p->sequence_deviation += e.deviation;
    }
    const double n = (double)p->sequences; // 0 rows: all NaN
    const sg_evenness e = sg_evenness_of_sums(&all);
    p->sequence_used /= n;
    p->sequence_entropy /= n;
    p->sequence_min_max /= n;
    p->sequence_deviation /= n;
    p->global_used = e.used;
    p->global_entropy = e.entropy;
    p->global_min_max = e.min_max;
    p->global_deviation = e.deviation;
}

sg_status sg_gate_usage_of(const sg_layer_selections *layer, sg_gate_usage *usage,
                           sg_published_usage *published, sg_error *err)
{
    usage_work w = {.layer = layer};
    sg_status status = usage_begin(&w, err);
    for (int64_t c = 0; status == SG_OK && c < layer->channels; c++) {
        usage[c] = usage_of(&w, c, c + 1);
        usage[c].channel = layer->channel_numbers[c];
    }
    if (status == SG_OK) usage[layer->channels] = usage_of(&w, 0, layer->channels);
    if (status == SG_OK && published != NULL) usage_published(&w, published);
    sg_free(w.order);
    sg_free(w.counts);
    sg_free(w.stamps);
    return status;
}
