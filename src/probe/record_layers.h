// Which layers and channels are recorded, and what of each: all that a channel selects for a token,
// or the strongest of it.
#ifndef SG_PROBE_RECORD_LAYERS_H
#define SG_PROBE_RECORD_LAYERS_H

#include "probe/neuron_tables.h"
#include "probe/record_schema.h"
#include "sgatlin_record.h"

// One layer.
typedef struct sg_record_part {
    sg_neuron_table table;
    sg_record_layer info;
    // Ids that a channel selects at hook_gate_ids, and the neurons that each stands for: blocks, or
    // small blocks as their cells; of a dense layer 1 and all.
    int64_t k, g;
    bool scored;       // there are hook_gate_scores
    int64_t *channels; // (channel_count) ascending
    int64_t channel_count;
    int64_t first_channel; // in the list of all
    int64_t first_slot;    // of the slots of a token
    float *norms;          // (pools, neurons) lengths of w_out; NULL: blocks are recorded
} sg_record_part;

typedef struct sg_record_parts {
    sg_record_part *items;
    size_t count;
    sg_record_channel *channels; // (channel_count) of all layers
    int64_t *first_neuron;       // (channel_count)
    int64_t *first_slot;         // (channel_count) of the slots of a token
    int64_t *channel_slots;      // (channel_count)
    int64_t channel_count;
    int64_t neurons;    // of all channels
    int64_t slots;      // of a token: of all channels
    int64_t most_slots; // of a channel
    int64_t strongest;  // layers of which not all is recorded
} sg_record_parts;

sg_status sg_record_parts_new(const sg_model *model, const sg_record_options *options,
                              sg_record_parts *parts, sg_error *err);
void sg_record_parts_free(sg_record_parts *parts);

#endif
