// Product routers: N = n^2 neurons are addressed by pairs of n sub-keys, so that scoring costs
// O(sqrt N). "product_dense" (sgatlin) shares one query of K numbers between all channels;
// "product_key_value" (PEER; Lample et al. 2019) has a query and keys for each part and channel.
#include <math.h>

#include "ffn/ffn.h"

static int64_t product_side(const sg_config *c)
{
    int64_t n = (int64_t)llround(sqrt((double)c->ffn_neurons));
    return n * n == c->ffn_neurons ? n : 0;
}

static sg_status product_check(const sg_config *c, sg_error *err)
{
    int64_t n = product_side(c);
    if (n == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_neurons: found %lld, expected a square for router %s",
                       (long long)c->ffn_neurons, c->ffn_router);
    if (c->ffn_top_k >= n)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_top_k: found %lld, expected less than sqrt(ffn_neurons) = %lld",
                       (long long)c->ffn_top_k, (long long)n);
    return SG_OK;
}

// ---- product_dense ----------------------------------------------------------------------------

static void dense_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    int64_t n = product_side(c), K = c->ffn_key_size, d = c->hidden_size;
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){K, d}, SG_INIT_TRUNCATED,
                 1.0 / (double)d);
    sg_param_add(list, prefix, "mlp.router.keys.weight", 2, (int64_t[]){2 * c->ffn_channels * n, K},
                 SG_INIT_TRUNCATED, 1.0 / (double)K);
}

static sg_selection dense_build(const sg_builder *b, sg_tensor *x)
{
    sg_tensor *q = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.query.weight"), NULL);
    sg_tensor *s = sg_linear(b->tape, q, sg_build_param(b, "mlp.router.keys.weight"), NULL);
    return sg_product_topk(b->tape, s, b->config->ffn_channels, b->config->ffn_top_k);
}

static double dense_flops(const sg_config *c)
{
    double K = (double)c->ffn_key_size;
    return 2 * (double)c->hidden_size * K +
           4 * (double)c->ffn_channels * (double)product_side(c) * K;
}

const sg_router sg_router_product_dense = {
    .name = "product_dense",
    .check = product_check,
    .params = dense_params,
    .build = dense_build,
    .flops = dense_flops,
};

// ---- product_key_value ------------------------------------------------------------------------

static void keyed_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    int64_t n = product_side(c), K = c->ffn_key_size, d = c->hidden_size, C = c->ffn_channels;
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){2 * C * K, d},
                 SG_INIT_TRUNCATED, 1.0 / (double)d);
    sg_param_add(list, prefix, "mlp.router.keys.weight", 4, (int64_t[]){2, C, n, K},
                 SG_INIT_TRUNCATED_RAW, 1);
}

static sg_selection keyed_build(const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    int64_t K = c->ffn_key_size, groups = 2 * c->ffn_channels;
    sg_tensor *q = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.query.weight"), NULL);
    sg_tensor *keys = sg_reshape(b->tape, sg_build_param(b, "mlp.router.keys.weight"), 3,
                                 (int64_t[]){groups, product_side(c), K});
    // Each half scores with q . key / sqrt(2K), the usual scaling of the joined vectors of 2K.
    sg_tensor *s = sg_linear_groups(b->tape, q, keys, 1 / sqrt(2 * (double)K));
    return sg_product_topk(b->tape, s, c->ffn_channels, c->ffn_top_k);
}

static double keyed_flops(const sg_config *c)
{
    double CK = (double)c->ffn_channels * (double)c->ffn_key_size;
    return 4 * CK * (double)c->hidden_size + 4 * CK * (double)product_side(c);
}

const sg_router sg_router_product_key_value = {
    .name = "product_key_value",
    .check = product_check,
    .params = keyed_params,
    .build = keyed_build,
    .flops = keyed_flops,
};
