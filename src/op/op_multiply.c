// Product of every two elements.
//   y = a b             a, b (rows, columns), y the same shape
//   da = dy b, db = dy a
#include "op/op.h"

typedef struct multiply_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t columns;
    int of;      // whose gradient; -1: the forward pass
    sg_real *to; // likewise
    bool add;
} multiply_loop;

// Both inputs, or dy and the other input, into y or a gradient. A worker's buffers: of each.
static void multiply_rows(void *context, sg_range rows)
{
    const multiply_loop *l = context;
    sg_real *buffer = sg_worker_scratch(l->run, rows.worker);
    sg_real *second = buffer + sg_piece_rows(l->columns) * l->columns;
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = sg_piece_end(l->node, l->columns, r, rows.end);
        const int64_t at = r * l->columns, n = (end - r) * l->columns;
        const sg_real *a =
            l->of < 0 ? sg_get_in(l->run, l->node, 0, at, n, buffer) : l->node->out[0]->grad + at;
        const sg_real *b = sg_get_in(l->run, l->node, l->of < 0 ? 1 : 1 - l->of, at, n, second);
        sg_real *to = l->of < 0 ? sg_put_begin(l->node, 0, at, buffer) : l->to + at;
        for (int64_t i = 0; i < n; i++) {
            const sg_real product = a[i] * b[i];
            to[i] = l->add ? to[i] + product : product;
        }
        if (l->of < 0) sg_put_end(l->run, l->node, 0, at, n, to);
    }
}

static void multiply_run(multiply_loop l)
{
    l.columns = sg_columns(l.node->out[0]);
    sg_parallel_ranges(l.run->compute.pool, sg_rows(l.node->out[0]), sg_chunk_rows(l.columns),
                       multiply_rows, &l);
}

static void multiply_forward(const sg_run *run, const sg_node *node)
{
    multiply_run((multiply_loop){.run = run, .node = node, .of = -1});
}

static void multiply_backward(const sg_run *run, const sg_node *node)
{
    for (int i = 0; i < 2; i++) {
        multiply_loop l = {.run = run, .node = node, .of = i};
        l.to = sg_grad_in(run, node, i, &l.add);
        if (l.to != NULL) multiply_run(l);
    }
}

static const sg_op op_multiply = {
    .name = "multiply",
    .forward = multiply_forward,
    .backward = multiply_backward,
    .backward_reads_in = 3,
    .reads_half = 3,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_multiply(sg_tape *tape, sg_tensor *a, sg_tensor *b)
{
    if (a == NULL || b == NULL) return NULL;
    if (a->count != b->count || sg_columns(a) != sg_columns(b))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "multiply: %s and %s differ in shape", a->name,
                            b->name);
    sg_node *node = sg_tape_node(tape, &op_multiply, 2, (sg_tensor *[]){a, b});
    if (node == NULL) return NULL;
    node->worker_scratch_bytes = 2 * sg_piece_bytes(node->kind, sg_columns(a));
    return sg_node_output(tape, node, "multiply", SG_KIND_REAL, a->rank, a->shape);
}
