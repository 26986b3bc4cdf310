// Sparse memory: rows of a table picked by index. Eight rows at a time, whose streams keep that many
// waits for memory under way.
#include "kernel/avx512/dots.h"
#include "kernel/avx512/kernels.h"

// Prefetching costs where the table is in the second cache and saves where it is not. Long rows mean
// large tables.
enum { dots_ahead = 512 };

void sg_avx512_gather_dots(float *a, const float *x, const float *table, const int32_t *rows,
                           int64_t count, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8) {
        const float *row[8], *next[8];
        const bool ahead = j + 16 <= count && d >= dots_ahead;
        SIMD_UNROLL
        for (int r = 0; r < 8; r++) {
            row[r] = table + rows[j + r] * d;
            next[r] = ahead ? table + rows[j + 8 + r] * d : NULL;
        }
        if (ahead)
            simd_dots(a + j, x, row, next, 8, true, d);
        else
            simd_dots(a + j, x, row, row, 8, false, d);
    }
    if (j + 4 <= count) {
        const float *row[8];
        SIMD_UNROLL
        for (int r = 0; r < 4; r++)
            row[r] = table + rows[j + r] * d;
        simd_dots(a + j, x, row, row, 4, false, d);
        j += 4;
    }
    for (; j < count; j++) {
        const float *row[8] = {table + rows[j] * d};
        simd_dots(a + j, x, row, row, 1, false, d);
    }
}

// y += sum of z[r] row[r] over `count` rows at once, a constant where it is used: y is read and
// written once for all of them. Each element of y takes the rows in order whatever the grouping.
static inline void sum_rows(float *y, const float *z, const float *table, const int32_t *rows,
                            int count, int64_t d)
{
    const float *row[8];
    __m512 scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = table + rows[r] * d;
        scale[r] = _mm512_set1_ps(z[r]);
    }
    int64_t i = 0;
    for (; i + 32 <= d; i += 32) {
        __m512 s0 = _mm512_loadu_ps(y + i), s1 = _mm512_loadu_ps(y + i + 16);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            s0 = _mm512_fmadd_ps(scale[r], _mm512_loadu_ps(row[r] + i), s0);
            s1 = _mm512_fmadd_ps(scale[r], _mm512_loadu_ps(row[r] + i + 16), s1);
        }
        _mm512_storeu_ps(y + i, s0);
        _mm512_storeu_ps(y + i + 16, s1);
    }
    for (; i < d; i += 16) {
        const __mmask16 lanes = simd_lanes(d - i);
        __m512 s = _mm512_maskz_loadu_ps(lanes, y + i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            s = _mm512_fmadd_ps(scale[r], _mm512_maskz_loadu_ps(lanes, row[r] + i), s);
        _mm512_mask_storeu_ps(y + i, lanes, s);
    }
}

void sg_avx512_gather_sum(float *y, const float *z, const float *table, const int32_t *rows,
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
