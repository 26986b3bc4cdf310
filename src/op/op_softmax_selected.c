// Softmax over what is selected: of a row and channel with the scores s and the count n
//
//     p_i = exp(s_i) / sum over j < n of exp(s_j)     i < n, else 0
//     ds_i = p_i (dp_i - sum over j < n of p_j dp_j)  i < n, else 0
//
// scores (rows, channels*k), counts (rows, channels) -> (rows, channels*k). Where all k are
// selected it is sg_softmax.
#include <string.h>

#include "op/op.h"

typedef struct selected_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t k;
    sg_real *grad;
    bool add;
} selected_loop;

// Inputs: scores, counts.
static selected_loop selected_make(const sg_run *run, const sg_node *node)
{
    return (selected_loop){.run = run, .node = node, .k = node->in[0]->count / node->in[1]->count};
}

static void selected_each(const selected_loop *l, sg_range_fn fn)
{
    sg_parallel_ranges(l->run->compute.pool, l->node->in[1]->count, sg_chunk_rows(l->k), fn,
                       (void *)(uintptr_t)l);
}

static void selected_forward_groups(void *context, sg_range groups)
{
    const selected_loop *l = context;
    for (int64_t g = groups.first; g < groups.end; g++) {
        sg_real *p = sg_values(l->node->out[0]) + g * l->k;
        int64_t count = sg_ints(l->node->in[1])[g];
        memset(p + count, 0, (size_t)(l->k - count) * sizeof *p);
        if (count > 0)
            l->run->compute.kernels->softmax_forward(p, sg_values(l->node->in[0]) + g * l->k, 1,
                                                     count);
    }
}

static void selected_forward(const sg_run *run, const sg_node *node)
{
    selected_loop l = selected_make(run, node);
    selected_each(&l, selected_forward_groups);
}

static void selected_backward_groups(void *context, sg_range groups)
{
    const selected_loop *l = context;
    for (int64_t g = groups.first; g < groups.end; g++) {
        sg_real *ds = l->grad + g * l->k;
        int64_t count = sg_ints(l->node->in[1])[g];
        if (!l->add) memset(ds + count, 0, (size_t)(l->k - count) * sizeof *ds);
        if (count > 0)
            l->run->compute.kernels->softmax_backward(ds, l->node->out[0]->grad + g * l->k,
                                                      sg_values(l->node->out[0]) + g * l->k, 1,
                                                      count, l->add);
    }
}

static void selected_backward(const sg_run *run, const sg_node *node)
{
    selected_loop l = selected_make(run, node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    if (l.grad != NULL) selected_each(&l, selected_backward_groups);
}

static const sg_op op_softmax_selected = {
    .name = "softmax_selected",
    .forward = selected_forward,
    .backward = selected_backward,
    .backward_reads_in = 2,
    .backward_reads_out = 1,
};

sg_tensor *sg_softmax_selected(sg_tape *tape, const sg_selection *selection)
{
    sg_tensor *scores = selection->scores, *counts = selection->counts;
    if (scores == NULL || counts == NULL) return sg_softmax(tape, scores, selection->k);
    if (counts->count * selection->k != scores->count)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "softmax: %s does not fit %s", counts->name,
                            scores->name);
    sg_node *node = sg_tape_node(tape, &op_softmax_selected, 2, (sg_tensor *[]){scores, counts});
    return sg_node_output(tape, node, "softmax", SG_KIND_REAL, scores->rank, scores->shape);
}
