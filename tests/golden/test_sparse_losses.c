// What training adds to make layers sparse, in whole models, against numpy
// (tests/twins/sparse_losses_twin.py): losses, and the slope of all of them together along the
// weights. tests/golden/README.md says what the file holds. Built twice, as test_models.c is.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "ffn/sparsity.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/graph.h"
#include "compute_on.h"

#ifdef SG_REAL_DOUBLE
static const double tolerance = 1e-6; // the files are f32
#else
static const double tolerance = 1e-4;
#endif

// As the twin has them.
static const double alpha = 0.3, eta = 0.7, lambda = 0.01;

static sg_safetensors *file_open(const char *name)
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/%s.safetensors", SG_TEST_DIR, name);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    return file;
}

static const sg_tensor_view *file_view(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    assert_true(sg_tensor_view_is_aligned(view));
    return view;
}

typedef struct trained {
    sg_config config;
    sg_param_list params;
    sg_real **values, **grads;
    sg_safetensors *model, *losses;
} trained;

// down_proj (d, F) lies as rows of neurons (F, d) in blocks.
static void value_turned(sg_real *to, const float *from, int64_t d, int64_t F)
{
    for (int64_t j = 0; j < F; j++)
        for (int64_t i = 0; i < d; i++)
            to[j * d + i] = (sg_real)from[i * F + j];
}

static void value_read(const trained *t, size_t p)
{
    const sg_param_spec *spec = &t->params.specs[p];
    char name[SG_PARAM_NAME + 8];
    int layer = 0;
    const char *rest = strstr(spec->name, ".mlp.experts.");
    sscanf(spec->name, "model.layers.%d.", &layer);
    if (strstr(spec->name, ".mlp.router.") != NULL) {
        snprintf(name, sizeof name, "router.%d", layer);
        const float *from = file_view(t->losses, name)->data;
        for (int64_t i = 0; i < spec->count; i++)
            t->values[p][i] = (sg_real)from[i];
        return;
    }
    if (rest == NULL)
        snprintf(name, sizeof name, "param.%s", spec->name);
    else
        snprintf(name, sizeof name, "param.model.layers.%d.mlp.%s_proj.weight", layer,
                 strstr(rest, "w_in") != NULL ? "up" : "down");
    const float *from = file_view(t->model, name)->data;
    if (rest != NULL && strstr(rest, "w_out") != NULL) {
        value_turned(t->values[p], from, t->config.hidden_size, t->config.ffn_intermediate_size);
        return;
    }
    for (int64_t i = 0; i < spec->count; i++)
        t->values[p][i] = (sg_real)from[i];
}

static void trained_open(trained *t, const char *model, const char *settings[][2])
{
    char name[64];
    sg_error err = {0};
    memset(t, 0, sizeof *t);
    snprintf(name, sizeof name, "models/%s", model);
    t->model = file_open(name);
    t->losses = file_open("sparsify/losses");
    const char *config = sg_safetensors_metadata(t->model, "config");
    assert_int_equal(sg_config_parse(config, strlen(config), name, &t->config, &err), SG_OK);
    for (int i = 0; settings[i][0] != NULL; i++)
        if (sg_config_set(&t->config, settings[i][0], settings[i][1], &err) != SG_OK)
            fail_msg("%s", err.message);
    if (sg_config_complete(&t->config, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_config_params(&t->config, &t->params, &err), SG_OK);
    t->values = sg_alloc_zero(t->params.count, sizeof *t->values);
    t->grads = sg_alloc_zero(t->params.count, sizeof *t->grads);
    for (size_t p = 0; p < t->params.count; p++) {
        t->values[p] = sg_alloc_zero((size_t)t->params.specs[p].count, sizeof(sg_real));
        t->grads[p] = sg_alloc_zero((size_t)t->params.specs[p].count, sizeof(sg_real));
        value_read(t, p);
    }
}

static void trained_close(trained *t)
{
    for (size_t p = 0; p < t->params.count; p++) {
        sg_free(t->values[p]);
        sg_free(t->grads[p]);
    }
    sg_free(t->values);
    sg_free(t->grads);
    sg_param_list_free(&t->params);
    sg_safetensors_close(t->model);
    sg_safetensors_close(t->losses);
}

static sg_graph *trained_graph(const trained *t, const sg_rope_table *rope,
                               const sg_sparsity *sparsity)
{
    const sg_tensor_view *inputs = file_view(t->model, "inputs");
    const sg_graph_options options = {.batch = inputs->shape[0],
                                      .length = inputs->shape[1],
                                      .output = SG_OUTPUT_LOSS,
                                      .gradient = true,
                                      .sparsity = *sparsity,
                                      .threads = 1};
    sg_error err = {0};
    sg_graph *graph;
    if (sg_graph_new(&t->config, &t->params, t->values, t->grads, rope, &options, &graph, &err) !=
        SG_OK)
        fail_msg("%s", err.message);
    return graph;
}

// One pass over the batch of the file, with weights; losses, at most two, and the slope.
static void trained_run(const trained *t, const sg_sparsity *sparsity, double found[4], int count)
{
    const sg_tensor_view *inputs = file_view(t->model, "inputs");
    const int64_t rows = inputs->shape[0] * inputs->shape[1];
    int32_t *targets = sg_alloc_array((size_t)rows, sizeof *targets);
    sg_rope_table rope;
    sg_error err = {0};
    const sg_rope_options form = {.dim = t->config.head_dim, .theta = t->config.rope_theta};
    assert_int_equal(sg_rope_table_new(&rope, inputs->shape[1], &form, &err), SG_OK);
    sg_graph *g = trained_graph(t, &rope, sparsity);
    int64_t counted = 0;
    memcpy(targets, file_view(t->model, "targets")->data, (size_t)rows * sizeof *targets);
    for (int64_t r = 0; r < rows; r++) {
        if (targets[r] == t->config.pad_token_id) targets[r] = -1;
        counted += targets[r] >= 0;
    }
    g->ids->data = (void *)(uintptr_t)inputs->data;
    g->targets->data = targets;
    g->stats.normaliser = (double)counted;
    sg_graph_weigh(g, sg_is_term, alpha);
    sg_graph_weigh(g, sg_is_efficiency, eta);
    sg_graph_weigh(g, sg_is_separability, lambda);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    assert_int_equal(sg_tape_forward(g->tape, &run), SG_OK);
    assert_int_equal(sg_tape_backward(g->tape, &run), SG_OK);
    found[0] = g->stats.loss_sum / (double)counted;
    found[1] = sg_graph_loss_mean(g, count == 3 ? sg_is_term : sg_is_efficiency);
    found[2] = sg_graph_loss_mean(g, sg_is_separability);
    double slope = 0;
    for (size_t p = 0; p < t->params.count; p++)
        for (int64_t i = 0; i < t->params.specs[p].count; i++)
            slope += (double)t->values[p][i] * (double)t->grads[p][i];
    found[count - 1] = slope;
    sg_graph_free(g);
    sg_rope_table_free(&rope);
    sg_free(targets);
}

static void check_case(const char *model, const char *entry, const char *settings[][2],
                       const sg_sparsity *sparsity)
{
    trained t;
    double found[4];
    trained_open(&t, model, settings);
    const sg_tensor_view *expected = file_view(t.losses, entry);
    const int count = (int)expected->shape[0];
    trained_run(&t, sparsity, found, count);
    for (int i = 0; i < count; i++) {
        const double want = (double)((const float *)expected->data)[i];
        if (!(fabs(found[i] - want) <= tolerance * (1 + fabs(want))))
            fail_msg("%s, number %d: found %.9g, expected %.9g", entry, i, found[i], want);
    }
    trained_close(&t);
}

static void test_terms(void **state)
{
    (void)state;
    static const char *const names[] = {"none", "l1", "hoyer", "clamped", "clamped_hoyer"};
    for (int term = SG_SPARSITY_L1; term <= SG_SPARSITY_CLAMPED_HOYER; term++) {
        const sg_sparsity sparsity = {.term = (sg_sparsity_term)term, .floor = -0.4};
        char entry[32];
        snprintf(entry, sizeof entry, "mlp.%s", names[term]);
        check_case(
            "mlp", entry,
            (const char *[][2]){{"ffn_activation", term < SG_SPARSITY_CLAMPED ? "relu" : "gelu"},
                                {NULL, NULL}},
            &sparsity);
        snprintf(entry, sizeof entry, "glu.%s", names[term]);
        if (term == SG_SPARSITY_CLAMPED_HOYER) continue;
        check_case("glu", entry, (const char *[][2]){{"ffn_activation", "reglu"}, {NULL, NULL}},
                   &sparsity);
    }
}

// Blocks of 4, of which all run, each times its score.
static void test_lte(void **state)
{
    (void)state;
    const sg_sparsity sparsity = {.soft = true, .least = 0.05};
    check_case("mlp", "lte.lte",
               (const char *[][2]){{"ffn", "moefied"},
                                   {"ffn_router", "sigmoid"},
                                   {"ffn_activation", "relu"},
                                   {"ffn_block_size", "4"},
                                   {"ffn_top_k", "11"},
                                   {"ffn_select", "threshold"},
                                   {"ffn_threshold", "0.5"},
                                   {NULL, NULL}},
               &sparsity);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_terms),
        cmocka_unit_test(test_lte),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
