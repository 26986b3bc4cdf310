// Activations and the clamped SwiGLU; the formulas stand in kernel/ref/activation.c. Each loop is
// compiled once per activation: `act` is a constant wherever the inline functions are used.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/simd.h"

static const float gelu_scale = 1.5957691216057308f; // sqrt(8/pi)
static const float gelu_cubic = 0.044715f;
static const float gelu_limit = 20;

static const float swiglu_limit = 7;
static const float swiglu_alpha = 1.702f;

static inline __m512 act_value(__m512 x, sg_activation act)
{
    if (act == SG_ACT_GELU) {
        __m512 cubic = _mm512_mul_ps(_mm512_set1_ps(gelu_cubic), _mm512_mul_ps(x, x));
        __m512 inner = _mm512_fmadd_ps(x, cubic, x);
        return _mm512_mul_ps(x, simd_sigmoid(_mm512_mul_ps(_mm512_set1_ps(gelu_scale), inner)));
    }
    if (act == SG_ACT_RELU) return _mm512_max_ps(_mm512_setzero_ps(), x);
    if (act == SG_ACT_SWISH) return _mm512_mul_ps(x, simd_sigmoid(x));
    if (act == SG_ACT_SIGMOID) return simd_sigmoid(x);
    return x;
}

// s + x s (1 - s) h', the slope of x sigmoid(h(x)).
static inline __m512 act_gate_slope(__m512 x, __m512 s, __m512 inner_slope)
{
    __m512 bell = _mm512_fnmadd_ps(s, s, s);
    return _mm512_fmadd_ps(_mm512_mul_ps(x, bell), inner_slope, s);
}

static inline __m512 act_slope(__m512 x, sg_activation act)
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
    return one;
}

static inline void act_forward(float *y, const float *x, sg_activation act, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16)
        simd_store(y + i, act_value(simd_load(x + i, n - i), act), n - i);
}

static inline void act_backward(float *dx, const float *dy, const float *x, sg_activation act,
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
    default:
        act_backward(dx, dy, x, SG_ACT_IDENTITY, n, accumulate);
        break;
    }
}

// min returns its second operand when one is NaN, so that NaN passes.
static inline __m512 swiglu_gate(__m512 x)
{
    return _mm512_min_ps(_mm512_set1_ps(swiglu_limit), x);
}

void sg_avx512_swiglu_forward(float *y, const float *u, int64_t rows, int64_t f)
{
    const __m512 one = _mm512_set1_ps(1), alpha = _mm512_set1_ps(swiglu_alpha);
    for (int64_t r = 0; r < rows; r++, u += 2 * f, y += f) {
        for (int64_t i = 0; i < f; i += 16) {
            __m512 gate = swiglu_gate(simd_load(u + i, f - i));
            __m512 linear = simd_clamp(simd_load(u + f + i, f - i), -swiglu_limit, swiglu_limit);
            __m512 act = _mm512_mul_ps(gate, simd_sigmoid(_mm512_mul_ps(alpha, gate)));
            simd_store(y + i, _mm512_mul_ps(act, _mm512_add_ps(linear, one)), f - i);
        }
    }
}

void sg_avx512_swiglu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f)
{
    const __m512 one = _mm512_set1_ps(1), alpha = _mm512_set1_ps(swiglu_alpha);
    for (int64_t r = 0; r < rows; r++, u += 2 * f, du += 2 * f, dy += f) {
        for (int64_t i = 0; i < f; i += 16) {
            int64_t left = f - i;
            __m512 grad = simd_load(dy + i, left);
            __m512 gate_in = simd_load(u + i, left), linear_in = simd_load(u + f + i, left);
            __m512 gate = swiglu_gate(gate_in);
            __m512 linear = simd_clamp(linear_in, -swiglu_limit, swiglu_limit);
            __m512 s = simd_sigmoid(_mm512_mul_ps(alpha, gate));
            __m512 slope = act_gate_slope(gate, s, alpha);
            __m512 dgate = _mm512_mul_ps(_mm512_mul_ps(grad, _mm512_add_ps(linear, one)), slope);
            __m512 dlinear = _mm512_mul_ps(grad, _mm512_mul_ps(gate, s));
            // A value that was cut differs from what came in; NaN was not cut.
            __mmask16 gate_kept = _mm512_cmp_ps_mask(gate, gate_in, _CMP_EQ_UQ);
            __mmask16 linear_kept = _mm512_cmp_ps_mask(linear, linear_in, _CMP_EQ_UQ);
            simd_store(du + i, _mm512_maskz_mov_ps(gate_kept, dgate), left);
            simd_store(du + f + i, _mm512_maskz_mov_ps(linear_kept, dlinear), left);
        }
    }
}
