// Neurons left out by the gates of their layer, on thresholds of a text: with none left out the
// model says what the dense one does, of every form of layer; thresholds are those of a plain sort;
// what is decoded is what is scored; bits do not depend on threads or on the memory for histograms;
// a file has it all; what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "dense_fixture.h"
#include "ffn/ffn.h"
#include "logits.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_probe.h"
#include "sgatlin_sparsify.h"
#include "sparsify/calibration.h"

enum { steps = 7, neurons = 24, tokens = 300, tested = 200 };

static sg_sparsify_options cats(const fixture *f, double active)
{
    sg_error err = {0};
    sg_sparsify_options o;
    must(sg_sparsify_options_of("cats", &o, &err), &err);
    assert_true(o.trim != NULL && o.active == 0.5);
    o.active = active;
    o.data = f->data;
    o.calibration_tokens = tokens;
    o.test_tokens = tested;
    return o;
}

// Logits of tokens, one by one or at once.
static void say(sg_model *m, int at_once, float out[vocab])
{
    static const int32_t text[steps] = {1, 50, 9, 33, 130, 2, 170};
    float all[steps * vocab];
    logits_of(m, text, steps, at_once, all);
    memcpy(out, all + (steps / at_once - 1) * vocab, vocab * sizeof *out);
}

static const char *const kinds[] = {"mlp ffn_activation=relu ffn_bias=1",
                                    "mlp ffn_activation=gelu_erf",
                                    "glu ffn_activation=swiglu",
                                    "glu ffn_activation=geglu ffn_glu_interleaved=1 ffn_bias=1",
                                    "glu ffn_activation=geglu_erf ffn_bias=1",
                                    "glu ffn_activation=reglu parallel_residual=1"};
enum { kind_count = sizeof kinds / sizeof *kinds };

static void test_none_left_out(void **state)
{
    (void)state;
    float dense[vocab], made[vocab];
    for (int k = 0; k < kind_count; k++) {
        fixture f = begin(kinds[k], 2);
        sg_error err = {0};
        sg_model *m;
        sg_sparsify_result r;
        const sg_sparsify_options o = cats(&f, 1);
        must(sg_sparsify(f.dense, &o, &m, &r, &err), &err);
        say(f.dense, 1, dense);
        say(m, 1, made);
        if (furthest(dense, made, vocab) > 2e-5)
            fail_msg("%s: logits are %.2g off", kinds[k], furthest(dense, made, vocab));
        assert_true(fabs(r.sparse_perplexity / r.dense_perplexity - 1) < 1e-5);
        // Of ReLU some neurons are 0 all the same, and are not read: no difference.
        const bool relu = strstr(kinds[k], "relu") != NULL || strstr(kinds[k], "reglu") != NULL;
        assert_true(relu ? r.kept > 0.2 && r.kept < 0.8 : r.kept == 1 && r.executed == 1);
        // Thresholds are 0: of what is not read that is w_out alone.
        const int parts = kinds[k][0] == 'g' ? 3 : 2;
        assert_true(fabs(r.executed - (parts - 1 + r.kept) / parts) < 1e-12);
        sg_model_free(m);
        end(&f);
    }
}

// ---- thresholds ---------------------------------------------------------------------------------

typedef struct sizes {
    bool gated;
    sg_activation activation;
    double *all;
    size_t count;
} sizes;

static sg_status keep_sizes(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    sizes *s = user;
    (void)err;
    for (int64_t i = 0; i < n; i++) {
        sg_real a = values[i];
        if (s->gated) sg_kernels_ref()->act_forward(&a, values + i, s->activation, 1);
        s->all[s->count++] = fabs((double)a);
    }
    return SG_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// The threshold of layer 2 by sorting all there is, and how many of it are above.
static void test_thresholds(void **state)
{
    (void)state;
    for (int gated = 0; gated < 2; gated++) {
        fixture f = begin(gated ? "glu ffn_activation=swiglu" : "mlp ffn_activation=gelu", 1);
        sg_error err = {0};
        sg_model *m;
        sg_sparsify_result r;
        sg_sparsify_options o = cats(&f, 0.3);
        must(sg_sparsify(f.dense, &o, &m, &r, &err), &err);
        sg_calibration text;
        const sg_calibration_source source = {.data = f.data, .tokens = {tokens, 0, tested}};
        must(sg_calibration_new(f.dense, &source, &text, &err), &err);
        sizes s = {.gated = gated, .activation = SG_ACT_SWISH};
        s.all = sg_alloc_array((size_t)text.tokens * neurons, sizeof *s.all);
        assert_non_null(s.all);
        const sg_calibration_place place = {1, gated ? "mlp.hook_pre" : "mlp.hook_post", keep_sizes,
                                            &s};
        must(sg_calibration_places(&text, SG_USE_CALIBRATION, f.dense, &place, 1, NULL, NULL, &err),
             &err);
        assert_true(s.count >= tokens * neurons);
        qsort(s.all, s.count, sizeof *s.all, by_size);
        const double expected = s.all[(size_t)(0.7 * (double)s.count)];
        const char *list = strchr(sg_model_config(m)->ffn_layer_threshold, ',');
        assert_non_null(list);
        const double found = strtod(list + 1, NULL);
        if (fabs(found / expected - 1) > 0.02)
            fail_msg("threshold %g, expected %g", found, expected);
        // The test part is another text.
        assert_true(fabs(r.kept - 0.3) < 0.05);
        assert_true(fabs(r.executed - (gated ? (1 + 2 * r.kept) / 3 : (1 + r.kept) / 2)) < 1e-12);
        assert_int_equal(sg_model_config(m)->ffn_active_neurons, 7);
        assert_true(r.passes == 1 && r.test_tokens >= tested);
        assert_true(isfinite(r.sparse_perplexity) && r.sparse_perplexity != r.dense_perplexity);
        sg_free(s.all);
        sg_calibration_free(&text);
        sg_model_free(m);
        end(&f);
    }
}

// ---- the same everywhere ------------------------------------------------------------------------

static void test_bits(void **state)
{
    (void)state;
    float once[vocab], again[vocab], decoded[vocab];
    sg_sparsify_result r[2];
    for (int n = 0; n < 2; n++) {
        fixture f = begin("glu ffn_activation=swiglu", n ? 3 : 1);
        sg_error err = {0};
        sg_model *m;
        sg_sparsify_options o = cats(&f, 0.5);
        if (n) o.memory = 1; // a layer a pass
        must(sg_sparsify(f.dense, &o, &m, &r[n], &err), &err);
        assert_int_equal(r[n].passes, n ? 2 : 1);
        say(m, steps, n ? again : once);
        say(m, 1, decoded);
        assert_true(furthest(n ? again : once, decoded, vocab) < 1e-5);
        sg_model_free(m);
        end(&f);
    }
    assert_memory_equal(once, again, sizeof once);
    assert_true(r[0].sparse_perplexity == r[1].sparse_perplexity && r[0].kept == r[1].kept);
}

// In a file, and with another threshold, 0: the dense model.
static void test_file(void **state)
{
    (void)state;
    float made[vocab], read[vocab], dense[vocab];
    fixture f = begin("glu ffn_activation=swiglu ffn_bias=1", 2);
    sg_error err = {0};
    sg_model *m, *again;
    sg_sparsify_options o = cats(&f, 0.4);
    o.out = "made";
    must(sg_sparsify(f.dense, &o, &m, NULL, &err), &err);
    must(sg_model_open(f.context, "made", &again, &err), &err);
    say(m, 1, made);
    say(again, 1, read);
    assert_memory_equal(made, read, sizeof made);
    say(f.dense, 1, dense);
    assert_true(furthest(dense, read, vocab) > 1e-4);
    must(sg_sparsify_set_threshold(again, 0, &err), &err);
    say(again, 1, read);
    assert_true(furthest(dense, read, vocab) < 2e-5);
    assert_int_equal(sg_sparsify_set_threshold(again, -1, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "ffn_threshold"));
    sg_model_free(m);
    o.out = "made"; // there are files in it
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), SG_ERR_ARGUMENT);
    assert_null(m);
    sg_model_free(again);
    end(&f);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refused(const char *kind, double active, bool text, const char *trim, sg_status status,
                    const char *says)
{
    fixture f = begin(kind, 1);
    sg_error err = {0};
    sg_model *m = f.dense;
    sg_sparsify_outlook look;
    sg_sparsify_options o = cats(&f, active);
    if (!text) o.data = NULL;
    o.trim = trim;
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), status);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
    assert_null(m);
    assert_int_equal(sg_sparsify_look(f.dense, &o, &look, &err), status);
    end(&f);
}

static bool stop(void *user, int64_t done, int64_t total)
{
    (void)user;
    return done < total / 2;
}

static void test_refused(void **state)
{
    (void)state;
    refused("moe", 0.5, true, "cats", SG_ERR_UNSUPPORTED, "found a model of family moe");
    refused("glu ffn_activation=clamped_swiglu", 0.5, true, "cats", SG_ERR_ARGUMENT,
            "found clamped_swiglu, expected one whose gate stands alone");
    refused("mlp", 0, true, "cats", SG_ERR_ARGUMENT, "active: found 0");
    refused("mlp", 0.5, false, "cats", SG_ERR_ARGUMENT, "expected a text or packed data");
    refused("mlp", 0.5, true, "dogs", SG_ERR_ARGUMENT, "trim: found \"dogs\"");
    fixture f = begin("mlp", 1);
    sg_error err = {0};
    sg_model *m = f.dense;
    sg_sparsify_options o = cats(&f, 0.5);
    o.progress = stop;
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), SG_ERR_STOPPED);
    assert_null(m);
    o = cats(&f, 0.5);
    o.calibration_tokens = 1 << 20;
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "to calibrate by"));
    end(&f);
}

// Configurations that router gate cannot be of.
static void test_config(void **state)
{
    (void)state;
    static const struct {
        const char *with, *says;
    } wrong[] = {{"ffn_select=top_k", "ffn_select"},
                 {"ffn_threshold=-1", "ffn_threshold"},
                 {"ffn_layer_threshold=1,-1", "layer 2: ffn_threshold"},
                 {"ffn_block_size=12", "ffn_block_size"},
                 {"ffn_router_size=3", "ffn_router_size"},
                 {"ffn_mean=1", "ffn_mean"},
                 {"ffn_gate=after", "ffn_gate"},
                 {"ffn_active_neurons=25", "ffn_active_neurons"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char kind[160];
        sg_error err = {0};
        snprintf(kind, sizeof kind,
                 "moefied ffn_router=gate ffn_select=threshold ffn_block_size=0 ffn_top_k=1 %s",
                 wrong[i].with);
        sg_config c = tiny_config(kind, vocab, TINY_LENGTH);
        assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, wrong[i].says) == NULL) fail_msg("%s: %s", kind, err.message);
    }
}

// What is counted of six active neurons: of the others a threshold spares all but the gate, one of
// 0 w_out alone, where there are zeros; else it leaves none out.
static void test_counts(void **state)
{
    (void)state;
    static const struct {
        const char *with;
        int active, idle_rows, rows;
    } cases[] = {{"ffn_activation=swiglu ffn_threshold=0.1", 6, 2, 3},
                 {"ffn_activation=reglu ffn_threshold=0.1", 6, 2, 3},
                 {"ffn_activation=relu2 ffn_threshold=0.1", 6, 1, 2},
                 {"ffn_activation=reglu ffn_threshold=0", 6, 1, 3},
                 {"ffn_activation=relu2 ffn_threshold=0", 6, 1, 2},
                 {"ffn_activation=swiglu ffn_threshold=0", neurons, 0, 3},
                 {"ffn_activation=gelu ffn_threshold=0", neurons, 0, 2},
                 // Of layer 1, the last one has another.
                 {"ffn_activation=swiglu ffn_layer_threshold=0,0.1", neurons, 0, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char kind[200];
        sg_error err = {0};
        snprintf(kind, sizeof kind,
                 "moefied ffn_router=gate ffn_select=threshold ffn_block_size=0 ffn_top_k=1 "
                 "ffn_active_neurons=6 %s",
                 cases[i].with);
        sg_config c = tiny_config(kind, vocab, TINY_LENGTH);
        must(sg_config_complete(&c, &err), &err);
        const sg_ffn_count count = sg_ffn_counts(&c, 0);
        const int64_t spared = 16 * cases[i].idle_rows * (neurons - 6);
        assert_int_equal(count.active_neurons, cases[i].active);
        assert_int_equal(count.idle_parameters, spared);
        assert_true(count.memory_flops == 2.0 * (16.0 * cases[i].rows * neurons - (double)spared));
        assert_true(count.router_flops == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_left_out), cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_bits),          cmocka_unit_test(test_file),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_config),
        cmocka_unit_test(test_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
