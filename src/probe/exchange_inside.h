// What the files of exchange.h share.
#ifndef SG_PROBE_EXCHANGE_INSIDE_H
#define SG_PROBE_EXCHANGE_INSIDE_H

#include "model/model.h"
#include "probe/exchange.h"
#include "probe/neuron_tables.h"

// What a request is for. A point that is kept is none of the last two.
typedef enum sg_exchange_role {
    SG_EXCHANGE_KEPT,
    SG_EXCHANGE_INPUT, // ln2.hook_normalized: what a layer reads
    SG_EXCHANGE_OUTPUT // hook_mlp_out: what it adds
} sg_exchange_role;

typedef struct sg_exchange_request {
    sg_exchange *x;
    sg_exchange_role role;
    size_t point; // that is kept
    char name[64];
} sg_exchange_request;

// A run of a pass and its own keys and values (layers, 2, kv_heads, longest, head_dim), whose first
// `held` positions are those of a capture.
typedef struct sg_exchange_slot {
    sg_real *cache;
    uint64_t serial;          // of the capture; 0: none
    sg_capture *keep;         // where what is seen goes; NULL: nowhere
    const sg_changes *change; // NULL: none
} sg_exchange_slot;

// What the layer at work has, of (batch * span) tokens: for changes of single neurons.
typedef struct sg_exchange_now {
    float *input;  // (d)
    int32_t *ids;  // (C k)
    float *scores; // (C k), the router's
    float *rows;   // (2, d) room for a neuron
} sg_exchange_now;

struct sg_exchange {
    sg_model *model;
    int64_t batch, longest;
    bool neurons;
    sg_exchange_point *points; // (count) that are kept
    size_t count, capacity;
    int64_t width;                 // of a token at all of them
    sg_exchange_gates_of *gates;   // (layers) or NULL
    sg_exchange_request *requests; // (list.count)
    sg_point_request *asked;       // likewise
    sg_points list;
    sg_graph_cache graphs;
    sg_exchange_slot *slots; // (batch)
    sg_real *cache_memory;
    size_t cache_bytes;
    int32_t *tokens;     // (batch, span) of a pass
    int64_t first, span; // positions of a pass: first … first + span - 1
    uint64_t serial;     // of the last capture
    int64_t runs;
    sg_exchange_now now;
    sg_neuron_table *tables; // (layers) NULL without neurons
};

// Whether the model's memory is a sum over single neurons, whose gates can be changed alone.
sg_status sg_exchange_neurons_open(sg_exchange *x, sg_error *err);
// The score of one of the k selected of a channel as the memory reads it; scores (k) are the
// router's, NULL: it has none.
float sg_exchange_score(const sg_exchange *x, const float *scores, int64_t k, int64_t slot);
// Notes what the layer at work has at a point that was just seen, changes included.
void sg_exchange_neurons_note(sg_exchange *x, const sg_exchange_request *request,
                              const sg_point_values *values);
// At hook_mlp_out of a layer: adds what the changes of single neurons of each run come to.
// out (batch * span, d).
sg_status sg_exchange_neurons_add(sg_exchange *x, int64_t layer, float *out, sg_error *err);

#endif
