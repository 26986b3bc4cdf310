// The last row of each sequence, what decoding needs of a prompt: y_b = x[(b + 1) length - 1], x
// (B * length, d) -> y (B, d). Forward only.
#include <string.h>

#include "op/op.h"

static void last_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    int64_t length = *(const int64_t *)node->attributes, d = sg_columns(node->in[0]);
    for (int64_t b = 0; b < sg_rows(node->out[0]); b++)
        memcpy(sg_values(node->out[0]) + b * d, sg_values(node->in[0]) + ((b + 1) * length - 1) * d,
               (size_t)d * sizeof(sg_real));
}

static const sg_op op_last = {.name = "take_last", .forward = last_forward, .exact = true};

sg_tensor *sg_take_last(sg_tape *tape, sg_tensor *x, int64_t length)
{
    if (x == NULL) return NULL;
    if (length < 1 || sg_rows(x) % length != 0)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "take_last: %s does not fit", x->name);
    sg_node *node = sg_tape_node(tape, &op_last, 1, (sg_tensor *[]){x});
    int64_t *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = length;
    node->attributes = attribute;
    return sg_node_output(tape, node, "last", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(x) / length, sg_columns(x)});
}
