// Runs that are made at the same time, each by a thread with a context of its own. What they have
// to say is kept for the thread that asks, so that callbacks of the caller are made by it alone.
#ifndef SG_SWEEP_SWEEP_JOBS_H
#define SG_SWEEP_SWEEP_JOBS_H

#include "sgatlin_sweep.h"
#include "sweep/make_run.h"

typedef struct sg_sweep_jobs sg_sweep_jobs;

typedef struct sg_sweep_task {
    sg_sweep_row row; // who it is; the job fills in the rest
    sg_train_options options;
    char folder[4096];
    char what[256];
} sg_sweep_task;

// What all of them share; strings are the caller's.
typedef struct sg_sweep_jobs_options {
    int64_t jobs;
    int threads; // of each, above 0
    const char *kernel, *data, *facts, *command;
    int64_t blocks;
    double max_epochs;
} sg_sweep_jobs_options;

sg_status sg_sweep_jobs_new(const sg_sweep_jobs_options *options, sg_sweep_jobs **jobs,
                            sg_error *err);
// Stops them, and waits for them; what their contexts say at their end can still be asked for.
void sg_sweep_jobs_end(sg_sweep_jobs *jobs);
// The same, and frees them. NULL is allowed.
void sg_sweep_jobs_free(sg_sweep_jobs *jobs);

// The context of the first job. What computes in it does so before that job has work.
sg_context *sg_sweep_jobs_context(const sg_sweep_jobs *jobs);
// How many have been given a task whose end has not been taken.
int64_t sg_sweep_jobs_active(sg_sweep_jobs *jobs);
// Whether one of these makes the run.
bool sg_sweep_jobs_has(sg_sweep_jobs *jobs, const char *id);
// Gives a task (copied; its row's arrays none) to an idle job, of which there must be one.
void sg_sweep_jobs_give(sg_sweep_jobs *jobs, const sg_sweep_task *task);
// Waits until something has happened, for so many seconds at most.
void sg_sweep_jobs_wait(sg_sweep_jobs *jobs, double seconds);
// All jobs save what they do and end with SG_ERR_STOPPED.
void sg_sweep_jobs_stop(sg_sweep_jobs *jobs);
// A task that has ended: *status and err are how, the row is the caller's to clear. False: none.
bool sg_sweep_jobs_take(sg_sweep_jobs *jobs, sg_sweep_task *task, sg_status *status, sg_error *err);
// The next warning of a run, with its name in front; false: none.
bool sg_sweep_jobs_message(sg_sweep_jobs *jobs, char *text, size_t capacity);
// How all are: out (jobs).
void sg_sweep_jobs_look(sg_sweep_jobs *jobs, sg_sweep_job *out);

#endif
