// Checkpoints of other programs' model types against what the Hugging Face library computes from
// them (tests/twins/checkpoint_twin.py): logits with weights copied, as stored, and token by token
// from caches; loss and every gradient.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/graph.h"
#include "model/model.h"
#include "alloc_failure.h"
#include "golden/checkpoint_names.h"
#include "model/tensor_read.h"

static const double tolerance = 2e-5;
// Of all gradients together the largest are near 1. That of a bias of keys is 0 where nothing
// rotates them, and nothing but rounding on both sides.
static const double small = 0.01;

typedef struct checkpoint {
    char folder[512];
    sg_context *context;
    sg_safetensors *expected;
    int32_t *ids;
    int64_t count;
    float *logits;
} checkpoint;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static float *read_floats(const sg_safetensors *file, const char *name, int64_t *count)
{
    sg_error err = {0};
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    *count = sg_tensor_view_elements(view);
    float *values = sg_alloc_array((size_t)*count, sizeof *values);
    assert_non_null(values);
    must(sg_tensor_view_read_f32(view, values, &err), &err);
    return values;
}

static void checkpoint_open(checkpoint *c, const char *name)
{
    sg_error err = {0};
    char path[600];
    int64_t logits;
    *c = (checkpoint){0};
    snprintf(c->folder, sizeof c->folder, "%s/golden/checkpoints/%s", SG_TEST_DIR, name);
    snprintf(path, sizeof path, "%s/expected.safetensors", c->folder);
    must(sg_context_new(&(sg_context_options){.threads = 2}, &c->context, &err), &err);
    must(sg_safetensors_open(path, &c->expected, &err), &err);
    const sg_tensor_view *ids = sg_safetensors_find(c->expected, "ids");
    assert_non_null(ids);
    c->count = sg_tensor_view_elements(ids);
    c->ids = sg_alloc_array((size_t)c->count, sizeof *c->ids);
    assert_non_null(c->ids);
    memcpy(c->ids, ids->data, ids->bytes);
    c->logits = read_floats(c->expected, "logits", &logits);
}

static void checkpoint_close(checkpoint *c)
{
    sg_free(c->ids);
    sg_free(c->logits);
    sg_safetensors_close(c->expected);
    sg_context_free(c->context);
}

// Relative errors seen last, for the table in docs/CHECKPOINTS.md.
static double seen_worst;

static void expect_close(const char *what, const float *found, const float *expected, int64_t count)
{
    double worst = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)found[i] - (double)expected[i]);
        if (difference > worst || isnan(difference)) worst = difference;
        if (fabs((double)expected[i]) > size) size = fabs((double)expected[i]);
    }
    if (size < small) size = small;
    if (worst / size > seen_worst) seen_worst = worst / size;
    if (!(worst <= tolerance * size))
        fail_msg("%s: relative error %.3g, expected at most %g", what, worst / size, tolerance);
}

static sg_graph *make_graph(const checkpoint *c, const sg_model *m, sg_real *const *grads,
                            sg_output output)
{
    sg_error err = {0};
    sg_graph *graph;
    sg_graph_options options = {.batch = 1,
                                .length = c->count,
                                .output = output,
                                .gradient = grads != NULL,
                                .threads = 1,
                                .narrow = m->narrow.items};
    must(sg_graph_new(&m->config, &m->params, m->values, grads, &m->rope, &options, &graph, &err),
         &err);
    return graph;
}

static void check_logits(const checkpoint *c, const sg_model *m, const char *what)
{
    sg_graph *graph = make_graph(c, m, NULL, SG_OUTPUT_LOGITS);
    graph->ids->data = c->ids;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    expect_close(what, sg_values(graph->logits), c->logits, c->count * m->config.vocab_size);
    sg_graph_free(graph);
}

// A few tokens at once, then one by one.
static void check_session(const checkpoint *c, sg_model *m, const char *what)
{
    sg_error err = {0};
    sg_session *session;
    const float *logits;
    const int64_t prompt = 5, V = m->config.vocab_size;
    must(sg_session_new(m, 0, &session, &err), &err);
    must(sg_session_feed(session, c->ids, prompt, &logits, &err), &err);
    expect_close(what, logits, c->logits + (prompt - 1) * V, V);
    for (int64_t i = prompt; i < c->count; i++) {
        must(sg_session_feed(session, c->ids + i, 1, &logits, &err), &err);
        expect_close(what, logits, c->logits + i * V, V);
    }
    sg_session_free(session);
}

// Targets are the ids one further; the last row has none.
static void check_gradients(const checkpoint *c, const sg_model *m, const sg_tensor_map *map)
{
    sg_error err = {0};
    char path[600];
    sg_safetensors *file;
    sg_param_block grads;
    snprintf(path, sizeof path, "%s/grads.safetensors", c->folder);
    must(sg_safetensors_open(path, &file, &err), &err);
    const sg_tensors tensors = sg_tensors_of_safetensors(file);
    must(sg_param_block_new(&m->params, "gradients", NULL, NULL, &grads, &err), &err);
    sg_graph *graph = make_graph(c, m, grads.parts, SG_OUTPUT_LOSS);
    int32_t *targets = sg_alloc_array((size_t)c->count, sizeof *targets);
    assert_non_null(targets);
    for (int64_t i = 0; i < c->count; i++)
        targets[i] = i + 1 < c->count ? c->ids[i + 1] : -1;
    graph->ids->data = c->ids;
    graph->targets->data = targets;
    graph->stats.normaliser = (double)(c->count - 1);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    int64_t one;
    float *loss = read_floats(c->expected, "loss", &one);
    expect_close("loss", sg_values(graph->loss), loss, 1);
    sg_pieces pieces = {0};
    for (size_t i = 0; i < m->params.count; i++) {
        const sg_param_spec *spec = &m->params.specs[i];
        float *expected = sg_alloc_array((size_t)spec->count, sizeof *expected);
        assert_non_null(expected);
        must(sg_tensor_map_pieces(map, &m->config, spec, &tensors, &pieces, &err), &err);
        must(sg_pieces_read(&pieces, spec, expected, &err), &err);
        expect_close(spec->name, grads.parts[i], expected, spec->count);
        sg_free(expected);
    }
    sg_pieces_free(&pieces);
    sg_free(loss);
    sg_free(targets);
    sg_graph_free(graph);
    sg_param_block_free(&grads);
    sg_safetensors_close(file);
}

// One file, in which each tensor has a type of its own.
static void test_gguf(void **state)
{
    sg_error err = {0};
    checkpoint c;
    sg_model *m;
    checkpoint_open(&c, *state);
    strcat(c.folder, "/model.gguf");
    double errors[1];
    seen_worst = 0;
    must(sg_model_open(c.context, c.folder, &m, &err), &err);
    check_logits(&c, m, "logits");
    check_session(&c, m, "cached logits");
    sg_model_free(m);
    must(sg_model_open_stored(c.context, c.folder, &m, &err), &err);
    assert_true(m->narrow.elements > m->params.total / 2);
    errors[0] = seen_worst;
    seen_worst = 0;
    check_logits(&c, m, "logits of stored weights");
    check_session(&c, m, "cached logits of stored weights");
    print_message("| %s | %.1e | %.1e | |\n", (const char *)*state, errors[0], seen_worst);
    sg_model_free(m);
    for (sg_weights type = SG_WEIGHTS_BF16; type <= SG_WEIGHTS_INT8; type++) {
        must(sg_model_open_narrow(c.context, c.folder, type, &m, &err), &err);
        sg_model_free(m);
    }
    checkpoint_close(&c);
}

static void test_checkpoint(void **state)
{
    sg_error err = {0};
    checkpoint c;
    sg_model *m;
    sg_model_file *file;
    checkpoint_open(&c, *state);
    must(sg_model_file_open(c.folder, &file, &err), &err);
    const sg_tensor_map *map = file->map;
    sg_model_file_close(file);
    must(sg_model_open(c.context, c.folder, &m, &err), &err);
    double errors[3];
    seen_worst = 0;
    check_logits(&c, m, "logits");
    check_session(&c, m, "cached logits");
    errors[0] = seen_worst;
    seen_worst = 0;
    check_gradients(&c, m, map);
    errors[1] = seen_worst;
    sg_model_free(m);
    must(sg_model_open_stored(c.context, c.folder, &m, &err), &err);
    seen_worst = 0;
    check_logits(&c, m, "logits of stored weights");
    check_session(&c, m, "cached logits of stored weights");
    errors[2] = seen_worst;
    print_message("| %s | %.1e | %.1e | %.1e |\n", (const char *)*state, errors[0], errors[2],
                  errors[1]);
    sg_model_free(m);
    checkpoint_close(&c);
}

// ---- what is wrong ------------------------------------------------------------------------------

typedef struct opening {
    checkpoint c;
    sg_status (*open)(sg_context *context, const char *path, sg_model **model, sg_error *err);
} opening;

static sg_status open_and_close(void *user, sg_error *err)
{
    const opening *o = user;
    sg_model *m;
    sg_status status = o->open(o->c.context, o->c.folder, &m, err);
    if (status == SG_OK)
        sg_model_free(m);
    else
        assert_null(m);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    static const char *const names[] = {"gpt2", "gpt_neox", "qwen2_moe", "gguf_llama"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        opening o = {.open = sg_model_open_stored};
        checkpoint_open(&o.c, names[i]);
        if (strncmp(names[i], "gguf", 4) == 0) strcat(o.c.folder, "/model.gguf");
        assert_true(alloc_failure_loop(open_and_close, &o) > 20);
        o.open = sg_model_open;
        assert_true(alloc_failure_loop(open_and_close, &o) > 20);
        checkpoint_close(&o.c);
    }
}

// Tensors that do not fit the configuration of their folder, made of those that do.
typedef struct changed {
    sg_tensor_view views[80];
    size_t count;
} changed;

static sg_status check_changed(const sg_model_file *file, const changed *set, sg_error *err)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/sgatlin-test-%ld.safetensors", (long)getpid());
    sg_safetensors *other;
    sg_param_list params;
    must(sg_safetensors_write(path, set->views, set->count, NULL, 0, NULL, err), err);
    must(sg_safetensors_open(path, &other, err), err);
    must(sg_config_params(&file->config, &params, err), err);
    const sg_tensors tensors = sg_tensors_of_safetensors(other);
    sg_status status = sg_model_file_check(file->map, &tensors, &file->config, &params, err);
    sg_param_list_free(&params);
    sg_safetensors_close(other);
    remove(path);
    return status;
}

static void expect_wrong(const sg_model_file *file, const changed *set, const char *message)
{
    sg_error err = {0};
    if (check_changed(file, set, &err) != SG_ERR_MISMATCH) fail_msg("taken: %s", message);
    if (strstr(err.message, message) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
}

static void test_wrong_tensors(void **state)
{
    (void)state;
    sg_error err = {0};
    checkpoint c;
    sg_model_file *file;
    changed set = {0};
    size_t fused = 0;
    checkpoint_open(&c, "gpt_neox");
    must(sg_model_file_open(c.folder, &file, &err), &err);
    const sg_tensors *t = &file->tensors;
    for (size_t i = 0; i < t->count(t->file); i++) {
        if (strstr(t->at(t->file, i)->name, "layers.1.attention.query_key_value.weight")) fused = i;
        set.views[set.count++] = *t->at(t->file, i);
    }
    must(check_changed(file, &set, &err), &err);
    set.views[set.count] = sg_tensor_view_make("gpt_neox.layers.0.attention.extra", SG_DTYPE_F16, 1,
                                               (int64_t[]){4}, set.views[0].data);
    set.count++;
    expect_wrong(file, &set, "tensor gpt_neox.layers.0.attention.extra is not part of this model");
    set.count--;
    const sg_tensor_view kept = set.views[fused];
    set.views[fused] =
        sg_tensor_view_make(kept.name, kept.dtype, 2, (int64_t[]){16, 48}, kept.data);
    expect_wrong(file, &set, "query_key_value.weight: found shape [16, 48], expected [48, 16]");
    set.views[fused] = sg_tensor_view_make(kept.name, kept.dtype, 1, (int64_t[]){768}, kept.data);
    expect_wrong(file, &set, "query_key_value.weight: found shape [768], expected [48, 16]");
    set.views[fused] = sg_tensor_view_make(kept.name, SG_DTYPE_I16, 2, kept.shape, kept.data);
    expect_wrong(file, &set, "query_key_value.weight: found I16, expected floating-point weights");
    set.views[fused] = set.views[set.count - 1];
    set.count--;
    expect_wrong(file, &set, "query_key_value.weight is missing");
    sg_model_file_close(file);
    checkpoint_close(&c);
}

int main(void)
{
    enum { count = checkpoint_folder_count, all = count + checkpoint_gguf_count };
    struct CMUnitTest tests[all + 2];
    for (int i = 0; i < all; i++) {
        const char *name = i < count ? checkpoint_folders[i] : checkpoint_ggufs[i - count];
        tests[i] = (struct CMUnitTest){name, i < count ? test_checkpoint : test_gguf, NULL, NULL,
                                       (void *)(uintptr_t)name};
    }
    tests[all] = (struct CMUnitTest)cmocka_unit_test(test_failures);
    tests[all + 1] = (struct CMUnitTest)cmocka_unit_test(test_wrong_tensors);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
