// Sizes of the families at a scale, for presets: what a row of the table names in `sizes`.
#ifndef SG_FFN_SIZES_H
#define SG_FFN_SIZES_H

#include "sgatlin.h"

// Sets of models that grow together; each has its rules (sizes.c).
typedef enum sg_ladder {
    SG_LADDER_SMALL = 0, // one model a family: tinystories, demo
    SG_LADDER_PUBLISHED, // scales 1 to 9: slimpajama
    SG_LADDER_LAPTOP     // scales 1 to 12
} sg_ladder;

typedef struct sg_rung {
    sg_ladder ladder;
    int64_t scale; // 0 of the small models
} sg_rung;

// Sets the fields of the feed-forward layer, which are all 0, by hidden_size.
typedef void sg_sizes(sg_config *config, sg_rung rung);

sg_sizes sg_sizes_dense, sg_sizes_experts;
sg_sizes sg_sizes_own_neurons, sg_sizes_shared_neurons, sg_sizes_neurons_and_branch;
sg_sizes sg_sizes_switch, sg_sizes_blocks, sg_sizes_low_rank, sg_sizes_moefied;
sg_sizes sg_sizes_product_cells, sg_sizes_product_values, sg_sizes_shared_values;

#endif
