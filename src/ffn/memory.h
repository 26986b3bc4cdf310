// The two ways to read a memory by a selection: neuron by neuron (blocks of one), and block by
// block through dense products; each at once, or in steps. All are operations of the tape (op/op.h
// has the conventions). What lies behind a count of the selection takes no part.
#ifndef SG_FFN_MEMORY_H
#define SG_FFN_MEMORY_H

#include "op/op.h"

// Where the score of a neuron meets its activation.
typedef enum sg_gate {
    SG_GATE_NONE,   // z = act(a)
    SG_GATE_BEFORE, // z = act(score a)   sgatlin
    SG_GATE_AFTER,  // z = score act(a)   PEER, MoE
    SG_GATE_VALUE   // z = score          values alone: what selects has computed the coefficients
} sg_gate;

// y = sum over the selected neurons i of z_i w_out_i, a_i = w_in_i . x. Scores are read unless
// there is no gate. x (rows, d); w_in, w_out (pools, N, d): pools is the selection's channels
// (channel c reads pool c) or 1 (all channels read the same) -> (rows, d). With SG_GATE_VALUE x and
// w_in are NULL.
sg_tensor *sg_memory_neurons(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                             sg_gate gate);

// y = sum over the selected blocks i of score_i sum over their cells act(w_in . x) w_out; rows i g
// … of w_in and w_out (1, blocks*g, d) are block i, g the unit of the selection, which has one
// channel; gate none (scores are not read) or after. No row is dropped or padded. sg_memory_blocks
// goes through dense products; sg_memory_cells does, or reads small blocks cell by cell.
sg_tensor *sg_memory_blocks(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                            sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                            sg_gate gate);
sg_tensor *sg_memory_cells(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                           sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                           sg_gate gate);

// The same with blocks that are experts, y = sum over the selected experts e of score_e GLU_e(x),
// GLU(x) = glu(up x + up_bias) down^T + down_bias, glu as `form` says. up (E, 2F, d), up_bias (E,
// 2F), down (E, d, F), down_bias (E, d); both biases may be NULL.
sg_tensor *sg_memory_experts(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *up, sg_tensor *up_bias, sg_tensor *down,
                             sg_tensor *down_bias, const sg_glu_form *form);

// ---- in three steps ---------------------------------------------------------------------------
//
// The same memories, for who wants to see or replace what is between their tables:
//
//     sg_selection s = sg_memory_selection(tape, selection);    // of cells: small blocks as cells
//     pre  = sg_memory_pre(tape, x, &s, w_in);                  // w_in . x
//     post = sg_memory_post(tape, pre, &s, activation, gate);   // what multiplies w_out
//     y    = sg_memory_sum(tape, post, &s, w_out);
//
// with the bits of sg_memory_neurons and sg_memory_cells, in values and gradients (where w_in and
// w_out are one table, its gradient is summed in another order). pre and post are (rows,
// channels*k*g), in the order of the selection, g its unit; 0 behind a count. A memory of values
// (SG_GATE_VALUE) is its last step, its scores being the post.
//
// Experts likewise, with the bits of sg_memory_experts (but in a bf16 tape, where u and h are
// rounded between the steps):
//
//     u = sg_memory_experts_pre(tape, x, selection, up, up_bias);          // (rows, k*2F)
//     h = sg_glu(tape, u as (rows*k, 2F), form) as (rows, k*F);
//     y = sg_memory_experts_sum(tape, h, selection, down, down_bias, false);
//
// There the score multiplies behind down: what multiplies a row of down is post =
// sg_memory_post(tape, h, selection, SG_ACT_IDENTITY, SG_GATE_AFTER), which is beside the way to y.
// A post that is to count goes into the sum in place of h, with `gated`: the score then multiplies
// the bias of down alone. The same y, in other bits.
sg_selection sg_memory_selection(sg_tape *tape, const sg_selection *selection);
sg_tensor *sg_memory_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                         sg_tensor *w_in);
sg_tensor *sg_memory_post(sg_tape *tape, sg_tensor *pre, const sg_selection *selection,
                          sg_activation activation, sg_gate gate);
sg_tensor *sg_memory_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                         sg_tensor *w_out);
sg_tensor *sg_memory_experts_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                                 sg_tensor *up, sg_tensor *up_bias);
sg_tensor *sg_memory_experts_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                                 sg_tensor *down, sg_tensor *down_bias, bool gated);

// ---- the order of reading -----------------------------------------------------------------------

// The order in which a memory was read neuron by neuron in the last forward pass: table by table,
// or each tile of rows through all tables; and the hits of each neuron that is hit at all that
// decided it (measured now and then; 0: not measured).
typedef struct sg_memory_order {
    bool by_table;
    bool rounded; // tables are rounded to bf16 for the pass, and summed slice by slice
    double reuse;
} sg_memory_order;
// Of all such memories of a tape; of the first (both counts 0: there is none) the order itself.
// dense: memories of single neurons that are read through dense products.
typedef struct sg_memory_orders {
    int by_table, by_row, dense;
    sg_memory_order first;
} sg_memory_orders;
sg_memory_orders sg_memory_orders_of(const sg_tape *tape);

#endif
