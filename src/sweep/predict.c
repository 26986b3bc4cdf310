// From the cells of a plan to what their runs will be; times are predict_time.c's.
#include "sweep/predict.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/machine_memory.h"
#include "sgatlin_data.h"
#include "sweep/predict_time.h"
#include "sweep/spec.h"
#include "train/run_options.h"
#include "train/run_plan.h"
#include "train/sparse_losses.h"

typedef struct predict {
    sg_context *context;
    const sg_sweep_spec *spec;
    const sg_sweep_plan *plan;
    const sg_sweep_predict_options *options;
    sg_data *data;
    const char *data_name;
    sg_sweep_forecast *out;
    sg_machine_memory memory;
    sg_sweep_shape *shapes; // (cells)
    sg_error first;         // the first run that cannot be
    size_t refused;
    sg_error *err;
} predict;

sg_sweep_predict_options sg_sweep_predict_options_default(void)
{
    return (sg_sweep_predict_options){.jobs = 1, .step_seconds = 2, .seconds = 60};
}

// ---- one run ------------------------------------------------------------------------------------

static sg_status run_steps_plan(sg_context *context, const sg_data *data, const char *data_name,
                                sg_train_options *o, sg_train_plan *plan, const sg_cost *cost,
                                sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(data);
    int64_t steps;
    // Of a model that is gone on from, or trained in parts, only an opened one tells.
    if (o->init[0] != '\0' || o->lora_rank > 0 || o->train_only[0] != '\0')
        return sg_train_plan_new(context, data_name, o, plan, err);
    SG_TRY(sg_run_options_steps(o, info->seq_len, info->split[SG_SPLIT_TRAIN].rows, cost, &steps,
                                err));
    *plan = sg_train_plan_make(o, info, cost, steps, cost->parameters, -1);
    // What is free now is told of all runs together.
    const int64_t most = sg_memory_of_machine().most;
    return sg_train_plan_check(context, o, plan, &(sg_machine_memory){most, most}, err);
}

sg_status sg_sweep_run_plan(sg_context *context, const sg_data *data, const char *data_name,
                            double max_epochs, sg_train_options *o, sg_train_plan *plan,
                            sg_cost *cost, sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(data);
    if (info->split[SG_SPLIT_VAL].rows == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found no validation split, whose loss is what runs are compared by",
                       data_name);
    SG_TRY(sg_run_options_complete(o, data, data_name, err));
    SG_TRY(sg_sparse_change(o, &o->config, err));
    SG_TRY(sg_train_cost(context, o, info->seq_len, cost, err));
    SG_TRY(run_steps_plan(context, data, data_name, o, plan, cost, err));
    if (plan->epochs <= max_epochs * (1 + 1e-9)) return SG_OK;
    return sg_fail(
        err, SG_ERR_ARGUMENT,
        "%s: found %.4g epochs of %lld rows, expected at most %s (max_epochs): pack more "
        "text",
        data_name, plan->epochs, (long long)plan->rows, SG_NUMBER(max_epochs));
}

// Checkpoints that are kept, one more while it is written, and the model in the end.
static int64_t predict_disk(const sg_train_options *o, const sg_train_plan *plan)
{
    const double most = (double)(o->keep_last + (o->eval_every > 0) + 1);
    const double bytes = most * (double)plan->checkpoint_bytes + 4 * (double)plan->parameters;
    return bytes < 0x1p62 ? (int64_t)bytes : INT64_MAX / 2;
}

static bool predict_is_needed(const predict *p, size_t cell)
{
    const sg_sweep_prediction *q = &p->out->cells[cell];
    return q->waiting > 0 || q->expected > 0;
}

// How many steps evaluations take as long as: those on the way, and the last one of all.
static double predict_evaluations(const sg_train_options *o, const sg_data_info *info,
                                  int64_t steps)
{
    const double all = (double)info->split[SG_SPLIT_VAL].rows;
    const double part = o->eval_sequences > 0 ? fmin((double)o->eval_sequences, all) : all;
    const int64_t times = o->eval_every > 0 ? steps / o->eval_every : 0;
    return (all + (double)times * part) / (double)o->batch_size / 3;
}

static sg_status predict_cell(predict *p, size_t cell, sg_error *err)
{
    sg_sweep_prediction *q = &p->out->cells[cell];
    const sg_data_info *info = sg_data_get_info(p->data);
    sg_train_options o;
    sg_train_plan plan;
    sg_cost cost;
    SG_TRY(sg_sweep_cell_options(p->spec, sg_sweep_plan_cell(p->spec, p->plan, cell), &o, err));
    SG_TRY(sg_sweep_run_plan(p->context, p->data, p->data_name, p->spec->max_epochs, &o, &plan,
                             &cost, err));
    q->steps = plan.steps;
    q->tokens = plan.steps * plan.tokens_per_step;
    q->epochs = plan.epochs;
    q->flops = plan.flops;
    q->flops_all_in = plan.flops_all_in;
    q->parameters = plan.parameters;
    q->active_parameters = cost.active_parameters_per_token;
    q->memory_bytes = plan.memory_bytes;
    q->disk_bytes = predict_disk(&o, &plan);
    if (!predict_is_needed(p, cell)) return SG_OK;
    const double flops = plan.flops_all_in / (double)plan.steps;
    return sg_sweep_shape_of(&o, info->seq_len, flops, plan.memory_bytes,
                             predict_evaluations(&o, info, plan.steps), &p->shapes[cell], err);
}

static sg_status predict_cells(predict *p)
{
    char label[SG_SWEEP_MARK];
    for (size_t i = 0; i < p->out->count; i++) {
        sg_error why = {0};
        if (!predict_is_needed(p, i) && p->out->cells[i].finished == 0) continue;
        const sg_status status = predict_cell(p, i, &why);
        if (status == SG_OK) continue;
        // What is finished has been.
        if (!predict_is_needed(p, i)) continue;
        if (status != SG_ERR_ARGUMENT && status != SG_ERR_MEMORY)
            return sg_fail(p->err, status, "%s", why.message);
        if (i >= p->spec->cell_count) { // fails, and the scales end there
            p->out->cells[i].waiting = 0;
            p->out->cells[i].expected = 0;
            continue;
        }
        if (p->refused++ > 0) continue;
        p->first = why;
        sg_fail_context(
            &p->first, status, "%s",
            sg_sweep_cell_label(sg_sweep_plan_cell(p->spec, p->plan, i), label, sizeof label));
    }
    if (p->refused == 0) return SG_OK;
    if (p->refused == 1) return sg_fail(p->err, p->first.code, "%s", p->first.message);
    return sg_fail(p->err, p->first.code, "%.900s (and %zu other cells that cannot be)",
                   p->first.message, p->refused - 1);
}

// ---- all of them --------------------------------------------------------------------------------

static void predict_count(predict *p, const sg_sweep_results *results)
{
    for (size_t i = 0; i < p->plan->count; i++) {
        const int64_t row = p->plan->rows[i];
        const bool over = row >= 0 && (results->rows[row].state == SG_SWEEP_FINISHED ||
                                       results->rows[row].state == SG_SWEEP_FAILED);
        sg_sweep_prediction *q = &p->out->cells[p->plan->todos[i].cell];
        q->finished += over;
        q->waiting += !over;
    }
    for (size_t i = 0; i < p->out->count; i++)
        p->out->cells[i].expected = p->plan->cells[i].expected;
}

static void predict_add(sg_sweep_total *total, const sg_sweep_prediction *q)
{
    const double runs = (double)q->waiting + q->expected;
    total->finished += q->finished;
    total->waiting += q->waiting;
    total->expected += q->expected;
    if (runs <= 0) return;
    total->flops += runs * q->flops;
    total->flops_all_in += runs * q->flops_all_in;
    total->seconds += runs * q->seconds;
}

static sg_status predict_totals(predict *p)
{
    sg_sweep_forecast *f = p->out;
    size_t capacity = 0;
    for (size_t i = 0; i < f->count; i++) {
        const char *family = sg_sweep_plan_cell(p->spec, p->plan, i)->family;
        size_t at = 0;
        while (at < f->family_count && strcmp(f->families[at].family, family) != 0)
            at++;
        if (at == f->family_count) {
            if (!sg_grow((void **)&f->families, &capacity, at + 1, sizeof *f->families))
                return sg_fail(p->err, SG_ERR_MEMORY, "out of memory for a forecast");
            f->families[f->family_count++] = (sg_sweep_total){0};
            memcpy(f->families[at].family, family, strlen(family) + 1);
        }
        predict_add(&f->families[at], &f->cells[i]);
        predict_add(&f->all, &f->cells[i]);
        if (predict_is_needed(p, i)) f->wall_seconds = fmax(f->wall_seconds, f->cells[i].seconds);
    }
    f->wall_seconds = isnan(f->all.seconds)
                          ? NAN
                          : fmax(f->wall_seconds, f->all.seconds / (double)p->options->jobs);
    return SG_OK;
}

static int predict_larger(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

// The sum of the largest `jobs` of values of runs, of which each cell has as many as are to come.
static int64_t predict_together(const predict *p, int64_t *work, bool disk)
{
    size_t count = 0;
    int64_t sum = 0, jobs = p->options->jobs;
    // The larger comes first: runs of one cell count as often as there are.
    for (size_t i = 0; i < p->out->count; i++) {
        const sg_sweep_prediction *q = &p->out->cells[i];
        const int64_t runs = q->waiting + (int64_t)ceil(q->expected);
        for (int64_t n = 0; n < runs && n < jobs; n++)
            work[count++] = disk ? q->disk_bytes : q->memory_bytes;
    }
    qsort(work, count, sizeof *work, predict_larger);
    for (size_t i = 0; i < count && jobs > 0; i++, jobs--)
        sum = sum > INT64_MAX - work[i] ? INT64_MAX : sum + work[i];
    return sum;
}

static sg_status predict_room(predict *p)
{
    sg_sweep_forecast *f = p->out;
    int64_t *work = sg_alloc_array(f->count + 1, (size_t)p->options->jobs * sizeof *work);
    if (work == NULL) return sg_fail(p->err, SG_ERR_MEMORY, "out of memory for a forecast");
    f->memory_bytes = predict_together(p, work, false);
    f->disk_bytes = predict_together(p, work, true);
    f->memory_available = p->memory.available;
    sg_free(work);
    if (f->memory_bytes <= p->memory.most) return SG_OK;
    return sg_fail(p->err, SG_ERR_MEMORY,
                   "jobs: the largest %lld runs at a time take %.3g GB of memory, expected at most "
                   "the %.3g GB there are: fewer jobs",
                   (long long)p->options->jobs, (double)f->memory_bytes / 1e9,
                   (double)p->memory.most / 1e9);
}

static sg_status predict_all(predict *p, const sg_sweep_results *results)
{
    sg_sweep_forecast *f = p->out;
    if (p->options->jobs < 1 || p->options->jobs > 4096)
        return sg_fail(p->err, SG_ERR_ARGUMENT, "jobs: found %lld, expected 1 to 4096",
                       (long long)p->options->jobs);
    SG_TRY(sg_data_open(p->data_name, SG_VERIFY_QUICK, &p->data, p->err));
    f->count = p->spec->cell_count + p->plan->added_count;
    f->cells = sg_alloc_zero(f->count + 1, sizeof *f->cells);
    p->shapes = sg_alloc_zero(f->count + 1, sizeof *p->shapes);
    if (f->cells == NULL || p->shapes == NULL)
        return sg_fail(p->err, SG_ERR_MEMORY, "out of memory for a forecast");
    predict_count(p, results);
    SG_TRY(predict_cells(p));
    SG_TRY(predict_room(p));
    SG_TRY(sg_sweep_shapes_time(p->context, p->options, p->shapes, f, p->err));
    return predict_totals(p);
}

sg_status sg_sweep_predict(sg_context *context, const sg_sweep_spec *spec,
                           const sg_sweep_plan *plan, const sg_sweep_results *results,
                           const char *data, const sg_sweep_predict_options *options,
                           sg_sweep_forecast *out, sg_error *err)
{
    predict p = {.context = context,
                 .spec = spec,
                 .plan = plan,
                 .options = options,
                 .data_name = data,
                 .out = out,
                 .memory = sg_memory_of_machine(),
                 .err = err};
    *out = (sg_sweep_forecast){0};
    const sg_status status = predict_all(&p, results);
    for (size_t i = 0; p.shapes != NULL && i < out->count; i++)
        sg_free(p.shapes[i].options);
    sg_free(p.shapes);
    sg_data_free(p.data);
    return status;
}

void sg_sweep_forecast_clear(sg_sweep_forecast *forecast)
{
    sg_free(forecast->cells);
    sg_free(forecast->families);
    *forecast = (sg_sweep_forecast){0};
}
