// How a model that is read computes: as it was told to, in prompts and evaluations; one by one
// tokens are f32 whatever was said. The same bits come out for any number of threads.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/context.h"
#include "tiny_models.h"
#include "sgatlin.h"
#include "sgatlin_bench.h"

enum { vocab = 70, length = 40 };

static const sg_compute_kind kinds[] = {SG_COMPUTE_F32, SG_COMPUTE_BF16X3, SG_COMPUTE_BF16};

static sg_context *open_context(int threads)
{
    sg_context_options o = sg_context_options_default();
    sg_context *context;
    o.threads = threads;
    assert_int_equal(sg_context_new(&o, &context, NULL), SG_OK);
    return context;
}

static sg_model *make_model(sg_context *context, const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    const sg_config c = tiny_config(kind, vocab, length);
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static int32_t token(int64_t i)
{
    return (int32_t)(i * i * 7 % vocab);
}

// Logits behind `length` tokens that go in in pieces.
static void read_text(sg_model *model, int64_t piece, float logits[vocab])
{
    sg_session *session;
    sg_error err = {0};
    const float *got = NULL;
    int32_t ids[length];
    for (int64_t i = 0; i < length; i++)
        ids[i] = token(i);
    if (sg_session_new(model, 0, &session, &err) != SG_OK) fail_msg("%s", err.message);
    for (int64_t i = 0; i < length; i += piece)
        if (sg_session_feed(session, ids + i, i + piece > length ? length - i : piece, &got,
                            &err) != SG_OK)
            fail_msg("%s", err.message);
    memcpy(logits, got, vocab * sizeof *logits);
    sg_session_free(session);
}

static double furthest(const float *a, const float *b)
{
    double most = 0;
    for (int v = 0; v < vocab; v++)
        most = fmax(most, fabs((double)a[v] - (double)b[v]));
    return most;
}

static void test_prompts(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        float wide[vocab], single[vocab];
        for (size_t i = 0; i < 3; i++) {
            float one[vocab], three[vocab], by_one[vocab];
            for (int threads = 1; threads <= 3; threads += 2) {
                sg_context *context = open_context(threads);
                sg_model *model = make_model(context, tiny_kind(k));
                assert_int_equal(sg_model_set_compute(model, kinds[i], SG_COMPUTE_F32, NULL),
                                 SG_OK);
                read_text(model, length, threads == 1 ? one : three);
                read_text(model, 1, by_one);
                sg_model_free(model);
                sg_context_free(context);
            }
            assert_memory_equal(one, three, sizeof one);
            if (i == 0) {
                memcpy(wide, one, sizeof one);
                memcpy(single, by_one, sizeof one);
            }
            assert_memory_equal(by_one, single, sizeof by_one);
            // Rounding may tip a selection over, which is another result of the same worth.
            const double apart = furthest(one, wide);
            if (!(apart < (kinds[i] == SG_COMPUTE_BF16 ? 1 : 1e-2)))
                fail_msg("%s in %s: apart by %g", tiny_kind(k), sg_compute_kind_name(kinds[i]),
                         apart);
            if (kinds[i] == SG_COMPUTE_BF16) assert_true(apart > 0);
        }
    }
}

static void test_what_is_set(void **state)
{
    (void)state;
    sg_context *context = open_context(1);
    sg_model *model = make_model(context, "mlp");
    sg_error err = {0};
    sg_compute_kind compute = SG_COMPUTE_BF16, logits = SG_COMPUTE_BF16;
    sg_session *session;
    sg_model_compute(model, &compute, &logits);
    assert_true(compute == SG_COMPUTE_F32 && logits == SG_COMPUTE_F32);
    assert_int_equal(sg_model_set_compute(model, (sg_compute_kind)3, SG_COMPUTE_F32, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "compute: found 3 and 0, expected values of sg_compute_kind");
    assert_int_equal(sg_session_new(model, 0, &session, NULL), SG_OK);
    assert_int_equal(sg_model_set_compute(model, SG_COMPUTE_BF16, SG_COMPUTE_F32, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "compute: found sessions or batches of the model, expected none");
    sg_session_free(session);
    assert_int_equal(sg_model_set_compute(model, SG_COMPUTE_BF16, SG_COMPUTE_BF16X3, &err), SG_OK);
    sg_model_compute(model, &compute, NULL);
    sg_model_compute(model, NULL, &logits);
    assert_true(compute == SG_COMPUTE_BF16 && logits == SG_COMPUTE_BF16X3);
    sg_model_free(model);
    sg_context_free(context);
}

static void test_names(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_compute_kind kind = SG_COMPUTE_F32;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(
            sg_compute_kind_parse(sg_compute_kind_name(kinds[i]), "compute", &kind, &err), SG_OK);
        assert_int_equal(kind, kinds[i]);
    }
    assert_null(sg_compute_kind_name((sg_compute_kind)3));
    assert_int_equal(sg_compute_kind_parse("fp16", "compute", &kind, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "compute: found \"fp16\", expected f32, bf16x3 or bf16");
}

static void test_measuring(void **state)
{
    (void)state;
    sg_context *context = open_context(2);
    sg_error err = {0};
    double gflops;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(sg_measure_products(context, kinds[i], 0, &gflops, &err), SG_OK);
        assert_true(gflops > 0);
    }
    assert_int_equal(sg_measure_products(context, (sg_compute_kind)-1, 0, &gflops, &err),
                     SG_ERR_ARGUMENT);
    assert_true(sg_measure_peak(context) > 0);
    // Whatever the processor has, it is one of these.
    const char *units = sg_context_units(context, SG_COMPUTE_BF16);
    assert_true(units == NULL || strcmp(units, "amx") == 0 || strcmp(units, "avx512_bf16") == 0);
    assert_null(sg_context_units(context, SG_COMPUTE_F32));
    if (units == NULL || strcmp(units, "avx512_bf16") == 0)
        assert_null(sg_context_units(context, SG_COMPUTE_BF16X3));
    else
        assert_string_equal(sg_context_units(context, SG_COMPUTE_BF16X3), units);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_what_is_set),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_measuring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
