// Sparse memory: rows of a table picked by index, in every type of weight.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/rows.h"

// Prefetching f32 rows costs where the table is in the second cache and saves where it is not. Long
// rows mean large tables. Narrow rows are fewer bytes: it costs nothing there.
enum { gather_ahead = 512 };

void sg_avx512_gather_dots(float *a, const float *x, const float *table, const int32_t *rows,
                           int64_t count, int64_t d)
{
    if (d >= gather_ahead)
        rows_gather_dots(a, x, table, rows, NULL, count, true, ROWS_F32, d);
    else
        rows_gather_dots(a, x, table, rows, NULL, count, false, ROWS_F32, d);
}

void sg_avx512_gather_sum(float *y, const float *z, const float *table, const int32_t *rows,
                          int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, NULL, count, false, ROWS_F32, d);
}

void sg_avx512_gather_dots_bf16(float *a, const float *x, const sg_bf16 *table, const int32_t *rows,
                                const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_BF16, d);
}

void sg_avx512_gather_sum_bf16(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                               const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, next, count, true, ROWS_BF16, d);
}

void sg_avx512_gather_dots_f16(float *a, const float *x, const uint16_t *table, const int32_t *rows,
                               const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_F16, d);
}

void sg_avx512_gather_sum_f16(float *y, const float *z, const uint16_t *table, const int32_t *rows,
                              const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, next, count, true, ROWS_F16, d);
}

void sg_avx512_gather_dots_int8(float *a, const float *x, const int8_t *table, const float *scales,
                                const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_dots(a, x, table, rows, next, count, true, ROWS_INT8, d);
    for (int64_t j = 0; j < count; j++)
        a[j] *= scales[rows[j]];
}

void sg_avx512_gather_sum_int8(float *y, const float *z, const int8_t *table, const float *scales,
                               const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, scales, rows, next, count, true, ROWS_INT8, d);
}
