// Reading a memory of single neurons through dense products: sg_memory_neurons and its first step
// sg_memory_pre, with their formulas (memory_neurons.c, memory_steps.c), where a product computes a
// whole pool sooner than its selected rows can be read. How: dense.c. Values of hits are laid out
// (channel, row, k), those of the first step as its output is, (row, channel, k).
//
//     P = X W_in^T    a picked of P    z = gate(score, act(a))    Y = Z W_out
//     D = dY W_out^T  dz picked of D   dX = dA W_in   dW_in = dA^T X   dW_out = Z^T dY
#include "ffn/memory_dense.h"

#include "ffn/dense.h"
#include "ffn/gates.h"
#include "kernel/gemm_tiles.h"

// ---- forward ------------------------------------------------------------------------------------

// What lies behind a count is 0.
static void dense_void(const sg_dense_loop *l, const sg_dense_part *p, sg_real *values)
{
    const sg_neurons *a = l->n.a;
    if (l->n.node->in[SG_NEURONS_COUNTS] == NULL) return;
    for (int64_t c = p->channel; c < p->channel + p->channels; c++)
        for (int64_t r = p->row; r < p->end; r++)
            for (int64_t i = sg_neurons_count(l->n.node, a, r, c); i < a->k; i++)
                values[c * a->of_channel + r * a->of_row + i] = 0;
}

static sg_real *dense_dots(const sg_node *node)
{
    return node->in[SG_NEURONS_IN] != NULL ? sg_values(node->saved[0]) : NULL;
}

static void dense_gates(const sg_dense_loop *l, const sg_dense_part *p, const sg_dense_room *room)
{
    const sg_neurons *a = l->n.a;
    const int64_t rows = p->end - p->row;
    for (int64_t c = p->channel; c < p->channel + p->channels; c++) {
        const int64_t at = c * a->of_channel + p->row * a->of_row;
        const sg_real *dots = dense_dots(l->n.node);
        sg_neurons_scores(l->n.node, a, p->row, rows, c, room->gates);
        sg_gate_forward(l->n.run->compute.kernels, a->activation, a->gate, l->z + at,
                        dots != NULL ? dots + at : NULL, room->gates, rows * a->k);
    }
}

static void dense_forward_tile(void *context, sg_range range)
{
    const sg_dense_loop *l = context;
    const sg_node *node = l->n.node;
    const sg_dense_room room = sg_dense_room_of(l, range.worker);
    sg_real *dots = dense_dots(node);
    for (int64_t pool = 0; pool < l->n.a->pools; pool++) {
        const sg_dense_part p = sg_dense_part_of(l, pool, range.chunk);
        if (dots != NULL) {
            dense_void(l, &p, dots);
            sg_dense_dots(l, &p, &room, dots, &l->x, SG_NEURONS_IN);
        }
        dense_gates(l, &p, &room);
        sg_dense_sums(l, &p, &room, sg_values(node->out[0]), pool > 0, l->z, SG_NEURONS_OUT);
    }
}

static void dense_forward(const sg_run *run, const sg_node *node)
{
    sg_dense_loop l = sg_dense_begin(run, node, NULL);
    sg_dense_sort(&l);
    sg_dense_tiles(&l, dense_forward_tile, dense_dots(node) != NULL ? SG_NEURONS_IN : -1,
                   SG_NEURONS_OUT);
}

// ---- backward -----------------------------------------------------------------------------------

// z holds dz; out: z, da and the gradients of the scores.
static void dense_gates_backward(const sg_dense_loop *l, const sg_dense_part *p,
                                 const sg_dense_room *room)
{
    const sg_neurons *a = l->n.a;
    const sg_kernels *kernels = l->n.run->compute.kernels;
    const int64_t rows = p->end - p->row, count = rows * a->k;
    sg_real *scores = room->gates, *work = scores + count, *dscore = work + count;
    for (int64_t c = p->channel; c < p->channel + p->channels; c++) {
        const int64_t at = c * a->of_channel + p->row * a->of_row;
        const sg_real *dots = dense_dots(l->n.node);
        if (dots != NULL) dots += at;
        sg_neurons_scores(l->n.node, a, p->row, rows, c, scores);
        sg_gate_backward(kernels, a->activation, a->gate, l->da + at, dscore, l->z + at, dots,
                         scores, count, work);
        sg_gate_forward(kernels, a->activation, a->gate, l->z + at, dots, scores, count);
        if (l->n.dscores != NULL) sg_neurons_put_scores(&l->n, p->row, rows, c, dscore);
    }
}

static void dense_backward_tile(void *context, sg_range range)
{
    const sg_dense_loop *l = context;
    const sg_dense_room room = sg_dense_room_of(l, range.worker);
    for (int64_t pool = 0; pool < l->n.a->pools; pool++) {
        const sg_dense_part p = sg_dense_part_of(l, pool, range.chunk);
        dense_void(l, &p, l->z);
        sg_dense_dots(l, &p, &room, l->z, &l->dy, SG_NEURONS_OUT);
        dense_gates_backward(l, &p, &room);
        if (l->n.dx != NULL)
            sg_dense_sums(l, &p, &room, l->n.dx, l->n.add_x || pool > 0, l->da, SG_NEURONS_IN);
    }
}

static void dense_backward(const sg_run *run, const sg_node *node)
{
    sg_dense_loop l = sg_dense_begin(run, node, node->out[0]->grad);
    l.n.dx = sg_grad_in(run, node, SG_NEURONS_X, &l.n.add_x);
    l.n.dscores = sg_grad_in(run, node, SG_NEURONS_SCORES, &l.n.add_scores);
    l.n.dw_in = sg_grad_in(run, node, SG_NEURONS_IN, &l.n.add_in);
    l.n.dw_out = sg_grad_in(run, node, SG_NEURONS_OUT, &l.n.add_out);
    sg_dense_tiles(&l, dense_backward_tile, SG_NEURONS_OUT, l.n.dx != NULL ? SG_NEURONS_IN : -1);
    sg_dense_weights(&l);
}

// ---- the first step -----------------------------------------------------------------------------

static void pre_forward_tile(void *context, sg_range range)
{
    const sg_dense_loop *l = context;
    const sg_dense_room room = sg_dense_room_of(l, range.worker);
    sg_real *dots = sg_values(l->n.node->out[0]);
    for (int64_t pool = 0; pool < l->n.a->pools; pool++) {
        const sg_dense_part p = sg_dense_part_of(l, pool, range.chunk);
        dense_void(l, &p, dots);
        sg_dense_dots(l, &p, &room, dots, &l->x, SG_NEURONS_IN);
    }
}

static void pre_forward(const sg_run *run, const sg_node *node)
{
    sg_dense_loop l = sg_dense_begin(run, node, NULL);
    sg_dense_sort(&l);
    sg_dense_tiles(&l, pre_forward_tile, SG_NEURONS_IN, -1);
}

static void pre_backward_tile(void *context, sg_range range)
{
    const sg_dense_loop *l = context;
    const sg_dense_room room = sg_dense_room_of(l, range.worker);
    for (int64_t pool = 0; pool < l->n.a->pools; pool++) {
        const sg_dense_part p = sg_dense_part_of(l, pool, range.chunk);
        sg_dense_sums(l, &p, &room, l->n.dx, l->n.add_x || pool > 0, l->da, SG_NEURONS_IN);
    }
}

static void pre_backward(const sg_run *run, const sg_node *node)
{
    sg_dense_loop l = sg_dense_begin(run, node, NULL);
    l.n.dx = sg_grad_in(run, node, SG_NEURONS_X, &l.n.add_x);
    l.n.dw_in = sg_grad_in(run, node, SG_NEURONS_IN, &l.n.add_in);
    l.da = node->out[0]->grad;
    if (l.n.dx != NULL) sg_dense_tiles(&l, pre_backward_tile, -1, SG_NEURONS_IN);
    sg_dense_weights(&l);
}

// ---- which way --------------------------------------------------------------------------------

static const char *const path_names[] = {"auto", "rows", "dense"};
enum { path_count = sizeof path_names / sizeof *path_names };

const char *sg_memory_path_name(sg_memory_path path)
{
    return (unsigned)path < path_count ? path_names[path] : NULL;
}

sg_status sg_memory_path_parse(const char *text, const char *field, sg_memory_path *path,
                               sg_error *err)
{
    for (int i = 0; i < path_count; i++)
        if (strcmp(text, path_names[i]) == 0) {
            *path = (sg_memory_path)i;
            return SG_OK;
        }
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%s\", expected auto, rows or dense", field,
                   text);
}

// Neurons of a pool for each that a row selects of it, up to which a product is sooner ready than
// the rows are read: docs/SPEED.md, "Sparse memory through dense products", has what was measured.
// In f32 both take the same time at 4, which is not worth other bits; a unit for bf16 is that many
// times faster.
static int64_t dense_ratio(sg_compute_kind kind)
{
    const sg_tiles_unit unit = sg_gemm_unit(kind);
    if (kind == SG_COMPUTE_F32 || unit == SG_TILES_NONE) return 0;
    return kind == SG_COMPUTE_BF16 && unit == SG_TILES_AMX ? 32 : 8;
}

enum { dense_rows_min = 64 }; // fewer do not fill a product

bool sg_dense_chosen(const sg_tape *tape, const sg_neurons *a, const sg_tensor *w_in,
                     const sg_tensor *w_out)
{
    const sg_memory_path path = sg_tape_memory_path(tape);
    if ((w_in != NULL && w_in->base->row_grads != NULL) ||
        (w_out != NULL && w_out->base->row_grads != NULL) || path == SG_MEMORY_PATH_ROWS)
        return false;
    if (path == SG_MEMORY_PATH_DENSE) return true;
    return a->rows >= dense_rows_min &&
           a->n <= a->k * (a->channels / a->pools) * dense_ratio(sg_tape_kind(tape));
}

// ---- recording ----------------------------------------------------------------------------------

// As it is counted for those that read the selected rows alone: what is wasted is no work.
static double dense_flops(const sg_node *node)
{
    const sg_neurons *a = node->attributes;
    const int tables = (node->in[SG_NEURONS_IN] != NULL) + (node->in[SG_NEURONS_OUT] != NULL);
    return 2.0 * tables * (double)sg_neurons_hits(a) * (double)a->d;
}

static const sg_op op_dense = {
    .name = "memory_dense",
    .forward = dense_forward,
    .backward = dense_backward,
    .flops = dense_flops,
    .backward_reads_in = (1 << SG_NEURONS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_NEURONS_IN | 1 << SG_NEURONS_OUT,
    // Gradients pass the rounding straight through.
    .backward_reads_narrow = 1 << SG_NEURONS_IN | 1 << SG_NEURONS_OUT,
    .reads_half = 1 << SG_NEURONS_X,
};

static const sg_op op_pre = {
    .name = "memory_dense_pre",
    .forward = pre_forward,
    .backward = pre_backward,
    .flops = dense_flops,
    .backward_reads_in = (1 << SG_NEURONS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_NEURONS_IN,
    .backward_reads_narrow = 1 << SG_NEURONS_IN,
    .reads_half = 1 << SG_NEURONS_X,
};

bool sg_dense_is(const sg_node *node)
{
    return node->op == &op_dense;
}

sg_tensor *sg_dense_neurons(sg_tape *tape, sg_tensor *const in[SG_NEURONS_INPUTS], sg_neurons *a)
{
    sg_node *node = sg_tape_node(tape, &op_dense, SG_NEURONS_INPUTS, in);
    if (node == NULL) return NULL;
    const int64_t hits = sg_neurons_hits(a);
    a->of_channel = a->rows * a->k;
    a->of_row = a->k;
    if (in[SG_NEURONS_IN] != NULL) sg_node_save(tape, node, SG_KIND_REAL, 1, &hits); // the dots
    if (!sg_dense_record(tape, node, a, 2)) return NULL;
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a->rows, a->d});
}

sg_tensor *sg_dense_pre(sg_tape *tape, sg_tensor *const in[SG_NEURONS_INPUTS], sg_neurons *a)
{
    sg_node *node = sg_tape_node(tape, &op_pre, SG_NEURONS_INPUTS, in);
    if (node == NULL) return NULL;
    a->of_channel = a->k;
    a->of_row = a->channels * a->k;
    if (!sg_dense_record(tape, node, a, 0)) return NULL;
    return sg_node_output(tape, node, "pre", SG_KIND_REAL, 2,
                          (int64_t[]){a->rows, a->channels * a->k});
}
