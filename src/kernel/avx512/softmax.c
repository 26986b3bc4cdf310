// Softmax of rows: maximum, exponentials with their sum, scaling.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/simd.h"

void sg_avx512_softmax_forward(float *y, const float *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows && n > 0; r++, x += n, y += n) {
        float sum = sg_avx512_exp_sum(y, x, sg_avx512_max(x, n), n);
        sg_avx512_scale(y, 1 / sum, n);
    }
}

void sg_avx512_softmax_backward(float *dx, const float *dy, const float *y, int64_t rows, int64_t n,
                                bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        const __m512 sum = _mm512_set1_ps(sg_avx512_dot(dy, y, n));
        for (int64_t i = 0; i < n; i += 16) {
            int64_t left = n - i;
            __m512 value = _mm512_sub_ps(simd_load(dy + i, left), sum);
            value = _mm512_mul_ps(simd_load(y + i, left), value);
            if (accumulate) value = _mm512_add_ps(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}

void sg_avx512_attention_row(float *s, float *dp, float lse, float delta, int64_t n)
{
    const __m512 shift = _mm512_set1_ps(lse), mean = _mm512_set1_ps(delta);
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) { // two at once: an exponential is one long chain
        __m512 p0 = simd_exp_low(_mm512_sub_ps(_mm512_loadu_ps(s + i), shift));
        __m512 p1 = simd_exp_low(_mm512_sub_ps(_mm512_loadu_ps(s + i + 16), shift));
        __m512 d0 = _mm512_sub_ps(_mm512_loadu_ps(dp + i), mean);
        __m512 d1 = _mm512_sub_ps(_mm512_loadu_ps(dp + i + 16), mean);
        _mm512_storeu_ps(s + i, p0);
        _mm512_storeu_ps(s + i + 16, p1);
        _mm512_storeu_ps(dp + i, _mm512_mul_ps(p0, d0));
        _mm512_storeu_ps(dp + i + 16, _mm512_mul_ps(p1, d1));
    }
    for (; i < n; i += 16) {
        int64_t left = n - i;
        __m512 p = simd_exp_low(_mm512_sub_ps(simd_load(s + i, left), shift));
        __m512 d = _mm512_sub_ps(simd_load(dp + i, left), mean);
        simd_store(s + i, p, left);
        simd_store(dp + i, _mm512_mul_ps(p, d), left);
    }
}
