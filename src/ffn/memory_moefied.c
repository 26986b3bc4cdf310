// A dense layer whose neurons lie in blocks, of which each row reads those that were selected for
// it. x (rows, d); over the selected blocks e and their neurons j
//
//     u_ej = w_in_ej . x + b_ej                 or of a gated unit  g_ej, l_ej likewise
//     z_ej = s_e (act(u_ej) - m_ej)             or  s_e (act(g_ej) l_ej - m_ej)
//            0 where |act(u_ej)| <= t           or  where |act(g_ej)| <= t
//     y    = c + sum of z_ej w_out_ej
//
//     dz_ej = dy . w_out_ej    ds_e = sum of z_ej dz_ej / s_e    du_ej = act'(u_ej) s_e dz_ej
//     dx = sum of du_ej w_in_ej    dw_in_ej = sum of du_ej x    dw_out_ej = sum of z_ej dy
//     db_ej = sum of du_ej    dc = sum over rows of dy
//
// m and c are 0 where there are none, s is 1 without a gate, t is 0 or a threshold, and no gradient
// passes where z is 0 by it (CATS, Lee et al. 2024; exact for ReLU: ProSparse, 2024). (Zhang et al.
// 2022, MoEfication; m are means of activations, whose part in y of blocks that are not selected is
// in c: G-MoEfication, 2024.) y is summed block by block in the order of the blocks, so what is not
// selected is all that sets it apart from the dense layer. In one operation, or in two that stop
// between u and z.
#include "ffn/moefied.h"

#include <string.h>

#include "op/trim.h"

// ---- forward ------------------------------------------------------------------------------------

static void moefied_subtract(const sg_blocks_part *p, sg_real *z)
{
    const sg_tensor *mean = p->l->node->in[SG_BLOCKS_MEAN];
    const int64_t g = p->l->a->g;
    if (mean == NULL) return;
    for (int64_t i = 0; i < p->m; i++)
        for (int64_t j = 0; j < g; j++)
            z[i * g + j] -= sg_values(mean)[p->block * g + j];
}

// Sets z (m, g), and dz where it is not NULL, to 0 where the threshold leaves neurons out, by u.
// room (g).
static void moefied_trim(const sg_blocks_part *p, sg_real *z, sg_real *dz, const sg_real *u,
                         sg_real *room)
{
    const sg_blocks *a = p->l->a;
    for (int64_t i = 0; a->trim > 0 && i < p->m; i++) {
        if (a->glu)
            p->l->run->compute.kernels->act_forward(room, u + i * a->width, a->activation, a->g);
        else
            memcpy(room, z + i * a->g, (size_t)a->g * sizeof *room);
        sg_trim_values(z + i * a->g, z + i * a->g, room, a->g, a->trim);
        if (dz != NULL) sg_trim_values(dz + i * a->g, dz + i * a->g, room, a->g, a->trim);
    }
}

// z (m, g): act of u, less the mean, times the score; behind it room for g.
static void moefied_act(const sg_blocks_part *p, sg_real *z, const sg_real *u)
{
    const sg_blocks *a = p->l->a;
    const sg_kernels *kernels = p->l->run->compute.kernels;
    if (a->glu)
        kernels->glu_forward(z, u, p->m, a->g, &a->form);
    else
        kernels->act_forward(z, u, a->activation, p->m * a->g);
    moefied_trim(p, z, NULL, u, z + p->m * a->g);
    moefied_subtract(p, z);
    for (int64_t i = 0; a->gate != SG_GATE_NONE && i < p->m; i++)
        kernels->scale(z + i * a->g, sg_blocks_score(p, i), a->g);
}

// u (m, width), x gathered in xs.
static void moefied_dots(const sg_blocks_part *p, sg_real *u, sg_real *xs)
{
    const sg_blocks *a = p->l->a;
    const sg_blocks_rows rows = sg_blocks_gather_x(p, xs);
    const sg_real beta = sg_blocks_bias(p, u, SG_BLOCKS_UP_BIAS, a->width);
    sg_blocks_product(p, u, rows, p->l->node->in[SG_BLOCKS_UP], a->width, a->d, beta);
}

static void all_part(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    sg_real *u = p->l->u + p->at * a->width;
    sg_real *xs = p->room, *out = xs + p->m * a->d, *z = out + p->m * a->d;
    moefied_dots(p, u, xs);
    moefied_act(p, z, u);
    sg_blocks_sums(p, sg_values(p->l->node->out[0]), z, SG_BLOCKS_DOWN, out);
}

static void pre_part(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    sg_real *xs = p->room, *u = xs + p->m * a->d;
    moefied_dots(p, u, xs);
    sg_blocks_put(p, sg_values(p->l->node->out[0]), u, a->width, false);
}

static void sum_part(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    sg_real *z = p->room, *out = z + p->m * a->g;
    sg_blocks_take(p, z, sg_values(p->l->node->in[SG_BLOCKS_X]), a->g);
    moefied_subtract(p, z);
    sg_blocks_sums(p, sg_values(p->l->node->out[0]), z, SG_BLOCKS_DOWN, out);
}

static void moefied_bias_rows(void *context, sg_range rows)
{
    const sg_blocks_loop *l = context;
    const sg_tensor *bias = l->node->in[SG_BLOCKS_DOWN_BIAS];
    const int64_t d = l->a->d;
    for (int64_t r = rows.first; r < rows.end; r++) {
        sg_real *y = sg_values(l->node->out[0]) + r * d;
        if (bias != NULL)
            memcpy(y, sg_values(bias), (size_t)d * sizeof *y);
        else
            memset(y, 0, (size_t)d * sizeof *y);
    }
}

// y of many rows, each of which begins with the bias.
static void moefied_many(sg_blocks_loop *l, sg_blocks_fn part)
{
    sg_parallel_ranges(l->run->compute.pool, l->a->rows, sg_chunk_rows(l->a->d), moefied_bias_rows,
                       l);
    sg_blocks_tiles(l, sg_values(l->node->out[0]), true, part);
}

static void all_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    l.u = sg_values(node->saved[2]);
    sg_blocks_sort(&l);
    if (sg_moefied_are_few(node))
        sg_moefied_few(&l);
    else
        moefied_many(&l, all_part);
}

static void pre_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    sg_blocks_sort(&l);
    if (sg_moefied_are_few(node))
        sg_moefied_few(&l);
    else
        sg_blocks_tiles(&l, NULL, false, pre_part);
    sg_blocks_void(&l, sg_values(node->out[0]), l.a->width);
}

static void sum_forward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    sg_blocks_sort(&l);
    if (sg_moefied_are_few(node))
        sg_moefied_few(&l);
    else
        moefied_many(&l, sum_part);
}

// ---- backward -----------------------------------------------------------------------------------

static void all_part_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    const sg_kernels *kernels = l->run->compute.kernels;
    const sg_real *u = l->u + p->at * a->width;
    sg_real *z = l->z + p->at * a->g, *da = l->da + p->at * a->width;
    sg_real *dys = p->room, *dxs = dys + p->m * a->d, *dz = dxs + p->m * a->d;
    sg_blocks_dots(p, dz, SG_BLOCKS_DOWN, dys);
    if (a->glu)
        kernels->glu_forward(z, u, p->m, a->g, &a->form);
    else
        kernels->act_forward(z, u, a->activation, p->m * a->g);
    moefied_trim(p, z, dz, u, dz + p->m * a->g);
    moefied_subtract(p, z);
    sg_blocks_gate_backward(p, z, dz);
    if (a->glu)
        kernels->glu_backward(da, dz, u, p->m, a->g, &a->form);
    else
        kernels->act_backward(da, dz, u, a->activation, p->m * a->g, false);
    sg_blocks_dx(p, da, dxs);
}

static void pre_part_backward(const sg_blocks_part *p)
{
    const sg_blocks *a = p->l->a;
    sg_real *da = p->l->da + p->at * a->width;
    sg_blocks_take(p, da, p->l->node->out[0]->grad, a->width);
    sg_blocks_dx(p, da, p->room);
}

static void sum_part_backward(const sg_blocks_part *p)
{
    const sg_blocks_loop *l = p->l;
    const sg_blocks *a = l->a;
    sg_real *z = l->z + p->at * a->g, *dz = p->room, *dys = dz + p->m * a->g;
    sg_blocks_take(p, z, sg_values(l->node->in[SG_BLOCKS_X]), a->g);
    moefied_subtract(p, z);
    sg_blocks_dots(p, dz, SG_BLOCKS_DOWN, dys);
    if (l->grad[SG_BLOCKS_X] != NULL)
        sg_blocks_put(p, l->grad[SG_BLOCKS_X], dz, a->g, l->add[SG_BLOCKS_X]);
}

// dc = sum of dy, of all rows, whatever they select.
static void moefied_bias_backward(const sg_blocks_loop *l)
{
    const sg_blocks *a = l->a;
    sg_real *dbias = l->grad[SG_BLOCKS_DOWN_BIAS];
    if (dbias == NULL) return;
    if (!l->add[SG_BLOCKS_DOWN_BIAS]) memset(dbias, 0, (size_t)a->d * sizeof *dbias);
    for (int64_t r = 0; r < a->rows; r++)
        l->run->compute.kernels->add(dbias, dbias, l->node->out[0]->grad + r * a->d, a->d);
}

static void all_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    const bool weights = sg_blocks_gradients(&l);
    l.u = sg_values(node->saved[2]);
    l.z = (sg_real *)run->scratch;
    l.da = l.z + l.a->rows * l.a->k * l.a->g;
    sg_blocks_tiles(&l, l.grad[SG_BLOCKS_X], l.add[SG_BLOCKS_X], all_part_backward);
    if (weights) sg_blocks_weights(&l);
    moefied_bias_backward(&l);
}

static void pre_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    const bool weights = sg_blocks_gradients(&l);
    l.da = (sg_real *)run->scratch;
    sg_blocks_tiles(&l, l.grad[SG_BLOCKS_X], l.add[SG_BLOCKS_X], pre_part_backward);
    if (weights) sg_blocks_weights(&l);
}

static void sum_backward(const sg_run *run, const sg_node *node)
{
    sg_blocks_loop l = sg_blocks_begin(run, node);
    const bool weights = sg_blocks_gradients(&l);
    sg_real *dpost = l.grad[SG_BLOCKS_X];
    l.z = (sg_real *)run->scratch;
    sg_blocks_tiles(&l, NULL, false, sum_part_backward);
    if (dpost != NULL && !l.add[SG_BLOCKS_X]) sg_blocks_void(&l, dpost, l.a->g);
    if (weights) sg_blocks_weights(&l);
    moefied_bias_backward(&l);
}

// ---- recording ----------------------------------------------------------------------------------

// Selected blocks only, as if there were no counts, which a recording does not know.
static double moefied_flops(const sg_node *node)
{
    const sg_blocks *a = node->attributes;
    const int64_t rows = (node->in[SG_BLOCKS_UP] != NULL ? a->width : 0) +
                         (node->in[SG_BLOCKS_DOWN] != NULL ? a->g : 0);
    return 2.0 * (double)(a->rows * a->k) * (double)a->d * (double)rows;
}

static const sg_op op_all = {
    .name = "memory_moefied",
    .forward = all_forward,
    .backward = all_backward,
    .flops = moefied_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_UP | 1 << SG_BLOCKS_DOWN,
    .reads_half = 1 << SG_BLOCKS_X,
};

static const sg_op op_pre = {
    .name = "memory_moefied_pre",
    .forward = pre_forward,
    .backward = pre_backward,
    .flops = moefied_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_UP,
    .reads_half = 1 << SG_BLOCKS_X,
};

static const sg_op op_sum = {
    .name = "memory_moefied_sum",
    .forward = sum_forward,
    .backward = sum_backward,
    .flops = moefied_flops,
    .backward_reads_in = (1 << SG_BLOCKS_INPUTS) - 1,
    .forward_reads_narrow = 1 << SG_BLOCKS_DOWN,
};

static sg_blocks moefied_shape(const sg_selection *s, const sg_moefied *of, int64_t rows)
{
    const int64_t g = s->unit, cells = sg_rows(of->down);
    return (sg_blocks){.rows = rows,
                       .k = s->k,
                       .blocks = g > 0 ? cells / g : 0,
                       .g = g,
                       .d = sg_columns(of->down),
                       .width = of->glu ? 2 * g : g,
                       .glu = of->glu,
                       .form = of->form,
                       .activation = of->activation,
                       .gate = of->gate,
                       .trim = of->trim};
}

static bool moefied_fit(const sg_selection *s, const sg_moefied *of, const sg_blocks *a)
{
    const int64_t cells = a->blocks * a->g;
    return a->blocks >= 1 && cells == sg_rows(of->down) && sg_columns(of->up) == a->d &&
           sg_rows(of->up) == a->blocks * a->width && !a->form.interleaved &&
           (a->gate == SG_GATE_NONE || (a->gate == SG_GATE_AFTER && of->mean == NULL)) &&
           of->trim >= 0 && (of->trim == 0 || (of->mean == NULL && of->gate == SG_GATE_NONE)) &&
           (of->up_bias == NULL || of->up_bias->count == a->blocks * a->width) &&
           (of->down_bias == NULL || of->down_bias->count == a->d) &&
           (of->mean == NULL || of->mean->count == cells) && sg_blocks_fit(s, a);
}

static void *moefied_wrong(sg_tape *tape, const sg_selection *s, const sg_tensor *x,
                           const sg_moefied *of)
{
    return sg_tape_fail(tape, SG_ERR_INTERNAL, "blocks of %lld neurons: %s does not fit %s",
                        (long long)s->unit, of->down->name, x->name);
}

// A node whose scratch has room for `values` of each hit, and for few rows.
static sg_node *moefied_record(sg_tape *tape, const sg_op *op,
                               sg_tensor *const in[SG_BLOCKS_INPUTS], const sg_blocks *a,
                               int64_t values)
{
    sg_node *node = sg_blocks_record(tape, op, in, a, 2 * a->d + a->width + 3 * a->g);
    if (node == NULL) return NULL;
    node->scratch_bytes = (size_t)(a->rows * a->k * values) * sizeof(sg_real);
    const size_t few = sg_moefied_are_few(node) ? sg_moefied_few_bytes(node->attributes) : 0;
    if (few > node->scratch_bytes) node->scratch_bytes = few;
    return node;
}

sg_tensor *sg_memory_moefied(sg_tape *tape, sg_tensor *x, const sg_selection *s,
                             const sg_moefied *of)
{
    sg_tensor *scores = of->gate == SG_GATE_NONE ? NULL : s->scores;
    if (!x || !s->ids || (!scores && of->gate != SG_GATE_NONE) || !of->up || !of->down) return NULL;
    const sg_blocks a = moefied_shape(s, of, sg_rows(x));
    if (!moefied_fit(s, of, &a) || sg_columns(x) != a.d) return moefied_wrong(tape, s, x, of);
    sg_tensor *in[SG_BLOCKS_INPUTS] = {x,        s->ids,        scores,    of->up,  of->up_bias,
                                       of->down, of->down_bias, s->counts, of->mean};
    sg_node *node = moefied_record(tape, &op_all, in, &a, a.g + a.width);
    if (node == NULL) return NULL;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){a.rows * a.k, a.width});
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a.rows, a.d});
}

sg_tensor *sg_memory_moefied_pre(sg_tape *tape, sg_tensor *x, const sg_selection *s,
                                 const sg_moefied *of)
{
    if (!x || !s->ids || !of->up || !of->down) return NULL;
    const sg_blocks a = moefied_shape(s, of, sg_rows(x));
    if (!moefied_fit(s, of, &a) || sg_columns(x) != a.d) return moefied_wrong(tape, s, x, of);
    sg_tensor *in[SG_BLOCKS_INPUTS] = {[SG_BLOCKS_X] = x,
                                       [SG_BLOCKS_IDS] = s->ids,
                                       [SG_BLOCKS_UP] = of->up,
                                       [SG_BLOCKS_UP_BIAS] = of->up_bias,
                                       [SG_BLOCKS_COUNTS] = s->counts};
    sg_node *node = moefied_record(tape, &op_pre, in, &a, a.width);
    if (node == NULL) return NULL;
    return sg_node_output(tape, node, "pre", SG_KIND_REAL, 2, (int64_t[]){a.rows, a.k * a.width});
}

sg_tensor *sg_memory_moefied_sum(sg_tape *tape, sg_tensor *post, const sg_selection *s,
                                 const sg_moefied *of)
{
    if (!post || !s->ids || !of->up || !of->down) return NULL;
    const sg_blocks a = moefied_shape(s, of, s->ids->count / s->k);
    if (!moefied_fit(s, of, &a) || post->count != a.rows * a.k * a.g)
        return moefied_wrong(tape, s, post, of);
    sg_tensor *in[SG_BLOCKS_INPUTS] = {
        [SG_BLOCKS_X] = post,           [SG_BLOCKS_IDS] = s->ids,
        [SG_BLOCKS_DOWN] = of->down,    [SG_BLOCKS_DOWN_BIAS] = of->down_bias,
        [SG_BLOCKS_COUNTS] = s->counts, [SG_BLOCKS_MEAN] = of->mean};
    sg_node *node = moefied_record(tape, &op_sum, in, &a, a.g);
    if (node == NULL) return NULL;
    return sg_node_output(tape, node, "memory", SG_KIND_REAL, 2, (int64_t[]){a.rows, a.d});
}
