// Sizes of each family at a scale, for presets: after Schug 2026 (arXiv 2606.07414) and its code
// where they were published, else chosen so that a layer costs about what the dense one does. A
// scale is a rung of the ladder, 1 to 9, or 0, the small models; d is in the configuration. Fields
// that stay 0 are left out: active cells are then those of the dense layer, blocks whole ones.
#include "ffn/sizes.h"

#include <math.h>

static int64_t square(int64_t n)
{
    return n * n;
}

void sg_sizes_dense(sg_config *c, int64_t scale)
{
    const int64_t d = c->hidden_size;
    c->ffn_intermediate_size = scale > 0 ? 8 * d / 3 / 256 * 256 : 4 * d;
}

void sg_sizes_experts(sg_config *c, int64_t scale)
{
    const int64_t d = c->hidden_size;
    c->ffn_intermediate_size = scale > 0 ? d : 4 * d;
    c->ffn_experts = scale > 0 ? 16 : 8;
    c->ffn_top_k = 2;
}

// ---- neurons ------------------------------------------------------------------------------------

static void sizes_neurons(sg_config *c, int64_t scale, int64_t side)
{
    c->ffn_channels = scale > 0 ? 16 : 8;
    c->ffn_neurons = scale > 0 ? square(side) : 1024;
    c->ffn_key_size = 128;
    c->ffn_top_k = 8;
}

void sg_sizes_own_neurons(sg_config *c, int64_t scale)
{
    sizes_neurons(c, scale, 16 + 12 * scale);
}

void sg_sizes_shared_neurons(sg_config *c, int64_t scale)
{
    sizes_neurons(c, scale, 32 + 24 * scale);
}

// Ours: three quarters of a dense layer's FLOPs are the branch's, and one head reads 32 neurons.
void sg_sizes_neurons_and_branch(sg_config *c, int64_t scale)
{
    c->ffn_intermediate_size = 2 * c->hidden_size;
    c->ffn_neurons = square(scale > 0 ? 32 + 24 * scale : 64);
    c->ffn_top_k = 32;
}

// ---- cells --------------------------------------------------------------------------------------

static void sizes_cells(sg_config *c, int64_t scale)
{
    sg_sizes_dense(c, scale);
    c->ffn_memory_factor = scale > 0 ? 16 : 8;
}

// Switch as published (Fedus et al. 2021): whole experts, and a loss that balances them.
void sg_sizes_switch(sg_config *c, int64_t scale)
{
    sizes_cells(c, scale);
    c->ffn_balance_loss = 0.01;
}

// Blocks of 64 divide every F here.
void sg_sizes_blocks(sg_config *c, int64_t scale)
{
    sizes_cells(c, scale);
    c->ffn_block_size = 64;
}

void sg_sizes_low_rank(sg_config *c, int64_t scale)
{
    sizes_cells(c, scale);
    c->ffn_key_size = 128;
}

// Product keys need a square of cells, larger than the square of what a channel reads: the least
// from `factor` times F on.
static void sizes_product(sg_config *c, int64_t scale, int64_t factor)
{
    sizes_cells(c, scale);
    c->ffn_channels = scale > 0 ? 16 : 8;
    c->ffn_key_size = 64;
    const int64_t F = c->ffn_intermediate_size;
    for (c->ffn_memory_factor *= factor;; c->ffn_memory_factor++) {
        int64_t side = llround(sqrt((double)(c->ffn_memory_factor * F)));
        if (square(side) == c->ffn_memory_factor * F && side > F / c->ffn_channels) return;
    }
}

void sg_sizes_product_cells(sg_config *c, int64_t scale)
{
    sizes_product(c, scale, 1);
}

// Twice as many values as cells with keys beside them, so that they have as many parameters. The
// queries have a bias, as published (Lample et al. 2019).
void sg_sizes_product_values(sg_config *c, int64_t scale)
{
    sizes_product(c, scale, 2);
    c->ffn_query_bias = 1;
}

// Layers have one table together, as published (Berges et al. 2024).
void sg_sizes_shared_values(sg_config *c, int64_t scale)
{
    sg_sizes_product_values(c, scale);
    c->ffn_share_pool = 1;
}
