// Softmax of rows: maximum, exponentials with their sum, scaling.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

void SIMD_NAME(softmax_forward)(float *y, const float *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows && n > 0; r++, x += n, y += n) {
        float sum = SIMD_NAME(exp_sum)(y, x, SIMD_NAME(max)(x, n), n);
        SIMD_NAME(scale)(y, 1 / sum, n);
    }
}

void SIMD_NAME(softmax_backward)(float *dx, const float *dy, const float *y, int64_t rows,
                                 int64_t n, bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        const simd_vec sum = simd_set(SIMD_NAME(dot)(dy, y, n));
        for (int64_t i = 0; i < n; i += simd_width) {
            int64_t left = n - i;
            simd_vec value = simd_sub(simd_load(dy + i, left), sum);
            value = simd_mul(simd_load(y + i, left), value);
            if (accumulate) value = simd_add(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}

void SIMD_NAME(attention_row)(float *s, float *dp, float lse, float delta, int64_t n)
{
    const simd_vec shift = simd_set(lse), mean = simd_set(delta);
    int64_t i = 0;
    for (; i + 2 * simd_width <= n;
         i += 2 * simd_width) { // two at once: an exponential is one long chain
        simd_vec p0 = simd_exp_low(simd_sub(simd_loadu(s + i), shift));
        simd_vec p1 = simd_exp_low(simd_sub(simd_loadu(s + i + simd_width), shift));
        simd_vec d0 = simd_sub(simd_loadu(dp + i), mean);
        simd_vec d1 = simd_sub(simd_loadu(dp + i + simd_width), mean);
        simd_storeu(s + i, p0);
        simd_storeu(s + i + simd_width, p1);
        simd_storeu(dp + i, simd_mul(p0, d0));
        simd_storeu(dp + i + simd_width, simd_mul(p1, d1));
    }
    for (; i < n; i += simd_width) {
        int64_t left = n - i;
        simd_vec p = simd_exp_low(simd_sub(simd_load(s + i, left), shift));
        simd_vec d = simd_sub(simd_load(dp + i, left), mean);
        simd_store(s + i, p, left);
        simd_store(dp + i, simd_mul(p, d), left);
    }
}

void SIMD_NAME(attention_key)(float *s, float *dp, const float *lse, const float *delta, int64_t n)
{
    int64_t i = 0;
    for (; i + 2 * simd_width <= n; i += 2 * simd_width) { // two at once, as above
        const int64_t j = i + simd_width;
        simd_vec p0 = simd_exp_low(simd_sub(simd_loadu(s + i), simd_loadu(lse + i)));
        simd_vec p1 = simd_exp_low(simd_sub(simd_loadu(s + j), simd_loadu(lse + j)));
        simd_vec d0 = simd_sub(simd_loadu(dp + i), simd_loadu(delta + i));
        simd_vec d1 = simd_sub(simd_loadu(dp + j), simd_loadu(delta + j));
        simd_storeu(s + i, p0);
        simd_storeu(s + j, p1);
        simd_storeu(dp + i, simd_mul(p0, d0));
        simd_storeu(dp + j, simd_mul(p1, d1));
    }
    for (; i < n; i += simd_width) {
        const int64_t left = n - i;
        simd_vec p = simd_exp_low(simd_sub(simd_load(s + i, left), simd_load(lse + i, left)));
        simd_vec d = simd_sub(simd_load(dp + i, left), simd_load(delta + i, left));
        simd_store(s + i, p, left);
        simd_store(dp + i, simd_mul(p, d), left);
    }
}
