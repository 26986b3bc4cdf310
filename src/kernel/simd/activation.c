// Activations of arrays. Each loop is compiled once per activation.
#include "kernel/simd/activation.h"
#include "kernel/simd/kernels.h"

SIMD_INLINE void act_forward(float *y, const float *x, sg_activation act, int64_t n)
{
    for (int64_t i = 0; i < n; i += simd_width)
        simd_store(y + i, act_value(simd_load(x + i, n - i), act), n - i);
}

SIMD_INLINE void act_backward(float *dx, const float *dy, const float *x, sg_activation act,
                              int64_t n, bool accumulate)
{
    for (int64_t i = 0; i < n; i += simd_width) {
        simd_vec slope = act_slope(simd_load(x + i, n - i), act);
        simd_vec value = simd_mul(simd_load(dy + i, n - i), slope);
        if (accumulate) value = simd_add(value, simd_load(dx + i, n - i));
        simd_store(dx + i, value, n - i);
    }
}

void SIMD_NAME(act_forward)(float *y, const float *x, sg_activation act, int64_t n)
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
    case SG_ACT_RELU2:
        act_forward(y, x, SG_ACT_RELU2, n);
        break;
    case SG_ACT_TANH:
        act_forward(y, x, SG_ACT_TANH, n);
        break;
    case SG_ACT_ABS:
        act_forward(y, x, SG_ACT_ABS, n);
        break;
    default:
        act_forward(y, x, SG_ACT_IDENTITY, n);
        break;
    }
}

void SIMD_NAME(act_backward)(float *dx, const float *dy, const float *x, sg_activation act,
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
    case SG_ACT_RELU2:
        act_backward(dx, dy, x, SG_ACT_RELU2, n, accumulate);
        break;
    case SG_ACT_TANH:
        act_backward(dx, dy, x, SG_ACT_TANH, n, accumulate);
        break;
    case SG_ACT_ABS:
        act_backward(dx, dy, x, SG_ACT_ABS, n, accumulate);
        break;
    default:
        act_backward(dx, dy, x, SG_ACT_IDENTITY, n, accumulate);
        break;
    }
}
