// Operands in the form that matrix units read. See panels.h.
#include "kernel/panels.h"

#include <string.h>

enum {
    panels_stage = 256, // of k that are rounded at once
    panels_rows = 64,   // rows of A that a chunk packs
    panels_most = 2     // parts that differ: hi and lo
};

static int64_t panels_pieces(int64_t k)
{
    return sg_chunks(k, SG_PANEL_DEPTH);
}

int64_t sg_panel_a_size(int64_t m, int64_t k, sg_compute_kind kind)
{
    const int64_t last = panels_pieces(k) - 1;
    return sg_panel_parts(kind) * sg_panel_up(m, SG_PANEL_ROWS) *
           (last * SG_PANEL_DEPTH + sg_panel_depth(k, last));
}

int64_t sg_panel_b_size(int64_t n, int64_t k, sg_compute_kind kind)
{
    const int64_t last = panels_pieces(k) - 1;
    return sg_panel_parts(kind) * sg_panel_up(n, SG_PANEL_BLOCK) *
           (last * SG_PANEL_DEPTH + sg_panel_depth(k, last));
}

int64_t sg_panel_a_at(const sg_panel_from *a, int64_t piece, int64_t row)
{
    return sg_panel_parts(a->kind) *
           (piece * SG_PANEL_DEPTH * sg_panel_up(a->outer, SG_PANEL_ROWS) +
            row * sg_panel_depth(a->k, piece));
}

int64_t sg_panel_b_at(const sg_panel_from *b, int64_t piece, int64_t panel)
{
    return sg_panel_parts(b->kind) *
           (piece * SG_PANEL_DEPTH * sg_panel_up(b->outer, SG_PANEL_BLOCK) +
            panel * SG_PANEL_WIDTH * sg_panel_depth(b->k, piece));
}

// ---- rounding -----------------------------------------------------------------------------------

typedef struct panels_loop {
    const sg_kernels *kernels;
    const sg_panel_from *from;
    sg_bf16 *to;
    sg_panel_order order;
    int64_t first, chunks; // of A: the first row; chunks of a piece
} panels_loop;

// Numbers [column, column + count) of a stored row, rounded or split, followed by zeros up to
// `filled`; a row beyond the end is 0.
static void panels_round(const panels_loop *l, sg_bf16 *hi, sg_bf16 *lo, int64_t row,
                         int64_t column, int64_t count, int64_t filled)
{
    const sg_panel_from *f = l->from;
    const int64_t rows = f->by_k ? f->k : f->outer;
    const int64_t at = row * f->stride + column;
    if (row >= rows || count < 0) count = 0;
    if (count > 0 && f->kind == SG_COMPUTE_BF16X3)
        l->kernels->split_bf16(hi, lo, f->wide + at, count);
    else if (count > 0 && f->half != NULL)
        memcpy(hi, f->half + at, (size_t)count * sizeof *hi);
    else if (count > 0)
        l->kernels->to_bf16(hi, f->wide + at, count);
    if (count == filled) return;
    memset(hi + count, 0, (size_t)(filled - count) * sizeof *hi);
    if (f->kind == SG_COMPUTE_BF16X3) memset(lo + count, 0, (size_t)(filled - count) * sizeof *lo);
}

static int64_t panels_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

// ---- A ------------------------------------------------------------------------------------------

// Rows [row, row + rows) of one piece, stored as they are.
static void panels_rows_a(const panels_loop *l, int64_t piece, int64_t row, int64_t rows)
{
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, piece), parts = sg_panel_parts(f->kind);
    for (int64_t r = row; r < row + rows; r++) {
        sg_bf16 *to = l->to + sg_panel_a_at(f, piece, r), *hi = parts == 3 ? to + depth : to;
        panels_round(l, hi, to, r, piece * SG_PANEL_DEPTH, sg_panel_count(f->k, piece), depth);
        if (parts == 3) memcpy(to + 2 * depth, hi, (size_t)depth * sizeof *to);
    }
}

// The same of what is stored as columns: steps of k are paired, then the pairs transposed.
static void panels_columns_a(const panels_loop *l, int64_t piece, int64_t row, int64_t rows)
{
    enum { pairs = SG_PANEL_STEP / 2 };
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, piece), parts = sg_panel_parts(f->kind);
    const int64_t count = panels_least(rows, f->outer - row);
    sg_bf16 even[panels_most][panels_rows], odd[panels_most][panels_rows];
    sg_bf16 stage[panels_most][pairs][2 * panels_rows];
    sg_bf16 *to = l->to + sg_panel_a_at(f, piece, row);
    const int64_t stride = parts * depth;
    for (int64_t at = 0; at < depth; at += SG_PANEL_STEP) {
        for (int64_t p = 0; p < pairs; p++) {
            const int64_t k = piece * SG_PANEL_DEPTH + at + 2 * p;
            panels_round(l, even[0], even[1], k, row, count, panels_rows);
            panels_round(l, odd[0], odd[1], k + 1, row, count, panels_rows);
            for (int i = 0; i < (parts == 3 ? 2 : 1); i++)
                l->kernels->pair_bf16(stage[i][p], even[i], odd[i], panels_rows);
        }
        for (int64_t part = 0; part < parts; part++)
            l->kernels->transpose_pairs(to + part * depth + at, stride,
                                        stage[parts == 3 && part == 0][0], 2 * panels_rows, pairs,
                                        rows);
    }
}

static void panels_chunk_a(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const int64_t end = sg_panel_up(l->from->outer, SG_PANEL_ROWS);
    const int64_t row = l->first + chunk % l->chunks * panels_rows, piece = chunk / l->chunks;
    (l->from->by_k ? panels_columns_a : panels_rows_a)(l, piece, row,
                                                       panels_least(panels_rows, end - row));
}

void sg_panel_pack_a(sg_compute compute, sg_bf16 *to, const sg_panel_from *a, int64_t first)
{
    panels_loop l = {.kernels = compute.kernels, .from = a, .to = to, .first = first};
    l.chunks = sg_chunks(sg_panel_up(a->outer, SG_PANEL_ROWS) - first, panels_rows);
    sg_parallel_for(compute.pool, l.chunks * panels_pieces(a->k), panels_chunk_a, &l);
}

// ---- B ------------------------------------------------------------------------------------------

// 64 columns of one piece: `place` + the row times `step` is where a row of them starts, `step` of
// pairs of rows in that order.
typedef struct panels_block {
    int64_t piece, column, count;
    int64_t row; // of what is stored as rows: where the first column lies
    sg_bf16 *place;
    int64_t step;
} panels_block;

static panels_block panels_block_of(const sg_panel_from *f, sg_panel_order order, sg_bf16 *to,
                                    int64_t piece, int64_t block)
{
    const int64_t column = block * SG_PANEL_BLOCK, panel = column / SG_PANEL_WIDTH;
    const int64_t inside = column - panel * SG_PANEL_WIDTH;
    const int64_t filled = sg_panel_up(f->outer, SG_PANEL_BLOCK) - panel * SG_PANEL_WIDTH;
    const int64_t width = panels_least(filled, SG_PANEL_WIDTH);
    const int64_t depth = sg_panel_parts(f->kind) * sg_panel_depth(f->k, piece);
    sg_bf16 *at = to + sg_panel_b_at(f, piece, panel);
    return (panels_block){piece,
                          column,
                          panels_least(SG_PANEL_BLOCK, f->outer - column),
                          column,
                          at + (order == SG_PANEL_PAIRS ? inside * depth : inside),
                          order == SG_PANEL_PAIRS ? SG_PANEL_BLOCK : width};
}

// Two rows (k, k + 1) of the block, of part hi or lo, to their places.
static void panels_put(const panels_loop *l, const panels_block *b, int64_t row,
                       const sg_bf16 *even, const sg_bf16 *odd)
{
    sg_bf16 *to = b->place + row * b->step;
    if (l->order == SG_PANEL_PAIRS) {
        l->kernels->pair_bf16(to, even, odd, SG_PANEL_BLOCK);
        return;
    }
    memcpy(to, even, SG_PANEL_BLOCK * sizeof *to);
    memcpy(to + b->step, odd, SG_PANEL_BLOCK * sizeof *to);
}

static void panels_rows_b(const panels_loop *l, const panels_block *b)
{
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, b->piece);
    sg_bf16 even[panels_most][SG_PANEL_BLOCK], odd[panels_most][SG_PANEL_BLOCK];
    for (int64_t at = 0; at < depth; at += 2) {
        const int64_t k = b->piece * SG_PANEL_DEPTH + at;
        panels_round(l, even[0], even[1], k, b->column, b->count, SG_PANEL_BLOCK);
        panels_round(l, odd[0], odd[1], k + 1, b->column, b->count, SG_PANEL_BLOCK);
        panels_put(l, b, at, even[0], odd[0]);
        if (f->kind != SG_COMPUTE_BF16X3) continue;
        panels_put(l, b, depth + at, even[1], odd[1]);
        panels_put(l, b, 2 * depth + at, even[0], odd[0]);
    }
}

// 64 columns that are stored as rows, of which `stage` holds numbers [at, at + count).
static void panels_turn(const panels_loop *l, const panels_block *b, int64_t row,
                        sg_bf16 (*stage)[panels_stage], int64_t count)
{
    if (l->order == SG_PANEL_PAIRS) {
        l->kernels->transpose_pairs(b->place + row * b->step, 2 * SG_PANEL_BLOCK, stage[0],
                                    panels_stage, SG_PANEL_BLOCK, count / 2);
        return;
    }
    for (int64_t p = 0; p < count; p++)
        for (int64_t j = 0; j < SG_PANEL_BLOCK; j++)
            b->place[(row + p) * b->step + j] = stage[j][p];
}

static void panels_columns_b(const panels_loop *l, const panels_block *b)
{
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, b->piece);
    sg_bf16 stage[panels_most][SG_PANEL_BLOCK][panels_stage];
    for (int64_t at = 0; at < depth; at += panels_stage) {
        const int64_t filled = panels_least(panels_stage, depth - at);
        const int64_t k = b->piece * SG_PANEL_DEPTH + at;
        for (int64_t j = 0; j < SG_PANEL_BLOCK; j++)
            panels_round(l, stage[0][j], stage[1][j], j < b->count ? b->row + j : f->outer, k,
                         panels_least(filled, f->k - k), filled);
        panels_turn(l, b, at, stage[0], filled);
        if (f->kind != SG_COMPUTE_BF16X3) continue;
        panels_turn(l, b, depth + at, stage[1], filled);
        panels_turn(l, b, 2 * depth + at, stage[0], filled);
    }
}

static void panels_chunk_b(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const int64_t blocks = sg_chunks(l->from->outer, SG_PANEL_BLOCK);
    const panels_block b =
        panels_block_of(l->from, l->order, l->to, chunk / blocks, chunk % blocks);
    (l->from->by_k ? panels_rows_b : panels_columns_b)(l, &b);
}

void sg_panel_pack_b(sg_compute compute, sg_bf16 *to, const sg_panel_from *b, sg_panel_order order)
{
    panels_loop l = {.kernels = compute.kernels, .from = b, .to = to, .order = order};
    sg_parallel_for(compute.pool, sg_chunks(b->outer, SG_PANEL_BLOCK) * panels_pieces(b->k),
                    panels_chunk_b, &l);
}

void sg_panel_pack_block(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *b,
                         sg_panel_order order, int64_t block)
{
    const panels_loop l = {.kernels = kernels, .from = b, .to = to, .order = order};
    for (int64_t piece = 0; piece < panels_pieces(b->k); piece++) {
        panels_block at = panels_block_of(b, order, to, piece, block);
        at.row = 0;
        panels_columns_b(&l, &at);
    }
}

static sg_bf16 panels_get(const panels_block *b, sg_panel_order order, int64_t row, int64_t column)
{
    if (order == SG_PANEL_PLAIN) return b->place[row * b->step + column];
    return b->place[row / 2 * 2 * SG_PANEL_BLOCK + 2 * column + row % 2];
}

static sg_real panels_number(const sg_bf16 *packed, const sg_panel_from *b, sg_panel_order order,
                             int64_t k, int64_t column)
{
    const int64_t piece = k / SG_PANEL_DEPTH, row = k % SG_PANEL_DEPTH;
    const panels_block at =
        panels_block_of(b, order, (sg_bf16 *)(uintptr_t)packed, piece, column / SG_PANEL_BLOCK);
    column %= SG_PANEL_BLOCK;
    const sg_real hi = (sg_real)sg_bf16_value(panels_get(&at, order, row, column));
    if (b->kind != SG_COMPUTE_BF16X3) return hi;
    const int64_t depth = sg_panel_depth(b->k, piece);
    return hi + (sg_real)sg_bf16_value(panels_get(&at, order, depth + row, column));
}

void sg_panel_unpack(sg_real *y, const sg_bf16 *packed, const sg_panel_from *b,
                     sg_panel_order order, const sg_panel_window *w)
{
    for (int64_t p = 0; p < w->pn; p++)
        for (int64_t j = 0; j < w->jn; j++)
            y[p * w->step_k + j * w->step_n] =
                panels_number(packed, b, order, w->p0 + p, w->j0 + j);
}
