// Vector kernels. Sums run in several vectors (an FMA takes four cycles and two start in each),
// joined in a fixed order.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/rows.h"

float sg_avx512_dot(const float *a, const float *b, int64_t n)
{
    __m512 s0 = _mm512_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        s0 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i), _mm512_loadu_ps(b + i), s0);
        s1 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 16), _mm512_loadu_ps(b + i + 16), s1);
        s2 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 32), _mm512_loadu_ps(b + i + 32), s2);
        s3 = _mm512_fmadd_ps(_mm512_loadu_ps(a + i + 48), _mm512_loadu_ps(b + i + 48), s3);
    }
    for (; i < n; i += 16)
        s0 = _mm512_fmadd_ps(simd_load(a + i, n - i), simd_load(b + i, n - i), s0);
    return simd_sum(_mm512_add_ps(_mm512_add_ps(s0, s1), _mm512_add_ps(s2, s3)));
}

void sg_avx512_axpy(float *y, float alpha, const float *x, int64_t n)
{
    const __m512 a = _mm512_set1_ps(alpha);
    for (int64_t i = 0; i < n; i += 16) {
        __m512 sum = _mm512_fmadd_ps(a, simd_load(x + i, n - i), simd_load(y + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void sg_avx512_add(float *y, const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        __m512 sum = _mm512_add_ps(simd_load(a + i, n - i), simd_load(b + i, n - i));
        simd_store(y + i, sum, n - i);
    }
}

void sg_avx512_scale(float *y, float alpha, int64_t n)
{
    const __m512 a = _mm512_set1_ps(alpha);
    for (int64_t i = 0; i < n; i += 16)
        simd_store(y + i, _mm512_mul_ps(a, simd_load(y + i, n - i)), n - i);
}

// The square of a float is exact in double, so only the sum rounds.
double sg_avx512_sum_squares(const float *x, int64_t n)
{
    __m512d s0 = _mm512_setzero_pd(), s1 = s0, s2 = s0, s3 = s0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m512d a = _mm512_cvtps_pd(_mm256_loadu_ps(x + i));
        __m512d b = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 8));
        __m512d c = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 16));
        __m512d d = _mm512_cvtps_pd(_mm256_loadu_ps(x + i + 24));
        s0 = _mm512_fmadd_pd(a, a, s0);
        s1 = _mm512_fmadd_pd(b, b, s1);
        s2 = _mm512_fmadd_pd(c, c, s2);
        s3 = _mm512_fmadd_pd(d, d, s3);
    }
    for (; i < n; i += 8) {
        __m512d v = _mm512_cvtps_pd(_mm256_maskz_loadu_ps((__mmask8)simd_lanes(n - i), x + i));
        s0 = _mm512_fmadd_pd(v, v, s0);
    }
    double lanes[8];
    _mm512_storeu_pd(lanes, _mm512_add_pd(_mm512_add_pd(s0, s1), _mm512_add_pd(s2, s3)));
    return ((lanes[0] + lanes[4]) + (lanes[2] + lanes[6])) +
           ((lanes[1] + lanes[5]) + (lanes[3] + lanes[7]));
}

float sg_avx512_max(const float *x, int64_t n)
{
    __m512 m0 = _mm512_set1_ps(x[0]), m1 = m0, m2 = m0, m3 = m0;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) {
        m0 = _mm512_max_ps(m0, _mm512_loadu_ps(x + i));
        m1 = _mm512_max_ps(m1, _mm512_loadu_ps(x + i + 16));
        m2 = _mm512_max_ps(m2, _mm512_loadu_ps(x + i + 32));
        m3 = _mm512_max_ps(m3, _mm512_loadu_ps(x + i + 48));
    }
    for (; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        m0 = _mm512_mask_max_ps(m0, lanes, m0, _mm512_maskz_loadu_ps(lanes, x + i));
    }
    return simd_max(_mm512_max_ps(_mm512_max_ps(m0, m1), _mm512_max_ps(m2, m3)));
}

float sg_avx512_exp_sum(float *y, const float *x, float shift, int64_t n)
{
    const __m512 offset = _mm512_set1_ps(shift);
    __m512 s0 = _mm512_setzero_ps(), s1 = s0;
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) { // two at once: an exponential is one long chain
        __m512 e0 = simd_exp_low(_mm512_sub_ps(_mm512_loadu_ps(x + i), offset));
        __m512 e1 = simd_exp_low(_mm512_sub_ps(_mm512_loadu_ps(x + i + 16), offset));
        _mm512_storeu_ps(y + i, e0);
        _mm512_storeu_ps(y + i + 16, e1);
        s0 = _mm512_add_ps(s0, e0);
        s1 = _mm512_add_ps(s1, e1);
    }
    for (; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512 e = simd_exp_low(_mm512_sub_ps(_mm512_maskz_loadu_ps(lanes, x + i), offset));
        _mm512_mask_storeu_ps(y + i, lanes, e);
        s0 = _mm512_mask_add_ps(s0, lanes, s0, e);
    }
    return simd_sum(_mm512_add_ps(s0, s1));
}

void sg_avx512_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                            const float *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_F32, d);
}
