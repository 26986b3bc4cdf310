// Gates, forward and backward, one after the other. One function each, so that the operations that
// read a memory at once and those that do it in steps have the same bits.
#include "ffn/gates.h"

#include <string.h>

void sg_gate_forward(const sg_kernels *kernels, sg_activation activation, sg_gate gate, sg_real *z,
                     const sg_real *dots, const sg_real *scores, int64_t count)
{
    if (gate == SG_GATE_VALUE) {
        memcpy(z, scores, (size_t)count * sizeof *z);
        return;
    }
    if (gate == SG_GATE_BEFORE) {
        for (int64_t i = 0; i < count; i++)
            z[i] = dots[i] * scores[i];
        if (activation != SG_ACT_IDENTITY) kernels->act_forward(z, z, activation, count);
        return;
    }
    kernels->act_forward(z, dots, activation, count);
    if (gate == SG_GATE_AFTER)
        for (int64_t i = 0; i < count; i++)
            z[i] *= scores[i];
}

void sg_gate_backward(const sg_kernels *kernels, sg_activation activation, sg_gate gate,
                      sg_real *da, sg_real *ds, const sg_real *dz, const sg_real *dots,
                      const sg_real *scores, int64_t count, sg_real *work)
{
    if (gate == SG_GATE_VALUE) {
        memcpy(ds, dz, (size_t)count * sizeof *ds);
        return;
    }
    if (gate == SG_GATE_BEFORE) {
        for (int64_t i = 0; i < count; i++)
            work[i] = dots[i] * scores[i];
        kernels->act_backward(da, dz, work, activation, count, false);
        for (int64_t i = 0; i < count; i++) {
            ds[i] = dots[i] * da[i];
            da[i] *= scores[i];
        }
        return;
    }
    kernels->act_backward(da, dz, dots, activation, count, false);
    if (gate != SG_GATE_AFTER) return;
    kernels->act_forward(work, dots, activation, count);
    for (int64_t i = 0; i < count; i++) {
        ds[i] = work[i] * dz[i];
        da[i] *= scores[i];
    }
}
