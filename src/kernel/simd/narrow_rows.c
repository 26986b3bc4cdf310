// Products with weights in bf16, f16 or int8, for AVX2 and NEON (AVX-512: avx512/gather.c): they
// are widened in registers, two vectors at a time, then used as the wide kernels use theirs. What a
// weight is made of is a constant where these are used, so each pair of kernels is one loop written
// once. From memory these wait for the first lines of each row above all: the rows that come next,
// in the same call or the next, are prefetched.
#include "kernel/rows_ahead.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

typedef enum narrow_kind { NARROW_BF16, NARROW_F16, NARROW_INT8 } narrow_kind;

SIMD_INLINE int64_t narrow_bytes(narrow_kind kind)
{
    return kind == NARROW_INT8 ? 1 : 2;
}

// A piece of a row: two vectors of numbers, the first and the last ones, but of a bf16 row, and of
// what it meets, those at even and those at odd places (simd_loadu_bf16_unzipped).
enum { narrow_piece = 2 * simd_width };

SIMD_INLINE simd_pair narrow_weights(const void *w, narrow_kind kind)
{
    if (kind == NARROW_BF16) return simd_loadu_bf16_unzipped(w);
    if (kind == NARROW_F16)
        return (simd_pair){simd_loadu_f16(w), simd_loadu_f16((const uint16_t *)w + simd_width)};
    return (simd_pair){simd_loadu_int8(w), simd_loadu_int8((const int8_t *)w + simd_width)};
}

SIMD_INLINE simd_pair narrow_vector(const float *x, narrow_kind kind)
{
    const simd_vec first = simd_loadu(x), last = simd_loadu(x + simd_width);
    if (kind != NARROW_BF16) return (simd_pair){first, last};
    return simd_unzip(first, last);
}

SIMD_INLINE void narrow_store(float *y, simd_pair p, narrow_kind kind)
{
    if (kind == NARROW_BF16) p = simd_zip(p.a, p.b);
    simd_storeu(y, p.a);
    simd_storeu(y + simd_width, p.b);
}

// The `left` numbers of a piece that remain, followed by zeros; nothing beyond them is read.
SIMD_INLINE simd_pair narrow_weights_end(const void *w, int64_t left, narrow_kind kind)
{
    char bytes[4 * simd_width] = {0};
    memcpy(bytes, w, (size_t)(left * narrow_bytes(kind)));
    return narrow_weights(bytes, kind);
}

SIMD_INLINE simd_pair narrow_vector_end(const float *x, int64_t left, narrow_kind kind)
{
    float padded[narrow_piece] = {0};
    memcpy(padded, x, (size_t)left * sizeof *x);
    return narrow_vector(padded, kind);
}

SIMD_INLINE void narrow_store_end(float *y, simd_pair p, int64_t left, narrow_kind kind)
{
    float padded[narrow_piece];
    narrow_store(padded, p, kind);
    memcpy(y, padded, (size_t)left * sizeof *y);
}

SIMD_INLINE const void *narrow_row(const void *table, int64_t row, int64_t stride, narrow_kind kind)
{
    return (const char *)table + row * stride * narrow_bytes(kind);
}

// ---- products ---------------------------------------------------------------------------------

// A line of a row that comes later, once for each line.
SIMD_INLINE void narrow_prefetch(const void *row, int64_t i, narrow_kind kind)
{
    if (i % (64 / narrow_bytes(kind)) == 0) simd_prefetch(narrow_row(row, i, 1, kind));
}

// As simd_dots: up to four rows at once, two sums each; next[r] is prefetched where `ahead`.
SIMD_INLINE void narrow_dots(float *a, const float *x, const void *const row[4],
                             const void *const next[4], int count, bool ahead, narrow_kind kind,
                             int64_t d)
{
    simd_vec s[4], t[4];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = t[r] = simd_zero();
    int64_t i = 0;
    for (; i + narrow_piece <= d; i += narrow_piece) {
        const simd_pair part = narrow_vector(x + i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) narrow_prefetch(next[r], i, kind);
            const simd_pair w = narrow_weights(narrow_row(row[r], i, 1, kind), kind);
            s[r] = simd_fma(w.a, part.a, s[r]);
            t[r] = simd_fma(w.b, part.b, t[r]);
        }
    }
    if (i < d) {
        const simd_pair part = narrow_vector_end(x + i, d - i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const simd_pair w = narrow_weights_end(narrow_row(row[r], i, 1, kind), d - i, kind);
            s[r] = simd_fma(w.a, part.a, s[r]);
            t[r] = simd_fma(w.b, part.b, t[r]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = simd_sum(simd_add(s[r], t[r]));
}

SIMD_INLINE void narrow_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                     const void *w, int64_t ldw, const float *scales, int64_t n,
                                     narrow_kind kind, int64_t d)
{
    const int64_t far = sg_rows_ahead(ldw * narrow_bytes(kind));
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const void *row[4], *next[4];
        for (int r = 0; r < 4; r++) {
            row[r] = narrow_row(w, j + r, ldw, kind);
            next[r] = narrow_row(row[r], far, ldw, kind);
        }
        narrow_dots(y + j, x, row, next, 4, true, kind, d);
        for (int64_t i = 1; i < m; i++)
            narrow_dots(y + i * ldy + j, x + i * ldx, row, row, 4, false, kind, d);
    }
    for (; j < n; j++) {
        const void *row[4] = {narrow_row(w, j, ldw, kind)};
        for (int64_t i = 0; i < m; i++)
            narrow_dots(y + i * ldy + j, x + i * ldx, row, row, 1, false, kind, d);
    }
    if (kind != NARROW_INT8) return;
    for (int64_t i = 0; i < m; i++)
        for (j = 0; j < n; j++)
            y[i * ldy + j] *= scales[j];
}

void SIMD_NAME(thin_product_bf16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, NULL, n, NARROW_BF16, d);
}

void SIMD_NAME(thin_product_f16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                 const uint16_t *w, int64_t ldw, int64_t n, int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, NULL, n, NARROW_F16, d);
}

void SIMD_NAME(thin_product_int8)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                                  int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, scales, n, NARROW_INT8, d);
}

// ---- rows by index ----------------------------------------------------------------------------

// The rows that are read behind the `group` from j on: those of the list, then those of `next` (as
// many as the list, or NULL). False where there are none to know of.
SIMD_INLINE bool narrow_following(const void *following[8], const void *table, const int32_t *rows,
                                  const int32_t *next, int64_t j, int group, int64_t count,
                                  narrow_kind kind, int64_t d)
{
    const int32_t *from = j + 2 * group <= count ? rows + j + group : next;
    if (from == NULL) return false;
    SIMD_UNROLL
    for (int r = 0; r < group; r++)
        following[r] = narrow_row(table, from[r], d, kind);
    return true;
}

SIMD_INLINE void narrow_gather_dots(float *a, const float *x, const void *table,
                                    const float *scales, const int32_t *rows, const int32_t *next,
                                    int64_t count, narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const void *row[4], *following[8];
        SIMD_UNROLL
        for (int r = 0; r < 4; r++)
            row[r] = narrow_row(table, rows[j + r], d, kind);
        if (narrow_following(following, table, rows, next, j, 4, count, kind, d))
            narrow_dots(a + j, x, row, following, 4, true, kind, d);
        else
            narrow_dots(a + j, x, row, row, 4, false, kind, d);
    }
    for (; j < count; j++) {
        const void *row[4] = {narrow_row(table, rows[j], d, kind)};
        narrow_dots(a + j, x, row, row, 1, false, kind, d);
    }
    if (kind != NARROW_INT8) return;
    for (j = 0; j < count; j++)
        a[j] *= scales[rows[j]];
}

void SIMD_NAME(gather_dots_bf16)(float *a, const float *x, const sg_bf16 *table,
                                 const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, NULL, rows, next, count, NARROW_BF16, d);
}

void SIMD_NAME(gather_dots_f16)(float *a, const float *x, const uint16_t *table,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, NULL, rows, next, count, NARROW_F16, d);
}

void SIMD_NAME(gather_dots_int8)(float *a, const float *x, const int8_t *table, const float *scales,
                                 const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, scales, rows, next, count, NARROW_INT8, d);
}

// As sum_rows of gather.c: y is read and written once for `count` rows.
SIMD_INLINE void narrow_sum_rows(float *y, const float *z, const void *table, const float *scales,
                                 const int32_t *rows, const void *const following[8], int count,
                                 bool ahead, narrow_kind kind, int64_t d)
{
    const void *row[8];
    simd_vec scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = narrow_row(table, rows[r], d, kind);
        scale[r] = simd_set(kind == NARROW_INT8 ? z[r] * scales[rows[r]] : z[r]);
    }
    int64_t i = 0;
    for (; i + narrow_piece <= d; i += narrow_piece) {
        simd_pair sum = narrow_vector(y + i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) narrow_prefetch(following[r], i, kind);
            const simd_pair w = narrow_weights(narrow_row(row[r], i, 1, kind), kind);
            sum.a = simd_fma(scale[r], w.a, sum.a);
            sum.b = simd_fma(scale[r], w.b, sum.b);
        }
        narrow_store(y + i, sum, kind);
    }
    if (i < d) {
        simd_pair sum = narrow_vector_end(y + i, d - i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const simd_pair w = narrow_weights_end(narrow_row(row[r], i, 1, kind), d - i, kind);
            sum.a = simd_fma(scale[r], w.a, sum.a);
            sum.b = simd_fma(scale[r], w.b, sum.b);
        }
        narrow_store_end(y + i, sum, d - i, kind);
    }
}

SIMD_INLINE void narrow_sum_group(float *y, const float *z, const void *table, const float *scales,
                                  const int32_t *rows, const int32_t *next, int64_t j, int group,
                                  int64_t count, narrow_kind kind, int64_t d)
{
    const void *following[8];
    if (narrow_following(following, table, rows, next, j, group, count, kind, d))
        narrow_sum_rows(y, z + j, table, scales, rows + j, following, group, true, kind, d);
    else
        narrow_sum_rows(y, z + j, table, scales, rows + j, NULL, group, false, kind, d);
}

SIMD_INLINE void narrow_gather_sum(float *y, const float *z, const void *table, const float *scales,
                                   const int32_t *rows, const int32_t *next, int64_t count,
                                   narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        narrow_sum_group(y, z, table, scales, rows, next, j, 8, count, kind, d);
    if (j + 4 <= count) {
        narrow_sum_group(y, z, table, scales, rows, next, j, 4, count, kind, d);
        j += 4;
    }
    for (; j < count; j++)
        narrow_sum_rows(y, z + j, table, scales, rows + j, NULL, 1, false, kind, d);
}

void SIMD_NAME(gather_sum_bf16)(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                                const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, NULL, rows, next, count, NARROW_BF16, d);
}

void SIMD_NAME(gather_sum_f16)(float *y, const float *z, const uint16_t *table, const int32_t *rows,
                               const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, NULL, rows, next, count, NARROW_F16, d);
}

void SIMD_NAME(gather_sum_int8)(float *y, const float *z, const int8_t *table, const float *scales,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, scales, rows, next, count, NARROW_INT8, d);
}

// ---- rows and vectors in bf16, and slices -------------------------------------------------------

void SIMD_NAME(gather_dots_pairs)(float *a, const sg_bf16 *x, const sg_bf16 *table,
                                  const int32_t *rows, const int32_t *next, int64_t count,
                                  int64_t d)
{
    (void)next;
    for (int64_t j = 0; j < count; j++) {
        const sg_bf16 *w = table + rows[j] * d;
        simd_vec s = simd_zero(), t = simd_zero();
        int64_t i = 0;
        for (; i + narrow_piece <= d; i += narrow_piece) {
            const simd_pair p = narrow_weights(x + i, NARROW_BF16);
            const simd_pair q = narrow_weights(w + i, NARROW_BF16);
            s = simd_fma(q.a, p.a, s);
            t = simd_fma(q.b, p.b, t);
        }
        if (i < d) {
            const simd_pair p = narrow_weights_end(x + i, d - i, NARROW_BF16);
            const simd_pair q = narrow_weights_end(w + i, d - i, NARROW_BF16);
            s = simd_fma(q.a, p.a, s);
            t = simd_fma(q.b, p.b, t);
        }
        a[j] = simd_sum(simd_add(s, t));
    }
}

void SIMD_NAME(slice_sum)(float *y, const float *z, const sg_bf16 *slice, const int32_t *rows,
                          int64_t count, int64_t known, int64_t n, bool add)
{
    (void)known;
    float sum[SG_SLICE] = {0};
    if (add) memcpy(sum, y, (size_t)n * sizeof *y);
    narrow_gather_sum(sum, z, slice, NULL, rows, NULL, count, NARROW_BF16, SG_SLICE);
    memcpy(y, sum, (size_t)n * sizeof *y);
}

void SIMD_NAME(slice_both)(float *a, float *y, const sg_bf16 *x, const float *z,
                           const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                           int64_t n, bool add_a, bool add_y)
{
    for (int64_t j = 0; j < count; j++) {
        float dot;
        SIMD_NAME(gather_dots_pairs)(&dot, x, slice, rows + j, NULL, 1, SG_SLICE);
        a[j] = add_a ? a[j] + dot : dot;
    }
    SIMD_NAME(slice_sum)(y, z, slice, rows, count, known, n, add_y);
}
