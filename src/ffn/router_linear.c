// Router "linear": one score for every expert or block, the largest are selected. Scores are the
// softmax over all, or a sigmoid of each (DeepSeek-V3). Around that choice stand the ways that are
// published to keep it balanced: losses, a bias that moves the choice alone, a limit of rows.
#include <math.h>
#include <string.h>

#include "ffn/ffn.h"

static bool linear_sigmoid(const sg_config *c)
{
    return strcmp(c->ffn_score, "sigmoid") == 0;
}

static sg_status linear_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self;
    if (c->ffn_renormalise && sg_ffn_memory(c).selected == 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_renormalise: found 1, expected 0 where a token takes one %s: its score "
                       "would always be 1, and the router would not learn",
                       sg_ffn_memory_of(c)->block);
    return sg_ffn_check_selected(c, err);
}

static void linear_params(const sg_router *self, const sg_config *c, const char *prefix,
                          sg_param_list *list)
{
    (void)self;
    const int64_t B = sg_ffn_memory(c).blocks;
    sg_param_add(list, prefix, "mlp.router.weight", 2, (int64_t[]){B, c->hidden_size},
                 SG_INIT_TRUNCATED, 1.0 / (double)c->hidden_size);
    if (c->ffn_router_bias) sg_param_add(list, prefix, "mlp.router.bias", 1, &B, SG_INIT_ZERO, 0);
    if (c->ffn_bias_rate > 0)
        sg_param_add_buffer(list, prefix, "mlp.router.bias", 1, &B, SG_INIT_ZERO, SG_BUFFER_BALANCE,
                            c->ffn_bias_rate);
}

void sg_build_losses(const sg_builder *b, sg_tensor *logits, sg_tensor *p, bool share,
                     const sg_selection *selection)
{
    const sg_config *c = b->config;
    if (!b->training) return;
    if (c->ffn_balance_loss > 0)
        sg_tape_add_loss(b->tape, sg_balance_loss(b->tape, p, selection, share, b->counted),
                         c->ffn_balance_loss * b->loss_share);
    if (c->ffn_z_loss > 0)
        sg_tape_add_loss(b->tape, sg_z_loss(b->tape, logits, b->counted),
                         c->ffn_z_loss * b->loss_share);
}

// Rows that a block takes of all: its share when all are used alike, times the factor.
static int64_t linear_capacity(const sg_config *c, int64_t rows)
{
    const sg_memory_shape m = sg_ffn_memory(c);
    double share = (double)sg_chunks(rows * m.selected, m.blocks);
    double capacity = floor(c->ffn_capacity_factor * share);
    return capacity < 1 ? 1 : capacity < (double)rows ? (int64_t)capacity : rows;
}

static sg_selection linear_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    const sg_config *c = b->config;
    const sg_memory_shape m = sg_ffn_memory(c);
    sg_tensor *w = sg_build_param(b, "mlp.router.weight");
    sg_tensor *bias = c->ffn_router_bias ? sg_build_param(b, "mlp.router.bias") : NULL;
    sg_tensor *s = sg_build_linear(b, x, w, bias);
    sg_tensor *p = linear_sigmoid(c) ? sg_activate(b->tape, s, SG_ACT_SIGMOID)
                                     : sg_softmax(b->tape, s, m.blocks);
    sg_selection selection = c->ffn_bias_rate > 0
                                 ? sg_topk_biased(b->tape, p, sg_build_param(b, "mlp.router.bias"),
                                                  m.selected, b->counted)
                                 : sg_topk(b->tape, p, 1, m.selected);
    selection.unit = m.block;
    sg_build_losses(b, s, p, linear_sigmoid(c), &selection);
    if (c->ffn_renormalise) selection.scores = sg_share(b->tape, selection.scores, m.selected);
    if (b->training && c->ffn_capacity_factor > 0 && x != NULL)
        selection =
            sg_capacity(b->tape, &selection, m.blocks, linear_capacity(c, sg_rows(x)), b->counted);
    return selection;
}

static sg_router_count linear_count(const sg_router *self, const sg_config *c)
{
    (void)self;
    const double B = (double)sg_ffn_memory(c).blocks;
    return (sg_router_count){.flops = 2 * (double)c->hidden_size * B, .numbers = 2 * B};
}

const sg_router sg_router_linear = {
    .name = "linear",
    .check = linear_check,
    .params = linear_params,
    .build = linear_build,
    .count = linear_count,
};
