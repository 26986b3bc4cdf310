// Decoding: one timeline of tokens on a model, with the keys and values of all of them kept. A
// prompt goes through in pieces; then each token is one replay of a tape recorded once. A batch
// replays one tape for the next token of several timelines, so that weights are read once for all.
#include "model/config.h"
#include "model/session.h"

#include <math.h>

#include "base/alloc.h"
#include "model/graph.h"
#include "model/model.h"

struct sg_session {
    sg_model *model; // borrowed
    int64_t capacity, length;
    int64_t start; // position of the first token of the present pass
    int64_t version,
        layout; // the model's, when the first of the tokens came, and when this was opened
    sg_kv_cache *caches;
    sg_real *cache_memory;
    size_t cache_bytes;
    sg_graph *single; // one token
    sg_graph *scorer; // `scored` tokens with the logits of each; NULL: none yet
    int64_t scored;
    float *logits;   // (V)
    double *seconds; // of `single` by node and direction, or NULL
};

static void session_caches(sg_session *s)
{
    const sg_config *c = &s->model->config;
    int64_t one = s->capacity * sg_config_kv_heads(c) * c->head_dim;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        s->caches[l] = (sg_kv_cache){.k = s->cache_memory + 2 * l * one,
                                     .v = s->cache_memory + (2 * l + 1) * one,
                                     .capacity = s->capacity};
}

static sg_status session_graph(sg_session *s, int64_t tokens, sg_output output, sg_graph **graph,
                               sg_error *err)
{
    sg_model *m = s->model;
    sg_graph_options options = {.batch = 1,
                                .length = tokens,
                                .output = output,
                                .threads = m->context->threads,
                                .caches = s->caches,
                                .start = &s->start,
                                .narrow = m->narrow.items,
                                .screens = sg_model_screens(m),
                                .adapters = m->adapters};
    return sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &options, graph, err);
}

sg_status sg_session_new(sg_model *model, int64_t capacity, sg_session **out, sg_error *err)
{
    *out = NULL;
    const sg_config *c = &model->config;
    if (capacity == 0) capacity = c->max_position_embeddings;
    if (capacity < 1 || capacity > c->max_position_embeddings)
        return sg_fail(err, SG_ERR_ARGUMENT, "capacity: found %lld, expected 1 to %lld tokens",
                       (long long)capacity, (long long)c->max_position_embeddings);
    SG_TRY(sg_model_screen(model, err));
    sg_session *s = sg_alloc_zero(1, sizeof *s);
    if (s == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a session");
    s->model = model;
    atomic_fetch_add(&model->users, 1);
    s->capacity = capacity;
    s->version = model->version;
    s->layout = model->layout;
    int64_t reals = 2 * c->num_hidden_layers * capacity * sg_config_kv_heads(c) * c->head_dim;
    s->cache_bytes = (size_t)reals * sizeof(sg_real);
    s->cache_memory = sg_alloc_big(s->cache_bytes);
    s->caches = sg_alloc_zero((size_t)c->num_hidden_layers, sizeof *s->caches);
    s->logits = sg_alloc_array((size_t)c->vocab_size, sizeof *s->logits);
    sg_status status = SG_OK;
    if (!s->cache_memory || !s->caches || !s->logits) {
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a session of %lld tokens",
                         (long long)capacity);
    } else {
        session_caches(s);
        status = session_graph(s, 1, SG_OUTPUT_LAST, &s->single, err);
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
    atomic_fetch_sub(&s->model->users, 1);
    sg_graph_free(s->single);
    sg_graph_free(s->scorer);
    sg_free_big(s->cache_memory, s->cache_bytes);
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
    return s->single->tape;
}

void sg_session_profile(sg_session *s, double *seconds)
{
    s->seconds = seconds;
}

size_t sg_session_bytes(const sg_session *s)
{
    return s->cache_bytes + sg_tape_bytes(s->single->tape) +
           (size_t)s->model->config.vocab_size * sizeof *s->logits;
}

static sg_status session_pass(sg_session *s, const int32_t *tokens, int64_t count, sg_error *err)
{
    sg_graph *graph = s->single;
    if (count > 1) SG_TRY(session_graph(s, count, SG_OUTPUT_LAST, &graph, err));
    s->start = s->length;
    graph->ids->data = (void *)(uintptr_t)tokens;
    sg_run run = {.compute = s->model->context->compute, .seconds = count > 1 ? NULL : s->seconds};
    sg_tape_forward(graph->tape, &run);
    const sg_real *logits = sg_values(graph->logits);
    for (int64_t v = 0; v < s->model->config.vocab_size; v++)
        s->logits[v] = (float)logits[v];
    s->length += count;
    if (count > 1) sg_graph_free(graph);
    return SG_OK;
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
    s->version = s->model->version;
    return SG_OK;
}

// Everything that can be wrong with `count` tokens behind those a session has.
static sg_status session_check(sg_session *s, const int32_t *tokens, int64_t count, sg_error *err)
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
    SG_TRY(session_check(s, tokens, count, err));
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
    if (s->scored != count) {
        sg_graph_free(s->scorer);
        s->scorer = NULL;
        s->scored = 0;
        SG_TRY(session_graph(s, count, SG_OUTPUT_LOGITS, &s->scorer, err));
        s->scored = count;
    }
    s->start = s->length;
    s->scorer->ids->data = (void *)(uintptr_t)tokens;
    sg_run run = {.compute = s->model->context->compute};
    sg_tape_forward(s->scorer->tape, &run);
    score_loop loop = {.run = &run,
                       .logits = sg_values(s->scorer->logits),
                       .targets = targets,
                       .vocab = s->model->config.vocab_size,
                       .nll = nll,
                       .likeliest = likeliest};
    sg_parallel_for(run.compute.pool, count, score_row, &loop);
    s->length += count;
    return SG_OK;
}

sg_status sg_session_score(sg_session *s, const int32_t *tokens, const int32_t *targets,
                           int64_t count, double *nll, bool *likeliest, sg_error *err)
{
    if (count < 1) return sg_fail(err, SG_ERR_ARGUMENT, "score: found no token, expected some");
    SG_TRY(session_check(s, tokens, count, err));
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

// ---- several sessions at once -----------------------------------------------------------------

struct sg_batch {
    sg_model *model; // borrowed
    int64_t most;
    int64_t recorded;    // sessions that `graph` is for; 0: there is none
    sg_graph *graph;     // one token of each
    sg_kv_cache *caches; // (layers, recorded)
    int64_t layout;      // the model's when the tape was recorded
    int64_t *start;      // (recorded)
    int32_t *ids;        // (recorded)
    float *logits;       // (most, V)
    double *seconds;     // of `graph` by node and direction, or NULL
};

sg_status sg_batch_new(sg_model *model, int64_t most, sg_batch **out, sg_error *err)
{
    *out = NULL;
    if (most < 1 || most > SG_BATCH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found %lld, expected 1 to %d sessions",
                       (long long)most, SG_BATCH_MAX);
    SG_TRY(sg_model_screen(model, err));
    sg_batch *b = sg_alloc_zero(1, sizeof *b);
    if (b == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a batch");
    b->model = model;
    atomic_fetch_add(&model->users, 1);
    b->most = most;
    b->caches = sg_alloc_zero((size_t)(model->config.num_hidden_layers * most), sizeof *b->caches);
    b->start = sg_alloc_zero((size_t)most, sizeof *b->start);
    b->ids = sg_alloc_zero((size_t)most, sizeof *b->ids);
    b->logits = sg_alloc_array((size_t)(most * model->config.vocab_size), sizeof *b->logits);
    if (!b->caches || !b->start || !b->ids || !b->logits) {
        sg_batch_free(b);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a batch of %lld sessions",
                       (long long)most);
    }
    *out = b;
    return SG_OK;
}

void sg_batch_free(sg_batch *b)
{
    if (b == NULL) return;
    atomic_fetch_sub(&b->model->users, 1);
    sg_graph_free(b->graph);
    sg_free(b->caches);
    sg_free(b->start);
    sg_free(b->ids);
    sg_free(b->logits);
    sg_free(b);
}

const sg_tape *sg_batch_tape(const sg_batch *b)
{
    return b->graph->tape;
}

void sg_batch_profile(sg_batch *b, double *seconds)
{
    b->seconds = seconds;
}

size_t sg_batch_bytes(const sg_batch *b)
{
    return (b->graph ? sg_tape_bytes(b->graph->tape) : 0) +
           (size_t)(b->most * b->model->config.vocab_size) * sizeof *b->logits;
}

// The tape for `count` sessions. Sessions end one by one, so a change is rare.
static sg_status batch_record(sg_batch *b, int64_t count, sg_error *err)
{
    sg_model *m = b->model;
    if (b->recorded == count && b->layout == m->layout) return SG_OK;
    sg_graph *graph;
    sg_graph_options options = {.batch = count,
                                .length = 1,
                                .output = SG_OUTPUT_LAST,
                                .threads = m->context->threads,
                                .caches = b->caches,
                                .start = b->start,
                                .narrow = m->narrow.items,
                                .screens = sg_model_screens(m),
                                .adapters = m->adapters};
    SG_TRY(sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &options, &graph, err));
    sg_graph_free(b->graph);
    b->graph = graph;
    b->recorded = count;
    b->layout = m->layout;
    return SG_OK;
}

static sg_status batch_check(const sg_batch *b, sg_session *const *sessions, const int32_t *tokens,
                             int64_t count, sg_error *err)
{
    if (count < 1 || count > b->most)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found %lld sessions, expected 1 to %lld",
                       (long long)count, (long long)b->most);
    for (int64_t i = 0; i < count; i++) {
        if (sessions[i]->model != b->model)
            return sg_fail(err, SG_ERR_ARGUMENT, "session %lld: found one of another model",
                           (long long)i);
        for (int64_t j = 0; j < i; j++)
            if (sessions[j] == sessions[i])
                return sg_fail(err, SG_ERR_ARGUMENT, "session %lld: found session %lld again",
                               (long long)i, (long long)j);
        SG_TRY(session_check(sessions[i], tokens + i, 1, err));
    }
    return SG_OK;
}

sg_status sg_batch_feed(sg_batch *b, sg_session *const *sessions, const int32_t *tokens,
                        int64_t count, const float **logits, sg_error *err)
{
    SG_TRY(batch_check(b, sessions, tokens, count, err));
    SG_TRY(batch_record(b, count, err));
    const sg_config *c = &b->model->config;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            b->caches[l * count + i] = sessions[i]->caches[l];
        b->start[i] = sessions[i]->length++;
        b->ids[i] = tokens[i];
    }
    b->graph->ids->data = b->ids;
    sg_run run = {.compute = b->model->context->compute, .seconds = b->seconds};
    sg_tape_forward(b->graph->tape, &run);
    const sg_real *found = sg_values(b->graph->logits);
    for (int64_t i = 0; i < count * c->vocab_size; i++)
        b->logits[i] = (float)found[i];
    *logits = b->logits;
    return SG_OK;
}
