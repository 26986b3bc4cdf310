// Gated linear units: one gate after the other (kernel/kernel.h has the formulas).
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

static const double glu_limit = 7;
static const double glu_alpha = 1.702;

static sg_real glu_value(sg_real gate, sg_real linear, sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) return sg_ref_act_value(gate, sg_glu_activation(kind)) * linear;
    const sg_real limit = (sg_real)glu_limit, alpha = (sg_real)glu_alpha;
    gate = gate > limit ? limit : gate;
    linear = linear > limit ? limit : linear < -limit ? -limit : linear;
    return gate * sg_real_sigmoid(alpha * gate) * (linear + 1);
}

static void glu_gradient(sg_real *dgate, sg_real *dlinear, sg_real dy, sg_real gate, sg_real linear,
                         sg_glu_kind kind)
{
    if (kind != SG_GLU_CLAMPED) {
        const sg_activation act = sg_glu_activation(kind);
        *dgate = dy * linear * sg_ref_act_slope(gate, act);
        *dlinear = dy * sg_ref_act_value(gate, act);
        return;
    }
    const sg_real limit = (sg_real)glu_limit, alpha = (sg_real)glu_alpha;
    const bool gate_cut = gate > limit, linear_cut = linear > limit || linear < -limit;
    gate = gate_cut ? limit : gate;
    linear = linear > limit ? limit : linear < -limit ? -limit : linear;
    sg_real s = sg_real_sigmoid(alpha * gate);
    sg_real slope = s + gate * (s * (1 - s)) * alpha;
    *dgate = gate_cut ? 0 : dy * (linear + 1) * slope;
    *dlinear = linear_cut ? 0 : dy * (gate * s);
}

void sg_ref_glu_forward(sg_real *y, const sg_real *u, int64_t rows, int64_t f,
                        const sg_glu_form *form)
{
    const int64_t step = form->interleaved ? 2 : 1, linear = form->interleaved ? 1 : f;
    for (int64_t r = 0; r < rows; r++, u += 2 * f, y += f)
        for (int64_t i = 0; i < f; i++)
            y[i] = glu_value(u[i * step], u[i * step + linear], form->kind);
}

void sg_ref_glu_backward(sg_real *du, const sg_real *dy, const sg_real *u, int64_t rows, int64_t f,
                         const sg_glu_form *form)
{
    const int64_t step = form->interleaved ? 2 : 1, linear = form->interleaved ? 1 : f;
    for (int64_t r = 0; r < rows; r++, u += 2 * f, du += 2 * f, dy += f)
        for (int64_t i = 0; i < f; i++) {
            const int64_t at = i * step;
            glu_gradient(&du[at], &du[at + linear], dy[i], u[at], u[at + linear], form->kind);
        }
}
