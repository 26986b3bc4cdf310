// Memory "experts": blocks are gated linear units of width F with biases where the configuration
// has them, y = sum over the selected experts e of score_e GLU_e(x) (memory_blocks.c).
#include "ffn/gated.h"
#include "ffn/inside.h"

static sg_memory_shape experts_shape(const sg_family *family, const sg_config *c)
{
    (void)family;
    const int64_t F = c->ffn_intermediate_size;
    return (sg_memory_shape){.pools = 1,
                             .channels = 1,
                             .cells = F * c->ffn_experts,
                             .block = F,
                             .blocks = c->ffn_experts,
                             .selected = c->ffn_top_k};
}

static sg_status experts_check(const sg_family *family, const sg_config *c, sg_error *err)
{
    (void)family;
    if (c->ffn_top_k <= c->ffn_experts) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld experts",
                   (long long)c->ffn_top_k, (long long)c->ffn_experts);
}

static void experts_params(const sg_family *family, const sg_config *c,
                           const sg_memory_place *place)
{
    (void)family;
    if (place->tables != NULL)
        sg_glu_params(c, place->tables, place->table, c->ffn_experts, c->ffn_intermediate_size,
                      place->list);
}

static sg_tensor *experts_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                                const sg_selection *selection)
{
    (void)family;
    const sg_glu_form form = sg_glu_form_of(b->config);
    sg_tensor *up = sg_build_table(b, "mlp.experts.gate_up_proj.weight"), *up_bias = NULL;
    if (b->config->ffn_bias) up_bias = sg_build_table(b, "mlp.experts.gate_up_proj.bias");
    sg_tensor *down = sg_build_table(b, "mlp.experts.down_proj.weight"), *down_bias = NULL;
    if (b->config->ffn_bias) down_bias = sg_build_table(b, "mlp.experts.down_proj.bias");
    if (sg_inside_asked(b))
        return sg_inside_experts(b, x, selection, &(sg_expert_tables){up, up_bias, down, down_bias},
                                 &form);
    return sg_memory_experts(b->tape, x, selection, up, up_bias, down, down_bias, &form);
}

static sg_memory_count experts_count(const sg_family *family, const sg_config *c)
{
    (void)family;
    const int64_t F = c->ffn_intermediate_size;
    return (sg_memory_count){.block_flops = 6 * (double)c->hidden_size * (double)F,
                             .block_parameters = sg_glu_parameters(c, F),
                             .numbers = 3 * (double)F * (double)c->ffn_top_k,
                             .hits = c->ffn_top_k};
}

const sg_memory sg_memory_of_experts = {
    .name = "experts",
    .cell = "neuron",
    .block = "expert",
    .gated = true,
    .shape = experts_shape,
    .check = experts_check,
    .params = experts_params,
    .build = experts_build,
    .count = experts_count,
};
