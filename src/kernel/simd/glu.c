// Gated linear units; the formulas stand in kernel/ref/glu.c. Each loop is compiled once per form.
#include "kernel/simd/activation.h"
#include "kernel/simd/kernels.h"

static const float glu_limit = 7;
static const float glu_alpha = 1.702f;

// ---- where gates and linear parts lie -----------------------------------------------------------

// a: gates, b: linear parts.
typedef simd_pair glu_pair;

// Pairs i … of a row of f.
SIMD_INLINE glu_pair glu_load(const float *u, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) return (glu_pair){simd_load(u + i, f - i), simd_load(u + f + i, f - i)};
    const int64_t left = 2 * (f - i);
    simd_vec a = simd_load(u + 2 * i, left);
    simd_vec b =
        left > simd_width ? simd_load(u + 2 * i + simd_width, left - simd_width) : simd_zero();
    return simd_unzip(a, b);
}

SIMD_INLINE void glu_store(float *u, glu_pair p, int64_t i, int64_t f, bool interleaved)
{
    if (!interleaved) {
        simd_store(u + i, p.a, f - i);
        simd_store(u + f + i, p.b, f - i);
        return;
    }
    const int64_t left = 2 * (f - i);
    const simd_pair zipped = simd_zip(p.a, p.b);
    simd_store(u + 2 * i, zipped.a, left);
    if (left > simd_width) simd_store(u + 2 * i + simd_width, zipped.b, left - simd_width);
}

// ---- one vector ---------------------------------------------------------------------------------

// NaN passes.
static inline simd_vec glu_gate(simd_vec x)
{
    return simd_min(simd_set(glu_limit), x);
}

SIMD_INLINE simd_vec glu_value(glu_pair p, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) return simd_mul(act_value(p.a, sg_glu_activation(kind)), p.b);
    const simd_vec one = simd_set(1), alpha = simd_set(glu_alpha);
    simd_vec gate = glu_gate(p.a), linear = simd_clamp(p.b, -glu_limit, glu_limit);
    simd_vec act = simd_mul(gate, simd_sigmoid(simd_mul(alpha, gate)));
    return simd_mul(act, simd_add(linear, one));
}

SIMD_INLINE glu_pair glu_gradient(glu_pair p, simd_vec grad, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) {
        const sg_activation act = sg_glu_activation(kind);
        return (glu_pair){simd_mul(simd_mul(grad, p.b), act_slope(p.a, act)),
                          simd_mul(grad, act_value(p.a, act))};
    }
    const simd_vec one = simd_set(1), alpha = simd_set(glu_alpha);
    simd_vec gate = glu_gate(p.a), linear = simd_clamp(p.b, -glu_limit, glu_limit);
    simd_vec s = simd_sigmoid(simd_mul(alpha, gate));
    simd_vec slope = act_gate_slope(gate, s, alpha);
    simd_vec dgate = simd_mul(simd_mul(grad, simd_add(linear, one)), slope);
    simd_vec dlinear = simd_mul(grad, simd_mul(gate, s));
    // A value that was cut differs from what came in; NaN was not cut.
    return (glu_pair){simd_if_same(dgate, gate, p.a), simd_if_same(dlinear, linear, p.b)};
}

// ---- rows ---------------------------------------------------------------------------------------

SIMD_INLINE void glu_forward(float *y, const float *u, int64_t rows, int64_t f, sg_glu_kind kind,
                             bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, y += f)
        for (int64_t i = 0; i < f; i += simd_width)
            simd_store(y + i, glu_value(glu_load(u, i, f, interleaved), kind), f - i);
}

SIMD_INLINE void glu_backward(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                              sg_glu_kind kind, bool interleaved)
{
    for (int64_t r = 0; r < rows; r++, u += 2 * f, du += 2 * f, dy += f)
        for (int64_t i = 0; i < f; i += simd_width) {
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

void SIMD_NAME(glu_forward)(float *y, const float *u, int64_t rows, int64_t f,
                            const sg_glu_form *form)
{
    if (form->interleaved)
        glu_forward_kind(y, u, rows, f, form->kind, true);
    else
        glu_forward_kind(y, u, rows, f, form->kind, false);
}

void SIMD_NAME(glu_backward)(float *du, const float *dy, const float *u, int64_t rows, int64_t f,
                             const sg_glu_form *form)
{
    if (form->interleaved)
        glu_backward_kind(du, dy, u, rows, f, form->kind, true);
    else
        glu_backward_kind(du, dy, u, rows, f, form->kind, false);
}
