// Steps of the shapes of a sweep, the smallest first, so that the time of the next one is known
// well enough to leave it out where it is long.
#include "sweep/predict_time.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/machine_memory.h"
#include "kernel/measure.h"
#include "sgatlin_bench.h"

// Of the rate of dense products, where nothing was measured: about what steps of small models
// reach.
static const double time_share = 0.3;
static const double time_short = 0.2; // seconds

typedef struct timing {
    sg_context *context;
    const sg_sweep_predict_options *options;
    sg_sweep_shape *shapes;
    size_t *order; // (count) ascending FLOPs of those that there are
    size_t count;
    double gflops; // of products
    sg_error *err;
} timing;

sg_status sg_sweep_shape_of(const sg_train_options *options, int64_t seq_len, double flops,
                            int64_t memory_bytes, double evaluations, sg_sweep_shape *shape,
                            sg_error *err)
{
    *shape = (sg_sweep_shape){.seq_len = seq_len,
                              .flops = flops,
                              .memory_bytes = memory_bytes,
                              .evaluations = evaluations,
                              .seconds = NAN,
                              .timing = SG_SWEEP_TIME_NONE};
    sg_train_options *o = sg_alloc(sizeof *o);
    if (o == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a forecast");
    *o = *options;
    shape->options = o;
    sg_train_options key = *options; // without what takes no time
    key.seed = 0;
    key.lr = key.weight_decay = key.clip = key.beta1 = key.beta2 = key.eps = 0;
    key.warmup_share = key.decay_fraction = key.spike_limit = 0;
    key.warmup_steps = key.steps = key.tokens = 0;
    key.flops = key.epochs = 0;
    key.recipe[0] = key.schedule[0] = '\0';
    return sg_sweep_id(&key, "", shape->id, err);
}

// ---- measuring ----------------------------------------------------------------------------------

// A step has so many micro-batches and one update.
static bool time_result(void *user, const sg_bench_result *result)
{
    sg_sweep_shape *shape = user;
    const double parts = (double)shape->options->grad_accum;
    double update = 0;
    for (size_t i = 0; i < result->line_count; i++)
        if (strcmp(result->lines[i].operation, "optimizer") == 0)
            update = result->lines[i].forward_seconds;
    shape->seconds = parts * (result->seconds - update) + update;
    shape->timing = SG_SWEEP_TIME_MEASURED;
    return true;
}

static sg_status time_measure(const timing *t, sg_sweep_shape *shape)
{
    const sg_train_options *o = shape->options;
    sg_bench_options b = sg_bench_options_default();
    b.config = o->config;
    b.batch_size = o->batch_size / o->grad_accum;
    b.seq_len = shape->seq_len;
    b.what = SG_BENCH_TRAIN_STEP;
    b.optimizer_rows = o->optimizer_rows;
    b.seconds = time_short; // the median of several, where steps are short
    b.repeats = 1;
    b.gemm_gflops = b.stream_gbs = 1; // what the machine reaches is not asked for
    b.compute = o->compute;
    b.logits_compute = o->logits_compute;
    b.memory_path = o->memory_path;
    b.table_dtype = o->table_dtype;
    sg_error why = {0};
    const sg_status status = sg_bench(t->context, &b, time_result, shape, &why);
    // What another program took meanwhile is no reason to refuse a sweep.
    if (status == SG_OK || status == SG_ERR_MEMORY) return SG_OK;
    return sg_fail(t->err, status, "%s", why.message);
}

// Whether sg_bench does what a step does.
static bool time_can_measure(const sg_sweep_shape *shape, int64_t available)
{
    const sg_train_options *o = shape->options;
    return !o->recompute && o->init[0] == '\0' && o->lora_rank == 0 && o->train_only[0] == '\0' &&
           shape->memory_bytes < available;
}

// ---- estimating ---------------------------------------------------------------------------------

// The measured shape of the nearest FLOPs, of the same family if there is one; NULL: none.
static const sg_sweep_shape *time_nearest(const timing *t, const sg_sweep_shape *shape)
{
    const sg_sweep_shape *nearest = NULL;
    double least = INFINITY;
    for (size_t i = 0; i < t->count; i++) {
        const sg_sweep_shape *other = &t->shapes[t->order[i]];
        if (other->timing != SG_SWEEP_TIME_MEASURED) continue;
        const bool alike = strcmp(other->options->config.ffn, shape->options->config.ffn) == 0;
        const double far = fabs(log(other->flops / shape->flops)) + (alike ? 0 : 1e3);
        if (far >= least) continue;
        nearest = other;
        least = far;
    }
    return nearest;
}

static void time_estimate(const timing *t, sg_sweep_shape *shape)
{
    const sg_sweep_shape *other = time_nearest(t, shape);
    if (shape->timing == SG_SWEEP_TIME_MEASURED) return;
    shape->timing = other != NULL ? SG_SWEEP_TIME_ESTIMATED : SG_SWEEP_TIME_GUESSED;
    shape->seconds = other != NULL ? other->seconds * shape->flops / other->flops
                                   : shape->flops / (1e9 * t->gflops * time_share);
    if (shape->options->recompute) shape->seconds *= 4.0 / 3; // the forward pass twice
}

// ---- all ----------------------------------------------------------------------------------------

typedef struct time_key {
    const sg_sweep_shape *shape;
    size_t index;
} time_key;

static int time_by_id(const void *a, const void *b)
{
    const time_key *x = a, *y = b;
    const int order = strcmp(x->shape->id, y->shape->id);
    return order != 0 ? order : (x->index > y->index) - (x->index < y->index);
}

static int time_by_flops(const void *a, const void *b)
{
    const time_key *x = a, *y = b;
    if (x->shape->flops != y->shape->flops) return x->shape->flops < y->shape->flops ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

// One of each, and of which each cell is.
static sg_status time_sort(timing *t, size_t cells, size_t *shape_of)
{
    time_key *keys = sg_alloc_array(cells + 1, sizeof *keys);
    size_t there = 0;
    if (keys == NULL) return sg_fail(t->err, SG_ERR_MEMORY, "out of memory for a forecast");
    for (size_t i = 0; i < cells; i++)
        if (t->shapes[i].id[0] != '\0') keys[there++] = (time_key){&t->shapes[i], i};
    qsort(keys, there, sizeof *keys, time_by_id);
    for (size_t i = 0, first = 0; i < there; i++) {
        const bool same = i > 0 && strcmp(keys[i].shape->id, keys[i - 1].shape->id) == 0;
        if (!same) first = keys[i].index;
        shape_of[keys[i].index] = first;
        if (!same) keys[t->count++] = keys[i];
    }
    qsort(keys, t->count, sizeof *keys, time_by_flops);
    for (size_t i = 0; i < t->count; i++)
        t->order[i] = keys[i].index;
    sg_free(keys);
    return SG_OK;
}

static sg_status time_shapes(const timing *t)
{
    const double begin = sg_clock_seconds();
    for (size_t i = 0; i < t->count; i++) {
        sg_sweep_shape *shape = &t->shapes[t->order[i]];
        time_estimate(t, shape); // how long it would take
        const double step = shape->seconds;
        if (step > t->options->step_seconds ||
            sg_clock_seconds() - begin + 2 * step > t->options->seconds ||
            !time_can_measure(shape, sg_memory_of_machine().available))
            continue;
        SG_TRY(time_measure(t, shape));
    }
    for (size_t i = 0; i < t->count; i++)
        time_estimate(t, &t->shapes[t->order[i]]);
    return SG_OK;
}

sg_status sg_sweep_shapes_time(sg_context *context, const sg_sweep_predict_options *options,
                               sg_sweep_shape *shapes, sg_sweep_forecast *out, sg_error *err)
{
    timing t = {.context = context, .options = options, .shapes = shapes, .err = err};
    size_t *shape_of = sg_alloc_zero(out->count + 1, sizeof *shape_of);
    t.order = sg_alloc_array(out->count + 1, sizeof *t.order);
    sg_status status = t.order == NULL || shape_of == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a forecast")
                           : time_sort(&t, out->count, shape_of);
    const bool timed = options->seconds > 0 && t.count > 0;
    if (status == SG_OK && timed)
        status = sg_measure_gemm(context, SG_COMPUTE_F32, 0.05, &t.gflops, err);
    if (status == SG_OK && timed) status = time_shapes(&t);
    for (size_t i = 0; i < out->count && status == SG_OK; i++) {
        if (shapes[i].id[0] == '\0') continue;
        const sg_sweep_shape *shape = &shapes[shape_of[i]];
        out->cells[i].step_seconds = shape->seconds;
        out->cells[i].timing = shape->timing;
        out->cells[i].seconds =
            shape->seconds * ((double)out->cells[i].steps + shapes[i].evaluations);
    }
    for (size_t i = 0; i < t.count && status == SG_OK; i++)
        out->measured += shapes[t.order[i]].timing == SG_SWEEP_TIME_MEASURED;
    out->shapes = (int64_t)t.count;
    sg_free(t.order);
    sg_free(shape_of);
    return status;
}
