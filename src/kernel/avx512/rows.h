// Products with rows of weights and sums of such rows, each loop written once for every type of
// weight: f32, bf16, f16, and int8 as whole numbers, without its scale. Up to eight rows go
// together, so that many waits for memory are under way at a time, and each piece of the vector is
// loaded once for all of them. What a row gives does not depend on how many go together.
#ifndef SG_KERNEL_AVX512_ROWS_H
#define SG_KERNEL_AVX512_ROWS_H

#include "kernel/rows_ahead.h"
#include "kernel/simd/simd.h"

typedef enum rows_kind { ROWS_F32, ROWS_BF16, ROWS_F16, ROWS_INT8 } rows_kind;

// The row that begins `elements` behind w.
SIMD_INLINE const void *rows_at(const void *w, int64_t elements, rows_kind kind)
{
    return (const char *)w + elements * (kind == ROWS_F32 ? 4 : kind == ROWS_INT8 ? 1 : 2);
}

// 32 numbers in two vectors: the first and the last sixteen, but of a bf16 row, and of what it
// meets, those at even and those at odd places, since 32 bits hold one of each: shifted up the one,
// the other with the lower half cut off.
typedef simd_pair rows_piece;

// Which of 32 places count: the next `left`.
typedef struct rows_mask {
    __mmask16 a, b;
} rows_mask;

SIMD_INLINE rows_mask rows_left(int64_t left)
{
    return (rows_mask){simd_lanes(left), left > 16 ? simd_lanes(left - 16) : 0};
}

// A piece of a vector of floats; zeros past the mask.
SIMD_INLINE rows_piece rows_load_vector(const float *x, rows_mask m, rows_kind kind)
{
    rows_piece p = {_mm512_maskz_loadu_ps(m.a, x), _mm512_maskz_loadu_ps(m.b, x + 16)};
    return kind == ROWS_BF16 ? simd_unzip(p.a, p.b) : p;
}

SIMD_INLINE void rows_store_vector(float *y, rows_piece p, rows_mask m, rows_kind kind)
{
    if (kind == ROWS_BF16) p = simd_zip(p.a, p.b);
    _mm512_mask_storeu_ps(y, m.a, p.a);
    _mm512_mask_storeu_ps(y + 16, m.b, p.b);
}

// A piece of a row; zeros past the mask, and nothing is read there.
SIMD_INLINE rows_piece rows_load(const void *row, int64_t i, rows_mask m, rows_kind kind)
{
    if (kind == ROWS_F32) {
        const float *w = (const float *)row + i;
        return (rows_piece){_mm512_maskz_loadu_ps(m.a, w), _mm512_maskz_loadu_ps(m.b, w + 16)};
    }
    if (kind == ROWS_BF16) {
        __mmask32 both = _mm512_kunpackw(m.b, m.a);
        __m512i bits = _mm512_maskz_loadu_epi16(both, (const sg_bf16 *)row + i);
        __m512i odd = _mm512_and_si512(bits, _mm512_set1_epi32((int32_t)0xffff0000));
        return (rows_piece){_mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)),
                            _mm512_castsi512_ps(odd)};
    }
    if (kind == ROWS_F16) {
        const uint16_t *w = (const uint16_t *)row + i;
        return (rows_piece){_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m.a, w)),
                            _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(m.b, w + 16))};
    }
    const int8_t *q = (const int8_t *)row + i;
    __m512i a = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(m.a, q));
    __m512i b = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(m.b, q + 16));
    return (rows_piece){_mm512_cvtepi32_ps(a), _mm512_cvtepi32_ps(b)};
}

// ---- products ----------------------------------------------------------------------------------

// a[r] = sum of s[r] for r < count, a constant where it is used: 1, 4 or 8. The vectors of several
// rows are folded together, each by the additions of simd_sum.
SIMD_INLINE void rows_sums(float *a, const __m512 s[8], int count)
{
    if (count == 1) {
        a[0] = simd_sum(s[0]);
        return;
    }
    // Of each row four lanes: rows 0 1 2 3, then 4 5 6 7.
    __m512 low = simd_fold4(simd_fold8(s[0], s[1]), simd_fold8(s[2], s[3])), high = low;
    if (count == 8) high = simd_fold4(simd_fold8(s[4], s[5]), simd_fold8(s[6], s[7]));
    __m512 two = simd_fold2(low, high);
    two = _mm512_add_ps(two, _mm512_movehdup_ps(two)); // lanes 0, 2: rows 0, 4; lanes 4, 6: 1, 5 …
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512 sums = _mm512_permutexvar_ps(order, two);
    if (count == 8)
        _mm256_storeu_ps(a, _mm512_castps512_ps256(sums));
    else
        _mm_storeu_ps(a, _mm512_castps512_ps128(sums));
}

// The lines of 32 numbers of a row that comes later.
SIMD_INLINE void rows_prefetch(const void *row, int64_t i, rows_kind kind)
{
    const char *at = rows_at(row, i, kind);
    if (kind != ROWS_INT8 || i % 64 == 0) simd_prefetch(at);
    if (kind == ROWS_F32) simd_prefetch(at + 64);
}

// a[r] = x . row[r], r < count; next[r] is prefetched meanwhile where `ahead`. Count, ahead and
// kind are constants where it is used.
SIMD_INLINE void rows_dots(float *a, const float *x, const void *const row[8],
                           const void *const next[8], int count, bool ahead, rows_kind kind,
                           int64_t d)
{
    const rows_mask all = {0xffff, 0xffff};
    __m512 s[8], t[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = t[r] = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 32 <= d; i += 32) {
        const rows_piece part = rows_load_vector(x + i, all, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) rows_prefetch(next[r], i, kind);
            const rows_piece w = rows_load(row[r], i, all, kind);
            s[r] = _mm512_fmadd_ps(w.a, part.a, s[r]);
            t[r] = _mm512_fmadd_ps(w.b, part.b, t[r]);
        }
    }
    if (i < d) {
        const rows_mask left = rows_left(d - i);
        const rows_piece part = rows_load_vector(x + i, left, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const rows_piece w = rows_load(row[r], i, left, kind);
            s[r] = _mm512_fmadd_ps(w.a, part.a, s[r]);
            t[r] = _mm512_fmadd_ps(w.b, part.b, t[r]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = _mm512_add_ps(s[r], t[r]);
    rows_sums(a, s, count);
}

// y (m, n) = x (m, d) w^T, w (n, d) of row length ldw. Four rows of w at a time, which the second
// and later rows of x find in the first cache.
SIMD_INLINE void rows_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                   const void *w, int64_t ldw, int64_t n, rows_kind kind, int64_t d)
{
    const int64_t far = sg_rows_ahead(ldw * (kind == ROWS_F32 ? 4 : kind == ROWS_INT8 ? 1 : 2));
    const void *row[8], *next[8];
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        for (int r = 0; r < 4; r++) {
            row[r] = rows_at(w, (j + r) * ldw, kind);
            next[r] = rows_at(row[r], far * ldw, kind);
        }
        rows_dots(y + j, x, row, next, 4, true, kind, d);
        for (int64_t i = 1; i < m; i++)
            rows_dots(y + i * ldy + j, x + i * ldx, row, row, 4, false, kind, d);
    }
    for (; j < n; j++) {
        row[0] = rows_at(w, j * ldw, kind);
        for (int64_t i = 0; i < m; i++)
            rows_dots(y + i * ldy + j, x + i * ldx, row, row, 1, false, kind, d);
    }
}

// The rows that are read behind the `group` from j on: those of the list, then those of `next` (as
// many as the list, or NULL). False where there are none to know of.
SIMD_INLINE bool rows_following(const void *following[8], const void *table, const int32_t *rows,
                                const int32_t *next, int64_t j, int group, int64_t count,
                                rows_kind kind, int64_t d)
{
    const int32_t *from = j + 2 * group <= count ? rows + j + group : next;
    if (from == NULL) return false;
    SIMD_UNROLL
    for (int r = 0; r < group; r++)
        following[r] = rows_at(table, from[r] * d, kind);
    return true;
}

// `count` products from j on, a constant where it is used: 1, 4 or 8.
SIMD_INLINE void rows_gather_group(float *a, const float *x, const void *table, const int32_t *rows,
                                   const int32_t *next, int64_t j, int group, int64_t count,
                                   bool ahead, rows_kind kind, int64_t d)
{
    const void *row[8], *following[8];
    SIMD_UNROLL
    for (int r = 0; r < group; r++)
        row[r] = rows_at(table, rows[j + r] * d, kind);
    if (ahead && rows_following(following, table, rows, next, j, group, count, kind, d))
        rows_dots(a + j, x, row, following, group, true, kind, d);
    else
        rows_dots(a + j, x, row, row, group, false, kind, d);
}

// a[j] = x . table[rows[j]]. The rows that follow are prefetched where `ahead`.
SIMD_INLINE void rows_gather_dots(float *a, const float *x, const void *table, const int32_t *rows,
                                  const int32_t *next, int64_t count, bool ahead, rows_kind kind,
                                  int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        rows_gather_group(a, x, table, rows, next, j, 8, count, ahead, kind, d);
    if (j + 4 <= count) {
        rows_gather_group(a, x, table, rows, next, j, 4, count, ahead, kind, d);
        j += 4;
    }
    for (; j < count; j++)
        rows_gather_group(a, x, table, rows, next, j, 1, count, false, kind, d);
}

// ---- sums --------------------------------------------------------------------------------------

// y += sum of z[r] table[rows[r]] over `count` rows at once, a constant where it is used: y is read
// and written once for all of them. Each element of y takes the rows in order whatever the
// grouping.
SIMD_INLINE void rows_sum(float *y, const float *z, const void *table, const float *scales,
                          const int32_t *rows, const void *const following[8], int count,
                          bool ahead, rows_kind kind, int64_t d)
{
    const rows_mask all = {0xffff, 0xffff};
    const void *row[8];
    __m512 scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = rows_at(table, rows[r] * d, kind);
        scale[r] = _mm512_set1_ps(kind == ROWS_INT8 ? z[r] * scales[rows[r]] : z[r]);
    }
    int64_t i = 0;
    for (; i + 32 <= d; i += 32) {
        rows_piece sum = rows_load_vector(y + i, all, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) rows_prefetch(following[r], i, kind);
            const rows_piece w = rows_load(row[r], i, all, kind);
            sum.a = _mm512_fmadd_ps(scale[r], w.a, sum.a);
            sum.b = _mm512_fmadd_ps(scale[r], w.b, sum.b);
        }
        rows_store_vector(y + i, sum, all, kind);
    }
    if (i < d) {
        const rows_mask left = rows_left(d - i);
        rows_piece sum = rows_load_vector(y + i, left, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const rows_piece w = rows_load(row[r], i, left, kind);
            sum.a = _mm512_fmadd_ps(scale[r], w.a, sum.a);
            sum.b = _mm512_fmadd_ps(scale[r], w.b, sum.b);
        }
        rows_store_vector(y + i, sum, left, kind);
    }
}

SIMD_INLINE void rows_sum_group(float *y, const float *z, const void *table, const float *scales,
                                const int32_t *rows, const int32_t *next, int64_t j, int group,
                                int64_t count, bool ahead, rows_kind kind, int64_t d)
{
    const void *following[8];
    if (ahead && rows_following(following, table, rows, next, j, group, count, kind, d))
        rows_sum(y, z + j, table, scales, rows + j, following, group, true, kind, d);
    else
        rows_sum(y, z + j, table, scales, rows + j, NULL, group, false, kind, d);
}

SIMD_INLINE void rows_gather_sum(float *y, const float *z, const void *table, const float *scales,
                                 const int32_t *rows, const int32_t *next, int64_t count,
                                 bool ahead, rows_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        rows_sum_group(y, z, table, scales, rows, next, j, 8, count, ahead, kind, d);
    if (j + 4 <= count) {
        rows_sum_group(y, z, table, scales, rows, next, j, 4, count, ahead, kind, d);
        j += 4;
    }
    for (; j < count; j++)
        rows_sum_group(y, z, table, scales, rows, next, j, 1, count, false, kind, d);
}

#endif
