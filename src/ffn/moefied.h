// Memories of the neurons of a dense layer, cut into blocks that are read where a router says so:
// operations of the tape for what converted models compute (memory_moefied.c), and how few rows go
// through them (moefied_few.c).
#ifndef SG_FFN_MOEFIED_H
#define SG_FFN_MOEFIED_H

#include "ffn/blocks.h"

// What a layer reads. g neurons a block, E blocks.
typedef struct sg_moefied sg_moefied;
struct sg_moefied {
    sg_tensor *up;        // plain: w_in (1, E*g, d); gated: (E, 2g, d), gates, then linear parts
    sg_tensor *up_bias;   // (E*g) or (E, 2g); NULL: none
    sg_tensor *down;      // w_out (1, E*g, d)
    sg_tensor *down_bias; // (d), once whatever is selected; NULL: none
    sg_tensor *mean;      // (E*g), without a gradient; NULL: none
    bool glu;
    sg_glu_form form;         // gated, not interleaved
    sg_activation activation; // plain, or where `trim` is that of the gate
    double trim;              // 0, or a threshold: see below; no mean and no gate then
    sg_gate gate;             // none, or after; none where there is a mean
};

// y = down_bias + sum over the selected blocks i, in their order, of score_i sum over their neurons
// of (act(up . x + up_bias) - mean) down. x (rows, d) -> (rows, d). With a threshold t > 0 neurons
// are left out whose activation, or where gated that of the gate, is not above it: |act(u)| <= t.
// Few rows read neither their linear parts nor their rows of down. t = 0: of neurons that are 0
// few rows read no row of down.
sg_tensor *sg_memory_moefied(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             const sg_moefied *of);
// Rows of tables that few rows do not read of a neuron which a threshold leaves out: that of w_out,
// and with a threshold above 0 that of its linear part, where it has one.
int64_t sg_moefied_spared(const sg_config *config);
// In steps, with the same bits (but in a bf16 tape, and where x is bf16): u = up . x + up_bias
// (rows, k*width), width g or 2g; and from what multiplies down, scores applied, post (rows, k*g),
// y. What t leaves out is in u; sg_trim or sg_trim_gated sets it to 0 in post.
sg_tensor *sg_memory_moefied_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                                 const sg_moefied *of);
sg_tensor *sg_memory_moefied_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                                 const sg_moefied *of);

// ---- parts of it --------------------------------------------------------------------------------

// Few rows, which decode: how many at most, whether these are, bytes of scratch that they take, and
// the forward pass of either operation, whose hits are in order.
enum { SG_MOEFIED_FEW = 16 };
bool sg_moefied_are_few(const sg_node *node);
size_t sg_moefied_few_bytes(const sg_blocks *a);
void sg_moefied_few(sg_blocks_loop *loop);

#endif
