// The dense product, and the same per group g of columns:
//
//     y = x W^T + bias               dx = dy W          dW = dy^T x         dbias = sum of dy
//     y_g = scale x_g W_g^T          dx_g = scale dy_g W_g                  dW_g = scale dy_g^T x_g
//
// x (rows, k), W (n, k), bias (n) -> y (rows, n); x (rows, G k), W (G, n, k) -> y (rows, G n).
#include "kernel/gemm.h"
#include "op/op.h"

#include <string.h>

// ---- weights as they are stored ---------------------------------------------------------------

void sg_weights_product(const sg_run *run, sg_gemm_args args, const sg_tensor *w, int64_t row)
{
    sg_stored all = sg_weights_of(w), part = sg_stored_at(&all, row, args.k);
    args.transpose_b = true;
    if (w->narrow != NULL) {
        sg_stored_product(run->compute, &args, &part, run->worker_scratch, run->worker_stride);
        return;
    }
    args.b = part.rows;
    args.ldb = args.k;
    sg_gemm(run->compute, &args);
}

size_t sg_weights_scratch_bytes(const sg_tensor *w, int64_t m, int64_t n, int64_t k)
{
    return w->narrow != NULL ? sg_stored_scratch_bytes(m, n, k) : 0;
}

// ---- sg_linear --------------------------------------------------------------------------------

typedef struct linear_rows {
    const sg_run *run;
    sg_real *y;
    const sg_real *bias;
    int64_t n;
} linear_rows;

static void linear_bias_chunk(void *context, sg_range rows)
{
    const linear_rows *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        memcpy(c->y + r * c->n, c->bias, (size_t)c->n * sizeof(sg_real));
}

static void linear_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2], *y = node->out[0];
    int64_t rows = sg_rows(x), k = sg_columns(x), n = sg_columns(y);
    if (bias != NULL) {
        linear_rows c = {run, sg_values(y), sg_values(bias), n};
        sg_parallel_ranges(run->compute.pool, rows, sg_chunk_rows(n), linear_bias_chunk, &c);
    }
    sg_weights_product(run,
                       (sg_gemm_args){.m = rows,
                                      .n = n,
                                      .k = k,
                                      .alpha = 1,
                                      .a = sg_values(x),
                                      .a_half = sg_half_in(node, 0),
                                      .lda = k,
                                      .beta = bias != NULL ? 1 : 0,
                                      .c = sg_values(y),
                                      .ldc = n,
                                      .kind = node->kind,
                                      .room = run->scratch},
                       w, 0);
}

static void linear_bias_backward(const sg_run *run, sg_real *dbias, const sg_real *dy, int64_t rows,
                                 int64_t n, bool add)
{
    if (!add) memset(dbias, 0, (size_t)n * sizeof *dbias);
    for (int64_t r = 0; r < rows; r++)
        run->compute.kernels->add(dbias, dbias, dy + r * n, n);
}

static size_t linear_align(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

// Room of the products of x (rows, k) with W (n, k), in both passes.
static size_t linear_room(sg_compute_kind kind, int64_t rows, int64_t n, int64_t k)
{
    const size_t rooms[] = {sg_gemm_room(kind, rows, n, k), sg_gemm_room(kind, rows, k, n),
                            sg_gemm_room(kind, n, k, rows)};
    size_t most = 0;
    for (int i = 0; i < 3; i++)
        if (rooms[i] > most) most = rooms[i];
    return most;
}

static size_t linear_scratch(sg_compute_kind kind, int64_t rows, int64_t n, int64_t k)
{
    return linear_align(sg_gemm_scratch_bytes(n, k, rows)) + linear_room(kind, rows, n, k);
}

static void linear_backward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    int64_t rows = sg_rows(x), k = sg_columns(x), n = sg_columns(y);
    bool add;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    if (dx != NULL) // dx = dy W
        sg_gemm(run->compute, &(sg_gemm_args){.m = rows,
                                              .n = k,
                                              .k = n,
                                              .alpha = 1,
                                              .a = y->grad,
                                              .lda = n,
                                              .b = sg_values(w),
                                              .ldb = k,
                                              .beta = add ? 1 : 0,
                                              .c = dx,
                                              .ldc = k,
                                              .kind = node->kind,
                                              .room = run->scratch});
    unsigned char *room = run->scratch + linear_align(sg_gemm_scratch_bytes(n, k, rows));
    sg_real *dw = sg_grad_in(run, node, 1, &add);
    if (dw != NULL) // dW = dy^T x
        sg_gemm_deep(run->compute,
                     &(sg_gemm_args){.transpose_a = true,
                                     .m = n,
                                     .n = k,
                                     .k = rows,
                                     .alpha = 1,
                                     .a = y->grad,
                                     .lda = n,
                                     .b = sg_values(x),
                                     .b_half = sg_half_in(node, 0),
                                     .ldb = k,
                                     .beta = add ? 1 : 0,
                                     .c = dw,
                                     .ldc = k,
                                     .kind = node->kind,
                                     .room = room},
                     run->scratch);
    sg_real *dbias = sg_grad_in(run, node, 2, &add);
    if (dbias != NULL) linear_bias_backward(run, dbias, y->grad, rows, n, add);
}

static double linear_flops(const sg_node *node)
{
    return 2.0 * (double)node->in[0]->count * (double)sg_columns(node->out[0]);
}

static const sg_op op_linear = {
    .name = "linear",
    .forward = linear_forward,
    .backward = linear_backward,
    .flops = linear_flops,
    .backward_reads_in = 3,
    .forward_reads_narrow = 2,
    .reads_half = 1,
};

sg_tensor *sg_linear(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *bias)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->rank != 2 || sg_columns(x) != w->shape[1] || (bias && bias->count != w->shape[0]))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "linear: %s does not fit %s", w->name, x->name);
    sg_node *node = sg_tape_node(tape, &op_linear, 3, (sg_tensor *[]){x, w, bias});
    if (node == NULL) return NULL;
    node->scratch_bytes = linear_scratch(node->kind, sg_rows(x), w->shape[0], w->shape[1]);
    node->worker_scratch_bytes = sg_weights_scratch_bytes(w, sg_rows(x), w->shape[0], w->shape[1]);
    return sg_node_output(tape, node, "linear", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(x), w->shape[0]});
}

// ---- sg_linear_groups -------------------------------------------------------------------------

typedef struct groups_attributes {
    double scale;
    int64_t groups, n, k;
} groups_attributes;

static void groups_forward(const sg_run *run, const sg_node *node)
{
    const groups_attributes *a = node->attributes;
    const sg_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    const sg_bf16 *half = sg_half_in(node, 0);
    for (int64_t g = 0; g < a->groups; g++)
        sg_weights_product(run,
                           (sg_gemm_args){.m = sg_rows(x),
                                          .n = a->n,
                                          .k = a->k,
                                          .alpha = (sg_real)a->scale,
                                          .a = half ? NULL : sg_values(x) + g * a->k,
                                          .a_half = half ? half + g * a->k : NULL,
                                          .lda = a->groups * a->k,
                                          .c = sg_values(y) + g * a->n,
                                          .ldc = a->groups * a->n,
                                          .kind = node->kind,
                                          .room = run->scratch},
                           w, g * a->n);
}

static void groups_backward(const sg_run *run, const sg_node *node)
{
    const groups_attributes *a = node->attributes;
    const sg_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    bool add_x = false, add_w = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add_x);
    sg_real *dw = sg_grad_in(run, node, 1, &add_w);
    const sg_bf16 *half = sg_half_in(node, 0);
    unsigned char *room =
        run->scratch + linear_align(sg_gemm_scratch_bytes(a->n, a->k, sg_rows(x)));
    for (int64_t g = 0; g < a->groups; g++) {
        sg_gemm_args args = {.alpha = (sg_real)a->scale,
                             .a = y->grad + g * a->n,
                             .lda = a->groups * a->n,
                             .kind = node->kind,
                             .room = room};
        if (dx != NULL) {
            sg_gemm_args x_args = args;
            x_args.m = sg_rows(x);
            x_args.n = a->k;
            x_args.k = a->n;
            x_args.b = sg_values(w) + g * a->n * a->k;
            x_args.ldb = a->k;
            x_args.beta = add_x ? 1 : 0;
            x_args.c = dx + g * a->k;
            x_args.ldc = a->groups * a->k;
            sg_gemm(run->compute, &x_args);
        }
        if (dw != NULL) {
            sg_gemm_args w_args = args;
            w_args.transpose_a = true;
            w_args.m = a->n;
            w_args.n = a->k;
            w_args.k = sg_rows(x);
            w_args.b = half ? NULL : sg_values(x) + g * a->k;
            w_args.b_half = half ? half + g * a->k : NULL;
            w_args.ldb = a->groups * a->k;
            w_args.beta = add_w ? 1 : 0;
            w_args.c = dw + g * a->n * a->k;
            w_args.ldc = a->k;
            sg_gemm_deep(run->compute, &w_args, run->scratch);
        }
    }
}

static double groups_flops(const sg_node *node)
{
    const groups_attributes *a = node->attributes;
    return 2.0 * (double)node->in[0]->count * (double)a->n;
}

static const sg_op op_linear_groups = {
    .name = "linear_groups",
    .forward = groups_forward,
    .backward = groups_backward,
    .flops = groups_flops,
    .backward_reads_in = 3,
    .forward_reads_narrow = 2,
    .reads_half = 1,
};

sg_tensor *sg_linear_groups(sg_tape *tape, sg_tensor *x, sg_tensor *w, double scale)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->rank != 3 || sg_columns(x) != w->shape[0] * w->shape[2])
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "linear_groups: %s does not fit %s", w->name,
                            x->name);
    sg_node *node = sg_tape_node(tape, &op_linear_groups, 2, (sg_tensor *[]){x, w});
    groups_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (groups_attributes){scale, w->shape[0], w->shape[1], w->shape[2]};
    node->attributes = a;
    node->scratch_bytes = linear_scratch(node->kind, sg_rows(x), a->n, a->k);
    node->worker_scratch_bytes = sg_weights_scratch_bytes(w, sg_rows(x), a->n, a->k);
    return sg_node_output(tape, node, "linear_groups", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(x), a->groups * a->n});
}
