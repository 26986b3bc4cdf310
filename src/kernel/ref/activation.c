// Activations.
//
// GELU in its tanh form (Hendrycks & Gimpel 2016) is computed through 1 + tanh(u) = 2 sigmoid(2u):
// gelu(x) = x sigmoid(2u), 2u = sqrt(8/pi) (x + 0.044715 x^3), which keeps its relative accuracy
// for negative x, where 1 + tanh(u) would cancel.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

static const double gelu_scale = 1.5957691216057308; // sqrt(8/pi)
static const double gelu_cubic = 0.044715;
// Beyond it the sigmoid is 0 or 1 and its slope 0; without the cut x^2 could overflow.
static const double gelu_limit = 20;
static const double normal_density = 0.39894228040143268; // 1 / sqrt(2 pi)

// The normal distribution function. erfc keeps its relative accuracy for negative x, but only if
// its argument is not rounded to float.
static sg_real act_normal(sg_real x)
{
    return (sg_real)(erfc(-(double)x * M_SQRT1_2) / 2);
}

sg_real sg_ref_act_value(sg_real x, sg_activation act)
{
    switch (act) {
    case SG_ACT_GELU: {
        sg_real inner = x * (1 + (sg_real)gelu_cubic * (x * x));
        return x * sg_real_sigmoid((sg_real)gelu_scale * inner);
    }
    case SG_ACT_RELU:
        return x < 0 ? 0 : x;
    case SG_ACT_SWISH:
        return x * sg_real_sigmoid(x);
    case SG_ACT_SIGMOID:
        return sg_real_sigmoid(x);
    case SG_ACT_GELU_ERF:
        return x * act_normal(x);
    case SG_ACT_RELU2:
        return x < 0 ? 0 : x * x;
    case SG_ACT_TANH:
        return (sg_real)tanh((double)x);
    case SG_ACT_ABS:
        return x < 0 ? -x : x;
    default:
        return x;
    }
}

// d/dx x sigmoid(h(x)) = s + x s (1 - s) h'(x), s = sigmoid(h(x)).
sg_real sg_ref_act_slope(sg_real x, sg_activation act)
{
    const sg_real limit = (sg_real)gelu_limit;
    switch (act) {
    case SG_ACT_GELU: {
        sg_real z = x > limit ? limit : x < -limit ? -limit : x;
        sg_real square = (sg_real)gelu_cubic * (z * z);
        sg_real s = sg_real_sigmoid((sg_real)gelu_scale * (z * (1 + square)));
        return s + z * (s * (1 - s)) * ((sg_real)gelu_scale * (1 + 3 * square));
    }
    case SG_ACT_RELU:
        return x > 0 ? 1 : 0;
    case SG_ACT_SWISH: {
        sg_real s = sg_real_sigmoid(x);
        return s + x * (s * (1 - s));
    }
    case SG_ACT_SIGMOID: {
        sg_real s = sg_real_sigmoid(x);
        return s * (1 - s);
    }
    case SG_ACT_GELU_ERF: // Phi(x) + x Phi'(x)
        return act_normal(x) + x * ((sg_real)normal_density * sg_real_exp(-x * x / 2));
    case SG_ACT_RELU2:
        return x > 0 ? 2 * x : 0;
    case SG_ACT_TANH: {
        sg_real s = sg_real_sigmoid(2 * x);
        return 4 * s * (1 - s);
    }
    case SG_ACT_ABS:
        return x > 0 ? 1 : x < 0 ? -1 : 0;
    default:
        return 1;
    }
}

void sg_ref_act_forward(sg_real *y, const sg_real *x, sg_activation act, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        y[i] = sg_ref_act_value(x[i], act);
}

void sg_ref_act_backward(sg_real *dx, const sg_real *dy, const sg_real *x, sg_activation act,
                         int64_t n, bool accumulate)
{
    for (int64_t i = 0; i < n; i++) {
        sg_real value = dy[i] * sg_ref_act_slope(x[i], act);
        dx[i] = accumulate ? dx[i] + value : value;
    }
}
