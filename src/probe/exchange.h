// Runs of a model whose parts are exchanged: a prompt is run and what is at points of it is kept
// (sg_capture); then it is run again with some of that replaced by what another run had there
// (sg_changes). Many runs with changes go through the model together.
//
//     sg_exchange_new(model, &options, &x, err);
//     sg_exchange_capture(x, ids, 2, length, start, captures, err);     // two prompts
//     sg_changes_gates(&changes, x, captures[1], layers, …);            // gates of the second
//     sg_exchange_replay(x, &(sg_replay){captures[0], &changes, logits}, 1, err);
//
// A capture has a `start`: its tokens before that one are read in a pass of their own, whose keys
// and values all its replays begin with, so that they compute the tokens from `start` on alone.
// Passes of captures and replays are always of `batch` runs, what is missing being filled in, so
// that a run with its own values put in has the bits of the run as it was.
#ifndef SG_PROBE_EXCHANGE_H
#define SG_PROBE_EXCHANGE_H

#include "base/arena.h"
#include "sgatlin_probe.h"

typedef struct sg_exchange sg_exchange;

typedef struct sg_exchange_options {
    const char *const *points; // (point_count) more points that are kept and may be exchanged:
    size_t point_count;        // full names, without *
    bool gates;                // those of gates (sg_exchange_gates) of all layers
    bool neurons;              // changes of single neurons (sg_changes_neurons); takes gates too
    int64_t batch;             // runs of a pass; 0: 16; 1 of models with experts or other blocks
    int64_t longest;           // tokens of a prompt at most
} sg_exchange_options;

// The model must outlive it. A point that cannot be written, or is not of all tokens (ln_final …,
// logits), is SG_ERR_UNSUPPORTED; an unknown one SG_ERR_NOT_FOUND. With `neurons`, so is a family
// whose memory is not a sum over single neurons (experts, memory_plus).
sg_status sg_exchange_new(sg_model *model, const sg_exchange_options *options, sg_exchange **x,
                          sg_error *err);
void sg_exchange_free(sg_exchange *x); // NULL is allowed
// Runs that went through the model so far, those filled in not counted.
int64_t sg_exchange_runs(const sg_exchange *x);

// A point that is kept: where its numbers lie in a capture.
typedef struct sg_exchange_point {
    sg_point_info info;
    int64_t width;  // numbers of a token: of (rows, C, k) C k
    int64_t offset; // of its (length, width) in the values, in numbers of a token
} sg_exchange_point;
size_t sg_exchange_points(const sg_exchange *x, const sg_exchange_point **points);
// -1: it is not kept.
int64_t sg_exchange_find(const sg_exchange *x, const char *name);

// The gates of a layer. Of a sparse one its selection: ids and scores are points, (C, k) numbers a
// token; a hash has no scores (-1). Of a dense one what its neurons multiply w_out by: `post` is
// the point, (F) numbers, one channel, and the others are -1.
typedef struct sg_exchange_gates_of {
    int64_t ids, scores, post;  // points, or -1
    int64_t channels, selected; // C, and k or F
    int64_t neurons;            // that a channel selects from, in blocks of so many: neuron i is of
    int64_t block;              // block i / block, whose id and score the selection has
} sg_exchange_gates_of;
const sg_exchange_gates_of *sg_exchange_gates(const sg_exchange *x, int64_t layer);

// One prompt as it was run.
typedef struct sg_capture {
    int64_t length, start;
    int32_t *tokens; // (length)
    float *values;   // point by point (length, width); ids are int32 in the same place
    float *logits;   // (V) behind the last token
    // The exchange's own: keys and values (layers, 2, kv_heads, start, head_dim) of the tokens
    // before `start`, and a number that no other capture has.
    float *before;
    uint64_t serial;
} sg_capture;

// tokens (count, length), 0 <= start < length. captures (count): sg_capture_free. On failure there
// are none.
sg_status sg_exchange_capture(sg_exchange *x, const int32_t *tokens, int64_t count, int64_t length,
                              int64_t start, sg_capture **captures, sg_error *err);
void sg_capture_free(sg_capture *capture); // NULL is allowed
// Bytes that one takes.
size_t sg_capture_bytes(const sg_exchange *x, int64_t length, int64_t start);
// The numbers of a token at a point: (width).
const float *sg_capture_row(const sg_exchange *x, const sg_capture *capture, size_t point,
                            int64_t position);
// Whether a neuron of a sparse layer is selected at a token, and its score there as the memory
// reads it: behind the normaliser, 1 where there is none (of a dense one true, and what is at
// hook_post).
bool sg_capture_gate(const sg_exchange *x, const sg_capture *capture, int64_t layer,
                     int64_t channel, int64_t neuron, int64_t position, float *score);

// ---- what is exchanged --------------------------------------------------------------------------

// At one token, numbers first … first + count - 1 of a point become `values` (of a capture, which
// must live as long, or of the changes).
typedef struct sg_change {
    size_t point;
    int64_t position, first, count;
    const float *values;
} sg_change;

typedef struct sg_exchange_neuron {
    int32_t layer, channel, neuron;
} sg_exchange_neuron;

// At one token the gate of one neuron becomes what it is elsewhere: selected with that score, or
// not selected. No slot of the selection is needed: what the layer adds is changed by the
// difference, (post of the new gate - post of the gate that the run has) times its row of w_out,
// which is exact, since a memory is a sum over its neurons. The other gates stay those of the run.
typedef struct sg_neuron_change {
    sg_exchange_neuron of;
    int64_t position;
    bool selected;
    float score;
} sg_neuron_change;

typedef struct sg_changes {
    sg_change *items;
    size_t count, capacity;
    sg_neuron_change *neurons;
    size_t neuron_count, neuron_capacity;
    sg_arena memory; // of values that are no capture's
} sg_changes;        // zeroed: none

void sg_changes_free(sg_changes *changes);
void sg_changes_clear(sg_changes *changes);
// Numbers of a point at one token, float or int32 as the point has them, which are copied.
sg_status sg_changes_numbers(sg_changes *changes, const sg_exchange *x, size_t point,
                             int64_t position, int64_t first, int64_t count, const void *numbers,
                             sg_error *err);
// All numbers of a point at one token.
sg_status sg_changes_point(sg_changes *changes, const sg_exchange *x, const sg_capture *from,
                           size_t point, int64_t position, sg_error *err);
// The gates of one layer and channel (-1: of all) at one token.
sg_status sg_changes_gates(sg_changes *changes, const sg_exchange *x, const sg_capture *from,
                           int64_t layer, int64_t channel, int64_t position, sg_error *err);
// Single neurons at one token.
sg_status sg_changes_neurons(sg_changes *changes, const sg_exchange *x, const sg_capture *from,
                             const sg_exchange_neuron *neurons, size_t count, int64_t position,
                             sg_error *err);

// A captured prompt run again with changes, all at `start` of the capture or behind it.
typedef struct sg_replay {
    const sg_capture *of;
    const sg_changes *changes; // NULL: none
    float *logits;             // (V), behind the last token
} sg_replay;

// Any number of them; neighbours whose captures have the same length and start share passes.
sg_status sg_exchange_replay(sg_exchange *x, const sg_replay *replays, int64_t count,
                             sg_error *err);

#endif
