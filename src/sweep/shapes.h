// Finished runs by shape: those of which a step takes the same time, as all that decides it is the
// same. A round that was measured for one of them holds for all.
#ifndef SG_SWEEP_SHAPES_H
#define SG_SWEEP_SHAPES_H

#include "sweep/bundle.h"

enum { SG_SWEEP_ROUNDS_MOST = 1000 };

typedef struct sg_sweep_shape {
    char *key;    // of what decides it
    size_t *rows; // (count) of the results
    size_t count;
    double seconds[SG_SWEEP_ROUNDS_MOST]; // of a step in each round on a machine; NAN: not measured
} sg_sweep_shape;

typedef struct sg_sweep_shapes {
    sg_sweep_shape *items; // in the order of their first runs
    size_t count;
} sg_sweep_shapes;

// family: shapes with a run of this one; NULL: all. Rounds are those of `machine`. SG_ERR_FORMAT:
// the options of a run are no options.
sg_status sg_sweep_shapes_of(const sg_sweep_bundle *bundle, const char *family, int64_t machine,
                             sg_sweep_shapes *shapes, sg_error *err);
void sg_sweep_shapes_clear(sg_sweep_shapes *shapes);

// The options of a run, as it had them. name: what errors call it.
sg_status sg_sweep_options_of(const sg_sweep_row *row, sg_train_options *options, sg_error *err);

#endif
