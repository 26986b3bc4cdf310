// The smallest set that flips, greedily. Candidates are ordered by their mean effect alone; in each
// step the first 32 that are not yet in the set are tried beside it, and the one with which the
// mean effect is largest joins it, until the share of pairs that is asked for has flipped, no
// candidate helps, or the set is full. Then neurons are left out, each time the one without which
// the effect stays largest, as long as the rest still flips as many: no neuron of what is left can
// be left out.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/circuit_inside.h"

static sg_status find_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a circuit");
}

// ---- order --------------------------------------------------------------------------------------

typedef struct order_item {
    sg_exchange_neuron neuron;
    double alone;
} order_item;

static int order_compare(const sg_exchange_neuron *x, const sg_exchange_neuron *y)
{
    if (x->layer != y->layer) return x->layer - y->layer;
    if (x->channel != y->channel) return x->channel - y->channel;
    return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

static int order_by_neuron(const void *a, const void *b)
{
    const order_item *x = a, *y = b;
    const int order = order_compare(&x->neuron, &y->neuron);
    // Equal neurons in one order, whatever sorts them, so that sums have the same bits.
    return order != 0 ? order : (x->alone > y->alone) - (x->alone < y->alone);
}

static int order_by_effect(const void *a, const void *b)
{
    const order_item *x = a, *y = b;
    if (x->alone != y->alone) return x->alone > y->alone ? -1 : 1;
    return order_compare(&x->neuron, &y->neuron);
}

void sg_circuit_order_free(sg_circuit_order *o)
{
    sg_free(o->neurons);
    sg_free(o->alone);
    *o = (sg_circuit_order){0};
}

static size_t order_join(order_item *items, size_t all, size_t pairs)
{
    size_t count = 0;
    for (size_t i = 0; i < all; i++) {
        if (count > 0 && order_compare(&items[count - 1].neuron, &items[i].neuron) == 0)
            items[count - 1].alone += items[i].alone;
        else
            items[count++] = items[i];
    }
    for (size_t i = 0; i < count; i++)
        items[i].alone /= (double)pairs;
    return count;
}

sg_status sg_circuit_order_new(sg_circuit_pair *const *pairs, size_t count, sg_circuit_order *o,
                               sg_error *err)
{
    size_t all = 0, at = 0;
    *o = (sg_circuit_order){0};
    for (size_t p = 0; p < count; p++)
        all += pairs[p]->count;
    order_item *items = sg_alloc_zero(all + 1, sizeof *items);
    if (items == NULL) return find_memory(err);
    for (size_t p = 0; p < count; p++)
        for (size_t i = 0; i < pairs[p]->count; i++)
            items[at++] = (order_item){pairs[p]->candidates[i], pairs[p]->alone[i]};
    qsort(items, all, sizeof *items, order_by_neuron);
    o->count = order_join(items, all, count);
    qsort(items, o->count, sizeof *items, order_by_effect);
    o->neurons = sg_alloc_zero(o->count + 1, sizeof *o->neurons);
    o->alone = sg_alloc_zero(o->count + 1, sizeof *o->alone);
    const bool room = o->neurons != NULL && o->alone != NULL;
    for (size_t i = 0; room && i < o->count; i++) {
        o->neurons[i] = items[i].neuron;
        o->alone[i] = items[i].alone;
    }
    sg_free(items);
    if (room) return SG_OK;
    sg_circuit_order_free(o);
    return find_memory(err);
}

// ---- search -------------------------------------------------------------------------------------

typedef struct search {
    sg_circuit *c;
    sg_circuit_pair *const *pairs; // (count)
    size_t count;
    double share;
    sg_circuit_found *found;
    size_t room;             // of the set, and trials of a round
    sg_circuit_job *jobs;    // (count, room) pair by pair
    double *effects, *flips; // (room) means of each trial
} search;

// Runs `trials` trials of all pairs.
static sg_status search_run(search *s, size_t trials, sg_error *err)
{
    memset(s->effects, 0, s->room * sizeof *s->effects);
    memset(s->flips, 0, s->room * sizeof *s->flips);
    SG_TRY(sg_circuit_run(s->c, s->jobs, trials * s->count, err));
    for (size_t p = 0; p < s->count; p++)
        for (size_t t = 0; t < trials; t++) {
            s->effects[t] += s->jobs[p * trials + t].effect / (double)s->count;
            s->flips[t] += s->jobs[p * trials + t].flips ? 1 / (double)s->count : 0;
        }
    return SG_OK;
}

static bool search_enough(const search *s, double flips)
{
    return flips >= s->share - 1e-9;
}

static bool search_has(const sg_circuit_found *f, const sg_exchange_neuron *n)
{
    for (size_t i = 0; i < f->count; i++)
        if (order_compare(&f->set[i], n) == 0) return true;
    return false;
}

static sg_status search_grow(search *s, const sg_circuit_order *order, size_t most, sg_error *err)
{
    sg_circuit_found *f = s->found;
    double effect = 0;
    while (f->count < most && !f->flips) {
        const sg_exchange_neuron *tried[SG_CIRCUIT_BATCH];
        size_t trials = 0;
        for (size_t i = 0; i < order->count && trials < SG_CIRCUIT_BATCH; i++)
            if (!search_has(f, &order->neurons[i])) tried[trials++] = &order->neurons[i];
        if (trials == 0) return SG_OK;
        for (size_t p = 0; p < s->count; p++)
            for (size_t t = 0; t < trials; t++)
                s->jobs[p * trials + t] = (sg_circuit_job){.pair = s->pairs[p],
                                                           .set = f->set,
                                                           .count = f->count,
                                                           .skip = SIZE_MAX,
                                                           .extra = tried[t]};
        SG_TRY(search_run(s, trials, err));
        size_t best = 0;
        for (size_t t = 1; t < trials; t++)
            if (s->effects[t] > s->effects[best]) best = t;
        if (!(s->effects[best] > effect)) return SG_OK;
        effect = s->effects[best];
        f->set[f->count++] = *tried[best];
        f->flips = search_enough(s, s->flips[best]);
    }
    return SG_OK;
}

// Effects without each neuron of the set, in `without`; and the largest with which the rest still
// flips enough, SIZE_MAX: there is none.
static sg_status search_without(search *s, size_t *spare, sg_error *err)
{
    sg_circuit_found *f = s->found;
    *spare = SIZE_MAX;
    for (size_t p = 0; p < s->count; p++)
        for (size_t t = 0; t < f->count; t++)
            s->jobs[p * f->count + t] =
                (sg_circuit_job){.pair = s->pairs[p], .set = f->set, .count = f->count, .skip = t};
    SG_TRY(search_run(s, f->count, err));
    for (size_t t = 0; t < f->count; t++) {
        f->without[t] = s->effects[t];
        if (search_enough(s, s->flips[t]) &&
            (*spare == SIZE_MAX || s->effects[t] > s->effects[*spare]))
            *spare = t;
    }
    return SG_OK;
}

static sg_status search_prune(search *s, sg_error *err)
{
    sg_circuit_found *f = s->found;
    size_t spare;
    SG_TRY(search_without(s, &spare, err));
    while (f->flips && spare != SIZE_MAX) {
        memmove(f->set + spare, f->set + spare + 1, (f->count - spare - 1) * sizeof *f->set);
        f->count--;
        SG_TRY(search_without(s, &spare, err));
    }
    f->minimal = f->flips;
    return SG_OK;
}

sg_status sg_circuit_find(sg_circuit *c, sg_circuit_pair *const *pairs, size_t count, double share,
                          const sg_circuit_order *order, sg_circuit_found *found, sg_error *err)
{
    const size_t most = (size_t)c->options->most;
    search s = {.c = c, .pairs = pairs, .count = count, .share = share, .found = found};
    s.room = most > SG_CIRCUIT_BATCH ? most : SG_CIRCUIT_BATCH;
    *found = (sg_circuit_found){.set = sg_alloc_zero(most + 1, sizeof *found->set),
                                .without = sg_alloc_zero(most + 1, sizeof *found->without)};
    s.jobs = sg_alloc_zero(s.room * count, sizeof *s.jobs);
    s.effects = sg_alloc_zero(s.room, sizeof *s.effects);
    s.flips = sg_alloc_zero(s.room, sizeof *s.flips);
    sg_status status = SG_OK;
    if (!found->set || !found->without || !s.jobs || !s.effects || !s.flips)
        status = find_memory(err);
    if (status == SG_OK) status = search_grow(&s, order, most, err);
    if (status == SG_OK) status = search_prune(&s, err);
    sg_free(s.jobs);
    sg_free(s.effects);
    sg_free(s.flips);
    if (status == SG_OK) return status;
    sg_free(found->set);
    sg_free(found->without);
    *found = (sg_circuit_found){0};
    return status;
}
