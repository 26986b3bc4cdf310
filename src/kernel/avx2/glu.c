// Gated linear units; the formulas stand in kernel/ref/glu.c. Each loop is compiled once per form.
#include "kernel/avx2/activation.h"
#include "kernel/avx2/kernels.h"

static const float glu_limit = 7;
static const float glu_alpha = 1.702f;

// ---- where gates and linear parts lie -----------------------------------------------------------

typedef struct glu_pair {
    __m256 gate, linear;
} glu_pair;

// Pairs i … of a row of f.
SIMD_INLINE glu_pair glu_load(const float *u, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) return (glu_pair){simd_load(u + i, f - i), simd_load(u + f + i, f - i)};
    const int64_t left = 2 * (f - i);
    __m256 a = simd_load(u + 2 * i, left);
    __m256 b = left > 8 ? simd_load(u + 2 * i + 8, left - 8) : _mm256_setzero_ps();
    // Of each half of a and b the even or odd numbers, then the halves into their order.
    __m256 even = _mm256_shuffle_ps(a, b, 0x88), odd = _mm256_shuffle_ps(a, b, 0xdd);
    return (glu_pair){_mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(even), 0xd8)),
                      _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(odd), 0xd8))};
}

SIMD_INLINE void glu_store(float *u, glu_pair p, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) {
        simd_store(u + i, p.gate, f - i);
        simd_store(u + f + i, p.linear, f - i);
        return;
    }
    const int64_t left = 2 * (f - i);
    __m256 low = _mm256_unpacklo_ps(p.gate, p.linear), high = _mm256_unpackhi_ps(p.gate, p.linear);
    simd_store(u + 2 * i, _mm256_permute2f128_ps(low, high, 0x20), left);
    if (left > 8) simd_store(u + 2 * i + 8, _mm256_permute2f128_ps(low, high, 0x31), left - 8);
}

// ---- one vector ---------------------------------------------------------------------------------

// min returns its second operand when one is NaN, so that NaN passes.
static inline __m256 glu_gate(__m256 x)
{
    return _mm256_min_ps(_mm256_set1_ps(glu_limit), x);
}

SIMD_INLINE __m256 glu_value(glu_pair p, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED)
        return _mm256_mul_ps(act_value(p.gate, sg_glu_activation(kind)), p.linear);
    const __m256 one = _mm256_set1_ps(1), alpha = _mm256_set1_ps(glu_alpha);
    __m256 gate = glu_gate(p.gate), linear = simd_clamp(p.linear, -glu_limit, glu_limit);
    __m256 act = _mm256_mul_ps(gate, simd_sigmoid(_mm256_mul_ps(alpha, gate)));
    return _mm256_mul_ps(act, _mm256_add_ps(linear, one));
}

SIMD_INLINE glu_pair glu_gradient(glu_pair p, __m256 grad, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) {
        const sg_activation act = sg_glu_activation(kind);
        return (glu_pair){_mm256_mul_ps(_mm256_mul_ps(grad, p.linear), act_slope(p.gate, act)),
                          _mm256_mul_ps(grad, act_value(p.gate, act))};
    }
    const __m256 one = _mm256_set1_ps(1), alpha = _mm256_set1_ps(glu_alpha);
    __m256 gate = glu_gate(p.gate), linear = simd_clamp(p.linear, -glu_limit, glu_limit);
    __m256 s = simd_sigmoid(_mm256_mul_ps(alpha, gate));
    __m256 slope = act_gate_slope(gate, s, alpha);
    __m256 dgate = _mm256_mul_ps(_mm256_mul_ps(grad, _mm256_add_ps(linear, one)), slope);
    __m256 dlinear = _mm256_mul_ps(grad, _mm256_mul_ps(gate, s));
    // A value that was cut differs from what came in; NaN was not cut.
    __m256 gate_cut = _mm256_cmp_ps(gate, p.gate, _CMP_NEQ_OQ);
    __m256 linear_cut = _mm256_cmp_ps(linear, p.linear, _CMP_NEQ_OQ);
    return (glu_pair){_mm256_andnot_ps(gate_cut, dgate), _mm256_andnot_ps(linear_cut, dlinear)};
}

// ---- rows ---------------------------------------------------------------------------------------

SIMD_INLINE void glu_forward(float *y, const float *u, int64_t rows, int64_t f, sg_glu_kind kind,
                             bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, y += f)
        for (int64_t i = 0; i < f; i += 8)
            simd_store(y + i, glu_value(glu_load(u, i, f, interleaved), kind), f - i);
}

SIMD_INLINE void glu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                              sg_glu_kind kind, bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, du += 2 * f, dy += f)
        for (int64_t i = 0; i < f; i += 8) {
            glu_pair p = glu_load(u, i, f, interleaved);
            glu_store(du, glu_gradient(p, simd_load(dy + i, f - i), kind), i, f, interleaved);
        }
}

SIMD_INLINE void glu_forward_kind(float *y, const float *u, int64_t rows, int64_t f,
                                  sg_glu_kind kind, bool interleaved)
{
    switch (kind) {
    case SG_GLU_SILU:
        glu_forward(y, u, rows, f, SG_GLU_SILU, interleaved);
        break;
    case SG_GLU_GELU:
        glu_forward(y, u, rows, f, SG_GLU_GELU, interleaved);
        break;
    case SG_GLU_GELU_ERF:
        glu_forward(y, u, rows, f, SG_GLU_GELU_ERF, interleaved);
        break;
    case SG_GLU_RELU:
        glu_forward(y, u, rows, f, SG_GLU_RELU, interleaved);
        break;
    default:
        glu_forward(y, u, rows, f, SG_GLU_CLAMPED, interleaved);
        break;
    }
}

SIMD_INLINE void glu_backward_kind(float *du, const float *dy, const float *u, int64_t rows,
                                   int64_t f, sg_glu_kind kind, bool interleaved)
{
    switch (kind) {
    case SG_GLU_SILU:
        glu_backward(du, dy, u, rows, f, SG_GLU_SILU, interleaved);
        break;
    case SG_GLU_GELU:
        glu_backward(du, dy, u, rows, f, SG_GLU_GELU, interleaved);
        break;
    case SG_GLU_GELU_ERF:
        glu_backward(du, dy, u, rows, f, SG_GLU_GELU_ERF, interleaved);
        break;
    case SG_GLU_RELU:
        glu_backward(du, dy, u, rows, f, SG_GLU_RELU, interleaved);
        break;
    default:
        glu_backward(du, dy, u, rows, f, SG_GLU_CLAMPED, interleaved);
        break;
    }
}

void sg_avx2_glu_forward(float *y, const float *u, int64_t rows, int64_t f, const sg_glu_form *form)
{
    if (form->interleaved)
        glu_forward_kind(y, u, rows, f, form->kind, true);
    else
        glu_forward_kind(y, u, rows, f, form->kind, false);
}

void sg_avx2_glu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                          const sg_glu_form *form)
{
    if (form->interleaved)
        glu_backward_kind(du, dy, u, rows, f, form->kind, true);
    else
        glu_backward_kind(du, dy, u, rows, f, form->kind, false);
}
