// Memory "neurons": N single neurons in one pool, or in one of each channel; a channel reads k,
// y = sum over channels and selected i of gate(score_i, act(w_in_i . x)) w_out_i
// (memory_neurons.c).
#include <stdio.h>

#include "ffn/inside.h"

static sg_memory_shape neurons_shape(const sg_family *family, const sg_config *c)
{
    const int64_t channels = sg_ffn_channels(family, c);
    return (sg_memory_shape){.pools = family->shared_pool ? 1 : channels,
                             .channels = channels,
                             .cells = c->ffn_neurons,
                             .block = 1,
                             .blocks = c->ffn_neurons,
                             .selected = c->ffn_top_k};
}

static void neurons_params(const sg_family *family, const sg_config *c,
                           const sg_memory_place *place)
{
    const sg_memory_shape m = neurons_shape(family, c);
    // The published variance is 1/N, N the neurons of a pool (spec 5.6 and trap 5 of 4.7).
    const double variance = 1.0 / (double)m.cells;
    const int64_t shape[] = {m.pools, m.cells, c->hidden_size}, hits = m.channels * m.selected;
    const int skip = family->shared_pool ? 1 : 0;
    sg_memory_table(place, "w_in.weight", 3 - skip, shape + skip, SG_INIT_TRUNCATED, variance,
                    hits);
    sg_memory_table(place, "w_out.weight", 3 - skip, shape + skip, SG_INIT_TRUNCATED, variance,
                    hits);
    if (place->tables != NULL) sg_param_paired(place->list);
}

static sg_tensor *neurons_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                                const sg_selection *selection)
{
    const sg_memory_shape m = neurons_shape(family, b->config);
    sg_tensor *w_in = sg_build_pools(b, "mlp.experts.w_in.weight", m.pools, m.cells);
    sg_tensor *w_out = sg_build_pools(b, "mlp.experts.w_out.weight", m.pools, m.cells);
    const sg_gate gate = sg_ffn_gate(b->config);
    if (sg_inside_asked(b)) return sg_inside_rows(b, x, selection, w_in, w_out, gate);
    return sg_memory_neurons(b->tape, x, selection, w_in, w_out, sg_ffn_activation(b->config),
                             gate);
}

static sg_memory_count neurons_count(const sg_family *family, const sg_config *c)
{
    const sg_memory_shape m = neurons_shape(family, c);
    return (sg_memory_count){.block_flops = 4 * (double)c->hidden_size,
                             .block_parameters = 2 * c->hidden_size,
                             .numbers = 2 * (double)m.channels * (double)m.selected,
                             .hits = m.channels * m.selected};
}

static void neurons_say_cells(const sg_config *c, char text[SG_MEMORY_SAYS])
{
    snprintf(text, SG_MEMORY_SAYS, "ffn_neurons: found %lld", (long long)c->ffn_neurons);
}

static void neurons_say_selected(const sg_config *c, char text[SG_MEMORY_SAYS])
{
    snprintf(text, SG_MEMORY_SAYS, "ffn_top_k: found %lld", (long long)c->ffn_top_k);
}

const sg_memory sg_memory_of_neurons = {
    .name = "neurons",
    .cell = "neuron",
    .block = "neuron",
    .shape = neurons_shape,
    .params = neurons_params,
    .build = neurons_build,
    .count = neurons_count,
    .say_cells = neurons_say_cells,
    .say_selected = neurons_say_selected,
};
