// What is put into a run: numbers of points, gates of layers, single neurons (exchange.h).
#include <string.h>

#include "base/alloc.h"
#include "probe/exchange_inside.h"

void sg_changes_free(sg_changes *c)
{
    sg_free(c->items);
    sg_free(c->neurons);
    sg_arena_free(&c->memory);
    *c = (sg_changes){0};
}

void sg_changes_clear(sg_changes *c)
{
    c->count = c->neuron_count = 0;
    sg_arena_free(&c->memory);
}

const float *sg_capture_row(const sg_exchange *x, const sg_capture *c, size_t point,
                            int64_t position)
{
    const sg_exchange_point *p = &x->points[point];
    return c->values + p->offset * c->length + position * p->width;
}

bool sg_capture_gate(const sg_exchange *x, const sg_capture *c, int64_t layer, int64_t channel,
                     int64_t neuron, int64_t position, float *score)
{
    const sg_exchange_gates_of *g = &x->gates[layer];
    *score = 0;
    if (g->post >= 0) {
        *score = sg_capture_row(x, c, (size_t)g->post, position)[neuron];
        return true;
    }
    const int64_t first = channel * g->selected;
    const int32_t *ids = (const void *)(sg_capture_row(x, c, (size_t)g->ids, position) + first);
    for (int64_t i = 0; i < g->selected; i++) {
        if (ids[i] != neuron / g->block) continue;
        const float *scores =
            g->scores >= 0 ? sg_capture_row(x, c, (size_t)g->scores, position) + first : NULL;
        *score = sg_exchange_score(x, scores, g->selected, i);
        return true;
    }
    return false;
}

static sg_status changes_put(sg_changes *c, size_t point, int64_t position, int64_t first,
                             int64_t count, const float *values, sg_error *err)
{
    if (!sg_grow((void **)&c->items, &c->capacity, c->count + 1, sizeof *c->items))
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for what is exchanged");
    c->items[c->count++] = (sg_change){
        .point = point, .position = position, .first = first, .count = count, .values = values};
    return SG_OK;
}

sg_status sg_changes_numbers(sg_changes *c, const sg_exchange *x, size_t point, int64_t position,
                             int64_t first, int64_t count, const void *numbers, sg_error *err)
{
    if (first < 0 || count < 0 || first > x->points[point].width - count)
        return sg_fail(err, SG_ERR_ARGUMENT, "point %s: found %lld numbers from %lld on of %lld",
                       x->points[point].info.name, (long long)count, (long long)first,
                       (long long)x->points[point].width);
    float *values = sg_arena_alloc(&c->memory, (size_t)count * sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for what is exchanged");
    memcpy(values, numbers, (size_t)count * sizeof *values);
    return changes_put(c, point, position, first, count, values, err);
}

static sg_status changes_add(sg_changes *c, const sg_exchange *x, const sg_capture *from,
                             size_t point, int64_t position, int64_t first, int64_t count,
                             sg_error *err)
{
    if (position < 0 || position >= from->length)
        return sg_fail(err, SG_ERR_ARGUMENT, "position: found %lld, expected 0 to %lld",
                       (long long)position, (long long)from->length - 1);
    return changes_put(c, point, position, first, count,
                       sg_capture_row(x, from, point, position) + first, err);
}

sg_status sg_changes_point(sg_changes *c, const sg_exchange *x, const sg_capture *from,
                           size_t point, int64_t position, sg_error *err)
{
    return changes_add(c, x, from, point, position, 0, x->points[point].width, err);
}

sg_status sg_changes_gates(sg_changes *c, const sg_exchange *x, const sg_capture *from,
                           int64_t layer, int64_t channel, int64_t position, sg_error *err)
{
    const sg_exchange_gates_of *g = &x->gates[layer];
    const int64_t first = channel < 0 ? 0 : channel * g->selected;
    const int64_t count = channel < 0 ? g->channels * g->selected : g->selected;
    if (channel >= g->channels)
        return sg_fail(err, SG_ERR_ARGUMENT, "channel: found %lld, expected 0 to %lld",
                       (long long)channel, (long long)g->channels - 1);
    if (g->post >= 0) return changes_add(c, x, from, (size_t)g->post, position, first, count, err);
    SG_TRY(changes_add(c, x, from, (size_t)g->ids, position, first, count, err));
    if (g->scores < 0) return SG_OK;
    return changes_add(c, x, from, (size_t)g->scores, position, first, count, err);
}

static sg_status changes_check(const sg_exchange *x, const sg_exchange_neuron *n, sg_error *err)
{
    const int64_t layers = x->model->config.num_hidden_layers;
    if (n->layer < 0 || n->layer >= layers)
        return sg_fail(err, SG_ERR_ARGUMENT, "layer: found %d, expected 0 to %lld", n->layer,
                       (long long)layers - 1);
    const sg_exchange_gates_of *g = &x->gates[n->layer];
    if (n->channel < 0 || n->channel >= g->channels)
        return sg_fail(err, SG_ERR_ARGUMENT, "channel: found %d, expected 0 to %lld", n->channel,
                       (long long)g->channels - 1);
    if (n->neuron < 0 || n->neuron >= g->neurons)
        return sg_fail(err, SG_ERR_ARGUMENT, "neuron: found %d, expected 0 to %lld", n->neuron,
                       (long long)g->neurons - 1);
    return SG_OK;
}

sg_status sg_changes_neurons(sg_changes *c, const sg_exchange *x, const sg_capture *from,
                             const sg_exchange_neuron *neurons, size_t count, int64_t position,
                             sg_error *err)
{
    if (!x->neurons)
        return sg_fail(err, SG_ERR_ARGUMENT, "neurons: found an exchange that was made without");
    for (size_t i = 0; i < count; i++) {
        const sg_exchange_neuron *n = &neurons[i];
        SG_TRY(changes_check(x, n, err));
        const sg_exchange_gates_of *g = &x->gates[n->layer];
        if (g->post >= 0) {
            SG_TRY(changes_add(c, x, from, (size_t)g->post, position, n->neuron, 1, err));
            continue;
        }
        sg_neuron_change change = {.of = *n, .position = position};
        change.selected =
            sg_capture_gate(x, from, n->layer, n->channel, n->neuron, position, &change.score);
        if (!sg_grow((void **)&c->neurons, &c->neuron_capacity, c->neuron_count + 1,
                     sizeof *c->neurons))
            return sg_fail(err, SG_ERR_MEMORY, "out of memory for what is exchanged");
        c->neurons[c->neuron_count++] = change;
    }
    return SG_OK;
}
