// Thresholds of a text that are kept layer by layer: a work that is stopped, or that the power or
// the disk ends, goes on with the same command to the same bits, whatever the groups in which
// layers are found; another command, another model, and what is damaged are refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "going_on.h"
#include "sparsify/kept_work.h"

enum { layers = 4, tokens = 300, tested = 200 };

static const char kind[] = "glu ffn_activation=swiglu num_hidden_layers=4";

static sg_sparsify_options method(const fixture *f, const char *name, const char *shares)
{
    sg_error err = {0};
    sg_sparsify_options o;
    must(sg_sparsify_options_of(name, &o, &err), &err);
    o.active = 0.5;
    o.shares = shares;
    o.data = f->data;
    o.calibration_tokens = tokens;
    o.test_tokens = tested;
    return o;
}

// ---- going on -----------------------------------------------------------------------------------

// Stopped after each layer. A group has as many layers as there is memory for; of a search each
// layer is kept, of equal shares each group.
static void test_stopped(void **state)
{
    (void)state;
    static const struct {
        const char *method, *shares;
        bool groups; // of all layers
    } works[] = {{"cats", NULL, false},
                 {"teal", "greedy", true},
                 {"teal", "greedy", false},
                 {"wina", "uniform", false}};
    for (size_t i = 0; i < sizeof works / sizeof *works; i++) {
        fixture f = begin(kind, 2);
        sg_sparsify_layer q[2][layers] = {0};
        sg_sparsify_options whole = method(&f, works[i].method, works[i].shares), parts = whole;
        whole.layers = q[0];
        parts.layers = q[1];
        if (!works[i].groups) parts.memory = 1;
        check_goes_on(&f, whole, parts);
        assert_memory_equal(q[0], q[1], sizeof q[0]);
        end(&f);
    }
}

// Layers that are missing here and there are found in groups of their own.
static void test_gaps(void **state)
{
    (void)state;
    fixture f = begin(kind, 1);
    sg_error err = {0};
    sg_model *made;
    sg_sparsify_result r;
    int64_t stop = layers;
    sg_sparsify_options o = method(&f, "teal", NULL);
    o.out = "/whole";
    must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
    assert_int_equal(r.passes, 1);
    sg_model_free(made);
    o.out = "/parts";
    o.progress = until;
    o.progress_user = &stop;
    assert_int_equal(sg_sparsify(f.dense, &o, &made, &r, &err), SG_ERR_STOPPED);
    assert_string_equal(err.message, "stopped after 4 layers, which /parts keeps: the same command "
                                     "goes on there");
    must(sg_tree_remove("/parts/.sparsify/layer-00000.safetensors", &err), &err);
    must(sg_tree_remove("/parts/.sparsify/layer-00002.safetensors", &err), &err);
    must(sg_tree_remove("/parts/.sparsify/layer-00003.safetensors", &err), &err);
    o.progress = NULL;
    must(sg_sparsify(f.dense, &o, &made, &r, &err), &err);
    assert_true(r.resumed == 1 && r.passes == 2);
    sg_model_free(made);
    check_same_weights("/whole", "/parts");
    end(&f);
}

static void test_power(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    sg_sparsify_options o = method(&f, "cats", NULL);
    o.calibration_tokens = o.test_tokens = TINY_LENGTH;
    o.memory = 1;
    check_power(&f, o, 3);
    end(&f);
}

// ---- what is refused ----------------------------------------------------------------------------

static const char layer[] = "/out/.sparsify/layer-00000.safetensors";

static void refused(const fixture *f, sg_sparsify_options o, sg_status status, const char *says)
{
    sg_error err = {0};
    sg_model *made = f->dense;
    const sg_status found = sg_sparsify(f->dense, &o, &made, NULL, &err);
    if (found != status || strstr(err.message, says) == NULL)
        fail_msg("%s: %s, expected %s", sg_status_name(found), err.message, says);
    assert_null(made);
    assert_true(sg_path_exists(layer));
}

// A work with layer 1 of 4 in /out.
static sg_sparsify_options begun(const fixture *f, int64_t *stop)
{
    sg_error err = {0};
    sg_model *made;
    sg_sparsify_options o = method(f, "teal", "greedy");
    o.out = "/out";
    o.progress = until;
    o.progress_user = stop;
    *stop = 0;
    assert_int_equal(sg_sparsify(f->dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    assert_false(sg_path_exists("/out")); // what did not begin leaves nothing
    *stop = 1;
    assert_int_equal(sg_sparsify(f->dense, &o, &made, NULL, &err), SG_ERR_STOPPED);
    assert_true(sg_path_exists(layer));
    return o;
}

static void test_another(void **state)
{
    (void)state;
    fixture f = begin(kind, 1);
    int64_t stop;
    sg_error err = {0};
    const sg_sparsify_options o = begun(&f, &stop);
    sg_sparsify_options other = o;
    other.active = 0.6;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with active 0.5, expected 0.6");
    other = o, other.shares = NULL;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with shares \"greedy\", expected \"uniform\"");
    other = o, other.trim = "wina";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with method \"teal\", expected \"wina\"");
    other = o, other.trim = "cats";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with method \"teal\", expected \"cats\"");
    other = o, other.test_tokens = TINY_LENGTH;
    refused(&f, other, SG_ERR_ARGUMENT, "begun with text ");
    must(sg_sparsify_options_of("similarity", &other, &err), &err);
    other.block_size = 3, other.out = "/out";
    refused(&f, other, SG_ERR_ARGUMENT, "begun with format \"sgatlin sparsify thresholds 1\"");
    sg_model *model = f.dense;
    const sg_config config = tiny_config(kind, vocab, TINY_LENGTH);
    must(sg_model_new(f.context, &config, 4, &f.dense, &err), &err);
    refused(&f, o, SG_ERR_ARGUMENT, "begun with model ");
    sg_model_free(f.dense);
    f.dense = model;
    end(&f);
}

// Thresholds with a checksum that is right, in the place of those of layer 1.
static void put(const double *thresholds, int64_t count)
{
    sg_error err = {0};
    const sg_kept_work work = {.out = "/out"};
    const sg_tensor_view view = {.name = "thresholds",
                                 .dtype = SG_DTYPE_F64,
                                 .ndim = 1,
                                 .shape = {count},
                                 .data = thresholds,
                                 .bytes = (size_t)count * sizeof *thresholds};
    must(sg_kept_save(&work, 0, &view, 1, &err), &err);
}

static void test_damaged(void **state)
{
    (void)state;
    fixture f = begin(kind, 1);
    int64_t stop;
    sg_error err = {0};
    char *data;
    size_t bytes;
    const sg_sparsify_options o = begun(&f, &stop);
    must(sg_file_read(layer, 1 << 20, &data, &bytes, &err), &err);
    data[bytes - 3] ^= 1;
    must(sg_file_write_atomic(layer, data, bytes, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: found the checksum");
    must(sg_file_write_atomic(layer, data, bytes / 2, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: ");
    sg_free(data);
    put((double[]){0.1}, 1); // as of a CATS layer
    refused(&f, o, SG_ERR_MISMATCH, "layer-00000.safetensors: ");
    put((double[]){0.1, 0.2, NAN, 0.4}, 4);
    refused(&f, o, SG_ERR_FORMAT, "layer-00000.safetensors: thresholds: found nan");
    put((double[]){0.1, 0.2, 0.3, -0.4}, 4);
    refused(&f, o, SG_ERR_FORMAT, "thresholds: found -0.4, expected 0 or more");
    must(sg_file_write_atomic("/out/.sparsify/plan.json", "{}", 2, &err), &err);
    refused(&f, o, SG_ERR_FORMAT, "plan.json");
    end(&f);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status make_once(void *user, sg_error *err)
{
    fixture *f = user;
    sg_model *made = NULL;
    sg_sparsify_options o = method(f, "wina", NULL);
    o.calibration_tokens = o.test_tokens = TINY_LENGTH;
    const sg_status status = sg_sparsify(f->dense, &o, &made, NULL, err);
    sg_model_free(made);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    fixture f = begin("mlp", 1);
    assert_true(alloc_failure_loop(make_once, &f) > 100);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stopped), cmocka_unit_test(test_gaps),
        cmocka_unit_test(test_power),   cmocka_unit_test(test_another),
        cmocka_unit_test(test_damaged), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
