// Routers by keys: scores are products of queries with keys, and each channel selects its k best of
// N neurons. Two choices make four of them. The query is one that all channels share, or one of each
// channel ("keyed"). The keys are one for every neuron, or product keys (Lample et al. 2019): N = n^2
// neurons are addressed by pairs of n sub-keys, in two parts, so that scoring costs O(sqrt N).
#include <math.h>

#include "ffn/ffn.h"

// Parts of a score: each has its query and its keys.
static int64_t keys_parts(const sg_router *self)
{
    return self->product ? 2 : 1;
}

// Keys of a part and channel; 0 where a product router finds no square.
static int64_t keys_side(const sg_router *self, const sg_config *c)
{
    if (!self->product) return c->ffn_neurons;
    int64_t n = (int64_t)llround(sqrt((double)c->ffn_neurons));
    return n * n == c->ffn_neurons ? n : 0;
}

// Width of all queries together.
static int64_t keys_queries(const sg_router *self, const sg_config *c)
{
    return c->ffn_key_size * (self->keyed ? keys_parts(self) * c->ffn_channels : 1);
}

static sg_status keys_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    int64_t n = keys_side(self, c);
    if (n == 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_neurons: found %lld, expected a square for router %s",
                       (long long)c->ffn_neurons, c->ffn_router);
    if (self->product && c->ffn_top_k >= n)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_top_k: found %lld, expected less than sqrt(ffn_neurons) = %lld",
                       (long long)c->ffn_top_k, (long long)n);
    if (c->ffn_top_k > n)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld neurons",
                       (long long)c->ffn_top_k, (long long)n);
    return SG_OK;
}

static void keys_params(const sg_router *self, const sg_config *c, const char *prefix,
                        sg_param_list *list)
{
    int64_t K = c->ffn_key_size, d = c->hidden_size, C = c->ffn_channels;
    int64_t parts = keys_parts(self), n = keys_side(self, c);
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){keys_queries(self, c), d},
                 SG_INIT_TRUNCATED, 1.0 / (double)d);
    int64_t keyed[] = {parts, C, n, K};
    int skip = self->product ? 0 : 1; // a single part is no dimension
    if (self->keyed)
        sg_param_add(list, prefix, "mlp.router.keys.weight", 4 - skip, keyed + skip,
                     SG_INIT_TRUNCATED_RAW, 1);
    else
        sg_param_add(list, prefix, "mlp.router.keys.weight", 2, (int64_t[]){parts * C * n, K},
                     SG_INIT_TRUNCATED, 1.0 / (double)K);
}

static sg_selection keys_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    int64_t K = c->ffn_key_size, C = c->ffn_channels, parts = keys_parts(self);
    sg_tensor *q = sg_linear(b->tape, x, sg_build_param(b, "mlp.router.query.weight"), NULL);
    sg_tensor *keys = sg_build_param(b, "mlp.router.keys.weight"), *s;
    if (self->keyed) {
        keys = sg_reshape(b->tape, keys, 3, (int64_t[]){parts * C, keys_side(self, c), K});
        // Parts score with q . key / sqrt(parts K), the usual scaling of the vectors joined.
        s = sg_linear_groups(b->tape, q, keys, 1 / sqrt((double)(parts * K)));
    } else {
        s = sg_linear(b->tape, q, keys, NULL);
    }
    return self->product ? sg_product_topk(b->tape, s, C, c->ffn_top_k)
                         : sg_topk(b->tape, s, C, c->ffn_top_k);
}

// The queries and their scores. The published code has no counter for key_value; this counts its
// two products.
static double keys_flops(const sg_router *self, const sg_config *c)
{
    double scores = (double)(keys_parts(self) * c->ffn_channels) * (double)keys_side(self, c);
    return 2 * (double)c->hidden_size * (double)keys_queries(self, c) +
           2 * (double)c->ffn_key_size * scores;
}

#define KEYS_ROUTER                                                                                \
    .check = keys_check, .params = keys_params, .build = keys_build, .flops = keys_flops

const sg_router sg_router_product_dense = {.name = "product_dense", .product = true, KEYS_ROUTER};
const sg_router sg_router_product_key_value = {
    .name = "product_key_value", .product = true, .keyed = true, KEYS_ROUTER};
const sg_router sg_router_dense = {.name = "dense", KEYS_ROUTER};
const sg_router sg_router_key_value = {.name = "key_value", .keyed = true, KEYS_ROUTER};
