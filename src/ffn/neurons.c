// How a memory is read neuron by neuron. Forward and the input gradient go through tiles of rows.
// Where neurons are hit often, which is measured, all tiles read one table before any reads the
// next, so that the table stays in the cache of each thread; else a tile reads all tables, and its
// own rows stay. Results are the same.
//
// The weight gradients
//
//     dw_in[j] = sum over hits of j of da x        dw_out[j] = sum over hits of j of z dy
//
// go through a reverse index (a counting sort of the hits by neuron), so that each gradient row is
// summed by one thread, in the order of rows. Where neurons are hit often the index is cut into
// tiles of rows too, whose inputs then stay in cache while many neurons read them. Tables whose
// gradient is kept by rows have far more neurons than hits: there the hits are sorted instead of
// counted (hits.h), in the forward pass, which announces the rows that it will read. Nothing of
// size rows x channels x k x d is ever formed.
#include "ffn/neurons.h"

#include "base/alloc.h"

// Cut by shape alone. A table is read by all tiles in turn where each neuron that is hit at all is
// hit neurons_reuse times. A tile of the reverse index should hold as many hits a neuron, or
// summing into its row costs more than the tile saves.
enum { neurons_chunks = 32, neurons_tile_min = 128, neurons_tile_max = 1024, neurons_reuse = 4 };
enum { neurons_block_min = 32, neurons_blocks = 16 }; // neurons of a chunk of weight gradients
enum { neurons_measure = 64 };                        // passes from one measurement to the next

static sg_row_grads *neurons_by_row(const sg_tensor *table)
{
    return table != NULL ? table->base->row_grads : NULL;
}

static sg_hit_order neurons_order(const sg_node *node, const sg_neurons *a)
{
    return sg_hits_view(&a->hits, sg_ints(node->saved[node->n_saved - 1]));
}

static const int32_t *neurons_counts(const sg_node *node)
{
    const sg_tensor *counts = node->in[SG_NEURONS_COUNTS];
    return counts != NULL ? sg_ints(counts) : NULL;
}

// ---- the order of tables ------------------------------------------------------------------------

// Which rows of the tables are read, to whoever may still have to bring them up to date.
static void neurons_announce(const sg_run *run, const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    sg_hit_order order = neurons_order(node, a);
    sg_hits_sort(&a->hits, run->compute.pool, sg_ints(node->in[SG_NEURONS_IDS]),
                 neurons_counts(node), &order, (int32_t *)(void *)run->scratch);
    for (int i = SG_NEURONS_IN; i <= SG_NEURONS_OUT; i++) {
        const sg_row_grads *rows = neurons_by_row(node->in[i]);
        bool again = i == SG_NEURONS_OUT && rows == neurons_by_row(node->in[SG_NEURONS_IN]);
        if (rows != NULL && rows->before_read != NULL && !again)
            rows->before_read(rows->user, run->compute, order.ids, *order.neurons);
    }
}

static double neurons_share(int64_t hits, int64_t different)
{
    return different > 0 ? (double)hits / (double)different : 0;
}

// Hits of each neuron that is hit at all.
static double neurons_reuse_of(const sg_node *node, const sg_neurons *a)
{
    int64_t different = 0, hits = 0;
    memset(a->seen, 0, (size_t)(a->pools * a->n));
    for (int64_t r = 0; r < a->rows; r++)
        for (int64_t c = 0; c < a->channels; c++) {
            const int32_t *ids = sg_neurons_ids(node, a, r, c);
            int64_t count = sg_neurons_count(node, a, r, c);
            hits += count;
            for (int64_t i = 0; i < count; i++) {
                unsigned char *seen = a->seen + (a->pools == 1 ? 0 : c) * a->n + ids[i];
                different += !*seen;
                *seen = 1;
            }
        }
    return neurons_share(hits, different);
}

// What is measured follows from the selection, never from time; selections change slowly, so not
// each pass is looked at.
static void neurons_choose_order(const sg_node *node, sg_neurons *a)
{
    if (a->by_row) {
        sg_hit_order order = neurons_order(node, a);
        a->order.reuse = neurons_share(order.starts[*order.neurons], *order.neurons);
    } else if (a->seen != NULL && a->passes++ % neurons_measure == 0) {
        a->order.reuse = neurons_reuse_of(node, a);
    }
    a->order.by_table = a->order.reuse >= neurons_reuse;
}

void sg_neurons_begin(const sg_run *run, const sg_node *node)
{
    sg_neurons *a = node->attributes;
    if (a->by_row) neurons_announce(run, node);
    neurons_choose_order(node, a);
    a->order.rounded = sg_slices_used(node);
    a->order.by_table |= a->order.rounded;
}

static void neurons_pass(sg_neurons_loop *l, sg_range_fn fn, bool dots, bool sums)
{
    l->dots = dots;
    l->sums = sums;
    sg_parallel_ranges(l->run->compute.pool, l->a->rows, l->a->tile, fn, l);
}

void sg_neurons_passes(sg_neurons_loop *l, sg_range_fn fn)
{
    const sg_neurons *a = l->a;
    const bool by_table = a->order.by_table;
    int64_t pools = by_table ? a->pools : 1;
    for (int64_t p = 0; p < pools; p++) {
        l->channel = p * (a->channels / pools);
        l->end = l->channel + a->channels / pools;
        if (!by_table) {
            neurons_pass(l, fn, true, true);
            continue;
        }
        neurons_pass(l, fn, true, false);
        neurons_pass(l, fn, false, true);
    }
}

// ---- scores -------------------------------------------------------------------------------------

void sg_neurons_scores(const sg_node *node, const sg_neurons *a, int64_t first, int64_t rows,
                       int64_t c, sg_real *out)
{
    if (a->gate == SG_GATE_NONE) return;
    const sg_real *scores = sg_values(node->in[SG_NEURONS_SCORES]);
    for (int64_t r = 0; r < rows; r++) {
        int64_t count = sg_neurons_count(node, a, first + r, c);
        memcpy(out + r * a->k, scores + ((first + r) * a->channels + c) * a->k,
               (size_t)count * sizeof *out);
        for (int64_t i = count; i < a->k; i++)
            out[r * a->k + i] = 0;
    }
}

void sg_neurons_put_scores(const sg_neurons_loop *l, int64_t first, int64_t rows, int64_t c,
                           const sg_real *dscore)
{
    const sg_neurons *a = l->a;
    for (int64_t r = 0; r < rows; r++) {
        sg_real *to = l->dscores + ((first + r) * a->channels + c) * a->k;
        for (int64_t i = 0; i < a->k; i++)
            to[i] = (l->add_scores ? to[i] : 0) + dscore[r * a->k + i];
    }
}

// ---- gradients of whole tables ------------------------------------------------------------------

sg_neurons_part sg_neurons_part_at(const sg_neurons_loop *l, int64_t pool, int64_t span)
{
    const sg_neurons *a = l->a;
    sg_neurons_part p = {.channel = a->pools == 1 ? 0 : pool,
                         .channels = a->pools == 1 ? a->channels : 1,
                         .row = span * a->span,
                         .end = sg_min(a->rows, (span + 1) * a->span),
                         .offsets = l->offsets + (pool * a->spans + span) * (a->n + 1)};
    p.base = (p.channel * a->rows + p.channels * p.row) * a->k;
    return p;
}

void sg_neurons_count_part(const sg_neurons_loop *l, const sg_neurons_part *p)
{
    const sg_neurons *a = l->a;
    memset(p->offsets, 0, (size_t)(a->n + 1) * sizeof *p->offsets);
    for (int64_t c = p->channel; c < p->channel + p->channels; c++)
        for (int64_t r = p->row; r < p->end; r++) {
            const int32_t *ids = sg_neurons_ids(l->node, a, r, c);
            int64_t count = sg_neurons_count(l->node, a, r, c);
            for (int64_t i = 0; i < count; i++)
                p->offsets[ids[i] + 1]++;
        }
    for (int64_t j = 0; j < a->n; j++)
        p->offsets[j + 1] += p->offsets[j];
}

// Sorts the hits of one part by neuron, keeping the order of channels and rows.
static void neurons_sort_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    sg_neurons_part p = sg_neurons_part_at(l, chunk / a->spans, chunk % a->spans);
    sg_neurons_count_part(l, &p);
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++) {
            const int32_t *ids = sg_neurons_ids(l->node, a, r, c);
            int64_t count = sg_neurons_count(l->node, a, r, c);
            int64_t from = c * l->of_channel + r * l->of_row;
            for (int64_t i = 0; i < count; i++) {
                int64_t to = p.base + p.offsets[ids[i]]++;
                l->row_sorted[to] = (int32_t)r;
                if (l->fused) l->place_sorted[to] = (int32_t)(from + i);
                if (l->dw_out != NULL) l->z_sorted[to] = l->z[from + i];
                if (l->dw_in != NULL && !l->fused) l->da_sorted[to] = l->da[from + i];
            }
        }
    // Filling moved each offset to the end of its neuron; move them back by one place.
    memmove(p.offsets + 1, p.offsets, (size_t)a->n * sizeof *p.offsets);
    p.offsets[0] = 0;
}

// dw += sum over `count` sorted hits from `hit` on of value * source row, of `hits` in all.
static void neurons_sum_hits(const sg_neurons_loop *l, sg_real *dw, const sg_real *values,
                             const sg_stored *source, int64_t hit, int64_t count, int64_t hits)
{
    const int32_t *rows = l->row_sorted + hit;
    const int32_t *next = hit + 2 * count <= hits ? rows + count : NULL;
    sg_gather_sum_next(l->run->compute.kernels, dw, values + hit, source, rows, next, count,
                       l->a->d);
}

// dw[j] += sum over hits of value * source row, for neurons j of one pool.
static void neurons_sum_weights(const sg_neurons_loop *l, int64_t pool, int64_t begin, int64_t end,
                                sg_real *dw, bool add, const sg_real *values,
                                const sg_stored *source)
{
    const sg_neurons *a = l->a;
    dw += pool * a->n * a->d;
    if (!add) memset(dw + begin * a->d, 0, (size_t)((end - begin) * a->d) * sizeof *dw);
    for (int64_t span = 0; span < a->spans; span++) {
        sg_neurons_part p = sg_neurons_part_at(l, pool, span);
        for (int64_t j = begin; j < end; j++) {
            neurons_sum_hits(l, dw + j * a->d, values, source, p.base + p.offsets[j],
                             p.offsets[j + 1] - p.offsets[j], p.base + p.offsets[a->n]);
        }
    }
}

enum { neurons_group = 8 }; // hits whose rows stay in the first cache

// The gradient of row `w` of w_out, dw, and dz of the `count` sorted hits from `hit` on. dz is
// summed as gather_dots sums it for a row of x: the same bits.
static void neurons_out_hits(const sg_neurons_loop *l, sg_real *dw, const sg_real *w, int64_t hit,
                             int64_t count)
{
    const sg_kernels *kernels = l->run->compute.kernels;
    for (int64_t i = hit; i < hit + count; i += neurons_group) {
        const int32_t *rows = l->row_sorted + i;
        const int64_t n = sg_min(neurons_group, hit + count - i);
        sg_gather_dots(kernels, l->da_sorted + i, w, &l->dy_rows, rows, n, l->a->d);
        sg_gather_sum(kernels, dw, l->z_sorted + i, &l->dy_rows, rows, n, l->a->d);
    }
}

// Of neuron j of a part, in whose pool's table it is row j.
static void neurons_out_row(const sg_neurons_loop *l, const sg_neurons_part *p,
                            const sg_stored *table, sg_real *dw, int64_t j, sg_real *room)
{
    const int64_t d = l->a->d, hit = p->base + p->offsets[j];
    const int64_t count = p->offsets[j + 1] - p->offsets[j];
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_real *w = (const sg_real *)table->rows + j * d;
    if (sg_stored_is_narrow(table)) {
        sg_stored_read(kernels, room, table, j, 1, d);
        w = room;
    }
    neurons_out_hits(l, dw, w, hit, count);
}

static void neurons_out_chunk(void *context, int64_t chunk, int worker)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    int64_t chunks = sg_chunks(a->n, a->block), pool = chunk / chunks;
    int64_t begin = chunk % chunks * a->block, end = sg_min(a->n, begin + a->block);
    const sg_stored table = sg_neurons_pool(a, l->node->in[SG_NEURONS_OUT], pool);
    sg_real *dw = l->dw_out + pool * a->n * a->d;
    if (!l->add_out) memset(dw + begin * a->d, 0, (size_t)((end - begin) * a->d) * sizeof *dw);
    for (int64_t span = 0; span < a->spans; span++) {
        const sg_neurons_part p = sg_neurons_part_at(l, pool, span);
        for (int64_t j = begin; j < end; j++)
            if (p.offsets[j] < p.offsets[j + 1])
                neurons_out_row(l, &p, &table, dw + j * a->d, j, sg_worker_scratch(l->run, worker));
        for (int64_t i = p.base + p.offsets[begin]; i < p.base + p.offsets[end]; i++)
            l->dz[l->place_sorted[i]] = l->da_sorted[i];
    }
}

// da in the order of its sorted hits, of the neurons of a chunk.
static void neurons_sort_da(const sg_neurons_loop *l, int64_t pool, int64_t begin, int64_t end)
{
    for (int64_t span = 0; span < l->a->spans; span++) {
        const sg_neurons_part p = sg_neurons_part_at(l, pool, span);
        for (int64_t i = p.base + p.offsets[begin]; i < p.base + p.offsets[end]; i++)
            l->da_sorted[i] = l->da[l->place_sorted[i]];
    }
}

static void neurons_weights_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    int64_t chunks = sg_chunks(a->n, a->block), pool = chunk / chunks;
    int64_t begin = chunk % chunks * a->block, end = sg_min(a->n, begin + a->block);
    if (l->fused) neurons_sort_da(l, pool, begin, end);
    // In the order of the inputs, so that tied tables (w_in is w_out) add up.
    if (l->dw_in != NULL)
        neurons_sum_weights(l, pool, begin, end, l->dw_in, l->add_in, l->da_sorted, &l->x_rows);
    if (l->dw_out != NULL && !l->fused)
        neurons_sum_weights(l, pool, begin, end, l->dw_out, l->add_out, l->z_sorted, &l->dy_rows);
}

// ---- gradients by rows --------------------------------------------------------------------------

enum { neurons_sorted_chunk = 4096, neurons_row_chunk = 128 };

// z, da and the row of each hit, in the order of neurons.
static void neurons_sorted_put(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    const int32_t *order = neurons_order(l->node, a).order;
    for (int64_t i = range.first; i < range.end; i++) {
        // Hits fit in 31 bits, in which dividing is fast.
        uint32_t k = (uint32_t)a->k, hit = (uint32_t)order[i], group = hit / k;
        uint32_t row = group % (uint32_t)a->rows, c = group / (uint32_t)a->rows;
        int64_t from = c * l->of_channel + row * l->of_row + hit % k;
        l->row_sorted[i] = (int32_t)row;
        if (l->z != NULL) l->z_sorted[i] = l->z[from];
        if (l->da != NULL) l->da_sorted[i] = l->da[from];
    }
}

// The gradient of one table: values are those of the sorted hits.
typedef struct neurons_rows {
    const sg_neurons_loop *l;
    sg_row_grads *to;
    sg_hit_order order;
    const int32_t *slots; // of the neurons
    int64_t fresh;        // slots from here on are to be written, not added to
    const sg_real *values;
    const sg_stored *source;
} neurons_rows;

static void neurons_rows_sum(void *context, sg_range range)
{
    const neurons_rows *r = context;
    const sg_neurons_loop *l = r->l;
    int64_t d = l->a->d;
    for (int64_t j = range.first; j < range.end; j++) {
        int32_t hit = r->order.starts[j];
        sg_real *dw = r->to->values + r->slots[j] * d;
        if (r->slots[j] >= r->fresh) memset(dw, 0, (size_t)d * sizeof *dw);
        neurons_sum_hits(l, dw, r->values, r->source, hit, r->order.starts[j + 1] - hit,
                         r->order.starts[*r->order.neurons]);
    }
}

static void neurons_rows_add(const sg_neurons_loop *l, int input, int32_t *slots)
{
    bool add = false;
    const sg_node *node = l->node;
    neurons_rows r = {.l = l, .to = sg_row_grads_in(l->run, node, input, &add), .slots = slots};
    if (r.to == NULL) return;
    r.order = neurons_order(node, l->a);
    r.values = input == SG_NEURONS_IN ? l->da_sorted : l->z_sorted;
    r.source = input == SG_NEURONS_IN ? &l->x_rows : &l->dy_rows;
    r.fresh = sg_row_grads_open(r.to, r.order.ids, *r.order.neurons, add, slots);
    sg_parallel_ranges(l->run->compute.pool, *r.order.neurons, neurons_row_chunk, neurons_rows_sum,
                       &r);
}

// ---- both ---------------------------------------------------------------------------------------

static bool neurons_rounds_dy(const sg_node *node)
{
    return node->kind == SG_COMPUTE_BF16 && node->in[SG_NEURONS_OUT] != NULL;
}

// Bytes of dy in bf16, or of what slices keep there.
static size_t neurons_halves(const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    if (a->sliced) return sg_slices_front(a);
    return neurons_rounds_dy(node) ? sg_whole_lines((size_t)(a->rows * a->d) * sizeof(sg_bf16)) : 0;
}

enum { neurons_round = 32768 };

typedef struct neurons_rounding {
    const sg_kernels *kernels;
    sg_bf16 *to;
    const sg_real *from;
} neurons_rounding;

static void neurons_round_chunk(void *context, sg_range range)
{
    const neurons_rounding *c = context;
    c->kernels->to_bf16(c->to + range.first, c->from + range.first, range.end - range.first);
}

// The rows of x and dy, as each of their hits reads them. dy is rounded once, which costs less than
// reading it whole for each hit.
static void neurons_sources(sg_neurons_loop *l)
{
    const sg_neurons *a = l->a;
    const sg_node *node = l->node;
    l->x_rows = sg_neurons_x_rows(node);
    l->dy_rows.rows = node->out[0]->grad;
    if (!neurons_rounds_dy(node)) return;
    neurons_rounding c = {l->run->compute.kernels, (sg_bf16 *)(void *)l->run->scratch,
                          node->out[0]->grad};
    sg_parallel_ranges(l->run->compute.pool, a->rows * a->d, neurons_round, neurons_round_chunk,
                       &c);
    l->dy_rows = (sg_stored){.type = SG_WEIGHTS_BF16, .rows = c.to};
}

sg_real *sg_neurons_room(const sg_run *run, const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    return (sg_real *)(void *)(run->scratch + neurons_halves(node) + sg_slices_bytes(a));
}

static void neurons_place(sg_neurons_loop *l, sg_real *scratch)
{
    const int64_t hits = sg_neurons_hits(l->a);
    if (!l->sliced) neurons_sources(l);
    l->da_sorted = scratch;
    l->z_sorted = scratch + hits;
    l->row_sorted = (int32_t *)(l->z_sorted + hits);
    l->place_sorted = l->row_sorted + hits;
    l->offsets = l->place_sorted + hits;
}

// Narrow tables keep the order of sums that they have without, but in bf16, where dy is rounded in
// any case.
bool sg_neurons_fuses(const sg_neurons_loop *l)
{
    const sg_node *node = l->node;
    const sg_tensor *w_in = node->in[SG_NEURONS_IN], *w_out = node->in[SG_NEURONS_OUT];
    const sg_stored table = sg_weights_of(w_out);
    return !l->a->by_row && l->dw_out != NULL && (w_in == NULL || w_in->base != w_out->base) &&
           (node->kind == SG_COMPUTE_BF16 || !sg_stored_is_narrow(&table));
}

void sg_neurons_out(sg_neurons_loop *l, sg_real *scratch)
{
    const sg_neurons *a = l->a;
    sg_pool *pool = l->run->compute.pool;
    neurons_place(l, scratch);
    if (l->sliced) {
        sg_slices_out(l);
        return;
    }
    sg_parallel_for(pool, a->pools * a->spans, neurons_sort_chunk, l);
    sg_parallel_for(pool, a->pools * sg_chunks(a->n, a->block), neurons_out_chunk, l);
}

void sg_neurons_weights(sg_neurons_loop *l, sg_real *scratch)
{
    const sg_neurons *a = l->a;
    sg_pool *pool = l->run->compute.pool;
    if (!l->fused) neurons_place(l, scratch);
    if (l->sliced) {
        sg_slices_weights(l);
        return;
    }
    if (a->by_row) {
        sg_hit_order order = neurons_order(l->node, a);
        sg_parallel_ranges(pool, order.starts[*order.neurons], neurons_sorted_chunk,
                           neurons_sorted_put, l);
        neurons_rows_add(l, SG_NEURONS_IN, l->offsets);
        neurons_rows_add(l, SG_NEURONS_OUT, l->offsets);
    }
    if (l->dw_in == NULL && (l->dw_out == NULL || l->fused)) return;
    if (!l->fused) sg_parallel_for(pool, a->pools * a->spans, neurons_sort_chunk, l);
    sg_parallel_for(pool, a->pools * sg_chunks(a->n, a->block), neurons_weights_chunk, l);
}

// ---- recording ----------------------------------------------------------------------------------

static int64_t neurons_between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

size_t sg_neurons_scratch(const sg_node *node, const sg_neurons *a, int64_t values)
{
    // Behind the sorted hits: offsets for gradients that are whole, slots for those by rows.
    int64_t offsets = a->pools * a->spans * (a->n + 1), hits = sg_neurons_hits(a);
    bool whole = false;
    for (int i = SG_NEURONS_IN; i <= SG_NEURONS_OUT; i++)
        whole = whole || (node->in[i] != NULL && neurons_by_row(node->in[i]) == NULL);
    int64_t last = !whole ? hits : a->by_row && hits > offsets ? hits : offsets;
    size_t backward = (size_t)(values + 2 * hits) * sizeof(sg_real) +
                      (size_t)(2 * hits + last) * sizeof(int32_t) + neurons_halves(node) +
                      sg_slices_bytes(a);
    size_t sort = a->by_row ? (size_t)sg_hits_scratch(&a->hits) * sizeof(int32_t) : 0;
    return sort > backward ? sort : backward;
}

static void neurons_cut(sg_neurons *a)
{
    a->tile =
        neurons_between(sg_chunks(a->rows, neurons_chunks), neurons_tile_min, neurons_tile_max);
    int64_t reuse = sg_neurons_hits(a) / a->pools / a->n; // hits a neuron
    int64_t spans = neurons_between(reuse / neurons_reuse, 1, sg_chunks(a->rows, neurons_tile_max));
    a->span = sg_chunks(a->rows, spans);
    a->spans = sg_chunks(a->rows, a->span);
    a->block = neurons_between(sg_chunks(a->n * a->pools, neurons_blocks), neurons_block_min, a->n);
}

bool sg_neurons_fit(const sg_selection *s, const sg_tensor *table)
{
    if (s->unit != 1 || s->channels < 1 || s->k < 1 || table->rank != 3) return false;
    int64_t rows = s->ids->count / (s->channels * s->k);
    return s->ids->count == rows * s->channels * s->k && s->ids->count <= INT32_MAX &&
           (s->counts == NULL || s->counts->count == rows * s->channels) &&
           (table->shape[0] == 1 || table->shape[0] == s->channels);
}

sg_neurons *sg_neurons_new(sg_tape *tape, const sg_selection *s, const sg_tensor *table)
{
    sg_neurons *a = sg_tape_memory(tape, sizeof *a);
    if (a == NULL) return NULL;
    *a = (sg_neurons){.channels = s->channels,
                      .k = s->k,
                      .pools = table->shape[0],
                      .n = table->shape[1],
                      .d = table->shape[2],
                      .rows = s->ids->count / (s->channels * s->k)};
    neurons_cut(a);
    return a;
}

bool sg_neurons_record(sg_tape *tape, sg_node *node, sg_neurons *a)
{
    sg_tensor *w_in = node->in[SG_NEURONS_IN], *w_out = node->in[SG_NEURONS_OUT];
    a->by_row = neurons_by_row(w_in) != NULL || neurons_by_row(w_out) != NULL;
    a->hits = sg_hits_plan(a->channels, a->rows, a->k, a->pools, a->n);
    a->sliced = node->kind == SG_COMPUTE_BF16 && !a->by_row && a->rows > 1 &&
                sg_neurons_hits(a) / a->pools / a->n >= neurons_reuse;
    if (a->sliced) sg_slices_cut(a);
    node->attributes = a;
    if (!a->by_row && a->rows > 1) {
        a->seen = sg_tape_memory(tape, (size_t)(a->pools * a->n));
        return a->seen != NULL;
    }
    int64_t result = sg_hits_result(&a->hits);
    return !a->by_row || sg_node_save(tape, node, SG_KIND_INT, 1, &result) != NULL;
}
