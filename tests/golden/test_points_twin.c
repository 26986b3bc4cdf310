// Values and gradients at the points of whole models against the independent PyTorch twin
// (tests/twins/points_twin.py). tests/golden/README.md says what the files hold.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "compute_on.h"
#include "format/safetensors.h"
#include "model/config.h"
#include "model/graph.h"

enum { points_most = 64 };
static const double tolerance = 2e-5;

typedef struct golden {
    sg_safetensors *model, *points;
    sg_config config;
    sg_param_list params;
    sg_param_block values, grads;
    sg_rope_table rope;
    sg_graph *graph;
    sg_point_request requests[points_most];
    size_t count;
    int compared;
} golden;

static sg_safetensors *open_file(const char *folder, const char *name)
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/%s/%s.safetensors", SG_TEST_DIR, folder, name);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    return file;
}

static const sg_tensor_view *find(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view;
}

// Rows first..., the largest difference over the largest magnitude of the whole.
static void compare(golden *g, const sg_point_values *p, const char *name, const float *found)
{
    const sg_tensor_view *view = find(g->points, name);
    int64_t row = 1;
    for (int i = 1; i < p->rank; i++)
        row *= p->shape[i];
    const int64_t count = sg_tensor_view_elements(view), at = p->first_row * row;
    float *expected = sg_alloc_array((size_t)count, sizeof *expected);
    assert_non_null(expected);
    assert_int_equal(count, p->sequences * p->length * row);
    assert_int_equal(sg_tensor_view_read_f32(view, expected, NULL), SG_OK);
    double worst = 0, size = 0;
    for (int64_t i = 0; i < count; i++)
        size = fmax(size, fabs((double)expected[i]));
    for (int64_t i = 0; i < p->shape[0] * row; i++) {
        double difference = fabs((double)found[i] - (double)expected[at + i]);
        worst = difference > worst || isnan(difference) ? difference : worst;
    }
    if (!(worst <= tolerance * size)) fail_msg("%s: off by %g of %g", name, worst, size);
    sg_free(expected);
    g->compared++;
}

static sg_status look(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    golden *g = user;
    char name[80];
    if (p->use == SG_POINT_GRADIENT) {
        snprintf(name, sizeof name, "grad.%s", p->name);
        compare(g, p, name, p->gradient);
        return SG_OK;
    }
    if (p->kind == SG_POINT_F32) {
        compare(g, p, p->name, p->values);
        return SG_OK;
    }
    const sg_tensor_view *view = find(g->points, p->name);
    assert_int_equal(view->dtype, SG_DTYPE_I32);
    assert_int_equal(view->bytes, p->shape[0] * p->shape[1] * p->shape[2] * 4);
    assert_memory_equal(view->data, p->ids, view->bytes);
    g->compared++;
    return SG_OK;
}

// Every point of the file, with its gradient where the file has one.
static void make_requests(golden *g)
{
    for (size_t i = 0; i < sg_safetensors_count(g->points); i++) {
        const char *name = sg_safetensors_at(g->points, i)->name;
        char gradient[80];
        if (strncmp(name, "grad.", 5) == 0) continue;
        snprintf(gradient, sizeof gradient, "grad.%s", name);
        const bool has = sg_safetensors_find(g->points, gradient) != NULL;
        assert_true(g->count < points_most);
        g->requests[g->count++] = (sg_point_request){
            name, has ? SG_POINT_READ | SG_POINT_GRADIENT : SG_POINT_READ, look, g};
    }
}

static void open_model(golden *g, const char *name)
{
    sg_error err = {0};
    g->model = open_file("models", name);
    g->points = open_file("points", name);
    const char *config = sg_safetensors_metadata(g->model, "config");
    assert_non_null(config);
    if (sg_config_parse(config, strlen(config), name, &g->config, &err) != SG_OK ||
        sg_config_params(&g->config, &g->params, &err) != SG_OK ||
        sg_param_block_new(&g->params, "weights", NULL, NULL, &g->values, &err) != SG_OK ||
        sg_param_block_new(&g->params, "gradients", NULL, NULL, &g->grads, &err) != SG_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < g->params.count; i++) {
        char param[SG_PARAM_NAME + 8];
        snprintf(param, sizeof param, "param.%s", g->params.specs[i].name);
        assert_int_equal(sg_tensor_view_read_f32(find(g->model, param), g->values.parts[i], NULL),
                         SG_OK);
    }
    make_requests(g);
}

static void check(const char *name)
{
    static golden g;
    g = (golden){.count = 0};
    sg_error err = {0};
    open_model(&g, name);
    const sg_tensor_view *inputs = find(g.model, "inputs");
    const int64_t batch = inputs->shape[0], length = inputs->shape[1];
    int32_t *targets = sg_alloc_array((size_t)(batch * length), sizeof *targets);
    assert_non_null(targets);
    memcpy(targets, find(g.model, "targets")->data, inputs->bytes);
    int64_t tokens = 0;
    for (int64_t i = 0; i < batch * length; i++) {
        if (targets[i] == g.config.pad_token_id) targets[i] = -1;
        tokens += targets[i] >= 0;
    }
    assert_int_equal(sg_rope_table_new(
                         &g.rope, length,
                         &(sg_rope_options){.dim = g.config.head_dim, .theta = g.config.rope_theta},
                         &err),
                     SG_OK);
    const sg_points points = {g.requests, g.count};
    const sg_graph_options options = {.batch = batch,
                                      .length = length,
                                      .output = SG_OUTPUT_LOSS,
                                      .gradient = true,
                                      .points = &points,
                                      .threads = 1};
    if (sg_graph_new(&g.config, &g.params, g.values.parts, g.grads.parts, &g.rope, &options,
                     &g.graph, &err) != SG_OK)
        fail_msg("%s: %s", name, err.message);
    g.graph->ids->data = (void *)(uintptr_t)inputs->data;
    g.graph->targets->data = targets;
    g.graph->stats.normaliser = (double)tokens;
    sg_run run = {.compute = compute_on(NULL)};
    assert_int_equal(sg_tape_forward(g.graph->tape, &run), SG_OK);
    assert_int_equal(sg_tape_backward(g.graph->tape, &run), SG_OK);
    // All of the file has been compared; a pattern comes sequence by sequence.
    assert_int_equal(g.compared, (int64_t)sg_safetensors_count(g.points) + batch - 1);
    sg_graph_free(g.graph);
    sg_rope_table_free(&g.rope);
    sg_free(targets);
    sg_param_block_free(&g.grads);
    sg_param_block_free(&g.values);
    sg_param_list_free(&g.params);
    sg_safetensors_close(g.points);
    sg_safetensors_close(g.model);
}

static void test_mlp(void **state)
{
    (void)state;
    check("mlp");
}

static void test_moe(void **state)
{
    (void)state;
    check("moe");
}

static void test_peer(void **state)
{
    (void)state;
    check("peer");
}

static void test_sgatlin(void **state)
{
    (void)state;
    check("sgatlin_gelu");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mlp),
        cmocka_unit_test(test_moe),
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_sgatlin),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
