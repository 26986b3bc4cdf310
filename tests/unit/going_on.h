// Models that are made sparse layer by layer go on where they were stopped, or where the power
// went.
#ifndef SG_TESTS_GOING_ON_H
#define SG_TESTS_GOING_ON_H

#include "base/alloc.h"
#include "base/file.h"
#include "dense_fixture.h"
#include "sgatlin_sparsify.h"

static char *weights_of(const char *folder, size_t *bytes)
{
    sg_error err = {0};
    char path[64], *data;
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    must(sg_file_read(path, 1 << 24, &data, bytes, &err), &err);
    return data;
}

static void names_are(const char *folder, const char *expected)
{
    char names[256];
    tiny_names(folder, names, sizeof names);
    assert_string_equal(names, expected);
}

static void check_same_weights(const char *a, const char *b)
{
    size_t bytes[2];
    char *first = weights_of(a, &bytes[0]), *second = weights_of(b, &bytes[1]);
    assert_int_equal(bytes[0], bytes[1]);
    assert_memory_equal(first, second, bytes[0]);
    sg_free(first);
    sg_free(second);
}

static bool until(void *user, int64_t done, int64_t total)
{
    (void)total;
    return done < *(const int64_t *)user;
}

// A work that is stopped after each of its layers ends as `whole` does, which is not. `parts` has
// the same options, and a place of its own for what it tells of layers.
static void check_goes_on(const fixture *f, sg_sparsify_options whole, sg_sparsify_options parts)
{
    const int64_t layers_all = sg_model_config(f->dense)->num_hidden_layers;
    sg_error err = {0};
    sg_model *made;
    sg_sparsify_result r[2];
    whole.out = "/whole";
    must(sg_sparsify(f->dense, &whole, &made, &r[0], &err), &err);
    sg_model_free(made);
    names_are("/whole", "config.json model.safetensors");
    parts.out = "/parts";
    parts.progress = until;
    for (int64_t stop = 1; stop <= layers_all; stop++) {
        parts.progress_user = &stop;
        assert_int_equal(sg_sparsify(f->dense, &parts, &made, &r[1], &err), SG_ERR_STOPPED);
        assert_int_equal(r[1].resumed, stop - 1);
        names_are("/parts", ".sparsify");
    }
    parts.progress = NULL;
    must(sg_sparsify(f->dense, &parts, &made, &r[1], &err), &err);
    assert_true(r[1].resumed == layers_all && r[1].passes == 0);
    sg_model_free(made);
    names_are("/parts", "config.json model.safetensors");
    check_same_weights("/whole", "/parts");
    assert_true(r[0].sparse_perplexity == r[1].sparse_perplexity);
}

// The power goes before every `every`th operation on files: the same command goes on to the same
// model, or finds it done.
static void check_power(const fixture *f, sg_sparsify_options o, int64_t every)
{
    sg_error err = {0};
    sg_model *made;
    size_t bytes[2];
    o.out = "/whole";
    const int64_t before = memory_fs_operations(f->disk);
    must(sg_sparsify(f->dense, &o, &made, NULL, &err), &err);
    sg_model_free(made);
    const int64_t operations = memory_fs_operations(f->disk) - before;
    char *whole = weights_of("/whole", &bytes[0]);
    o.out = "/out";
    for (int64_t n = 0; n < operations; n += every) {
        memory_fs *disk = memory_fs_clone(f->disk);
        tiny_use(disk);
        memory_fs_cut_power(disk, n);
        if (sg_sparsify(f->dense, &o, &made, NULL, &err) == SG_OK) sg_model_free(made);
        memory_fs *after =
            memory_fs_reboot(disk, (memory_crash)(n % MEMORY_CRASH_KINDS), (uint64_t)n);
        tiny_use(after);
        const sg_status status = sg_sparsify(f->dense, &o, &made, NULL, &err);
        if (status == SG_OK)
            sg_model_free(made);
        else if (strstr(err.message, "found a folder with files in it") == NULL)
            fail_msg("operation %lld: %s", (long long)n, err.message);
        char *parts = weights_of("/out", &bytes[1]);
        assert_int_equal(bytes[0], bytes[1]);
        assert_memory_equal(whole, parts, bytes[0]);
        if (status == SG_OK) names_are("/out", "config.json model.safetensors");
        sg_free(parts);
        tiny_use(f->disk);
        memory_fs_free(disk);
        memory_fs_free(after);
    }
    sg_free(whole);
}

#endif
