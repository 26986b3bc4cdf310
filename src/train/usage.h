// How evenly a model uses its memories: statistics of exact counts of what is selected at the
// points mlp.hook_gate_ids, one set a sparse layer, the same for every family.
#ifndef SG_TRAIN_USAGE_H
#define SG_TRAIN_USAGE_H

#include <jansson.h>

#include "model/graph.h"

// Places to count in: for every layer of the model its (pools, blocks), NULL for a dense one.
typedef struct sg_use_counts {
    int64_t **layers;        // (num_hidden_layers)
    int64_t count;           // layers
    sg_memory_shape *shapes; // (num_hidden_layers) of sparse ones
    sg_compute compute;
} sg_use_counts;

// Zeroed. Counting runs on the threads of compute.
sg_status sg_use_counts_new(const sg_config *config, sg_compute compute, sg_use_counts *counts,
                            sg_error *err);
void sg_use_counts_free(sg_use_counts *counts);
// Counts the selections of all sparse layers in rows that count. `counts` stays where it is.
sg_point_request sg_use_counts_request(sg_use_counts *counts);

// The statistics of a layer's counts, which are sorted by this; counted >= 0 each.
sg_usage sg_usage_of(int64_t layer, int64_t *counts, int64_t blocks);

// {"layer": […], "used": […], …}; NULL when out of memory.
json_t *sg_usage_json(const sg_usage *usage, int64_t count);

#endif
