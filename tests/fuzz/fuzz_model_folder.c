// Any bytes as the files of a model folder, and as what an interrupted save left in it: the folder
// is opened as a whole, or refused with a message, once and again. An input is files behind each
// other: a line with the name, a line with the number of bytes, the bytes.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "memory_fs.h"
#include "model/model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// One line, at most 63 characters of it; what is behind it.
static const uint8_t *take_line(const uint8_t *at, const uint8_t *end, char line[64])
{
    size_t n = 0;
    while (at < end && *at != '\n' && n < 63)
        line[n++] = (char)*at++;
    line[n] = '\0';
    return at < end && *at == '\n' ? at + 1 : at;
}

// Names are plain, but for the folders that a save makes.
static bool put_file(const char *name, const uint8_t *data, size_t bytes)
{
    static const char *const folders[] = {".incoming/", ".incoming.tmp/"};
    char path[128];
    const char *plain = name;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        const size_t n = strlen(folders[i]);
        if (strncmp(name, folders[i], n) != 0) continue;
        snprintf(path, sizeof path, "/m/%.*s", (int)n - 1, folders[i]);
        if (sg_folder_make(path, NULL) != SG_OK) abort();
        plain += n;
    }
    if (!sg_name_is_plain(plain)) return false;
    snprintf(path, sizeof path, "/m/%s", name);
    return sg_file_write_atomic(path, data, bytes, NULL) == SG_OK;
}

static void put_files(const uint8_t *data, size_t size)
{
    const uint8_t *at = data, *end = data + size;
    for (int files = 0; at < end && files < 8; files++) {
        char name[64], number[64];
        at = take_line(at, end, name);
        at = take_line(at, end, number);
        size_t bytes = (size_t)strtoul(number, NULL, 10);
        if (bytes > (size_t)(end - at)) bytes = (size_t)(end - at);
        if (!put_file(name, at, bytes)) return;
        at += bytes;
    }
}

static sg_status open_model(sg_error *err)
{
    static sg_context *context; // for all inputs
    sg_model *model;
    *err = (sg_error){0};
    if (context == NULL && sg_context_new(&(sg_context_options){.threads = 1, .kernel = "ref"},
                                          &context, err) != SG_OK)
        abort();
    sg_model_file *file;
    SG_TRY(sg_model_file_open("/m", &file, err));
    // A few bytes may ask for large tables.
    const bool small = file->config.max_position_embeddings * file->config.head_dim < 1 << 20;
    sg_model_file_close(file);
    if (!small) return SG_OK;
    SG_TRY(sg_model_open_stored(context, "/m", &model, err));
    sg_model_free(model);
    return SG_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error first, second;
    memory_fs *disk = memory_fs_new();
    sg_fs_set(memory_fs_table(disk));
    if (sg_folder_make("/m", NULL) != SG_OK) abort();
    put_files(data, size);
    const sg_status status = open_model(&first);
    if (status != SG_OK && first.message[0] == '\0') abort();
    if (open_model(&second) != SG_OK && second.message[0] == '\0') abort();
    if (memory_fs_open_handles(disk) != 0 || memory_fs_open_maps(disk) != 0) abort();
    sg_fs_set(NULL);
    memory_fs_free(disk);
    return 0;
}
