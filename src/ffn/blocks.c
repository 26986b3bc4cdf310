// How a memory is read block by block, through dense products: the rows that selected a block are
// gathered behind each other and meet it in one product, however many they are: nothing is padded,
// nothing dropped. A block is g cells, rows of w_in and w_out, or a gated linear unit of width g.
//
// Forward and the input gradient go through tiles of rows, each the work of one thread, which owns
// the results of its rows and adds up the blocks in their order; so no array of hits x d is formed.
// The weight gradients go through the blocks, each slab of cells the work of one thread:
//
//     cells:    dw_in_j = sum over hits of da_j x             dw_out_j = sum over hits of z_j dy
//     experts:  dup = sum of da x^T   dup_bias = sum of da    ddown = sum of dy z^T
//               ddown_bias = sum of score dy
//
// The hits (a selected block of one row) lie in the order of blocks, and within a block of rows, so
// that a tile's part of a block is one run, and a block's part of all tiles is one too.
#include "ffn/blocks.h"

#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm.h"

// All by shape alone. A tile has many rows, as the tables are read anew for each, but there are
// blocks_tiles of them where the rows allow.
enum { blocks_tiles = 8, blocks_tile_min = 256 };
enum { blocks_thin = 4 }; // rows up to here: no product, cell by cell
enum { blocks_piece_min = 32, blocks_piece_max = 512, blocks_piece_values = 1 << 17 };
enum { blocks_slab_min = 64, blocks_slab_max = 256, blocks_slabs = 16 }; // cells of a chunk
enum { blocks_widen = 64 }; // narrow rows widened at once

// ---- recording ----------------------------------------------------------------------------------

static int64_t blocks_between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static void blocks_cut(sg_blocks *a)
{
    a->tile = sg_chunks(a->rows, blocks_tiles);
    if (a->tile < blocks_tile_min) a->tile = blocks_tile_min;
    a->tiles = sg_chunks(a->rows, a->tile);
    a->piece = blocks_between(blocks_piece_values / a->d, blocks_piece_min, blocks_piece_max);
    a->slab = sg_min(a->g, blocks_slab_max);
    while (a->slab > blocks_slab_min && a->blocks * sg_chunks(a->g, a->slab) < blocks_slabs)
        a->slab = sg_chunks(a->slab, 2);
    a->slabs = sg_chunks(a->g, a->slab);
}

static size_t blocks_wide(const sg_blocks *a, const sg_tensor *up, const sg_tensor *down)
{
    size_t first = up ? sg_weights_scratch_bytes(up, a->piece, a->width, a->d) : 0, second = 0;
    if (down == NULL)
        second = 0;
    else if (a->columns)
        second = sg_weights_scratch_bytes(down, a->piece, a->d, a->g);
    else if (down->narrow != NULL)
        second = (size_t)(blocks_widen * a->d) * sizeof(sg_real);
    size_t most = first > second ? first : second;
    return sg_whole_lines(most);
}

// For the products of a piece of rows with each table, either way, and for gradients of a slab.
static size_t blocks_gemm_room(const sg_node *node, const sg_blocks *a)
{
    const int64_t m = sg_min(a->piece, a->rows * a->k);
    const int64_t shapes[][3] = {{m, a->width, a->d}, {m, a->d, a->width},    {m, a->d, a->g},
                                 {m, a->g, a->d},     {2 * a->slab, a->d, m}, {a->d, a->slab, m}};
    size_t most = 0;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const size_t room = sg_gemm_room(node->kind, shapes[i][0], shapes[i][1], shapes[i][2]);
        if (room > most) most = room;
    }
    return sg_whole_lines(most);
}

bool sg_blocks_fit(const sg_selection *s, const sg_blocks *shape)
{
    return s->channels == 1 && s->unit == shape->g && s->ids->count == shape->rows * s->k &&
           s->ids->count <= INT32_MAX && (s->counts == NULL || s->counts->count == shape->rows) &&
           (shape->gate == SG_GATE_NONE || s->scores->count == s->ids->count);
}

sg_node *sg_blocks_record(sg_tape *tape, const sg_op *op, sg_tensor *const in[SG_BLOCKS_INPUTS],
                          const sg_blocks *shape, int64_t values)
{
    sg_node *node = sg_tape_node(tape, op, SG_BLOCKS_INPUTS, in);
    sg_blocks *a = sg_tape_memory(tape, sizeof *a);
    int32_t *cells = sg_tape_memory(tape, (size_t)shape->g * sizeof *cells);
    if (node == NULL || a == NULL || cells == NULL) return NULL;
    for (int64_t j = 0; j < shape->g; j++)
        cells[j] = (int32_t)j;
    *a = *shape;
    a->cells = cells;
    blocks_cut(a);
    a->wide = blocks_wide(a, in[SG_BLOCKS_UP], in[SG_BLOCKS_DOWN]);
    node->attributes = a;
    int64_t hits = a->rows * a->k, parts = a->blocks * a->tiles + 1;
    sg_node_save(tape, node, SG_KIND_INT, 1, &hits);
    sg_node_save(tape, node, SG_KIND_INT, 1, &parts);
    a->gemm = blocks_gemm_room(node, a);
    node->worker_scratch_bytes =
        a->wide + a->gemm + (size_t)(sg_min(a->piece, hits) * values) * sizeof(sg_real);
    return node;
}

// ---- running ------------------------------------------------------------------------------------

sg_blocks_loop sg_blocks_begin(const sg_run *run, const sg_node *node)
{
    return (sg_blocks_loop){.run = run,
                            .node = node,
                            .a = node->attributes,
                            .order = sg_ints(node->saved[0]),
                            .starts = sg_ints(node->saved[1])};
}

bool sg_blocks_gradients(sg_blocks_loop *l)
{
    bool weights = false;
    for (int i = 0; i < SG_BLOCKS_INPUTS; i++) {
        l->grad[i] = sg_grad_in(l->run, l->node, i, &l->add[i]);
        weights = weights || (i >= SG_BLOCKS_UP && l->grad[i] != NULL);
    }
    sg_real *scores = l->grad[SG_BLOCKS_SCORES];
    if (scores == NULL || l->add[SG_BLOCKS_SCORES] || l->node->in[SG_BLOCKS_COUNTS] == NULL)
        return weights;
    for (int64_t r = 0; r < l->a->rows; r++)
        for (int64_t i = sg_blocks_count(l->node, l->a, r); i < l->a->k; i++)
            scores[r * l->a->k + i] = 0;
    return weights;
}

// ---- order --------------------------------------------------------------------------------------

static void blocks_count_tile(void *context, sg_range range)
{
    const sg_blocks_loop *l = context;
    const sg_blocks *a = l->a;
    const int32_t *ids = sg_ints(l->node->in[SG_BLOCKS_IDS]);
    for (int64_t r = range.first; r < range.end; r++) {
        int64_t end = r * a->k + sg_blocks_count(l->node, l->a, r);
        for (int64_t h = r * a->k; h < end; h++)
            l->starts[ids[h] * a->tiles + range.chunk + 1]++;
    }
}

static void blocks_place_tile(void *context, sg_range range)
{
    const sg_blocks_loop *l = context;
    const sg_blocks *a = l->a;
    const int32_t *ids = sg_ints(l->node->in[SG_BLOCKS_IDS]);
    for (int64_t r = range.first; r < range.end; r++) {
        int64_t end = r * a->k + sg_blocks_count(l->node, l->a, r);
        for (int64_t h = r * a->k; h < end; h++)
            l->order[l->starts[ids[h] * a->tiles + range.chunk]++] = (int32_t)h;
    }
}

void sg_blocks_sort(const sg_blocks_loop *l)
{
    const sg_blocks *a = l->a;
    sg_pool *pool = l->run->compute.pool;
    void *context = (void *)(uintptr_t)l;
    int64_t parts = a->blocks * a->tiles;
    memset(l->starts, 0, (size_t)(parts + 1) * sizeof *l->starts);
    sg_parallel_ranges(pool, a->rows, a->tile, blocks_count_tile, context);
    for (int64_t i = 0; i < parts; i++)
        l->starts[i + 1] += l->starts[i];
    sg_parallel_ranges(pool, a->rows, a->tile, blocks_place_tile, context);
    // Placing moved each start to the end of its part; move them back by one place.
    memmove(l->starts + 1, l->starts, (size_t)parts * sizeof *l->starts);
    l->starts[0] = 0;
}

// ---- pieces of rows -----------------------------------------------------------------------------

static sg_blocks_rows blocks_gather(const sg_blocks_part *p, sg_real *to, const sg_real *from)
{
    const int64_t d = p->l->a->d;
    for (int64_t i = 0; i < p->m; i++)
        memcpy(to + i * d, from + sg_blocks_row(p, i) * d, (size_t)d * sizeof *to);
    return (sg_blocks_rows){.values = to};
}

static bool blocks_narrow(const sg_node *node)
{
    return node->in[SG_BLOCKS_UP] != NULL && node->in[SG_BLOCKS_UP]->narrow != NULL;
}

sg_blocks_rows sg_blocks_gather_x(const sg_blocks_part *p, sg_real *room)
{
    const sg_node *node = p->l->node;
    const sg_bf16 *from = sg_half_in(node, SG_BLOCKS_X);
    if (from == NULL) return blocks_gather(p, room, sg_values(node->in[SG_BLOCKS_X]));
    const int64_t d = p->l->a->d;
    sg_bf16 *to = (sg_bf16 *)room;
    if (blocks_narrow(node)) { // their products are f32
        for (int64_t i = 0; i < p->m; i++)
            p->l->run->compute.kernels->from_bf16(room + i * d, from + sg_blocks_row(p, i) * d, d);
        return (sg_blocks_rows){.values = room};
    }
    for (int64_t i = 0; i < p->m; i++)
        memcpy(to + i * d, from + sg_blocks_row(p, i) * d, (size_t)d * sizeof *to);
    return (sg_blocks_rows){.half = to};
}

sg_blocks_rows sg_blocks_gather_dy(const sg_blocks_part *p, sg_real *room)
{
    return blocks_gather(p, room, p->l->node->out[0]->grad);
}

void sg_blocks_scatter(const sg_blocks_part *p, sg_real *to, const sg_real *from)
{
    const int64_t d = p->l->a->d;
    for (int64_t i = 0; i < p->m; i++) {
        sg_real *row = to + sg_blocks_row(p, i) * d;
        p->l->run->compute.kernels->add(row, row, from + i * d, d);
    }
}

static void blocks_copies(sg_real *to, const sg_real *row, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        memcpy(to + i * n, row, (size_t)n * sizeof *to);
}

// A part that is alone has all threads; the others are chunks, each on one.
static sg_compute blocks_compute(const sg_blocks_part *p)
{
    const sg_compute all = p->l->run->compute;
    return p->alone ? all : (sg_compute){.kernels = all.kernels};
}

static void blocks_gemm(const sg_blocks_part *p, sg_gemm_args args)
{
    const sg_compute compute = blocks_compute(p);
    args.kind = p->l->node->kind;
    args.room = p->gemm;
    if (p->alone)
        sg_gemm(compute, &args);
    else
        sg_gemm_serial(compute.kernels, &args);
}

void sg_blocks_product(const sg_blocks_part *p, sg_real *c, sg_blocks_rows a, const sg_tensor *w,
                       int64_t n, int64_t k, sg_real beta)
{
    sg_gemm_args args = {.transpose_b = true,
                         .m = p->m,
                         .n = n,
                         .k = k,
                         .alpha = 1,
                         .a = a.values,
                         .a_half = a.half,
                         .lda = k,
                         .ldb = k,
                         .beta = beta,
                         .c = c,
                         .ldc = n};
    sg_stored all = sg_weights_of(w), rows = sg_stored_at(&all, p->block * n, k);
    if (w->narrow != NULL) {
        sg_stored_product(blocks_compute(p), &args, &rows,
                          p->alone ? p->l->run->worker_scratch : p->wide, p->l->run->worker_stride);
        return;
    }
    args.b = rows.rows;
    blocks_gemm(p, args);
}

void sg_blocks_product_rows(const sg_blocks_part *p, sg_real *c, const sg_real *a,
                            const sg_tensor *w, int64_t n, int64_t k)
{
    sg_gemm_args args = {
        .m = p->m, .n = n, .k = k, .alpha = 1, .a = a, .lda = k, .ldb = n, .c = c, .ldc = n};
    sg_stored all = sg_weights_of(w), rows = sg_stored_at(&all, p->block * k, n);
    args.b = rows.rows;
    if (w->narrow == NULL) {
        blocks_gemm(p, args);
        return;
    }
    sg_real *wide = (sg_real *)p->wide;
    args.b = wide;
    for (int64_t j = 0; j < k; j += blocks_widen, args.beta = 1) {
        args.k = sg_min(blocks_widen, k - j);
        args.a = a + j;
        sg_stored_read(p->l->run->compute.kernels, wide, &rows, j, args.k, n);
        blocks_gemm(p, args);
    }
}

sg_real sg_blocks_bias(const sg_blocks_part *p, sg_real *c, int input, int64_t n)
{
    const sg_tensor *bias = p->l->node->in[input];
    if (bias == NULL) return 0;
    blocks_copies(c, sg_values(bias) + p->block * n, p->m, n);
    return 1;
}

void sg_blocks_take(const sg_blocks_part *p, sg_real *to, const sg_real *from, int64_t n)
{
    for (int64_t i = 0; i < p->m; i++)
        memcpy(to + i * n, from + sg_blocks_hit(p, i) * n, (size_t)n * sizeof *to);
}

void sg_blocks_put(const sg_blocks_part *p, sg_real *to, const sg_real *from, int64_t n, bool add)
{
    for (int64_t i = 0; i < p->m; i++)
        sg_grad_put(p->l->run->compute.kernels, to + sg_blocks_hit(p, i) * n, from + i * n, n, add);
}

void sg_blocks_void(const sg_blocks_loop *l, sg_real *values, int64_t n)
{
    const sg_blocks *a = l->a;
    for (int64_t r = 0; l->node->in[SG_BLOCKS_COUNTS] != NULL && r < a->rows; r++) {
        int64_t count = sg_blocks_count(l->node, a, r);
        memset(values + (r * a->k + count) * n, 0, (size_t)((a->k - count) * n) * sizeof *values);
    }
}

void sg_blocks_experts(const sg_blocks_part *p, const sg_real *z, sg_real *out)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    sg_real *y = sg_values(node->out[0]);
    sg_real beta = sg_blocks_bias(p, out, SG_BLOCKS_DOWN_BIAS, a->d);
    for (int64_t i = 0; beta != 0 && a->gate == SG_GATE_NONE && i < p->m; i++)
        kernels->scale(out + i * a->d, sg_blocks_bias_score(p, i), a->d);
    sg_blocks_product(p, out, (sg_blocks_rows){.values = z}, node->in[SG_BLOCKS_DOWN], a->d, a->g,
                      beta);
    for (int64_t i = 0; i < p->m; i++)
        kernels->axpy(y + sg_blocks_row(p, i) * a->d, sg_blocks_score(p, i), out + i * a->d, a->d);
}

void sg_blocks_dx(const sg_blocks_part *p, const sg_real *du, sg_real *room)
{
    const sg_blocks *a = p->l->a;
    sg_real *dx = p->l->grad[SG_BLOCKS_X];
    if (dx == NULL) return;
    sg_blocks_product_rows(p, room, du, p->l->node->in[SG_BLOCKS_UP], a->d, a->width);
    sg_blocks_scatter(p, dx, room);
}

void sg_blocks_gate_backward(const sg_blocks_part *p, sg_real *z, sg_real *dz)
{
    const int64_t g = p->l->a->g;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    for (int64_t i = 0; p->l->a->gate != SG_GATE_NONE && i < p->m; i++) {
        sg_blocks_put_score(p, i, kernels->dot(z + i * g, dz + i * g, g));
        kernels->scale(z + i * g, sg_blocks_score(p, i), g);
        kernels->scale(dz + i * g, sg_blocks_score(p, i), g);
    }
}

void sg_blocks_experts_backward(const sg_blocks_part *p, sg_real *z, sg_real *dz, sg_real *dys)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    const sg_tensor *biases = node->in[SG_BLOCKS_DOWN_BIAS];
    const sg_real *bias = biases ? sg_values(biases) + p->block * a->d : NULL;
    const bool gated = a->gate != SG_GATE_NONE;
    sg_blocks_gather_dy(p, dys);
    sg_blocks_product_rows(p, dz, dys, node->in[SG_BLOCKS_DOWN], a->g, a->d);
    for (int64_t i = 0; i < p->m; i++) {
        sg_real dscore = gated ? kernels->dot(z + i * a->g, dz + i * a->g, a->g) : 0;
        if (bias != NULL) dscore += kernels->dot(bias, dys + i * a->d, a->d);
        sg_blocks_put_score(p, i, dscore);
        if (!gated) continue;
        kernels->scale(z + i * a->g, sg_blocks_score(p, i), a->g);
        kernels->scale(dz + i * a->g, sg_blocks_score(p, i), a->g);
    }
}

static sg_stored blocks_cells(const sg_blocks_part *p, int input)
{
    const sg_blocks *a = p->l->a;
    sg_stored all = sg_weights_of(p->l->node->in[input]);
    return sg_stored_at(&all, p->block * a->g, a->d);
}

static bool blocks_few(const sg_blocks_part *p)
{
    return p->m <= blocks_thin;
}

void sg_blocks_dots(const sg_blocks_part *p, sg_real *c, int input, sg_real *room)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_stored cells = blocks_cells(p, input);
    const sg_blocks_rows rows =
        input == SG_BLOCKS_UP ? sg_blocks_gather_x(p, room) : sg_blocks_gather_dy(p, room);
    if (!blocks_few(p)) {
        sg_blocks_product(p, c, rows, p->l->node->in[input], a->g, a->d, 0);
        return;
    }
    for (int64_t i = 0; i < p->m; i++) {
        const sg_real *row = rows.values + i * a->d;
        if (rows.half != NULL) { // behind the rows and what may be the result
            sg_real *wide = room + p->m * (a->d + a->width);
            kernels->from_bf16(wide, rows.half + i * a->d, a->d);
            row = wide;
        }
        sg_gather_dots(kernels, c + i * a->g, row, &cells, a->cells, a->g, a->d);
    }
}

void sg_blocks_sums(const sg_blocks_part *p, sg_real *to, const sg_real *c, int input,
                    sg_real *room)
{
    const sg_blocks *a = p->l->a;
    const sg_stored cells = blocks_cells(p, input);
    if (!blocks_few(p)) {
        sg_blocks_product_rows(p, room, c, p->l->node->in[input], a->d, a->g);
        sg_blocks_scatter(p, to, room);
        return;
    }
    for (int64_t i = 0; i < p->m; i++)
        sg_gather_sum(p->l->run->compute.kernels, to + sg_blocks_row(p, i) * a->d, c + i * a->g,
                      &cells, a->cells, a->g, a->d);
}

// ---- tiles --------------------------------------------------------------------------------------

// Every piece of the hits of one block in one tile.
static void blocks_pieces(const sg_blocks_loop *l, int64_t block, int64_t tile, int worker)
{
    const sg_blocks *a = l->a;
    unsigned char *scratch = sg_worker_scratch(l->run, worker);
    const int32_t *start = l->starts + block * a->tiles + tile;
    for (int64_t at = start[0]; at < start[1]; at += a->piece)
        l->work(&(sg_blocks_part){.l = l,
                                  .block = block,
                                  .at = at,
                                  .m = sg_min(a->piece, start[1] - at),
                                  .wide = scratch,
                                  .gemm = scratch + a->wide,
                                  .room = (sg_real *)(scratch + a->wide + a->gemm),
                                  .alone = a->tiles == 1});
}

static void blocks_tile(void *context, sg_range range)
{
    const sg_blocks_loop *l = context;
    const sg_blocks *a = l->a;
    if (l->results != NULL && !l->add_results)
        memset(l->results + range.first * a->d, 0,
               (size_t)((range.end - range.first) * a->d) * sizeof *l->results);
    for (int64_t block = 0; block < a->blocks; block++)
        blocks_pieces(l, block, range.chunk, range.worker);
}

// One tile runs on this thread, so that its products can use them all.
void sg_blocks_tiles(sg_blocks_loop *l, sg_real *results, bool add, sg_blocks_fn work)
{
    const sg_blocks *a = l->a;
    l->results = results;
    l->add_results = add;
    l->work = work;
    sg_parallel_ranges(a->tiles == 1 ? NULL : l->run->compute.pool, a->rows, a->tile, blocks_tile,
                       l);
}

// ---- gradients of the tables --------------------------------------------------------------------

// One slab of cells of one block; `fresh` until its first piece is written.
typedef struct blocks_slab {
    const sg_blocks_loop *l;
    int64_t block, from, count; // cells
    bool fresh;
    unsigned char *gemm; // room of products
} blocks_slab;

// dw (n, k) = a^T b, or added: a (m, lda) columns of a gradient, b (m, ldb).
static void slab_product(const blocks_slab *s, int input, sg_real *dw, int64_t n, int64_t k,
                         int64_t ldc, const sg_real *a, int64_t lda, sg_blocks_rows b, int64_t ldb,
                         int64_t m)
{
    sg_gemm_serial(s->l->run->compute.kernels,
                   &(sg_gemm_args){.transpose_a = true,
                                   .m = n,
                                   .n = k,
                                   .k = m,
                                   .alpha = 1,
                                   .a = a,
                                   .lda = lda,
                                   .b = b.values,
                                   .b_half = b.half,
                                   .ldb = ldb,
                                   .beta = s->fresh && !s->l->add[input] ? 0 : 1,
                                   .c = dw,
                                   .ldc = ldc,
                                   .kind = s->l->node->kind,
                                   .room = s->gemm});
}

// dbias (n) += sum of rows of `from`, n columns of (m, stride).
static void slab_bias(const blocks_slab *s, int input, sg_real *dbias, int64_t n,
                      const sg_real *from, int64_t stride, int64_t m)
{
    if (s->fresh && !s->l->add[input]) memset(dbias, 0, (size_t)n * sizeof *dbias);
    for (int64_t i = 0; i < m; i++)
        s->l->run->compute.kernels->add(dbias, dbias, from + i * stride, n);
}

// The rows of a slab in the first table: cell j has one, or of a gated linear unit two, j (gate)
// and g + j (linear part) or, where they are interleaved, 2j and 2j + 1. Run `i` of `count` rows
// from `from` on.
static int slab_runs(const sg_blocks *a)
{
    return a->glu ? 2 : 1;
}

static void slab_run(const blocks_slab *s, int i, int64_t *from, int64_t *count)
{
    const sg_blocks *a = s->l->a;
    *from = i * a->g + s->from;
    *count = s->count;
    // All cells of a block are one product, as they are in steps.
    if (!a->glu || (!a->form.interleaved && s->count < a->g)) return;
    *from = 2 * s->from;
    *count = i == 0 ? 2 * s->count : 0;
}

static void slab_up(const blocks_slab *s, const sg_blocks_part *p, sg_blocks_rows xs)
{
    const sg_blocks_loop *l = s->l;
    const sg_blocks *a = l->a;
    if (l->grad[SG_BLOCKS_UP] == NULL && l->grad[SG_BLOCKS_UP_BIAS] == NULL) return;
    for (int i = 0; i < slab_runs(a); i++) {
        int64_t from, count;
        slab_run(s, i, &from, &count);
        const int64_t row = s->block * a->width + from;
        const sg_real *da = l->da + p->at * a->width + from;
        if (l->grad[SG_BLOCKS_UP] != NULL)
            slab_product(s, SG_BLOCKS_UP, l->grad[SG_BLOCKS_UP] + row * a->d, count, a->d, a->d, da,
                         a->width, xs, a->d, p->m);
        if (l->grad[SG_BLOCKS_UP_BIAS] != NULL)
            slab_bias(s, SG_BLOCKS_UP_BIAS, l->grad[SG_BLOCKS_UP_BIAS] + row, count, da, a->width,
                      p->m);
    }
}

// Cell j is row j of the second table, or column j.
static void slab_down(const blocks_slab *s, const sg_blocks_part *p, sg_blocks_rows dys)
{
    const sg_blocks_loop *l = s->l;
    const sg_blocks *a = l->a;
    sg_real *dw = l->grad[SG_BLOCKS_DOWN];
    const sg_real *z = dw != NULL ? l->z + p->at * a->g + s->from : NULL;
    if (dw != NULL && !a->columns)
        slab_product(s, SG_BLOCKS_DOWN, dw + (s->block * a->g + s->from) * a->d, s->count, a->d,
                     a->d, z, a->g, dys, a->d, p->m);
    if (dw != NULL && a->columns)
        slab_product(s, SG_BLOCKS_DOWN, dw + s->block * a->d * a->g + s->from, a->d, s->count, a->g,
                     dys.values, a->d, (sg_blocks_rows){.values = z}, a->g, p->m);
    sg_real *dbias = l->grad[SG_BLOCKS_DOWN_BIAS];
    if (dbias == NULL || !a->columns || s->from > 0) return;
    dbias += s->block * a->d;
    if (s->fresh && !l->add[SG_BLOCKS_DOWN_BIAS]) memset(dbias, 0, (size_t)a->d * sizeof *dbias);
    for (int64_t i = 0; i < p->m; i++)
        l->run->compute.kernels->axpy(dbias, sg_blocks_bias_score(p, i), dys.values + i * a->d,
                                      a->d);
}

static void slab_zero(const blocks_slab *s, int input, int64_t to, int64_t rows, int64_t columns,
                      int64_t stride)
{
    if (s->l->grad[input] == NULL || s->l->add[input]) return;
    for (int64_t i = 0; i < rows; i++)
        memset(s->l->grad[input] + to + i * stride, 0, (size_t)columns * sizeof(sg_real));
}

// The gradient of a slab that no row reached.
static void blocks_slab_empty(const blocks_slab *s)
{
    const sg_blocks *a = s->l->a;
    for (int i = 0; i < slab_runs(a); i++) {
        int64_t from, count;
        slab_run(s, i, &from, &count);
        const int64_t row = s->block * a->width + from;
        slab_zero(s, SG_BLOCKS_UP, row * a->d, count, a->d, a->d);
        slab_zero(s, SG_BLOCKS_UP_BIAS, row, 1, count, 0);
    }
    if (!a->columns) {
        slab_zero(s, SG_BLOCKS_DOWN, (s->block * a->g + s->from) * a->d, s->count, a->d, a->d);
        return;
    }
    slab_zero(s, SG_BLOCKS_DOWN, s->block * a->d * a->g + s->from, a->d, s->count, a->g);
    if (s->from == 0) slab_zero(s, SG_BLOCKS_DOWN_BIAS, s->block * a->d, 1, a->d, 0);
}

static void blocks_slab_chunk(void *context, int64_t chunk, int worker)
{
    const sg_blocks_loop *l = context;
    const sg_blocks *a = l->a;
    blocks_slab s = {.l = l, .block = chunk / a->slabs, .from = chunk % a->slabs * a->slab};
    s.count = sg_min(a->slab, a->g - s.from);
    s.fresh = true;
    int64_t begin = l->starts[s.block * a->tiles], end = l->starts[(s.block + 1) * a->tiles];
    if (begin == end) blocks_slab_empty(&s);
    s.gemm = (unsigned char *)sg_worker_scratch(l->run, worker) + a->wide;
    sg_real *room = (sg_real *)(s.gemm + a->gemm);
    for (int64_t at = begin; at < end; at += a->piece, s.fresh = false) {
        sg_blocks_part p = {.l = l, .block = s.block, .at = at, .m = sg_min(a->piece, end - at)};
        sg_blocks_rows xs = {0}, dys = {0};
        if (l->grad[SG_BLOCKS_UP] != NULL) xs = sg_blocks_gather_x(&p, room);
        if (l->grad[SG_BLOCKS_DOWN] != NULL || l->grad[SG_BLOCKS_DOWN_BIAS] != NULL)
            dys = sg_blocks_gather_dy(&p, room + p.m * a->d);
        slab_up(&s, &p, xs);
        slab_down(&s, &p, dys);
    }
}

void sg_blocks_weights(const sg_blocks_loop *l)
{
    sg_parallel_for(l->run->compute.pool, l->a->blocks * l->a->slabs, blocks_slab_chunk,
                    (void *)(uintptr_t)l);
}
