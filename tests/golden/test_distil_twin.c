// The distillation of projections into MLPs against numpy (tests/twins/distil_twin.py): losses and
// gradients of one step, and where two lead. tests/golden/README.md says what the file holds.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/safetensors.h"
#include "sparsify/distil.h"

enum { modules = 8 };
static const double alpha = 0.4, rate = 0.02;

static const char *const names[SG_DISTIL_VALUES] = {"up.weight", "up.bias", "down.weight",
                                                    "down.bias"};

static const sg_tensor_view *view(sg_safetensors *file, const char *of, const char *before,
                                  const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.%s%s", of, before, name);
    const sg_tensor_view *found = sg_safetensors_find(file, full);
    if (found == NULL) fail_msg("the golden file has no %s", full);
    assert_int_equal(found->dtype, SG_DTYPE_F32);
    return found;
}

static float *numbers(sg_safetensors *file, const char *of, const char *before, const char *name)
{
    return (float *)(uintptr_t)view(file, of, before, name)->data;
}

static sg_distil_module module_of(sg_safetensors *file, const char *of, int64_t *rows)
{
    const sg_tensor_view *x = view(file, of, "", "x"), *w = view(file, of, "", "weight");
    sg_distil_module m = {
        .size = {w->shape[1], w->shape[0], view(file, of, "", "up.bias")->shape[0]},
        .weight = numbers(file, of, "", "weight"),
        .bias = numbers(file, of, "", "bias"),
        .x = numbers(file, of, "", "x")};
    *rows = x->shape[0];
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        const sg_tensor_view *v = view(file, of, "", names[i]);
        m.values[i] = sg_alloc_array(v->bytes, 1);
        assert_non_null(m.values[i]);
        memcpy(m.values[i], v->data, v->bytes);
    }
    return m;
}

static void near(sg_safetensors *file, const char *of, const char *before, const char *name,
                 const float *found, double off)
{
    const sg_tensor_view *v = view(file, of, before, name);
    const float *expected = numbers(file, of, before, name);
    for (size_t i = 0; i < v->bytes / sizeof *found; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= off))
            fail_msg("%s.%s%s[%zu]: found %.9g, expected %.9g", of, before, name, i,
                     (double)found[i], (double)expected[i]);
}

static void check_step(sg_safetensors *file, const char *of)
{
    int64_t rows;
    sg_distil_module m = module_of(file, of, &rows);
    sg_real *grads[SG_DISTIL_VALUES];
    sg_error err = {0};
    sg_tape *tape;
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    for (int i = 0; i < SG_DISTIL_VALUES; i++)
        grads[i] = sg_alloc_zero(view(file, of, "", names[i])->bytes, 1);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){rows, m.size.in},
                                (sg_real *)(uintptr_t)m.x, NULL, false);
    const sg_distil_nodes nodes = sg_distil_record(tape, &m, grads, x);
    sg_distil_losses(tape, &nodes, 1.0 / modules);
    sg_distil_weigh(tape, alpha / modules);
    if (sg_tape_finish(tape, &(sg_tape_options){.gradient = true}, &err) != SG_OK ||
        sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_tape_forward(tape, &run);
    sg_tape_backward(tape, &run);
    float losses[2] = {0};
    for (int i = 0; i < sg_tape_nodes(tape); i++) {
        const sg_node *node = sg_tape_node_at(tape, i);
        if (sg_is_row_loss(node, SG_ROW_SQUARES)) losses[0] = sg_values(node->out[0])[0];
        if (sg_is_row_loss(node, SG_ROW_HOYER)) losses[1] = sg_values(node->out[0])[0];
    }
    near(file, of, "", "losses", losses, 1e-5);
    for (int i = 0; i < SG_DISTIL_VALUES; i++)
        near(file, of, "grad.", names[i], grads[i], 1e-6);
    sg_tape_free(tape);
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        sg_free(grads[i]);
        sg_free(m.values[i]);
    }
}

static void check_training(sg_safetensors *file, const char *of)
{
    int64_t rows;
    sg_error err = {0};
    sg_distil_module m = module_of(file, of, &rows);
    const sg_compute compute = {.kernels = sg_kernels_fastest()};
    const sg_distil_training training = {
        .steps = 2, .batch = rows, .rate = rate, .sparsity = alpha, .modules = modules, .seed = 3};
    double loss = 0, squares = (double)numbers(file, of, "", "losses")[0];
    if (sg_distil_train(compute, &m, 1, rows, &training, &loss, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_true(loss > 0 && loss < squares);
    for (int i = 0; i < SG_DISTIL_VALUES; i++) {
        near(file, of, "after.", names[i], m.values[i], 1e-5);
        sg_free(m.values[i]);
    }
}

static void test_twin(void **state)
{
    (void)state;
    static const char *const all[] = {"square", "narrow"};
    sg_error err = {0};
    sg_safetensors *file;
    if (sg_safetensors_open(SG_TEST_DIR "/golden/sparsify/distil.safetensors", &file, &err) !=
        SG_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        check_step(file, all[i]);
        check_training(file, all[i]);
    }
    sg_safetensors_close(file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_twin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
