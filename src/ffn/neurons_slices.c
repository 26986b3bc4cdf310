// A memory whose neurons are hit often, in bf16. Tables count as rounded to bf16: they are rounded
// here once a pass, unless they are kept so, as the operands of dense products are.
//
// Products x . w read whole rows, one pool's after another's, each of which stays in the second
// cache. Sums y = sum of z w go by slices: of a table SG_SLICE columns lie behind each other, so
// that those of several pools stay in that cache, and a row's sum over all of them is one list of
// hits that is added up in registers. Summed pool by pool, y would be read and written for every
// few hits, half as many bytes as the hits themselves.
//
// The order of such a sum is that of the hits, whatever is cut how: the same bits as by rows.
//
// Gradients of tables are sums over the rows of x and dy, which are cut in slices likewise; for the
// hits of neuron j, in one reading of dy,
//
//     dz = dy . w_out_j        dw_out_j += z dy
//
// whose products are added up slice after slice.
#include "base/alloc.h"
#include "ffn/neurons.h"

// Rows of a chunk of a table; bytes of a slice that shall stay in the second cache.
enum { slices_rows = 64, slices_cache = 1 << 20 };

// ---- where things lie -------------------------------------------------------------------------

static int64_t slices_of(const sg_neurons *a)
{
    return sg_chunks(a->d, SG_SLICE);
}

// Channels whose hits are summed together.
static int64_t slices_group(const sg_neurons *a)
{
    const int64_t fit = slices_cache / (a->n * SG_SLICE * (int64_t)sizeof(sg_bf16));
    if (a->pools == 1 || fit > a->channels) return a->channels;
    return fit > 1 ? fit : 1;
}

// Bytes of a table, or of x or dy, in slices.
static size_t slices_table(const sg_neurons *a)
{
    const int64_t most = a->rows > a->pools * a->n ? a->rows : a->pools * a->n;
    return sg_whole_lines((size_t)(slices_of(a) * most * SG_SLICE) * sizeof(sg_bf16));
}

// dy, and before it the rows of a table.
size_t sg_slices_front(const sg_neurons *a)
{
    return slices_table(a);
}

static size_t slices_values(const sg_neurons *a)
{
    return sg_whole_lines((size_t)sg_neurons_hits(a) * sizeof(sg_real));
}

size_t sg_slices_bytes(const sg_neurons *a)
{
    const size_t ids = (size_t)(sg_neurons_hits(a) + a->rows * a->channels) * sizeof(int32_t);
    return a->sliced ? slices_table(a) + slices_values(a) + sg_whole_lines(ids) : 0;
}

void sg_slices_cut(sg_neurons *a)
{
    const int64_t fit = slices_cache / (SG_SLICE * (int64_t)sizeof(sg_bf16));
    a->span = sg_chunks(a->rows, sg_chunks(a->rows, fit));
    a->spans = sg_chunks(a->rows, a->span);
}

static bool slices_reads(const sg_tensor *table)
{
    if (table == NULL) return true;
    const sg_stored w = sg_weights_of(table);
    return (w.type == SG_WEIGHTS_F32 || w.type == SG_WEIGHTS_BF16) && w.parts == NULL &&
           w.step <= 1;
}

bool sg_slices_used(const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    return a->sliced && slices_reads(node->in[SG_NEURONS_IN]) &&
           slices_reads(node->in[SG_NEURONS_OUT]);
}

static unsigned char *slices_room(const sg_neurons_loop *l)
{
    return l->run->scratch + sg_slices_front(l->a);
}

// ---- tables in bf16 -----------------------------------------------------------------------------

typedef struct slices_rounding {
    const sg_kernels *kernels;
    sg_stored from;
    sg_bf16 *to;
    int64_t rows, d;
} slices_rounding;

static void slices_round_rows(void *context, sg_range range)
{
    const slices_rounding *c = context;
    c->kernels->to_bf16(c->to + range.first * c->d,
                        (const sg_real *)c->from.rows + range.first * c->d,
                        (range.end - range.first) * c->d);
}

// Rows in bf16, made where they are not.
static sg_stored slices_rounded(const sg_neurons_loop *l, unsigned char *to, sg_stored from,
                                int64_t rows)
{
    if (from.type == SG_WEIGHTS_BF16) return from;
    slices_rounding c = {l->run->compute.kernels, from, (sg_bf16 *)(void *)to, rows, l->a->d};
    sg_parallel_ranges(l->run->compute.pool, rows, slices_rows, slices_round_rows, &c);
    return (sg_stored){.type = SG_WEIGHTS_BF16, .rows = to};
}

// The columns of a row from `column` on, to the end of their slice; zeros behind the last one.
static void slices_piece(const sg_kernels *kernels, sg_bf16 *to, const sg_stored *from, int64_t row,
                         int64_t column, int64_t d)
{
    const int64_t at = row * d + column, n = sg_min(SG_SLICE, d - column);
    if (from->type == SG_WEIGHTS_BF16)
        memcpy(to, (const sg_bf16 *)from->rows + at, (size_t)n * sizeof *to);
    else
        kernels->to_bf16(to, (const sg_real *)from->rows + at, n);
    if (n < SG_SLICE) memset(to + n, 0, (size_t)(SG_SLICE - n) * sizeof *to);
}

static void slices_cut_rows(void *context, sg_range range)
{
    const slices_rounding *c = context;
    for (int64_t row = range.first; row < range.end; row++)
        for (int64_t i = 0; i < c->d; i += SG_SLICE)
            slices_piece(c->kernels, c->to + (i / SG_SLICE * c->rows + row) * SG_SLICE, &c->from,
                         row, i, c->d);
}

static const sg_bf16 *slices_cut(const sg_neurons_loop *l, unsigned char *to, sg_stored from,
                                 int64_t rows)
{
    slices_rounding c = {l->run->compute.kernels, from, (sg_bf16 *)(void *)to, rows, l->a->d};
    sg_parallel_ranges(l->run->compute.pool, rows, slices_rows, slices_cut_rows, &c);
    return c.to;
}

// ---- products -----------------------------------------------------------------------------------

typedef struct slices_dots {
    const sg_neurons_loop *l;
    const sg_bf16 *x, *table; // of a pool
    sg_real *dots;
    int64_t channel, end;
} slices_dots;

static void slices_dots_row(const slices_dots *s, int64_t row, int64_t end, int64_t c)
{
    const sg_neurons *a = s->l->a;
    const sg_node *node = s->l->node;
    const sg_kernels *kernels = s->l->run->compute.kernels;
    const int64_t count = sg_neurons_count(node, a, row, c);
    const int32_t *ids = sg_neurons_ids(node, a, row, c);
    const int32_t *next = sg_neurons_next(node, a, row, end, c, count);
    sg_real *dots = s->dots + (row * a->channels + c) * a->k;
    kernels->gather_dots_pairs(dots, s->x + row * a->d, s->table, ids, next, count, a->d);
    for (int64_t i = count; i < a->k; i++)
        dots[i] = 0;
}

static void slices_dots_rows(void *context, sg_range range)
{
    const slices_dots *s = context;
    for (int64_t c = s->channel; c < s->end; c++)
        for (int64_t r = range.first; r < range.end; r++)
            slices_dots_row(s, r, range.end, c);
}

// A pool's rows are rounded when they are to be read, and found in the second cache.
void sg_slices_dots(const sg_neurons_loop *l, sg_stored x, const sg_tensor *table, sg_real *dots)
{
    const sg_neurons *a = l->a;
    slices_dots s = {.l = l, .dots = dots};
    s.x = slices_rounded(l, slices_room(l), x, a->rows).rows;
    for (int64_t p = 0; p < a->pools; p++) {
        s.channel = p * (a->channels / a->pools);
        s.end = s.channel + a->channels / a->pools;
        s.table =
            slices_rounded(l, l->run->scratch, sg_neurons_pool(a, table, s.channel), a->n).rows;
        sg_parallel_ranges(l->run->compute.pool, a->rows, a->tile, slices_dots_rows, &s);
    }
}

// ---- sums ---------------------------------------------------------------------------------------

typedef struct slices_sums {
    const sg_neurons_loop *l;
    const sg_bf16 *table;
    const sg_real *values;
    // The hits of a row: rows of a slice, and what they are multiplied by, which are the values
    // unless there are counts: then those of a row and group stand together, and this many.
    sg_real *z;
    int32_t *ids, *counts;
    sg_real *y;
    bool add;
    int64_t channel, end, tiles;
} slices_sums;

// Of channels first to end - 1 of a row.
static void slices_list_counted(const slices_sums *s, int64_t row, int64_t first, int64_t end)
{
    const sg_neurons *a = s->l->a;
    const int64_t start = (row * a->channels + first) * a->k;
    int64_t to = start;
    for (int64_t c = first; c < end; c++) {
        const int64_t from = (row * a->channels + c) * a->k;
        const int64_t count = sg_neurons_count(s->l->node, a, row, c);
        const int32_t *ids = sg_neurons_ids(s->l->node, a, row, c);
        const int32_t offset = (int32_t)(a->pools == 1 ? 0 : c * a->n);
        for (int64_t i = 0; i < count; i++, to++) {
            s->ids[to] = ids[i] + offset;
            s->z[to] = s->values[from + i];
        }
    }
    s->counts[row * a->channels + first] = (int32_t)(to - start);
}

static void slices_list(const slices_sums *s, int64_t row)
{
    const sg_neurons *a = s->l->a;
    const int32_t *from = sg_neurons_ids(s->l->node, a, row, 0);
    int32_t *to = s->ids + row * a->channels * a->k;
    for (int64_t c = 0; c < a->channels; c++, from += a->k, to += a->k)
        for (int64_t i = 0; i < a->k; i++)
            to[i] = from[i] + (int32_t)(c * a->n);
}

static void slices_list_rows(void *context, sg_range range)
{
    const slices_sums *s = context;
    const sg_neurons *a = s->l->a;
    const int64_t group = slices_group(a);
    for (int64_t r = range.first; r < range.end; r++) {
        if (s->counts == NULL) slices_list(s, r);
        for (int64_t c = 0; s->counts != NULL && c < a->channels; c += group)
            slices_list_counted(s, r, c, sg_min(a->channels, c + group));
    }
}

// A tile of rows in one slice.
static void slices_sum_tile(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const slices_sums *s = context;
    const sg_neurons *a = s->l->a;
    const sg_kernels *kernels = s->l->run->compute.kernels;
    const int64_t slice = chunk / s->tiles, first = chunk % s->tiles * a->tile;
    const int64_t column = slice * SG_SLICE, n = sg_min(SG_SLICE, a->d - column);
    const sg_bf16 *table = s->table + slice * a->pools * a->n * SG_SLICE;
    const bool add = s->add || s->channel > 0;
    for (int64_t r = first; r < sg_min(a->rows, first + a->tile); r++) {
        const int64_t at = (r * a->channels + s->channel) * a->k;
        int64_t count = (s->end - s->channel) * a->k, known = sg_neurons_hits(a) - at;
        if (s->counts != NULL) known = count = s->counts[r * a->channels + s->channel];
        kernels->slice_sum(s->y + r * a->d + column, s->z + at, table, s->ids + at, count, known, n,
                           add);
    }
}

// Where the lists are made, and what is there already.
static void slices_lists(slices_sums *s, unsigned char *room)
{
    const sg_neurons_loop *l = s->l;
    const sg_neurons *a = l->a;
    const sg_node *node = l->node;
    s->z = (sg_real *)(void *)room;
    s->ids = (int32_t *)(void *)(room + slices_values(a));
    if (node->in[SG_NEURONS_COUNTS] != NULL)
        s->counts = s->ids + sg_neurons_hits(a);
    else
        s->z = (sg_real *)(uintptr_t)s->values;
    if (s->counts == NULL && a->pools == 1)
        s->ids = sg_ints(node->in[SG_NEURONS_IDS]);
    else
        sg_parallel_ranges(l->run->compute.pool, a->rows, a->tile, slices_list_rows, s);
}

void sg_slices_sums(const sg_neurons_loop *l, sg_real *y, bool add, const sg_tensor *table,
                    const sg_real *values)
{
    const sg_neurons *a = l->a;
    unsigned char *room = slices_room(l);
    slices_sums s = {.l = l,
                     .table = slices_cut(l, room, sg_weights_of(table), a->pools * a->n),
                     .values = values,
                     .y = y,
                     .add = add,
                     .tiles = sg_chunks(a->rows, a->tile)};
    slices_lists(&s, room + slices_table(a));
    for (; s.channel < a->channels; s.channel = s.end) {
        s.end = sg_min(a->channels, s.channel + slices_group(a));
        sg_parallel_for(l->run->compute.pool, slices_of(a) * s.tiles, slices_sum_tile, &s);
    }
}

// ---- gradients of tables ------------------------------------------------------------------------

typedef struct slices_grad {
    const sg_neurons_loop *l;
    const sg_bf16 *source; // x or dy
    const sg_real *values; // of the sorted hits
    const sg_bf16 *table;  // in slices, whose products with source are wanted too, or NULL
    sg_real *dw;
    bool add;
    int64_t span, slice;
} slices_grad;

static void slices_grad_neuron(const slices_grad *g, const sg_neurons_part *p, int64_t pool,
                               int64_t j)
{
    const sg_neurons_loop *l = g->l;
    const sg_neurons *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const int64_t hit = p->base + p->offsets[j], count = p->offsets[j + 1] - p->offsets[j];
    const int64_t known = p->offsets[a->n] - p->offsets[j], row = pool * a->n + j;
    const int64_t column = g->slice * SG_SLICE, n = sg_min(SG_SLICE, a->d - column);
    const sg_bf16 *slice = g->source + g->slice * a->rows * SG_SLICE;
    sg_real *dw = g->dw + row * a->d + column;
    const bool add = g->add || g->span > 0;
    if (g->table == NULL) {
        kernels->slice_sum(dw, g->values + hit, slice, l->row_sorted + hit, count, known, n, add);
        return;
    }
    const sg_bf16 *w = g->table + (g->slice * a->pools * a->n + row) * SG_SLICE;
    kernels->slice_both(l->da_sorted + hit, dw, w, g->values + hit, slice, l->row_sorted + hit,
                        count, known, n, g->slice > 0, add);
}

static void slices_grad_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const slices_grad *g = context;
    const sg_neurons *a = g->l->a;
    const int64_t chunks = sg_chunks(a->n, a->block), pool = chunk / chunks;
    const int64_t begin = chunk % chunks * a->block, end = sg_min(a->n, begin + a->block);
    const sg_neurons_part p = sg_neurons_part_at(g->l, pool, g->span);
    for (int64_t j = begin; j < end; j++)
        slices_grad_neuron(g, &p, pool, j);
}

// A slice of the source stays in the second cache while all neurons read it.
static void slices_grad_all(slices_grad *g)
{
    const sg_neurons *a = g->l->a;
    for (g->span = 0; g->span < a->spans; g->span++)
        for (g->slice = 0; g->slice < slices_of(a); g->slice++)
            sg_parallel_for(g->l->run->compute.pool, a->pools * sg_chunks(a->n, a->block),
                            slices_grad_chunk, g);
}

enum { slices_hits = 16384 };

// Where a hit's values are, and its row: put in place together, as what is written at random costs.
typedef struct slices_hit {
    int32_t row, place;
} slices_hit;

static void slices_sort_row(const sg_neurons_loop *l, const sg_neurons_part *p, int64_t c,
                            int64_t r, slices_hit *hits)
{
    const int32_t *ids = sg_neurons_ids(l->node, l->a, r, c);
    const int64_t count = sg_neurons_count(l->node, l->a, r, c);
    const int64_t from = c * l->of_channel + r * l->of_row;
    for (int64_t i = 0; i < count; i++)
        hits[p->offsets[ids[i]]++] = (slices_hit){(int32_t)r, (int32_t)(from + i)};
}

// Sorts the hits of one part by neuron, keeping the order of channels and rows. They lie where
// their values will be.
static void slices_sort_part(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    const sg_neurons_part p = sg_neurons_part_at(l, chunk / a->spans, chunk % a->spans);
    slices_hit *hits = (slices_hit *)(void *)l->da_sorted + p.base;
    sg_neurons_count_part(l, &p);
    for (int64_t c = p.channel; c < p.channel + p.channels; c++)
        for (int64_t r = p.row; r < p.end; r++)
            slices_sort_row(l, &p, c, r, hits);
    // Filling moved each offset to the end of its neuron; move them back by one place.
    memmove(p.offsets + 1, p.offsets, (size_t)a->n * sizeof *p.offsets);
    p.offsets[0] = 0;
    for (int64_t i = 0; i < p.offsets[a->n]; i++) {
        l->row_sorted[p.base + i] = hits[i].row;
        l->place_sorted[p.base + i] = hits[i].place;
    }
}

// The values of a pool's hits lie apart by those of other channels: each costs a wait for memory
// unless it is fetched before.
static void slices_fetch(const sg_neurons_loop *l, const sg_real *values, int64_t i, int64_t end)
{
    enum { far = 32 };
    __builtin_prefetch(values + l->place_sorted[i + far < end ? i + far : i]);
}

static void slices_put_dz(void *context, sg_range hits)
{
    const sg_neurons_loop *l = context;
    for (int64_t i = hits.first; i < hits.end; i++) {
        slices_fetch(l, l->dz, i, hits.end);
        l->dz[l->place_sorted[i]] = l->da_sorted[i];
    }
}

static void slices_sort_z(void *context, sg_range hits)
{
    const sg_neurons_loop *l = context;
    for (int64_t i = hits.first; i < hits.end; i++) {
        slices_fetch(l, l->z, i, hits.end);
        l->z_sorted[i] = l->z[l->place_sorted[i]];
    }
}

static void slices_sort_da(void *context, sg_range hits)
{
    const sg_neurons_loop *l = context;
    for (int64_t i = hits.first; i < hits.end; i++) {
        slices_fetch(l, l->da, i, hits.end);
        l->da_sorted[i] = l->da[l->place_sorted[i]];
    }
}

// Sorted hits have gaps behind those of a part where rows have counts.
static void slices_each_hit(const sg_neurons_loop *l, sg_range_fn fn)
{
    const sg_neurons *a = l->a;
    for (int64_t i = 0; i < a->pools * a->spans; i++) {
        const sg_neurons_part p = sg_neurons_part_at(l, i / a->spans, i % a->spans);
        sg_neurons_loop part = *l;
        part.place_sorted += p.base;
        part.da_sorted += p.base;
        part.z_sorted += p.base;
        sg_parallel_ranges(l->run->compute.pool, p.offsets[a->n], slices_hits, fn, &part);
    }
}

static void slices_sort(sg_neurons_loop *l)
{
    sg_parallel_for(l->run->compute.pool, l->a->pools * l->a->spans, slices_sort_part, l);
    if (l->dw_out != NULL) slices_each_hit(l, slices_sort_z);
}

static const sg_bf16 *slices_dy(const sg_neurons_loop *l)
{
    const sg_stored dy = {.rows = l->node->out[0]->grad};
    return slices_cut(l, l->run->scratch, dy, l->a->rows);
}

void sg_slices_out(sg_neurons_loop *l)
{
    slices_sort(l);
    const sg_stored table = sg_weights_of(l->node->in[SG_NEURONS_OUT]);
    slices_grad g = {.l = l,
                     .source = slices_dy(l),
                     .values = l->z_sorted,
                     .table = slices_cut(l, slices_room(l), table, l->a->pools * l->a->n),
                     .dw = l->dw_out,
                     .add = l->add_out};
    slices_grad_all(&g);
    slices_each_hit(l, slices_put_dz);
}

// In the order of the inputs, so that tied tables (w_in is w_out) add up.
void sg_slices_weights(sg_neurons_loop *l)
{
    if (l->dw_in == NULL && (l->dw_out == NULL || l->fused)) return;
    if (!l->fused) slices_sort(l);
    if (l->dw_in != NULL) {
        slices_each_hit(l, slices_sort_da);
        slices_grad in = {.l = l,
                          .source =
                              slices_cut(l, slices_room(l), sg_neurons_x_rows(l->node), l->a->rows),
                          .values = l->da_sorted,
                          .dw = l->dw_in,
                          .add = l->add_in};
        slices_grad_all(&in);
    }
    if (l->dw_out != NULL && !l->fused) {
        slices_grad out = {.l = l,
                           .source = slices_dy(l),
                           .values = l->z_sorted,
                           .dw = l->dw_out,
                           .add = l->add_out};
        slices_grad_all(&out);
    }
}
