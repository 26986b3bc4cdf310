// Any bytes as a GGUF file: what opens lies within the input, and every value can be asked for as
// every type.
#include <stdint.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(const void *at, size_t bytes, const uint8_t *data, size_t size)
{
    const uint8_t *first = at;
    if (first < data || first > data + size || bytes > (size_t)(data + size - first)) abort();
}

static void use_value(const sg_gguf *file, const sg_gguf_value *value, const uint8_t *data,
                      size_t size)
{
    int64_t integer, *integers;
    double number;
    bool flag;
    const char *text;
    float *floats;
    sg_gguf_string *strings;
    size_t count;
    inside(value->data, value->bytes, data, size);
    if (sg_gguf_value_find(file, value->key) != value) abort();
    sg_gguf_get_int(file, value->key, true, 0, INT64_MAX, &integer, NULL);
    sg_gguf_get_number(file, value->key, true, &number, NULL);
    sg_gguf_get_bool(file, value->key, true, &flag, NULL);
    sg_gguf_get_string(file, value->key, true, &text, NULL);
    sg_gguf_get_ints(file, value->key, true, &integers, &count, NULL);
    sg_free(integers);
    sg_gguf_get_floats(file, value->key, true, &floats, &count, NULL);
    sg_free(floats);
    if (sg_gguf_get_strings(file, value->key, true, &strings, &count, NULL) == SG_OK)
        for (size_t i = 0; i < count; i++)
            inside(strings[i].data, strings[i].bytes, data, size);
    sg_free(strings);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    sg_gguf *file;
    sg_status status = sg_gguf_open_memory(data, size, "input", &file, &err);
    if (status != SG_OK) {
        if (file != NULL || err.message[0] == '\0') abort();
        return 0;
    }
    for (size_t i = 0; i < sg_gguf_value_count(file); i++)
        use_value(file, sg_gguf_value_at(file, i), data, size);
    const uint8_t *end = data;
    for (size_t i = 0; i < sg_gguf_count(file); i++) {
        const sg_tensor_view *view = sg_gguf_at(file, i);
        inside(view->data, view->bytes, data, size);
        if ((const uint8_t *)view->data < end) abort(); // overlaps the one before
        end = (const uint8_t *)view->data + view->bytes;
        if (sg_gguf_find(file, view->name) != view) abort();
        if (sg_tensor_view_check(view, NULL) != SG_OK) abort();
    }
    sg_gguf_close(file);
    return 0;
}
