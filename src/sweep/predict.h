// What the runs of a plan will take: steps, tokens, memory, disk, time (sgatlin sweep --dry-run),
// and a refusal before the first run where one of them cannot be.
//
// Runs of a cell differ in seed and searched values alone, so that what is predicted is of a cell.
// Time is that of a step of its shape, measured here on one micro-batch (sg_bench), as far as such
// a step is short; steps of other shapes are estimated from the nearest one that was measured, of
// the same family if there is one, by their FLOPs with logits. Evaluations are added, each a third
// of a step for as many tokens. Runs at the same time are taken not to slow each other: give
// `context` the threads of one job.
#ifndef SG_SWEEP_PREDICT_H
#define SG_SWEEP_PREDICT_H

#include "sgatlin_data.h"
#include "sweep/due.h"

typedef struct sg_sweep_predict_options {
    int64_t jobs;        // runs at a time; 1
    double step_seconds; // a step that is expected to take longer is not measured; 2
    double seconds;      // no further step is measured after so many; 60. 0: no times (NAN), which
                         // leaves the refusals
} sg_sweep_predict_options;
sg_sweep_predict_options sg_sweep_predict_options_default(void);

typedef enum sg_sweep_time_source {
    SG_SWEEP_TIME_MEASURED = 0,
    SG_SWEEP_TIME_ESTIMATED, // from another shape that was measured
    SG_SWEEP_TIME_GUESSED,   // nothing was: from the rate of dense products
    SG_SWEEP_TIME_NONE
} sg_sweep_time_source;

typedef struct sg_sweep_prediction { // a run of a cell, and how many there are
    int64_t steps, tokens;
    double epochs;
    double flops, flops_all_in; // of all steps: published; with logits and routers
    int64_t parameters, active_parameters;
    int64_t memory_bytes; // while it trains
    int64_t disk_bytes;   // likewise: checkpoints, the model
    double step_seconds, seconds;
    sg_sweep_time_source timing;
    int64_t finished, waiting; // runs that are listed
    double expected;           // and further ones
} sg_sweep_prediction;

typedef struct sg_sweep_total {
    char family[SG_SWEEP_NAME];
    int64_t finished, waiting;
    double expected;
    double flops, flops_all_in, seconds; // of the waiting and the expected, one after the other
} sg_sweep_total;

typedef struct sg_sweep_forecast {
    sg_sweep_prediction *cells; // (count) as plan->cells
    size_t count;
    sg_sweep_total *families; // (family_count) in the order of the file
    size_t family_count;
    sg_sweep_total all;       // family ""
    double wall_seconds;      // all.seconds / jobs, at least the longest run
    int64_t memory_bytes;     // of the largest `jobs` runs at a time
    int64_t disk_bytes;       // likewise
    int64_t memory_available; // that are free now; INT64_MAX: not known
    int64_t measured, shapes; // shapes of steps: measured, in all
} sg_sweep_forecast;

// plan, results: of sg_sweep_due. data: the folder of packed data. SG_ERR_ARGUMENT and
// SG_ERR_MEMORY name the first run that cannot be, and how many others cannot: one of no step, of
// more epochs than spec->max_epochs, without a validation split, or that takes more memory than
// there is, alone or with the others that are made at the same time. A cell that was added to those
// of the file refuses nothing: its run is one that fails, and none is counted here.
// sg_sweep_forecast_clear releases it, also after an error.
sg_status sg_sweep_predict(sg_context *context, const sg_sweep_spec *spec,
                           const sg_sweep_plan *plan, const sg_sweep_results *results,
                           const char *data, const sg_sweep_predict_options *options,
                           sg_sweep_forecast *out, sg_error *err);
void sg_sweep_forecast_clear(sg_sweep_forecast *forecast);

// The plan of one run, and what it costs, on data that are open: options are completed from them.
// Refuses as sg_sweep_predict does.
sg_status sg_sweep_run_plan(sg_context *context, const sg_data *data, const char *data_name,
                            double max_epochs, sg_train_options *options, sg_train_plan *plan,
                            sg_cost *cost, sg_error *err);

#endif
