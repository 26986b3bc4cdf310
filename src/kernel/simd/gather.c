// Sparse memory: rows of a table picked by index, and products with all rows, for AVX2 and NEON
// (AVX-512: avx512/gather.c). Where the table does not fit a cache every row starts with a wait for
// memory, so the rows that come next are prefetched while this group is worked on.
#include "kernel/rows_ahead.h"
#include "kernel/simd/dots.h"
#include "kernel/simd/kernels.h"

// Prefetching costs a tenth where the table is in the second cache and saves a tenth or more where
// it is not. Long rows mean large tables.
enum { dots_ahead = 512 };

void SIMD_NAME(gather_dots)(float *a, const float *x, const float *table, const int32_t *rows,
                            int64_t count, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *row[4], *next[4];
        SIMD_UNROLL
        for (int r = 0; r < 4; r++) {
            row[r] = table + rows[j + r] * d;
            next[r] = j + 4 + r < count ? table + rows[j + 4 + r] * d : NULL;
        }
        if (j + 8 <= count && d >= dots_ahead)
            simd_dots(a + j, x, row, next, 4, true, d);
        else
            simd_dots(a + j, x, row, next, 4, false, d);
    }
    for (; j < count; j++) {
        const float *row[4] = {table + rows[j] * d};
        simd_dots(a + j, x, row, row, 1, false, d);
    }
}

// y += sum of z[r] row[r] over `count` rows at once, a constant where it is used: y is read and
// written once for all of them, and their eight streams keep that many waits for memory under way
// at a time. Each element of y takes the rows in order whatever the grouping.
static inline void sum_rows(float *y, const float *z, const float *table, const int32_t *rows,
                            int count, int64_t d)
{
    const float *row[8];
    simd_vec scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = table + rows[r] * d;
        scale[r] = simd_set(z[r]);
    }
    int64_t i = 0;
    for (; i + 2 * simd_width <= d; i += 2 * simd_width) {
        simd_vec s0 = simd_loadu(y + i), s1 = simd_loadu(y + i + simd_width);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            s0 = simd_fma(scale[r], simd_loadu(row[r] + i), s0);
            s1 = simd_fma(scale[r], simd_loadu(row[r] + i + simd_width), s1);
        }
        simd_storeu(y + i, s0);
        simd_storeu(y + i + simd_width, s1);
    }
    for (; i < d; i += simd_width) {
        simd_vec s = simd_load(y + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            s = simd_fma(scale[r], simd_load(row[r] + i, d - i), s);
        simd_store(y + i, s, d - i);
    }
}

void SIMD_NAME(gather_sum)(float *y, const float *z, const float *table, const int32_t *rows,
                           int64_t count, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        sum_rows(y, z + j, table, rows + j, 8, d);
    if (j + 4 <= count) {
        sum_rows(y, z + j, table, rows + j, 4, d);
        j += 4;
    }
    for (; j < count; j++)
        sum_rows(y, z + j, table, rows + j, 1, d);
}

// Four rows of w at a time, which the second and later rows of x find in the first cache.
void SIMD_NAME(thin_product)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                             const float *w, int64_t ldw, int64_t n, int64_t d)
{
    const int64_t far = sg_rows_ahead(ldw * (int64_t)sizeof *w);
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const float *row[4], *next[4];
        for (int r = 0; r < 4; r++) {
            row[r] = w + (j + r) * ldw;
            next[r] = row[r] + far * ldw;
        }
        simd_dots(y + j, x, row, next, 4, true, d);
        for (int64_t i = 1; i < m; i++)
            simd_dots(y + i * ldy + j, x + i * ldx, row, row, 4, false, d);
    }
    for (; j < n; j++) {
        const float *row[4] = {w + j * ldw};
        for (int64_t i = 0; i < m; i++)
            simd_dots(y + i * ldy + j, x + i * ldx, row, row, 1, false, d);
    }
}
