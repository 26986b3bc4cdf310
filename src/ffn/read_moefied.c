// Memory "moefied": the neurons of a dense layer of width F in F / g blocks of g. Its tables are
// rows of neurons, those of a block behind each other: w_in, or the gates of a block and then its
// linear parts; and w_out, the columns of the dense layer's second matrix. With router gate the
// layer is one block, of which a threshold leaves neurons out. (memory_moefied.c has the formulas.)
#include <stdio.h>

#include "ffn/gated.h"
#include "ffn/inside.h"
#include "ffn/moefied.h"
#include "ffn/sparsity.h"

static int64_t moefied_block(const sg_config *c)
{
    return c->ffn_block_size ? c->ffn_block_size : c->ffn_intermediate_size;
}

static sg_memory_shape moefied_shape(const sg_family *family, const sg_config *c)
{
    (void)family;
    const int64_t F = c->ffn_intermediate_size, g = moefied_block(c);
    return (sg_memory_shape){.pools = 1,
                             .channels = 1,
                             .cells = F / g * g,
                             .block = g,
                             .blocks = F / g,
                             .selected = c->ffn_top_k};
}

static bool moefied_trims(const sg_config *c)
{
    return sg_ffn_router(c) == &sg_router_gate;
}

static sg_status moefied_check(const sg_family *family, const sg_config *c, sg_error *err)
{
    (void)family;
    const int64_t F = c->ffn_intermediate_size, g = moefied_block(c);
    if (g > F || F % g != 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_block_size: found %lld, expected a divisor of the %lld neurons "
                       "(ffn_intermediate_size)",
                       (long long)g, (long long)F);
    if (c->ffn_top_k > F / g)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn_top_k: found %lld, expected at most %lld blocks",
                       (long long)c->ffn_top_k, (long long)(F / g));
    if (c->ffn_mean && sg_ffn_gate(c) != SG_GATE_NONE)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_mean: found 1, expected 0 where ffn_gate is after");
    if (c->ffn_shared_experts > 0 && !sg_ffn_is_gated(c))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ffn_shared_experts: found %lld, expected 0 where the layer is not gated",
                       (long long)c->ffn_shared_experts);
    return SG_OK;
}

static void moefied_vector(const sg_memory_place *place, const char *name, int rank,
                           const int64_t *shape)
{
    sg_memory_table(place, name, rank, shape, SG_INIT_ZERO, 0, 0);
}

// The first table as that of a dense layer, the second by the neurons that a token reads.
static void moefied_params(const sg_family *family, const sg_config *c,
                           const sg_memory_place *place)
{
    const sg_memory_shape m = moefied_shape(family, c);
    const int64_t d = c->hidden_size, up[] = {m.blocks, 2 * m.block, d}, rows[] = {m.cells, d};
    const double in = 1.0 / (double)d, out = 1.0 / (double)(m.selected * m.block);
    const bool glu = sg_ffn_is_gated(c);
    if (glu)
        sg_memory_table(place, "gate_up_proj.weight", 3, up, SG_INIT_TRUNCATED, in, 0);
    else
        sg_memory_table(place, "w_in.weight", 2, rows, SG_INIT_TRUNCATED, in, 0);
    if (c->ffn_bias && glu) moefied_vector(place, "gate_up_proj.bias", 2, up);
    if (c->ffn_bias && !glu) moefied_vector(place, "w_in.bias", 1, rows);
    sg_memory_table(place, "w_out.weight", 2, rows, SG_INIT_TRUNCATED, out, 0);
    if (c->ffn_bias || c->ffn_mean) moefied_vector(place, "w_out.bias", 1, &d);
    if (!c->ffn_mean || place->tables == NULL) return;
    // Means that were recorded: no gradient reaches them, and nothing moves them. Their part in y
    // is in the bias, which may be trained.
    char name[64];
    snprintf(name, sizeof name, "%smean.weight", place->table);
    sg_param_add_buffer(place->list, place->tables, name, 1, rows, SG_INIT_ZERO, SG_BUFFER_AVERAGE,
                        0);
}

static sg_moefied moefied_tables(const sg_builder *b)
{
    const sg_config *c = b->config;
    const sg_memory_shape m = sg_ffn_memory(c);
    sg_moefied of = {.glu = sg_ffn_is_gated(c),
                     .form = sg_glu_form_of(c),
                     .activation = sg_ffn_activation(c),
                     .gate = sg_ffn_gate(c),
                     .trim = moefied_trims(c) ? c->ffn_threshold : 0};
    if (of.glu && moefied_trims(c)) of.activation = sg_glu_activation(of.form.kind);
    of.up = of.glu ? sg_build_table(b, "mlp.experts.gate_up_proj.weight")
                   : sg_build_pools(b, "mlp.experts.w_in.weight", 1, m.cells);
    if (c->ffn_bias)
        of.up_bias =
            sg_build_table(b, of.glu ? "mlp.experts.gate_up_proj.bias" : "mlp.experts.w_in.bias");
    of.down = sg_build_pools(b, "mlp.experts.w_out.weight", 1, m.cells);
    if (c->ffn_bias || c->ffn_mean) of.down_bias = sg_build_table(b, "mlp.experts.w_out.bias");
    if (c->ffn_mean) of.mean = sg_build_table(b, "mlp.experts.mean.weight");
    return of;
}

static sg_tensor *moefied_build(const sg_family *family, const sg_builder *b, sg_tensor *x,
                                const sg_selection *selection)
{
    (void)family;
    const sg_moefied of = moefied_tables(b);
    if (sg_inside_asked(b) || sg_build_term_asked(b))
        return sg_inside_moefied(b, x, selection, &of);
    return sg_memory_moefied(b->tape, x, selection, &of);
}

int64_t sg_moefied_spared(const sg_config *c)
{
    return sg_ffn_is_gated(c) && c->ffn_threshold > 0 ? 2 : 1;
}

// Whether a threshold leaves anything out: one of 0 does so of activations that may be 0.
static bool moefied_leaves_out(const sg_config *c)
{
    const sg_activation act =
        sg_ffn_is_gated(c) ? sg_glu_activation(sg_glu_form_of(c).kind) : sg_ffn_activation(c);
    return c->ffn_threshold > 0 || act == SG_ACT_RELU || act == SG_ACT_RELU2;
}

static int64_t moefied_idle(const sg_config *c)
{
    if (!moefied_trims(c) || c->ffn_active_neurons == 0 || !moefied_leaves_out(c)) return 0;
    return moefied_block(c) - c->ffn_active_neurons;
}

static sg_memory_count moefied_count(const sg_family *family, const sg_config *c)
{
    const sg_memory_shape m = moefied_shape(family, c);
    const int64_t rows = sg_ffn_is_gated(c) ? 3 : 2, d = c->hidden_size;
    const int64_t biases = c->ffn_bias ? rows - 1 : 0;
    const int64_t idle = moefied_idle(c), spared = sg_moefied_spared(c);
    return (sg_memory_count){.block_flops =
                                 2 * (double)d * (double)(rows * m.block - spared * idle),
                             .block_parameters = (rows * d + biases + c->ffn_mean) * m.block,
                             .idle_cells = idle,
                             .idle_parameters = idle * (spared * d + (biases ? spared - 1 : 0)),
                             .idle_flops = 2 * (double)d * (double)spared,
                             .numbers = (double)(rows * m.selected * m.block),
                             .hits = m.selected};
}

const sg_memory sg_memory_of_moefied = {
    .name = "moefied",
    .cell = "neuron",
    .block = "block",
    .shape = moefied_shape,
    .check = moefied_check,
    .params = moefied_params,
    .build = moefied_build,
    .count = moefied_count,
};
