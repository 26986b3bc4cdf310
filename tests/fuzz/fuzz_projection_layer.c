// Any bytes as the MLPs of a layer's projections that a work of sparsify keeps: they are numbers of
// the sizes that were asked for, or are refused with a message.
#include <math.h>
#include <stdlib.h>

#include "sparsify/projection_keep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { q_in = 3, q_out = 2, q_hidden = 2, o_in = 2, o_out = 3, o_hidden = 1 };

static void expect_finite(const sg_real *values, int count)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(values[i])) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sg_real up[q_hidden * q_in], up_bias[q_hidden], down[q_out * q_hidden], down_bias[q_out];
    sg_real o_up[o_hidden * o_in], o_up_bias[o_hidden], o_down[o_out * o_hidden],
        o_down_bias[o_out];
    sg_projection_layer layer = {
        .count = 2,
        .which = {SG_PROJECTION_Q, SG_PROJECTION_O},
        .modules = {
            {.size = {q_in, q_out, q_hidden}, .values = {up, up_bias, down, down_bias}},
            {.size = {o_in, o_out, o_hidden}, .values = {o_up, o_up_bias, o_down, o_down_bias}}}};
    sg_error err = {0};
    if (sg_projection_keep_parse(data, size, "input", &layer, &err) != SG_OK) {
        if (err.message[0] == '\0') abort();
        return 0;
    }
    expect_finite(up, q_hidden * q_in);
    expect_finite(down, q_out * q_hidden);
    expect_finite(o_up_bias, o_hidden);
    expect_finite(o_down_bias, o_out);
    for (int i = 0; i < 2; i++)
        if (!(layer.quality[i].loss >= 0) || layer.quality[i].zeros > 1) abort();
    return 0;
}
