// What tests of conversion have in common: models on a disk in memory, golden ones and tiny ones,
// and comparisons of what they become.
#ifndef SG_TESTS_CONVERT_MODELS_H
#define SG_TESTS_CONVERT_MODELS_H

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "memory_disk.h"
#include "convert/hf_form.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_convert.h"

static sg_context *context;
static char golden[512]; // a golden checkpoint, copied to the disk in memory

static inline int end(void **state)
{
    sg_context_free(context);
    context = NULL;
    return disk_end(state);
}

static inline void make_context(void)
{
    sg_error err;
    must(sg_context_new(&(sg_context_options){.threads = 2}, &context, &err), &err);
}

// Copies a file of the system to the disk in memory.
static inline void bring(const char *from, const char *to)
{
    sg_error err = {0};
    char *data;
    size_t bytes;
    sg_fs_set(sg_fs_system());
    sg_status status = sg_file_read(from, (size_t)1 << 26, &data, &bytes, &err);
    sg_fs_set(memory_fs_table(disk));
    must(status, &err);
    must(sg_file_write_atomic(to, data, bytes, &err), &err);
    sg_free(data);
}

static inline const char *bring_checkpoint(const char *name)
{
    static const char *const files[] = {"config.json", "model.safetensors"};
    sg_error err = {0};
    make_context();
    snprintf(golden, sizeof golden, "/%s", name);
    must(sg_folder_make(golden, &err), &err);
    for (int i = 0; i < 2; i++) {
        char from[800], to[800];
        snprintf(from, sizeof from, "%s/golden/checkpoints/%s/%s", SG_TEST_DIR, name, files[i]);
        snprintf(to, sizeof to, "/%s/%s", name, files[i]);
        bring(from, to);
    }
    return golden;
}

static inline sg_convert_result convert(const char *from, sg_convert_form form, const char *type,
                                        const char *to)
{
    sg_error err = {0};
    sg_convert_result result;
    sg_convert_options o = sg_convert_options_default();
    o.form = form;
    o.model_type = type;
    must(sg_convert(context, from, &o, to, &result, &err), &err);
    return result;
}

static inline void refuse(const char *from, const sg_convert_options *o, const char *to,
                          sg_status expected, const char *words)
{
    sg_error err = {0};
    assert_int_equal(sg_convert(context, from, o, to, NULL, &err), expected);
    if (strstr(err.message, words) == NULL)
        fail_msg("found \"%s\", expected \"%s\" in it", err.message, words);
    assert_false(sg_path_exists(to));
}

// A file of JSON in a folder, or a member of it.
static inline void expect_json(const char *folder, const char *name, const char *member,
                               const char *expected)
{
    sg_error err = {0};
    json_t *found, *object = json_loads(expected, 0, NULL);
    size_t bytes;
    char path[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    const unsigned char *text = memory_fs_bytes(disk, path, &bytes);
    if (text == NULL) fail_msg("%s is missing", path);
    must(sg_json_parse((const char *)text, bytes, path, &found, &err), &err);
    if (!json_equal(member ? json_object_get(found, member) : found, object))
        fail_msg("%s: expected %s", path, expected);
    json_decref(object);
    json_decref(found);
}

static inline void make_tiny(const char *kind, const char *folder)
{
    sg_error err = {0};
    sg_model *m;
    sg_config c = tiny_config(kind, 40, 16);
    must(sg_model_new(context, &c, 5, &m, &err), &err);
    must(sg_model_save(m, NULL, folder, &err), &err);
    sg_model_free(m);
}

// ---- comparing ----------------------------------------------------------------------------------

// Weights and logits of the two, bit by bit.
static inline void expect_same(const char *one, const char *other)
{
    sg_error err = {0};
    sg_model *a, *b;
    sg_session *s, *t;
    const float *x, *y;
    const int32_t ids[] = {3, 7, 5, 9, 11, 4, 3, 8, 6};
    must(sg_model_open(context, one, &a, &err), &err);
    must(sg_model_open(context, other, &b, &err), &err);
    size_t field;
    sg_config c = a->config;
    c.rope_interleaved = b->config.rope_interleaved;
    // A float of GGUF is half as long as one of JSON.
    if (fabs(c.rms_norm_eps - b->config.rms_norm_eps) < 1e-12)
        c.rms_norm_eps = b->config.rms_norm_eps;
    if (sg_config_differ(&c, &b->config, &field))
        fail_msg("%s: %s differs", other, sg_config_field_at(field)->name);
    assert_int_equal(a->params.count, b->params.count);
    const bool turned = a->config.rope_interleaved != b->config.rope_interleaved;
    for (size_t i = 0; i < a->params.count && !turned; i++) {
        assert_string_equal(a->params.specs[i].name, b->params.specs[i].name);
        assert_int_equal(a->params.specs[i].count, b->params.specs[i].count);
        if (memcmp(a->values[i], b->values[i],
                   (size_t)a->params.specs[i].count * sizeof(sg_real)) != 0)
            fail_msg("%s: %s differs", other, a->params.specs[i].name);
    }
    must(sg_session_new(a, 0, &s, &err), &err);
    must(sg_session_new(b, 0, &t, &err), &err);
    for (int i = 0; i < 9; i++) {
        must(sg_session_feed(s, &ids[i], 1, &x, &err), &err);
        must(sg_session_feed(t, &ids[i], 1, &y, &err), &err);
        for (int64_t v = 0; v < a->config.vocab_size; v++)
            if (turned ? fabsf(x[v] - y[v]) > 5e-5f : memcmp(&x[v], &y[v], sizeof *x) != 0)
                fail_msg("%s: logit %lld of token %d: found %.9g, expected %.9g", other,
                         (long long)v, i, (double)y[v], (double)x[v]);
    }
    sg_session_free(s);
    sg_session_free(t);
    sg_model_free(a);
    sg_model_free(b);
}

// Every tensor of a file in another, by the same name, in type, shape and bytes.
static inline void expect_tensors(const char *one, const char *other)
{
    sg_error err = {0};
    sg_safetensors *a, *b;
    must(sg_safetensors_open(one, &a, &err), &err);
    must(sg_safetensors_open(other, &b, &err), &err);
    for (size_t i = 0; i < sg_safetensors_count(a); i++) {
        const sg_tensor_view *x = sg_safetensors_at(a, i), *y = sg_safetensors_find(b, x->name);
        if (y == NULL) fail_msg("%s: tensor %s is missing", other, x->name);
        assert_int_equal(x->dtype, y->dtype);
        assert_int_equal(x->ndim, y->ndim);
        assert_memory_equal(x->shape, y->shape, (size_t)x->ndim * sizeof *x->shape);
        if (memcmp(x->data, y->data, x->bytes) != 0) fail_msg("%s: %s differs", other, x->name);
    }
    assert_int_equal(sg_safetensors_count(a), sg_safetensors_count(b));
    sg_safetensors_close(a);
    sg_safetensors_close(b);
}

#endif
