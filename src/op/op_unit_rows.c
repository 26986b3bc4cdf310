// Rows of unit length, as routers take what they read that were trained so (Zhang et al. 2022):
//
//   y = x / |x|, |x| the root of the sum of squares; 0 of a row of zeros
//   dx = (dy - y (y . dy)) / |x|
//
//   x, y (rows, d)
#include <math.h>

#include "op/op.h"

typedef struct unit_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t d;
    sg_real *grad;
    bool add;
} unit_loop;

// 1 / |x|, or 0.
static sg_real unit_factor(const unit_loop *l, const sg_real *x)
{
    const double squares = l->run->compute.kernels->sum_squares(x, l->d);
    return squares > 0 ? (sg_real)(1 / sqrt(squares)) : 0;
}

static void unit_forward_rows(void *context, sg_range rows)
{
    const unit_loop *l = context;
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * l->d;
        sg_real *y = sg_values(l->node->out[0]) + r * l->d, factor = unit_factor(l, x);
        for (int64_t i = 0; i < l->d; i++)
            y[i] = factor * x[i];
    }
}

static void unit_backward_rows(void *context, sg_range rows)
{
    const unit_loop *l = context;
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real factor = unit_factor(l, sg_values(l->node->in[0]) + r * l->d);
        const sg_real *y = sg_values(l->node->out[0]) + r * l->d;
        const sg_real *dy = l->node->out[0]->grad + r * l->d;
        const sg_real along = l->run->compute.kernels->dot(y, dy, l->d);
        sg_real *dx = l->grad + r * l->d;
        for (int64_t i = 0; i < l->d; i++)
            dx[i] = (l->add ? dx[i] : 0) + factor * (dy[i] - along * y[i]);
    }
}

static void unit_run(unit_loop *l, sg_range_fn fn)
{
    l->d = sg_columns(l->node->out[0]);
    sg_parallel_ranges(l->run->compute.pool, sg_rows(l->node->out[0]), sg_chunk_rows(l->d), fn, l);
}

static void unit_forward(const sg_run *run, const sg_node *node)
{
    unit_loop l = {.run = run, .node = node};
    unit_run(&l, unit_forward_rows);
}

static void unit_backward(const sg_run *run, const sg_node *node)
{
    unit_loop l = {.run = run, .node = node};
    l.grad = sg_grad_in(run, node, 0, &l.add);
    if (l.grad != NULL) unit_run(&l, unit_backward_rows);
}

static const sg_op op_unit_rows = {
    .name = "unit_rows",
    .forward = unit_forward,
    .backward = unit_backward,
    .backward_reads_in = 1,
    .backward_reads_out = 1,
};

sg_tensor *sg_unit_rows(sg_tape *tape, sg_tensor *x)
{
    if (x == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, &op_unit_rows, 1, &x);
    return node == NULL ? NULL
                        : sg_node_output(tape, node, "unit_rows", SG_KIND_REAL, x->rank, x->shape);
}
