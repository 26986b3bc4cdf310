// What a threshold leaves out, one function for the operations that do so (op_trim.c, and the
// memory of neurons in ffn/memory_moefied.c).
#ifndef SG_OP_TRIM_H
#define SG_OP_TRIM_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernel/real.h"

// Whether |a| <= t; a NaN is above all. Without a branch: signs are not foreseen.
static inline bool sg_trim_takes(sg_real a, double t)
{
    return (sg_real)fabs((double)a) <= (sg_real)t;
}

// y_i = 0 where |a_i| <= t, else x_i. x, y, a (n); all may be the same.
static inline void sg_trim_values(sg_real *y, const sg_real *x, const sg_real *a, int64_t n,
                                  double t)
{
    for (int64_t i = 0; i < n; i++) {
        const sg_real value = x[i];
        y[i] = sg_trim_takes(a[i], t) ? 0 : value;
    }
}

#endif
