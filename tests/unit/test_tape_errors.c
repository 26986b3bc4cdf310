// Errors of the recording: every operation refuses shapes that do not fit and passes NULL on, the
// first error is kept, and finishing the tape reports it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "ffn/memory.h"

static void expect_error(sg_tape *tape, sg_tensor *result, sg_status code, const char *part)
{
    sg_error err = {0};
    assert_null(result);
    // Nothing recorded afterwards hides it.
    const int64_t two = 2;
    assert_null(sg_tape_leaf(tape, "late", SG_KIND_REAL, 1, &two, NULL, NULL, true));
    assert_null(sg_reshape(tape, result, 1, &two));
    sg_tape_add_loss(tape, result, 1);
    sg_tape_keep(tape, result);
    sg_tape_fail(tape, SG_ERR_IO, "a later error");
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.gradient = true}, &err), code);
    if (strstr(err.message, part) == NULL)
        fail_msg("found \"%s\", expected it to name %s", err.message, part);
    sg_tape_free(tape);
}

enum {
    leaf_x,
    leaf_w,
    leaf_b,
    leaf_ids,
    leaf_cube,
    leaf_up,
    leaf_down,
    leaf_six,
    leaf_five,
    leaf_count
};

static sg_tensor *error_leaf(sg_tape *tape, const char *name, int rank, const int64_t *shape)
{
    return sg_tape_leaf(tape, name, SG_KIND_REAL, rank, shape, NULL, NULL, true);
}

static sg_tape *error_tape(sg_tensor **leaves)
{
    sg_tape *tape;
    assert_int_equal(sg_tape_new(&tape, NULL), SG_OK);
    leaves[leaf_x] = error_leaf(tape, "x", 2, (int64_t[]){6, 5});
    leaves[leaf_w] = error_leaf(tape, "w", 2, (int64_t[]){4, 3});
    leaves[leaf_b] = error_leaf(tape, "b", 1, (int64_t[]){9});
    leaves[leaf_ids] =
        sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, (int64_t[]){6, 2}, NULL, NULL, false);
    leaves[leaf_cube] = error_leaf(tape, "cube", 3, (int64_t[]){2, 3, 5});
    leaves[leaf_up] = error_leaf(tape, "up", 3, (int64_t[]){1, 6, 5});
    leaves[leaf_down] = error_leaf(tape, "down", 3, (int64_t[]){1, 5, 3});
    leaves[leaf_six] = error_leaf(tape, "six", 1, (int64_t[]){6});
    leaves[leaf_five] = error_leaf(tape, "five", 1, (int64_t[]){5});
    return tape;
}

static const sg_glu_form form = {.kind = SG_GLU_SILU};

static sg_tensor *error_attention(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                                  int64_t length, int64_t heads, int64_t kv_heads, sg_tensor *sinks)
{
    return sg_attention(
        tape, q, k, v,
        &(sg_attention_options){
            .length = length, .heads = heads, .kv_heads = kv_heads, .sinks = sinks});
}

static sg_tensor *wrong_shape(sg_tape *tape, sg_tensor **l, int n)
{
    sg_tensor *x = l[leaf_x], *w = l[leaf_w], *b = l[leaf_b], *cube = l[leaf_cube];
    static sg_rope_table rope = {.positions = 4, .half = 2};
    static sg_loss_stats stats;
    sg_selection s = {.ids = l[leaf_ids], .scores = l[leaf_ids], .channels = 1, .k = 2, .unit = 1};
    sg_selection experts = s; // of three cells each
    experts.unit = 3;
    switch (n) {
    case 0:
        return sg_linear(tape, x, w, NULL);
    case 1:
        return sg_linear(tape, x, cube, NULL);
    case 2:
        return sg_linear(tape, w, w, b);
    case 3:
        return sg_add(tape, x, w);
    case 4:
        return sg_rmsnorm(tape, x, b, 1e-6);
    case 5:
        return sg_embedding(tape, x, w);
    case 6:
        return sg_embedding(tape, b, l[leaf_ids]);
    case 7:
        return sg_linear_groups(tape, x, w, 1);
    case 8:
        return sg_linear_groups(tape, x, cube, 1);
    case 9:
        return sg_rope(tape, x, &rope, 4, 3, NULL);
    case 10:
        return sg_rope(tape, x, &rope, 5, 6, NULL);
    case 11:
        return error_attention(tape, x, x, x, 4, 1, 0, NULL);
    case 12:
        return error_attention(tape, x, x, x, 6, 2, 0, NULL);
    case 13:
        return error_attention(tape, x, x, w, 6, 1, 0, NULL);
    case 14:
        return error_attention(tape, x, x, x, 0, 1, 0, NULL);
    case 15:
        return error_attention(tape, x, x, x, 6, 0, 0, NULL);
    case 16:
        return sg_glu(tape, x, &form);
    case 17:
        return sg_softmax(tape, x, 2);
    case 18:
        return sg_softmax(tape, x, 0);
    case 19:
        return sg_topk(tape, x, 1, 6).scores;
    case 20:
        return sg_topk(tape, x, 2, 1).scores;
    case 21:
        return sg_topk(tape, x, 0, 1).scores;
    case 22:
        return sg_product_topk(tape, x, 1, 1).scores;
    case 23:
        return sg_take_last(tape, x, 4);
    case 24:
        return sg_cross_entropy(tape, x, w, l[leaf_ids], &stats);
    case 25:
        return sg_reshape(tape, x, 2, (int64_t[]){5, 5});
    case 26:
        return sg_memory_neurons(tape, x, &s, w, w, SG_ACT_GELU, SG_GATE_NONE);
    case 27:
        return sg_memory_neurons(tape, w, &s, cube, cube, SG_ACT_GELU, SG_GATE_NONE);
    case 28: // two pools, one channel
        return sg_memory_neurons(tape, x, &s, cube, cube, SG_ACT_GELU, SG_GATE_NONE);
    case 29:
        return sg_memory_experts(tape, x, &experts, cube, b, w, b, &form);
    case 30: // biases that are too long
        return sg_memory_experts(tape, x, &experts, l[leaf_up], b, l[leaf_down], b, &form);
    case 31: // more hits than rows
        experts.k = 1;
        return sg_memory_experts(tape, x, &experts, l[leaf_up], l[leaf_six], l[leaf_down],
                                 l[leaf_five], &form);
    case 32:
        s.k = 1;
        return sg_memory_neurons(tape, x, &s, l[leaf_up], l[leaf_up], SG_ACT_GELU, SG_GATE_NONE);
    case 33: // too few numbers in a head
        return sg_rope(tape, x, &rope, 1, 3, NULL);
    case 34: // as many key heads as do not divide the heads
        return error_attention(tape, x, x, x, 6, 5, 3, NULL);
    case 35: // keys of more heads than there are
        return error_attention(tape, x, x, x, 6, 5, 1, NULL);
    case 36: // a sink too many
        return error_attention(tape, x, x, x, 6, 5, 5, l[leaf_six]);
    case 37:
        return sg_attention(tape, x, x, x,
                            &(sg_attention_options){.length = 6, .heads = 1, .window = -1});
    case 38: // one bias of two
        return sg_memory_experts(tape, x, &experts, l[leaf_up], l[leaf_six], l[leaf_down], NULL,
                                 &form);
    case 39:
        return sg_clamp(tape, x, -1);
    case 40:
        return sg_scale_rows(tape, x, l[leaf_five]);
    case 41: // six positions of four
        return sg_position_rows(tape, w, 6, 6, NULL, 0);
    case 42:
        return sg_position_rows(tape, w, 6, 3, NULL, 2);
    case 43:
        return sg_position_rows(tape, w, 6, 4, NULL, 0);
    case 44:
        return sg_position_rows(tape, b, 6, 3, NULL, 0);
    case 45: // ids that are not of neurons
        return sg_memory_neurons(tape, x, &experts, l[leaf_up], l[leaf_up], SG_ACT_GELU,
                                 SG_GATE_NONE);
    case 46: // ids that are not of experts
        return sg_memory_experts(tape, x, &s, l[leaf_up], NULL, l[leaf_down], NULL, &form);
    default:
        return x;
    }
}

static void test_wrong_shapes(void **state)
{
    (void)state;
    for (int n = 0; n <= 46; n++) {
        sg_tensor *leaves[leaf_count];
        sg_tape *tape = error_tape(leaves);
        sg_tensor *result = wrong_shape(tape, leaves, n);
        if (result != NULL) fail_msg("case %d: shapes that do not fit are taken", n);
        expect_error(tape, NULL, SG_ERR_INTERNAL, "");
    }
}

static void test_errors_are_kept(void **state)
{
    (void)state;
    sg_tensor *l[leaf_count];
    sg_tape *tape = error_tape(l);
    sg_tensor *bad = sg_add(tape, sg_linear(tape, l[leaf_x], l[leaf_w], NULL), l[leaf_x]);
    expect_error(tape, bad, SG_ERR_INTERNAL, "linear");
    tape = error_tape(l);
    bad = sg_tape_leaf(tape, "huge", SG_KIND_REAL, 3,
                       (int64_t[]){(int64_t)1 << 40, (int64_t)1 << 40, 4}, NULL, NULL, true);
    expect_error(tape, bad, SG_ERR_ARGUMENT, "huge");
    tape = error_tape(l);
    bad = sg_tape_leaf(tape, "empty", SG_KIND_REAL, 2, (int64_t[]){3, 0}, NULL, NULL, true);
    expect_error(tape, bad, SG_ERR_ARGUMENT, "empty");
    tape = error_tape(l);
    sg_tape_add_loss(tape, l[leaf_x], 1); // no scalar, and of no node
    expect_error(tape, NULL, SG_ERR_INTERNAL, "x");
    // The right shapes are taken.
    tape = error_tape(l);
    sg_selection two = {
        .ids = l[leaf_ids], .scores = l[leaf_ids], .channels = 1, .k = 2, .unit = 3};
    assert_non_null(sg_memory_experts(tape, l[leaf_x], &two, l[leaf_up], l[leaf_six], l[leaf_down],
                                      l[leaf_five], &form));
    assert_non_null(
        sg_memory_experts(tape, l[leaf_x], &two, l[leaf_up], NULL, l[leaf_down], NULL, &form));
    two.unit = 1;
    assert_non_null(sg_memory_neurons(tape, l[leaf_x], &two, l[leaf_up], l[leaf_up], SG_ACT_GELU,
                                      SG_GATE_NONE));
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, NULL), SG_OK);
    sg_tape_free(tape);
}

// NULL inputs give NULL and are no error of their own.
static void test_null_inputs(void **state)
{
    (void)state;
    sg_tensor *l[leaf_count];
    sg_tape *tape = error_tape(l);
    sg_selection none = {0};
    assert_null(sg_linear(tape, NULL, l[leaf_w], NULL));
    assert_null(sg_linear(tape, l[leaf_x], NULL, NULL));
    assert_null(sg_linear_groups(tape, NULL, NULL, 1));
    assert_null(sg_embedding(tape, NULL, l[leaf_ids]));
    assert_null(sg_add(tape, NULL, l[leaf_x]));
    assert_null(sg_rmsnorm(tape, l[leaf_x], NULL, 1e-6));
    assert_null(sg_rope(tape, NULL, NULL, 2, 1, NULL));
    assert_null(error_attention(tape, l[leaf_x], NULL, l[leaf_x], 6, 1, 0, NULL));
    assert_null(sg_activate(tape, NULL, SG_ACT_GELU));
    assert_null(sg_glu(tape, NULL, NULL));
    assert_null(sg_clamp(tape, NULL, 1));
    assert_null(sg_unit_rows(tape, NULL));
    assert_null(sg_scale_rows(tape, NULL, l[leaf_x]));
    assert_null(sg_scale_rows(tape, l[leaf_x], NULL));
    assert_null(sg_position_rows(tape, NULL, 6, 6, NULL, 0));
    assert_null(sg_softmax(tape, NULL, 1));
    assert_null(sg_topk(tape, NULL, 1, 1).ids);
    assert_null(sg_product_topk(tape, NULL, 1, 1).ids);
    assert_null(sg_take_last(tape, NULL, 1));
    assert_null(sg_cross_entropy(tape, NULL, l[leaf_w], l[leaf_ids], NULL));
    assert_null(sg_reshape(tape, NULL, 1, NULL));
    assert_null(sg_memory_neurons(tape, l[leaf_x], &none, l[leaf_cube], l[leaf_cube], SG_ACT_GELU,
                                  SG_GATE_NONE));
    assert_null(sg_memory_experts(tape, l[leaf_x], &none, NULL, NULL, NULL, NULL, &form));
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, NULL), SG_OK);
    sg_tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_shapes),
        cmocka_unit_test(test_errors_are_kept),
        cmocka_unit_test(test_null_inputs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
