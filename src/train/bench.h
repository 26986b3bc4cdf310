// The inside of sg_bench: bench_run.c checks what is asked for and has it measured, bench_layer.c
// measures one feed-forward layer alone, bench_model.c training steps and decoding; bench.c is what
// these two share: it times, counts and reports.
#ifndef SG_TRAIN_BENCH_H
#define SG_TRAIN_BENCH_H

#include "base/context.h"
#include "ffn/ffn.h"
#include "train/gradients.h"
#include "kernel/measure.h"
#include "model/model.h"
#include "model/weights.h"
#include "train/block_use.h"
#include "sgatlin_bench.h"

enum { SG_BENCH_REPEATS = 1000 };

typedef struct sg_bench_run {
    sg_context *context;
    const sg_bench_options *options;
    sg_model *model;  // of options->model, or NULL
    sg_config config; // complete
    sg_cost cost;     // of one micro-batch
    int64_t length;   // tokens of a sequence
    int64_t tokens;   // of a micro-batch
    sg_optimizer_rows rows;
    sg_measure *measure; // NULL: the limits are given
    sg_bench_fn result;
    void *user;
} sg_bench_run;

// Times of the repeats of one figure, and the limits of the machine around them.
typedef struct sg_bench_timer {
    double samples[SG_BENCH_REPEATS];
    int64_t count;
    double total;
    unsigned kinds; // of products that the figure is held against (sg_measure_kind); 0: f32
    sg_measured limits[SG_BENCH_REPEATS + 1];
    double sorted[SG_BENCH_REPEATS + 1]; // for medians of them
    int64_t looks;
    double looked; // total at the last of them
} sg_bench_timer;

// Whether another repeat is due; looks at the machine between two of them.
bool sg_bench_more(const sg_bench_run *b, sg_bench_timer *timer);
void sg_bench_add(sg_bench_timer *timer, double seconds);

// What a measurement knows and the report adds up.
typedef struct sg_bench_figure {
    const char *name;
    sg_weights dtype;                        // of what is narrow; SG_WEIGHTS_F32 where nothing is
    int64_t tokens;                          // of a repeat
    int64_t per_sample;                      // repeats in one sample of the timer; 0: one
    sg_compute_kind compute, logits_compute; // of its products; f32 where it has none
    double flops_published, flops, bytes;
    double logits_flops; // of `flops`, those of the classifier
    int64_t peak_bytes;
    double reuse;
    const char *optimizer_rows; // of a training step; else NULL
    const sg_tape *tape;        // for the profile; NULL: none
    const double *seconds;      // by node and direction, sum of all repeats
    const char *skip;           // an operation that is not part of the figure; may be NULL
    double optimizer;           // seconds of the optimiser, sum of all repeats; < 0: none
} sg_bench_figure;

sg_status sg_bench_report(const sg_bench_run *b, const sg_bench_figure *figure,
                          sg_bench_timer *timer, sg_error *err);

// Bytes of a pass that reads each weight in use once, and of the gradients that it gives.
typedef struct sg_bench_bytes {
    double read, gradients;
    double copies; // of the narrow weights among those in use
} sg_bench_bytes;

sg_bench_bytes sg_bench_weight_bytes(const sg_param_list *params, const sg_narrow_set *narrow,
                                     int64_t idle);

// The measurements.
sg_status sg_bench_layer(const sg_bench_run *b, bool backward, sg_error *err);
sg_status sg_bench_train_step(const sg_bench_run *b, sg_error *err);
sg_status sg_bench_decode(const sg_bench_run *b, sg_error *err);
sg_status sg_bench_prefill(const sg_bench_run *b, sg_error *err);

#endif
