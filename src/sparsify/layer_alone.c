// A callback puts the inputs in the place of the embedding, another takes what comes behind the
// layer.
#include "sparsify/layer_alone.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "model/config.h"
#include "sparsify/moefy.h"

// ---- a model of one layer -----------------------------------------------------------------------

// Two tokens, neither of which is read.
static void alone_config(const sg_config *of, int64_t layer, sg_config *c)
{
    *c = *of;
    c->vocab_size = 2;
    c->num_hidden_layers = 1;
    c->pad_token_id = c->eos_token_id = c->bos_token_id = -1;
    c->untied_classifier = 0;
    if (c->sliding_window > 0 && !sg_layers_have(c->sliding_layers, layer)) c->sliding_window = 0;
    memset(c->sliding_layers, 0, sizeof c->sliding_layers);
}

static sg_status alone_set(sg_config *c, const double *thresholds, sg_error *err)
{
    for (int place = 0; place < SG_TRIMMED_PLACES; place++) {
        size_t bytes;
        char *list = sg_trimmed_list(c, (sg_trimmed)place, &bytes);
        snprintf(list, bytes, "%.17g", thresholds != NULL ? thresholds[place] : 0);
    }
    return sg_config_complete(c, err);
}

// Its parameters by their names, as of layer 0.
static sg_status alone_copy(const sg_model *from, int64_t layer, const sg_model *to, sg_error *err)
{
    static const char here[] = "model.layers.0.";
    for (size_t i = 0; i < to->params.count; i++) {
        const sg_param_spec *spec = &to->params.specs[i];
        char name[SG_PARAM_NAME + 24];
        size_t index;
        if (strncmp(spec->name, here, sizeof here - 1) != 0) continue;
        snprintf(name, sizeof name, "model.layers.%lld.%s", (long long)layer,
                 spec->name + sizeof here - 1);
        SG_TRY(sg_model_tensor_find(from, name, &index, err));
        memcpy(to->values[i], from->values[index], (size_t)spec->count * sizeof(sg_real));
    }
    return SG_OK;
}

// ---- reading ------------------------------------------------------------------------------------

// The token of row i of what a point has.
static int64_t alone_token(const sg_layer_alone *a, const sg_point_values *v, int64_t i)
{
    return a->at + v->start[0] + v->first_row + i * v->row_step;
}

static sg_status alone_put(void *user, const sg_point_values *v, sg_error *err)
{
    const sg_layer_alone *a = user;
    (void)err;
    for (int64_t i = 0; i < v->shape[0]; i++)
        memcpy(v->values + i * a->d, a->x + alone_token(a, v, i) * a->d,
               (size_t)a->d * sizeof *a->x);
    return SG_OK;
}

static sg_status alone_take(void *user, const sg_point_values *v, sg_error *err)
{
    sg_layer_alone *a = user;
    (void)err;
    for (int64_t i = 0; i < v->shape[0]; i++) {
        const sg_real *row = v->values + i * a->d;
        sg_real *y = a->y + alone_token(a, v, i) * a->d;
        if (a->keep) memcpy(y, row, (size_t)a->d * sizeof *y);
        for (int64_t j = 0; j < a->d && !a->keep; j++) {
            const double off = (double)row[j] - (double)y[j];
            a->error += off * off;
        }
    }
    return SG_OK;
}

static sg_status alone_read(sg_layer_alone *a, sg_error *err)
{
    const sg_point_request requests[] = {
        {.name = "blocks.0.hook_resid_pre", .use = SG_POINT_WRITE, .call = alone_put, .user = a},
        {.name = "blocks.0.hook_resid_post", .use = SG_POINT_READ, .call = alone_take, .user = a}};
    const sg_points points = {requests, 2};
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    const float *logits;
    options.points = &points;
    a->at = 0;
    a->error = 0;
    SG_TRY(sg_session_open(a->model, &options, &session, err));
    sg_status status = SG_OK;
    for (int64_t i = 0; status == SG_OK && i < a->count; i++) {
        status = sg_session_rewind(session, 0, err);
        if (status == SG_OK && a->sequences[i] > 0)
            status = sg_session_feed(session, a->ids, a->sequences[i], &logits, err);
        a->at += a->sequences[i];
    }
    sg_session_free(session);
    return status;
}

// ---- all of it ----------------------------------------------------------------------------------

sg_status sg_layer_alone_new(sg_model *of, int64_t layer, const int64_t *sequences, int64_t count,
                             const sg_real *x, sg_layer_alone *a, sg_error *err)
{
    sg_config c;
    int64_t longest = 0, tokens = 0;
    *a = (sg_layer_alone){
        .d = of->config.hidden_size, .count = count, .sequences = sequences, .x = x};
    for (int64_t i = 0; i < count; i++) {
        if (sequences[i] > longest) longest = sequences[i];
        tokens += sequences[i];
    }
    alone_config(&of->config, layer, &c);
    SG_TRY(alone_set(&c, NULL, err));
    SG_TRY(sg_model_new(of->context, &c, 0, &a->model, err));
    SG_TRY(alone_copy(of, layer, a->model, err));
    a->ids = sg_alloc_zero((size_t)longest + 1, sizeof *a->ids);
    a->y = sg_alloc_array((size_t)(tokens + 1), (size_t)a->d * sizeof *a->y);
    if (a->ids == NULL || a->y == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a layer");
    a->keep = true;
    const sg_status status = alone_read(a, err);
    a->keep = false;
    return status;
}

void sg_layer_alone_free(sg_layer_alone *a)
{
    sg_model_free(a->model);
    sg_free(a->ids);
    sg_free(a->y);
    *a = (sg_layer_alone){0};
}

sg_status sg_layer_alone_error(sg_layer_alone *a, const double thresholds[SG_TRIMMED_PLACES],
                               double *error, sg_error *err)
{
    SG_TRY(alone_set(&a->model->config, thresholds, err));
    a->model->layout++; // recorded passes have other thresholds
    SG_TRY(alone_read(a, err));
    *error = sqrt(a->error);
    return SG_OK;
}
