// Routers that score every choice: "dense" and "key_value" every neuron of every channel, "linear"
// every expert.
#include <math.h>

#include "ffn/ffn.h"

static sg_status full_check(const sg_config *c, sg_error *err)
{
    if (c->ffn_top_k > c->ffn_neurons)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld neurons",
                       (long long)c->ffn_top_k, (long long)c->ffn_neurons);
    return SG_OK;
}

// ---- dense: one shared query, a key for every neuron ------------------------------------------

static void dense_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    int64_t K = c->ffn_key_size, d = c->hidden_size;
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){K, d}, SG_INIT_TRUNCATED,
                 1.0 / (double)d);
    sg_param_add(list, prefix, "mlp.router.keys.weight", 2,
                 (int64_t[]){c->ffn_channels * c->ffn_neurons, K}, SG_INIT_TRUNCATED,
                 1.0 / (double)K);
}

static sg_selection dense_build(const sg_builder *b, sg_tensor *x)
{
    sg_tensor *q = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.query.weight"), NULL);
    sg_tensor *s = sg_linear(b->tape, q, sg_build_param(b, "mlp.router.keys.weight"), NULL);
    return sg_topk(b->tape, s, b->config->ffn_channels, b->config->ffn_top_k);
}

static double dense_flops(const sg_config *c)
{
    double K = (double)c->ffn_key_size;
    return 2 * (double)c->hidden_size * K +
           2 * K * (double)c->ffn_neurons * (double)c->ffn_channels;
}

const sg_router sg_router_dense = {
    .name = "dense",
    .check = full_check,
    .params = dense_params,
    .build = dense_build,
    .flops = dense_flops,
};

// ---- key_value: a query and keys for every channel --------------------------------------------

static void keyed_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    int64_t K = c->ffn_key_size, d = c->hidden_size, C = c->ffn_channels;
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){C * K, d},
                 SG_INIT_TRUNCATED, 1.0 / (double)d);
    sg_param_add(list, prefix, "mlp.router.keys.weight", 3, (int64_t[]){C, c->ffn_neurons, K},
                 SG_INIT_TRUNCATED_RAW, 1);
}

static sg_selection keyed_build(const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    sg_tensor *q = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.query.weight"), NULL);
    sg_tensor *s = sg_linear_groups(b->tape, q, sg_build_param(b, "mlp.router.keys.weight"),
                                    1 / sqrt((double)c->ffn_key_size));
    return sg_topk(b->tape, s, c->ffn_channels, c->ffn_top_k);
}

// The published code has no counter for this router; this counts its two products.
static double keyed_flops(const sg_config *c)
{
    double CK = (double)c->ffn_channels * (double)c->ffn_key_size;
    return 2 * CK * (double)c->hidden_size + 2 * CK * (double)c->ffn_neurons;
}

const sg_router sg_router_key_value = {
    .name = "key_value",
    .check = full_check,
    .params = keyed_params,
    .build = keyed_build,
    .flops = keyed_flops,
};

// ---- linear: softmax over all experts, the k largest, not renormalised ------------------------

static sg_status linear_check(const sg_config *c, sg_error *err)
{
    if (c->ffn_top_k > c->ffn_experts)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld experts",
                       (long long)c->ffn_top_k, (long long)c->ffn_experts);
    return SG_OK;
}

static void linear_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    sg_param_add(list, prefix, "mlp.router.weight", 2, (int64_t[]){c->ffn_experts, c->hidden_size},
                 SG_INIT_TRUNCATED, 1.0 / (double)c->hidden_size);
}

static sg_selection linear_build(const sg_builder *b, sg_tensor *x)
{
    sg_tensor *s = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.weight"), NULL);
    sg_tensor *p = sg_softmax(b->tape, s, b->config->ffn_experts);
    return sg_topk(b->tape, p, 1, b->config->ffn_top_k);
}

static double linear_flops(const sg_config *c)
{
    return 2 * (double)c->hidden_size * (double)c->ffn_experts;
}

const sg_router sg_router_linear = {
    .name = "linear",
    .check = linear_check,
    .params = linear_params,
    .build = linear_build,
    .flops = linear_flops,
};
