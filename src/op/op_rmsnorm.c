// Root mean square norm with a learned scale (Zhang & Sennrich 2019). Of each row x (d), w (d):
//
//     y = r x w        r = 1 / sqrt(mean(x^2) + eps)
//     dx = r (u - x r^2 mean(u x)), u = w dy        dw = sum over rows of r x dy
//
// x (rows, d) -> y (rows, d); r (rows) is kept for the backward pass.
#include "op/op.h"

#include <string.h>

typedef struct rmsnorm_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t rows, d;
    sg_real *dx, *dw_parts; // dw_parts (chunks, d): summed in chunk order afterwards
    bool add;
} rmsnorm_loop;

static rmsnorm_loop rmsnorm_make(const sg_run *run, const sg_node *node)
{
    int64_t d = sg_columns(node->in[0]);
    return (rmsnorm_loop){.run = run, .node = node, .rows = sg_rows(node->in[0]), .d = d};
}

static void rmsnorm_forward_chunk(void *context, sg_range rows)
{
    const rmsnorm_loop *c = context;
    const int64_t at = rows.first * c->d;
    c->run->compute.kernels->rmsnorm_forward(
        sg_target_out(c->node, 0, at), sg_values(c->node->saved[0]) + rows.first,
        sg_source_in(c->run, c->node, 0, at), sg_values(c->node->in[1]), rows.end - rows.first,
        c->d, *(const double *)c->node->attributes);
}

static void rmsnorm_forward(const sg_run *run, const sg_node *node)
{
    rmsnorm_loop c = rmsnorm_make(run, node);
    sg_parallel_ranges(run->compute.pool, c.rows, sg_chunk_rows(c.d), rmsnorm_forward_chunk, &c);
}

static void rmsnorm_backward_chunk(void *context, sg_range rows)
{
    const rmsnorm_loop *c = context;
    sg_real *dw = c->dw_parts + rows.chunk * c->d;
    const int64_t at = rows.first * c->d;
    memset(dw, 0, (size_t)c->d * sizeof *dw);
    c->run->compute.kernels->rmsnorm_backward(
        c->dx + at, dw, c->node->out[0]->grad + at, sg_source_in(c->run, c->node, 0, at),
        sg_values(c->node->in[1]), sg_values(c->node->saved[0]) + rows.first, rows.end - rows.first,
        c->d, c->add);
}

static void rmsnorm_backward(const sg_run *run, const sg_node *node)
{
    rmsnorm_loop c = rmsnorm_make(run, node);
    const int64_t chunk = sg_chunk_rows(c.d), chunks = sg_chunks(c.rows, chunk);
    c.dw_parts = (sg_real *)run->scratch;
    c.dx = sg_grad_in(run, node, 0, &c.add);
    if (c.dx == NULL) { // only the scale is trained: dx goes where nobody reads it
        c.dx = c.dw_parts + chunks * c.d;
        c.add = false;
    }
    sg_parallel_ranges(run->compute.pool, c.rows, chunk, rmsnorm_backward_chunk, &c);
    sg_grad_parts(run, node, 1, c.dw_parts, chunks);
}

static const sg_op op_rmsnorm = {
    .name = "rmsnorm",
    .forward = rmsnorm_forward,
    .backward = rmsnorm_backward,
    .backward_reads_in = 3,
    .reads_half = 1,
    .reads_exact = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_rmsnorm(sg_tape *tape, sg_tensor *x, sg_tensor *w, double eps)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->count != sg_columns(x))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "rmsnorm: %s does not fit %s", w->name, x->name);
    sg_node *node = sg_tape_node(tape, &op_rmsnorm, 2, (sg_tensor *[]){x, w});
    double *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = eps;
    node->attributes = attribute;
    sg_node_save(tape, node, SG_KIND_REAL, 1, (int64_t[]){sg_rows(x)});
    int64_t d = sg_columns(x), parts = sg_chunks(sg_rows(x), sg_chunk_rows(d)) * d;
    // A leaf's gradient may be wanted and yet get no place.
    bool unread = !x->wants_grad || x->leaf;
    node->scratch_bytes = (size_t)(parts + (unread ? x->count : 0)) * sizeof(sg_real);
    return sg_node_output(tape, node, "rmsnorm", SG_KIND_REAL, x->rank, x->shape);
}
