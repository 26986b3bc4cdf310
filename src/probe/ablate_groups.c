// Which neurons are ablated together: those that are named, the most used, random ones, or whole
// layers and channels; and for each the random neurons that are its control.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/number_list.h"
#include "base/rng.h"
#include "probe/ablate_inside.h"

enum { near_most = 16, named_most = 4096 };

static sg_status groups_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for an ablation");
}

bool sg_ablate_needs_usage(const sg_ablate_options *o)
{
    return o->mean || o->neurons != NULL || o->top > 0 || o->random > 0;
}

// ---- layers and channels ------------------------------------------------------------------------

sg_status sg_ablate_choose_layers(sg_ablate *a, sg_error *err)
{
    const sg_ablate_options *o = a->options;
    const int64_t layers = a->model->config.num_hidden_layers;
    const int ways = (o->neurons != NULL) + (o->top > 0) + (o->random > 0);
    sg_neuron_table t;
    if (ways > 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "found several of neurons, top and random, expected one");
    if (o->neurons != NULL && (o->layers != NULL || o->channels != NULL))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "neurons: found layers or channels beside them, expected one");
    for (int64_t l = 0; l < layers; l++) {
        SG_TRY(sg_neuron_table_of(a->model, l, &t, err));
        if (t.channels > a->most_channels) a->most_channels = t.channels;
    }
    a->layers = sg_alloc_zero((size_t)layers, sizeof *a->layers);
    a->channels = sg_alloc_zero((size_t)a->most_channels, sizeof *a->channels);
    if (a->layers == NULL || a->channels == NULL) return groups_memory(err);
    SG_TRY(sg_list_read(o->layers, "layers", layers, a->layers, err));
    return sg_list_read(o->channels, "channels", a->most_channels, a->channels, err);
}

// ---- sets ---------------------------------------------------------------------------------------

static sg_status groups_new(sg_ablate *a, const char *name, sg_ablate_set **set, sg_error *err)
{
    if (!sg_grow((void **)&a->sets, &a->room, a->count + 1, sizeof *a->sets))
        return groups_memory(err);
    *set = &a->sets[a->count++];
    **set = (sg_ablate_set){.control = -1};
    snprintf((*set)->name, sizeof(*set)->name, "%s", name);
    return SG_OK;
}

// What an ablation of a neuron is: z 0, or its mean.
static sg_edit groups_edit(const sg_ablate *a, int64_t layer, int64_t channel, int64_t neuron)
{
    sg_edit e = {
        .layer = layer, .channel = channel, .neuron = neuron, .kind = SG_EDIT_REMOVE, .last = -1};
    if (!a->options->mean) return e;
    const sg_layer_usage *u = sg_neuron_usage_layer(a->usage, layer);
    const double tokens = (double)sg_neuron_usage_tokens(a->usage);
    e.kind = SG_EDIT_FIX;
    e.value = (double)(float)(u->sums[channel * u->table.neurons + neuron] / tokens);
    return e;
}

static sg_status groups_add(sg_ablate_set *set, const sg_edit *edit, sg_error *err)
{
    if (!sg_grow((void **)&set->edits, &set->room, set->count + 1, sizeof *set->edits))
        return groups_memory(err);
    set->edits[set->count++] = *edit;
    return SG_OK;
}

static sg_status groups_single(sg_ablate *a, const sg_edit *e, sg_error *err)
{
    char name[64];
    sg_ablate_set *set;
    snprintf(name, sizeof name, "%lld:%lld:%lld", (long long)e->layer, (long long)e->channel,
             (long long)e->neuron);
    SG_TRY(groups_new(a, name, &set, err));
    return groups_add(set, e, err);
}

// Each of a list alone, and all of them.
static sg_status groups_of(sg_ablate *a, const sg_edit *list, size_t count, sg_error *err)
{
    sg_ablate_set *set;
    for (size_t i = 0; i < count && (count == 1 || !a->options->together); i++)
        SG_TRY(groups_single(a, &list[i], err));
    if (count < 2) return SG_OK;
    SG_TRY(groups_new(a, "all of these", &set, err));
    for (size_t i = 0; i < count; i++)
        SG_TRY(groups_add(set, &list[i], err));
    return SG_OK;
}

// ---- neurons that are named ---------------------------------------------------------------------

static bool groups_number(const char **at, int64_t *number, char end)
{
    char *behind;
    if (**at < '0' || **at > '9') return false;
    *number = strtoll(*at, &behind, 10);
    *at = behind + (*behind != '\0');
    return *behind == end || (end == ',' && *behind == '\0');
}

static sg_status groups_named(sg_ablate *a, sg_ablate_set *list, sg_error *err)
{
    const char *at = a->options->neurons;
    do {
        int64_t layer, channel, neuron;
        sg_neuron_table t;
        if (!groups_number(&at, &layer, ':') || !groups_number(&at, &channel, ':') ||
            !groups_number(&at, &neuron, ',') || (*at == '\0' && at[-1] == ',') ||
            list->count >= named_most)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "neurons: found \"%.100s\", expected at most %d of the form "
                           "layer:channel:neuron, joined by commas",
                           a->options->neurons, named_most);
        sg_status status = sg_neuron_table_of(a->model, layer, &t, err);
        if (status != SG_OK) return sg_fail_context(err, status, "neurons");
        SG_TRY(sg_neuron_check(&t, "neurons", channel, neuron, err));
        const sg_edit e = groups_edit(a, layer, channel, neuron);
        SG_TRY(groups_add(list, &e, err));
    } while (*at != '\0');
    return SG_OK;
}

// ---- the most used, and random ones -------------------------------------------------------------

typedef struct ranked {
    int64_t layer, channel, neuron;
    double value;
} ranked;

static int ranked_order(const void *a, const void *b)
{
    const ranked *x = a, *y = b;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    if (x->layer != y->layer) return x->layer < y->layer ? -1 : 1;
    if (x->channel != y->channel) return x->channel < y->channel ? -1 : 1;
    return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

static double ranked_value(const sg_ablate *a, const sg_layer_usage *u, int64_t channel,
                           int64_t neuron, uint64_t index)
{
    const int64_t at = channel * u->table.neurons + neuron;
    if (a->options->random > 0)
        return sg_rng_uniform(a->options->seed, sg_rng_stream("ablate.random"), index);
    if (a->options->by_usage) return u->hits[at];
    return sg_contribution_norm(u, channel, neuron) * u->hits[at];
}

static sg_status groups_ranked(sg_ablate *a, sg_ablate_set *list, sg_error *err)
{
    const sg_ablate_options *o = a->options;
    const int64_t most = o->random > 0 ? o->random : o->top;
    ranked *all = NULL;
    size_t count = 0, room = 0;
    uint64_t index = 0;
    sg_status status = SG_OK;
    for (int64_t l = 0; status == SG_OK && l < a->model->config.num_hidden_layers; l++) {
        const sg_layer_usage *u = sg_neuron_usage_layer(a->usage, l);
        for (int64_t c = 0; status == SG_OK && c < u->table.channels; c++)
            for (int64_t n = 0; n < u->table.neurons; n++, index++) {
                // What was never selected has nothing to lose.
                if (!a->layers[l] || !a->channels[c] || u->hits[c * u->table.neurons + n] == 0)
                    continue;
                if (!sg_grow((void **)&all, &room, count + 1, sizeof *all)) {
                    status = groups_memory(err);
                    break;
                }
                all[count++] = (ranked){l, c, n, ranked_value(a, u, c, n, index)};
            }
    }
    if (status == SG_OK && count > 0) qsort(all, count, sizeof *all, ranked_order);
    for (size_t i = 0; status == SG_OK && i < count && (int64_t)i < most; i++) {
        const sg_edit e = groups_edit(a, all[i].layer, all[i].channel, all[i].neuron);
        status = groups_add(list, &e, err);
    }
    sg_free(all);
    return status;
}

// ---- layers and channels as a whole -------------------------------------------------------------

static sg_status groups_whole(sg_ablate *a, int64_t layer, int64_t channel, sg_error *err)
{
    char name[64];
    sg_ablate_set *set;
    sg_neuron_table t;
    SG_TRY(sg_neuron_table_of(a->model, layer, &t, err));
    if (channel >= t.channels) return SG_OK;
    if (channel < 0)
        snprintf(name, sizeof name, "layer %lld", (long long)layer);
    else
        snprintf(name, sizeof name, "layer %lld channel %lld", (long long)layer,
                 (long long)channel);
    SG_TRY(groups_new(a, name, &set, err));
    for (int64_t c = channel < 0 ? 0 : channel; c < t.channels; c++) {
        for (int64_t n = 0; n < t.neurons; n++) {
            const sg_edit e = groups_edit(a, layer, c, n);
            SG_TRY(groups_add(set, &e, err));
        }
        if (channel >= 0) break;
    }
    return SG_OK;
}

static sg_status groups_layers(sg_ablate *a, sg_error *err)
{
    for (int64_t l = 0; l < a->model->config.num_hidden_layers; l++) {
        if (!a->layers[l]) continue;
        if (a->options->channels == NULL) SG_TRY(groups_whole(a, l, -1, err));
        for (int64_t c = 0; a->options->channels != NULL && c < a->most_channels; c++)
            if (a->channels[c]) SG_TRY(groups_whole(a, l, c, err));
    }
    return SG_OK;
}

// ---- controls -----------------------------------------------------------------------------------

// Marks those of a set in a layer and channel.
static void groups_take(const sg_ablate_set *set, const sg_edit *of, sg_matched_neuron *all)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->edits[i].layer == of->layer && set->edits[i].channel == of->channel)
            all[set->edits[i].neuron].taken = true;
}

static sg_matched_neuron groups_like(const sg_layer_usage *u, int64_t channel, int64_t neuron)
{
    return (sg_matched_neuron){.usage = u->hits[channel * u->table.neurons + neuron],
                               .norm = sg_contribution_norm(u, channel, neuron)};
}

// One neuron like that of an edit, of its layer and channel, that is in neither set.
static sg_status groups_match(const sg_ablate *a, const sg_ablate_set *group, const sg_edit *of,
                              sg_ablate_set *control, uint64_t draw, sg_error *err)
{
    const sg_layer_usage *u = sg_neuron_usage_layer(a->usage, of->layer);
    const int64_t n = u->table.neurons;
    int32_t near[near_most];
    sg_matched_neuron *all = sg_alloc_zero((size_t)n, sizeof *all);
    double *work = sg_alloc_zero((size_t)n, sizeof *work);
    sg_status status = all != NULL && work != NULL ? SG_OK : groups_memory(err);
    for (int64_t i = 0; status == SG_OK && i < n; i++)
        all[i] = groups_like(u, of->channel, i);
    if (status == SG_OK) {
        groups_take(group, of, all);
        groups_take(control, of, all);
        const int64_t count = sg_matched_nearest(all, n, groups_like(u, of->channel, of->neuron),
                                                 near_most, near, work);
        const uint64_t pick = count > 0
                                  ? sg_rng_below(a->options->seed, sg_rng_stream("ablate.control"),
                                                 draw, (uint64_t)count)
                                  : 0;
        const sg_edit e = groups_edit(a, of->layer, of->channel, count > 0 ? near[pick] : 0);
        if (count > 0) status = groups_add(control, &e, err);
    }
    sg_free(all);
    sg_free(work);
    return status;
}

// A set of one has the number of its control as a name.
static sg_status groups_control(sg_ablate *a, size_t group, uint64_t *draw, sg_error *err)
{
    sg_ablate_set *control;
    SG_TRY(groups_new(a, "", &control, err));
    const sg_ablate_set *set = &a->sets[group];
    for (size_t i = 0; i < set->count; i++)
        SG_TRY(groups_match(a, set, &set->edits[i], control, (*draw)++, err));
    a->sets[group].control = (int64_t)a->count - 1;
    if (control->count != 1) return SG_OK;
    snprintf(control->name, sizeof control->name, "%lld:%lld:%lld",
             (long long)control->edits[0].layer, (long long)control->edits[0].channel,
             (long long)control->edits[0].neuron);
    return SG_OK;
}

sg_status sg_ablate_choose(sg_ablate *a, sg_error *err)
{
    const sg_ablate_options *o = a->options;
    const bool neurons = o->neurons != NULL || o->top > 0 || o->random > 0;
    sg_ablate_set list = {0};
    sg_status status;
    uint64_t draw = 0;
    if (!neurons)
        status = groups_layers(a, err);
    else
        status = o->neurons != NULL ? groups_named(a, &list, err) : groups_ranked(a, &list, err);
    if (status == SG_OK && neurons) status = groups_of(a, list.edits, list.count, err);
    sg_free(list.edits);
    a->groups = a->count;
    if (status == SG_OK && a->groups == 0)
        status = sg_fail(err, SG_ERR_MISMATCH,
                         "found no neuron that any of the tokens selects, expected some");
    for (size_t i = 0; status == SG_OK && neurons && o->control && i < a->groups; i++)
        status = groups_control(a, i, &draw, err);
    return status;
}
