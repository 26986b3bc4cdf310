// llama2.c files: sizes, the order of weights, and files whose sizes do not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/file.h"
#include "format/llama2c.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// A file whose floats are numbered; returns its bytes.
static size_t make(unsigned char *out, const int32_t sizes[7], size_t floats)
{
    memcpy(out, sizes, 28);
    for (size_t i = 0; i < floats; i++) {
        float value = (float)i;
        memcpy(out + 28 + 4 * i, &value, 4);
    }
    return 28 + 4 * floats;
}

// dim 8, hidden 3, 2 layers, 4 heads, 2 of keys, vocabulary 5, 6 positions
static const int32_t tied[7] = {8, 3, 2, 4, 2, 5, 6}, untied[7] = {8, 3, 2, 4, 2, -5, 6};
enum {
    tied_floats = 5 * 8 + 2 * (2 * 8 + 2 * 64 + 2 * 32 + 3 * 24) + 8 + 6 * 2,
    untied_floats = tied_floats + 5 * 8
};

static void check_view(const sg_llama2c *file, const char *name, int64_t rows, int64_t columns,
                       float first)
{
    const sg_tensor_view *view = sg_llama2c_find(file, name);
    if (view == NULL) fail_msg("no %s", name);
    assert_int_equal(view->dtype, SG_DTYPE_F32);
    assert_int_equal(view->ndim, rows > 0 ? 2 : 1);
    assert_int_equal(view->shape[0], rows > 0 ? rows : columns);
    if (rows > 0) assert_int_equal(view->shape[1], columns);
    float value;
    memcpy(&value, view->data, sizeof value);
    if (value != first)
        fail_msg("%s starts at %g, expected %g", name, (double)value, (double)first);
}

static void test_order(void **state)
{
    (void)state;
    static unsigned char data[28 + 4 * untied_floats];
    sg_error err;
    sg_llama2c *file;
    for (int t = 0; t < 2; t++) {
        size_t bytes = make(data, t ? untied : tied, t ? untied_floats : tied_floats);
        must(sg_llama2c_open_memory(data, bytes, "file", &file, &err), &err);
        const sg_llama2c_sizes *sizes = sg_llama2c_get_sizes(file);
        assert_true(sizes->dim == 8 && sizes->hidden_dim == 3 && sizes->n_layers == 2);
        assert_true(sizes->n_heads == 4 && sizes->n_kv_heads == 2 && sizes->seq_len == 6);
        assert_int_equal(sizes->vocab_size, 5);
        assert_int_equal(sizes->tied, t == 0);
        assert_int_equal(sg_llama2c_count(file), 2 + 2 * 9 + t);
        // run.c, memory_map_weights: embedding, then each kind for all layers.
        check_view(file, "tok_embeddings.weight", 5, 8, 0);
        check_view(file, "layers.0.attention_norm.weight", 0, 8, 40);
        check_view(file, "layers.1.attention_norm.weight", 0, 8, 48);
        check_view(file, "layers.0.attention.wq.weight", 8, 8, 56);
        check_view(file, "layers.1.attention.wq.weight", 8, 8, 120);
        check_view(file, "layers.0.attention.wk.weight", 4, 8, 184);
        check_view(file, "layers.0.attention.wv.weight", 4, 8, 248);
        check_view(file, "layers.1.attention.wv.weight", 4, 8, 280);
        check_view(file, "layers.0.attention.wo.weight", 8, 8, 312);
        check_view(file, "layers.0.ffn_norm.weight", 0, 8, 440);
        check_view(file, "layers.0.feed_forward.w1.weight", 3, 8, 456);
        check_view(file, "layers.0.feed_forward.w2.weight", 8, 3, 504);
        check_view(file, "layers.1.feed_forward.w3.weight", 3, 8, 576);
        check_view(file, "norm.weight", 0, 8, 600);
        if (t == 1) check_view(file, "output.weight", 5, 8, 620); // behind 12 cosines and sines
        assert_int_equal(sg_llama2c_find(file, "output.weight") != NULL, t);
        assert_null(sg_llama2c_find(file, "layers.2.attention.wq.weight"));
        assert_string_equal(sg_llama2c_name(file), "file");
        sg_llama2c_close(file);
    }
    sg_llama2c_close(NULL);
}

static void refused(const unsigned char *data, size_t bytes, sg_status expected,
                    const char *message)
{
    sg_error err = {0};
    sg_llama2c *file;
    unsigned char *exact = malloc(bytes + 1); // so that reading beyond it is seen
    assert_non_null(exact);
    memcpy(exact + 1, data, bytes);
    sg_status status = sg_llama2c_open_memory(exact + 1, bytes, "file", &file, &err);
    free(exact);
    if (status != expected || strstr(err.message, message) == NULL)
        fail_msg("status %d: %s; expected: %s", (int)status, err.message, message);
    assert_null(file);
}

static void test_refused(void **state)
{
    (void)state;
    static unsigned char data[28 + 4 * untied_floats];
    static const struct {
        int at;
        int32_t value;
        sg_status status;
        const char *message;
    } cases[] = {
        {0, 0, SG_ERR_FORMAT, "file: dim: found 0, expected at least 1"},
        {1, -3, SG_ERR_FORMAT, "hidden_dim: found -3"},
        {2, 0, SG_ERR_FORMAT, "n_layers: found 0"},
        {3, 0, SG_ERR_FORMAT, "n_heads: found 0"},
        {4, INT32_MIN, SG_ERR_FORMAT, "n_kv_heads: found -2147483648"},
        {5, 0, SG_ERR_FORMAT, "vocab_size: found 0"},
        {6, -1, SG_ERR_FORMAT, "seq_len: found -1"},
        {3, 3, SG_ERR_FORMAT, "n_heads: found 3, expected an even part of dim 8"},
        {3, 8, SG_ERR_FORMAT, "n_heads: found 8, expected an even part of dim 8"},
        {4, 3, SG_ERR_FORMAT, "n_kv_heads: found 3, expected a divisor of n_heads 4"},
        {2, 1, SG_ERR_FORMAT, "found 2508 bytes, its sizes ask for"},
        {2, INT32_MAX, SG_ERR_FORMAT, "its sizes ask for"},
        {5, INT32_MIN, SG_ERR_FORMAT, "its sizes ask for"},
        {0, 0x616b3432, SG_ERR_UNSUPPORTED, "version: found 3, expected 0"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int32_t sizes[7];
        memcpy(sizes, tied, sizeof sizes);
        sizes[cases[i].at] = cases[i].value;
        size_t bytes = make(data, sizes, tied_floats);
        refused(data, bytes, cases[i].status, cases[i].message);
    }
    const int32_t huge[7] = {INT32_MAX - 1, INT32_MAX, INT32_MAX, 1, 1, INT32_MAX, INT32_MAX};
    refused(data, make(data, huge, 10), SG_ERR_FORMAT, "its sizes are too large");
    size_t whole = make(data, untied, untied_floats);
    refused(data, whole - 4, SG_ERR_FORMAT, "cut off");
    refused(data, whole - 1, SG_ERR_FORMAT, "cut off");
    refused(data, 28, SG_ERR_FORMAT, "cut off");
    refused(data, 27, SG_ERR_FORMAT, "found 27 bytes, expected a llama2.c file");
    refused(data, 0, SG_ERR_FORMAT, "found 0 bytes");
    data[20] = 5; // tied now, so too long
    memset(data + 21, 0, 3);
    refused(data, whole, SG_ERR_FORMAT, "its sizes ask for");
}

static void test_real(void **state)
{
    (void)state;
    static const char path[] = SG_DATA_DIR "/models/stories260K/stories260K.bin";
    sg_error err;
    sg_llama2c *file;
    if (!sg_path_exists(path)) {
        print_message("%s is not there\n", path);
        skip();
    }
    must(sg_llama2c_open(path, &file, &err), &err);
    const sg_llama2c_sizes *sizes = sg_llama2c_get_sizes(file);
    assert_true(sizes->dim == 64 && sizes->hidden_dim == 172 && sizes->n_layers == 5);
    assert_true(sizes->n_heads == 8 && sizes->n_kv_heads == 4 && sizes->vocab_size == 512);
    assert_true(sizes->tied);
    const sg_tensor_view *norm = sg_llama2c_find(file, "norm.weight");
    float scale;
    for (int i = 0; i < 64; i++) { // a trained norm is near 1 and above 0
        memcpy(&scale, (const unsigned char *)norm->data + 4 * i, 4);
        assert_true(scale > 0.1f && scale < 20);
    }
    sg_llama2c_close(file);
    assert_int_equal(sg_llama2c_open("/none.bin", &file, &err), SG_ERR_NOT_FOUND);
    assert_null(file);
}

static sg_status open_small(void *user, sg_error *err)
{
    sg_llama2c *file;
    SG_TRY(sg_llama2c_open_memory(user, 28 + 4 * tied_floats, "file", &file, err));
    sg_llama2c_close(file);
    return SG_OK;
}

static void test_memory(void **state)
{
    (void)state;
    static unsigned char data[28 + 4 * tied_floats];
    make(data, tied, tied_floats);
    assert_true(alloc_failure_loop(open_small, data) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_real),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
