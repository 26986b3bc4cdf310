// Passes of a recording: a few sequences through the model at a time, and what its points show put
// into one batch of rows.
#ifndef SG_PROBE_RECORD_PASS_H
#define SG_PROBE_RECORD_PASS_H

#include "probe/record_layers.h"
#include "probe/record_source.h"

// One slot of a channel; neuron -1: it is empty.
typedef struct sg_record_slot {
    int32_t neuron;
    float score, activation;
} sg_record_slot;

// Rows of a pass, sequence by sequence.
typedef struct sg_record_batch {
    int64_t first_sequence, sequences, length;
    int64_t tokens;             // that are recorded
    int32_t *inputs;            // (rows)
    int32_t *targets;           // (rows) -1: not known
    bool *wanted;               // (rows) are recorded
    bool *gated;                // (rows) and their gates are
    double *logprobs;           // (rows) of the targets; NULL: passes end before the logits
    int32_t *likeliest;         // (rows, predictions)
    double *likeliest_logprobs; // likewise
    sg_record_slot *slots;      // (rows, slots of a token)
} sg_record_batch;

typedef struct sg_record_pass sg_record_pass;

// micro: sequences of a pass. All that is pointed to must outlive it.
sg_status sg_record_pass_new(sg_model *model, const sg_record_options *options,
                             const sg_record_parts *parts, const sg_record_source *source,
                             int64_t micro, sg_record_pass **pass, sg_error *err);
void sg_record_pass_free(sg_record_pass *pass);
// A batch for it: sg_record_batch_free.
sg_status sg_record_batch_new(const sg_record_pass *pass, sg_record_batch *batch, sg_error *err);
void sg_record_batch_free(sg_record_batch *batch);
// Bytes of one sequence in a batch.
int64_t sg_record_sequence_bytes(const sg_record_options *options, const sg_record_parts *parts,
                                 int64_t length);
// Reads the sequences from `first` on, at most micro of them.
sg_status sg_record_pass_run(sg_record_pass *pass, int64_t first, sg_record_batch *batch,
                             sg_error *err);

#endif
