// Learning-rate schedules as pure functions of the step (spec 5.7).
#ifndef SG_TRAIN_SCHEDULE_H
#define SG_TRAIN_SCHEDULE_H

#include "base/status.h"
#include "sgatlin_train.h"

// In the order of the option's choices (train/run_fields.c).
typedef enum sg_schedule_kind {
    SG_SCHEDULE_CONSTANT, // warm-up, then flat
    SG_SCHEDULE_SQRT,     // warm-up, flat, then peak (1 - sqrt(j/D)) over the last D steps
    SG_SCHEDULE_LINEAR,   // warm-up, flat, then peak (1 - j/D)
    SG_SCHEDULE_COSINE, // warm-up, then a half cosine down to a tenth of the peak over n - W steps
    // The same over n - 2W steps, then a tenth of the peak: as the reference computes it, which
    // takes the steps behind the warm-up for all steps.
    SG_SCHEDULE_COSINE_REFERENCE
} sg_schedule_kind;

typedef struct sg_schedule {
    sg_schedule_kind kind;
    double peak;
    int64_t warmup;        // W
    int64_t steps;         // n
    double decay_fraction; // D = int(fraction n), for sqrt and linear
} sg_schedule;

// By its name; SG_ERR_ARGUMENT lists them.
sg_status sg_schedule_parse(const char *name, sg_schedule_kind *kind, sg_error *err);
// That of a run of so many steps, checked.
sg_status sg_schedule_of_options(const sg_train_options *options, int64_t steps,
                                 sg_schedule *schedule, sg_error *err);
// D of those that have a decay at the end, else 0.
int64_t sg_schedule_decay(const sg_schedule *schedule);
// Warm-up and decay must fit into the steps.
sg_status sg_schedule_check(const sg_schedule *schedule, sg_error *err);
// The rate of the update after `count` updates: the first has 0 unless there is no warm-up.
double sg_schedule_at(const sg_schedule *schedule, int64_t count);

#endif
