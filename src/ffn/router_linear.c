// Router "linear": one score for every expert or block, softmax over all of them, the largest, not
// renormalised.
#include "ffn/ffn.h"

static sg_status linear_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self;
    if (c->ffn_memory_factor > 0) return sg_ffn_check_selected(c, err); // not of experts
    if (c->ffn_top_k > c->ffn_experts)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld experts",
                       (long long)c->ffn_top_k, (long long)c->ffn_experts);
    return SG_OK;
}

static void linear_params(const sg_router *self, const sg_config *c, const char *prefix,
                          sg_param_list *list)
{
    (void)self;
    sg_param_add(list, prefix, "mlp.router.weight", 2,
                 (int64_t[]){sg_ffn_memory(c).blocks, c->hidden_size}, SG_INIT_TRUNCATED,
                 1.0 / (double)c->hidden_size);
}

static sg_selection linear_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    sg_memory_shape m = sg_ffn_memory(b->config);
    sg_tensor *s = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.weight"), NULL);
    sg_tensor *p = sg_softmax(b->tape, s, m.blocks);
    return sg_topk(b->tape, p, 1, m.selected);
}

static double linear_flops(const sg_router *self, const sg_config *c)
{
    (void)self;
    return 2 * (double)c->hidden_size * (double)sg_ffn_memory(c).blocks;
}

const sg_router sg_router_linear = {
    .name = "linear",
    .check = linear_check,
    .params = linear_params,
    .build = linear_build,
    .flops = linear_flops,
};
