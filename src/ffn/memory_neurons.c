// Reading a memory neuron by neuron. Forward and the input gradient go through tiles of rows, one
// channel at a time, so that a channel's table stays in cache; the weight gradients go through a
// reverse index (a counting sort of the hits by neuron), so that each gradient row is written once,
// by one thread, in the order of rows. Nothing of size rows x channels x k x d is ever formed.
#include <string.h>

#include "ffn/memory.h"

enum { neurons_tile = 128, neurons_rows = 32 };

typedef struct neurons_attributes {
    int64_t channels, k, pools, n, d, rows; // n: neurons of a pool
    sg_activation activation;
    sg_gate gate;
} neurons_attributes;

// A hit is one selected neuron of one row; hits are laid out (channel, row, k).
typedef struct neurons_loop {
    const sg_run *run;
    const sg_node *node;
    const neurons_attributes *a;
    sg_real *dx, *dscores, *dw_in, *dw_out;
    bool add_x, add_scores, add_in, add_out;
    sg_real *z, *da;               // (channels, rows, k)
    sg_real *z_sorted, *da_sorted; // the same by pool and neuron, in the order of rows
    int32_t *row_sorted;
    int32_t *offsets; // (pools, n + 1) into a pool's hits
} neurons_loop;

static int64_t neurons_hits(const neurons_attributes *a)
{
    return a->channels * a->rows * a->k;
}

static const sg_real *neurons_pool(const neurons_attributes *a, const sg_tensor *table, int64_t c)
{
    return sg_values(table) + (a->pools == 1 ? 0 : c) * a->n * a->d;
}

static const int32_t *neurons_ids(const sg_node *node, const neurons_attributes *a, int64_t row,
                                  int64_t c)
{
    return sg_ints(node->in[1]) + (row * a->channels + c) * a->k;
}

// z of `count` hits from their dot products and scores.
static void neurons_gate(const sg_kernels *kernels, const neurons_attributes *a, sg_real *z,
                         const sg_real *dots, const sg_real *scores, int64_t count)
{
    if (a->gate == SG_GATE_BEFORE) {
        for (int64_t i = 0; i < count; i++)
            z[i] = dots[i] * scores[i];
        if (a->activation != SG_ACT_IDENTITY) kernels->act_forward(z, z, a->activation, count);
        return;
    }
    kernels->act_forward(z, dots, a->activation, count);
    if (a->gate == SG_GATE_AFTER)
        for (int64_t i = 0; i < count; i++)
            z[i] *= scores[i];
}

// In: dz. Out: da and dscore of `count` hits. `work` has room for count values.
static void neurons_gate_backward(const sg_kernels *kernels, const neurons_attributes *a,
                                  sg_real *da, sg_real *dscore, const sg_real *dz,
                                  const sg_real *dots, const sg_real *scores, int64_t count,
                                  sg_real *work)
{
    if (a->gate == SG_GATE_BEFORE) { // u = score a, z = act(u)
        for (int64_t i = 0; i < count; i++)
            work[i] = dots[i] * scores[i];
        kernels->act_backward(da, dz, work, a->activation, count, false);
        for (int64_t i = 0; i < count; i++) {
            dscore[i] = dots[i] * da[i];
            da[i] *= scores[i];
        }
        return;
    }
    kernels->act_backward(da, dz, dots, a->activation, count, false);
    if (a->gate != SG_GATE_AFTER) return;
    kernels->act_forward(work, dots, a->activation, count);
    for (int64_t i = 0; i < count; i++) {
        dscore[i] = work[i] * dz[i];
        da[i] *= scores[i];
    }
}

// The scores of channel c for `rows` rows, made contiguous.
static void neurons_scores(const sg_node *node, const neurons_attributes *a, int64_t first,
                           int64_t rows, int64_t c, sg_real *out)
{
    const sg_real *scores = sg_values(node->in[2]);
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * a->k, scores + ((first + r) * a->channels + c) * a->k,
               (size_t)a->k * sizeof *out);
}

// ---- forward ----------------------------------------------------------------------------------

static void neurons_forward_chunk(void *context, int64_t chunk, int worker)
{
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    const sg_kernels *kernels = l->run->kernels;
    int64_t first = chunk * neurons_tile, rows = sg_min(neurons_tile, a->rows - first);
    const sg_real *x = sg_values(l->node->in[0]) + first * a->d;
    sg_real *y = sg_values(l->node->out[0]) + first * a->d;
    sg_real *scores = sg_worker_scratch(l->run, worker), *z = scores + neurons_tile * a->k;
    memset(y, 0, (size_t)(rows * a->d) * sizeof *y);
    for (int64_t c = 0; c < a->channels; c++) {
        sg_real *dots = sg_values(l->node->saved[0]) + (c * a->rows + first) * a->k;
        const sg_real *w_in = neurons_pool(a, l->node->in[3], c);
        const sg_real *w_out = neurons_pool(a, l->node->in[4], c);
        for (int64_t r = 0; r < rows; r++)
            kernels->gather_dots(dots + r * a->k, x + r * a->d, w_in,
                                 neurons_ids(l->node, a, first + r, c), a->k, a->d);
        neurons_scores(l->node, a, first, rows, c, scores);
        neurons_gate(kernels, a, z, dots, scores, rows * a->k);
        for (int64_t r = 0; r < rows; r++)
            kernels->gather_sum(y + r * a->d, z + r * a->k, w_out,
                                neurons_ids(l->node, a, first + r, c), a->k, a->d);
    }
}

static void neurons_forward(const sg_run *run, const sg_node *node)
{
    neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    sg_parallel_for(run->pool, sg_chunks(l.a->rows, neurons_tile), neurons_forward_chunk, &l);
}

// ---- backward: input and scores ---------------------------------------------------------------

static void neurons_put_scores(const neurons_loop *l, int64_t first, int64_t rows, int64_t c,
                               const sg_real *dscore)
{
    const neurons_attributes *a = l->a;
    for (int64_t r = 0; r < rows; r++) {
        sg_real *to = l->dscores + ((first + r) * a->channels + c) * a->k;
        for (int64_t i = 0; i < a->k; i++)
            to[i] = (l->add_scores ? to[i] : 0) + dscore[r * a->k + i];
    }
}

static void neurons_backward_chunk(void *context, int64_t chunk, int worker)
{
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    const sg_kernels *kernels = l->run->kernels;
    int64_t first = chunk * neurons_tile, rows = sg_min(neurons_tile, a->rows - first);
    int64_t count = rows * a->k, room = neurons_tile * a->k;
    const sg_real *dy = l->node->out[0]->grad + first * a->d;
    sg_real *scores = sg_worker_scratch(l->run, worker), *dz = scores + room, *work = dz + room,
            *dscore = work + room;
    if (l->dx != NULL && !l->add_x)
        memset(l->dx + first * a->d, 0, (size_t)(rows * a->d) * sizeof *l->dx);
    for (int64_t c = 0; c < a->channels; c++) {
        int64_t hit = (c * a->rows + first) * a->k;
        const sg_real *dots = sg_values(l->node->saved[0]) + hit;
        const sg_real *w_in = neurons_pool(a, l->node->in[3], c);
        const sg_real *w_out = neurons_pool(a, l->node->in[4], c);
        for (int64_t r = 0; r < rows; r++)
            kernels->gather_dots(dz + r * a->k, dy + r * a->d, w_out,
                                 neurons_ids(l->node, a, first + r, c), a->k, a->d);
        neurons_scores(l->node, a, first, rows, c, scores);
        neurons_gate(kernels, a, l->z + hit, dots, scores, count);
        neurons_gate_backward(kernels, a, l->da + hit, dscore, dz, dots, scores, count, work);
        if (a->gate == SG_GATE_NONE) memset(dscore, 0, (size_t)count * sizeof *dscore);
        if (l->dscores != NULL) neurons_put_scores(l, first, rows, c, dscore);
        for (int64_t r = 0; l->dx != NULL && r < rows; r++)
            kernels->gather_sum(l->dx + (first + r) * a->d, l->da + hit + r * a->k, w_in,
                                neurons_ids(l->node, a, first + r, c), a->k, a->d);
    }
}

// ---- backward: weights ------------------------------------------------------------------------

// Sorts the hits of one pool by neuron, keeping the order of channels and rows.
static void neurons_sort_chunk(void *context, int64_t pool, int worker)
{
    (void)worker;
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    int64_t channels = a->pools == 1 ? a->channels : 1, first = a->pools == 1 ? 0 : pool;
    int32_t *offsets = l->offsets + pool * (a->n + 1);
    int64_t base = first * a->rows * a->k; // hits of a pool are together in both orders
    memset(offsets, 0, (size_t)(a->n + 1) * sizeof *offsets);
    for (int64_t c = first; c < first + channels; c++)
        for (int64_t r = 0; r < a->rows; r++) {
            const int32_t *ids = neurons_ids(l->node, a, r, c);
            for (int64_t i = 0; i < a->k; i++)
                offsets[ids[i] + 1]++;
        }
    for (int64_t j = 0; j < a->n; j++)
        offsets[j + 1] += offsets[j];
    for (int64_t c = first; c < first + channels; c++)
        for (int64_t r = 0; r < a->rows; r++) {
            const int32_t *ids = neurons_ids(l->node, a, r, c);
            for (int64_t i = 0; i < a->k; i++) {
                int64_t to = base + offsets[ids[i]]++, from = (c * a->rows + r) * a->k + i;
                l->row_sorted[to] = (int32_t)r;
                l->z_sorted[to] = l->z[from];
                l->da_sorted[to] = l->da[from];
            }
        }
    // Filling moved each offset to the end of its neuron; move them back by one place.
    memmove(offsets + 1, offsets, (size_t)a->n * sizeof *offsets);
    offsets[0] = 0;
}

static void neurons_weights_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    int64_t chunks = sg_chunks(a->n, neurons_rows), pool = chunk / chunks;
    int64_t begin = chunk % chunks * neurons_rows, end = sg_min(a->n, begin + neurons_rows);
    const int32_t *offsets = l->offsets + pool * (a->n + 1);
    int64_t base = (a->pools == 1 ? 0 : pool) * a->rows * a->k;
    const sg_real *x = sg_values(l->node->in[0]), *dy = l->node->out[0]->grad;
    for (int64_t j = begin; j < end; j++) {
        int64_t hit = base + offsets[j], count = offsets[j + 1] - offsets[j];
        int64_t at = (pool * a->n + j) * a->d;
        // In the order of the inputs, so that tied tables (w_in is w_out) add up.
        if (l->dw_in != NULL) {
            if (!l->add_in) memset(l->dw_in + at, 0, (size_t)a->d * sizeof(sg_real));
            l->run->kernels->gather_sum(l->dw_in + at, l->da_sorted + hit, x, l->row_sorted + hit,
                                        count, a->d);
        }
        if (l->dw_out != NULL) {
            if (!l->add_out) memset(l->dw_out + at, 0, (size_t)a->d * sizeof(sg_real));
            l->run->kernels->gather_sum(l->dw_out + at, l->z_sorted + hit, dy, l->row_sorted + hit,
                                        count, a->d);
        }
    }
}

static void neurons_backward(const sg_run *run, const sg_node *node)
{
    neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    const neurons_attributes *a = l.a;
    l.dx = sg_grad_in(run, node, 0, &l.add_x);
    l.dscores = sg_grad_in(run, node, 2, &l.add_scores);
    l.dw_in = sg_grad_in(run, node, 3, &l.add_in);
    l.dw_out = sg_grad_in(run, node, 4, &l.add_out);
    int64_t hits = neurons_hits(a);
    l.z = (sg_real *)run->scratch;
    l.da = l.z + hits;
    l.z_sorted = l.da + hits;
    l.da_sorted = l.z_sorted + hits;
    l.row_sorted = (int32_t *)(l.da_sorted + hits);
    l.offsets = l.row_sorted + hits;
    sg_parallel_for(run->pool, sg_chunks(a->rows, neurons_tile), neurons_backward_chunk, &l);
    if (l.dw_in == NULL && l.dw_out == NULL) return;
    sg_parallel_for(run->pool, a->pools, neurons_sort_chunk, &l);
    sg_parallel_for(run->pool, a->pools * sg_chunks(a->n, neurons_rows), neurons_weights_chunk, &l);
}

// Two dot products' worth of work a hit: 4 k C d a row (spec 5.9).
static double neurons_flops(const sg_node *node)
{
    const neurons_attributes *a = node->attributes;
    return 4.0 * (double)neurons_hits(a) * (double)a->d;
}

static const sg_op op_neurons = {
    .name = "memory_neurons",
    .forward = neurons_forward,
    .backward = neurons_backward,
    .flops = neurons_flops,
    .backward_reads_in = 31,
};

sg_tensor *sg_memory_neurons(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                             sg_gate gate)
{
    sg_tensor *ids = selection->ids, *scores = selection->scores;
    if (!x || !ids || !scores || !w_in || !w_out) return NULL;
    int64_t d = sg_columns(x), pools = w_in->shape[0];
    if (w_in->rank != 3 || w_in->shape[2] != d || w_out->count != w_in->count ||
        ids->count != sg_rows(x) * selection->channels * selection->k ||
        scores->count != ids->count || (pools != 1 && pools != selection->channels) ||
        ids->count > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "memory: %s does not fit %s", w_in->name,
                            x->name);
    sg_node *node =
        sg_tape_node(tape, &op_neurons, 5, (sg_tensor *[]){x, ids, scores, w_in, w_out});
    neurons_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (neurons_attributes){.channels = selection->channels,
                              .k = selection->k,
                              .pools = pools,
                              .n = w_in->shape[1],
                              .d = d,
                              .rows = sg_rows(x),
                              .activation = activation,
                              .gate = gate};
    node->attributes = a;
    sg_node_save(tape, node, SG_KIND_REAL, 1, (int64_t[]){neurons_hits(a)});
    node->worker_scratch_bytes = (size_t)(4 * neurons_tile * a->k) * sizeof(sg_real);
    node->scratch_bytes = (size_t)neurons_hits(a) * (4 * sizeof(sg_real) + sizeof(int32_t)) +
                          (size_t)(a->pools * (a->n + 1)) * sizeof(int32_t);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a->rows, d});
}

bool sg_is_memory_neurons(const sg_node *node)
{
    return node->op == &op_neurons;
}
