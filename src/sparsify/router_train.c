// One tape of a batch, AdamW of the room of training, and a copy of the weights of the best epoch.
// (The published code keeps the second best epoch, which looks like a mistake; G-MoEfication's
// keeps the best.)
#include "sparsify/router_train.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "sparsify/block_targets.h"
#include "train/optimizer.h"

typedef struct router_trainer {
    sg_compute compute;
    const sg_router_training *o;
    sg_router_net *net;
    const sg_real *x, *targets;
    int64_t trained, held; // tokens
    sg_param_list params;
    sg_real *values[2]; // of the net
    sg_gradients gradients;
    sg_optimizer *optimizer;
    sg_tape *tape;
    sg_tensor *loss;
    sg_real *batch_x, *batch_t; // (batch, d), (batch, E)
    sg_real *scores;            // (held, E)
    sg_real *best;              // values of the best epoch, one after the other
} router_trainer;

sg_router_training sg_router_training_default(sg_router_form form)
{
    const bool norm = form == SG_ROUTER_NORM;
    return (sg_router_training){.learning_rate = norm ? 1e-3 : 1e-2,
                                .beta1 = 0.9,
                                .beta2 = 0.999,
                                .eps = 1e-8,
                                .weight_decay = norm ? 1e-2 : 0,
                                .batch = 512,
                                .epochs = 30,
                                .held_out = 0.1,
                                .kept = 0.2};
}

// ---- checks -------------------------------------------------------------------------------------

static sg_status router_check_options(const sg_router_net *net, const sg_router_training *o,
                                      sg_error *err)
{
    if (net->form == SG_ROUTER_CENTROID || net->form == SG_ROUTER_REPRESENTATIVE)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found one that is not trained, expected mlp, norm or sigmoid");
    if (net->blocks > SG_TOPK_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "router: blocks: found %lld, expected 1 … %d",
                       (long long)net->blocks, SG_TOPK_MAX);
    if (o->batch < 1 || o->epochs < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found a batch of %lld and %lld epochs, expected 1 or more",
                       (long long)o->batch, (long long)o->epochs);
    if (!(o->held_out >= 0 && o->held_out <= 0.5))
        return sg_fail(err, SG_ERR_ARGUMENT, "router: held out: found %g, expected 0 … 0.5",
                       o->held_out);
    if (!(o->kept > 0 && o->kept <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "router: kept: found %g, expected above 0, up to 1",
                       o->kept);
    return SG_OK;
}

static sg_status router_check_numbers(const char *what, const sg_real *x, int64_t tokens,
                                      int64_t width, sg_real least, sg_error *err)
{
    for (int64_t i = 0; i < tokens * width; i++)
        if (!isfinite(x[i]) || x[i] < least)
            return sg_fail(err, SG_ERR_NUMERIC,
                           "router: token %lld, %s %lld: found %g, expected a finite number%s",
                           (long long)(i / width), what, (long long)(i % width), (double)x[i],
                           least == 0 ? " that is not below 0" : "");
    return SG_OK;
}

static sg_status router_check_data(const router_trainer *t, int64_t tokens, sg_error *err)
{
    const int64_t E = t->net->blocks;
    if (tokens < 1 || t->trained < t->o->batch || (t->o->held_out > 0 && t->held < 1))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "router: found %lld calibration tokens, expected at least %lld: a batch, "
                       "and what is held out",
                       (long long)tokens,
                       (long long)ceil((double)t->o->batch / (1 - t->o->held_out)));
    SG_TRY(router_check_numbers("input", t->x, tokens, t->net->d, -INFINITY, err));
    SG_TRY(router_check_numbers("target", t->targets, tokens, E, 0, err));
    for (int64_t i = 0; i < t->trained * E; i++)
        if (t->targets[i] > 0) return SG_OK;
    return sg_fail(err, SG_ERR_NUMERIC,
                   "router: found no target above 0 in %lld tokens: no block does anything",
                   (long long)t->trained);
}

// ---- what a step needs --------------------------------------------------------------------------

static void router_params(router_trainer *t)
{
    const sg_router_net *net = t->net;
    const int64_t inputs = net->width > 0 ? net->width : net->d;
    int n = 0;
    if (net->hidden != NULL) {
        sg_param_add(&t->params, "", "hidden.weight", 2, (int64_t[]){net->width, net->d},
                     SG_INIT_ZERO, 0);
        t->values[n++] = net->hidden;
    }
    sg_param_add(&t->params, "", "weight", 2, (int64_t[]){net->rows, inputs}, SG_INIT_ZERO, 0);
    t->values[n] = net->weight;
}

static sg_status router_record(router_trainer *t, sg_error *err)
{
    const int64_t batch = t->o->batch, E = t->net->blocks;
    const bool hidden = t->net->hidden != NULL, norm = t->net->form == SG_ROUTER_NORM;
    sg_real *const *parts = t->gradients.parts;
    sg_real *const grads[3] = {hidden ? parts[0] : NULL, parts[hidden], NULL};
    sg_tensor *weights[3];
    SG_TRY(sg_tape_new(&t->tape, err));
    sg_router_leaves(t->tape, t->net, grads, weights);
    sg_tensor *x = sg_tape_leaf(t->tape, "x", SG_KIND_REAL, 2, (int64_t[]){batch, t->net->d},
                                t->batch_x, NULL, false);
    const sg_row_loss_options targets = {.targets = sg_tape_leaf(t->tape, "targets", SG_KIND_REAL,
                                                                 2, (int64_t[]){batch, E},
                                                                 t->batch_t, NULL, false)};
    sg_tensor *y = sg_router_record(t->tape, t->net, weights, x, !norm);
    t->loss = sg_row_loss(t->tape, norm ? SG_ROW_SQUARES : SG_ROW_CROSS_ENTROPY, y, &targets);
    sg_tape_add_loss(t->tape, t->loss, 1);
    const sg_tape_options options = {.gradient = true,
                                     .threads = sg_pool_threads(t->compute.pool),
                                     .allocator = t->compute.allocator};
    SG_TRY(sg_tape_finish(t->tape, &options, err));
    return sg_tape_allocate(t->tape, err);
}

static sg_status router_begin(router_trainer *t, sg_error *err)
{
    const size_t batch = (size_t)t->o->batch, E = (size_t)t->net->blocks;
    router_params(t);
    if (t->params.status != SG_OK)
        return sg_fail(err, t->params.status, "out of memory for a router's parameters");
    SG_TRY(sg_gradients_new(&t->params, SG_ROWS_EXACT, t->o->batch, t->compute.allocator,
                            &t->gradients, err));
    const sg_optimizer_options adamw = {.beta1 = t->o->beta1,
                                        .beta2 = t->o->beta2,
                                        .eps = t->o->eps,
                                        .weight_decay = t->o->weight_decay,
                                        .allocator = t->compute.allocator};
    SG_TRY(sg_optimizer_new(&t->params, t->values, &t->gradients, &adamw, &t->optimizer, err));
    t->batch_x = sg_alloc_array(batch, (size_t)t->net->d * sizeof *t->batch_x);
    t->batch_t = sg_alloc_array(batch, E * sizeof *t->batch_t);
    t->scores = sg_alloc_array((size_t)t->held + 1, E * sizeof *t->scores);
    t->best = sg_alloc_array((size_t)t->params.total, sizeof *t->best);
    if (!t->batch_x || !t->batch_t || !t->scores || !t->best)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for the training of a router");
    return router_record(t, err);
}

static void router_end(router_trainer *t)
{
    sg_tape_free(t->tape);
    sg_optimizer_free(t->optimizer);
    sg_gradients_free(&t->gradients);
    sg_param_list_free(&t->params);
    sg_free(t->batch_x);
    sg_free(t->batch_t);
    sg_free(t->scores);
    sg_free(t->best);
}

// ---- steps --------------------------------------------------------------------------------------

static void router_batch(router_trainer *t, int64_t epoch, int64_t step)
{
    const int64_t d = t->net->d, E = t->net->blocks;
    const uint32_t stream = sg_rng_stream("router.order") + (uint32_t)epoch;
    for (int64_t i = 0; i < t->o->batch; i++) {
        const uint64_t at = (uint64_t)(step * t->o->batch + i);
        const int64_t row = (int64_t)sg_rng_permute(t->o->seed, stream, at, (uint64_t)t->trained);
        memcpy(t->batch_x + i * d, t->x + row * d, (size_t)d * sizeof *t->x);
        memcpy(t->batch_t + i * E, t->targets + row * E, (size_t)E * sizeof *t->targets);
    }
    if (t->net->form != SG_ROUTER_NORM) sg_scale_targets(t->batch_t, t->o->batch * E);
}

static sg_status router_step(router_trainer *t, int64_t epoch, int64_t step, double *loss,
                             sg_error *err)
{
    sg_run run = {.compute = t->compute, .err = err};
    router_batch(t, epoch, step);
    SG_TRY(sg_tape_forward(t->tape, &run));
    SG_TRY(sg_tape_backward(t->tape, &run));
    *loss = (double)sg_values(t->loss)[0];
    const double norm = sg_optimizer_norm(t->optimizer, t->compute);
    if (!isfinite(*loss) || !isfinite(norm))
        return sg_fail(err, SG_ERR_NUMERIC,
                       "router: epoch %lld: found a loss of %g and a gradient norm of %g; a lower "
                       "learning rate may help",
                       (long long)epoch + 1, *loss, norm);
    sg_optimizer_apply(t->optimizer, t->compute, t->o->learning_rate, norm);
    return SG_OK;
}

static sg_status router_held_out(router_trainer *t, double *captured, sg_error *err)
{
    const int64_t E = t->net->blocks;
    int64_t k = (int64_t)(t->o->kept * (double)E);
    *captured = NAN;
    if (t->held == 0) return SG_OK;
    if (k < 1) k = 1;
    SG_TRY(sg_router_scores(t->compute, t->net, t->x + t->trained * t->net->d, t->held, t->scores,
                            err));
    *captured = sg_captured_share(t->compute.kernels, t->scores, t->targets + t->trained * E,
                                  t->held, E, k, NULL);
    return SG_OK;
}

// Weights to the copy, or back.
static void router_copy(router_trainer *t, bool back)
{
    sg_real *best = t->best;
    for (size_t i = 0; i < t->params.count; i++) {
        const int64_t count = t->params.specs[i].count;
        memcpy(back ? t->values[i] : best, back ? best : t->values[i],
               (size_t)count * sizeof *best);
        best += count;
    }
}

static sg_status router_epoch(router_trainer *t, int64_t epoch, sg_router_trained *result,
                              sg_error *err)
{
    const int64_t steps = t->trained / t->o->batch;
    double sum = 0, captured, loss = 0;
    for (int64_t step = 0; step < steps; step++) {
        SG_TRY(router_step(t, epoch, step, &loss, err));
        sum += loss;
    }
    result->loss = sum / (double)steps;
    SG_TRY(router_held_out(t, &captured, err));
    // Without tokens held out, or where none of them says anything, the last one counts.
    if (epoch == 0 || !(captured <= result->captured)) {
        result->epoch = epoch;
        result->captured = captured;
        router_copy(t, false);
    }
    if (t->o->progress != NULL && !t->o->progress(t->o->user, epoch, result->loss, captured))
        return sg_fail(err, SG_ERR_STOPPED, "stopped while a router was trained");
    return SG_OK;
}

sg_status sg_router_train(sg_compute compute, sg_router_net *net, const sg_real *x,
                          const sg_real *targets, int64_t tokens,
                          const sg_router_training *training, sg_router_trained *trained,
                          sg_error *err)
{
    SG_TRY(router_check_options(net, training, err));
    router_trainer t = {.compute = compute, .o = training, .net = net, .x = x, .targets = targets};
    t.held = (int64_t)(training->held_out * (double)tokens);
    t.trained = tokens - t.held;
    SG_TRY(router_check_data(&t, tokens, err));
    *trained = (sg_router_trained){.captured = NAN};
    sg_status status = router_begin(&t, err);
    for (int64_t epoch = 0; epoch < training->epochs && status == SG_OK; epoch++)
        status = router_epoch(&t, epoch, trained, err);
    if (status == SG_OK) router_copy(&t, true);
    router_end(&t);
    return status;
}
