// Fine-tuning against the Hugging Face library and PEFT (tests/twins/tuning_twin.py): ten training
// steps from checkpoints of theirs, of all weights, and of adapters that PEFT wrote; what those
// adapters make of the model before, and what they are after.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "model/graph.h"
#include "model/model.h"
#include "train/optimizer.h"

enum { steps = 10 };
static const double tolerance = 2e-5;

typedef struct tuning {
    sg_context *context;
    sg_safetensors *file;
    sg_model *model;
    int64_t batch, length;
    double lr, decay, clip;
} tuning;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static const sg_tensor_view *find(const tuning *t, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(t->file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view;
}

static float *read_floats(const tuning *t, const char *name, int64_t expected)
{
    const sg_tensor_view *view = find(t, name);
    sg_error err = {0};
    assert_int_equal(sg_tensor_view_elements(view), expected);
    float *values = sg_alloc_array((size_t)expected, sizeof *values);
    assert_non_null(values);
    must(sg_tensor_view_read_f32(view, values, &err), &err);
    return values;
}

static double relative_error(const float *found, const float *expected, int64_t count)
{
    double worst = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)found[i] - (double)expected[i]);
        if (!(difference <= worst)) worst = difference;
        if (fabs((double)expected[i]) > size) size = fabs((double)expected[i]);
    }
    return worst / size;
}

static void expect_close(const char *what, const float *found, const float *expected, int64_t count,
                         double most)
{
    double error = relative_error(found, expected, count);
    if (!(error <= most))
        fail_msg("%s: relative error %.3g, expected at most %g", what, error, most);
}

static void tuning_open(tuning *t, const char *name, const char *file, bool copy)
{
    sg_error err = {0};
    char path[600];
    json_t *recipe;
    sg_model_file *model;
    *t = (tuning){0};
    must(sg_context_new(&(sg_context_options){.threads = 2}, &t->context, &err), &err);
    must(sg_safetensors_open(file, &t->file, &err), &err);
    // "llama-head" is of the checkpoint "llama".
    snprintf(path, sizeof path, "%s/golden/checkpoints/%.*s", SG_TEST_DIR, (int)strcspn(name, "-"),
             name);
    must(sg_model_file_open(path, &model, &err), &err);
    must(sg_model_take_file(t->context, model, copy, &t->model, &err), &err);
    const sg_tensor_view *inputs = find(t, "inputs");
    assert_int_equal(inputs->shape[0], steps);
    t->batch = inputs->shape[1];
    t->length = inputs->shape[2];
    const char *text = sg_safetensors_metadata(t->file, "recipe");
    assert_non_null(text);
    must(sg_json_parse(text, strlen(text), "recipe", &recipe, &err), &err);
    must(sg_json_get_number(recipe, "recipe", "lr", true, &t->lr, &err), &err);
    must(sg_json_get_number(recipe, "recipe", "weight_decay", true, &t->decay, &err), &err);
    must(sg_json_get_number(recipe, "recipe", "clip", true, &t->clip, &err), &err);
    json_decref(recipe);
}

static void tuning_close(tuning *t)
{
    sg_model_free(t->model);
    sg_safetensors_close(t->file);
    sg_context_free(t->context);
}

static sg_graph *make_graph(const tuning *t, const sg_gradients *g, sg_output output)
{
    sg_error err = {0};
    sg_graph *graph;
    const sg_model *m = t->model;
    sg_graph_options options = {.batch = t->batch,
                                .length = t->length,
                                .output = output,
                                .gradient = g != NULL,
                                .threads = 2,
                                .adapters = m->adapters};
    must(sg_graph_new(&m->config, &m->params, m->values, g ? g->parts : NULL, &m->rope, &options,
                      &graph, &err),
         &err);
    return graph;
}

static void check_training(const tuning *t)
{
    sg_error err = {0};
    sg_gradients gradients;
    sg_optimizer *optimizer;
    const sg_model *m = t->model;
    const int64_t rows = t->batch * t->length;
    const sg_optimizer_options adamw = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = t->decay, .clip = t->clip};
    must(sg_gradients_new(&m->params, SG_ROWS_EXACT, rows, NULL, &gradients, &err), &err);
    must(sg_optimizer_new(&m->params, m->values, &gradients, &adamw, &optimizer, &err), &err);
    sg_graph *graph = make_graph(t, &gradients, SG_OUTPUT_LOSS);
    float *losses = read_floats(t, "losses", steps), *norms = read_floats(t, "norms", steps);
    sg_run run = {.compute = t->context->compute};
    graph->stats.normaliser = (double)rows;
    bool clipped = false;
    for (int s = 0; s < steps; s++) {
        graph->ids->data = (int32_t *)(uintptr_t)find(t, "inputs")->data + s * rows;
        graph->targets->data = (int32_t *)(uintptr_t)find(t, "targets")->data + s * rows;
        sg_tape_forward(graph->tape, &run);
        sg_tape_backward(graph->tape, &run);
        double norm = sg_optimizer_norm(optimizer, run.compute);
        char what[32];
        snprintf(what, sizeof what, "loss of step %d", s);
        expect_close(what, sg_values(graph->loss), &losses[s], 1, tolerance);
        // Norms of later steps carry the differences of all steps before.
        assert_true(fabs(norm / (double)norms[s] - 1) <= 10 * tolerance);
        clipped = clipped || norm > t->clip;
        sg_optimizer_apply(optimizer, run.compute, t->lr, norm);
    }
    assert_true(clipped);
    assert_true(losses[0] - losses[steps - 1] != 0);
    sg_free(losses);
    sg_free(norms);
    sg_graph_free(graph);
    sg_optimizer_free(optimizer);
    sg_gradients_free(&gradients);
}

static void test_full(void **state)
{
    char path[600];
    tuning t;
    snprintf(path, sizeof path, "%s/golden/tuning/full_%s.safetensors", SG_TEST_DIR,
             (const char *)*state);
    tuning_open(&t, *state, path, true);
    check_training(&t);
    tuning_close(&t);
}

static void check_logits(const tuning *t, const char *what)
{
    const int64_t count = t->batch * t->length * t->model->config.vocab_size;
    float *expected = read_floats(t, "logits", count);
    sg_graph *graph = make_graph(t, NULL, SG_OUTPUT_LOGITS);
    graph->ids->data = (void *)(uintptr_t)find(t, "inputs")->data;
    sg_run run = {.compute = t->context->compute};
    sg_tape_forward(graph->tape, &run);
    expect_close(what, sg_values(graph->logits), expected, count, tolerance);
    sg_free(expected);
    sg_graph_free(graph);
}

static void check_adapters(const tuning *t)
{
    const sg_model *m = t->model;
    for (size_t i = m->adapters->first; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        char name[SG_PARAM_NAME + 8];
        snprintf(name, sizeof name, "final.%s", spec->name);
        float *expected = read_floats(t, name, spec->count);
        expect_close(name, m->values[i], expected, spec->count, 100 * tolerance);
        sg_free(expected);
    }
}

static void test_lora(void **state)
{
    char path[600];
    sg_error err = {0};
    tuning t;
    snprintf(path, sizeof path, "%s/golden/tuning/lora_%s/expected.safetensors", SG_TEST_DIR,
             (const char *)*state);
    tuning_open(&t, *state, path, true);
    *strrchr(path, '/') = '\0';
    must(sg_model_adapt(t.model, path, &err), &err);
    check_logits(&t, "logits with adapters");
    must(sg_model_merge_adapters(t.model, &err), &err);
    check_logits(&t, "logits of merged weights");
    sg_model_free(t.model);
    t.model = NULL;
    tuning_close(&t);
    // From the file as it lies there, which is not written to.
    snprintf(path + strlen(path), sizeof path - strlen(path), "/expected.safetensors");
    tuning_open(&t, *state, path, false);
    *strrchr(path, '/') = '\0';
    must(sg_model_adapt(t.model, path, &err), &err);
    for (size_t i = 0; i < t.model->adapters->first; i++)
        t.model->params.specs[i].frozen = true;
    check_training(&t);
    check_adapters(&t);
    tuning_close(&t);
}

int main(void)
{
    static const char *const full[] = {"llama", "qwen3_moe"};
    static const char *const lora[] = {"llama", "gpt2",       "gpt_neox",    "qwen2_moe",
                                       "opt",   "llama-head", "llama-layers"};
    enum { n_full = sizeof full / sizeof *full, count = n_full + sizeof lora / sizeof *lora };
    struct CMUnitTest tests[count];
    for (int i = 0; i < count; i++) {
        const bool is_full = i < n_full;
        const char *name = is_full ? full[i] : lora[i - n_full];
        tests[i] = (struct CMUnitTest){name, is_full ? test_full : test_lora, NULL, NULL,
                                       (void *)(uintptr_t)name};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
