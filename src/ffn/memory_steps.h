// The first and last step of memories that are read block by block (memory_steps_blocks.c), for
// memory_steps.c. Selections of one channel; w_in, w_out (1, blocks*g, d), g the unit.
#ifndef SG_FFN_MEMORY_STEPS_H
#define SG_FFN_MEMORY_STEPS_H

#include "ffn/memory.h"

// -> (rows, k*g)
sg_tensor *sg_steps_blocks_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                               sg_tensor *w_in);
// post (rows, k*g) -> (rows, d)
sg_tensor *sg_steps_blocks_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                               sg_tensor *w_out);

#endif
