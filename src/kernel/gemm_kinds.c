// The kinds of products: which way each is computed, rounding for processors without units, op(B)
// prepared apart, and products too small for either.
#include "kernel/gemm_kinds.h"

#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm_tiles.h"

// ---- names --------------------------------------------------------------------------------------

static const char *const gemm_kinds[] = {"f32", "bf16x3", "bf16"};
enum { gemm_kind_count = sizeof gemm_kinds / sizeof *gemm_kinds };

const char *sg_compute_kind_name(sg_compute_kind kind)
{
    return (unsigned)kind < gemm_kind_count ? gemm_kinds[kind] : NULL;
}

sg_status sg_compute_kind_parse(const char *text, const char *field, sg_compute_kind *kind,
                                sg_error *err)
{
    for (int i = 0; i < gemm_kind_count; i++)
        if (strcmp(text, gemm_kinds[i]) == 0) {
            *kind = (sg_compute_kind)i;
            return SG_OK;
        }
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected f32, bf16x3 or bf16", field,
                   text);
}

enum {
    kinds_thin = 4,            // rows of A that go through B as it is stored
    kinds_small = 32 << 10,    // multiply-adds that cost less than packing and calling
    kinds_piece = 1 << 15,     // numbers that a chunk rounds
    kinds_part = 1024,         // numbers that are rounded on the stack
    kinds_stage = 1 << 14,     // numbers of B that are rounded on the stack
    kinds_columns = 128,       // columns of sums there
    kinds_thin_piece = 1 << 14 // numbers of B that a chunk of a thin product reads
};

static bool kinds_is_thin(int64_t m)
{
    return m <= kinds_thin;
}

static bool kinds_is_small(int64_t m, int64_t n, int64_t k)
{
    return (double)m * (double)n * (double)k <= kinds_small;
}

static size_t kinds_bytes(int64_t count, size_t size)
{
    return sg_whole_lines((size_t)count * size);
}

// ---- room ---------------------------------------------------------------------------------------

static bool kinds_has_unit(sg_compute_kind kind)
{
    return sg_gemm_unit(kind) != SG_TILES_NONE;
}

// Without a unit bf16x3 is the product in f32.
static bool kinds_is_plain(sg_compute_kind kind)
{
    return kind == SG_COMPUTE_F32 || (kind == SG_COMPUTE_BF16X3 && !kinds_has_unit(kind));
}

static bool kinds_by_unit(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    return kinds_has_unit(kind) && !kinds_is_thin(m) && !kinds_is_small(m, n, k);
}

// Of A and of B, which lies behind it.
static size_t kinds_room_a(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    if (kinds_is_plain(kind) || m <= 0 || n <= 0 || k <= 0) return 0;
    if (kinds_by_unit(kind, m, n, k))
        return kinds_bytes(sg_panel_a_size(m, k, kind), sizeof(sg_bf16));
    return kinds_bytes(m * k, sizeof(sg_real));
}

static size_t kinds_room_b(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    if (kinds_is_plain(kind) || m <= 0 || n <= 0 || k <= 0 || kinds_is_thin(m)) return 0;
    if (kinds_by_unit(kind, m, n, k))
        return kinds_bytes(sg_panel_b_size(n, k, kind), sizeof(sg_bf16));
    return kinds_bytes(k * n, sizeof(sg_real));
}

// What fits a shape fits smaller ones too, such as are too small for the units: of those, operands
// are in f32, that of what was packed as well.
static size_t kinds_room(sg_compute_kind kind, int64_t m, int64_t n, int64_t k, bool packed)
{
    const size_t a = kinds_room_a(kind, m, n, k), b = kinds_room_b(kind, m, n, k);
    if (a == 0 || !kinds_has_unit(kind)) return a + (packed ? 0 : b);
    if (!kinds_by_unit(kind, m, n, k)) return a + b;
    const int64_t of_a = m * k < kinds_small ? m * k : kinds_small;
    const int64_t of_b = n * k < kinds_small ? n * k : kinds_small;
    const size_t small = kinds_bytes(of_a, sizeof(sg_real)) + kinds_bytes(of_b, sizeof(sg_real));
    const size_t large = a + (packed ? 0 : b);
    return small > large ? small : large;
}

size_t sg_gemm_room(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    return kinds_room(kind, m, n, k, false);
}

size_t sg_gemm_room_packed(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    return kinds_room(kind, m, n, k, true);
}

// ---- rounding -----------------------------------------------------------------------------------

// Numbers behind each other as the kind reads them, in f32.
void sg_kind_round(const sg_kernels *kernels, sg_compute_kind kind, sg_real *to,
                   const sg_real *from, const sg_bf16 *half, const sg_bf16 *low, int64_t n)
{
    sg_bf16 hi[kinds_part], lo[kinds_part];
    sg_real rest[kinds_part];
    if (kind == SG_COMPUTE_BF16 && half != NULL) {
        kernels->from_bf16(to, half, n);
        return;
    }
    if (kind == SG_COMPUTE_BF16X3 && low != NULL) {
        for (int64_t i = 0; i < n; i++)
            to[i] = (sg_real)sg_bf16_value(half[i]) + (sg_real)sg_bf16_value(low[i]);
        return;
    }
#ifdef SG_REAL_DOUBLE // all kinds are products in f64
    if (to != from) memcpy(to, from, (size_t)n * sizeof *to);
    return;
#endif
    for (int64_t i = 0; i < n; i += kinds_part) {
        const int64_t count = n - i < kinds_part ? n - i : kinds_part;
        if (kind == SG_COMPUTE_BF16) {
            kernels->to_bf16(hi, from + i, count);
            kernels->from_bf16(to + i, hi, count);
            continue;
        }
        kernels->split_bf16(hi, lo, from + i, count);
        kernels->from_bf16(to + i, hi, count);
        kernels->from_bf16(rest, lo, count);
        kernels->add(to + i, to + i, rest, count);
    }
}

// Nothing is added to what is not there: operands come as numbers, in bf16, or as both.
static const sg_real *kinds_at(const sg_real *x, int64_t at)
{
    return x != NULL ? x + at : NULL;
}

static const sg_bf16 *kinds_half_at(const sg_bf16 *half, int64_t at)
{
    return half != NULL ? half + at : NULL;
}

typedef struct kinds_rounding {
    const sg_kernels *kernels;
    sg_compute_kind kind;
    sg_real *to; // (rows, columns)
    const sg_real *from;
    const sg_bf16 *half, *low;
    int64_t columns, stride;
} kinds_rounding;

static void kinds_round_rows(void *context, sg_range rows)
{
    const kinds_rounding *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        sg_kind_round(c->kernels, c->kind, c->to + r * c->columns, kinds_at(c->from, r * c->stride),
                      kinds_half_at(c->half, r * c->stride), kinds_half_at(c->low, r * c->stride),
                      c->columns);
}

static void kinds_round_all(sg_compute compute, kinds_rounding *rounding, int64_t rows)
{
    sg_parallel_ranges(compute.pool, rows, sg_chunks(kinds_piece, rounding->columns),
                       kinds_round_rows, rounding);
}

void sg_kind_round_a(sg_compute compute, const sg_gemm_args *args, sg_real *to)
{
    kinds_rounding a = {.kernels = compute.kernels,
                        .kind = args->kind,
                        .to = to,
                        .from = args->a,
                        .half = args->a_half,
                        .low = args->a_low,
                        .columns = args->transpose_a ? args->m : args->k,
                        .stride = args->lda};
    kinds_round_all(compute, &a, args->transpose_a ? args->k : args->m);
}

static void kinds_round_b(sg_compute compute, const sg_gemm_args *args, sg_real *to)
{
    kinds_rounding b = {.kernels = compute.kernels,
                        .kind = args->kind,
                        .to = to,
                        .from = args->b,
                        .half = args->b_half,
                        .columns = args->transpose_b ? args->k : args->n,
                        .stride = args->ldb};
    kinds_round_all(compute, &b, args->transpose_b ? args->n : args->k);
}

// ---- op(B) prepared once ------------------------------------------------------------------------

// Packed: how B was stored, and whether it is in panels now, or rounded, as it was stored.
typedef struct kinds_packed {
    int64_t n, k;
    sg_compute_kind kind;
    bool panels, transposed;
    _Alignas(64) unsigned char numbers[]; // behind a head of 64 bytes
} kinds_packed;

static const void *kinds_packed_numbers(const void *packed)
{
    return ((const kinds_packed *)packed)->numbers;
}

size_t sg_gemm_packed_bytes(sg_compute_kind kind, int64_t n, int64_t k)
{
#ifdef SG_REAL_DOUBLE
    kind = SG_COMPUTE_F32;
#endif
    if (kinds_is_plain(kind) || n <= 0 || k <= 0) return 0;
    return sizeof(kinds_packed) + (kinds_has_unit(kind)
                                       ? kinds_bytes(sg_panel_b_size(n, k, kind), sizeof(sg_bf16))
                                       : kinds_bytes(n * k, sizeof(sg_real)));
}

void sg_gemm_pack(sg_compute compute, const sg_gemm_args *args, void *packed)
{
    if (sg_gemm_packed_bytes(args->kind, args->n, args->k) == 0) return;
    kinds_packed *head = packed;
    *head = (kinds_packed){.n = args->n,
                           .k = args->k,
                           .kind = args->kind,
                           .panels = kinds_has_unit(args->kind),
                           .transposed = args->transpose_b};
    const sg_panel_from b = sg_units_b(args);
    if (head->panels)
        sg_panel_pack_b(compute, (sg_bf16 *)(void *)head->numbers, &b);
    else
        kinds_round_b(compute, args, (sg_real *)(void *)head->numbers);
}

void sg_gemm_pack_serial(const sg_kernels *kernels, const sg_gemm_args *args, void *packed)
{
    sg_gemm_pack((sg_compute){.kernels = kernels}, args, packed);
}

// The product as B was stored before it was packed.
static sg_gemm_args kinds_as_stored(const sg_gemm_args *args)
{
    sg_gemm_args stored = *args;
    if (args->b_packed == NULL) return stored;
    const kinds_packed *head = args->b_packed;
    stored.transpose_b = head->transposed;
    stored.ldb = head->transposed ? args->k : args->n;
    stored.b = head->panels ? NULL : kinds_packed_numbers(head);
    stored.b_half = NULL;
    return stored;
}

// Rows [row, row + rows), columns [column, column + columns) of B as it was stored, rounded, to
// y (rows, columns).
static void kinds_read_b(const sg_kernels *kernels, sg_real *y, const sg_gemm_args *stored,
                         int64_t row, int64_t rows, int64_t column, int64_t columns)
{
    const kinds_packed *head = stored->b_packed;
    if (head != NULL && head->panels) {
        const sg_panel_from from = sg_units_b(stored);
        const bool turned = head->transposed; // rows of B are columns of op(B)
        const sg_panel_window w = {turned ? column : row, turned ? columns : rows,
                                   turned ? row : column, turned ? rows : columns,
                                   turned ? 1 : columns,  turned ? columns : 1};
        sg_panel_unpack(y, kinds_packed_numbers(head), &from, &w);
        return;
    }
    for (int64_t r = 0; r < rows; r++) {
        const int64_t at = (row + r) * stored->ldb + column;
        if (head != NULL)
            memcpy(y + r * columns, stored->b + at, (size_t)columns * sizeof *y);
        else
            sg_kind_round(kernels, stored->kind, y + r * columns, kinds_at(stored->b, at),
                          kinds_half_at(stored->b_half, at), NULL, columns);
    }
}

// ---- few rows -----------------------------------------------------------------------------------

typedef struct kinds_thin_loop {
    const sg_kernels *kernels;
    const sg_gemm_args *args; // as stored
    const sg_real *a;         // (m, k), rounded
} kinds_thin_loop;

// Sums of n <= kinds_columns columns from `first` on, (m, n).
static void kinds_thin_dots(const kinds_thin_loop *l, sg_real *sum, int64_t first, int64_t n)
{
    const sg_gemm_args *g = l->args;
    sg_real stage[kinds_stage], dots[kinds_thin * kinds_columns];
    const int64_t deep = kinds_stage / (g->transpose_b ? n : kinds_columns);
    for (int64_t p = 0; p < g->k; p += deep) {
        const int64_t depth = g->k - p < deep ? g->k - p : deep;
        if (!g->transpose_b) {
            kinds_read_b(l->kernels, stage, g, p, depth, first, n);
            l->kernels->thin_sum(sum, n, l->a + p, g->k, g->m, stage, n, depth, n);
            continue;
        }
        kinds_read_b(l->kernels, stage, g, first, n, p, depth);
        l->kernels->thin_product(dots, n, l->a + p, g->k, g->m, stage, depth, n, depth);
        l->kernels->add(sum, sum, dots, g->m * n);
    }
}

static void kinds_thin_chunk(void *context, sg_range columns)
{
    const kinds_thin_loop *l = context;
    const sg_gemm_args *g = l->args;
    sg_real sum[kinds_thin * kinds_columns];
    const int64_t most = g->transpose_b ? kinds_columns / 8 : kinds_columns;
    for (int64_t j = columns.first; j < columns.end; j += most) {
        const int64_t n = columns.end - j < most ? columns.end - j : most;
        memset(sum, 0, sizeof sum);
        kinds_thin_dots(l, sum, j, n);
        for (int64_t i = 0; i < g->m; i++) {
            sg_real *c = g->c + i * g->ldc + j;
            for (int64_t p = 0; p < n; p++)
                c[p] = g->alpha * sum[i * n + p] + (g->beta == 0 ? 0 : g->beta * c[p]);
        }
    }
}

// B is rounded where it is read.
static void kinds_thin_product(sg_compute compute, const sg_gemm_args *args)
{
    const sg_gemm_args stored = kinds_as_stored(args);
    const sg_bf16 *half = args->a_half, *low = args->a_low;
    sg_real *a = args->room;
    for (int64_t i = 0; i < args->m; i++)
        if (!args->transpose_a)
            sg_kind_round(compute.kernels, args->kind, a + i * args->k,
                          kinds_at(args->a, i * args->lda), kinds_half_at(half, i * args->lda),
                          kinds_half_at(low, i * args->lda), args->k);
        else
            for (int64_t p = 0; p < args->k; p++)
                sg_kind_round(compute.kernels, args->kind, a + i * args->k + p,
                              kinds_at(args->a, p * args->lda + i),
                              kinds_half_at(half, p * args->lda + i),
                              kinds_half_at(low, p * args->lda + i), 1);
    kinds_thin_loop l = {compute.kernels, &stored, a};
    const int64_t piece = sg_panel_up(sg_chunks(kinds_thin_piece, args->k), kinds_columns);
    const bool one = args->n * args->k < 2 * kinds_thin_piece;
    sg_parallel_ranges(compute.pool, args->n, one ? args->n : piece, kinds_thin_chunk, &l);
}

// ---- by tiles, part by part ---------------------------------------------------------------------

static sg_panel_from kinds_packed_from(const kinds_packed *head)
{
    return (sg_panel_from){.by_k = true, .outer = head->n, .k = head->k, .kind = head->kind};
}

void sg_gemm_pack_begin(sg_compute_kind kind, int64_t n, int64_t k, void *packed)
{
    *(kinds_packed *)packed = (kinds_packed){.n = n, .k = k, .kind = kind, .panels = true};
}

void sg_gemm_pack_part(const sg_kernels *kernels, void *packed, const sg_pack_part *part)
{
    kinds_packed *head = packed;
    sg_panel_from from = kinds_packed_from(head);
    from.half = part->from;
    from.low = part->low;
    from.stride = part->stride;
    sg_panel_pack_part(kernels, (sg_bf16 *)(void *)head->numbers, &from, part->row, part->rows,
                       part->column / SG_PANEL_WIDTH,
                       sg_chunks(part->column + part->columns, SG_PANEL_WIDTH));
}

// Rows [row, row + k) of one piece of a panel.
static void kinds_tile_product(const sg_tile_product *p, int64_t at, int64_t k, int64_t column)
{
    const kinds_packed *head = p->b_packed;
    const sg_panel_from from = kinds_packed_from(head);
    const int64_t piece = (p->b_row + at) / SG_PANEL_DEPTH;
    const int64_t panel = (p->b_column + column) / SG_PANEL_WIDTH;
    const int64_t inside = (p->b_row + at) % SG_PANEL_DEPTH;
    const sg_bf16 *b = (const sg_bf16 *)kinds_packed_numbers(head) +
                       sg_panel_b_at(&from, piece, panel) + inside * SG_PANEL_BLOCK;
    sg_tiles_args t = {.m = p->m,
                       .n = p->n - column < SG_PANEL_WIDTH ? p->n - column : SG_PANEL_WIDTH,
                       .k = k,
                       .a = p->a + at,
                       .lda = p->lda,
                       .b = b,
                       .b_block = SG_PANEL_BLOCK * sg_panel_depth(head->k, piece),
                       .add = p->add || at > 0,
                       .chained = true,
                       .c = (float *)(void *)(p->c + column),
                       .ldc = p->ldc};
    if (p->a_low != NULL) {
        t.a_low = p->a_low + at;
        t.b_low = b + sg_panel_b_low(&from, piece, panel);
    }
    sg_tiles_product(sg_gemm_unit(head->kind), &t);
}

void sg_gemm_tiles(const sg_tile_product *p)
{
    for (int64_t column = 0; column < p->n; column += SG_PANEL_WIDTH)
        for (int64_t at = 0, k; at < p->k; at += k) {
            k = SG_PANEL_DEPTH - (p->b_row + at) % SG_PANEL_DEPTH;
            if (k > p->k - at) k = p->k - at;
            kinds_tile_product(p, at, k, column);
        }
}

// ---- which way ----------------------------------------------------------------------------------

sg_kind_way sg_kind_way_of(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    if (kinds_is_plain(kind)) return SG_KIND_PLAIN;
    return kinds_by_unit(kind, m, n, k) ? SG_KIND_UNITS : SG_KIND_ROUNDED;
}

bool sg_gemm_rounds(sg_compute_kind kind, int64_t m, int64_t n, int64_t k)
{
    return kind == SG_COMPUTE_BF16 && sg_kind_way_of(kind, m, n, k) == SG_KIND_UNITS;
}

sg_bf16 *sg_kind_room_b(const sg_gemm_args *args)
{
    unsigned char *room = args->room;
    return (sg_bf16 *)(void *)(room + kinds_room_a(args->kind, args->m, args->n, args->k));
}

static sg_gemm_args kinds_rounded(sg_compute compute, const sg_gemm_args *args)
{
    sg_gemm_args f = kinds_as_stored(args);
    const sg_gemm_args stored = f;
    unsigned char *room = args->room;
    const int64_t m = args->m, n = args->n, k = args->k;
    sg_kind_round_a(compute, args, args->room);
    f.kind = SG_COMPUTE_F32;
    f.a = args->room;
    f.lda = args->transpose_a ? m : k;
    f.b_packed = NULL;
    if (args->b_packed != NULL && f.b != NULL) return f; // rounded and as it was stored
    sg_real *b = (sg_real *)(void *)(room + kinds_room_a(args->kind, m, n, k));
    f.ldb = f.transpose_b ? k : n;
    f.b = b;
    if (args->b_packed == NULL)
        kinds_round_b(compute, args, b);
    else
        kinds_read_b(compute.kernels, b, &stored, 0, f.transpose_b ? n : k, 0, f.ldb);
    return f;
}

bool sg_kind_product(sg_compute compute, const sg_gemm_args *args, const sg_kind_pieces *cut,
                     sg_gemm_args *rounded)
{
    const int64_t m = args->m, n = args->n, k = args->k;
    if (kinds_is_plain(args->kind)) {
        *rounded = *args;
        rounded->kind = SG_COMPUTE_F32;
        rounded->b_packed = NULL;
        return false;
    }
    if (kinds_is_thin(m)) {
        kinds_thin_product(compute, args);
        return true;
    }
    if (!kinds_by_unit(args->kind, m, n, k)) {
        *rounded = kinds_rounded(compute, args);
        return false;
    }
    if (args->b_packed != NULL) {
        sg_units_product(compute, args, cut, kinds_packed_numbers(args->b_packed));
        return true;
    }
    sg_bf16 *b = sg_kind_room_b(args);
    const sg_panel_from from = sg_units_b(args);
    sg_panel_pack_b(compute, b, &from);
    sg_units_product(compute, args, cut, b);
    return true;
}
