// Reading a memory block by block, all in one operation. x (rows, d), ids and scores (rows, k).
//
// Cells: w_in, w_out (1, blocks*g, d); over the selected blocks e and their cells j
//
//     u_ej = w_in_ej . x      z_ej = s_e act(u_ej)      y = sum of z_ej w_out_ej
//     dz_ej = dy . w_out_ej   ds_e = sum of act(u_ej) dz_ej   du_ej = act'(u_ej) s_e dz_ej
//     dx = sum of du_ej w_in_ej
//
// Experts: up (blocks, 2g, d), down (blocks, d, g), and biases
//
//     u_e = up_e x + b_e      h_e = glu(u_e)            y = sum of s_e (down_e h_e + c_e)
//     dh_e = s_e down_e^T dy  ds_e = h_e . (down_e^T dy) + c_e . dy   du_e = glu'(u_e) dh_e
//     dx = sum of up_e^T du_e
//
// (Fedus et al. 2021; Shazeer 2020, "GLU variants"; Liu et al. 2023 for cells.) Without a gate s is
// 1. How the work is cut, and the gradients of the tables: blocks.c.
#include "ffn/blocks.h"

// ---- forward ------------------------------------------------------------------------------------

// u = x w_in^T, z = gate act(u), y += z w_out
static void cells_forward(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    sg_real *u = p->l->u + p->at * a->g;
    sg_real *xs = p->room, *out = xs + p->m * a->d, *z = out + p->m * a->d;
    sg_blocks_dots(p, u, SG_BLOCKS_UP, xs);
    kernels->act_forward(z, u, a->activation, p->m * a->g);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < p->m; i++)
        kernels->scale(z + i * a->g, sg_blocks_score(p, i), a->g);
    sg_blocks_sums(p, sg_values(node->out[0]), z, SG_BLOCKS_DOWN, out);
}

// u = x up^T + b, z = glu(u), y += gate (z down^T + b)
static void glu_forward(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    const sg_node *node = p->l->node;
    sg_real *u = p->l->u + p->at * a->width;
    sg_real *xs = p->room, *out = xs + p->m * a->d, *z = out + p->m * a->d;
    const sg_blocks_rows rows = sg_blocks_gather_x(p, xs);
    sg_real beta = sg_blocks_bias(p, u, SG_BLOCKS_UP_BIAS, a->width);
    sg_blocks_product(p, u, rows, node->in[SG_BLOCKS_UP], a->width, a->d, beta);
    kernels->glu_forward(z, u, p->m, a->g, &a->form);
    sg_blocks_experts(p, z, out);
}

static void blocks_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    l.u = sg_values(node->saved[2]);
    sg_blocks_sort(&l);
    sg_blocks_tiles(&l, sg_values(node->out[0]), false, l.a->glu ? glu_forward : cells_forward);
}

// ---- backward -----------------------------------------------------------------------------------

// dz = dy w_out^T, dscore = act(u) . dz, du = act'(u) score dz, dx += du w_in; kept: score act(u),
// du
static void cells_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_real *u = l->u + p->at * a->g;
    sg_real *z = l->z + p->at * a->g, *da = l->da + p->at * a->g;
    sg_real *dys = p->room, *dxs = dys + p->m * a->d;
    sg_blocks_dots(p, da, SG_BLOCKS_DOWN, dys);
    kernels->act_forward(z, u, a->activation, p->m * a->g);
    sg_blocks_gate_backward(p, z, da);
    kernels->act_backward(da, da, u, a->activation, p->m * a->g, false);
    if (l->grad[SG_BLOCKS_X] != NULL)
        sg_blocks_sums(p, l->grad[SG_BLOCKS_X], da, SG_BLOCKS_UP, dxs);
}

// dz = dy down, dscore = z . dz + bias . dy, du = glu'(u) score dz, dx += du up
static void glu_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_real *u = l->u + p->at * a->width;
    sg_real *z = l->z + p->at * a->g, *da = l->da + p->at * a->width;
    sg_real *dys = p->room, *dxs = dys + p->m * a->d, *dz = dxs + p->m * a->d;
    kernels->glu_forward(z, u, p->m, a->g, &a->form);
    sg_blocks_experts_backward(p, z, dz, dys);
    kernels->glu_backward(da, dz, u, p->m, a->g, &a->form);
    sg_blocks_dx(p, da, dxs);
}

static void blocks_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    const sg_blocks *a = l.a;
    bool weights = sg_blocks_gradients(&l);
    l.u = sg_values(node->saved[2]);
    l.z = (sg_real *)run->scratch;
    l.da = l.z + a->rows * a->k * a->g;
    sg_blocks_tiles(&l, l.grad[SG_BLOCKS_X], l.add[SG_BLOCKS_X],
                    a->glu ? glu_backward : cells_backward);
    if (weights) sg_blocks_weights(&l);
}

// Selected blocks only (spec 5.9), as if there were no counts, which a recording does not know.
static double blocks_flops(const sg_node *node)
{
    const sg_blocks *a = node->attributes;
    return (a->glu ? 6.0 : 4.0) * (double)(a->rows * a->k) * (double)a->d * (double)a->g;
}

static const sg_op op_blocks = {
    .name = "memory_blocks",
    .forward = blocks_forward,
    .backward = blocks_backward,
    .flops = blocks_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_UP | 1 << SG_BLOCKS_DOWN,
    .reads_half = 1 << SG_BLOCKS_X,
};

// ---- recording ----------------------------------------------------------------------------------

// x, ids, scores, tables, counts; `shape` says what they are.
static sg_tensor *blocks_record(sg_tape *tape, sg_tensor *const in[SG_BLOCKS_INPUTS],
                                const sg_blocks *shape)
{
    int64_t hits = shape->rows * shape->k, values = hits * (shape->g + shape->width);
    sg_node *node = sg_blocks_record(tape, &op_blocks, in, shape, 2 * shape->d + shape->g);
    if (node == NULL) return NULL;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){hits, shape->width});
    node->scratch_bytes = (size_t)values * sizeof(sg_real);
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2,
                          (int64_t[]){shape->rows, shape->d});
}

sg_tensor *sg_memory_experts(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *up, sg_tensor *up_bias, sg_tensor *down,
                             sg_tensor *down_bias, const sg_glu_form *form)
{
    sg_tensor *ids = selection->ids, *scores = selection->scores;
    if (!x || !ids || !scores || !up || !down) return NULL;
    sg_blocks a = {.rows = sg_rows(x),
                   .k = selection->k,
                   .blocks = up->shape[0],
                   .g = up->shape[1] / 2,
                   .d = sg_columns(x),
                   .width = up->shape[1],
                   .glu = true,
                   .columns = true,
                   .form = *form,
                   .gate = SG_GATE_AFTER};
    if (up->rank != 3 || down->rank != 3 || up->shape[2] != a.d || up->shape[1] % 2 != 0 ||
        down->count * 2 != up->count || !up_bias != !down_bias ||
        (up_bias && up_bias->count != a.blocks * a.width) ||
        (down_bias && down_bias->count != a.blocks * a.d) || !sg_blocks_fit(selection, &a))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "experts: %s does not fit %s", up->name,
                            x->name);
    return blocks_record(
        tape,
        (sg_tensor *[]){x, ids, scores, up, up_bias, down, down_bias, selection->counts, NULL}, &a);
}

sg_tensor *sg_memory_blocks(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                            sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                            sg_gate gate)
{
    const int64_t g = selection->unit;
    sg_tensor *ids = selection->ids, *scores = gate == SG_GATE_NONE ? NULL : selection->scores;
    if (!x || !ids || (!scores && gate != SG_GATE_NONE) || !w_in || !w_out) return NULL;
    int64_t d = sg_columns(x), cells = sg_rows(w_in);
    sg_blocks a = {.rows = sg_rows(x),
                   .k = selection->k,
                   .blocks = g > 0 ? cells / g : 0,
                   .g = g,
                   .d = d,
                   .width = g,
                   .activation = activation,
                   .gate = gate};
    if (a.blocks < 1 || a.blocks * g != cells || sg_columns(w_in) != d || sg_columns(w_out) != d ||
        w_out->count != w_in->count || gate == SG_GATE_BEFORE || gate == SG_GATE_VALUE ||
        !sg_blocks_fit(selection, &a))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld: %s does not fit %s",
                            (long long)g, w_in->name, x->name);
    return blocks_record(
        tape, (sg_tensor *[]){x, ids, scores, w_in, NULL, w_out, NULL, selection->counts, NULL},
        &a);
}

// Below it a product of a block has too few columns to pay for gathering its rows.
enum { cells_product_min = 16 };

sg_selection sg_memory_selection(sg_tape *tape, const sg_selection *selection)
{
    return selection->unit >= cells_product_min ? *selection : sg_expand_blocks(tape, selection);
}

sg_tensor *sg_memory_cells(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                           sg_tensor *w_in, sg_tensor *w_out, sg_activation activation,
                           sg_gate gate)
{
    const sg_selection s = sg_memory_selection(tape, selection);
    return s.unit == 1 ? sg_memory_neurons(tape, x, &s, w_in, w_out, activation, gate)
                       : sg_memory_blocks(tape, x, &s, w_in, w_out, activation, gate);
}
