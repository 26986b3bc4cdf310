// Any bytes as a NumPy file: a view that comes out lies within the input and ends with it.
#include <stdint.h>
#include <stdlib.h>

#include "format/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_tensor_view view;
    if (sg_npy_parse(data, size, "input", &view, &err) != SG_OK) {
        if (err.message[0] == '\0') abort();
        return 0;
    }
    const uint8_t *bytes = view.data;
    if (bytes < data || bytes + view.bytes != data + size) abort();
    if (sg_tensor_view_elements(&view) < 0) abort();
    return 0;
}
