// A dense model in blocks: where all are read it says what the dense one says, of every form of
// layer, in a file too; what is refused; a threshold that is moved.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "model/config.h"
#include "probe/selections.h"
#include "sgatlin_sparsify.h"
#include "tiny_models.h"
#include "train/usage.h"

enum { vocab = 40, positions = 24, steps = 9 };

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static sg_context *new_context(int threads)
{
    sg_error err = {0};
    sg_context *context;
    must(sg_context_new(&(sg_context_options){.threads = threads}, &context, &err), &err);
    return context;
}

static sg_model *dense_of(sg_context *context, const char *kind)
{
    sg_error err = {0};
    sg_model *m;
    const sg_config config = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &config, 3, &m, &err), &err);
    return m;
}

// Logits of a prompt and of tokens one by one.
static void say(sg_model *m, float out[steps][vocab])
{
    static const int32_t tokens[steps + 20] = {1,  5, 9,  3,  30, 2, 17, 8,  4, 12, 7, 6, 22, 11,
                                               19, 3, 14, 15, 31, 8, 9,  10, 2, 5,  6, 1, 3,  2};
    sg_error err = {0};
    sg_session *s;
    const float *logits;
    must(sg_session_new(m, 0, &s, &err), &err);
    for (int i = 0; i < steps; i++) {
        must(sg_session_feed(s, tokens + (i ? 11 + i : 0), i ? 1 : 12, &logits, &err), &err);
        memcpy(out[i], logits, sizeof out[i]);
    }
    sg_session_free(s);
}

static double furthest(float a[steps][vocab], float b[steps][vocab])
{
    double most = 0;
    for (int i = 0; i < steps; i++)
        for (int v = 0; v < vocab; v++)
            most = fmax(most, fabs((double)a[i][v] - (double)b[i][v]));
    return most;
}

static const char *const kinds[] = {"mlp ffn_activation=relu",
                                    "mlp ffn_activation=relu2 ffn_bias=1",
                                    "mlp ffn_activation=gelu ffn_bias=1",
                                    "glu",
                                    "glu ffn_activation=swiglu",
                                    "glu ffn_activation=geglu ffn_glu_interleaved=1 ffn_bias=1",
                                    "glu ffn_activation=reglu"};

static void test_all_blocks(void **state)
{
    (void)state;
    static float dense[steps][vocab], sparse[steps][vocab], half[steps][vocab];
    static const char *const splits[] = {"random", "kmeans", "auction"};
    sg_context *context = new_context(2);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int split = 0; split < 3; split++) {
            sg_error err = {0};
            sg_sparsify_options o = sg_sparsify_options_default();
            sg_model *m = dense_of(context, kinds[k]), *made;
            sg_sparsify_result result;
            o.split = splits[split];
            o.block_size = 6;
            o.active = 1;
            must(sg_sparsify(m, &o, &made, &result, &err), &err);
            assert_true(result.distance > 0 && result.distance < 1);
            say(m, dense);
            say(made, sparse);
            if (furthest(dense, sparse) > 1e-5)
                fail_msg("%s, %s: logits are %.2g off", kinds[k], o.split, furthest(dense, sparse));
            sg_model_free(made);
            o.active = 0.5;
            must(sg_sparsify(m, &o, &made, NULL, &err), &err);
            assert_int_equal(sg_model_config(made)->ffn_top_k, 2);
            say(made, half);
            assert_true(furthest(dense, half) > 1e-4);
            sg_model_free(made);
            sg_model_free(m);
        }
    sg_context_free(context);
}

// What every score passes is all; what none does is nothing but the attention.
static void test_threshold(void **state)
{
    (void)state;
    static float dense[steps][vocab], sparse[steps][vocab], none[steps][vocab];
    sg_error err = {0};
    sg_context *context = new_context(1);
    sg_model *m = dense_of(context, "glu ffn_activation=swiglu"), *made;
    sg_sparsify_options o = sg_sparsify_options_default();
    o.block_size = 3;
    o.active = 1;
    o.select = "threshold";
    o.threshold = -2;
    must(sg_sparsify(m, &o, &made, NULL, &err), &err);
    say(m, dense);
    say(made, sparse);
    assert_true(furthest(dense, sparse) < 1e-5);
    must(sg_sparsify_set_threshold(made, 2, &err), &err);
    say(made, none);
    assert_true(furthest(dense, none) > 1e-3);
    must(sg_sparsify_set_threshold(made, -2, &err), &err);
    say(made, none);
    assert_memory_equal(none, sparse, sizeof none);
    assert_int_equal(sg_sparsify_set_threshold(m, 1, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "family glu"));
    sg_session *s;
    must(sg_session_new(made, 0, &s, &err), &err);
    assert_int_equal(sg_sparsify_set_threshold(made, 1, &err), SG_ERR_ARGUMENT);
    sg_session_free(s);
    sg_model_free(made);
    sg_model_free(m);
    sg_context_free(context);
}

static void refused(sg_model *m, sg_sparsify_options o, sg_status status, const char *says)
{
    sg_error err = {0};
    sg_model *made = m;
    sg_sparsify_outlook look;
    assert_int_equal(sg_sparsify(m, &o, &made, NULL, &err), status);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
    assert_null(made);
    assert_int_equal(sg_sparsify_look(m, &o, &look, &err), status);
}

static void test_refused(void **state)
{
    (void)state;
    sg_context *context = new_context(1);
    sg_model *m = dense_of(context, "mlp"), *sparse = dense_of(context, "moe");
    sg_sparsify_options right = sg_sparsify_options_default();
    right.block_size = 4;
    right.active = 0.5;
    sg_sparsify_options o = right;
    o.block_size = 5;
    refused(m, o, SG_ERR_ARGUMENT, "block_size: found 5, expected a divisor of the 24 neurons");
    o = right, o.active = 0;
    refused(m, o, SG_ERR_ARGUMENT, "active: found 0");
    o = right, o.split = "metis";
    refused(m, o, SG_ERR_ARGUMENT, "split: found \"metis\"");
    o = right, o.router = "oracle";
    refused(m, o, SG_ERR_ARGUMENT, "router: found \"oracle\"");
    o = right, o.select = "all";
    refused(m, o, SG_ERR_ARGUMENT, "select: found \"all\"");
    o = right, o.select = "max";
    refused(m, o, SG_ERR_ARGUMENT, "expected top_k or threshold for router centroid");
    o = right, o.unread = "noise";
    refused(m, o, SG_ERR_ARGUMENT, "unread: found \"noise\", expected nothing or mean");
    o = right, o.unread = "mean";
    refused(m, o, SG_ERR_ARGUMENT, "unread: found mean, which is learned from a text");
    o = right, o.router = "mlp";
    refused(m, o, SG_ERR_ARGUMENT, "router: found mlp, which is learned from a text");
    o.target = "loss";
    refused(m, o, SG_ERR_ARGUMENT, "target: found \"loss\"");
    o = right, o.split = "coactivation";
    refused(m, o, SG_ERR_ARGUMENT, "split: found coactivation, which is learned from a text");
    o = right, o.target = "norm";
    refused(m, o, SG_ERR_ARGUMENT, "target: found norm, expected none for router centroid");
    o = right, o.router_size = 3;
    refused(m, o, SG_ERR_ARGUMENT, "router_size: found 3, expected 0 for router centroid");
    o = right, o.shared_blocks = 1;
    refused(m, o, SG_ERR_ARGUMENT, "shared_blocks: found 1, expected 0 where split is kmeans");
    o = right, o.router = "representative";
    refused(m, o, SG_ERR_ARGUMENT, "expected split shared beside it, not kmeans");
    o = right, o.blocks = 7;
    refused(m, o, SG_ERR_ARGUMENT, "blocks: found 7, expected a divisor of the 24 neurons");
    refused(sparse, right, SG_ERR_UNSUPPORTED, "found a model of family moe");
    sg_sparsify_outlook look;
    sg_error err = {0};
    must(sg_sparsify_look(m, &right, &look, &err), &err);
    assert_true(look.ffn_bytes > 0 && look.ffn_bytes < look.all_bytes);
    assert_true(look.bound > 1 && look.bound < look.ceiling);
    sg_model_free(sparse);
    sg_model_free(m);
    sg_context_free(context);
}

// Lists with a value for each layer: sizes and counts of their own, and what is wrong with one.
static void test_lists(void **state)
{
    (void)state;
    static float out[steps][vocab], again[steps][vocab];
    sg_error err = {0};
    sg_context *context = new_context(2);
    sg_model *m = dense_of(context, "moefied ffn_layer_block_size=2,8 ffn_layer_top_k=4,1 "
                                    "ffn_select=share ffn_layer_threshold=0.5,1 ffn_bias=1");
    int64_t shape[4];
    int rank;
    size_t index;
    must(sg_model_tensor_find(m, "model.layers.1.mlp.router.weight", &index, &err), &err);
    assert_non_null(sg_model_tensor_values(m, index, &rank, shape));
    assert_int_equal(shape[0], 3);
    say(m, out);
    say(m, again);
    sg_selections *selections;
    assert_int_equal(sg_selections_new(m, "all", "all", &selections, &err), SG_ERR_UNSUPPORTED);
    sg_use_counts counts;
    must(sg_use_counts_new(sg_model_config(m), (sg_compute){0}, &counts, &err), &err);
    assert_true(counts.shapes[0].blocks == 12 && counts.shapes[1].blocks == 3);
    assert_true(counts.shapes[0].selected == 4 && counts.shapes[1].selected == 1);
    sg_use_counts_free(&counts);
    assert_memory_equal(out, again, sizeof out);
    sg_model_free(m);
    static const char *const wrong[][2] = {
        {"moefied ffn_layer_block_size=2", "expected 2 numbers"},
        {"moefied ffn_layer_block_size=2,x", "expected 2 numbers"},
        {"moefied ffn_layer_block_size=2,", "expected 2 numbers"},
        {"moefied ffn_layer_block_size=2,5", "layer 2: ffn_block_size: found 5"},
        {"moefied ffn_layer_top_k=2,13", "layer 2: ffn_top_k: found 13"},
        {"moefied ffn_layer_block_size=2,2 ffn_share_pool=1", "ffn_share_pool"},
        {"moefied ffn_select=max ffn_layer_threshold=0,2", "layer 2: ffn_threshold: found 2"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_config c = tiny_config(wrong[i][0], vocab, positions);
        assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, wrong[i][1]) == NULL) fail_msg("%s", err.message);
    }
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_blocks),
        cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
