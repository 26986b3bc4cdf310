// The same query for every router that has one: parameters, recording and cost side by side.
#include "ffn/query.h"

#include <string.h>

static const double query_eps = 1e-5, query_momentum = 0.1; // as is usual for these norms

static bool query_has(const sg_config *c, const char *norm)
{
    return strcmp(c->ffn_query_norm, norm) == 0;
}

void sg_query_params(const sg_config *c, const char *prefix, int64_t width, sg_param_list *list)
{
    // Uniform: by both widths (Glorot & Bengio 2010).
    const bool uniform = sg_family_find(c->ffn)->uniform;
    const double d = (double)c->hidden_size;
    sg_param_add(list, prefix, "mlp.router.query.weight", 2, (int64_t[]){width, c->hidden_size},
                 uniform ? SG_INIT_UNIFORM : SG_INIT_TRUNCATED,
                 uniform ? 2 / (d + (double)width) : 1 / d);
    if (c->ffn_query_bias)
        sg_param_add(list, prefix, "mlp.router.query.bias", 1, &width, SG_INIT_ZERO, 0);
    if (query_has(c, "layernorm"))
        sg_param_add(list, prefix, "mlp.router.query_norm.weight", 1, &c->ffn_key_size, SG_INIT_ONE,
                     0);
    if (!query_has(c, "batchnorm")) return;
    sg_param_add(list, prefix, "mlp.router.query_norm.weight", 1, &width, SG_INIT_ONE, 0);
    sg_param_add(list, prefix, "mlp.router.query_norm.bias", 1, &width, SG_INIT_ZERO, 0);
    sg_param_add_buffer(list, prefix, "mlp.router.query_norm.running_mean", 1, &width, SG_INIT_ZERO,
                        SG_BUFFER_AVERAGE, query_momentum);
    sg_param_add_buffer(list, prefix, "mlp.router.query_norm.running_var", 1, &width, SG_INIT_ONE,
                        SG_BUFFER_AVERAGE, query_momentum);
}

sg_tensor *sg_query_build(const sg_builder *b, sg_tensor *x, int64_t width)
{
    const sg_config *c = b->config;
    sg_tensor *bias = c->ffn_query_bias ? sg_build_param(b, "mlp.router.query.bias") : NULL;
    sg_tensor *q = sg_build_linear(b, x, sg_build_param(b, "mlp.router.query.weight"), bias);
    if (q == NULL) return NULL;
    const int64_t rows = q->shape[0];
    if (query_has(c, "layernorm")) { // each query, or half of one, by itself
        int64_t each[] = {rows * width / c->ffn_key_size, c->ffn_key_size};
        sg_tensor *w = sg_build_param(b, "mlp.router.query_norm.weight");
        q = sg_layernorm(b->tape, sg_reshape(b->tape, q, 2, each), w, NULL, query_eps);
        return sg_reshape(b->tape, q, 2, (int64_t[]){rows, width});
    }
    if (!query_has(c, "batchnorm")) return q;
    return sg_batchnorm(b->tape, q, sg_build_param(b, "mlp.router.query_norm.weight"),
                        sg_build_param(b, "mlp.router.query_norm.bias"),
                        sg_build_param(b, "mlp.router.query_norm.running_mean"),
                        sg_build_param(b, "mlp.router.query_norm.running_var"), query_eps,
                        b->training);
}

double sg_query_flops(const sg_config *c, int64_t width)
{
    return 2 * (double)c->hidden_size * (double)width;
}
