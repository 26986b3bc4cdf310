// The sum of squares is taken in vectors of doubles, whose number and order are each table's own.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

// The square of a float is exact in double, so only the sum rounds.
double SIMD_NAME(sum_squares)(const float *x, int64_t n)
{
    __m256d s0 = _mm256_setzero_pd(), s1 = s0;
    for (int64_t i = 0; i < n; i += 8) {
        __m256 v = simd_load(x + i, n - i);
        __m256d low = _mm256_cvtps_pd(_mm256_castps256_ps128(v));
        __m256d high = _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
        s0 = _mm256_fmadd_pd(low, low, s0);
        s1 = _mm256_fmadd_pd(high, high, s1);
    }
    double lanes[4];
    _mm256_storeu_pd(lanes, _mm256_add_pd(s0, s1));
    return (lanes[0] + lanes[2]) + (lanes[1] + lanes[3]);
}
