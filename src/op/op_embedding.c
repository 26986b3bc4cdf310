// Rows of a table by id or by position, and the scatter of their gradient:
//
//     y_r = table[ids_r]      dtable[i] = sum of dy_r over the rows r with ids_r = i
//
// ids (rows), table (V, d) -> y (rows, d). The backward pass cuts the columns, not the rows, so
// that no two threads add to the same place and the order of additions is the order of tokens.
#include "op/op.h"

#include <string.h>

enum { embedding_columns = 64 };

typedef struct embedding_loop {
    const sg_kernels *kernels;
    const int32_t *ids;
    sg_stored table;   // forward
    const sg_real *in; // backward
    sg_real *out;
    int64_t rows, vocab, d;
    bool add;
} embedding_loop;

static void embedding_forward_chunk(void *context, sg_range rows)
{
    const embedding_loop *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        sg_stored_read(c->kernels, c->out + r * c->d, &c->table, c->ids[r], 1, c->d);
}

// Row r of the result is the row ids[r] of the table.
static void embedding_read(const sg_run *run, const sg_node *node, const int32_t *ids)
{
    const sg_tensor *table = node->in[0], *y = node->out[0];
    int64_t d = sg_columns(y);
    embedding_loop c = {.kernels = run->compute.kernels,
                        .ids = ids,
                        .table = sg_weights_of(table),
                        .out = sg_values(y),
                        .rows = sg_rows(y),
                        .d = d};
    sg_parallel_ranges(run->compute.pool, c.rows, sg_chunk_rows(d), embedding_forward_chunk, &c);
}

static void embedding_backward_chunk(void *context, sg_range columns)
{
    const embedding_loop *c = context;
    const int64_t first = columns.first, n = columns.end - first;
    if (!c->add)
        for (int64_t v = 0; v < c->vocab; v++)
            memset(c->out + v * c->d + first, 0, (size_t)n * sizeof(sg_real));
    for (int64_t r = 0; r < c->rows; r++) {
        sg_real *to = c->out + c->ids[r] * c->d + first;
        const sg_real *from = c->in + r * c->d + first;
        for (int64_t i = 0; i < n; i++)
            to[i] += from[i];
    }
}

static void embedding_scatter(const sg_run *run, const sg_node *node, const int32_t *ids)
{
    bool add = false;
    sg_real *dtable = sg_grad_in(run, node, 0, &add);
    if (dtable == NULL) return;
    embedding_loop c = {.ids = ids,
                        .in = node->out[0]->grad,
                        .out = dtable,
                        .rows = sg_rows(node->out[0]),
                        .vocab = sg_rows(node->in[0]),
                        .d = sg_columns(node->in[0]),
                        .add = add};
    sg_parallel_ranges(run->compute.pool, c.d, embedding_columns, embedding_backward_chunk, &c);
}

// ---- by id --------------------------------------------------------------------------------------

static void embedding_forward(const sg_run *run, const sg_node *node)
{
    embedding_read(run, node, sg_ints(node->in[1]));
}

static void embedding_backward(const sg_run *run, const sg_node *node)
{
    embedding_scatter(run, node, sg_ints(node->in[1]));
}

static const sg_op op_embedding = {
    .name = "embedding",
    .forward = embedding_forward,
    .backward = embedding_backward,
    .backward_reads_in = 2,
    .forward_reads_narrow = 1,
    .exact = true,
};

sg_tensor *sg_embedding(sg_tape *tape, sg_tensor *table, sg_tensor *ids)
{
    if (table == NULL || ids == NULL) return NULL;
    if (table->rank != 2 || ids->kind != SG_KIND_INT)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "embedding: %s is not a table", table->name);
    sg_node *node = sg_tape_node(tape, &op_embedding, 2, (sg_tensor *[]){table, ids});
    return sg_node_output(tape, node, "embedding", SG_KIND_REAL, 2,
                          (int64_t[]){ids->count, table->shape[1]});
}

// ---- by position --------------------------------------------------------------------------------

typedef struct positions_attributes {
    int64_t length, offset;
    const int64_t *start;
} positions_attributes;

// saved (rows): the ids.
static void positions_forward(const sg_run *run, const sg_node *node)
{
    const positions_attributes *a = node->attributes;
    int32_t *ids = sg_ints(node->saved[0]);
    for (int64_t r = 0; r < sg_rows(node->out[0]); r++)
        ids[r] = (int32_t)(a->offset + (a->start ? a->start[r / a->length] : 0) + r % a->length);
    embedding_read(run, node, ids);
}

static void positions_backward(const sg_run *run, const sg_node *node)
{
    embedding_scatter(run, node, sg_ints(node->saved[0]));
}

static const sg_op op_positions = {
    .name = "positions",
    .forward = positions_forward,
    .backward = positions_backward,
    .forward_reads_narrow = 1,
    .exact = true,
};

sg_tensor *sg_position_rows(sg_tape *tape, sg_tensor *table, int64_t rows, int64_t length,
                            const int64_t *start, int64_t offset)
{
    if (table == NULL) return NULL;
    if (table->rank != 2 || rows < 1 || length < 1 || rows % length != 0 || offset < 0 ||
        offset > table->shape[0] - length || table->shape[0] > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "positions: %s does not hold those of %lld rows",
                            table->name, (long long)length);
    sg_node *node = sg_tape_node(tape, &op_positions, 1, (sg_tensor *[]){table});
    positions_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (positions_attributes){length, offset, start};
    node->attributes = a;
    sg_node_save(tape, node, SG_KIND_INT, 1, &rows);
    return sg_node_output(tape, node, "positions", SG_KIND_REAL, 2,
                          (int64_t[]){rows, table->shape[1]});
}
