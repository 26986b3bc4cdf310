// Sparse memory: rows of a table picked by index. Where the table does not fit a cache every row starts
// with a wait for memory, so the rows that come next are prefetched while this group is worked on.
#include "kernel/avx2/dots.h"
#include "kernel/avx2/kernels.h"

void sg_avx2_gather_dots(float *a, const float *x, const float *table, const int32_t *rows,
                         int64_t count, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const float *row[4], *next[4];
        for (int r = 0; r < 4; r++) {
            row[r] = table + rows[j + r] * d;
            next[r] = j + 4 + r < count ? table + rows[j + 4 + r] * d : NULL;
        }
        if (j + 8 <= count)
            simd_dots(a + j, x, row, next, 4, true, d);
        else
            simd_dots(a + j, x, row, next, 4, false, d);
    }
    for (; j < count; j++) {
        const float *row[4] = {table + rows[j] * d};
        simd_dots(a + j, x, row, row, 1, false, d);
    }
}

// Rows are taken in blocks; within a block a strip of y stays in eight registers over all its rows.
// Meanwhile the same strip of the rows of the next block is prefetched.
enum { sum_block = 8, sum_strip = 64 };

static inline void sum_strip_full(float *y, const float *z, const float *const *row,
                                  const float *const *next, int64_t count, bool ahead)
{
    __m256 s[8];
    for (int v = 0; v < 8; v++)
        s[v] = _mm256_loadu_ps(y + 8 * v);
    for (int64_t j = 0; j < count; j++) {
        const __m256 scale = _mm256_set1_ps(z[j]);
        for (int v = 0; v < 8; v++) {
            if (ahead && v % 2 == 0) _mm_prefetch((const char *)(next[j] + 8 * v), _MM_HINT_T0);
            s[v] = _mm256_fmadd_ps(scale, _mm256_loadu_ps(row[j] + 8 * v), s[v]);
        }
    }
    for (int v = 0; v < 8; v++)
        _mm256_storeu_ps(y + 8 * v, s[v]);
}

static void sum_rest(float *y, const float *z, const float *const *row, int64_t count, int64_t left)
{
    __m256 s = simd_load(y, left);
    for (int64_t j = 0; j < count; j++)
        s = _mm256_fmadd_ps(_mm256_set1_ps(z[j]), simd_load(row[j], left), s);
    simd_store(y, s, left);
}

void sg_avx2_gather_sum(float *y, const float *z, const float *table, const int32_t *rows,
                        int64_t count, int64_t d)
{
    for (int64_t j = 0; j < count; j += sum_block) {
        const float *row[sum_block], *next[sum_block];
        int64_t block = count - j < sum_block ? count - j : sum_block;
        bool ahead = j + 2 * sum_block <= count;
        for (int64_t b = 0; b < block; b++) {
            row[b] = table + rows[j + b] * d;
            if (ahead) next[b] = table + rows[j + sum_block + b] * d;
        }
        int64_t i = 0;
        for (; i + sum_strip <= d; i += sum_strip) {
            if (ahead)
                sum_strip_full(y + i, z + j, row, next, block, true);
            else
                sum_strip_full(y + i, z + j, row, next, block, false);
            for (int64_t b = 0; b < block; b++) {
                row[b] += sum_strip;
                if (ahead) next[b] += sum_strip;
            }
        }
        for (; i < d; i += 8) {
            sum_rest(y + i, z + j, row, block, d - i);
            for (int64_t b = 0; b < block; b++)
                row[b] += 8;
        }
    }
}
