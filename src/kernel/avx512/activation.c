// Activations of arrays. Each loop is compiled once per activation.
#include "kernel/avx512/activation.h"
#include "kernel/avx512/kernels.h"

SIMD_INLINE void act_forward(float *y, const float *x, sg_activation act, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        simd_store(y + i, act_value(simd_load(x + i, n - i), act), n - i);
}

SIMD_INLINE void act_backward(float *dx, const float *dy, const float *x, sg_activation act,
                              int64_t n, bool accumulate)
{
    for (int64_t i = 0; i < n; i += 16) {
        __m512 slope = act_slope(simd_load(x + i, n - i), act);
        __m512 value = _mm512_mul_ps(simd_load(dy + i, n - i), slope);
        if (accumulate) value = _mm512_add_ps(value, simd_load(dx + i, n - i));
        simd_store(dx + i, value, n - i);
    }
}

void sg_avx512_act_forward(float *y, const float *x, sg_activation act, int64_t n)
{
    switch (act) {
    case SG_ACT_GELU:
        act_forward(y, x, SG_ACT_GELU, n);
        break;
    case SG_ACT_RELU:
        act_forward(y, x, SG_ACT_RELU, n);
        break;
    case SG_ACT_SWISH:
        act_forward(y, x, SG_ACT_SWISH, n);
        break;
    case SG_ACT_SIGMOID:
        act_forward(y, x, SG_ACT_SIGMOID, n);
        break;
    case SG_ACT_GELU_ERF:
        act_forward(y, x, SG_ACT_GELU_ERF, n);
        break;
    default:
        act_forward(y, x, SG_ACT_IDENTITY, n);
        break;
    }
}

void sg_avx512_act_backward(float *dx, const float *dy, const float *x, sg_activation act,
                            int64_t n, bool accumulate)
{
    switch (act) {
    case SG_ACT_GELU:
        act_backward(dx, dy, x, SG_ACT_GELU, n, accumulate);
        break;
    case SG_ACT_RELU:
        act_backward(dx, dy, x, SG_ACT_RELU, n, accumulate);
        break;
    case SG_ACT_SWISH:
        act_backward(dx, dy, x, SG_ACT_SWISH, n, accumulate);
        break;
    case SG_ACT_SIGMOID:
        act_backward(dx, dy, x, SG_ACT_SIGMOID, n, accumulate);
        break;
    case SG_ACT_GELU_ERF:
        act_backward(dx, dy, x, SG_ACT_GELU_ERF, n, accumulate);
        break;
    default:
        act_backward(dx, dy, x, SG_ACT_IDENTITY, n, accumulate);
        break;
    }
}
