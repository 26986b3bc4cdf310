// Projections of attention made MLPs by a text: what they learn, bits that depend on no number of
// threads and no memory, works that go on where they were stopped, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "going_on.h"
#include "model/model.h"
#include "sparsify/projection_keep.h"
#include "sgatlin_sparsify.h"

enum { layers = 2, all = 4 * layers };

static sg_sparsify_options method(const fixture *f, sg_sparsify_projection *to)
{
    sg_error err = {0};
    sg_sparsify_options o;
    must(sg_sparsify_options_of("attention-mlp", &o, &err), &err);
    o.data = f->data;
    o.calibration_tokens = 300;
    o.test_tokens = 200;
    o.projection_steps = 20;
    o.projection_batch = 64;
    o.projected = to;
    return o;
}

// ---- what is learned ----------------------------------------------------------------------------

// More steps come nearer; the term makes zeros; perplexities are those of the two models.
static void test_learns(void **state)
{
    (void)state;
    static const struct {
        int64_t steps;
        double sparsity;
    } runs[] = {{1, 0}, {400, 0}, {400, 0.1}};
    sg_sparsify_projection p[3][all];
    fixture f = begin("glu num_key_value_heads=1 attention_bias=1", 2);
    for (int i = 0; i < 3; i++) {
        sg_error err = {0};
        sg_model *made;
        sg_sparsify_result r;
        sg_sparsify_options o = method(&f, p[i]);
        o.projection_size = 4;
        o.projection_rate = 0.01;
        o.projection_steps = runs[i].steps;
        o.projection_sparsity = runs[i].sparsity;
        must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
        assert_true(r.test_tokens == 208 && r.passes == 1 && isnan(r.executed));
        const double ratio = r.sparse_perplexity / r.dense_perplexity;
        assert_true(ratio > 0.5 && ratio < 2 && (ratio < 1 || ratio > 1));
        sg_model_free(made);
    }
    double zeros[3] = {0};
    for (int m = 0; m < all; m++) {
        const bool narrow = m % 4 == 1 || m % 4 == 2;
        assert_int_equal(p[0][m].hidden, narrow ? 22 : 33);
        if (!(p[1][m].error < 0.5 * p[0][m].error && p[1][m].error < 0.6))
            fail_msg("module %d: errors of %.3f after 400 steps, %.3f after 1", m, p[1][m].error,
                     p[0][m].error);
        assert_true(p[1][m].loss < p[0][m].loss && p[1][m].loss > 0);
        for (int i = 0; i < 3; i++)
            zeros[i] += p[i][m].zeros / all;
    }
    if (!(zeros[2] > zeros[1] + 0.1)) fail_msg("zeros: %.3f, %.3f", zeros[1], zeros[2]);
    end(&f);
}

// Some of the projections, in some of the layers, of a model whose other layers are sparse; and
// then the others of the model that came out.
static void test_some(void **state)
{
    (void)state;
    sg_sparsify_projection p[all], q[all];
    fixture f = begin("sgatlin", 2);
    sg_error err = {0};
    sg_model *made, *more;
    sg_sparsify_options o = method(&f, p);
    memset(p, 0, sizeof p);
    memset(q, 0, sizeof q);
    o.projections = "v,o";
    o.projection_layers = "2";
    must(sg_sparsify(f.dense, &o, &made, NULL, &err), &err);
    assert_string_equal(sg_model_config(made)->attention_mlp_v, "0,8");
    assert_string_equal(sg_model_config(made)->attention_mlp_o, "0,8");
    assert_string_equal(sg_model_config(made)->attention_mlp_q, "");
    for (int m = 0; m < all; m++)
        assert_int_equal(p[m].hidden, m >= 6 ? 8 : 0);
    o.projected = q;
    o.projections = "q,v";
    assert_int_equal(sg_sparsify(made, &o, &more, NULL, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found v of layer 2, which is an MLP already"));
    o.projection_layers = "1";
    must(sg_sparsify(made, &o, &more, NULL, &err), &err);
    assert_string_equal(sg_model_config(more)->attention_mlp_v, "8");
    assert_string_equal(sg_model_config(more)->attention_mlp_q, "8,0");
    // What was an MLP before is the same one.
    size_t a, b;
    static const char name[] = "model.layers.1.self_attn.v_proj.mlp.up_proj.weight";
    must(sg_model_tensor_find(made, name, &a, &err), &err);
    must(sg_model_tensor_find(more, name, &b, &err), &err);
    assert_memory_equal(made->values[a], more->values[b], 8 * 16 * sizeof(float));
    sg_model_free(more);
    sg_model_free(made);
    end(&f);
}

// ---- the same bits ------------------------------------------------------------------------------

// One thread and all memory; three, and room for one layer.
static void test_bits(void **state)
{
    (void)state;
    sg_sparsify_projection p[2][all];
    sg_sparsify_result r[2];
    char *weights[2];
    size_t bytes[2];
    memset(p, 0, sizeof p);
    for (int n = 0; n < 2; n++) {
        fixture f = begin("mlp", n ? 3 : 1);
        sg_error err = {0};
        sg_model *made;
        sg_sparsify_options o = method(&f, p[n]);
        if (n) o.memory = 70000;
        o.out = "/out";
        must(sg_sparsify(f.dense, &o, &made, &r[n], &err), &err);
        weights[n] = weights_of("/out", &bytes[n]);
        sg_model_free(made);
        end(&f);
    }
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(weights[0], weights[1], bytes[0]);
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    assert_true(r[0].passes == 1 && r[1].passes == 2);
    assert_true(r[0].sparse_perplexity == r[1].sparse_perplexity);
    sg_free(weights[0]);
    sg_free(weights[1]);
}

// ---- going on -----------------------------------------------------------------------------------

static void test_resume(void **state)
{
    (void)state;
    sg_sparsify_projection p[2][all];
    fixture f = begin("glu attention_bias=1", 2);
    sg_sparsify_options o[2] = {method(&f, p[0]), method(&f, p[1])};
    memset(p, 0, sizeof p);
    o[0].seed = o[1].seed = 7;
    check_goes_on(&f, o[0], o[1]);
    assert_memory_equal(p[0], p[1], sizeof p[0]);
    end(&f);
}

static void test_power(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    sg_sparsify_options o = method(&f, NULL);
    o.calibration_tokens = 32;
    o.test_tokens = 0;
    o.projection_steps = 2;
    check_power(&f, o, 9);
    end(&f);
}

// Each allocation fails in turn: nothing is left of what was begun.
static sg_status make_once(void *user, sg_error *err)
{
    fixture *f = user;
    sg_model *made = NULL;
    sg_sparsify_options o = method(f, NULL);
    o.calibration_tokens = o.test_tokens = TINY_LENGTH;
    o.projection_steps = 1;
    o.projections = "q,o";
    o.projection_layers = "1";
    const sg_status status = sg_sparsify(f->dense, &o, &made, NULL, err);
    sg_model_free(made);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    fixture f = begin("mlp attention_bias=1", 1);
    assert_true(alloc_failure_loop(make_once, &f) > 100);
    end(&f);
}

// ---- what is refused ----------------------------------------------------------------------------

static void refused(const fixture *f, sg_sparsify_options o, sg_status status, const char *says)
{
    sg_error err = {0};
    sg_model *made = f->dense;
    const sg_status found = sg_sparsify(f->dense, &o, &made, NULL, &err);
    if (found != status || strstr(err.message, says) == NULL)
        fail_msg("%s: %s, expected %s", sg_status_name(found), err.message, says);
    assert_null(made);
}

// ---- what is kept -------------------------------------------------------------------------------

typedef struct kept {
    sg_projection_layer layer;
    sg_real up[6], up_bias[2], down[4], down_bias[2];
} kept;

// One MLP, of values 1.
static void kept_begin(kept *k)
{
    *k = (kept){.layer = {.count = 1,
                          .which = {SG_PROJECTION_V},
                          .quality = {{.loss = 0.5, .error = 0.25, .zeros = 0.75}}}};
    k->layer.modules[0] =
        (sg_distil_module){.size = {3, 2, 2}, .values = {k->up, k->up_bias, k->down, k->down_bias}};
    for (int i = 0; i < 6; i++)
        k->up[i] = k->up_bias[i % 2] = k->down[i % 4] = k->down_bias[i % 2] = 1;
}

// A layer comes back as it was, also one that was not tested; what no training leaves is refused,
// though its checksum is right.
static void test_kept(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1); // its disk
    const sg_kept_work work = {.out = "/out"};
    sg_error err = {0};
    kept k, back;
    bool found;
    must(sg_folder_make("/out", &err), &err);
    must(sg_folder_make("/out/.sparsify", &err), &err);
    for (int tested = 0; tested < 2; tested++) {
        kept_begin(&k);
        if (!tested) k.layer.quality[0].error = k.layer.quality[0].zeros = NAN;
        must(sg_projection_keep_save(&work, 0, &k.layer, &err), &err);
        kept_begin(&back);
        back.up[4] = 7, back.layer.quality[0] = (sg_projection_quality){0};
        must(sg_projection_keep_load(&work, 0, &back.layer, &found, &err), &err);
        assert_true(found && back.up[4] == 1 && back.layer.quality[0].loss == 0.5);
        assert_true(tested ? back.layer.quality[0].zeros == 0.75
                           : isnan(back.layer.quality[0].zeros));
    }
    must(sg_projection_keep_load(&work, 1, &back.layer, &found, &err), &err);
    assert_false(found);
    static const char *const says[] = {"v.down.weight: found inf, expected finite numbers",
                                       "quality: loss: found -1, expected 0 to",
                                       "quality: zeros: found 1.5, expected 0 to 1"};
    for (int i = 0; i < 3; i++) {
        kept_begin(&k);
        if (i == 0) k.down[3] = INFINITY;
        if (i == 1) k.layer.quality[0].loss = -1;
        if (i == 2) k.layer.quality[0].zeros = 1.5;
        must(sg_projection_keep_save(&work, 0, &k.layer, &err), &err);
        assert_int_equal(sg_projection_keep_load(&work, 0, &back.layer, &found, &err),
                         SG_ERR_FORMAT);
        if (strstr(err.message, says[i]) == NULL) fail_msg("%s", err.message);
        assert_non_null(strstr(err.message, "layer-00000.safetensors: "));
    }
    back.layer.modules[0].size.hidden = 1;
    assert_int_equal(sg_projection_keep_load(&work, 0, &back.layer, &found, &err), SG_ERR_MISMATCH);
    end(&f);
}

// Another command, another model, a damaged layer; what did not begin leaves nothing.
static void test_not_resumed(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    sg_error err = {0};
    sg_model *made;
    int64_t stop = 0;
    char *data;
    size_t bytes;
    static const char layer[] = "/out/.sparsify/layer-00000.safetensors";
    sg_sparsify_options o = method(&f, NULL), other;
    o.out = "/out";
    o.progress = until;
    o.progress_user = &stop;
    assert_int_equal(sg_sparsify(f.dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    assert_false(sg_path_exists("/out"));
    stop = 1;
    assert_int_equal(sg_sparsify(f.dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    other = o, other.seed = 4;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with seed \"0\", expected \"4\"");
    other = o, other.projection_steps = 21;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with projection_steps 20, expected 21");
    other = o, other.projections = "q";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with attention_mlp_k \"8\", expected \"\"");
    must(sg_sparsify_options_of("similarity", &other, &err), &err);
    other.block_size = 3, other.out = "/out";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with format \"sgatlin sparsify attention-mlp 1\"");
    must(sg_file_read(layer, 1 << 20, &data, &bytes, &err), &err);
    data[bytes - 3] ^= 1;
    must(sg_file_write_atomic(layer, data, bytes, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: found the checksum");
    must(sg_file_write_atomic(layer, data, bytes / 2, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: ");
    sg_free(data);
    end(&f);
}

static void test_refused(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    const sg_sparsify_options right = method(&f, NULL);
    static const char *const names[] = {"", "q,", ",q", "qk", "q;k", "x", "q,k,w"};
    sg_sparsify_options o;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        o = right, o.projections = names[i];
        refused(&f, o, SG_ERR_ARGUMENT, "expected some of q,k,v,o");
    }
    o = right, o.projection_layers = "3";
    refused(&f, o, SG_ERR_ARGUMENT, "projection_layers: found \"3\"");
    o = right, o.projection_size = 0;
    refused(&f, o, SG_ERR_ARGUMENT, "projection_size: found 0");
    o = right, o.projection_steps = 0;
    refused(&f, o, SG_ERR_ARGUMENT, "projection_steps, projection_batch: found 0 and 64");
    o = right, o.projection_rate = NAN;
    refused(&f, o, SG_ERR_ARGUMENT, "projection_rate, projection_sparsity: found ");
    o = right, o.projection_rate = 1e30;
    refused(&f, o, SG_ERR_NUMERIC, "layer 1: distillation: step 2");
    o = right, o.data = NULL;
    refused(&f, o, SG_ERR_ARGUMENT, "projections: MLPs are trained on a text");
    o = right, o.calibration_tokens = 1 << 28;
    refused(&f, o, SG_ERR_ARGUMENT, "data: training split: found");
    o = right, o.memory = 100;
    refused(&f, o, SG_ERR_ARGUMENT, "memory: found 100 bytes, expected");
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learns),  cmocka_unit_test(test_some),
        cmocka_unit_test(test_bits),    cmocka_unit_test(test_resume),
        cmocka_unit_test(test_memory),  cmocka_unit_test(test_power),
        cmocka_unit_test(test_kept),    cmocka_unit_test(test_not_resumed),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
