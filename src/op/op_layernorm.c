// Layer norm with a learned scale and, if wanted, shift (Ba et al. 2016). Of each row x (d), w (d),
// shift (d):
//
//     y = h w + shift      h = (x - mean(x)) rstd      rstd = 1 / sqrt(var(x) + eps)
//     dx = rstd (u - mean(u) - h mean(u h)), u = w dy
//     dw = sum over rows of dy h      dshift = sum over rows of dy
//
// x (rows, d) -> y (rows, d); mean and rstd (rows, 2) are kept for the backward pass.
#include <math.h>
#include <string.h>

#include "op/op.h"

typedef struct layernorm_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t rows, d;
    sg_real *dx;
    sg_real *dw_parts, *dshift_parts; // (chunks, d): summed in the order of chunks afterwards
    bool add;
} layernorm_loop;

static layernorm_loop layernorm_make(const sg_run *run, const sg_node *node)
{
    int64_t d = sg_columns(node->in[0]);
    return (layernorm_loop){.run = run, .node = node, .rows = sg_rows(node->in[0]), .d = d};
}

// saved (rows, 2): mean and rstd.
static void layernorm_forward_chunk(void *context, sg_range rows)
{
    const layernorm_loop *l = context;
    const sg_real *w = sg_values(l->node->in[1]);
    const sg_real *shift = l->node->in[2] ? sg_values(l->node->in[2]) : NULL;
    sg_real *buffer = sg_worker_scratch(l->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_get_in(l->run, l->node, 0, r * l->d, l->d, buffer);
        sg_real *y = sg_put_begin(l->node, 0, r * l->d, buffer);
        double mean = 0, variance = 0;
        for (int64_t i = 0; i < l->d; i++)
            mean += (double)x[i];
        mean /= (double)l->d;
        for (int64_t i = 0; i < l->d; i++)
            variance += ((double)x[i] - mean) * ((double)x[i] - mean);
        sg_real rstd =
            (sg_real)(1 / sqrt(variance / (double)l->d + *(const double *)l->node->attributes));
        sg_real center = (sg_real)mean;
        for (int64_t i = 0; i < l->d; i++)
            y[i] = (x[i] - center) * rstd * w[i];
        for (int64_t i = 0; shift != NULL && i < l->d; i++)
            y[i] += shift[i];
        sg_put_end(l->run, l->node, 0, r * l->d, l->d, y);
        sg_values(l->node->saved[0])[2 * r] = center;
        sg_values(l->node->saved[0])[2 * r + 1] = rstd;
    }
}

static void layernorm_forward(const sg_run *run, const sg_node *node)
{
    layernorm_loop l = layernorm_make(run, node);
    sg_parallel_ranges(run->compute.pool, l.rows, sg_chunk_rows(l.d), layernorm_forward_chunk, &l);
}

static void layernorm_backward_chunk(void *context, sg_range rows)
{
    const layernorm_loop *l = context;
    const sg_real *w = sg_values(l->node->in[1]);
    sg_real *dw = l->dw_parts + rows.chunk * l->d;
    sg_real *dshift = l->dshift_parts ? l->dshift_parts + rows.chunk * l->d : NULL;
    memset(dw, 0, (size_t)l->d * sizeof *dw);
    if (dshift != NULL) memset(dshift, 0, (size_t)l->d * sizeof *dshift);
    sg_real *buffer = sg_worker_scratch(l->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_get_in(l->run, l->node, 0, r * l->d, l->d, buffer);
        const sg_real *dy = l->node->out[0]->grad + r * l->d;
        for (int64_t i = 0; dshift != NULL && i < l->d; i++)
            dshift[i] += dy[i];
        sg_real mean = sg_values(l->node->saved[0])[2 * r];
        sg_real rstd = sg_values(l->node->saved[0])[2 * r + 1];
        double sum_u = 0, sum_uh = 0;
        for (int64_t i = 0; i < l->d; i++) {
            sg_real h = (x[i] - mean) * rstd;
            dw[i] += dy[i] * h;
            sum_u += (double)(w[i] * dy[i]);
            sum_uh += (double)(w[i] * dy[i] * h);
        }
        sg_real mean_u = (sg_real)(sum_u / (double)l->d),
                mean_uh = (sg_real)(sum_uh / (double)l->d);
        sg_real *dx = l->dx ? l->dx + r * l->d : NULL;
        for (int64_t i = 0; dx != NULL && i < l->d; i++)
            dx[i] = (l->add ? dx[i] : 0) +
                    rstd * (w[i] * dy[i] - mean_u - (x[i] - mean) * rstd * mean_uh);
    }
}

static void layernorm_backward(const sg_run *run, const sg_node *node)
{
    layernorm_loop l = layernorm_make(run, node);
    const int64_t chunk = sg_chunk_rows(l.d), chunks = sg_chunks(l.rows, chunk);
    l.dw_parts = (sg_real *)run->scratch;
    if (node->in[2] != NULL) l.dshift_parts = l.dw_parts + chunks * l.d;
    l.dx = sg_grad_in(run, node, 0, &l.add);
    sg_parallel_ranges(run->compute.pool, l.rows, chunk, layernorm_backward_chunk, &l);
    sg_grad_parts(run, node, 1, l.dw_parts, chunks);
    sg_grad_parts(run, node, 2, l.dshift_parts, chunks);
}

static const sg_op op_layernorm = {
    .name = "layernorm",
    .forward = layernorm_forward,
    .backward = layernorm_backward,
    .backward_reads_in = 3,
    .reads_half = 1,
    .reads_exact = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_layernorm(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *shift, double eps)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->count != sg_columns(x) || (shift != NULL && shift->count != w->count))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "layernorm: %s does not fit %s", w->name,
                            x->name);
    sg_node *node = sg_tape_node(tape, &op_layernorm, 3, (sg_tensor *[]){x, w, shift});
    double *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = eps;
    node->attributes = attribute;
    int64_t d = sg_columns(x);
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){sg_rows(x), 2});
    int64_t parts = sg_chunks(sg_rows(x), sg_chunk_rows(d)) * (shift ? 2 : 1);
    node->scratch_bytes = (size_t)(parts * d) * sizeof(sg_real);
    node->worker_scratch_bytes = sg_piece_bytes(node->kind, d);
    return sg_node_output(tape, node, "layernorm", SG_KIND_REAL, x->rank, x->shape);
}
