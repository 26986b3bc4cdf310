// Feed-forward layers of any family as tables of neurons: how many channels and neurons a layer
// has, and the rows that a neuron reads by (w_in) and writes (w_out). Layers, channels and neurons
// are numbered from 0, as in sgatlin_probe.h: of blocks of g neurons (experts), neuron b g + j is
// the j-th of block b, and a dense layer is one channel with one block.
#ifndef SG_PROBE_NEURON_TABLES_H
#define SG_PROBE_NEURON_TABLES_H

#include "ffn/ffn.h"
#include "model/model.h"

typedef struct sg_neuron_table {
    const sg_model *model;
    int64_t layer, width; // width: d, the columns of a row
    int64_t channels;     // that select
    int64_t pools;        // 1: all channels select from the same neurons; else a pool a channel
    int64_t neurons;      // of a pool
    int64_t block;        // neurons of one block
    int64_t selected;     // neurons that a channel selects for a token; of a dense layer all
    bool dense;
    bool summed; // hook_mlp_out is the sum of hook_post times rows of w_out, and what else there is
                 // adds to it; false of memory_plus, which goes on computing with the sum
    size_t in, out;   // parameters; SG_NEURON_NO_TABLE: neurons have no w_in
    bool in_pairs;    // rows of w_in lie in pairs with those of the linear half
    int64_t in_rows;  // of one block in the table
    bool out_columns; // w_out are columns: (blocks, d, block)
} sg_neuron_table;

#define SG_NEURON_NO_TABLE SIZE_MAX

sg_status sg_neuron_table_of(const sg_model *model, int64_t layer, sg_neuron_table *table,
                             sg_error *err);
// That there is such a neuron; `what` is what errors begin with.
sg_status sg_neuron_check(const sg_neuron_table *table, const char *what, int64_t channel,
                          int64_t neuron, sg_error *err);
// row (width), as the model stores it, without what adapters add. Of a gated linear unit w_in is
// that of the half which is activated. SG_ERR_UNSUPPORTED where neurons have no w_in.
sg_status sg_neuron_in(const sg_neuron_table *table, int64_t channel, int64_t neuron, float *row,
                       sg_error *err);
sg_status sg_neuron_out(const sg_neuron_table *table, int64_t channel, int64_t neuron, float *row,
                        sg_error *err);
// n where a product router addresses block i n + j by the sub-keys i and j; else 0.
int64_t sg_neuron_sub_keys(const sg_neuron_table *table);
// The lengths of all rows of w_out: norms (pools, neurons).
sg_status sg_neuron_out_norms(const sg_neuron_table *table, float *norms, sg_error *err);

#endif
