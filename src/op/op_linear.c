// The dense product, and the same per group g of columns:
//
//     y = x W^T + bias               dx = dy W          dW = dy^T x         dbias = sum of dy
//     y_g = scale x_g W_g^T          dx_g = scale dy_g W_g                  dW_g = scale dy_g^T x_g
//
// x (rows, k), W (n, k), bias (n) -> y (rows, n); x (rows, G k), W (G, n, k) -> y (rows, G n).
#include "base/alloc.h"
#include "kernel/gemm.h"
#include "op/op.h"

#include <string.h>

// ---- weights as they are stored ---------------------------------------------------------------

typedef struct weights_rows {
    const sg_kernels *kernels;
    sg_real *to; // (rows, k)
    const sg_bf16 *from;
    int64_t k, stride;
} weights_rows;

static void weights_widen_chunk(void *context, sg_range rows)
{
    const weights_rows *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        c->kernels->from_bf16(c->to + r * c->k, c->from + r * c->stride, c->k);
}

void sg_weights_product(const sg_run *run, sg_gemm_args args, const sg_tensor *w, int64_t row)
{
    sg_stored all = sg_weights_of(w), part = sg_stored_at(&all, row, args.k);
    args.transpose_b = true;
    if (w->narrow != NULL) {
        if (args.a == NULL) { // kernels of narrow weights take f32
            weights_rows c = {run->compute.kernels, args.room, args.a_half, args.k, args.lda};
            sg_parallel_ranges(run->compute.pool, args.m, sg_chunk_rows(args.k),
                               weights_widen_chunk, &c);
            args.a = c.to;
            args.lda = args.k;
        }
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

size_t sg_weights_room(sg_compute_kind kind, const sg_tensor *w, int64_t m, int64_t n, int64_t k)
{
    if (w->narrow == NULL) return sg_gemm_room(kind, m, n, k);
    return kind == SG_COMPUTE_BF16 ? (size_t)(m * k) * sizeof(sg_real) : 0;
}

// ---- sg_linear --------------------------------------------------------------------------------

// With bf16 rows are computed some at a time, about so many numbers: what is rounded is in a cache
// still, and rooms are small.
enum { linear_numbers = 1 << 20, linear_least = 256 };

static int64_t linear_piece(sg_compute_kind kind, int64_t rows, int64_t n, int64_t k)
{
    if (kind != SG_COMPUTE_BF16) return rows;
    const int64_t piece = linear_numbers / (n > k ? n : k);
    return sg_min(rows, piece > linear_least ? piece : linear_least);
}

// y of one piece where it has no place of its own.
static size_t linear_piece_bytes(const sg_node *node, int64_t rows, int64_t n, int64_t k)
{
    if (node->kind != SG_COMPUTE_BF16) return 0;
    return sg_whole_lines((size_t)(linear_piece(node->kind, rows, n, k) * n) * sizeof(sg_real));
}

typedef struct linear_rows {
    const sg_run *run;
    const sg_node *node;
    sg_real *y;
    const sg_real *bias;
    int64_t first, n;
} linear_rows;

static void linear_bias_chunk(void *context, sg_range rows)
{
    const linear_rows *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        memcpy(c->y + r * c->n, c->bias, (size_t)c->n * sizeof(sg_real));
}

static void linear_round_chunk(void *context, sg_range rows)
{
    const linear_rows *c = context;
    sg_put_end(c->run, c->node, 0, (c->first + rows.first) * c->n, (rows.end - rows.first) * c->n,
               c->y + rows.first * c->n);
}

static void linear_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0], *w = node->in[1], *bias = node->in[2], *y = node->out[0];
    const int64_t rows = sg_rows(x), k = sg_columns(x), n = sg_columns(y);
    const int64_t piece = linear_piece(node->kind, rows, n, k);
    const sg_bf16 *half = sg_half_in(node, 0);
    linear_rows c = {.run = run, .node = node, .bias = bias ? sg_values(bias) : NULL, .n = n};
    const bool rounds = y->half != NULL && y->data == NULL && bias == NULL && w->narrow == NULL;
    for (; c.first < rows; c.first += piece) {
        const int64_t m = sg_min(piece, rows - c.first);
        const bool rounded = rounds && sg_gemm_rounds(node->kind, m, n, k);
        c.y = sg_put_begin(node, 0, c.first * n, (sg_real *)run->scratch);
        if (bias != NULL)
            sg_parallel_ranges(run->compute.pool, m, sg_chunk_rows(n), linear_bias_chunk, &c);
        sg_weights_product(
            run,
            (sg_gemm_args){.m = m,
                           .n = n,
                           .k = k,
                           .alpha = 1,
                           .a = half ? NULL : sg_values(x) + c.first * k,
                           .a_half = half ? half + c.first * k : NULL,
                           .lda = k,
                           .beta = bias != NULL ? 1 : 0,
                           .c = c.y,
                           .ldc = n,
                           .c_half = rounded ? y->half + c.first * n : NULL,
                           .kind = node->kind,
                           .room = run->scratch + linear_piece_bytes(node, rows, n, k)},
            w, 0);
        if (y->half != NULL && !rounded)
            sg_parallel_ranges(run->compute.pool, m, sg_chunk_rows(n), linear_round_chunk, &c);
    }
}

static void linear_bias_backward(const sg_run *run, sg_real *dbias, const sg_real *dy, int64_t rows,
                                 int64_t n, bool add)
{
    if (!add) memset(dbias, 0, (size_t)n * sizeof *dbias);
    for (int64_t r = 0; r < rows; r++)
        run->compute.kernels->add(dbias, dbias, dy + r * n, n);
}

// Room of the products of m rows of x (rows, k) with W (n, k), in both passes, behind what a weight
// gradient's parts take.
static size_t linear_scratch(sg_compute_kind kind, const sg_tensor *w, int64_t m, int64_t n,
                             int64_t k)
{
    const size_t rooms[] = {sg_weights_room(kind, w, m, n, k), sg_gemm_room(kind, m, k, n),
                            sg_gemm_room(kind, n, k, m)};
    size_t most = 0;
    for (int i = 0; i < 3; i++)
        if (rooms[i] > most) most = rooms[i];
    return sg_whole_lines(sg_gemm_scratch_bytes(n, k, m)) + most;
}

static void linear_backward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    const int64_t rows = sg_rows(x), k = sg_columns(x), n = sg_columns(y);
    const int64_t piece = linear_piece(node->kind, rows, n, k);
    const sg_bf16 *half = sg_half_in(node, 0);
    bool add_x = false, add_w = false, add_bias = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add_x), *dw = sg_grad_in(run, node, 1, &add_w);
    unsigned char *room = run->scratch + sg_whole_lines(sg_gemm_scratch_bytes(n, k, piece));
    for (int64_t first = 0; first < rows; first += piece) {
        const int64_t m = sg_min(piece, rows - first);
        sg_gemm_args args = {.alpha = 1,
                             .a = y->grad + first * n,
                             .lda = n,
                             .n = k,
                             .ldb = k,
                             .ldc = k,
                             .kind = node->kind,
                             .room = room};
        if (dx != NULL) { // dx = dy W
            args.m = m;
            args.k = n;
            args.b = sg_values(w);
            args.beta = add_x ? 1 : 0;
            args.c = dx + first * k;
            sg_gemm(run->compute, &args);
        }
        if (dw != NULL) { // dW = dy^T x
            args.transpose_a = true;
            args.m = n;
            args.k = m;
            args.b = half ? NULL : sg_values(x) + first * k;
            args.b_half = half ? half + first * k : NULL;
            args.beta = add_w || first > 0 ? 1 : 0;
            args.c = dw;
            sg_gemm_deep(run->compute, &args, run->scratch);
        }
    }
    sg_real *dbias = sg_grad_in(run, node, 2, &add_bias);
    if (dbias != NULL) linear_bias_backward(run, dbias, y->grad, rows, n, add_bias);
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
    .writes_half = 1,
};

sg_tensor *sg_linear(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *bias)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->rank != 2 || sg_columns(x) != w->shape[1] || (bias && bias->count != w->shape[0]))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "linear: %s does not fit %s", w->name, x->name);
    sg_node *node = sg_tape_node(tape, &op_linear, 3, (sg_tensor *[]){x, w, bias});
    if (node == NULL) return NULL;
    const int64_t rows = sg_rows(x), n = w->shape[0], k = w->shape[1];
    const int64_t piece = linear_piece(node->kind, rows, n, k);
    node->scratch_bytes =
        linear_piece_bytes(node, rows, n, k) + linear_scratch(node->kind, w, piece, n, k);
    node->worker_scratch_bytes = sg_weights_scratch_bytes(w, piece, n, k);
    return sg_node_output(tape, node, "linear", SG_KIND_REAL, 2, (int64_t[]){rows, n});
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
    const int64_t rows = sg_rows(x), lda = a->groups * a->k, ldc = a->groups * a->n;
    const int64_t piece = linear_piece(node->kind, rows, a->n, a->k);
    const sg_bf16 *half = sg_half_in(node, 0);
    for (int64_t first = 0; first < rows; first += piece)
        for (int64_t g = 0; g < a->groups; g++) {
            const int64_t at = first * lda + g * a->k;
            sg_weights_product(run,
                               (sg_gemm_args){.m = sg_min(piece, rows - first),
                                              .n = a->n,
                                              .k = a->k,
                                              .alpha = (sg_real)a->scale,
                                              .a = half ? NULL : sg_values(x) + at,
                                              .a_half = half ? half + at : NULL,
                                              .lda = lda,
                                              .c = sg_values(y) + first * ldc + g * a->n,
                                              .ldc = ldc,
                                              .kind = node->kind,
                                              .room = run->scratch},
                               w, g * a->n);
        }
}

// The two gradients of group g, of m rows from `first` on.
static void groups_backward_part(const sg_run *run, const sg_node *node, int64_t g, int64_t first,
                                 int64_t m)
{
    const groups_attributes *a = node->attributes;
    const sg_tensor *x = node->in[0], *w = node->in[1], *y = node->out[0];
    const int64_t piece = linear_piece(node->kind, sg_rows(x), a->n, a->k);
    const int64_t wide = a->groups * a->k, at = first * wide + g * a->k;
    bool add_x = false, add_w = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add_x), *dw = sg_grad_in(run, node, 1, &add_w);
    sg_gemm_args args = {.n = a->k,
                         .alpha = (sg_real)a->scale,
                         .a = y->grad + first * a->groups * a->n + g * a->n,
                         .lda = a->groups * a->n,
                         .kind = node->kind,
                         .room = run->scratch +
                                 sg_whole_lines(sg_gemm_scratch_bytes(a->n, a->k, piece))};
    if (dx != NULL) {
        args.m = m;
        args.k = a->n;
        args.b = sg_values(w) + g * a->n * a->k;
        args.ldb = a->k;
        args.beta = add_x ? 1 : 0;
        args.c = dx + at;
        args.ldc = wide;
        sg_gemm(run->compute, &args);
    }
    if (dw != NULL) {
        const sg_bf16 *half = sg_half_in(node, 0);
        args.transpose_a = true;
        args.m = a->n;
        args.k = m;
        args.b = half ? NULL : sg_values(x) + at;
        args.b_half = half ? half + at : NULL;
        args.ldb = wide;
        args.beta = add_w || first > 0 ? 1 : 0;
        args.c = dw + g * a->n * a->k;
        args.ldc = a->k;
        sg_gemm_deep(run->compute, &args, run->scratch);
    }
}

static void groups_backward(const sg_run *run, const sg_node *node)
{
    const groups_attributes *a = node->attributes;
    const int64_t rows = sg_rows(node->in[0]);
    const int64_t piece = linear_piece(node->kind, rows, a->n, a->k);
    for (int64_t first = 0; first < rows; first += piece)
        for (int64_t g = 0; g < a->groups; g++)
            groups_backward_part(run, node, g, first, sg_min(piece, rows - first));
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
    const int64_t piece = linear_piece(node->kind, sg_rows(x), a->n, a->k);
    node->scratch_bytes = linear_scratch(node->kind, w, piece, a->n, a->k);
    node->worker_scratch_bytes = sg_weights_scratch_bytes(w, piece, a->n, a->k);
    return sg_node_output(tape, node, "linear_groups", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(x), a->groups * a->n});
}
