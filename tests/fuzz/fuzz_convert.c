// Any bytes as a model that is converted: a GGUF file, or, where the first line is JSON, a
// config.json and behind it model.safetensors. What is converted can be opened, and converted
// again; else a message says why not and nothing is left.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "memory_fs.h"
#include "model/model.h"
#include "sgatlin_convert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static sg_context *context_of(void)
{
    static sg_context *context; // for all inputs
    sg_error err = {0};
    if (context == NULL && sg_context_new(&(sg_context_options){.threads = 1, .kernel = "ref"},
                                          &context, &err) != SG_OK)
        abort();
    return context;
}

static bool convert(const char *from, sg_convert_form form, const char *to)
{
    sg_error err = {0};
    sg_convert_options options = sg_convert_options_default();
    options.form = form;
    const sg_status status = sg_convert(context_of(), from, &options, to, NULL, &err);
    if (status != SG_OK && err.message[0] == '\0') abort();
    if (status != SG_OK && status != SG_ERR_MEMORY && sg_path_exists(to) && !sg_path_is_folder(to))
        abort();
    if (status != SG_OK) return false;
    sg_model_file *file;
    if (sg_model_file_open(to, &file, &err) != SG_OK) {
        if (err.code != SG_ERR_MEMORY) abort();
        return false;
    }
    sg_model_file_close(file);
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    memory_fs *disk = memory_fs_new();
    const uint8_t *border = size > 0 && data[0] == '{' ? memchr(data, '\n', size) : NULL;
    const char *from = border != NULL ? "/m" : "/m.gguf";
    sg_fs_set(memory_fs_table(disk));
    if (border != NULL) {
        const size_t config = (size_t)(border - data);
        if (sg_folder_make("/m", NULL) != SG_OK ||
            sg_file_write_atomic("/m/config.json", data, config, NULL) != SG_OK ||
            sg_file_write_atomic("/m/model.safetensors", border + 1, size - config - 1, NULL) !=
                SG_OK)
            abort();
    } else if (sg_file_write_atomic(from, data, size, NULL) != SG_OK) {
        abort();
    }
    if (convert(from, SG_CONVERT_SGATLIN, "/ours")) {
        convert("/ours", SG_CONVERT_GGUF, "/again.gguf");
        convert("/ours", SG_CONVERT_HF, "/hf");
    }
    convert(from, SG_CONVERT_HF, "/direct");
    if (memory_fs_open_handles(disk) != 0 || memory_fs_open_maps(disk) != 0) abort();
    sg_fs_set(NULL);
    memory_fs_free(disk);
    return 0;
}
