// Sums of rows for a few rows of weights (kernel/kernel.h): the sums of four rows
// and two vectors of columns, or of one row and eight vectors, stay in registers.
#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

enum { sum_rows = 4, sum_vectors = 2, sum_wide = 8 };

// `rows` rows of y, `vectors` vectors of columns each, of which `left` columns exist.
SIMD_INLINE void sum_block(float *y, int64_t ldy, const float *s, int64_t lds, int rows,
                           int vectors, const float *v, int64_t ldv, int64_t n, int64_t left)
{
    __m256 sum[sum_wide];
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        sum[r * vectors + c] = simd_load(y + r * ldy + c * 8, left - c * 8);
    for (int64_t j = 0; j < n; j++, v += ldv) {
        __m256 row[sum_wide];
        SIMD_UNROLL
        for (int c = 0; c < vectors; c++)
            row[c] = simd_load(v + c * 8, left - c * 8);
        SIMD_UNROLL
        for (int r = 0; r < rows; r++) {
            const __m256 weight = _mm256_set1_ps(s[r * lds + j]);
            SIMD_UNROLL
            for (int c = 0; c < vectors; c++)
                sum[r * vectors + c] = _mm256_fmadd_ps(weight, row[c], sum[r * vectors + c]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        simd_store(y + r * ldy + c * 8, sum[r * vectors + c], left - c * 8);
}

// All columns of `rows` rows: `most` vectors at a time, then one by one. Where whole vectors are
// read, `left` is a constant, and no mask is asked for.
SIMD_INLINE void sum_columns(float *y, int64_t ldy, const float *s, int64_t lds, int rows, int most,
                             const float *v, int64_t ldv, int64_t n, int64_t d)
{
    int64_t at = 0;
    for (; at + most * 8 <= d; at += most * 8)
        sum_block(y + at, ldy, s, lds, rows, most, v + at, ldv, n, most * 8);
    for (; at < d; at += 8)
        sum_block(y + at, ldy, s, lds, rows, 1, v + at, ldv, n, d - at);
}

void sg_avx2_thin_sum(float *y, int64_t ldy, const float *s, int64_t lds, int64_t m, const float *v,
                      int64_t ldv, int64_t n, int64_t d)
{
    for (; m >= sum_rows; m -= sum_rows, y += sum_rows * ldy, s += sum_rows * lds)
        sum_columns(y, ldy, s, lds, sum_rows, sum_vectors, v, ldv, n, d);
    if (m == 3) sum_columns(y, ldy, s, lds, 3, sum_vectors, v, ldv, n, d);
    if (m == 2) sum_columns(y, ldy, s, lds, 2, 2 * sum_vectors, v, ldv, n, d);
    if (m == 1) sum_columns(y, ldy, s, lds, 1, sum_wide, v, ldv, n, d);
}
