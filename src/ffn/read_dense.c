// Memory "mlp": nothing is selected, y = act(x W_up^T + b_up) W_down^T + b_down.
#include "ffn/gated.h"
#include "ffn/sparsity.h"

sg_memory_shape sg_memory_one_block(const sg_family *family, const sg_config *c)
{
    (void)family;
    const int64_t F = c->ffn_intermediate_size;
    return (sg_memory_shape){
        .pools = 1, .channels = 1, .cells = F, .block = F, .blocks = 1, .selected = 1};
}

static void mlp_params(const sg_family *family, const sg_config *c, const sg_memory_place *place)
{
    (void)family;
    const int64_t d = c->hidden_size, F = c->ffn_intermediate_size;
    sg_param_list *list = place->list;
    sg_param_add(list, place->prefix, "mlp.up_proj.weight", 2, (int64_t[]){F, d}, SG_INIT_TRUNCATED,
                 1.0 / (double)d);
    if (c->ffn_bias) sg_param_add(list, place->prefix, "mlp.up_proj.bias", 1, &F, SG_INIT_ZERO, 0);
    sg_param_add(list, place->prefix, "mlp.down_proj.weight", 2, (int64_t[]){d, F},
                 SG_INIT_TRUNCATED, 1.0 / (double)F);
    if (c->ffn_bias)
        sg_param_add(list, place->prefix, "mlp.down_proj.bias", 1, &d, SG_INIT_ZERO, 0);
}

static sg_tensor *mlp_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                            const sg_selection *selection)
{
    (void)family, (void)selection;
    x = sg_build_trimmed(b, x, SG_TRIMMED_FFN);
    sg_tensor *u = sg_build_dense_part(b, x, SG_TRIMMED_FFN, "up_proj");
    u = sg_build_whole_point(b, u, "mlp.hook_pre");
    sg_tensor *h = sg_activate(b->tape, u, sg_ffn_activation(b->config));
    sg_tensor *kept = sg_build_trimmed(b, h, SG_TRIMMED_FFN_DOWN);
    kept = sg_build_whole_point(b, kept, "mlp.hook_post");
    sg_build_term(b, u, kept);
    return sg_build_dense_part(b, kept, SG_TRIMMED_FFN_DOWN, "down_proj");
}

static sg_memory_count mlp_count(const sg_family *family, const sg_config *c)
{
    (void)family;
    const double F = (double)c->ffn_intermediate_size;
    return (sg_memory_count){
        .block_flops = 4 * (double)c->hidden_size * F, .numbers = 2 * F, .hits = 1};
}

const sg_memory sg_memory_of_mlp = {
    .name = "mlp",
    .cell = "neuron",
    .block = "layer",
    .dense = true,
    .shape = sg_memory_one_block,
    .params = mlp_params,
    .build = mlp_build,
    .count = mlp_count,
};
