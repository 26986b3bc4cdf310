// Modules m = 1 … M of a model, a linear layer t = x W^T + b each, and in its place an MLP
// y = relu(x W_up^T + b_up) W_down^T + b_down with hidden activations a. Of a batch of rows and
// step s of n (D2DMoE, Szatkowski et al. 2024):
//
//     1/M sum_m ( mean over rows and numbers of (y - t)^2
//                 + weight s/n mean over rows of (sum_j |a_j|)^2 / sum_j a_j^2 )
//
// Targets are computed on the same tape from what is not trained. Modules have nothing in common
// but the batch, so that those of one layer are trained together and no layer knows of another.
// (Published are 3 epochs of images at a rate of 0.001, with a dropout of 0.05, which is not here;
// that the rate goes down is ours.)
#include "sparsify/distil.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/sparse_losses.h"

enum { distil_measure_rows = 256, distil_ask = 16 }; // steps between questions

static const char *const value_names[SG_DISTIL_VALUES] = {"up_proj.weight", "up_proj.bias",
                                                          "down_proj.weight", "down_proj.bias"};

static int value_shape(const sg_projection_size *s, int value, int64_t shape[2])
{
    const int64_t shapes[SG_DISTIL_VALUES][2] = {
        {s->hidden, s->in}, {s->hidden, 0}, {s->out, s->hidden}, {s->out, 0}};
    memcpy(shape, shapes[value], sizeof shapes[value]);
    return shape[1] > 0 ? 2 : 1;
}

// ---- one module on a tape -----------------------------------------------------------------------

sg_distil_nodes sg_distil_record(sg_tape *tape, const sg_distil_module *m,
                                 sg_real *const grads[SG_DISTIL_VALUES], sg_tensor *x)
{
    const sg_projection_size *s = &m->size;
    sg_distil_nodes nodes = {0};
    sg_tensor *leaves[SG_DISTIL_VALUES], *bias = NULL;
    int64_t shape[2];
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        const int rank = value_shape(s, i, shape);
        leaves[i] = sg_tape_leaf(tape, value_names[i], SG_KIND_REAL, rank, shape, m->values[i],
                                 grads != NULL ? grads[i] : NULL, grads != NULL);
    }
    sg_tensor *w = sg_tape_leaf(tape, "weight", SG_KIND_REAL, 2, (int64_t[]){s->out, s->in},
                                (sg_real *)(uintptr_t)m->weight, NULL, false);
    if (m->bias != NULL)
        bias = sg_tape_leaf(tape, "bias", SG_KIND_REAL, 1, &s->out, (sg_real *)(uintptr_t)m->bias,
                            NULL, false);
    nodes.target = sg_linear(tape, x, w, bias);
    sg_tensor *u = sg_linear(tape, x, leaves[0], leaves[1]);
    nodes.hidden = sg_activate(tape, u, SG_ACT_RELU);
    nodes.y = sg_linear(tape, nodes.hidden, leaves[2], leaves[3]);
    return nodes;
}

void sg_distil_losses(sg_tape *tape, const sg_distil_nodes *nodes, double share)
{
    const sg_row_loss_options of = {.targets = nodes->target};
    sg_tape_add_loss(tape, sg_row_loss(tape, SG_ROW_SQUARES, nodes->y, &of), share);
    sg_tape_add_loss(tape, sg_row_loss(tape, SG_ROW_HOYER, nodes->hidden, NULL), 0);
}

void sg_distil_weigh(sg_tape *tape, double hoyer)
{
    for (int i = 0; i < sg_tape_nodes(tape); i++)
        if (sg_is_row_loss(sg_tape_node_at(tape, i), SG_ROW_HOYER))
            sg_tape_weigh_loss(tape, i, hoyer);
}

// ---- training -----------------------------------------------------------------------------------

typedef struct distil {
    sg_compute compute;
    const sg_distil_training *o;
    const sg_distil_module *modules;
    int64_t count, rows;
    sg_param_list params;
    sg_real **values; // by parameter
    sg_gradients gradients;
    sg_optimizer *optimizer;
    sg_tape *tape;
    sg_real *batch[SG_PROJECTIONS]; // (batch, in) by module; NULL: that of a module before
} distil;

static void distil_end(distil *t)
{
    sg_tape_free(t->tape);
    sg_optimizer_free(t->optimizer);
    sg_gradients_free(&t->gradients);
    sg_param_list_free(&t->params);
    sg_free(t->values);
    for (int i = 0; i < SG_PROJECTIONS; i++)
        sg_free(t->batch[i]);
}

static void distil_params(distil *t)
{
    for (int64_t m = 0; m < t->count; m++)
        for (int i = 0; i < SG_DISTIL_VALUES; i++) {
            int64_t shape[2];
            char prefix[32];
            const int rank = value_shape(&t->modules[m].size, i, shape);
            snprintf(prefix, sizeof prefix, "module%lld.", (long long)m);
            sg_param_add(&t->params, prefix, value_names[i], rank, shape, SG_INIT_ZERO, 0);
            t->values[m * SG_DISTIL_VALUES + i] = t->modules[m].values[i];
        }
}

// The leaf of the inputs of a module, which a module before it may have.
static sg_tensor *distil_input(distil *t, int64_t m, sg_tensor **inputs)
{
    const sg_distil_module *of = &t->modules[m];
    for (int64_t before = 0; before < m; before++)
        if (t->modules[before].x == of->x) return inputs[m] = inputs[before];
    t->batch[m] = sg_alloc_array((size_t)t->o->batch, (size_t)of->size.in * sizeof(sg_real));
    if (t->batch[m] == NULL) return sg_tape_fail(t->tape, SG_ERR_MEMORY, "out of memory for rows");
    inputs[m] = sg_tape_leaf(t->tape, "x", SG_KIND_REAL, 2, (int64_t[]){t->o->batch, of->size.in},
                             t->batch[m], NULL, false);
    return inputs[m];
}

static sg_status distil_record(distil *t, sg_error *err)
{
    sg_tensor *inputs[SG_PROJECTIONS];
    SG_TRY(sg_tape_new(&t->tape, err));
    for (int64_t m = 0; m < t->count; m++) {
        sg_tensor *x = distil_input(t, m, inputs);
        const sg_distil_nodes nodes =
            sg_distil_record(t->tape, &t->modules[m], t->gradients.parts + m * SG_DISTIL_VALUES, x);
        sg_distil_losses(t->tape, &nodes, 1.0 / (double)t->o->modules);
    }
    const sg_tape_options options = {.gradient = true,
                                     .threads = sg_pool_threads(t->compute.pool),
                                     .allocator = t->compute.allocator};
    SG_TRY(sg_tape_finish(t->tape, &options, err));
    return sg_tape_allocate(t->tape, err);
}

static sg_status distil_begin(distil *t, sg_error *err)
{
    t->values = sg_alloc_zero((size_t)(t->count * SG_DISTIL_VALUES), sizeof *t->values);
    if (t->values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for distillation");
    distil_params(t);
    if (t->params.status != SG_OK)
        return sg_fail(err, t->params.status, "out of memory for the parameters of MLPs");
    SG_TRY(sg_gradients_new(&t->params, SG_ROWS_EXACT, t->o->batch, t->compute.allocator,
                            &t->gradients, err));
    const sg_optimizer_options adam = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .allocator = t->compute.allocator};
    SG_TRY(sg_optimizer_new(&t->params, t->values, &t->gradients, &adam, &t->optimizer, err));
    return distil_record(t, err);
}

// Rows in an order that is another in each epoch; a batch may lie in two.
static void distil_batch(distil *t, int64_t step)
{
    const uint32_t stream = sg_rng_stream("distil.order");
    for (int64_t i = 0; i < t->o->batch; i++) {
        const int64_t at = step * t->o->batch + i, epoch = at / t->rows;
        const int64_t row =
            (int64_t)sg_rng_permute(t->o->seed, stream + (uint32_t)epoch,
                                    (uint64_t)(at - epoch * t->rows), (uint64_t)t->rows);
        for (int64_t m = 0; m < t->count; m++) {
            const int64_t in = t->modules[m].size.in;
            if (t->batch[m] != NULL)
                memcpy(t->batch[m] + i * in, t->modules[m].x + row * in,
                       (size_t)in * sizeof(sg_real));
        }
    }
}

static sg_status distil_step(distil *t, const sg_schedule *schedule, int64_t step, sg_error *err)
{
    sg_run run = {.compute = t->compute, .err = err};
    distil_batch(t, step);
    sg_distil_weigh(t->tape, sg_ramp_at(SG_RAMP_LINEAR, t->o->sparsity, step, t->o->steps) /
                                 (double)t->o->modules);
    SG_TRY(sg_tape_forward(t->tape, &run));
    SG_TRY(sg_tape_backward(t->tape, &run));
    const double norm = sg_optimizer_norm(t->optimizer, t->compute);
    if (!isfinite(norm))
        return sg_fail(err, SG_ERR_NUMERIC,
                       "distillation: step %lld: found a gradient norm of %g; a lower rate may "
                       "help",
                       (long long)step + 1, norm);
    sg_optimizer_apply(t->optimizer, t->compute, sg_schedule_at(schedule, step), norm);
    return SG_OK;
}

// Mean squares of the last pass, which are recorded module by module.
static void distil_squares(const distil *t, double *losses)
{
    int64_t m = 0;
    for (int i = 0; losses != NULL && i < sg_tape_nodes(t->tape); i++) {
        const sg_node *node = sg_tape_node_at(t->tape, i);
        if (sg_is_row_loss(node, SG_ROW_SQUARES)) losses[m++] = (double)sg_values(node->out[0])[0];
    }
}

static sg_status distil_steps(distil *t, double *losses, sg_error *err)
{
    const sg_distil_training *o = t->o;
    const sg_schedule schedule = {.kind = SG_SCHEDULE_COSINE, .peak = o->rate, .steps = o->steps};
    for (int64_t step = 0; step < o->steps; step++) {
        SG_TRY(distil_step(t, &schedule, step, err));
        if (step % distil_ask == 0 && o->go_on != NULL && !o->go_on(o->user))
            return sg_fail(err, SG_ERR_STOPPED, "stopped while MLPs were trained");
    }
    distil_squares(t, losses);
    return SG_OK;
}

sg_status sg_distil_train(sg_compute compute, const sg_distil_module *modules, int64_t count,
                          int64_t rows, const sg_distil_training *training, double *losses,
                          sg_error *err)
{
    distil t = {
        .compute = compute, .o = training, .modules = modules, .count = count, .rows = rows};
    sg_status status = distil_begin(&t, err);
    if (status == SG_OK) status = distil_steps(&t, losses, err);
    distil_end(&t);
    return status;
}

// ---- what it came to ----------------------------------------------------------------------------

typedef struct distil_sums {
    double off, of, zeros, all;
} distil_sums;

static void measure_add(const sg_distil_nodes *nodes, const sg_projection_size *s, int64_t rows,
                        distil_sums *sums)
{
    const sg_real *y = sg_values(nodes->y), *target = sg_values(nodes->target);
    const sg_real *hidden = sg_values(nodes->hidden);
    for (int64_t i = 0; i < rows * s->out; i++) {
        const double off = (double)y[i] - (double)target[i];
        sums->off += off * off;
        sums->of += (double)target[i] * (double)target[i];
    }
    for (int64_t i = 0; i < rows * s->hidden; i++)
        sums->zeros += !(hidden[i] > 0);
    sums->all += (double)(rows * s->hidden);
}

static sg_status measure_rows(sg_compute compute, sg_tape *tape, const sg_distil_nodes *nodes,
                              const sg_distil_module *m, sg_real *room, const sg_real *x,
                              int64_t rows, distil_sums *sums, sg_error *err)
{
    sg_run run = {.compute = compute, .err = err};
    const int64_t in = m->size.in;
    for (int64_t first = 0; first < rows; first += distil_measure_rows) {
        const int64_t count = sg_min(distil_measure_rows, rows - first);
        memset(room, 0, (size_t)(distil_measure_rows * in) * sizeof *room);
        memcpy(room, x + first * in, (size_t)(count * in) * sizeof *room);
        SG_TRY(sg_tape_forward(tape, &run));
        measure_add(nodes, &m->size, count, sums);
    }
    return SG_OK;
}

static sg_status measure_tape(sg_compute compute, const sg_distil_module *m, sg_real *room,
                              sg_tape *tape, sg_distil_nodes *nodes, sg_error *err)
{
    const int64_t shape[] = {distil_measure_rows, m->size.in};
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, room, NULL, false);
    *nodes = sg_distil_record(tape, m, NULL, x);
    sg_tape_keep(tape, nodes->hidden);
    sg_tape_keep(tape, nodes->y);
    sg_tape_keep(tape, nodes->target);
    const sg_tape_options options = {.threads = sg_pool_threads(compute.pool),
                                     .allocator = compute.allocator};
    SG_TRY(sg_tape_finish(tape, &options, err));
    return sg_tape_allocate(tape, err);
}

sg_status sg_distil_measure(sg_compute compute, const sg_distil_module *m, const sg_real *x,
                            int64_t rows, double *error, double *zeros, sg_error *err)
{
    distil_sums sums = {0};
    sg_distil_nodes nodes;
    sg_tape *tape = NULL;
    sg_real *room = sg_alloc_array(distil_measure_rows, (size_t)m->size.in * sizeof *room);
    if (room == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for rows");
    sg_status status = sg_tape_new(&tape, err);
    if (status == SG_OK) status = measure_tape(compute, m, room, tape, &nodes, err);
    if (status == SG_OK) status = measure_rows(compute, tape, &nodes, m, room, x, rows, &sums, err);
    sg_tape_free(tape);
    sg_free(room);
    *error = sums.of > 0 ? sqrt(sums.off / sums.of) : NAN;
    *zeros = sums.all > 0 ? sums.zeros / sums.all : NAN;
    return status;
}
