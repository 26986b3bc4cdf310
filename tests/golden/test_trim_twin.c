// Layers that leave neurons out by their gates, and products that leave inputs out, against numpy
// (tests/twins/trim_twin.py), few rows and many. tests/golden/README.md says what the file holds.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "ffn/moefied.h"
#include "format/safetensors.h"
#include "sparsify/magnitudes.h"

static const struct {
    const char *name;
    bool gated;
    sg_glu_kind kind;
    sg_activation activation;
} layers[] = {{"swiglu", true, SG_GLU_SILU, SG_ACT_SWISH},
              {"geglu_erf", true, SG_GLU_GELU_ERF, SG_ACT_GELU_ERF},
              {"swish", false, SG_GLU_SILU, SG_ACT_SWISH},
              {"relu", false, SG_GLU_SILU, SG_ACT_RELU}};

static const sg_tensor_view *view(sg_safetensors *file, size_t layer, const char *name)
{
    char full[48];
    snprintf(full, sizeof full, "%s.%s", layers[layer].name, name);
    const sg_tensor_view *found = sg_safetensors_find(file, full);
    if (found == NULL) fail_msg("the golden file has no %s", full);
    assert_int_equal(found->dtype, SG_DTYPE_F32);
    assert_true(sg_tensor_view_is_aligned(found));
    return found;
}

static float *numbers(sg_safetensors *file, size_t layer, const char *name)
{
    return (float *)(uintptr_t)view(file, layer, name)->data;
}

// Gates and behind them linear parts: n numbers a neuron.
static float *both(sg_safetensors *file, size_t layer, const char *gate, const char *linear,
                   int64_t neurons, int64_t n)
{
    const size_t count = (size_t)(neurons * n);
    float *all = sg_alloc_array(2 * count, sizeof *all);
    assert_non_null(all);
    memcpy(all, numbers(file, layer, gate), count * sizeof *all);
    if (layers[layer].gated) memcpy(all + count, numbers(file, layer, linear), count * sizeof *all);
    return all;
}

static sg_tensor *leaf(sg_tape *tape, const char *name, int64_t a, int64_t b, int64_t c,
                       float *values)
{
    return sg_tape_leaf(tape, name, SG_KIND_REAL, 3, (int64_t[]){a, b, c}, values, NULL, false);
}

// The first `rows` rows.
static void check_layer(sg_safetensors *file, size_t layer, int64_t rows)
{
    const sg_tensor_view *out = view(file, layer, "out");
    const int64_t D = out->shape[0], d = out->shape[1], width = layers[layer].gated ? 2 * D : D;
    const float *expected = numbers(file, layer, "y");
    float *up = both(file, layer, "gate", "linear", D, d);
    float *bias = both(file, layer, "gate_bias", "linear_bias", D, 1);
    sg_error err = {0};
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_reshape(tape, leaf(tape, "x", 1, rows, d, numbers(file, layer, "x")), 2,
                              (int64_t[]){rows, d});
    sg_selection s = sg_select_all(tape, x, 1);
    s.unit = D;
    const sg_moefied of = {.up = leaf(tape, "up", 1, width, d, up),
                           .up_bias = leaf(tape, "up bias", 1, 1, width, bias),
                           .down = leaf(tape, "down", 1, D, d, numbers(file, layer, "out")),
                           .glu = layers[layer].gated,
                           .form.kind = layers[layer].kind,
                           .activation = layers[layer].activation,
                           .trim = (double)numbers(file, layer, "threshold")[0]};
    sg_tensor *y = sg_memory_moefied(tape, x, &s, &of);
    if (y != NULL) sg_tape_keep(tape, y);
    if (sg_tape_finish(tape, &(sg_tape_options){.threads = 2}, &err) != SG_OK ||
        sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    assert_int_equal(sg_pool_new(2, &run.compute.pool, &err), SG_OK);
    sg_tape_forward(tape, &run);
    for (int64_t i = 0; i < rows * d; i++)
        if (!(fabs((double)sg_values(y)[i] - (double)expected[i]) <= 1e-5))
            fail_msg("%s, %lld rows: number %lld is %.9g, expected %.9g", layers[layer].name,
                     (long long)rows, (long long)i, (double)sg_values(y)[i], (double)expected[i]);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    sg_free(up);
    sg_free(bias);
}

static void test_layers(void **state)
{
    (void)state;
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/sparsify/trim.safetensors", SG_TEST_DIR);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        check_layer(file, i, 1);
        check_layer(file, i, 20);
    }
    sg_safetensors_close(file);
}

// ---- inputs -------------------------------------------------------------------------------------

static float *input_numbers(sg_safetensors *file, const char *method, const char *name,
                            int64_t shape[2])
{
    char full[48];
    snprintf(full, sizeof full, "%s.%s", method, name);
    const sg_tensor_view *found = sg_safetensors_find(file, full);
    if (found == NULL) fail_msg("the golden file has no %s", full);
    assert_true(found->dtype == SG_DTYPE_F32 && sg_tensor_view_is_aligned(found));
    if (shape != NULL) memcpy(shape, found->shape, 2 * sizeof *shape);
    return (float *)(uintptr_t)found->data;
}

// The threshold of 40 % of the sizes: an upper end of a bin, which are 2^-10 wide.
static void check_threshold(sg_safetensors *file, const char *method)
{
    int64_t shape[2];
    sg_error err = {0};
    sg_magnitudes sizes;
    double threshold;
    const float *x = input_numbers(file, method, "x", shape);
    const bool scaled = strcmp(method, "wina") == 0;
    assert_int_equal(sg_magnitudes_new(&sizes, &err), SG_OK);
    assert_int_equal(sg_magnitudes_add(&sizes, x, shape[0], shape[1],
                                       scaled ? input_numbers(file, method, "norms", NULL) : NULL,
                                       &err),
                     SG_OK);
    assert_int_equal(sg_magnitudes_threshold(&sizes, 0.4, &threshold, &err), SG_OK);
    const double least = (double)*input_numbers(file, method, "least", NULL);
    assert_true(threshold >= least * (1 - 1e-6) && threshold <= least * (1 + 0x1p-9));
    sg_magnitudes_free(&sizes);
}

static void check_close(const char *what, const sg_real *found, const float *expected, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= 1e-5))
            fail_msg("%s: number %lld is %.9g, expected %.9g", what, (long long)i, (double)found[i],
                     (double)expected[i]);
}

// The first `rows` rows; few of them through columns, of which each slice has `slice`.
static void check_product(sg_safetensors *file, const char *method, int64_t rows, int64_t slice)
{
    int64_t shape[2];
    sg_error err = {0};
    sg_tape *tape;
    float *w = input_numbers(file, method, "w", shape);
    const int64_t n = shape[0], k = shape[1];
    float *columns = sg_alloc_array((size_t)(n * k), sizeof *columns);
    assert_non_null(columns);
    for (int64_t r = 0; r < n; r++)
        for (int64_t i = 0; i < k; i++) {
            const int64_t first = r / slice * slice, of = sg_min(slice, n - first);
            columns[first * k + i * of + (r - first)] = w[r * k + i];
        }
    const sg_stored_columns copy = {
        .type = SG_WEIGHTS_F32, .n = n, .k = k, .width = slice, .slices = columns};
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){rows, k},
                                input_numbers(file, method, "x", NULL), NULL, false);
    sg_tensor *norms = sg_tape_leaf(tape, "norms", SG_KIND_REAL, 1, &k,
                                    input_numbers(file, method, "norms", NULL), NULL, false);
    sg_tensor *bias = sg_tape_leaf(tape, "bias", SG_KIND_REAL, 1, &n,
                                   input_numbers(file, method, "bias", NULL), NULL, false);
    sg_tensor *matrix = sg_tape_leaf(tape, "w", SG_KIND_REAL, 2, shape, w, NULL, false);
    matrix->columns = &copy;
    const double threshold = (double)*input_numbers(file, method, "threshold", NULL);
    sg_tensor *kept = sg_trim(tape, x, strcmp(method, "wina") == 0 ? norms : NULL, threshold);
    sg_tensor *y = sg_linear_sparse(tape, kept, matrix, bias);
    assert_true(kept != NULL && y != NULL);
    const int last = sg_tape_nodes(tape) - 1;
    assert_string_equal(sg_tape_node_at(tape, last)->op->name,
                        rows <= SG_SPARSE_ROWS ? "linear_sparse" : "linear");
    sg_tape_keep(tape, kept);
    sg_tape_keep(tape, y);
    if (sg_tape_finish(tape, &(sg_tape_options){.threads = 2}, &err) != SG_OK ||
        sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    assert_int_equal(sg_pool_new(2, &run.compute.pool, &err), SG_OK);
    sg_tape_forward(tape, &run);
    assert_memory_equal(sg_values(kept), input_numbers(file, method, "kept", NULL),
                        (size_t)(rows * k) * sizeof(float));
    check_close(method, sg_values(y), input_numbers(file, method, "y", NULL), rows * n);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    sg_free(columns);
}

static void test_inputs(void **state)
{
    (void)state;
    static const char *const methods[] = {"teal", "wina"};
    char path[512];
    sg_error err = {0};
    sg_safetensors *file;
    snprintf(path, sizeof path, "%s/golden/sparsify/trim.safetensors", SG_TEST_DIR);
    if (sg_safetensors_open(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    for (int i = 0; i < 2; i++) {
        check_threshold(file, methods[i]);
        check_product(file, methods[i], 1, 40);
        check_product(file, methods[i], 4, 16);
        check_product(file, methods[i], 20, 40);
    }
    sg_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers),
                                       cmocka_unit_test(test_inputs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
