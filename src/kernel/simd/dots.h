// Dot products of one vector with up to four rows at once: each piece of x is loaded once for all,
// and the eight running sums keep both FMA units busy. The order of a sum does not depend on how
// many rows go together.
#ifndef SG_KERNEL_SIMD_DOTS_H
#define SG_KERNEL_SIMD_DOTS_H

#include "kernel/simd/simd.h"

// a[r] = x . row[r], r < count <= 4; next[r], where not NULL, is prefetched meanwhile. `count` and
// `ahead` are constants where it is used.
static inline void simd_dots(float *a, const float *x, const float *const row[4],
                             const float *const next[4], int count, bool ahead, int64_t d)
{
    simd_vec even[4], odd[4];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        even[r] = odd[r] = simd_zero();
    int64_t i = 0;
    for (; i + 2 * simd_width <= d; i += 2 * simd_width) {
        const simd_vec x0 = simd_loadu(x + i), x1 = simd_loadu(x + i + simd_width);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) simd_prefetch(next[r] + i);
            even[r] = simd_fma(simd_loadu(row[r] + i), x0, even[r]);
            odd[r] = simd_fma(simd_loadu(row[r] + i + simd_width), x1, odd[r]);
        }
    }
    for (; i < d; i += simd_width) {
        const simd_vec part = simd_load(x + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            even[r] = simd_fma(simd_load(row[r] + i, d - i), part, even[r]);
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = simd_sum(simd_add(even[r], odd[r]));
}

#endif
