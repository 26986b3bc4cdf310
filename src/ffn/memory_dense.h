// A memory of single neurons read through dense products, for memory_neurons.c and memory_steps.c:
// the same results but for roundings. Inputs and attributes as those have checked and made them.
#ifndef SG_FFN_MEMORY_DENSE_H
#define SG_FFN_MEMORY_DENSE_H

#include "ffn/neurons.h"

// Whether a memory is read so. w_in, w_out: its tables, or NULL.
bool sg_dense_chosen(const sg_tape *tape, const sg_neurons *a, const sg_tensor *w_in,
                     const sg_tensor *w_out);
sg_tensor *sg_dense_neurons(sg_tape *tape, sg_tensor *const in[SG_NEURONS_INPUTS], sg_neurons *a);
// sg_memory_pre.
sg_tensor *sg_dense_pre(sg_tape *tape, sg_tensor *const in[SG_NEURONS_INPUTS], sg_neurons *a);
// Whether a node is of the first.
bool sg_dense_is(const sg_node *node);

#endif
