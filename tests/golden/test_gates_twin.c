// Neighbours, maps and likeness of spaces against scikit-learn, umap-learn and numpy
// (tests/twins/gates_twin.py). tests/golden/README.md says what the files hold.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/context.h"
#include "format/safetensors.h"
#include "probe/umap_graph.h"
#include "probe/umap_layout.h"
#include "sgatlin_gates.h"

static sg_context *context;

static sg_safetensors *open_file(const char *name)
{
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/gates/%s.safetensors", SG_TEST_DIR, name);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    return file;
}

static const sg_tensor_view *find(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = sg_safetensors_find(file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    return view;
}

static const float *floats(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = find(file, name);
    assert_int_equal(view->dtype, SG_DTYPE_F32);
    assert_true(sg_tensor_view_is_aligned(view));
    return view->data;
}

static const int32_t *whole(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = find(file, name);
    assert_int_equal(view->dtype, SG_DTYPE_I32);
    assert_true(sg_tensor_view_is_aligned(view));
    return view->data;
}

// The sparse rows of a file. Ownership: its begins, sg_free.
static sg_vectors gates_of(const sg_safetensors *file, int64_t columns)
{
    const sg_tensor_view *view = find(file, "begins");
    const int32_t *begins = whole(file, "begins");
    int64_t *wide = sg_alloc_array((size_t)view->shape[0], sizeof *wide);
    assert_non_null(wide);
    for (int64_t r = 0; r < view->shape[0]; r++)
        wide[r] = begins[r];
    return (sg_vectors){.rows = view->shape[0] - 1,
                        .columns = columns,
                        .begins = wide,
                        .neurons = whole(file, "neurons"),
                        .scores = floats(file, "scores")};
}

static sg_vectors dense_of(const sg_safetensors *file, const char *name)
{
    const sg_tensor_view *view = find(file, name);
    return (sg_vectors){
        .rows = view->shape[0], .columns = view->shape[1], .values = floats(file, name)};
}

// cmocka's own compares floats.
static void close_to(double found, double expected, double within)
{
    if (!(fabs(found - expected) <= within))
        fail_msg("found %.17g, expected %.17g within %g", found, expected, within);
}

static int group_begin(void **state)
{
    (void)state;
    sg_context_options o = sg_context_options_default();
    o.threads = 2;
    return sg_context_new(&o, &context, NULL) == SG_OK ? 0 : -1;
}

static int group_end(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// ---- neighbours ---------------------------------------------------------------------------------

static void compare_neighbours(const sg_vectors *rows, sg_metric metric, const int32_t *ids,
                               const float *distances)
{
    enum { count = 10 };
    sg_error err = {0};
    sg_neighbours_options o = sg_neighbours_options_default();
    o.count = count;
    o.metric = metric;
    int32_t *found = sg_alloc_array((size_t)rows->rows * count, sizeof *found);
    double *at = sg_alloc_array((size_t)rows->rows * count, sizeof *at);
    assert_non_null(found);
    assert_non_null(at);
    if (sg_neighbours(context, rows, NULL, &o, found, at, &err) != SG_OK)
        fail_msg("%s", err.message);
    for (int64_t i = 0; i < rows->rows * count; i++) {
        if (found[i] != ids[i])
            fail_msg("row %lld: found %d, expected %d", (long long)(i / count), found[i], ids[i]);
        if (!(fabs(at[i] - (double)distances[i]) <= 2e-7 * (1 + (double)distances[i])))
            fail_msg("row %lld: found %.9g, expected %.9g", (long long)(i / count), at[i],
                     (double)distances[i]);
    }
    sg_free(found);
    sg_free(at);
}

static void test_neighbours(void **state)
{
    (void)state;
    sg_safetensors *file = open_file("neighbours");
    const sg_vectors gates = gates_of(file, 64), dense = dense_of(file, "dense");
    compare_neighbours(&gates, SG_METRIC_COSINE, whole(file, "ids"), floats(file, "distances"));
    compare_neighbours(&dense, SG_METRIC_EUCLIDEAN, whole(file, "dense.ids"),
                       floats(file, "dense.distances"));
    sg_free((void *)gates.begins);
    sg_safetensors_close(file);
}

// ---- maps ---------------------------------------------------------------------------------------

static void test_graph(void **state)
{
    enum { near = 14 };
    (void)state;
    sg_error err = {0};
    sg_safetensors *file = open_file("map");
    const sg_vectors gates = gates_of(file, 128);
    const int32_t *begins = whole(file, "graph.begins"), *ids = whole(file, "graph.ids");
    const float *weights = floats(file, "graph.weights");
    sg_neighbours_options o = sg_neighbours_options_default();
    sg_graph_edges graph;
    o.count = near;
    int32_t *found = sg_alloc_array((size_t)gates.rows * near, sizeof *found);
    double *at = sg_alloc_array((size_t)gates.rows * near, sizeof *at);
    assert_int_equal(sg_neighbours(context, &gates, NULL, &o, found, at, &err), SG_OK);
    assert_int_equal(sg_umap_graph(gates.rows, near, found, at, &graph, &err), SG_OK);
    assert_int_equal(graph.begins[gates.rows], begins[gates.rows]);
    for (int64_t r = 0; r < gates.rows; r++) {
        assert_int_equal(graph.begins[r + 1], begins[r + 1]);
        for (int64_t e = graph.begins[r]; e < graph.begins[r + 1]; e++) {
            assert_int_equal(graph.ids[e], ids[e]);
            if (!(fabsf(graph.weights[e] - weights[e]) <= 1e-5f))
                fail_msg("edge %lld to %d: found %g, expected %g", (long long)r, ids[e],
                         (double)graph.weights[e], (double)weights[e]);
        }
    }
    sg_umap_graph_free(&graph);
    sg_free(found);
    sg_free(at);
    sg_free((void *)gates.begins);
    sg_safetensors_close(file);
}

static void test_curve(void **state)
{
    (void)state;
    sg_safetensors *file = open_file("map");
    const float *curves = floats(file, "curves");
    const int64_t count = find(file, "curves")->shape[0];
    for (int64_t i = 0; i < count; i++, curves += 4) {
        double a, b;
        sg_umap_curve((double)curves[0], (double)curves[1], &a, &b);
        // Its optimiser ends at a relative change of 1e-8 of the sum; ours goes on.
        if (!(fabs(a - (double)curves[2]) <= 1e-4 * a && fabs(b - (double)curves[3]) <= 1e-4 * b))
            fail_msg("min_dist %g, spread %g: found %.7g, %.7g, expected %.7g, %.7g",
                     (double)curves[0], (double)curves[1], a, b, (double)curves[2],
                     (double)curves[3]);
    }
    sg_safetensors_close(file);
}

static void test_trustworthiness(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_safetensors *file = open_file("map");
    const sg_vectors gates = gates_of(file, 128), dense = dense_of(file, "dense");
    const float *expected = floats(file, "trustworthiness");
    const int64_t seeds = find(file, "trustworthiness")->shape[0];
    sg_umap_options o = sg_umap_options_default();
    sg_umap map;
    // No two distances are equal here, so that ranks are certain.
    assert_int_equal(sg_umap_quality(context, &dense, floats(file, "dense.places"), &o, &map, &err),
                     SG_OK);
    close_to(map.trustworthiness, (double)floats(file, "dense.trustworthiness")[0], 1e-6);
    assert_int_equal(map.quality_rows, dense.rows);
    // Gates have many pairs at distance 1, whose order scikit-learn leaves open.
    assert_int_equal(sg_umap_quality(context, &gates, floats(file, "places"), &o, &map, &err),
                     SG_OK);
    close_to(map.trustworthiness, (double)expected[seeds - 1], 2e-3);
    sg_free((void *)gates.begins);
    sg_safetensors_close(file);
}

static void test_map(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_safetensors *file = open_file("map");
    const sg_vectors gates = gates_of(file, 128);
    const float *expected = floats(file, "trustworthiness");
    const int64_t seeds = find(file, "trustworthiness")->shape[0];
    double ours = 0, theirs = 0;
    for (int64_t seed = 0; seed < seeds; seed++) {
        sg_umap_options o = sg_umap_options_default();
        sg_umap *map;
        o.seed = (uint64_t)seed;
        if (sg_umap_make(context, &gates, &o, &map, &err) != SG_OK) fail_msg("%s", err.message);
        ours += map->trustworthiness / (double)seeds;
        theirs += (double)expected[seed] / (double)seeds;
        assert_true(map->trustworthiness > (double)expected[seed] - 0.02);
        sg_umap_free(map);
    }
    if (!(ours > theirs - 0.01)) fail_msg("found %g on average, expected %g", ours, theirs);
    sg_free((void *)gates.begins);
    sg_safetensors_close(file);
}

// ---- likeness of spaces -------------------------------------------------------------------------

static void test_cka(void **state)
{
    (void)state;
    sg_safetensors *file = open_file("cka");
    const sg_vectors x = gates_of(file, 96), y = dense_of(file, "y"), z = dense_of(file, "z");
    const sg_vectors *const pairs[4][2] = {{&x, &y}, {&x, &x}, {&y, &z}, {&x, &z}};
    const float *expected = floats(file, "xy.xx.yz.xz");
    for (int p = 0; p < 4; p++)
        for (sg_cka_form form = SG_CKA_AUTO; form <= SG_CKA_GRAM; form++) {
            double value;
            sg_error err = {0};
            if (sg_cka(context, pairs[p][0], pairs[p][1], form, &value, &err) != SG_OK)
                fail_msg("%s", err.message);
            close_to(value, (double)expected[p], 1e-7);
        }
    sg_free((void *)x.begins);
    sg_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neighbours), cmocka_unit_test(test_graph),
        cmocka_unit_test(test_curve),      cmocka_unit_test(test_trustworthiness),
        cmocka_unit_test(test_map),        cmocka_unit_test(test_cka),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
