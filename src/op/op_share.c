// Scores divided by their sum, in groups of neighbours.
//
//   y_i = x_i / s, s = 1e-20 + sum_j x_j
//   dx_i = (dy_i - sum_j dy_j y_j) / s
//
//   x (rows, n), n a multiple of the width of a group; x >= 0 -> y (rows, n)
#include <string.h>

#include "op/op.h"

typedef struct share_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t groups, width;
    sg_real *grad;
    bool add;
} share_loop;

static sg_real share_sum(const sg_real *x, int64_t n)
{
    sg_real sum = SG_SHARE_LEAST;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    return sum;
}

static share_loop share_make(const sg_run *run, const sg_node *node)
{
    int64_t width = *(const int64_t *)node->attributes;
    return (share_loop){
        .run = run, .node = node, .groups = node->in[0]->count / width, .width = width};
}

static void share_forward_chunk(void *context, sg_range groups)
{
    const share_loop *l = context;
    for (int64_t g = groups.first; g < groups.end; g++) {
        const sg_real *x = sg_values(l->node->in[0]) + g * l->width;
        sg_real *y = sg_values(l->node->out[0]) + g * l->width, sum = share_sum(x, l->width);
        for (int64_t i = 0; i < l->width; i++)
            y[i] = x[i] / sum;
    }
}

static void share_forward(const sg_run *run, const sg_node *node)
{
    share_loop l = share_make(run, node);
    sg_parallel_ranges(run->compute.pool, l.groups, sg_chunk_rows(l.width), share_forward_chunk,
                       &l);
}

static void share_backward_chunk(void *context, sg_range groups)
{
    const share_loop *l = context;
    for (int64_t g = groups.first; g < groups.end; g++) {
        const sg_real *x = sg_values(l->node->in[0]) + g * l->width;
        const sg_real *y = sg_values(l->node->out[0]) + g * l->width;
        const sg_real *dy = l->node->out[0]->grad + g * l->width;
        sg_real *dx = l->grad + g * l->width, sum = share_sum(x, l->width), mean = 0;
        for (int64_t i = 0; i < l->width; i++)
            mean += dy[i] * y[i];
        for (int64_t i = 0; i < l->width; i++)
            dx[i] = (l->add ? dx[i] : 0) + (dy[i] - mean) / sum;
    }
}

static void share_backward(const sg_run *run, const sg_node *node)
{
    share_loop l = share_make(run, node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    if (l.grad != NULL)
        sg_parallel_ranges(run->compute.pool, l.groups, sg_chunk_rows(l.width),
                           share_backward_chunk, &l);
}

static const sg_op op_share = {
    .name = "share",
    .forward = share_forward,
    .backward = share_backward,
    .backward_reads_in = 1,
    .backward_reads_out = 1,
};

sg_tensor *sg_share(sg_tape *tape, sg_tensor *x, int64_t width)
{
    if (x == NULL) return NULL;
    if (width < 1 || sg_columns(x) % width != 0)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "share: width %lld does not divide %s",
                            (long long)width, x->name);
    sg_node *node = sg_tape_node(tape, &op_share, 1, (sg_tensor *[]){x});
    int64_t *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = width;
    node->attributes = attribute;
    return sg_node_output(tape, node, "share", SG_KIND_REAL, x->rank, x->shape);
}
