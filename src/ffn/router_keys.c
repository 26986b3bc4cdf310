// Routers by keys: scores are products of queries with keys, and each channel selects its k best of
// N neurons. Two choices make most of them. The query is one that all channels share, or one of
// each channel ("keyed"). The keys are one for every neuron, or product keys (Lample et al. 2019):
// N = n^2 neurons are addressed by pairs of n sub-keys, in two parts, so that scoring costs O(sqrt
// N). With "product_linear" x itself is the query, and the two parts are linear routers of the rows
// and the columns of a square of neurons (OmniMoE, arXiv 2602.05711, whose log-softmax over each
// part moves all sums alike and is left out).
#include <math.h>

#include "ffn/query.h"

// Screening needs two readings of all keys' scores: worth it where the few that are left are a
// small part, and the keys more than a cache keeps from one token to the next.
enum { keys_many = 256, keys_screen_least = 1 << 18 };

// Parts of a score: each has its query and its keys.
static int64_t keys_parts(const sg_router *self)
{
    return self->product ? 2 : 1;
}

// Keys of a part and channel; 0 where a product router finds no square.
static int64_t keys_side(const sg_router *self, const sg_config *c)
{
    const int64_t N = sg_ffn_memory(c).cells;
    if (!self->product) return N;
    int64_t n = (int64_t)llround(sqrt((double)N));
    return n * n == N ? n : 0;
}

static int64_t keys_width(const sg_router *self, const sg_config *c)
{
    return self->direct ? c->hidden_size : c->ffn_key_size;
}

// Width of all queries that are made, together.
static int64_t keys_queries(const sg_router *self, const sg_config *c)
{
    if (self->direct) return 0;
    return c->ffn_key_size * (self->keyed ? keys_parts(self) * sg_ffn_memory(c).channels : 1);
}

// Neurons or cells, whatever the memory has: it knows which sizes made them.
static sg_status keys_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    const sg_memory *memory = sg_ffn_memory_of(c);
    const int64_t n = keys_side(self, c), k = sg_ffn_memory(c).selected;
    char found[SG_MEMORY_SAYS];
    if (n == 0) {
        memory->say_cells(c, found);
        return sg_fail(err, SG_ERR_ARGUMENT, "%s, expected a square for router %s", found,
                       c->ffn_router);
    }
    memory->say_selected(c, found);
    if (self->product && k >= n)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s, expected less than the square root of the %ss, %lld", found,
                       memory->cell, (long long)n);
    if (k > n)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s, expected at most %lld %ss", found, (long long)n,
                       memory->cell);
    if (k > SG_TOPK_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s, expected at most %d a channel", found,
                       SG_TOPK_MAX);
    return SG_OK;
}

static void keys_params(const sg_router *self, const sg_config *c, const char *prefix,
                        sg_param_list *list)
{
    int64_t K = keys_width(self, c), C = sg_ffn_memory(c).channels;
    int64_t parts = keys_parts(self), n = keys_side(self, c);
    if (!self->direct) sg_query_params(c, prefix, keys_queries(self, c), list);
    int64_t keyed[] = {parts, C, n, K};
    int skip = self->product ? 0 : 1;                      // a single part is no dimension
    if (self->unscaled && sg_family_find(c->ffn)->uniform) // ±1/sqrt(parts K)
        sg_param_add(list, prefix, "mlp.router.keys.weight", 4, keyed, SG_INIT_UNIFORM,
                     1.0 / (3 * (double)(parts * K)));
    else if (self->unscaled) // the variance of a uniform law within ±1/sqrt(K)
        sg_param_add(list, prefix, "mlp.router.keys.weight", 4, keyed, SG_INIT_TRUNCATED,
                     1.0 / (3 * (double)K));
    else if (self->keyed)
        sg_param_add(list, prefix, "mlp.router.keys.weight", 4 - skip, keyed + skip,
                     SG_INIT_TRUNCATED_RAW, 1);
    else
        sg_param_add(list, prefix, "mlp.router.keys.weight", 2, (int64_t[]){parts * C * n, K},
                     SG_INIT_TRUNCATED, 1.0 / (double)K);
    if (n >= keys_many && parts * C * n * K >= keys_screen_least) sg_param_keys(list);
}

static sg_selection keys_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    const sg_memory_shape m = sg_ffn_memory(c);
    const int64_t K = keys_width(self, c), C = m.channels, k = m.selected, parts = keys_parts(self);
    sg_tensor *q = self->direct ? x : sg_query_build(b, x, keys_queries(self, c));
    sg_tensor *keys = sg_build_param(b, "mlp.router.keys.weight"), *s;
    // Parts score with q . key / sqrt(parts K), the usual scaling of the vectors joined.
    const double scale = self->unscaled || !self->keyed ? 1 : 1 / sqrt((double)(parts * K));
    const sg_key_groups groups = {parts * C, keys_side(self, c), k, self->keyed, scale};
    if (keys != NULL && keys->screen != NULL && q != NULL && sg_rows(q) <= SG_SCREEN_ROWS) {
        s = sg_screened_keys(b->tape, q, keys, &groups);
    } else if (self->keyed) {
        keys = sg_reshape(b->tape, keys, 3, (int64_t[]){parts * C, groups.n, K});
        s = sg_linear_groups(b->tape, q, keys, scale);
    } else {
        s = sg_build_linear(b, q, keys, NULL);
    }
    return self->product ? sg_product_topk(b->tape, s, C, k) : sg_topk(b->tape, s, C, k);
}

// The queries and their scores. The published code has no counter for key_value; this counts its
// two products.
static sg_router_count keys_count(const sg_router *self, const sg_config *c)
{
    const int64_t queries = keys_queries(self, c);
    const double keys =
        (double)(keys_parts(self) * sg_ffn_memory(c).channels) * (double)keys_side(self, c);
    return (sg_router_count){.flops = sg_query_flops(c, queries) +
                                      2 * (double)keys_width(self, c) * keys,
                             .numbers = (double)queries + keys};
}

#define KEYS_ROUTER                                                                                \
    .check = keys_check, .params = keys_params, .build = keys_build, .count = keys_count

const sg_router sg_router_product_dense = {.name = "product_dense", .product = true, KEYS_ROUTER};
const sg_router sg_router_product_key_value = {
    .name = "product_key_value", .product = true, .keyed = true, KEYS_ROUTER};
const sg_router sg_router_dense = {.name = "dense", KEYS_ROUTER};
const sg_router sg_router_key_value = {.name = "key_value", .keyed = true, KEYS_ROUTER};
// PKM as published by Lample et al.
const sg_router sg_router_product_keys = {
    .name = "product_keys", .product = true, .keyed = true, .unscaled = true, KEYS_ROUTER};
const sg_router sg_router_product_linear = {
    .name = "product_linear", .product = true, .direct = true, KEYS_ROUTER};
