// The activations on a vector; the formulas stand in kernel/ref/activation.c. `act` is a constant
// wherever these functions are used, so that nothing is decided in a loop.
#ifndef SG_KERNEL_AVX2_ACTIVATION_H
#define SG_KERNEL_AVX2_ACTIVATION_H

#include "kernel/avx2/simd.h"
#include "kernel/kernel.h"
#include "kernel/normal_tail.h"

static const float gelu_scale = 1.5957691216057308f; // sqrt(8/pi)
static const float gelu_cubic = 0.044715f;
static const float gelu_limit = 20;

// The normal distribution function Phi(x) = (1 + erf(x / sqrt 2)) / 2 and bell = exp(-x^2 / 2), by
// kernel/normal_tail.h: both within 1e-6 of themselves, however small, down to the smallest normal
// number. What a^2 is rounded by is put back, which exp would make much of.
static inline __m256 act_normal(__m256 x, __m256 *bell)
{
    const __m256 one = _mm256_set1_ps(1), half = _mm256_set1_ps(0.5f);
    const __m256 sign = _mm256_set1_ps(-0.0f);
    // Beyond 15 the bell is 0. min returns its second operand when one is NaN.
    __m256 a = _mm256_min_ps(_mm256_set1_ps(15), _mm256_andnot_ps(sign, x));
    __m256 square = _mm256_mul_ps(a, a), rest = _mm256_fmsub_ps(a, a, square);
    __m256 e = simd_exp(_mm256_mul_ps(_mm256_xor_ps(half, sign), square));
    *bell = _mm256_fnmadd_ps(_mm256_mul_ps(half, e), rest, e);
    __m256 t = _mm256_div_ps(one, _mm256_fmadd_ps(_mm256_set1_ps(normal_slope), a, one));
    __m256 r = _mm256_set1_ps(normal_tail[0]);
    SIMD_UNROLL
    for (int i = 1; i < normal_terms; i++)
        r = _mm256_fmadd_ps(r, t, _mm256_set1_ps(normal_tail[i]));
    __m256 below = _mm256_mul_ps(*bell, _mm256_mul_ps(r, t));
    return _mm256_blendv_ps(_mm256_sub_ps(one, below), below, x);
}

SIMD_INLINE __m256 act_value(__m256 x, sg_activation act)
{
    if (act == SG_ACT_GELU) {
        __m256 cubic = _mm256_mul_ps(_mm256_set1_ps(gelu_cubic), _mm256_mul_ps(x, x));
        __m256 inner = _mm256_fmadd_ps(x, cubic, x);
        return _mm256_mul_ps(x, simd_sigmoid(_mm256_mul_ps(_mm256_set1_ps(gelu_scale), inner)));
    }
    if (act == SG_ACT_RELU) return _mm256_max_ps(_mm256_setzero_ps(), x);
    if (act == SG_ACT_SWISH) return _mm256_mul_ps(x, simd_sigmoid(x));
    if (act == SG_ACT_SIGMOID) return simd_sigmoid(x);
    if (act == SG_ACT_GELU_ERF) {
        __m256 bell;
        return _mm256_mul_ps(x, act_normal(x, &bell));
    }
    return x;
}

// s + x s (1 - s) h', the slope of x sigmoid(h(x)).
static inline __m256 act_gate_slope(__m256 x, __m256 s, __m256 inner_slope)
{
    __m256 bell = _mm256_fnmadd_ps(s, s, s);
    return _mm256_fmadd_ps(_mm256_mul_ps(x, bell), inner_slope, s);
}

SIMD_INLINE __m256 act_slope(__m256 x, sg_activation act)
{
    const __m256 one = _mm256_set1_ps(1), scale = _mm256_set1_ps(gelu_scale);
    if (act == SG_ACT_GELU) {
        __m256 z = simd_clamp(x, -gelu_limit, gelu_limit);
        __m256 square = _mm256_mul_ps(_mm256_set1_ps(gelu_cubic), _mm256_mul_ps(z, z));
        __m256 s = simd_sigmoid(_mm256_mul_ps(scale, _mm256_fmadd_ps(z, square, z)));
        __m256 inner = _mm256_mul_ps(scale, _mm256_fmadd_ps(_mm256_set1_ps(3), square, one));
        return act_gate_slope(z, s, inner);
    }
    if (act == SG_ACT_RELU)
        return _mm256_and_ps(one, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_GT_OQ));
    if (act == SG_ACT_SWISH) return act_gate_slope(x, simd_sigmoid(x), one);
    if (act == SG_ACT_SIGMOID) {
        __m256 s = simd_sigmoid(x);
        return _mm256_fnmadd_ps(s, s, s);
    }
    if (act == SG_ACT_GELU_ERF) {
        __m256 bell, below = act_normal(x, &bell);
        return _mm256_fmadd_ps(x, _mm256_mul_ps(_mm256_set1_ps(normal_density), bell), below);
    }
    return one;
}

#endif
