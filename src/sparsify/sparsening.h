// What training for sparse activations takes besides its terms (op/op.h: sg_row_loss): the
// activation that takes the place of the model's, and how a term's weight moves.
#ifndef SG_SPARSIFY_SPARSENING_H
#define SG_SPARSIFY_SPARSENING_H

#include "kernel/kernel.h"

// The same layer with zeros: relu for gelu and swish (ReLU Strikes Back, Mirzadeh et al. 2023);
// those that have zeros stay. *changed says whether it is another.
sg_activation sg_relufied(sg_activation activation, bool *changed);
// Of gated layers the gate; SG_GLU_CLAMPED too, which loses its clamp.
sg_glu_kind sg_relufied_glu(sg_glu_kind kind, bool *changed);

// Weights of terms over a run, as D2DMoE has them.
typedef enum sg_ramp {
    SG_RAMP_CONSTANT,
    SG_RAMP_LINEAR, // weight * step / steps
    SG_RAMP_WARMUP  // up to the weight at half of the steps, then constant
} sg_ramp;
// At a step 0 … steps.
double sg_ramp_at(sg_ramp ramp, double weight, int64_t step, int64_t steps);

// Hidden width of a 2-layer network that costs `share` of what a projection d -> d with bias does
// (D2DMoE, attention): round(share (d^2 + d) / (2d + 1)), at least 1.
int64_t sg_replacement_width(int64_t d, double share);

#endif
