// What sets of neurons do to pairs: alone (sufficiency), all but them (necessity), and as many
// random neurons in their place. A random set has for each neuron of the set one of the 24
// candidates of the same layer that are likest to it in usage and contribution norm (counted over
// the prompts, from the subject on), none twice; replicate r draws by (seed, key of the entry, r).
// The statistic of a replicate is its mean over the same pairs, so that p is one of the whole.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/circuit_inside.h"

typedef struct measure {
    sg_circuit *c;
    const sg_circuit_entry *entries; // (count)
    size_t count;
    sg_circuit_job *jobs;   // (count), or (SG_CIRCUIT_BATCH) if that is more
    size_t *first, *second; // (count) members of each pair
    double *values;         // (7, count)
    sg_resamples resamples;
    double *work;                         // (resamples)
    double *random_effect, *random_flips; // (random) sums over entries
} measure;

enum {
    MEASURE_FLIPS,
    MEASURE_EFFECT,
    MEASURE_ALL_FLIPS,
    MEASURE_ALL_EFFECT,
    MEASURE_LOST,
    MEASURE_STILL,
    MEASURE_VALUES
};

static sg_status measure_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for what a circuit does");
}

// ---- random sets --------------------------------------------------------------------------------

// The likest candidates of each neuron of a set: near (count, SG_CIRCUIT_NEAR) into the order.
typedef struct likest {
    int32_t *near;
    int64_t *counts; // (count)
} likest;

static sg_matched_neuron likest_of(const sg_circuit *c, const sg_exchange_neuron *n)
{
    const sg_layer_usage *u = sg_neuron_usage_layer(c->usage, n->layer);
    return (sg_matched_neuron){.usage = u->hits[n->channel * u->table.neurons + n->neuron],
                               .norm = sg_contribution_norm(u, n->channel, n->neuron)};
}

static bool likest_in(const sg_circuit_entry *e, const sg_exchange_neuron *n)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->set[i].layer == n->layer && e->set[i].channel == n->channel &&
            e->set[i].neuron == n->neuron)
            return true;
    return false;
}

static sg_status likest_new(const sg_circuit *c, const sg_circuit_entry *e, likest *l,
                            sg_error *err)
{
    const sg_circuit_order *all = e->like;
    sg_matched_neuron *layer = sg_alloc_zero(all->count + 1, sizeof *layer);
    double *work = sg_alloc_zero(all->count + 1, sizeof *work);
    int32_t *from = sg_alloc_zero(all->count + 1, sizeof *from);
    *l = (likest){.near = sg_alloc_zero((e->count + 1) * SG_CIRCUIT_NEAR, sizeof *l->near),
                  .counts = sg_alloc_zero(e->count + 1, sizeof *l->counts)};
    const bool room = layer && work && from && l->near && l->counts;
    for (size_t i = 0; room && i < e->count; i++) {
        int64_t n = 0;
        int32_t *near = l->near + i * SG_CIRCUIT_NEAR;
        for (size_t k = 0; k < all->count; k++) {
            if (all->neurons[k].layer != e->set[i].layer) continue;
            from[n] = (int32_t)k;
            layer[n] = likest_of(c, &all->neurons[k]);
            layer[n++].taken = likest_in(e, &all->neurons[k]);
        }
        l->counts[i] =
            sg_matched_nearest(layer, n, likest_of(c, &e->set[i]), SG_CIRCUIT_NEAR, near, work);
        for (int64_t k = 0; k < l->counts[i]; k++)
            near[k] = from[near[k]];
    }
    sg_free(layer);
    sg_free(work);
    sg_free(from);
    return room ? SG_OK : measure_memory(err);
}

static void likest_free(likest *l)
{
    sg_free(l->near);
    sg_free(l->counts);
}

// One random set; returns its size, which is less where a layer has too few others.
static size_t likest_draw(const measure *m, const sg_circuit_entry *e, const likest *l,
                          int64_t replicate, sg_exchange_neuron *set)
{
    sg_rng rng = {.seed = m->c->options->seed,
                  .stream = sg_rng_stream("circuit.random"),
                  .next = (e->key << 44) + ((uint64_t)replicate << 20)};
    size_t count = 0;
    for (size_t i = 0; i < e->count; i++) {
        const int32_t *near = l->near + i * SG_CIRCUIT_NEAR;
        const int64_t n = l->counts[i],
                      start = n > 0 ? (int64_t)sg_rng_next_below(&rng, (uint64_t)n) : 0;
        for (int64_t k = 0; k < n; k++) { // the drawn one, or the next that is not in the set yet
            const sg_exchange_neuron *one = &e->like->neurons[near[(start + k) % n]];
            const sg_circuit_entry drawn = {.set = set, .count = count};
            if (likest_in(&drawn, one)) continue;
            set[count++] = *one;
            break;
        }
    }
    return count;
}

static sg_status random_entry(measure *m, const sg_circuit_entry *e, sg_exchange_neuron *sets,
                              sg_error *err)
{
    const int64_t random = m->c->options->random;
    likest l;
    sg_status status = likest_new(m->c, e, &l, err);
    for (int64_t first = 0; status == SG_OK && first < random; first += SG_CIRCUIT_BATCH) {
        const int64_t n = random - first < SG_CIRCUIT_BATCH ? random - first : SG_CIRCUIT_BATCH;
        for (int64_t r = 0; r < n; r++) {
            sg_exchange_neuron *set = sets + (size_t)r * (e->count + 1);
            const size_t size = likest_draw(m, e, &l, first + r, set);
            m->jobs[r] =
                (sg_circuit_job){.pair = e->pair, .set = set, .count = size, .skip = SIZE_MAX};
        }
        status = sg_circuit_run(m->c, m->jobs, (size_t)n, err);
        for (int64_t r = 0; status == SG_OK && r < n; r++) {
            m->random_effect[first + r] += m->jobs[r].effect;
            m->random_flips[first + r] += m->jobs[r].flips;
        }
    }
    likest_free(&l);
    return status;
}

static sg_status random_all(measure *m, sg_error *err)
{
    sg_status status = SG_OK;
    for (size_t i = 0; status == SG_OK && i < m->count; i++) {
        sg_exchange_neuron *sets =
            sg_alloc_zero(SG_CIRCUIT_BATCH * (m->entries[i].count + 1), sizeof *sets);
        status = sets == NULL ? measure_memory(err) : random_entry(m, &m->entries[i], sets, err);
        sg_free(sets);
    }
    return status;
}

// The mean of the replicates, and the share that does as much as `seen`.
static double random_p(const measure *m, const double *sums, double seen, double *mean)
{
    const int64_t random = m->c->options->random;
    int64_t as_much = 0;
    *mean = NAN;
    if (random == 0) return NAN;
    double sum = 0;
    for (int64_t r = 0; r < random; r++) {
        const double value = sums[r] / (double)m->count;
        sum += value;
        as_much += value >= seen - 1e-12;
    }
    *mean = sum / (double)random;
    return (double)(1 + as_much) / (double)(1 + random);
}

// ---- the sets themselves ------------------------------------------------------------------------

static double *measure_values(const measure *m, int which)
{
    return m->values + (size_t)which * m->count;
}

static sg_status measure_run(measure *m, bool but, sg_error *err)
{
    for (size_t i = 0; i < m->count; i++)
        m->jobs[i] = (sg_circuit_job){.pair = m->entries[i].pair,
                                      .set = m->entries[i].set,
                                      .count = m->entries[i].count,
                                      .skip = SIZE_MAX,
                                      .but = but};
    SG_TRY(sg_circuit_run(m->c, m->jobs, m->count, err));
    for (size_t i = 0; i < m->count; i++) {
        const sg_circuit_pair *p = m->entries[i].pair;
        if (but) {
            measure_values(m, MEASURE_LOST)[i] = p->all_effect - m->jobs[i].effect;
            measure_values(m, MEASURE_STILL)[i] = m->jobs[i].flips;
        } else {
            measure_values(m, MEASURE_EFFECT)[i] = m->jobs[i].effect;
            measure_values(m, MEASURE_FLIPS)[i] = m->jobs[i].flips;
            measure_values(m, MEASURE_ALL_EFFECT)[i] = p->all_effect;
            measure_values(m, MEASURE_ALL_FLIPS)[i] = p->all_flips;
        }
    }
    return SG_OK;
}

static sg_circuit_interval measure_interval(const measure *m, int which)
{
    const sg_pair_values values = {.values = measure_values(m, which),
                                   .first = m->first,
                                   .second = m->second,
                                   .count = m->count};
    const sg_interval i = sg_bootstrap(&m->resamples, &values, m->work);
    return (sg_circuit_interval){i.mean, i.low, i.high};
}

// Facts of the entries as numbers from 0; *members: how many.
static sg_status measure_members(measure *m, int64_t *members, sg_error *err)
{
    const size_t facts = m->c->result->facts->count;
    size_t *number = sg_alloc_zero(facts + 1, sizeof *number); // 0: not yet
    if (number == NULL) return measure_memory(err);
    *members = 0;
    for (size_t i = 0; i < m->count; i++) {
        const size_t *of = m->entries[i].pair->facts;
        for (int k = 0; k < 2; k++)
            if (number[of[k]] == 0) number[of[k]] = (size_t)++ * members;
        m->first[i] = number[of[0]] - 1;
        m->second[i] = number[of[1]] - 1;
    }
    sg_free(number);
    return SG_OK;
}

static sg_status measure_open(measure *m, int64_t *members, sg_error *err)
{
    const sg_circuit_options *o = m->c->options;
    const size_t jobs = m->count > SG_CIRCUIT_BATCH ? m->count : SG_CIRCUIT_BATCH;
    m->jobs = sg_alloc_zero(jobs, sizeof *m->jobs);
    m->first = sg_alloc_zero(m->count + 1, sizeof *m->first);
    m->second = sg_alloc_zero(m->count + 1, sizeof *m->second);
    m->values = sg_alloc_zero((m->count + 1) * MEASURE_VALUES, sizeof *m->values);
    m->work = sg_alloc_zero((size_t)o->bootstrap + 1, sizeof *m->work);
    m->random_effect = sg_alloc_zero((size_t)o->random + 1, sizeof *m->random_effect);
    m->random_flips = sg_alloc_zero((size_t)o->random + 1, sizeof *m->random_flips);
    if (!m->jobs || !m->first || !m->second || !m->values || !m->work || !m->random_effect ||
        !m->random_flips)
        return measure_memory(err);
    SG_TRY(measure_members(m, members, err));
    return sg_resamples_new(o->bootstrap, *members, o->seed, &m->resamples, err);
}

static void measure_close(measure *m)
{
    sg_free(m->jobs);
    sg_free(m->first);
    sg_free(m->second);
    sg_free(m->values);
    sg_free(m->work);
    sg_free(m->random_effect);
    sg_free(m->random_flips);
    sg_resamples_free(&m->resamples);
}

static sg_status measure_all(measure *m, sg_circuit_measure *out, sg_error *err)
{
    int64_t members = 0;
    SG_TRY(measure_open(m, &members, err));
    SG_TRY(measure_run(m, false, err));
    SG_TRY(measure_run(m, true, err));
    SG_TRY(random_all(m, err));
    *out = (sg_circuit_measure){.pairs = (int64_t)m->count,
                                .facts = members,
                                .flips = measure_interval(m, MEASURE_FLIPS),
                                .effect = measure_interval(m, MEASURE_EFFECT),
                                .all_flips = measure_interval(m, MEASURE_ALL_FLIPS),
                                .all_effect = measure_interval(m, MEASURE_ALL_EFFECT),
                                .lost = measure_interval(m, MEASURE_LOST),
                                .still_flips = measure_interval(m, MEASURE_STILL),
                                .minimal = NAN};
    out->p_effect = random_p(m, m->random_effect, out->effect.mean, &out->random_effect);
    out->p_flips = random_p(m, m->random_flips, out->flips.mean, &out->random_flips);
    return SG_OK;
}

sg_status sg_circuit_measure_sets(sg_circuit *c, const sg_circuit_entry *entries, size_t count,
                                  sg_circuit_measure *out, sg_error *err)
{
    measure m = {.c = c, .entries = entries, .count = count};
    *out = (sg_circuit_measure){0};
    if (count == 0) return SG_OK;
    const sg_status status = measure_all(&m, out, err);
    measure_close(&m);
    return status;
}
