// The inside of sg_sweep_predict: how long steps take. Timing is reported, nothing depends on it.
#ifndef SG_SWEEP_PREDICT_TIME_H
#define SG_SWEEP_PREDICT_TIME_H

#include "sweep/predict.h"

// What decides how long a step takes. Cells that differ in budget, seed or rates share one.
typedef struct sg_sweep_shape {
    char id[SG_SWEEP_ID];      // ""; no run of the cell is to come
    sg_train_options *options; // owned
    int64_t seq_len;
    double flops;         // of a step, with logits
    int64_t memory_bytes; // of a step
    double evaluations;   // steps that evaluations take as long as
    double seconds;       // of a step
    sg_sweep_time_source timing;
} sg_sweep_shape;

// options: complete. sg_free of shape->options releases it.
sg_status sg_sweep_shape_of(const sg_train_options *options, int64_t seq_len, double flops,
                            int64_t memory_bytes, double evaluations, sg_sweep_shape *shape,
                            sg_error *err);
// Fills in the times of out->cells, of which shapes are (out->count), and what was measured.
sg_status sg_sweep_shapes_time(sg_context *context, const sg_sweep_predict_options *options,
                               sg_sweep_shape *shapes, sg_sweep_forecast *out, sg_error *err);

#endif
