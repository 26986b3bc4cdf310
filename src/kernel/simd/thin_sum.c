// Sums of rows for a few rows of weights (kernel/kernel.h): the sums of four rows and a few vectors
// of columns, or of one row and eight vectors, stay in half of the registers.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

enum {
    sum_rows = 4,
    sum_vectors = simd_registers / 8, // of columns, with four rows
    sum_alone = 8,                    // with one row
    sum_most = sum_rows * sum_vectors
};

// `rows` rows of y, `vectors` vectors of columns each, of which `left` columns exist.
SIMD_INLINE void sum_block(float *y, int64_t ldy, const float *s, int64_t lds, int rows,
                           int vectors, const float *v, int64_t ldv, int64_t n, int64_t left)
{
    simd_vec sum[sum_most];
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        sum[r * vectors + c] = simd_load(y + r * ldy + c * simd_width, left - c * simd_width);
    for (int64_t j = 0; j < n; j++, v += ldv) {
        simd_vec row[sum_most];
        SIMD_UNROLL
        for (int c = 0; c < vectors; c++)
            row[c] = simd_load(v + c * simd_width, left - c * simd_width);
        SIMD_UNROLL
        for (int r = 0; r < rows; r++) {
            const simd_vec weight = simd_set(s[r * lds + j]);
            SIMD_UNROLL
            for (int c = 0; c < vectors; c++)
                sum[r * vectors + c] = simd_fma(weight, row[c], sum[r * vectors + c]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        SIMD_UNROLL
    for (int c = 0; c < vectors; c++)
        simd_store(y + r * ldy + c * simd_width, sum[r * vectors + c], left - c * simd_width);
}

// All columns of `rows` rows: `most` vectors at a time, then one by one. Where whole vectors are
// read, `left` is a constant, and no mask is asked for.
SIMD_INLINE void sum_columns(float *y, int64_t ldy, const float *s, int64_t lds, int rows, int most,
                             const float *v, int64_t ldv, int64_t n, int64_t d)
{
    int64_t at = 0;
    for (; at + most * simd_width <= d; at += most * simd_width)
        sum_block(y + at, ldy, s, lds, rows, most, v + at, ldv, n, most * simd_width);
    for (; at < d; at += simd_width)
        sum_block(y + at, ldy, s, lds, rows, 1, v + at, ldv, n, d - at);
}

void SIMD_NAME(thin_sum)(float *y, int64_t ldy, const float *s, int64_t lds, int64_t m,
                         const float *v, int64_t ldv, int64_t n, int64_t d)
{
    for (; m >= sum_rows; m -= sum_rows, y += sum_rows * ldy, s += sum_rows * lds)
        sum_columns(y, ldy, s, lds, sum_rows, sum_vectors, v, ldv, n, d);
    if (m == 3) sum_columns(y, ldy, s, lds, 3, sum_vectors, v, ldv, n, d);
    if (m == 2) sum_columns(y, ldy, s, lds, 2, 2 * sum_vectors, v, ldv, n, d);
    if (m == 1) sum_columns(y, ldy, s, lds, 1, sum_alone, v, ldv, n, d);
}
