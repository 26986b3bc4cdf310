// Where the score of a neuron meets its activation (sg_gate), for `count` neurons: z from the dot
// products a = w_in . x and the scores s, and the gradients back through it.
//
//     none:    z = act(a)      da = act'(a) dz
//     before:  z = act(s a)    u = act'(s a) dz,  da = s u,  ds = a u
//     after:   z = s act(a)    da = s act'(a) dz,            ds = act(a) dz
//     value:   z = s                                         ds = dz
#ifndef SG_FFN_GATES_H
#define SG_FFN_GATES_H

#include "ffn/memory.h"

// Arrays of `count`; scores are not read where there is no gate, dots not where it is the value.
void sg_gate_forward(const sg_kernels *kernels, sg_activation activation, sg_gate gate, sg_real *z,
                     const sg_real *dots, const sg_real *scores, int64_t count);
// da and ds from dz, where there are such. `work` has room for count values.
void sg_gate_backward(const sg_kernels *kernels, sg_activation activation, sg_gate gate,
                      sg_real *da, sg_real *ds, const sg_real *dz, const sg_real *dots,
                      const sg_real *scores, int64_t count, sg_real *work);

#endif
