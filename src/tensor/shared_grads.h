// Gradients of sums: dz is da and db, so that they may lie in one place and need no copies.
#ifndef SG_TENSOR_SHARED_GRADS_H
#define SG_TENSOR_SHARED_GRADS_H

#include "tensor/tape_inside.h"

// Of a tape whose steps are laid out: owner[t], by tensor, is the one in whose place the gradient
// of t lies (itself: in its own).
sg_status sg_shared_grads(const sg_tape *tape, int *owner, sg_error *err);

#endif
