// A memory in three steps, so that what is between its tables can be looked at and replaced:
//
//     pre  = w_in . x of what is selected
//     post = gate(score, act(pre))                   what multiplies w_out
//     y    = sum over what is selected of post w_out
//
// x (rows, d), pre and post (rows, channels, k, g), g the unit of the selection -> y (rows, d).
// Gradients: dpost = dy . w_out; through the gate (gates.h); dx = sum of dpre w_in. The same bits
// as the operations that do all at once, as the same code does it. What lies behind a count is 0,
// and takes no part.
//
// Here: the first step neuron by neuron, the gate, and which of the two ways a memory is read in;
// through dense products: memory_steps_blocks.c.
#include "ffn/memory_steps.h"

#include "ffn/gates.h"
#include "ffn/memory_dense.h"
#include "ffn/neurons.h"

// ---- the first step, neuron by neuron -----------------------------------------------------------

static void pre_forward_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    sg_real *row = sg_worker_scratch(l->run, range.worker);
    if (!l->dots) return;
    for (int64_t c = l->channel; c < l->end; c++) {
        const sg_stored w_in = sg_neurons_pool(a, l->node->in[SG_NEURONS_IN], c);
        sg_real *dots = sg_values(l->node->out[0]) + c * a->k;
        for (int64_t r = range.first; r < range.end; r++)
            sg_neurons_dots(l, dots + r * a->channels * a->k, sg_neurons_x(l, r, row), &w_in, r,
                            range.end, c);
    }
}

static void pre_forward(const sg_run *run, const sg_node *node)
{
    sg_neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    const sg_stored x = sg_neurons_x_rows(node);
    sg_neurons_begin(run, node);
    if (sg_slices_used(node))
        sg_slices_dots(&l, x, node->in[SG_NEURONS_IN], sg_values(node->out[0]));
    else
        sg_neurons_passes(&l, pre_forward_rows);
}

static void pre_backward_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    if (!l->sums || l->dx == NULL) return;
    if (l->channel == 0 && !l->add_x)
        memset(l->dx + range.first * a->d, 0,
               (size_t)((range.end - range.first) * a->d) * sizeof *l->dx);
    for (int64_t c = l->channel; c < l->end; c++) {
        const sg_stored w_in = sg_neurons_pool(a, l->node->in[SG_NEURONS_IN], c);
        for (int64_t r = range.first; r < range.end; r++)
            sg_neurons_sums(l, l->dx + r * a->d, l->da + c * l->of_channel + r * l->of_row, &w_in,
                            r, range.end, c);
    }
}

static void pre_backward(const sg_run *run, const sg_node *node)
{
    sg_neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    l.dx = sg_grad_in(run, node, SG_NEURONS_X, &l.add_x);
    l.dw_in = sg_grad_in(run, node, SG_NEURONS_IN, &l.add_in);
    l.da = node->out[0]->grad;
    l.of_channel = l.a->k;
    l.of_row = l.a->channels * l.a->k;
    l.sliced = sg_slices_used(node);
    if (!l.sliced)
        sg_neurons_passes(&l, pre_backward_rows);
    else if (l.dx != NULL)
        sg_slices_sums(&l, l.dx, l.add_x, node->in[SG_NEURONS_IN], l.da);
    sg_neurons_weights(&l, sg_neurons_room(run, node));
}

static double pre_flops(const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    return 2.0 * (double)sg_neurons_hits(a) * (double)a->d;
}

static const sg_op op_pre = {
    .name = "memory_pre",
    .forward = pre_forward,
    .backward = pre_backward,
    .flops = pre_flops,
    .backward_reads_in = (1 << SG_NEURONS_INPUTS) - 1,
    .row_gradients = 1 << SG_NEURONS_IN,
    .forward_reads_narrow = 1 << SG_NEURONS_IN,
    .backward_reads_narrow = 1 << SG_NEURONS_IN,
    .reads_half = 1 << SG_NEURONS_X,
};

static sg_tensor *pre_record(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *w_in)
{
    if (!sg_neurons_fit(selection, w_in) || sg_columns(x) != sg_columns(w_in) ||
        sg_rows(x) * selection->channels * selection->k != selection->ids->count)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "memory: %s does not fit %s", w_in->name,
                            selection->ids->name);
    sg_tensor *in[SG_NEURONS_INPUTS] = {[SG_NEURONS_X] = x,
                                        [SG_NEURONS_IDS] = selection->ids,
                                        [SG_NEURONS_IN] = w_in,
                                        [SG_NEURONS_COUNTS] = selection->counts};
    sg_neurons *a = sg_neurons_new(tape, selection, w_in);
    if (a == NULL) return NULL;
    if (sg_dense_chosen(tape, a, w_in, NULL)) return sg_dense_pre(tape, in, a);
    sg_node *node = sg_tape_node(tape, &op_pre, SG_NEURONS_INPUTS, in);
    if (node == NULL || !sg_neurons_record(tape, node, a)) return NULL;
    node->scratch_bytes = sg_neurons_scratch(node, a, 0);
    node->worker_scratch_bytes = (size_t)a->d * sizeof(sg_real);
    return sg_node_output(tape, node, "pre", SG_KIND_REAL, 2,
                          (int64_t[]){a->rows, a->channels * a->k});
}

// ---- the second step: gates ---------------------------------------------------------------------

// Inputs: pre, scores, counts.
typedef struct post_attributes {
    int64_t k, g;
    sg_activation activation;
    sg_gate gate;
} post_attributes;

typedef struct post_loop {
    const sg_run *run;
    const sg_node *node;
    const post_attributes *a;
    sg_real *dpre, *dscores;
    bool add_pre, add_scores;
} post_loop;

// Of groups: a row and channel each.
static int64_t post_groups(const sg_node *node)
{
    const post_attributes *a = node->attributes;
    return node->in[0]->count / (a->k * a->g);
}

// Sets to 0 what is void of `size` values of each selected, from group `first` on.
static void post_void(const post_loop *l, sg_real *values, sg_range range, int64_t size)
{
    const sg_tensor *counts = l->node->in[2];
    for (int64_t g = range.first; counts != NULL && g < range.end; g++) {
        sg_real *group = values + (g - range.first) * l->a->k * size;
        int64_t count = sg_ints(counts)[g];
        memset(group + count * size, 0, (size_t)((l->a->k - count) * size) * sizeof *group);
    }
}

// z = act(pre), each block times its score: the order of memory_blocks.c.
static void post_blocks(const post_loop *l, sg_real *z, const sg_real *pre, const sg_real *scores,
                        int64_t blocks)
{
    const post_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    kernels->act_forward(z, pre, a->activation, blocks * a->g);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < blocks; i++)
        kernels->scale(z + i * a->g, scores[i], a->g);
}

static void post_forward_groups(void *context, sg_range range)
{
    const post_loop *l = context;
    const post_attributes *a = l->a;
    int64_t first = range.first * a->k, count = (range.end - range.first) * a->k;
    const sg_real *pre = sg_values(l->node->in[0]) + first * a->g;
    const sg_real *scores = l->node->in[1] ? sg_values(l->node->in[1]) + first : NULL;
    sg_real *z = sg_values(l->node->out[0]) + first * a->g;
    if (a->g == 1)
        sg_gate_forward(l->run->compute.kernels, a->activation, a->gate, z, pre, scores, count);
    else
        post_blocks(l, z, pre, scores, count);
    post_void(l, z, range, a->g);
}

static void post_forward(const sg_run *run, const sg_node *node)
{
    post_loop l = {.run = run, .node = node, .a = node->attributes};
    sg_parallel_ranges(run->compute.pool, post_groups(node), sg_chunk_rows(l.a->k * l.a->g),
                       post_forward_groups, &l);
}

// In da: dz. Out: da, ds (count), and z in `work`.
static void post_blocks_backward(const post_loop *l, sg_real *da, sg_real *ds, const sg_real *pre,
                                 const sg_real *scores, int64_t blocks, sg_real *work)
{
    const post_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    kernels->act_forward(work, pre, a->activation, blocks * a->g);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < blocks; i++) {
        ds[i] = kernels->dot(work + i * a->g, da + i * a->g, a->g);
        kernels->scale(da + i * a->g, scores[i], a->g);
    }
    kernels->act_backward(da, da, pre, a->activation, blocks * a->g, false);
}

static void post_backward_groups(void *context, sg_range range)
{
    const post_loop *l = context;
    const post_attributes *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    int64_t first = range.first * a->k, count = (range.end - range.first) * a->k;
    const sg_real *pre = sg_values(l->node->in[0]) + first * a->g;
    const sg_real *dz = l->node->out[0]->grad + first * a->g;
    const sg_real *scores = l->node->in[1] ? sg_values(l->node->in[1]) + first : NULL;
    sg_real *da = sg_worker_scratch(l->run, range.worker), *work = da + count * a->g;
    sg_real *ds = work + count * a->g;
    if (a->g == 1) {
        sg_gate_backward(kernels, a->activation, a->gate, da, ds, dz, pre, scores, count, work);
    } else {
        memcpy(da, dz, (size_t)(count * a->g) * sizeof *da);
        post_blocks_backward(l, da, ds, pre, scores, count, work);
    }
    post_void(l, da, range, a->g);
    if (l->dpre != NULL) sg_grad_put(kernels, l->dpre + first * a->g, da, count * a->g, l->add_pre);
    if (l->dscores == NULL) return;
    post_void(l, ds, range, 1);
    for (int64_t i = 0; i < count; i++) // to 0, as the others do, which are -0 nowhere
        l->dscores[first + i] = (l->add_scores ? l->dscores[first + i] : 0) + ds[i];
}

static void post_backward(const sg_run *run, const sg_node *node)
{
    post_loop l = {.run = run, .node = node, .a = node->attributes};
    l.dpre = sg_grad_in(run, node, 0, &l.add_pre);
    l.dscores = sg_grad_in(run, node, 1, &l.add_scores);
    sg_parallel_ranges(run->compute.pool, post_groups(node), sg_chunk_rows(l.a->k * l.a->g),
                       post_backward_groups, &l);
}

static const sg_op op_post = {
    .name = "memory_post",
    .forward = post_forward,
    .backward = post_backward,
    .backward_reads_in = 7,
};

sg_tensor *sg_memory_post(sg_tape *tape, sg_tensor *pre, const sg_selection *selection,
                          sg_activation activation, sg_gate gate)
{
    sg_tensor *scores = gate == SG_GATE_NONE ? NULL : selection->scores;
    if (!pre || (!scores && gate != SG_GATE_NONE)) return NULL;
    const int64_t k = selection->k, g = selection->unit, groups = pre->count / (k * g);
    if (gate == SG_GATE_VALUE || (gate == SG_GATE_BEFORE && g > 1) ||
        pre->count != groups * k * g || sg_columns(pre) != selection->channels * k * g ||
        (scores && scores->count != groups * k) ||
        (selection->counts && selection->counts->count != groups))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "gate: %s does not fit its selection",
                            pre->name);
    sg_node *node =
        sg_tape_node(tape, &op_post, 3, (sg_tensor *[]){pre, scores, selection->counts});
    post_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (post_attributes){k, g, activation, gate};
    node->attributes = a;
    int64_t chunk = sg_min(groups, sg_chunk_rows(k * g));
    node->worker_scratch_bytes = (size_t)(chunk * k * (2 * g + 1)) * sizeof(sg_real);
    return sg_node_output(tape, node, "post", SG_KIND_REAL, 2, pre->shape);
}

// ---- either way ---------------------------------------------------------------------------------

sg_tensor *sg_memory_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                         sg_tensor *w_in)
{
    if (!x || !selection->ids || !w_in) return NULL;
    return selection->unit == 1 ? pre_record(tape, x, selection, w_in)
                                : sg_steps_blocks_pre(tape, x, selection, w_in);
}

sg_tensor *sg_memory_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                         sg_tensor *w_out)
{
    if (!post || !selection->ids || !w_out) return NULL;
    if (selection->unit != 1) return sg_steps_blocks_sum(tape, post, selection, w_out);
    sg_selection s = *selection;
    s.scores = post;
    return sg_memory_neurons(tape, NULL, &s, NULL, w_out, SG_ACT_IDENTITY, SG_GATE_VALUE);
}
