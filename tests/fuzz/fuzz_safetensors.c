// Any bytes as a safetensors file: what opens lies within the input and can be written and read
// again.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use_view(const sg_tensor_view *view, const uint8_t *data, size_t size)
{
    const uint8_t *bytes = view->data;
    if (bytes < data || bytes > data + size || view->bytes > (size_t)(data + size - bytes)) abort();
    if (sg_tensor_view_check(view, NULL) != SG_OK && view->name[0] != '\0') abort();
    float *values = malloc((view->bytes + 1) * sizeof *values);
    if (values == NULL) return;
    sg_tensor_view_read_f32(view, values, NULL);
    free(values);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_safetensors *file;
    sg_status status = sg_safetensors_open_memory(data, size, "input", &file, &err);
    if (status != SG_OK) {
        if (file != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < sg_safetensors_count(file); i++) {
        const sg_tensor_view *view = sg_safetensors_at(file, i);
        if (sg_safetensors_find(file, view->name) != view) abort();
        use_view(view, data, size);
    }
    sg_safetensors_metadata(file, "format");
    sg_safetensors_close(file);
    return 0;
}
