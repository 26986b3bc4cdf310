// Files that are taken for others: each reader that meets one says what it is.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/file.h"
#include "format/file_kind.h"
#include "format/gguf.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "memory_disk.h"
#include "model/model_file.h"

static const struct {
    const char *data;
    size_t bytes;
    const char *words;
} kinds[] = {
    {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n", 63, "Git LFS pointer"},
    {"lmgg\0\0\0\0\0", 9, "old GGML form \"ggml\""},
    {"fmgg\1\0\0\0\0", 9, "old GGML form \"ggmf\""},
    {"tjgg\3\0\0\0\0", 9, "old GGML form \"ggjt\""},
    {"PK\3\4\0\0\10\10\0\0", 10, "zip archive"},
    {"\x80\2\x8a\nl\xfc\x9c\x46", 8, "a pickle"},
    {"\x80\4\x95\0\0\0\0\0\0", 9, "a pickle"},
    {"\x89HDF\r\n\x1a\n", 8, "HDF5"},
    {"\10\7\x12\7pytorch\x1a", 12, "ONNX"},
    {"<!DOCTYPE html><html>", 21, "web page"},
    {"\x1f\x8b\10\0\0\0\0\0\0", 9, "gzip"},
};

static void expect(sg_status status, const sg_error *err, const char *path, const char *words)
{
    assert_int_not_equal(status, SG_OK);
    if (strstr(err->message, words) == NULL || strncmp(err->message, path, strlen(path)) != 0)
        fail_msg("found \"%s\", expected \"%s\"", err->message, words);
}

static void test_readers(void **state)
{
    (void)state;
    static const char config[] =
        "{\"model_type\": \"llama\", \"vocab_size\": 40, \"hidden_size\": 16, "
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, "
        "\"intermediate_size\": 8}";
    sg_error err = {0};
    must(sg_folder_make("/m", &err), &err);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        json_t *value;
        sg_gguf *gguf;
        sg_safetensors *tensors;
        sg_model_file *model;
        const char *words = kinds[i].words;
        must(sg_file_write_atomic("/x", kinds[i].data, kinds[i].bytes, &err), &err);
        expect(sg_json_read("/x", 1000, &value, &err), &err, "/x", words);
        expect(sg_gguf_open("/x", &gguf, &err), &err, "/x", words);
        expect(sg_safetensors_open("/x", &tensors, &err), &err, "/x", words);
        expect(sg_model_file_open("/x", &model, &err), &err, "/x", words);
        // In a model folder, as either of its files.
        must(sg_file_write_atomic("/m/config.json", kinds[i].data, kinds[i].bytes, &err), &err);
        expect(sg_model_file_open("/m", &model, &err), &err, "/m/config.json", words);
        must(sg_file_write_atomic("/m/config.json", config, strlen(config), &err), &err);
        must(sg_file_write_atomic("/m/model.safetensors", kinds[i].data, kinds[i].bytes, &err),
             &err);
        expect(sg_model_file_open("/m", &model, &err), &err, "/m/model.safetensors", words);
        must(sg_path_remove("/m/model.safetensors", &err), &err);
    }
    assert_null(sg_file_kind("\x80\2\0\0\0\0\0\0", 8)); // a width of 640, as llama2.c begins
    assert_null(sg_file_kind("{\"a\"", 4));
    assert_null(sg_file_kind("", 0));
}

// Weights in forms that are not read, named in place of those that are missing.
static void test_folders(void **state)
{
    static const char config[] =
        "{\"model_type\": \"llama\", \"vocab_size\": 40, \"hidden_size\": 16, "
        "\"num_hidden_layers\": 1, \"num_attention_heads\": 2, "
        "\"intermediate_size\": 8}";
    static const char *const names[][2] = {
        {"pytorch_model.bin", "weights as PyTorch pickles them"},
        {"pytorch_model-00001-of-00002.bin", "PyTorch"},
        {"consolidated.00.pth", "Meta"},
        {"model.onnx", "ONNX"},
        {"tf_model.h5", "TensorFlow"},
        {"flax_model.msgpack", "Flax"},
        {"model-q4.gguf", "a GGUF file, which is to be given itself"},
        {"weights.safetensors", "tensors under another name"}};
    sg_error err = {0};
    sg_model_file *model;
    (void)state;
    must(sg_folder_make("/m", &err), &err);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[100];
        snprintf(path, sizeof path, "/m/%s", names[i][0]);
        must(sg_file_write_atomic(path, "x", 1, &err), &err);
        expect(sg_model_file_open("/m", &model, &err), &err, "/m: found no config.json",
               names[i][1]);
        must(sg_file_write_atomic("/m/config.json", config, strlen(config), &err), &err);
        expect(sg_model_file_open("/m", &model, &err), &err, "/m: has neither ", names[i][0]);
        assert_non_null(strstr(err.message, names[i][1]));
        must(sg_path_remove(path, &err), &err);
        expect(sg_model_file_open("/m", &model, &err), &err, "/m: has neither",
               "model.safetensors");
        must(sg_path_remove("/m/config.json", &err), &err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_readers, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_folders, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
