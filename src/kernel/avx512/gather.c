// Sparse memory: rows of a table picked by index, and products with all rows. The other tables,
// with half the lanes and no masks, take four rows together and end a row otherwise
// (kernel/simd/gather.c), which gives other roundings.
#include "kernel/avx512/rows.h"
#include "kernel/simd/kernels.h"

// Prefetching f32 rows costs where the table is in the second cache and saves where it is not. Long
// rows mean large tables. Narrow rows are fewer bytes: it costs nothing there.
enum { gather_ahead = 512 };

void SIMD_NAME(gather_dots)(float *a, const float *x, const float *table, const int32_t *rows,
                            int64_t count, int64_t d)
{
    if (d >= gather_ahead)
        rows_gather_dots(a, x, table, rows, NULL, count, true, ROWS_F32, d);
    else
        rows_gather_dots(a, x, table, rows, NULL, count, false, ROWS_F32, d);
}

void SIMD_NAME(gather_sum)(float *y, const float *z, const float *table, const int32_t *rows,
                           int64_t count, int64_t d)
{
    rows_gather_sum(y, z, table, NULL, rows, NULL, count, false, ROWS_F32, d);
}

void SIMD_NAME(thin_product)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                             const float *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_F32, d);
}
