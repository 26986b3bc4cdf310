// Any bytes as a layer that a work of sparsify keeps: it is one of the shape that was asked for, or
// refused with a message.
#include <stdlib.h>

#include "sparsify/moefy_keep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const sg_moefy_shape shape = {
        .neurons = 24,
        .size = 4,
        .net = {.form = SG_ROUTER_MLP, .d = 16, .width = 6, .blocks = 6, .rows = 6}};
    sg_moefy_layer layer;
    sg_error err = {0};
    if (sg_moefy_keep_parse(data, size, "input", &shape, &layer, &err) != SG_OK) {
        if (layer.split.order != NULL || layer.net.weight != NULL || err.message[0] == '\0')
            abort();
        return 0;
    }
    if (sg_partition_check(&layer.split, &err) != SG_OK) abort();
    if (layer.net.hidden == NULL || layer.means != NULL || layer.quality.least < 0) abort();
    sg_moefy_layer_free(&layer);
    return 0;
}
