// Direct routers (Liu et al. 2023): the score of a cell is its coefficient m = act(q . key), of
// every cell of the memory; what is selected needs its value only. "keys" (VanillaM) takes the
// memory's own keys and x itself, and can select whole blocks by the mean of their m; "low_rank"
// (LoRKM) has keys of K numbers and a query of K numbers, so that scoring all cells is cheap.
#include "ffn/ffn.h"
#include "ffn/query.h"

static sg_status direct_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    (void)self;
    return sg_ffn_check_selected(c, err);
}

// ---- keys ---------------------------------------------------------------------------------------

static void own_keys_params(const sg_router *self, const sg_config *c, const char *prefix,
                            sg_param_list *list)
{
    (void)self, (void)c, (void)prefix, (void)list; // the memory's
}

static sg_selection own_keys_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    const sg_memory_shape m = sg_ffn_memory(b->config);
    return sg_key_topk(b->tape, x, sg_build_table(b, "mlp.experts.w_in.weight"),
                       sg_ffn_activation(b->config), m.block, m.selected * m.block);
}

static sg_router_count own_keys_count(const sg_router *self, const sg_config *c)
{
    (void)self;
    const double N = (double)sg_ffn_memory(c).cells;
    return (sg_router_count){.flops = 2 * (double)c->hidden_size * N, .numbers = N};
}

const sg_router sg_router_keys = {
    .name = "keys",
    .reads_keys = true,
    .check = direct_check,
    .params = own_keys_params,
    .build = own_keys_build,
    .count = own_keys_count,
};

// ---- low_rank -----------------------------------------------------------------------------------

static void low_rank_params(const sg_router *self, const sg_config *c, const char *prefix,
                            sg_param_list *list)
{
    (void)self;
    const int64_t K = c->ffn_key_size;
    sg_query_params(c, prefix, K, list);
    sg_param_add(list, prefix, "mlp.router.keys.weight", 2, (int64_t[]){sg_ffn_memory(c).cells, K},
                 SG_INIT_TRUNCATED, 1.0 / (double)K);
}

static sg_selection low_rank_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    (void)self;
    sg_tensor *q = sg_query_build(b, x, b->config->ffn_key_size);
    return sg_key_topk(b->tape, q, sg_build_param(b, "mlp.router.keys.weight"),
                       sg_ffn_activation(b->config), 1, sg_ffn_memory(b->config).selected);
}

static sg_router_count low_rank_count(const sg_router *self, const sg_config *c)
{
    (void)self;
    const double K = (double)c->ffn_key_size, N = (double)sg_ffn_memory(c).cells;
    return (sg_router_count){.flops = sg_query_flops(c, c->ffn_key_size) + 2 * K * N,
                             .numbers = K + N};
}

const sg_router sg_router_low_rank = {
    .name = "low_rank",
    .check = direct_check,
    .params = low_rank_params,
    .build = low_rank_build,
    .count = low_rank_count,
};
