// Passes over a split in micro-batches. Losses are added by sequence in the order of the data, so
// that threads change no bit of the result, and the size of a micro-batch only what dense products
// of another number of rows round otherwise.
#include "train/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/graph.h"
#include "text/batches.h"
#include "train/usage.h"
#include "sgatlin_data.h"

int64_t sg_mask_targets(const int32_t *targets, const float *weights, int64_t count,
                        int32_t *masked)
{
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++) {
        bool counts = weights[i] != 0;
        masked[i] = counts ? targets[i] : -1;
        tokens += counts;
    }
    return tokens;
}

sg_eval_options sg_eval_options_default(void)
{
    return (sg_eval_options){.split = SG_SPLIT_VAL, .batch_size = 64, .micro_batch = 8};
}

typedef struct evaluator {
    sg_model *model;
    const sg_eval_options *options;
    int64_t length, micro, rows; // rows: of the split
    sg_graph *graph;
    bool gradient; // somebody asks for one
    sg_batches *batches;
    int32_t *inputs, *targets; // (micro, T)
    double *losses;            // (micro, T), where sequences are told of
    double loss_sum, batch_sum;
    int64_t tokens, correct, full_batches;
    double partial_loss; // of a last batch that is not full; NaN: none
    sg_use_counts counts;
    sg_point_request *requests; // the caller's and those of `counts`
    sg_points points;
    sg_session *session; // for what is told of tokens; NULL: nothing is
    double *nll;         // (T)
    bool *likeliest;     // (T)
} evaluator;

// One micro-batch of `rows` sequences from `first` of the batch on, whose own first is number
// `before` of the data; rows that are missing get targets without weight.
static sg_status evaluator_micro(evaluator *e, const sg_data_batch *batch, int64_t before,
                                 int64_t first, int64_t rows, sg_error *err)
{
    int64_t count = rows * e->length, at = first * e->length, all = e->micro * e->length;
    memcpy(e->inputs, batch->inputs + at, (size_t)count * sizeof *e->inputs);
    sg_mask_targets(batch->targets + at, batch->weights + at, count, e->targets);
    for (int64_t i = count; i < all; i++) {
        e->inputs[i] = 0;
        e->targets[i] = -1;
    }
    sg_run run = {.compute = e->model->context->compute, .err = err};
    e->graph->stats.normaliser = 1;
    e->graph->pass.first_sequence = before + first;
    SG_TRY(sg_tape_forward(e->graph->tape, &run));
    return e->gradient ? sg_tape_backward(e->graph->tape, &run) : SG_OK;
}

// Tells of the sequences of a micro-batch, the first of which is number `first` of the data.
static void evaluator_sequences(const evaluator *e, int64_t first, int64_t rows)
{
    for (int64_t row = 0; row < rows && e->losses != NULL; row++) {
        double loss = 0;
        int64_t targets = 0;
        for (int64_t i = row * e->length; i < (row + 1) * e->length; i++) {
            loss += e->losses[i];
            targets += e->targets[i] >= 0;
        }
        e->options->sequence(e->options->sequence_user, first + row, loss, targets);
    }
}

static sg_status evaluator_batch(evaluator *e, const sg_data_batch *batch, int64_t before,
                                 sg_error *err)
{
    double loss = 0;
    int64_t tokens = 0;
    for (int64_t first = 0; first < batch->rows; first += e->micro) {
        const int64_t rows = sg_min(e->micro, batch->rows - first);
        SG_TRY(evaluator_micro(e, batch, before, first, rows, err));
        evaluator_sequences(e, before + first, rows);
        loss += e->graph->stats.loss_sum;
        tokens += e->graph->stats.tokens;
        e->correct += e->graph->stats.correct;
    }
    if (!isfinite(loss))
        return sg_fail(err, SG_ERR_NUMERIC, "evaluation: the loss is %g: the weights are spoiled",
                       loss);
    e->loss_sum += loss;
    e->tokens += tokens;
    if (tokens == 0) return SG_OK;
    if (batch->rows == e->options->batch_size) {
        e->batch_sum += exp(loss / (double)tokens);
        e->full_batches++;
    } else {
        e->partial_loss = loss / (double)tokens;
    }
    return SG_OK;
}

// Tells of each token of a batch, whose first row is row `first` of the data.
static sg_status evaluator_tokens(evaluator *e, const sg_data_batch *batch, int64_t first,
                                  sg_error *err)
{
    for (int64_t row = 0; e->session != NULL && row < batch->rows; row++) {
        int64_t at = row * e->length;
        sg_mask_targets(batch->targets + at, batch->weights + at, e->length, e->targets);
        SG_TRY(sg_session_rewind(e->session, 0, err));
        SG_TRY(sg_session_score(e->session, batch->inputs + at, e->targets, e->length, e->nll,
                                e->likeliest, err));
        for (int64_t i = 0; i < e->length; i++)
            if (e->targets[i] >= 0 &&
                !e->options->token(e->options->token_user, first * e->length + at + i,
                                   e->targets[i], -e->nll[i]))
                return sg_fail(err, SG_ERR_STOPPED, "stopped in sequence %lld",
                               (long long)(first + row + 1));
    }
    return SG_OK;
}

static sg_status evaluator_run(evaluator *e, int64_t limit, sg_error *err)
{
    int64_t batches = sg_batches_in_epoch(e->batches), rows = 0;
    if (limit > 0 && limit < batches) batches = limit;
    int64_t all = sg_min(batches * e->options->batch_size, e->rows);
    for (int64_t i = 0; i < batches; i++) {
        sg_data_batch batch;
        SG_TRY(sg_batches_next(e->batches, &batch, err));
        SG_TRY(evaluator_batch(e, &batch, rows, err));
        SG_TRY(evaluator_tokens(e, &batch, rows, err));
        rows += batch.rows;
        if (e->options->progress && !e->options->progress(e->options->progress_user, rows, all))
            return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld batches", (long long)i + 1);
    }
    return SG_OK;
}

// The caller's points, and behind them, which may write what is selected, those that count it.
static sg_status evaluator_points(evaluator *e, const sg_points **points, sg_error *err)
{
    const sg_points *asked = e->options->points;
    *points = asked;
    if (e->options->usage == NULL) return SG_OK;
    const size_t count = asked ? asked->count : 0;
    e->requests = sg_alloc_array(count + 1, sizeof *e->requests);
    if (e->requests == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for evaluation");
    SG_TRY(sg_use_counts_new(&e->model->config, e->model->context->compute, &e->counts, err));
    if (count > 0) memcpy(e->requests, asked->items, count * sizeof *e->requests);
    e->requests[count] = sg_use_counts_request(&e->counts);
    const bool any = sg_family_is_sparse(sg_family_find(e->model->config.ffn));
    e->points = (sg_points){e->requests, count + any};
    *points = e->points.count > 0 ? &e->points : NULL;
    return SG_OK;
}

static sg_status evaluator_open(evaluator *e, const sg_data *data, sg_error *err)
{
    sg_batches_options options = {.split = e->options->split,
                                  .batch_rows = sg_min(e->options->batch_size, e->rows),
                                  .once = true};
    SG_TRY(sg_batches_new(data, &options, &e->batches, err));
    size_t count = (size_t)(e->micro * e->length);
    e->inputs = sg_alloc_array(count, sizeof *e->inputs);
    e->targets = sg_alloc_array(count, sizeof *e->targets);
    if (e->inputs == NULL || e->targets == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for evaluation");
    if (e->options->sequence != NULL) {
        e->losses = sg_alloc_array(count, sizeof *e->losses);
        if (e->losses == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for evaluation");
    }
    if (e->options->token != NULL) {
        SG_TRY(sg_session_new(e->model, e->length, &e->session, err));
        e->nll = sg_alloc_array((size_t)e->length, sizeof *e->nll);
        e->likeliest = sg_alloc_array((size_t)e->length, sizeof *e->likeliest);
        if (e->nll == NULL || e->likeliest == NULL)
            return sg_fail(err, SG_ERR_MEMORY, "out of memory for evaluation");
    }
    sg_graph_options graph = {.batch = e->micro,
                              .length = e->length,
                              .output = SG_OUTPUT_LOSS,
                              .threads = e->model->context->threads,
                              .allocator = e->model->context->compute.allocator,
                              .narrow = e->model->narrow.items,
                              .adapters = e->model->adapters,
                              .compute = e->model->compute,
                              .logits_compute = e->model->logits_compute};
    sg_model *m = e->model;
    SG_TRY(evaluator_points(e, &graph.points, err));
    for (size_t i = 0; graph.points != NULL && i < graph.points->count; i++)
        e->gradient |= (graph.points->items[i].use & SG_POINT_GRADIENT) != 0;
    graph.gradient = graph.frozen = e->gradient;
    SG_TRY(sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &graph, &e->graph, err));
    e->graph->ids->data = e->inputs;
    e->graph->targets->data = e->targets;
    e->graph->stats.row_losses = e->losses;
    return SG_OK;
}

static void evaluator_result(evaluator *e, sg_eval_result *result)
{
    result->tokens = e->tokens;
    result->loss = e->loss_sum / (double)e->tokens;
    result->perplexity = exp(result->loss);
    result->accuracy = (double)e->correct / (double)e->tokens;
    result->batches = e->full_batches > 0 ? e->full_batches : 1;
    result->perplexity_batch_mean =
        e->full_batches > 0 ? e->batch_sum / (double)e->full_batches : exp(e->partial_loss);
    for (int64_t l = 0; l < e->counts.count; l++)
        if (e->counts.layers[l] != NULL)
            e->options->usage[result->usage_count++] = sg_usage_of(
                l + 1, e->counts.layers[l], e->counts.shapes[l].pools * e->counts.shapes[l].blocks);
}

sg_status sg_evaluate(sg_model *model, const sg_data *data, const sg_eval_options *options,
                      sg_eval_result *result, sg_error *err)
{
    *result = (sg_eval_result){0};
    if (options->batch_size < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch-size: found %lld, expected at least 1",
                       (long long)options->batch_size);
    if (options->micro_batch < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "micro-batch: found %lld, expected at least 1",
                       (long long)options->micro_batch);
    if (options->max_batches < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "batches: found %lld, expected at least 0",
                       (long long)options->max_batches);
    if (options->split != SG_SPLIT_TRAIN && options->split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1",
                       (int)options->split);
    SG_TRY(sg_data_fits(data, &model->config, "data", err));
    const sg_data_info *info = sg_data_get_info(data);
    int64_t rows = info->split[options->split].rows;
    if (rows == 0)
        return sg_fail(err, SG_ERR_MISMATCH, "data: the %s split is empty",
                       options->split == SG_SPLIT_VAL ? "validation" : "training");
    evaluator e = {.model = model,
                   .options = options,
                   .length = info->seq_len,
                   .rows = rows,
                   .micro = sg_min(options->micro_batch, sg_min(options->batch_size, rows)),
                   .partial_loss = NAN};
    sg_status status = evaluator_open(&e, data, err);
    if (status == SG_OK) status = evaluator_run(&e, options->max_batches, err);
    if (status == SG_OK && e.tokens == 0)
        status = sg_fail(err, SG_ERR_MISMATCH, "data: the split holds no target but padding");
    if (status == SG_OK) evaluator_result(&e, result);
    sg_graph_free(e.graph);
    sg_use_counts_free(&e.counts);
    sg_free(e.requests);
    sg_batches_free(e.batches);
    sg_session_free(e.session);
    sg_free(e.losses);
    sg_free(e.nll);
    sg_free(e.likeliest);
    sg_free(e.inputs);
    sg_free(e.targets);
    return status;
}
