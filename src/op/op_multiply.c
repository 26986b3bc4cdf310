// Product of every two elements.
//   y = a b             a, b (rows, columns), y the same shape
//   da = dy b, db = dy a
#include "op/op.h"

typedef struct multiply_loop {
    const sg_real *a, *b; // what is multiplied: both inputs, or dy and the other input
    sg_real *out;
    int64_t columns;
    bool add;
} multiply_loop;

static void multiply_rows(void *context, sg_range rows)
{
    const multiply_loop *l = context;
    const int64_t end = rows.end * l->columns;
    for (int64_t i = rows.first * l->columns; i < end; i++) {
        const sg_real product = l->a[i] * l->b[i];
        l->out[i] = l->add ? l->out[i] + product : product;
    }
}

static void multiply_run(const sg_run *run, const sg_tensor *shape, multiply_loop l)
{
    l.columns = sg_columns(shape);
    sg_parallel_ranges(run->compute.pool, sg_rows(shape), sg_chunk_rows(l.columns), multiply_rows,
                       &l);
}

static void multiply_forward(const sg_run *run, const sg_node *node)
{
    multiply_run(run, node->out[0],
                 (multiply_loop){.a = sg_values(node->in[0]),
                                 .b = sg_values(node->in[1]),
                                 .out = sg_values(node->out[0])});
}

static void multiply_backward(const sg_run *run, const sg_node *node)
{
    for (int i = 0; i < 2; i++) {
        multiply_loop l = {.a = node->out[0]->grad, .b = sg_values(node->in[1 - i])};
        l.out = sg_grad_in(run, node, i, &l.add);
        if (l.out != NULL) multiply_run(run, node->out[0], l);
    }
}

static const sg_op op_multiply = {
    .name = "multiply",
    .forward = multiply_forward,
    .backward = multiply_backward,
    .backward_reads_in = 3,
};

sg_tensor *sg_multiply(sg_tape *tape, sg_tensor *a, sg_tensor *b)
{
    if (a == NULL || b == NULL) return NULL;
    if (a->count != b->count || sg_columns(a) != sg_columns(b))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "multiply: %s and %s differ in shape", a->name,
                            b->name);
    sg_node *node = sg_tape_node(tape, &op_multiply, 2, (sg_tensor *[]){a, b});
    return sg_node_output(tape, node, "multiply", SG_KIND_REAL, a->rank, a->shape);
}
