// The activations on a vector; the formulas stand in kernel/ref/activation.c. `act` is a constant
// wherever these functions are used, so that nothing is decided in a loop.
#ifndef SG_KERNEL_AVX512_ACTIVATION_H
#define SG_KERNEL_AVX512_ACTIVATION_H

#include "kernel/avx512/simd.h"
#include "kernel/kernel.h"
#include "kernel/normal_tail.h"

static const float gelu_scale = 1.5957691216057308f; // sqrt(8/pi)
static const float gelu_cubic = 0.044715f;
static const float gelu_limit = 20;

// The normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2 and bell = exp(-x^2 / 2), by
// kernel/normal_tail.h: both within 1e-6 of themselves, however small, down to the smallest normal
// number. What a^2 is rounded by is put back, which exp would make much of.
static inline __m512 act_normal(__m512 x, __m512 *bell)
{
    const __m512 one = _mm512_set1_ps(1), half = _mm512_set1_ps(0.5f);
    // Beyond 15 the bell is 0. min returns its second operand when one is NaN.
    __m512 a = _mm512_min_ps(_mm512_set1_ps(15), _mm512_abs_ps(x));
    __m512 square = _mm512_mul_ps(a, a), rest = _mm512_fmsub_ps(a, a, square);
    __m512 e = simd_exp(_mm512_mul_ps(_mm512_set1_ps(-0.5f), square));
    *bell = _mm512_fnmadd_ps(_mm512_mul_ps(half, e), rest, e);
    __m512 t = _mm512_div_ps(one, _mm512_fmadd_ps(_mm512_set1_ps(normal_slope), a, one));
    __m512 r = _mm512_set1_ps(normal_tail[0]);
    SIMD_UNROLL
    for (int i = 1; i < normal_terms; i++)
        r = _mm512_fmadd_ps(r, t, _mm512_set1_ps(normal_tail[i]));
    __m512 below = _mm512_mul_ps(*bell, _mm512_mul_ps(r, t));
    const __mmask16 negative = _mm512_movepi32_mask(_mm512_castps_si512(x));
    return _mm512_mask_sub_ps(below, _knot_mask16(negative), one, below);
}

SIMD_INLINE __m512 act_value(__m512 x, sg_activation act)
{
    if (act == SG_ACT_GELU) {
        __m512 cubic = _mm512_mul_ps(_mm512_set1_ps(gelu_cubic), _mm512_mul_ps(x, x));
        __m512 inner = _mm512_fmadd_ps(x, cubic, x);
        return _mm512_mul_ps(x, simd_sigmoid(_mm512_mul_ps(_mm512_set1_ps(gelu_scale), inner)));
    }
    if (act == SG_ACT_RELU) return _mm512_max_ps(_mm512_setzero_ps(), x);
    if (act == SG_ACT_SWISH) return _mm512_mul_ps(x, simd_sigmoid(x));
    if (act == SG_ACT_SIGMOID) return simd_sigmoid(x);
    if (act == SG_ACT_GELU_ERF) {
        __m512 bell;
        return _mm512_mul_ps(x, act_normal(x, &bell));
    }
    return x;
}

// s + x s (1 - s) h', the slope of x sigmoid(h(x)).
static inline __m512 act_gate_slope(__m512 x, __m512 s, __m512 inner_slope)
{
    __m512 bell = _mm512_fnmadd_ps(s, s, s);
    return _mm512_fmadd_ps(_mm512_mul_ps(x, bell), inner_slope, s);
}

SIMD_INLINE __m512 act_slope(__m512 x, sg_activation act)
{
    const __m512 one = _mm512_set1_ps(1), scale = _mm512_set1_ps(gelu_scale);
    if (act == SG_ACT_GELU) {
        __m512 z = simd_clamp(x, -gelu_limit, gelu_limit);
        __m512 square = _mm512_mul_ps(_mm512_set1_ps(gelu_cubic), _mm512_mul_ps(z, z));
        __m512 s = simd_sigmoid(_mm512_mul_ps(scale, _mm512_fmadd_ps(z, square, z)));
        __m512 inner = _mm512_mul_ps(scale, _mm512_fmadd_ps(_mm512_set1_ps(3), square, one));
        return act_gate_slope(z, s, inner);
    }
    if (act == SG_ACT_RELU)
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_GT_OQ), one);
    if (act == SG_ACT_SWISH) return act_gate_slope(x, simd_sigmoid(x), one);
    if (act == SG_ACT_SIGMOID) {
        __m512 s = simd_sigmoid(x);
        return _mm512_fnmadd_ps(s, s, s);
    }
    if (act == SG_ACT_GELU_ERF) {
        __m512 bell, below = act_normal(x, &bell);
        return _mm512_fmadd_ps(x, _mm512_mul_ps(_mm512_set1_ps(normal_density), bell), below);
    }
    return one;
}

#endif
