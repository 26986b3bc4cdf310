// Values and gradients at the points of checkpoints of other programs against what the Hugging Face
// library hands out of them (tests/twins/hidden_states_twin.py): hidden states, attentions, outputs
// of modules, in a pass from nothing, behind a cache, and backwards.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/safetensors.h"
#include "sgatlin_probe.h"

enum { points_most = 64, length_most = 16 };
static const double tolerance = 2e-5;
static sg_context *context;

typedef struct golden {
    const char *name;
    sg_safetensors *file;
    sg_model *model;
    int32_t ids[length_most], targets[length_most];
    int64_t count;
    sg_point_request requests[points_most];
    size_t points;
    const char *gradient;  // what the names of gradients begin with
    int values, gradients; // compared
} golden;

static int set_up(void **state)
{
    (void)state;
    return sg_context_new(&(sg_context_options){.threads = 2}, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// Rows of a pass against those of the file (count, columns); of a pattern the keys that there are.
// The largest difference over the largest magnitude of the whole.
static void compare(const golden *g, const sg_point_values *p, const char *name, const float *found)
{
    const sg_tensor_view *view = sg_safetensors_find(g->file, name);
    if (view == NULL) fail_msg("%s: the golden file has no %s", g->name, name);
    const int64_t elements = sg_tensor_view_elements(view), columns = elements / g->count;
    const int64_t runs = p->rank == 3 ? p->shape[1] : 1;
    const int64_t run = p->rank == 3 ? p->shape[2] : p->shape[1], expected_run = columns / runs;
    float *expected = sg_alloc_array((size_t)elements, sizeof *expected);
    double worst = 0, size = 0;
    assert_non_null(expected);
    assert_int_equal(sg_tensor_view_read_f32(view, expected, NULL), SG_OK);
    for (int64_t i = 0; i < elements; i++)
        size = fmax(size, fabs((double)expected[i]));
    for (int64_t i = 0; i < p->shape[0]; i++) {
        const int64_t row = (p->start ? p->start[0] : 0) + p->first_row + i * p->row_step;
        for (int64_t j = 0; j < runs; j++)
            for (int64_t n = 0; n < run; n++) {
                const float y = expected[(row * runs + j) * expected_run + n];
                const double off = fabs((double)found[(i * runs + j) * run + n] - (double)y);
                worst = off > worst || isnan(off) ? off : worst;
            }
    }
    sg_free(expected);
    if (!(size > 0 && worst <= tolerance * size))
        fail_msg("%s, %s: off by %g of %g", g->name, name, worst, size);
}

static sg_status look(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    golden *g = user;
    char name[96];
    snprintf(name, sizeof name, "%s%s", p->use == SG_POINT_GRADIENT ? g->gradient : "", p->name);
    compare(g, p, name, p->use == SG_POINT_GRADIENT ? p->gradient : p->values);
    ++*(p->use == SG_POINT_GRADIENT ? &g->gradients : &g->values);
    return SG_OK;
}

static void golden_open(golden *g, const char *name)
{
    char path[512];
    sg_error err = {0};
    *g = (golden){.name = name};
    snprintf(path, sizeof path, "%s/golden/hidden_states/%s.safetensors", SG_TEST_DIR, name);
    if (sg_safetensors_open(path, &g->file, &err) != SG_OK) fail_msg("%s", err.message);
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s", SG_TEST_DIR, name);
    if (sg_model_open(context, path, &g->model, &err) != SG_OK) fail_msg("%s", err.message);
    const sg_tensor_view *ids = sg_safetensors_find(g->file, "ids");
    assert_non_null(ids);
    g->count = sg_tensor_view_elements(ids);
    assert_true(g->count <= length_most);
    memcpy(g->ids, ids->data, ids->bytes);
    for (int64_t i = 0; i < g->count; i++)
        g->targets[i] = i + 1 < g->count ? g->ids[i + 1] : -1;
    for (size_t i = 0; i < sg_safetensors_count(g->file); i++) {
        const char *point = sg_safetensors_at(g->file, i)->name;
        char gradient[96];
        if (strncmp(point, "grad.", 5) == 0 || strncmp(point, "difference.", 11) == 0 ||
            strcmp(point, "ids") == 0)
            continue;
        snprintf(gradient, sizeof gradient, "grad.%s", point);
        const bool has = sg_safetensors_find(g->file, gradient) != NULL;
        assert_true(g->points < points_most);
        g->requests[g->points++] = (sg_point_request){
            point, has ? SG_POINT_READ | SG_POINT_GRADIENT : SG_POINT_READ, look, g};
    }
}

static void golden_close(golden *g)
{
    sg_model_free(g->model);
    sg_safetensors_close(g->file);
}

static void check(const char *name)
{
    static golden g;
    golden_open(&g, name);
    const sg_points points = {g.requests, g.points};
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    sg_error err = {0};
    double nll[length_most], value, sum = 0;
    bool likeliest[length_most];
    const float *logits;
    options.points = &points;
    if (sg_session_open(g.model, &options, &session, &err) != SG_OK) fail_msg("%s", err.message);
    // Forwards: all at once, and token by token behind five.
    assert_int_equal(sg_session_score(session, g.ids, g.targets, g.count, nll, likeliest, &err),
                     SG_OK);
    assert_int_equal(g.values, g.points);
    assert_int_equal(sg_session_rewind(session, 0, &err), SG_OK);
    for (int64_t i = 0, n = 5; i < g.count; i += n, n = 1)
        assert_int_equal(sg_session_feed(session, g.ids + i, n, &logits, &err), SG_OK);
    assert_int_equal(g.gradients, 0);
    for (int64_t i = 0; i < g.count; i++)
        sum += nll[i];
    // Backwards, from the losses and from a difference of two logits (hidden_states_twin.py).
    const sg_objective losses = {.targets = g.targets};
    const sg_logit_term terms[] = {{g.count - 1, 5, 1}, {g.count - 1, 7, -1}};
    const sg_objective difference = {terms, 2, NULL};
    g.gradient = "grad.";
    g.values = 0;
    if (sg_session_gradient(session, g.ids, g.count, &losses, &value, &err) != SG_OK)
        fail_msg("%s: %s", name, err.message);
    assert_true(fabs(value - sum) < 1e-5 * sum);
    assert_int_equal(g.values, g.points);
    const int gradients = g.gradients;
    assert_true(gradients >= 15);
    g.gradient = "difference.";
    assert_int_equal(sg_session_gradient(session, g.ids, g.count, &difference, &value, &err),
                     SG_OK);
    assert_int_equal(g.gradients, 2 * gradients);
    assert_true(fabs(value - (double)(logits[5] - logits[7])) < 1e-5);
    sg_session_free(session);
    golden_close(&g);
}

static void test_gpt2(void **state)
{
    (void)state;
    check("gpt2");
}

// Scaled rotations, shared keys.
static void test_llama(void **state)
{
    (void)state;
    check("llama");
}

// Both layers read one stream.
static void test_gpt_neox(void **state)
{
    (void)state;
    check("gpt_neox");
}

// A sliding window.
static void test_mistral(void **state)
{
    (void)state;
    check("mistral");
}

// Experts.
static void test_mixtral(void **state)
{
    (void)state;
    check("mixtral");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gpt2),     cmocka_unit_test(test_llama),
        cmocka_unit_test(test_gpt_neox), cmocka_unit_test(test_mistral),
        cmocka_unit_test(test_mixtral),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
