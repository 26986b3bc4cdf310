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

// ---- before it is made --------------------------------------------------------------------------

// The runs of a cell of a plan: they differ in seed and searched values alone.
typedef struct sg_sweep_cell_outlook {
    char family[64], settings[512];
    double scale, budget; // NaN: none
    int64_t steps, tokens;
    double epochs;
    double flops, flops_all_in; // of a run: published; with logits and routers
    int64_t parameters, active_parameters;
    int64_t memory_bytes, disk_bytes; // while it trains
    double seconds;                   // of a run
    const char *timing;        // how they are known: "measured", "estimated" from another shape, or
                               // "guessed" from the rate of dense products
    int64_t finished, waiting; // runs that are known
    double expected;           // further ones that are likely
} sg_sweep_cell_outlook;

typedef struct sg_sweep_family_outlook {
    char family[64]; // "": all
    int64_t finished, waiting;
    double expected;
    double flops, flops_all_in, seconds; // of the waiting and the expected, one after the other
} sg_sweep_family_outlook;

typedef struct sg_sweep_outlook {
    sg_sweep_cell_outlook *cells; // (count)
    size_t count;
    sg_sweep_family_outlook *families; // (family_count)
    size_t family_count;
    sg_sweep_family_outlook all;
    double wall_seconds;      // with all jobs at work
    int64_t memory_bytes;     // of the largest runs that may be made at the same time
    int64_t memory_available; // INT64_MAX: not known
    int64_t disk_bytes;       // likewise, and
    int64_t disk_free;        // where the folder is or will be; INT64_MAX: not known
    int64_t measured, shapes; // steps that were measured, of so many different ones
} sg_sweep_outlook;

// What a sweep, or what is left of it, will take. Nothing is written; steps of its models are timed
// for a minute at most. SG_ERR_ARGUMENT, SG_ERR_MEMORY and SG_ERR_IO name what cannot be: a run of
// no step, of more epochs than the file allows, of more memory or disk than there is. Ownership:
// sg_sweep_outlook_clear.
SG_API sg_status sg_sweep_look_ahead(const sg_sweep_options *options, sg_sweep_outlook *outlook,
                                     sg_error *err);
SG_API void sg_sweep_outlook_clear(sg_sweep_outlook *outlook);

// ---- a file for equal FLOPs ---------------------------------------------------------------------

// A sweep file that compares families at equal FLOPs: the grid families x scales x budgets of a
// ladder of presets, learning rates searched.
typedef struct sg_isoflop_options {
    const char *name;      // of the sweep; NULL: "isoflop"
    const char *data;      // folder; NULL: none, it is given beside the file
    const char *facts;     // file; NULL: none
    const char *base;      // presets: "laptop", "slimpajama" or "tinystories"; NULL: "laptop"
    const double *budgets; // (budget_count) published FLOPs, above 0; at least 1
    size_t budget_count;
    const char *const *families; // (family_count); at least 1
    size_t family_count;
    const double *scales; // (scale_count) of the ladder. tinystories has none: 0
    size_t scale_count;
    const uint64_t *seeds; // (seed_count); 0: seed 1
    size_t seed_count;
    bool seeds_at_best; // further seeds at each family's best two scales alone
    // Learning rates to try, ascending with a constant ratio: 2 to 16; 1: that one, no search; 0:
    // half of the preset's, the preset's, twice the preset's.
    const double *rates;
    size_t rate_count;
    int64_t halvings, extend;     // of the search, as in files
    double search_budget;         // NAN: each budget is searched
    double scale_low, scale_high; // scales that may be added; NAN: those of the ladder
} sg_isoflop_options;

// halvings 1, extend 2, seeds_at_best, search_budget and the scales to add NAN; all else empty.
SG_API sg_isoflop_options sg_isoflop_options_default(void);

// The file, checked as reading it does; *text: sg_buffer_free. SG_ERR_ARGUMENT names what is
// wrong as the options of the command do.
SG_API sg_status sg_isoflop_write(const sg_isoflop_options *options, char **text, sg_error *err);

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

// ---- taking runs elsewhere ----------------------------------------------------------------------

typedef struct sg_sweep_exported {
    int64_t runs;   // written: all that are finished
    int64_t others; // left out: failed or not finished
} sg_sweep_exported;

// Writes what there is of the finished runs of a sweep as text that stands well in a repository
// (docs/FORMATS.md, "Runs of sweeps as CSV"): the same runs give the same bytes. path: a sweep's
// folder, its sweep.db, or such a file. What is at `out` is SG_ERR_ARGUMENT, or with `force`
// replaced.
SG_API sg_status sg_sweep_export(const char *path, const char *out, bool force,
                                 sg_sweep_exported *exported, sg_error *err);

typedef struct sg_sweep_imported {
    bool made;         // the folder had no sweep, and is now one of the file's
    int64_t runs;      // finished ones of the file
    int64_t added;     // of these, taken
    int64_t known;     // finished here already, with the same loss
    int64_t different; // finished here already with another loss, which stays
    int64_t elsewhere; // of `added`, of no cell of the folder's own file
    int64_t rounds;    // in which steps were timed, taken
} sg_sweep_imported;

// Joins the finished runs of another machine or day: path is what sg_sweep_export writes, a
// sweep.db or a sweep's folder. A run is known by its id. One that is finished here stays as it is;
// where its loss is another one (that of another processor, say), `said` (may be NULL) is called
// with a line that tells it. Times come along as those of their machine, where the folder has none
// of it. A folder without a sweep becomes one of the same file, so that sg_sweep_run makes what is
// missing.
//
// SG_ERR_MISMATCH: the runs are of other data. SG_ERR_FORMAT: the file is damaged; line and column
// are told. All is taken, or nothing.
SG_API sg_status sg_sweep_import(const char *folder, const char *path,
                                 void (*said)(void *user, const char *line), void *user,
                                 sg_sweep_imported *imported, sg_error *err);

// ---- seconds of a step --------------------------------------------------------------------------

// Runs of a shape: whatever decides how long a step takes is the same. Learning rate, seed and
// number of steps are no part of it.
typedef struct sg_sweep_timing {
    char family[64], settings[512];
    double scale; // NaN: none
    int64_t parameters;
    int64_t runs;     // finished ones
    int64_t rounds;   // measured on this machine, in this call or before
    double seconds;   // of a step: median of the rounds
    double low, high; // 10th and 90th percentile
} sg_sweep_timing;

typedef struct sg_sweep_time_progress {
    const char *said;          // a line; NULL: nothing
    bool warning;              // it is something to worry about
    const char *what;          // the shape that is measured: "glu, scale 4"
    int64_t measured, planned; // rounds of all shapes in this call
    double seconds;            // of a step, as measured last; NaN: nothing yet
} sg_sweep_time_progress;

typedef struct sg_sweep_time_options {
    const char *folder; // of the sweep
    const char *data;   // packed data in the place of the sweep's; NULL: the sweep's
    const char *family; // of this one alone; NULL: of all
    int64_t rounds;     // of each shape; 1 to 1000
    int64_t steps;      // timed in a round, at least, and for half a second, after one that warms
                        // up; their median counts; 1 to 1000
    bool busy;          // measure, though others use the processors
    // Called before and after each round; false stops with SG_ERR_STOPPED. May be NULL.
    bool (*progress)(void *user, const sg_sweep_time_progress *progress);
    void *user;
} sg_sweep_time_options;
// Five rounds of three steps.
SG_API sg_sweep_time_options sg_sweep_time_options_default(void);

// Measures how long a step of each shape takes on this machine, with the threads of the context:
// steps of training as runs make them, on the sweep's data from fresh weights. One round goes over
// all shapes before the next begins, so that a slow minute of the machine hits all alike. What is
// measured is kept (sweep.db, "steps") with the machine, and a call that was stopped goes on.
//
// Before each figure it is looked whether others use the processors. While they use more than a
// tenth of them nothing is measured (SG_ERR_STOPPED says so), unless `busy`; then each figure that
// they were beside is kept and said. Runs that were finished after their shape was measured get its
// rounds too; that is said, shape by shape.
//
// *timings (count): sg_sweep_timings_free. SG_ERR_NOT_FOUND: no run of the family is finished.
// SG_ERR_MISMATCH: the data are not the sweep's. SG_ERR_IO also: the sweep is being made.
// SG_ERR_UNSUPPORTED: runs that train adapters.
SG_API sg_status sg_sweep_time(sg_context *context, const sg_sweep_time_options *options,
                               sg_sweep_timing **timings, size_t *count, sg_error *err);
SG_API void sg_sweep_timings_free(sg_sweep_timing *timings);

#ifdef __cplusplus
}
#endif
#endif
