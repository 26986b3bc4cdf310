// The dense product with inputs most of which are 0, for few rows:
//
//     y = sum over i with x_i != 0 of x_i column_i of W + bias
//
// x (rows, k), W (n, k), bias (n) -> y (rows, n). W is read through a copy by columns
// (sg_tensor.columns), in slices, each the work of one thread: y_j is the sum over i in order,
// whatever the threads. There is no gradient. (Inputs: ffn/trimmed.c.)
//
// Columns that are left out make gaps that the processor does not foresee: while eight columns are
// summed, the eight behind the next are fetched into the second cache.
#include <string.h>

#include "base/alloc.h"
#include "op/op.h"

enum { sparse_group = 8, sparse_line = 64 }; // columns, bytes

typedef struct sparse_loop {
    const sg_run *run;
    const sg_node *node;
    const sg_stored_columns *w;
    int64_t slices, k;
    sg_real *z;      // (rows, k) those that are not 0
    int32_t *ids;    // (rows, k) and which they are
    int64_t *counts; // (rows)
} sparse_loop;

static void sparse_gather(const sparse_loop *l, const sg_real *x, int64_t row)
{
    sg_real *z = l->z + row * l->k;
    int32_t *ids = l->ids + row * l->k;
    int64_t count = 0;
    for (int64_t i = 0; i < l->k; i++) {
        z[count] = x[i];
        ids[count] = (int32_t)i;
        count += x[i] != 0;
    }
    l->counts[row] = count;
}

// Scales of int8 are of rows of W: they come last.
static void sparse_end(const sparse_loop *l, sg_real *y, int64_t first, int64_t n)
{
    const sg_tensor *bias = l->node->in[2];
    for (int64_t j = 0; l->w->scales != NULL && j < n; j++)
        y[j] *= (sg_real)l->w->scales[first + j];
    if (bias != NULL) l->run->compute.kernels->add(y, y, sg_values(bias) + first, n);
}

static void sparse_ask(const sg_stored *table, const int32_t *ids, int64_t count, size_t bytes)
{
    const char *rows = table->rows;
    for (int64_t j = 0; j < count; j++)
        for (size_t at = 0; at < bytes; at += sparse_line)
            __builtin_prefetch(rows + (size_t)ids[j] * bytes + at, 0, 2);
}

// In groups as the kernels make them: the same bits.
static void sparse_sum(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                       const sg_stored *table, const int32_t *ids, int64_t count, int64_t n)
{
    const size_t bytes = sg_stored_row_bytes(table->type, n);
    for (int64_t j = 0; j < count; j += sparse_group) {
        const int64_t left = count - j, now = sg_min(left, sparse_group);
        if (left > 2 * sparse_group)
            sparse_ask(table, ids + j + 2 * sparse_group,
                       sg_min(left - 2 * sparse_group, sparse_group), bytes);
        sg_gather_sum(kernels, y, z + j, table, ids + j, now, n);
    }
}

static void sparse_slice(void *context, int64_t unit, int worker)
{
    const sparse_loop *l = context;
    const sg_stored_columns *w = l->w;
    const int64_t row = unit / l->slices, first = unit % l->slices * w->width;
    const int64_t n = sg_min(w->width, w->n - first);
    const size_t bytes = sg_stored_row_bytes(w->type, first * l->k);
    const sg_stored table = {.type = w->type,
                             .rows = (unsigned char *)w->slices + bytes,
                             .scales = (void *)(uintptr_t)w->ones};
    sg_real *y = sg_values(l->node->out[0]) + row * w->n + first;
    (void)worker;
    memset(y, 0, (size_t)n * sizeof *y);
    sparse_sum(l->run->compute.kernels, y, l->z + row * l->k, &table, l->ids + row * l->k,
               l->counts[row], n);
    sparse_end(l, y, first, n);
}

static size_t sparse_numbers_bytes(int64_t rows, int64_t k)
{
    return sg_whole_lines((size_t)(rows * k) * sizeof(sg_real));
}

static size_t sparse_ids_bytes(int64_t rows, int64_t k)
{
    return sg_whole_lines((size_t)(rows * k) * sizeof(int32_t));
}

static void sparse_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *x = node->in[0];
    const int64_t rows = sg_rows(x), k = sg_columns(x);
    unsigned char *at = run->scratch;
    sparse_loop l = {.run = run, .node = node, .w = node->in[1]->columns, .k = k};
    l.slices = sg_chunks(l.w->n, l.w->width);
    l.z = (sg_real *)(void *)at;
    l.ids = (int32_t *)(void *)(at += sparse_numbers_bytes(rows, k));
    l.counts = (int64_t *)(void *)(at + sparse_ids_bytes(rows, k));
    for (int64_t r = 0; r < rows; r++)
        sparse_gather(&l, sg_values(x) + r * k, r);
    sg_parallel_for(run->compute.pool, rows * l.slices, sparse_slice, &l);
}

// As if all were read: which are is known when it runs.
static double sparse_flops(const sg_node *node)
{
    return 2.0 * (double)node->in[0]->count * (double)sg_columns(node->out[0]);
}

static const sg_op op_linear_sparse = {
    .name = "linear_sparse",
    .forward = sparse_forward,
    .flops = sparse_flops,
    .forward_reads_narrow = 2,
};

sg_tensor *sg_linear_sparse(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *bias)
{
    if (x == NULL || w == NULL) return NULL;
    const int64_t rows = sg_rows(x), k = sg_columns(x);
    const sg_stored_columns *columns = w->columns;
    if (columns == NULL || rows > SG_SPARSE_ROWS || sg_tape_kind(tape) != SG_COMPUTE_F32)
        return sg_linear(tape, x, w, bias);
    if (columns->k != k || (bias != NULL && bias->count != columns->n))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "linear: %s does not fit %s", w->name, x->name);
    sg_node *node = sg_tape_node(tape, &op_linear_sparse, 3, (sg_tensor *[]){x, w, bias});
    if (node == NULL) return NULL;
    node->scratch_bytes =
        sparse_numbers_bytes(rows, k) + sparse_ids_bytes(rows, k) + (size_t)rows * sizeof(int64_t);
    return sg_node_output(tape, node, "linear", SG_KIND_REAL, 2, (int64_t[]){rows, columns->n});
}
