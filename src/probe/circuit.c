// Circuits of answers: for each relation a set of neurons that is found on pairs of one half of the
// facts and tested on pairs of the other, and for each pair of the other half the smallest set of
// its own, tested on the same facts asked by other prompts. What a set is, and what is measured of
// it: sgatlin_edit.h, docs/PROBE.md.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/circuit_inside.h"

sg_circuit_options sg_circuit_options_default(void)
{
    return (sg_circuit_options){
        .most = 32, .pairs = 32, .share = 0.5, .random = 1000, .bootstrap = 10000, .seed = 1};
}

static sg_status circuit_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for circuits");
}

static sg_status circuit_range(const char *name, int64_t found, int64_t low, int64_t high,
                               sg_error *err)
{
    if (found >= low && found <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected %lld to %lld", name,
                   (long long)found, (long long)low, (long long)high);
}

static sg_status circuit_check(const sg_circuit_options *o, sg_error *err)
{
    if (o->facts == NULL || o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "circuit: found no %s",
                       o->facts == NULL ? "facts" : "tokenizer");
    SG_TRY(circuit_range("most", o->most, 1, 4096, err));
    SG_TRY(circuit_range("pairs", o->pairs, 1, 100000, err));
    SG_TRY(circuit_range("random", o->random, 0, 1000000, err));
    SG_TRY(circuit_range("bootstrap", o->bootstrap, 1, 1000000, err));
    SG_TRY(circuit_range("batch", o->batch, 0, SG_BATCH_MAX, err));
    SG_TRY(circuit_range("position", o->position, SG_CIRCUIT_ALL, SG_CIRCUIT_LAST, err));
    if (o->share > 0 && o->share <= 1) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "share: found %s, expected more than 0 and at most 1",
                   SG_NUMBER(o->share));
}

// ---- sets into the result -----------------------------------------------------------------------

static double circuit_alone(const sg_circuit_order *order, const sg_exchange_neuron *n)
{
    for (size_t i = 0; i < order->count; i++)
        if (order->neurons[i].layer == n->layer && order->neurons[i].channel == n->channel &&
            order->neurons[i].neuron == n->neuron)
            return order->alone[i];
    return NAN;
}

static sg_status circuit_add(sg_circuit *c, const sg_circuit_pair *pair, bool shared,
                             const sg_circuit_found *found, const sg_circuit_order *order,
                             sg_circuit_set **out, sg_error *err)
{
    sg_circuit_result *r = c->result;
    const sg_facts *facts = r->facts;
    if (!sg_grow((void **)&r->sets, &r->room, r->count + 1, sizeof *r->sets))
        return circuit_memory(err);
    sg_circuit_neuron *neurons = sg_arena_alloc(&r->arena, (found->count + 1) * sizeof *neurons);
    if (neurons == NULL) return circuit_memory(err);
    for (size_t i = 0; i < found->count; i++) {
        const sg_exchange_neuron *n = &found->set[i];
        neurons[i] = (sg_circuit_neuron){.layer = n->layer,
                                         .channel = n->channel,
                                         .neuron = n->neuron,
                                         .alone = circuit_alone(order, n),
                                         .without = found->without[i]};
    }
    *out = &r->sets[r->count++];
    **out = (sg_circuit_set){
        .relation = facts->relations[pair->relation].name,
        .clean = shared ? NULL : facts->facts[pair->facts[0]].subject,
        .counterfactual = shared ? NULL : facts->facts[pair->facts[1]].subject,
        .neurons = neurons,
        .count = found->count,
        .flips = found->flips,
        .candidates = shared ? (int64_t)order->count : pair->differ,
    };
    return SG_OK;
}

static void circuit_found_free(sg_circuit_found *f)
{
    sg_free(f->set);
    sg_free(f->without);
    *f = (sg_circuit_found){0};
}

static sg_status circuit_measure_shared(sg_circuit *c, sg_circuit_pair *const *pairs, size_t count,
                                        const sg_circuit_found *found,
                                        const sg_circuit_order *order, uint64_t key,
                                        sg_circuit_measure *measure, sg_error *err)
{
    sg_circuit_entry *entries = sg_alloc_zero(count + 1, sizeof *entries);
    if (entries == NULL) return circuit_memory(err);
    for (size_t i = 0; i < count; i++)
        entries[i] = (sg_circuit_entry){pairs[i], found->set, found->count, order, key};
    const sg_status status = sg_circuit_measure_sets(c, entries, count, measure, err);
    sg_free(entries);
    return status;
}

// ---- one set for a relation ---------------------------------------------------------------------

// Pairs of a relation in one half: a run of the list.
typedef struct circuit_half {
    sg_circuit_pair **pairs; // (count) sg_free
    size_t count;
} circuit_half;

static sg_status circuit_pick(sg_circuit *c, int half, size_t relation, circuit_half *run,
                              sg_error *err)
{
    *run = (circuit_half){.pairs = sg_alloc_zero(c->count + 1, sizeof *run->pairs)};
    if (run->pairs == NULL) return circuit_memory(err);
    for (size_t i = 0; i < c->count; i++)
        if (c->pairs[i].half == half && c->pairs[i].relation == relation)
            run->pairs[run->count++] = &c->pairs[i];
    return SG_OK;
}

static sg_status circuit_shared(sg_circuit *c, size_t relation, const circuit_half *found_on,
                                const circuit_half *tested_on, sg_error *err)
{
    sg_circuit_order order;
    sg_circuit_found found = {0};
    sg_circuit_set *set;
    SG_TRY(sg_circuit_order_new(found_on->pairs, found_on->count, &order, err));
    sg_status status = sg_circuit_find(c, found_on->pairs, found_on->count, c->options->share,
                                       &order, &found, err);
    if (status == SG_OK)
        status = circuit_add(c, found_on->pairs[0], true, &found, &order, &set, err);
    if (status == SG_OK)
        status = circuit_measure_shared(c, found_on->pairs, found_on->count, &found, &order,
                                        relation, &set->found, err);
    if (status == SG_OK) set->found.minimal = found.minimal;
    if (status == SG_OK)
        status = circuit_measure_shared(c, tested_on->pairs, tested_on->count, &found, &order,
                                        relation, &set->tested, err);
    circuit_found_free(&found);
    sg_circuit_order_free(&order);
    return status;
}

static sg_status circuit_relations(sg_circuit *c, sg_error *err)
{
    sg_status status = SG_OK;
    for (size_t r = 0; status == SG_OK && r < c->result->facts->relation_count; r++) {
        circuit_half halves[2] = {0};
        for (int h = 0; status == SG_OK && h < 2; h++)
            status = circuit_pick(c, h, r, &halves[h], err);
        if (status == SG_OK && halves[0].count > 0)
            status = circuit_shared(c, r, &halves[0], &halves[1], err);
        sg_free(halves[0].pairs);
        sg_free(halves[1].pairs);
    }
    return status;
}

// ---- a set for each pair ------------------------------------------------------------------------

// What is kept of each pair until all are measured together.
typedef struct circuit_own {
    sg_circuit_order order;
    sg_circuit_found found;
    size_t set; // of the result
} circuit_own;

static sg_status circuit_pair_set(sg_circuit *c, sg_circuit_pair *pair, circuit_own *own,
                                  sg_error *err)
{
    sg_circuit_set *set;
    SG_TRY(sg_circuit_order_new(&pair, 1, &own->order, err));
    SG_TRY(sg_circuit_find(c, &pair, 1, 1, &own->order, &own->found, err));
    SG_TRY(circuit_add(c, pair, false, &own->found, &own->order, &set, err));
    own->set = c->result->count - 1;
    return SG_OK;
}

// Entries of pairs with their own sets: of the pairs themselves, or of the same facts asked by
// other prompts. only: of this one alone; SIZE_MAX: of all. Returns how many.
static size_t circuit_entries(const sg_circuit *c, const circuit_own *own,
                              sg_circuit_pair *const *pairs, size_t count, bool wordings,
                              size_t only, sg_circuit_entry *entries)
{
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (only != SIZE_MAX && i != only) continue;
        sg_circuit_entry e = {pairs[i], own[i].found.set, own[i].found.count, &own[i].order, 1 + i};
        if (!wordings) entries[used++] = e;
        for (size_t k = 0; wordings && k < c->count; k++) {
            e.pair = &c->pairs[k];
            if (e.pair->half == 2 && e.pair->of[0] == pairs[i]->clean &&
                e.pair->of[1] == pairs[i]->counterfactual)
                entries[used++] = e;
        }
    }
    return used;
}

// All of them together, and each alone.
static sg_status circuit_measure_pairs(sg_circuit *c, circuit_own *own, sg_circuit_entry *entries,
                                       sg_circuit_pair *const *pairs, size_t count, sg_error *err)
{
    sg_circuit_result *r = c->result;
    size_t flipped = 0, minimal = 0;
    for (size_t i = 0; i < count; i++) {
        flipped += own[i].found.flips;
        minimal += own[i].found.minimal;
    }
    size_t n = circuit_entries(c, own, pairs, count, false, SIZE_MAX, entries);
    SG_TRY(sg_circuit_measure_sets(c, entries, n, &r->pairs, err));
    r->pairs.minimal = flipped > 0 ? (double)minimal / (double)flipped : NAN;
    n = circuit_entries(c, own, pairs, count, true, SIZE_MAX, entries);
    SG_TRY(sg_circuit_measure_sets(c, entries, n, &r->wordings, err));
    // One pair has no interval and its random sets are those of all: measured without.
    sg_circuit_options none = *c->options;
    const sg_circuit_options *given = c->options;
    none.random = 0;
    none.bootstrap = 1;
    c->options = &none;
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < count; i++) {
        sg_circuit_set *set = &r->sets[own[i].set];
        n = circuit_entries(c, own, pairs, count, false, i, entries);
        status = sg_circuit_measure_sets(c, entries, n, &set->found, err);
        set->found.minimal = own[i].found.minimal;
        n = circuit_entries(c, own, pairs, count, true, i, entries);
        if (status == SG_OK) status = sg_circuit_measure_sets(c, entries, n, &set->tested, err);
    }
    c->options = given;
    return status;
}

static sg_status circuit_pairs(sg_circuit *c, sg_error *err)
{
    circuit_own *own = sg_alloc_zero(c->count + 1, sizeof *own);
    sg_circuit_entry *entries = sg_alloc_zero(c->count + 1, sizeof *entries);
    sg_circuit_pair **pairs = sg_alloc_zero(c->count + 1, sizeof *pairs);
    sg_status status = own && entries && pairs ? SG_OK : circuit_memory(err);
    size_t count = 0;
    for (size_t i = 0; status == SG_OK && i < c->count; i++) {
        if (c->pairs[i].half != 1) continue;
        pairs[count] = &c->pairs[i];
        status = circuit_pair_set(c, pairs[count], &own[count], err);
        count++;
    }
    if (status == SG_OK) status = circuit_measure_pairs(c, own, entries, pairs, count, err);
    for (size_t i = 0; own != NULL && i < count; i++) {
        circuit_found_free(&own[i].found);
        sg_circuit_order_free(&own[i].order);
    }
    sg_free(own);
    sg_free(entries);
    sg_free(pairs);
    return status;
}

// ---- the whole ----------------------------------------------------------------------------------

static void circuit_close(sg_circuit *c)
{
    for (size_t i = 0; i < c->count; i++) {
        sg_free(c->pairs[i].candidates);
        sg_free(c->pairs[i].alone);
    }
    for (size_t i = 0; c->captures != NULL && i < c->prompts->prompt_count; i++)
        sg_capture_free(c->captures[i]);
    for (size_t i = 0; i < SG_CIRCUIT_BATCH; i++)
        sg_changes_free(&c->changes[i]);
    sg_free(c->pairs);
    sg_free(c->captures);
    sg_free(c->logits);
    sg_neuron_usage_free(c->usage);
    sg_exchange_free(c->x);
    sg_fact_pairs_free(c->prompts);
}

static sg_status circuit_all(sg_circuit *c, sg_error *err)
{
    SG_TRY(circuit_check(c->options, err));
    SG_TRY(sg_circuit_check_outputs(c->options, err));
    SG_TRY(sg_circuit_read(c, err));
    for (size_t i = 0; i < c->count; i++)
        if (c->pairs[i].half < 2) SG_TRY(sg_circuit_candidates(c, &c->pairs[i], err));
    SG_TRY(circuit_relations(c, err));
    SG_TRY(circuit_pairs(c, err));
    c->result->counts.runs = sg_exchange_runs(c->x);
    return sg_circuit_write(c, err);
}

sg_status sg_probe_circuit(sg_model *model, const sg_circuit_options *options,
                           sg_circuit_result **out, sg_error *err)
{
    sg_circuit c = {.model = model, .options = options};
    *out = NULL;
    c.result = sg_alloc_zero(1, sizeof *c.result);
    if (c.result == NULL) return circuit_memory(err);
    const sg_status status = circuit_all(&c, err);
    circuit_close(&c);
    if (status == SG_OK)
        *out = c.result;
    else
        sg_circuit_result_free(c.result);
    return status;
}

void sg_circuit_result_free(sg_circuit_result *r)
{
    if (r == NULL) return;
    sg_facts_free(r->facts);
    sg_arena_free(&r->arena);
    sg_free(r->sets);
    sg_free(r);
}

const sg_circuit_counts *sg_circuit_result_counts(const sg_circuit_result *r)
{
    return &r->counts;
}

const sg_circuit_set *sg_circuit_result_sets(const sg_circuit_result *r, size_t *count)
{
    *count = r->count;
    return r->sets;
}

const sg_circuit_measure *sg_circuit_result_pairs(const sg_circuit_result *r)
{
    return &r->pairs;
}

const sg_circuit_measure *sg_circuit_result_wordings(const sg_circuit_result *r)
{
    return &r->wordings;
}
