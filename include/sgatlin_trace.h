// What a logit is made of: the attribution graph of an answer behind a prompt.
// A companion of sgatlin.h, whose conventions hold here too.
//
// With the gates of a pass (ids and scores of its selections), its attention weights and what its
// norms divide by held fixed, each number of a model is a sum of direct contributions of others:
// of embeddings, of what attention brings from a source position, of neurons. In a sgatlin model,
// whose neurons are linear, this is exact: the edges into a node sum to its value, those into the
// logit to the logit, and nothing is left. Where neurons have an activation, an edge is the share
// of the straight line that touches it, and what that leaves is a node of its own, so that all
// sums hold. docs/PROBE.md, "Exact traces", has the formulas.
//
// Layers, heads, channels, neurons and positions are numbered from 0.
#ifndef SGATLIN_TRACE_H
#define SGATLIN_TRACE_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum sg_trace_kind {
    SG_TRACE_EMBEDDING = 0, // of the token at a position
    SG_TRACE_POSITION,      // a learned position
    SG_TRACE_ATTENTION,     // what attention of a layer brings from a source position
    SG_TRACE_NEURON,        // its value is what multiplies its row of w_out
    SG_TRACE_BESIDE,        // what a layer adds for every token beside its selection, as a whole
    SG_TRACE_CONSTANT,      // biases of a layer, as they come in at a position
    SG_TRACE_REMAINDER,     // what is not linear: bent activations, coefficients that are scores
    SG_TRACE_PRUNED,        // the sources of targets there that are no nodes of the graph
    SG_TRACE_LOGIT,         // what is traced
    SG_TRACE_KINDS
} sg_trace_kind;
// "embedding", "position", "attention", "neuron", …
SG_API const char *sg_trace_kind_name(sg_trace_kind kind);

// How outputs of attention are told apart. All are exact: a group is the sum of its members.
typedef enum sg_trace_attention {
    SG_TRACE_BY_PAIR = 0, // by query and source position, the heads together
    SG_TRACE_BY_HEAD,     // likewise, each head for itself
    SG_TRACE_BY_SOURCE    // by source position, all queries and heads together
} sg_trace_attention;

typedef struct sg_trace_options {
    // What the model reads: ids,
    const int32_t *tokens;
    int64_t token_count;
    // or a text, which begins as for sg_generate.
    const char *prompt;
    size_t prompt_bytes;
    const sg_tokenizer *tokenizer; // of a text; also for names in JSON
    // What is traced behind it. Of texts (with the prompt) their first token; where both begin
    // with the same tokens, these are read behind the prompt, and the first that differs counts.
    const char *answer, *against;  // NULL: none
    int32_t answer_id, against_id; // with ids, and where there is no text; -1 (the default): none
    // Without an answer the likeliest token is traced. With `against` the difference of the two
    // logits is, else the logit, from which `centred` takes the mean of all logits.
    bool centred;
    sg_trace_attention attention;
    // The graph has the nodes that together carry this share of the influence, at most so many;
    // embeddings and the logit are always there. Of their edges it has those that carry
    // edge_threshold. Defaults: 0.8, 0.98, 400. All that is left out is edges from nodes
    // SG_TRACE_PRUNED. 1 and 1: everything that max_nodes has room for.
    double node_threshold, edge_threshold;
    int64_t max_nodes;
    double floor; // nodes with less influence are not followed to their sources: default 1e-5
    sg_progress_fn progress; // in layers, behind the first pass; may be NULL
    void *user;
} sg_trace_options;
SG_API sg_trace_options sg_trace_options_default(void);

enum { SG_TRACE_WRITES = 3 };
typedef struct sg_trace_node {
    sg_trace_kind kind;
    int64_t layer;    // -1: of none
    int64_t position; // of the token that it is computed for; -1: several (SG_TRACE_BY_SOURCE)
    int64_t source;   // of attention: where it reads; -1: of all other kinds
    int64_t head;     // of attention by heads; else -1
    int64_t channel, neuron; // of a neuron; else -1
    int32_t token;           // of an embedding, or the answer of the logit; else -1
    // Of a neuron what multiplies w_out (hook_post), of the logit what is traced. The others are
    // vectors: what they contribute, all in all, to what is traced.
    double value;
    double contribution; // value times the gradient of what is traced: through all paths
    double direct;       // of which directly: the weight of its edge to the logit, pruned or not
    double influence;    // share: paths in absolute value (docs/PROBE.md); the logit has 1
    // Of a neuron the tokens whose logits it raises most, as the last norm and the classifier read
    // what it writes; -1: not said, where the classifier is too large to read for all.
    int32_t writes[SG_TRACE_WRITES];
    double cumulative; // share of the influence that nodes with at least as much carry
} sg_trace_node;

typedef struct sg_trace_edge {
    size_t source, target; // nodes; a source lies before its target in the computation
    double weight;         // of the value of the target
} sg_trace_edge;

typedef struct sg_trace_info {
    int64_t tokens, layers;
    int32_t answer, against; // ids; against -1: none
    int64_t shared;          // tokens of the answer that were read behind the prompt
    double value;            // what is traced, in double with what is frozen
    double model_value;      // as the model computed it
    double probability, against_probability;
    int64_t all_nodes; // that carry any influence; nodes of the graph are fewer
    double node_share; // of the influence, in nodes of the graph
    // Influence that was not followed to its sources, of nodes with less than `floor` and, in large
    // models, of all but the strongest. It changes which nodes are chosen, and no other number.
    double unfollowed;
    // Largest differences, relative: of the edges' sum and the value, over nodes of the graph (to
    // the sum of their magnitudes); of a neuron's value and the model's hook_post (to the root mean
    // square of the layer), over all neurons; of `value` and `model_value`.
    double sum_error, neuron_error, value_error;
    // What is traced, by kinds: as the sum of direct edges, and of contributions of what has no
    // sources itself.
    double direct[SG_TRACE_KINDS], leaves[SG_TRACE_KINDS];
} sg_trace_info;

// SG_ERR_UNSUPPORTED of a model with adapters (merge them first); SG_ERR_MEMORY says how much a
// long prompt would take. Nothing of the model is changed.
typedef struct sg_trace sg_trace;
SG_API sg_status sg_trace_new(sg_model *model, const sg_trace_options *options, sg_trace **trace,
                              sg_error *err);
SG_API void sg_trace_free(sg_trace *trace);
SG_API const sg_trace_info *sg_trace_get_info(const sg_trace *trace);
// In the order of the computation, the logit last.
SG_API const sg_trace_node *sg_trace_nodes(const sg_trace *trace, size_t *count);
// By target, those of one by falling magnitude.
SG_API const sg_trace_edge *sg_trace_edges(const sg_trace *trace, size_t *count);
// The ids that were read.
SG_API const int32_t *sg_trace_tokens(const sg_trace *trace, size_t *count);

// The graph as the viewer of circuit-tracer reads it (docs/PROBE.md has the members). slug, model:
// names for it; command may be NULL. *text: sg_buffer_free.
SG_API sg_status sg_trace_json(const sg_trace *trace, const sg_tokenizer *tokenizer,
                               const char *slug, const char *model, const char *command,
                               char **text, sg_error *err);

// The same into a file, which stays as it was where that fails. What is there already is
// SG_ERR_ARGUMENT, unless `force`; a device or a pipe is written into.
SG_API sg_status sg_trace_save(const sg_trace *trace, const sg_tokenizer *tokenizer,
                               const char *slug, const char *model, const char *command,
                               const char *path, bool force, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
