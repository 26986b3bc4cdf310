// Any bytes as model.safetensors.index.json of a folder with two good shards and a file outside.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "format/safetensors.h"
#include "memory_fs.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(sg_status status)
{
    if (status != SG_OK) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const uint8_t bytes[2] = {1, 2};
    const sg_tensor_view a = sg_tensor_view_make("a", SG_DTYPE_U8, 0, NULL, bytes),
                         b = sg_tensor_view_make("b", SG_DTYPE_U8, 1, (int64_t[]){2}, bytes);
    memory_fs *fs = memory_fs_new();
    sg_fs_set(memory_fs_table(fs));
    must(sg_folder_make("m", NULL));
    must(sg_safetensors_write("m/1.safetensors", &a, 1, NULL, 0, NULL, NULL));
    must(sg_safetensors_write("m/2.safetensors", &b, 1, NULL, 0, NULL, NULL));
    must(sg_safetensors_write("outside", &a, 1, NULL, 0, NULL, NULL));
    must(sg_file_write_atomic("m/model.safetensors.index.json", data, size, NULL));
    sg_safetensors *file;
    sg_error err = {0};
    sg_status status = sg_safetensors_open("m", &file, &err);
    if (status == SG_OK) {
        if (sg_safetensors_count(file) > 2) abort();
        sg_safetensors_close(file);
    } else if (err.message[0] == '\0') {
        abort();
    }
    if (memory_fs_open_maps(fs) != 0 || memory_fs_open_handles(fs) != 0) abort();
    sg_fs_set(NULL);
    memory_fs_free(fs);
    return 0;
}
