// The first and the last step of a memory that is read block by block through dense products
// (memory_steps.c, memory_blocks.c), each an operation. x (rows, d), ids and scores (rows, k).
//
//     pre:  cells    u_ej = w_in_ej . x                      experts  u_e = up_e x + b_e
//     sum:  cells    y = sum of p_ej w_out_ej
//           experts  y = sum of s_e (down_e h_e + c_e)       h: the gated linear units, or
//                    y = sum of down_e p_e + s_e c_e         p: the same with the gate in it
//
// u, h and p are (rows, k, width), in the order of the selection. Gradients:
//
//     pre:  dx = sum of w_in_ej du_ej, or of up_e^T du_e
//     sum:  dp_ej = dy . w_out_ej    dh_e = s_e down_e^T dy    ds_e = h_e . down_e^T dy + c_e . dy
//           or dp_e = down_e^T dy                              ds_e = c_e . dy
//
// and those of the tables (blocks.c).
#include "ffn/memory_steps.h"

#include "ffn/blocks.h"

// ---- the first step -----------------------------------------------------------------------------

static void pre_part(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    const sg_node *node = p->l->node;
    sg_real *xs = p->room, *u = xs + p->m * a->d;
    if (a->glu) {
        const sg_blocks_rows rows = sg_blocks_gather_x(p, xs);
        sg_real beta = sg_blocks_bias(p, u, SG_BLOCKS_UP_BIAS, a->width);
        sg_blocks_product(p, u, rows, node->in[SG_BLOCKS_UP], a->width, a->d, beta);
    } else {
        sg_blocks_dots(p, u, SG_BLOCKS_UP, xs);
    }
    sg_blocks_put(p, sg_values(node->out[0]), u, a->width, false);
}

static void pre_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    sg_blocks_sort(&l);
    sg_blocks_tiles(&l, NULL, false, pre_part);
    sg_blocks_void(&l, sg_values(node->out[0]), l.a->width);
}

static void pre_part_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    sg_real *da = l->da + p->at * a->width, *dxs = p->room;
    sg_blocks_take(p, da, l->node->out[0]->grad, a->width);
    if (a->glu)
        sg_blocks_dx(p, da, dxs);
    else if (l->grad[SG_BLOCKS_X] != NULL)
        sg_blocks_sums(p, l->grad[SG_BLOCKS_X], da, SG_BLOCKS_UP, dxs);
}

static void pre_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    bool weights = sg_blocks_gradients(&l);
    l.da = (sg_real *)run->scratch;
    sg_blocks_tiles(&l, l.grad[SG_BLOCKS_X], l.add[SG_BLOCKS_X], pre_part_backward);
    if (weights) sg_blocks_weights(&l);
}

// ---- the last step ------------------------------------------------------------------------------

static void sum_part(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    const sg_node *node = p->l->node;
    sg_real *z = p->room, *out = z + p->m * a->g;
    sg_blocks_take(p, z, sg_values(node->in[SG_BLOCKS_X]), a->g);
    if (a->glu)
        sg_blocks_experts(p, z, out);
    else
        sg_blocks_sums(p, sg_values(node->out[0]), z, SG_BLOCKS_DOWN, out);
}

static void sum_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    sg_blocks_sort(&l);
    sg_blocks_tiles(&l, sg_values(node->out[0]), false, sum_part);
}

static void sum_part_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    sg_real *z = l->z + p->at * a->g, *dz = p->room, *dys = dz + p->m * a->g;
    sg_blocks_take(p, z, sg_values(l->node->in[SG_BLOCKS_X]), a->g);
    if (a->glu)
        sg_blocks_experts_backward(p, z, dz, dys);
    else
        sg_blocks_dots(p, dz, SG_BLOCKS_DOWN, dys);
    if (l->grad[SG_BLOCKS_X] != NULL)
        sg_blocks_put(p, l->grad[SG_BLOCKS_X], dz, a->g, l->add[SG_BLOCKS_X]);
}

static void sum_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    bool weights = sg_blocks_gradients(&l);
    l.z = (sg_real *)run->scratch;
    sg_blocks_tiles(&l, NULL, false, sum_part_backward);
    if (l.grad[SG_BLOCKS_X] != NULL && !l.add[SG_BLOCKS_X])
        sg_blocks_void(&l, l.grad[SG_BLOCKS_X], l.a->g);
    if (weights) sg_blocks_weights(&l);
}

// ---- recording ----------------------------------------------------------------------------------

static double steps_flops(const sg_node *node)
{
    const sg_blocks *a = node->attributes;
    const int64_t width = node->in[SG_BLOCKS_UP] != NULL ? a->width : a->g;
    return 2.0 * (double)(a->rows * a->k) * (double)a->d * (double)width;
}

static const sg_op op_pre = {
    .name = "memory_blocks_pre",
    .forward = pre_forward,
    .backward = pre_backward,
    .flops = steps_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_UP,
    .reads_half = 1 << SG_BLOCKS_X,
};

static const sg_op op_sum = {
    .name = "memory_blocks_sum",
    .forward = sum_forward,
    .backward = sum_backward,
    .flops = steps_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_DOWN,
};

static sg_tensor *pre_record(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *up, sg_tensor *up_bias, const sg_blocks *shape)
{
    sg_tensor *in[SG_BLOCKS_INPUTS] = {[SG_BLOCKS_X] = x,
                                       [SG_BLOCKS_IDS] = selection->ids,
                                       [SG_BLOCKS_UP] = up,
                                       [SG_BLOCKS_UP_BIAS] = up_bias,
                                       [SG_BLOCKS_COUNTS] = selection->counts};
    sg_node *node = sg_blocks_record(tape, &op_pre, in, shape, 2 * shape->d + shape->width);
    if (node == NULL) return NULL;
    const int64_t columns = shape->k * shape->width;
    node->scratch_bytes = (size_t)(shape->rows * columns) * sizeof(sg_real);
    return sg_node_output(tape, node, "pre", SG_KIND_REAL, 2, (int64_t[]){shape->rows, columns});
}

static sg_tensor *sum_record(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                             sg_tensor *down, sg_tensor *down_bias, const sg_blocks *shape)
{
    sg_tensor *in[SG_BLOCKS_INPUTS] = {[SG_BLOCKS_X] = post,
                                       [SG_BLOCKS_IDS] = selection->ids,
                                       [SG_BLOCKS_SCORES] = shape->glu ? selection->scores : NULL,
                                       [SG_BLOCKS_DOWN] = down,
                                       [SG_BLOCKS_DOWN_BIAS] = down_bias,
                                       [SG_BLOCKS_COUNTS] = selection->counts};
    sg_node *node = sg_blocks_record(tape, &op_sum, in, shape, 2 * shape->d + shape->g);
    if (node == NULL) return NULL;
    node->scratch_bytes = (size_t)(shape->rows * shape->k * shape->g) * sizeof(sg_real);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2,
                          (int64_t[]){shape->rows, shape->d});
}

// Of cells, which are rows of a table (1, blocks*g, d).
static sg_blocks steps_cells(const sg_selection *s, const sg_tensor *table)
{
    return (sg_blocks){.rows = s->ids->count / s->k,
                       .k = s->k,
                       .blocks = sg_rows(table) / s->unit,
                       .g = s->unit,
                       .d = sg_columns(table),
                       .width = s->unit,
                       .gate = SG_GATE_NONE};
}

static bool steps_cells_fit(const sg_selection *s, const sg_tensor *table, const sg_blocks *a)
{
    return a->blocks >= 1 && a->blocks * a->g == sg_rows(table) && sg_blocks_fit(s, a);
}

sg_tensor *sg_steps_blocks_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                               sg_tensor *w_in)
{
    const sg_blocks a = steps_cells(selection, w_in);
    if (!steps_cells_fit(selection, w_in, &a) || sg_columns(x) != a.d || sg_rows(x) != a.rows)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld: %s does not fit %s",
                            (long long)a.g, w_in->name, x->name);
    return pre_record(tape, x, selection, w_in, NULL, &a);
}

sg_tensor *sg_steps_blocks_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                               sg_tensor *w_out)
{
    const sg_blocks a = steps_cells(selection, w_out);
    if (!steps_cells_fit(selection, w_out, &a) || post->count != a.rows * a.k * a.g)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld: %s does not fit %s",
                            (long long)a.g, w_out->name, post->name);
    return sum_record(tape, post, selection, w_out, NULL, &a);
}

sg_tensor *sg_memory_experts_pre(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                                 sg_tensor *up, sg_tensor *up_bias)
{
    if (!x || !selection->ids || !up) return NULL;
    const sg_blocks a = {.rows = sg_rows(x),
                         .k = selection->k,
                         .blocks = up->shape[0],
                         .g = up->shape[1] / 2,
                         .d = sg_columns(x),
                         .width = up->shape[1],
                         .glu = true,
                         .columns = true,
                         .gate = SG_GATE_NONE};
    if (up->rank != 3 || up->shape[2] != a.d || up->shape[1] % 2 != 0 ||
        (up_bias && up_bias->count != a.blocks * a.width) || !sg_blocks_fit(selection, &a))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "experts: %s does not fit %s", up->name,
                            x->name);
    return pre_record(tape, x, selection, up, up_bias, &a);
}

sg_tensor *sg_memory_experts_sum(sg_tape *tape, sg_tensor *post, const sg_selection *selection,
                                 sg_tensor *down, sg_tensor *down_bias, bool gated)
{
    if (!post || !selection->ids || !selection->scores || !down) return NULL;
    const sg_blocks a = {.rows = selection->ids->count / selection->k,
                         .k = selection->k,
                         .blocks = down->shape[0],
                         .g = down->shape[2],
                         .d = down->shape[1],
                         .width = 2 * down->shape[2],
                         .glu = true,
                         .columns = true,
                         .gate = gated ? SG_GATE_NONE : SG_GATE_AFTER};
    if (down->rank != 3 || post->count != a.rows * a.k * a.g || !sg_blocks_fit(selection, &a) ||
        selection->scores->count != selection->ids->count ||
        (down_bias && down_bias->count != a.blocks * a.d))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "experts: %s does not fit %s", down->name,
                            post->name);
    return sum_record(tape, post, selection, down, down_bias, &a);
}
