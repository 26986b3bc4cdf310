// What a conversion does to files: two at a time, a disk without room, a crash that left a save,
// links in the model that is converted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "memory_disk.h"
#include "sgatlin_convert.h"
#include "sgatlin_data.h"
#include "tiny_models.h"

static sg_context *context;

static sg_status one_text(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    *text = *(bool *)user ? NULL : "The cat sat on the mat.";
    *bytes = strlen("The cat sat on the mat.");
    *(bool *)user = true;
    return SG_OK;
}

// A model of ours at /ours that GGUF has a form for, and its tokenizer.
static int begin(void **state)
{
    sg_error err = {0};
    sg_tokenizer *t;
    sg_model *m;
    bool told = false;
    if (disk_begin(state) != 0) return -1;
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    sg_tokenizer_train_options o = sg_tokenizer_train_options_default();
    o.vocab_size = 300;
    o.nfkc = false;
    o.prefix_space = false;
    must(sg_tokenizer_train(&o, one_text, &told, &t, &err), &err);
    sg_config c = tiny_config("glu ffn_activation=swiglu qk_norm=none", 300, 16);
    must(sg_model_new(context, &c, 1, &m, &err), &err);
    must(sg_model_save(m, t, "/ours", &err), &err);
    sg_model_free(m);
    sg_tokenizer_free(t);
    return 0;
}

static int end(void **state)
{
    sg_context_free(context);
    return disk_end(state);
}

static void put(const char *path, const char *text)
{
    sg_error err = {0};
    must(sg_file_write_atomic(path, text, strlen(text), &err), &err);
}

static void convert(const char *from, sg_convert_form form, const char *to)
{
    sg_error err = {0};
    sg_convert_options o = sg_convert_options_default();
    o.form = form;
    must(sg_convert(context, from, &o, to, NULL, &err), &err);
}

static void refuse(const char *from, sg_convert_form form, const char *to, sg_status expected,
                   const char *words)
{
    sg_error err = {0};
    sg_convert_options o = sg_convert_options_default();
    o.form = form;
    assert_int_equal(sg_convert(context, from, &o, to, NULL, &err), expected);
    if (strstr(err.message, words) == NULL)
        fail_msg("found \"%s\", expected \"%s\" in it", err.message, words);
}

static void expect_same_file(const char *one, const char *other)
{
    size_t a, b;
    const unsigned char *x = memory_fs_bytes(disk, one, &a), *y = memory_fs_bytes(disk, other, &b);
    assert_true(x != NULL && y != NULL);
    assert_int_equal(a, b);
    assert_memory_equal(x, y, a);
}

// ---- two at a time ------------------------------------------------------------------------------

// A second conversion to the place where a first is at work fails; the first is whole.
static bool convert_beside(void *user, int64_t done, int64_t total)
{
    const bool gguf = *(bool *)user;
    (void)done, (void)total;
    refuse("/ours", gguf ? SG_CONVERT_GGUF : SG_CONVERT_SGATLIN, gguf ? "/two.gguf" : "/two",
           SG_ERR_IO, "another process is working on this: sgatlin, process ");
    return true;
}

static void test_two_at_once(void **state)
{
    sg_error err = {0};
    bool gguf = false;
    (void)state;
    sg_convert_options o = sg_convert_options_default();
    o.form = SG_CONVERT_SGATLIN;
    o.progress = convert_beside;
    o.progress_user = &gguf;
    must(sg_convert(context, "/ours", &o, "/two", NULL, &err), &err);
    convert("/ours", SG_CONVERT_SGATLIN, "/one");
    expect_same_file("/one/model.safetensors", "/two/model.safetensors");
    expect_same_file("/one/config.json", "/two/config.json");
    assert_false(sg_path_exists("/two/.lock"));
    gguf = true;
    o.form = SG_CONVERT_GGUF;
    must(sg_convert(context, "/ours", &o, "/two.gguf", NULL, &err), &err);
    convert("/ours", SG_CONVERT_GGUF, "/one.gguf");
    expect_same_file("/one.gguf", "/two.gguf");
    assert_false(sg_path_exists("/.two.gguf.lock"));
}

// ---- the disk -----------------------------------------------------------------------------------

static void test_no_room(void **state)
{
    (void)state;
    memory_fs_limit(disk, memory_fs_used(disk) + 100);
    memory_fs_show_limit(disk, true);
    refuse("/ours", SG_CONVERT_HF, "/small", SG_ERR_IO, "B free on the disk, expected ");
    refuse("/ours", SG_CONVERT_GGUF, "/small.gguf", SG_ERR_IO,
           "/small.gguf: found 100 B free on the disk, expected ");
    assert_false(sg_path_exists("/small") || sg_path_exists("/small.gguf"));
    memory_fs_show_limit(disk, false);
    memory_fs_limit(disk, -1);
}

// A crash left a save that is decided: it is a model as it is, and a second conversion there
// finishes it before it refuses the folder.
static void test_interrupted(void **state)
{
    sg_error err = {0};
    sg_model *m;
    (void)state;
    convert("/ours", SG_CONVERT_SGATLIN, "/cut");
    convert("/ours", SG_CONVERT_SGATLIN, "/whole");
    must(sg_folder_make("/cut/.incoming", &err), &err);
    must(sg_path_rename("/cut/config.json", "/cut/.incoming/config.json", &err), &err);
    must(sg_path_rename("/cut/model.safetensors", "/cut/.incoming/model.safetensors", &err), &err);
    must(sg_model_open(context, "/cut", &m, &err), &err);
    sg_model_free(m);
    assert_true(sg_path_exists("/cut/.incoming/config.json"));
    convert("/cut", SG_CONVERT_SGATLIN, "/again");
    expect_same_file("/again/model.safetensors", "/whole/model.safetensors");
    refuse("/ours", SG_CONVERT_SGATLIN, "/cut", SG_ERR_ARGUMENT, "found a folder with files");
    assert_false(sg_path_exists("/cut/.incoming"));
    expect_same_file("/cut/model.safetensors", "/whole/model.safetensors");
    expect_same_file("/cut/config.json", "/whole/config.json");
}

// ---- links --------------------------------------------------------------------------------------

static const char words[] = "{% for m in messages %}{{ m.content }}{% endfor %}";

// /snapshots/1f, as the hub's cache keeps a model.
static void make_snapshot(void)
{
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "chat_template.jinja"};
    sg_error err = {0};
    char from[64], blob[64], link[64], path[64];
    must(sg_folder_make("/blobs", &err), &err);
    must(sg_folder_make("/snapshots/1f", &err), &err);
    put("/ours/chat_template.jinja", words);
    for (int i = 0; i < 4; i++) {
        snprintf(from, sizeof from, "/ours/%s", files[i]);
        snprintf(blob, sizeof blob, "/blobs/%d", i);
        snprintf(link, sizeof link, "../../blobs/%d", i);
        snprintf(path, sizeof path, "/snapshots/1f/%s", files[i]);
        must(sg_path_rename(from, blob, &err), &err);
        assert_true(memory_fs_link(disk, link, path));
    }
}

// What is copied into a new model is a file of the old one: of its folder, or of the hub's cache.
// Another link would bring a file of the user's along.
static void test_links(void **state)
{
    static const char template[] = "/snapshots/1f/chat_template.jinja";
    static const char *const away[] = {"/home/note", "../../home/note", "../../home/link"};
    sg_error err = {0};
    (void)state;
    make_snapshot();
    convert("/snapshots/1f", SG_CONVERT_HF, "/hub");
    expect_same_file("/hub/chat_template.jinja", "/blobs/3");
    convert("/snapshots/1f", SG_CONVERT_GGUF, "/hub.gguf");
    must(sg_folder_make("/home", &err), &err);
    put("/home/note", words);
    assert_true(memory_fs_link(disk, "note", "/home/link"));
    for (int i = 0; i < 3; i++) {
        must(sg_path_remove(template, &err), &err);
        assert_true(memory_fs_link(disk, away[i], template));
        refuse("/snapshots/1f", SG_CONVERT_HF, "/no", SG_ERR_MISMATCH, "outside of the model");
        refuse("/snapshots/1f", SG_CONVERT_GGUF, "/no.gguf", SG_ERR_MISMATCH, away[i]);
        assert_false(sg_path_exists("/no") || sg_path_exists("/no.gguf"));
    }
    // By way of a second link; and to a name in the same folder, which is fine.
    must(sg_path_remove("/blobs/3", &err), &err);
    must(sg_path_remove(template, &err), &err);
    assert_true(memory_fs_link(disk, "../home/note", "/blobs/3"));
    assert_true(memory_fs_link(disk, "../../blobs/3", template));
    refuse("/snapshots/1f", SG_CONVERT_HF, "/no", SG_ERR_MISMATCH, "a link to ../home/note");
    must(sg_path_remove(template, &err), &err);
    put("/snapshots/1f/first", words);
    assert_true(memory_fs_link(disk, "first", template));
    convert("/snapshots/1f", SG_CONVERT_HF, "/same");
    must(sg_path_remove("/snapshots/1f/tokenizer.json", &err), &err);
    assert_true(memory_fs_link(disk, "/blobs/2", "/snapshots/1f/tokenizer.json"));
    refuse("/snapshots/1f", SG_CONVERT_GGUF, "/no.gguf", SG_ERR_MISMATCH, "a link to /blobs/2");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_two_at_once, begin, end),
        cmocka_unit_test_setup_teardown(test_no_room, begin, end),
        cmocka_unit_test_setup_teardown(test_interrupted, begin, end),
        cmocka_unit_test_setup_teardown(test_links, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
