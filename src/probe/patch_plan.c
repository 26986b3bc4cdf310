// From the words of the options to a list of patches: sets of layers, channels, tokens and points,
// each with each.
#include "probe/patch_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/name_pattern.h"
#include "base/number_list.h"
#include "model/model.h"

enum { plan_words = 4096, plan_patches = 100000, plan_neurons = 100000 };

typedef struct plan_maker {
    const sg_patch_options *options;
    const sg_model *model;
    sg_patch_plan *plan;
    char (*set_names)[64];
    size_t set_room, point_room, neuron_room, set_name_room, item_room, name_room;
    int64_t channels; // of a sparse layer, the most
} plan_maker;

static sg_status plan_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a list of patches");
}

// The next word of a list joined by `by`, at most 63 bytes; false behind the last.
static bool plan_word(const char **list, char by, char word[64])
{
    if (*list == NULL) return false;
    const char *end = strchr(*list, by);
    const size_t bytes = end != NULL ? (size_t)(end - *list) : strlen(*list);
    snprintf(word, 64, "%.*s", (int)(bytes < 64 ? bytes : 63), *list);
    *list = end != NULL ? end + 1 : NULL;
    return true;
}

static bool plan_number(const char *word, int64_t high, int64_t *number)
{
    char *end;
    if (word[0] < '0' || word[0] > '9') return false;
    *number = strtoll(word, &end, 10);
    return *end == '\0' && *number <= high;
}

// ---- layers -------------------------------------------------------------------------------------

// A new set without layers.
static sg_status plan_set(plan_maker *m, const char *name, bool **set, sg_error *err)
{
    sg_patch_plan *plan = m->plan;
    const size_t layers = (size_t)plan->layers, count = plan->set_count + 1;
    if (count > plan_words)
        return sg_fail(err, SG_ERR_ARGUMENT, "layers: found more than %d sets", plan_words);
    if (!sg_grow((void **)&plan->sets, &m->set_room, count * layers, sizeof *plan->sets) ||
        !sg_grow((void **)&m->set_names, &m->set_name_room, count, sizeof *m->set_names))
        return plan_memory(err);
    *set = plan->sets + plan->set_count * layers;
    memset(*set, 0, layers * sizeof **set);
    snprintf(m->set_names[plan->set_count++], 64, "%s", name);
    return SG_OK;
}

static sg_status plan_list(plan_maker *m, const char *word, sg_error *err)
{
    const char *at = word;
    int64_t first, last;
    bool *set, right = true;
    SG_TRY(plan_set(m, word, &set, err));
    do {
        right = sg_list_item(&at, &first, &last) && first <= last && last < m->plan->layers;
        for (int64_t l = first; right && l <= last; l++)
            set[l] = true;
    } while (right && *at++ == ',');
    if (right && at[-1] == '\0') return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "layers: found \"%s\", expected all, each, or a list such as 0,2-4 of layers 0 "
                   "to %lld; several are joined by +",
                   word, (long long)m->plan->layers - 1);
}

static sg_status plan_layers(plan_maker *m, sg_error *err)
{
    const char *list = m->options->layers;
    char word[64];
    bool *set;
    while (plan_word(&list, '+', word)) {
        const bool all = strcmp(word, "all") == 0;
        if (all) {
            SG_TRY(plan_set(m, word, &set, err));
            memset(set, true, (size_t)m->plan->layers * sizeof *set);
        } else if (strcmp(word, "each") == 0) {
            for (int64_t l = 0; l < m->plan->layers; l++) {
                snprintf(word, sizeof word, "%lld", (long long)l);
                SG_TRY(plan_set(m, word, &set, err));
                set[l] = true;
            }
        } else {
            SG_TRY(plan_list(m, word, err));
        }
    }
    return SG_OK;
}

// ---- points and neurons -------------------------------------------------------------------------

static sg_status plan_point(plan_maker *m, const char *name, sg_error *err)
{
    sg_patch_plan *plan = m->plan;
    sg_patch_what what = {.kind = SG_PATCH_POINT};
    if (strchr(name, '*') != NULL || name[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "points: found \"%s\", expected gates, or names such as hook_mlp_out, "
                       "without *",
                       name);
    snprintf(what.name, sizeof what.name, "%s", name);
    what.whole = strncmp(name, "blocks.", 7) == 0 || strcmp(name, "hook_embed") == 0 ||
                 strcmp(name, "hook_pos_embed") == 0;
    if (strcmp(name, "gates") == 0) {
        what.kind = SG_PATCH_GATES;
        plan->gates = true;
    }
    if (plan->point_count == plan_words)
        return sg_fail(err, SG_ERR_ARGUMENT, "points: found more than %d", plan_words);
    if (!sg_grow((void **)&plan->points, &m->point_room, plan->point_count + 1,
                 sizeof *plan->points))
        return plan_memory(err);
    plan->points[plan->point_count++] = what;
    return SG_OK;
}

static sg_status plan_neuron(plan_maker *m, const char *word, sg_error *err)
{
    sg_patch_plan *plan = m->plan;
    int layer, channel, neuron, end = -1;
    if (sscanf(word, "%9d:%9d:%9d%n", &layer, &channel, &neuron, &end) != 3 || end < 0 ||
        word[end] != '\0')
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "neurons: found \"%s\", expected LAYER:CHANNEL:NEURON, numbers from 0",
                       word);
    for (size_t i = 0; i < plan->neuron_count; i++)
        if (plan->neurons[i].layer == layer && plan->neurons[i].channel == channel &&
            plan->neurons[i].neuron == neuron)
            return sg_fail(err, SG_ERR_ARGUMENT, "neurons: found %s again", word);
    if (plan->neuron_count == plan_neurons)
        return sg_fail(err, SG_ERR_ARGUMENT, "neurons: found more than %d", plan_neurons);
    if (!sg_grow((void **)&plan->neurons, &m->neuron_room, plan->neuron_count + 1,
                 sizeof *plan->neurons))
        return plan_memory(err);
    plan->neurons[plan->neuron_count++] = (sg_exchange_neuron){layer, channel, neuron};
    return SG_OK;
}

// Neurons are one patch, in place of layers, channels and points.
static sg_status plan_neurons_of(plan_maker *m, sg_error *err)
{
    const char *list = m->options->neurons;
    char word[64];
    bool *set;
    SG_TRY(plan_set(m, "neurons", &set, err));
    while (plan_word(&list, ',', word))
        SG_TRY(plan_neuron(m, word, err));
    SG_TRY(plan_point(m, "neurons", err));
    m->plan->points[0].kind = SG_PATCH_NEURONS;
    return SG_OK;
}

// Full names of the points that the exchange must keep.
static sg_status plan_name(plan_maker *m, const char *name, sg_error *err)
{
    sg_patch_plan *plan = m->plan;
    if (!sg_grow((void **)&plan->names, &m->name_room, plan->name_count + 1, sizeof *plan->names))
        return plan_memory(err);
    plan->names[plan->name_count] = sg_arena_strndup(&plan->arena, name, strlen(name));
    return plan->names[plan->name_count++] == NULL ? plan_memory(err) : SG_OK;
}

static bool plan_layer_used(const sg_patch_plan *plan, int64_t layer)
{
    for (size_t s = 0; s < plan->set_count; s++)
        if (plan->sets[s * (size_t)plan->layers + (size_t)layer]) return true;
    return false;
}

static sg_status plan_names(plan_maker *m, sg_error *err)
{
    for (size_t i = 0; i < m->plan->point_count; i++) {
        const sg_patch_what *what = &m->plan->points[i];
        if (what->kind != SG_PATCH_POINT) continue;
        if (what->whole) SG_TRY(plan_name(m, what->name, err));
        for (int64_t l = 0; !what->whole && l < m->plan->layers; l++) {
            char name[96];
            if (!plan_layer_used(m->plan, l)) continue;
            snprintf(name, sizeof name, "blocks.%lld.%s", (long long)l, what->name);
            SG_TRY(plan_name(m, name, err));
        }
    }
    return SG_OK;
}

// ---- each with each -----------------------------------------------------------------------------

static sg_status plan_add(plan_maker *m, const sg_patch *patch, sg_error *err)
{
    sg_patch_plan *plan = m->plan;
    if (plan->count == plan_patches)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "patches: found more than %d, expected fewer layers, "
                       "channels, positions or points",
                       plan_patches);
    if (!sg_grow((void **)&plan->items, &m->item_room, plan->count + 1, sizeof *plan->items))
        return plan_memory(err);
    plan->items[plan->count++] = *patch;
    return SG_OK;
}

static sg_status plan_position(plan_maker *m, const char *word, sg_patch *patch, sg_error *err)
{
    snprintf(patch->position_name, sizeof patch->position_name, "%.23s", word);
    if (strcmp(word, "subject") == 0)
        patch->where = SG_PATCH_AT_SUBJECT;
    else if (strcmp(word, "last") == 0)
        patch->where = SG_PATCH_AT_LAST;
    else if (strcmp(word, "all") == 0)
        patch->where = SG_PATCH_AT_ALL;
    else if (plan_number(word, m->model->config.max_position_embeddings - 1, &patch->number))
        patch->where = SG_PATCH_AT_NUMBER;
    else
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "position: found \"%s\", expected subject, last, all or a number from 0 to "
                       "%lld; several are joined by commas",
                       word, (long long)m->model->config.max_position_embeddings - 1);
    return SG_OK;
}

static sg_status plan_channels(plan_maker *m, const sg_patch *patch, sg_error *err)
{
    const char *list =
        m->plan->points[patch->point].kind == SG_PATCH_GATES ? m->options->channels : "all";
    char word[64];
    while (plan_word(&list, ',', word)) {
        sg_patch item = *patch;
        const bool each = strcmp(word, "each") == 0;
        int64_t first = -1, last = -1;
        if (each) {
            first = 0;
            last = m->channels - 1;
        } else if (strcmp(word, "all") != 0) {
            if (!plan_number(word, m->channels - 1, &first))
                return sg_fail(err, SG_ERR_ARGUMENT,
                               "channels: found \"%s\", expected all, each or a number from 0 to "
                               "%lld",
                               word, (long long)m->channels - 1);
            last = first;
        }
        for (item.channel = first; item.channel <= last; item.channel++) {
            if (item.channel < 0)
                snprintf(item.channels_name, sizeof item.channels_name, "all");
            else
                snprintf(item.channels_name, sizeof item.channels_name, "%lld",
                         (long long)item.channel);
            SG_TRY(plan_add(m, &item, err));
        }
    }
    return SG_OK;
}

static sg_status plan_items(plan_maker *m, sg_error *err)
{
    const sg_patch_plan *plan = m->plan;
    const char *list = m->options->positions;
    char word[64];
    while (plan_word(&list, ',', word)) {
        sg_patch patch = {0};
        SG_TRY(plan_position(m, word, &patch, err));
        for (patch.point = 0; patch.point < plan->point_count; patch.point++)
            for (patch.set = 0; patch.set < plan->set_count; patch.set++) {
                const sg_patch_what *what = &plan->points[patch.point];
                if (what->whole && patch.set > 0) continue;
                snprintf(patch.point_name, sizeof patch.point_name, "%s", what->name);
                snprintf(patch.layers_name, sizeof patch.layers_name, "%s",
                         what->whole ? "" : m->set_names[patch.set]);
                SG_TRY(plan_channels(m, &patch, err));
            }
    }
    return SG_OK;
}

static sg_status plan_make(plan_maker *m, sg_error *err)
{
    const sg_patch_options *o = m->options;
    const char *list = o->points;
    char word[64];
    m->channels = 1;
    if (sg_family_is_sparse(sg_family_find(m->model->config.ffn)))
        m->channels = sg_ffn_memory(&m->model->config).channels;
    if (o->neurons != NULL) {
        SG_TRY(plan_neurons_of(m, err));
    } else {
        SG_TRY(plan_layers(m, err));
        while (plan_word(&list, ',', word))
            SG_TRY(plan_point(m, word, err));
        SG_TRY(plan_names(m, err));
    }
    return plan_items(m, err);
}

sg_status sg_patch_plan_new(const sg_model *model, const sg_patch_options *options,
                            sg_patch_plan *plan, sg_error *err)
{
    plan_maker m = {.options = options, .model = model, .plan = plan};
    *plan = (sg_patch_plan){.layers = model->config.num_hidden_layers};
    sg_status status = plan_make(&m, err);
    sg_free(m.set_names);
    if (status != SG_OK) sg_patch_plan_free(plan);
    return status;
}

void sg_patch_plan_free(sg_patch_plan *plan)
{
    sg_free(plan->sets);
    sg_free(plan->points);
    sg_free(plan->neurons);
    sg_free(plan->items);
    sg_free(plan->names);
    sg_arena_free(&plan->arena);
    *plan = (sg_patch_plan){0};
}

// ---- of one prompt ------------------------------------------------------------------------------

bool sg_patch_tokens(const sg_patch *patch, const sg_fact_prompt *prompt, int64_t *first,
                     int64_t *last)
{
    *last = prompt->length - 1;
    *first = *last;
    if (patch->where == SG_PATCH_AT_ALL) *first = prompt->subject_first;
    if (patch->where == SG_PATCH_AT_SUBJECT) *first = *last = prompt->subject_last;
    if (patch->where == SG_PATCH_AT_NUMBER) *first = *last = patch->number;
    return *last < prompt->length;
}

static sg_status plan_change_point(const sg_patch_plan *plan, const sg_patch *patch,
                                   const sg_exchange *x, const sg_capture *from, int64_t position,
                                   sg_changes *changes, sg_error *err)
{
    const sg_patch_what *what = &plan->points[patch->point];
    const bool *set = plan->sets + patch->set * (size_t)plan->layers;
    char name[96];
    if (what->kind == SG_PATCH_NEURONS)
        return sg_changes_neurons(changes, x, from, plan->neurons, plan->neuron_count, position,
                                  err);
    if (what->whole)
        return sg_changes_point(changes, x, from, (size_t)sg_exchange_find(x, what->name), position,
                                err);
    for (int64_t l = 0; l < plan->layers; l++) {
        if (!set[l]) continue;
        if (what->kind == SG_PATCH_GATES) {
            const int64_t channels = sg_exchange_gates(x, l)->channels;
            if (patch->channel < channels)
                SG_TRY(sg_changes_gates(changes, x, from, l, patch->channel, position, err));
            continue;
        }
        snprintf(name, sizeof name, "blocks.%lld.%s", (long long)l, what->name);
        SG_TRY(
            sg_changes_point(changes, x, from, (size_t)sg_exchange_find(x, name), position, err));
    }
    return SG_OK;
}

sg_status sg_patch_changes(const sg_patch_plan *plan, const sg_patch *patch, const sg_exchange *x,
                           const sg_capture *from, int64_t first, int64_t last, sg_changes *changes,
                           sg_error *err)
{
    for (int64_t p = first; p <= last; p++)
        SG_TRY(plan_change_point(plan, patch, x, from, p, changes, err));
    return SG_OK;
}
