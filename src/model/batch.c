// Batches: one tape is replayed for the next token of several sessions, so that weights are read
// once for all. Where sessions have points, the batch has tapes of its own with the requests of all
// their lists, each of which is called row by row for the sessions that have it: as without points,
// the pass is one, and what is only read changes no bit of it.
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "model/model.h"
#include "model/session_inside.h"

typedef struct batch_points batch_points;

// One request of the sessions that have the same list.
typedef struct batch_request {
    const sg_point_request *own;
    const sg_points *list;
    const batch_points *of;
} batch_request;

// The points of the sessions of a pass, and the tapes for them.
struct batch_points {
    sg_session **sessions; // (count) of the pass
    int64_t count;
    const sg_points **lists; // (list_count) in the order in which sessions have them
    int64_t list_count;
    int64_t opened; // sessions of the model, when the lists were taken
    batch_request *requests;
    sg_point_request *items; // (points.count) one each
    sg_points points;
    sg_graph_cache graphs;
};

struct sg_batch {
    sg_model *model; // borrowed
    int64_t most;
    sg_graph_cache *graphs; // that `last` is of
    sg_kept_graph *last;    // one token of each session of the last pass: to look at; or NULL
    batch_points points;
    float *logits;   // (most, V)
    double *seconds; // of a pass by node and direction, or NULL
};

// ---- points -------------------------------------------------------------------------------------

// Passes are of one token a session, so that row r is session r: calls with each row alone.
static sg_status batch_call_row(const batch_request *r, const sg_point_values *p, int64_t row,
                                sg_error *err)
{
    const int64_t at = row - p->first_row;
    if (at < 0 || at >= p->shape[0]) return SG_OK;
    sg_point_values own = *p;
    int64_t columns = 1;
    for (int i = 1; i < p->rank; i++)
        columns *= p->shape[i];
    own.shape[0] = 1;
    if (p->values != NULL) own.values += at * columns;
    if (p->ids != NULL) own.ids += at * columns;
    if (p->counts != NULL) own.counts += at * p->shape[1];
    own.first_row = 0;
    own.sequences = 1;
    own.tokens += row;
    own.start += row;
    own.first_sequence = r->of->sessions[row]->sequence;
    return r->own->call(r->own->user, &own, err);
}

static sg_status batch_call(void *user, const sg_point_values *p, sg_error *err)
{
    const batch_request *r = user;
    for (int64_t row = 0; row < r->of->count; row++)
        if (r->of->sessions[row]->points == r->list) SG_TRY(batch_call_row(r, p, row, err));
    return SG_OK;
}

// The lists of sessions, each once: (count) at most. Returns how many.
static int64_t batch_lists(sg_session *const *sessions, int64_t count, const sg_points **lists)
{
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t j = 0;
        while (j < n && lists[j] != sessions[i]->points)
            j++;
        if (j == n && sessions[i]->points != NULL) lists[n++] = sessions[i]->points;
    }
    return n;
}

// Whether the tapes are for the lists of these sessions. A list is what it was then where a session
// that was there then has it still.
static bool batch_points_fit(const batch_points *p, sg_session *const *sessions, int64_t count,
                             const sg_points *const *lists, int64_t list_count)
{
    if (p->list_count != list_count) return false;
    for (int64_t n = 0; n < list_count; n++) {
        int64_t i = 0;
        if (p->lists[n] != lists[n]) return false;
        while (i < count && (sessions[i]->points != lists[n] || sessions[i]->serial > p->opened))
            i++;
        if (i == count) return false;
    }
    return true;
}

static void batch_points_close(batch_points *p)
{
    if (p->list_count > 0) sg_graph_cache_close(&p->graphs);
    sg_free(p->lists);
    sg_free(p->requests);
    sg_free(p->items);
    *p = (batch_points){.sessions = p->sessions};
}

// lists: sg_free, the points' from here on.
static sg_status batch_points_open(batch_points *p, sg_model *model, const sg_points **lists,
                                   int64_t list_count, sg_error *err)
{
    size_t requests = 0, n = 0;
    for (int64_t i = 0; i < list_count; i++)
        requests += lists[i]->count;
    p->lists = lists;
    p->requests = sg_alloc_array(requests + 1, sizeof *p->requests);
    p->items = sg_alloc_array(requests + 1, sizeof *p->items);
    if (p->requests == NULL || p->items == NULL) {
        batch_points_close(p);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for points of a batch");
    }
    for (int64_t i = 0; i < list_count; i++)
        for (size_t j = 0; j < lists[i]->count; j++, n++) {
            p->requests[n] = (batch_request){&lists[i]->items[j], lists[i], p};
            p->items[n] = lists[i]->items[j];
            p->items[n].call = batch_call;
            p->items[n].user = &p->requests[n];
        }
    p->points = (sg_points){p->items, n};
    p->list_count = list_count;
    p->opened = model->sessions;
    sg_graph_cache_open(&p->graphs, model,
                        &(sg_graph_options){.points = &p->points, .lenient = true});
    return SG_OK;
}

// ---- batches ------------------------------------------------------------------------------------

sg_status sg_batch_new(sg_model *model, int64_t most, sg_batch **out, sg_error *err)
{
    *out = NULL;
    if (most < 1 || most > SG_BATCH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found %lld, expected 1 to %d sessions",
                       (long long)most, SG_BATCH_MAX);
    SG_TRY(sg_model_screen(model, err));
    SG_TRY(sg_model_columns_fresh(model, err));
    sg_batch *b = sg_alloc_zero(1, sizeof *b);
    if (b == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a batch");
    b->model = model;
    sg_model_enter(model);
    b->most = most;
    b->logits = sg_alloc_array((size_t)(most * model->config.vocab_size), sizeof *b->logits);
    if (b->logits == NULL) {
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
    if (b->last != NULL) sg_graph_cache_drop(b->graphs, b->last);
    batch_points_close(&b->points);
    sg_free(b->points.sessions);
    sg_model_leave(b->model);
    sg_free(b->logits);
    sg_free(b);
}

const sg_tape *sg_batch_tape(const sg_batch *b)
{
    return b->last->graph->tape;
}

void sg_batch_profile(sg_batch *b, double *seconds)
{
    b->seconds = seconds;
}

size_t sg_batch_bytes(const sg_batch *b)
{
    return (b->last ? sg_tape_bytes(b->last->graph->tape) : 0) +
           (size_t)(b->most * b->model->config.vocab_size) * sizeof *b->logits;
}

static void batch_drop(sg_batch *b)
{
    if (b->last != NULL) sg_graph_cache_drop(b->graphs, b->last);
    b->last = NULL;
}

// Tapes with the points of these sessions.
static sg_status batch_take_points(sg_batch *b, sg_session *const *sessions, int64_t count,
                                   sg_error *err)
{
    batch_points *p = &b->points;
    const sg_points **lists = sg_alloc_array((size_t)count, sizeof *lists);
    if (p->sessions == NULL) p->sessions = sg_alloc_array((size_t)b->most, sizeof *p->sessions);
    if (lists == NULL || p->sessions == NULL) {
        sg_free(lists);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for points of a batch");
    }
    const int64_t list_count = batch_lists(sessions, count, lists);
    sg_status status = SG_OK;
    if (batch_points_fit(p, sessions, count, lists, list_count)) {
        sg_free(lists);
    } else {
        if (b->graphs == &p->graphs) batch_drop(b);
        batch_points_close(p);
        status = batch_points_open(p, b->model, lists, list_count, err);
    }
    memcpy(p->sessions, sessions, (size_t)count * sizeof *p->sessions);
    p->count = count;
    return status;
}

// The graphs for these sessions: the model's, or with their points.
static sg_status batch_graphs(sg_batch *b, sg_session *const *sessions, int64_t count,
                              sg_graph_cache **graphs, sg_error *err)
{
    bool any = false;
    for (int64_t i = 0; i < count; i++)
        any = any || sessions[i]->points != NULL;
    *graphs = any ? &b->points.graphs : &b->model->graphs;
    return any ? batch_take_points(b, sessions, count, err) : SG_OK;
}

// Holds on to the graph for `count` sessions.
static sg_status batch_hold(sg_batch *b, sg_graph_cache *graphs, int64_t count, sg_error *err)
{
    sg_kept_graph *kept;
    if (b->last != NULL && b->graphs == graphs && b->last->batch == count &&
        b->last->layout == b->model->layout)
        return SG_OK;
    SG_TRY(sg_graph_cache_hold(graphs, count, 1, SG_OUTPUT_LAST, &kept, err));
    batch_drop(b);
    b->graphs = graphs;
    b->last = kept;
    return SG_OK;
}

// tokens (count, length).
static sg_status batch_check(const sg_batch *b, sg_session *const *sessions, const int32_t *tokens,
                             int64_t count, int64_t length, sg_error *err)
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
        SG_TRY(sg_session_check(sessions[i], tokens + i * length, length, err));
    }
    return SG_OK;
}

// One pass of `length` tokens of each session; b->logits are those behind the last of each.
static sg_status batch_pass(sg_batch *b, sg_graph_cache *graphs, sg_session *const *sessions,
                            const int32_t *tokens, int64_t count, int64_t length, double *seconds,
                            sg_error *err)
{
    sg_kept_graph *kept;
    SG_TRY(sg_graph_cache_take(graphs, count, length, SG_OUTPUT_LAST, &kept, err));
    const sg_config *c = &b->model->config;
    for (int64_t i = 0; i < count; i++) {
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            kept->caches[l * count + i] = sessions[i]->caches[l];
        kept->start[i] = sessions[i]->length;
    }
    kept->graph->ids->data = (void *)(uintptr_t)tokens;
    sg_run run = {.compute = b->model->context->compute, .seconds = seconds, .err = err};
    const sg_status status = sg_tape_forward(kept->graph->tape, &run);
    const sg_real *found = sg_values(kept->graph->logits);
    for (int64_t i = 0; status == SG_OK && i < count * c->vocab_size; i++)
        b->logits[i] = (float)found[i];
    sg_graph_cache_give(graphs, kept);
    for (int64_t i = 0; status == SG_OK && i < count; i++)
        sessions[i]->length += length;
    return status;
}

sg_status sg_batch_feed(sg_batch *b, sg_session *const *sessions, const int32_t *tokens,
                        int64_t count, const float **logits, sg_error *err)
{
    sg_graph_cache *graphs;
    SG_TRY(batch_check(b, sessions, tokens, count, 1, err));
    SG_TRY(batch_graphs(b, sessions, count, &graphs, err));
    SG_TRY(batch_hold(b, graphs, count, err));
    SG_TRY(batch_pass(b, graphs, sessions, tokens, count, 1, b->seconds, err));
    *logits = b->logits;
    return SG_OK;
}

sg_status sg_batch_feed_prompts(sg_batch *b, sg_session *const *sessions, const int32_t *tokens,
                                int64_t count, int64_t length, const float **logits, sg_error *err)
{
    if (length < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found prompts of %lld tokens, expected some",
                       (long long)length);
    SG_TRY(batch_check(b, sessions, tokens, count, length, err));
    for (int64_t i = 0; i < count; i++)
        if (sessions[i]->points != NULL)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "session %lld: found one with points, expected none in prompts of a "
                           "batch",
                           (long long)i);
    SG_TRY(batch_pass(b, &b->model->graphs, sessions, tokens, count, length, NULL, err));
    *logits = b->logits;
    return SG_OK;
}
