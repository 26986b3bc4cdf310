// Reading a memory block by block, through dense products: the rows that selected a block are
// gathered behind each other and meet it in one product, however many they are: nothing is padded,
// nothing dropped. A block is g cells, rows of w_in and w_out, or a gated linear unit of width g.
//
// Forward and the input gradient go through tiles of rows, each the work of one thread, which owns
// the results of its rows and adds up the blocks in their order; so no array of hits x d is formed.
// The weight gradients go through the blocks, each slab of cells the work of one thread. The hits
// (a selected block of one row) lie in the order of blocks, and within a block of rows, so that a
// tile's part of a block is one run, and a block's part of all tiles is one too.
#include <string.h>

#include "ffn/memory.h"
#include "kernel/gemm.h"

// All by shape alone. A tile has many rows, as the tables are read anew for each, but there are
// blocks_tiles of them where the rows allow.
enum { blocks_tiles = 8, blocks_tile_min = 256 };
enum { blocks_thin = 4 }; // rows up to here: no product, cell by cell
enum { blocks_piece_min = 32, blocks_piece_max = 512, blocks_piece_values = 1 << 17 };
enum { blocks_slab_min = 64, blocks_slab_max = 256, blocks_slabs = 16 }; // cells of a chunk
enum { blocks_widen = 64 }; // narrow rows widened at once

// Inputs.
enum { in_x, in_ids, in_scores, in_up, in_up_bias, in_down, in_down_bias };

typedef struct blocks_attributes {
    int64_t rows, k, blocks, g, d;
    int64_t width; // of what comes out of the first table: g, or 2g of a gated linear unit
    int64_t tile, tiles;
    int64_t piece; // rows that are gathered at once
    int64_t slab, slabs;
    bool glu;
    sg_glu_form form; // of a gated linear unit
    sg_activation activation;
    sg_gate gate;
    size_t wide;          // bytes at the start of each worker's scratch, for narrow weights
    const int32_t *cells; // 0 … g-1
} blocks_attributes;

typedef struct blocks_loop {
    const sg_run *run;
    const sg_node *node;
    const blocks_attributes *a;
    sg_real *u;              // (hits, width): what the activation is applied to
    int32_t *order, *starts; // (hits): row * k + slot; (blocks * tiles + 1): into the hits
    sg_real *z, *da;         // backward: (hits, g) activations times gate, (hits, width)
    sg_real *grad[in_down_bias + 1];
    bool add[in_down_bias + 1];
} blocks_loop;

// A run of hits of one block that are gathered together.
typedef struct blocks_part {
    const blocks_loop *l;
    int64_t block, at, m; // the first hit, and how many
    unsigned char *wide;
    sg_real *room; // of the worker: piece * (2 d + g) values
    bool alone;    // no other chunk runs: products may use all threads
} blocks_part;

static blocks_loop blocks_make(const sg_run *run, const sg_node *node)
{
    const blocks_attributes *a = node->attributes;
    return (blocks_loop){.run = run,
                         .node = node,
                         .a = a,
                         .u = sg_values(node->saved[0]),
                         .order = sg_ints(node->saved[1]),
                         .starts = sg_ints(node->saved[2])};
}

static int64_t blocks_row(const blocks_part *p, int64_t i)
{
    return p->l->order[p->at + i] / p->l->a->k;
}

static sg_real blocks_score(const blocks_part *p, int64_t i)
{
    const blocks_attributes *a = p->l->a;
    if (a->gate == SG_GATE_NONE) return 1;
    return sg_values(p->l->node->in[in_scores])[p->l->order[p->at + i]];
}

// ---- order --------------------------------------------------------------------------------------

static void blocks_count_chunk(void *context, int64_t tile, int worker)
{
    (void)worker;
    const blocks_loop *l = context;
    const blocks_attributes *a = l->a;
    const int32_t *ids = sg_ints(l->node->in[in_ids]);
    int64_t end = sg_min(a->rows, (tile + 1) * a->tile) * a->k;
    for (int64_t h = tile * a->tile * a->k; h < end; h++)
        l->starts[ids[h] * a->tiles + tile + 1]++;
}

static void blocks_place_chunk(void *context, int64_t tile, int worker)
{
    (void)worker;
    const blocks_loop *l = context;
    const blocks_attributes *a = l->a;
    const int32_t *ids = sg_ints(l->node->in[in_ids]);
    int64_t end = sg_min(a->rows, (tile + 1) * a->tile) * a->k;
    for (int64_t h = tile * a->tile * a->k; h < end; h++)
        l->order[l->starts[ids[h] * a->tiles + tile]++] = (int32_t)h;
}

static void blocks_sort(const blocks_loop *l)
{
    const blocks_attributes *a = l->a;
    int64_t parts = a->blocks * a->tiles;
    memset(l->starts, 0, (size_t)(parts + 1) * sizeof *l->starts);
    sg_parallel_for(l->run->compute.pool, a->tiles, blocks_count_chunk, (void *)(uintptr_t)l);
    for (int64_t i = 0; i < parts; i++)
        l->starts[i + 1] += l->starts[i];
    sg_parallel_for(l->run->compute.pool, a->tiles, blocks_place_chunk, (void *)(uintptr_t)l);
    // Placing moved each start to the end of its part; move them back by one place.
    memmove(l->starts + 1, l->starts, (size_t)parts * sizeof *l->starts);
    l->starts[0] = 0;
}

// ---- pieces of rows -----------------------------------------------------------------------------

static void blocks_gather(const blocks_part *p, sg_real *to, const sg_real *from)
{
    const int64_t d = p->l->a->d;
    for (int64_t i = 0; i < p->m; i++)
        memcpy(to + i * d, from + blocks_row(p, i) * d, (size_t)d * sizeof *to);
}

static void blocks_scatter(const blocks_part *p, sg_real *to, const sg_real *from)
{
    const int64_t d = p->l->a->d;
    for (int64_t i = 0; i < p->m; i++) {
        sg_real *row = to + blocks_row(p, i) * d;
        p->l->run->compute.kernels->add(row, row, from + i * d, d);
    }
}

static void blocks_copies(sg_real *to, const sg_real *row, int64_t m, int64_t n)
{
    for (int64_t i = 0; i < m; i++)
        memcpy(to + i * n, row, (size_t)n * sizeof *to);
}

// A part that is alone has all threads; the others are chunks, each on one.
static sg_compute blocks_compute(const blocks_part *p)
{
    const sg_compute all = p->l->run->compute;
    return p->alone ? all : (sg_compute){NULL, all.kernels};
}

static void blocks_gemm(const blocks_part *p, const sg_gemm_args *args)
{
    const sg_compute compute = blocks_compute(p);
    if (p->alone)
        sg_gemm(compute, args);
    else
        sg_gemm_serial(compute.kernels, args);
}

// c (m, n) = a W^T + beta c, W (n, k) the rows of the block in a table.
static void blocks_product(const blocks_part *p, sg_real *c, const sg_real *a, const sg_tensor *w,
                           int64_t n, int64_t k, sg_real beta)
{
    sg_gemm_args args = {.transpose_b = true,
                         .m = p->m,
                         .n = n,
                         .k = k,
                         .alpha = 1,
                         .a = a,
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
    blocks_gemm(p, &args);
}

// c (m, n) = a W, W (k, n) the rows of the block in a table.
static void blocks_product_rows(const blocks_part *p, sg_real *c, const sg_real *a,
                                const sg_tensor *w, int64_t n, int64_t k)
{
    sg_gemm_args args = {
        .m = p->m, .n = n, .k = k, .alpha = 1, .a = a, .lda = k, .ldb = n, .c = c, .ldc = n};
    sg_stored all = sg_weights_of(w), rows = sg_stored_at(&all, p->block * k, n);
    args.b = rows.rows;
    if (w->narrow == NULL) {
        blocks_gemm(p, &args);
        return;
    }
    sg_real *wide = (sg_real *)p->wide;
    args.b = wide;
    for (int64_t j = 0; j < k; j += blocks_widen, args.beta = 1) {
        args.k = sg_min(blocks_widen, k - j);
        args.a = a + j;
        sg_stored_read(p->l->run->compute.kernels, wide, &rows, j, args.k, n);
        blocks_gemm(p, &args);
    }
}

// ---- forward ------------------------------------------------------------------------------------

static sg_stored blocks_cells(const blocks_part *p, int input)
{
    const blocks_attributes *a = p->l->a;
    sg_stored all = sg_weights_of(p->l->node->in[input]);
    return sg_stored_at(&all, p->block * a->g, a->d);
}

static bool blocks_few(const blocks_part *p)
{
    return p->m <= blocks_thin;
}

// c (m, g) = rows . cells, `from` (rows, d) the rows that are gathered, in `room` where many.
static void cells_dots(const blocks_part *p, sg_real *c, const sg_real *from, int input,
                       sg_real *room)
{
    const blocks_attributes *a = p->l->a;
    const sg_stored cells = blocks_cells(p, input);
    if (!blocks_few(p)) {
        blocks_gather(p, room, from);
        blocks_product(p, c, room, p->l->node->in[input], a->g, a->d, 0);
        return;
    }
    for (int64_t i = 0; i < p->m; i++)
        sg_gather_dots(p->l->run->compute.kernels, c + i * a->g, from + blocks_row(p, i) * a->d,
                       &cells, a->cells, a->g, a->d);
}

// The rows of `to` (rows, d) += c (m, g) times cells, made in `room` where there are many.
static void cells_sums(const blocks_part *p, sg_real *to, const sg_real *c, int input,
                       sg_real *room)
{
    const blocks_attributes *a = p->l->a;
    const sg_stored cells = blocks_cells(p, input);
    if (!blocks_few(p)) {
        blocks_product_rows(p, room, c, p->l->node->in[input], a->d, a->g);
        blocks_scatter(p, to, room);
        return;
    }
    for (int64_t i = 0; i < p->m; i++)
        sg_gather_sum(p->l->run->compute.kernels, to + blocks_row(p, i) * a->d, c + i * a->g,
                      &cells, a->cells, a->g, a->d);
}

// u = x w_in^T, z = gate act(u), y += z w_out
static void cells_forward(const blocks_part *p)
{
    const blocks_attributes *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    sg_real *u = p->l->u + p->at * a->g;
    sg_real *xs = p->room, *out = xs + p->m * a->d, *z = out + p->m * a->d;
    cells_dots(p, u, sg_values(node->in[in_x]), in_up, xs);
    kernels->act_forward(z, u, a->activation, p->m * a->g);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < p->m; i++)
        kernels->scale(z + i * a->g, blocks_score(p, i), a->g);
    cells_sums(p, sg_values(node->out[0]), z, in_down, out);
}

// c (m, n) = the block's n numbers of a bias in each row, or nothing; the beta of what follows.
static sg_real glu_bias(const blocks_part *p, sg_real *c, int input, int64_t n)
{
    const sg_tensor *bias = p->l->node->in[input];
    if (bias == NULL) return 0;
    blocks_copies(c, sg_values(bias) + p->block * n, p->m, n);
    return 1;
}

// u = x up^T + b, z = glu(u), y += gate (z down^T + b)
static void glu_forward(const blocks_part *p)
{
    const blocks_attributes *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    sg_real *y = sg_values(node->out[0]), *u = p->l->u + p->at * a->width;
    sg_real *xs = p->room, *out = xs + p->m * a->d, *z = out + p->m * a->d;
    blocks_gather(p, xs, sg_values(node->in[in_x]));
    sg_real beta = glu_bias(p, u, in_up_bias, a->width);
    blocks_product(p, u, xs, node->in[in_up], a->width, a->d, beta);
    kernels->glu_forward(z, u, p->m, a->g, &a->form);
    beta = glu_bias(p, out, in_down_bias, a->d);
    blocks_product(p, out, z, node->in[in_down], a->d, a->g, beta);
    for (int64_t i = 0; i < p->m; i++)
        kernels->axpy(y + blocks_row(p, i) * a->d, blocks_score(p, i), out + i * a->d, a->d);
}

// Every piece of the hits [begin, end), which are of one block.
static void blocks_pieces(const blocks_loop *l, int64_t block, int64_t begin, int64_t end,
                          int worker, bool alone, void (*work)(const blocks_part *part))
{
    unsigned char *scratch = sg_worker_scratch(l->run, worker);
    for (int64_t at = begin; at < end; at += l->a->piece)
        work(&(blocks_part){.l = l,
                            .block = block,
                            .at = at,
                            .m = sg_min(l->a->piece, end - at),
                            .wide = scratch,
                            .room = (sg_real *)(scratch + l->a->wide),
                            .alone = alone});
}

// All blocks of one tile of rows, whose results (rows, d) start at 0 unless they are added to.
static void blocks_tile(const blocks_loop *l, int64_t tile, int worker, sg_real *results, bool add,
                        void (*work)(const blocks_part *part))
{
    const blocks_attributes *a = l->a;
    int64_t first = tile * a->tile, rows = sg_min(a->tile, a->rows - first);
    if (results != NULL && !add)
        memset(results + first * a->d, 0, (size_t)(rows * a->d) * sizeof *results);
    for (int64_t block = 0; block < a->blocks; block++) {
        const int32_t *start = l->starts + block * a->tiles + tile;
        blocks_pieces(l, block, start[0], start[1], worker, a->tiles == 1, work);
    }
}

static void blocks_forward_chunk(void *context, int64_t tile, int worker)
{
    const blocks_loop *l = context;
    blocks_tile(l, tile, worker, sg_values(l->node->out[0]), false,
                l->a->glu ? glu_forward : cells_forward);
}

// One tile runs on this thread, so that its products can use them all.
static void blocks_each_tile(const blocks_loop *l, sg_chunk_fn fn)
{
    if (l->a->tiles == 1)
        fn((void *)(uintptr_t)l, 0, 0);
    else
        sg_parallel_for(l->run->compute.pool, l->a->tiles, fn, (void *)(uintptr_t)l);
}

static void blocks_forward(const sg_run *run, const sg_node *node)
{
    blocks_loop l = blocks_make(run, node);
    blocks_sort(&l);
    blocks_each_tile(&l, blocks_forward_chunk);
}

// ---- backward: input and scores -----------------------------------------------------------------

static void blocks_put_score(const blocks_part *p, int64_t i, sg_real value)
{
    const blocks_loop *l = p->l;
    int32_t hit = l->order[p->at + i];
    if (l->grad[in_scores] != NULL)
        l->grad[in_scores][hit] = (l->add[in_scores] ? l->grad[in_scores][hit] : 0) + value;
}

// dz = dy w_out^T, dscore = act(u) . dz, du = act'(u) score dz, dx += du w_in; kept: score act(u),
// du
static void cells_backward(const blocks_part *p)
{
    const blocks_loop *l = p->l;
    const blocks_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_real *u = l->u + p->at * a->g;
    sg_real *z = l->z + p->at * a->g, *da = l->da + p->at * a->g;
    sg_real *dys = p->room, *dxs = dys + p->m * a->d;
    cells_dots(p, da, l->node->out[0]->grad, in_down, dys);
    kernels->act_forward(z, u, a->activation, p->m * a->g);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < p->m; i++) {
        blocks_put_score(p, i, kernels->dot(z + i * a->g, da + i * a->g, a->g));
        kernels->scale(z + i * a->g, blocks_score(p, i), a->g);
        kernels->scale(da + i * a->g, blocks_score(p, i), a->g);
    }
    kernels->act_backward(da, da, u, a->activation, p->m * a->g, false);
    if (l->grad[in_x] != NULL) cells_sums(p, l->grad[in_x], da, in_up, dxs);
}

// dz = dy down, dscore = z . dz + bias . dy, du = glu'(u) score dz, dx += du up
static void glu_backward(const blocks_part *p)
{
    const blocks_loop *l = p->l;
    const blocks_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_node *node = l->node;
    const sg_real *u = l->u + p->at * a->width;
    const sg_tensor *biases = node->in[in_down_bias];
    const sg_real *bias = biases ? sg_values(biases) + p->block * a->d : NULL;
    sg_real *z = l->z + p->at * a->g, *da = l->da + p->at * a->width;
    sg_real *dys = p->room, *dxs = dys + p->m * a->d, *dz = dxs + p->m * a->d;
    blocks_gather(p, dys, node->out[0]->grad);
    blocks_product_rows(p, dz, dys, node->in[in_down], a->g, a->d);
    kernels->glu_forward(z, u, p->m, a->g, &a->form);
    for (int64_t i = 0; i < p->m; i++) {
        sg_real dscore = kernels->dot(z + i * a->g, dz + i * a->g, a->g);
        if (bias != NULL) dscore += kernels->dot(bias, dys + i * a->d, a->d);
        blocks_put_score(p, i, dscore);
        kernels->scale(z + i * a->g, blocks_score(p, i), a->g);
        kernels->scale(dz + i * a->g, blocks_score(p, i), a->g);
    }
    kernels->glu_backward(da, dz, u, p->m, a->g, &a->form);
    if (l->grad[in_x] == NULL) return;
    blocks_product_rows(p, dxs, da, node->in[in_up], a->d, a->width);
    blocks_scatter(p, l->grad[in_x], dxs);
}

static void blocks_backward_chunk(void *context, int64_t tile, int worker)
{
    const blocks_loop *l = context;
    blocks_tile(l, tile, worker, l->grad[in_x], l->add[in_x],
                l->a->glu ? glu_backward : cells_backward);
}

// ---- backward: weights --------------------------------------------------------------------------

// One slab of cells of one block; `fresh` until its first piece is written.
typedef struct blocks_slab {
    const blocks_loop *l;
    int64_t block, from, count; // cells
    bool fresh;
} blocks_slab;

// dw (n, k) = a^T b, or added: a (m, lda) columns of a gradient, b (m, ldb).
static void slab_product(const blocks_slab *s, int input, sg_real *dw, int64_t n, int64_t k,
                         int64_t ldc, const sg_real *a, int64_t lda, const sg_real *b, int64_t ldb,
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
                                   .b = b,
                                   .ldb = ldb,
                                   .beta = s->fresh && !s->l->add[input] ? 0 : 1,
                                   .c = dw,
                                   .ldc = ldc});
}

// dbias (n) += sum of rows of `from`, n columns of (m, stride).
static void slab_bias(const blocks_slab *s, int input, sg_real *dbias, int64_t n,
                      const sg_real *from, int64_t stride, int64_t m)
{
    if (s->fresh && !s->l->add[input]) memset(dbias, 0, (size_t)n * sizeof *dbias);
    for (int64_t i = 0; i < m; i++)
        s->l->run->compute.kernels->add(dbias, dbias, from + i * stride, n);
}

static void cells_slab(const blocks_slab *s, const blocks_part *p, const sg_real *xs,
                       const sg_real *dys)
{
    const blocks_loop *l = s->l;
    const blocks_attributes *a = l->a;
    int64_t to = (s->block * a->g + s->from) * a->d, at = p->at * a->g + s->from;
    if (l->grad[in_up] != NULL)
        slab_product(s, in_up, l->grad[in_up] + to, s->count, a->d, a->d, l->da + at, a->g, xs,
                     a->d, p->m);
    if (l->grad[in_down] != NULL)
        slab_product(s, in_down, l->grad[in_down] + to, s->count, a->d, a->d, l->z + at, a->g, dys,
                     a->d, p->m);
}

// The rows of a slab in the first table: cell j has two, j (gate) and g + j (linear part) or, where
// they are interleaved, 2j and 2j + 1. Run `i` of `count` rows from `from` on.
enum { glu_runs = 2 };

static void glu_run(const blocks_slab *s, int i, int64_t *from, int64_t *count)
{
    const blocks_attributes *a = s->l->a;
    *from = i * a->g + s->from;
    *count = s->count;
    if (!a->form.interleaved) return;
    *from = 2 * s->from;
    *count = i == 0 ? 2 * s->count : 0;
}

// In the second table cell j is column j.
static void glu_slab(const blocks_slab *s, const blocks_part *p, const sg_real *xs,
                     const sg_real *dys)
{
    const blocks_loop *l = s->l;
    const blocks_attributes *a = l->a;
    for (int i = 0; i < glu_runs; i++) {
        int64_t from, count;
        glu_run(s, i, &from, &count);
        const int64_t row = s->block * a->width + from;
        const sg_real *da = l->da + p->at * a->width + from;
        if (l->grad[in_up] != NULL)
            slab_product(s, in_up, l->grad[in_up] + row * a->d, count, a->d, a->d, da, a->width, xs,
                         a->d, p->m);
        if (l->grad[in_up_bias] != NULL)
            slab_bias(s, in_up_bias, l->grad[in_up_bias] + row, count, da, a->width, p->m);
    }
    if (l->grad[in_down] != NULL)
        slab_product(s, in_down, l->grad[in_down] + s->block * a->d * a->g + s->from, a->d,
                     s->count, a->g, dys, a->d, l->z + p->at * a->g + s->from, a->g, p->m);
    sg_real *dbias = l->grad[in_down_bias];
    if (dbias == NULL || s->from > 0) return;
    dbias += s->block * a->d;
    if (s->fresh && !l->add[in_down_bias]) memset(dbias, 0, (size_t)a->d * sizeof *dbias);
    for (int64_t i = 0; i < p->m; i++)
        l->run->compute.kernels->axpy(dbias, blocks_score(p, i), dys + i * a->d, a->d);
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
    const blocks_attributes *a = s->l->a;
    int64_t cell = s->block * a->g + s->from;
    if (!a->glu) {
        slab_zero(s, in_up, cell * a->d, s->count, a->d, a->d);
        slab_zero(s, in_down, cell * a->d, s->count, a->d, a->d);
        return;
    }
    for (int i = 0; i < glu_runs; i++) {
        int64_t from, count;
        glu_run(s, i, &from, &count);
        const int64_t row = s->block * a->width + from;
        slab_zero(s, in_up, row * a->d, count, a->d, a->d);
        slab_zero(s, in_up_bias, row, 1, count, 0);
    }
    slab_zero(s, in_down, s->block * a->d * a->g + s->from, a->d, s->count, a->g);
    if (s->from == 0) slab_zero(s, in_down_bias, s->block * a->d, 1, a->d, 0);
}

static void blocks_slab_chunk(void *context, int64_t chunk, int worker)
{
    const blocks_loop *l = context;
    const blocks_attributes *a = l->a;
    blocks_slab s = {.l = l, .block = chunk / a->slabs, .from = chunk % a->slabs * a->slab};
    s.count = sg_min(a->slab, a->g - s.from);
    s.fresh = true;
    int64_t begin = l->starts[s.block * a->tiles], end = l->starts[(s.block + 1) * a->tiles];
    if (begin == end) blocks_slab_empty(&s);
    sg_real *room = (sg_real *)((unsigned char *)sg_worker_scratch(l->run, worker) + a->wide);
    for (int64_t at = begin; at < end; at += a->piece, s.fresh = false) {
        blocks_part p = {.l = l, .block = s.block, .at = at, .m = sg_min(a->piece, end - at)};
        sg_real *xs = room, *dys = xs + p.m * a->d;
        if (l->grad[in_up] != NULL) blocks_gather(&p, xs, sg_values(l->node->in[in_x]));
        blocks_gather(&p, dys, l->node->out[0]->grad);
        if (a->glu)
            glu_slab(&s, &p, xs, dys);
        else
            cells_slab(&s, &p, xs, dys);
    }
}

static void blocks_backward(const sg_run *run, const sg_node *node)
{
    blocks_loop l = blocks_make(run, node);
    const blocks_attributes *a = l.a;
    bool weights = false;
    for (int i = 0; i < node->n_in; i++) {
        l.grad[i] = sg_grad_in(run, node, i, &l.add[i]);
        weights = weights || (i >= in_up && l.grad[i] != NULL);
    }
    l.z = (sg_real *)run->scratch;
    l.da = l.z + a->rows * a->k * a->g;
    blocks_each_tile(&l, blocks_backward_chunk);
    if (weights) sg_parallel_for(run->compute.pool, a->blocks * a->slabs, blocks_slab_chunk, &l);
}

// Selected blocks only (spec 5.9).
static double blocks_flops(const sg_node *node)
{
    const blocks_attributes *a = node->attributes;
    return (a->glu ? 6.0 : 4.0) * (double)(a->rows * a->k) * (double)a->d * (double)a->g;
}

static const sg_op op_blocks = {
    .name = "memory_blocks",
    .forward = blocks_forward,
    .backward = blocks_backward,
    .flops = blocks_flops,
    .backward_reads_in = 127,
    .forward_reads_narrow = 1 << in_up | 1 << in_down,
};

// ---- recording ----------------------------------------------------------------------------------

static int64_t blocks_between(int64_t value, int64_t least, int64_t most)
{
    return value < least ? least : value > most ? most : value;
}

static void blocks_cut(blocks_attributes *a)
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

static size_t blocks_wide(const blocks_attributes *a, const sg_tensor *up, const sg_tensor *down)
{
    size_t first = sg_weights_scratch_bytes(up, a->piece, a->width, a->d), second = 0;
    if (a->glu)
        second = sg_weights_scratch_bytes(down, a->piece, a->d, a->g);
    else if (down->narrow != NULL)
        second = (size_t)(blocks_widen * a->d) * sizeof(sg_real);
    size_t most = first > second ? first : second;
    return (most + 63) & ~(size_t)63;
}

// x, ids, scores, tables; `shape` says what they are.
static sg_tensor *blocks_record(sg_tape *tape, sg_tensor *const in[in_down_bias + 1],
                                const blocks_attributes *shape)
{
    sg_node *node = sg_tape_node(tape, &op_blocks, in_down_bias + 1, in);
    blocks_attributes *a = sg_tape_memory(tape, sizeof *a);
    int32_t *cells = sg_tape_memory(tape, (size_t)shape->g * sizeof *cells);
    if (node == NULL || a == NULL || cells == NULL) return NULL;
    for (int64_t j = 0; j < shape->g; j++)
        cells[j] = (int32_t)j;
    *a = *shape;
    a->cells = cells;
    blocks_cut(a);
    a->wide = blocks_wide(a, in[in_up], in[in_down]);
    node->attributes = a;
    int64_t hits = a->rows * a->k, parts = a->blocks * a->tiles + 1;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){hits, a->width});
    sg_node_save(tape, node, SG_KIND_INT, 1, &hits);
    sg_node_save(tape, node, SG_KIND_INT, 1, &parts);
    int64_t piece = sg_min(a->piece, hits);
    node->worker_scratch_bytes = a->wide + (size_t)(piece * (2 * a->d + a->g)) * sizeof(sg_real);
    node->scratch_bytes = (size_t)(hits * (a->g + a->width)) * sizeof(sg_real);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a->rows, a->d});
}

sg_tensor *sg_memory_experts(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *up, sg_tensor *up_bias, sg_tensor *down,
                             sg_tensor *down_bias, const sg_glu_form *form)
{
    sg_tensor *ids = selection->ids, *scores = selection->scores;
    if (!x || !ids || !scores || !up || !down) return NULL;
    blocks_attributes a = {.rows = sg_rows(x),
                           .k = selection->k,
                           .blocks = up->shape[0],
                           .g = up->shape[1] / 2,
                           .d = sg_columns(x),
                           .width = up->shape[1],
                           .glu = true,
                           .form = *form,
                           .gate = SG_GATE_AFTER};
    if (up->rank != 3 || down->rank != 3 || up->shape[2] != a.d || selection->channels != 1 ||
        selection->unit != a.g || selection->counts || up->shape[1] % 2 != 0 ||
        down->count * 2 != up->count || !up_bias != !down_bias ||
        (up_bias && up_bias->count != a.blocks * a.width) ||
        (down_bias && down_bias->count != a.blocks * a.d) || ids->count != a.rows * a.k ||
        scores->count != ids->count || ids->count > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "experts: %s does not fit %s", up->name,
                            x->name);
    return blocks_record(tape, (sg_tensor *[]){x, ids, scores, up, up_bias, down, down_bias}, &a);
}

sg_tensor *sg_memory_blocks(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                            sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                            sg_gate gate)
{
    const int64_t g = selection->unit;
    sg_tensor *ids = selection->ids, *scores = gate == SG_GATE_NONE ? NULL : selection->scores;
    if (!x || !ids || (!scores && gate != SG_GATE_NONE) || !w_in || !w_out) return NULL;
    int64_t d = sg_columns(x), cells = sg_rows(w_in);
    blocks_attributes a = {.rows = sg_rows(x),
                           .k = selection->k,
                           .blocks = g > 0 ? cells / g : 0,
                           .g = g,
                           .d = d,
                           .width = g,
                           .activation = activation,
                           .gate = gate};
    if (a.blocks < 1 || a.blocks * g != cells || sg_columns(w_in) != d || sg_columns(w_out) != d ||
        w_out->count != w_in->count || selection->channels != 1 || selection->counts ||
        ids->count != a.rows * a.k || (scores && scores->count != ids->count) ||
        gate == SG_GATE_BEFORE || gate == SG_GATE_VALUE || ids->count > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld: %s does not fit %s",
                            (long long)g, w_in->name, x->name);
    return blocks_record(tape, (sg_tensor *[]){x, ids, scores, w_in, NULL, w_out, NULL}, &a);
}

// Below it a product of a block has too few columns to pay for gathering its rows.
enum { cells_product_min = 16 };

sg_tensor *sg_memory_cells(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                           sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                           sg_gate gate)
{
    if (selection->unit >= cells_product_min)
        return sg_memory_blocks(tape, x, selection, w_in, w_out, activation, gate);
    sg_selection cells = sg_expand_blocks(tape, selection);
    return sg_memory_neurons(tape, x, &cells, w_in, w_out, activation, gate);
}

bool sg_is_memory_blocks(const sg_node *node)
{
    return node->op == &op_blocks;
}

int64_t sg_memory_block_count(const sg_node *node)
{
    const blocks_attributes *a = node->attributes;
    return a->blocks;
}
