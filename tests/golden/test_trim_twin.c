// Layers that leave neurons out by their gates against numpy (tests/twins/trim_twin.py), few rows
// and many. tests/golden/README.md says what the file holds.
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_layers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
