// Parameters by name: rows of every storage are what the whole tensor says, writing changes just
// the rows that are named, in memory alone, and what was made from old weights is not gone on with.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"
#include "format/gguf.h"
#include "format/safetensors.h"
#include "golden/checkpoint_names.h"
#include "kernel/stored.h"
#include "memory_fs.h"
#include "model/model.h"
#include "model/tensor_read.h"
#include "tiny_models.h"

enum { vocab = 40, positions = 16 };

static sg_context *context;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int set_up(void **state)
{
    (void)state;
    const sg_context_options options = {.threads = 2};
    return sg_context_new(&options, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_tensor_info info_of(const sg_model *m, size_t i)
{
    sg_tensor_info info;
    sg_error err = {0};
    must(sg_model_tensor_info(m, i, &info, &err), &err);
    return info;
}

static size_t find(const sg_model *m, const char *name)
{
    size_t index;
    sg_error err = {0};
    must(sg_model_tensor_find(m, name, &index, &err), &err);
    return index;
}

static float *read_rows(const sg_model *m, size_t i, int64_t first, int64_t rows)
{
    sg_error err = {0};
    float *values = sg_alloc_array((size_t)(rows * info_of(m, i).columns), sizeof *values);
    assert_non_null(values);
    must(sg_model_tensor_read(m, i, first, rows, values, &err), &err);
    return values;
}

static void expect_same(const char *what, const float *found, const float *expected, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (found[i] != expected[i])
            fail_msg("%s: value %lld: found %.9g, expected %.9g", what, (long long)i,
                     (double)found[i], (double)expected[i]);
}

static sg_model *tiny(const char *kind)
{
    sg_model *m;
    sg_error err = {0};
    const sg_config c = tiny_config(kind, vocab, positions);
    must(sg_model_new(context, &c, 3, &m, &err), &err);
    return m;
}

// ---- what there is ------------------------------------------------------------------------------

static void test_info(void **state)
{
    (void)state;
    sg_model *m = tiny("moe");
    sg_error err = {0};
    size_t index;
    int64_t in_layers[3] = {0};
    for (size_t i = 0; i < sg_model_tensor_count(m); i++) {
        const sg_tensor_info info = info_of(m, i);
        const int64_t count = info.shape[0] * info.shape[1] * info.shape[2] * info.shape[3];
        assert_string_equal(info.name, sg_model_tensor_name(m, i));
        assert_int_equal(find(m, info.name), i);
        assert_int_equal(info.rows * info.columns, count);
        assert_int_equal(info.columns, info.rank > 1 ? info.shape[info.rank - 1] : 1);
        assert_int_equal(info.bytes, count * 4);
        assert_true(info.weights == SG_WEIGHTS_F32 && !info.in_file);
        assert_in_range(info.layer, 0, 2);
        in_layers[info.layer]++;
    }
    assert_int_equal(in_layers[0], 2); // embedding, last norm
    assert_int_equal(in_layers[1], in_layers[2]);
    assert_int_equal(info_of(m, find(m, "model.layers.1.mlp.router.weight")).layer, 2);
    assert_int_equal(info_of(m, find(m, "model.layers.0.mlp.experts.down_proj.weight")).rank, 3);
    assert_int_equal(sg_model_tensor_find(m, "lm_head.weight", &index, &err), SG_ERR_NOT_FOUND);
    assert_string_equal(err.message, "tensor lm_head.weight: the model has none of that name: its "
                                     "classifier is model.embed_tokens.weight");
    assert_int_equal(sg_model_tensor_find(m, "model.norm", &index, &err), SG_ERR_NOT_FOUND);
    assert_string_equal(err.message, "tensor model.norm: the model has none of that name");
    sg_tensor_info info;
    assert_int_equal(sg_model_tensor_info(m, sg_model_tensor_count(m), &info, &err),
                     SG_ERR_ARGUMENT);
    sg_model_free(m);
}

// ---- rows of every storage ----------------------------------------------------------------------

// Each tensor of `m` by thirds of its rows, against that of a model in f32.
static void expect_rows(const char *what, const sg_model *m, const sg_model *wide, int64_t *seen)
{
    assert_int_equal(sg_model_tensor_count(m), sg_model_tensor_count(wide));
    for (size_t i = 0; i < sg_model_tensor_count(m); i++) {
        const sg_tensor_info info = info_of(m, i);
        char text[300];
        snprintf(text, sizeof text, "%s, %s", what, info.name);
        float *expected = read_rows(wide, i, 0, info.rows);
        const int64_t third = info.rows / 3 + 1;
        for (int64_t first = 0; first < info.rows; first += third) {
            const int64_t rows = info.rows - first < third ? info.rows - first : third;
            float *found = read_rows(m, i, first, rows);
            expect_same(text, found, expected + first * info.columns, rows * info.columns);
            sg_free(found);
        }
        seen[info.weights]++;
        sg_free(expected);
    }
}

static void golden_rows(const char *path, int64_t *seen)
{
    sg_error err = {0};
    sg_model *wide, *stored;
    must(sg_model_open(context, path, &wide, &err), &err);
    must(sg_model_open_stored(context, path, &stored, &err), &err);
    expect_rows(path, stored, wide, seen);
    sg_model_free(stored);
    sg_model_free(wide);
}

static void test_stored(void **state)
{
    (void)state;
    static const sg_weights expected[] = {SG_WEIGHTS_F32,  SG_WEIGHTS_BF16, SG_WEIGHTS_F16,
                                          SG_WEIGHTS_Q8_0, SG_WEIGHTS_Q4_0, SG_WEIGHTS_Q4_1,
                                          SG_WEIGHTS_Q5_0, SG_WEIGHTS_Q5_1, SG_WEIGHTS_MXFP4};
    int64_t seen[SG_WEIGHTS_MXFP4 + 1] = {0};
    char path[600];
    for (int i = 0; i < checkpoint_folder_count; i++) {
        snprintf(path, sizeof path, "%s/golden/checkpoints/%s", SG_TEST_DIR, checkpoint_folders[i]);
        golden_rows(path, seen);
    }
    for (int i = 0; i < checkpoint_gguf_count; i++) {
        snprintf(path, sizeof path, "%s/golden/checkpoints/%s/model.gguf", SG_TEST_DIR,
                 checkpoint_ggufs[i]);
        golden_rows(path, seen);
    }
    for (size_t i = 0; i < sizeof expected / sizeof *expected; i++)
        if (seen[expected[i]] == 0) fail_msg("no tensor in %s", sg_weights_name(expected[i]));
}

// Blocks of 256, which no golden model has: the embedding of a model is made to be such.
static void test_superblocks(void **state)
{
    (void)state;
    static const char *const types[] = {"Q4_K", "Q5_K", "Q6_K"};
    sg_error err = {0};
    sg_gguf *blocks;
    sg_safetensors *expected;
    sg_model *m;
    sg_config c = tiny_config("mlp", 2, positions);
    c.hidden_size = 512;
    must(sg_gguf_open(SG_TEST_DIR "/golden/gguf/blocks.gguf", &blocks, &err), &err);
    must(sg_safetensors_open(SG_TEST_DIR "/golden/gguf/blocks.safetensors", &expected, &err), &err);
    must(sg_model_new(context, &c, 3, &m, &err), &err);
    sg_stored *items = sg_alloc_zero(m->params.count, sizeof *items);
    assert_non_null(items);
    m->narrow.items = items;
    m->narrow.count = m->params.count;
    for (int t = 0; t < 3; t++) {
        const sg_tensor_view *view = sg_gguf_find(blocks, types[t]);
        const float *values = sg_safetensors_find(expected, types[t])->data;
        items[0].rows = (void *)(uintptr_t)view->data;
        assert_true(sg_weights_of_dtype(view->dtype, &items[0].type));
        assert_int_equal(info_of(m, 0).bytes, view->bytes);
        float *second = read_rows(m, 0, 1, 1);
        expect_same(types[t], second, values + 512, 512);
        sg_free(second);
        float row[512] = {0};
        assert_int_equal(
            sg_model_tensor_write(m, "model.embed_tokens.weight", 0, 1, row, NULL, &err),
            SG_ERR_UNSUPPORTED);
        assert_non_null(strstr(err.message, "expected f32, bf16, f16, int8 or q8_0"));
    }
    sg_model_free(m);
    sg_safetensors_close(expected);
    sg_gguf_close(blocks);
}

// Weights that were rounded here are the multiples that the row's largest magnitude says.
static void test_narrow(void **state)
{
    (void)state;
    static const sg_weights types[] = {SG_WEIGHTS_BF16, SG_WEIGHTS_INT8};
    for (int k = 0; tiny_kind(k) != NULL; k++)
        for (int t = 0; t < 2; t++) {
            sg_model *wide = tiny(tiny_kind(k)), *m = tiny(tiny_kind(k));
            sg_error err = {0};
            must(sg_model_narrow(m, types[t], &err), &err);
            for (size_t i = 0; i < sg_model_tensor_count(m); i++) {
                const sg_tensor_info info = info_of(m, i);
                float *found = read_rows(m, i, 0, info.rows);
                float *x = read_rows(wide, i, 0, info.rows);
                for (int64_t r = 0; r < info.rows; r++) {
                    const float *row = x + r * info.columns;
                    double most = 0;
                    for (int64_t j = 0; j < info.columns; j++)
                        if (fabs((double)row[j]) > most) most = fabs((double)row[j]);
                    const double step = info.weights == SG_WEIGHTS_F32    ? 0
                                        : info.weights == SG_WEIGHTS_BF16 ? most * 0x1p-8
                                                                          : most / 127 / 2;
                    for (int64_t j = 0; j < info.columns; j++)
                        if (!(fabs((double)found[r * info.columns + j] - (double)row[j]) <=
                              step * 1.0001))
                            fail_msg("%s in %s: row %lld", info.name, sg_weights_name(info.weights),
                                     (long long)r);
                }
                sg_free(found);
                sg_free(x);
            }
            sg_model_free(m);
            sg_model_free(wide);
        }
}

static void test_ranges(void **state)
{
    (void)state;
    static const int64_t wrong[][2] = {{-1, 1},        {0, 0},         {0, -1},
                                       {0, vocab + 1}, {vocab, 1},     {vocab - 1, 2},
                                       {1, INT64_MAX}, {INT64_MAX, 1}, {INT64_MIN, INT64_MAX}};
    sg_model *m = tiny("sgatlin");
    sg_error err = {0};
    float row[16] = {0};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_int_equal(sg_model_tensor_read(m, 0, wrong[i][0], wrong[i][1], row, &err),
                         SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "expected at least 1 of its 40"));
        assert_int_equal(sg_model_tensor_write(m, "model.embed_tokens.weight", wrong[i][0],
                                               wrong[i][1], row, NULL, &err),
                         SG_ERR_ARGUMENT);
    }
    assert_int_equal(sg_model_tensor_read(m, SIZE_MAX, 0, 1, row, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_model_tensor_write(m, "", 0, 1, row, NULL, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(m->version, 0);
    sg_model_free(m);
}

// ---- writing ------------------------------------------------------------------------------------

static void fill(float *values, int64_t count, uint64_t seed)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = (float)sg_rng_normal(seed, 9, (uint64_t)i) * 0.1f;
}

// Other rows are as they were; those that were written are within `rounding` of the values.
static void expect_written(const sg_model *m, size_t i, const float *before, int64_t first,
                           int64_t rows, const float *values, double rounding)
{
    const sg_tensor_info info = info_of(m, i);
    const int64_t d = info.columns, end = first + rows;
    float *after = read_rows(m, i, 0, info.rows);
    double worst = 0;
    expect_same(info.name, after, before, first * d);
    expect_same(info.name, after + end * d, before + end * d, (info.rows - end) * d);
    for (int64_t j = 0; j < rows * d; j++) {
        const double miss = fabs((double)after[first * d + j] - (double)values[j]);
        if (miss > worst) worst = miss;
    }
    if (worst != rounding)
        fail_msg("%s in %s: missed by %g, said %g", info.name, sg_weights_name(info.weights), worst,
                 rounding);
    sg_free(after);
}

// Writes some rows of every tensor; returns how many of them round.
static int write_all(sg_model *m)
{
    int rounded = 0;
    for (size_t i = 0; i < sg_model_tensor_count(m); i++) {
        const sg_tensor_info info = info_of(m, i);
        const int64_t first = info.rows / 3, rows = (info.rows - first + 1) / 2;
        sg_error err = {0};
        double rounding = -1;
        float *before = read_rows(m, i, 0, info.rows);
        float *values = sg_alloc_array((size_t)(rows * info.columns), sizeof *values);
        assert_non_null(values);
        fill(values, rows * info.columns, i);
        const int64_t version = m->version;
        sg_status status =
            sg_model_tensor_write(m, info.name, first, rows, values, &rounding, &err);
        const bool made = info.weights <= SG_WEIGHTS_Q8_0;
        assert_int_equal(status, made ? SG_OK : SG_ERR_UNSUPPORTED);
        assert_int_equal(m->version, version + made);
        if (made) {
            assert_false(info_of(m, i).in_file);
            assert_int_equal(info_of(m, i).bytes, info.bytes);
            expect_written(m, i, before, first, rows, values, rounding);
            assert_true(rounding == 0 || info.weights != SG_WEIGHTS_F32);
        }
        rounded += made && rounding > 0;
        sg_free(values);
        sg_free(before);
    }
    return rounded;
}

static void test_write(void **state)
{
    (void)state;
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_error err = {0};
        sg_model *m = tiny(tiny_kind(k));
        assert_int_equal(write_all(m), 0);
        must(sg_model_narrow(m, SG_WEIGHTS_BF16, &err), &err);
        assert_true(write_all(m) > 0);
        sg_model_free(m);
        m = tiny(tiny_kind(k));
        must(sg_model_narrow(m, SG_WEIGHTS_INT8, &err), &err);
        assert_true(write_all(m) > 0);
        sg_model_free(m);
    }
}

// Tensors of files get memory of their own, and the files are what they were.
static void test_write_stored(void **state)
{
    (void)state;
    static const char *const paths[] = {"llama",   "mistral",       "gpt2",
                                        "mixtral", "gpt_oss_mxfp4", "gguf_llama/model.gguf",
                                        "gpt_neox"};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char path[600];
        sg_error err = {0};
        sg_model *m, *wide, *again;
        int64_t seen[SG_WEIGHTS_MXFP4 + 1] = {0};
        snprintf(path, sizeof path, "%s/golden/checkpoints/%s", SG_TEST_DIR, paths[i]);
        must(sg_model_open(context, path, &wide, &err), &err);
        must(sg_model_open_stored(context, path, &m, &err), &err);
        write_all(m);
        write_all(m); // into what is now its own
        must(sg_model_open_stored(context, path, &again, &err), &err);
        expect_rows(path, again, wide, seen);
        sg_model_free(again);
        sg_model_free(wide);
        sg_model_free(m);
    }
}

static void test_exact(void **state)
{
    (void)state;
    static const sg_weights types[] = {SG_WEIGHTS_BF16, SG_WEIGHTS_INT8};
    const char name[] = "model.embed_tokens.weight";
    for (int t = 0; t < 2; t++) {
        sg_model *m = tiny("sgatlin");
        sg_error err = {0};
        must(sg_model_narrow(m, types[t], &err), &err);
        float row[16] = {1, -0.5f, 0.25f}, *before = read_rows(m, 0, 0, vocab);
        row[3] = 0.3f;
        assert_int_equal(sg_model_tensor_write(m, name, 5, 1, row, NULL, &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "rounds by up to"));
        assert_non_null(strstr(err.message, sg_weights_name(types[t])));
        float *after = read_rows(m, 0, 0, vocab);
        expect_same(name, after, before, vocab * 16);
        assert_int_equal(m->version, 1); // of sg_model_narrow
        sg_free(after);
        for (int j = 0; j < 16; j++)
            row[j] = j % 2 == 0 ? 127 : -64; // what both hold
        must(sg_model_tensor_write(m, name, 5, 1, row, NULL, &err), &err);
        expect_written(m, 0, before, 5, 1, row, 0);
        row[7] = NAN;
        assert_int_equal(sg_model_tensor_write(m, name, 5, 1, row, NULL, &err), SG_ERR_NUMERIC);
        assert_string_equal(err.message,
                            "tensor model.embed_tokens.weight: row 5, column 7: found nan, "
                            "expected a finite number");
        sg_free(before);
        sg_model_free(m);
    }
}

static void test_beyond_half(void **state)
{
    (void)state;
    sg_model *m;
    sg_error err = {0};
    double rounding = -1;
    must(sg_model_open_stored(context, SG_TEST_DIR "/golden/checkpoints/gpt_neox", &m, &err), &err);
    const sg_tensor_info info = info_of(m, 0);
    assert_int_equal(info.weights, SG_WEIGHTS_F16);
    float *row = sg_alloc_zero((size_t)info.columns, sizeof *row);
    row[1] = 1e6f;
    assert_int_equal(sg_model_tensor_write(m, info.name, 0, 1, row, &rounding, &err),
                     SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found 1e+06, expected a number that f16 has"));
    assert_true(rounding == -1 && m->version == 0 && info_of(m, 0).in_file);
    sg_free(row);
    sg_model_free(m);
}

// ---- sessions -----------------------------------------------------------------------------------

static void logits_of(sg_session *s, float *out)
{
    static const int32_t tokens[] = {3, 7, 20, 31};
    const float *logits;
    sg_error err = {0};
    must(sg_session_feed(s, tokens, 4, &logits, &err), &err);
    memcpy(out, logits, vocab * sizeof *out);
}

static void fresh_logits(sg_model *m, float *out)
{
    sg_session *s;
    sg_error err = {0};
    must(sg_session_new(m, 0, &s, &err), &err);
    logits_of(s, out);
    sg_session_free(s);
}

// Every tensor of `m` as it is in `from`.
static void rewrite(sg_model *m, const sg_model *from)
{
    for (size_t i = 0; i < sg_model_tensor_count(m); i++) {
        sg_error err = {0};
        const sg_tensor_info info = info_of(m, i);
        float *values = read_rows(from, i, 0, info.rows);
        must(sg_model_tensor_write(m, info.name, 0, info.rows, values, NULL, &err), &err);
        sg_free(values);
    }
}

static void test_sessions(void **state)
{
    (void)state;
    const char *const kinds[] = {"sgatlin", "moe", "pkm"};
    for (int k = 0; k < 3; k++) {
        float expected[vocab], found[vocab];
        const float *logits;
        sg_error err = {0};
        sg_session *s;
        sg_model *m = tiny(kinds[k]), *other;
        const sg_config c = tiny_config(kinds[k], vocab, positions);
        must(sg_model_new(context, &c, 4, &other, &err), &err);
        fresh_logits(other, expected);
        must(sg_session_new(m, 0, &s, &err), &err);
        logits_of(s, found);
        assert_memory_not_equal(found, expected, sizeof found);
        rewrite(m, other);
        assert_int_equal(sg_session_feed(s, &(int32_t){1}, 1, &logits, &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "rewind it to 0"));
        must(sg_session_rewind(s, 0, &err), &err);
        logits_of(s, found);
        assert_memory_equal(found, expected, sizeof found);
        sg_session_free(s);
        sg_model_free(other);
        sg_model_free(m);
    }
}

static const char folder[] = "/model";

// A model that reads its weights from a file in memory is written, decodes so, and is saved.
static void test_mapped(void **state)
{
    (void)state;
    float expected[vocab], found[vocab];
    const float *logits;
    sg_error err = {0};
    sg_model *m = tiny("sgatlin"), *other, *back;
    sg_session *s;
    const sg_config c = tiny_config("sgatlin", vocab, positions);
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    must(sg_model_save(m, NULL, folder, &err), &err);
    sg_model_free(m);
    must(sg_model_new(context, &c, 4, &other, &err), &err);
    fresh_logits(other, expected);
    must(sg_model_open(context, folder, &m, &err), &err);
    assert_true(info_of(m, 0).in_file);
    must(sg_session_new(m, 0, &s, &err), &err);
    rewrite(m, other);
    assert_int_equal(sg_session_feed(s, &(int32_t){1}, 1, &logits, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "open another session"));
    sg_session_free(s);
    fresh_logits(m, found);
    assert_memory_equal(found, expected, sizeof found);
    must(sg_model_open(context, folder, &back, &err), &err);
    fresh_logits(back, found);
    assert_memory_not_equal(found, expected, sizeof found);
    sg_model_free(back);
    must(sg_model_save(m, NULL, folder, &err), &err);
    must(sg_model_open(context, folder, &back, &err), &err);
    fresh_logits(back, found);
    assert_memory_equal(found, expected, sizeof found);
    sg_model_free(back);
    sg_model_free(m);
    sg_model_free(other);
    assert_true(memory_fs_open_handles(fs) == 0 && memory_fs_open_maps(fs) == 0);
    sg_fs_set(NULL);
    memory_fs_free(fs);
}

// ---- adapters -----------------------------------------------------------------------------------

static int64_t rank_of(void *user, const char *module, sg_adapter_place place, double *scale)
{
    (void)user;
    *scale = 2;
    return place == SG_ADAPTER_PLAIN && strstr(module, "q_proj") != NULL ? 2 : 0;
}

static void test_adapters(void **state)
{
    (void)state;
    const sg_adapter_choice choice = {rank_of, NULL, "adapters"};
    const char name[] = "model.layers.1.self_attn.q_proj.weight";
    sg_error err = {0};
    sg_model *m = tiny("sgatlin"), *plain = tiny("sgatlin");
    float row[2] = {0.5f, -0.25f}, before[vocab], after[vocab];
    must(sg_model_add_adapters(m, &choice, &err), &err);
    sg_model_init_adapters(m, 1);
    const size_t a = find(m, SG_ADAPTER_PREFIX "model.layers.1.self_attn.q_proj" SG_ADAPTER_A);
    const size_t b = find(m, SG_ADAPTER_PREFIX "model.layers.1.self_attn.q_proj" SG_ADAPTER_B);
    assert_true(info_of(m, a).layer == 2 && info_of(m, b).layer == 2);
    fresh_logits(m, before);
    must(sg_model_tensor_write(m, info_of(m, b).name, 3, 1, row, NULL, &err), &err);
    fresh_logits(m, after);
    assert_memory_not_equal(before, after, sizeof before);
    // The matrix that it is added to is as it was.
    float *found = read_rows(m, find(m, name), 0, 16);
    float *expected = read_rows(plain, find(plain, name), 0, 16);
    expect_same(name, found, expected, 16 * 16);
    sg_free(found);
    sg_free(expected);
    sg_model_free(m);
    sg_model_free(plain);
}

// ---- failures -----------------------------------------------------------------------------------

// Opens, writes a tensor that lies in the file, and looks at it where that failed.
static sg_status act_write(void *user, sg_error *err)
{
    sg_model *m;
    const float *expected = user;
    SG_TRY(sg_model_open_stored(context, SG_TEST_DIR "/golden/checkpoints/llama", &m, err));
    const sg_tensor_info info = info_of(m, 0);
    float values[256] = {0};
    double rounding;
    assert_true(info.columns <= 256);
    const sg_status status = sg_model_tensor_write(m, info.name, 1, 1, values, &rounding, err);
    for (int64_t r = 0; status != SG_OK && r < info.rows; r++) {
        float row[256];
        must(sg_model_tensor_read(m, 0, r, 1, row, NULL), err);
        expect_same(info.name, row, expected + r * info.columns, info.columns);
    }
    sg_model_free(m);
    return status;
}

static void test_failures(void **state)
{
    (void)state;
    sg_model *m;
    sg_error err = {0};
    must(sg_model_open(context, SG_TEST_DIR "/golden/checkpoints/llama", &m, &err), &err);
    float *expected = read_rows(m, 0, 0, info_of(m, 0).rows);
    assert_true(alloc_failure_loop(act_write, expected) > 20);
    sg_free(expected);
    sg_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_info),         cmocka_unit_test(test_stored),
        cmocka_unit_test(test_superblocks),  cmocka_unit_test(test_narrow),
        cmocka_unit_test(test_ranges),       cmocka_unit_test(test_write),
        cmocka_unit_test(test_write_stored), cmocka_unit_test(test_exact),
        cmocka_unit_test(test_beyond_half),  cmocka_unit_test(test_sessions),
        cmocka_unit_test(test_mapped),       cmocka_unit_test(test_adapters),
        cmocka_unit_test(test_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
