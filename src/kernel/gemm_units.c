// Products by matrix units: both operands are packed (panels.h), then each tile of C is the work of
// one thread, which adds up the pieces of k in their order.
#include "kernel/gemm_kinds.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel/matrix.h"
#include "kernel/products.h"
#include "kernel/tiles.h"

#ifndef SG_REAL_DOUBLE

static atomic_int units_forced = SG_ENGINE_CHOSEN;

void sg_products_force(sg_products_engine engine)
{
    atomic_store(&units_forced, (int)engine);
}

sg_panel_order sg_units_order(void)
{
    switch (atomic_load_explicit(&units_forced, memory_order_relaxed)) {
    case SG_ENGINE_ROUNDED:
        return SG_PANEL_NONE;
    case SG_ENGINE_LIBRARY:
        return sg_matrix_order();
    case SG_ENGINE_LOOPS:
        return SG_PANEL_PAIRS;
    default:
        if (sg_tiles_ready()) return SG_PANEL_PAIRS;
        return sg_products_units() != NULL ? sg_matrix_order() : SG_PANEL_NONE;
    }
}

// Whether products go to the processor's tiles, not to the library.
static bool units_are_tiles(void)
{
    return atomic_load_explicit(&units_forced, memory_order_relaxed) == SG_ENGINE_CHOSEN &&
           sg_tiles_ready();
}

// ---- one product of packed operands -------------------------------------------------------------

// Row `row` of a panel of n columns and k rows, widened.
static void units_row(const sg_kernels *kernels, float *y, const sg_bf16 *b, sg_panel_order order,
                      int64_t n, int64_t k, int64_t row)
{
    if (order == SG_PANEL_PLAIN) {
        kernels->from_bf16(y, b + row * n, n);
        return;
    }
    for (int64_t j = 0; j < n; j++) {
        const sg_bf16 *block = b + j / SG_PANEL_BLOCK * SG_PANEL_BLOCK * k;
        y[j] =
            sg_bf16_value(block[row / 2 * 2 * SG_PANEL_BLOCK + 2 * (j % SG_PANEL_BLOCK) + row % 2]);
    }
}

// What the library refuses, for want of memory say.
static void units_loops(const sg_kernels *kernels, float *c, const sg_bf16 *a, const sg_bf16 *b,
                        int64_t m, int64_t n, int64_t k, sg_panel_order order)
{
    float row[SG_PANEL_WIDTH];
    memset(c, 0, (size_t)(m * n) * sizeof *c);
    for (int64_t p = 0; p < k; p++) {
        units_row(kernels, row, b, order, n, k, p);
        for (int64_t i = 0; i < m; i++)
            kernels->axpy(c + i * n, sg_bf16_value(a[i * k + p]), row, n);
    }
}

static void units_run(const sg_kernels *kernels, float *c, const sg_bf16 *a, const sg_bf16 *b,
                      int64_t m, int64_t n, int64_t k, sg_panel_order order)
{
    const bool loops = atomic_load_explicit(&units_forced, memory_order_relaxed) == SG_ENGINE_LOOPS;
    if (units_are_tiles()) {
        sg_tiles_product(c, n, a, k, b, m, n, k, false);
        return;
    }
    if (!loops && sg_matrix_run(c, a, b, m, n, k)) return;
    if (!loops) sg_products_count_refusal();
    units_loops(kernels, c, a, b, m, n, k, order);
}

// ---- tiles --------------------------------------------------------------------------------------

typedef struct units_loop {
    const sg_kernels *kernels;
    const sg_gemm_args *args;
    sg_panel_from from_a, from_b;
    const sg_bf16 *a, *b; // packed
    const sg_bf16 *in_place;
    sg_panel_order order;
    bool own;                    // by the processor's tiles
    int64_t tile, tiles, panels; // rows of a tile, tiles of rows, panels of columns
    int64_t pieces;              // of k, of the packed operands
    int64_t group, groups;       // of which so many go to one result, and how many results
    float *scratch;
} units_loop;

// Where a tile goes: rows of `ldc`, of which `rows` by `columns` are wanted.
typedef struct units_place {
    float *c;
    int64_t ldc, rows, columns, filled_rows, filled_columns;
    float alpha, beta;
} units_place;

static void units_add(const sg_kernels *kernels, const units_place *p, float *sum)
{
    for (int64_t r = 0; r < p->rows; r++, sum += p->filled_columns) {
        float *c = p->c + r * p->ldc;
        if (p->beta != 0 && p->beta != 1) kernels->scale(c, p->beta, p->columns);
        if (p->beta != 0 && p->alpha == 1) {
            kernels->add(c, c, sum, p->columns);
        } else if (p->beta != 0) {
            kernels->axpy(c, p->alpha, sum, p->columns);
        } else {
            if (p->alpha != 1) kernels->scale(sum, p->alpha, p->columns);
            memcpy(c, sum, (size_t)p->columns * sizeof *c);
        }
    }
}

// Rows of one piece of A, and how far they lie apart.
typedef struct units_rows {
    const sg_bf16 *at;
    int64_t stride;
} units_rows;

static units_rows units_tile_a(const units_loop *l, int64_t piece, int64_t row, int64_t filled)
{
    const sg_gemm_args *g = l->args;
    if (l->in_place != NULL && row + filled <= g->m)
        return (units_rows){l->in_place + row * g->lda + piece * SG_PANEL_DEPTH, g->lda};
    return (units_rows){l->a + sg_panel_a_at(&l->from_a, piece, row),
                        sg_panel_parts(g->kind) * sg_panel_depth(g->k, piece)};
}

// To C at once, whatever its stride.
static void units_in_place(const units_loop *l, const units_place *p, int64_t row, int64_t panel,
                           int64_t first, int64_t end)
{
    const int64_t parts = sg_panel_parts(l->args->kind);
    for (int64_t r = 0; r < p->rows && p->beta != 0 && p->beta != 1; r++)
        l->kernels->scale(p->c + r * p->ldc, p->beta, p->columns);
    for (int64_t piece = first; piece < end; piece++) {
        const int64_t depth = parts * sg_panel_depth(l->args->k, piece);
        const units_rows a = units_tile_a(l, piece, row, p->filled_rows);
        sg_tiles_product(p->c, p->ldc, a.at, a.stride,
                         l->b + sg_panel_b_at(&l->from_b, piece, panel), p->rows, p->columns, depth,
                         p->beta != 0 || piece > first);
    }
    for (int64_t r = 0; r < p->rows && p->alpha != 1; r++)
        l->kernels->scale(p->c + r * p->ldc, p->alpha, p->columns);
}

static void units_sum(const units_loop *l, units_place p, int64_t row, int64_t panel, int64_t group)
{
    _Alignas(64) float sum[SG_PANEL_TILE * SG_PANEL_WIDTH];
    const int64_t first = group * l->group, parts = sg_panel_parts(l->args->kind);
    const int64_t end = first + l->group < l->pieces ? first + l->group : l->pieces;
    if (l->own && (p.alpha == 1 || p.beta == 0)) {
        units_in_place(l, &p, row, panel, first, end);
        return;
    }
    // The library writes dense results: where that is what C holds, at once to C.
    const bool direct = end - first == 1 && p.beta == 0 && p.rows == p.filled_rows &&
                        p.columns == p.filled_columns && p.ldc == p.columns;
    float *to = direct ? p.c : sum;
    for (int64_t piece = first; piece < end; piece++) {
        units_run(l->kernels, to, units_tile_a(l, piece, row, p.filled_rows).at,
                  l->b + sg_panel_b_at(&l->from_b, piece, panel), p.filled_rows, p.filled_columns,
                  parts * sg_panel_depth(l->args->k, piece), l->order);
        if (!direct) units_add(l->kernels, &p, sum);
        p.beta = 1;
    }
    if (direct && p.alpha != 1) l->kernels->scale(p.c, p.alpha, p.rows * p.columns);
}

static void units_tile(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const units_loop *l = context;
    const sg_gemm_args *g = l->args;
    // Neighbours in time share a panel of B.
    const int64_t row = chunk % l->tiles * l->tile, panel = chunk / l->tiles % l->panels;
    const int64_t group = chunk / l->tiles / l->panels, column = panel * SG_PANEL_WIDTH;
    units_place p = {.c = g->c, .ldc = g->ldc, .alpha = g->alpha, .beta = g->beta};
    if (group > 0) {
        p.c = l->scratch + (group - 1) * g->m * g->n;
        p.ldc = g->n;
        p.beta = 0;
    }
    p.c += row * p.ldc + column;
    p.rows = g->m - row < l->tile ? g->m - row : l->tile;
    p.columns = g->n - column < SG_PANEL_WIDTH ? g->n - column : SG_PANEL_WIDTH;
    p.filled_rows = sg_panel_up(p.rows, SG_PANEL_ROWS);
    p.filled_columns = sg_panel_up(p.columns, SG_PANEL_BLOCK);
    units_sum(l, p, row, panel, group);
}

static void units_add_rows(void *context, sg_range rows)
{
    const units_loop *l = context;
    const sg_gemm_args *g = l->args;
    for (int64_t i = rows.first; i < rows.end; i++)
        for (int64_t group = 1; group < l->groups; group++)
            l->kernels->add(g->c + i * g->ldc, g->c + i * g->ldc,
                            l->scratch + ((group - 1) * g->m + i) * g->n, g->n);
}

// Rows of A that are bf16 and whole, for the library dense too, need no packing; only a last tile
// that is filled up does.
static void units_pack_a(sg_compute compute, units_loop *l)
{
    const sg_gemm_args *g = l->args;
    sg_bf16 *room = g->room;
    int64_t first = 0;
    if (l->from_a.half != NULL && !g->transpose_a && g->k % SG_PANEL_STEP == 0 &&
        (l->own || (g->lda == g->k && l->pieces == 1))) {
        l->in_place = l->from_a.half;
        first = g->m % SG_PANEL_ROWS == 0 ? g->m : (l->tiles - 1) * l->tile;
    }
    if (first < g->m) sg_panel_pack_a(compute, room, &l->from_a, first);
    l->a = room;
}

void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed, sg_panel_order order)
{
    units_loop l = {.kernels = compute.kernels,
                    .args = args,
                    .from_a = sg_units_a(args),
                    .from_b = sg_units_b(args),
                    .b = b_packed,
                    .order = order,
                    .own = units_are_tiles(),
                    .panels = sg_chunks(args->n, SG_PANEL_WIDTH),
                    .pieces = sg_chunks(args->k, SG_PANEL_DEPTH),
                    .groups = 1};
    l.tiles = sg_chunks(args->m, SG_PANEL_TILE);
    l.tile = sg_panel_up(sg_chunks(args->m, l.tiles), SG_PANEL_ROWS);
    l.tiles = sg_chunks(args->m, l.tile);
    l.group = l.pieces;
    if (cut != NULL && cut->count > 1) {
        l.group = sg_chunks(cut->depth, SG_PANEL_DEPTH);
        l.groups = sg_chunks(l.pieces, l.group);
        l.scratch = cut->scratch;
    }
    units_pack_a(compute, &l);
    sg_parallel_for(compute.pool, l.tiles * l.panels * l.groups, units_tile, &l);
    if (l.groups > 1)
        sg_parallel_ranges(compute.pool, args->m, sg_chunks(1 << 14, args->n), units_add_rows, &l);
}

#else

void sg_products_force(sg_products_engine engine)
{
    (void)engine;
}

sg_panel_order sg_units_order(void)
{
    return SG_PANEL_NONE;
}

void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed, sg_panel_order order)
{
    (void)compute, (void)args, (void)cut, (void)b_packed, (void)order;
}

#endif
