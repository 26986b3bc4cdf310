// Sums of rows for a few rows of weights (kernel/kernel.h): the sums of four rows
// and four vectors of columns, or of one row and eight vectors, stay in registers.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/simd.h"

enum { sum_rows = 4, sum_vectors = 4, sum_wide = 16 };

// `rows` rows of y, `vectors` vectors of columns each, of which `left` columns exist.
SIMD_INLINE void sum_block(float *y, int64_t ldy, const float *s, int64_t lds, int rows,
                           int vectors, const float *v, int64_t ldv, int64_t n, int64_t left)
{
    __m512 sum[sum_wide];
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        sum[r * vectors + c] = simd_load(y + r * ldy + c * 16, left - c * 16);
    for (int64_t j = 0; j < n; j++, v += ldv) {
        __m512 row[sum_wide];
        SIMD_UNROLL
        for (int c = 0; c < vectors; c++)
            row[c] = simd_load(v + c * 16, left - c * 16);
        SIMD_UNROLL
        for (int r = 0; r < rows; r++) {
            const __m512 weight = _mm512_set1_ps(s[r * lds + j]);
            SIMD_UNROLL
            for (int c = 0; c < vectors; c++)
                sum[r * vectors + c] = _mm512_fmadd_ps(weight, row[c], sum[r * vectors + c]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        simd_store(y + r * ldy + c * 16, sum[r * vectors + c], left - c * 16);
}

// All columns of `rows` rows: `most` vectors at a time, then one by one. Where whole vectors are
// read, `left` is a constant, and no mask is asked for.
SIMD_INLINE void sum_columns(float *y, int64_t ldy, const float *s, int64_t lds, int rows, int most,
                             const float *v, int64_t ldv, int64_t n, int64_t d)
{
    int64_t at = 0;
    for (; at + most * 16 <= d; at += most * 16)
        sum_block(y + at, ldy, s, lds, rows, most, v + at, ldv, n, most * 16);
    for (; at < d; at += 16)
        sum_block(y + at, ldy, s, lds, rows, 1, v + at, ldv, n, d - at);
}

void sg_avx512_thin_sum(float *y, int64_t ldy, const float *s, int64_t lds, int64_t m,
                        const float *v, int64_t ldv, int64_t n, int64_t d)
{
    for (; m >= sum_rows; m -= sum_rows, y += sum_rows * ldy, s += sum_rows * lds)
        sum_columns(y, ldy, s, lds, sum_rows, sum_vectors, v, ldv, n, d);
    if (m == 3) sum_columns(y, ldy, s, lds, 3, sum_vectors, v, ldv, n, d);
    if (m == 2) sum_columns(y, ldy, s, lds, 2, 2 * sum_vectors, v, ldv, n, d);
    if (m == 1) sum_columns(y, ldy, s, lds, 1, 2 * sum_vectors, v, ldv, n, d);
}
