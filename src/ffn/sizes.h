// Sizes of the families at a scale, for presets: what a row of the table names in `sizes`.
#ifndef SG_FFN_SIZES_H
#define SG_FFN_SIZES_H

#include "sgatlin.h"

// Sets the fields of the feed-forward layer, which are all 0, by hidden_size. scale: 0, or the rung
// of the ladder.
typedef void sg_sizes(sg_config *config, int64_t scale);

sg_sizes sg_sizes_dense, sg_sizes_experts;
sg_sizes sg_sizes_own_neurons, sg_sizes_shared_neurons, sg_sizes_neurons_and_branch;
sg_sizes sg_sizes_switch, sg_sizes_blocks, sg_sizes_low_rank;
sg_sizes sg_sizes_product_cells, sg_sizes_product_values, sg_sizes_shared_values;

#endif
