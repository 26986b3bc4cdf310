// Memories of N = E F cells in blocks of g (Liu et al. 2023), of which a token reads k. A cell is a
// key, its row of w_in, and a value, its row of w_out. Of "cells" a selection is of blocks,
// y = sum over the selected blocks i of score_i sum over their cells act(w_in . x) w_out; of
// "values" the router has read keys, the memory's or its own, and selects cells with their
// coefficients, y = sum score_i w_out_i.
#include <stdio.h>
#include <string.h>

#include "ffn/cells.h"
#include "ffn/inside.h"

static int64_t cells_block(const sg_family *family, const sg_config *c)
{
    if (!(family->has & SG_HAS_BLOCK)) return 1;
    return c->ffn_block_size ? c->ffn_block_size : c->ffn_intermediate_size;
}

static int64_t cells_active(const sg_config *c)
{
    return c->ffn_active_neurons ? c->ffn_active_neurons : c->ffn_intermediate_size;
}

sg_memory_shape sg_cells_shape(const sg_family *family, const sg_config *c)
{
    const int64_t g = cells_block(family, c), channels = sg_ffn_channels(family, c);
    const int64_t blocks = c->ffn_memory_factor * c->ffn_intermediate_size / g;
    return (sg_memory_shape){.pools = 1,
                             .channels = channels,
                             .cells = g * blocks,
                             .block = g,
                             .blocks = blocks,
                             .selected = cells_active(c) / (g * channels)};
}

// g divides both the memory and what a token reads of it, which channels share evenly.
sg_status sg_cells_check(const sg_family *family, const sg_config *c, sg_error *err)
{
    const int64_t F = c->ffn_intermediate_size, cells = c->ffn_memory_factor * F;
    const int64_t g = cells_block(family, c), channels = sg_ffn_channels(family, c);
    const int64_t k = cells_active(c);
    if (cells > 1 << 30)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_memory_factor: found %lld, expected at most %lld, so that %lld times "
                       "ffn_intermediate_size is at most 2^30 cells",
                       (long long)c->ffn_memory_factor, (long long)((1 << 30) / F),
                       (long long)c->ffn_memory_factor);
    if (k > cells)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_active_neurons: found %lld, expected at most the %lld cells "
                       "(ffn_memory_factor times ffn_intermediate_size)",
                       (long long)k, (long long)cells);
    if (cells % g != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_block_size: found %lld, expected a divisor of the %lld cells "
                       "(ffn_memory_factor times ffn_intermediate_size)",
                       (long long)g, (long long)cells);
    if (k % g != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_block_size: found %lld, expected a divisor of the %lld active cells "
                       "(ffn_active_neurons)",
                       (long long)g, (long long)k);
    if (k % (g * channels) != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_channels: found %lld, expected a divisor of the %lld active cells "
                       "(ffn_active_neurons)",
                       (long long)channels, (long long)k);
    return SG_OK;
}

void sg_cells_say_cells(const sg_config *c, char text[SG_MEMORY_SAYS])
{
    snprintf(text, SG_MEMORY_SAYS,
             "ffn_memory_factor: found %lld, which times ffn_intermediate_size makes %lld cells",
             (long long)c->ffn_memory_factor,
             (long long)(c->ffn_memory_factor * c->ffn_intermediate_size));
}

void sg_cells_say_selected(const sg_config *c, char text[SG_MEMORY_SAYS])
{
    const sg_memory_shape m = sg_ffn_memory(c);
    snprintf(text, SG_MEMORY_SAYS, "ffn_active_neurons: found %lld, which is %lld a channel",
             (long long)(m.selected * m.channels), (long long)m.selected);
}

// Values by the cells that a token reads, not by those there are. A softmax has averaged already:
// there they are as large as those of PKM (Lample et al.).
static double cells_variance(const sg_config *c, int64_t read)
{
    const bool averaged = strcmp(c->ffn_normaliser, "softmax") == 0;
    return 1.0 / (double)(averaged ? c->hidden_size : read);
}

// Keys like the first matrix of a dense layer. Rows alone are read where no router reads all keys,
// and no block of them is multiplied whole.
static void cells_params(const sg_family *family, const sg_config *c, const sg_memory_place *place)
{
    const sg_memory_shape m = sg_cells_shape(family, c);
    const int64_t shape[] = {m.cells, c->hidden_size}, read = m.channels * m.selected * m.block;
    const int64_t rows = m.block == 1 ? read : 0;
    sg_memory_table(place, "w_in.weight", 2, shape, SG_INIT_TRUNCATED, 1.0 / (double)c->hidden_size,
                    sg_ffn_router(c)->reads_keys ? 0 : rows);
    sg_memory_table(place, "w_out.weight", 2, shape, SG_INIT_TRUNCATED, cells_variance(c, read),
                    rows);
}

static sg_tensor *cells_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                              const sg_selection *selection)
{
    const sg_memory_shape m = sg_cells_shape(family, b->config);
    sg_tensor *w_in = sg_build_pools(b, "mlp.experts.w_in.weight", 1, m.cells);
    sg_tensor *w_out = sg_build_pools(b, "mlp.experts.w_out.weight", 1, m.cells);
    const sg_gate gate = sg_ffn_gate(b->config);
    if (sg_inside_asked(b)) return sg_inside_rows(b, x, selection, w_in, w_out, gate);
    return sg_memory_cells(b->tape, x, selection, w_in, w_out, sg_ffn_activation(b->config), gate);
}

// Small blocks are read cell by cell, each a hit.
static sg_memory_count cells_count(const sg_family *family, const sg_config *c)
{
    const sg_memory_shape m = sg_cells_shape(family, c);
    const int64_t hits = m.channels * m.selected * m.block;
    return (sg_memory_count){.block_flops = 4 * (double)c->hidden_size * (double)m.block,
                             .block_parameters = 2 * c->hidden_size * m.block,
                             .numbers = 2 * (double)hits,
                             .hits = hits};
}

const sg_memory sg_memory_of_cells = {
    .name = "cells",
    .cell = "cell",
    .block = "block",
    .shape = sg_cells_shape,
    .check = sg_cells_check,
    .params = cells_params,
    .build = cells_build,
    .count = cells_count,
    .say_cells = sg_cells_say_cells,
    .say_selected = sg_cells_say_selected,
};

// ---- values -------------------------------------------------------------------------------------

static void values_params(const sg_family *family, const sg_config *c, const sg_memory_place *place)
{
    const sg_memory_shape m = sg_cells_shape(family, c);
    const int64_t shape[] = {m.cells, c->hidden_size}, read = m.channels * m.selected * m.block;
    if (sg_ffn_router(c)->reads_keys)
        sg_memory_table(place, "w_in.weight", 2, shape, SG_INIT_TRUNCATED,
                        1.0 / (double)c->hidden_size, 0);
    sg_memory_table(place, "w_out.weight", 2, shape, SG_INIT_TRUNCATED, cells_variance(c, read),
                    read);
}

sg_tensor *sg_values_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                           const sg_selection *selection)
{
    (void)x;
    const sg_memory_shape m = sg_cells_shape(family, b->config);
    sg_tensor *w_out = sg_build_pools(b, "mlp.experts.w_out.weight", 1, m.cells);
    if (sg_inside_asked(b)) return sg_inside_rows(b, NULL, selection, NULL, w_out, SG_GATE_VALUE);
    return sg_memory_neurons(b->tape, NULL, selection, NULL, w_out, SG_ACT_IDENTITY, SG_GATE_VALUE);
}

sg_memory_count sg_values_count(const sg_family *family, const sg_config *c)
{
    const sg_memory_shape m = sg_cells_shape(family, c);
    const int64_t hits = m.channels * m.selected * m.block;
    return (sg_memory_count){.block_flops = 2 * (double)c->hidden_size * (double)m.block,
                             .block_parameters = c->hidden_size * m.block,
                             .numbers = 2 * (double)hits,
                             .hits = hits};
}

const sg_memory sg_memory_of_values = {
    .name = "values",
    .cell = "cell",
    .block = "block",
    .shape = sg_cells_shape,
    .check = sg_cells_check,
    .params = values_params,
    .build = sg_values_build,
    .count = sg_values_count,
    .say_cells = sg_cells_say_cells,
    .say_selected = sg_cells_say_selected,
};
