// Sparse memory: rows of a table picked by index. Where the table does not fit a cache every row
// starts with a wait for memory, so the rows that come next are prefetched while this group is
// worked on.
#include "kernel/avx2/dots.h"
#include "kernel/avx2/kernels.h"

// Prefetching costs a tenth where the table is in the second cache and saves a tenth or more where
// it is not. Long rows mean large tables.
enum { dots_ahead = 512 };

void sg_avx2_gather_dots(float *a, const float *x, const float *table, const int32_t *rows,
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
    __m256 scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = table + rows[r] * d;
        scale[r] = _mm256_set1_ps(z[r]);
    }
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        __m256 s0 = _mm256_loadu_ps(y + i), s1 = _mm256_loadu_ps(y + i + 8);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            s0 = _mm256_fmadd_ps(scale[r], _mm256_loadu_ps(row[r] + i), s0);
            s1 = _mm256_fmadd_ps(scale[r], _mm256_loadu_ps(row[r] + i + 8), s1);
        }
        _mm256_storeu_ps(y + i, s0);
        _mm256_storeu_ps(y + i + 8, s1);
    }
    for (; i < d; i += 8) {
        __m256 s = simd_load(y + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            s = _mm256_fmadd_ps(scale[r], simd_load(row[r] + i, d - i), s);
        simd_store(y + i, s, d - i);
    }
}

void sg_avx2_gather_sum(float *y, const float *z, const float *table, const int32_t *rows,
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
