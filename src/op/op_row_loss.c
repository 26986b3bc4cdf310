// Losses that are means over rows, of a value that each row has by itself. Over the rows that
// count, of x (rows, n) and for two of them targets t (rows, n):
//
//     l1             sum_j |v_j|                              dv = sgn(v)
//     hoyer          S1^2 / S2, S1 = sum |v|, S2 = sum v^2    dv = 2 h sgn(v) - 2 h^2 v, h = S1/S2
//     cross_entropy  mean_j of softplus(x) - t x              dx = (sigmoid(x) - t) / n
//     squares        mean_j of (x - t)^2                      dx = 2 (x - t) / n
//     efficiency     mean_j of x^2                            dx = 2 x / n
//     separability   mean_j of 1 / max(u^2, e^2), u = x - c   dx = -2 / (n u^3) if |u| > e, else 0
//
// v = x, or max(x, floor) - floor. -> one number; targets have no gradient. Beside it the share of
// zeros: of v = 0 in l1 and hoyer, of x < c in the others. l1 and hoyer are D2DMoE's (Szatkowski et
// al. 2024; square Hoyer: Kurtz et al. 2020, 2.1); cross_entropy trains the routers of MoEfication
// (Zhang et al. 2022), squares those of D2DMoE; efficiency and separability are LTE's
// (Zheng et al. 2024, eq. 4 and 5), whose pole at x = c is cut off here at a distance e.
#include <math.h>
#include <string.h>

#include "op/op.h"

typedef struct row_loss_attributes {
    sg_row_loss_kind kind;
    sg_row_loss_options options;
    double zeros; // of the last pass: share of the numbers that are 0; NaN: no row counted
} row_loss_attributes;

typedef struct row_loss_loop {
    const sg_node *node;
    row_loss_attributes a;
    int64_t width;
    sg_real *grad;
    bool add;
    double weight; // of a row in the gradient
} row_loss_loop;

static const double hoyer_least = 1e-15; // added to S2, as published

// Inputs: x, targets or NULL, what tells the rows that count or NULL.
static bool row_loss_counts(const sg_node *node, int64_t row)
{
    return node->in[2] == NULL || sg_ints(node->in[2])[row] >= 0;
}

static int64_t row_loss_counted(const sg_node *node)
{
    int64_t count = 0;
    for (int64_t r = 0; r < sg_rows(node->in[0]); r++)
        count += row_loss_counts(node, r);
    return count;
}

static double row_loss_v(const row_loss_attributes *a, sg_real x)
{
    if (!a->options.clamped) return (double)x;
    return (double)x > a->options.floor ? (double)x - a->options.floor : 0;
}

// ---- the value of a row -------------------------------------------------------------------------

// S1 and S2.
static void row_loss_sums(const row_loss_attributes *a, const sg_real *x, int64_t n, double sums[2])
{
    sums[0] = sums[1] = 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = row_loss_v(a, x[i]);
        sums[0] += fabs(v);
        sums[1] += v * v;
    }
}

// Of one number of a row, for the kinds that are means of such.
static double row_loss_item(const row_loss_attributes *a, double x, double t)
{
    const double u = x - a->options.centre, e = a->options.least;
    switch (a->kind) {
    case SG_ROW_CROSS_ENTROPY:
        return (x > 0 ? x : 0) - x * t + log1p(exp(-fabs(x)));
    case SG_ROW_SQUARES:
        return (x - t) * (x - t);
    case SG_ROW_EFFICIENCY:
        return x * x;
    default:
        return 1 / fmax(u * u, e * e);
    }
}

// How many numbers of a row are 0, or below the centre.
static int64_t row_loss_count_zeros(const row_loss_attributes *a, const sg_real *x, int64_t n)
{
    const bool of_sum = a->kind == SG_ROW_L1 || a->kind == SG_ROW_HOYER;
    int64_t zeros = 0;
    for (int64_t i = 0; i < n; i++) {
        const double v = row_loss_v(a, x[i]);
        zeros += of_sum ? !(v < 0) && !(v > 0) : (double)x[i] < a->options.centre;
    }
    return zeros;
}

static double row_loss_value(const row_loss_attributes *a, const sg_real *x, const sg_real *t,
                             int64_t n)
{
    double sums[2], sum = 0;
    if (a->kind == SG_ROW_L1 || a->kind == SG_ROW_HOYER) {
        row_loss_sums(a, x, n, sums);
        return a->kind == SG_ROW_L1 ? sums[0] : sums[0] * sums[0] / (sums[1] + hoyer_least);
    }
    for (int64_t i = 0; i < n; i++)
        sum += row_loss_item(a, (double)x[i], t != NULL ? (double)t[i] : 0);
    return sum / (double)n;
}

// saved[0]: of each row its value and how many zeros it has (rows, 2).
static void row_loss_forward_chunk(void *context, sg_range rows)
{
    const row_loss_loop *l = context;
    const sg_real *x = sg_values(l->node->in[0]);
    const sg_real *t = l->node->in[1] != NULL ? sg_values(l->node->in[1]) : NULL;
    sg_real *values = sg_values(l->node->saved[0]);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const int64_t at = r * l->width;
        values[2 * r] = values[2 * r + 1] = 0;
        if (!row_loss_counts(l->node, r)) continue;
        values[2 * r] = (sg_real)row_loss_value(&l->a, x + at, t ? t + at : NULL, l->width);
        values[2 * r + 1] = (sg_real)row_loss_count_zeros(&l->a, x + at, l->width);
    }
}

static row_loss_loop row_loss_make(const sg_node *node)
{
    return (row_loss_loop){.node = node,
                           .a = *(const row_loss_attributes *)node->attributes,
                           .width = sg_columns(node->in[0])};
}

static void row_loss_forward(const sg_run *run, const sg_node *node)
{
    row_loss_loop l = row_loss_make(node);
    const int64_t rows = sg_rows(node->in[0]), counted = row_loss_counted(node);
    sg_parallel_ranges(run->compute.pool, rows, sg_chunk_rows(l.width), row_loss_forward_chunk, &l);
    double sum = 0, zeros = 0;
    for (int64_t r = 0; r < rows; r++) {
        sum += (double)sg_values(node->saved[0])[2 * r];
        zeros += (double)sg_values(node->saved[0])[2 * r + 1];
    }
    ((row_loss_attributes *)node->attributes)->zeros =
        counted > 0 ? zeros / (double)(counted * l.width) : NAN;
    sg_values(node->out[0])[0] = (sg_real)(counted > 0 ? sum / (double)counted : 0);
}

// ---- its gradient -------------------------------------------------------------------------------

static double row_loss_sign(double v)
{
    return (v > 0) - (v < 0);
}

static double row_loss_slope(const row_loss_attributes *a, double x, double t)
{
    const double u = x - a->options.centre;
    switch (a->kind) {
    case SG_ROW_CROSS_ENTROPY:
        return 1 / (1 + exp(-x)) - t;
    case SG_ROW_SQUARES:
        return 2 * (x - t);
    case SG_ROW_EFFICIENCY:
        return 2 * x;
    default:
        return fabs(u) > a->options.least ? -2 / (u * u * u) : 0;
    }
}

static void row_loss_gradient(const row_loss_loop *l, const sg_real *x, const sg_real *t,
                              sg_real *dx)
{
    const row_loss_attributes *a = &l->a;
    double by_sign = 1, by_value = 0, sums[2];
    if (a->kind == SG_ROW_HOYER) {
        row_loss_sums(a, x, l->width, sums);
        const double ratio = sums[0] / (sums[1] + hoyer_least);
        by_sign = 2 * ratio;
        by_value = -2 * ratio * ratio;
    }
    const bool of_sum = a->kind == SG_ROW_L1 || a->kind == SG_ROW_HOYER;
    for (int64_t i = 0; i < l->width; i++) {
        const double v = row_loss_v(a, x[i]);
        const double slope =
            of_sum ? by_sign * row_loss_sign(v) + by_value * v
                   : row_loss_slope(a, (double)x[i], t ? (double)t[i] : 0) / (double)l->width;
        dx[i] += (sg_real)(l->weight * slope);
    }
}

static void row_loss_backward_chunk(void *context, sg_range rows)
{
    const row_loss_loop *l = context;
    const sg_real *x = sg_values(l->node->in[0]);
    const sg_real *t = l->node->in[1] != NULL ? sg_values(l->node->in[1]) : NULL;
    for (int64_t r = rows.first; r < rows.end; r++) {
        const int64_t at = r * l->width;
        if (!l->add) memset(l->grad + at, 0, (size_t)l->width * sizeof *l->grad);
        if (row_loss_counts(l->node, r))
            row_loss_gradient(l, x + at, t ? t + at : NULL, l->grad + at);
    }
}

static void row_loss_backward(const sg_run *run, const sg_node *node)
{
    row_loss_loop l = row_loss_make(node);
    const int64_t counted = row_loss_counted(node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    l.weight = (double)node->out[0]->grad[0] / (double)(counted > 0 ? counted : 1);
    if (l.grad != NULL)
        sg_parallel_ranges(run->compute.pool, sg_rows(node->in[0]), sg_chunk_rows(l.width),
                           row_loss_backward_chunk, &l);
}

static const sg_op op_row_loss = {
    .name = "row_loss",
    .forward = row_loss_forward,
    .backward = row_loss_backward,
    .backward_reads_in = 7,
};

// ---- recording ----------------------------------------------------------------------------------

static bool row_loss_check(sg_tape *tape, sg_row_loss_kind kind, const sg_row_loss_options *o,
                           const sg_tensor *x)
{
    const sg_tensor *t = o->targets, *counted = o->counted;
    const bool wanted = kind == SG_ROW_CROSS_ENTROPY || kind == SG_ROW_SQUARES;
    if ((t != NULL) == wanted && (t == NULL || (t->count == x->count && !t->wants_grad)) &&
        (counted == NULL || (counted->kind == SG_KIND_INT && counted->count == sg_rows(x))) &&
        (kind != SG_ROW_SEPARABILITY || o->least > 0))
        return true;
    sg_tape_fail(tape, SG_ERR_INTERNAL, "row_loss: targets, rows that count or least do not fit %s",
                 x->name);
    return false;
}

sg_tensor *sg_row_loss(sg_tape *tape, sg_row_loss_kind kind, sg_tensor *x,
                       const sg_row_loss_options *options)
{
    const sg_row_loss_options o = options != NULL ? *options : (sg_row_loss_options){0};
    if (x == NULL || !row_loss_check(tape, kind, &o, x)) return NULL;
    sg_node *node = sg_tape_node(tape, &op_row_loss, 3, (sg_tensor *[]){x, o.targets, o.counted});
    row_loss_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (row_loss_attributes){kind, o, NAN};
    node->attributes = a;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){sg_rows(x), 2});
    return sg_node_output(tape, node, "row_loss", SG_KIND_REAL, 1, (int64_t[]){1});
}

bool sg_is_row_loss(const sg_node *node, sg_row_loss_kind kind)
{
    return node->op == &op_row_loss &&
           ((const row_loss_attributes *)node->attributes)->kind == kind;
}

int sg_row_loss_group(const sg_node *node)
{
    return ((const row_loss_attributes *)node->attributes)->options.group;
}

double sg_row_loss_zeros(const sg_node *node)
{
    return ((const row_loss_attributes *)node->attributes)->zeros;
}
