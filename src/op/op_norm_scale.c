// What a norm divides by, and the norm that is given it: the two halves of op_rmsnorm.c and
// op_layernorm.c, for those who want to see what is between them, or change it.
//
//   s = sqrt(mean((x - m)^2) + eps), m = mean(x) of a layer norm, 0 of a root mean square norm
//   y = (x - m) / s w + shift
//
//   ds/dx = (x - m) / (d s)
//   dx = (u - m'(u)) / s, u = w dy, m' the mean where the norm shifts, else 0
//   ds = - sum over the row of u (x - m) / s^2
//   dw = sum over rows of dy (x - m) / s      dshift = sum over rows of dy
//
//   x, y (rows, d), s (rows), w, shift (d). The same numbers as the norms, rounded otherwise.
#include <math.h>
#include <string.h>

#include "op/observe.h"

typedef struct scale_attributes {
    bool shifts;
    double eps;
} scale_attributes;

typedef struct scale_loop {
    const sg_node *node;
    sg_real *dx, *ds;
    sg_real *dw, *dshift;
    bool add_x, add_s, add_w, add_shift;
} scale_loop;

static double scale_mean(const scale_attributes *a, const sg_real *x, int64_t d)
{
    double mean = 0;
    for (int64_t i = 0; a->shifts && i < d; i++)
        mean += (double)x[i] / (double)d;
    return mean;
}

// ---- what it divides by -------------------------------------------------------------------------

static void scale_rows(void *context, sg_range range)
{
    const sg_node *node = context;
    const scale_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[0]);
    for (int64_t r = range.first; r < range.end; r++) {
        const sg_real *x = sg_values(node->in[0]) + r * d;
        double mean = scale_mean(a, x, d), squares = 0;
        for (int64_t i = 0; i < d; i++)
            squares += ((double)x[i] - mean) * ((double)x[i] - mean);
        sg_values(node->out[0])[r] = (sg_real)sqrt(squares / (double)d + a->eps);
    }
}

static void scale_forward(const sg_run *run, const sg_node *node)
{
    sg_parallel_ranges(run->compute.pool, sg_rows(node->in[0]),
                       sg_chunk_rows(sg_columns(node->in[0])), scale_rows, (void *)(uintptr_t)node);
}

static void scale_backward_rows(void *context, sg_range range)
{
    const scale_loop *l = context;
    const int64_t d = sg_columns(l->node->in[0]);
    for (int64_t r = range.first; r < range.end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * d;
        const double mean = scale_mean(l->node->attributes, x, d);
        const double factor =
            (double)l->node->out[0]->grad[r] / ((double)d * (double)sg_values(l->node->out[0])[r]);
        for (int64_t i = 0; i < d; i++)
            l->dx[r * d + i] =
                (l->add_x ? l->dx[r * d + i] : 0) + (sg_real)(factor * ((double)x[i] - mean));
    }
}

static void scale_backward(const sg_run *run, const sg_node *node)
{
    scale_loop l = {.node = node};
    l.dx = sg_grad_in(run, node, 0, &l.add_x);
    if (l.dx == NULL) return;
    sg_parallel_ranges(run->compute.pool, sg_rows(node->in[0]),
                       sg_chunk_rows(sg_columns(node->in[0])), scale_backward_rows, &l);
}

static const sg_op op_norm_scale = {
    .name = "norm_scale",
    .forward = scale_forward,
    .backward = scale_backward,
    .backward_reads_in = 1,
    .backward_reads_out = 1,
};

sg_tensor *sg_norm_scale(sg_tape *tape, sg_tensor *x, bool shifts, double eps)
{
    if (x == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, &op_norm_scale, 1, (sg_tensor *[]){x});
    scale_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (scale_attributes){shifts, eps};
    node->attributes = a;
    return sg_node_output(tape, node, "norm_scale", SG_KIND_REAL, 1, (int64_t[]){sg_rows(x)});
}

// ---- the norm that is given it ------------------------------------------------------------------

enum { divide_x, divide_s, divide_w, divide_shift, divide_inputs };

static void divide_rows(void *context, sg_range range)
{
    const sg_node *node = context;
    const int64_t d = sg_columns(node->in[divide_x]);
    const sg_real *w = sg_values(node->in[divide_w]);
    const sg_real *shift = node->in[divide_shift] ? sg_values(node->in[divide_shift]) : NULL;
    for (int64_t r = range.first; r < range.end; r++) {
        const sg_real *x = sg_values(node->in[divide_x]) + r * d;
        const sg_real mean = (sg_real)scale_mean(node->attributes, x, d);
        const sg_real s = sg_values(node->in[divide_s])[r];
        sg_real *y = sg_values(node->out[0]) + r * d;
        for (int64_t i = 0; i < d; i++)
            y[i] = (x[i] - mean) / s * w[i] + (shift ? shift[i] : 0);
    }
}

static void divide_forward(const sg_run *run, const sg_node *node)
{
    sg_parallel_ranges(run->compute.pool, sg_rows(node->in[0]),
                       sg_chunk_rows(sg_columns(node->in[0])), divide_rows,
                       (void *)(uintptr_t)node);
}

static void divide_backward_rows(void *context, sg_range range)
{
    const scale_loop *l = context;
    const sg_node *node = l->node;
    const scale_attributes *a = node->attributes;
    const int64_t d = sg_columns(node->in[divide_x]);
    const sg_real *w = sg_values(node->in[divide_w]);
    for (int64_t r = range.first; r < range.end; r++) {
        const sg_real *x = sg_values(node->in[divide_x]) + r * d;
        const sg_real *dy = node->out[0]->grad + r * d;
        const double mean = scale_mean(a, x, d), s = (double)sg_values(node->in[divide_s])[r];
        double sum = 0, product = 0;
        for (int64_t i = 0; i < d; i++) {
            const double u = (double)w[i] * (double)dy[i];
            sum += u;
            product += u * ((double)x[i] - mean);
        }
        if (l->ds != NULL) l->ds[r] = (l->add_s ? l->ds[r] : 0) - (sg_real)(product / (s * s));
        const double lost = a->shifts ? sum / (double)d : 0;
        for (int64_t i = 0; l->dx != NULL && i < d; i++)
            l->dx[r * d + i] = (l->add_x ? l->dx[r * d + i] : 0) +
                               (sg_real)(((double)w[i] * (double)dy[i] - lost) / s);
    }
}

// Scale and shift of some columns, over all rows in order.
static void divide_backward_columns(void *context, sg_range range)
{
    const scale_loop *l = context;
    const sg_node *node = l->node;
    const int64_t d = sg_columns(node->in[divide_x]);
    if (l->dw != NULL && !l->add_w)
        memset(l->dw + range.first, 0, (size_t)(range.end - range.first) * sizeof *l->dw);
    if (l->dshift != NULL && !l->add_shift)
        memset(l->dshift + range.first, 0, (size_t)(range.end - range.first) * sizeof *l->dw);
    for (int64_t r = 0; r < sg_rows(node->in[divide_x]); r++) {
        const sg_real *x = sg_values(node->in[divide_x]) + r * d;
        const sg_real *dy = node->out[0]->grad + r * d;
        const sg_real mean = (sg_real)scale_mean(node->attributes, x, d);
        const sg_real s = sg_values(node->in[divide_s])[r];
        for (int64_t i = range.first; i < range.end; i++) {
            if (l->dw != NULL) l->dw[i] += dy[i] * ((x[i] - mean) / s);
            if (l->dshift != NULL) l->dshift[i] += dy[i];
        }
    }
}

static void divide_backward(const sg_run *run, const sg_node *node)
{
    const int64_t d = sg_columns(node->in[divide_x]);
    scale_loop l = {.node = node};
    l.dx = sg_grad_in(run, node, divide_x, &l.add_x);
    l.ds = sg_grad_in(run, node, divide_s, &l.add_s);
    l.dw = sg_grad_in(run, node, divide_w, &l.add_w);
    l.dshift = sg_grad_in(run, node, divide_shift, &l.add_shift);
    if (l.dx != NULL || l.ds != NULL)
        sg_parallel_ranges(run->compute.pool, sg_rows(node->in[divide_x]), sg_chunk_rows(d),
                           divide_backward_rows, &l);
    if (l.dw != NULL || l.dshift != NULL)
        sg_parallel_ranges(run->compute.pool, d, 64, divide_backward_columns, &l);
}

static const sg_op op_norm_divide = {
    .name = "norm_divide",
    .forward = divide_forward,
    .backward = divide_backward,
    .backward_reads_in = 1 << divide_x | 1 << divide_s | 1 << divide_w,
};

sg_tensor *sg_norm_divide(sg_tape *tape, sg_tensor *x, sg_tensor *s, sg_tensor *w, sg_tensor *shift,
                          bool shifts)
{
    if (x == NULL || s == NULL || w == NULL) return NULL;
    if (w->count != sg_columns(x) || s->count != sg_rows(x) ||
        (shift != NULL && shift->count != w->count))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "norm: %s does not fit %s", w->name, x->name);
    sg_node *node =
        sg_tape_node(tape, &op_norm_divide, divide_inputs, (sg_tensor *[]){x, s, w, shift});
    scale_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    a->shifts = shifts;
    node->attributes = a;
    return sg_node_output(tape, node, "norm", SG_KIND_REAL, x->rank, x->shape);
}
