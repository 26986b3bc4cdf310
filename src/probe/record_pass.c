// Passes of a recording. The points that are read change no bit of a pass; rows of a point are
// turned into slots on all threads, each row by itself, so that their number changes nothing.
#include "probe/record_pass.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "kernel/kernel.h"
#include "model/graph.h"

enum { pass_names = 64, pass_points = 3, pass_rows_at_once = 16, pass_piece = 128 };

typedef struct pass_layer {
    sg_record_pass *pass;
    const sg_record_part *part;
    // What was selected, kept until the activations come.
    int32_t *ids;    // (rows, channels of the layer, k); NULL of a dense layer
    float *scores;   // likewise; NULL: the router has none, and every score is 1
    int32_t *counts; // (rows, channels of the layer)
    char names[pass_points][pass_names];
} pass_layer;

struct sg_record_pass {
    sg_model *model;
    const sg_record_options *options;
    const sg_record_parts *parts;
    const sg_record_source *source;
    int64_t micro;
    sg_graph *graph;
    pass_layer *layers; // (parts->count)
    sg_point_request *requests;
    sg_points points;
    char stop_name[pass_names];
    bool stopped;     // behind the last layer that is wanted: all is well
    int32_t *nothing; // (rows) targets that do not count: no loss is computed
    sg_real *exps;    // (threads, V)
    bool *spoiled;    // (threads) logits that are not finite
    sg_record_batch *batch;
};

// ---- slots --------------------------------------------------------------------------------------

// One channel of one row, on its way into its slots.
typedef struct pass_cell {
    const sg_record_part *part;
    const int32_t *ids;  // (k); NULL: of a dense layer
    const float *scores; // (k)
    const float *post;   // (k g)
    const float *norms;  // of the channel's neurons, or NULL
    int64_t count;       // of the k
} pass_cell;

static float cell_length(const float *post, int64_t g)
{
    double sum = 0;
    for (int64_t j = 0; j < g; j++)
        sum += (double)post[j] * (double)post[j];
    return (float)sqrt(sum);
}

static float cell_score(const pass_cell *c, int64_t block)
{
    return c->scores != NULL ? c->scores[block] : 1;
}

// Item `at` of a channel: a block, or a neuron of one.
static sg_record_slot cell_item(const pass_cell *c, int64_t at)
{
    const int64_t g = c->part->g;
    if (c->ids == NULL) return (sg_record_slot){(int32_t)at, 1, c->post[at]};
    if (c->part->info.unit > 1)
        return (sg_record_slot){c->ids[at], cell_score(c, at), cell_length(c->post + at * g, g)};
    const int64_t i = at / g;
    return (sg_record_slot){(int32_t)(c->ids[i] * g + at % g), cell_score(c, i), c->post[at]};
}

static float cell_weight(const pass_cell *c, const sg_record_slot *s)
{
    return fabsf(s->activation) * (c->norms != NULL ? c->norms[s->neuron] : 1);
}

// The strongest, in order; of equal ones the first.
static void cell_strongest(const pass_cell *c, int64_t items, sg_record_slot *slots)
{
    float weights[SG_RECORD_SLOTS_MAX];
    const int64_t most = c->part->info.slots;
    int64_t have = 0;
    for (int64_t i = 0; i < items; i++) {
        const sg_record_slot s = cell_item(c, i);
        const float weight = cell_weight(c, &s);
        if (have == most && !(weight > weights[have - 1])) continue;
        int64_t at = have < most ? have++ : have - 1;
        for (; at > 0 && weight > weights[at - 1]; at--) {
            weights[at] = weights[at - 1];
            slots[at] = slots[at - 1];
        }
        weights[at] = weight;
        slots[at] = s;
    }
    for (int64_t i = have; i < most; i++)
        slots[i] = (sg_record_slot){-1, 0, 0};
}

static void cell_fill(const pass_cell *c, sg_record_slot *slots)
{
    const sg_record_part *p = c->part;
    const int64_t items = c->count * (p->info.unit > 1 ? 1 : p->g);
    if (p->info.strongest) {
        cell_strongest(c, items, slots);
        return;
    }
    for (int64_t i = 0; i < p->info.slots; i++)
        slots[i] = i < items ? cell_item(c, i) : (sg_record_slot){-1, 0, 0};
}

typedef struct post_loop {
    const pass_layer *layer;
    const sg_point_values *point;
} post_loop;

static void post_row(const pass_layer *l, const sg_point_values *v, int64_t r)
{
    const sg_record_part *p = l->part;
    const sg_record_batch *b = l->pass->batch;
    const int64_t row = v->first_row + r, C = p->table.channels, width = p->k * p->g;
    if (!b->gated[row]) return;
    for (int64_t i = 0; i < p->channel_count; i++) {
        const int64_t c = p->channels[i], at = row * C + c;
        const int64_t pool = p->table.pools > 1 ? c : 0;
        const pass_cell cell = {.part = p,
                                .ids = l->ids != NULL ? l->ids + at * p->k : NULL,
                                .scores = l->scores != NULL ? l->scores + at * p->k : NULL,
                                .post = v->values + (r * C + c) * width,
                                .norms =
                                    p->norms != NULL ? p->norms + pool * p->table.neurons : NULL,
                                .count = l->counts != NULL ? l->counts[at] : p->k};
        cell_fill(&cell, b->slots + row * l->pass->parts->slots +
                             l->pass->parts->first_slot[p->first_channel + i]);
    }
}

static void post_rows(void *context, sg_range rows)
{
    const post_loop *loop = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        post_row(loop->layer, loop->point, r);
}

// ---- callbacks ----------------------------------------------------------------------------------

static sg_status pass_shape(const pass_layer *l, const sg_point_values *v, int64_t k, sg_error *err)
{
    const int64_t C = l->part->table.channels;
    const bool right = v->rank == 3 ? v->shape[1] == C && v->shape[2] == k
                                    : v->rank == 2 && C == 1 && v->shape[1] == k;
    if (right && v->row_step == 1) return SG_OK;
    return sg_fail(err, SG_ERR_INTERNAL, "%s: found (%lld, %lld, %lld), expected %lld times %lld",
                   v->name, (long long)v->shape[0], (long long)v->shape[1], (long long)v->shape[2],
                   (long long)C, (long long)k);
}

static sg_status pass_ids(void *user, const sg_point_values *v, sg_error *err)
{
    pass_layer *l = user;
    const int64_t C = l->part->table.channels, k = l->part->k;
    SG_TRY(pass_shape(l, v, k, err));
    memcpy(l->ids + v->first_row * C * k, v->ids, (size_t)(v->shape[0] * C * k) * sizeof *l->ids);
    for (int64_t i = 0; i < v->shape[0] * C; i++)
        l->counts[v->first_row * C + i] = v->counts != NULL ? v->counts[i] : (int32_t)k;
    return SG_OK;
}

static sg_status pass_scores(void *user, const sg_point_values *v, sg_error *err)
{
    pass_layer *l = user;
    const int64_t C = l->part->table.channels, k = l->part->k;
    SG_TRY(pass_shape(l, v, k, err));
    memcpy(l->scores + v->first_row * C * k, v->values,
           (size_t)(v->shape[0] * C * k) * sizeof *l->scores);
    return SG_OK;
}

static sg_status pass_post(void *user, const sg_point_values *v, sg_error *err)
{
    const pass_layer *l = user;
    post_loop loop = {l, v};
    SG_TRY(pass_shape(l, v, l->part->k * l->part->g, err));
    sg_parallel_ranges(l->pass->model->context->compute.pool, v->shape[0], pass_rows_at_once,
                       post_rows, &loop);
    return SG_OK;
}

static sg_status pass_stop(void *user, const sg_point_values *v, sg_error *err)
{
    (void)v;
    ((sg_record_pass *)user)->stopped = true;
    return sg_fail(err, SG_ERR_STOPPED, "behind the last layer that is recorded");
}

// ---- what is expected next ----------------------------------------------------------------------

// The likeliest of a row (vocab), in order; of equal ones the first. Most of the row is passed over
// in pieces whose largest is not among them.
static void likeliest_of(const sg_kernels *kernels, const sg_real *logits, int64_t vocab,
                         int64_t most, int32_t *ids, double *values)
{
    int64_t have = 0;
    for (int64_t first = 0; first < vocab; first += pass_piece) {
        const int64_t end = sg_min(first + pass_piece, vocab);
        if (have == most && !((double)kernels->max(logits + first, end - first) > values[most - 1]))
            continue;
        for (int64_t i = first; i < end; i++) {
            const double x = (double)logits[i];
            if (have == most && !(x > values[have - 1])) continue;
            int64_t at = have < most ? have++ : have - 1;
            for (; at > 0 && x > values[at - 1]; at--) {
                values[at] = values[at - 1];
                ids[at] = ids[at - 1];
            }
            values[at] = x;
            ids[at] = (int32_t)i;
        }
    }
}

typedef struct logits_loop {
    sg_record_pass *pass;
    const sg_point_values *point;
} logits_loop;

static void logits_rows(void *context, sg_range rows)
{
    const logits_loop *loop = context;
    const sg_record_pass *p = loop->pass;
    const sg_kernels *kernels = p->model->context->compute.kernels;
    const int64_t vocab = loop->point->shape[1], most = p->options->predictions;
    for (int64_t r = rows.first; r < rows.end; r++) {
        const int64_t row = loop->point->first_row + r;
        const sg_record_batch *b = p->batch;
        if (!b->wanted[row]) continue;
        const float *logits = loop->point->values + r * vocab;
        sg_real *exps = p->exps + rows.worker * vocab;
        for (int64_t i = 0; i < vocab; i++)
            exps[i] = (sg_real)logits[i];
        double *values = b->likeliest_logprobs + row * most;
        if (most > 0) likeliest_of(kernels, exps, vocab, most, b->likeliest + row * most, values);
        const sg_real top = kernels->max(exps, vocab);
        const double sum = (double)kernels->exp_sum(exps, exps, top, vocab);
        const double lse = log(sum) + (double)top;
        if (!isfinite(lse)) p->spoiled[rows.worker] = true;
        b->logprobs[row] = b->targets[row] >= 0 ? (double)logits[b->targets[row]] - lse : NAN;
        for (int64_t i = 0; i < most; i++)
            values[i] -= lse;
    }
}

static sg_status pass_logits(void *user, const sg_point_values *v, sg_error *err)
{
    sg_record_pass *p = user;
    logits_loop loop = {p, v};
    if (v->row_step != 1)
        return sg_fail(err, SG_ERR_INTERNAL, "logits: found every %lldth row, expected all",
                       (long long)v->row_step);
    sg_parallel_ranges(p->model->context->compute.pool, v->shape[0], pass_rows_at_once, logits_rows,
                       &loop);
    for (int i = 0; i < p->model->context->threads; i++)
        if (p->spoiled[i])
            return sg_fail(err, SG_ERR_NUMERIC,
                           "record: found logits that are not finite: the weights are spoiled");
    return SG_OK;
}

// ---- making it ----------------------------------------------------------------------------------

static void pass_ask(sg_record_pass *p, const char *name, sg_point_fn call, void *user)
{
    p->requests[p->points.count++] = (sg_point_request){name, SG_POINT_READ, call, user};
}

static sg_status pass_layer_open(sg_record_pass *p, pass_layer *l, const sg_record_part *part,
                                 sg_error *err)
{
    static const char *const points[pass_points] = {"hook_gate_ids", "hook_gate_scores",
                                                    "hook_post"};
    static const sg_point_fn calls[pass_points] = {pass_ids, pass_scores, pass_post};
    const size_t cells = (size_t)(p->micro * p->source->length * part->table.channels);
    l->pass = p;
    l->part = part;
    for (int i = part->table.dense ? 2 : 0; i < pass_points; i++) {
        snprintf(l->names[i], pass_names, "blocks.%lld.mlp.%s", (long long)part->info.layer,
                 points[i]);
        if (i != 1 || part->scored) pass_ask(p, l->names[i], calls[i], l);
    }
    if (part->table.dense) return SG_OK;
    l->ids = sg_alloc_array(cells * (size_t)part->k, sizeof *l->ids);
    if (part->scored) l->scores = sg_alloc_array(cells * (size_t)part->k, sizeof *l->scores);
    l->counts = sg_alloc_array(cells, sizeof *l->counts);
    if (l->ids != NULL && (l->scores != NULL || !part->scored) && l->counts != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
}

static sg_status pass_ask_end(sg_record_pass *p, sg_error *err)
{
    const sg_context *context = p->model->context;
    if (p->options->stop_at_layer >= 0) {
        snprintf(p->stop_name, sizeof p->stop_name, "blocks.%lld.hook_resid_post",
                 (long long)p->options->stop_at_layer);
        pass_ask(p, p->stop_name, pass_stop, p);
        return SG_OK;
    }
    p->exps =
        sg_alloc_array((size_t)(context->threads * p->model->config.vocab_size), sizeof *p->exps);
    p->spoiled = sg_alloc_zero((size_t)context->threads, sizeof *p->spoiled);
    if (p->exps == NULL || p->spoiled == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    pass_ask(p, "logits", pass_logits, p);
    return SG_OK;
}

static sg_status pass_open(sg_record_pass *p, sg_error *err)
{
    sg_model *m = p->model;
    const size_t rows = (size_t)(p->micro * p->source->length);
    p->layers = sg_alloc_zero(p->parts->count, sizeof *p->layers);
    p->requests = sg_alloc_zero(pass_points * p->parts->count + 1, sizeof *p->requests);
    p->nothing = sg_alloc_array(rows, sizeof *p->nothing);
    if (p->layers == NULL || p->requests == NULL || p->nothing == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    for (size_t i = 0; i < rows; i++)
        p->nothing[i] = -1;
    for (size_t i = 0; i < p->parts->count; i++)
        SG_TRY(pass_layer_open(p, &p->layers[i], &p->parts->items[i], err));
    SG_TRY(pass_ask_end(p, err));
    p->points.items = p->requests;
    const sg_graph_options graph = {.batch = p->micro,
                                    .length = p->source->length,
                                    .output = SG_OUTPUT_LOSS,
                                    .points = &p->points,
                                    .threads = m->context->threads,
                                    .allocator = m->context->compute.allocator,
                                    .narrow = m->narrow.items,
                                    .adapters = m->adapters,
                                    .compute = m->compute,
                                    .logits_compute = m->logits_compute};
    SG_TRY(sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &graph, &p->graph, err));
    p->graph->targets->data = p->nothing;
    return SG_OK;
}

sg_status sg_record_pass_new(sg_model *model, const sg_record_options *options,
                             const sg_record_parts *parts, const sg_record_source *source,
                             int64_t micro, sg_record_pass **out, sg_error *err)
{
    *out = NULL;
    sg_record_pass *p = sg_alloc_zero(1, sizeof *p);
    if (p == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    p->model = model;
    p->options = options;
    p->parts = parts;
    p->source = source;
    p->micro = micro;
    const sg_status status = pass_open(p, err);
    if (status == SG_OK)
        *out = p;
    else
        sg_record_pass_free(p);
    return status;
}

void sg_record_pass_free(sg_record_pass *p)
{
    if (p == NULL) return;
    sg_graph_free(p->graph);
    for (size_t i = 0; p->layers != NULL && i < p->parts->count; i++) {
        sg_free(p->layers[i].ids);
        sg_free(p->layers[i].scores);
        sg_free(p->layers[i].counts);
    }
    sg_free(p->layers);
    sg_free(p->requests);
    sg_free(p->nothing);
    sg_free(p->exps);
    sg_free(p->spoiled);
    sg_free(p);
}

// ---- batches ------------------------------------------------------------------------------------

sg_status sg_record_batch_new(const sg_record_pass *p, sg_record_batch *b, sg_error *err)
{
    const size_t rows = (size_t)(p->micro * p->source->length);
    const size_t most = rows * (size_t)p->options->predictions;
    *b = (sg_record_batch){.length = p->source->length};
    b->inputs = sg_alloc_array(rows, sizeof *b->inputs);
    b->targets = sg_alloc_array(rows, sizeof *b->targets);
    b->wanted = sg_alloc_array(rows, sizeof *b->wanted);
    b->gated = sg_alloc_array(rows, sizeof *b->gated);
    b->slots = sg_alloc_array(rows * (size_t)p->parts->slots, sizeof *b->slots);
    bool fine = b->inputs != NULL && b->targets != NULL && b->wanted != NULL && b->gated != NULL &&
                b->slots != NULL;
    if (fine && p->options->stop_at_layer < 0) {
        b->logprobs = sg_alloc_array(rows, sizeof *b->logprobs);
        b->likeliest = sg_alloc_array(most, sizeof *b->likeliest);
        b->likeliest_logprobs = sg_alloc_array(most, sizeof *b->likeliest_logprobs);
        fine = b->logprobs != NULL && b->likeliest != NULL && b->likeliest_logprobs != NULL;
    }
    if (fine) return SG_OK;
    sg_record_batch_free(b);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
}

void sg_record_batch_free(sg_record_batch *b)
{
    sg_free(b->inputs);
    sg_free(b->targets);
    sg_free(b->wanted);
    sg_free(b->gated);
    sg_free(b->logprobs);
    sg_free(b->likeliest);
    sg_free(b->likeliest_logprobs);
    sg_free(b->slots);
    *b = (sg_record_batch){0};
}

int64_t sg_record_sequence_bytes(const sg_record_options *o, const sg_record_parts *parts,
                                 int64_t length)
{
    return length * (parts->slots * (int64_t)sizeof(sg_record_slot) + o->predictions * 12 + 24);
}

static bool pass_gated(const sg_record_options *o, int64_t position)
{
    return position >= o->first_position && (o->last_position < 0 || position <= o->last_position);
}

sg_status sg_record_pass_run(sg_record_pass *p, int64_t first, sg_record_batch *b, sg_error *err)
{
    const int64_t length = p->source->length;
    b->first_sequence = first;
    b->sequences = sg_min(p->micro, p->source->sequences - first);
    b->tokens = 0;
    for (int64_t s = 0; s < p->micro; s++) {
        const int64_t at = s * length;
        if (s < b->sequences) {
            SG_TRY(sg_record_source_read(p->source, first + s, b->inputs + at, b->targets + at,
                                         b->wanted + at, err));
        } else { // the pass has their rows all the same
            memset(b->inputs + at, 0, (size_t)length * sizeof *b->inputs);
            memset(b->wanted + at, 0, (size_t)length * sizeof *b->wanted);
        }
        for (int64_t i = 0; i < length; i++) {
            b->gated[at + i] = b->wanted[at + i] && pass_gated(p->options, i);
            b->tokens += b->wanted[at + i];
        }
    }
    p->batch = b;
    p->stopped = false;
    p->graph->ids->data = b->inputs;
    p->graph->stats.normaliser = 1;
    p->graph->pass.first_sequence = first;
    sg_error own = {0};
    sg_run run = {.compute = p->model->context->compute, .err = &own};
    const sg_status status = sg_tape_forward(p->graph->tape, &run);
    if (status == SG_OK || p->stopped) return SG_OK;
    if (err != NULL) *err = own;
    return status;
}
