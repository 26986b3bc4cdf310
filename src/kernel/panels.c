// Operands in the form that matrix units read. See panels.h.
#include "kernel/panels.h"

#include <string.h>

#include "kernel/rows_ahead.h"

enum {
    panels_stage = 256,   // of k that are rounded at once
    panels_rows = 64,     // rows of A that a chunk packs
    panels_columns = 256, // the same of what is stored as columns
    panels_range = 128,   // rows of B that a chunk packs, of what is stored as rows of n
    panels_once = 16,     // of which as many are rounded at once
    panels_ahead = 32,    // rows that are fetched before they are read
    panels_most = 2,      // parts that differ: hi and lo
    // Rows of what is rounded, with a gap behind each, that they may not meet in the cache.
    panels_gap = 32,
    panels_stage_row = panels_stage + panels_gap,
    panels_pair_row = 2 * panels_columns + panels_gap
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
    return sg_panel_parts(a->kind) * piece * SG_PANEL_DEPTH * sg_panel_up(a->outer, SG_PANEL_ROWS) +
           row * sg_panel_depth(a->k, piece);
}

int64_t sg_panel_a_low(const sg_panel_from *a, int64_t piece)
{
    return sg_panel_up(a->outer, SG_PANEL_ROWS) * sg_panel_depth(a->k, piece);
}

int64_t sg_panel_b_at(const sg_panel_from *b, int64_t piece, int64_t panel)
{
    return sg_panel_parts(b->kind) *
           (piece * SG_PANEL_DEPTH * sg_panel_up(b->outer, SG_PANEL_BLOCK) +
            panel * SG_PANEL_WIDTH * sg_panel_depth(b->k, piece));
}

// Columns of a panel, filled up.
static int64_t panels_width(const sg_panel_from *b, int64_t panel)
{
    const int64_t left = sg_panel_up(b->outer, SG_PANEL_BLOCK) - panel * SG_PANEL_WIDTH;
    return left < SG_PANEL_WIDTH ? left : SG_PANEL_WIDTH;
}

int64_t sg_panel_b_low(const sg_panel_from *b, int64_t piece, int64_t panel)
{
    return panels_width(b, panel) * sg_panel_depth(b->k, piece);
}

// ---- rounding -----------------------------------------------------------------------------------

typedef struct panels_loop {
    const sg_kernels *kernels;
    const sg_panel_from *from;
    sg_bf16 *to;
    int64_t first, chunks; // of A: the first row; chunks of a piece
    int64_t above, before; // rows and columns left out in front of what `from` has
} panels_loop;

// Numbers [column, column + count) of a stored row, rounded or split, followed by zeros up to
// `filled`; a row beyond the end is 0.
static void panels_round(const panels_loop *l, sg_bf16 *hi, sg_bf16 *lo, int64_t row,
                         int64_t column, int64_t count, int64_t filled)
{
    const sg_panel_from *f = l->from;
    const int64_t rows = f->by_k ? f->k : f->outer;
    const int64_t at = (row - l->above) * f->stride + column - l->before;
    if (row >= rows || count < 0) count = 0;
    if (count > 0 && f->kind == SG_COMPUTE_BF16X3 && f->low != NULL) {
        memcpy(hi, f->half + at, (size_t)count * sizeof *hi);
        memcpy(lo, f->low + at, (size_t)count * sizeof *lo);
    } else if (count > 0 && f->kind == SG_COMPUTE_BF16X3)
        l->kernels->split_bf16(hi, lo, f->wide + at, count);
    else if (count > 0 && f->half != NULL)
        memcpy(hi, f->half + at, (size_t)count * sizeof *hi);
    else if (count > 0)
        l->kernels->to_bf16(hi, f->wide + at, count);
    if (count == filled) return;
    memset(hi + count, 0, (size_t)(filled - count) * sizeof *hi);
    if (f->kind == SG_COMPUTE_BF16X3) memset(lo + count, 0, (size_t)(filled - count) * sizeof *lo);
}

static void panels_expect_stored(const panels_loop *l, int64_t row, int64_t column, int64_t count)
{
    const sg_panel_from *f = l->from;
    if (row >= (f->by_k ? f->k : f->outer) || count <= 0) return;
    const int64_t at = (row - l->above) * f->stride + column - l->before;
    if (f->half != NULL)
        sg_expect(f->half + at, count * (int64_t)sizeof *f->half);
    else
        sg_expect(f->wide + at, count * (int64_t)sizeof *f->wide);
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
    for (int64_t r = row; r < row + rows; r++) {
        sg_bf16 *hi = l->to + sg_panel_a_at(f, piece, r), *lo = hi + sg_panel_a_low(f, piece);
        panels_round(l, hi, lo, r, piece * SG_PANEL_DEPTH, sg_panel_count(f->k, piece),
                     sg_panel_depth(f->k, piece));
    }
}

// Numbers [at, at + panels_stage) of k in one piece, of rows [row, row + rows), stored as columns:
// rows of k are paired, then the pairs transposed. Many rows of A at once, as they are what lies
// behind each other in memory.
static void panels_columns_a(const panels_loop *l, int64_t piece, int64_t at, int64_t row,
                             int64_t rows)
{
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, piece), parts = sg_panel_parts(f->kind);
    const int64_t count = panels_least(rows, f->outer - row), low = sg_panel_a_low(f, piece);
    const int64_t filled = panels_least(panels_stage, depth - at);
    sg_bf16 even[panels_most][panels_columns], odd[panels_most][panels_columns];
    sg_bf16 stage[panels_most][panels_stage / 2][panels_pair_row];
    sg_bf16 *to = l->to + sg_panel_a_at(f, piece, row) + at;
    for (int64_t p = 0; p < filled / 2; p++) {
        const int64_t k = piece * SG_PANEL_DEPTH + at + 2 * p;
        panels_expect_stored(l, k + panels_ahead, row, count);
        panels_expect_stored(l, k + 1 + panels_ahead, row, count);
        panels_round(l, even[0], even[1], k, row, count, rows);
        panels_round(l, odd[0], odd[1], k + 1, row, count, rows);
        for (int64_t i = 0; i < parts; i++)
            l->kernels->pair_bf16(stage[i][p], even[i], odd[i], rows);
    }
    for (int64_t r = 0; r < rows; r += SG_PANEL_ROWS)
        for (int64_t i = 0; i < parts; i++) {
            const int64_t next = panels_least(rows, r + 2 * SG_PANEL_ROWS);
            for (int64_t e = r + SG_PANEL_ROWS; e < next; e++)
                sg_expect(to + i * low + e * depth, filled * (int64_t)sizeof *to);
            l->kernels->transpose_pairs(to + i * low + r * depth, depth, stage[i][0] + 2 * r,
                                        panels_pair_row, filled / 2, SG_PANEL_ROWS);
        }
}

static void panels_chunk_rows_a(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const int64_t end = sg_panel_up(l->from->outer, SG_PANEL_ROWS);
    const int64_t row = l->first + chunk % l->chunks * panels_rows, piece = chunk / l->chunks;
    panels_rows_a(l, piece, row, panels_least(panels_rows, end - row));
}

static void panels_chunk_columns_a(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const int64_t end = sg_panel_up(l->from->outer, SG_PANEL_ROWS);
    const int64_t row = l->first + chunk % l->chunks * panels_columns;
    const int64_t k = chunk / l->chunks * panels_stage;
    panels_columns_a(l, k / SG_PANEL_DEPTH, k % SG_PANEL_DEPTH, row,
                     panels_least(panels_columns, end - row));
}

void sg_panel_pack_rows(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *a, int64_t row,
                        int64_t rows)
{
    const panels_loop l = {.kernels = kernels, .from = a, .to = to};
    for (int64_t piece = 0; piece < panels_pieces(a->k); piece++)
        panels_rows_a(&l, piece, row, rows);
}

void sg_panel_pack_a(sg_compute compute, sg_bf16 *to, const sg_panel_from *a, int64_t first)
{
    panels_loop l = {.kernels = compute.kernels, .from = a, .to = to, .first = first};
    const int64_t rows = sg_panel_up(a->outer, SG_PANEL_ROWS) - first;
    l.chunks = sg_chunks(rows, a->by_k ? panels_columns : panels_rows);
    const int64_t along = a->by_k ? sg_chunks(a->k, panels_stage) : panels_pieces(a->k);
    sg_parallel_for(compute.pool, l.chunks * along,
                    a->by_k ? panels_chunk_columns_a : panels_chunk_rows_a, &l);
}

// ---- B ------------------------------------------------------------------------------------------

// 64 columns of one piece; `place`: where its first two rows are.
typedef struct panels_block {
    int64_t piece, column, count;
    int64_t row; // of what is stored as rows: where the first column lies
    sg_bf16 *place;
    int64_t low; // from hi to lo
} panels_block;

static panels_block panels_block_of(const sg_panel_from *f, sg_bf16 *to, int64_t piece,
                                    int64_t block)
{
    const int64_t column = block * SG_PANEL_BLOCK, panel = column / SG_PANEL_WIDTH;
    const int64_t inside = column - panel * SG_PANEL_WIDTH;
    return (panels_block){piece,
                          column,
                          panels_least(SG_PANEL_BLOCK, f->outer - column),
                          column,
                          to + sg_panel_b_at(f, piece, panel) +
                              inside * sg_panel_depth(f->k, piece),
                          sg_panel_b_low(f, piece, panel)};
}

// `rows` rounded rows of the block, from row `row` of it on, to their places in a part.
static void panels_put(const panels_loop *l, const panels_block *b, int64_t part, int64_t row,
                       sg_bf16 (*from)[SG_PANEL_WIDTH], int64_t rows)
{
    sg_bf16 *to = b->place + part * b->low + row * SG_PANEL_BLOCK;
    for (int64_t r = 0; r < rows; r += 2)
        l->kernels->pair_bf16(to + r * SG_PANEL_BLOCK, from[r], from[r + 1], SG_PANEL_BLOCK);
}

// Rows [first, end) of a panel, all its columns: what is read lies behind each other as far as it
// can, and so does what is written.
static void panels_rows_b(const panels_loop *l, int64_t piece, int64_t panel, int64_t first,
                          int64_t end)
{
    const sg_panel_from *f = l->from;
    const int64_t column = panel * SG_PANEL_WIDTH;
    const int64_t count = panels_least(SG_PANEL_WIDTH, f->outer - column);
    const int64_t blocks = sg_chunks(count, SG_PANEL_BLOCK), parts = sg_panel_parts(f->kind);
    sg_bf16 stage[panels_most][panels_once][SG_PANEL_WIDTH];
    for (int64_t at = first; at < end; at += panels_once) {
        const int64_t rows = panels_least(panels_once, end - at);
        for (int64_t r = 0; r < rows; r++) {
            panels_expect_stored(l, piece * SG_PANEL_DEPTH + at + r + panels_ahead, column, count);
            panels_round(l, stage[0][r], stage[1][r], piece * SG_PANEL_DEPTH + at + r, column,
                         count, blocks * SG_PANEL_BLOCK);
        }
        for (int64_t i = 0; i < blocks; i++) {
            const panels_block b = panels_block_of(f, l->to, piece, column / SG_PANEL_BLOCK + i);
            for (int64_t part = 0; part < parts; part++)
                panels_put(l, &b, part, at,
                           (sg_bf16(*)[SG_PANEL_WIDTH])(stage[part][0] + i * SG_PANEL_BLOCK), rows);
        }
    }
}

// 64 columns that are stored as rows, of which `stage` holds numbers [row, row + count), to a part.
static void panels_turn(const panels_loop *l, const panels_block *b, int64_t part, int64_t row,
                        sg_bf16 (*stage)[panels_stage_row], int64_t count)
{
    l->kernels->transpose_pairs(b->place + part * b->low + row * SG_PANEL_BLOCK, 2 * SG_PANEL_BLOCK,
                                stage[0], panels_stage_row, SG_PANEL_BLOCK, count / 2);
}

static void panels_columns_b(const panels_loop *l, const panels_block *b)
{
    const sg_panel_from *f = l->from;
    const int64_t depth = sg_panel_depth(f->k, b->piece);
    sg_bf16 stage[panels_most][SG_PANEL_BLOCK][panels_stage_row];
    for (int64_t at = 0; at < depth; at += panels_stage) {
        const int64_t filled = panels_least(panels_stage, depth - at);
        const int64_t k = b->piece * SG_PANEL_DEPTH + at;
        for (int64_t j = 0; j < SG_PANEL_BLOCK; j++)
            panels_round(l, stage[0][j], stage[1][j], j < b->count ? b->row + j : f->outer, k,
                         panels_least(filled, f->k - k), filled);
        for (int64_t part = 0; part < sg_panel_parts(f->kind); part++)
            panels_turn(l, b, part, at, stage[part], filled);
    }
}

static void panels_chunk_columns_b(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const panels_block b = panels_block_of(l->from, l->to, chunk / l->chunks, chunk % l->chunks);
    panels_columns_b(l, &b);
}

static void panels_chunk_rows_b(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const panels_loop *l = context;
    const int64_t k = chunk / l->chunks * panels_range, piece = k / SG_PANEL_DEPTH;
    const int64_t first = k % SG_PANEL_DEPTH, depth = sg_panel_depth(l->from->k, piece);
    panels_rows_b(l, piece, chunk % l->chunks, first, panels_least(first + panels_range, depth));
}

void sg_panel_pack_b(sg_compute compute, sg_bf16 *to, const sg_panel_from *b)
{
    panels_loop l = {.kernels = compute.kernels, .from = b, .to = to};
    l.chunks = sg_chunks(b->outer, b->by_k ? SG_PANEL_WIDTH : SG_PANEL_BLOCK);
    const int64_t along = b->by_k ? sg_chunks(b->k, panels_range) : panels_pieces(b->k);
    sg_parallel_for(compute.pool, l.chunks * along,
                    b->by_k ? panels_chunk_rows_b : panels_chunk_columns_b, &l);
}

void sg_panel_pack_part(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *b, int64_t row,
                        int64_t rows, int64_t first, int64_t end)
{
    const panels_loop l = {
        .kernels = kernels, .from = b, .to = to, .above = row, .before = first * SG_PANEL_WIDTH};
    for (int64_t k = row, n; k < row + rows; k += n) {
        const int64_t piece = k / SG_PANEL_DEPTH, at = k % SG_PANEL_DEPTH;
        n = panels_least(row + rows - k, SG_PANEL_DEPTH - at);
        for (int64_t panel = first; panel < end; panel++)
            panels_rows_b(&l, piece, panel, at, sg_panel_up(at + n, SG_PANEL_STEP));
    }
}

void sg_panel_pack_block(const sg_kernels *kernels, sg_bf16 *to, const sg_panel_from *b,
                         int64_t block)
{
    const panels_loop l = {.kernels = kernels, .from = b, .to = to};
    for (int64_t piece = 0; piece < panels_pieces(b->k); piece++) {
        panels_block at = panels_block_of(b, to, piece, block);
        at.row = 0;
        panels_columns_b(&l, &at);
    }
}

static sg_real panels_get(const panels_block *b, int64_t part, int64_t row, int64_t column)
{
    const sg_bf16 *pair = b->place + part * b->low + row / 2 * 2 * SG_PANEL_BLOCK;
    return (sg_real)sg_bf16_value(pair[2 * column + row % 2]);
}

static sg_real panels_number(const sg_bf16 *packed, const sg_panel_from *b, int64_t k,
                             int64_t column)
{
    const int64_t piece = k / SG_PANEL_DEPTH, row = k % SG_PANEL_DEPTH;
    const panels_block at =
        panels_block_of(b, (sg_bf16 *)(uintptr_t)packed, piece, column / SG_PANEL_BLOCK);
    column %= SG_PANEL_BLOCK;
    const sg_real hi = panels_get(&at, 0, row, column);
    return b->kind == SG_COMPUTE_BF16X3 ? hi + panels_get(&at, 1, row, column) : hi;
}

void sg_panel_unpack(sg_real *y, const sg_bf16 *packed, const sg_panel_from *b,
                     const sg_panel_window *w)
{
    for (int64_t p = 0; p < w->pn; p++)
        for (int64_t j = 0; j < w->jn; j++)
            y[p * w->step_k + j * w->step_n] = panels_number(packed, b, w->p0 + p, w->j0 + j);
}
