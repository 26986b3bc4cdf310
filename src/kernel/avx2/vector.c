// Vector kernels. Sums run in four vectors of eight lanes (an FMA takes four cycles and two start
// in each), joined in a fixed order.
#include "kernel/avx2/dots.h"
#include "kernel/rows_ahead.h"
#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

float sg_avx2_dot(const float *a, const float *b, int64_t n)
{
    __m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        s0 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i), _mm256_loadu_ps(b + i), s0);
        s1 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 8), _mm256_loadu_ps(b + i + 8), s1);
        s2 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 16), _mm256_loadu_ps(b + i + 16), s2);
        s3 = _mm256_fmadd_ps(_mm256_loadu_ps(a + i + 24), _mm256_loadu_ps(b + i + 24), s3);
    }
    for (; i < n; i += 8)
        s0 = _mm256_fmadd_ps(simd_load(a + i, n - i), simd_load(b + i, n - i), s0);
    return simd_sum(_mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
}

void sg_avx2_axpy(float *y, float alpha, const float *x, int64_t n)
{
    const __m256 a = _mm256_set1_ps(alpha);
    for (int64_t i = 0; i < n; i += 8) {
        __m256 sum = _mm256_fmadd_ps(a, simd_load(x + i, n - i), simd_load(y + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void sg_avx2_add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += 8) {
        __m256 sum = _mm256_add_ps(simd_load(a + i, n - i), simd_load(b + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void sg_avx2_scale(float *y, float alpha, int64_t n)
{
    const __m256 a = _mm256_set1_ps(alpha);
    for (int64_t i = 0; i < n; i += 8)
        simd_store(y + i, _mm256_mul_ps(a, simd_load(y + i, n - i)), n - i);
}

// The square of a float is exact in double, so only the sum rounds.
double sg_avx2_sum_squares(const float *x, int64_t n)
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

float sg_avx2_max(const float *x, int64_t n)
{
    __m256 m0 = _mm256_set1_ps(x[0]), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        m0 = _mm256_max_ps(m0, _mm256_loadu_ps(x + i));
        m1 = _mm256_max_ps(m1, _mm256_loadu_ps(x + i + 8));
        m2 = _mm256_max_ps(m2, _mm256_loadu_ps(x + i + 16));
        m3 = _mm256_max_ps(m3, _mm256_loadu_ps(x + i + 24));
    }
    for (; i + 8 <= n; i += 8)
        m0 = _mm256_max_ps(m0, _mm256_loadu_ps(x + i));
    float max = simd_max(_mm256_max_ps(_mm256_max_ps(m0, m1), _mm256_max_ps(m2, m3)));
    for (; i < n; i++)
        if (x[i] > max) max = x[i];
    return max;
}

float sg_avx2_exp_sum(float *y, const float *x, float shift, int64_t n)
{
    const __m256 offset = _mm256_set1_ps(shift);
    __m256 s0 = _mm256_setzero_ps(), s1 = s0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256 e0 = simd_exp_low(_mm256_sub_ps(_mm256_loadu_ps(x + i), offset));
        __m256 e1 = simd_exp_low(_mm256_sub_ps(_mm256_loadu_ps(x + i + 8), offset));
        _mm256_storeu_ps(y + i, e0);
        _mm256_storeu_ps(y + i + 8, e1);
        s0 = _mm256_add_ps(s0, e0);
        s1 = _mm256_add_ps(s1, e1);
    }
    for (; i < n; i += 8) {
        __m256 e = simd_exp_low(_mm256_sub_ps(simd_load(x + i, n - i), offset));
        simd_store(y + i, e, n - i);
        s0 = _mm256_add_ps(s0, simd_keep(e, n - i));
    }
    return simd_sum(_mm256_add_ps(s0, s1));
}

// Four rows of w at a time, which the second and later rows of x find in the first cache.
void sg_avx2_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
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
