// Dot products of one vector with up to four rows at once: each piece of x is loaded once for all,
// and the eight running sums keep both FMA units busy. The order of a sum does not depend on how
// many rows go together.
#ifndef SG_KERNEL_AVX2_DOTS_H
#define SG_KERNEL_AVX2_DOTS_H

#include <stdbool.h>

#include "kernel/avx2/simd.h"

// a[r] = x . row[r], r < count <= 4; next[r], where not NULL, is prefetched meanwhile. `count` and
// `ahead` are constants where it is used.
static inline void simd_dots(float *a, const float *x, const float *const row[4],
                             const float *const next[4], int count, bool ahead, int64_t d)
{
    __m256 even[4], odd[4];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        even[r] = odd[r] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) _mm_prefetch((const char *)(next[r] + i), _MM_HINT_T0);
            even[r] = _mm256_fmadd_ps(_mm256_loadu_ps(row[r] + i), x0, even[r]);
            odd[r] = _mm256_fmadd_ps(_mm256_loadu_ps(row[r] + i + 8), x1, odd[r]);
        }
    }
    for (; i < d; i += 8) {
        const __m256 part = simd_load(x + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            even[r] = _mm256_fmadd_ps(simd_load(row[r] + i, d - i), part, even[r]);
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = simd_sum(_mm256_add_ps(even[r], odd[r]));
}

#endif
