// A selection of blocks as one of cells: for the block i = ids[r, b] and j < g
//
//     cells[r, b g + j] = i g + j      scores'[r, b g + j] = scores[r, b]      counts' = g counts
//
// ids, scores (rows, channels*k), counts (rows, channels) -> the same with k g in place of k. The
// gradient of a block's score is the sum of those of its cells.
#include <string.h>

#include "op/op.h"

typedef struct expand_loop {
    const sg_kernels *kernels;
    const sg_node *node;
    int64_t blocks, g; // selected blocks of all rows, cells of a block
    sg_real *grad;
    bool add;
} expand_loop;

enum { expand_chunk = 4096 };

static int64_t expand_size(const sg_node *node)
{
    return *(const int64_t *)node->attributes;
}

static void expand_forward_chunk(void *context, sg_range blocks)
{
    const expand_loop *l = context;
    const int32_t *ids = sg_ints(l->node->in[0]);
    int32_t *cells = sg_ints(l->node->out[0]);
    for (int64_t i = blocks.first; i < blocks.end; i++)
        for (int64_t j = 0; j < l->g; j++)
            cells[i * l->g + j] = (int32_t)(ids[i] * l->g + j);
    if (l->node->in[1] == NULL) return;
    const sg_real *scores = sg_values(l->node->in[1]);
    sg_real *out = sg_values(l->node->out[1]);
    for (int64_t i = blocks.first; i < blocks.end; i++)
        for (int64_t j = 0; j < l->g; j++)
            out[i * l->g + j] = scores[i];
}

static void expand_backward_chunk(void *context, sg_range blocks)
{
    const expand_loop *l = context;
    const sg_real *from = l->node->out[1]->grad;
    for (int64_t i = blocks.first; i < blocks.end; i++) {
        sg_real sum = 0;
        for (int64_t j = 0; j < l->g; j++)
            sum += from[i * l->g + j];
        l->grad[i] = (l->add ? l->grad[i] : 0) + sum;
    }
}

static expand_loop expand_make(const sg_run *run, const sg_node *node)
{
    return (expand_loop){.kernels = run->compute.kernels,
                         .node = node,
                         .blocks = node->in[0]->count,
                         .g = expand_size(node)};
}

static void expand_forward(const sg_run *run, const sg_node *node)
{
    expand_loop l = expand_make(run, node);
    const sg_tensor *counts = node->in[2];
    for (int64_t i = 0; counts != NULL && i < counts->count; i++)
        sg_ints(node->out[node->n_out - 1])[i] = (int32_t)(sg_ints(counts)[i] * l.g);
    sg_parallel_ranges(run->compute.pool, l.blocks, expand_chunk, expand_forward_chunk, &l);
}

static void expand_backward(const sg_run *run, const sg_node *node)
{
    expand_loop l = expand_make(run, node);
    l.grad = sg_grad_in(run, node, 1, &l.add);
    if (l.grad != NULL)
        sg_parallel_ranges(run->compute.pool, l.blocks, expand_chunk, expand_backward_chunk, &l);
}

static const sg_op op_expand = {
    .name = "expand_blocks",
    .forward = expand_forward,
    .backward = expand_backward,
};

sg_selection sg_expand_blocks(sg_tape *tape, const sg_selection *blocks)
{
    sg_selection none = {0};
    const int64_t g = blocks->unit;
    if (blocks->ids == NULL || g == 1) return *blocks;
    if (g < 1 || (double)blocks->ids->count * (double)g > INT32_MAX) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld cells do not fit %s", (long long)g,
                     blocks->ids->name);
        return none;
    }
    sg_node *node = sg_tape_node(tape, &op_expand, 3,
                                 (sg_tensor *[]){blocks->ids, blocks->scores, blocks->counts});
    int64_t *size = sg_tape_memory(tape, sizeof *size);
    if (node == NULL || size == NULL) return none;
    *size = g;
    node->attributes = size;
    int64_t shape[] = {sg_rows(blocks->ids), sg_columns(blocks->ids) * g};
    sg_selection cells = {.channels = blocks->channels, .k = blocks->k * g, .unit = 1};
    cells.ids = sg_node_output(tape, node, "cells", SG_KIND_INT, 2, shape);
    if (blocks->scores != NULL)
        cells.scores = sg_node_output(tape, node, "scores", SG_KIND_REAL, 2, shape);
    if (blocks->counts != NULL) // the last output
        cells.counts = sg_node_output(tape, node, "counts", SG_KIND_INT, 2, blocks->counts->shape);
    return cells;
}
