// Sweeps: many runs of training that answer one question, made, kept and looked at.
// A companion of sgatlin.h, whose conventions hold here too.
//
// A sweep is a folder: sweep.db (docs/FORMATS.md) with what it is and what came of each run,
// sweep.json, the file it was begun with, and runs/ID, a folder of each run (sgatlin_train.h), of
// which checkpoints and weights go when it has ended. Whatever stops it, the same call goes on.
#ifndef SGATLIN_SWEEP_H
#define SGATLIN_SWEEP_H

#include "sgatlin_train.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- making a sweep -----------------------------------------------------------------------------

// A run that is being made.
typedef struct sg_sweep_job {
    bool active;              // false: nothing else is true of it
    char id[33];              // its folder under runs/
    char what[256];           // "glu, scale 4, 1e+12 FLOPs, lr 0.003, seed 1"
    int64_t step, steps;      // steps 0: it has not begun to train
    double loss;              // of the last step
    double tokens_per_second; // of late
    double seconds;           // of training, in all lives
} sg_sweep_job;

typedef struct sg_sweep_progress {
    const char *said;         // what has just happened, a line; NULL: nothing
    bool warning;             // it is something to worry about
    int64_t planned;          // runs that are known to be needed, those that ended too
    int64_t finished, failed; // of them
    double expected;          // further runs that are likely to come of decisions
    double seconds_left;      // about; NaN: nothing to tell it from yet
    const sg_sweep_job *jobs; // (job_count)
    size_t job_count;
} sg_sweep_progress;

typedef struct sg_sweep_options {
    const char *file;    // the sweep file; or
    const char *text;    // its text, in the place of a file
    const char *folder;  // of the sweep
    const char *data;    // packed data in the place of the file's; NULL: the file's
    const char *command; // the command line, for records; may be NULL
    int64_t jobs;        // runs at a time, each on threads of its own
    int threads;         // of a run; 0: the processor's cores over jobs
    const char *kernel;  // as of a context
    bool automatic;      // scales are added where a minimum is among the outer two
    bool retry_failed;   // runs that failed are made again, but for those that diverged: they would
                         // do so again
    bool fail_fast;      // the first failure stops the sweep
    bool keep_models;    // of runs that end now
    // Called a few times a second and when something has happened, always by the calling thread;
    // false: runs save and the sweep stops. May be NULL.
    bool (*progress)(void *user, const sg_sweep_progress *progress);
    void *user;
} sg_sweep_options;
// One job, all else 0.
SG_API sg_sweep_options sg_sweep_options_default(void);

typedef struct sg_sweep_totals {
    int64_t planned, finished, failed, diverged; // diverged: of failed
    int64_t made;                                // by this call
    double expected;                             // that would still come, were it not stopped
} sg_sweep_totals;

// Begins a sweep, or goes on with it, until all of its runs are finished or failed. Runs that are
// finished stay as they are; one that was interrupted goes on from its checkpoint. The rows of the
// database are the same for any number of jobs, threads and interruptions.
//
// A failed run is a row that says why, and the sweep goes on (SG_OK; totals->failed), unless
// fail_fast: then its error is returned. SG_ERR_IO (the disk is full), and progress' false
// (SG_ERR_STOPPED), stop the sweep with all that is finished kept. SG_ERR_MISMATCH: the folder's
// sweep was begun with another file or other data. SG_ERR_IO too: another process is making it.
SG_API sg_status sg_sweep_run(const sg_sweep_options *options, sg_sweep_totals *totals,
                              sg_error *err);

// ---- looking at one -----------------------------------------------------------------------------

typedef struct sg_sweep_entry {
    char id[33], family[64], settings[512]; // settings: of other axes, JSON
    char state[16];                         // "running" (or interrupted), "finished", "failed"
    char error[256];
    double scale, budget; // budget: published FLOPs; NaN: none
    double lr;
    uint64_t seed;
    int64_t steps, parameters;
    double loss, perplexity; // NaN until it is finished
    double seconds;          // of training; NaN: not known
    // Of the finished run that stands for its cell: of those with the first seed the lowest loss.
    int64_t seeds;    // that are finished at its values; 0: it does not stand for its cell
    double mean_loss; // over them
    bool best;        // lowest of its family, settings and budget, by the first seed; of the lowest
                      // two, where both have several seeds, by the mean
} sg_sweep_entry;

typedef struct sg_sweep_overview {
    char name[64], note[512], data[4096], data_hash[24];
    sg_sweep_entry *entries; // (count) in the order of the file
    size_t count;
    sg_sweep_totals totals; // `made` is 0
    char **remarks;         // (remark_count) what is open: rates at an edge, scales to add, …
    size_t remark_count;
} sg_sweep_overview;

// path: a sweep's folder or its sweep.db; may be read while the sweep is made. Ownership:
// sg_sweep_overview_clear.
SG_API sg_status sg_sweep_overview_read(const char *path, sg_sweep_overview *overview,
                                        sg_error *err);
SG_API void sg_sweep_overview_clear(sg_sweep_overview *overview);

#ifdef __cplusplus
}
#endif
#endif
