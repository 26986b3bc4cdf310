// The activations on a vector; the formulas stand in kernel/ref/activation.c. `act` is a constant
// wherever these functions are used, so that nothing is decided in a loop.
#ifndef SG_KERNEL_SIMD_ACTIVATION_H
#define SG_KERNEL_SIMD_ACTIVATION_H

#include "kernel/simd/simd.h"
#include "kernel/kernel.h"
#include "kernel/normal_tail.h"

static const float gelu_scale = 1.5957691216057308f; // sqrt(8/pi)
static const float gelu_cubic = 0.044715f;
static const float gelu_limit = 20;

// The normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2 and bell = exp(-x^2 / 2), by
// kernel/normal_tail.h: both within 1e-6 of themselves, however small, down to the smallest normal
// number. What a^2 is rounded by is put back, which exp would make much of.
static inline simd_vec act_normal(simd_vec x, simd_vec *bell)
{
    const simd_vec one = simd_set(1), half = simd_set(0.5f);
    // Beyond 15 the bell is 0. min returns its second operand when one is NaN.
    simd_vec a = simd_min(simd_set(15), simd_abs(x));
    simd_vec square = simd_mul(a, a), rest = simd_fms(a, a, square);
    simd_vec e = simd_exp(simd_mul(simd_set(-0.5f), square));
    *bell = simd_fnma(simd_mul(half, e), rest, e);
    simd_vec t = simd_div(one, simd_fma(simd_set(normal_slope), a, one));
    simd_vec r = simd_set(normal_tail[0]);
    SIMD_UNROLL
    for (int i = 1; i < normal_terms; i++)
        r = simd_fma(r, t, simd_set(normal_tail[i]));
    simd_vec below = simd_mul(*bell, simd_mul(r, t));
    return simd_by_sign(x, below, simd_sub(one, below));
}

// Up to a half the series at 0, whose first term left out is below 1e-7 of the sum; above it
// 2 sigmoid(2x) - 1, which would lose digits near 0.
static inline simd_vec act_tanh(simd_vec x)
{
    static const float series[] = {-0.0088632355f, 0.0218694885f, -0.0539682540f, 0.1333333333f,
                                   -0.3333333333f};
    simd_vec z = simd_clamp(x, -0.5f, 0.5f), square = simd_mul(z, z), r = simd_set(0.0035921280f);
    SIMD_UNROLL
    for (int i = 0; i < 5; i++)
        r = simd_fma(r, square, simd_set(series[i]));
    simd_vec near = simd_fma(simd_mul(z, square), r, z);
    simd_vec far = simd_fms(simd_set(2), simd_sigmoid(simd_add(x, x)), simd_set(1));
    return simd_add(near, simd_if_greater(simd_sub(far, near), simd_abs(x), simd_set(0.5f)));
}

SIMD_INLINE simd_vec act_value(simd_vec x, sg_activation act)
{
    if (act == SG_ACT_GELU) {
        simd_vec cubic = simd_mul(simd_set(gelu_cubic), simd_mul(x, x));
        simd_vec inner = simd_fma(x, cubic, x);
        return simd_mul(x, simd_sigmoid(simd_mul(simd_set(gelu_scale), inner)));
    }
    if (act == SG_ACT_RELU) return simd_max(simd_zero(), x);
    if (act == SG_ACT_SWISH) return simd_mul(x, simd_sigmoid(x));
    if (act == SG_ACT_SIGMOID) return simd_sigmoid(x);
    if (act == SG_ACT_GELU_ERF) {
        simd_vec bell;
        return simd_mul(x, act_normal(x, &bell));
    }
    if (act == SG_ACT_RELU2) {
        simd_vec r = simd_max(simd_zero(), x);
        return simd_mul(r, r);
    }
    if (act == SG_ACT_TANH) return act_tanh(x);
    if (act == SG_ACT_ABS) return simd_abs(x);
    return x;
}

// s + x s (1 - s) h', the slope of x sigmoid(h(x)).
static inline simd_vec act_gate_slope(simd_vec x, simd_vec s, simd_vec inner_slope)
{
    simd_vec bell = simd_fnma(s, s, s);
    return simd_fma(simd_mul(x, bell), inner_slope, s);
}

SIMD_INLINE simd_vec act_slope(simd_vec x, sg_activation act)
{
    const simd_vec one = simd_set(1), scale = simd_set(gelu_scale);
    if (act == SG_ACT_GELU) {
        simd_vec z = simd_clamp(x, -gelu_limit, gelu_limit);
        simd_vec square = simd_mul(simd_set(gelu_cubic), simd_mul(z, z));
        simd_vec s = simd_sigmoid(simd_mul(scale, simd_fma(z, square, z)));
        simd_vec inner = simd_mul(scale, simd_fma(simd_set(3), square, one));
        return act_gate_slope(z, s, inner);
    }
    if (act == SG_ACT_RELU) return simd_if_greater(one, x, simd_zero());
    if (act == SG_ACT_SWISH) return act_gate_slope(x, simd_sigmoid(x), one);
    if (act == SG_ACT_SIGMOID) {
        simd_vec s = simd_sigmoid(x);
        return simd_fnma(s, s, s);
    }
    if (act == SG_ACT_GELU_ERF) {
        simd_vec bell, below = act_normal(x, &bell);
        return simd_fma(x, simd_mul(simd_set(normal_density), bell), below);
    }
    if (act == SG_ACT_RELU2) return simd_if_greater(simd_add(x, x), x, simd_zero());
    if (act == SG_ACT_TANH) {
        simd_vec s = simd_sigmoid(simd_add(x, x));
        return simd_mul(simd_set(4), simd_fnma(s, s, s));
    }
    if (act == SG_ACT_ABS)
        return simd_sub(simd_if_greater(one, x, simd_zero()), simd_if_greater(one, simd_zero(), x));
    return one;
}

#endif
