// The same as gather.c with weights in bf16, f16 or int8.
#include "kernel/avx512/pairs.h"
#include "kernel/avx512/rows.h"
#include "kernel/simd/kernels.h"

void SIMD_NAME(gather_dots_bf16)(float *a, const float *x, const sg_bf16 *table,
                                 const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_BF16, d);
}

void SIMD_NAME(gather_sum_bf16)(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                                const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, next, count, true, ROWS_BF16, d);
}

void SIMD_NAME(gather_dots_pairs)(float *a, const sg_bf16 *x, const sg_bf16 *table,
                                  const int32_t *rows, const int32_t *next, int64_t count,
                                  int64_t d)
{
    pairs_gather_dots(a, x, table, rows, next, count, d);
}

void SIMD_NAME(slice_sum)(float *y, const float *z, const sg_bf16 *slice, const int32_t *rows,
                          int64_t count, int64_t known, int64_t n, bool add)
{
    slice_sum_rows(y, z, slice, rows, count, known, n, add);
}

void SIMD_NAME(slice_both)(float *a, float *y, const sg_bf16 *x, const float *z,
                           const sg_bf16 *slice, const int32_t *rows, int64_t count, int64_t known,
                           int64_t n, bool add_a, bool add_y)
{
    slice_both_rows(a, y, x, z, slice, rows, count, known, n, add_a, add_y);
}

void SIMD_NAME(gather_dots_f16)(float *a, const float *x, const uint16_t *table,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_F16, d);
}

void SIMD_NAME(gather_sum_f16)(float *y, const float *z, const uint16_t *table, const int32_t *rows,
                               const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, next, count, true, ROWS_F16, d);
}

void SIMD_NAME(gather_dots_int8)(float *a, const float *x, const int8_t *table, const float *scales,
                                 const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_INT8, d);
    for (int64_t j = 0; j < count; j++)
        a[j] *= scales[rows[j]];
}

void SIMD_NAME(gather_sum_int8)(float *y, const float *z, const int8_t *table, const float *scales,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, scales, rows, next, count, true, ROWS_INT8, d);
}

void SIMD_NAME(thin_product_bf16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_BF16, d);
}

void SIMD_NAME(thin_product_f16)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                 const uint16_t *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_F16, d);
}

void SIMD_NAME(thin_product_int8)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                  const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                                  int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_INT8, d);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] *= scales[j];
}
