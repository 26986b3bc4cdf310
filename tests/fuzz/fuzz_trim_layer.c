// Any bytes as thresholds that a work of sparsify keeps of a layer: they are ones that can be, or
// are refused with a message.
#include <stdlib.h>

#include "sparsify/trim_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    enum { places = 4 };
    double thresholds[places];
    sg_error err = {0};
    if (sg_trim_kept_parse(data, size, "input", places, thresholds, &err) != SG_OK) {
        if (err.message[0] == '\0') abort();
        return 0;
    }
    for (int i = 0; i < places; i++)
        if (!(thresholds[i] >= 0)) abort();
    return 0;
}
