// Layer norm with a learned scale and no shift (Ba et al. 2016):
// y = (x - mean) rstd w, rstd = 1 / sqrt(var + eps), mean and variance of each row.
#include <math.h>
#include <string.h>

#include "op/op.h"

typedef struct layernorm_loop {
    const sg_node *node;
    int64_t rows, d, chunk;
    sg_real *dx, *dw_parts; // dw_parts (chunks, d): summed in the order of chunks afterwards
    bool add;
} layernorm_loop;

static layernorm_loop layernorm_make(const sg_node *node)
{
    int64_t d = sg_columns(node->in[0]);
    return (layernorm_loop){
        .node = node, .rows = sg_rows(node->in[0]), .d = d, .chunk = sg_chunk_rows(d)};
}

// saved (rows, 2): mean and rstd.
static void layernorm_forward_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const layernorm_loop *l = context;
    const sg_real *w = sg_values(l->node->in[1]);
    int64_t end = sg_min(l->rows, (chunk + 1) * l->chunk);
    for (int64_t r = chunk * l->chunk; r < end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * l->d;
        sg_real *y = sg_values(l->node->out[0]) + r * l->d;
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
        sg_values(l->node->saved[0])[2 * r] = center;
        sg_values(l->node->saved[0])[2 * r + 1] = rstd;
    }
}

static void layernorm_forward(const sg_run *run, const sg_node *node)
{
    layernorm_loop l = layernorm_make(node);
    sg_parallel_for(run->pool, sg_chunks(l.rows, l.chunk), layernorm_forward_chunk, &l);
}

// u = w dy, h = (x - mean) rstd: dx = rstd (u - mean(u) - h mean(u h)), dw = sum dy h.
static void layernorm_backward_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const layernorm_loop *l = context;
    const sg_real *w = sg_values(l->node->in[1]);
    sg_real *dw = l->dw_parts + chunk * l->d;
    int64_t end = sg_min(l->rows, (chunk + 1) * l->chunk);
    memset(dw, 0, (size_t)l->d * sizeof *dw);
    for (int64_t r = chunk * l->chunk; r < end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * l->d;
        const sg_real *dy = l->node->out[0]->grad + r * l->d;
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
    layernorm_loop l = layernorm_make(node);
    int64_t chunks = sg_chunks(l.rows, l.chunk);
    bool add_w = false;
    sg_real *dw = sg_grad_in(run, node, 1, &add_w);
    l.dw_parts = (sg_real *)run->scratch;
    l.dx = sg_grad_in(run, node, 0, &l.add);
    sg_parallel_for(run->pool, chunks, layernorm_backward_chunk, &l);
    if (dw == NULL) return;
    if (!add_w) memset(dw, 0, (size_t)l.d * sizeof *dw);
    for (int64_t i = 0; i < chunks; i++)
        run->kernels->add(dw, dw, l.dw_parts + i * l.d, l.d);
}

static const sg_op op_layernorm = {
    .name = "layernorm",
    .forward = layernorm_forward,
    .backward = layernorm_backward,
    .backward_reads_in = 3,
};

sg_tensor *sg_layernorm(sg_tape *tape, sg_tensor *x, sg_tensor *w, double eps)
{
    if (x == NULL || w == NULL) return NULL;
    if (w->count != sg_columns(x))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "layernorm: %s does not fit %s", w->name,
                            x->name);
    sg_node *node = sg_tape_node(tape, &op_layernorm, 2, (sg_tensor *[]){x, w});
    double *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = eps;
    node->attributes = attribute;
    int64_t d = sg_columns(x);
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){sg_rows(x), 2});
    node->scratch_bytes = (size_t)(sg_chunks(sg_rows(x), sg_chunk_rows(d)) * d) * sizeof(sg_real);
    return sg_node_output(tape, node, "layernorm", SG_KIND_REAL, x->rank, x->shape);
}
