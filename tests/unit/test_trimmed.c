// Inputs of products left out by their size, on thresholds of a text: with none left out the model
// is the dense one to the bit; thresholds are those of a plain sort; what is decoded, through
// copies by columns, is what is scored, in every type of weights; bits do not depend on threads or
// on the memory for histograms; norms, greedy shares, a layer alone; a file has it all; what is
// refused.
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
#include "logits.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_probe.h"
#include "sgatlin_sparsify.h"
#include "sparsify/calibration.h"
#include "sparsify/layer_alone.h"
#include "train/input_use.h"

enum { steps = 7, tokens = 300, tested = 200, width = 16 };

static sg_sparsify_options with(const fixture *f, const char *method, double active)
{
    sg_error err = {0};
    sg_sparsify_options o;
    must(sg_sparsify_options_of(method, &o, &err), &err);
    assert_string_equal(o.trim, method);
    assert_true(o.active == 0.6);
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
                                    "mlp ffn_activation=gelu_erf norm=layernorm attention_bias=1",
                                    "glu ffn_activation=swiglu attention_out_bias=1 clip_qkv=2",
                                    "glu ffn_activation=geglu ffn_glu_interleaved=1 ffn_bias=1",
                                    "glu ffn_activation=clamped_swiglu positions=learned",
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
        const sg_sparsify_options o = with(&f, k % 2 ? "wina" : "teal", 1);
        must(sg_sparsify(f.dense, &o, &m, &r, &err), &err);
        for (int at_once = 1; at_once <= steps; at_once += steps - 1) {
            say(f.dense, at_once, dense);
            say(m, at_once, made);
            assert_memory_equal(dense, made, sizeof dense);
        }
        assert_true(r.sparse_perplexity == r.dense_perplexity);
        // Thresholds of 0 spare nothing, of zeros of ReLU either.
        for (int place = 0; place < 4; place++)
            assert_true(r.inputs[place] == 1);
        assert_true(r.kept == 1 && r.executed == 1);
        sg_model_free(m);
        end(&f);
    }
}

// ---- thresholds ---------------------------------------------------------------------------------

typedef struct sizes {
    const sg_real *norms;
    double *all;
    size_t count;
} sizes;

static sg_status keep_sizes(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    sizes *s = user;
    (void)err;
    for (int64_t i = 0; i < n; i++)
        s->all[s->count++] = fabs((double)values[i] * (s->norms ? (double)s->norms[i] : 1));
    return SG_OK;
}

static int by_size(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static const sg_real *values_of(const sg_model *m, const char *name)
{
    size_t index;
    sg_error err = {0};
    must(sg_model_tensor_find(m, name, &index, &err), &err);
    return m->values[index];
}

// Norms of the columns of both halves of the gated matrix of layer 2.
static void check_norms(const sg_model *m)
{
    const sg_real *norms = values_of(m, "model.layers.1.mlp.up_norms.weight");
    const sg_real *w = values_of(m, "model.layers.1.mlp.gate_up_proj.weight");
    const int64_t rows = 2 * m->config.ffn_intermediate_size;
    for (int64_t i = 0; i < width; i++) {
        double sum = 0;
        for (int64_t r = 0; r < rows; r++)
            sum += (double)w[r * width + i] * (double)w[r * width + i];
        assert_true(fabs((double)norms[i] / sqrt(sum) - 1) < 1e-6);
    }
    const sg_real *qkv = values_of(m, "model.layers.0.self_attn.qkv_norms.weight");
    static const char *const names[] = {"q", "k", "v"};
    double sum = 0;
    for (int n = 0; n < 3; n++) {
        char name[64];
        snprintf(name, sizeof name, "model.layers.0.self_attn.%s_proj.weight", names[n]);
        const sg_real *from = values_of(m, name);
        for (int64_t r = 0; r < width; r++)
            sum += (double)from[r * width] * (double)from[r * width];
    }
    assert_true(fabs((double)qkv[0] / sqrt(sum) - 1) < 1e-6);
}

// In front of the feed-forward layer 2, by sorting all there is.
static void test_thresholds(void **state)
{
    (void)state;
    for (int scaled = 0; scaled < 2; scaled++) {
        fixture f = begin("glu ffn_activation=swiglu", 2);
        sg_error err = {0};
        sg_model *m;
        sg_sparsify_result r;
        sg_sparsify_layer layers[2];
        sg_sparsify_options o = with(&f, scaled ? "wina" : "teal", 0.3);
        o.layers = layers;
        must(sg_sparsify(f.dense, &o, &m, &r, &err), &err);
        sg_calibration text;
        const sg_calibration_source source = {.data = f.data, .tokens = {tokens, 0, tested}};
        must(sg_calibration_new(f.dense, &source, &text, &err), &err);
        if (scaled) check_norms(m);
        sizes s = {.norms = scaled ? values_of(m, "model.layers.1.mlp.up_norms.weight") : NULL};
        s.all = sg_alloc_array((size_t)text.tokens * width, sizeof *s.all);
        assert_non_null(s.all);
        const sg_calibration_place place = {1, "ln2.hook_normalized", keep_sizes, &s};
        must(sg_calibration_places(&text, SG_USE_CALIBRATION, f.dense, &place, 1, NULL, NULL, &err),
             &err);
        qsort(s.all, s.count, sizeof *s.all, by_size);
        const double expected = s.all[(size_t)(0.7 * (double)s.count)];
        const double found = sg_trimmed_threshold(sg_model_config(m), SG_TRIMMED_FFN, 1);
        if (fabs(found / expected - 1) > 0.02)
            fail_msg("threshold %g, expected %g", found, expected);
        // The test part is another text; layers behind the first have other inputs than the dense
        // model's.
        assert_true(fabs(layers[0].inputs[0] - 0.3) < 0.05);
        for (int i = 0; i < SG_SPARSIFY_INPUTS; i++) {
            assert_true(fabs(r.inputs[i] - 0.3) < 0.2);
            assert_true(fabs(layers[0].inputs[i] + layers[1].inputs[i] - 2 * r.inputs[i]) < 1e-9);
        }
        // q, k, v and gates, linear parts; o and w_out: matrices of 16, 24 wide the latter.
        assert_true(fabs(r.executed - (2 * r.inputs[2] + r.inputs[3]) / 3) < 1e-12);
        const double all =
            (3 * 16 * r.inputs[0] + 16 * r.inputs[1] + 48 * r.inputs[2] + 24 * r.inputs[3]) /
            (64 + 72);
        assert_true(fabs(r.kept - all) < 1e-12);
        assert_true(isfinite(r.sparse_perplexity) && r.sparse_perplexity != r.dense_perplexity);
        assert_true(sg_model_config(m)->trim_scaled == scaled);
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
    float once[2][vocab], one_by_one[2][vocab];
    sg_sparsify_result r[2];
    for (int k = 0; k < kind_count; k++) {
        for (int n = 0; n < 2; n++) {
            fixture f = begin(kinds[k], n ? 3 : 1);
            sg_error err = {0};
            sg_model *m;
            sg_sparsify_options o = with(&f, k % 2 ? "wina" : "teal", 0.5);
            if (n) o.memory = 1; // a layer a pass
            must(sg_sparsify(f.dense, &o, &m, &r[n], &err), &err);
            assert_int_equal(r[n].passes, n ? 2 : 1);
            say(m, steps, once[n]);
            say(m, 1, one_by_one[n]);
            // A number next to a threshold may fall on the other side: none does here.
            assert_true(furthest(once[n], one_by_one[n], vocab) < 1e-5);
            sg_model_free(m);
            end(&f);
        }
        assert_memory_equal(once[0], once[1], sizeof once[0]);
        assert_memory_equal(one_by_one[0], one_by_one[1], sizeof once[0]);
        assert_true(r[0].sparse_perplexity == r[1].sparse_perplexity && r[0].kept == r[1].kept);
    }
}

// All numbers of w_out where no column is read, and a half: of int8 but for the scales of rows, and
// for one of its own that each column has.
static void check_unread(const sg_model *m, sg_weights type)
{
    const double size = type == SG_WEIGHTS_F32 ? 4 : type == SG_WEIGHTS_BF16 ? 2 : 1;
    const double ones = type == SG_WEIGHTS_INT8 ? 24 * 4 : 0;
    size_t index;
    sg_error err = {0};
    must(sg_model_tensor_find(m, "model.layers.1.mlp.down_proj.weight", &index, &err), &err);
    assert_true(sg_model_columns_unread(m, index, 0) == size * 16 * 24);
    assert_true(sg_model_columns_unread(m, index, 0.5) == (size * 16 * 24 - ones) / 2);
}

// From a file, in each type; copies are made anew when weights change.
static void test_file(void **state)
{
    (void)state;
    static const sg_weights types[] = {SG_WEIGHTS_F32, SG_WEIGHTS_BF16, SG_WEIGHTS_INT8};
    float made[vocab], read[vocab], dense[vocab];
    fixture f = begin("glu ffn_activation=swiglu ffn_bias=1 attention_bias=1", 2);
    sg_error err = {0};
    sg_model *m, *again;
    int64_t bytes, copied, whole;
    sg_sparsify_options o = with(&f, "wina", 0.4);
    o.out = "made";
    must(sg_sparsify(f.dense, &o, &m, NULL, &err), &err);
    say(m, 1, made);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        must(sg_model_open_narrow(f.context, "made", types[i], &again, &err), &err);
        must(sg_sparsify_columns(again, &bytes, &copied, &whole, &err), &err);
        assert_true(copied == 12 && whole == 0 && bytes > 0);
        check_unread(again, types[i]);
        const int64_t before = sg_model_weight_bytes(again);
        say(again, 1, read);
        if (types[i] == SG_WEIGHTS_F32) assert_memory_equal(made, read, sizeof made);
        assert_int_equal(sg_model_weight_bytes(again), before + bytes);
        say(again, steps, dense); // more rows than are read by columns
        assert_true(furthest(dense, read, vocab) < 1e-5);
        sg_model_free(again);
    }
    must(sg_model_open(f.context, "made", &again, &err), &err);
    say(again, 1, read);
    must(sg_sparsify_set_threshold(again, 0, &err), &err);
    say(again, 1, read);
    say(f.dense, 1, dense);
    assert_memory_equal(dense, read, sizeof dense);
    assert_true(furthest(dense, made, vocab) > 1e-4);
    assert_int_equal(sg_sparsify_set_threshold(again, -1, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "multiplied by"));
    sg_model_free(again);
    // Other weights of the same model.
    size_t index;
    must(sg_model_tensor_find(m, "model.layers.0.mlp.down_proj.weight", &index, &err), &err);
    for (int64_t i = 0; i < m->params.specs[index].count; i++)
        m->values[index][i] *= 2;
    sg_model_touch(m);
    say(m, 1, read);
    say(m, steps, dense);
    assert_true(furthest(made, read, vocab) > 1e-4 && furthest(dense, read, vocab) < 1e-5);
    sg_model_free(m);
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), SG_ERR_ARGUMENT); // files are there
    assert_null(m);
    end(&f);
}

// ---- greedy shares ------------------------------------------------------------------------------

typedef struct stream {
    sg_real values[2][512 * width]; // in front of layer 2 and behind it
    int64_t count[2];
} stream;

typedef struct stream_end {
    stream *of;
    int end;
} stream_end;

static sg_status keep_stream(void *user, const sg_real *values, int64_t n, sg_error *err)
{
    const stream_end *e = user;
    (void)err;
    memcpy(e->of->values[e->end] + e->of->count[e->end], values, (size_t)n * sizeof *values);
    e->of->count[e->end] += n;
    return SG_OK;
}

// A layer alone makes of its inputs what it makes of them in the model.
static void test_layer_alone(void **state)
{
    (void)state;
    static stream s;
    fixture f = begin("glu ffn_activation=swiglu sliding_window=4 sliding_layers=2", 2);
    sg_error err = {0};
    sg_model *m;
    sg_calibration text;
    sg_sparsify_options o = with(&f, "teal", 0.5);
    must(sg_sparsify(f.dense, &o, &m, NULL, &err), &err);
    const sg_calibration_source source = {.data = f.data, .tokens = {100, 0, 0}};
    must(sg_calibration_new(f.dense, &source, &text, &err), &err);
    const stream_end ends[] = {{&s, 0}, {&s, 1}};
    const sg_calibration_place places[] = {
        {1, "hook_resid_pre", keep_stream, (void *)(uintptr_t)&ends[0]},
        {1, "hook_resid_post", keep_stream, (void *)(uintptr_t)&ends[1]}};
    memset(s.count, 0, sizeof s.count);
    must(sg_calibration_places(&text, SG_USE_CALIBRATION, f.dense, places, 2, NULL, NULL, &err),
         &err);
    int64_t sequences[64] = {0}, count = 0;
    for (int64_t t = 0; t < text.tokens; t++) {
        count = t / text.length + 1;
        sequences[t / text.length] += text.places[t] >= 0;
    }
    sg_layer_alone alone;
    must(sg_layer_alone_new(m, 1, sequences, count, s.values[0], &alone, &err), &err);
    for (int64_t i = 0; i < s.count[1]; i++)
        assert_true(fabs((double)alone.y[i] - (double)s.values[1][i]) < 1e-6);
    double error[3];
    const double thresholds[3][SG_TRIMMED_PLACES] = {{0}, {0, 0, 0.1, 0}, {1e9, 1e9, 1e9, 1e9}};
    for (int i = 0; i < 3; i++)
        must(sg_layer_alone_error(&alone, thresholds[i], &error[i], &err), &err);
    double all = 0; // nothing is added to the stream
    for (int64_t i = 0; i < s.count[1]; i++) {
        const double off = (double)s.values[1][i] - (double)s.values[0][i];
        all += off * off;
    }
    assert_true(error[0] == 0 && error[1] > 0 && error[1] < error[2]);
    assert_true(fabs(error[2] / sqrt(all) - 1) < 1e-4);
    sg_layer_alone_free(&alone);
    sg_calibration_free(&text);
    sg_model_free(m);
    end(&f);
}

static void test_greedy(void **state)
{
    (void)state;
    char lists[2][4][64];
    for (int n = 0; n < 2; n++) {
        fixture f = begin("glu ffn_activation=swiglu", n ? 3 : 1);
        sg_error err = {0};
        sg_model *m;
        sg_sparsify_result r;
        sg_sparsify_options o = with(&f, "teal", 0.5);
        o.shares = "greedy";
        if (n) o.memory = 1;
        must(sg_sparsify(f.dense, &o, &m, &r, &err), &err);
        // By the size of matrices half of the inputs stay, not of each place.
        assert_true(fabs(r.kept - 0.5) < 0.08);
        double apart = 0;
        for (int i = 0; i < 4; i++)
            apart = fmax(apart, fabs(r.inputs[i] - 0.5));
        assert_true(apart > 0.04);
        for (int i = 0; i < 4; i++) {
            size_t room;
            sg_config c = *sg_model_config(m);
            snprintf(lists[n][i], sizeof lists[n][i], "%s",
                     sg_trimmed_list(&c, (sg_trimmed)i, &room));
        }
        sg_model_free(m);
        end(&f);
    }
    for (int i = 0; i < 4; i++)
        assert_string_equal(lists[0][i], lists[1][i]);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refused(const char *kind, const char *method, const char *shares, sg_status status,
                    const char *says)
{
    fixture f = begin(kind, 1);
    sg_error err = {0};
    sg_model *m = f.dense;
    sg_sparsify_outlook look;
    sg_sparsify_options o = with(&f, method, 0.5);
    o.shares = shares;
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), status);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
    assert_null(m);
    assert_int_equal(sg_sparsify_look(f.dense, &o, &look, &err), status);
    end(&f);
}

// Ends what is under way where only a search is left.
static bool stop(void *user, int64_t done, int64_t total)
{
    (void)total;
    int64_t *most = user;
    return done < *most;
}

static void test_refused(void **state)
{
    (void)state;
    refused("moe", "teal", NULL, SG_ERR_UNSUPPORTED, "found a model of family moe");
    refused("glu trim_ffn=0.1,0.2", "teal", NULL, SG_ERR_UNSUPPORTED, "leaves inputs out already");
    refused("glu", "wina", "some", SG_ERR_ARGUMENT, "shares: found \"some\"");
    fixture f = begin("mlp", 1);
    sg_error err = {0};
    sg_model *m = f.dense;
    sg_sparsify_options o = with(&f, "teal", 0.5);
    int64_t most = 1;
    o.shares = "greedy";
    o.progress = stop;
    o.progress_user = &most;
    assert_int_equal(sg_sparsify(f.dense, &o, &m, NULL, &err), SG_ERR_STOPPED);
    assert_null(m);
    end(&f);
}

static void test_config(void **state)
{
    (void)state;
    static const struct {
        const char *kind, *says;
    } wrong[] = {
        {"glu trim_ffn=0.1", "trim_ffn: found \"0.1\", expected 2 numbers"},
        {"glu trim_ffn=0.1,0.2,0.3", "expected 2 numbers"},
        {"glu trim_ffn=0.1,", "expected 2 numbers"},
        {"glu trim_ffn=0.1,x", "expected 2 numbers"},
        {"glu trim_ffn=0.1,nan", "expected 2 numbers"},
        {"mlp trim_ffn_down=0.1,-1", "trim_ffn_down: layer 2: found -1"},
        {"mlp trim_attention=1e31,0", "trim_attention: layer 1: found 1e+31"},
        {"moe trim_ffn=0.1,0.2", "expected none for family moe"},
        {"mlp trim_scaled=1", "trim_scaled: found 1, expected 0"},
        {"mlp trim_scaled=2 trim_ffn=0,0", "trim_scaled: found 2"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_error err = {0};
        sg_config c = tiny_config(wrong[i].kind, vocab, TINY_LENGTH);
        assert_int_equal(sg_config_complete(&c, &err), SG_ERR_ARGUMENT);
        if (strstr(err.message, wrong[i].says) == NULL)
            fail_msg("%s: %s", wrong[i].kind, err.message);
    }
    sg_error err = {0};
    sg_config c = tiny_config("moe trim_attention=0.1,0 trim_scaled=1", vocab, TINY_LENGTH);
    must(sg_config_complete(&c, &err), &err); // of attention, any family
    assert_true(sg_trimmed_threshold(&c, SG_TRIMMED_ATTENTION, 0) == 0.1);
    assert_true(sg_trimmed_threshold(&c, SG_TRIMMED_ATTENTION, 1) == 0);
    sg_param_list list;
    must(sg_config_params(&c, &list, &err), &err);
    int norms = 0;
    for (size_t i = 0; i < list.count; i++)
        if (strstr(list.specs[i].name, "qkv_norms") != NULL) norms += list.specs[i].frozen;
    assert_int_equal(norms, 2);
    sg_param_list_free(&list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_none_left_out), cmocka_unit_test(test_thresholds),
        cmocka_unit_test(test_bits),          cmocka_unit_test(test_file),
        cmocka_unit_test(test_layer_alone),   cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_refused),       cmocka_unit_test(test_config),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
