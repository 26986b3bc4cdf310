// Rows of bf16 that meet vectors of bf16, and slices of tables: the loops of rows.h for these
// alone, with its order of sums and so its bits.
//
// A line of a row, 32 numbers, takes four operations of the two ports that compute: two that widen
// those at even and at odd places, two that multiply and add. VDPBF16PS (AVX512-BF16) in their
// place takes as long on the processors that have it from Intel (docs/SPEED.md, "Rows in bf16"), so
// what can be saved are readings of a row: a product and a sum from one.
#ifndef SG_KERNEL_AVX512_PAIRS_H
#define SG_KERNEL_AVX512_PAIRS_H

#include "kernel/avx512/rows.h"
#include "kernel/kernel.h"

enum { pairs_ahead = 16 }; // rows of a list that are prefetched before they are read

// ---- products ----------------------------------------------------------------------------------

SIMD_INLINE void pairs_piece(__m512 s[8], __m512 t[8], const sg_bf16 *x, const void *const row[8],
                             const void *const next[8], int count, bool ahead, rows_mask m,
                             int64_t i)
{
    const rows_piece part = rows_load(x, i, m, ROWS_BF16);
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        if (ahead) rows_prefetch(next[r], i, ROWS_BF16);
        const rows_piece w = rows_load(row[r], i, m, ROWS_BF16);
        s[r] = _mm512_fmadd_ps(w.a, part.a, s[r]);
        t[r] = _mm512_fmadd_ps(w.b, part.b, t[r]);
    }
}

// a[r] = x . row[r], r < count; next[r] is prefetched meanwhile where `ahead`. Count and ahead are
// constants where it is used.
SIMD_INLINE void pairs_dots(float *a, const sg_bf16 *x, const void *const row[8],
                            const void *const next[8], int count, bool ahead, int64_t d)
{
    __m512 s[8], t[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = t[r] = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 32 <= d; i += 32)
        pairs_piece(s, t, x, row, next, count, ahead, (rows_mask){0xffff, 0xffff}, i);
    if (i < d) pairs_piece(s, t, x, row, next, count, false, rows_left(d - i), i);
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = _mm512_add_ps(s[r], t[r]);
    rows_sums(a, s, count);
}

SIMD_INLINE void pairs_group(float *a, const sg_bf16 *x, const sg_bf16 *table, const int32_t *rows,
                             const int32_t *next, int64_t j, int group, int64_t count, int64_t d)
{
    const void *row[8], *following[8];
    SIMD_UNROLL
    for (int r = 0; r < group; r++)
        row[r] = table + rows[j + r] * d;
    if (rows_following(following, table, rows, next, j, group, count, ROWS_BF16, d))
        pairs_dots(a + j, x, row, following, group, true, d);
    else
        pairs_dots(a + j, x, row, row, group, false, d);
}

SIMD_INLINE void pairs_gather_dots(float *a, const sg_bf16 *x, const sg_bf16 *table,
                                   const int32_t *rows, const int32_t *next, int64_t count,
                                   int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        pairs_group(a, x, table, rows, next, j, 8, count, d);
    if (j + 4 <= count) {
        pairs_group(a, x, table, rows, next, j, 4, count, d);
        j += 4;
    }
    for (; j < count; j++)
        pairs_group(a, x, table, rows, NULL, j, 1, j + 1, d);
}

// ---- slices ------------------------------------------------------------------------------------

typedef struct slice_pieces {
    rows_piece first, last;
} slice_pieces;

// A row of a slice, and of y what is left of one.
SIMD_INLINE slice_pieces slice_load(const sg_bf16 *row)
{
    const rows_mask all = {0xffff, 0xffff};
    return (slice_pieces){rows_load(row, 0, all, ROWS_BF16), rows_load(row, 32, all, ROWS_BF16)};
}

SIMD_INLINE slice_pieces slice_begin(const float *y, int64_t n, bool add)
{
    const rows_piece none = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    if (!add) return (slice_pieces){none, none};
    return (slice_pieces){rows_load_vector(y, rows_left(n), ROWS_BF16),
                          n > 32 ? rows_load_vector(y + 32, rows_left(n - 32), ROWS_BF16) : none};
}

SIMD_INLINE void slice_store(float *y, slice_pieces s, int64_t n)
{
    rows_store_vector(y, s.first, rows_left(n), ROWS_BF16);
    if (n > 32) rows_store_vector(y + 32, s.last, rows_left(n - 32), ROWS_BF16);
}

SIMD_INLINE void slice_add(slice_pieces *sum, __m512 scale, slice_pieces w)
{
    sum->first.a = _mm512_fmadd_ps(scale, w.first.a, sum->first.a);
    sum->first.b = _mm512_fmadd_ps(scale, w.first.b, sum->first.b);
    sum->last.a = _mm512_fmadd_ps(scale, w.last.a, sum->last.a);
    sum->last.b = _mm512_fmadd_ps(scale, w.last.b, sum->last.b);
}

SIMD_INLINE __m512 slice_dot(slice_pieces w, slice_pieces x)
{
    __m512 s = _mm512_mul_ps(w.first.a, x.first.a);
    s = _mm512_fmadd_ps(w.first.b, x.first.b, s);
    s = _mm512_fmadd_ps(w.last.a, x.last.a, s);
    return _mm512_fmadd_ps(w.last.b, x.last.b, s);
}

SIMD_INLINE void slice_prefetch(const sg_bf16 *slice, int32_t row)
{
    simd_prefetch(slice + (int64_t)row * SG_SLICE);
    simd_prefetch(slice + (int64_t)row * SG_SLICE + 32);
}

// How far behind a row lies the one that is prefetched.
SIMD_INLINE int64_t slice_far(int64_t count, int64_t known)
{
    return known - count < pairs_ahead ? 0 : pairs_ahead;
}

// `count` rows of the list, a constant where it is used.
SIMD_INLINE void slice_rows(slice_pieces *sum, const float *z, const sg_bf16 *slice,
                            const int32_t *rows, int64_t far, int count)
{
    SIMD_UNROLL
    for (int j = 0; j < count; j++) {
        slice_prefetch(slice, rows[j + far]);
        slice_add(sum, _mm512_set1_ps(z[j]), slice_load(slice + (int64_t)rows[j] * SG_SLICE));
    }
}

SIMD_INLINE void slice_sum_rows(float *y, const float *z, const sg_bf16 *slice, const int32_t *rows,
                                int64_t count, int64_t known, int64_t n, bool add)
{
    const int64_t far = slice_far(count, known);
    slice_pieces sum = slice_begin(y, n, add);
    int64_t j = 0;
    for (; j + 4 <= count; j += 4)
        slice_rows(&sum, z + j, slice, rows + j, far, 4);
    for (; j < count; j++)
        slice_rows(&sum, z + j, slice, rows + j, far, 1);
    slice_store(y, sum, n);
}

// The same with products, of 1, 4 or 8 rows.
SIMD_INLINE void slice_both_group(float *a, slice_pieces *sum, slice_pieces x, const float *z,
                                  const sg_bf16 *slice, const int32_t *rows, int64_t far,
                                  bool add_a, int count)
{
    __m512 s[8];
    float dots[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        slice_prefetch(slice, rows[r + far]);
        const slice_pieces w = slice_load(slice + (int64_t)rows[r] * SG_SLICE);
        s[r] = slice_dot(w, x);
        slice_add(sum, _mm512_set1_ps(z[r]), w);
    }
    rows_sums(dots, s, count);
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = add_a ? a[r] + dots[r] : dots[r];
}

SIMD_INLINE void slice_both_rows(float *a, float *y, const sg_bf16 *x, const float *z,
                                 const sg_bf16 *slice, const int32_t *rows, int64_t count,
                                 int64_t known, int64_t n, bool add_a, bool add_y)
{
    const int64_t far = slice_far(count, known);
    const slice_pieces part = slice_load(x);
    slice_pieces sum = slice_begin(y, n, add_y);
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        slice_both_group(a + j, &sum, part, z + j, slice, rows + j, far, add_a, 8);
    if (j + 4 <= count) {
        slice_both_group(a + j, &sum, part, z + j, slice, rows + j, far, add_a, 4);
        j += 4;
    }
    for (; j < count; j++)
        slice_both_group(a + j, &sum, part, z + j, slice, rows + j, far, add_a, 1);
    slice_store(y, sum, n);
}

#endif
