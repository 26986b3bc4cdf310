// Softmax of rows: maximum, exponentials with their sum, scaling.
#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

void sg_avx2_softmax_forward(float *y, const float *x, int64_t rows, int64_t n)
{
    for (int64_t r = 0; r < rows && n > 0; r++, x += n, y += n) {
        float sum = sg_avx2_exp_sum(y, x, sg_avx2_max(x, n), n);
        sg_avx2_scale(y, 1 / sum, n);
    }
}

void sg_avx2_softmax_backward(float *dx, const float *dy, const float *y, int64_t rows, int64_t n,
                              bool accumulate)
{
    for (int64_t r = 0; r < rows; r++, y += n, dy += n, dx += n) {
        const __m256 sum = _mm256_set1_ps(sg_avx2_dot(dy, y, n));
        for (int64_t i = 0; i < n; i += 8) {
            int64_t left = n - i;
            __m256 value = _mm256_sub_ps(simd_load(dy + i, left), sum);
            value = _mm256_mul_ps(simd_load(y + i, left), value);
            if (accumulate) value = _mm256_add_ps(value, simd_load(dx + i, left));
            simd_store(dx + i, value, left);
        }
    }
}
