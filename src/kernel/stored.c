// Rounding to and from narrow rows, and products with them: a few rows of A read narrow weights as
// they are; for many, pieces are widened once and go through the dense products.
#include "kernel/stored.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "kernel/gemm_kinds.h"
#include "kernel/quant.h"

enum {
    stored_thin = 4,        // rows of A that go through W together
    stored_passes = 2,      // times that W is read as it is before widening it pays
    stored_piece = 1 << 14, // weights that a chunk of a thin product or of a conversion takes
    stored_tile = 256,      // rows of W that are widened at once
    stored_columns = 64     // rows of W whose products wait on the stack
};

static const struct {
    const char *name;
    int block; // weights of one block
    size_t bytes;
} stored_types[] = {
    [SG_WEIGHTS_F32] = {"f32", 1, sizeof(sg_real)},
    [SG_WEIGHTS_BF16] = {"bf16", 1, sizeof(sg_bf16)},
    [SG_WEIGHTS_INT8] = {"int8", 1, 1},
    [SG_WEIGHTS_F16] = {"f16", 1, 2},
    [SG_WEIGHTS_Q8_0] = {"q8_0", SG_BLOCK_WEIGHTS, SG_Q8_0_BYTES},
    [SG_WEIGHTS_Q4_0] = {"q4_0", SG_BLOCK_WEIGHTS, SG_Q4_0_BYTES},
    [SG_WEIGHTS_Q4_1] = {"q4_1", SG_BLOCK_WEIGHTS, SG_Q4_1_BYTES},
    [SG_WEIGHTS_Q5_0] = {"q5_0", SG_BLOCK_WEIGHTS, SG_Q5_0_BYTES},
    [SG_WEIGHTS_Q5_1] = {"q5_1", SG_BLOCK_WEIGHTS, SG_Q5_1_BYTES},
    [SG_WEIGHTS_Q4_K] = {"q4_k", SG_SUPERBLOCK_WEIGHTS, SG_Q4_K_BYTES},
    [SG_WEIGHTS_Q5_K] = {"q5_k", SG_SUPERBLOCK_WEIGHTS, SG_Q5_K_BYTES},
    [SG_WEIGHTS_Q6_K] = {"q6_k", SG_SUPERBLOCK_WEIGHTS, SG_Q6_K_BYTES},
    [SG_WEIGHTS_MXFP4] = {"mxfp4", SG_BLOCK_WEIGHTS, SG_MXFP4_BYTES},
};
enum { stored_type_count = sizeof stored_types / sizeof *stored_types };

const char *sg_weights_name(sg_weights weights)
{
    return (unsigned)weights < stored_type_count ? stored_types[weights].name : NULL;
}

sg_status sg_weights_parse(const char *text, const char *field, sg_weights *weights, sg_error *err)
{
    for (int i = 0; i < stored_type_count; i++)
        if (sg_stored_is_choice((sg_weights)i) && strcmp(text, stored_types[i].name) == 0) {
            *weights = (sg_weights)i;
            return SG_OK;
        }
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected f32, bf16 or int8", field,
                   text);
}

int64_t sg_stored_block(sg_weights type)
{
    return stored_types[type].block;
}

size_t sg_stored_row_bytes(sg_weights type, int64_t d)
{
    return (size_t)(d / stored_types[type].block) * stored_types[type].bytes;
}

size_t sg_stored_scale_bytes(sg_weights type, int64_t d)
{
    if (type == SG_WEIGHTS_INT8) return sizeof(float);
    return type == SG_WEIGHTS_MXFP4 ? (size_t)(d / SG_BLOCK_WEIGHTS) : 0;
}

// ---- conversion -------------------------------------------------------------------------------

// Rows that lie behind each other.
static void stored_widen(const sg_kernels *kernels, sg_real *y, sg_stored from, int64_t count,
                         int64_t d)
{
    const float *scales = from.scales;
    switch (from.type) {
    case SG_WEIGHTS_F32:
        memcpy(y, from.rows, (size_t)(count * d) * sizeof *y);
        return;
    case SG_WEIGHTS_BF16:
        kernels->from_bf16(y, from.rows, count * d);
        return;
    case SG_WEIGHTS_F16:
        kernels->from_f16(y, from.rows, count * d);
        return;
    case SG_WEIGHTS_INT8:
        for (int64_t i = 0; i < count; i++)
            kernels->from_int8(y + i * d, (const int8_t *)from.rows + i * d, scales[i], d);
        return;
    default:
        kernels->from_blocks(y, from.type, from.rows, from.scales, count * d);
    }
}

void sg_stored_read(const sg_kernels *kernels, sg_real *y, const sg_stored *w, int64_t first,
                    int64_t count, int64_t d)
{
    for (int64_t i = 0; i < count;) {
        const sg_stored from = sg_stored_at(w, first + i, d);
        const int64_t run = sg_stored_run(&from, count - i);
        stored_widen(kernels, y + i * d, from, run, d);
        i += run;
    }
}

// Rows that lie apart are every step-th of a table of as many more rows. The kernels sum alike
// whatever goes together as long as it is cut at whole groups of theirs, eight rows.
enum { apart_rows = 64 };

static void stored_apart(int32_t *at, const int32_t *rows, int64_t count, int64_t step)
{
    for (int64_t j = 0; j < count; j++)
        at[j] = (int32_t)(rows[j] * step);
}

// The rows behind `at`: those of this call, or the next one's; NULL where fewer are known.
static const int32_t *stored_apart_next(int32_t at[apart_rows], const int32_t *rows,
                                        const int32_t *next, int64_t n, int64_t left, int64_t step)
{
    const int32_t *from = left >= 2 * n && left > n ? rows + n : left == n ? next : NULL;
    if (from != NULL) stored_apart(at, from, n, step);
    return from != NULL ? at : NULL;
}

void sg_gather_dots_apart(const sg_kernels *kernels, sg_real *a, const sg_real *x,
                          const sg_stored *table, const int32_t *rows, const int32_t *next,
                          int64_t count, int64_t d)
{
    int32_t at[apart_rows], after[apart_rows];
    for (int64_t j = 0; j < count; j += apart_rows) {
        const int64_t left = count - j, n = left < apart_rows ? left : apart_rows;
        stored_apart(at, rows + j, n, table->step);
        kernels->gather_dots_bf16(a + j, x, table->rows, at,
                                  stored_apart_next(after, rows + j, next, n, left, table->step), n,
                                  d);
    }
}

void sg_gather_sum_apart(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                         const sg_stored *table, const int32_t *rows, const int32_t *next,
                         int64_t count, int64_t d)
{
    int32_t at[apart_rows], after[apart_rows];
    for (int64_t j = 0; j < count; j += apart_rows) {
        const int64_t left = count - j, n = left < apart_rows ? left : apart_rows;
        stored_apart(at, rows + j, n, table->step);
        kernels->gather_sum_bf16(y, z + j, table->rows, at,
                                 stored_apart_next(after, rows + j, next, n, left, table->step), n,
                                 d);
    }
}

static void stored_write_q8_0(unsigned char *out, const sg_real *x, int64_t d)
{
    for (int64_t i = 0; i < d; i += SG_BLOCK_WEIGHTS, x += SG_BLOCK_WEIGHTS, out += SG_Q8_0_BYTES) {
        float most = 0;
        for (int j = 0; j < SG_BLOCK_WEIGHTS; j++) {
            float size = fabsf((float)x[j]);
            if (!(size <= most)) most = size; // takes a NaN and keeps it, as nothing is above it
            if (isnan(most)) break;
        }
        float scale = isfinite(most) ? most / 127 : NAN, inverse = scale > 0 ? 1 / scale : 0;
        uint16_t half = sg_half_round(scale);
        out[0] = (unsigned char)half;
        out[1] = (unsigned char)(half >> 8);
        for (int j = 0; j < SG_BLOCK_WEIGHTS; j++) {
            // 1 / scale is infinite where the scale is nearly so small that the half is 0.
            float value = isfinite(inverse) ? (float)x[j] * inverse : 0;
            out[2 + j] = (unsigned char)(int8_t)roundf(isfinite(value) ? value : 0);
        }
    }
}

static void stored_write_int8(int8_t *q, float *scale, const sg_real *x, int64_t d)
{
    float most = 0;
    for (int64_t i = 0; i < d; i++) {
        float size = fabsf((float)x[i]);
        if (!(size <= most)) most = size; // takes a NaN and keeps it, as nothing is above it
        if (isnan(most)) break;
    }
    // Told before anything is computed from it: gcc 14 reasons backwards from "scale * 127
    // overflows" to "most is infinite", which rounding makes untrue.
    if (!isfinite(most)) {
        *scale = NAN;
        memset(q, 0, (size_t)d);
        return;
    }
    *scale = most / 127;
    // The exact product: from here on a float would round it to infinity.
    if ((double)*scale * 127 >= 0x1.ffffffp127) *scale = nextafterf(*scale, 0);
    if (*scale == 0) {
        memset(q, 0, (size_t)d);
        return;
    }
    for (int64_t i = 0; i < d; i++) {
        // A scale among denormals is inexact: then x / scale may lie beyond 127.
        float value = (float)x[i] / *scale;
        q[i] = (int8_t)lrintf(value > 127 ? 127 : value < -127 ? -127 : value);
    }
}

typedef struct stored_writing {
    sg_stored to;
    const sg_kernels *kernels;
    const sg_real *x;
    int64_t d;
} stored_writing;

// Rows that lie behind each other.
static void stored_write_run(const stored_writing *l, sg_stored to, const sg_real *x, int64_t rows)
{
    float *scales = to.scales;
    uint16_t *halves = to.rows;
    const int64_t count = rows * l->d;
    switch (to.type) {
    case SG_WEIGHTS_BF16:
        l->kernels->to_bf16(to.rows, x, count);
        return;
    case SG_WEIGHTS_INT8:
        for (int64_t i = 0; i < rows; i++)
            stored_write_int8((int8_t *)to.rows + i * l->d, scales + i, x + i * l->d, l->d);
        return;
    case SG_WEIGHTS_F16:
        for (int64_t i = 0; i < count; i++)
            halves[i] = sg_half_round((float)x[i]);
        return;
    case SG_WEIGHTS_Q8_0:
        stored_write_q8_0(to.rows, x, count);
        return;
    default:
        memcpy(to.rows, x, (size_t)count * sizeof *x); // f32
    }
}

static void stored_write_chunk(void *context, sg_range rows)
{
    const stored_writing *l = context;
    for (int64_t i = rows.first, n; i < rows.end; i += n) {
        n = l->to.step > 1 ? 1 : rows.end - i;
        stored_write_run(l, sg_stored_at(&l->to, i, l->d), l->x + i * l->d, n);
    }
}

static int64_t stored_chunk_rows(int64_t d)
{
    return d < stored_piece ? stored_piece / d : 1;
}

void sg_stored_write(sg_compute compute, const sg_stored *w, int64_t first, int64_t count,
                     int64_t d, const sg_real *x)
{
    if (count <= 0 || d <= 0) return;
    stored_writing l = {
        .to = sg_stored_at(w, first, d), .kernels = compute.kernels, .x = x, .d = d};
    sg_parallel_ranges(compute.pool, count, stored_chunk_rows(d), stored_write_chunk, &l);
}

// ---- products ---------------------------------------------------------------------------------

typedef struct stored_loop {
    const sg_gemm_args *args;
    const sg_stored *w;
    const sg_kernels *kernels;
    unsigned char *scratch;
    size_t stride;
} stored_loop;

// Of rows that lie behind each other.
static void stored_dots_run(const sg_kernels *kernels, sg_real *y, int64_t ldy, const sg_real *x,
                            int64_t ldx, int64_t m, const sg_stored *w, int64_t n, int64_t d)
{
    switch (w->type) {
    case SG_WEIGHTS_F32:
        kernels->thin_product(y, ldy, x, ldx, m, w->rows, d, n, d);
        return;
    case SG_WEIGHTS_BF16:
        kernels->thin_product_bf16(y, ldy, x, ldx, m, w->rows, d, n, d);
        return;
    case SG_WEIGHTS_F16:
        kernels->thin_product_f16(y, ldy, x, ldx, m, w->rows, d, n, d);
        return;
    case SG_WEIGHTS_INT8:
        kernels->thin_product_int8(y, ldy, x, ldx, m, w->rows, d, w->scales, n, d);
        return;
    default:
        kernels->dots_blocks(y, ldy, x, ldx, m, w->type, w->rows, w->scales, NULL, n, d);
    }
}

void sg_stored_dots(const sg_kernels *kernels, sg_real *y, int64_t ldy, const sg_real *x,
                    int64_t ldx, int64_t m, const sg_stored *w, int64_t first, int64_t n, int64_t d)
{
    for (int64_t j = 0, run; j < n; j += run) {
        const sg_stored here = sg_stored_at(w, first + j, d);
        run = sg_stored_run(&here, n - j);
        stored_dots_run(kernels, y + j, ldy, x, ldx, m, &here, run, d);
    }
}

static void stored_thin_chunk(void *context, sg_range rows)
{
    const stored_loop *l = context;
    const sg_gemm_args *g = l->args;
    sg_real dots[stored_thin * stored_columns];
    const int64_t end = rows.end;
    for (int64_t j = rows.first, n; j < end; j += n) {
        const sg_stored here = sg_stored_at(l->w, j, g->k);
        n = sg_stored_run(&here, end - j < stored_columns ? end - j : stored_columns);
        for (int64_t i = 0; i < g->m; i += stored_thin) {
            int64_t m = g->m - i < stored_thin ? g->m - i : stored_thin;
            stored_dots_run(l->kernels, dots, stored_columns, g->a + i * g->lda, g->lda, m, &here,
                            n, g->k);
            for (int64_t r = 0; r < m; r++) {
                sg_real *c = g->c + (i + r) * g->ldc + j;
                const sg_real *value = dots + r * stored_columns;
                for (int64_t p = 0; p < n; p++)
                    c[p] = g->alpha * value[p] + (g->beta == 0 ? 0 : g->beta * c[p]);
            }
        }
    }
}

static void stored_tile_chunk(void *context, sg_range rows)
{
    const stored_loop *l = context;
    sg_gemm_args part = *l->args;
    sg_real *wide = (sg_real *)(l->scratch + (size_t)rows.worker * l->stride);
    part.n = rows.end - rows.first;
    sg_stored_read(l->kernels, wide, l->w, rows.first, part.n, part.k);
    if (part.kind != SG_COMPUTE_F32) // A is rounded already
        sg_kind_round(l->kernels, part.kind, wide, wide, NULL, NULL, part.n * part.k);
    part.kind = SG_COMPUTE_F32;
    part.transpose_b = true;
    part.b = wide;
    part.ldb = part.k;
    part.c += rows.first;
    sg_gemm_serial(l->kernels, &part);
}

// ---- other kinds of products --------------------------------------------------------------------

// 64 rows widened, then packed, while they are in a cache.
static void stored_pack_chunk(void *context, sg_range blocks)
{
    const stored_loop *l = context;
    const sg_gemm_args *g = l->args;
    sg_real *wide = (sg_real *)(l->scratch + (size_t)blocks.worker * l->stride);
    const sg_panel_from from = {
        .wide = wide, .stride = g->k, .outer = g->n, .k = g->k, .kind = g->kind};
    for (int64_t b = blocks.first; b < blocks.end; b++) {
        const int64_t row = b * SG_PANEL_BLOCK, left = g->n - row;
        sg_stored_read(l->kernels, wide, l->w, row, left < SG_PANEL_BLOCK ? left : SG_PANEL_BLOCK,
                       g->k);
        sg_panel_pack_block(l->kernels, sg_kind_room_b(g), &from, b);
    }
}

static void stored_by_units(sg_compute compute, stored_loop *l)
{
    sg_parallel_ranges(compute.pool, sg_chunks(l->args->n, SG_PANEL_BLOCK), 1, stored_pack_chunk,
                       l);
    sg_units_product(compute, l->args, NULL, sg_kind_room_b(l->args));
}

static bool stored_is_thin(int64_t m)
{
    return m <= stored_thin * stored_passes;
}

size_t sg_stored_scratch_bytes(int64_t m, int64_t n, int64_t k)
{
    if (stored_is_thin(m)) return 0;
    return (size_t)((n < stored_tile ? n : stored_tile) * k) * sizeof(sg_real);
}

void sg_stored_product(sg_compute compute, const sg_gemm_args *args, const sg_stored *w,
                       unsigned char *scratch, size_t stride)
{
    if (args->m <= 0 || args->n <= 0 || args->k <= 0) return;
    const bool thin = stored_is_thin(args->m);
    sg_gemm_args g = *args;
    stored_loop l = {
        .args = &g, .w = w, .kernels = compute.kernels, .scratch = scratch, .stride = stride};
    const sg_kind_way way = sg_kind_way_of(g.kind, g.m, g.n, g.k);
    if (way == SG_KIND_UNITS && !thin) {
        stored_by_units(compute, &l);
        return;
    }
    if (way == SG_KIND_PLAIN) {
        g.kind = SG_COMPUTE_F32;
    } else if (!thin || g.a_half != NULL) {
        sg_kind_round_a(compute, &g, g.room);
        g.a = g.room;
        g.lda = g.k;
    }
    sg_parallel_ranges(compute.pool, g.n, thin ? stored_chunk_rows(g.k) : stored_tile,
                       thin ? stored_thin_chunk : stored_tile_chunk, &l);
}
