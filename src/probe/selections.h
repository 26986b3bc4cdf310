// The inside of collected selections, for those who fill them in: passes of a model (selections.c)
// and records (selections_record.c).
#ifndef SG_PROBE_SELECTIONS_H
#define SG_PROBE_SELECTIONS_H

#include "ffn/ffn.h"
#include "sgatlin_usage.h"

// Grows by rows.
typedef struct sg_kept_channel {
    int64_t *begins;
    int32_t *neurons;
    size_t begins_room, neurons_room;
} sg_kept_channel;

typedef struct sg_kept_layer {
    int64_t layer, rows;
    sg_kept_channel *channels; // (count of channels)
    sg_selection_rows *gates;  // likewise: what is shown of them
} sg_kept_layer;

struct sg_selections {
    sg_memory_shape shape; // of every sparse layer
    int64_t sub_keys;
    int64_t count, channels;
    int64_t *channel_numbers;
    sg_kept_layer *layers;
    int64_t rows; // with a token and a sequence
    int32_t *tokens;
    int64_t *sequences;
    size_t tokens_room, sequences_room;
    sg_point_request request;
    sg_points points;
};

#endif
