// Dot products of one vector with up to eight rows at once: each piece of x is loaded once for all,
// and two running sums a row keep both FMA units busy. The order of a sum does not depend on how
// many rows go together.
#ifndef SG_KERNEL_AVX512_DOTS_H
#define SG_KERNEL_AVX512_DOTS_H

#include <stdbool.h>

#include "kernel/avx512/simd.h"

// a[r] = sum of s[r] for r < count, a constant where it is used: 1, 4 or 8. The vectors of several
// rows are folded together, each by the additions of simd_sum.
static inline void simd_sums(float *a, const __m512 s[8], int count)
{
    if (count == 1) {
        a[0] = simd_sum(s[0]);
        return;
    }
    // Of each row four lanes: rows 0 1 2 3, then 4 5 6 7.
    __m512 low = simd_fold4(simd_fold8(s[0], s[1]), simd_fold8(s[2], s[3])), high = low;
    if (count == 8) high = simd_fold4(simd_fold8(s[4], s[5]), simd_fold8(s[6], s[7]));
    __m512 two = simd_fold2(low, high);
    two = _mm512_add_ps(two, _mm512_movehdup_ps(two)); // lanes 0, 2: rows 0, 4; lanes 4, 6: 1, 5 …
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 2, 6, 10, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    __m512 sums = _mm512_permutexvar_ps(order, two);
    if (count == 8)
        _mm256_storeu_ps(a, _mm512_castps512_ps256(sums));
    else
        _mm_storeu_ps(a, _mm512_castps512_ps128(sums));
}

// a[r] = x . row[r], r < count; next[r] is prefetched meanwhile where `ahead`. Both are constants
// where it is used.
static inline void simd_dots(float *a, const float *x, const float *const row[8],
                             const float *const next[8], int count, bool ahead, int64_t d)
{
    __m512 even[8], odd[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        even[r] = odd[r] = _mm512_setzero_ps();
    int64_t i = 0;
    for (; i + 32 <= d; i += 32) {
        const __m512 x0 = _mm512_loadu_ps(x + i), x1 = _mm512_loadu_ps(x + i + 16);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) {
                _mm_prefetch((const char *)(next[r] + i), _MM_HINT_T0);
                _mm_prefetch((const char *)(next[r] + i + 16), _MM_HINT_T0);
            }
            even[r] = _mm512_fmadd_ps(_mm512_loadu_ps(row[r] + i), x0, even[r]);
            odd[r] = _mm512_fmadd_ps(_mm512_loadu_ps(row[r] + i + 16), x1, odd[r]);
        }
    }
    for (; i < d; i += 16) {
        const __mmask16 lanes = simd_lanes(d - i);
        const __m512 part = _mm512_maskz_loadu_ps(lanes, x + i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            even[r] = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(lanes, row[r] + i), part, even[r]);
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        even[r] = _mm512_add_ps(even[r], odd[r]);
    simd_sums(a, even, count);
}

#endif
