// The mathematical functions of sg_real, so that one source computes in float or in double.
#ifndef SG_KERNEL_REAL_MATH_H
#define SG_KERNEL_REAL_MATH_H

#include <float.h>
#include <math.h>

#include "kernel/real.h"

#ifdef SG_REAL_DOUBLE
#define SG_REAL_EPSILON DBL_EPSILON
#define SG_REAL_MAX     DBL_MAX
#else
#define SG_REAL_EPSILON FLT_EPSILON
#define SG_REAL_MAX     FLT_MAX
#endif

static inline sg_real sg_real_exp(sg_real x)
{
#ifdef SG_REAL_DOUBLE
    return exp(x);
#else
    return expf(x);
#endif
}

static inline sg_real sg_real_sqrt(sg_real x)
{
#ifdef SG_REAL_DOUBLE
    return sqrt(x);
#else
    return sqrtf(x);
#endif
}

static inline sg_real sg_real_log(sg_real x)
{
#ifdef SG_REAL_DOUBLE
    return log(x);
#else
    return logf(x);
#endif
}

// 1 / (1 + exp(-x)), without overflow trouble: exp(-x) = inf gives 0.
static inline sg_real sg_real_sigmoid(sg_real x)
{
    return 1 / (1 + sg_real_exp(-x));
}

#endif
