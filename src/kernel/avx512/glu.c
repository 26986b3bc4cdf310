// Gated linear units; the formulas stand in kernel/ref/glu.c. Each loop is compiled once per form.
#include "kernel/avx512/activation.h"
#include "kernel/avx512/kernels.h"

static const float glu_limit = 7;
static const float glu_alpha = 1.702f;

// ---- where gates and linear parts lie -----------------------------------------------------------

typedef struct glu_pair {
    __m512 gate, linear;
} glu_pair;

// Pairs i … of a row of f.
SIMD_INLINE glu_pair glu_load(const float *u, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) return (glu_pair){simd_load(u + i, f - i), simd_load(u + f + i, f - i)};
    const int64_t left = 2 * (f - i);
    __m512 a = simd_load(u + 2 * i, left);
    __m512 b = left > 16 ? simd_load(u + 2 * i + 16, left - 16) : _mm512_setzero_ps();
    const __m512i even = _mm512_slli_epi32(simd_index(), 1);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    return (glu_pair){_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)};
}

SIMD_INLINE void glu_store(float *u, glu_pair p, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) {
        simd_store(u + i, p.gate, f - i);
        simd_store(u + f + i, p.linear, f - i);
        return;
    }
    const int64_t left = 2 * (f - i);
    const __m512i index = simd_index();
    // Place 2j is gate j, place 2j + 1 linear part j, which permutex2var counts as 16 + j.
    __m512i low =
        _mm512_or_si512(_mm512_srli_epi32(index, 1),
                        _mm512_slli_epi32(_mm512_and_si512(index, _mm512_set1_epi32(1)), 4));
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    simd_store(u + 2 * i, _mm512_permutex2var_ps(p.gate, low, p.linear), left);
    if (left > 16)
        simd_store(u + 2 * i + 16, _mm512_permutex2var_ps(p.gate, high, p.linear), left - 16);
}

// ---- one vector ---------------------------------------------------------------------------------

// min returns its second operand when one is NaN, so that NaN passes.
static inline __m512 glu_gate(__m512 x)
{
    return _mm512_min_ps(_mm512_set1_ps(glu_limit), x);
}

SIMD_INLINE __m512 glu_value(glu_pair p, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED)
        return _mm512_mul_ps(act_value(p.gate, sg_glu_activation(kind)), p.linear);
    const __m512 one = _mm512_set1_ps(1), alpha = _mm512_set1_ps(glu_alpha);
    __m512 gate = glu_gate(p.gate), linear = simd_clamp(p.linear, -glu_limit, glu_limit);
    __m512 act = _mm512_mul_ps(gate, simd_sigmoid(_mm512_mul_ps(alpha, gate)));
    return _mm512_mul_ps(act, _mm512_add_ps(linear, one));
}

SIMD_INLINE glu_pair glu_gradient(glu_pair p, __m512 grad, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) {
        const sg_activation act = sg_glu_activation(kind);
        return (glu_pair){_mm512_mul_ps(_mm512_mul_ps(grad, p.linear), act_slope(p.gate, act)),
                          _mm512_mul_ps(grad, act_value(p.gate, act))};
    }
    const __m512 one = _mm512_set1_ps(1), alpha = _mm512_set1_ps(glu_alpha);
    __m512 gate = glu_gate(p.gate), linear = simd_clamp(p.linear, -glu_limit, glu_limit);
    __m512 s = simd_sigmoid(_mm512_mul_ps(alpha, gate));
    __m512 slope = act_gate_slope(gate, s, alpha);
    __m512 dgate = _mm512_mul_ps(_mm512_mul_ps(grad, _mm512_add_ps(linear, one)), slope);
    __m512 dlinear = _mm512_mul_ps(grad, _mm512_mul_ps(gate, s));
    // A value that was cut differs from what came in; NaN was not cut.
    __mmask16 gate_kept = _mm512_cmp_ps_mask(gate, p.gate, _CMP_EQ_UQ);
    __mmask16 linear_kept = _mm512_cmp_ps_mask(linear, p.linear, _CMP_EQ_UQ);
    return (glu_pair){_mm512_maskz_mov_ps(gate_kept, dgate),
                      _mm512_maskz_mov_ps(linear_kept, dlinear)};
}

// ---- rows ---------------------------------------------------------------------------------------

SIMD_INLINE void glu_forward(float *y, const float *u, int64_t rows, int64_t f, sg_glu_kind kind,
                             bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, y += f)
        for (int64_t i = 0; i < f; i += 16)
            simd_store(y + i, glu_value(glu_load(u, i, f, interleaved), kind), f - i);
}

SIMD_INLINE void glu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                              sg_glu_kind kind, bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, du += 2 * f, dy += f)
        for (int64_t i = 0; i < f; i += 16) {
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

void sg_avx512_glu_forward(float *y, const float *u, int64_t rows, int64_t f,
                           const sg_glu_form *form)
{
    if (form->interleaved)
        glu_forward_kind(y, u, rows, f, form->kind, true);
    else
        glu_forward_kind(y, u, rows, f, form->kind, false);
}

void sg_avx512_glu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                            const sg_glu_form *form)
{
    if (form->interleaved)
        glu_backward_kind(du, dy, u, rows, f, form->kind, true);
    else
        glu_backward_kind(du, dy, u, rows, f, form->kind, false);
}
