// Inputs of products that are left out, on thresholds of a text, trained in nothing:
//
//     threshold of a place of a layer = the size that a share of its values does not exceed,
//     sizes |x_i|                                        (TEAL, Liu et al. 2024)
//     or |x_i| times the norm of column i of the matrices that read x   (WINA, Chen et al. 2025)
//
// The share is 1 - active everywhere; or, greedy, that of a layer is raised in steps to 1 - active
// of its weights, each time at the place that moves the layer's output least (TEAL, section 4.3).
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "train/input_use.h"
#include "sparsify/layer_alone.h"
#include "sparsify/magnitudes.h"
#include "sparsify/moefy.h"
#include "sparsify/trim_model.h"

enum { PLACES = SG_TRIMMED_PLACES };
enum { greedy_tokens = 2048 };          // of the calibration part that are read by layers alone
static const double greedy_step = 0.05; // of a layer's share, as published

static bool inputs_greedy(const sg_sparsify_options *o)
{
    return o->shares != NULL && sg_moefy_is(o->shares, "greedy");
}

// Where shares are searched for that is what takes time, not the passes before it.
static bool inputs_go_on(void *user, int64_t done, int64_t total)
{
    const sg_trim_work *t = user;
    return sg_trim_go_on(user, inputs_greedy(t->o) ? 0 : done, total);
}

// ---- the configuration --------------------------------------------------------------------------

static char *inputs_list(sg_config *c, int place, size_t *bytes)
{
    return sg_trimmed_list(c, (sg_trimmed)place, bytes);
}

// Thresholds of 0.
static sg_status inputs_config(const sg_sparsify_options *o, sg_config *c, sg_error *err)
{
    const sg_trim_work none = {.layers = c->num_hidden_layers, .method = &sg_trim_inputs};
    if (sg_trimmed_any(c))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "found a model that leaves inputs out already, expected one without "
                       "thresholds");
    if (o->shares != NULL && !inputs_greedy(o) && !sg_moefy_is(o->shares, "uniform"))
        return sg_fail(err, SG_ERR_ARGUMENT, "shares: found \"%.40s\", expected uniform or greedy",
                       o->shares);
    c->trim_scaled = sg_moefy_is(o->trim, "wina");
    for (int place = 0; place < PLACES; place++) {
        size_t bytes;
        char *list = inputs_list(c, place, &bytes);
        SG_TRY(sg_trim_list(&none, place, NULL, list, bytes, err));
    }
    return SG_OK;
}

static sg_status inputs_parameter(const sg_model *m, int64_t layer, const char *name, size_t *index,
                                  sg_error *err)
{
    char full[SG_PARAM_NAME];
    snprintf(full, sizeof full, "model.layers.%lld.%s", (long long)layer, name);
    return sg_model_tensor_find(m, full, index, err);
}

// Norms of the columns of all matrices that read a place.
static sg_status inputs_norms(const sg_model *m, int64_t layer, sg_trimmed place, sg_real *room,
                              sg_error *err)
{
    const char *const *names = sg_trimmed_matrices(&m->config, place);
    size_t to, index;
    SG_TRY(inputs_parameter(m, layer, sg_trimmed_norms(place), &to, err));
    const int64_t n = m->params.specs[to].count;
    sg_real *norms = m->values[to];
    memset(norms, 0, (size_t)n * sizeof *norms);
    for (; *names != NULL; names++) {
        SG_TRY(inputs_parameter(m, layer, *names, &index, err));
        sg_column_norms(m->values[index], m->params.specs[index].shape[0], n, room);
        for (int64_t i = 0; i < n; i++)
            norms[i] = (sg_real)hypot((double)norms[i], (double)room[i]);
    }
    return SG_OK;
}

static sg_status inputs_fill(sg_trim_work *t, sg_error *err)
{
    const sg_config *c = &t->config;
    int64_t most = 0;
    if (!c->trim_scaled) return SG_OK;
    for (int place = 0; place < PLACES; place++)
        if (sg_trimmed_width(c, (sg_trimmed)place) > most)
            most = sg_trimmed_width(c, (sg_trimmed)place);
    sg_real *room = sg_alloc_array((size_t)most, sizeof *room);
    if (room == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for norms");
    sg_status status = SG_OK;
    for (int64_t l = 0; l < t->layers; l++)
        for (int place = 0; status == SG_OK && place < PLACES; place++)
            status = inputs_norms(t->made, l, (sg_trimmed)place, room, err);
    sg_free(room);
    return status;
}

// ---- sizes --------------------------------------------------------------------------------------

typedef struct inputs_sizes {
    sg_magnitudes magnitudes;
    const sg_real *norms; // or NULL
} inputs_sizes;

static sg_status inputs_add(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    inputs_sizes *s = user;
    return sg_magnitudes_add(&s->magnitudes, values, 1, n, s->norms, err);
}

// Of each place of the layers of this pass: sizes (group, PLACES).
static sg_status inputs_read(sg_trim_work *t, inputs_sizes *sizes, sg_calibration_place *places,
                             sg_error *err)
{
    for (int64_t i = 0; i < t->group * PLACES; i++) {
        const sg_trimmed place = (sg_trimmed)(i % PLACES);
        const int64_t layer = t->first + i / PLACES;
        size_t index;
        SG_TRY(sg_magnitudes_new(&sizes[i].magnitudes, err));
        if (t->config.trim_scaled) {
            SG_TRY(inputs_parameter(t->made, layer, sg_trimmed_norms(place), &index, err));
            sizes[i].norms = t->made->values[index];
        }
        places[i] = (sg_calibration_place){
            .layer = layer, .name = sg_input_point(place), .call = inputs_add, .user = &sizes[i]};
    }
    return sg_calibration_places(&t->text, SG_USE_CALIBRATION, t->dense, places, t->group * PLACES,
                                 inputs_go_on, t, err);
}

static sg_status inputs_thresholds(const inputs_sizes *sizes, const double shares[PLACES],
                                   double thresholds[PLACES], sg_error *err)
{
    for (int place = 0; place < PLACES; place++)
        SG_TRY(sg_magnitudes_threshold(&sizes[place].magnitudes, shares[place], &thresholds[place],
                                       err));
    return SG_OK;
}

// ---- greedy shares ------------------------------------------------------------------------------

// What layers read of the first tokens of the text.
typedef struct inputs_stream {
    sg_calibration text;             // of fewer tokens
    int64_t *sequences, count, rows; // tokens of each that count, and of all
    sg_real *x;                      // (group, rows, d)
} inputs_stream;

typedef struct inputs_keep {
    sg_real *to; // (rows, d), of which `rows` are left
    int64_t rows;
} inputs_keep;

static sg_status inputs_keep_row(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    inputs_keep *k = user;
    if (k->rows-- < 1) return sg_fail(err, SG_ERR_INTERNAL, "found more tokens than were counted");
    memcpy(k->to, values, (size_t)n * sizeof *values);
    k->to += n;
    return SG_OK;
}

// Whole sequences, one at least.
static sg_status inputs_sequences(const sg_trim_work *t, inputs_stream *s, sg_error *err)
{
    sg_calibration_part *part = &s->text.parts[SG_USE_CALIBRATION];
    const int64_t length = t->text.length;
    s->text = t->text;
    part->tokens = sg_min(part->tokens, (greedy_tokens + length - 1) / length * length);
    s->count = (part->tokens + length - 1) / length;
    s->sequences = sg_alloc_zero((size_t)s->count, sizeof *s->sequences);
    if (s->sequences == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for sequences");
    for (int64_t i = 0; i < part->tokens; i++)
        if (s->text.places[part->first + i] >= 0) {
            s->sequences[i / length]++;
            s->rows++;
        }
    return SG_OK;
}

static sg_status inputs_stream_read(sg_trim_work *t, inputs_stream *s, sg_error *err)
{
    const int64_t d = t->config.hidden_size;
    s->x = sg_alloc_array((size_t)(t->group * s->rows), (size_t)d * sizeof *s->x);
    sg_calibration_place *places = sg_alloc_zero((size_t)t->group, sizeof *places);
    inputs_keep *keep = sg_alloc_zero((size_t)t->group, sizeof *keep);
    sg_status status = s->x != NULL && places != NULL && keep != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for inputs of layers");
    for (int64_t i = 0; status == SG_OK && i < t->group; i++) {
        keep[i] = (inputs_keep){s->x + i * s->rows * d, s->rows};
        places[i] = (sg_calibration_place){.layer = t->first + i,
                                           .name = "hook_resid_pre",
                                           .call = inputs_keep_row,
                                           .user = &keep[i]};
    }
    if (status == SG_OK)
        status = sg_calibration_places(&s->text, SG_USE_CALIBRATION, t->dense, places, t->group,
                                       inputs_go_on, t, err);
    sg_free(places);
    sg_free(keep);
    return status;
}

typedef struct inputs_search {
    sg_trim_work *t;
    const inputs_sizes *sizes; // (PLACES)
    sg_layer_alone alone;
    sg_status status;
    sg_error *err;
} inputs_search;

static bool inputs_error(void *user, const double *shares, double *value)
{
    inputs_search *s = user;
    double thresholds[PLACES];
    s->status = inputs_thresholds(s->sizes, shares, thresholds, s->err);
    if (s->status == SG_OK) s->status = sg_layer_alone_error(&s->alone, thresholds, value, s->err);
    return s->status == SG_OK && sg_trim_go_on(s->t, 0, 0);
}

static sg_status inputs_greedy_layer(sg_trim_work *t, const inputs_stream *stream, int64_t i,
                                     const inputs_sizes *sizes, double shares[PLACES],
                                     sg_error *err)
{
    double flops[PLACES];
    inputs_search s = {.t = t, .sizes = sizes, .err = err};
    const sg_real *x = stream->x + i * stream->rows * t->config.hidden_size;
    for (int place = 0; place < PLACES; place++)
        flops[place] = sg_input_flops(&t->config, (sg_trimmed)place);
    const sg_greedy_shares greedy = {.count = PLACES,
                                     .sizes = flops,
                                     .step = greedy_step,
                                     .share = 1 - t->o->active,
                                     .error = inputs_error,
                                     .user = &s};
    sg_error stopped = {0};
    sg_status status = sg_layer_alone_new(t->made, t->first + i, stream->sequences, stream->count,
                                          x, &s.alone, err);
    if (status == SG_OK) {
        status = sg_greedy_shares_find(&greedy, shares, &stopped);
        // What ended it, where that was not the caller.
        if (status == SG_ERR_STOPPED && s.status != SG_OK)
            status = s.status;
        else if (status != SG_OK)
            sg_fail(err, status, "%s", stopped.message);
    }
    sg_layer_alone_free(&s.alone);
    return status;
}

// ---- a pass -------------------------------------------------------------------------------------

static sg_status inputs_pass(sg_trim_work *t, inputs_sizes *sizes, inputs_stream *stream,
                             sg_error *err)
{
    const bool greedy = inputs_greedy(t->o);
    for (int64_t i = 0; i < t->group; i++) {
        double shares[PLACES];
        for (int place = 0; place < PLACES; place++)
            shares[place] = 1 - t->o->active;
        if (greedy) SG_TRY(inputs_greedy_layer(t, stream, i, sizes + i * PLACES, shares, err));
        SG_TRY(inputs_thresholds(sizes + i * PLACES, shares,
                                 t->thresholds + (t->first + i) * PLACES, err));
        SG_TRY(sg_trim_found(t, t->first + i, err));
    }
    return SG_OK;
}

static sg_status inputs_find(sg_trim_work *t, sg_error *err)
{
    const size_t count = (size_t)(t->group * PLACES);
    inputs_sizes *sizes = sg_alloc_zero(count, sizeof *sizes);
    sg_calibration_place *places = sg_alloc_zero(count, sizeof *places);
    inputs_stream stream = {0};
    sg_status status = sizes != NULL && places != NULL
                           ? inputs_read(t, sizes, places, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for thresholds");
    if (status == SG_OK && inputs_greedy(t->o)) status = inputs_sequences(t, &stream, err);
    if (status == SG_OK && inputs_greedy(t->o)) status = inputs_stream_read(t, &stream, err);
    if (status == SG_OK) status = inputs_pass(t, sizes, &stream, err);
    for (size_t i = 0; sizes != NULL && i < count; i++)
        sg_magnitudes_free(&sizes[i].magnitudes);
    sg_free(sizes);
    sg_free(places);
    sg_free(stream.sequences);
    sg_free(stream.x);
    return status;
}

// ---- the test -----------------------------------------------------------------------------------

typedef struct inputs_seen {
    sg_input_use *use;
    int64_t layer;
    sg_trimmed place;
} inputs_seen;

static sg_status inputs_see(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    const inputs_seen *s = user;
    (void)err;
    sg_input_use_add(s->use, s->layer, s->place, values, 1, n);
    return SG_OK;
}

static void inputs_result(const sg_trim_work *t, const sg_input_use *use)
{
    sg_sparsify_result *r = t->result;
    for (int place = 0; place < PLACES; place++)
        r->inputs[place] = sg_input_use_place(use, (sg_trimmed)place);
    r->kept = sg_input_use_all(use);
    r->executed = sg_input_use_ffn(use);
    for (int64_t l = 0; t->o->layers != NULL && l < t->layers; l++)
        for (int place = 0; place < PLACES; place++)
            t->o->layers[l].inputs[place] = sg_input_use_share(use, l, (sg_trimmed)place);
}

static sg_status inputs_count(sg_trim_work *t, sg_error *err)
{
    const int64_t count = t->layers * PLACES;
    sg_input_use use = {0};
    sg_calibration_place *places = sg_alloc_zero((size_t)count, sizeof *places);
    inputs_seen *seen = sg_alloc_zero((size_t)count, sizeof *seen);
    sg_status status = places != NULL && seen != NULL
                           ? sg_input_use_new(t->made, false, &use, err)
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a test");
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        seen[i] = (inputs_seen){&use, i / PLACES, (sg_trimmed)(i % PLACES)};
        places[i] = (sg_calibration_place){.layer = seen[i].layer,
                                           .name = sg_input_point(seen[i].place),
                                           .call = inputs_see,
                                           .user = &seen[i]};
    }
    if (status == SG_OK)
        status = sg_calibration_places(&t->text, SG_USE_TEST, t->made, places, count, sg_trim_go_on,
                                       t, err);
    if (status == SG_OK) inputs_result(t, &use);
    sg_input_use_free(&use);
    sg_free(places);
    sg_free(seen);
    return status;
}

const sg_trim_method sg_trim_inputs = {
    .places = PLACES,
    .layer_bytes = (int64_t)PLACES * SG_MAGNITUDES_BYTES,
    .config = inputs_config,
    .fill = inputs_fill,
    .find = inputs_find,
    .list = inputs_list,
    .count = inputs_count,
};
