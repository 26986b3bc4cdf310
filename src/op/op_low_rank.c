// The second half of a low-rank adapter: what u = x A^T adds to y = x W^T (Hu et al. 2021, eq. 3).
// Of a span of columns of y and as many rows of B
//
//     z = y + scale u B^T      dy = dz      du = scale dz B      dB = scale dz^T u
//
// y, z (rows, n), u (rows, r), B (m, r). A matrix of the checkpoint, which the adapter belongs to,
// may be several of ours, or ours several of them, so the columns come as spans.
#include <string.h>

#include "base/alloc.h"
#include "kernel/gemm.h"
#include "op/op.h"

typedef struct low_rank_attributes {
    double scale;
    const sg_low_rank_span *spans;
    size_t count;
} low_rank_attributes;

typedef struct low_rank_rows {
    const sg_run *run;
    sg_real *to;
    const sg_real *from;
    int64_t n;
    bool add;
} low_rank_rows;

static void low_rank_chunk(void *context, sg_range rows)
{
    const low_rank_rows *c = context;
    const int64_t at = rows.first * c->n;
    sg_grad_put(c->run->compute.kernels, c->to + at, c->from + at, (rows.end - rows.first) * c->n,
                c->add);
}

// to (rows, n) = or += from.
static void low_rank_copy(const sg_run *run, sg_real *to, const sg_real *from, int64_t rows,
                          int64_t n, bool add)
{
    low_rank_rows c = {run, to, from, n, add};
    sg_parallel_ranges(run->compute.pool, rows, sg_chunk_rows(n), low_rank_chunk, &c);
}

static void low_rank_forward(const sg_run *run, const sg_node *node)
{
    const low_rank_attributes *a = node->attributes;
    const sg_tensor *u = node->in[1], *b = node->in[2], *z = node->out[0];
    const int64_t rows = sg_rows(z), n = sg_columns(z), r = sg_columns(u);
    low_rank_copy(run, sg_values(z), sg_values(node->in[0]), rows, n, false);
    for (size_t i = 0; i < a->count; i++) {
        const sg_low_rank_span *s = &a->spans[i];
        sg_gemm(run->compute, &(sg_gemm_args){.transpose_b = true,
                                              .m = rows,
                                              .n = s->count,
                                              .k = r,
                                              .alpha = (sg_real)a->scale,
                                              .a = sg_values(u),
                                              .lda = r,
                                              .b = sg_values(b) + s->row * r,
                                              .ldb = r,
                                              .beta = 1,
                                              .c = sg_values(z) + s->first,
                                              .ldc = n,
                                              .kind = node->kind,
                                              .a_half = sg_half_in(node, 1),
                                              .room = run->scratch});
    }
}

// du = scale dz B, dB = scale dz^T u, span by span.
static void low_rank_backward(const sg_run *run, const sg_node *node)
{
    const low_rank_attributes *a = node->attributes;
    const sg_tensor *u = node->in[1], *b = node->in[2], *z = node->out[0];
    const int64_t rows = sg_rows(z), n = sg_columns(z), r = sg_columns(u);
    bool add_y = false, add_u = false, add_b = false;
    sg_real *dy = sg_grad_in(run, node, 0, &add_y);
    sg_real *du = sg_grad_in(run, node, 1, &add_u);
    sg_real *db = sg_grad_in(run, node, 2, &add_b);
    if (dy != NULL) low_rank_copy(run, dy, z->grad, rows, n, add_y);
    // Rows of B that no span has here get theirs elsewhere, or none.
    if (db != NULL && !add_b) memset(db, 0, (size_t)b->count * sizeof *db);
    for (size_t i = 0; i < a->count; i++) {
        const sg_low_rank_span *s = &a->spans[i];
        unsigned char *room =
            run->scratch + sg_whole_lines(sg_gemm_scratch_bytes(s->count, r, rows));
        sg_gemm_args args = {.alpha = (sg_real)a->scale,
                             .a = z->grad + s->first,
                             .lda = n,
                             .n = r,
                             .kind = node->kind,
                             .room = room};
        args.ldb = args.ldc = r;
        if (du != NULL) {
            args.m = rows;
            args.k = s->count;
            args.b = sg_values(b) + s->row * r;
            args.beta = add_u || i > 0 ? 1 : 0;
            args.c = du;
            sg_gemm(run->compute, &args);
        }
        if (db != NULL) {
            args.transpose_a = true;
            args.m = s->count;
            args.k = rows;
            args.b = sg_values(u);
            args.b_half = sg_half_in(node, 1);
            args.beta = 1;
            args.c = db + s->row * r;
            sg_gemm_deep(run->compute, &args, run->scratch);
        }
    }
}

static double low_rank_flops(const sg_node *node)
{
    const low_rank_attributes *a = node->attributes;
    double columns = 0;
    for (size_t i = 0; i < a->count; i++)
        columns += (double)a->spans[i].count;
    return 2.0 * (double)node->in[1]->count * columns;
}

static const sg_op op_low_rank = {
    .name = "low_rank",
    .forward = low_rank_forward,
    .backward = low_rank_backward,
    .flops = low_rank_flops,
    .backward_reads_in = 6,
    .reads_half = 2,
};

sg_tensor *sg_add_low_rank(sg_tape *tape, sg_tensor *y, sg_tensor *u, sg_tensor *b, double scale,
                           const sg_low_rank_span *spans, size_t count)
{
    if (y == NULL || u == NULL || b == NULL) return NULL;
    bool fits = b->rank == 2 && sg_columns(u) == b->shape[1] && sg_rows(u) == sg_rows(y);
    for (size_t i = 0; i < count; i++)
        fits = fits && spans[i].first >= 0 && spans[i].count > 0 && spans[i].row >= 0 &&
               spans[i].first + spans[i].count <= sg_columns(y) &&
               spans[i].row + spans[i].count <= b->shape[0];
    if (!fits)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "low_rank: %s does not fit %s", b->name,
                            y->name);
    sg_node *node = sg_tape_node(tape, &op_low_rank, 3, (sg_tensor *[]){y, u, b});
    low_rank_attributes *a = sg_tape_memory(tape, sizeof *a);
    sg_low_rank_span *copy = sg_tape_memory(tape, count * sizeof *copy);
    if (node == NULL || a == NULL || copy == NULL) return NULL;
    memcpy(copy, spans, count * sizeof *copy);
    *a = (low_rank_attributes){scale, copy, count};
    node->attributes = a;
    for (size_t i = 0; i < count; i++) {
        const int64_t rows = sg_rows(y), n = spans[i].count, r = sg_columns(u);
        const size_t scratch = sg_whole_lines(sg_gemm_scratch_bytes(n, r, rows));
        const size_t rooms[] = {sg_gemm_room(node->kind, rows, n, r),
                                sg_gemm_room(node->kind, rows, r, n) + scratch,
                                sg_gemm_room(node->kind, n, r, rows) + scratch};
        for (int j = 0; j < 3; j++)
            if (rooms[j] > node->scratch_bytes) node->scratch_bytes = rooms[j];
    }
    return sg_node_output(tape, node, "low_rank", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(y), sg_columns(y)});
}
