// Any bytes as JSON: parse, read typed members, print, parse what was printed.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_error err = {0};
    json_t *value = NULL, *again = NULL;
    if (sg_json_parse((const char *)data, size, "input", &value, &err) != SG_OK) return 0;
    int64_t number = 0;
    const char *text = NULL;
    json_t *child = NULL;
    sg_json_get_int(value, "input", "a", true, -5, 5, &number, &err);
    sg_json_get_string(value, "input", "b", true, &text, &err);
    sg_json_get_object(value, "input", "c", true, &child, &err);
    char *printed = NULL;
    if (sg_json_text(value, false, &printed, &err) == SG_OK) {
        if (sg_json_parse(printed, strlen(printed), "printed", &again, &err) != SG_OK) abort();
        json_decref(again);
        sg_free(printed);
    }
    json_decref(value);
    return 0;
}
