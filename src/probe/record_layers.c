// What is recorded of a layer: neurons that a router selects one by one, or in small blocks, all of
// them; blocks of many neurons as blocks; of what reads more than `top` neurons the strongest, by
// the length of what each adds, |hook_post| |w_out|.
#include "probe/record_layers.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "model/graph.h"

// ---- one layer ----------------------------------------------------------------------------------

static void part_unit(sg_record_part *p, const sg_record_options *o)
{
    const int64_t all = p->k * p->g;
    const bool blocks = !p->table.dense && p->g > 1 &&
                        (o->unit == SG_RECORD_BLOCK || (o->unit == SG_RECORD_AUTO && all > o->top));
    const int64_t read = blocks ? p->k : all;
    p->info.unit = blocks ? p->g : 1;
    p->info.neurons = p->table.neurons / p->info.unit;
    p->info.slots = sg_min(read, o->top);
    p->info.strongest = read > o->top;
}

static sg_status part_norms(sg_record_part *p, sg_error *err)
{
    if (p->info.unit > 1) return SG_OK;
    p->norms = sg_alloc_array((size_t)(p->table.pools * p->table.neurons), sizeof *p->norms);
    if (p->norms == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    return sg_neuron_out_norms(&p->table, p->norms, err);
}

static const sg_point_info *find_point(const sg_point_list *all, int64_t layer, const char *name)
{
    char full[64];
    snprintf(full, sizeof full, "blocks.%lld.mlp.%s", (long long)layer, name);
    for (size_t i = 0; i < all->count; i++)
        if (strcmp(all->items[i].name, full) == 0) return &all->items[i];
    return NULL;
}

static sg_status part_selection(sg_record_part *p, const sg_point_list *all, sg_error *err)
{
    const sg_neuron_table *t = &p->table;
    const sg_point_info *ids = find_point(all, t->layer, "hook_gate_ids");
    p->k = 1;
    p->g = t->neurons;
    if (t->dense) return SG_OK;
    if (ids == NULL || ids->rank != 3 || ids->shape[2] < 1 || t->selected % ids->shape[2] != 0)
        return sg_fail(err, SG_ERR_INTERNAL,
                       "layer %lld: selects %lld neurons, which are not at "
                       "its points",
                       (long long)t->layer, (long long)t->selected);
    p->k = ids->shape[2];
    p->g = t->selected / p->k;
    p->scored = find_point(all, t->layer, "hook_gate_scores") != NULL;
    return SG_OK;
}

// chosen: of the channels of any layer.
static sg_status part_open(sg_record_part *p, const sg_model *model, int64_t layer,
                           const sg_record_options *o, const sg_point_list *all, const bool *chosen,
                           sg_error *err)
{
    sg_config dense;
    const sg_config *c = sg_ffn_layer_config(&model->config, layer, &dense);
    SG_TRY(sg_neuron_table_of(model, layer, &p->table, err));
    const sg_neuron_table *t = &p->table;
    p->channels = sg_alloc_array((size_t)t->channels, sizeof *p->channels);
    if (p->channels == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    for (int64_t i = 0; i < t->channels; i++)
        if (chosen[i]) p->channels[p->channel_count++] = i;
    SG_TRY(part_selection(p, all, err));
    p->info = (sg_record_layer){.layer = layer,
                                .channels = t->channels,
                                .dense = t->dense,
                                .shared = t->pools == 1 && t->channels > 1,
                                .block = t->dense ? 1 : t->block,
                                .sub_keys = sg_neuron_sub_keys(t)};
    snprintf(p->info.family, sizeof p->info.family, "%s", c->ffn);
    part_unit(p, o);
    return p->channel_count > 0 ? part_norms(p, err) : SG_OK;
}

// ---- all of them --------------------------------------------------------------------------------

static int64_t most_channels(const sg_model *model, const bool *layers)
{
    sg_neuron_table t;
    int64_t most = 0;
    for (int64_t l = 0; l < model->config.num_hidden_layers; l++)
        if (layers[l] && sg_neuron_table_of(model, l, &t, NULL) == SG_OK)
            most = t.channels > most ? t.channels : most;
    return most;
}

// Numbers the channels, their neurons and their slots through.
static sg_status parts_number(sg_record_parts *parts, sg_error *err)
{
    for (size_t i = 0; i < parts->count; i++)
        parts->channel_count += parts->items[i].channel_count;
    if (parts->channel_count == 0)
        return sg_fail(err, SG_ERR_NOT_FOUND, "channels: none of them is in the layers");
    if (parts->channel_count > SG_RECORD_CHANNELS_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "channels: found %lld in all layers, expected at most %d",
                       (long long)parts->channel_count, SG_RECORD_CHANNELS_MAX);
    const size_t n = (size_t)parts->channel_count;
    parts->channels = sg_alloc_array(n, sizeof *parts->channels);
    parts->first_neuron = sg_alloc_array(n, sizeof *parts->first_neuron);
    parts->first_slot = sg_alloc_array(n, sizeof *parts->first_slot);
    parts->channel_slots = sg_alloc_array(n, sizeof *parts->channel_slots);
    if (parts->channels == NULL || parts->first_neuron == NULL || parts->first_slot == NULL ||
        parts->channel_slots == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a record");
    int64_t at = 0;
    for (size_t i = 0; i < parts->count; i++) {
        sg_record_part *p = &parts->items[i];
        p->first_channel = at;
        p->first_slot = parts->slots;
        for (int64_t c = 0; c < p->channel_count; c++, at++) {
            parts->channels[at] = (sg_record_channel){p->info.layer, p->channels[c]};
            parts->first_neuron[at] = parts->neurons;
            parts->first_slot[at] = parts->slots;
            parts->channel_slots[at] = p->info.slots;
            parts->neurons += p->info.neurons;
            parts->slots += p->info.slots;
        }
        if (p->info.slots > parts->most_slots) parts->most_slots = p->info.slots;
        parts->strongest += p->info.strongest;
    }
    return SG_OK;
}

static sg_status parts_open(sg_record_parts *parts, const sg_model *model,
                            const sg_record_options *o, const sg_point_list *all, bool *layers,
                            sg_error *err)
{
    const int64_t count = model->config.num_hidden_layers;
    SG_TRY(sg_list_read(o->layers, "layers", count, layers, err));
    for (int64_t l = o->stop_at_layer + 1; o->stop_at_layer >= 0 && l < count; l++) {
        if (layers[l] && o->layers != NULL)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "layers: found %lld, expected none behind stop-at-layer %lld",
                           (long long)l, (long long)o->stop_at_layer);
        layers[l] = false;
    }
    const int64_t most = most_channels(model, layers);
    bool *channels = sg_alloc_zero((size_t)most + 1, sizeof *channels);
    parts->items = sg_alloc_zero((size_t)count, sizeof *parts->items);
    sg_status status = channels == NULL || parts->items == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a record")
                           : sg_list_read(o->channels, "channels", most, channels, err);
    for (int64_t l = 0; l < count && status == SG_OK; l++) {
        if (!layers[l]) continue;
        sg_record_part *p = &parts->items[parts->count++];
        status = part_open(p, model, l, o, all, channels, err);
        if (status != SG_OK || p->channel_count > 0) continue;
        sg_free(p->channels); // a layer without any of these channels
        *p = (sg_record_part){0};
        parts->count--;
    }
    sg_free(channels);
    return status == SG_OK ? parts_number(parts, err) : status;
}

sg_status sg_record_parts_new(const sg_model *model, const sg_record_options *o,
                              sg_record_parts *parts, sg_error *err)
{
    *parts = (sg_record_parts){0};
    const int64_t count = model->config.num_hidden_layers;
    if (o->top < 1 || o->top > SG_RECORD_SLOTS_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "top: found %lld, expected 1 to %d", (long long)o->top,
                       SG_RECORD_SLOTS_MAX);
    if (o->stop_at_layer < -1 || o->stop_at_layer >= count)
        return sg_fail(err, SG_ERR_ARGUMENT, "stop-at-layer: found %lld, expected 0 to %lld",
                       (long long)o->stop_at_layer, (long long)count - 1);
    sg_point_list all;
    SG_TRY(sg_graph_points(&model->config, &model->params, &all, err));
    bool *layers = sg_alloc_zero((size_t)count + 1, sizeof *layers);
    sg_status status = layers == NULL ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a record")
                                      : parts_open(parts, model, o, &all, layers, err);
    sg_free(layers);
    sg_free(all.items);
    if (status != SG_OK) sg_record_parts_free(parts);
    return status;
}

void sg_record_parts_free(sg_record_parts *parts)
{
    for (size_t i = 0; i < parts->count; i++) {
        sg_free(parts->items[i].channels);
        sg_free(parts->items[i].norms);
    }
    sg_free(parts->items);
    sg_free(parts->channels);
    sg_free(parts->first_neuron);
    sg_free(parts->first_slot);
    sg_free(parts->channel_slots);
    *parts = (sg_record_parts){0};
}
