// The pass that is frozen: a session reads the tokens once, callbacks keep what the frozen model
// holds fixed (attention weights, what norms divide by, selections and scores), where it begins
// (embeddings), and what it is compared with (values of neurons, logits).
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/points.h"
#include "probe/trace_frozen.h"

void *sg_frozen_array(sg_frozen *f, int64_t count, size_t size)
{
    const size_t bytes = (size_t)(count > 0 ? count : 1) * size;
    void *array = sg_arena_alloc(&f->arena, bytes);
    if (array != NULL) memset(array, 0, bytes);
    return array;
}

void sg_frozen_free(sg_frozen *f)
{
    sg_arena_free(&f->arena);
    f->layers = NULL;
}

double sg_frozen_bytes(const sg_config *c, int64_t tokens)
{
    const double T = (double)tokens, d = (double)c->hidden_size, H = (double)c->num_attention_heads;
    double bytes = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++) {
        sg_config dense;
        const sg_config *own = sg_ffn_layer_config(c, l, &dense);
        const sg_memory_shape m = sg_ffn_memory(own);
        const double hits = (double)(m.channels * m.selected) * (double)m.block;
        const double rows = sg_ffn_memory_of(own)->dense ? hits : hits * T;
        bytes += H * T * T * 4 + H * T * d * 8 + T * hits * 60 + rows * d * 12 + T * d * 24 +
                 (double)sg_ffn_shared_width(own) * (d * 12 + T * 24) + 4 * d * d * 4;
    }
    return bytes;
}

// ---- what is asked for --------------------------------------------------------------------------

// Where the values of a point go: rows of `size` by position, those of a pattern (heads, keys).
typedef struct pass_place {
    void *to;
    int64_t size;
    bool pattern, last; // last: the row of the last token alone
} pass_place;

static pass_place pass_layer_place(sg_frozen_layer *l, const char *name, int64_t heads)
{
    const int64_t M = l->hits, S = l->slots;
    if (strcmp(name, "ln1.hook_scale") == 0) return (pass_place){l->norm1.scale, 1, false, false};
    if (strcmp(name, "ln2.hook_scale") == 0) return (pass_place){l->norm2.scale, 1, false, false};
    if (strcmp(name, "attn.hook_pattern") == 0) return (pass_place){l->pattern, heads, true, false};
    if (strcmp(name, "mlp.hook_gate_ids") == 0) return (pass_place){l->ids, S, false, false};
    if (strcmp(name, "mlp.hook_gate_scores") == 0) return (pass_place){l->scores, S, false, false};
    if (strcmp(name, "mlp.hook_post") == 0) return (pass_place){l->seen, M, false, false};
    return (pass_place){0};
}

// The name of a point in its layer: "ln1.hook_scale".
static const char *pass_inner_name(const char *name)
{
    const char *dot = strchr(name, '.');
    if (strncmp(name, "blocks.", 7) != 0 || dot == NULL) return name;
    dot = strchr(dot + 1, '.');
    return dot == NULL ? name : dot + 1;
}

static pass_place pass_place_of(sg_frozen *f, const char *name, int64_t layer)
{
    const int64_t d = f->width;
    if (layer >= 0)
        return pass_layer_place(&f->layers[layer], pass_inner_name(name),
                                f->config->num_attention_heads);
    if (strcmp(name, "hook_embed") == 0) return (pass_place){f->embedding, d, false, false};
    if (strcmp(name, "hook_pos_embed") == 0) return (pass_place){f->positions, d, false, false};
    if (strcmp(name, "ln_final.hook_scale") == 0)
        return (pass_place){f->last.scale, 1, false, true};
    if (strcmp(name, "logits") == 0)
        return (pass_place){f->logits, f->config->vocab_size, false, true};
    return (pass_place){0};
}

// ---- rows as they come --------------------------------------------------------------------------

// Keys are as many as there were when the row was read: those behind its own are 0.
static void pass_keep_pattern(const sg_frozen *f, const pass_place *place, const sg_point_values *v,
                              int64_t row, int64_t position)
{
    const int64_t T = f->tokens, keys = v->shape[2];
    for (int64_t h = 0; h < place->size; h++) {
        float *to = (float *)place->to + (position * place->size + h) * T;
        memcpy(to, v->values + (row * place->size + h) * keys,
               (size_t)sg_min(keys, T) * sizeof *to);
    }
}

static sg_status pass_call(void *user, const sg_point_values *v, sg_error *err)
{
    sg_frozen *f = user;
    const pass_place place = pass_place_of(f, v->name, v->layer);
    const int64_t width = v->rank == 1 ? 1 : v->rank == 2 ? v->shape[1] : v->shape[1] * v->shape[2];
    if (place.to == NULL || v->counts != NULL || (!place.pattern && width != place.size))
        return sg_fail(err, SG_ERR_INTERNAL, "%s: found rows of %lld, expected %lld", v->name,
                       (long long)width, (long long)place.size);
    for (int64_t i = 0; i < v->shape[0]; i++) {
        const int64_t position = (v->start ? v->start[0] : 0) + v->first_row + i * v->row_step;
        if (place.last && position != f->tokens - 1) continue;
        const int64_t at = place.last ? 0 : position * place.size;
        if (place.pattern)
            pass_keep_pattern(f, &place, v, i, position);
        else if (v->kind == SG_POINT_I32)
            memcpy((int32_t *)place.to + at, v->ids + i * width, (size_t)width * sizeof *v->ids);
        else
            memcpy((float *)place.to + at, v->values + i * width, (size_t)width * sizeof(float));
    }
    return SG_OK;
}

// ---- room ---------------------------------------------------------------------------------------

static bool pass_room_of_layer(sg_frozen *f, sg_frozen_layer *l)
{
    const int64_t T = f->tokens, H = f->config->num_attention_heads;
    l->norm1.scale = sg_frozen_array(f, T, sizeof(float));
    l->norm2.scale = sg_frozen_array(f, T, sizeof(float));
    l->pattern = sg_frozen_array(f, T * H * T, sizeof(float));
    l->ids = sg_frozen_array(f, T * l->slots, sizeof(int32_t));
    l->block = sg_frozen_array(f, T * l->slots, sizeof(int32_t));
    l->seen = sg_frozen_array(f, T * l->hits, sizeof(float));
    return l->norm1.scale && l->norm2.scale && l->pattern && l->ids && l->block && l->seen;
}

static bool pass_room(sg_frozen *f)
{
    const int64_t T = f->tokens, d = f->width;
    f->embedding = sg_frozen_array(f, T * d, sizeof(float));
    f->logits = sg_frozen_array(f, f->config->vocab_size, sizeof(float));
    f->last.scale = sg_frozen_array(f, 1, sizeof(float));
    bool there = f->embedding && f->logits && f->last.scale;
    for (int64_t l = 0; there && l < f->config->num_hidden_layers; l++)
        there = pass_room_of_layer(f, &f->layers[l]);
    return there;
}

// The shape of a layer's selection, as its points have it.
static sg_status pass_shapes(sg_frozen *f, const sg_point_list *all, sg_error *err)
{
    const int64_t L = f->config->num_hidden_layers;
    f->layers = sg_frozen_array(f, L, sizeof *f->layers);
    if (f->layers == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    for (int64_t l = 0; l < L; l++)
        f->layers[l].slots = f->layers[l].channels = 1; // of a dense layer
    for (size_t i = 0; i < all->count; i++) {
        const sg_point_info *p = &all->items[i];
        if (p->layer < 0) continue;
        sg_frozen_layer *l = &f->layers[p->layer];
        const char *name = pass_inner_name(p->name);
        if (strcmp(name, "mlp.hook_gate_ids") == 0) {
            l->channels = p->shape[1];
            l->slots = p->shape[1] * p->shape[2];
        }
        if (strcmp(name, "mlp.hook_post") == 0)
            l->hits = p->rank == 2 ? p->shape[1] : p->shape[1] * p->shape[2];
    }
    for (int64_t l = 0; l < L; l++)
        f->layers[l].unit = f->layers[l].hits / f->layers[l].slots;
    return SG_OK;
}

// A request for each point that has a place.
static sg_status pass_ask(sg_frozen *f, const sg_point_list *all, sg_error *err)
{
    f->asked = sg_frozen_array(f, (int64_t)all->count, sizeof *f->asked);
    if (f->asked == NULL || !pass_room(f))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    for (size_t i = 0; i < all->count; i++) {
        const sg_point_info *p = &all->items[i];
        const int64_t T = f->tokens;
        if (strcmp(p->name, "hook_pos_embed") == 0)
            f->positions = sg_frozen_array(f, T * f->width, sizeof(float));
        if (strstr(p->name, "mlp.hook_gate_scores") != NULL)
            f->layers[p->layer].scores =
                sg_frozen_array(f, T * f->layers[p->layer].slots, sizeof(float));
        if (pass_place_of(f, p->name, p->layer).to == NULL) continue;
        f->asked[f->asked_count++] =
            (sg_point_request){.name = p->name, .use = SG_POINT_READ, .call = pass_call, .user = f};
    }
    return SG_OK;
}

// Targets below 0: no more than logits is computed.
static sg_status pass_read(sg_frozen *f, sg_error *err)
{
    const int64_t T = f->tokens;
    const sg_points points = {f->asked, f->asked_count};
    const sg_session_options options = {.capacity = T, .points = &points};
    sg_session *session = NULL;
    int32_t *targets = sg_alloc_array((size_t)T, sizeof *targets);
    double *nll = sg_alloc_array((size_t)T, sizeof *nll);
    bool *likeliest = sg_alloc_array((size_t)T, sizeof *likeliest);
    sg_status status = SG_OK;
    if (targets == NULL || nll == NULL || likeliest == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    for (int64_t i = 0; status == SG_OK && i < T; i++)
        targets[i] = -1;
    if (status == SG_OK) status = sg_session_open(f->model, &options, &session, err);
    if (status == SG_OK)
        status = sg_session_score(session, f->ids, targets, T, nll, likeliest, err);
    sg_session_free(session);
    sg_free(targets);
    sg_free(nll);
    sg_free(likeliest);
    return status;
}

sg_status sg_frozen_pass(sg_frozen *f, sg_error *err)
{
    sg_point_list all = {0};
    f->config = &f->model->config;
    f->width = f->config->hidden_size;
    sg_status status = sg_graph_points(f->config, &f->model->params, &all, err);
    if (status == SG_OK) status = pass_shapes(f, &all, err);
    if (status == SG_OK) status = pass_ask(f, &all, err);
    if (status == SG_OK) status = pass_read(f, err);
    sg_free(all.items);
    return status;
}
