// Whole models: a training step on one micro-batch, and decoding token by token.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/config.h"
#include "model/graph.h"
#include "model/model.h"
#include "model/session.h"
#include "train/bench.h"
#include "train/bench_sessions.h"
#include "train/optimizer.h"

enum {
    decode_tokens = 16,   // of one sample: single tokens are too short to time
    decode_context = 512, // tokens before them, at most, when not asked for
    step_adamw_moves = 7  // of AdamW: 4 reads and 3 writes
};

static int32_t model_token(const sg_bench_run *b, int64_t index)
{
    return sg_bench_token(b->options->seed, b->config.vocab_size, index);
}

// Projections, router, memory and logits of `tokens` tokens that attend to `pairs` positions in
// all.
static double model_flops(const sg_bench_run *b, double tokens, double pairs)
{
    const sg_config *c = &b->config;
    double d = (double)c->hidden_size, width = (double)(c->num_attention_heads * c->head_dim);
    double kv_width = (double)(sg_config_kv_heads(c) * c->head_dim);
    sg_ffn_count ffn = sg_ffn_total(c);
    double attention = tokens * 4 * d * (width + kv_width) + 4 * pairs * width;
    return (double)c->num_hidden_layers * attention +
           tokens * (ffn.router_flops + ffn.memory_flops + 2 * d * (double)c->vocab_size);
}

// ---- a training step ----------------------------------------------------------------------------

typedef struct step {
    const sg_bench_run *b;
    sg_model *model;
    sg_gradients grads;
    sg_narrow_set tables;
    sg_optimizer *optimizer;
    sg_graph *graph;
    sg_block_use watch; // of the first step
    int32_t *ids;       // (tokens + 1): targets are the ids one further
    int64_t first;      // token of the next batch
    double *seconds;
    double optimizer_seconds;
} step;

static sg_status step_open(step *s, sg_error *err)
{
    const sg_bench_run *b = s->b;
    SG_TRY(sg_model_new(b->context, &b->config, b->options->seed, &s->model, err));
    const sg_param_list *params = &s->model->params;
    sg_real *const *values = s->model->values;
    SG_TRY(sg_narrow_set_of_model(&s->model->config, params, SG_NARROW_TRAINING, NULL,
                                  b->options->table_dtype, NULL, &s->tables, err));
    sg_narrow_set_write(&s->tables, params, values, b->context->compute);
    sg_optimizer_options adamw = {.beta1 = 0.9,
                                  .beta2 = 0.999,
                                  .eps = 1e-8,
                                  .weight_decay = 0.1,
                                  .clip = 1,
                                  .narrow = s->tables.items};
    sg_graph_options graph = {.batch = b->options->batch_size,
                              .length = b->length,
                              .output = SG_OUTPUT_LOSS,
                              .gradient = true,
                              .threads = b->context->threads,
                              .narrow = s->tables.items,
                              .compute = b->options->compute,
                              .logits_compute = b->options->logits_compute,
                              .memory_path = b->options->memory_path};
    SG_TRY(sg_block_use_new(&b->config, b->context->compute, true, &s->watch, err));
    if (s->watch.points.count > 0) graph.points = &s->watch.points;
    SG_TRY(sg_gradients_new(params, b->rows, b->tokens, NULL, &s->grads, err));
    graph.row_grads = s->grads.rows;
    SG_TRY(sg_optimizer_new(params, values, &s->grads, &adamw, &s->optimizer, err));
    SG_TRY(sg_graph_new(&s->model->config, params, values, s->grads.parts, &s->model->rope, &graph,
                        &s->graph, err));
    s->ids = sg_alloc_array((size_t)b->tokens + 1, sizeof *s->ids);
    s->seconds = sg_alloc_zero((size_t)sg_tape_nodes(s->graph->tape), 2 * sizeof *s->seconds);
    if (s->ids == NULL || s->seconds == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a batch");
    s->graph->ids->data = s->ids;
    s->graph->targets->data = s->ids + 1;
    s->graph->stats.normaliser = (double)b->tokens;
    return SG_OK;
}

static void step_close(step *s)
{
    sg_block_use_free(&s->watch);
    sg_free(s->seconds);
    sg_free(s->ids);
    sg_graph_free(s->graph);
    sg_optimizer_free(s->optimizer);
    sg_gradients_free(&s->grads);
    sg_narrow_set_free(&s->tables);
    sg_model_free(s->model);
}

// Other tokens each time, as in training: the same ones would read the same neurons.
static void step_tokens(step *s)
{
    for (int64_t i = 0; i <= s->b->tokens; i++)
        s->ids[i] = model_token(s->b, s->first + i);
    s->first += s->b->tokens;
}

static sg_status step_repeat(step *s, sg_bench_timer *timer, sg_error *err)
{
    const sg_compute compute = s->b->context->compute;
    for (bool warm = false; !warm || sg_bench_more(s->b, timer); warm = true) {
        sg_run run = {.compute = compute, .seconds = warm ? s->seconds : NULL, .err = err};
        s->watch.on = !warm;
        step_tokens(s);
        double start = sg_clock_seconds();
        SG_TRY(sg_tape_forward(s->graph->tape, &run));
        SG_TRY(sg_tape_backward(s->graph->tape, &run));
        double passes = sg_clock_seconds();
        sg_optimizer_apply(s->optimizer, compute, 1e-3, sg_optimizer_norm(s->optimizer, compute));
        double end = sg_clock_seconds();
        sg_block_use_pass(&s->watch, s->b->tokens);
        if (!warm) continue;
        sg_bench_add(timer, end - start);
        s->optimizer_seconds += end - passes;
    }
    return SG_OK;
}

static sg_status step_measure(step *s, sg_error *err)
{
    const sg_bench_run *b = s->b;
    const sg_cost *cost = &b->cost;
    sg_bench_timer timer = {.kinds = sg_measure_kind(b->options->compute) |
                                     sg_measure_kind(b->options->logits_compute)};
    SG_TRY(step_repeat(s, &timer, err));
    const sg_block_total use = sg_block_use_total(&s->watch);
    double batch = (double)b->options->batch_size, T = (double)b->length;
    sg_bench_bytes weights = sg_bench_weight_bytes(&s->model->params, &s->tables, use.idle);
    sg_bench_figure figure = {
        .name = "train_step",
        .compute = b->options->compute,
        .logits_compute = b->options->logits_compute,
        .dtype = s->tables.elements > 0 ? s->tables.type : SG_WEIGHTS_F32,
        .tokens = b->tokens,
        .flops_published = 3 * batch * cost->forward_flops_per_sequence,
        .flops = 3 * batch * model_flops(b, T, T * (T + 1) / 2),
        .logits_flops = 3 * batch * cost->logits_flops,
        .bytes = 2 * weights.read + (1 + step_adamw_moves) * weights.gradients + weights.copies,
        .peak_bytes = cost->weight_bytes + (int64_t)sg_gradients_bytes(&s->grads) +
                      cost->optimizer_bytes + (int64_t)sg_tape_bytes(s->graph->tape) +
                      (int64_t)s->tables.bytes,
        .reuse = use.reuse,
        .optimizer_rows = s->grads.lazy_tables > 0 ? "lazy" : "exact",
        .tape = s->graph->tape,
        .seconds = s->seconds,
        .optimizer = s->optimizer_seconds,
    };
    return sg_bench_report(b, &figure, &timer, err);
}

sg_status sg_bench_train_step(const sg_bench_run *b, sg_error *err)
{
    step s = {.b = b};
    sg_status status = step_open(&s, err);
    if (status == SG_OK) status = step_measure(&s, err);
    step_close(&s);
    return status;
}

// ---- decoding -----------------------------------------------------------------------------------

typedef struct decode {
    const sg_bench_run *b;
    sg_model *model;
    sg_bench_sessions sessions;
    int32_t *ids; // of prompts, and of one pass
    int64_t count;
    int64_t context, tokens; // before and in one sample
    double *seconds;
} decode;

// Passes first … first + passes - 1: one token for each session, others for each.
static sg_status decode_feed(const decode *d, int64_t first, int64_t passes, sg_error *err)
{
    for (int64_t i = first; i < first + passes; i++) {
        for (int64_t s = 0; s < d->count; s++)
            d->ids[s] = model_token(d->b, i * d->count + s);
        SG_TRY(sg_bench_sessions_feed(&d->sessions, d->ids, err));
    }
    return SG_OK;
}

// Prompts, and one pass, so that the tape of a batch is there.
static sg_status decode_prompt(const decode *d, sg_error *err)
{
    const float *logits;
    for (int64_t s = 0; s < d->count && d->context > 0; s++) {
        for (int64_t i = 0; i < d->context; i++)
            d->ids[i] = model_token(d->b, i);
        SG_TRY(sg_session_feed(d->sessions.items[s], d->ids, d->context, &logits, err));
    }
    SG_TRY(decode_feed(d, d->context, 1, err));
    return sg_bench_sessions_rewind(&d->sessions, d->context, err);
}

// Other tokens each time: the same ones would find their neurons still in the cache.
static sg_status decode_repeat(const decode *d, sg_bench_timer *timer, sg_error *err)
{
    int64_t next = d->context;
    for (bool warm = false; !warm || sg_bench_more(d->b, timer); warm = true) {
        sg_bench_sessions_profile(&d->sessions, warm ? d->seconds : NULL);
        SG_TRY(sg_bench_sessions_rewind(&d->sessions, d->context, err));
        double start = sg_clock_seconds();
        SG_TRY(decode_feed(d, next, d->tokens, err));
        if (warm) sg_bench_add(timer, sg_clock_seconds() - start);
        next += d->tokens;
    }
    return SG_OK;
}

// Parameters that no session reads, if no two of them select the same.
static int64_t decode_idle(const decode *d)
{
    const sg_cost *cost = &d->b->cost;
    double idle = (double)(cost->parameters - cost->active_parameters_per_token);
    double stored = (double)cost->ffn_neurons, read = (double)cost->ffn_active_neurons_per_token;
    if (idle <= 0 || stored <= read) return 0;
    double left = stored - (double)d->count * read;
    return left > 0 ? (int64_t)(idle * left / (stored - read)) : 0;
}

// What is read of screened keys is their copies; the few rows that are left do not count.
static double decode_screened(const decode *d)
{
    const sg_model *m = d->model;
    const sg_stored *screens = sg_model_screens(m);
    double saved = 0;
    for (size_t i = 0; screens != NULL && i < m->params.count; i++) {
        if (!sg_narrow_has(&m->screens, i)) continue;
        const double wide = (double)m->params.specs[i].count * sizeof(sg_real);
        saved += sg_narrow_has(&m->narrow, i) ? (double)sg_narrow_bytes(&m->narrow, &m->params, i)
                                              : wide;
        saved -= (double)sg_narrow_bytes(&m->screens, &m->params, i);
    }
    return saved;
}

static int64_t decode_bytes(const decode *d)
{
    return sg_model_weight_bytes(d->model) + sg_bench_sessions_bytes(&d->sessions);
}

static sg_status decode_measure(decode *d, sg_error *err)
{
    const sg_bench_run *b = d->b;
    const sg_config *c = &b->config;
    sg_bench_timer timer = {.kinds = sg_measure_kind(SG_COMPUTE_F32)};
    SG_TRY(decode_prompt(d, err));
    const sg_tape *tape = sg_bench_sessions_tape(&d->sessions);
    d->seconds = sg_alloc_zero((size_t)sg_tape_nodes(tape), 2 * sizeof *d->seconds);
    if (d->seconds == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a profile");
    SG_TRY(decode_repeat(d, &timer, err));
    // Position p attends to p + 1; the mean over a sample.
    double pairs = (double)d->context + (double)(d->tokens + 1) / 2, count = (double)d->count;
    double kv_width = (double)(sg_config_kv_heads(c) * c->head_dim);
    double cache = 2 * (double)c->num_hidden_layers * kv_width * pairs;
    double flops = count * model_flops(b, 1, pairs);
    double logits = 2 * count * (double)c->hidden_size * (double)c->vocab_size;
    sg_bench_bytes weights =
        sg_bench_weight_bytes(&d->model->params, &d->model->narrow, decode_idle(d));
    sg_bench_figure figure = {
        .name = "decode",
        .dtype = sg_narrow_most(&d->model->narrow, &d->model->params),
        .tokens = d->count,
        .per_sample = d->tokens,
        .flops_published = flops - logits,
        .flops = flops,
        .bytes = weights.read - decode_screened(d) + count * cache * sizeof(sg_real),
        .peak_bytes = decode_bytes(d),
        .tape = tape,
        .seconds = d->seconds,
        .optimizer = -1,
    };
    return sg_bench_report(b, &figure, &timer, err);
}

static sg_status decode_open(decode *d, sg_error *err)
{
    const sg_bench_run *b = d->b;
    if (b->model != NULL) {
        d->model = b->model;
    } else {
        SG_TRY(sg_model_new(b->context, &b->config, b->options->seed, &d->model, err));
        SG_TRY(sg_model_narrow(d->model, b->options->weights, err));
    }
    SG_TRY(sg_model_set_compute(d->model, b->options->compute, b->options->logits_compute, err));
    int64_t ids = d->context > d->count ? d->context : d->count;
    d->ids = sg_alloc_array((size_t)ids, sizeof *d->ids);
    if (d->ids == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld sessions", (long long)d->count);
    return sg_bench_sessions_open(&d->sessions, d->model, d->count, b->length, NULL, err);
}

static void decode_close(decode *d)
{
    sg_bench_sessions_close(&d->sessions);
    sg_free(d->ids);
    sg_free(d->seconds);
    if (d->model != d->b->model) sg_model_free(d->model);
}

// A prompt into an empty session, which goes in pieces and gives logits for the last token of each.
static sg_status prefill_measure(decode *d, sg_error *err)
{
    const sg_bench_run *b = d->b;
    const sg_config *c = &b->config;
    sg_bench_timer timer = {.kinds = sg_measure_kind(b->options->compute) |
                                     sg_measure_kind(b->options->logits_compute)};
    const float *logits;
    for (bool warm = false; !warm || sg_bench_more(b, &timer); warm = true) {
        for (int64_t i = 0; i < d->context; i++)
            d->ids[i] = model_token(b, timer.count * d->context + i);
        SG_TRY(sg_bench_sessions_rewind(&d->sessions, 0, err));
        double start = sg_clock_seconds();
        SG_TRY(sg_session_feed(d->sessions.items[0], d->ids, d->context, &logits, err));
        if (warm) sg_bench_add(&timer, sg_clock_seconds() - start);
    }
    const double n = (double)d->context, pieces = ceil(n / SG_SESSION_PIECE);
    const double logit = 2 * (double)c->hidden_size * (double)c->vocab_size;
    const double flops = n * (model_flops(b, 1, (n + 1) / 2) - logit);
    const double kv_width = (double)(sg_config_kv_heads(c) * c->head_dim);
    const sg_bench_bytes weights = sg_bench_weight_bytes(&d->model->params, &d->model->narrow, 0);
    sg_bench_figure figure = {
        .name = "prefill",
        .compute = b->options->compute,
        .logits_compute = b->options->logits_compute,
        .dtype = sg_narrow_most(&d->model->narrow, &d->model->params),
        .tokens = d->context,
        .flops_published = flops,
        .flops = flops + pieces * logit,
        .logits_flops = pieces * logit,
        .bytes = pieces * weights.read +
                 2 * (double)c->num_hidden_layers * kv_width * n * sizeof(sg_real),
        .peak_bytes = decode_bytes(d),
        .optimizer = -1,
    };
    return sg_bench_report(b, &figure, &timer, err);
}

sg_status sg_bench_prefill(const sg_bench_run *b, sg_error *err)
{
    decode d = {.b = b, .context = b->options->context, .count = 1};
    if (d.context < 1) d.context = sg_min(b->length / 2, decode_context);
    sg_status status = decode_open(&d, err);
    if (status == SG_OK) status = prefill_measure(&d, err);
    decode_close(&d);
    return status;
}

sg_status sg_bench_decode(const sg_bench_run *b, sg_error *err)
{
    decode d = {.b = b, .context = b->options->context, .count = b->options->sessions};
    if (d.context < 0) d.context = sg_min(b->length / 2, decode_context);
    d.tokens = sg_min(decode_tokens, b->length - d.context);
    sg_status status = decode_open(&d, err);
    if (status == SG_OK) status = decode_measure(&d, err);
    decode_close(&d);
    return status;
}
