// Whole models against the independent PyTorch twins of tests/twins: logits, loss, every gradient,
// and ten training steps. tests/golden/README.md says what the files hold. Built twice: with the
// library as shipped (f32), and through tests/grad with double in place of float.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/graph.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "compute_on.h"

#ifdef SG_REAL_DOUBLE
static const double tolerance = 1e-6; // the files are f32
#else
static const double tolerance = 2e-5;
#endif

typedef struct golden {
    sg_safetensors *file;
    sg_config config;
    sg_param_list params;
    sg_real **values, **grads;
    sg_rope_table rope;
    int64_t batch, length;
} golden;

static sg_real *golden_read(const golden *g, const char *name, int64_t expected)
{
    const sg_tensor_view *view = sg_safetensors_find(g->file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    int64_t count = sg_tensor_view_elements(view);
    if (expected >= 0) assert_int_equal(count, expected);
    float *f32 = sg_alloc_array((size_t)count, sizeof *f32);
    sg_real *values = sg_alloc_array((size_t)count, sizeof *values);
    assert_non_null(f32);
    assert_non_null(values);
    assert_int_equal(sg_tensor_view_read_f32(view, f32, NULL), SG_OK);
    for (int64_t i = 0; i < count; i++)
        values[i] = f32[i];
    sg_free(f32);
    return values;
}

static int32_t *golden_ids(const golden *g, const char *name, int64_t *count)
{
    const sg_tensor_view *view = sg_safetensors_find(g->file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    assert_int_equal(view->dtype, SG_DTYPE_I32);
    *count = sg_tensor_view_elements(view);
    int32_t *ids = sg_alloc_array((size_t)*count, sizeof *ids);
    assert_non_null(ids);
    memcpy(ids, view->data, view->bytes);
    return ids;
}

// Targets that are padding carry no weight.
static void golden_mask(const golden *g, int32_t *targets, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (targets[i] == g->config.pad_token_id) targets[i] = -1;
}

static void golden_open(golden *g, const char *path)
{
    sg_error err = {0};
    memset(g, 0, sizeof *g);
    if (sg_safetensors_open(path, &g->file, &err) != SG_OK) fail_msg("%s", err.message);
    const char *config = sg_safetensors_metadata(g->file, "config");
    assert_non_null(config);
    if (sg_config_parse(config, strlen(config), path, &g->config, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_config_params(&g->config, &g->params, &err), SG_OK);
    g->values = sg_alloc_zero(g->params.count, sizeof *g->values);
    g->grads = sg_alloc_zero(g->params.count, sizeof *g->grads);
    for (size_t i = 0; i < g->params.count; i++) {
        char name[SG_PARAM_NAME + 8];
        snprintf(name, sizeof name, "param.%s", g->params.specs[i].name);
        g->values[i] = golden_read(g, name, g->params.specs[i].count);
        g->grads[i] = sg_alloc_zero((size_t)g->params.specs[i].count, sizeof(sg_real));
    }
    const sg_tensor_view *inputs = sg_safetensors_find(g->file, "inputs");
    assert_non_null(inputs);
    g->batch = inputs->shape[0];
    g->length = inputs->shape[1];
    assert_int_equal(sg_rope_table_new(&g->rope, g->length,
                                       &(sg_rope_options){.dim = g->config.head_dim,
                                                          .theta = g->config.rope_theta},
                                       &err),
                     SG_OK);
}

static void golden_close(golden *g)
{
    for (size_t i = 0; i < g->params.count; i++) {
        sg_free(g->values[i]);
        sg_free(g->grads[i]);
    }
    sg_free(g->values);
    sg_free(g->grads);
    sg_rope_table_free(&g->rope);
    sg_param_list_free(&g->params);
    sg_safetensors_close(g->file);
}

static sg_graph *golden_graph(golden *g, sg_output output, bool gradient)
{
    sg_error err = {0};
    sg_graph_options options = {.batch = g->batch,
                                .length = g->length,
                                .output = output,
                                .gradient = gradient,
                                .threads = 1};
    sg_graph *graph;
    if (sg_graph_new(&g->config, &g->params, g->values, gradient ? g->grads : NULL, &g->rope,
                     &options, &graph, &err) != SG_OK)
        fail_msg("%s", err.message);
    return graph;
}

// Largest difference over the largest magnitude of the expected values.
static double golden_error(const sg_real *found, const sg_real *expected, int64_t count)
{
    double worst = 0, size = 0;
    for (int64_t i = 0; i < count; i++) {
        double difference = fabs((double)found[i] - (double)expected[i]);
        if (difference > worst || isnan(difference)) worst = difference;
        if (fabs((double)expected[i]) > size) size = fabs((double)expected[i]);
    }
    return worst / size;
}

static void golden_check(const char *what, const sg_real *found, const sg_real *expected,
                         int64_t count)
{
    double error = golden_error(found, expected, count);
    if (!(error <= tolerance))
        fail_msg("%s: relative error %.3g, expected at most %g", what, error, tolerance);
}

static void check_logits(golden *g)
{
    sg_graph *graph = golden_graph(g, SG_OUTPUT_LOGITS, false);
    int64_t count;
    int32_t *inputs = golden_ids(g, "inputs", &count);
    graph->ids->data = inputs;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    sg_real *expected = golden_read(g, "logits", count * g->config.vocab_size);
    golden_check("logits", sg_values(graph->logits), expected, count * g->config.vocab_size);
    sg_free(expected);
    sg_free(inputs);
    sg_graph_free(graph);
}

static void check_gradients(golden *g)
{
    sg_graph *graph = golden_graph(g, SG_OUTPUT_LOSS, true);
    int64_t count;
    int32_t *inputs = golden_ids(g, "inputs", &count), *targets = golden_ids(g, "targets", &count);
    golden_mask(g, targets, count);
    int64_t tokens = 0;
    for (int64_t i = 0; i < count; i++)
        tokens += targets[i] >= 0;
    assert_true(tokens < count); // the file has padding, or the mask is not tested
    graph->ids->data = inputs;
    graph->targets->data = targets;
    graph->stats.normaliser = (double)tokens;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(graph->tape, &run);
    sg_tape_backward(graph->tape, &run);
    sg_real *loss = golden_read(g, "loss", 1);
    golden_check("loss", sg_values(graph->loss), loss, 1);
    sg_free(loss);
    for (size_t i = 0; i < g->params.count; i++) {
        char name[SG_PARAM_NAME + 8];
        if (g->params.specs[i].buffer != SG_BUFFER_NONE) continue; // see check_buffers
        snprintf(name, sizeof name, "grad.%s", g->params.specs[i].name);
        sg_real *expected = golden_read(g, name, g->params.specs[i].count);
        golden_check(name, g->grads[i], expected, g->params.specs[i].count);
        sg_free(expected);
    }
    sg_free(inputs);
    sg_free(targets);
    sg_graph_free(graph);
}

static double train_number(const json_t *train, const char *key)
{
    double value = NAN;
    assert_int_equal(sg_json_get_number(train, "train", key, true, &value, NULL), SG_OK);
    return value;
}

// Where they stand behind the last step.
static void check_buffers(const golden *g)
{
    for (size_t i = 0; i < g->params.count; i++) {
        const sg_param_spec *spec = &g->params.specs[i];
        if (spec->buffer == SG_BUFFER_NONE) continue;
        char name[SG_PARAM_NAME + 8];
        snprintf(name, sizeof name, "final.%s", spec->name);
        sg_real *expected = golden_read(g, name, spec->count);
        golden_check(name, g->values[i], expected, spec->count);
        sg_free(expected);
    }
}

static void check_training(golden *g)
{
    sg_error err = {0};
    const char *text = sg_safetensors_metadata(g->file, "train");
    json_t *train;
    assert_non_null(text);
    assert_int_equal(sg_json_parse(text, strlen(text), "train", &train, &err), SG_OK);
    int64_t all, all_targets, steps = 10, rows = g->batch * g->length;
    int32_t *inputs = golden_ids(g, "train.inputs", &all);
    int32_t *targets = golden_ids(g, "train.targets", &all_targets);
    assert_int_equal(all, steps * rows);
    assert_int_equal(all_targets, all);
    golden_mask(g, targets, all);
    sg_real *losses = golden_read(g, "losses", steps), *lrs = golden_read(g, "lrs", steps);
    sg_real *norms = golden_read(g, "grad_norms", steps);
    sg_schedule schedule = {.kind = SG_SCHEDULE_SQRT,
                            .peak = train_number(train, "learning_rate"),
                            .warmup = (int64_t)train_number(train, "warmup_steps"),
                            .steps = (int64_t)train_number(train, "steps"),
                            .decay_fraction = train_number(train, "decay_fraction")};
    sg_optimizer_options options = {.beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .eps = 1e-8,
                                    .weight_decay = train_number(train, "weight_decay"),
                                    .clip = train_number(train, "clip_norm")};
    json_decref(train);
    sg_optimizer *optimizer;
    sg_gradients gradients = {.parts = g->grads, .count = g->params.count};
    if (sg_optimizer_new(&g->params, g->values, &gradients, &options, &optimizer, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_graph *graph = golden_graph(g, SG_OUTPUT_LOSS, true);
    for (int64_t s = 0; s < steps; s++) {
        graph->ids->data = inputs + s * rows;
        graph->targets->data = targets + s * rows;
        graph->stats.normaliser = 0;
        for (int64_t i = 0; i < rows; i++)
            graph->stats.normaliser += targets[s * rows + i] >= 0;
        sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
        sg_tape_forward(graph->tape, &run);
        sg_tape_backward(graph->tape, &run);
        double lr = sg_schedule_at(&schedule, s);
        sg_real found[3] = {sg_values(graph->loss)[0], (sg_real)lr,
                            (sg_real)sg_optimizer_norm(optimizer, compute_on(NULL))};
        sg_optimizer_apply(optimizer, compute_on(NULL), lr, (double)found[2]);
        sg_buffers_update(&g->params, g->values, g->grads, 1);
        char what[32];
        snprintf(what, sizeof what, "loss of step %lld", (long long)s);
        golden_check(what, &found[0], &losses[s], 1);
        if (lrs[s] != 0) golden_check("learning rate", &found[1], &lrs[s], 1);
        // Norms of later steps carry the differences of all steps before.
        assert_true(fabs((double)found[2] / (double)norms[s] - 1) <= 10 * tolerance);
    }
    check_buffers(g);
    sg_optimizer_free(optimizer);
    sg_graph_free(graph);
    sg_free(inputs);
    sg_free(targets);
    sg_free(losses);
    sg_free(lrs);
    sg_free(norms);
}

static void test_model(void **state)
{
    golden g;
    golden_open(&g, *state);
    check_logits(&g);
    check_gradients(&g);
    check_training(&g);
    golden_close(&g);
}

int main(void)
{
    static const char *const names[] = {"mlp",
                                        "glu",
                                        "moe",
                                        "peer",
                                        "sgatlin_product_dense",
                                        "sgatlin_product_key_value",
                                        "sgatlin_dense",
                                        "sgatlin_key_value",
                                        "sgatlin_gelu",
                                        "sgatlin_relu",
                                        "sgatlin_swish",
                                        "sgatlin_odd",
                                        "vanillam",
                                        "vanillam_blocks",
                                        "vanillam_relu",
                                        "lorkm",
                                        "lorkm_layernorm",
                                        "lorkm_batchnorm",
                                        "pkm",
                                        "pkm_sigmoid",
                                        "pkm_relu",
                                        "pkm_gelu",
                                        "pkm_ffn",
                                        "pkm_ffn_sigmoid",
                                        "switch",
                                        "switch_blocks",
                                        "switch_wide",
                                        "randhash",
                                        "randhash_cells",
                                        "randhash_wide",
                                        "avgk",
                                        "avgk_cells",
                                        "avgk_wide",
                                        "avgk_gate",
                                        "moe_balanced",
                                        "moe_capacity",
                                        "moe_sigmoid",
                                        "layers_every",
                                        "layers_list",
                                        "shared_pool",
                                        "shared_experts",
                                        "memory_plus",
                                        "memory_plus_shared",
                                        "omnimoe",
                                        "omnimoe_gelu",
                                        "attention_mlps"};
    enum { count = sizeof names / sizeof *names };
    static char paths[count][4096];
    struct CMUnitTest tests[count];
    for (int i = 0; i < count; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/golden/models/%s.safetensors", SG_TEST_DIR,
                 names[i]);
        tests[i] = (struct CMUnitTest){names[i], test_model, NULL, NULL, paths[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
