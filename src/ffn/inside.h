// Memories that are read in steps (ffn/memory.h), since somebody asks for what is between their
// tables: the points mlp.hook_pre, mlp.hook_pre_linear and mlp.hook_post.
#ifndef SG_FFN_INSIDE_H
#define SG_FFN_INSIDE_H

#include "ffn/ffn.h"

// Whether anybody asks for any of them.
bool sg_inside_asked(const sg_builder *b);

// What sg_memory_neurons and sg_memory_cells compute, with the same bits.
sg_tensor *sg_inside_rows(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                          sg_tensor *w_in, sg_tensor *w_out, sg_gate gate);

// What goes into gated linear units, u (rows, runs*2F), by its halves; runs 0: of a dense layer, u
// (rows, 2F).
sg_tensor *sg_inside_halves(const sg_builder *b, sg_tensor *u, int64_t runs,
                            const sg_glu_form *form);

// What sg_memory_experts computes, with the same bits unless hook_post is to be written or its
// gradient is asked for: the score then multiplies in front of down, as hook_post has it.
typedef struct sg_expert_tables {
    sg_tensor *up, *up_bias, *down, *down_bias;
} sg_expert_tables;
sg_tensor *sg_inside_experts(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                             const sg_expert_tables *tables, const sg_glu_form *form);

// What sg_memory_moefied computes, with the same bits.
struct sg_moefied;
sg_tensor *sg_inside_moefied(const sg_builder *b, sg_tensor *x, const sg_selection *selection,
                             const struct sg_moefied *of);

#endif
