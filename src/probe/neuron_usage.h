// How often each neuron of a model is selected, and how much it writes, counted while sessions
// read: what random neurons are matched by.
#ifndef SG_PROBE_NEURON_USAGE_H
#define SG_PROBE_NEURON_USAGE_H

#include "probe/neuron_tables.h"
#include "sgatlin_record.h"

// Of one layer; arrays (channels, neurons).
typedef struct sg_layer_usage {
    sg_neuron_table table;
    double *hits;  // tokens at which it was selected
    double *sizes; // sum of |z|, z what multiplies its row of w_out
    double *sums;  // sum of z
    float *norms;  // (pools, neurons) lengths of rows of w_out
} sg_layer_usage;

typedef struct sg_neuron_usage sg_neuron_usage;

sg_status sg_neuron_usage_new(const sg_model *model, sg_neuron_usage **usage, sg_error *err);
void sg_neuron_usage_free(sg_neuron_usage *usage); // NULL is allowed
// Of a session; one session at a time.
const sg_points *sg_neuron_usage_points(const sg_neuron_usage *usage);
// Positions before `from` do not count; 0 to begin with.
void sg_neuron_usage_from(sg_neuron_usage *usage, int64_t from);
// In place of passes: what a record has counted (hits and sizes; sums stay 0, and channels that are
// not recorded are as if never selected). SG_ERR_MISMATCH: it is of another model, or of blocks.
sg_status sg_neuron_usage_record(sg_neuron_usage *usage, const sg_model *model, sg_record *record,
                                 sg_error *err);
void sg_neuron_usage_set_tokens(sg_neuron_usage *usage, int64_t tokens);
// Whether passes count at all; they do to begin with.
void sg_neuron_usage_count(sg_neuron_usage *usage, bool counts);
// Notes from now on, for each neuron, the first position at which it is selected, anew for each
// sequence. Positions count whether or not selections do.
sg_status sg_neuron_usage_firsts(sg_neuron_usage *usage, sg_error *err);
// INT32_MAX: nowhere in the passes since the last call of sg_neuron_usage_firsts.
int32_t sg_neuron_usage_first(const sg_neuron_usage *usage, int64_t layer, int64_t channel,
                              int64_t neuron);
int64_t sg_neuron_usage_tokens(const sg_neuron_usage *usage);
const sg_layer_usage *sg_neuron_usage_layer(const sg_neuron_usage *usage, int64_t layer);
// Mean length of what a neuron adds to the stream where it is selected; 0: it never was.
double sg_contribution_norm(const sg_layer_usage *usage, int64_t channel, int64_t neuron);

// ---- random neurons that are like others --------------------------------------------------------

typedef struct sg_matched_neuron {
    double usage, norm; // hits, contribution norm
    bool taken;         // is not to be drawn
} sg_matched_neuron;

// The `most` of n neurons that are likest to `like`, by the distance of (ln(1 + usage), ln of the
// norm), each over its standard deviation among the n: near (most) gets their numbers, the nearest
// first. work: room for (n). Returns how many there are.
int64_t sg_matched_nearest(const sg_matched_neuron *neurons, int64_t n, sg_matched_neuron like,
                           int64_t most, int32_t *near, double *work);

#endif
