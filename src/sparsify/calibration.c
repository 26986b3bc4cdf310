// A session reads the tokens sequence by sequence. Inputs are what leaves the norm in front of a
// feed-forward layer (point ln2.hook_normalized), so that every dense decoder has them.
#include "sparsify/calibration.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sgatlin_data.h"
#include "text/batches.h"
#include "train/evaluate.h"

enum { calibration_context = 2048 }; // unless told otherwise

void sg_calibration_free(sg_calibration *c)
{
    sg_free(c->ids);
    sg_free(c->targets);
    sg_free(c->places);
    *c = (sg_calibration){0};
}

// ---- tokens -------------------------------------------------------------------------------------

static sg_status calibration_short(const sg_calibration_source *s, const char *of, int64_t found,
                                   int64_t expected, sg_error *err)
{
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found %lld tokens, expected %lld or more: %lld to calibrate by, %lld to "
                   "train routers on and %lld to test with",
                   of, (long long)found, (long long)expected,
                   (long long)s->tokens[SG_USE_CALIBRATION], (long long)s->tokens[SG_USE_ROUTER],
                   (long long)s->tokens[SG_USE_TEST]);
}

static sg_status calibration_room(sg_calibration *c, sg_error *err)
{
    c->ids = sg_alloc_array((size_t)c->tokens + 1, sizeof *c->ids);
    c->targets = sg_alloc_array((size_t)c->tokens + 1, sizeof *c->targets);
    c->places = sg_alloc_array((size_t)c->tokens + 1, sizeof *c->places);
    if (c->ids != NULL && c->targets != NULL && c->places != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for %lld tokens", (long long)c->tokens);
}

static void calibration_parts(sg_calibration *c, const sg_calibration_source *s, int64_t unit)
{
    for (int use = 0; use < SG_USES; use++) {
        c->parts[use].first = c->tokens;
        c->parts[use].tokens = (s->tokens[use] + unit - 1) / unit * unit;
        c->tokens += c->parts[use].tokens;
    }
}

static sg_status calibration_text(const sg_model *m, const sg_calibration_source *s,
                                  sg_calibration *c, sg_error *err)
{
    const int64_t longest = m->config.max_position_embeddings;
    int32_t *ids = NULL;
    int64_t count = 0, begins;
    sg_encode_options encode = sg_encode_options_default();
    encode.lost_bytes = &c->lost_bytes;
    encode.replaced = &c->replaced;
    c->length = s->context != 0 ? s->context : sg_min(longest, calibration_context);
    if (c->length < 1 || c->length > longest)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected 1 to the model's %lld positions",
                       (long long)c->length, (long long)longest);
    if (s->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "text: found no tokenizer for it, expected one");
    calibration_parts(c, s, 1);
    SG_TRY(sg_model_encode(m, s->tokenizer, s->text, s->text_bytes, &encode, &ids, &count, &begins,
                           err));
    sg_status status = SG_OK;
    if (count < c->tokens + 1) // the last one is predicted
        status = calibration_short(s, "text", count, c->tokens + 1, err);
    if (status == SG_OK) status = calibration_room(c, err);
    if (status == SG_OK) {
        memcpy(c->ids, ids, (size_t)c->tokens * sizeof *ids);
        memcpy(c->targets, ids + 1, (size_t)c->tokens * sizeof *ids);
    }
    sg_free(ids);
    return status;
}

// `tokens` of a split from its row `row` on.
static sg_status calibration_rows(const sg_data *data, sg_split split, int64_t row,
                                  sg_calibration *c, int64_t first, int64_t tokens, sg_error *err)
{
    const sg_batches_options options = {.split = split, .batch_rows = 1, .once = true};
    sg_batches *batches;
    sg_data_batch batch;
    if (tokens == 0) return SG_OK;
    SG_TRY(sg_batches_new(data, &options, &batches, err));
    sg_status status = sg_batches_seek(batches, row, err);
    for (int64_t at = 0; status == SG_OK && at < tokens; at += c->length) {
        status = sg_batches_next(batches, &batch, err);
        if (status != SG_OK) break;
        memcpy(c->ids + first + at, batch.inputs, (size_t)c->length * sizeof *c->ids);
        sg_mask_targets(batch.targets, batch.weights, c->length, c->targets + first + at);
    }
    sg_batches_free(batches);
    return status;
}

static sg_status calibration_data(const sg_model *m, const sg_calibration_source *s,
                                  sg_calibration *c, sg_error *err)
{
    const sg_data_info *info = sg_data_get_info(s->data);
    SG_TRY(sg_data_fits(s->data, &m->config, "data", err));
    if (s->context != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "context: found %lld, expected none with packed data, whose rows have "
                       "their length",
                       (long long)s->context);
    c->length = info->seq_len;
    calibration_parts(c, s, c->length);
    const sg_calibration_part *test = &c->parts[SG_USE_TEST];
    const int64_t train = info->split[SG_SPLIT_TRAIN].rows * c->length;
    const int64_t val = info->split[SG_SPLIT_VAL].rows * c->length;
    if (train < test->first)
        return calibration_short(s, "data: training split", train, test->first, err);
    if (val < test->tokens)
        return calibration_short(s, "data: validation split", val, test->tokens, err);
    SG_TRY(calibration_room(c, err));
    SG_TRY(calibration_rows(s->data, SG_SPLIT_TRAIN, 0, c, 0, test->first, err));
    return calibration_rows(s->data, SG_SPLIT_VAL, 0, c, test->first, test->tokens, err);
}

static sg_status calibration_places(sg_calibration *c, sg_error *err)
{
    for (int use = 0; use < SG_USES; use++) {
        sg_calibration_part *p = &c->parts[use];
        p->row = c->rows;
        for (int64_t t = p->first; t < p->first + p->tokens; t++)
            c->places[t] = c->targets[t] >= 0 ? (int32_t)c->rows++ : -1;
        p->rows = c->rows - p->row;
        if (p->tokens > 0 && p->rows == 0)
            return sg_fail(err, SG_ERR_MISMATCH, "data: found nothing but padding in %lld tokens",
                           (long long)p->tokens);
    }
    return SG_OK;
}

sg_status sg_calibration_new(const sg_model *model, const sg_calibration_source *s,
                             sg_calibration *c, sg_error *err)
{
    *c = (sg_calibration){0};
    if (s->text != NULL && s->data != NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "found a text and packed data, expected one of them");
    if (s->text == NULL && s->data == NULL) return SG_OK;
    for (int use = 0; use < SG_USES; use++)
        if (s->tokens[use] < 0 || s->tokens[use] > INT32_MAX / 4)
            return sg_fail(err, SG_ERR_ARGUMENT, "found %lld tokens, expected 0 … %d",
                           (long long)s->tokens[use], INT32_MAX / 4);
    sg_status status =
        s->text != NULL ? calibration_text(model, s, c, err) : calibration_data(model, s, c, err);
    if (status == SG_OK) status = calibration_places(c, err);
    if (status != SG_OK) sg_calibration_free(c);
    return status;
}

// ---- passes -------------------------------------------------------------------------------------

typedef struct calibration_pass calibration_pass;
typedef struct calibration_point {
    const calibration_pass *pass;
    char name[64];
    sg_real *x;  // (rows, d) of inputs
    double *sum; // of counts
    const sg_calibration_place *place;
} calibration_point;
struct calibration_pass {
    const sg_calibration *of;
    sg_model *model;
    int64_t count; // of points
    calibration_point *points;
    sg_point_request *requests;
    sg_points list;
    sg_session *session;
    double *nll;     // (length)
    bool *likeliest; // (length)
    int64_t first;   // token that the sequence begins with
    double loss;
};

static void pass_end(calibration_pass *p)
{
    sg_session_free(p->session);
    sg_free(p->points);
    sg_free(p->requests);
    sg_free(p->nll);
    sg_free(p->likeliest);
}

static sg_status pass_room(calibration_pass *p, int64_t points, sg_error *err)
{
    const size_t length = (size_t)p->of->length;
    p->count = points;
    p->points = sg_alloc_zero((size_t)points + 1, sizeof *p->points);
    p->requests = sg_alloc_zero((size_t)points + 1, sizeof *p->requests);
    p->nll = sg_alloc_array(length, sizeof *p->nll);
    p->likeliest = sg_alloc_array(length, sizeof *p->likeliest);
    if (p->points && p->requests && p->nll && p->likeliest) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a pass over the text");
}

// Request i: "blocks.LAYER.NAME".
static void pass_request(calibration_pass *p, int64_t i, int64_t layer, const char *name,
                         sg_point_fn call)
{
    calibration_point *point = &p->points[i];
    point->pass = p;
    snprintf(point->name, sizeof point->name, "blocks.%lld.%s", (long long)layer, name);
    p->requests[i] =
        (sg_point_request){.name = point->name, .use = SG_POINT_READ, .call = call, .user = point};
}

static sg_status pass_open(calibration_pass *p, sg_error *err)
{
    p->list = (sg_points){p->requests, (size_t)p->count};
    const sg_session_options session = {.capacity = p->of->length, .points = &p->list};
    return sg_session_open(p->model, &session, &p->session, err);
}

// Points of so many layers from `first` on.
static sg_status pass_begin(calibration_pass *p, int64_t first, int64_t layers, const char *name,
                            sg_point_fn call, sg_error *err)
{
    SG_TRY(pass_room(p, layers, err));
    for (int64_t i = 0; i < layers; i++)
        pass_request(p, i, first + i, name, call);
    return pass_open(p, err);
}

// Reads the sequences of a part; scored: sums up what they cost.
static sg_status pass_part(calibration_pass *p, const sg_calibration_part *part, bool scored,
                           sg_calibration_fn progress, void *user, sg_error *err)
{
    const int64_t end = part->first + part->tokens, length = p->of->length;
    for (p->first = part->first; p->first < end; p->first += length) {
        const int64_t count = sg_min(length, end - p->first);
        SG_TRY(sg_session_rewind(p->session, 0, err));
        SG_TRY(sg_session_score(p->session, p->of->ids + p->first, p->of->targets + p->first, count,
                                p->nll, p->likeliest, err));
        for (int64_t i = 0; scored && i < count; i++)
            p->loss += p->nll[i];
        if (progress != NULL && !progress(user, p->first + count, p->of->tokens))
            return sg_fail(err, SG_ERR_STOPPED, "stopped while the text was read");
    }
    return SG_OK;
}

// The token of row i of what a point has.
static int64_t pass_token(const calibration_pass *p, const sg_point_values *v, int64_t i)
{
    return p->first + v->start[0] + v->first_row + i * v->row_step;
}

static sg_status pass_input(void *user, const sg_point_values *v, sg_error *err)
{
    const calibration_point *point = user;
    int64_t d = 1;
    (void)err;
    for (int i = 1; i < v->rank; i++)
        d *= v->shape[i];
    for (int64_t i = 0; i < v->shape[0]; i++) {
        const int64_t place = point->pass->of->places[pass_token(point->pass, v, i)];
        if (place < 0) continue;
        for (int64_t j = 0; j < d; j++)
            point->x[place * d + j] = (sg_real)v->values[i * d + j];
    }
    return SG_OK;
}

sg_status sg_calibration_values(const sg_calibration *c, sg_model *model,
                                const sg_calibration_input *inputs, int64_t count,
                                sg_calibration_fn progress, void *user, sg_error *err)
{
    calibration_pass p = {.of = c, .model = model};
    sg_status status = pass_room(&p, count, err);
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        p.points[i].x = inputs[i].x;
        pass_request(&p, i, inputs[i].layer, inputs[i].name, pass_input);
    }
    if (status == SG_OK) status = pass_open(&p, err);
    for (int use = 0; status == SG_OK && use < SG_USES; use++)
        status = pass_part(&p, &c->parts[use], false, progress, user, err);
    pass_end(&p);
    return status;
}

sg_status sg_calibration_inputs(const sg_calibration *c, sg_model *model, int64_t first,
                                int64_t layers, sg_real *x, sg_calibration_fn progress, void *user,
                                sg_error *err)
{
    sg_calibration_input *inputs = sg_alloc_zero((size_t)layers + 1, sizeof *inputs);
    if (inputs == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a pass");
    for (int64_t i = 0; i < layers; i++)
        inputs[i] = (sg_calibration_input){.layer = first + i,
                                           .name = "ln2.hook_normalized",
                                           .x = x + i * c->rows * model->config.hidden_size};
    const sg_status status = sg_calibration_values(c, model, inputs, layers, progress, user, err);
    sg_free(inputs);
    return status;
}

static sg_status pass_place(void *user, const sg_point_values *v, sg_error *err)
{
    const calibration_point *point = user;
    const sg_calibration_place *place = point->place;
    int64_t n = 1;
    for (int i = 1; i < v->rank; i++)
        n *= v->shape[i];
    for (int64_t i = 0; i < v->shape[0]; i++)
        if (point->pass->of->places[pass_token(point->pass, v, i)] >= 0)
            SG_TRY(place->call(place->user, v->values + i * n, n, err));
    return SG_OK;
}

sg_status sg_calibration_places(const sg_calibration *c, sg_calibration_use use, sg_model *model,
                                const sg_calibration_place *places, int64_t count,
                                sg_calibration_fn progress, void *user, sg_error *err)
{
    calibration_pass p = {.of = c, .model = model};
    sg_status status = pass_room(&p, count, err);
    for (int64_t i = 0; status == SG_OK && i < count; i++) {
        p.points[i].place = &places[i];
        pass_request(&p, i, places[i].layer, places[i].name, pass_place);
    }
    if (status == SG_OK) status = pass_open(&p, err);
    if (status == SG_OK) status = pass_part(&p, &c->parts[use], false, progress, user, err);
    pass_end(&p);
    return status;
}

static sg_status pass_counts(void *user, const sg_point_values *v, sg_error *err)
{
    const calibration_point *point = user;
    (void)err;
    for (int64_t i = 0; i < v->shape[0]; i++)
        if (point->pass->of->places[pass_token(point->pass, v, i)] >= 0)
            *point->sum += (double)(v->counts != NULL ? v->counts[i] : v->shape[2]);
    return SG_OK;
}

sg_status sg_calibration_loss(const sg_calibration *c, sg_calibration_use use, sg_model *model,
                              double *loss, double *blocks, sg_calibration_fn progress, void *user,
                              sg_error *err)
{
    const int64_t layers = blocks != NULL ? model->config.num_hidden_layers : 0;
    const double rows = (double)c->parts[use].rows;
    calibration_pass p = {.of = c, .model = model};
    sg_status status = pass_begin(&p, 0, layers, "mlp.hook_gate_ids", pass_counts, err);
    for (int64_t i = 0; status == SG_OK && i < layers; i++) {
        blocks[i] = 0;
        p.points[i].sum = &blocks[i];
    }
    if (status == SG_OK) status = pass_part(&p, &c->parts[use], true, progress, user, err);
    for (int64_t i = 0; status == SG_OK && i < layers; i++)
        blocks[i] /= rows;
    *loss = p.loss / rows;
    pass_end(&p);
    return status;
}
