// Batch norm of columns (Ioffe & Szegedy 2015). Of each column x (rows) of x (rows, d):
//
//     y = h w + b      h = (x - mean) rstd      rstd = 1 / sqrt(var + eps)
//     dw = sum of dy h      db = sum of dy
//     dx = w rstd (dy - db / rows - h dw / rows)      in training; else w rstd dy
//
// In training, mean and variance are those of the rows of the batch; otherwise they are running
// averages, so that a result does not depend on what else is in the batch. The averages are buffers
// (ffn/params.h): the backward pass leaves the batch's mean and unbiased variance where their
// gradients would be.
#include <math.h>
#include <string.h>

#include "op/op.h"

enum { bn_x, bn_scale, bn_shift, bn_mean, bn_variance }; // inputs

typedef struct bn_attributes {
    double eps;
    bool training;
} bn_attributes;

typedef struct bn_loop bn_loop;
struct bn_loop {
    const sg_node *node;
    const bn_attributes *a;
    int64_t rows, d;
    // What is summed over rows: two numbers of one element.
    void (*term)(const bn_loop *l, int64_t row, int64_t column, double term[2]);
    double *parts; // (chunks, 2, d), added up in the order of chunks
    double *sums;  // (2, d)
    const sg_real *mean, *rstd;
    sg_real *dx;
    bool add;
};

static bn_loop bn_make(const sg_run *run, const sg_node *node)
{
    int64_t d = sg_columns(node->in[bn_x]);
    double *sums = (double *)(void *)run->scratch;
    return (bn_loop){.node = node,
                     .a = node->attributes,
                     .rows = sg_rows(node->in[bn_x]),
                     .d = d,
                     .sums = sums,
                     .parts = sums + 2 * d};
}

// saved (3, d): mean, rstd, unbiased variance of the batch.
static sg_real *bn_saved(const bn_loop *l, int which)
{
    return sg_values(l->node->saved[0]) + which * l->d;
}

// ---- sums over rows -----------------------------------------------------------------------------

static void bn_sum_chunk(void *context, sg_range rows)
{
    const bn_loop *l = context;
    double *parts = l->parts + rows.chunk * 2 * l->d, term[2];
    memset(parts, 0, (size_t)(2 * l->d) * sizeof *parts);
    for (int64_t r = rows.first; r < rows.end; r++)
        for (int64_t j = 0; j < l->d; j++) {
            l->term(l, r, j, term);
            parts[j] += term[0];
            parts[l->d + j] += term[1];
        }
}

static void bn_sum(const sg_run *run, bn_loop *l,
                   void (*term)(const bn_loop *, int64_t, int64_t, double[2]))
{
    const int64_t chunk = sg_chunk_rows(l->d), chunks = sg_chunks(l->rows, chunk);
    l->term = term;
    sg_parallel_ranges(run->compute.pool, l->rows, chunk, bn_sum_chunk, l);
    memset(l->sums, 0, (size_t)(2 * l->d) * sizeof *l->sums);
    for (int64_t c = 0; c < chunks; c++)
        for (int64_t j = 0; j < 2 * l->d; j++)
            l->sums[j] += l->parts[c * 2 * l->d + j];
}

// x, and x^2 of the distance from the first row, which keeps the difference of the two exact
// enough.
static void bn_term_x(const bn_loop *l, int64_t row, int64_t column, double term[2])
{
    const sg_real *x = sg_values(l->node->in[bn_x]) + column;
    term[0] = (double)x[row * l->d] - (double)x[0];
    term[1] = term[0] * term[0];
}

static sg_real bn_hat(const bn_loop *l, int64_t row, int64_t column)
{
    return (sg_values(l->node->in[bn_x])[row * l->d + column] - l->mean[column]) * l->rstd[column];
}

static void bn_term_gradient(const bn_loop *l, int64_t row, int64_t column, double term[2])
{
    term[0] = (double)l->node->out[0]->grad[row * l->d + column];
    term[1] = term[0] * (double)bn_hat(l, row, column);
}

// ---- forward ----------------------------------------------------------------------------------

static void bn_forward_chunk(void *context, sg_range rows)
{
    const bn_loop *l = context;
    const sg_real *scale = sg_values(l->node->in[bn_scale]);
    const sg_real *shift = sg_values(l->node->in[bn_shift]);
    for (int64_t r = rows.first; r < rows.end; r++)
        for (int64_t j = 0; j < l->d; j++)
            sg_values(l->node->out[0])[r * l->d + j] = bn_hat(l, r, j) * scale[j] + shift[j];
}

static void bn_forward(const sg_run *run, const sg_node *node)
{
    bn_loop l = bn_make(run, node);
    double n = (double)l.rows;
    sg_real *mean = bn_saved(&l, 0), *rstd = bn_saved(&l, 1), *unbiased = bn_saved(&l, 2);
    if (l.a->training) bn_sum(run, &l, bn_term_x);
    for (int64_t j = 0; j < l.d; j++) {
        double variance = (double)sg_values(node->in[bn_variance])[j];
        mean[j] = sg_values(node->in[bn_mean])[j];
        if (l.a->training) {
            double offset = l.sums[j] / n;
            variance = fmax(0, l.sums[l.d + j] / n - offset * offset);
            mean[j] = (sg_real)(offset + (double)sg_values(node->in[bn_x])[j]);
        }
        rstd[j] = (sg_real)(1 / sqrt(variance + l.a->eps));
        unbiased[j] = (sg_real)(l.rows > 1 ? variance * n / (n - 1) : variance);
    }
    l.mean = mean;
    l.rstd = rstd;
    sg_parallel_ranges(run->compute.pool, l.rows, sg_chunk_rows(l.d), bn_forward_chunk, &l);
}

// ---- backward ---------------------------------------------------------------------------------

// dx = w rstd (dy - mean(dy) - h mean(dy h)), h = (x - mean) rstd, means over rows; averages that
// do not depend on x leave w rstd dy.
static void bn_backward_chunk(void *context, sg_range rows)
{
    const bn_loop *l = context;
    const sg_real *scale = sg_values(l->node->in[bn_scale]);
    double share = l->a->training ? 1 / (double)l->rows : 0;
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *dy = l->node->out[0]->grad + r * l->d;
        sg_real *dx = l->dx + r * l->d;
        for (int64_t j = 0; j < l->d; j++) {
            sg_real mean_dy = (sg_real)(l->sums[j] * share);
            sg_real mean_dyh = (sg_real)(l->sums[l->d + j] * share);
            dx[j] = (l->add ? dx[j] : 0) +
                    scale[j] * l->rstd[j] * (dy[j] - mean_dy - bn_hat(l, r, j) * mean_dyh);
        }
    }
}

// Puts d numbers where the gradient of an input goes, if it is wanted.
static void bn_put(const sg_run *run, const sg_node *node, int input, const double *from,
                   const sg_real *saved, int64_t d)
{
    bool add = false;
    sg_real *to = sg_grad_in(run, node, input, &add);
    for (int64_t j = 0; to != NULL && j < d; j++)
        to[j] = (add ? to[j] : 0) + (saved ? saved[j] : (sg_real)from[j]);
}

static void bn_backward(const sg_run *run, const sg_node *node)
{
    bn_loop l = bn_make(run, node);
    l.mean = bn_saved(&l, 0);
    l.rstd = bn_saved(&l, 1);
    bn_sum(run, &l, bn_term_gradient);
    l.dx = sg_grad_in(run, node, bn_x, &l.add);
    if (l.dx != NULL)
        sg_parallel_ranges(run->compute.pool, l.rows, sg_chunk_rows(l.d), bn_backward_chunk, &l);
    bn_put(run, node, bn_scale, l.sums + l.d, NULL, l.d);
    bn_put(run, node, bn_shift, l.sums, NULL, l.d);
    if (!l.a->training) return;
    bn_put(run, node, bn_mean, NULL, bn_saved(&l, 0), l.d);
    bn_put(run, node, bn_variance, NULL, bn_saved(&l, 2), l.d);
}

static const sg_op op_batchnorm = {
    .name = "batchnorm",
    .forward = bn_forward,
    .backward = bn_backward,
    .backward_reads_in = 1 << bn_x | 1 << bn_scale,
};

sg_tensor *sg_batchnorm(sg_tape *tape, sg_tensor *x, sg_tensor *scale, sg_tensor *shift,
                        sg_tensor *mean, sg_tensor *variance, double eps, bool training)
{
    if (!x || !scale || !shift || !mean || !variance) return NULL;
    int64_t d = sg_columns(x);
    if (scale->count != d || shift->count != d || mean->count != d || variance->count != d)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "batchnorm: %s does not fit %s", scale->name,
                            x->name);
    sg_tensor *in[] = {x, scale, shift, mean, variance};
    sg_node *node = sg_tape_node(tape, &op_batchnorm, 5, in);
    bn_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (bn_attributes){eps, training};
    node->attributes = a;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){3, d});
    int64_t parts = 1 + sg_chunks(sg_rows(x), sg_chunk_rows(d));
    node->scratch_bytes = (size_t)(2 * parts * d) * sizeof(double);
    return sg_node_output(tape, node, "batchnorm", SG_KIND_REAL, x->rank, x->shape);
}
