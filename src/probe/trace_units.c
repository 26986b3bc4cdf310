// Activations and gated linear units in double, with their slopes: those of kernel/ref, whose
// formulas stand there and in kernel/kernel.h.
#include <math.h>

#include "probe/trace_frozen.h"

static double units_sigmoid(double x)
{
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

// x sigmoid(inner(x)) and its slope, `outer` that of inner.
static double units_gated(double x, double inner, double outer, double *slope)
{
    const double s = units_sigmoid(inner);
    *slope = s + x * s * (1 - s) * outer;
    return x * s;
}

double sg_unit_value(double x, sg_activation act, double *slope)
{
    const double root = 1.5957691216057308; // sqrt(8/pi)
    double s;
    switch (act) {
    case SG_ACT_GELU: {
        if (fabs(x) > 20) { // as kernel/ref: x^2 could overflow, the sigmoid is 0 or 1
            *slope = x > 0;
            return x > 0 ? x : 0;
        }
        const double square = 0.044715 * x * x;
        return units_gated(x, root * x * (1 + square), root * (1 + 3 * square), slope);
    }
    case SG_ACT_RELU:
        *slope = x > 0;
        return x > 0 ? x : 0;
    case SG_ACT_SWISH:
        return units_gated(x, x, 1, slope);
    case SG_ACT_SIGMOID:
        s = units_sigmoid(x);
        *slope = s * (1 - s);
        return s;
    case SG_ACT_GELU_ERF:
        s = erfc(-x * M_SQRT1_2) / 2;
        *slope = s + x * exp(-x * x / 2) * 0.39894228040143268; // 1 / sqrt(2 pi)
        return x * s;
    case SG_ACT_RELU2:
        *slope = x > 0 ? 2 * x : 0;
        return x > 0 ? x * x : 0;
    case SG_ACT_TANH:
        s = tanh(x);
        *slope = 1 - s * s;
        return s;
    case SG_ACT_ABS:
        *slope = (x > 0) - (x < 0);
        return fabs(x);
    default:
        *slope = 1;
        return x;
    }
}

double sg_unit_glu(double gate, double line, sg_glu_kind kind, double *by_gate, double *by_line)
{
    double slope;
    if (kind != SG_GLU_CLAMPED) {
        const double act = sg_unit_value(gate, sg_glu_activation(kind), &slope);
        *by_gate = slope * line;
        *by_line = act;
        return act * line;
    }
    const double limit = 7, alpha = 1.702;
    const bool gate_cut = gate > limit, line_cut = fabs(line) > limit;
    gate = fmin(gate, limit);
    line = fmax(fmin(line, limit), -limit);
    const double act = units_gated(gate, alpha * gate, alpha, &slope);
    *by_gate = gate_cut ? 0 : slope * (line + 1);
    *by_line = line_cut ? 0 : act;
    return act * (line + 1);
}
