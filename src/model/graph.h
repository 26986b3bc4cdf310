// A model recorded on a tape for one shape: the same few lines serve training, evaluation and
// decoding (transformer.c).
#ifndef SG_MODEL_GRAPH_H
#define SG_MODEL_GRAPH_H

#include "ffn/ffn.h"
#include "model/adapters.h"

typedef enum sg_output {
    SG_OUTPUT_LOSS,   // cross-entropy against targets
    SG_OUTPUT_LOGITS, // (batch*length, V)
    SG_OUTPUT_LAST    // logits of the last row of each sequence: (batch, V)
} sg_output;

typedef struct sg_graph_options {
    int64_t batch, length; // sequences, tokens each
    sg_output output;
    bool gradient, recompute; // with a gradient it is training: losses of routers, capacities
    bool frozen;  // but for this: gradients of values at points alone, no parameter has one
    bool lenient; // requests for gradients alone are let be where there are none
    int64_t micro_batches;   // of a step, which share the weights of the routers' losses; 0: 1
    const sg_points *points; // NULL: none; else it outlives the graph
    sg_point_list *list;     // where all points are listed (sg_graph_points), or NULL
    int threads;
    const sg_allocator *allocator; // of the memory that it runs in; NULL: the system's
    bool lent;                 // memory is lent before each pass (sg_tape_lend), none is allocated
    const sg_kv_cache *caches; // (layers, batch), or NULL: none; filled in before each pass
    const int64_t *start;      // (batch) position of the first token, with caches
    // By parameter, NULL where its gradient is whole; or NULL.
    sg_row_grads *const *row_grads;
    // By parameter, or NULL: what is read in place of its values where the type is not
    // SG_WEIGHTS_F32. Must outlive the graph. A parameter without values must be readable so.
    const sg_stored *narrow;
    const sg_stored_columns *columns; // by parameter (sg_tensor.columns); or NULL
    const sg_stored *screens;         // by parameter, type F32: none (sg_tensor.screen); or NULL
    const sg_adapters *adapters;      // whose parameters are among `params`; NULL: none
    // Of products; of the classifier with cross-entropy (sg_tape_compute).
    sg_compute_kind compute, logits_compute;
    sg_memory_path memory_path; // sg_tape_set_memory_path
    sg_sparsity sparsity;       // what training adds beside; nothing
    bool *plain; // (params) or NULL: where it is marked which of them a plain product reads
} sg_graph_options;

typedef struct sg_graph {
    sg_tape *tape;
    sg_tensor *ids;     // (batch*length) int32: the caller sets ->data or writes to `ids_memory`
    sg_tensor *targets; // (batch*length) int32, < 0: no weight; with SG_OUTPUT_LOSS
    sg_tensor *logits;  // with the other outputs
    sg_tensor *loss;
    sg_loss_stats stats;
    sg_pass pass;       // what points tell of the rows; first_sequence is the caller's
    sg_tensor **leaves; // by parameter; NULL where the parameter is not used
    size_t n_leaves;
    size_t cursor;               // while recording: the parameter asked for last
    const sg_param_list *params; // while recording
    sg_real *const *values;
    sg_real *const *grads;
    sg_row_grads *const *row_grads;
    const sg_stored *narrow, *screens;
    const sg_stored_columns *columns;
    const sg_adapters *adapters;
    bool *plain;
    bool frozen;
    double loss_share; // of weights that are a step's, which a pass has
    sg_point_recorder points;
} sg_graph;

// values, grads: one pointer a parameter; either may be NULL, then the tape can be planned but not
// run. rope must cover the positions. Ownership: sg_graph_free.
sg_status sg_graph_new(const sg_config *config, const sg_param_list *params, sg_real *const *values,
                       sg_real *const *grads, const sg_rope_table *rope,
                       const sg_graph_options *options, sg_graph **graph, sg_error *err);
void sg_graph_free(sg_graph *graph);
// All points of a model.
sg_status sg_graph_points(const sg_config *config, const sg_param_list *params, sg_point_list *list,
                          sg_error *err);
// After a forward pass: the mean of the losses of one kind, without their weights; NaN: there is
// none.
double sg_graph_loss_mean(const sg_graph *graph, bool (*is)(const sg_node *node));
// Before a pass: `weight` for the mean of the losses of one kind (ffn/sparsity.h) over layers and
// micro-batches.
void sg_graph_weigh(sg_graph *graph, bool (*is)(const sg_node *node), double weight);

#endif
