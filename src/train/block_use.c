// Counts of single passes, folded into sums when a pass ends: what is different in one pass is not
// in the next, so that counts over all passes would not tell it.
#include "train/block_use.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "ffn/moefied.h"

static sg_status use_count(void *user, const sg_point_values *point, sg_error *err)
{
    sg_block_use *u = user;
    if (!u->on) return SG_OK;
    u->seen[point->layer] = true;
    return u->counter.call(u->counter.user, point, err);
}

// Of a layer with router gate: which neurons it reads, those whose activations are not set to 0.
static sg_status use_count_neurons(void *user, const sg_point_values *p, sg_error *err)
{
    sg_block_use *u = user;
    const int64_t neurons = p->shape[1] * p->shape[2];
    int64_t *counts = u->counts.layers[p->layer];
    (void)err;
    if (!u->on) return SG_OK;
    u->seen[p->layer] = true;
    for (int64_t r = 0; r < p->shape[0]; r++)
        for (int64_t i = 0; i < neurons; i++)
            counts[i] += fabsf(p->values[r * neurons + i]) > 0;
    return SG_OK;
}

static sg_status use_memory_fails(sg_block_use *u, sg_error *err)
{
    sg_block_use_free(u);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for counting what is read");
}

// Counts of neurons in place of those of the one block of each layer.
static sg_status use_neurons(sg_block_use *u, sg_error *err)
{
    for (int64_t l = 0; l < u->counts.count; l++) {
        sg_memory_shape *m = &u->counts.shapes[l];
        if (u->counts.layers[l] == NULL) continue;
        sg_free(u->counts.layers[l]);
        u->counts.layers[l] = sg_alloc_zero((size_t)m->cells, sizeof **u->counts.layers);
        if (u->counts.layers[l] == NULL) return use_memory_fails(u, err);
        *m = (sg_memory_shape){.pools = 1,
                               .channels = 1,
                               .cells = m->cells,
                               .block = 1,
                               .blocks = m->cells,
                               .selected = m->cells};
    }
    u->request.name = "blocks.*.mlp.hook_post";
    u->request.call = use_count_neurons;
    u->by_neuron = true;
    return SG_OK;
}

sg_status sg_block_use_new(const sg_config *config, sg_compute compute, bool timed, sg_block_use *u,
                           sg_error *err)
{
    const size_t layers = (size_t)config->num_hidden_layers;
    *u = (sg_block_use){.config = config, .on = true};
    SG_TRY(sg_use_counts_new(config, compute, &u->counts, err));
    u->counter = u->request = sg_use_counts_request(&u->counts);
    u->request.call = use_count;
    u->request.user = u;
    u->points = (sg_points){&u->request, sg_family_is_sparse(sg_family_find(config->ffn))};
    u->selections = sg_alloc_zero(layers, sizeof *u->selections);
    u->different = sg_alloc_zero(layers, sizeof *u->different);
    u->seen = sg_alloc_zero(layers, sizeof *u->seen);
    if (u->selections == NULL || u->different == NULL || u->seen == NULL)
        return use_memory_fails(u, err);
    const bool gate = u->points.count > 0 && sg_ffn_router(config) == &sg_router_gate;
    return gate && !timed ? use_neurons(u, err) : SG_OK;
}

void sg_block_use_free(sg_block_use *u)
{
    sg_use_counts_free(&u->counts);
    sg_free(u->selections);
    sg_free(u->different);
    sg_free(u->seen);
    *u = (sg_block_use){0};
}

static int64_t use_blocks(const sg_block_use *u, int64_t layer)
{
    return u->counts.shapes[layer].pools * u->counts.shapes[layer].blocks;
}

// The memory of layers [layer, end), of which some may not be sparse.
static void use_memory(sg_block_use *u, int64_t layer, int64_t end)
{
    for (int64_t i = 0; i < use_blocks(u, layer); i++) {
        int64_t count = 0;
        for (int64_t l = layer; l < end; l++)
            count += u->counts.layers[l] != NULL ? u->counts.layers[l][i] : 0;
        u->selections[layer] += (double)count;
        u->different[layer] += count > 0;
    }
    for (int64_t l = layer; l < end; l++)
        if (u->counts.layers[l] != NULL)
            memset(u->counts.layers[l], 0, (size_t)use_blocks(u, l) * sizeof **u->counts.layers);
}

// The layer that a layer's memory counts as.
static int64_t use_memory_of(const sg_block_use *u, int64_t layer)
{
    return u->config->ffn_share_pool ? sg_ffn_first_sparse(u->config) : layer;
}

static bool use_is_memory(const sg_block_use *u, int64_t layer)
{
    return u->counts.layers[layer] != NULL && use_memory_of(u, layer) == layer;
}

// Behind the last of its layers.
static int64_t use_end(const sg_block_use *u, int64_t layer)
{
    return u->config->ffn_share_pool ? u->counts.count : layer + 1;
}

void sg_block_use_pass(sg_block_use *u, int64_t tokens)
{
    if (!u->on) return;
    for (int64_t l = 0; l < u->counts.count; l++)
        if (use_is_memory(u, l)) use_memory(u, l, use_end(u, l));
    u->passes++;
    u->tokens += tokens;
}

static sg_memory_count use_count_of(const sg_config *c)
{
    return sg_ffn_memory_of(c)->count(sg_family_find(c->ffn), c);
}

// Layers of the passes that read a memory.
static double use_readers(const sg_block_use *u, int64_t layer)
{
    double readers = 0;
    for (int64_t l = layer; l < use_end(u, layer); l++)
        readers += u->seen[l];
    return readers;
}

sg_block_total sg_block_use_total(const sg_block_use *u)
{
    sg_block_total t = {0};
    double layers = 0, selections = 0, read = 0, together = 0, stored = 0, stored_once = 0;
    for (int64_t l = 0; u->passes > 0 && l < u->counts.count; l++) {
        sg_config own;
        const sg_config *c = sg_ffn_layer_config(u->config, l, &own);
        const double readers = use_readers(u, l), blocks = (double)use_blocks(u, l);
        const double different = u->different[l] / (double)u->passes;
        const double size = (double)u->counts.shapes[l].block;
        if (!use_is_memory(u, l) || readers <= 0) continue;
        t.memories++;
        t.reuse += u->different[l] > 0 ? u->selections[l] / u->different[l] : 0;
        if (!u->by_neuron)
            t.idle += llround((blocks - different) * (double)use_count_of(c).block_parameters);
        layers += readers;
        selections += u->selections[l];
        read += u->selections[l] * size;
        together += different * size;
        stored += readers * blocks * size;
        stored_once += blocks * size;
    }
    if (t.memories == 0) return t;
    t.reuse /= (double)t.memories;
    t.blocks = selections / layers / (double)u->tokens;
    t.read = read / stored / (double)u->tokens;
    t.together = together / stored_once;
    return t;
}

double sg_block_use_share(const sg_block_use *u, int64_t layer)
{
    const int64_t memory = use_memory_of(u, layer);
    if (u->passes == 0 || u->counts.layers[layer] == NULL) return 1;
    return u->different[memory] / (double)u->passes / (double)use_blocks(u, memory);
}

// ---- work ---------------------------------------------------------------------------------------

// FLOPs of a block; where blocks are neurons, of what leaving one out spares.
static double use_block_flops(const sg_block_use *u, const sg_config *c)
{
    const sg_memory_count count = use_count_of(c);
    return u->by_neuron ? count.idle_flops : count.block_flops;
}

double sg_block_use_flops(const sg_block_use *u, double *router, double *all)
{
    double executed = *router = *all = 0;
    for (int64_t l = 0; l < u->counts.count; l++) {
        sg_config own;
        const sg_config *c = sg_ffn_layer_config(u->config, l, &own);
        const sg_ffn_count of = sg_ffn_counts(u->config, l);
        const int64_t memory = use_memory_of(u, l);
        const double readers = use_readers(u, memory);
        executed += of.memory_flops;
        *all += of.memory_flops;
        if (u->counts.layers[l] == NULL || readers <= 0) continue;
        const sg_memory_shape *m = &u->counts.shapes[l];
        const double block = use_block_flops(u, c), blocks = (double)(m->pools * m->blocks);
        // That memory_flops has: of router gate what a text had, where it is known.
        const double most = u->by_neuron ? blocks - (double)use_count_of(c).idle_cells
                                         : (double)(m->channels * m->selected);
        const double selected = u->selections[memory] / readers / (double)u->tokens;
        *router += of.router_flops;
        executed += of.router_flops + (selected - most) * block;
        *all += (blocks - most) * block;
    }
    return executed;
}

// ---- bytes --------------------------------------------------------------------------------------

// Of experts of a layer whose neurons a threshold leaves out, by the share of neurons that is left.
static double use_neuron_share(const sg_block_use *u, int64_t layer, const char *name, double share)
{
    sg_config own;
    if (strstr(name, ".w_out.") != NULL) return share;
    if (strstr(name, ".w_in.") != NULL) return 1;
    const int64_t spared = sg_moefied_spared(sg_ffn_layer_config(u->config, layer, &own));
    return spared > 1 ? (1 + share) / 2 : 1;
}

// Share of a parameter that a pass of so many rows reads.
static double use_share_of(const sg_block_use *u, const sg_model *m, const char *name, int64_t rows)
{
    long long layer = sg_ffn_first_sparse(&m->config);
    if (strstr(name, ".embed_positions.") != NULL) return 0;
    if (strstr(name, ".embed_tokens.") != NULL) return m->config.untied_classifier ? 0 : 1;
    if (strstr(name, ".experts.") == NULL) return 1;
    if (strstr(name, ".experts.w_out.bias") != NULL) return 1; // one of the whole layer
    if (strncmp(name, "model.layers.", 13) == 0) layer = strtoll(name + 13, NULL, 10);
    const double share = sg_block_use_share(u, layer);
    if (!u->by_neuron) return share;
    return rows > SG_MOEFIED_FEW ? 1 : use_neuron_share(u, layer, name, share);
}

double sg_block_use_bytes(const sg_block_use *u, const sg_model *m, int64_t rows)
{
    const sg_stored *screens = sg_model_screens(m);
    double bytes = 0;
    for (size_t i = 0; i < m->params.count; i++) {
        sg_tensor_info info = {0};
        const bool screened = screens != NULL && sg_narrow_has(&m->screens, i);
        if (!screened && sg_model_tensor_info(m, i, &info, NULL) != SG_OK) continue;
        const int64_t stored =
            screened ? sg_narrow_bytes(&m->screens, &m->params, i) : (int64_t)info.bytes;
        bytes += (double)stored * use_share_of(u, m, m->params.specs[i].name, rows);
    }
    return bytes;
}
