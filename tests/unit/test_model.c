// Models: initial laws, saving and opening bit for bit, and folders that are not what they say.
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
#include "memory_fs.h"
#include "model/model.h"
#include "tiny_models.h"

static sg_context *contexts[2]; // of 1 and 3 threads
static memory_fs *fs;
static const char model_folder[] = "model";

static int set_up(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        sg_context_options options = sg_context_options_default();
        options.threads = 1 + 2 * i;
        if (sg_context_new(&options, &contexts[i], NULL) != SG_OK) return -1;
    }
    fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++)
        sg_context_free(contexts[i]);
    bool clean = memory_fs_open_handles(fs) == 0 && memory_fs_open_maps(fs) == 0;
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return clean ? 0 : -1;
}

static sg_model *fresh(const char *kind, sg_context *context, uint64_t seed)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, 40, 32);
    if (sg_model_new(context, &c, seed, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static const float *values_of(const sg_model *model, size_t i, int64_t *count)
{
    int rank;
    int64_t shape[4];
    const float *values = sg_model_tensor_values(model, i, &rank, shape);
    assert_non_null(values);
    assert_in_range(rank, 1, 4);
    *count = shape[0] * shape[1] * shape[2] * shape[3];
    return values;
}

static void assert_same(const sg_model *a, const sg_model *b)
{
    assert_memory_equal(sg_model_config(a), sg_model_config(b), sizeof(sg_config));
    assert_int_equal(sg_model_tensor_count(a), sg_model_tensor_count(b));
    for (size_t i = 0; i < sg_model_tensor_count(a); i++) {
        int64_t n, m;
        const float *x = values_of(a, i, &n), *y = values_of(b, i, &m);
        assert_string_equal(sg_model_tensor_name(a, i), sg_model_tensor_name(b, i));
        assert_int_equal(n, m);
        assert_memory_equal(x, y, (size_t)n * sizeof *x);
    }
}

static void test_save_open(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_error err = {0};
        sg_model *model = fresh(tiny_kind(k), contexts[0], 5), *back;
        assert_int_equal(sg_model_save(model, NULL, model_folder, &err), SG_OK);
        if (sg_model_open(contexts[1], model_folder, &back, &err) != SG_OK)
            fail_msg("%s", err.message);
        assert_same(model, back);
        assert_null(back->storage.memory); // mapped, not copied
        // A mapped model can be saved over its own file.
        assert_int_equal(sg_model_save(back, NULL, model_folder, &err), SG_OK);
        assert_same(model, back);
        sg_model_free(back);
        assert_int_equal(sg_model_open(contexts[1], model_folder, &back, &err), SG_OK);
        assert_same(model, back);
        sg_model_free(back);
        sg_model_free(model);
    }
}

static void test_inspection(void **state)
{
    (void)state;
    sg_model *model = fresh("sgatlin", contexts[0], 5);
    size_t n = sg_model_tensor_count(model);
    int rank;
    int64_t shape[4], total = 0, count;
    assert_int_equal(n, 2 + 2 * 12);
    for (size_t i = 0; i < n; i++) {
        assert_non_null(values_of(model, i, &count));
        total += count;
    }
    sg_cost cost;
    assert_int_equal(sg_config_cost(sg_model_config(model), 8, 1, false, 1, &cost, NULL), SG_OK);
    assert_int_equal(total, cost.parameters);
    assert_string_equal(sg_model_tensor_name(model, 0), "model.embed_tokens.weight");
    sg_model_tensor_values(model, 0, &rank, shape);
    assert_true(rank == 2 && shape[0] == 40 && shape[1] == 16 && shape[2] == 1 && shape[3] == 1);
    assert_null(sg_model_tensor_name(model, n));
    assert_null(sg_model_tensor_values(model, n, &rank, shape));
    sg_model_free(model);
    sg_model_free(NULL);
}

// ---- initial laws -----------------------------------------------------------------------------

static void test_seeds_and_threads(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *one = fresh(tiny_kind(k), contexts[0], 1);
        sg_model *three = fresh(tiny_kind(k), contexts[1], 1);
        sg_model *other = fresh(tiny_kind(k), contexts[0], 2);
        assert_same(one, three);
        for (size_t i = 0; i < one->params.count; i++) {
            const sg_param_spec *spec = &one->params.specs[i];
            int64_t n, equal = 0;
            const float *x = values_of(one, i, &n), *y = values_of(other, i, &n);
            for (int64_t j = 0; j < n; j++)
                equal += x[j] == y[j];
            bool constant = spec->init == SG_INIT_ZERO || spec->init == SG_INIT_ONE;
            assert_true(constant ? equal == n : equal <= 1);
        }
        sg_model_free(one);
        sg_model_free(three);
        sg_model_free(other);
    }
}

// Mean, deviation and bound of one kind of parameter (spec 5.6).
static void expect_law(const sg_model *model, const char *end, double deviation, double bound)
{
    const size_t length = strlen(end);
    bool found = false;
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        const char *name = sg_model_tensor_name(model, i);
        if (strlen(name) < length || strcmp(name + strlen(name) - length, end) != 0) continue;
        int64_t n;
        const float *x = values_of(model, i, &n);
        double sum = 0, squares = 0, largest = 0;
        for (int64_t j = 0; j < n; j++) {
            sum += x[j];
            squares += (double)x[j] * x[j];
            largest = fmax(largest, fabs((double)x[j]));
        }
        double root = sqrt((double)n), mean = sum / (double)n;
        double found_deviation = sqrt(squares / (double)n);
        if (fabs(mean) > 4 * deviation / root) fail_msg("%s: mean %g", name, mean);
        if (fabs(found_deviation / deviation - 1) > 4 / root)
            fail_msg("%s: deviation %g, expected %g", name, found_deviation, deviation);
        // Nothing beyond the bound, and something near it: it is where the law is cut.
        if (bound > 0 && (largest > bound * (1 + 1e-6) || largest < 0.9 * bound))
            fail_msg("%s: largest %g, expected just below %g", name, largest, bound);
        if (bound == 0 && largest < 3 * deviation) fail_msg("%s: largest %g", name, largest);
        found = true;
    }
    if (!found) fail_msg("no parameter ends with %s", end);
}

static void expect_constant(const sg_model *model, const char *end, float value)
{
    for (size_t i = 0; i < sg_model_tensor_count(model); i++) {
        if (strstr(sg_model_tensor_name(model, i), end) == NULL) continue;
        int64_t n;
        const float *x = values_of(model, i, &n);
        for (int64_t j = 0; j < n; j++)
            assert_true(x[j] == value);
    }
}

static sg_model *large(const char *ffn, const char *router)
{
    sg_error err = {0};
    char kind[64];
    snprintf(kind, sizeof kind, "%s%s%s", ffn, *router ? " ffn_router=" : "", router);
    sg_config c = tiny_config(kind, 500, 32);
    c.hidden_size = 48;
    c.num_attention_heads = 4;
    c.head_dim = 24; // heads are wider than the model: fan-in of the output is 96
    c.ffn_intermediate_size = 80;
    c.ffn_neurons = 400;
    c.ffn_key_size = 40;
    sg_model *model;
    if (sg_model_new(contexts[0], &c, 9, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static void expect_truncated(const sg_model *model, const char *end, double fan_in)
{
    double deviation = 1 / sqrt(fan_in);
    expect_law(model, end, deviation, 2 / 0.87962566103423978 * deviation);
}

static void test_laws(void **state)
{
    (void)state;
    static const struct {
        const char *ffn, *router;
    } kinds[] = {{"mlp", ""},          {"glu", ""},
                 {"moe", ""},          {"peer", ""},
                 {"sgatlin", ""},      {"sgatlin", "product_key_value"},
                 {"sgatlin", "dense"}, {"sgatlin", "key_value"}};
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        sg_model *m = large(kinds[k].ffn, kinds[k].router);
        const char *router = sg_model_config(m)->ffn_router;
        expect_law(m, "embed_tokens.weight", 1 / sqrt(48), 0); // a plain normal
        expect_truncated(m, "q_proj.weight", 48);
        expect_truncated(m, "k_proj.weight", 48);
        expect_truncated(m, "v_proj.weight", 48);
        expect_truncated(m, "o_proj.weight", 96);
        expect_constant(m, "norm.weight", 1);
        expect_constant(m, ".bias", 0);
        if (strcmp(kinds[k].ffn, "mlp") == 0) expect_truncated(m, "mlp.up_proj.weight", 48);
        if (k < 3) expect_truncated(m, "down_proj.weight", 80);
        if (k == 1 || k == 2) expect_truncated(m, "gate_up_proj.weight", 48);
        if (k == 2) expect_truncated(m, "mlp.router.weight", 48);
        if (k >= 3) {
            expect_truncated(m, "w_in.weight", 400);
            expect_truncated(m, "w_out.weight", 400);
            expect_truncated(m, "router.query.weight", 48);
            if (strstr(router, "key_value") != NULL)
                expect_law(m, "router.keys.weight", 0.87962566103423978, 2);
            else
                expect_truncated(m, "router.keys.weight", 40);
        }
        sg_model_free(m);
    }
}

// ---- folders that are not what they say ---------------------------------------------------------

static void write_text(const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", model_folder, name);
    assert_int_equal(sg_file_write_atomic(path, text, strlen(text), NULL), SG_OK);
}

static void expect_open(sg_status expected, const char *message)
{
    sg_error err = {0};
    sg_model *model;
    int64_t live = sg_alloc_live();
    sg_status status = sg_model_open(contexts[0], model_folder, &model, &err);
    if (status != expected) fail_msg("found %s: %s", sg_status_name(status), err.message);
    if (strstr(err.message, message) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
    assert_null(model);
    assert_int_equal(sg_alloc_live(), live);
}

// Saves the model with its views changed by `change`.
static void save_changed(const sg_model *model, size_t count, const sg_tensor_view *views)
{
    char *config;
    assert_int_equal(sg_model_config_text(model, &config, NULL), SG_OK);
    const sg_named_bytes file = {"config.json", config, strlen(config)};
    sg_error err = {0};
    if (sg_model_folder_save(model_folder, 0, views, count, NULL, 0, &file, 1, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_free(config);
}

static void test_wrong_tensors(void **state)
{
    (void)state;
    sg_model *model = fresh("sgatlin", contexts[0], 5);
    size_t n = sg_model_tensor_count(model);
    sg_tensor_view *views = sg_alloc_array(n + 1, sizeof *views), kept;
    assert_non_null(views);
    sg_model_views(model, views);
    save_changed(model, n - 1, views);
    expect_open(SG_ERR_MISMATCH, "tensor model.norm.weight is missing");
    views[n] = sg_tensor_view_make("model.extra", SG_DTYPE_F32, 1, (int64_t[]){2}, views[0].data);
    save_changed(model, n + 1, views);
    expect_open(SG_ERR_MISMATCH, "tensor model.extra is not part of this model");
    kept = views[3];
    views[3] = sg_tensor_view_make(kept.name, SG_DTYPE_F32, 2, (int64_t[]){8, 32}, kept.data);
    save_changed(model, n, views);
    expect_open(SG_ERR_MISMATCH, "self_attn.k_proj.weight");
    views[3] = sg_tensor_view_make(kept.name, SG_DTYPE_F32, 1, (int64_t[]){256}, kept.data);
    save_changed(model, n, views);
    expect_open(SG_ERR_MISMATCH, "self_attn.k_proj.weight");
    views[3] = sg_tensor_view_make(kept.name, SG_DTYPE_I32, 2, kept.shape, kept.data);
    save_changed(model, n, views);
    expect_open(SG_ERR_MISMATCH, "found I32, expected floating-point weights");
    sg_free(views);
    sg_model_free(model);
}

static void test_other_types(void **state)
{
    (void)state;
    sg_model *model = fresh("sgatlin", contexts[0], 5), *back;
    size_t n = sg_model_tensor_count(model);
    sg_tensor_view *views = sg_alloc_array(n, sizeof *views);
    sg_dtype types[] = {SG_DTYPE_BF16, SG_DTYPE_F16};
    for (int t = 0; t < 2; t++) {
        uint16_t **halves = sg_alloc_zero(n, sizeof *halves);
        sg_model_views(model, views);
        for (size_t i = 0; i < n; i++) {
            int64_t count = sg_tensor_view_elements(&views[i]);
            halves[i] = sg_alloc_array((size_t)count, sizeof **halves);
            for (int64_t j = 0; j < count; j++) // 0x3f80, 0x3f81 …: from 1.0 (1.875) up
                halves[i][j] = (uint16_t)(0x3f80 + j % 7);
            views[i] = sg_tensor_view_make(views[i].name, types[t], views[i].ndim, views[i].shape,
                                           halves[i]);
        }
        save_changed(model, n, views);
        sg_error err = {0};
        if (sg_model_open(contexts[0], model_folder, &back, &err) != SG_OK)
            fail_msg("%s", err.message);
        int64_t count;
        const float *x = values_of(back, 0, &count);
        for (int64_t j = 0; j < count; j++) {
            float step = (float)(j % 7);
            assert_true(x[j] == (t == 0 ? 1 + step / 128 : 1.875f + step / 1024));
        }
        sg_model_free(back);
        for (size_t i = 0; i < n; i++)
            sg_free(halves[i]);
        sg_free(halves);
    }
    sg_free(views);
    sg_model_free(model);
}

static void test_sharded(void **state)
{
    (void)state;
    sg_model *model = fresh("sgatlin", contexts[0], 5), *back;
    size_t n = sg_model_tensor_count(model);
    sg_tensor_view *views = sg_alloc_array(n, sizeof *views);
    sg_model_views(model, views);
    char *config, path[200];
    assert_int_equal(sg_model_config_text(model, &config, NULL), SG_OK);
    const sg_named_bytes file = {"config.json", config, strlen(config)};
    sg_error err = {0};
    assert_int_equal(sg_model_folder_save(model_folder, 4000, views, n, NULL, 0, &file, 1, &err),
                     SG_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", model_folder);
    assert_false(sg_path_exists(path));
    if (sg_model_open(contexts[0], model_folder, &back, &err) != SG_OK) fail_msg("%s", err.message);
    assert_same(model, back);
    sg_model_free(back);
    assert_int_equal(sg_model_save(model, NULL, model_folder, &err), SG_OK);
    assert_true(sg_path_exists(path));
    assert_int_equal(sg_model_open(contexts[0], model_folder, &back, &err), SG_OK);
    assert_same(model, back);
    sg_model_free(back);
    sg_free(views);
    sg_free(config);
    sg_model_free(model);
}

static void test_wrong_files(void **state)
{
    (void)state;
    char path[200], *bytes, *config;
    size_t size;
    sg_model *model = fresh("sgatlin", contexts[0], 5), *back;
    assert_int_equal(sg_model_config_text(model, &config, NULL), SG_OK);
    assert_int_equal(sg_model_save(model, NULL, model_folder, NULL), SG_OK);
    snprintf(path, sizeof path, "%s/model.safetensors", model_folder);
    assert_int_equal(sg_file_read(path, (size_t)1 << 24, &bytes, &size, NULL), SG_OK);
    const size_t cuts[] = {0, 4, 8, 100, size / 2, size - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        assert_int_equal(sg_file_write_atomic(path, bytes, cuts[i], NULL), SG_OK);
        expect_open(SG_ERR_FORMAT, "model.safetensors");
    }
    assert_int_equal(sg_file_write_atomic(path, bytes, size, NULL), SG_OK);
    write_text("config.json", "{\"model_type\": ");
    expect_open(SG_ERR_FORMAT, "config.json");
    write_text("config.json", "{\"model_type\": \"bert\"}");
    expect_open(SG_ERR_UNSUPPORTED, "\"model_type\": found \"bert\", expected sgatlin or one of");
    write_text("config.json", "{\"model_type\": \"sgatlin\"}");
    expect_open(SG_ERR_FORMAT, "vocab_size: found 0");
    // One layer more than the file has: nothing large is made before that is seen.
    char *layers = strstr(config, "\"num_hidden_layers\": 2");
    assert_non_null(layers);
    layers[strlen("\"num_hidden_layers\": ")] = '3';
    write_text("config.json", config);
    expect_open(SG_ERR_MISMATCH, "tensor model.layers.2.input_layernorm.weight is missing");
    snprintf(path, sizeof path, "%s/config.json", model_folder);
    assert_int_equal(sg_tree_remove(path, NULL), SG_OK);
    expect_open(SG_ERR_NOT_FOUND, "config.json");
    sg_error err = {0};
    assert_int_equal(sg_model_open(contexts[0], "no-such-model", &back, &err), SG_ERR_NOT_FOUND);
    assert_string_equal(err.message, "no-such-model: no such model");
    sg_free(bytes);
    sg_free(config);
    sg_model_free(model);
}

static void test_wrong_config(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config("sgatlin", 40, 32);
    c.ffn_neurons = 26;
    assert_int_equal(sg_model_new(contexts[0], &c, 1, &model, &err), SG_ERR_ARGUMENT);
    assert_null(model);
    c = tiny_config("sgatlin", 1 << 24, 32);
    c.hidden_size = 1 << 20; // 64 TiB
    assert_int_equal(sg_model_new(contexts[0], &c, 1, &model, &err), SG_ERR_MEMORY);
    assert_null(model);
}

static sg_status make_save_open(void *user, sg_error *err)
{
    (void)user;
    sg_model *model = NULL, *back = NULL;
    sg_config c = tiny_config("sgatlin", 40, 32);
    SG_TRY(sg_model_new(contexts[0], &c, 1, &model, err));
    sg_status status = sg_model_save(model, NULL, model_folder, err);
    if (status == SG_OK) status = sg_model_open(contexts[0], model_folder, &back, err);
    sg_model_free(back);
    sg_model_free(model);
    return status;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(make_save_open, NULL) > 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_save_open),         cmocka_unit_test(test_inspection),
        cmocka_unit_test(test_seeds_and_threads), cmocka_unit_test(test_laws),
        cmocka_unit_test(test_wrong_tensors),     cmocka_unit_test(test_other_types),
        cmocka_unit_test(test_sharded),           cmocka_unit_test(test_wrong_files),
        cmocka_unit_test(test_wrong_config),      cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
