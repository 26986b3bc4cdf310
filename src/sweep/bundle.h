// What goes from one sweep to another: its finished runs with all that sweep.db has of them, when
// they were made, and each round in which steps were timed.
#ifndef SG_SWEEP_BUNDLE_H
#define SG_SWEEP_BUNDLE_H

#include "sweep/sweep.h"

// Seconds of a step of a run's shape, measured in one round on an idle machine.
typedef struct sg_sweep_round {
    size_t row; // of results
    int64_t machine, round;
    double seconds;
} sg_sweep_round;

typedef struct sg_sweep_bundle {
    sg_sweep_results results;
    double *started;        // (results.count) seconds since 1970; NAN: not known
    sg_sweep_round *rounds; // (round_count) ascending by row, machine, round
    size_t round_count;
} sg_sweep_bundle;

// path: a folder of a sweep, its sweep.db, or a CSV file of runs (runs_csv.h), told apart by their
// first bytes. Reading writes nothing. sg_sweep_bundle_clear releases it; after an error it is
// cleared.
sg_status sg_sweep_bundle_open(const char *path, sg_sweep_bundle *bundle, sg_error *err);
// NULL members are allowed; leaves it empty.
void sg_sweep_bundle_clear(sg_sweep_bundle *bundle);

#endif
