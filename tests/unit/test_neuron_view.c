// What a neuron reads and writes against what the model itself computes when only that is in its
// stream: embeddings put there give hook_pre, w_out put there gives the logits.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "probe/neuron_tables.h"
#include "sgatlin_usage.h"
#include "tiny_models.h"

enum { vocab = 60, positions = 16 };
static sg_context *context;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int set_up(void **state)
{
    (void)state;
    return sg_context_new(NULL, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// Gains and shifts of norms are not what they are at first, so that they show.
static sg_model *make_model(const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    for (size_t i = 0; i < model->params.count; i++) {
        const sg_param_spec *spec = &model->params.specs[i];
        if (strstr(spec->name, "norm") == NULL) continue;
        for (int64_t j = 0; j < spec->count; j++)
            model->values[i][j] += (float)(0.5 * sg_rng_uniform(5, (uint32_t)i, (uint64_t)j));
    }
    return model;
}

// A pass of one token, whose stream is replaced at a point, and what is seen at two others.
typedef struct pass {
    char written[64], seen[64];
    const float *stream; // (d)
    float *values;       // of `seen`
    const int32_t *ids;  // where the selected lie among them
    int32_t chosen[64];
    int64_t columns, selected;
    float scale;
} pass;

static sg_status write_stream(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    const pass *s = user;
    memcpy(p->values, s->stream, (size_t)p->shape[1] * sizeof *p->values);
    return SG_OK;
}

static sg_status see(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    pass *s = user;
    s->columns = p->shape[1] * (p->rank > 2 ? p->shape[2] : 1);
    memcpy(s->values, p->values, (size_t)s->columns * sizeof *p->values);
    return SG_OK;
}

static sg_status see_ids(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    pass *s = user;
    s->selected = p->shape[2];
    memcpy(s->chosen, p->ids, (size_t)(p->shape[1] * p->shape[2]) * sizeof *p->ids);
    return SG_OK;
}

static sg_status see_scale(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    pass *s = user;
    s->scale = p->values[0];
    return SG_OK;
}

static void run(sg_model *model, pass *s, bool sparse)
{
    sg_error err = {0};
    const sg_point_request requests[] = {
        {s->written, SG_POINT_WRITE, write_stream, s},
        {s->seen, SG_POINT_READ, see, s},
        {"ln_final.hook_scale", SG_POINT_READ, see_scale, s},
        {"blocks.1.mlp.hook_gate_ids", SG_POINT_READ, see_ids, s},
    };
    const sg_points points = {requests, sparse ? 4 : 3};
    sg_session_options o = sg_session_options_default();
    o.points = &points;
    sg_session *session;
    const float *logits;
    must(sg_session_open(model, &o, &session, &err), &err);
    must(sg_session_feed(session, (const int32_t[]){3}, 1, &logits, &err), &err);
    sg_session_free(session);
}

static float match_of(const sg_token_match *list, int64_t count, int32_t token)
{
    for (int64_t i = 0; i < count; i++)
        if (list[i].token == token) return list[i].dot;
    fail_msg("token %d is not there", (int)token);
    return 0;
}

// Each list is the other backwards, in the order of what decides.
static void check_lists(const sg_neuron_view *v)
{
    assert_int_equal(v->count, vocab);
    for (int64_t i = 0; i < vocab; i++) {
        assert_true(v->read_most[i].dot == v->read_least[vocab - 1 - i].dot);
        assert_true(v->write_most[i].dot == v->write_least[vocab - 1 - i].dot);
        if (i == 0) continue;
        assert_true(v->read_most[i].cosine <= v->read_most[i - 1].cosine);
        assert_true(v->write_most[i].dot <= v->write_most[i - 1].dot);
    }
}

static void compare_writes(sg_model *model, const sg_neuron_view *v, bool shifts)
{
    float values[1024], row[256];
    sg_neuron_table table;
    sg_error err = {0};
    must(sg_neuron_table_of(model, v->layer, &table, &err), &err);
    must(sg_neuron_out(&table, v->channel, v->neuron, row, &err), &err);
    pass s = {
        .written = "blocks.1.hook_resid_post", .seen = "logits", .stream = row, .values = values};
    run(model, &s, false);
    float zero[1024] = {0}, nothing[256] = {0};
    if (shifts) { // what the shift of the last norm adds to every logit
        pass none = s;
        none.values = zero;
        none.stream = nothing;
        run(model, &none, false);
    }
    for (int32_t t = 0; t < vocab; t++) {
        const float dot = match_of(v->write_most, v->count, t);
        assert_true(fabsf((values[t] - zero[t]) * s.scale - dot) < 2e-5f * (1 + fabsf(dot)));
    }
}

// hook_pre of one neuron where token t's embedding is all that is in the stream; NAN where the
// neuron is not selected then.
static float pre_of(sg_model *model, const sg_neuron_view *v, int32_t token)
{
    static float values[4096];
    float row[256];
    size_t index;
    sg_error err = {0};
    must(sg_model_tensor_find(model, "model.embed_tokens.weight", &index, &err), &err);
    must(sg_model_tensor_read(model, index, token, 1, row, &err), &err);
    pass s = {.written = "blocks.1.hook_resid_mid",
              .seen = "blocks.1.mlp.hook_pre",
              .stream = row,
              .values = values};
    run(model, &s, !v->dense);
    if (v->dense) return values[v->neuron];
    for (int64_t i = 0; i < s.selected; i++)
        if (s.chosen[v->channel * s.selected + i] == v->neuron / v->block)
            return values[(v->channel * s.selected + i) * v->block + v->neuron % v->block];
    return NAN;
}

static void compare_kind(const char *kind, int64_t channel, bool shifts)
{
    sg_model *model = make_model(kind);
    int compared = 0;
    for (int64_t neuron = 0; neuron < 16; neuron++) {
        sg_neuron_view v;
        sg_error err = {0};
        must(sg_neuron_view_of(model, 1, channel, neuron, 1000, &v, &err), &err);
        check_lists(&v);
        if (neuron % 5 == 0) compare_writes(model, &v, shifts);
        for (int32_t t = 0; t < vocab; t += 7) {
            const float pre = pre_of(model, &v, t), dot = match_of(v.read_most, v.count, t);
            if (isnan(pre)) continue;
            assert_true(fabsf(pre - dot) < 2e-5f * (1 + fabsf(dot)));
            compared++;
        }
        sg_neuron_view_free(&v);
    }
    assert_true(compared > 10);
    sg_model_free(model);
}

static void test_against_passes(void **state)
{
    (void)state;
    compare_kind("sgatlin", 1, false);
    compare_kind("peer", 1, false);
    compare_kind("mlp", 0, false);
    compare_kind("mlp norm=layernorm", 0, true);
    compare_kind("mlp untied_classifier=1", 0, false);
}

// What there is of each family; nothing else is told.
static void test_every_family(void **state)
{
    (void)state;
    for (int i = 0; tiny_kind(i) != NULL; i++) {
        sg_model *model = make_model(tiny_kind(i));
        sg_neuron_view v;
        sg_error err = {0};
        must(sg_neuron_view_of(model, 1, 0, 0, 3, &v, &err), &err);
        assert_true((v.read_most != NULL) == v.reads && (v.write_most != NULL) == v.writes);
        assert_true(isnan(v.in_norm) == !v.reads);
        assert_true(v.out_norm > 0);
        assert_int_equal(v.count, 3);
        sg_neuron_view_free(&v);
        sg_model_free(model);
    }
    sg_model *model = make_model("pkm");
    sg_neuron_view v;
    must(sg_neuron_view_of(model, 1, 0, 7, 3, &v, &(sg_error){0}), &(sg_error){0});
    assert_true(!v.reads && v.writes);
    assert_true(v.first_key >= 0 && v.second_key >= 0);
    sg_neuron_view_free(&v);
    sg_model_free(model);
}

static void test_refused(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    sg_neuron_view v;
    sg_error err = {0};
    assert_int_equal(sg_neuron_view_of(model, 9, 0, 0, 3, &v, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "layer: found 9"));
    assert_int_equal(sg_neuron_view_of(model, 0, 99, 0, 3, &v, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_neuron_view_of(model, 0, 0, 99999, 3, &v, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_neuron_view_of(model, 0, 0, -1, 3, &v, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_neuron_view_of(model, 0, 0, 0, -1, &v, &err), SG_ERR_ARGUMENT);
    sg_model_free(model);
}

static sg_status view_once(void *user, sg_error *err)
{
    sg_neuron_view v;
    SG_TRY(sg_neuron_view_of(user, 1, 0, 3, 5, &v, err));
    sg_neuron_view_free(&v);
    return SG_OK;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    sg_model *model = make_model("moe");
    assert_true(alloc_failure_loop(view_once, model) >= 8);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_passes),
        cmocka_unit_test(test_every_family),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
