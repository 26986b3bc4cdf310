// Reading a memory neuron by neuron. Forward and the input gradient go through tiles of rows. Where
// neurons are hit often, which is measured, all tiles read one table before any reads the next, so
// that the table stays in the cache of each thread; else a tile reads all tables, and its own rows
// stay. Results are the same. The weight gradients go through a reverse index (a counting sort of
// the hits by neuron), so that each gradient row is summed by one thread, in the order of rows.
// Where neurons are hit often the index is cut into tiles of rows too, whose inputs then stay in
// cache while many neurons read them. Tables whose gradient is kept by rows have far more neurons
// than hits: there the hits are sorted instead of counted (hits.h), in the forward pass, which
// announces the rows that it will read. Nothing of size rows x channels x k x d is ever formed.
#include <string.h>

#include "ffn/hits.h"
#include "ffn/memory.h"

// Cut by shape alone. A table is read by all tiles in turn where each neuron that is hit at all is
// hit neurons_reuse times. A tile of the reverse index should hold as many hits a neuron, or
// summing into its row costs more than the tile saves.
enum { neurons_chunks = 32, neurons_tile_min = 128, neurons_tile_max = 1024, neurons_reuse = 4 };
enum { neurons_block_min = 32, neurons_blocks = 16 }; // neurons of a chunk of weight gradients
enum { neurons_measure = 64 };                        // passes from one measurement to the next

typedef struct neurons_attributes {
    int64_t channels, k, pools, n, d, rows; // n: neurons of a pool
    int64_t tile;                           // rows of a tile
    int64_t span, spans;                    // rows of a tile of the reverse index, and how many
    int64_t block;                          // neurons of a chunk
    sg_memory_order order;                  // of the last forward pass
    unsigned char *seen; // (pools, n) while measuring; NULL: one row, or hits are sorted
    int64_t passes;
    sg_activation activation;
    sg_gate gate;
    bool by_row; // a table has its gradient by rows: the last saved is the order of these hits
    sg_hits hits;
} neurons_attributes;

// A hit is one selected neuron of one row; hits are laid out (channel, row, k).
typedef struct neurons_loop {
    const sg_run *run;
    const sg_node *node;
    const neurons_attributes *a;
    sg_real *dx, *dscores, *dw_in, *dw_out;
    bool add_x, add_scores, add_in, add_out;
    sg_real *z, *da;               // (channels, rows, k)
    sg_real *z_sorted, *da_sorted; // the same by pool, span, neuron, in the order of rows
    int32_t *row_sorted;
    int32_t *offsets;     // (pools, spans, n + 1) into the hits of a pool and span
    int64_t channel, end; // of this pass
    bool dots, sums;      // what this pass does: the first table it reads, the second
} neurons_loop;

static int64_t neurons_hits(const neurons_attributes *a)
{
    return a->channels * a->rows * a->k;
}

static sg_stored neurons_pool(const neurons_attributes *a, const sg_tensor *table, int64_t c)
{
    if (table == NULL) return (sg_stored){0}; // w_in of a memory of values
    sg_stored all = sg_weights_of(table);
    return sg_stored_at(&all, (a->pools == 1 ? 0 : c) * a->n, a->d);
}

static sg_row_grads *neurons_by_row(const sg_tensor *table)
{
    return table != NULL ? table->base->row_grads : NULL;
}

static sg_hit_order neurons_order(const sg_node *node, const neurons_attributes *a)
{
    return sg_hits_view(&a->hits, sg_ints(node->saved[node->n_saved - 1]));
}

static const int32_t *neurons_ids(const sg_node *node, const neurons_attributes *a, int64_t row,
                                  int64_t c)
{
    return sg_ints(node->in[1]) + (row * a->channels + c) * a->k;
}

// The dot products of channel c from row `first` on; NULL where there are none.
static sg_real *neurons_dots(const sg_node *node, const neurons_attributes *a, int64_t first,
                             int64_t c)
{
    if (node->n_saved == 0) return NULL;
    return sg_values(node->saved[0]) + (c * a->rows + first) * a->k;
}

// The ids of the row behind `row`, which are read next: NULL at the end of a tile.
static const int32_t *neurons_next(const sg_node *node, const neurons_attributes *a, int64_t row,
                                   int64_t end, int64_t c)
{
    return row + 1 < end ? neurons_ids(node, a, row + 1, c) : NULL;
}

// z of `count` hits from their dot products and scores.
static void neurons_gate(const sg_kernels *kernels, const neurons_attributes *a, sg_real *z,
                         const sg_real *dots, const sg_real *scores, int64_t count)
{
    if (a->gate == SG_GATE_VALUE) {
        memcpy(z, scores, (size_t)count * sizeof *z);
        return;
    }
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
    if (a->gate == SG_GATE_VALUE) { // there is no da
        memcpy(dscore, dz, (size_t)count * sizeof *dscore);
        return;
    }
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
    if (a->gate == SG_GATE_NONE) return;
    const sg_real *scores = sg_values(node->in[2]);
    for (int64_t r = 0; r < rows; r++)
        memcpy(out + r * a->k, scores + ((first + r) * a->channels + c) * a->k,
               (size_t)a->k * sizeof *out);
}

// Calls `chunk` for all tiles: once for everything, or table by table.
static void neurons_passes(neurons_loop *l, sg_chunk_fn chunk)
{
    const neurons_attributes *a = l->a;
    const bool by_table = a->order.by_table;
    int64_t tiles = sg_chunks(a->rows, a->tile), pools = by_table ? a->pools : 1;
    for (int64_t p = 0; p < pools; p++) {
        l->channel = p * (a->channels / pools);
        l->end = l->channel + a->channels / pools;
        l->dots = true;
        l->sums = !by_table;
        sg_parallel_for(l->run->compute.pool, tiles, chunk, l);
        if (l->sums) continue;
        l->dots = false;
        l->sums = true;
        sg_parallel_for(l->run->compute.pool, tiles, chunk, l);
    }
}

// ---- forward ----------------------------------------------------------------------------------

static void neurons_forward_chunk(void *context, int64_t chunk, int worker)
{
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    int64_t first = chunk * a->tile, rows = sg_min(a->tile, a->rows - first);
    const sg_real *x = l->node->in[0] ? sg_values(l->node->in[0]) + first * a->d : NULL;
    sg_real *y = sg_values(l->node->out[0]) + first * a->d;
    sg_real *scores = sg_worker_scratch(l->run, worker), *z = scores + rows * a->k;
    if (l->sums && l->channel == 0) memset(y, 0, (size_t)(rows * a->d) * sizeof *y);
    for (int64_t c = l->channel; c < l->end; c++) {
        sg_real *dots = neurons_dots(l->node, a, first, c);
        const sg_stored w_in = neurons_pool(a, l->node->in[3], c);
        const sg_stored w_out = neurons_pool(a, l->node->in[4], c);
        for (int64_t r = 0; l->dots && w_in.rows != NULL && r < rows; r++)
            sg_gather_dots_next(kernels, dots + r * a->k, x + r * a->d, &w_in,
                                neurons_ids(l->node, a, first + r, c),
                                neurons_next(l->node, a, first + r, first + rows, c), a->k, a->d);
        if (!l->sums) continue;
        neurons_scores(l->node, a, first, rows, c, scores);
        neurons_gate(kernels, a, z, dots, scores, rows * a->k);
        for (int64_t r = 0; r < rows; r++)
            sg_gather_sum_next(kernels, y + r * a->d, z + r * a->k, &w_out,
                               neurons_ids(l->node, a, first + r, c),
                               neurons_next(l->node, a, first + r, first + rows, c), a->k, a->d);
    }
}

// Which rows of the tables are read, to whoever may still have to bring them up to date.
static void neurons_announce(const sg_run *run, const sg_node *node)
{
    const neurons_attributes *a = node->attributes;
    sg_hit_order order = neurons_order(node, a);
    sg_hits_sort(&a->hits, run->compute.pool, sg_ints(node->in[1]), &order,
                 (int32_t *)(void *)run->scratch);
    for (int i = 3; i < 5; i++) {
        const sg_row_grads *rows = neurons_by_row(node->in[i]);
        bool again = i == 4 && rows == neurons_by_row(node->in[3]);
        if (rows != NULL && rows->before_read != NULL && !again)
            rows->before_read(rows->user, run->compute, order.ids, *order.neurons);
    }
}

static int64_t neurons_different(const sg_node *node, const neurons_attributes *a)
{
    int64_t different = 0;
    const int32_t *ids = sg_ints(node->in[1]);
    memset(a->seen, 0, (size_t)(a->pools * a->n));
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < a->channels; c++)
            for (int64_t i = 0; i < a->k; i++) {
                unsigned char *seen = a->seen + (a->pools == 1 ? 0 : c) * a->n + *ids++;
                different += !*seen;
                *seen = 1;
            }
    return different;
}

// What is measured follows from the ids, never from time; selections change slowly, so not each
// pass is looked at.
static void neurons_choose_order(const sg_node *node, neurons_attributes *a)
{
    if (a->by_row)
        a->order.reuse = (double)neurons_hits(a) / (double)*neurons_order(node, a).neurons;
    else if (a->seen != NULL && a->passes++ % neurons_measure == 0)
        a->order.reuse = (double)neurons_hits(a) / (double)neurons_different(node, a);
    a->order.by_table = a->order.reuse >= neurons_reuse;
}

static void neurons_forward(const sg_run *run, const sg_node *node)
{
    neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    if (l.a->by_row) neurons_announce(run, node);
    neurons_choose_order(node, node->attributes);
    neurons_passes(&l, neurons_forward_chunk);
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

// From dz of a tile and channel, in scratch, its z, da and gradient of the scores.
static void neurons_backward_gates(const neurons_loop *l, int64_t first, int64_t rows, int64_t c,
                                   sg_real *dz)
{
    const neurons_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    int64_t hit = (c * a->rows + first) * a->k, count = rows * a->k;
    sg_real *scores = dz + count, *work = scores + count, *dscore = work + count;
    const sg_real *dots = neurons_dots(l->node, a, first, c);
    neurons_scores(l->node, a, first, rows, c, scores);
    neurons_gate(kernels, a, l->z + hit, dots, scores, count);
    neurons_gate_backward(kernels, a, l->da + hit, dscore, dz, dots, scores, count, work);
    if (l->dscores != NULL) neurons_put_scores(l, first, rows, c, dscore);
}

static void neurons_backward_chunk(void *context, int64_t chunk, int worker)
{
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    int64_t first = chunk * a->tile, rows = sg_min(a->tile, a->rows - first);
    const sg_real *dy = l->node->out[0]->grad + first * a->d;
    sg_real *dz = sg_worker_scratch(l->run, worker);
    if (l->sums && l->channel == 0 && l->dx != NULL && !l->add_x)
        memset(l->dx + first * a->d, 0, (size_t)(rows * a->d) * sizeof *l->dx);
    for (int64_t c = l->channel; c < l->end; c++) {
        const sg_stored w_in = neurons_pool(a, l->node->in[3], c);
        const sg_stored w_out = neurons_pool(a, l->node->in[4], c);
        for (int64_t r = 0; l->dots && r < rows; r++)
            sg_gather_dots_next(kernels, dz + r * a->k, dy + r * a->d, &w_out,
                                neurons_ids(l->node, a, first + r, c),
                                neurons_next(l->node, a, first + r, first + rows, c), a->k, a->d);
        if (l->dots) neurons_backward_gates(l, first, rows, c, dz);
        const sg_real *da = l->da + (c * a->rows + first) * a->k;
        for (int64_t r = 0; l->sums && l->dx != NULL && r < rows; r++)
            sg_gather_sum_next(kernels, l->dx + (first + r) * a->d, da + r * a->k, &w_in,
                               neurons_ids(l->node, a, first + r, c),
                               neurons_next(l->node, a, first + r, first + rows, c), a->k, a->d);
    }
}

// ---- backward: weights ------------------------------------------------------------------------

// The hits of one pool in one span of rows; they are together in both orders.
typedef struct neurons_part {
    int64_t channel, channels; // of the pool
    int64_t row, end;
    int64_t base; // of its sorted hits
    int32_t *offsets;
} neurons_part;

static neurons_part neurons_part_at(const neurons_loop *l, int64_t pool, int64_t span)
{
    const neurons_attributes *a = l->a;
    neurons_part p = {.channel = a->pools == 1 ? 0 : pool,
                      .channels = a->pools == 1 ? a->channels : 1,
                      .row = span * a->span,
                      .end = sg_min(a->rows, (span + 1) * a->span),
                      .offsets = l->offsets + (pool * a->spans + span) * (a->n + 1)};
    p.base = (p.channel * a->rows + p.channels * p.row) * a->k;
    return p;
}

// Sorts the hits of one part by neuron, keeping the order of channels and rows.
static void neurons_sort_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    neurons_part p = neurons_part_at(l, chunk / a->spans, chunk % a->spans);
    memset(p.offsets, 0, (size_t)(a->n + 1) * sizeof *p.offsets);
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++) {
            const int32_t *ids = neurons_ids(l->node, a, r, c);
            for (int64_t i = 0; i < a->k; i++)
                p.offsets[ids[i] + 1]++;
        }
    for (int64_t j = 0; j < a->n; j++)
        p.offsets[j + 1] += p.offsets[j];
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++) {
            const int32_t *ids = neurons_ids(l->node, a, r, c);
            for (int64_t i = 0; i < a->k; i++) {
                int64_t to = p.base + p.offsets[ids[i]]++, from = (c * a->rows + r) * a->k + i;
                l->row_sorted[to] = (int32_t)r;
                l->z_sorted[to] = l->z[from];
                if (l->dw_in != NULL) l->da_sorted[to] = l->da[from];
            }
        }
    // Filling moved each offset to the end of its neuron; move them back by one place.
    memmove(p.offsets + 1, p.offsets, (size_t)a->n * sizeof *p.offsets);
    p.offsets[0] = 0;
}

// dw[j] += sum over hits of value * source row, for neurons j of one pool.
static void neurons_sum_weights(const neurons_loop *l, int64_t pool, int64_t begin, int64_t end,
                                sg_real *dw, bool add, const sg_real *values, const sg_real *source)
{
    const neurons_attributes *a = l->a;
    dw += pool * a->n * a->d;
    if (!add) memset(dw + begin * a->d, 0, (size_t)((end - begin) * a->d) * sizeof *dw);
    for (int64_t span = 0; span < a->spans; span++) {
        neurons_part p = neurons_part_at(l, pool, span);
        for (int64_t j = begin; j < end; j++) {
            int64_t hit = p.base + p.offsets[j];
            l->run->compute.kernels->gather_sum(dw + j * a->d, values + hit, source,
                                                l->row_sorted + hit,
                                                p.offsets[j + 1] - p.offsets[j], a->d);
        }
    }
}

static void neurons_weights_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    int64_t chunks = sg_chunks(a->n, a->block), pool = chunk / chunks;
    int64_t begin = chunk % chunks * a->block, end = sg_min(a->n, begin + a->block);
    // In the order of the inputs, so that tied tables (w_in is w_out) add up.
    if (l->dw_in != NULL)
        neurons_sum_weights(l, pool, begin, end, l->dw_in, l->add_in, l->da_sorted,
                            sg_values(l->node->in[0]));
    if (l->dw_out != NULL)
        neurons_sum_weights(l, pool, begin, end, l->dw_out, l->add_out, l->z_sorted,
                            l->node->out[0]->grad);
}

// ---- backward: weights by rows ------------------------------------------------------------------

enum { neurons_sorted_chunk = 4096, neurons_row_chunk = 128 };

// z, da and the row of each hit, in the order of neurons.
static void neurons_sorted_chunk_put(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const neurons_loop *l = context;
    const neurons_attributes *a = l->a;
    const int32_t *order = neurons_order(l->node, a).order;
    int64_t end = sg_min(a->hits.count, (chunk + 1) * neurons_sorted_chunk);
    for (int64_t i = chunk * neurons_sorted_chunk; i < end; i++) {
        // Hits fit in 31 bits, in which dividing is fast.
        l->row_sorted[i] = (int32_t)((uint32_t)order[i] / (uint32_t)a->k % (uint32_t)a->rows);
        l->z_sorted[i] = l->z[order[i]];
        if (l->node->in[3] != NULL) l->da_sorted[i] = l->da[order[i]];
    }
}

// The gradient of one table: values are those of the sorted hits.
typedef struct neurons_rows {
    const neurons_loop *l;
    sg_row_grads *to;
    sg_hit_order order;
    const int32_t *slots; // of the neurons
    int64_t fresh;        // slots from here on are to be written, not added to
    const sg_real *values, *source;
} neurons_rows;

static void neurons_rows_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const neurons_rows *r = context;
    const neurons_loop *l = r->l;
    int64_t d = l->a->d, end = sg_min(*r->order.neurons, (chunk + 1) * neurons_row_chunk);
    for (int64_t j = chunk * neurons_row_chunk; j < end; j++) {
        int32_t hit = r->order.starts[j];
        sg_real *dw = r->to->values + r->slots[j] * d;
        if (r->slots[j] >= r->fresh) memset(dw, 0, (size_t)d * sizeof *dw);
        l->run->compute.kernels->gather_sum(dw, r->values + hit, r->source, l->row_sorted + hit,
                                            r->order.starts[j + 1] - hit, d);
    }
}

static void neurons_rows_add(const neurons_loop *l, int input, int32_t *slots)
{
    bool add = false;
    const sg_node *node = l->node;
    neurons_rows r = {.l = l, .to = sg_row_grads_in(l->run, node, input, &add), .slots = slots};
    if (r.to == NULL) return;
    r.order = neurons_order(node, l->a);
    r.values = input == 3 ? l->da_sorted : l->z_sorted;
    r.source = input == 3 ? sg_values(node->in[0]) : node->out[0]->grad;
    r.fresh = sg_row_grads_open(r.to, r.order.ids, *r.order.neurons, add, slots);
    sg_parallel_for(l->run->compute.pool, sg_chunks(*r.order.neurons, neurons_row_chunk),
                    neurons_rows_chunk, &r);
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
    neurons_passes(&l, neurons_backward_chunk);
    if (a->by_row) {
        sg_parallel_for(run->compute.pool, sg_chunks(hits, neurons_sorted_chunk),
                        neurons_sorted_chunk_put, &l);
        neurons_rows_add(&l, 3, l.offsets);
        neurons_rows_add(&l, 4, l.offsets);
    }
    if (l.dw_in == NULL && l.dw_out == NULL) return;
    sg_parallel_for(run->compute.pool, a->pools * a->spans, neurons_sort_chunk, &l);
    sg_parallel_for(run->compute.pool, a->pools * sg_chunks(a->n, a->block), neurons_weights_chunk,
                    &l);
}

// Two dot products' worth of work a hit, 4 k C d a row (spec 5.9); one where there is no w_in.
static double neurons_flops(const sg_node *node)
{
    const neurons_attributes *a = node->attributes;
    return (node->in[3] ? 4.0 : 2.0) * (double)neurons_hits(a) * (double)a->d;
}

static const sg_op op_neurons = {
    .name = "memory_neurons",
    .forward = neurons_forward,
    .backward = neurons_backward,
    .flops = neurons_flops,
    .backward_reads_in = 31,
    .row_gradients = 1 << 3 | 1 << 4,
    .forward_reads_narrow = 1 << 3 | 1 << 4,
    .backward_reads_narrow = 1 << 3 | 1 << 4, // their gradients pass the rounding straight through
};

static int64_t neurons_between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static size_t neurons_scratch(const sg_node *node, const neurons_attributes *a)
{
    // Behind the sorted hits: offsets for gradients that are whole, slots for those by rows.
    int64_t offsets = a->pools * a->spans * (a->n + 1), hits = neurons_hits(a);
    bool whole = neurons_by_row(node->in[4]) == NULL ||
                 (node->in[3] != NULL && neurons_by_row(node->in[3]) == NULL);
    int64_t last = !whole ? hits : a->by_row && hits > offsets ? hits : offsets;
    size_t backward =
        (size_t)hits * (4 * sizeof(sg_real) + sizeof(int32_t)) + (size_t)last * sizeof(int32_t);
    size_t sort = a->by_row ? (size_t)sg_hits_scratch(&a->hits) * sizeof(int32_t) : 0;
    return sort > backward ? sort : backward;
}

static void neurons_cut(neurons_attributes *a)
{
    a->tile =
        neurons_between(sg_chunks(a->rows, neurons_chunks), neurons_tile_min, neurons_tile_max);
    int64_t reuse = neurons_hits(a) / a->pools / a->n; // hits a neuron
    int64_t spans = neurons_between(reuse / neurons_reuse, 1, sg_chunks(a->rows, neurons_tile_max));
    a->span = sg_chunks(a->rows, spans);
    a->spans = sg_chunks(a->rows, a->span);
    a->block = neurons_between(sg_chunks(a->n * a->pools, neurons_blocks), neurons_block_min, a->n);
}

sg_tensor *sg_memory_neurons(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                             sg_gate gate)
{
    const bool values = gate == SG_GATE_VALUE;
    sg_tensor *ids = selection->ids, *scores = gate == SG_GATE_NONE ? NULL : selection->scores;
    if (!ids || (!scores && gate != SG_GATE_NONE) || !w_out || (!values && (!x || !w_in)))
        return NULL;
    int64_t d = w_out->shape[2], pools = w_out->shape[0];
    int64_t rows = ids->count / (selection->channels * selection->k);
    if (w_out->rank != 3 || ids->count != rows * selection->channels * selection->k ||
        selection->unit != 1 || selection->counts || (values && (x || w_in)) ||
        (!values && (x->count != rows * d || sg_columns(x) != d || w_in->rank != 3 ||
                     w_in->shape[2] != d || w_in->count != w_out->count)) ||
        (scores && scores->count != ids->count) || (pools != 1 && pools != selection->channels) ||
        ids->count > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "memory: %s does not fit %s", w_out->name,
                            ids->name);
    sg_node *node =
        sg_tape_node(tape, &op_neurons, 5, (sg_tensor *[]){x, ids, scores, w_in, w_out});
    neurons_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (neurons_attributes){.channels = selection->channels,
                              .k = selection->k,
                              .pools = pools,
                              .n = w_out->shape[1],
                              .d = d,
                              .rows = rows,
                              .activation = activation,
                              .gate = gate};
    neurons_cut(a);
    a->by_row = neurons_by_row(w_in) != NULL || neurons_by_row(w_out) != NULL;
    a->hits = sg_hits_plan(a->channels, a->rows, a->k, a->pools, a->n);
    if (!a->by_row && rows > 1 && (a->seen = sg_tape_memory(tape, (size_t)(pools * a->n))) == NULL)
        return NULL;
    node->attributes = a;
    if (!values) sg_node_save(tape, node, SG_KIND_REAL, 1, (int64_t[]){neurons_hits(a)}); // dots
    if (a->by_row) sg_node_save(tape, node, SG_KIND_INT, 1, (int64_t[]){sg_hits_result(&a->hits)});
    node->worker_scratch_bytes = (size_t)(4 * sg_min(a->tile, a->rows) * a->k) * sizeof(sg_real);
    node->scratch_bytes = neurons_scratch(node, a);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a->rows, d});
}

bool sg_is_memory_neurons(const sg_node *node)
{
    return node->op == &op_neurons;
}

sg_memory_order sg_memory_neurons_order(const sg_node *node)
{
    return ((const neurons_attributes *)node->attributes)->order;
}
