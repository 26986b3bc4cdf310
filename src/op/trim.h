// What a threshold leaves out, one function for the operations that do so (op_trim.c, and the
// memory of neurons in ffn/memory_moefied.c).
#ifndef SG_OP_TRIM_H
#define SG_OP_TRIM_H

#include <stdbool.h>
#include <stdint.h>

#include "kernel/real.h"

// Whether |a| <= t; a NaN is above all.
static inline bool sg_trim_takes(sg_real a, double t)
{
    return (a < 0 ? -a : a) <= (sg_real)t;
}

// x_i = 0 where |a_i| <= t. x, a (n); a may be x.
static inline void sg_trim_values(sg_real *x, const sg_real *a, int64_t n, double t)
{
    for (int64_t i = 0; i < n; i++)
        if (sg_trim_takes(a[i], t)) x[i] = 0;
}

#endif
