// Dense models made sparse by a text: every method says what the dense model says where all blocks
// are read; trained routers find more than the control and never more than an oracle; bits do not
// depend on threads or on the memory for inputs; what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "dense_fixture.h"
#include "going_on.h"
#include "logits.h"
#include "model/config.h"
#include "model/model.h"
#include "sgatlin_sparsify.h"
#include "sparsify/calibration.h"
#include "sparsify/dense_layer.h"

enum { steps = 7, layers = 2 };

// A method on the fixture's data, in blocks of three neurons.
static sg_sparsify_options method(const fixture *f, const char *name, sg_sparsify_layer *to)
{
    sg_error err = {0};
    sg_sparsify_options o;
    must(sg_sparsify_options_of(name, &o, &err), &err);
    o.block_size = 3;
    o.blocks = 0;
    o.data = f->data;
    o.calibration_tokens = 300;
    o.router_tokens = 1200;
    o.test_tokens = 200;
    o.layers = to;
    return o;
}

static void say(sg_model *m, float out[steps][vocab])
{
    static const int32_t tokens[steps] = {1, 50, 9, 33, 130, 2, 170};
    logits_of(m, tokens, steps, 1, out[0]);
}

// All blocks read, the layer is the dense one, whatever the split, the router and the means are;
// perplexities are the same then, and the work is all of it and the router.
static void test_all_blocks(void **state)
{
    (void)state;
    static float dense[steps][vocab], sparse[steps][vocab];
    static const char *const kinds[] = {
        "mlp ffn_activation=relu ffn_bias=1", "glu ffn_activation=swiglu",
        "glu ffn_activation=geglu ffn_glu_interleaved=1 ffn_bias=1"};
    static const char *const splits[] = {"kmeans", "coactivation", "shared"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        fixture f = begin(kinds[k], 2);
        say(f.dense, dense);
        for (size_t i = 0; sg_sparsify_method(i) != NULL; i++)
            for (int split = 0; split < 3; split++) {
                sg_error err = {0};
                sg_model *made;
                sg_sparsify_result r;
                sg_sparsify_options o = method(&f, sg_sparsify_method(i), NULL);
                if (o.trim != NULL || o.projections != NULL) continue; // tests of their own
                if (strcmp(o.router, "representative") == 0 && split != 2) continue;
                o.split = splits[split];
                o.shared_blocks = split == 2 && k > 0 ? 2 : 0;
                o.active = 1;
                o.threshold = 0;
                o.router_epochs = 1;
                o.router_tokens = 300;
                must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
                say(made, sparse);
                if (furthest(dense[0], sparse[0], steps * vocab) > 2e-5)
                    fail_msg("%s, %s, %s: logits are %.2g off", kinds[k], sg_sparsify_method(i),
                             o.split, furthest(dense[0], sparse[0], steps * vocab));
                assert_true(fabs(r.sparse_perplexity / r.dense_perplexity - 1) < 1e-5);
                assert_true(r.executed > 1 && isfinite(r.executed));
                sg_model_free(made);
            }
        end(&f);
    }
}

// ---- what is collected --------------------------------------------------------------------------

typedef struct seen {
    float values[TINY_LENGTH][24]; // of one sequence
} seen;

static sg_status see(void *user, const sg_point_values *v, sg_error *err)
{
    seen *s = user;
    (void)err;
    for (int64_t i = 0; i < v->shape[0]; i++)
        memcpy(s->values[v->start[0] + v->first_row + i], v->values + i * v->shape[1],
               (size_t)v->shape[1] * sizeof(float));
    return SG_OK;
}

typedef struct compared {
    const seen *of;
    double most;
} compared;

static sg_status compare(void *user, int64_t first, int64_t count, const sg_real *a, sg_error *err)
{
    compared *c = user;
    (void)err;
    for (int64_t i = first; i < first + count && i < TINY_LENGTH; i++)
        for (int64_t j = 0; j < 24; j++)
            c->most =
                fmax(c->most, fabs((double)a[(i - first) * 24 + j] - (double)c->of->values[i][j]));
    return SG_OK;
}

// Activations from inputs that were collected are those of the dense model.
static void test_activations(void **state)
{
    (void)state;
    static const char *const kinds[] = {
        "mlp ffn_activation=relu2 ffn_bias=1", "glu",
        "glu ffn_activation=geglu ffn_glu_interleaved=1 ffn_bias=1"};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        fixture f = begin(kinds[k], 2);
        sg_error err = {0};
        sg_calibration text;
        sg_dense_layer layer;
        seen s;
        const sg_calibration_source source = {.data = f.data, .tokens = {40, 0, 20}};
        must(sg_calibration_new(f.dense, &source, &text, &err), &err);
        assert_true(text.tokens == 48 + 32 && text.rows == text.tokens && text.length == 16);
        const int64_t d = f.dense->config.hidden_size;
        sg_real *x = calloc((size_t)(text.rows * d), sizeof *x);
        must(sg_calibration_inputs(&text, f.dense, 1, 1, x, NULL, NULL, &err), &err);
        const sg_point_request request = {
            .name = "blocks.1.mlp.hook_post", .use = SG_POINT_READ, .call = see, .user = &s};
        const sg_points points = {&request, 1};
        sg_session *session;
        must(sg_session_open(f.dense, &(sg_session_options){.points = &points}, &session, &err),
             &err);
        const int64_t first = text.parts[SG_USE_TEST].first;
        const float *logits;
        must(sg_session_feed(session, text.ids + first, TINY_LENGTH, &logits, &err), &err);
        sg_session_free(session);
        must(sg_dense_layer_new(&f.dense->config, &layer, &err), &err);
        must(sg_dense_layer_read(f.dense, 1, &layer, &err), &err);
        compared c = {.of = &s};
        must(sg_dense_layer_activate(f.context->compute, &layer, x + first * d, 32, compare, &c,
                                     &err),
             &err);
        if (c.most > 1e-5) fail_msg("%s: activations are %.2g off", kinds[k], c.most);
        sg_dense_layer_free(&layer);
        sg_calibration_free(&text);
        free(x);
        end(&f);
    }
}

// ---- what routers find --------------------------------------------------------------------------

static void bounds(const sg_sparsify_captured *c)
{
    assert_true(c->oracle >= c->router && c->oracle >= c->random && c->oracle <= 1 + 1e-9);
    assert_true(c->router > 0 && c->random > 0);
}

// What is learned is better than the control; the oracle is never beaten.
static void test_routers(void **state)
{
    (void)state;
    static const char *const methods[] = {"moefication", "gmoefication", "dsti"};
    fixture f = begin("mlp ffn_activation=relu", 2);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        sg_error err = {0};
        sg_model *made;
        sg_sparsify_result r;
        sg_sparsify_layer q[layers];
        sg_sparsify_options o = method(&f, methods[i], q);
        o.select = "top_k";
        o.active = 0.25;
        o.router_rate = 0.02;
        must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
        for (int l = 0; l < layers; l++) {
            const sg_sparsify_captured *c = i == 2 ? &q[l].norm : &q[l].positive;
            bounds(&q[l].positive);
            bounds(&q[l].norm);
            // What gmoefication's learn is neither of the two truths.
            if (i != 1 && !(c->router > c->random + 0.05))
                fail_msg("%s, layer %d: the router has %.3f, the control %.3f", methods[i], l,
                         c->router, c->random);
            assert_true(q[l].mean == 2 && q[l].deviation == 0 && q[l].compared == 2);
            assert_true(q[l].router_epoch >= 1 && q[l].router_epoch <= 30);
            assert_true(q[l].within > 0 && q[l].within < 1 && q[l].distance > 0);
        }
        assert_true(r.executed > 0.25);
        assert_int_equal(sg_model_config(made)->ffn_mean, i == 1);
        sg_model_free(made);
    }
    end(&f);
}

// The perplexity is that of an evaluation of the same rows.
static void test_perplexity(void **state)
{
    (void)state;
    fixture f = begin("glu", 1);
    sg_error err = {0};
    sg_model *made;
    sg_sparsify_result r;
    sg_eval_result dense, sparse;
    sg_sparsify_options o = method(&f, "similarity", NULL);
    const sg_eval_options all = sg_eval_options_default();
    o.test_tokens = sg_data_get_info(f.data)->split[SG_SPLIT_VAL].rows * TINY_LENGTH;
    must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
    must(sg_evaluate(f.dense, f.data, &all, &dense, &err), &err);
    must(sg_evaluate(made, f.data, &all, &sparse, &err), &err);
    assert_int_equal(r.test_tokens, dense.tokens);
    assert_true(fabs(r.dense_perplexity / dense.perplexity - 1) < 1e-5);
    assert_true(fabs(r.sparse_perplexity / sparse.perplexity - 1) < 1e-5);
    sg_model_free(made);
    end(&f);
}

// Weights after one thread and all memory, and after three and room for one layer.
static void test_bits(void **state)
{
    (void)state;
    static float once[steps][vocab], again[steps][vocab];
    static const char *const names[] = {"gmoefication", "cmoe"};
    for (int i = 0; i < 2; i++) {
        sg_sparsify_layer q[2][layers];
        sg_sparsify_result r[2];
        for (int n = 0; n < 2; n++) {
            fixture f = begin("glu ffn_activation=swiglu", n ? 3 : 1);
            sg_error err = {0};
            sg_model *made;
            sg_sparsify_options o = method(&f, names[i], q[n]);
            if (n) o.memory = i == 0 ? 120000 : 40000;
            must(sg_sparsify(f.dense, &o, &made, &r[n], &err), &err);
            say(made, n ? again : once);
            sg_model_free(made);
            end(&f);
        }
        assert_memory_equal(once, again, sizeof once);
        assert_memory_equal(q[0], q[1], sizeof q[0]);
        assert_true(r[0].passes == 1 && r[1].passes == 2);
        assert_true(r[0].sparse_perplexity == r[1].sparse_perplexity);
    }
}

// ---- going on -----------------------------------------------------------------------------------

// A work that is stopped after each layer, by any number of threads, ends as one that is not.
static void test_resume(void **state)
{
    (void)state;
    static const char *const names[] = {"gmoefication", "cmoe", "dsti", "similarity"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        fixture f = begin("glu ffn_activation=swiglu", 2);
        sg_sparsify_layer q[2][layers];
        sg_sparsify_options o[2] = {method(&f, names[i], q[0]), method(&f, names[i], q[1])};
        o[0].router_epochs = o[1].router_epochs = 2;
        check_goes_on(&f, o[0], o[1]);
        assert_memory_equal(q[0], q[1], sizeof q[0]);
        end(&f);
    }
}

static void refused(fixture *f, sg_sparsify_options o, sg_status status, const char *says);

// Another command, another model, a damaged layer; what did not begin leaves nothing.
static void test_not_resumed(void **state)
{
    (void)state;
    fixture f = begin("glu ffn_activation=swiglu", 1);
    sg_error err = {0};
    sg_model *made;
    int64_t stop = 0;
    char *data;
    size_t bytes;
    static const char layer[] = "/out/.sparsify/layer-00000.safetensors";
    sg_sparsify_options o = method(&f, "moefication", NULL), other;
    o.router_epochs = 1;
    o.out = "/out";
    o.progress = until;
    o.progress_user = &stop;
    assert_int_equal(sg_sparsify(f.dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    assert_false(sg_path_exists("/out"));
    stop = 1;
    assert_int_equal(sg_sparsify(f.dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    other = o, other.seed = 4;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with seed \"0\", expected \"4\"");
    other = o, other.split = "random";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with split \"kmeans\", expected \"random\"");
    other = o, other.test_tokens = 16;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with text ");
    sg_model *model = f.dense;
    const sg_config config = tiny_config("glu ffn_activation=swiglu", vocab, TINY_LENGTH);
    must(sg_model_new(f.context, &config, 4, &f.dense, &err), &err);
    refused(&f, o, SG_ERR_ARGUMENT, "begun with model ");
    sg_model_free(f.dense);
    f.dense = model;
    must(sg_file_read(layer, 1 << 20, &data, &bytes, &err), &err);
    data[bytes - 3] ^= 1;
    must(sg_file_write_atomic(layer, data, bytes, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: found the checksum");
    must(sg_file_write_atomic(layer, data, bytes / 2, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: ");
    sg_free(data);
    must(sg_file_write_atomic("/out/.sparsify/plan.json", "{}", 2, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "plan.json");
    end(&f);
}

static void test_power(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    sg_sparsify_options o = sg_sparsify_options_default();
    o.block_size = 6;
    check_power(&f, o, 3);
    end(&f);
}

// Each allocation fails in turn: nothing is left of what was begun.
static sg_status make_once(void *user, sg_error *err)
{
    fixture *f = user;
    sg_model *made = NULL;
    sg_sparsify_options o = method(f, "gmoefication", NULL);
    o.split = "shared";
    o.shared_blocks = 1;
    o.router_epochs = 1;
    o.calibration_tokens = o.router_tokens = o.test_tokens = TINY_LENGTH;
    const sg_status status = sg_sparsify(f->dense, &o, &made, NULL, err);
    sg_model_free(made);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    fixture f = begin("glu", 1);
    sg_config config = tiny_config("glu", vocab, TINY_LENGTH);
    sg_error err = {0};
    config.num_hidden_layers = 1;
    sg_model_free(f.dense);
    must(sg_model_new(f.context, &config, 3, &f.dense, &err), &err);
    assert_true(alloc_failure_loop(make_once, &f) > 100);
    end(&f);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refused(fixture *f, sg_sparsify_options o, sg_status status, const char *says)
{
    sg_error err = {0};
    sg_model *made;
    assert_int_equal(sg_sparsify(f->dense, &o, &made, NULL, &err), status);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
    assert_null(made);
}

static void test_refused(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    const sg_sparsify_options right = method(&f, "moefication", NULL);
    sg_sparsify_options o = right;
    o.router_tokens = 1000000;
    refused(&f, o, SG_ERR_ARGUMENT, "expected 1000000 or more: 0 to calibrate by, 1000000 to");
    o = right, o.test_tokens = 100000;
    refused(&f, o, SG_ERR_ARGUMENT, "data: validation split: found");
    o = right, o.router_tokens = 0;
    refused(&f, o, SG_ERR_ARGUMENT, "router_tokens: found 0");
    o = right, o.memory = 1000;
    refused(&f, o, SG_ERR_ARGUMENT, "memory: found 1000 bytes, expected");
    o = right, o.context = 8;
    refused(&f, o, SG_ERR_ARGUMENT, "context: found 8, expected none with packed data");
    o = right, o.text = "a", o.text_bytes = 1;
    refused(&f, o, SG_ERR_ARGUMENT, "found a text and packed data");
    o.data = NULL;
    refused(&f, o, SG_ERR_ARGUMENT, "text: found no tokenizer");
    sg_tokenizer *tokenizer;
    sg_error err = {0};
    must(sg_tokenizer_open(TINY_CONCAT, &tokenizer, &err), &err);
    o.tokenizer = tokenizer;
    refused(&f, o, SG_ERR_ARGUMENT, "tokens, expected 1401 or more: 0 to calibrate by, 1200 to");
    o.context = TINY_LENGTH + 1;
    refused(&f, o, SG_ERR_ARGUMENT, "context: found 17");
    sg_tokenizer_free(tokenizer);
    o = right, o.block_size = 5;
    refused(&f, o, SG_ERR_ARGUMENT, "block_size: found 5");
    o = method(&f, "cmoe", NULL);
    refused(&f, o, SG_ERR_UNSUPPORTED, "shared_blocks: found 2, expected 0 for layers that");
    assert_int_equal(sg_sparsify_options_of("magic", &o, &err), SG_ERR_ARGUMENT);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_blocks),  cmocka_unit_test(test_activations),
        cmocka_unit_test(test_routers),     cmocka_unit_test(test_perplexity),
        cmocka_unit_test(test_bits),        cmocka_unit_test(test_resume),
        cmocka_unit_test(test_not_resumed), cmocka_unit_test(test_power),
        cmocka_unit_test(test_memory),      cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
