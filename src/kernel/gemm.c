// Dense products: cut into tiles here and computed by the library behind products.h, or by the
// plain loops below where there is none. See gemm.h for what is promised.
#include "kernel/gemm.h"

#include <string.h>

#include "kernel/gemm_kinds.h"
#include "kernel/kernel.h"
#include "kernel/products.h"

// ---- the plain product ------------------------------------------------------------------------

static void gemm_scale(const sg_gemm_args *args)
{
    for (int64_t i = 0; i < args->m; i++) {
        sg_real *row = args->c + i * args->ldc;
        if (args->beta == 0)
            memset(row, 0, (size_t)args->n * sizeof *row);
        else if (args->beta != 1)
            for (int64_t j = 0; j < args->n; j++)
                row[j] *= args->beta;
    }
}

// k is walked in blocks that are copied out in the order the inner loop wants (op(A) as it is,
// op(B) row-major, both filled up with zeros), so that all four cases are one loop of fixed length
// over contiguous memory, which compilers vectorise; four rows of op(B) go into each pass over a
// row of C.
enum { plain_m = 32, plain_n = 128, plain_k = 64 };

typedef struct plain_block {
    sg_real a[plain_m][plain_k], b[plain_k][plain_n];
} plain_block;

static void gemm_plain_row(sg_real *restrict sum, const sg_real *restrict a, sg_real (*b)[plain_n],
                           int64_t depth, int64_t width)
{
    for (int64_t v = 0; v < width; v++)
        sum[v] = 0;
    for (int64_t p = 0; p < depth; p += 4) {
        const sg_real a0 = a[p], a1 = a[p + 1], a2 = a[p + 2], a3 = a[p + 3];
        const sg_real *restrict b0 = b[p], *restrict b1 = b[p + 1];
        const sg_real *restrict b2 = b[p + 2], *restrict b3 = b[p + 3];
        for (int64_t v = 0; v < width; v++)
            sum[v] += (a0 * b0[v] + a1 * b1[v]) + (a2 * b2[v] + a3 * b3[v]);
    }
}

static void gemm_plain_block(const sg_gemm_args *args, int64_t i0, int64_t j0, int64_t p0)
{
    plain_block block;
    int64_t rows = args->m - i0 < plain_m ? args->m - i0 : plain_m;
    int64_t columns = args->n - j0 < plain_n ? args->n - j0 : plain_n;
    int64_t depth = args->k - p0 < plain_k ? args->k - p0 : plain_k;
    // Filled up to whole passes and whole vectors, no further: small products are many.
    const int64_t deep = (depth + 3) / 4 * 4, width = (columns + 15) / 16 * 16;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = depth; p < deep; p++)
            block.a[i][p] = 0;
    for (int64_t p = 0; p < deep; p++)
        for (int64_t j = p < depth ? columns : 0; j < width; j++)
            block.b[p][j] = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t p = 0; p < depth; p++)
            block.a[i][p] =
                args->alpha * (args->transpose_a ? args->a[(p0 + p) * args->lda + i0 + i]
                                                 : args->a[(i0 + i) * args->lda + p0 + p]);
    for (int64_t p = 0; p < depth; p++)
        for (int64_t j = 0; j < columns; j++)
            block.b[p][j] = args->transpose_b ? args->b[(j0 + j) * args->ldb + p0 + p]
                                              : args->b[(p0 + p) * args->ldb + j0 + j];
    for (int64_t i = 0; i < rows; i++) {
        sg_real *c = args->c + (i0 + i) * args->ldc + j0, sum[plain_n];
        gemm_plain_row(sum, block.a[i], block.b, depth, width);
        for (int64_t j = 0; j < columns; j++)
            c[j] += sum[j];
    }
}

static void gemm_plain(const sg_gemm_args *args)
{
    gemm_scale(args);
    for (int64_t j = 0; j < args->n; j += plain_n)
        for (int64_t p = 0; p < args->k; p += plain_k)
            for (int64_t i = 0; i < args->m; i += plain_m)
                gemm_plain_block(args, i, j, p);
}

// ---- few rows ---------------------------------------------------------------------------------

// y = x W^T with up to four rows of x (decoding) reads W once and computes little; a library would
// copy W into its own order first, which costs more than the product.
enum { thin_rows = 4, thin_columns = 128 };

static bool gemm_is_thin(const sg_gemm_args *args)
{
    return args->m <= thin_rows && args->transpose_b && !args->transpose_a;
}

static void gemm_thin(const sg_kernels *kernels, const sg_gemm_args *args)
{
    sg_real dots[thin_rows * thin_columns];
    for (int64_t j0 = 0; j0 < args->n; j0 += thin_columns) {
        int64_t columns = args->n - j0 < thin_columns ? args->n - j0 : thin_columns;
        kernels->thin_product(dots, thin_columns, args->a, args->lda, args->m,
                              args->b + j0 * args->ldb, args->ldb, columns, args->k);
        for (int64_t i = 0; i < args->m; i++) {
            sg_real *c = args->c + i * args->ldc + j0;
            const sg_real *value = dots + i * thin_columns;
            for (int64_t j = 0; j < columns; j++)
                c[j] = args->alpha * value[j] + (args->beta == 0 ? 0 : args->beta * c[j]);
        }
    }
}

void sg_gemm_serial(const sg_kernels *kernels, const sg_gemm_args *args)
{
    if (args->m <= 0 || args->n <= 0) return;
    if (args->k <= 0) {
        gemm_scale(args);
        return;
    }
    sg_gemm_args rounded;
    if (args->kind != SG_COMPUTE_F32) {
        if (sg_kind_product((sg_compute){.kernels = kernels}, args, NULL, &rounded)) return;
        args = &rounded;
    }
    if (gemm_is_thin(args)) {
        gemm_thin(kernels, args);
        return;
    }
    if (!sg_products_run(args)) gemm_plain(args);
}

// ---- tiles ------------------------------------------------------------------------------------

typedef struct gemm_tiles {
    const sg_kernels *kernels;
    const sg_gemm_args *args;
    int64_t tile_m, tile_n; // rows and columns of a tile
    int64_t across;         // tiles side by side
} gemm_tiles;

enum {
    gemm_tile_max = 512,       // beyond it, packing costs nothing any more
    gemm_tile_good = 256,      // packing costs 5-15 %: down to here for the sake of 16 tiles
    gemm_tile_min = 128,       // packing costs 30 %: down to here only to have 8 tiles at all
    gemm_small = 64 * 64 * 64, // products up to here are not worth waking a thread
    gemm_thin_piece = 1 << 14  // elements of B that a chunk of a thin product reads
};

// Equal pieces of at most `limit`, in whole vectors.
static int64_t gemm_even(int64_t size, int64_t limit)
{
    if (limit < 1) limit = 1;
    int64_t piece = sg_chunks(size, sg_chunks(size, limit));
    return sg_chunks(piece, 16) * 16;
}

// Halves the longer side of the tiles until there are `wanted` or both sides are at `least`.
static void gemm_halve(int64_t m, int64_t n, int64_t *limit_m, int64_t *limit_n, int64_t least,
                       int64_t wanted)
{
    while (sg_chunks(m, *limit_m) * sg_chunks(n, *limit_n) < wanted) {
        int64_t now_m = m < *limit_m ? m : *limit_m, now_n = n < *limit_n ? n : *limit_n;
        if (now_m <= least && now_n <= least) return;
        if (now_n >= now_m)
            *limit_n /= 2;
        else
            *limit_m /= 2;
    }
}

static gemm_tiles gemm_cut(const sg_gemm_args *args)
{
    int64_t m = args->m, n = args->n;
    gemm_tiles tiles = {.args = args, .tile_m = m, .tile_n = n, .across = 1};
    if (gemm_is_thin(args)) { // reads B once, and takes the time of that
        if (n * args->k < 2 * gemm_thin_piece) return tiles;
        tiles.tile_n = gemm_even(n, gemm_thin_piece / args->k);
        tiles.across = sg_chunks(n, tiles.tile_n);
        return tiles;
    }
    if ((double)m * (double)n * (double)args->k <= gemm_small) return tiles;
    int64_t limit_m = gemm_tile_max, limit_n = gemm_tile_max;
    gemm_halve(m, n, &limit_m, &limit_n, gemm_tile_good, 16);
    gemm_halve(m, n, &limit_m, &limit_n, gemm_tile_min, 8);
    tiles.tile_m = gemm_even(m, limit_m);
    tiles.tile_n = gemm_even(n, limit_n);
    tiles.across = sg_chunks(n, tiles.tile_n);
    return tiles;
}

static void gemm_tile(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const gemm_tiles *tiles = context;
    sg_gemm_args part = *tiles->args;
    int64_t i = chunk / tiles->across * tiles->tile_m;
    int64_t j = chunk % tiles->across * tiles->tile_n;
    part.m = part.m - i < tiles->tile_m ? part.m - i : tiles->tile_m;
    part.n = part.n - j < tiles->tile_n ? part.n - j : tiles->tile_n;
    part.a += part.transpose_a ? i : i * part.lda;
    part.b += part.transpose_b ? j * part.ldb : j;
    part.c += i * part.ldc + j;
    sg_gemm_serial(tiles->kernels, &part);
}

void sg_gemm(sg_compute compute, const sg_gemm_args *args)
{
    if (args->m <= 0 || args->n <= 0) return;
    sg_gemm_args rounded;
    if (args->kind != SG_COMPUTE_F32 && args->k > 0) {
        if (sg_kind_product(compute, args, NULL, &rounded)) return;
        args = &rounded;
    }
    gemm_tiles tiles = gemm_cut(args);
    tiles.kernels = compute.kernels;
    int64_t count = sg_chunks(args->m, tiles.tile_m) * tiles.across;
    sg_parallel_for(compute.pool, count, gemm_tile, &tiles);
}

// ---- pieces of k ------------------------------------------------------------------------------

// Piece 0 goes to C, the others to scratch, (pieces - 1, m, n); then C takes them up in order.
typedef struct gemm_pieces {
    gemm_tiles tiles;
    int64_t count, depth; // pieces, and how much of k each has
    sg_real *scratch;
} gemm_pieces;

enum {
    gemm_piece_tasks = 8,    // tiles times pieces wanted, so that as many threads have work
    gemm_piece_depth = 512,  // what a call takes: deeper ones ran up to a quarter slower
    gemm_piece_from = 2048,  // shorter products are not cut
    gemm_piece_sum = 1 << 14 // elements of C a chunk adds up
};

static gemm_pieces gemm_cut_deep(int64_t m, int64_t n, int64_t k)
{
    gemm_pieces p = {.count = 1, .depth = k};
    int64_t tile_m = gemm_even(m, gemm_tile_max), tile_n = gemm_even(n, gemm_tile_max);
    int64_t tiles = sg_chunks(m, tile_m) * sg_chunks(n, tile_n);
    if (k < gemm_piece_from || tiles >= gemm_piece_tasks) return p;
    p.tiles = (gemm_tiles){.tile_m = tile_m, .tile_n = tile_n, .across = sg_chunks(n, tile_n)};
    p.depth = sg_chunks(sg_chunks(k, sg_chunks(gemm_piece_tasks, tiles)), gemm_piece_depth) *
              gemm_piece_depth;
    p.count = sg_chunks(k, p.depth);
    return p;
}

size_t sg_gemm_scratch_bytes(int64_t m, int64_t n, int64_t k)
{
    if (m <= 0 || n <= 0 || k <= 0) return 0;
    return (size_t)((gemm_cut_deep(m, n, k).count - 1) * m * n) * sizeof(sg_real);
}

static void gemm_piece(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const gemm_pieces *p = context;
    const sg_gemm_args *whole = p->tiles.args;
    int64_t tiles = sg_chunks(whole->m, p->tiles.tile_m) * p->tiles.across;
    int64_t piece = chunk / tiles, end = (piece + 1) * p->depth;
    int64_t i = chunk % tiles / p->tiles.across * p->tiles.tile_m;
    int64_t j = chunk % p->tiles.across * p->tiles.tile_n;
    sg_gemm_args part = *whole;
    part.m = part.m - i < p->tiles.tile_m ? part.m - i : p->tiles.tile_m;
    part.n = part.n - j < p->tiles.tile_n ? part.n - j : p->tiles.tile_n;
    if (piece > 0) {
        part.beta = 0;
        part.c = p->scratch + (piece - 1) * whole->m * whole->n;
        part.ldc = whole->n;
    }
    part.c += i * part.ldc + j;
    if (end > whole->k) end = whole->k;
    for (int64_t at = piece * p->depth; at < end; at += gemm_piece_depth) {
        part.k = end - at < gemm_piece_depth ? end - at : gemm_piece_depth;
        part.a = whole->a + (part.transpose_a ? at * part.lda + i : i * part.lda + at);
        part.b = whole->b + (part.transpose_b ? j * part.ldb + at : at * part.ldb + j);
        sg_gemm_serial(p->tiles.kernels, &part);
        part.beta = 1;
    }
}

static void gemm_piece_rows(void *context, sg_range rows)
{
    const gemm_pieces *p = context;
    const sg_gemm_args *args = p->tiles.args;
    for (int64_t i = rows.first; i < rows.end; i++) {
        sg_real *c = args->c + i * args->ldc;
        for (int64_t piece = 0; piece < p->count - 1; piece++)
            p->tiles.kernels->add(c, c, p->scratch + (piece * args->m + i) * args->n, args->n);
    }
}

void sg_gemm_deep(sg_compute compute, const sg_gemm_args *args, void *scratch)
{
    if (args->m <= 0 || args->n <= 0) return;
    gemm_pieces p = gemm_cut_deep(args->m, args->n, args->k);
    sg_gemm_args rounded;
    if (args->kind != SG_COMPUTE_F32 && args->k > 0) {
        const sg_kind_pieces cut = {p.count, p.depth, scratch};
        if (sg_kind_product(compute, args, &cut, &rounded)) return;
        args = &rounded;
    }
    if (p.count == 1) {
        sg_gemm(compute, args);
        return;
    }
    p.tiles.args = args;
    p.tiles.kernels = compute.kernels;
    p.scratch = scratch;
    int64_t tiles = sg_chunks(args->m, p.tiles.tile_m) * p.tiles.across;
    sg_parallel_for(compute.pool, tiles * p.count, gemm_piece, &p);
    sg_parallel_ranges(compute.pool, args->m, sg_chunks(gemm_piece_sum, args->n), gemm_piece_rows,
                       &p);
}
