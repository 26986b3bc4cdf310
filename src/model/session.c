// Decoding: one timeline of tokens on a model, with the keys and values of all of them kept. A
// prompt goes through in pieces; then each token is one replay of a tape. Tapes are shared by all
// sessions and batches of a model, each recorded once a shape (model/graph_cache.h).
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "model/model.h"
#include "model/session_inside.h"

static void session_caches(sg_session *s)
{
    const sg_config *c = &s->model->config;
    int64_t one = s->capacity * sg_config_kv_heads(c) * c->head_dim;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        s->caches[l] = (sg_kv_cache){.k = s->cache_memory + 2 * l * one,
                                     .v = s->cache_memory + (2 * l + 1) * one,
                                     .capacity = s->capacity};
}

// A graph for `count` tokens behind those that the session has, ready to run.
static sg_status session_take(sg_session *s, const int32_t *tokens, int64_t count, sg_output output,
                              sg_kept_graph **kept, sg_error *err)
{
    SG_TRY(sg_graph_cache_take(s->graphs, 1, count, output, kept, err));
    memcpy((*kept)->caches, s->caches,
           (size_t)s->model->config.num_hidden_layers * sizeof *s->caches);
    (*kept)->start[0] = s->length;
    (*kept)->graph->pass.first_sequence = s->sequence;
    (*kept)->graph->ids->data = (void *)(uintptr_t)tokens;
    return SG_OK;
}

sg_session_options sg_session_options_default(void)
{
    return (sg_session_options){0};
}

sg_status sg_session_new(sg_model *model, int64_t capacity, sg_session **session, sg_error *err)
{
    sg_session_options options = sg_session_options_default();
    options.capacity = capacity;
    return sg_session_open(model, &options, session, err);
}

sg_status sg_session_open(sg_model *model, const sg_session_options *options, sg_session **out,
                          sg_error *err)
{
    *out = NULL;
    const sg_config *c = &model->config;
    int64_t capacity = options->capacity;
    if (capacity == 0) capacity = c->max_position_embeddings;
    if (capacity < 1 || capacity > c->max_position_embeddings)
        return sg_fail(err, SG_ERR_ARGUMENT, "capacity: found %lld, expected 1 to %lld tokens",
                       (long long)capacity, (long long)c->max_position_embeddings);
    SG_TRY(sg_model_screen(model, err));
    SG_TRY(sg_model_columns_fresh(model, err));
    sg_session *s = sg_alloc_zero(1, sizeof *s);
    if (s == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a session");
    s->model = model;
    s->graphs = &model->graphs;
    s->serial = atomic_fetch_add(&model->sessions, 1) + 1;
    if (options->points != NULL) {
        s->points = options->points;
        sg_graph_cache_open(&s->own, model,
                            &(sg_graph_options){.points = options->points, .lenient = true});
        s->graphs = &s->own;
    }
    sg_model_enter(model);
    s->capacity = capacity;
    s->version = model->version;
    s->layout = model->layout;
    int64_t reals = 2 * c->num_hidden_layers * capacity * sg_config_kv_heads(c) * c->head_dim;
    s->cache_bytes = (size_t)reals * sizeof(sg_real);
    s->cache_memory = sg_alloc_from(model->context->compute.allocator, s->cache_bytes);
    s->caches = sg_alloc_zero((size_t)c->num_hidden_layers, sizeof *s->caches);
    s->logits = sg_alloc_array((size_t)c->vocab_size, sizeof *s->logits);
    sg_status status = SG_OK;
    if (!s->cache_memory || !s->caches || !s->logits) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a session of %lld tokens",
                         (long long)capacity);
    } else {
        session_caches(s);
        status = sg_graph_cache_hold(s->graphs, 1, 1, SG_OUTPUT_LAST, &s->single, err);
    }
    if (status != SG_OK) {
        sg_session_free(s);
        return status;
    }
    *out = s;
    return SG_OK;
}

void sg_session_free(sg_session *s)
{
    if (s == NULL) return;
    sg_graph_cache_drop(s->graphs, s->single);
    sg_graph_cache_close(&s->own);
    sg_graph_cache_close(&s->gradients);
    sg_model_leave(s->model);
    sg_free_to(s->model->context->compute.allocator, s->cache_memory, s->cache_bytes);
    sg_free(s->caches);
    sg_free(s->logits);
    sg_free(s);
}

sg_status sg_session_rewind(sg_session *s, int64_t length, sg_error *err)
{
    if (length < 0 || length > s->length)
        return sg_fail(err, SG_ERR_ARGUMENT, "rewind: found %lld, expected 0 to %lld tokens",
                       (long long)length, (long long)s->length);
    s->length = length;
    return SG_OK;
}

int64_t sg_session_length(const sg_session *s)
{
    return s->length;
}

const sg_tape *sg_session_tape(const sg_session *s)
{
    return s->single->graph->tape;
}

void sg_session_profile(sg_session *s, double *seconds)
{
    s->seconds = seconds;
}

void sg_session_call(sg_session *s, int64_t sequence)
{
    s->sequence = sequence;
}

size_t sg_session_bytes(const sg_session *s)
{
    return s->cache_bytes + sg_tape_bytes(s->single->graph->tape) +
           (size_t)s->model->config.vocab_size * sizeof *s->logits;
}

static sg_status session_pass(sg_session *s, const int32_t *tokens, int64_t count, sg_error *err)
{
    sg_kept_graph *kept;
    SG_TRY(session_take(s, tokens, count, SG_OUTPUT_LAST, &kept, err));
    sg_run run = {.compute = s->model->context->compute,
                  .seconds = count > 1 ? NULL : s->seconds,
                  .err = err};
    sg_status status = sg_tape_forward(kept->graph->tape, &run);
    const sg_real *logits = sg_values(kept->graph->logits);
    for (int64_t v = 0; status == SG_OK && v < s->model->config.vocab_size; v++)
        s->logits[v] = (float)logits[v];
    sg_graph_cache_give(s->graphs, kept);
    if (status == SG_OK) s->length += count;
    return status;
}

// Keys and values of other weights, or graphs of weights in other places, are not gone on with.
static sg_status session_fresh(sg_session *s, sg_error *err)
{
    if (s->layout != s->model->layout)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "session: found a model that was adapted or stored otherwise since the "
                       "session was opened, expected the same: open another session");
    if (s->version == s->model->version) return SG_OK;
    if (s->length > 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "session: found other weights than those that its %lld tokens were read "
                       "with, expected the same: rewind it to 0",
                       (long long)s->length);
    SG_TRY(sg_model_screen(s->model, err));
    SG_TRY(sg_model_columns_fresh(s->model, err));
    s->version = s->model->version;
    return SG_OK;
}

sg_status sg_session_check(sg_session *s, const int32_t *tokens, int64_t count, sg_error *err)
{
    SG_TRY(session_fresh(s, err));
    if (count > s->capacity - s->length)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "the session holds %lld tokens and has %lld; %lld more do not fit",
                       (long long)s->capacity, (long long)s->length, (long long)count);
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= s->model->config.vocab_size)
            return sg_fail(err, SG_ERR_ARGUMENT, "token %lld: found %d, expected 0 to %lld",
                           (long long)i, tokens[i], (long long)s->model->config.vocab_size - 1);
    return SG_OK;
}

sg_status sg_session_feed(sg_session *s, const int32_t *tokens, int64_t count, const float **logits,
                          sg_error *err)
{
    if (count < 1) return sg_fail(err, SG_ERR_ARGUMENT, "feed: found no token, expected some");
    SG_TRY(sg_session_check(s, tokens, count, err));
    const int64_t before = s->length;
    for (int64_t i = 0; i < count; i += SG_SESSION_PIECE) {
        sg_status status = session_pass(s, tokens + i, sg_min(SG_SESSION_PIECE, count - i), err);
        if (status == SG_OK) continue;
        s->length = before; // all tokens or none
        return status;
    }
    *logits = s->logits;
    return SG_OK;
}

// ---- how likely tokens are --------------------------------------------------------------------

enum {
    score_piece = 256,
    score_bytes = 64 << 20 // of logits at a time
};

typedef struct score_loop {
    const sg_run *run;
    sg_real *logits; // (rows, V), used up
    const int32_t *targets;
    int64_t vocab;
    double *nll;
    bool *likeliest;
} score_loop;

static void score_row(void *context, int64_t row, int worker)
{
    (void)worker;
    const score_loop *c = context;
    sg_real *logits = c->logits + row * c->vocab;
    int32_t target = c->targets[row];
    c->nll[row] = 0;
    c->likeliest[row] = false;
    if (target < 0) return;
    sg_real top = c->run->compute.kernels->max(logits, c->vocab), own = logits[target];
    int64_t first = 0;
    while (own == top && logits[first] != top)
        first++;
    c->likeliest[row] = own == top && first == target;
    sg_real sum = c->run->compute.kernels->exp_sum(logits, logits, top, c->vocab);
    double nll = log((double)sum) + (double)top - (double)own;
    c->nll[row] = nll > 0 || isnan(nll) ? nll : 0;
}

static sg_status score_pass(sg_session *s, const int32_t *tokens, const int32_t *targets,
                            int64_t count, double *nll, bool *likeliest, sg_error *err)
{
    sg_kept_graph *kept;
    SG_TRY(session_take(s, tokens, count, SG_OUTPUT_LOGITS, &kept, err));
    sg_run run = {.compute = s->model->context->compute, .err = err};
    sg_status status = sg_tape_forward(kept->graph->tape, &run);
    score_loop loop = {.run = &run,
                       .logits = sg_values(kept->graph->logits),
                       .targets = targets,
                       .vocab = s->model->config.vocab_size,
                       .nll = nll,
                       .likeliest = likeliest};
    if (status == SG_OK) sg_parallel_for(run.compute.pool, count, score_row, &loop);
    sg_graph_cache_give(s->graphs, kept);
    if (status == SG_OK) s->length += count;
    return status;
}

sg_status sg_session_score(sg_session *s, const int32_t *tokens, const int32_t *targets,
                           int64_t count, double *nll, bool *likeliest, sg_error *err)
{
    if (count < 1) return sg_fail(err, SG_ERR_ARGUMENT, "score: found no token, expected some");
    SG_TRY(sg_session_check(s, tokens, count, err));
    const int64_t vocab = s->model->config.vocab_size, before = s->length;
    for (int64_t i = 0; i < count; i++)
        if (targets[i] >= vocab)
            return sg_fail(err, SG_ERR_ARGUMENT, "target %lld: found %d, expected less than %lld",
                           (long long)i, targets[i], (long long)vocab);
    int64_t piece = sg_min(score_piece, score_bytes / (vocab * (int64_t)sizeof(sg_real)));
    if (piece < 1) piece = 1;
    for (int64_t i = 0; i < count; i += piece) {
        sg_status status = score_pass(s, tokens + i, targets + i, sg_min(piece, count - i), nll + i,
                                      likeliest + i, err);
        if (status == SG_OK) continue;
        s->length = before; // all tokens or none
        return status;
    }
    return SG_OK;
}
