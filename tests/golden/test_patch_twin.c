// Runs with gates of other runs put in, and what is measured of them, against the independent
// PyTorch twin (tests/twins/patch_twin.py). tests/golden/README.md says what the files hold.
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
#include "probe/patch_inside.h"

enum { prompts = 4, tokens = 6, start = 2, pairs = prompts * (prompts - 1), columns = 6 };
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

// All numbers of a tensor: sg_free.
static float *numbers(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    float *values = sg_alloc_array((size_t)sg_tensor_view_elements(view), sizeof *values);
    assert_non_null(values);
    must(sg_tensor_view_read_f32(view, values, NULL), &(sg_error){0});
    return values;
}

static const int32_t *integers(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view->data;
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
        float *values = numbers(file, full);
        memcpy(model->values[i], values, (size_t)model->params.specs[i].count * sizeof *values);
        sg_free(values);
    }
    sg_safetensors_close(file);
    return model;
}

// What a C run measures, as the twin's columns.
static void columns_of(const sg_patch_measure *m, double out[columns])
{
    const double all[] = {m->m, m->logprob[0], m->logprob[1], m->kl, m->rank[0], m->flip};
    memcpy(out, all, sizeof all);
}

static void compare(const char *name, const char *what, int row, const double *found,
                    const float *expected)
{
    for (int c = 0; c < columns; c++)
        if (!(fabs(found[c] - (double)expected[c]) <= 1e-4))
            fail_msg("%s: %s %d, column %d: found %.7g, expected %.7g", name, what, row, c,
                     found[c], (double)expected[c]);
}

typedef struct twin {
    const char *name;
    sg_model *model;
    sg_safetensors *file;
    sg_exchange *x;
    sg_capture *captures[prompts];
    sg_fact_prompt prompts[prompts]; // with their answers alone
    int32_t answers[prompts];
    float *base, *measures, *effects;
} twin;

static void open_twin(twin *t, const char *name)
{
    sg_error err = {0};
    *t = (twin){.name = name, .model = make_model(name), .file = open_file("patch", name)};
    const sg_exchange_options o = {.gates = true, .longest = tokens};
    must(sg_exchange_new(t->model, &o, &t->x, &err), &err);
    must(sg_exchange_capture(t->x, integers(t->file, "tokens"), prompts, tokens, start, t->captures,
                             &err),
         &err);
    memcpy(t->answers, integers(t->file, "answers"), sizeof t->answers);
    for (int i = 0; i < prompts; i++)
        t->prompts[i] = (sg_fact_prompt){.answers = &t->answers[i], .answer_count = 1};
    t->base = numbers(t->file, "base");
    t->measures = numbers(t->file, "measures");
    t->effects = numbers(t->file, "effects");
}

static void close_twin(twin *t)
{
    for (int i = 0; i < prompts; i++)
        sg_capture_free(t->captures[i]);
    sg_exchange_free(t->x);
    sg_free(t->base);
    sg_free(t->measures);
    sg_free(t->effects);
    sg_safetensors_close(t->file);
    sg_model_free(t->model);
}

static sg_patch_measure measure(const twin *t, const float *logits, int a, int b)
{
    return sg_patch_measure_of(logits, t->captures[a]->logits, t->model->config.vocab_size,
                               &t->prompts[a], &t->prompts[b]);
}

// Gates of b in a run of a, at one token, in the layers of a set: 0: all, else set - 1.
static sg_patch_measure patched(twin *t, int set, int position, int a, int b)
{
    sg_error err = {0};
    sg_changes changes = {0};
    float *logits = sg_alloc_array((size_t)t->model->config.vocab_size, sizeof *logits);
    for (int64_t l = 0; l < t->model->config.num_hidden_layers; l++)
        if (set == 0 || l == set - 1)
            must(sg_changes_gates(&changes, t->x, t->captures[b], l, -1, position, &err), &err);
    must(sg_exchange_replay(t->x, &(sg_replay){t->captures[a], &changes, logits}, 1, &err), &err);
    const sg_patch_measure m = measure(t, logits, a, b);
    sg_changes_free(&changes);
    sg_free(logits);
    return m;
}

static void check_twin(const char *name)
{
    twin t;
    double found[columns];
    open_twin(&t, name);
    const int sets = 1 + (int)t.model->config.num_hidden_layers;
    for (int a = 0, pair = 0; a < prompts; a++)
        for (int b = 0; b < prompts; b++) {
            if (a == b) continue;
            const sg_patch_measure clean = measure(&t, t.captures[a]->logits, a, b);
            const sg_patch_measure other = measure(&t, t.captures[b]->logits, b, a);
            columns_of(&clean, found);
            compare(name, "pair", pair, found, t.base + columns * pair);
            for (int i = 0; i < 2 * sets; i++) {
                const int row = i * pairs + pair, position = i % 2 ? tokens - 1 : start + 1;
                const sg_patch_measure m = patched(&t, i / 2, position, a, b);
                columns_of(&m, found);
                compare(name, "patch", row, found, t.measures + columns * row);
                // A ratio is as exact as its denominator is large.
                const double all = clean.m + other.m, effect = (clean.m - m.m) / (all + 1e-8);
                const double tolerance = 1e-4 * fmax(1, (1 + fabs(effect)) / fabs(all));
                if (!(fabs(effect - (double)t.effects[row]) <= tolerance))
                    fail_msg("%s: patch %d: found an effect of %.7g, expected %.7g", name, row,
                             effect, (double)t.effects[row]);
            }
            pair++;
        }
    close_twin(&t);
}

static void test_twins(void **state)
{
    (void)state;
    static const char *const names[] = {"mlp", "moe", "peer", "sgatlin_gelu"};
    for (int i = 0; i < 4; i++)
        check_twin(names[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_twins)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
