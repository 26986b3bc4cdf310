// Reading a memory neuron by neuron, all in one operation:
//
//     a_i = w_in_i . x      z_i = gate(score_i, act(a_i))      y = sum of z_i w_out_i
//
// x (rows, d), ids and scores (rows, channels, k), w_in and w_out (pools, n, d) -> y (rows, d).
// With dz_i = dy . w_out_i, and da_i and the gradient of the score from it (gates.h):
//
//     dx = sum of da_i w_in_i      dw_in_i += da_i x      dw_out_i += z_i dy
//
// (Lample et al. 2019; He 2024, "Mixture of a Million Experts".) What lies behind a count takes no
// part. How the work is cut: neurons.c.
#include "ffn/gates.h"
#include "ffn/memory_dense.h"
#include "ffn/neurons.h"

// Values of hits are laid out (channel, row, k), but where they go by slices.
static sg_real *neurons_dots(const sg_node *node, const sg_neurons *a, int64_t first, int64_t c)
{
    if (node->in[SG_NEURONS_IN] == NULL) return NULL;
    return sg_values(node->saved[0]) + (c * a->rows + first) * a->k;
}

// z and da of all hits, in scratch.
static sg_real *neurons_z(const sg_neurons_loop *l)
{
    return sg_neurons_room(l->run, l->node);
}
static sg_real *neurons_da(const sg_neurons_loop *l)
{
    return neurons_z(l) + sg_neurons_hits(l->a);
}

// ---- in slices ----------------------------------------------------------------------------------
//
// Values of hits are laid out as scores are, (row, channel, k).

enum { sliced_values = 4096 }; // that a chunk of gates takes, or those of a row

static int64_t sliced_hits(const sg_neurons *a)
{
    return a->channels * a->k;
}

static int64_t sliced_rows(const sg_neurons *a)
{
    return sliced_hits(a) < sliced_values ? sliced_values / sliced_hits(a) : 1;
}

static sg_real *sliced_dots(const sg_node *node, int64_t first)
{
    return node->in[SG_NEURONS_IN] == NULL
               ? NULL
               : sg_values(node->saved[0]) + first * sliced_hits(node->attributes);
}

// Sets to 0 what is void of the rows of a range.
static void sliced_void(const sg_neurons_loop *l, sg_range range, sg_real *values)
{
    const sg_neurons *a = l->a;
    if (l->node->in[SG_NEURONS_COUNTS] == NULL) return;
    for (int64_t r = range.first; r < range.end; r++)
        for (int64_t c = 0; c < a->channels; c++, values += a->k)
            for (int64_t i = sg_neurons_count(l->node, a, r, c); i < a->k; i++)
                values[i] = 0;
}

// The scores of a range, where they are or, with zeros for what is void, in `room`.
static const sg_real *sliced_scores(const sg_neurons_loop *l, sg_range range, sg_real *room)
{
    const int64_t hits = sliced_hits(l->a);
    if (l->a->gate == SG_GATE_NONE) return NULL;
    const sg_real *scores = sg_values(l->node->in[SG_NEURONS_SCORES]) + range.first * hits;
    if (l->node->in[SG_NEURONS_COUNTS] == NULL) return scores;
    memcpy(room, scores, (size_t)((range.end - range.first) * hits) * sizeof *room);
    sliced_void(l, range, room);
    return room;
}

// z of all hits, and 0 for dz of what is void.
static void sliced_z_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    const int64_t at = range.first * sliced_hits(a), end = range.end * sliced_hits(a);
    const sg_real *scores = sliced_scores(l, range, sg_worker_scratch(l->run, range.worker));
    sg_gate_forward(l->run->compute.kernels, a->activation, a->gate, neurons_z(l) + at,
                    sliced_dots(l->node, range.first), scores, end - at);
    sliced_void(l, range, neurons_da(l) + at);
}

static void sliced_z(sg_neurons_loop *l)
{
    sg_parallel_ranges(l->run->compute.pool, l->a->rows, sliced_rows(l->a), sliced_z_rows, l);
}

static void sliced_forward(sg_neurons_loop *l)
{
    const sg_stored x = sg_neurons_x_rows(l->node);
    if (x.rows != NULL) sg_slices_dots(l, x, l->node->in[SG_NEURONS_IN], sliced_dots(l->node, 0));
    sliced_z(l);
    sg_slices_sums(l, sg_values(l->node->out[0]), false, l->node->in[SG_NEURONS_OUT], neurons_z(l));
}

// dz becomes da; the gradient of the scores.
static void sliced_da_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    const int64_t at = range.first * sliced_hits(a), count = range.end * sliced_hits(a) - at;
    sg_real *dz = sg_worker_scratch(l->run, range.worker), *da = neurons_da(l) + at;
    sg_real *work = dz + count, *dscore = work + count;
    const sg_real *scores = sliced_scores(l, range, dscore + count);
    memcpy(dz, da, (size_t)count * sizeof *dz);
    sg_gate_backward(l->run->compute.kernels, a->activation, a->gate, da, dscore, dz,
                     sliced_dots(l->node, range.first), scores, count, work);
    if (l->dscores == NULL) return;
    for (int64_t i = 0; i < count; i++)
        l->dscores[at + i] = (l->add_scores ? l->dscores[at + i] : 0) + dscore[i];
}

static void sliced_backward(sg_neurons_loop *l, sg_real *scratch)
{
    const sg_node *node = l->node;
    l->of_channel = l->a->k;
    l->of_row = sliced_hits(l->a);
    if (l->fused) {
        sliced_z(l);
        sg_neurons_out(l, scratch);
    } else {
        const sg_stored dy = {.rows = node->out[0]->grad};
        if (l->dw_out != NULL) sliced_z(l);
        sg_slices_dots(l, dy, node->in[SG_NEURONS_OUT], l->dz);
    }
    sg_parallel_ranges(l->run->compute.pool, l->a->rows, sliced_rows(l->a), sliced_da_rows, l);
    if (l->dx != NULL) sg_slices_sums(l, l->dx, l->add_x, node->in[SG_NEURONS_IN], neurons_da(l));
    sg_neurons_weights(l, scratch);
}

// ---- forward ----------------------------------------------------------------------------------

static void neurons_forward_tile(const sg_neurons_loop *l, sg_range range)
{
    const sg_neurons *a = l->a;
    int64_t first = range.first, rows = range.end - first;
    const sg_tensor *x = l->node->in[SG_NEURONS_X];
    sg_real *y = sg_values(l->node->out[0]);
    sg_real *scores = sg_worker_scratch(l->run, range.worker), *z = scores + rows * a->k;
    sg_real *row = z + rows * a->k;
    if (l->sums && l->channel == 0) memset(y + first * a->d, 0, (size_t)(rows * a->d) * sizeof *y);
    for (int64_t c = l->channel; c < l->end; c++) {
        sg_real *dots = neurons_dots(l->node, a, first, c);
        const sg_stored w_in = sg_neurons_pool(a, l->node->in[SG_NEURONS_IN], c);
        const sg_stored w_out = sg_neurons_pool(a, l->node->in[SG_NEURONS_OUT], c);
        for (int64_t r = first; l->dots && x != NULL && r < range.end; r++)
            sg_neurons_dots(l, dots + (r - first) * a->k, sg_neurons_x(l, r, row), &w_in, r,
                            range.end, c);
        if (!l->sums) continue;
        sg_neurons_scores(l->node, a, first, rows, c, scores);
        sg_gate_forward(l->run->compute.kernels, a->activation, a->gate, z, dots, scores,
                        rows * a->k);
        for (int64_t r = first; r < range.end; r++)
            sg_neurons_sums(l, y + r * a->d, z + (r - first) * a->k, &w_out, r, range.end, c);
    }
}

// Where the rows of both tables lie side by side, few rows of x go through all channels, so that
// the second half of a pair, which the processor fetched with the first, is still there.
enum { neurons_few = 8 };

static void neurons_forward_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_stored w_out = sg_weights_of(l->node->in[SG_NEURONS_OUT]);
    const int64_t rows = l->dots && l->sums && w_out.step > 1 ? neurons_few : range.end;
    for (int64_t first = range.first; first < range.end; first += rows) {
        const int64_t end = sg_min(range.end, first + rows);
        neurons_forward_tile(l, (sg_range){first, end, range.chunk, range.worker});
    }
}

static void neurons_forward(const sg_run *run, const sg_node *node)
{
    sg_neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    sg_neurons_begin(run, node);
    if (sg_slices_used(node))
        sliced_forward(&l);
    else
        sg_neurons_passes(&l, neurons_forward_rows);
}

// ---- backward -----------------------------------------------------------------------------------

// From dz of a tile and channel, in scratch, its z, da and gradient of the scores.
static void neurons_backward_gates(const sg_neurons_loop *l, int64_t first, int64_t rows, int64_t c,
                                   sg_real *dz)
{
    const sg_neurons *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    int64_t hit = (c * a->rows + first) * a->k, count = rows * a->k;
    sg_real *scores = dz + count, *work = scores + count, *dscore = work + count;
    const sg_real *dots = neurons_dots(l->node, a, first, c);
    sg_neurons_scores(l->node, a, first, rows, c, scores);
    if (!l->fused)
        sg_gate_forward(kernels, a->activation, a->gate, neurons_z(l) + hit, dots, scores, count);
    sg_gate_backward(kernels, a->activation, a->gate, neurons_da(l) + hit, dscore, dz, dots, scores,
                     count, work);
    if (l->dscores != NULL) sg_neurons_put_scores(l, first, rows, c, dscore);
}

static void neurons_backward_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    int64_t first = range.first, rows = range.end - first;
    const sg_real *dy = l->node->out[0]->grad;
    sg_real *dz = sg_worker_scratch(l->run, range.worker);
    if (l->sums && l->channel == 0 && l->dx != NULL && !l->add_x)
        memset(l->dx + first * a->d, 0, (size_t)(rows * a->d) * sizeof *l->dx);
    for (int64_t c = l->channel; c < l->end; c++) {
        const sg_stored w_in = sg_neurons_pool(a, l->node->in[SG_NEURONS_IN], c);
        const sg_stored w_out = sg_neurons_pool(a, l->node->in[SG_NEURONS_OUT], c);
        if (l->dots && l->fused)
            memcpy(dz, neurons_da(l) + (c * a->rows + first) * a->k,
                   (size_t)(rows * a->k) * sizeof *dz);
        for (int64_t r = first; l->dots && !l->fused && r < range.end; r++)
            sg_neurons_dots(l, dz + (r - first) * a->k, dy + r * a->d, &w_out, r, range.end, c);
        if (l->dots) neurons_backward_gates(l, first, rows, c, dz);
        const sg_real *da = neurons_da(l) + c * a->rows * a->k;
        for (int64_t r = first; l->sums && l->dx != NULL && r < range.end; r++)
            sg_neurons_sums(l, l->dx + r * a->d, da + r * a->k, &w_in, r, range.end, c);
    }
}

// z of all hits, and 0 for dz of what is void, where sg_neurons_out follows.
static void neurons_z_rows(void *context, sg_range range)
{
    const sg_neurons_loop *l = context;
    const sg_neurons *a = l->a;
    int64_t first = range.first, rows = range.end - first;
    sg_real *scores = sg_worker_scratch(l->run, range.worker);
    for (int64_t c = 0; c < a->channels; c++) {
        const int64_t hit = (c * a->rows + first) * a->k;
        sg_neurons_scores(l->node, a, first, rows, c, scores);
        sg_gate_forward(l->run->compute.kernels, a->activation, a->gate, neurons_z(l) + hit,
                        neurons_dots(l->node, a, first, c), scores, rows * a->k);
        for (int64_t r = first; l->node->in[SG_NEURONS_COUNTS] != NULL && r < range.end; r++)
            for (int64_t i = sg_neurons_count(l->node, a, r, c); i < a->k; i++)
                neurons_da(l)[(c * a->rows + r) * a->k + i] = 0;
    }
}

static void neurons_backward(const sg_run *run, const sg_node *node)
{
    sg_neurons_loop l = {.run = run, .node = node, .a = node->attributes};
    const sg_neurons *a = l.a;
    l.dx = sg_grad_in(run, node, SG_NEURONS_X, &l.add_x);
    l.dscores = sg_grad_in(run, node, SG_NEURONS_SCORES, &l.add_scores);
    l.dw_in = sg_grad_in(run, node, SG_NEURONS_IN, &l.add_in);
    l.dw_out = sg_grad_in(run, node, SG_NEURONS_OUT, &l.add_out);
    l.of_channel = a->rows * a->k;
    l.of_row = a->k;
    l.z = neurons_z(&l);
    l.fused = sg_neurons_fuses(&l);
    if (node->in[SG_NEURONS_IN] != NULL || l.fused) l.da = neurons_da(&l);
    l.dz = neurons_da(&l);
    sg_real *scratch = neurons_z(&l) + 2 * sg_neurons_hits(a);
    l.sliced = sg_slices_used(node);
    if (l.sliced) {
        sliced_backward(&l, scratch);
        return;
    }
    if (l.fused) {
        sg_parallel_ranges(run->compute.pool, a->rows, a->tile, neurons_z_rows, &l);
        sg_neurons_out(&l, scratch);
    }
    sg_neurons_passes(&l, neurons_backward_rows);
    sg_neurons_weights(&l, scratch);
}

// Two dot products' worth of work a hit, 4 k C d a row (spec 5.9); one where there is no w_in. As
// if there were no counts, which a recording does not know.
static double neurons_flops(const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    return (node->in[SG_NEURONS_IN] ? 4.0 : 2.0) * (double)sg_neurons_hits(a) * (double)a->d;
}

static const sg_op op_neurons = {
    .name = "memory_neurons",
    .forward = neurons_forward,
    .backward = neurons_backward,
    .flops = neurons_flops,
    .backward_reads_in = (1 << SG_NEURONS_INPUTS) - 1,
    .row_gradients = 1 << SG_NEURONS_IN | 1 << SG_NEURONS_OUT,
    .forward_reads_narrow = 1 << SG_NEURONS_IN | 1 << SG_NEURONS_OUT,
    // Gradients pass the rounding straight through.
    .backward_reads_narrow = 1 << SG_NEURONS_IN | 1 << SG_NEURONS_OUT,
    .reads_half = 1 << SG_NEURONS_X,
};

sg_tensor *sg_memory_neurons(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                             sg_gate gate)
{
    const bool values = gate == SG_GATE_VALUE;
    sg_tensor *ids = selection->ids, *scores = gate == SG_GATE_NONE ? NULL : selection->scores;
    if (!ids || (!scores && gate != SG_GATE_NONE) || !w_out || (!values && (!x || !w_in)))
        return NULL;
    int64_t d = sg_columns(w_out);
    if (!sg_neurons_fit(selection, w_out) || (values && (x || w_in)) ||
        (!values && (!sg_neurons_fit(selection, w_in) || sg_columns(x) != d ||
                     sg_columns(w_in) != d || w_in->count != w_out->count ||
                     sg_rows(x) * selection->channels * selection->k != ids->count)) ||
        (scores && scores->count != ids->count))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "memory: %s does not fit %s", w_out->name,
                            ids->name);
    sg_tensor *in[] = {x, ids, scores, w_in, w_out, selection->counts};
    sg_neurons *a = sg_neurons_new(tape, selection, w_out);
    if (a == NULL) return NULL;
    a->activation = activation;
    a->gate = gate;
    if (sg_dense_chosen(tape, a, w_in, w_out)) return sg_dense_neurons(tape, in, a);
    sg_node *node = sg_tape_node(tape, &op_neurons, SG_NEURONS_INPUTS, in);
    if (node == NULL) return NULL;
    int64_t hits = sg_neurons_hits(a);
    if (!values) sg_node_save(tape, node, SG_KIND_REAL, 1, &hits); // the dot products
    if (!sg_neurons_record(tape, node, a)) return NULL;
    node->worker_scratch_bytes =
        (size_t)(4 * sg_min(a->tile, a->rows) * a->k + d) * sizeof(sg_real);
    if (a->sliced && node->worker_scratch_bytes <
                         (size_t)(4 * sliced_rows(a) * sliced_hits(a)) * sizeof(sg_real))
        node->worker_scratch_bytes =
            (size_t)(4 * sliced_rows(a) * sliced_hits(a)) * sizeof(sg_real);
    node->scratch_bytes = sg_neurons_scratch(node, a, 2 * hits);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a->rows, d});
}

sg_memory_orders sg_memory_orders_of(const sg_tape *tape)
{
    sg_memory_orders orders = {0};
    for (int i = 0; i < sg_tape_nodes(tape); i++) {
        const sg_node *node = sg_tape_node_at(tape, i);
        orders.dense += sg_dense_is(node);
        if (node->op != &op_neurons) continue;
        const sg_memory_order order = ((const sg_neurons *)node->attributes)->order;
        if (orders.by_table + orders.by_row == 0) orders.first = order;
        orders.by_table += order.by_table;
        orders.by_row += !order.by_table;
    }
    return orders;
}
