// Checkpoints of the Hugging Face library whose config.json says unusual things: they compute what
// the library computes (tests/twins/variant_twin.py).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "memory_disk.h"

static const double tolerance = 2e-5;

static char *read_golden(const char *folder, const char *file, size_t *bytes)
{
    char path[800], *data;
    sg_error err = {0};
    snprintf(path, sizeof path, "%s/golden/%s/%s", SG_TEST_DIR, folder, file);
    sg_fs_set(sg_fs_system());
    const sg_status status = sg_file_read(path, (size_t)1 << 24, &data, bytes, &err);
    sg_fs_set(memory_fs_table(disk));
    must(status, &err);
    return data;
}

// Warnings, one behind the other.
static void hear(void *user, sg_log_level level, const char *message)
{
    char *heard = user;
    if (level == SG_LOG_WARNING) strncat(heard, message, 1000 - strlen(heard));
}

static void write_config(const char *checkpoint, json_t *change)
{
    sg_error err = {0};
    size_t bytes;
    json_t *config;
    char *text = read_golden(checkpoint, "config.json", &bytes);
    must(sg_json_parse(text, bytes, "config.json", &config, &err), &err);
    sg_free(text);
    json_object_update(config, change);
    must(sg_json_text(config, true, &text, &err), &err);
    must(sg_file_write_atomic("/m/config.json", text, strlen(text), &err), &err);
    sg_free(text);
    json_decref(config);
}

static void check(const sg_safetensors *file, const char *variant, char heard[1000])
{
    char name[100];
    sg_error err = {0};
    sg_context *context;
    sg_model *model;
    sg_session *session;
    heard[0] = '\0';
    must(sg_context_new(&(sg_context_options){.threads = 1, .log = hear, .log_user = heard},
                        &context, &err),
         &err);
    must(sg_model_open(context, "/m", &model, &err), &err);
    must(sg_session_new(model, 0, &session, &err), &err);
    snprintf(name, sizeof name, "logits.%s", variant);
    const sg_tensor_view *ids = sg_safetensors_find(file, "ids");
    const sg_tensor_view *expected = sg_safetensors_find(file, name);
    assert_true(ids != NULL && expected != NULL);
    const int64_t vocab = expected->shape[1];
    double worst = 0, size = 0;
    for (int64_t t = 0; t < ids->shape[0]; t++) {
        const float *logits, *right = (const float *)expected->data + t * vocab;
        must(sg_session_feed(session, (const int32_t *)ids->data + t, 1, &logits, &err), &err);
        for (int64_t v = 0; v < vocab; v++) {
            worst = fmax(worst, fabs((double)logits[v] - (double)right[v]));
            size = fmax(size, fabs((double)right[v]));
        }
    }
    if (!(worst <= tolerance * size)) fail_msg("%s: relative error %.3g", variant, worst / size);
    sg_session_free(session);
    sg_model_free(model);
    sg_context_free(context);
}

static void test_variants(void **state)
{
    sg_error err = {0};
    sg_safetensors *file;
    size_t bytes;
    json_t *variants, *change;
    const char *variant;
    char folder[64], name[64], heard[1001];
    snprintf(folder, sizeof folder, "checkpoints/%s", (const char *)*state);
    snprintf(name, sizeof name, "%s.safetensors", (const char *)*state);
    if (disk_begin(NULL) != 0) fail();
    must(sg_folder_make("/m", &err), &err);
    char *data = read_golden(folder, "model.safetensors", &bytes);
    must(sg_file_write_atomic("/m/model.safetensors", data, bytes, &err), &err);
    sg_free(data);
    data = read_golden("variants", name, &bytes);
    must(sg_safetensors_open_memory(data, bytes, name, &file, &err), &err);
    const char *text = sg_safetensors_metadata(file, "variants");
    assert_non_null(text);
    must(sg_json_parse(text, strlen(text), "variants", &variants, &err), &err);
    json_object_foreach(variants, variant, change)
    {
        write_config(folder, change);
        check(file, variant, heard);
        const char *words =
            strcmp(variant, "own head") == 0 ? "/m: tensor lm_head.weight: is not the "
            : strcmp(variant, "unread") == 0 ? "keys that are not read here: invented"
                                             : "";
        if (strstr(heard, words) == NULL || (words[0] == '\0' && heard[0] != '\0'))
            fail_msg("%s: found \"%s\", expected \"%s\"", variant, heard, words);
    }
    json_decref(variants);
    sg_safetensors_close(file);
    sg_free(data);
    if (disk_end(NULL) != 0) fail();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        {"llama", test_variants, NULL, NULL, "llama"},
        {"gpt_neox", test_variants, NULL, NULL, "gpt_neox"},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
