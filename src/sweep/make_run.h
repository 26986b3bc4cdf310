// One run of a sweep: trained in its folder, or gone on with; evaluated by blocks, asked for facts.
// All that is written of its results comes from what the run computes, so that a run that was
// killed and went on has the same row as one that was left alone.
#ifndef SG_SWEEP_MAKE_RUN_H
#define SG_SWEEP_MAKE_RUN_H

#include "sweep/sweep.h"

typedef struct sg_sweep_making {
    sg_context *context;
    const char *folder, *data;
    const char *facts;   // a file of facts; "": none
    const char *command; // for run.json
    int64_t blocks;      // at most so many
    double max_epochs;   // a run that would read the data more often is refused
    const sg_train_options *options;
    bool (*event)(void *user, const sg_train_event *event); // false: saves and stops; or NULL
    void *user;
} sg_sweep_making;

// Fills in the results of a row, and its `seconds`; who it is and its state are the caller's. The
// folder holds the whole run afterwards. SG_ERR_STOPPED: it goes on with the next call.
sg_status sg_sweep_make_run(const sg_sweep_making *making, sg_sweep_row *row, sg_error *err);

// Removes what is not needed of a run whose results are kept: checkpoints, and the model unless it
// is kept. metrics.jsonl, run.json, summary.json and events stay. What is not there is fine.
sg_status sg_sweep_tidy_run(const char *folder, bool keep_model, sg_error *err);

// Curves of at most `most` points: neighbours are averaged, so many at a time as must be. Works in
// place.
void sg_sweep_thin(double *x, double *y, size_t *count, size_t most);

#endif
