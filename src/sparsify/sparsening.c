// Choices by name and two formulas: what is published stands in the header.
#include "sparsify/sparsening.h"

#include <math.h>

sg_activation sg_relufied(sg_activation activation, bool *changed)
{
    const bool smooth =
        activation == SG_ACT_GELU || activation == SG_ACT_GELU_ERF || activation == SG_ACT_SWISH;
    *changed = smooth;
    return smooth ? SG_ACT_RELU : activation;
}

sg_glu_kind sg_relufied_glu(sg_glu_kind kind, bool *changed)
{
    *changed = kind != SG_GLU_RELU;
    return SG_GLU_RELU;
}

double sg_ramp_at(sg_ramp ramp, double weight, int64_t step, int64_t steps)
{
    const double done = steps > 0 ? (double)step / (double)steps : 1;
    if (ramp == SG_RAMP_LINEAR) return weight * fmin(1, done);
    return ramp == SG_RAMP_WARMUP ? weight * fmin(1, 2 * done) : weight;
}

int64_t sg_replacement_width(int64_t d, double share)
{
    const double width = (double)d;
    const double hidden = round(share * (width * width + width) / (2 * width + 1));
    return hidden < 1 ? 1 : (int64_t)hidden;
}
