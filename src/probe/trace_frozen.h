// A pass with its gates, attention weights and norms held fixed: what of it depends on what, as
// numbers in double. trace_frozen.c has the formulas.
//
// T: tokens, L: layers, d: hidden size, H, G: heads of queries and of values, h: size of a head,
// M: hits of a token in a layer (neurons that are read, channel by channel), R: rows of neurons
// that are hit at all.
#ifndef SG_PROBE_TRACE_FROZEN_H
#define SG_PROBE_TRACE_FROZEN_H

#include "base/arena.h"
#include "ffn/gated.h"
#include "model/config.h"
#include "model/model.h"
#include "probe/neuron_tables.h"
#include "sgatlin_probe.h"

// A norm as a linear map: n = (x - mean x) / scale * weight + shift, the mean of a layer norm only.
typedef struct sg_frozen_norm {
    float *weight, *shift; // (d); shift NULL: none, and no mean
    float *scale;          // (T); of the last norm that of the last token
} sg_frozen_norm;

// What every token takes beside its selection, a gated linear unit of width W (ffn/gated.h).
typedef struct sg_frozen_beside {
    int64_t width;           // W; 0: nothing
    float *up, *up_bias;     // (2W, d), (2W) or NULL
    float *down, *down_bias; // (d, W), (d) or NULL
    float *gate;             // (d) or NULL: scaled by a sigmoid of it
    double *u;               // (T, 2W) up n + up_bias
    double *gate_in;         // (T) gate . n
    double *y;               // (T, d) what it adds
} sg_frozen_beside;

typedef struct sg_frozen_layer {
    sg_config config; // as the layer is built by
    sg_neuron_table table;
    // ---- attention ----
    sg_frozen_norm norm1;
    float *w_v, *w_o;     // (G h, d), (d, H h)
    float *b_v, *b_o;     // (G h), (d); or NULL
    float *pattern;       // (T, H, T) of queries, heads, keys
    double *out;          // (H, T, d) W_o v of each head and source
    double *fixed, *rest; // (T, G h) of the values: what biases give; what is cut off (clip_qkv)
    bool *cut;            // (T, G h) or NULL: is cut, and has no slope
    double *pull;         // (T, H h) gradient of the outputs of heads, from queries
    // ---- neurons ----
    sg_frozen_norm norm2;
    int64_t unit, slots, hits, rows; // g; blocks of a token C k; M = slots g; R
    int64_t channels;
    int32_t *ids;               // (T, slots) blocks as selected
    int32_t *block;             // (T, slots) the number of each among those that are read
    int64_t *keys, blocks;      // (blocks) pool blocks_of_pool + id, ascending
    float *scores;              // (T, slots) or NULL
    float *seen;                // (T, M) hook_post
    float *w_in, *w_line;       // (R, d) or NULL; w_line: of the linear half
    float *b_in, *b_line;       // (R) or NULL
    float *w_out, *b_out;       // (R, d); (blocks, d) or NULL
    double *value;              // (T, M) what multiplies w_out
    double *slope, *line;       // (T, M) its slopes along w_in . n and w_line . n; or NULL
    double *constant, *bent;    // (T, M) of the value: what biases give; what is not linear
    double *gradient;           // (T, M) of what is traced, by the value
    double *biases;             // (T, d) or NULL: what else the layer adds, whatever it reads
    float *proj_in, *proj_bias; // memory_plus: W_1 (d, d), b_1 (d)
    float *proj_out;            // W_o (d, d); else NULL: values go into the stream as they are
    double *token_gate;         // (T, d) silu(W_1 n + b_1)
    sg_frozen_beside beside;
    double *after_attention; // (T, d) gradients of what is traced, by the stream behind attention
    double *after;           // (T, d) and behind the layer
} sg_frozen_layer;

typedef struct sg_frozen {
    sg_model *model;
    const sg_config *config;
    sg_arena arena;
    int64_t tokens, width;        // T, d
    const int32_t *ids;           // (T)
    float *embedding, *positions; // (T, d); positions NULL: none that are learned
    float *logits;                // (V) of the last token
    sg_frozen_norm last;
    double *readout;         // (d) the row of the classifier, or a difference of rows
    double value, fixed;     // what is traced; of which the last norm's shift gives
    double *before;          // (T, d) gradients by the stream in front of the first layer
    sg_frozen_layer *layers; // (L)
    sg_point_request *asked;
    size_t asked_count;
    double neuron_error; // see sg_trace_info
} sg_frozen;

// Reads tokens through the model, and the weights that the pass used. f is zeroed but for model,
// tokens and ids. Release with sg_frozen_free.
sg_status sg_frozen_pass(sg_frozen *f, sg_error *err);
sg_status sg_frozen_weights(sg_frozen *f, sg_error *err);
void sg_frozen_free(sg_frozen *f);
// Zeroed; NULL when out of memory.
void *sg_frozen_array(sg_frozen *f, int64_t count, size_t size);
// Bytes that a pass over so many tokens takes, about.
double sg_frozen_bytes(const sg_config *config, int64_t tokens);

// The pass once more, in double, then the gradients of readout . (the last norm of the last row).
sg_status sg_frozen_forward(sg_frozen *f, sg_error *err);
sg_status sg_frozen_backward(sg_frozen *f, sg_error *err);
// x (d) -> (d), the map of a norm at a token; and its transpose, without the shift.
void sg_frozen_normed(const sg_frozen *f, const sg_frozen_norm *norm, int64_t token,
                      const double *x, double *n);
void sg_frozen_norm_back(const sg_frozen *f, const sg_frozen_norm *norm, int64_t token,
                         const double *gradient, double *x);
// The readings of nodes as vectors of the stream, r (d): the value is r . x + *constant + *rest.
// Of attention at a source: what `pull` (H h), weights times gradients of heads, receives.
void sg_frozen_read_attention(const sg_frozen *f, const sg_frozen_layer *l, int64_t source,
                              const double *pull, double *r, double *constant, double *rest);
void sg_frozen_read_neuron(const sg_frozen *f, const sg_frozen_layer *l, int64_t token, int64_t hit,
                           double *r, double *constant, double *rest);
void sg_frozen_read_beside(const sg_frozen *f, const sg_frozen_layer *l, int64_t token, double *r,
                           double *constant, double *rest);
// A reading as the values of a layer's memory feel it: r itself, or, of memory_plus, into `own`
// (d), what is behind its projection.
const double *sg_frozen_to_values(const sg_frozen *f, const sg_frozen_layer *l, int64_t token,
                                  const double *r, double *own);
// The row of neurons that a hit reads.
int64_t sg_frozen_row(const sg_frozen_layer *l, int64_t token, int64_t hit);

double sg_frozen_dot(const float *w, const double *x, int64_t n);
double sg_frozen_dots(const double *a, const double *b, int64_t n);
void sg_frozen_axpy(double *y, double a, const float *w, int64_t n);

// Activations in double with their slopes (trace_units.c).
double sg_unit_value(double x, sg_activation act, double *slope);
double sg_unit_glu(double gate, double line, sg_glu_kind kind, double *by_gate, double *by_line);

#endif
