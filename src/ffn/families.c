// The table of feed-forward families and the one way they are put together:
// router -> selection -> normaliser -> memory.
#include "ffn/ffn.h"

#include <stdio.h>
#include <string.h>

static const sg_family families[] = {
    {.name = "mlp",
     .routers = {"all"},
     .activations = {"gelu", "relu", "swish", "identity", "gelu_erf"},
     .has = SG_HAS_WIDTH | SG_HAS_LAYER_BIAS,
     .block = SG_BLOCK_DENSE},
    {.name = "glu",
     .routers = {"all"},
     .activations = {"clamped_swiglu", "swiglu", "geglu", "geglu_erf", "reglu"},
     .has = SG_HAS_WIDTH | SG_HAS_LAYER_BIAS | SG_HAS_PAIRS,
     .block = SG_BLOCK_GLU},
    {.name = "moe",
     .routers = {"linear"},
     .activations = {"clamped_swiglu", "swiglu", "geglu", "geglu_erf", "reglu"},
     .scores = {"softmax", "sigmoid"},
     .has = SG_HAS_WIDTH | SG_HAS_EXPERTS | SG_HAS_TOP_K | SG_HAS_LINEAR | SG_HAS_SHARED |
            SG_HAS_BIAS_RATE | SG_HAS_LAYER_BIAS | SG_HAS_PAIRS,
     .block = SG_BLOCK_EXPERTS,
     .gate = SG_GATE_AFTER},
    {.name = "peer",
     .routers = {"product_key_value", "product_dense", "dense", "key_value"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CHANNELS | SG_HAS_NEURONS | SG_HAS_KEY | SG_HAS_TOP_K,
     .block = SG_BLOCK_NEURONS,
     .gate = SG_GATE_AFTER,
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"},
     .shared_pool = true},
    {.name = "sgatlin",
     .routers = {"product_dense", "product_key_value", "dense", "key_value"},
     .activations = {"identity", "gelu", "relu", "swish"},
     .has = SG_HAS_CHANNELS | SG_HAS_NEURONS | SG_HAS_KEY | SG_HAS_TOP_K,
     .block = SG_BLOCK_NEURONS,
     .gate = SG_GATE_BEFORE},
    {.name = "switch",
     .routers = {"linear"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_LINEAR,
     .block = SG_BLOCK_CELLS,
     .gate = SG_GATE_AFTER,
     .whole_blocks = true,
     .balance_loss = 0.01},
    {.name = "randhash",
     .routers = {"hash"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_HASH,
     .block = SG_BLOCK_CELLS},
    {.name = "avgk",
     .routers = {"average"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .gates = {"none", "after"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_BALANCE,
     .block = SG_BLOCK_CELLS},
    {.name = "vanillam",
     .routers = {"keys"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK,
     .block = SG_BLOCK_CELLS,
     .gate = SG_GATE_VALUE},
    {.name = "lorkm",
     .routers = {"low_rank"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_KEY,
     .block = SG_BLOCK_CELLS,
     .gate = SG_GATE_VALUE,
     .no_keys = true},
    {.name = "pkm",
     .routers = {"product_keys"},
     .activations = {"identity"},
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"},
     .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_CHANNELS | SG_HAS_KEY | SG_HAS_BIAS,
     .block = SG_BLOCK_CELLS,
     .gate = SG_GATE_VALUE,
     .shared_pool = true,
     .no_keys = true},
    {.name = "pkm_ffn",
     .routers = {"product_keys"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"},
     .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_CHANNELS | SG_HAS_KEY | SG_HAS_BIAS,
     .block = SG_BLOCK_CELLS,
     .gate = SG_GATE_AFTER,
     .shared_pool = true},
};

enum { family_count = sizeof families / sizeof *families };

static const sg_router *const routers[] = {&sg_router_product_dense, &sg_router_product_key_value,
                                           &sg_router_dense,         &sg_router_key_value,
                                           &sg_router_linear,        &sg_router_hash,
                                           &sg_router_average,       &sg_router_product_keys,
                                           &sg_router_keys,          &sg_router_low_rank};

const sg_family *sg_family_find(const char *name)
{
    for (size_t i = 0; i < family_count; i++)
        if (strcmp(families[i].name, name) == 0) return &families[i];
    return NULL;
}

const char *sg_family_name(size_t index)
{
    return index < family_count ? families[index].name : NULL;
}

const char *sg_family_list(char *text, size_t capacity)
{
    text[0] = '\0';
    for (size_t i = 0, used = 0; i < family_count && used < capacity; i++)
        used +=
            (size_t)snprintf(text + used, capacity - used, "%s%s", i ? ", " : "", families[i].name);
    return text;
}

// NULL for "all", which selects nothing.
static const sg_router *family_router(const sg_config *c)
{
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++)
        if (strcmp(routers[i]->name, c->ffn_router) == 0) return routers[i];
    return NULL;
}

sg_activation sg_ffn_activation(const sg_config *c)
{
    static const struct {
        const char *name;
        sg_activation activation;
    } names[] = {{"identity", SG_ACT_IDENTITY},
                 {"gelu", SG_ACT_GELU},
                 {"gelu_erf", SG_ACT_GELU_ERF},
                 {"relu", SG_ACT_RELU},
                 {"swish", SG_ACT_SWISH}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, c->ffn_activation) == 0) return names[i].activation;
    return SG_ACT_IDENTITY; // clamped_swiglu, which the gated blocks apply themselves
}

static sg_gate family_gate(const sg_config *c)
{
    const sg_family *family = sg_family_find(c->ffn);
    if (family->gates[0] == NULL) return family->gate;
    return strcmp(c->ffn_gate, "after") == 0 ? SG_GATE_AFTER : SG_GATE_NONE;
}

bool sg_family_is_sparse(const sg_family *family)
{
    return family->block != SG_BLOCK_DENSE && family->block != SG_BLOCK_GLU;
}

// Cells of a block, and channels, of a memory of cells.
static int64_t family_block_size(const sg_config *c, const sg_family *family)
{
    if (!(family->has & SG_HAS_BLOCK)) return 1;
    return c->ffn_block_size ? c->ffn_block_size : c->ffn_intermediate_size;
}

static int64_t family_channels(const sg_config *c, const sg_family *family)
{
    return family->has & SG_HAS_CHANNELS ? c->ffn_channels : 1;
}

sg_memory_shape sg_ffn_memory(const sg_config *c)
{
    const sg_family *family = sg_family_find(c->ffn);
    const int64_t F = c->ffn_intermediate_size;
    sg_memory_shape m = {.pools = 1, .channels = 1, .block = F, .blocks = 1, .selected = 1};
    int64_t active;
    switch (family->block) {
    case SG_BLOCK_DENSE:
    case SG_BLOCK_GLU:
        break;
    case SG_BLOCK_EXPERTS:
        m.blocks = c->ffn_experts;
        m.selected = c->ffn_top_k;
        break;
    case SG_BLOCK_NEURONS:
        m.channels = c->ffn_channels;
        m.pools = family->shared_pool ? 1 : m.channels;
        m.block = 1;
        m.blocks = c->ffn_neurons;
        m.selected = c->ffn_top_k;
        break;
    case SG_BLOCK_CELLS:
        active = c->ffn_active_neurons ? c->ffn_active_neurons : F;
        m.block = family_block_size(c, family);
        m.channels = family_channels(c, family);
        m.blocks = c->ffn_memory_factor * F / m.block;
        m.selected = active / (m.block * m.channels);
        break;
    }
    m.cells = m.block * m.blocks;
    return m;
}

// ---- rules ------------------------------------------------------------------------------------

// g divides both the memory and what a token reads of it, which channels share evenly.
static sg_status family_check_cells(const sg_config *c, const sg_family *family, sg_error *err)
{
    const int64_t F = c->ffn_intermediate_size, cells = c->ffn_memory_factor * F;
    const int64_t g = family_block_size(c, family), channels = family_channels(c, family);
    const int64_t k = c->ffn_active_neurons ? c->ffn_active_neurons : F;
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

sg_status sg_ffn_check_selected(const sg_config *c, sg_error *err)
{
    int64_t selected = sg_ffn_memory(c).selected;
    if (selected <= SG_TOPK_MAX) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "ffn_block_size: found %lld, expected blocks of which a token reads at most %d, "
                   "not %lld (ffn_active_neurons divided by ffn_block_size)",
                   (long long)sg_ffn_memory(c).block, SG_TOPK_MAX, (long long)selected);
}

// The published clamped SwiGLU has biases. Shared experts are as wide as so many, unless said.
static sg_status family_check_forms(sg_config *c, sg_error *err)
{
    if (strcmp(c->ffn_activation, "clamped_swiglu") == 0) c->ffn_bias = 1;
    if (c->ffn_shared_size == c->ffn_shared_experts * c->ffn_intermediate_size)
        c->ffn_shared_size = 0;
    if (c->ffn_shared_experts == 0) c->ffn_shared_size = c->ffn_shared_gate = 0;
    if (c->ffn_router_bias && c->ffn_bias_rate > 0)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "ffn_router_bias: found 1, expected 0 where ffn_bias_rate balances by a bias");
    return SG_OK;
}

sg_status sg_ffn_complete(sg_config *c, sg_error *err)
{
    const sg_family *family = sg_family_find(c->ffn);
    char list[SG_FAMILY_LIST];
    if (family == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn: found \"%s\", expected one of %s", c->ffn,
                       sg_family_list(list, sizeof list));
    SG_TRY(sg_family_check_names(c, family, err));
    SG_TRY(sg_family_check_sizes(c, family, err));
    SG_TRY(family_check_forms(c, err));
    if (family->block == SG_BLOCK_CELLS) SG_TRY(family_check_cells(c, family, err));
    const sg_router *router = family_router(c);
    if (router != NULL) SG_TRY(router->check(router, c, err));
    return sg_ffn_complete_layers(c, err);
}

int64_t sg_ffn_shared_width(const sg_config *c)
{
    return c->ffn_shared_size ? c->ffn_shared_size
                              : c->ffn_shared_experts * c->ffn_intermediate_size;
}

// ---- parameters -------------------------------------------------------------------------------

// Gated layers of width F, one (experts 0) or a table of experts.
static void family_glu_params(const sg_config *c, const char *prefix, const char *part,
                              int64_t experts, int64_t F, sg_param_list *list)
{
    int64_t d = c->hidden_size;
    int skip = experts == 0 ? 1 : 0; // one GLU has no leading dimension of experts
    char name[64];
    const double in = 1.0 / (double)d, out = 1.0 / (double)F;
    const int64_t up[] = {experts, 2 * F, d}, up_bias[] = {experts, 2 * F};
    const int64_t down[] = {experts, d, F}, down_bias[] = {experts, d};
    snprintf(name, sizeof name, "%sgate_up_proj.weight", part);
    sg_param_add(list, prefix, name, 3 - skip, up + skip, SG_INIT_TRUNCATED, in);
    snprintf(name, sizeof name, "%sgate_up_proj.bias", part);
    if (c->ffn_bias) sg_param_add(list, prefix, name, 2 - skip, up_bias + skip, SG_INIT_ZERO, 0);
    snprintf(name, sizeof name, "%sdown_proj.weight", part);
    sg_param_add(list, prefix, name, 3 - skip, down + skip, SG_INIT_TRUNCATED, out);
    snprintf(name, sizeof name, "%sdown_proj.bias", part);
    if (c->ffn_bias) sg_param_add(list, prefix, name, 2 - skip, down_bias + skip, SG_INIT_ZERO, 0);
}

static void family_table(const char *prefix, const char *part, const char *name, int rank,
                         const int64_t *shape, double variance, sg_param_list *list)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", part, name);
    sg_param_add(list, prefix, full, rank, shape, SG_INIT_TRUNCATED, variance);
}

// The table added last is read by selected rows alone, `hits` a token in each layer that reads it.
static void family_rows(const sg_config *c, int64_t hits, sg_param_list *list)
{
    int64_t layers = 0;
    for (int64_t l = 0; l < c->num_hidden_layers; l++)
        layers += sg_ffn_is_sparse(c, l);
    sg_param_rows(list, c->ffn_share_pool ? hits * layers : hits);
}

static void family_neuron_params(const sg_config *c, const sg_family *family, const char *prefix,
                                 const char *part, sg_param_list *list)
{
    // The published variance is 1/N, N the neurons of a pool (spec 5.6 and trap 5 of 4.7).
    double variance = 1.0 / (double)c->ffn_neurons;
    int64_t shape[] = {c->ffn_channels, c->ffn_neurons, c->hidden_size};
    int skip = family->shared_pool ? 1 : 0;
    const int64_t hits = c->ffn_channels * c->ffn_top_k;
    family_table(prefix, part, "w_in.weight", 3 - skip, shape + skip, variance, list);
    family_rows(c, hits, list);
    family_table(prefix, part, "w_out.weight", 3 - skip, shape + skip, variance, list);
    family_rows(c, hits, list);
}

// Keys like the first matrix of a dense layer; values by the cells that a token reads, not by those
// there are. A softmax has averaged already: there values are as large as those of PKM (Lample et
// al.).
static void family_cell_params(const sg_config *c, const sg_family *family, const char *prefix,
                               const char *part, sg_param_list *list)
{
    sg_memory_shape m = sg_ffn_memory(c);
    int64_t shape[] = {m.cells, c->hidden_size}, read = m.channels * m.selected * m.block;
    bool averaged = strcmp(c->ffn_normaliser, "softmax") == 0;
    const bool values = family_gate(c) == SG_GATE_VALUE, single = m.block == 1;
    if (!family->no_keys)
        family_table(prefix, part, "w_in.weight", 2, shape, 1.0 / (double)c->hidden_size, list);
    if (!family->no_keys && !values && single && strcmp(c->ffn_router, "average") != 0)
        family_rows(c, read, list); // no router reads them all, and no block of them
    family_table(prefix, part, "w_out.weight", 2, shape,
                 1.0 / (double)(averaged ? c->hidden_size : read), list);
    if (values || single) family_rows(c, read, list);
}

// The tables of a selected memory.
static void family_memory_params(const sg_config *c, const char *prefix, const char *part,
                                 sg_param_list *list)
{
    const sg_family *family = sg_family_find(c->ffn);
    switch (family->block) {
    case SG_BLOCK_DENSE:
    case SG_BLOCK_GLU:
        break;
    case SG_BLOCK_EXPERTS:
        family_glu_params(c, prefix, part, c->ffn_experts, c->ffn_intermediate_size, list);
        break;
    case SG_BLOCK_NEURONS:
        family_neuron_params(c, family, prefix, part, list);
        break;
    case SG_BLOCK_CELLS:
        family_cell_params(c, family, prefix, part, list);
        break;
    }
}

static void family_dense_params(const sg_config *c, const char *prefix, sg_param_list *list)
{
    int64_t d = c->hidden_size, F = c->ffn_intermediate_size;
    if (sg_family_find(c->ffn)->block == SG_BLOCK_GLU) {
        family_glu_params(c, prefix, "mlp.", 0, F, list);
        return;
    }
    sg_param_add(list, prefix, "mlp.up_proj.weight", 2, (int64_t[]){F, d}, SG_INIT_TRUNCATED,
                 1.0 / (double)d);
    if (c->ffn_bias) sg_param_add(list, prefix, "mlp.up_proj.bias", 1, &F, SG_INIT_ZERO, 0);
    sg_param_add(list, prefix, "mlp.down_proj.weight", 2, (int64_t[]){d, F}, SG_INIT_TRUNCATED,
                 1.0 / (double)F);
    if (c->ffn_bias) sg_param_add(list, prefix, "mlp.down_proj.bias", 1, &d, SG_INIT_ZERO, 0);
}

void sg_ffn_params(const sg_config *config, int64_t layer, const char *prefix, sg_param_list *list)
{
    sg_config dense;
    const sg_config *c = sg_ffn_of_layer(config, layer, &dense);
    const sg_router *router = family_router(c);
    if (router == NULL) {
        family_dense_params(c, prefix, list);
        return;
    }
    router->params(router, c, prefix, list);
    if (!c->ffn_share_pool)
        family_memory_params(c, prefix, "mlp.experts.", list);
    else if (layer == sg_ffn_first_sparse(c))
        family_memory_params(c, "model.shared_memory.", "experts.", list);
    if (c->ffn_shared_experts > 0)
        family_glu_params(c, prefix, "mlp.shared_experts.", 0, sg_ffn_shared_width(c), list);
    if (c->ffn_shared_gate)
        sg_param_add(list, prefix, "mlp.shared_expert_gate.weight", 2,
                     (int64_t[]){1, c->hidden_size}, SG_INIT_TRUNCATED,
                     1.0 / (double)c->hidden_size);
}

// ---- recording --------------------------------------------------------------------------------

static sg_tensor *family_neurons(const sg_builder *b, const sg_family *family, sg_tensor *x,
                                 const sg_selection *selection)
{
    const sg_config *c = b->config;
    int64_t pools = family->shared_pool ? 1 : c->ffn_channels;
    int64_t shape[] = {pools, c->ffn_neurons, c->hidden_size};
    sg_tensor *w_in = sg_reshape(b->tape, sg_build_table(b, "mlp.experts.w_in.weight"), 3, shape);
    sg_tensor *w_out = sg_reshape(b->tape, sg_build_table(b, "mlp.experts.w_out.weight"), 3, shape);
    return sg_memory_neurons(b->tape, x, selection, w_in, w_out, sg_ffn_activation(c),
                             family->gate);
}

static sg_tensor *family_cells(const sg_builder *b, sg_tensor *x, const sg_selection *selection)
{
    const sg_config *c = b->config;
    sg_memory_shape m = sg_ffn_memory(c);
    const sg_gate gate = family_gate(c);
    int64_t shape[] = {1, m.cells, c->hidden_size};
    sg_tensor *w_out = sg_reshape(b->tape, sg_build_table(b, "mlp.experts.w_out.weight"), 3, shape);
    if (gate == SG_GATE_VALUE) // the router has read the keys, and selects cells
        return sg_memory_neurons(b->tape, NULL, selection, NULL, w_out, SG_ACT_IDENTITY, gate);
    sg_tensor *w_in = sg_reshape(b->tape, sg_build_table(b, "mlp.experts.w_in.weight"), 3, shape);
    return sg_memory_cells(b->tape, x, selection, w_in, w_out, sg_ffn_activation(c), gate);
}

static sg_tensor *family_normalise(const sg_builder *b, const sg_selection *s)
{
    const char *by = b->config->ffn_normaliser;
    if (strcmp(by, "softmax") == 0) return sg_softmax(b->tape, s->scores, s->k);
    if (strcmp(by, "sigmoid") == 0) return sg_activate(b->tape, s->scores, SG_ACT_SIGMOID);
    if (strcmp(by, "relu") == 0) return sg_activate(b->tape, s->scores, SG_ACT_RELU);
    if (strcmp(by, "gelu") == 0) return sg_activate(b->tape, s->scores, SG_ACT_GELU);
    return s->scores;
}

static sg_glu_form family_form(const sg_config *c)
{
    static const char *const names[] = {"clamped_swiglu", "swiglu", "geglu", "geglu_erf", "reglu"};
    static const sg_glu_kind kinds[] = {SG_GLU_CLAMPED, SG_GLU_SILU, SG_GLU_GELU, SG_GLU_GELU_ERF,
                                        SG_GLU_RELU};
    sg_glu_form form = {.kind = SG_GLU_CLAMPED, .interleaved = c->ffn_glu_interleaved != 0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(c->ffn_activation, names[i]) == 0) form.kind = kinds[i];
    return form;
}

// A weight of the layer, or its bias where it has one.
static sg_tensor *family_param(const sg_builder *b, const char *part, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s%s", part, name);
    return sg_build_param(b, full);
}

static sg_tensor *family_linear(const sg_builder *b, sg_tensor *x, const char *part,
                                const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "%s.weight", name);
    sg_tensor *w = family_param(b, part, full);
    snprintf(full, sizeof full, "%s.bias", name);
    return sg_build_linear(b, x, w, b->config->ffn_bias ? family_param(b, part, full) : NULL);
}

static sg_tensor *family_glu(const sg_builder *b, sg_tensor *x, const char *part)
{
    const sg_glu_form form = family_form(b->config);
    sg_tensor *u = family_linear(b, x, part, "gate_up_proj");
    return family_linear(b, sg_glu(b->tape, u, &form), part, "down_proj");
}

static sg_tensor *family_dense(const sg_builder *b, sg_tensor *x)
{
    if (sg_family_find(b->config->ffn)->block == SG_BLOCK_GLU) return family_glu(b, x, "mlp.");
    sg_tensor *u = family_linear(b, x, "mlp.", "up_proj");
    sg_tensor *h = sg_activate(b->tape, u, sg_ffn_activation(b->config));
    return family_linear(b, h, "mlp.", "down_proj");
}

static sg_tensor *family_experts(const sg_builder *b, sg_tensor *x, const sg_selection *selection)
{
    const sg_glu_form form = family_form(b->config);
    sg_tensor *up = sg_build_table(b, "mlp.experts.gate_up_proj.weight"), *up_bias = NULL;
    if (b->config->ffn_bias) up_bias = sg_build_table(b, "mlp.experts.gate_up_proj.bias");
    sg_tensor *down = sg_build_table(b, "mlp.experts.down_proj.weight"), *down_bias = NULL;
    if (b->config->ffn_bias) down_bias = sg_build_table(b, "mlp.experts.down_proj.bias");
    return sg_memory_experts(b->tape, x, selection, up, up_bias, down, down_bias, &form);
}

// What every token takes, scaled by a sigmoid of its own where there is one (Qwen2-MoE).
static sg_tensor *family_shared(const sg_builder *b, sg_tensor *x)
{
    sg_tensor *y = family_glu(b, x, "mlp.shared_experts.");
    if (!b->config->ffn_shared_gate) return y;
    sg_tensor *s = sg_build_linear(b, x, sg_build_param(b, "mlp.shared_expert_gate.weight"), NULL);
    return sg_scale_rows(b->tape, y, sg_activate(b->tape, s, SG_ACT_SIGMOID));
}

static sg_tensor *family_memory(const sg_builder *b, sg_tensor *x, const sg_selection *selection)
{
    const sg_family *family = sg_family_find(b->config->ffn);
    switch (family->block) {
    case SG_BLOCK_DENSE:
    case SG_BLOCK_GLU:
        break;
    case SG_BLOCK_EXPERTS:
        return family_experts(b, x, selection);
    case SG_BLOCK_NEURONS:
        return family_neurons(b, family, x, selection);
    case SG_BLOCK_CELLS:
        return family_cells(b, x, selection);
    }
    return NULL;
}

sg_tensor *sg_ffn_build(const sg_builder *builder, sg_tensor *x)
{
    sg_config dense;
    sg_builder of = *builder;
    const sg_builder *b = &of;
    of.config = sg_ffn_of_layer(builder->config, builder->layer, &dense);
    const sg_router *router = family_router(b->config);
    if (router == NULL) return family_dense(b, x);
    sg_selection selection = router->build(router, b, x);
    if (b->counts != NULL) {
        const sg_memory_shape m = sg_ffn_memory(b->config);
        sg_count_use(b->tape, &selection, m.pools, m.blocks, m.block, b->counts, b->counted);
    }
    selection.scores = family_normalise(b, &selection);
    sg_tensor *y = family_memory(b, x, &selection);
    if (b->config->ffn_shared_experts == 0) return y;
    return sg_add(b->tape, y, family_shared(b, x));
}

// ---- counts -----------------------------------------------------------------------------------

sg_ffn_count sg_ffn_counts(const sg_config *config, int64_t layer)
{
    sg_config dense;
    const sg_config *c = sg_ffn_of_layer(config, layer, &dense);
    const sg_family *family = sg_family_find(c->ffn);
    const sg_router *router = family_router(c);
    const sg_memory_shape m = sg_ffn_memory(c);
    const int64_t d = c->hidden_size, F = c->ffn_intermediate_size;
    const bool glu = family->block == SG_BLOCK_GLU || family->block == SG_BLOCK_EXPERTS;
    const int64_t always = sg_ffn_shared_width(c); // neurons that every token takes
    // Rows of d numbers a cell that are the memory's to read; a router has read the keys of others.
    const int64_t rows = family->gate == SG_GATE_VALUE ? 1 : 2;
    const int64_t biases = c->ffn_bias ? 2 * F + d : 0;
    const int64_t of_block = glu ? 3 * d * F + biases : rows * d * m.block;
    const int64_t stored = m.pools * m.blocks, read = m.channels * m.selected;
    const int64_t active = read * m.block + always;
    return (sg_ffn_count){
        .router_flops = router ? router->flops(router, c) : 0,
        .memory_flops = (double)(glu ? 6 : 2 * rows) * (double)d * (double)active +
                        (c->ffn_shared_gate ? 2 * (double)d : 0),
        .neurons = stored * m.block + always,
        .active_neurons = active,
        // Channels that share a pool may select a block twice; at most all are read.
        .idle_parameters = read < stored ? (stored - read) * of_block : 0,
    };
}
