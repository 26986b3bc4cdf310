// Weights in bf16, f16 or int8: made, and widened one by one.
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

void SIMD_NAME(to_bf16)(sg_bf16 *y, const float *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 2 * simd_width <= n; i += 2 * simd_width)
        simd_store_bf16_two(y + i, simd_loadu(x + i), simd_loadu(x + i + simd_width));
    for (; i < n; i += simd_width)
        simd_store_bf16(y + i, simd_load(x + i, n - i), n - i);
}

void SIMD_NAME(from_bf16)(float *y, const sg_bf16 *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += simd_width)
        simd_store(y + i, simd_load_bf16(x + i, n - i), n - i);
}

void SIMD_NAME(from_f16)(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += simd_width)
        simd_store(y + i, simd_load_f16(x + i, n - i), n - i);
}

void SIMD_NAME(from_int8)(float *y, const int8_t *q, float scale, int64_t n)
{
    const simd_vec factor = simd_set(scale);
    for (int64_t i = 0; i < n; i += simd_width)
        simd_store(y + i, simd_mul(factor, simd_load_int8(q + i, n - i)), n - i);
}
