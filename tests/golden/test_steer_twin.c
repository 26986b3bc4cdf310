// Models with neurons scaled, fixed and removed, against the independent PyTorch twin
// (tests/twins/steer_twin.py). tests/golden/README.md says what the files hold.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_edit.h"

static sg_context *context;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int set_up(void **state)
{
    (void)state;
    return sg_context_new(NULL, &context, NULL) != SG_OK;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_safetensors *open_file(const char *folder, const char *name)
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/%s/%s.safetensors", SG_TEST_DIR, folder, name);
    must(sg_safetensors_open(path, &file, &err), &err);
    return file;
}

static const sg_tensor_view *view_of(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view;
}

// The model of a golden file.
static sg_model *make_model(const char *name)
{
    sg_error err = {0};
    sg_config config;
    sg_model *model;
    sg_safetensors *file = open_file("models", name);
    const char *text = sg_safetensors_metadata(file, "config");
    assert_non_null(text);
    must(sg_config_parse(text, strlen(text), name, &config, &err), &err);
    must(sg_config_complete(&config, &err), &err);
    must(sg_model_new(context, &config, 1, &model, &err), &err);
    for (size_t i = 0; i < model->params.count; i++) {
        char full[SG_PARAM_NAME + 8];
        snprintf(full, sizeof full, "param.%s", model->params.specs[i].name);
        must(sg_tensor_view_read_f32(view_of(file, full), model->values[i], NULL), &err);
    }
    sg_safetensors_close(file);
    return model;
}

// Logits behind each token, fed one at a time or all at once, against those of the file.
static void check_logits(const char *name, sg_model *model, const sg_points *points,
                         const sg_safetensors *file, const char *expected)
{
    sg_error err = {0};
    sg_session *session;
    const sg_session_options options = {.points = points};
    const sg_tensor_view *tokens = view_of(file, "tokens"), *logits = view_of(file, expected);
    const int64_t count = tokens->shape[0], vocab = logits->shape[1];
    const float *values = logits->data, *found;
    must(sg_session_open(model, &options, &session, &err), &err);
    for (int64_t t = 0; t < count; t++) {
        must(sg_session_feed(session, (const int32_t *)tokens->data + t, 1, &found, &err), &err);
        for (int64_t v = 0; v < vocab; v++)
            if (!(fabs((double)found[v] - (double)values[t * vocab + v]) < 2e-5))
                fail_msg("%s, %s: token %lld, logit %lld: found %.7g, expected %.7g", name,
                         expected, (long long)t, (long long)v, (double)found[v],
                         (double)values[t * vocab + v]);
    }
    sg_session_free(session);
}

static void check_selected(const char *name, const sg_edits *edits, const sg_safetensors *file)
{
    const sg_tensor_view *view = view_of(file, "selected");
    const int32_t *expected = view->data;
    assert_int_equal(sg_edits_neurons(edits), view->shape[0]);
    for (size_t i = 0; i < sg_edits_neurons(edits); i++) {
        const sg_edit_use use = sg_edits_use(edits, i);
        const int64_t found[] = {use.layer, use.channel, use.neuron, use.selected};
        for (int k = 0; k < 4; k++)
            if (found[k] != expected[4 * i + (size_t)k])
                fail_msg("%s: neuron %zu, column %d: found %lld, expected %d", name, i, k,
                         (long long)found[k], expected[4 * i + (size_t)k]);
    }
}

static void test_steered(void **state)
{
    (void)state;
    static const char *const names[] = {"mlp", "moe", "peer", "sgatlin_gelu"};
    for (int i = 0; i < 4; i++) {
        char path[512];
        sg_error err = {0};
        sg_edits *edits;
        sg_model *model = make_model(names[i]);
        sg_safetensors *file = open_file("steer", names[i]);
        snprintf(path, sizeof path, "%s/golden/steer/%s.json", SG_TEST_DIR, names[i]);
        must(sg_edits_open(model, path, &edits, &err), &err);
        check_logits(names[i], model, NULL, file, "plain");
        check_logits(names[i], model, sg_edits_points(edits), file, "steered");
        check_selected(names[i], edits, file);
        sg_edits_free(edits);
        sg_safetensors_close(file);
        sg_model_free(model);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_steered)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
