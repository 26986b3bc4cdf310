// Memory "gated_values" (Memory+; Berges et al. 2024, "Memory Layers at Scale", arXiv 2412.09764):
// the sum b of the selected values is gated by the token and projected,
//   b = sum over channels and selected i of score_i w_out_i
//   y = W_o (b * silu(W_1 x + b_1)) + b_o        W_1, W_o (d, d)
// Values are those of product keys (read_cells.c) and may be shared by layers; W_1 and W_o are the
// layer's own.
#include "ffn/cells.h"

static void gated_values_params(const sg_family *family, const sg_config *c,
                                const sg_memory_place *place)
{
    const int64_t d = c->hidden_size, square[] = {d, d};
    const sg_memory_shape m = sg_cells_shape(family, c);
    const double variance = 1.0 / (double)d;
    sg_memory_table(place, "w_out.weight", 2, (int64_t[]){m.cells, d}, SG_INIT_NORMAL, variance,
                    m.channels * m.selected);
    sg_param_add(place->list, place->prefix, "mlp.gate_proj.weight", 2, square, SG_INIT_NORMAL,
                 variance);
    sg_param_add(place->list, place->prefix, "mlp.gate_proj.bias", 1, &d, SG_INIT_ZERO, 0);
    sg_param_add(place->list, place->prefix, "mlp.out_proj.weight", 2, square, SG_INIT_NORMAL,
                 variance);
    sg_param_add(place->list, place->prefix, "mlp.out_proj.bias", 1, &d, SG_INIT_ZERO, 0);
}

static sg_tensor *gated_values_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                                     const sg_selection *selection)
{
    sg_tensor *sum = sg_values_build(family, b, x, selection);
    sg_tensor *u = sg_build_linear(b, x, sg_build_param(b, "mlp.gate_proj.weight"),
                                   sg_build_param(b, "mlp.gate_proj.bias"));
    sg_tensor *gated = sg_multiply(b->tape, sum, sg_activate(b->tape, u, SG_ACT_SWISH));
    return sg_build_linear(b, gated, sg_build_param(b, "mlp.out_proj.weight"),
                           sg_build_param(b, "mlp.out_proj.bias"));
}

static sg_memory_count gated_values_count(const sg_family *family, const sg_config *c)
{
    const double d = (double)c->hidden_size;
    sg_memory_count count = sg_values_count(family, c);
    count.token_flops = 4 * d * d;
    count.numbers += 4 * d;
    return count;
}

const sg_memory sg_memory_of_gated_values = {
    .name = "gated_values",
    .cell = "cell",
    .block = "block",
    .shape = sg_cells_shape,
    .check = sg_cells_check,
    .params = gated_values_params,
    .build = gated_values_build,
    .count = gated_values_count,
    .say_cells = sg_cells_say_cells,
    .say_selected = sg_cells_say_selected,
};
