// Router "average" (Avg-K, Liu et al. 2023): the score of a block is the product of x with the mean
// of the block's keys, which by linearity is the mean of the block's activations before their
// nonlinearity. It has no parameters of its own. Where nothing reads the scores (ffn_gate none) the
// choice passes no gradient and the keys learn as those of any dense layer; where a gate or a
// balance loss reads them, the gradient reaches the keys through their mean.
#include <string.h>

#include "ffn/ffn.h"

// ---- means of rows ------------------------------------------------------------------------------

typedef struct means_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t blocks, g, d;
    sg_real *grad;
    bool add;
} means_loop;

static void means_forward_chunk(void *context, sg_range blocks)
{
    const means_loop *l = context;
    const sg_kernels *kernels = l->run->compute.kernels;
    for (int64_t i = blocks.first; i < blocks.end; i++) {
        const sg_real *rows = sg_values(l->node->in[0]) + i * l->g * l->d;
        sg_real *mean = sg_values(l->node->out[0]) + i * l->d;
        memcpy(mean, rows, (size_t)l->d * sizeof *mean);
        for (int64_t j = 1; j < l->g; j++)
            kernels->add(mean, mean, rows + j * l->d, l->d);
        kernels->scale(mean, 1 / (sg_real)l->g, l->d);
    }
}

static void means_backward_chunk(void *context, sg_range blocks)
{
    const means_loop *l = context;
    for (int64_t i = blocks.first; i < blocks.end; i++) {
        const sg_real *from = l->node->out[0]->grad + i * l->d;
        sg_real *to = l->grad + i * l->g * l->d;
        if (!l->add) memset(to, 0, (size_t)(l->g * l->d) * sizeof *to);
        for (int64_t j = 0; j < l->g; j++)
            l->run->compute.kernels->axpy(to + j * l->d, 1 / (sg_real)l->g, from, l->d);
    }
}

static means_loop means_make(const sg_run *run, const sg_node *node)
{
    int64_t blocks = sg_rows(node->out[0]), d = sg_columns(node->in[0]);
    int64_t g = sg_rows(node->in[0]) / blocks;
    return (means_loop){.run = run, .node = node, .blocks = blocks, .g = g, .d = d};
}

static void means_forward(const sg_run *run, const sg_node *node)
{
    means_loop l = means_make(run, node);
    sg_parallel_ranges(run->compute.pool, l.blocks, sg_chunk_rows(l.g * l.d), means_forward_chunk,
                       &l);
}

static void means_backward(const sg_run *run, const sg_node *node)
{
    means_loop l = means_make(run, node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    if (l.grad != NULL)
        sg_parallel_ranges(run->compute.pool, l.blocks, sg_chunk_rows(l.g * l.d),
                           means_backward_chunk, &l);
}

static const sg_op op_means = {
    .name = "block_means",
    .forward = means_forward,
    .backward = means_backward,
};

// w (blocks * g, d) -> (blocks, d).
static sg_tensor *average_means(sg_tape *tape, sg_tensor *w, int64_t blocks)
{
    if (w == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, &op_means, 1, (sg_tensor *[]){w});
    if (node == NULL) return NULL;
    return sg_node_output(tape, node, "means", SG_KIND_REAL, 2, (int64_t[]){blocks, sg_columns(w)});
}

// ---- the router ---------------------------------------------------------------------------------

static sg_selection average_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    const sg_memory_shape m = sg_ffn_memory(b->config);
    sg_tensor *keys = sg_build_table(b, "mlp.experts.w_in.weight");
    sg_tensor *means = m.block == 1 ? keys : average_means(b->tape, keys, m.blocks);
    sg_tensor *scores = sg_linear(b->tape, x, means, NULL);
    sg_selection s = sg_topk(b->tape, scores, 1, m.selected);
    s.unit = m.block;
    if (b->training && b->config->ffn_balance_loss > 0)
        sg_build_losses(b, scores, sg_softmax(b->tape, scores, m.blocks), false, &s);
    // A raw score is about 1/sqrt(g) in size and of either sign: no weight of a block. Its sigmoid
    // is one, and does not depend on which other blocks were chosen.
    if (strcmp(b->config->ffn_gate, "after") == 0)
        s.scores = sg_activate(b->tape, s.scores, SG_ACT_SIGMOID);
    return s;
}

static sg_status average_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self;
    return sg_ffn_check_selected(c, err);
}

static void average_params(const sg_router *self, const sg_config *c, const char *prefix,
                           sg_param_list *list)
{
    (void)self, (void)c, (void)prefix, (void)list;
}

// The means themselves are one sum over the table for a whole step, and not counted.
static sg_router_count average_count(const sg_router *self, const sg_config *c)
{
    (void)self;
    const double B = (double)sg_ffn_memory(c).blocks;
    return (sg_router_count){.flops = 2 * (double)c->hidden_size * B, .numbers = 2 * B};
}

const sg_router sg_router_average = {
    .name = "average",
    .reads_keys = true,
    .check = average_check,
    .params = average_params,
    .build = average_build,
    .count = average_count,
};
