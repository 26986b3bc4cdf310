// Rows for neighbours, maps and likeness: the gates of a channel of a record, those of some tokens
// or of all, and arrays of files.
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "format/npy.h"
#include "probe/records.h"
#include "probe/scan.h"
#include "sgatlin_gates.h"

enum { patterns_batch = 4096 }; // tokens that are read at a time

sg_patterns_options sg_patterns_options_default(void)
{
    return (sg_patterns_options){0};
}

static sg_status patterns_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for patterns of gates");
}

// ---- what tokens they are of --------------------------------------------------------------------

typedef struct patterns_work {
    sg_record *record;
    const sg_patterns_options *options;
    sg_gate_rows gates;
    sg_record_token *tokens; // (gates.rows)
    int64_t *counts;         // (vocabulary): how often a token is read
    bool *keep;              // (gates.rows)
    int64_t vocabulary;
    bool activations;
} patterns_work;

// Tokens and gates are both in order of ids; every row of gates has its token.
static sg_status patterns_tokens(patterns_work *w, sg_error *err)
{
    int64_t first = 0, count, row = 0;
    sg_record_token *batch = sg_alloc_array(patterns_batch, sizeof *batch);
    if (batch == NULL) return patterns_memory(err);
    sg_status status = SG_OK;
    do {
        status = sg_record_tokens(w->record, first, patterns_batch, batch, &count, err);
        for (int64_t i = 0; status == SG_OK && i < count; i++) {
            if (batch[i].token >= 0 && batch[i].token < w->vocabulary) w->counts[batch[i].token]++;
            if (row < w->gates.rows && w->gates.tokens[row] == batch[i].id)
                w->tokens[row++] = batch[i];
            first = batch[i].id + 1;
        }
    } while (status == SG_OK && count == patterns_batch);
    sg_free(batch);
    if (status != SG_OK || row == w->gates.rows) return status;
    return sg_fail(err, SG_ERR_FORMAT, "record: token %lld has gates and is not among the tokens",
                   (long long)w->gates.tokens[row]);
}

typedef struct patterns_count {
    int64_t count;
    int32_t id;
} patterns_count;

static int patterns_more(const void *a, const void *b)
{
    const patterns_count *x = a, *y = b;
    if (x->count != y->count) return x->count < y->count ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

// Counts of all but the `top` most frequent become 0; of equally frequent ones the first stay.
static sg_status patterns_frequent(patterns_work *w, sg_error *err)
{
    const int64_t top = w->options->top;
    if (top == 0 || top >= w->vocabulary) return SG_OK;
    patterns_count *order = sg_alloc_array((size_t)w->vocabulary, sizeof *order);
    if (order == NULL) return patterns_memory(err);
    for (int64_t i = 0; i < w->vocabulary; i++)
        order[i] = (patterns_count){w->counts[i], (int32_t)i};
    qsort(order, (size_t)w->vocabulary, sizeof *order, patterns_more);
    for (int64_t i = top; i < w->vocabulary; i++)
        w->counts[order[i].id] = 0;
    sg_free(order);
    return SG_OK;
}

// Marks the rows that are asked for. Returns how many.
static int64_t patterns_choose(patterns_work *w)
{
    int64_t kept = 0;
    for (int64_t r = 0; r < w->gates.rows; r++) {
        const sg_record_token *t = &w->tokens[r];
        w->keep[r] = t->token >= 0 && t->token < w->vocabulary && w->counts[t->token] > 0 &&
                     (!w->options->next_known || t->next >= 0);
        if (w->keep[r] && w->options->first_only) w->counts[t->token] = 0; // the next is no first
        kept += w->keep[r];
    }
    return kept;
}

// Leaves `most` of the rows that are marked, drawn.
static void patterns_draw(patterns_work *w, int64_t kept, int64_t most)
{
    const uint32_t stream = sg_rng_stream("patterns");
    int64_t at = 0;
    for (int64_t r = 0; r < w->gates.rows; r++) {
        if (!w->keep[r]) continue;
        w->keep[r] = (int64_t)sg_rng_permute(w->options->seed, stream, (uint64_t)at++,
                                             (uint64_t)kept) < most;
    }
}

// ---- the rows -----------------------------------------------------------------------------------

static sg_patterns *patterns_new(int64_t rows, int64_t numbers)
{
    sg_patterns *p = sg_alloc_zero(1, sizeof *p);
    if (p == NULL) return NULL;
    p->vectors.begins = sg_alloc_zero((size_t)rows + 1, sizeof *p->vectors.begins);
    p->vectors.neurons = sg_alloc_array((size_t)numbers, sizeof *p->vectors.neurons);
    p->vectors.scores = sg_alloc_array((size_t)numbers, sizeof *p->vectors.scores);
    p->tokens = sg_alloc_array((size_t)rows, sizeof *p->tokens);
    p->sequences = sg_alloc_array((size_t)rows, sizeof *p->sequences);
    p->positions = sg_alloc_array((size_t)rows, sizeof *p->positions);
    p->inputs = sg_alloc_array((size_t)rows, sizeof *p->inputs);
    p->nexts = sg_alloc_array((size_t)rows, sizeof *p->nexts);
    if (p->vectors.begins != NULL && p->vectors.neurons != NULL && p->vectors.scores != NULL &&
        p->tokens != NULL && p->sequences != NULL && p->positions != NULL && p->inputs != NULL &&
        p->nexts != NULL)
        return p;
    sg_patterns_free(p);
    return NULL;
}

static sg_status patterns_take(const patterns_work *w, int64_t rows, sg_patterns **made,
                               sg_error *err)
{
    const sg_gate_rows *g = &w->gates;
    int64_t numbers = 0, row = 0, at = 0;
    for (int64_t r = 0; r < g->rows; r++)
        numbers += w->keep[r] ? g->begins[r + 1] - g->begins[r] : 0;
    sg_patterns *p = patterns_new(rows, numbers);
    if (p == NULL) return patterns_memory(err);
    int64_t *begins = (int64_t *)p->vectors.begins; // its own
    int32_t *neurons = (int32_t *)p->vectors.neurons;
    float *scores = (float *)p->vectors.scores;
    for (int64_t r = 0; r < g->rows; r++) {
        if (!w->keep[r]) continue;
        const size_t count = (size_t)(g->begins[r + 1] - g->begins[r]);
        memcpy(neurons + at, g->neurons + g->begins[r], count * sizeof *neurons);
        memcpy(scores + at, g->scores + g->begins[r], count * sizeof *scores);
        at += (int64_t)count;
        p->tokens[row] = w->tokens[r].id;
        p->sequences[row] = w->tokens[r].sequence;
        p->positions[row] = w->tokens[r].position;
        p->inputs[row] = w->tokens[r].token;
        p->nexts[row++] = w->tokens[r].next;
        begins[row] = at;
    }
    p->vectors.rows = rows;
    p->vectors.columns = g->columns;
    *made = p;
    return SG_OK;
}

static sg_status patterns_run(patterns_work *w, sg_patterns **patterns, sg_error *err)
{
    const sg_patterns_options *o = w->options;
    SG_TRY(w->activations
               ? sg_record_activations(w->record, o->layer, o->channel, 0, &w->gates, err)
               : sg_record_gates(w->record, o->layer, o->channel, 0, &w->gates, err));
    w->tokens = sg_alloc_array((size_t)w->gates.rows, sizeof *w->tokens);
    w->keep = sg_alloc_zero((size_t)w->gates.rows, sizeof *w->keep);
    w->counts = sg_alloc_zero((size_t)w->vocabulary, sizeof *w->counts);
    if (w->tokens == NULL || w->keep == NULL || w->counts == NULL) return patterns_memory(err);
    SG_TRY(patterns_tokens(w, err));
    SG_TRY(patterns_frequent(w, err));
    int64_t kept = patterns_choose(w);
    const int64_t fitting = kept;
    if (o->most > 0 && kept > o->most) {
        patterns_draw(w, kept, o->most);
        kept = o->most;
    }
    SG_TRY(patterns_take(w, kept, patterns, err));
    (*patterns)->layer = o->layer;
    (*patterns)->channel = o->channel;
    (*patterns)->recorded = w->gates.rows;
    (*patterns)->fitting = fitting;
    return SG_OK;
}

sg_status sg_patterns_read(sg_record *record, const sg_patterns_options *options,
                           sg_patterns **patterns, sg_error *err)
{
    patterns_work w = {
        .record = record, .options = options, .vocabulary = sg_record_get_info(record)->vocabulary};
    if (options->top < 0 || options->most < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected at least 0",
                       options->top < 0 ? "top" : "most",
                       (long long)(options->top < 0 ? options->top : options->most));
    SG_TRY(sg_record_check_channel(record, options->layer, options->channel, err));
    const sg_record_layer *layer = sg_record_find_layer(record, options->layer);
    w.activations = options->activations || layer->dense; // whose scores are all 1
    sg_status status = patterns_run(&w, patterns, err);
    if (status == SG_OK) {
        (*patterns)->activations = w.activations;
        (*patterns)->strongest = layer->strongest;
    }
    sg_gate_rows_free(&w.gates);
    sg_free(w.tokens);
    sg_free(w.keep);
    sg_free(w.counts);
    return status;
}

void sg_patterns_free(sg_patterns *p)
{
    if (p == NULL) return;
    sg_free((void *)p->vectors.begins);
    sg_free((void *)p->vectors.neurons);
    sg_free((void *)p->vectors.scores);
    sg_free(p->tokens);
    sg_free(p->sequences);
    sg_free(p->positions);
    sg_free(p->inputs);
    sg_free(p->nexts);
    sg_free(p);
}

// ---- arrays of files ----------------------------------------------------------------------------

static sg_status rows_read(const sg_npy *npy, const char *path, sg_array **made, sg_error *err)
{
    const sg_tensor_view *v = &npy->view;
    const int64_t numbers = sg_tensor_view_elements(v);
    if (v->ndim < 2)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %d dimension%s, expected rows and columns",
                       path, v->ndim, v->ndim == 1 ? "" : "s");
    sg_array *rows = sg_alloc_zero(1, sizeof *rows);
    float *values = sg_alloc_array((size_t)numbers, sizeof *values);
    sg_status status = rows == NULL || values == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path)
                           : sg_tensor_view_read_f32(v, values, err);
    if (status == SG_OK) {
        rows->vectors = (sg_vectors){.rows = v->shape[0],
                                     .columns = v->shape[0] > 0 ? numbers / v->shape[0] : 0,
                                     .values = values};
        status = sg_vectors_check(&rows->vectors, path, err);
    }
    if (status == SG_OK) {
        *made = rows;
        return SG_OK;
    }
    sg_free(values);
    sg_free(rows);
    return status;
}

sg_status sg_array_open(const char *path, sg_array **rows, sg_error *err)
{
    sg_npy npy;
    SG_TRY(sg_npy_open(path, &npy, err));
    sg_status status = rows_read(&npy, path, rows, err);
    sg_npy_close(&npy);
    return status;
}

void sg_array_free(sg_array *rows)
{
    if (rows == NULL) return;
    sg_free((void *)rows->vectors.values);
    sg_free(rows);
}
