// Batches of packed rows for training and evaluation. The order of rows is a pure function of
// (seed, position), where the position is the number of rows used since the start: training reads
// the rows in a new order each epoch, and a run continues exactly where it stopped from that one
// number. Knows nothing of models.
#ifndef SG_TEXT_BATCHES_H
#define SG_TEXT_BATCHES_H

#include "base/status.h"

typedef struct sg_batches_options {
    sg_split split;
    int64_t batch_rows; // rows in a batch
    bool shuffle;       // rows in the order of sg_rng_permute, another one each epoch
    bool once;          // stop after one epoch; else go on with the next, without end
    bool drop_last;     // with once: leave out a last batch that is not full
    uint64_t seed;      // of the order
} sg_batches_options;

// Valid until the next call for the same sg_batches. T = seq_len.
typedef struct sg_data_batch {
    int64_t rows;           // 0: no more batches; less than batch_rows only for a last batch
    int64_t tokens;         // targets that count: those that are not padding
    const int32_t *inputs;  // (rows, T) the row shifted right, end-of-text id in front
    const int32_t *targets; // (rows, T) the row itself
    const float *weights;   // (rows, T) 1 where the target counts, 0 where it is padding
} sg_data_batch;

typedef struct sg_batches sg_batches;

// `data` must outlive the batches. Fails when the split has no row (or, dropping the last batch,
// not one full batch).
sg_status sg_batches_new(const sg_data *data, const sg_batches_options *options,
                         sg_batches **batches, sg_error *err);
void sg_batches_free(sg_batches *batches); // NULL is allowed

// The next batch. A batch may end one epoch and begin the next.
sg_status sg_batches_next(sg_batches *batches, sg_data_batch *batch, sg_error *err);

// Batches in one epoch as `once` counts them; without drop_last the last may not be full.
int64_t sg_batches_in_epoch(const sg_batches *batches);
// Rows used since the start: what a checkpoint keeps.
int64_t sg_batches_position(const sg_batches *batches);
// Continues from a position got from batches of the same data and seed. position >= 0.
sg_status sg_batches_seek(sg_batches *batches, int64_t position, sg_error *err);
// The row of the split that stands at a position.
int64_t sg_batches_row_at(const sg_batches *batches, int64_t position);

#endif
