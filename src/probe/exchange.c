// Passes of several runs of a model with parts exchanged (exchange.h). One callback is at every
// point that is kept: it first puts in what a run is to have there, then keeps what it has.
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "probe/exchange_inside.h"

enum { exchange_batch = 16 };

// ---- what is observed ---------------------------------------------------------------------------

// The rows of a run among those of a point, at a position; NULL: not in this pass.
static float *exchange_row(const sg_exchange *x, const sg_point_values *v, int64_t slot,
                           int64_t position, int64_t width)
{
    float *values = v->kind == SG_POINT_I32 ? (void *)v->ids : v->values;
    if (position < x->first || position >= x->first + x->span) return NULL;
    return values + (slot * x->span + position - x->first) * width;
}

static void exchange_put(const sg_exchange *x, const sg_point_values *v, size_t point, int64_t slot)
{
    const sg_changes *changes = x->slots[slot].change;
    for (size_t i = 0; changes != NULL && i < changes->count; i++) {
        const sg_change *c = &changes->items[i];
        if (c->point != point) continue;
        float *row = exchange_row(x, v, slot, c->position, x->points[point].width);
        if (row != NULL) memcpy(row + c->first, c->values, (size_t)c->count * sizeof *row);
    }
}

static void exchange_keep(const sg_exchange *x, const sg_point_values *v, size_t point,
                          int64_t slot)
{
    const sg_exchange_point *p = &x->points[point];
    sg_capture *keep = x->slots[slot].keep;
    if (keep == NULL) return;
    memcpy(keep->values + p->offset * keep->length + x->first * p->width,
           exchange_row(x, v, slot, x->first, p->width),
           (size_t)(x->span * p->width) * sizeof(float));
}

static sg_status exchange_call(void *user, const sg_point_values *v, sg_error *err)
{
    const sg_exchange_request *request = user;
    sg_exchange *x = request->x;
    if (v->shape[0] != x->batch * x->span || v->counts != NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found %lld rows%s, expected %lld tokens that all select as many",
                       (long long)v->shape[0], v->counts != NULL ? " with counts" : "",
                       (long long)(x->batch * x->span));
    for (int64_t b = 0; request->role == SG_EXCHANGE_KEPT && b < x->batch; b++) {
        exchange_put(x, v, request->point, b);
        exchange_keep(x, v, request->point, b);
    }
    if (x->neurons) sg_exchange_neurons_note(x, request, v);
    if (request->role == SG_EXCHANGE_OUTPUT)
        return sg_exchange_neurons_add(x, v->layer, v->values, err);
    return SG_OK;
}

// ---- which points -------------------------------------------------------------------------------

static sg_status exchange_add(sg_exchange *x, const sg_point_info *info, sg_error *err)
{
    if (sg_exchange_find(x, info->name) >= 0) return SG_OK;
    const bool keys = info->rank == 3 && info->shape[2] == 0; // as wide as a pass is long
    if ((info->can & SG_POINT_WRITE) == 0 || keys)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "point \"%s\": found one %s, expected one whose values can be exchanged",
                       info->name, keys ? "of keys" : "that can only be read");
    if (info->layer < 0 && strncmp(info->name, "hook_", 5) != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "point \"%s\": found one of the last token alone, expected one of all "
                       "tokens",
                       info->name);
    if (!sg_grow((void **)&x->points, &x->capacity, x->count + 1, sizeof *x->points))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of points");
    const int64_t width =
        (info->rank > 1 ? info->shape[1] : 1) * (info->rank > 2 ? info->shape[2] : 1);
    x->points[x->count++] = (sg_exchange_point){.info = *info, .width = width, .offset = x->width};
    x->width += width;
    return SG_OK;
}

static const sg_point_info *exchange_info(const sg_point_list *all, int64_t layer, const char *name)
{
    for (size_t i = 0; i < all->count; i++) {
        const char *at = strrchr(all->items[i].name, '.');
        if (all->items[i].layer == layer && at != NULL && strcmp(at + 1, name) == 0)
            return &all->items[i];
    }
    return NULL;
}

static sg_status exchange_add_gates(sg_exchange *x, const sg_point_list *all, int64_t layer,
                                    sg_error *err)
{
    sg_exchange_gates_of *g = &x->gates[layer];
    const sg_point_info *ids = exchange_info(all, layer, "hook_gate_ids");
    const sg_point_info *scores = exchange_info(all, layer, "hook_gate_scores");
    const sg_point_info *post = exchange_info(all, layer, "hook_post");
    *g = (sg_exchange_gates_of){.ids = -1, .scores = -1, .post = -1, .channels = 1, .block = 1};
    if (ids == NULL && post != NULL) {
        SG_TRY(exchange_add(x, post, err));
        g->post = sg_exchange_find(x, post->name);
        g->selected = g->neurons = x->points[g->post].width;
        return SG_OK;
    }
    if (ids == NULL)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "layer %lld: found no gates", (long long)layer);
    SG_TRY(exchange_add(x, ids, err));
    g->ids = sg_exchange_find(x, ids->name);
    if (scores != NULL) {
        SG_TRY(exchange_add(x, scores, err));
        g->scores = sg_exchange_find(x, scores->name);
    }
    g->channels = ids->shape[1];
    g->selected = ids->shape[2];
    const sg_memory_shape shape = sg_ffn_memory_at(&x->model->config, layer);
    // Of values the router has selected cells, in whatever blocks.
    g->block = sg_ffn_gate(&x->model->config) == SG_GATE_VALUE ? 1 : shape.block;
    g->neurons = shape.cells;
    return SG_OK;
}

static sg_status exchange_add_named(sg_exchange *x, const sg_point_list *all, const char *name,
                                    sg_error *err)
{
    const sg_point_request request = {.name = name, .use = SG_POINT_WRITE, .call = exchange_call};
    bool found = false;
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->items[i].name, name) != 0) continue;
        found = true;
        SG_TRY(exchange_add(x, &all->items[i], err));
    }
    const sg_points asked = {&request, 1};
    return sg_point_check(&(sg_point_recorder){.asked = &asked, .found = &found}, all, err);
}

static sg_status exchange_choose(sg_exchange *x, const sg_exchange_options *o, sg_error *err)
{
    sg_point_list all;
    const int64_t layers = x->model->config.num_hidden_layers;
    SG_TRY(sg_graph_points(&x->model->config, &x->model->params, &all, err));
    sg_status status = SG_OK;
    if (o->gates || o->neurons) {
        x->gates = sg_alloc_zero((size_t)layers, sizeof *x->gates);
        if (x->gates == NULL) status = sg_fail(err, SG_ERR_MEMORY, "out of memory for gates");
        for (int64_t l = 0; status == SG_OK && l < layers; l++)
            status = exchange_add_gates(x, &all, l, err);
    }
    for (size_t i = 0; status == SG_OK && i < o->point_count; i++)
        status = exchange_add_named(x, &all, o->points[i], err);
    sg_free(all.items);
    return status;
}

static void exchange_ask(sg_exchange *x, sg_exchange_role role, size_t point, const char *name)
{
    const size_t at = x->list.count++;
    const bool write = role != SG_EXCHANGE_INPUT;
    x->requests[at] = (sg_exchange_request){.x = x, .role = role, .point = point};
    snprintf(x->requests[at].name, sizeof x->requests[at].name, "%s", name);
    x->asked[at] = (sg_point_request){.name = x->requests[at].name,
                                      .use = write ? SG_POINT_WRITE : SG_POINT_READ,
                                      .call = exchange_call,
                                      .user = &x->requests[at]};
}

// Requests for what is kept, then for what single neurons need of sparse layers: these come last,
// so that they see what was exchanged.
static sg_status exchange_requests(sg_exchange *x, sg_error *err)
{
    const int64_t layers = x->model->config.num_hidden_layers;
    const size_t most = x->count + (x->neurons ? 2 * (size_t)layers : 0);
    char name[64];
    x->requests = sg_alloc_zero(most, sizeof *x->requests);
    x->asked = sg_alloc_zero(most, sizeof *x->asked);
    if (x->requests == NULL || x->asked == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of points");
    for (size_t i = 0; i < x->count; i++)
        exchange_ask(x, SG_EXCHANGE_KEPT, i, x->points[i].info.name);
    for (int64_t l = 0; x->neurons && l < layers; l++) {
        if (x->gates[l].ids < 0) continue;
        snprintf(name, sizeof name, "blocks.%lld.ln2.hook_normalized", (long long)l);
        exchange_ask(x, SG_EXCHANGE_INPUT, 0, name);
        snprintf(name, sizeof name, "blocks.%lld.hook_mlp_out", (long long)l);
        exchange_ask(x, SG_EXCHANGE_OUTPUT, 0, name);
    }
    x->list.items = x->asked;
    return SG_OK;
}

// Whether a layer multiplies rows of several tokens together as their selections fall: the bits of
// a token then depend on what others select.
static bool exchange_mixes(const sg_config *c)
{
    if (!sg_family_is_sparse(sg_family_find(c->ffn))) return false;
    return sg_ffn_memory_of(c)->gated || sg_ffn_memory(c).block > 1;
}

// ---- the handle ---------------------------------------------------------------------------------

// Numbers of one position in all layers: keys and values.
static int64_t exchange_kv(const sg_exchange *x)
{
    const sg_config *c = &x->model->config;
    return 2 * c->num_hidden_layers * sg_config_kv_heads(c) * c->head_dim;
}

static sg_status exchange_open(sg_exchange *x, sg_error *err)
{
    const int64_t reals = x->batch * x->longest * exchange_kv(x);
    x->cache_bytes = (size_t)reals * sizeof(sg_real);
    x->cache_memory = sg_alloc_from(x->model->context->compute.allocator, x->cache_bytes);
    x->slots = sg_alloc_zero((size_t)x->batch, sizeof *x->slots);
    x->tokens = sg_alloc_zero((size_t)(x->batch * x->longest), sizeof *x->tokens);
    if (x->cache_memory == NULL || x->slots == NULL || x->tokens == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld runs of %lld tokens",
                       (long long)x->batch, (long long)x->longest);
    for (int64_t b = 0; b < x->batch; b++)
        x->slots[b].cache = x->cache_memory + b * (reals / x->batch);
    return x->neurons ? sg_exchange_neurons_open(x, err) : SG_OK;
}

sg_status sg_exchange_new(sg_model *model, const sg_exchange_options *options, sg_exchange **out,
                          sg_error *err)
{
    *out = NULL;
    const int64_t most = model->config.max_position_embeddings;
    if (options->longest < 1 || options->longest > most)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "prompt: found %lld tokens, expected 1 to the model's %lld positions",
                       (long long)options->longest, (long long)most);
    if (options->batch < 0 || options->batch > SG_BATCH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "batch: found %lld, expected 1 to %d runs",
                       (long long)options->batch, SG_BATCH_MAX);
    SG_TRY(sg_model_screen(model, err));
    sg_exchange *x = sg_alloc_zero(1, sizeof *x);
    if (x == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for runs of a model");
    x->model = model;
    x->batch = options->batch > 0 ? options->batch : exchange_batch;
    if (exchange_mixes(&model->config)) x->batch = 1;
    x->longest = options->longest;
    x->neurons = options->neurons;
    sg_model_enter(model);
    sg_graph_cache_open(&x->graphs, model, &(sg_graph_options){.points = &x->list});
    sg_status status = exchange_choose(x, options, err);
    if (status == SG_OK) status = exchange_requests(x, err);
    if (status == SG_OK) status = exchange_open(x, err);
    if (status != SG_OK) {
        sg_exchange_free(x);
        return status;
    }
    *out = x;
    return SG_OK;
}

void sg_exchange_free(sg_exchange *x)
{
    if (x == NULL) return;
    sg_graph_cache_close(&x->graphs);
    sg_model_leave(x->model);
    sg_free_to(x->model->context->compute.allocator, x->cache_memory, x->cache_bytes);
    sg_free(x->points);
    sg_free(x->gates);
    sg_free(x->requests);
    sg_free(x->asked);
    sg_free(x->slots);
    sg_free(x->tokens);
    sg_free(x->now.input);
    sg_free(x->now.ids);
    sg_free(x->now.scores);
    sg_free(x->now.rows);
    sg_free(x->tables);
    sg_free(x);
}

int64_t sg_exchange_runs(const sg_exchange *x)
{
    return x->runs;
}

size_t sg_exchange_points(const sg_exchange *x, const sg_exchange_point **points)
{
    *points = x->points;
    return x->count;
}

int64_t sg_exchange_find(const sg_exchange *x, const char *name)
{
    for (size_t i = 0; i < x->count; i++)
        if (strcmp(x->points[i].info.name, name) == 0) return (int64_t)i;
    return -1;
}

const sg_exchange_gates_of *sg_exchange_gates(const sg_exchange *x, int64_t layer)
{
    return &x->gates[layer];
}

// ---- passes -------------------------------------------------------------------------------------

// Copies the first `positions` of keys and values between a slot, whose heads have room for
// `longest`, and memory for so many alone.
static void exchange_copy(const sg_exchange *x, sg_real *slot, float *before, int64_t positions,
                          bool out)
{
    const int64_t h = x->model->config.head_dim, heads = exchange_kv(x) / h;
    for (int64_t i = 0; i < heads; i++)
        for (int64_t n = 0; n < positions * h; n++) {
            sg_real *at = slot + i * x->longest * h + n;
            float *kept = before + i * positions * h + n;
            if (out)
                *kept = (float)*at;
            else
                *at = *kept;
        }
}

static void exchange_caches(const sg_exchange *x, sg_kept_graph *kept)
{
    const sg_config *c = &x->model->config;
    const int64_t one = x->longest * sg_config_kv_heads(c) * c->head_dim;
    for (int64_t b = 0; b < x->batch; b++) {
        kept->start[b] = x->first;
        for (int64_t l = 0; l < c->num_hidden_layers; l++)
            kept->caches[l * x->batch + b] =
                (sg_kv_cache){.k = x->slots[b].cache + 2 * l * one,
                              .v = x->slots[b].cache + (2 * l + 1) * one,
                              .capacity = x->longest};
    }
}

// Tokens first … first + span - 1 of what the slots hold; logits[b] (V) of slot b behind the last
// one, where not NULL.
static sg_status exchange_pass(sg_exchange *x, int64_t first, int64_t span, float *const *logits,
                               sg_error *err)
{
    sg_kept_graph *kept;
    const int64_t vocab = x->model->config.vocab_size;
    x->first = first;
    x->span = span;
    SG_TRY(sg_graph_cache_take(&x->graphs, x->batch, span, SG_OUTPUT_LAST, &kept, err));
    exchange_caches(x, kept);
    kept->graph->ids->data = x->tokens;
    sg_run run = {.compute = x->model->context->compute, .err = err};
    sg_status status = sg_tape_forward(kept->graph->tape, &run);
    const sg_real *found = sg_values(kept->graph->logits);
    for (int64_t b = 0; status == SG_OK && logits != NULL && b < x->batch; b++)
        for (int64_t v = 0; logits[b] != NULL && v < vocab; v++)
            logits[b][v] = (float)found[b * vocab + v];
    sg_graph_cache_give(&x->graphs, kept);
    return status;
}

static void exchange_tokens(sg_exchange *x, int64_t slot, const int32_t *tokens, int64_t first,
                            int64_t span)
{
    memcpy(x->tokens + slot * span, tokens + first, (size_t)span * sizeof *tokens);
}

// ---- captures -----------------------------------------------------------------------------------

size_t sg_capture_bytes(const sg_exchange *x, int64_t length, int64_t start)
{
    return (size_t)(length * x->width + x->model->config.vocab_size + start * exchange_kv(x)) *
               sizeof(float) +
           (size_t)length * sizeof(int32_t) + sizeof(sg_capture);
}

void sg_capture_free(sg_capture *c)
{
    if (c == NULL) return;
    sg_free(c->tokens);
    sg_free(c->values);
    sg_free(c->logits);
    sg_free(c->before);
    sg_free(c);
}

static sg_status capture_new(sg_exchange *x, const int32_t *tokens, int64_t length, int64_t start,
                             sg_capture **out, sg_error *err)
{
    const int64_t vocab = x->model->config.vocab_size;
    for (int64_t i = 0; i < length; i++)
        if (tokens[i] < 0 || tokens[i] >= vocab)
            return sg_fail(err, SG_ERR_ARGUMENT, "token %lld: found %d, expected 0 to %lld",
                           (long long)i, tokens[i], (long long)vocab - 1);
    sg_capture *c = sg_alloc_zero(1, sizeof *c);
    *out = c;
    if (c == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run");
    c->length = length;
    c->start = start;
    c->serial = ++x->serial;
    c->tokens = sg_alloc_array((size_t)length, sizeof *c->tokens);
    c->values = sg_alloc_array((size_t)(length * x->width), sizeof *c->values);
    c->logits = sg_alloc_array((size_t)vocab, sizeof *c->logits);
    c->before = sg_alloc_array((size_t)(start * exchange_kv(x)), sizeof *c->before);
    if (!c->tokens || !c->values || !c->logits || !c->before)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a run of %lld tokens",
                       (long long)length);
    memcpy(c->tokens, tokens, (size_t)length * sizeof *tokens);
    return SG_OK;
}

// Up to `batch` captures; what is missing is filled in with the last.
static sg_status capture_pass(sg_exchange *x, sg_capture *const *captures, int64_t count,
                              sg_error *err)
{
    const int64_t start = captures[0]->start, span = captures[0]->length - start;
    float *logits[SG_BATCH_MAX];
    for (int64_t b = 0; b < x->batch; b++) {
        sg_exchange_slot *s = &x->slots[b];
        s->change = NULL;
        s->serial = 0;
        s->keep = b < count ? captures[b] : NULL;
        logits[b] = b < count ? captures[b]->logits : NULL;
    }
    if (start > 0) {
        for (int64_t b = 0; b < x->batch; b++)
            exchange_tokens(x, b, captures[sg_min(b, count - 1)]->tokens, 0, start);
        SG_TRY(exchange_pass(x, 0, start, NULL, err));
    }
    for (int64_t b = 0; b < count; b++)
        exchange_copy(x, x->slots[b].cache, captures[b]->before, start, true);
    for (int64_t b = 0; b < x->batch; b++)
        exchange_tokens(x, b, captures[sg_min(b, count - 1)]->tokens, start, span);
    SG_TRY(exchange_pass(x, start, span, logits, err));
    x->runs += count;
    return SG_OK;
}

sg_status sg_exchange_capture(sg_exchange *x, const int32_t *tokens, int64_t count, int64_t length,
                              int64_t start, sg_capture **captures, sg_error *err)
{
    sg_status status = SG_OK;
    for (int64_t i = 0; i < count; i++)
        captures[i] = NULL;
    if (length < 1 || length > x->longest || start < 0 || start >= length)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "run: found %lld tokens from %lld on, expected 1 to %lld and less than that",
                       (long long)length, (long long)start, (long long)x->longest);
    for (int64_t i = 0; status == SG_OK && i < count; i++)
        status = capture_new(x, tokens + i * length, length, start, &captures[i], err);
    for (int64_t i = 0; status == SG_OK && i < count; i += x->batch)
        status = capture_pass(x, captures + i, sg_min(x->batch, count - i), err);
    for (int64_t i = 0; status != SG_OK && i < count; i++) {
        sg_capture_free(captures[i]);
        captures[i] = NULL;
    }
    return status;
}

// ---- replays ------------------------------------------------------------------------------------

static sg_status replay_check(const sg_replay *r, sg_error *err)
{
    const sg_changes *c = r->changes;
    const sg_capture *of = r->of;
    for (size_t i = 0; c != NULL && i < c->count; i++)
        if (c->items[i].position < of->start || c->items[i].position >= of->length)
            return sg_fail(
                err, SG_ERR_ARGUMENT, "change: found position %lld, expected %lld to %lld",
                (long long)c->items[i].position, (long long)of->start, (long long)of->length - 1);
    for (size_t i = 0; c != NULL && i < c->neuron_count; i++)
        if (c->neurons[i].position < of->start || c->neurons[i].position >= of->length)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "change of a neuron: found position %lld, expected %lld to %lld",
                           (long long)c->neurons[i].position, (long long)of->start,
                           (long long)of->length - 1);
    return SG_OK;
}

static sg_status replay_pass(sg_exchange *x, const sg_replay *replays, int64_t count, sg_error *err)
{
    const int64_t start = replays[0].of->start, span = replays[0].of->length - start;
    float *logits[SG_BATCH_MAX];
    for (int64_t b = 0; b < x->batch; b++) {
        const sg_replay *r = &replays[sg_min(b, count - 1)];
        sg_exchange_slot *s = &x->slots[b];
        s->keep = NULL;
        s->change = r->changes;
        if (s->serial != r->of->serial) exchange_copy(x, s->cache, r->of->before, start, false);
        s->serial = r->of->serial;
        logits[b] = b < count ? r->logits : NULL;
        exchange_tokens(x, b, r->of->tokens, start, span);
    }
    SG_TRY(exchange_pass(x, start, span, logits, err));
    x->runs += count;
    return SG_OK;
}

sg_status sg_exchange_replay(sg_exchange *x, const sg_replay *replays, int64_t count, sg_error *err)
{
    for (int64_t i = 0; i < count; i++)
        SG_TRY(replay_check(&replays[i], err));
    for (int64_t i = 0, end; i < count; i = end) {
        const sg_capture *of = replays[i].of;
        for (end = i + 1; end < count && end - i < x->batch; end++)
            if (replays[end].of->length != of->length || replays[end].of->start != of->start) break;
        SG_TRY(replay_pass(x, replays + i, end - i, err));
    }
    return SG_OK;
}
