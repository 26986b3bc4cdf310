// One training step, and what it needs: memory for gradients, optimiser, batches and one recorded
// graph, which is replayed for every micro-batch.
#include "train/trainer.h"

#include <math.h>

#include "base/alloc.h"
#include "train/evaluate.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

enum { trainer_spikes = 10 }; // skipped updates in a row that end a run

static sg_status trainer_parts(sg_trainer *t, const sg_points *points, sg_error *err)
{
    const sg_train_options *o = t->options;
    sg_model *m = t->model;
    const sg_allocator *allocator = t->context->compute.allocator;
    SG_TRY(sg_schedule_of_options(o, t->steps, &t->schedule, err));
    SG_TRY(sg_sparse_means_new(m->config.num_hidden_layers, &t->sparse, err));
    sg_optimizer_rows rows;
    SG_TRY(sg_optimizer_rows_parse(o->optimizer_rows, &rows, err));
    SG_TRY(sg_gradients_new(&m->params, rows, o->batch_size * t->length, allocator, &t->gradients,
                            err));
    SG_TRY(sg_narrow_set_of_model(&m->config, &m->params, SG_NARROW_TRAINING, NULL, o->table_dtype,
                                  allocator, &t->tables, err));
    sg_narrow_set_write(&t->tables, &m->params, m->values, t->context->compute);
    sg_optimizer_options adamw = {.beta1 = o->beta1,
                                  .beta2 = o->beta2,
                                  .eps = o->eps,
                                  .weight_decay = o->weight_decay,
                                  .clip = o->clip,
                                  .narrow = t->tables.items,
                                  .version = &m->version,
                                  .allocator = allocator};
    SG_TRY(sg_optimizer_new(&m->params, m->values, &t->gradients, &adamw, &t->optimizer, err));
    sg_batches_options batches = {
        .split = SG_SPLIT_TRAIN, .batch_rows = o->batch_size, .shuffle = true, .seed = o->seed};
    SG_TRY(sg_batches_new(t->data, &batches, &t->batches, err));
    t->targets = sg_alloc_array((size_t)(o->batch_size * t->length), sizeof *t->targets);
    if (t->targets == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a batch");
    sg_graph_options graph = {.batch = o->batch_size / o->grad_accum,
                              .length = t->length,
                              .output = SG_OUTPUT_LOSS,
                              .gradient = true,
                              .recompute = o->recompute,
                              .micro_batches = o->grad_accum,
                              .threads = t->context->threads,
                              .allocator = allocator,
                              .row_grads = t->gradients.rows,
                              .narrow = t->tables.items,
                              .adapters = m->adapters,
                              .compute = o->compute,
                              .logits_compute = o->logits_compute,
                              .memory_path = o->memory_path,
                              .sparsity = sg_sparse_of_options(o),
                              .points = points};
    return sg_graph_new(&m->config, &m->params, m->values, t->gradients.parts, &m->rope, &graph,
                        &t->graph, err);
}

sg_status sg_trainer_open(sg_trainer *t, sg_context *context, const sg_train_options *options,
                          int64_t steps, sg_data *data, sg_model *model, const sg_points *points,
                          sg_error *err)
{
    *t = (sg_trainer){.context = context,
                      .options = options,
                      .data = data,
                      .model = model,
                      .steps = steps,
                      .length = sg_data_get_info(data)->seq_len};
    // Its evaluations and samples are computed as its steps are.
    model->compute = options->compute;
    model->logits_compute = options->logits_compute;
    t->state = (sg_train_state){.running_loss = NAN, .best_loss = NAN, .best_step = -1};
    sg_status status = trainer_parts(t, points, err);
    if (status != SG_OK) sg_trainer_close(t);
    return status;
}

void sg_trainer_close(sg_trainer *t)
{
    sg_graph_free(t->graph);
    sg_batches_free(t->batches);
    sg_optimizer_free(t->optimizer);
    sg_narrow_set_free(&t->tables);
    sg_gradients_free(&t->gradients);
    sg_free(t->targets);
    sg_sparse_means_free(&t->sparse);
    sg_model_free(t->model);
    *t = (sg_trainer){0};
}

sg_status sg_trainer_seek(sg_trainer *t, sg_error *err)
{
    return sg_batches_seek(t->batches, t->state.position, err);
}

// ---- one step ---------------------------------------------------------------------------------

// Loss and gradients of the whole batch. Every micro-batch is divided by the targets of the whole
// batch, so that accumulation gives what one large batch gives, with padding too. The losses of
// routers are of a micro-batch, and their mean over the micro-batches counts.
static sg_status trainer_gradient(sg_trainer *t, const sg_data_batch *batch, int64_t tokens,
                                  sg_error *err)
{
    int64_t micro = t->options->batch_size / t->options->grad_accum;
    double loss = 0, balance = 0, z = 0;
    sg_run run = {.compute = t->context->compute, .err = err};
    sg_sparse_means_begin(&t->sparse);
    sg_sparse_weigh(t->graph, t->options, t->state.step, t->steps);
    t->graph->stats.normaliser = tokens > 0 ? (double)tokens : 1;
    for (int64_t first = 0; first < batch->rows; first += micro) {
        t->graph->ids->data = (void *)(uintptr_t)(batch->inputs + first * t->length);
        t->graph->targets->data = t->targets + first * t->length;
        run.accumulate = first > 0;
        t->graph->pass.first_sequence = first;
        SG_TRY(sg_tape_forward(t->graph->tape, &run));
        SG_TRY(sg_tape_backward(t->graph->tape, &run));
        loss += t->graph->stats.loss_sum;
        balance += sg_graph_loss_mean(t->graph, sg_is_balance_loss);
        z += sg_graph_loss_mean(t->graph, sg_is_z_loss);
        sg_sparse_means_add(&t->sparse, t->graph, &t->model->config,
                            1.0 / (double)t->options->grad_accum);
    }
    t->loss = loss / t->graph->stats.normaliser;
    t->balance = balance / (double)t->options->grad_accum;
    t->z = z / (double)t->options->grad_accum;
    t->norm = sg_optimizer_norm(t->optimizer, t->context->compute);
    return SG_OK;
}

static bool trainer_spike(const sg_trainer *t)
{
    double limit = t->options->spike_limit;
    return limit > 0 && t->loss > t->state.running_loss + limit; // false while that is NaN
}

sg_status sg_trainer_step(sg_trainer *t, sg_error *err)
{
    sg_train_state *s = &t->state;
    sg_data_batch batch;
    SG_TRY(sg_batches_next(t->batches, &batch, err));
    int64_t tokens =
        sg_mask_targets(batch.targets, batch.weights, batch.rows * t->length, t->targets);
    SG_TRY(trainer_gradient(t, &batch, tokens, err));
    t->lr = sg_schedule_at(&t->schedule, s->step);
    if (!isfinite(t->loss) || !isfinite(t->norm))
        return sg_fail(err, SG_ERR_NUMERIC,
                       "step %lld: the loss is %g and the gradient norm %g; a lower --lr may help",
                       (long long)s->step + 1, t->loss, t->norm);
    if (trainer_spike(t)) {
        s->skipped++;
        if (++s->skipped_in_a_row > trainer_spikes)
            return sg_fail(err, SG_ERR_NUMERIC,
                           "step %lld: the loss is %g, more than %g above its running mean of %g, "
                           "for the %dth time in a row; a lower --lr may help",
                           (long long)s->step + 1, t->loss, t->options->spike_limit,
                           s->running_loss, trainer_spikes + 1);
    } else {
        sg_optimizer_apply(t->optimizer, t->context->compute, t->lr, t->norm);
        sg_buffers_update(&t->model->params, t->model->values, t->gradients.parts,
                          t->options->grad_accum);
        s->skipped_in_a_row = 0;
        s->running_loss =
            isnan(s->running_loss) ? t->loss : 0.98 * s->running_loss + 0.02 * t->loss;
    }
    s->updates = sg_optimizer_updates(t->optimizer);
    s->position = sg_batches_position(t->batches);
    s->tokens += tokens;
    s->step++;
    if (s->step > t->steps - (t->steps + 9) / 10) {
        s->tail_sum += t->loss;
        s->tail_balance += t->balance;
        s->tail_z += t->z;
        s->tail_count++;
    }
    return SG_OK;
}
