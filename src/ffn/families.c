// The table of feed-forward families and the one way they are put together:
// router -> selection -> normaliser -> memory.
#include "ffn/gated.h"

#include <stdio.h>
#include <string.h>

// Those of the paper's comparison (Schug 2026, table 4), small and on its ladder of nine scales.
#define FAMILY_PRESETS(family)                                                                     \
    (const char *const[])                                                                          \
    {                                                                                              \
        "tinystories-" family, "slimpajama-" family "-s1", "slimpajama-" family "-s2",             \
            "slimpajama-" family "-s3", "slimpajama-" family "-s4", "slimpajama-" family "-s5",    \
            "slimpajama-" family "-s6", "slimpajama-" family "-s7", "slimpajama-" family "-s8",    \
            "slimpajama-" family "-s9", NULL                                                       \
    }

#define FAMILY_LAPTOP(family)                                                                      \
    (const char *const[])                                                                          \
    {                                                                                              \
        "laptop-" family "-s1", "laptop-" family "-s2", "laptop-" family "-s3",                    \
            "laptop-" family "-s4", "laptop-" family "-s5", "laptop-" family "-s6",                \
            "laptop-" family "-s7", "laptop-" family "-s8", "laptop-" family "-s9",                \
            "laptop-" family "-s10", "laptop-" family "-s11", "laptop-" family "-s12", NULL        \
    }
// A family's name, and the presets that every family has.
#define FAMILY(family) .name = family, .laptop = FAMILY_LAPTOP(family)

static const sg_family families[] = {
    {FAMILY("mlp"), .routers = {"all"},
     .activations = {"gelu", "relu", "swish", "identity", "gelu_erf", "relu2"},
     .has = SG_HAS_WIDTH | SG_HAS_LAYER_BIAS, .memory = &sg_memory_of_mlp, .sizes = sg_sizes_dense,
     .presets = FAMILY_PRESETS("mlp")},
    {FAMILY("glu"), .routers = {"all"},
     .activations = {"clamped_swiglu", "swiglu", "geglu", "geglu_erf", "reglu"},
     .has = SG_HAS_WIDTH | SG_HAS_LAYER_BIAS | SG_HAS_PAIRS, .memory = &sg_memory_of_glu,
     .sizes = sg_sizes_dense, .presets = FAMILY_PRESETS("glu")},
    {FAMILY("moe"), .routers = {"linear"},
     .activations = {"clamped_swiglu", "swiglu", "geglu", "geglu_erf", "reglu"},
     .scores = {"softmax", "sigmoid"},
     .has = SG_HAS_WIDTH | SG_HAS_EXPERTS | SG_HAS_TOP_K | SG_HAS_LINEAR | SG_HAS_BESIDE |
            SG_HAS_SHARED | SG_HAS_BIAS_RATE | SG_HAS_LAYER_BIAS | SG_HAS_PAIRS,
     .memory = &sg_memory_of_experts, .gate = SG_GATE_AFTER, .sizes = sg_sizes_experts,
     .presets = FAMILY_PRESETS("moe")},
    {FAMILY("peer"), .routers = {"product_key_value", "product_dense", "dense", "key_value"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CHANNELS | SG_HAS_NEURONS | SG_HAS_KEY | SG_HAS_TOP_K,
     .memory = &sg_memory_of_neurons, .gate = SG_GATE_AFTER,
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"}, .shared_pool = true,
     .sizes = sg_sizes_shared_neurons, .presets = FAMILY_PRESETS("peer")},
    {FAMILY("sgatlin"), .routers = {"product_dense", "product_key_value", "dense", "key_value"},
     .activations = {"identity", "gelu", "relu", "swish"},
     .has = SG_HAS_CHANNELS | SG_HAS_NEURONS | SG_HAS_KEY | SG_HAS_TOP_K,
     .memory = &sg_memory_of_neurons, .gate = SG_GATE_BEFORE, .sizes = sg_sizes_own_neurons,
     .presets = FAMILY_PRESETS("sgatlin")},
    {FAMILY("switch"), .routers = {"linear"}, .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_LINEAR, .memory = &sg_memory_of_cells,
     .gate = SG_GATE_AFTER, .sizes = sg_sizes_switch},
    {FAMILY("randhash"), .routers = {"hash"}, .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_HASH, .memory = &sg_memory_of_cells,
     .sizes = sg_sizes_blocks},
    {FAMILY("avgk"), .routers = {"average"}, .activations = {"gelu", "relu", "swish", "identity"},
     .gates = {"none", "after"}, .has = SG_HAS_CELLS | SG_HAS_BLOCK | SG_HAS_BALANCE,
     .memory = &sg_memory_of_cells, .sizes = sg_sizes_blocks},
    {FAMILY("vanillam"), .routers = {"keys"}, .activations = {"gelu", "relu", "swish", "identity"},
     .has = SG_HAS_CELLS | SG_HAS_BLOCK, .memory = &sg_memory_of_values, .gate = SG_GATE_VALUE,
     .sizes = sg_sizes_blocks},
    {FAMILY("lorkm"), .routers = {"low_rank"}, .activations = {"gelu", "relu", "swish", "identity"},
     .query_norms = {"none", "layernorm", "batchnorm"}, .has = SG_HAS_CELLS | SG_HAS_KEY,
     .memory = &sg_memory_of_values, .gate = SG_GATE_VALUE, .sizes = sg_sizes_low_rank},
    {FAMILY("pkm"), .routers = {"product_keys"}, .activations = {"identity"},
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"},
     .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_CHANNELS | SG_HAS_KEY | SG_HAS_BIAS,
     .memory = &sg_memory_of_values, .gate = SG_GATE_VALUE, .shared_pool = true,
     .sizes = sg_sizes_product_values},
    {FAMILY("pkm_ffn"), .routers = {"product_keys"},
     .activations = {"gelu", "relu", "swish", "identity"},
     .normalisers = {"softmax", "sigmoid", "relu", "gelu"},
     .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_CHANNELS | SG_HAS_KEY | SG_HAS_BIAS,
     .memory = &sg_memory_of_cells, .gate = SG_GATE_AFTER, .shared_pool = true,
     .sizes = sg_sizes_product_cells},
    {FAMILY("memory_plus"), .routers = {"product_keys"}, .activations = {"identity"},
     .normalisers = {"softmax"}, .query_norms = {"none", "layernorm", "batchnorm"},
     .has = SG_HAS_CELLS | SG_HAS_CHANNELS | SG_HAS_KEY | SG_HAS_BIAS,
     .memory = &sg_memory_of_gated_values, .gate = SG_GATE_VALUE, .shared_pool = true,
     .uniform = true, .sizes = sg_sizes_shared_values},
    {FAMILY("omnimoe"), .routers = {"product_linear"}, .activations = {"swish", "gelu", "relu"},
     .has = SG_HAS_WIDTH | SG_HAS_NEURONS | SG_HAS_TOP_K, .memory = &sg_memory_of_neurons,
     .gate = SG_GATE_AFTER, .normalisers = {"softmax"}, .shared_pool = true, .branch = true,
     .sizes = sg_sizes_neurons_and_branch},
    {FAMILY("moefied"), .routers = {"sigmoid", "mlp", "norm", "centroid", "representative", "gate"},
     .activations = {"relu", "relu2", "gelu", "gelu_erf", "swish", "identity", "swiglu", "geglu",
                     "geglu_erf", "reglu", "clamped_swiglu"},
     .gates = {"none", "after"}, .selects = {"top_k", "max", "share", "threshold"},
     .has = SG_HAS_WIDTH | SG_HAS_BLOCK | SG_HAS_TOP_K | SG_HAS_LAYER_BIAS | SG_HAS_SELECT |
            SG_HAS_ACTIVE | SG_HAS_BESIDE,
     .memory = &sg_memory_of_moefied, .sizes = sg_sizes_moefied},
};

enum { family_count = sizeof families / sizeof *families };

static const sg_router *const routers[] = {&sg_router_product_dense,
                                           &sg_router_product_key_value,
                                           &sg_router_dense,
                                           &sg_router_key_value,
                                           &sg_router_linear,
                                           &sg_router_hash,
                                           &sg_router_average,
                                           &sg_router_product_keys,
                                           &sg_router_keys,
                                           &sg_router_low_rank,
                                           &sg_router_product_linear,
                                           &sg_router_sigmoid,
                                           &sg_router_mlp,
                                           &sg_router_norm,
                                           &sg_router_centroid,
                                           &sg_router_representative,
                                           &sg_router_gate};

const sg_family *sg_family_find(const char *name)
{
    for (size_t i = 0; i < family_count; i++)
        if (strcmp(families[i].name, name) == 0) return &families[i];
    return NULL;
}

const sg_family *sg_family_at(size_t index)
{
    return index < family_count ? &families[index] : NULL;
}

const char *sg_family_name(size_t index)
{
    return index < family_count ? families[index].name : NULL;
}

const char *sg_family_list(char *text, size_t capacity, bool (*has)(const sg_family *family))
{
    text[0] = '\0';
    for (size_t i = 0, used = 0; i < family_count && used < capacity; i++) {
        if (has != NULL && !has(&families[i])) continue;
        used += (size_t)snprintf(text + used, capacity - used, "%s%s", used > 0 ? ", " : "",
                                 families[i].name);
    }
    return text;
}

// ---- what a configuration says of a layer -------------------------------------------------------

const sg_router *sg_ffn_router(const sg_config *c)
{
    for (size_t i = 0; i < sizeof routers / sizeof *routers; i++)
        if (strcmp(routers[i]->name, c->ffn_router) == 0) return routers[i];
    return NULL; // "all", which selects nothing
}

const sg_memory *sg_ffn_memory_of(const sg_config *c)
{
    return sg_family_find(c->ffn)->memory;
}

sg_memory_shape sg_ffn_memory(const sg_config *c)
{
    const sg_family *family = sg_family_find(c->ffn);
    return family->memory->shape(family, c);
}

sg_activation sg_ffn_activation(const sg_config *c)
{
    static const struct {
        const char *name;
        sg_activation activation;
    } names[] = {{"identity", SG_ACT_IDENTITY}, {"gelu", SG_ACT_GELU},
                 {"gelu_erf", SG_ACT_GELU_ERF}, {"relu", SG_ACT_RELU},
                 {"relu2", SG_ACT_RELU2},       {"swish", SG_ACT_SWISH}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i].name, c->ffn_activation) == 0) return names[i].activation;
    return SG_ACT_IDENTITY; // clamped_swiglu, which the gated blocks apply themselves
}

sg_gate sg_ffn_gate(const sg_config *c)
{
    const sg_family *family = sg_family_find(c->ffn);
    if (family->gates[0] == NULL) return family->gate;
    return strcmp(c->ffn_gate, "after") == 0 ? SG_GATE_AFTER : SG_GATE_NONE;
}

bool sg_ffn_is_gated(const sg_config *c)
{
    static const char *const gated[] = {"swiglu", "geglu", "geglu_erf", "reglu", "clamped_swiglu"};
    const sg_memory *memory = sg_ffn_memory_of(c);
    if (memory != &sg_memory_of_moefied) return memory->gated;
    for (size_t i = 0; i < sizeof gated / sizeof *gated; i++)
        if (strcmp(gated[i], c->ffn_activation) == 0) return true;
    return false;
}

bool sg_family_is_sparse(const sg_family *family)
{
    return !family->memory->dense;
}

bool sg_family_is_dense(const sg_family *family)
{
    return family->memory->dense;
}

bool sg_family_has_presets(const sg_family *family)
{
    return family->presets != NULL;
}

int64_t sg_ffn_channels(const sg_family *family, const sg_config *c)
{
    return family->has & SG_HAS_CHANNELS ? c->ffn_channels : 1;
}

int64_t sg_ffn_shared_width(const sg_config *c)
{
    if (sg_family_find(c->ffn)->branch) return c->ffn_intermediate_size;
    return c->ffn_shared_size ? c->ffn_shared_size
                              : c->ffn_shared_experts * c->ffn_intermediate_size;
}

// ---- rules ------------------------------------------------------------------------------------

sg_status sg_ffn_check_selected(const sg_config *c, sg_error *err)
{
    int64_t selected = sg_ffn_memory(c).selected;
    if (selected <= SG_TOPK_MAX) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "ffn_block_size: found %lld, expected blocks of which a token reads at most %d, "
                   "not %lld (ffn_active_neurons divided by ffn_block_size)",
                   (long long)sg_ffn_memory(c).block, SG_TOPK_MAX, (long long)selected);
}

// The published clamped SwiGLU has biases. Shared experts are as wide as so many, unless said. Of
// layers in blocks router gate alone counts neurons.
static sg_status family_check_forms(sg_config *c, sg_error *err)
{
    if (strcmp(c->ffn_activation, "clamped_swiglu") == 0) c->ffn_bias = 1;
    if (c->ffn_shared_size == c->ffn_shared_experts * c->ffn_intermediate_size)
        c->ffn_shared_size = 0;
    if (sg_ffn_memory_of(c) == &sg_memory_of_moefied && sg_ffn_router(c) != &sg_router_gate)
        c->ffn_active_neurons = 0;
    if (c->ffn_shared_experts == 0) c->ffn_shared_size = c->ffn_shared_gate = 0;
    if (c->ffn_router_bias && c->ffn_bias_rate > 0)
        return sg_fail(
            err, SG_ERR_ARGUMENT,
            "ffn_router_bias: found 1, expected 0 where ffn_bias_rate balances by a bias");
    return SG_OK;
}

sg_status sg_family_complete(sg_config *c, sg_error *err)
{
    const sg_family *family = sg_family_find(c->ffn);
    char list[SG_FAMILY_LIST];
    if (family == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "ffn: found \"%s\", expected one of %s", c->ffn,
                       sg_family_list(list, sizeof list, NULL));
    SG_TRY(sg_family_check_fields(c, family, err));
    SG_TRY(family_check_forms(c, err));
    if (family->memory->check != NULL) SG_TRY(family->memory->check(family, c, err));
    const sg_router *router = sg_ffn_router(c);
    return router != NULL ? router->check(router, c, err) : SG_OK;
}

// ---- parameters and recording -----------------------------------------------------------------

void sg_memory_table(const sg_memory_place *place, const char *name, int rank, const int64_t *shape,
                     sg_init init, double variance, int64_t hits)
{
    char full[64];
    if (place->tables == NULL) return;
    snprintf(full, sizeof full, "%s%s", place->table, name);
    sg_param_add(place->list, place->tables, full, rank, shape, init, variance);
    if (hits > 0) sg_param_rows(place->list, hits * place->readers);
}

sg_tensor *sg_build_pools(const sg_builder *b, const char *name, int64_t pools, int64_t rows)
{
    int64_t shape[] = {pools, rows, b->config->hidden_size};
    return sg_reshape(b->tape, sg_build_table(b, name), 3, shape);
}

void sg_family_params(const sg_config *c, const sg_memory_place *place)
{
    const sg_family *family = sg_family_find(c->ffn);
    const sg_router *router = sg_ffn_router(c);
    if (router != NULL) router->params(router, c, place->prefix, place->list);
    family->memory->params(family, c, place);
    sg_shared_params(c, place->prefix, place->list);
}

static sg_tensor *family_normalise(const sg_builder *b, const sg_selection *s)
{
    const char *by = b->config->ffn_normaliser;
    if (strcmp(by, "softmax") == 0) return sg_softmax_selected(b->tape, s);
    if (strcmp(by, "sigmoid") == 0) return sg_activate(b->tape, s->scores, SG_ACT_SIGMOID);
    if (strcmp(by, "relu") == 0) return sg_activate(b->tape, s->scores, SG_ACT_RELU);
    if (strcmp(by, "gelu") == 0) return sg_activate(b->tape, s->scores, SG_ACT_GELU);
    return s->scores;
}

// What was selected, as points.
static void family_points(const sg_builder *b, sg_selection *s)
{
    if (b->points == NULL || s->ids == NULL) return;
    const sg_point_place ids = {.name = "mlp.hook_gate_ids",
                                .runs = s->channels,
                                .ids_end = sg_ffn_memory(b->config).cells / s->unit,
                                .counts = s->counts};
    const sg_point_place scores = {
        .name = "mlp.hook_gate_scores", .runs = s->channels, .counts = s->counts};
    s->ids = sg_build_point(b, s->ids, &ids);
    s->scores = sg_build_point(b, s->scores, &scores);
}

sg_tensor *sg_family_build(const sg_builder *b, sg_tensor *x)
{
    const sg_config *c = b->config;
    const sg_family *family = sg_family_find(c->ffn);
    const sg_router *router = sg_ffn_router(c);
    if (router == NULL) return family->memory->build(family, b, x, NULL);
    sg_selection selection = router->build(router, b, x);
    family_points(b, &selection);
    selection.scores = family_normalise(b, &selection);
    return sg_shared_build(b, x, family->memory->build(family, b, x, &selection));
}

// ---- counts -----------------------------------------------------------------------------------

sg_ffn_count sg_family_count(const sg_config *c)
{
    const sg_family *family = sg_family_find(c->ffn);
    const sg_router *router = sg_ffn_router(c);
    const sg_memory_shape m = sg_ffn_memory(c);
    const sg_memory_count memory = family->memory->count(family, c);
    const sg_router_count routing =
        router != NULL ? router->count(router, c) : (sg_router_count){0};
    const int64_t always = sg_ffn_shared_width(c); // neurons that every token takes
    const int64_t stored = m.pools * m.blocks, read = m.channels * m.selected;
    return (sg_ffn_count){
        .router_flops = routing.flops,
        .memory_flops = memory.block_flops * (double)read + memory.token_flops + sg_shared_flops(c),
        .neurons = stored * m.block + always,
        .active_neurons = read * m.block - memory.idle_cells + always,
        // Channels that share a pool may select a block twice; at most all are read.
        .idle_parameters = memory.idle_parameters +
                           (read < stored ? (stored - read) * memory.block_parameters : 0),
        .numbers = routing.numbers + memory.numbers + 3 * (double)always,
        .hits = memory.hits,
    };
}
