// Lists of parameters: what a buffer shares with a parameter and what it does not.
#include "ffn/params.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "train/optimizer.h"
#include "compute_on.h"

static void make_list(sg_param_list *list)
{
    *list = (sg_param_list){0};
    sg_param_add(list, "p.", "weight", 2, (int64_t[]){2, 3}, SG_INIT_ONE, 0);
    sg_param_add_buffer(list, "p.", "mean", 1, (int64_t[]){4}, SG_INIT_ZERO, SG_BUFFER_AVERAGE,
                        0.1);
    sg_param_add(list, "p.", "bias", 1, (int64_t[]){3}, SG_INIT_ZERO, 0);
    assert_int_equal(list->status, SG_OK);
}

static void test_counts(void **state)
{
    (void)state;
    sg_param_list list;
    make_list(&list);
    assert_int_equal(list.count, 3);
    assert_int_equal(list.total, 13);
    assert_int_equal(list.buffers, 4);
    assert_string_equal(list.specs[1].name, "p.mean");
    assert_int_equal(list.specs[1].buffer, SG_BUFFER_AVERAGE);
    assert_false(list.specs[1].decay);
    assert_int_equal(list.specs[0].buffer, SG_BUFFER_NONE);
    sg_param_list_free(&list);
    // A failure of the list is kept, and counts nothing.
    sg_param_add_buffer(&list, "", "empty", 1, (int64_t[]){0}, SG_INIT_ZERO, SG_BUFFER_AVERAGE, 1);
    assert_int_equal(list.status, SG_ERR_ARGUMENT);
    assert_int_equal(list.buffers, 0);
    sg_param_list_free(&list);
}

// The optimiser moves parameters only, and its norm sees their gradients only; buffers move by
// their rule, once for all micro-batches.
static void test_optimiser_and_rule(void **state)
{
    (void)state;
    sg_param_list list;
    make_list(&list);
    sg_real weight[6], mean[4] = {1, 2, -3, 0}, bias[3] = {0};
    sg_real dweight[6] = {0}, statistic[4] = {6, 4, -6, 1e30f}, dbias[3] = {0, 3, 4};
    sg_param_init(&list.specs[0], 1, NULL, weight);
    sg_real *values[] = {weight, mean, bias}, *grads[] = {dweight, statistic, dbias};
    sg_optimizer_options options = {
        .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 1};
    sg_optimizer *optimizer;
    sg_error err = {0};
    const sg_gradients gradients = {.parts = grads, .count = 3};
    assert_int_equal(sg_optimizer_new(&list, values, &gradients, &options, &optimizer, &err),
                     SG_OK);
    double norm = sg_optimizer_norm(optimizer, compute_on(NULL));
    assert_true(fabs(norm - 5) < 1e-6);
    sg_optimizer_apply(optimizer, compute_on(NULL), 0.5, norm);
    const sg_real before[] = {1, 2, -3, 0};
    assert_memory_equal(mean, before, sizeof mean);
    assert_true(bias[0] == 0 && bias[1] < 0 && bias[2] < 0);
    for (int i = 0; i < 6; i++)
        assert_true(fabs((double)weight[i] - 0.95) < 1e-6); // decay
    for (int which = 0; which < 2; which++)
        for (int i = 0; i < 4; i++)
            assert_true(sg_optimizer_moment(optimizer, 1, which)[i] == 0);

    sg_buffers_update(&list, values, grads, 2);
    const double after[] = {1 + 0.1 * (3 - 1), 2, -3, 0.5e29};
    for (int i = 0; i < 4; i++)
        assert_true(fabs((double)mean[i] - after[i]) <= 1e-6 * fabs(after[i]));
    assert_true(bias[0] == 0 && fabs((double)weight[0] - 0.95) < 1e-6);
    sg_optimizer_free(optimizer);
    sg_param_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_optimiser_and_rule),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
