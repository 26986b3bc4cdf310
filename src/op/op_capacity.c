// A limit of rows that a block takes (Fedus et al. 2021, "Switch Transformers"). Of row r the i-th
// of its k blocks, e = ids[r, i], is kept where fewer than `capacity` rows before it chose e:
//
//     kept(r, i) = #{q < r: row q counts, e among ids[q]} < capacity      or row r does not count
//
// ids, scores (rows, k), counts (rows) or NULL -> ids and scores of the kept ones in their order,
// and how many they are. Behind the count ids are -1 and scores 0. The gradient of a score goes
// back to where the score came from; those that are not kept have none.
#include <string.h>

#include "op/op.h"

// Inputs: ids, scores, counts, which rows count.
typedef struct capacity_attributes {
    int64_t k, blocks, capacity;
} capacity_attributes;

// How many of its k blocks a row had selected.
static int64_t capacity_selected(const sg_node *node, int64_t row, int64_t k)
{
    return node->in[2] != NULL ? sg_ints(node->in[2])[row] : k;
}

// saved[0]: where in its row each kept score comes from (rows, k).
static void capacity_forward(const sg_run *run, const sg_node *node)
{
    const capacity_attributes *a = node->attributes;
    int32_t *taken = (int32_t *)run->scratch;
    memset(taken, 0, (size_t)a->blocks * sizeof *taken);
    for (int64_t r = 0; r < node->in[0]->count / a->k; r++) {
        const int32_t *ids = sg_ints(node->in[0]) + r * a->k;
        int32_t *to = sg_ints(node->out[0]) + r * a->k, *from = sg_ints(node->saved[0]) + r * a->k;
        sg_real *scores = sg_values(node->out[1]) + r * a->k;
        bool counts = node->in[3] == NULL || sg_ints(node->in[3])[r] >= 0;
        int64_t kept = 0, selected = capacity_selected(node, r, a->k);
        for (int64_t i = 0; i < selected; i++) {
            if (!counts || taken[ids[i]] < a->capacity) from[kept++] = (int32_t)i;
            taken[ids[i]] += counts;
        }
        for (int64_t i = 0; i < a->k; i++) {
            to[i] = i < kept ? ids[from[i]] : -1;
            scores[i] = i < kept ? sg_values(node->in[1])[r * a->k + from[i]] : 0;
        }
        sg_ints(node->out[2])[r] = (int32_t)kept;
    }
}

static void capacity_backward(const sg_run *run, const sg_node *node)
{
    const capacity_attributes *a = node->attributes;
    bool add;
    sg_real *grad = sg_grad_in(run, node, 1, &add);
    if (grad == NULL) return;
    if (!add) memset(grad, 0, (size_t)node->in[1]->count * sizeof *grad);
    for (int64_t r = 0; r < node->in[0]->count / a->k; r++)
        for (int64_t i = 0; i < sg_ints(node->out[2])[r]; i++)
            grad[r * a->k + sg_ints(node->saved[0])[r * a->k + i]] +=
                node->out[1]->grad[r * a->k + i];
}

static const sg_op op_capacity = {
    .name = "capacity",
    .forward = capacity_forward,
    .backward = capacity_backward,
    .backward_reads_out = 1 << 2,
};

sg_selection sg_capacity(sg_tape *tape, const sg_selection *selection, int64_t blocks,
                         int64_t capacity, sg_tensor *counted)
{
    sg_selection none = {0}, kept = *selection;
    sg_tensor *ids = selection->ids, *scores = selection->scores, *counts = selection->counts;
    if (ids == NULL || scores == NULL) return none;
    const int64_t rows = selection->k > 0 ? ids->count / selection->k : 0;
    if (selection->channels != 1 || blocks < 1 || capacity < 1 || scores->count != ids->count ||
        rows * selection->k != ids->count || (counts != NULL && counts->count != rows) ||
        (counted != NULL && counted->count != rows)) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "capacity: %s does not fit", ids->name);
        return none;
    }
    if (capacity >= rows) return kept; // a row selects a block once at most
    sg_node *node =
        sg_tape_node(tape, &op_capacity, 4, (sg_tensor *[]){ids, scores, counts, counted});
    capacity_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return none;
    *a = (capacity_attributes){selection->k, blocks, capacity};
    node->attributes = a;
    node->scratch_bytes = (size_t)blocks * sizeof(int32_t);
    const int64_t shape[] = {rows, selection->k};
    sg_node_save(tape, node, SG_KIND_INT, 2, shape);
    kept.ids = sg_node_output(tape, node, "ids", SG_KIND_INT, 2, shape);
    kept.scores = sg_node_output(tape, node, "capacity", SG_KIND_REAL, 2, shape);
    kept.counts = sg_node_output(tape, node, "counts", SG_KIND_INT, 2, (int64_t[]){rows, 1});
    return kept;
}
