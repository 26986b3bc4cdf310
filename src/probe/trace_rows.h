// Nodes of a trace by number, and the edges into one of them.
#ifndef SG_PROBE_TRACE_ROWS_H
#define SG_PROBE_TRACE_ROWS_H

#include "probe/trace_frozen.h"
#include "sgatlin_trace.h"

// Numbers ascend with the computation: an edge goes from a lower one to a higher one. Tokens, then
// positions where they are learned; layer by layer constants, remainders, attention, neurons, what
// stands beside them; the constant of the last norm; the logit.
typedef struct sg_trace_layer_map {
    int64_t constants, remainders, attention, neurons, beside, end;
} sg_trace_layer_map;

typedef struct sg_trace_map {
    const sg_frozen *f;
    sg_trace_attention by;
    sg_trace_layer_map *layers; // (L)
    int64_t constant, logit, nodes;
    int64_t most; // sources of one target at most
} sg_trace_map;

// Its memory is the frozen model's.
sg_status sg_trace_map_new(sg_frozen *f, sg_trace_attention by, sg_trace_map *map, sg_error *err);

// What a number is. hit: of a neuron; the rest as in sg_trace_node.
typedef struct sg_trace_place {
    sg_trace_kind kind;
    int64_t layer, position, source, head, hit;
} sg_trace_place;
sg_trace_place sg_trace_place_of(const sg_trace_map *map, int64_t node);

// The sources of a target, ascending but for nothing, with what each gives to its value.
typedef struct sg_trace_row {
    int64_t count, *nodes; // (most)
    double *weights;       // (most)
    double value;
    double *r, *own, *pull; // (d), (d), (H h): room
} sg_trace_row;
// Their memory is the frozen model's too. NULL: out of memory.
sg_trace_row *sg_trace_rows_new(sg_frozen *f, const sg_trace_map *map, int64_t count);
// target: attention, a neuron, what stands beside, the logit.
void sg_trace_row_fill(const sg_trace_map *map, int64_t target, sg_trace_row *row);

// Of a node that is a vector what it contributes to the logit, of a neuron its value.
double sg_trace_value(const sg_trace_map *map, const sg_trace_place *place);
// What constants and remainders of a layer contribute at a position, by all of its targets there.
// pull: room (H h) and r (d).
void sg_trace_leaves(const sg_trace_map *map, int64_t layer, int64_t position, double *pull,
                     double *r, double *constant, double *rest);

#endif
