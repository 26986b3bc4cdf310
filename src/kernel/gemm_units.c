// Products by the processor's unit for bf16: both operands are packed (panels.h), then each tile of
// C is the work of one thread, which adds up the pieces of k in their order.
#include "kernel/gemm_kinds.h"

#include <stdatomic.h>
#include <string.h>

#include "kernel/gemm_tiles.h"
#include "kernel/products.h"

#ifndef SG_REAL_DOUBLE

static atomic_int units_forced = SG_ENGINE_CHOSEN;

void sg_products_force(sg_products_engine engine)
{
    atomic_store(&units_forced, (int)engine);
}

sg_tiles_unit sg_gemm_unit(sg_compute_kind kind)
{
    sg_tiles_unit unit = SG_TILES_NONE;
    if (kind == SG_COMPUTE_F32) return unit;
    switch (atomic_load_explicit(&units_forced, memory_order_relaxed)) {
    case SG_ENGINE_ROUNDED:
        return SG_TILES_NONE;
    case SG_ENGINE_PLAIN:
        return SG_TILES_PLAIN;
    case SG_ENGINE_AVX512_BF16:
        return SG_TILES_AVX512_BF16;
    case SG_ENGINE_AMX:
        return SG_TILES_AMX;
    default:
        unit = sg_products_unit();
        return unit == SG_TILES_AVX512_BF16 && kind == SG_COMPUTE_BF16X3 ? SG_TILES_NONE : unit;
    }
}

// Of other units where they were asked for, so that tests on any processor meet what AMX does.
bool sg_gemm_is_cheap(sg_compute_kind kind)
{
    const sg_tiles_unit unit = sg_gemm_unit(kind);
    return unit == SG_TILES_AMX ||
           (unit != SG_TILES_NONE &&
            atomic_load_explicit(&units_forced, memory_order_relaxed) != SG_ENGINE_CHOSEN);
}

// ---- tiles --------------------------------------------------------------------------------------

typedef struct units_loop {
    const sg_kernels *kernels;
    const sg_gemm_args *args;
    sg_panel_from from_a, from_b;
    sg_bf16 *a;       // packed
    const sg_bf16 *b; // likewise
    bool in_place;    // A is read where it is
    sg_tiles_unit unit;
    bool packs;                  // a chunk packs its rows of A
    int64_t tile, tiles, panels; // rows of a tile, tiles of rows, panels of columns
    int64_t across, runs;        // panels of one chunk, and how many such runs of panels
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

// C = alpha sum + beta C, where beta is not 0: else the product is at once where C is.
static void units_add(const sg_kernels *kernels, const units_place *p, const float *sum)
{
    for (int64_t r = 0; r < p->rows; r++, sum += p->filled_columns) {
        float *c = p->c + r * p->ldc;
        if (p->beta != 1) kernels->scale(c, p->beta, p->columns);
        kernels->axpy(c, p->alpha, sum, p->columns);
    }
}

// The operands of one piece of k for a tile of C.
static sg_tiles_args units_operands(const units_loop *l, const units_place *p, int64_t piece,
                                    int64_t row, int64_t panel)
{
    const sg_gemm_args *g = l->args;
    sg_tiles_args t = {.m = p->rows,
                       .n = p->columns,
                       .k = sg_panel_depth(g->k, piece),
                       .a = l->a + sg_panel_a_at(&l->from_a, piece, row),
                       .b = l->b + sg_panel_b_at(&l->from_b, piece, panel)};
    t.lda = t.k;
    t.b_block = SG_PANEL_BLOCK * t.k;
    if (l->in_place && row + p->filled_rows <= g->m) {
        const int64_t at = row * g->lda + piece * SG_PANEL_DEPTH;
        t.a = l->from_a.half + at;
        t.lda = g->lda;
        if (l->from_a.low != NULL) t.a_low = l->from_a.low + at;
    }
    if (sg_panel_parts(g->kind) == 1) return t;
    if (t.a_low == NULL) t.a_low = t.a + sg_panel_a_low(&l->from_a, piece);
    t.b_low = t.b + sg_panel_b_low(&l->from_b, piece, panel);
    return t;
}

// To C, whatever its stride; alpha other than 1 where beta is 0.
static void units_multiply(const units_loop *l, const units_place *p, int64_t row, int64_t panel,
                           int64_t first, int64_t end)
{
    for (int64_t r = 0; r < p->rows && p->beta != 0 && p->beta != 1; r++)
        l->kernels->scale(p->c + r * p->ldc, p->beta, p->columns);
    for (int64_t piece = first; piece < end; piece++) {
        sg_tiles_args t = units_operands(l, p, piece, row, panel);
        t.c = p->c;
        t.ldc = p->ldc;
        t.add = p->beta != 0 || piece > first;
        sg_tiles_product(l->unit, &t);
    }
    for (int64_t r = 0; r < p->rows && p->alpha != 1; r++)
        l->kernels->scale(p->c + r * p->ldc, p->alpha, p->columns);
}

static void units_sum(const units_loop *l, units_place p, int64_t row, int64_t panel, int64_t group)
{
    _Alignas(64) float sum[SG_PANEL_TILE * SG_PANEL_WIDTH];
    const int64_t first = group * l->group;
    const int64_t end = first + l->group < l->pieces ? first + l->group : l->pieces;
    if (p.alpha == 1 || p.beta == 0) {
        units_multiply(l, &p, row, panel, first, end);
        return;
    }
    units_place own = {.c = sum,
                       .ldc = p.filled_columns,
                       .rows = p.rows,
                       .columns = p.columns,
                       .filled_rows = p.filled_rows,
                       .alpha = 1};
    units_multiply(l, &own, row, panel, first, end);
    units_add(l->kernels, &p, sum);
}

// The same, rounded to c_half.
static void units_sum_half(const units_loop *l, units_place p, int64_t row, int64_t panel)
{
    _Alignas(64) float sum[SG_PANEL_TILE * SG_PANEL_WIDTH];
    const sg_gemm_args *g = l->args;
    sg_bf16 *to = g->c_half + row * g->ldc + panel * SG_PANEL_WIDTH;
    p.c = sum;
    p.ldc = SG_PANEL_WIDTH;
    units_multiply(l, &p, row, panel, 0, l->pieces);
    for (int64_t r = 0; r < p.rows; r++)
        l->kernels->to_bf16(to + r * g->ldc, sum + r * SG_PANEL_WIDTH, p.columns);
}

static void units_tile(const units_loop *l, int64_t row, int64_t panel, int64_t group)
{
    const sg_gemm_args *g = l->args;
    const int64_t column = panel * SG_PANEL_WIDTH;
    units_place p = {.c = g->c, .ldc = g->ldc, .alpha = g->alpha, .beta = g->beta};
    if (group > 0) {
        p.c = l->scratch + (group - 1) * g->m * g->n;
        p.ldc = g->n;
        p.beta = 0;
    }
    p.rows = g->m - row < l->tile ? g->m - row : l->tile;
    p.columns = g->n - column < SG_PANEL_WIDTH ? g->n - column : SG_PANEL_WIDTH;
    p.filled_rows = sg_panel_up(p.rows, SG_PANEL_ROWS);
    p.filled_columns = sg_panel_up(p.columns, SG_PANEL_BLOCK);
    if (g->c_half != NULL) {
        units_sum_half(l, p, row, panel);
        return;
    }
    p.c += row * p.ldc + column;
    units_sum(l, p, row, panel, group);
}

// Neighbours in time share panels of B.
static void units_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const units_loop *l = context;
    const int64_t row = chunk % l->tiles * l->tile, run = chunk / l->tiles % l->runs;
    const int64_t left = sg_panel_up(l->args->m, SG_PANEL_ROWS) - row;
    if (l->packs)
        sg_panel_pack_rows(l->kernels, l->a, &l->from_a, row, left < l->tile ? left : l->tile);
    for (int64_t i = run * l->across; i < l->panels && i < (run + 1) * l->across; i++)
        units_tile(l, row, i, chunk / l->tiles / l->runs);
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

// Rows of A that are bf16 and whole need no packing; only a last tile that is filled up does.
static void units_pack_a(sg_compute compute, units_loop *l)
{
    const sg_gemm_args *g = l->args;
    int64_t first = 0;
    l->a = g->room;
    if (l->from_a.half != NULL && !g->transpose_a && g->k % SG_PANEL_STEP == 0) {
        l->in_place = true;
        first = g->m % SG_PANEL_ROWS == 0 ? g->m : (l->tiles - 1) * l->tile;
    } else if (!g->transpose_a && l->runs == 1 && l->groups == 1) {
        l->packs = true; // what is packed is in the second cache when it is multiplied
        return;
    }
    if (first < g->m) sg_panel_pack_a(compute, l->a, &l->from_a, first);
}

// A chunk takes some panels where there are rows for all threads even so.
enum { units_across = 4, units_chunks = 4 };

static void units_cut(sg_compute compute, units_loop *l, const sg_kind_pieces *cut)
{
    const sg_gemm_args *g = l->args;
    const int threads = compute.pool != NULL ? sg_pool_threads(compute.pool) : 1;
    l->tiles = sg_chunks(g->m, SG_PANEL_TILE);
    l->tile = sg_panel_up(sg_chunks(g->m, l->tiles), SG_PANEL_ROWS);
    l->tiles = sg_chunks(g->m, l->tile);
    if (l->panels <= units_across && (threads == 1 || l->tiles >= units_chunks * threads))
        l->across = l->panels;
    l->runs = sg_chunks(l->panels, l->across);
    l->group = l->pieces;
    if (cut == NULL || cut->count <= 1) return;
    l->group = sg_chunks(cut->depth, SG_PANEL_DEPTH);
    l->groups = sg_chunks(l->pieces, l->group);
    l->scratch = cut->scratch;
}

void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed)
{
    units_loop l = {.kernels = compute.kernels,
                    .args = args,
                    .from_a = sg_units_a(args),
                    .from_b = sg_units_b(args),
                    .b = b_packed,
                    .unit = sg_gemm_unit(args->kind),
                    .panels = sg_chunks(args->n, SG_PANEL_WIDTH),
                    .across = 1,
                    .pieces = sg_chunks(args->k, SG_PANEL_DEPTH),
                    .groups = 1};
    units_cut(compute, &l, cut);
    units_pack_a(compute, &l);
    sg_parallel_for(compute.pool, l.tiles * l.runs * l.groups, units_chunk, &l);
    if (l.groups > 1)
        sg_parallel_ranges(compute.pool, args->m, sg_chunks(1 << 14, args->n), units_add_rows, &l);
}

#else

void sg_products_force(sg_products_engine engine)
{
    (void)engine;
}

sg_tiles_unit sg_gemm_unit(sg_compute_kind kind)
{
    (void)kind;
    return SG_TILES_NONE;
}

bool sg_gemm_is_cheap(sg_compute_kind kind)
{
    (void)kind;
    return false;
}

void sg_units_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                      const sg_bf16 *b_packed)
{
    (void)compute, (void)args, (void)cut, (void)b_packed;
}

#endif
