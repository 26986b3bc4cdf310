// Edits of neurons: that removing and scaling are what the rows of w_out times 0 and x are, that
// fixing adds exactly what is missing, at the positions that are asked for and nowhere else; files
// of edits.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "probe/edits.h"
#include "tiny_models.h"

enum { vocab = 60, positions = 64, tokens_count = 24, most_asked = 8, most_edits = 64 };
static sg_context *context;
static int32_t tokens[tokens_count];

static int group_begin(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    assert_int_equal(sg_context_new(&options, &context, NULL), SG_OK);
    for (int i = 0; i < tokens_count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_model *make_model(const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    const sg_config c = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    return model;
}

static sg_edits *make_edits(sg_model *model, const sg_edit *list, size_t count)
{
    sg_error err = {0};
    sg_edits *edits;
    must(sg_edits_new(model, list, count, &edits, &err), &err);
    return edits;
}

// What one run shows: the logits behind the last token, and what a layer adds at each.
typedef struct shown {
    float logits[vocab];
    float *out; // (tokens_count, d) hook_mlp_out
    int32_t ids[64];
    int64_t ids_row; // of the last token
    int64_t d;
} shown;

static sg_status show_out(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    shown *s = user;
    s->d = v->shape[1];
    const int64_t all = v->shape[0] * s->d;
    s->out = realloc(s->out, (size_t)(all + v->start[0] * s->d) * sizeof *s->out);
    memcpy(s->out + v->start[0] * s->d, v->values, (size_t)all * sizeof *s->out);
    return SG_OK;
}

static sg_status show_ids(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    shown *s = user;
    s->ids_row = v->shape[1] * v->shape[2];
    assert_true(s->ids_row <= 64);
    memcpy(s->ids, v->ids + (v->shape[0] - 1) * s->ids_row, (size_t)s->ids_row * sizeof *s->ids);
    return SG_OK;
}

// A run of the tokens in pieces of `piece`, with edits (NULL: none), looking at layer 0.
static shown run(sg_model *model, const sg_edits *edits, bool ids, int piece)
{
    shown s = {0};
    sg_error err = {0};
    sg_point_request asked[most_asked];
    size_t count = 0;
    for (; edits != NULL && count < sg_edits_points(edits)->count; count++)
        asked[count] = sg_edits_points(edits)->items[count];
    asked[count++] = (sg_point_request){"blocks.0.hook_mlp_out", SG_POINT_READ, show_out, &s};
    if (ids)
        asked[count++] =
            (sg_point_request){"blocks.0.mlp.hook_gate_ids", SG_POINT_READ, show_ids, &s};
    const sg_points points = {asked, count};
    const sg_session_options options = {.points = &points};
    sg_session *session;
    const float *logits;
    must(sg_session_open(model, &options, &session, &err), &err);
    for (int i = 0; i < tokens_count; i += piece)
        must(sg_session_feed(session, tokens + i, piece, &logits, &err), &err);
    memcpy(s.logits, logits, sizeof s.logits);
    sg_session_free(session);
    return s;
}

static double logits_apart(const shown *a, const shown *b)
{
    double most = 0;
    for (int i = 0; i < vocab; i++)
        most = fmax(most, fabs((double)a->logits[i] - (double)b->logits[i]));
    return most;
}

static sg_neuron_table table_of(sg_model *model, int64_t layer)
{
    sg_neuron_table t;
    sg_error err = {0};
    must(sg_neuron_table_of(model, layer, &t, &err), &err);
    return t;
}

// ---- rows of w_out ------------------------------------------------------------------------------

// Multiplies a neuron's row of w_out in the model.
static void scale_row(sg_model *model, const sg_neuron_table *t, int64_t channel, int64_t neuron,
                      float by)
{
    sg_error err = {0};
    sg_tensor_info info;
    must(sg_model_tensor_info(model, t->out, &info, &err), &err);
    const int64_t block = neuron / t->block;
    const int64_t first =
        t->out_columns ? block * t->width : (t->pools > 1 ? channel : 0) * t->neurons + neuron;
    const int64_t rows = t->out_columns ? t->width : 1;
    float *values = malloc((size_t)(rows * info.columns) * sizeof *values);
    must(sg_model_tensor_read(model, t->out, first, rows, values, &err), &err);
    for (int64_t i = 0; i < t->width; i++)
        values[t->out_columns ? i * t->block + neuron % t->block : i] *= by;
    must(sg_model_tensor_write(model, info.name, first, rows, values, NULL, &err), &err);
    free(values);
}

static void choose_one(sg_edit *list, size_t *count, int64_t layer, int64_t channel, int64_t neuron,
                       float by)
{
    for (size_t i = 0; i < *count; i++) // one that several channels have selected is one row
        if (list[i].layer == layer && list[i].channel == channel && list[i].neuron == neuron)
            return;
    list[(*count)++] = (sg_edit){.layer = layer,
                                 .channel = channel,
                                 .neuron = neuron,
                                 .kind = by == 0 ? SG_EDIT_REMOVE : SG_EDIT_SCALE,
                                 .value = by,
                                 .last = -1};
}

// The neurons whose rows are written: some of the last token's selection in layer 0, and of layer
// 1, each in every channel that reads the row.
static size_t choose(sg_model *model, float by, sg_edit *list)
{
    const sg_neuron_table t = table_of(model, 0), above = table_of(model, 1);
    const shown s = run(model, NULL, !t.dense, tokens_count);
    const int64_t k = t.dense ? 3 : s.ids_row / t.channels;
    const int64_t g = t.dense ? t.neurons : t.selected / k;
    size_t count = 0;
    for (int64_t i = 0; i < k * t.channels && count < 8; i++)
        choose_one(list, &count, 0, t.pools > 1 ? i / k : -1, t.dense ? i : s.ids[i] * g + i % g,
                   by);
    for (int64_t n = 0; n < 4; n++)
        choose_one(list, &count, 1, above.pools > 1 ? 1 : -1, n, by);
    free(s.out);
    return count;
}

static void check_rows(const char *kind, float by)
{
    sg_edit list[most_edits];
    sg_model *model = make_model(kind);
    const size_t count = choose(model, by, list);
    sg_edits *edits = make_edits(model, list, count);
    const shown plain = run(model, NULL, false, tokens_count);
    const shown edited = run(model, edits, false, tokens_count);
    const shown decoded = run(model, edits, false, 1);
    for (size_t i = 0; i < count; i++) {
        const sg_neuron_table t = table_of(model, list[i].layer);
        scale_row(model, &t, list[i].channel, list[i].neuron, by);
    }
    const shown written = run(model, NULL, false, tokens_count);
    if (logits_apart(&edited, &plain) < 1e-6) fail_msg("%s: edits change nothing", kind);
    if (!(logits_apart(&edited, &written) < 3e-6))
        fail_msg("%s by %g: edits are %g from rows that are written", kind, (double)by,
                 logits_apart(&edited, &written));
    if (!(logits_apart(&edited, &decoded) < 3e-6))
        fail_msg("%s: decoding is %g from a whole pass", kind, logits_apart(&edited, &decoded));
    sg_edits_free(edits);
    free(plain.out);
    free(edited.out);
    free(decoded.out);
    free(written.out);
    sg_model_free(model);
}

static void test_rows(void **state)
{
    (void)state;
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        // Of layers that share a memory a row is of both.
        if (strstr(tiny_kind(i), "share_pool") != NULL) continue;
        check_rows(tiny_kind(i), 0);
        check_rows(tiny_kind(i), -2.5F);
    }
}

// ---- nothing, positions, fixed neurons ----------------------------------------------------------

static void test_idle(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    // Also in a layer that has points, of another neuron's edits.
    sg_edit list[] = {{.neuron = 3, .value = 1, .last = -1},
                      {.layer = 1, .neuron = 3, .value = 1, .last = -1},
                      {.kind = SG_EDIT_REMOVE, .first = 60, .last = 63}};
    sg_edits *none = make_edits(model, list, 2), *late = make_edits(model, list, 3);
    assert_int_equal(sg_edits_points(none)->count, 0);
    assert_int_equal(sg_edits_neurons(none), 0);
    const shown plain = run(model, NULL, false, 8), idle = run(model, none, false, 8);
    const shown before = run(model, late, false, 8);
    assert_memory_equal(plain.logits, idle.logits, sizeof plain.logits);
    assert_memory_equal(plain.logits, before.logits, sizeof plain.logits);
    assert_int_equal(sg_edits_neurons(late), 1);
    assert_int_equal(sg_edits_use(late, 0).tokens, 0);
    free(plain.out);
    free(idle.out);
    free(before.out);
    sg_edits_free(none);
    sg_edits_free(late);
    sg_model_free(model);
}

// What layer 0 adds, against what it adds without edits and the coefficients z of one neuron there:
// the difference is (expected(z) - z) w_out.
typedef struct coefficients {
    float z[tokens_count];
    int32_t ids[tokens_count][64];
    int64_t channel, neuron;
    int selected;
} coefficients;

static sg_status take_ids(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    coefficients *c = user;
    const int64_t row = v->shape[1] * v->shape[2];
    for (int64_t r = 0; r < v->shape[0]; r++)
        memcpy(c->ids[r], v->ids + r * row, (size_t)row * sizeof(int32_t));
    return SG_OK;
}

static sg_status take_post(void *user, const sg_point_values *v, sg_error *err)
{
    (void)err;
    coefficients *c = user;
    const int64_t k = v->shape[2], row = v->shape[1] * k;
    for (int64_t r = 0; r < v->shape[0]; r++)
        for (int64_t s = 0; s < k; s++)
            if (c->ids[r][c->channel * k + s] == c->neuron) {
                c->z[r] = v->values[r * row + c->channel * k + s];
                c->selected++;
            }
    return SG_OK;
}

static coefficients take(sg_model *model, int64_t channel, int64_t neuron)
{
    coefficients c = {.channel = channel, .neuron = neuron};
    sg_error err = {0};
    const sg_point_request asked[] = {{"blocks.0.mlp.hook_gate_ids", SG_POINT_READ, take_ids, &c},
                                      {"blocks.0.mlp.hook_post", SG_POINT_READ, take_post, &c}};
    const sg_points points = {asked, 2};
    const sg_session_options options = {.points = &points};
    sg_session *session;
    const float *logits;
    must(sg_session_open(model, &options, &session, &err), &err);
    must(sg_session_feed(session, tokens, tokens_count, &logits, &err), &err);
    sg_session_free(session);
    return c;
}

// a, b: what z becomes at each position, a z + b.
static void check_line(sg_model *model, const sg_edit *list, size_t count, const double *a,
                       const double *b)
{
    sg_error err = {0};
    float row[64];
    const sg_neuron_table t = table_of(model, 0);
    const coefficients c = take(model, list[0].channel, list[0].neuron);
    sg_edits *edits = make_edits(model, list, count);
    const shown plain = run(model, NULL, false, tokens_count);
    const shown edited = run(model, edits, false, tokens_count);
    must(sg_neuron_out(&t, list[0].channel, list[0].neuron, row, &err), &err);
    int works = 0, selected = 0;
    for (int p = 0; p < tokens_count; p++) {
        for (int64_t i = 0; i < t.width; i++) {
            const double expected =
                (a[p] * (double)c.z[p] + b[p] - (double)c.z[p]) * (double)row[i];
            const double found =
                (double)edited.out[p * t.width + i] - (double)plain.out[p * t.width + i];
            if (!(fabs(expected - found) < 1e-6))
                fail_msg("position %d: the layer adds %g more, expected %g", p, found, expected);
        }
        works += a[p] != 1 || b[p] != 0;
        selected += (a[p] != 1 || b[p] != 0) && c.z[p] != 0;
    }
    assert_int_equal(sg_edits_neurons(edits), 1);
    assert_int_equal(sg_edits_use(edits, 0).tokens, works);
    assert_int_equal(sg_edits_use(edits, 0).selected, selected);
    sg_edits_free(edits);
    free(plain.out);
    free(edited.out);
}

static void check_fixed(const char *kind)
{
    sg_model *model = make_model(kind);
    double a[tokens_count], b[tokens_count];
    const shown s = run(model, NULL, true, tokens_count);
    const int64_t neuron = s.ids[s.ids_row / 2]; // the first of channel 1
    const sg_edit fix = {
        .channel = 1, .neuron = neuron, .kind = SG_EDIT_FIX, .value = 0.7, .last = -1};
    const sg_edit twice = {.channel = 1, .neuron = neuron, .value = 2, .first = 5, .last = 9};
    for (int p = 0; p < tokens_count; p++) {
        a[p] = 0;
        b[p] = 0.7;
    }
    check_line(model, &fix, 1, a, b);
    // One after the other: fixed, then twice that at five positions.
    for (int p = 5; p <= 9; p++)
        b[p] = 1.4;
    check_line(model, (sg_edit[]){fix, twice}, 2, a, b);
    // The other way round the first of them does not count.
    for (int p = 5; p <= 9; p++)
        b[p] = 0.7;
    check_line(model, (sg_edit[]){twice, fix}, 2, a, b);
    for (int p = 0; p < tokens_count; p++) {
        a[p] = p >= 5 && p <= 9 ? 2 : 1;
        b[p] = 0;
    }
    check_line(model, &twice, 1, a, b);
    free(s.out);
    sg_model_free(model);
}

static void test_fixed(void **state)
{
    (void)state;
    check_fixed("sgatlin");
    check_fixed("peer");
    check_fixed("pkm");
}

// Of experts and dense layers the neuron is one of a block.
static void test_fixed_in_blocks(void **state)
{
    (void)state;
    static const char *const kinds[] = {"moe", "mlp", "glu", "switch"};
    for (int i = 0; i < 4; i++) {
        sg_model *model = make_model(kinds[i]);
        const sg_neuron_table t = table_of(model, 0);
        const sg_edit list[] = {
            {.neuron = 1, .kind = SG_EDIT_FIX, .value = 0.5, .last = -1},
            {.neuron = t.neurons - 1, .kind = SG_EDIT_FIX, .value = -1, .last = -1}};
        sg_edits *edits = make_edits(model, list, 2), *others = make_edits(model, list + 1, 1);
        const shown both = run(model, edits, false, tokens_count);
        const shown one = run(model, others, false, tokens_count);
        // Where neuron 1 is fixed anyway, doubling what it was changes nothing.
        const sg_edit again[] = {{.neuron = 1, .value = 2, .last = -1}, list[0], list[1]};
        sg_edits *three = make_edits(model, again, 3);
        const shown same = run(model, three, false, tokens_count);
        if (logits_apart(&both, &one) < 1e-6) fail_msg("%s: neuron 1 is not fixed", kinds[i]);
        assert_memory_equal(both.logits, same.logits, sizeof both.logits);
        free(both.out);
        free(one.out);
        free(same.out);
        sg_edits_free(edits);
        sg_edits_free(others);
        sg_edits_free(three);
        sg_model_free(model);
    }
}

// Several sessions at a time, whose points are called by turns, against each alone.
static void test_batch(void **state)
{
    (void)state;
    enum { sessions_count = 3 };
    sg_error err = {0};
    sg_model *model = make_model("sgatlin");
    const sg_edit list[] = {
        {.channel = 1, .neuron = 4, .kind = SG_EDIT_FIX, .value = 2, .last = -1},
        {.layer = 1, .neuron = 9, .kind = SG_EDIT_FIX, .value = -3, .first = 1, .last = -1},
        {.layer = 1, .neuron = 3, .value = 4, .last = -1}};
    sg_edits *edits = make_edits(model, list, 3), *alone = make_edits(model, list, 3);
    sg_session *sessions[sessions_count], *one;
    sg_session_options options = {.points = sg_edits_points(edits)};
    sg_batch *batch;
    const float *logits, *single;
    for (int i = 0; i < sessions_count; i++) {
        must(sg_session_open(model, &options, &sessions[i], &err), &err);
        must(sg_session_feed(sessions[i], tokens + i, 1 + i, &logits, &err), &err);
    }
    must(sg_batch_new(model, sessions_count, &batch, &err), &err);
    must(sg_batch_feed(batch, sessions, tokens + 10, sessions_count, &logits, &err), &err);
    options.points = sg_edits_points(alone);
    for (int i = 0; i < sessions_count; i++) {
        must(sg_session_open(model, &options, &one, &err), &err);
        must(sg_session_feed(one, tokens + i, 1 + i, &single, &err), &err);
        must(sg_session_feed(one, tokens + 10 + i, 1, &single, &err), &err);
        for (int v = 0; v < vocab; v++)
            assert_true(fabs((double)logits[i * vocab + v] - (double)single[v]) < 1e-5);
        sg_session_free(one);
        sg_session_free(sessions[i]);
    }
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sg_edits_use(edits, i).tokens, sg_edits_use(alone, i).tokens);
        assert_int_equal(sg_edits_use(edits, i).selected, sg_edits_use(alone, i).selected);
    }
    sg_batch_free(batch);
    sg_edits_free(edits);
    sg_edits_free(alone);
    sg_model_free(model);
}

// ---- what is wrong ------------------------------------------------------------------------------

static void check_refused(sg_model *model, sg_edit edit, sg_status expected, const char *says)
{
    sg_error err = {0};
    sg_edits *edits;
    assert_int_equal(sg_edits_new(model, &edit, 1, &edits, &err), expected);
    assert_null(edits);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
}

static void test_refused(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin"), *plus = make_model("memory_plus");
    check_refused(model, (sg_edit){.layer = 2, .last = -1}, SG_ERR_ARGUMENT,
                  "edit 0: layer: found 2, expected 0 to 1");
    check_refused(model, (sg_edit){.channel = 2, .last = -1}, SG_ERR_ARGUMENT,
                  "edit 0: channel: found 2, expected 0 to 1");
    check_refused(model, (sg_edit){.neuron = 25, .last = -1}, SG_ERR_ARGUMENT,
                  "edit 0: neuron: found 25, expected 0 to 24 in layer 0");
    check_refused(model, (sg_edit){.value = NAN, .last = -1}, SG_ERR_ARGUMENT, "32 bits");
    check_refused(model, (sg_edit){.first = 3, .last = 2}, SG_ERR_ARGUMENT, "positions 3 to 2");
    check_refused(model, (sg_edit){.channel = -1, .kind = SG_EDIT_FIX, .value = 1, .last = -1},
                  SG_ERR_ARGUMENT, "channel: found every one");
    check_refused(plus, (sg_edit){.kind = SG_EDIT_FIX, .value = 1, .last = -1}, SG_ERR_UNSUPPORTED,
                  "goes on computing");
    sg_model_free(model);
    sg_model_free(plus);
}

// ---- files --------------------------------------------------------------------------------------

#define FILE_OF(edits) "{\"format\": \"sgatlin edits\", \"version\": 1, \"edits\": [" edits "]}"

static sg_status parse(sg_model *model, const char *text, sg_edits **edits, sg_error *err)
{
    return sg_edits_from_memory(model, text, strlen(text), "steer.json", edits, err);
}

static void test_file(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin"), *dense = make_model("mlp");
    sg_error err = {0};
    sg_edits *edits;
    size_t count;
    static const char text[] = FILE_OF(
        "{\"layer\": 1, \"channel\": 1, \"neuron\": 7, \"do\": \"scale\", \"by\": 3},"
        "{\"layer\": 0, \"channel\": \"all\", \"neuron\": 5, \"do\": \"remove\", \"from\": 4,"
        " \"to\": 9},"
        "{\"layer\": 1, \"channel\": 0, \"neuron\": 8, \"do\": \"fix\", \"at\": 1.5,"
        " \"positions\": [3, 7], \"note\": \"the name of a dog\"}");
    static const sg_edit expected[] = {
        {.layer = 1, .channel = 1, .neuron = 7, .value = 3, .last = -1},
        {.layer = 0, .channel = 0, .neuron = 5, .kind = SG_EDIT_REMOVE, .first = 4, .last = 9},
        {.layer = 0, .channel = 1, .neuron = 5, .kind = SG_EDIT_REMOVE, .first = 4, .last = 9},
        {1, 0, 8, SG_EDIT_FIX, 1.5, 3, 3},
        {1, 0, 8, SG_EDIT_FIX, 1.5, 7, 7}};
    must(parse(model, text, &edits, &err), &err);
    const sg_edit *list = sg_edits_list(edits, &count);
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].layer, expected[i].layer);
        assert_int_equal(list[i].channel, expected[i].channel);
        assert_int_equal(list[i].neuron, expected[i].neuron);
        assert_int_equal(list[i].kind, expected[i].kind);
        assert_true(list[i].value == expected[i].value);
        assert_int_equal(list[i].first, expected[i].first);
        assert_int_equal(list[i].last, expected[i].last);
    }
    assert_int_equal(sg_edits_neurons(edits), 4);
    sg_edits_free(edits);
    // One channel need not be named.
    must(parse(dense, FILE_OF("{\"layer\": 0, \"neuron\": 1, \"do\": \"remove\"}"), &edits, &err),
         &err);
    sg_edits_free(edits);
    sg_model_free(model);
    sg_model_free(dense);
}

static void test_file_wrong(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
        sg_status status;
    } wrong[] = {
        {"[]", "steer.json: expected an object", SG_ERR_FORMAT},
        {"{\"format\": \"sgatlin facts\", \"version\": 1, \"edits\": []}",
         "format: found \"sgatlin facts\"", SG_ERR_FORMAT},
        {"{\"format\": \"sgatlin edits\", \"version\": 2, \"edits\": []}", "version",
         SG_ERR_FORMAT},
        {"{\"format\": \"sgatlin edits\", \"version\": 1}", "edits", SG_ERR_FORMAT},
        {FILE_OF("3"), "edit 0: expected an object", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"neuron\": 1, \"do\": \"remove\"}"), "channel", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": \"any\", \"neuron\": 1, \"do\": \"remove\"}"),
         "channel: found \"any\"", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"delete\"}"),
         "do: found \"delete\", expected scale, fix or remove", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"scale\"}"), "by",
         SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"scale\", \"by\": 1,"
                 " \"at\": 2}"),
         "found \"at\" beside scale, expected by", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"fix\", \"at\": 1e40}"),
         "steer.json: edit 0: found 1e+40", SG_ERR_ARGUMENT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"remove\","
                 " \"form\": 4}"),
         "form: found a member that is not known, did you mean from?", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"remove\","
                 " \"positions\": [1, -1]}"),
         "positions: item 1", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"remove\","
                 " \"positions\": [1], \"from\": 2}"),
         "beside from or to", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 0, \"channel\": 0, \"neuron\": 1, \"do\": \"remove\","
                 " \"from\": 4, \"to\": 3}"),
         "to", SG_ERR_FORMAT},
        {FILE_OF("{\"layer\": 7, \"neuron\": 1, \"do\": \"remove\"}"),
         "edit 0: layer: found 7, expected 0 to 1", SG_ERR_ARGUMENT},
    };
    sg_model *model = make_model("sgatlin");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_error err = {0};
        sg_edits *edits;
        const sg_status status = parse(model, wrong[i].text, &edits, &err);
        if (status != wrong[i].status || strstr(err.message, wrong[i].says) == NULL ||
            edits != NULL)
            fail_msg("%s: found %s: %s", wrong[i].text, sg_status_name(status), err.message);
    }
    sg_model_free(model);
}

static sg_status open_and_run(void *user, sg_error *err)
{
    static const char text[] =
        FILE_OF("{\"layer\": 1, \"channel\": 1, \"neuron\": 7, \"do\": \"scale\", \"by\": 3},"
                "{\"layer\": 0, \"channel\": 0, \"neuron\": 8, \"do\": \"fix\", \"at\": 1.5}");
    sg_edits *edits;
    sg_session *session = NULL;
    const float *logits;
    SG_TRY(parse(user, text, &edits, err));
    const sg_session_options options = {.points = sg_edits_points(edits), .capacity = 8};
    sg_status status = sg_session_open(user, &options, &session, err);
    if (status == SG_OK) status = sg_session_feed(session, tokens, 8, &logits, err);
    sg_session_free(session);
    sg_edits_free(edits);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    assert_true(alloc_failure_loop(open_and_run, model) > 10);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),   cmocka_unit_test(test_idle),
        cmocka_unit_test(test_fixed),  cmocka_unit_test(test_fixed_in_blocks),
        cmocka_unit_test(test_batch),  cmocka_unit_test(test_refused),
        cmocka_unit_test(test_file),   cmocka_unit_test(test_file_wrong),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
