// Any bytes as a llama2.c file: what opens lies within the input, one tensor behind the other.
#include <stdint.h>
#include <stdlib.h>

#include "format/llama2c.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_llama2c *file;
    if (sg_llama2c_open_memory(data, size, "input", &file, &err) != SG_OK) {
        if (file != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    const uint8_t *end = data + 28;
    for (size_t i = 0; i < sg_llama2c_count(file); i++) {
        const sg_tensor_view *view = sg_llama2c_at(file, i);
        const uint8_t *at = view->data;
        if (at < end || at > data + size || view->bytes > (size_t)(data + size - at)) abort();
        end = at + view->bytes;
        if (sg_llama2c_find(file, view->name) != view) abort();
        if (sg_tensor_view_check(view, NULL) != SG_OK) abort();
    }
    sg_llama2c_close(file);
    return 0;
}
