// Rows of a table by id, and the scatter of their gradient. The backward pass cuts the columns, not
// the rows, so that no two threads add to the same place and the order of additions is the order of
// tokens.
#include "op/op.h"

#include <string.h>

enum { embedding_columns = 64 };

typedef struct embedding_loop {
    const sg_kernels *kernels;
    const int32_t *ids;
    sg_stored table;   // forward
    const sg_real *in; // backward
    sg_real *out;
    int64_t rows, vocab, d, chunk;
    bool add;
} embedding_loop;

static void embedding_forward_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const embedding_loop *c = context;
    int64_t end = sg_min(c->rows, (chunk + 1) * c->chunk);
    for (int64_t r = chunk * c->chunk; r < end; r++)
        sg_stored_read(c->kernels, c->out + r * c->d, &c->table, c->ids[r], 1, c->d);
}

static void embedding_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *table = node->in[0], *ids = node->in[1], *y = node->out[0];
    int64_t d = sg_columns(y);
    embedding_loop c = {.kernels = run->kernels,
                        .ids = sg_ints(ids),
                        .table = sg_weights_of(table),
                        .out = sg_values(y),
                        .rows = ids->count,
                        .d = d,
                        .chunk = sg_chunk_rows(d)};
    sg_parallel_for(run->pool, sg_chunks(c.rows, c.chunk), embedding_forward_chunk, &c);
}

static void embedding_backward_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const embedding_loop *c = context;
    int64_t first = chunk * embedding_columns, n = sg_min(embedding_columns, c->d - first);
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

static void embedding_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dtable = sg_grad_in(run, node, 0, &add);
    if (dtable == NULL) return;
    embedding_loop c = {.ids = sg_ints(node->in[1]),
                        .in = node->out[0]->grad,
                        .out = dtable,
                        .rows = node->in[1]->count,
                        .vocab = sg_rows(node->in[0]),
                        .d = sg_columns(node->in[0]),
                        .add = add};
    sg_parallel_for(run->pool, sg_chunks(c.d, embedding_columns), embedding_backward_chunk, &c);
}

static const sg_op op_embedding = {
    .name = "embedding",
    .forward = embedding_forward,
    .backward = embedding_backward,
    .backward_reads_in = 2,
    .forward_reads_narrow = 1,
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
