// What a norm divides by, for those who want to see it.
//
//   y = sqrt(mean((x - m)^2) + eps), m = mean(x) of a layer norm, 0 of a root mean square norm
//
//   x (rows, d) -> y (rows). No gradient.
#include <math.h>

#include "op/observe.h"

typedef struct scale_attributes {
    bool shifts;
    double eps;
} scale_attributes;

static void scale_rows(void *context, sg_range range)
{
    const sg_node *node = context;
    const scale_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[0]);
    for (int64_t r = range.first; r < range.end; r++) {
        const sg_real *x = sg_values(node->in[0]) + r * d;
        double mean = 0, squares = 0;
        for (int64_t i = 0; a->shifts && i < d; i++)
            mean += (double)x[i] / (double)d;
        for (int64_t i = 0; i < d; i++)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        sg_values(node->out[0])[r] = (sg_real)sqrt(squares / (double)d + a->eps);
    }
}

static void scale_forward(const sg_run *run, const sg_node *node)
{
    sg_parallel_ranges(run->compute.pool, sg_rows(node->in[0]),
                       sg_chunk_rows(sg_columns(node->in[0])), scale_rows, (void *)(uintptr_t)node);
}

static const sg_op op_norm_scale = {.name = "norm_scale", .forward = scale_forward};

sg_tensor *sg_norm_scale(sg_tape *tape, sg_tensor *x, bool shifts, double eps)
{
    if (x == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, &op_norm_scale, 1, (sg_tensor *[]){x});
    scale_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (scale_attributes){shifts, eps};
    node->attributes = a;
    return sg_node_output(tape, node, "norm_scale", SG_KIND_REAL, 1, (int64_t[]){sg_rows(x)});
}
