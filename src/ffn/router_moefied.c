// Routers of dense layers in blocks: a score s_i >= 0, or of either sign, for each block i, and a
// choice that may have another count for each token.
//
//     sigmoid          s = sigmoid(x W^T)                             LTE (Zheng et al. 2024)
//     mlp              s = sigmoid(tanh(x' U^T) W^T)                  MoEfication, whose scores
//                      are the logits; G-MoEfication likewise
//     norm             s = |relu(x U^T) W^T|                          D2DMoE
//     centroid         s = x' W^T + b = (1 - |x' - c|^2) / 2,          MoEfication, "similarity"
//                      W_i = c_i, b_i = -|c_i|^2 / 2
//     representative   s = act(x W^T + b), of one neuron of each block     CMoE (2025)
//
// x' is x / |x|. Of the k = ffn_top_k largest, best first, ffn_select says how many are read: all
// k; those with s_i >= threshold max s; as many as have that share of the sum of the k; those with
// s_i >= threshold. Scores of a router learn by what reads them: a gate, or losses of their own.
#include <string.h>

#include "ffn/gated.h"
#include "ffn/sparsity.h"

static bool moefied_selects(const sg_config *c, const char *by)
{
    return strcmp(c->ffn_select, by) == 0;
}

static sg_status moefied_check(const sg_router *self, const sg_config *c, sg_error *err)
{
    const bool max = moefied_selects(c, "max"), share = moefied_selects(c, "share");
    if (!max && !share) return SG_OK;
    if (self == &sg_router_centroid || self == &sg_router_representative)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_select: found \"%s\", expected top_k or threshold for router %s, whose "
                       "scores may be negative",
                       c->ffn_select, self->name);
    if (c->ffn_threshold >= 0 && c->ffn_threshold <= 1) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "ffn_threshold: found %s, expected 0 to 1 where ffn_select is %s",
                   SG_NUMBER(c->ffn_threshold), c->ffn_select);
}

// ---- parameters ---------------------------------------------------------------------------------

static bool moefied_hidden(const sg_router *self)
{
    return self == &sg_router_mlp || self == &sg_router_norm;
}

static int64_t moefied_hidden_size(const sg_config *c)
{
    return c->ffn_router_size ? c->ffn_router_size : sg_ffn_memory(c).blocks;
}

// Rows of W: of a gated representative its gate, then its linear part.
static int64_t moefied_rows(const sg_router *self, const sg_config *c)
{
    const bool two = self == &sg_router_representative && sg_ffn_is_gated(c);
    return sg_ffn_memory(c).blocks * (two ? 2 : 1);
}

static bool moefied_biased(const sg_router *self, const sg_config *c)
{
    return self == &sg_router_centroid || (self == &sg_router_representative && c->ffn_bias);
}

static void moefied_params(const sg_router *self, const sg_config *c, const char *prefix,
                           sg_param_list *list)
{
    const int64_t w = moefied_hidden_size(c), d = c->hidden_size, rows = moefied_rows(self, c);
    const int64_t from = moefied_hidden(self) ? w : d;
    if (moefied_hidden(self))
        sg_param_add(list, prefix, "mlp.router.hidden.weight", 2, (int64_t[]){w, d},
                     SG_INIT_TRUNCATED, 1.0 / (double)d);
    sg_param_add(list, prefix, "mlp.router.weight", 2, (int64_t[]){rows, from}, SG_INIT_TRUNCATED,
                 1.0 / (double)from);
    if (moefied_biased(self, c))
        sg_param_add(list, prefix, "mlp.router.bias", 1, &rows, SG_INIT_ZERO, 0);
}

// ---- recording ----------------------------------------------------------------------------------

static sg_tensor *moefied_scores(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    const bool norm = self == &sg_router_norm;
    if (self == &sg_router_mlp || self == &sg_router_centroid) x = sg_unit_rows(b->tape, x);
    if (moefied_hidden(self)) {
        x = sg_build_linear(b, x, sg_build_param(b, "mlp.router.hidden.weight"), NULL);
        x = sg_activate(b->tape, x, norm ? SG_ACT_RELU : SG_ACT_TANH);
    }
    sg_tensor *bias = moefied_biased(self, b->config) ? sg_build_param(b, "mlp.router.bias") : NULL;
    sg_tensor *s = sg_build_linear(b, x, sg_build_param(b, "mlp.router.weight"), bias);
    if (self == &sg_router_centroid) return s;
    if (self != &sg_router_representative)
        return sg_activate(b->tape, s, norm ? SG_ACT_ABS : SG_ACT_SIGMOID);
    if (!sg_ffn_is_gated(b->config)) return sg_activate(b->tape, s, sg_ffn_activation(b->config));
    const sg_glu_form form = sg_glu_form_of(b->config);
    return sg_glu(b->tape, s, &form);
}

static sg_selection moefied_build(const sg_router *self, const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    const sg_memory_shape m = sg_ffn_memory(c);
    sg_tensor *scores = moefied_scores(self, b, x);
    sg_build_lte(b, scores);
    sg_selection s = sg_topk(b->tape, scores, 1, m.selected);
    s.unit = m.block;
    if (moefied_selects(c, "max")) return sg_select_above(b->tape, &s, c->ffn_threshold, true, 1);
    if (moefied_selects(c, "share")) return sg_select_share(b->tape, &s, c->ffn_threshold, 1);
    if (moefied_selects(c, "threshold"))
        return sg_select_above(b->tape, &s, c->ffn_threshold, false, 0);
    return s;
}

static sg_router_count moefied_count(const sg_router *self, const sg_config *c)
{
    const double w = (double)moefied_hidden_size(c), d = (double)c->hidden_size;
    const double rows = (double)moefied_rows(self, c);
    if (!moefied_hidden(self))
        return (sg_router_count){.flops = 2 * d * rows, .numbers = d + 2 * rows};
    return (sg_router_count){.flops = 2 * w * (d + rows), .numbers = d + 2 * (w + rows)};
}

#define MOEFIED_ROUTER(title)                                                                      \
    {                                                                                              \
        .name = title, .check = moefied_check, .params = moefied_params, .build = moefied_build,   \
        .count = moefied_count                                                                     \
    }

const sg_router sg_router_sigmoid = MOEFIED_ROUTER("sigmoid");
const sg_router sg_router_mlp = MOEFIED_ROUTER("mlp");
const sg_router sg_router_norm = MOEFIED_ROUTER("norm");
const sg_router sg_router_centroid = MOEFIED_ROUTER("centroid");
const sg_router sg_router_representative = MOEFIED_ROUTER("representative");
