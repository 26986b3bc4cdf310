// Everything selected, in its order: ids[r, i] = i for i < n. (rows, n), as many rows as x has,
// whose values are not read. There is no gradient.
#include "op/op.h"

static void all_rows(void *context, sg_range rows)
{
    const sg_node *node = context;
    const int64_t n = sg_columns(node->out[0]);
    for (int64_t r = rows.first; r < rows.end; r++)
        for (int64_t i = 0; i < n; i++)
            sg_ints(node->out[0])[r * n + i] = (int32_t)i;
}

static void all_forward(const sg_run *run, const sg_node *node)
{
    const sg_tensor *ids = node->out[0];
    sg_parallel_ranges(run->compute.pool, sg_rows(ids), sg_chunk_rows(sg_columns(ids)), all_rows,
                       (void *)(uintptr_t)node);
}

static const sg_op op_all = {.name = "select_all", .forward = all_forward};

sg_selection sg_select_all(sg_tape *tape, sg_tensor *x, int64_t n)
{
    sg_selection none = {0}, all = {.channels = 1, .k = n, .unit = 1};
    if (x == NULL) return none;
    if (n < 1 || n > INT32_MAX) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "select_all: %lld for %s", (long long)n, x->name);
        return none;
    }
    sg_node *node = sg_tape_node(tape, &op_all, 1, (sg_tensor *[]){x});
    if (node == NULL) return none;
    all.ids = sg_node_output(tape, node, "ids", SG_KIND_INT, 2, (int64_t[]){sg_rows(x), n});
    return all;
}
