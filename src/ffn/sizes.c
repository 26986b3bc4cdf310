// Sizes of each family at a scale, for presets: after Schug 2026 (arXiv 2606.07414) and its code
// where they were published, else chosen so that a layer costs about what the dense one does. All
// that tells the ladders apart are the numbers of one table; d is in the configuration. Fields that
// stay 0 are left out: active cells are then those of the dense layer, blocks whole ones.
#include "ffn/sizes.h"

#include <math.h>
#include <stdio.h>

typedef struct sizes_side { // of a square of neurons: base + step scale
    int64_t base, step;
} sizes_side;

typedef struct sizes_key { // numbers of a key: d / divisor, at least `least`; divisor 0: `least`
    int64_t least, divisor;
} sizes_key;

typedef struct sizes_rules {
    int64_t multiple; // the dense width is 8 d / 3 down to a multiple of this; 0: 4 d
    int64_t experts;  // as wide as d, of a small model 4 d
    int64_t channels;
    sizes_side own, shared, branch; // neurons of a channel, of all channels, beside a branch
    sizes_key own_key, shared_key;
    int64_t branch_width, branch_top_k;  // the width in multiples of d
    int64_t factor, block;               // cells in multiples of the dense width
    sizes_key low_rank_key, product_key; // of a part
    bool product_width; // a square of cells by the width, their factor as it is; else by the factor
} sizes_rules;

static const sizes_rules ladders[] = {
    [SG_LADDER_SMALL] = {.experts = 8,
                         .channels = 8,
                         .own = {32, 0},
                         .shared = {32, 0},
                         .branch = {64, 0},
                         .own_key = {128, 0},
                         .shared_key = {128, 0},
                         .branch_width = 2,
                         .branch_top_k = 32,
                         .factor = 8,
                         .block = 64,
                         .low_rank_key = {128, 0},
                         .product_key = {64, 0}},
    [SG_LADDER_PUBLISHED] = {.multiple = 256,
                             .experts = 16,
                             .channels = 16,
                             .own = {16, 12},
                             .shared = {32, 24},
                             .branch = {32, 24},
                             .own_key = {128, 0},
                             .shared_key = {128, 0},
                             .branch_width = 2,
                             .branch_top_k = 32,
                             .factor = 16,
                             .block = 64,
                             .low_rank_key = {128, 0},
                             .product_key = {64, 0}},
    // d is 16 s: keys grow with it, and a branch is narrower, for the dense layer is.
    [SG_LADDER_LAPTOP] = {.multiple = 16,
                          .experts = 16,
                          .channels = 8,
                          .own = {8, 4},
                          .shared = {16, 8},
                          .branch = {16, 8},
                          .own_key = {0, 2},
                          .shared_key = {0, 4},
                          .branch_width = 1,
                          .branch_top_k = 16,
                          .factor = 16,
                          .block = 16,
                          .low_rank_key = {4, 8},
                          .product_key = {4, 8},
                          .product_width = true},
};

static int64_t square(int64_t n)
{
    return n * n;
}

static int64_t sizes_square(sizes_side side, sg_rung rung)
{
    return square(side.base + side.step * rung.scale);
}

static int64_t sizes_key_of(sizes_key key, const sg_config *c)
{
    const int64_t share = key.divisor > 0 ? c->hidden_size / key.divisor : 0;
    return share > key.least ? share : key.least;
}

void sg_sizes_dense(sg_config *c, sg_rung rung)
{
    const int64_t d = c->hidden_size, multiple = ladders[rung.ladder].multiple;
    c->ffn_intermediate_size = multiple > 0 ? 8 * d / 3 / multiple * multiple : 4 * d;
}

void sg_sizes_experts(sg_config *c, sg_rung rung)
{
    const int64_t d = c->hidden_size;
    c->ffn_intermediate_size = rung.ladder != SG_LADDER_SMALL ? d : 4 * d;
    c->ffn_experts = ladders[rung.ladder].experts;
    c->ffn_top_k = 2;
}

// ---- neurons ------------------------------------------------------------------------------------

static void sizes_neurons(sg_config *c, sg_rung rung, sizes_side side, sizes_key key)
{
    c->ffn_channels = ladders[rung.ladder].channels;
    c->ffn_neurons = sizes_square(side, rung);
    c->ffn_key_size = sizes_key_of(key, c);
    c->ffn_top_k = 8;
}

void sg_sizes_own_neurons(sg_config *c, sg_rung rung)
{
    sizes_neurons(c, rung, ladders[rung.ladder].own, ladders[rung.ladder].own_key);
}

void sg_sizes_shared_neurons(sg_config *c, sg_rung rung)
{
    sizes_neurons(c, rung, ladders[rung.ladder].shared, ladders[rung.ladder].shared_key);
}

// Ours: half to three quarters of a dense layer's FLOPs are the branch's, and one head reads the
// neurons.
void sg_sizes_neurons_and_branch(sg_config *c, sg_rung rung)
{
    const sizes_rules *rules = &ladders[rung.ladder];
    c->ffn_intermediate_size = rules->branch_width * c->hidden_size;
    c->ffn_neurons = sizes_square(rules->branch, rung);
    c->ffn_top_k = rules->branch_top_k;
}

// ---- cells --------------------------------------------------------------------------------------

static void sizes_cells(sg_config *c, sg_rung rung)
{
    sg_sizes_dense(c, rung);
    c->ffn_memory_factor = ladders[rung.ladder].factor;
}

// Switch as published (Fedus et al. 2021): whole experts, and a loss that balances them.
void sg_sizes_switch(sg_config *c, sg_rung rung)
{
    sizes_cells(c, rung);
    c->ffn_balance_loss = 0.01;
}

// The blocks divide every F of the ladder.
void sg_sizes_blocks(sg_config *c, sg_rung rung)
{
    sizes_cells(c, rung);
    c->ffn_block_size = ladders[rung.ladder].block;
}

// Four times the dense layer's width, of which a token reads a quarter, scaled by the router, which
// learns so.
void sg_sizes_moefied(sg_config *c, sg_rung rung)
{
    sg_sizes_dense(c, rung);
    c->ffn_block_size = 16;
    c->ffn_top_k = c->ffn_intermediate_size / 16;
    c->ffn_intermediate_size = 4 * 16 * c->ffn_top_k;
    snprintf(c->ffn_gate, sizeof c->ffn_gate, "after");
}

void sg_sizes_low_rank(sg_config *c, sg_rung rung)
{
    sizes_cells(c, rung);
    c->ffn_key_size = sizes_key_of(ladders[rung.ladder].low_rank_key, c);
}

// Whether E F cells are a square, larger than the square of the `read` that a channel reads.
static bool sizes_fit(int64_t E, int64_t F, int64_t read)
{
    const int64_t side = llround(sqrt((double)(E * F)));
    return F > 0 && square(side) == E * F && side > read;
}

// Product keys need a square of cells: by the least factor from `times` the ladder's on, or by the
// width that is nearest to the dense layer's, of which as many cells are read all the same.
static void sizes_product(sg_config *c, sg_rung rung, int64_t times)
{
    const sizes_rules *rules = &ladders[rung.ladder];
    sizes_cells(c, rung);
    c->ffn_channels = rules->channels;
    c->ffn_key_size = sizes_key_of(rules->product_key, c);
    c->ffn_memory_factor *= times;
    const int64_t F = c->ffn_intermediate_size, read = F / c->ffn_channels;
    if (!rules->product_width) {
        while (!sizes_fit(c->ffn_memory_factor, F, read))
            c->ffn_memory_factor++;
        return;
    }
    c->ffn_active_neurons = F;
    int64_t off = 0;
    while (!sizes_fit(c->ffn_memory_factor, F - off, read) &&
           !sizes_fit(c->ffn_memory_factor, F + off, read))
        off++;
    c->ffn_intermediate_size = sizes_fit(c->ffn_memory_factor, F - off, read) ? F - off : F + off;
}

void sg_sizes_product_cells(sg_config *c, sg_rung rung)
{
    sizes_product(c, rung, 1);
}

// Twice as many values as cells with keys beside them, so that they have as many parameters. The
// queries have a bias, as published (Lample et al. 2019).
void sg_sizes_product_values(sg_config *c, sg_rung rung)
{
    sizes_product(c, rung, 2);
    c->ffn_query_bias = 1;
}

// Layers have one table together, as published (Berges et al. 2024).
void sg_sizes_shared_values(sg_config *c, sg_rung rung)
{
    sg_sizes_product_values(c, rung);
    c->ffn_share_pool = 1;
}
