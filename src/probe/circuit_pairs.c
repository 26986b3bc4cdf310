// Pairs of prompts for circuits: the halves of the facts, the runs as they are, which of the pairs
// the model knows, and the neurons whose gates differ between the two runs of one.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/circuit_inside.h"

static sg_status pairs_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for circuits");
}

// ---- runs with gates exchanged ------------------------------------------------------------------

static double pairs_logsumexp(const float *logits, const sg_fact_prompt *p)
{
    double top = -INFINITY, sum = 0;
    for (size_t i = 0; i < p->answer_count; i++)
        top = fmax(top, (double)logits[p->answers[i]]);
    for (size_t i = 0; i < p->answer_count; i++)
        sum += exp((double)logits[p->answers[i]] - top);
    return top + log(sum);
}

static double pairs_top(const float *logits, const sg_fact_prompt *p)
{
    double top = -INFINITY;
    for (size_t i = 0; i < p->answer_count; i++)
        top = fmax(top, (double)logits[p->answers[i]]);
    return top;
}

// m of sgatlin_patch.h, of a pair's answers.
static double pairs_m(const sg_circuit *c, const sg_circuit_pair *pair, const float *logits)
{
    return pairs_logsumexp(logits, &c->prompts->prompts[pair->clean]) -
           pairs_logsumexp(logits, &c->prompts->prompts[pair->counterfactual]);
}

static sg_status job_change(const sg_circuit *c, const sg_circuit_job *job,
                            const sg_exchange_neuron *neurons, size_t count, sg_changes *changes,
                            sg_error *err)
{
    const sg_capture *from = job->but ? job->pair->from : job->pair->other;
    for (int64_t p = job->pair->first; p <= job->pair->last; p++)
        SG_TRY(sg_changes_neurons(changes, c->x, from, neurons, count, p, err));
    return SG_OK;
}

static sg_status job_prepare(const sg_circuit *c, const sg_circuit_job *job, sg_changes *changes,
                             sg_error *err)
{
    const size_t cut = job->skip < job->count ? job->skip : job->count;
    sg_changes_clear(changes);
    for (int64_t p = job->pair->first; job->but && p <= job->pair->last; p++)
        for (int64_t l = 0; l < c->model->config.num_hidden_layers; l++)
            SG_TRY(sg_changes_gates(changes, c->x, job->pair->other, l, -1, p, err));
    SG_TRY(job_change(c, job, job->set, cut, changes, err));
    if (cut < job->count)
        SG_TRY(job_change(c, job, job->set + cut + 1, job->count - cut - 1, changes, err));
    return job->extra != NULL ? job_change(c, job, job->extra, 1, changes, err) : SG_OK;
}

static void job_read(const sg_circuit *c, sg_circuit_job *job, const float *logits)
{
    const sg_circuit_pair *p = job->pair;
    job->effect = (p->m_clean - pairs_m(c, p, logits)) / (p->m_clean - p->m_cf + 1e-8);
    job->flips = pairs_top(logits, &c->prompts->prompts[p->counterfactual]) >
                 pairs_top(logits, &c->prompts->prompts[p->clean]);
}

sg_status sg_circuit_run(sg_circuit *c, sg_circuit_job *jobs, size_t count, sg_error *err)
{
    sg_replay replays[SG_CIRCUIT_BATCH];
    const sg_circuit_options *o = c->options;
    const int64_t vocab = c->model->config.vocab_size;
    for (size_t first = 0; first < count; first += SG_CIRCUIT_BATCH) {
        const size_t n = count - first < SG_CIRCUIT_BATCH ? count - first : SG_CIRCUIT_BATCH;
        for (size_t i = 0; i < n; i++) {
            SG_TRY(job_prepare(c, &jobs[first + i], &c->changes[i], err));
            replays[i] = (sg_replay){jobs[first + i].pair->from, &c->changes[i],
                                     c->logits + (int64_t)i * vocab};
        }
        SG_TRY(sg_exchange_replay(c->x, replays, (int64_t)n, err));
        for (size_t i = 0; i < n; i++)
            job_read(c, &jobs[first + i], replays[i].logits);
        if (o->progress != NULL && !o->progress(o->user, sg_exchange_runs(c->x), 0))
            return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld runs",
                           (long long)sg_exchange_runs(c->x));
    }
    return SG_OK;
}

// ---- halves -------------------------------------------------------------------------------------

typedef struct half_fact {
    size_t relation, fact;
    uint64_t draw;
} half_fact;

static int half_order(const void *a, const void *b)
{
    const half_fact *x = a, *y = b;
    if (x->relation != y->relation) return x->relation < y->relation ? -1 : 1;
    if (x->draw != y->draw) return x->draw < y->draw ? -1 : 1;
    return (x->fact > y->fact) - (x->fact < y->fact);
}

// half (facts): 0 of the first half of each relation's, in an order that is drawn, 1 of the other.
static sg_status pairs_halves(const sg_circuit *c, uint8_t *half, sg_error *err)
{
    const sg_facts *facts = c->result->facts;
    half_fact *list = sg_alloc_zero(facts->count + 1, sizeof *list);
    if (list == NULL) return pairs_memory(err);
    for (size_t i = 0; i < facts->count; i++)
        list[i] = (half_fact){facts->facts[i].relation, i,
                              sg_rng_u64(c->options->seed, sg_rng_stream("circuit.halves"), i)};
    qsort(list, facts->count, sizeof *list, half_order);
    for (size_t i = 0, end; i < facts->count; i = end) {
        for (end = i; end < facts->count && list[end].relation == list[i].relation; end++)
            continue;
        for (size_t j = i; j < end; j++)
            half[list[j].fact] = j - i >= (end - i + 1) / 2;
    }
    sg_free(list);
    return SG_OK;
}

// ---- pairs that are used ------------------------------------------------------------------------

static sg_status pairs_capture(sg_circuit *c, size_t prompt, const sg_capture **capture,
                               sg_error *err)
{
    const sg_fact_prompt *p = &c->prompts->prompts[prompt];
    if (c->captures[prompt] == NULL)
        SG_TRY(sg_exchange_capture(c->x, p->tokens, 1, p->length, p->subject_first,
                                   &c->captures[prompt], err));
    *capture = c->captures[prompt];
    return SG_OK;
}

static void pairs_place(const sg_circuit *c, sg_circuit_pair *pair)
{
    const sg_fact_prompt *p = &c->prompts->prompts[pair->clean];
    pair->first = p->subject_first;
    pair->last = p->length - 1;
    if (c->options->position == SG_CIRCUIT_SUBJECT) pair->first = pair->last = p->subject_last;
    if (c->options->position == SG_CIRCUIT_LAST) pair->first = pair->last;
}

// *known: the model prefers each prompt's own answer, by logits alone as behind each prompt.
static sg_status pairs_look(sg_circuit *c, sg_circuit_pair *pair, bool *known, sg_error *err)
{
    SG_TRY(pairs_capture(c, pair->clean, &pair->from, err));
    SG_TRY(pairs_capture(c, pair->counterfactual, &pair->other, err));
    pair->m_clean = pairs_m(c, pair, pair->from->logits);
    pair->m_cf = pairs_m(c, pair, pair->other->logits);
    pairs_place(c, pair);
    *known = pair->m_clean > 0 && pair->m_cf < 0;
    return SG_OK;
}

static sg_status pairs_keep(sg_circuit *c, const sg_circuit_pair *pair, sg_error *err)
{
    if (!sg_grow((void **)&c->pairs, &c->room, c->count + 1, sizeof *c->pairs))
        return pairs_memory(err);
    c->pairs[c->count++] = *pair;
    return SG_OK;
}

// Pairs in an order that is drawn, until there are enough of both halves.
static sg_status pairs_choose(sg_circuit *c, const uint8_t *half, sg_error *err)
{
    const sg_fact_pairs *all = c->prompts;
    const sg_circuit_options *o = c->options;
    sg_circuit_counts *counts = &c->result->counts;
    int64_t have[2] = {0};
    for (size_t i = 0; i < all->count && (have[0] < o->pairs || have[1] < o->pairs); i++) {
        const size_t at =
            (size_t)sg_rng_permute(o->seed, sg_rng_stream("circuit.pairs"), i, all->count);
        sg_circuit_pair pair = {.clean = all->pairs[at].clean,
                                .counterfactual = all->pairs[at].counterfactual};
        pair.facts[0] = all->prompts[pair.clean].fact;
        pair.facts[1] = all->prompts[pair.counterfactual].fact;
        pair.relation = c->result->facts->facts[pair.facts[0]].relation;
        pair.half = half[pair.facts[0]];
        bool known;
        if (half[pair.facts[1]] != pair.half || have[pair.half] >= o->pairs) continue;
        SG_TRY(pairs_look(c, &pair, &known, err));
        counts->looked_at++;
        if (!known) continue;
        counts->known++;
        have[pair.half]++;
        SG_TRY(pairs_keep(c, &pair, err));
        if (o->progress != NULL && !o->progress(o->user, sg_exchange_runs(c->x), 0))
            return sg_fail(err, SG_ERR_STOPPED, "stopped while pairs were read");
    }
    counts->found_pairs = have[0];
    counts->tested_pairs = have[1];
    if (have[0] > 0 && have[1] > 0) return SG_OK;
    return sg_fail(
        err, SG_ERR_MISMATCH,
        "%s: found %lld and %lld pairs in the two halves of the facts, of %lld that were "
        "looked at, of which the model knows both answers; expected some in each: a "
        "model that does not know an answer has no circuit of it",
        o->facts, (long long)have[0], (long long)have[1], (long long)counts->looked_at);
}

// A pair of the facts of another, asked by other prompts, where the model knows it.
static sg_status pairs_word(sg_circuit *c, const sg_circuit_pair *of, size_t clean,
                            size_t counterfactual, sg_error *err)
{
    const sg_circuit_options *o = c->options;
    bool known;
    sg_circuit_pair pair = *of;
    pair.half = 2;
    pair.of[0] = of->clean;
    pair.of[1] = of->counterfactual;
    pair.clean = clean;
    pair.counterfactual = counterfactual;
    SG_TRY(pairs_look(c, &pair, &known, err));
    if (!known) return SG_OK;
    c->result->counts.other_wordings++;
    if (o->progress != NULL && !o->progress(o->user, sg_exchange_runs(c->x), 0))
        return sg_fail(err, SG_ERR_STOPPED, "stopped while pairs were read");
    return pairs_keep(c, &pair, err);
}

// For the tested pairs: the same facts in the other prompts of the relation, in one group each.
static sg_status pairs_wordings(sg_circuit *c, sg_error *err)
{
    const sg_fact_pairs *all = c->prompts;
    const size_t count = c->count;
    for (size_t i = 0; i < count; i++) {
        const sg_circuit_pair of = c->pairs[i];
        for (size_t a = 0; of.half == 1 && a < all->prompt_count; a++) {
            const sg_fact_prompt *p = &all->prompts[a];
            if (p->fact != of.facts[0] || p->prompt == all->prompts[of.clean].prompt) continue;
            for (size_t b = all->groups[p->group]; b < all->groups[p->group + 1]; b++)
                if (all->prompts[b].fact == of.facts[1] &&
                    sg_fact_prompts_differ(p, &all->prompts[b]))
                    SG_TRY(pairs_word(c, &of, a, b, err));
        }
    }
    return SG_OK;
}

static int pairs_order(const void *a, const void *b)
{
    const sg_circuit_pair *x = a, *y = b;
    if (x->half != y->half) return x->half - y->half;
    if (x->relation != y->relation) return x->relation < y->relation ? -1 : 1;
    if (x->clean != y->clean) return x->clean < y->clean ? -1 : 1;
    return (x->counterfactual > y->counterfactual) - (x->counterfactual < y->counterfactual);
}

static int64_t pairs_longest(const sg_fact_pairs *all)
{
    int64_t longest = 1;
    for (size_t i = 0; i < all->prompt_count; i++)
        if (all->prompts[i].length > longest) longest = all->prompts[i].length;
    return longest;
}

// How often neurons of the prompts that can be used are selected, from the subject on.
static sg_status pairs_usage(sg_circuit *c, sg_error *err)
{
    enum { most = 2000 };
    const sg_fact_pairs *all = c->prompts;
    sg_session *session;
    sg_status status = SG_OK;
    const float *logits;
    SG_TRY(sg_neuron_usage_new(c->model, &c->usage, err));
    const sg_session_options open = {.capacity = pairs_longest(all),
                                     .points = sg_neuron_usage_points(c->usage)};
    SG_TRY(sg_session_open(c->model, &open, &session, err));
    const size_t step = all->prompt_count / most + 1;
    for (size_t i = 0; status == SG_OK && i < all->prompt_count; i += step) {
        const sg_fact_prompt *p = &all->prompts[i];
        sg_neuron_usage_from(c->usage, p->subject_first);
        status = sg_session_rewind(session, 0, err);
        if (status == SG_OK) status = sg_session_feed(session, p->tokens, p->length, &logits, err);
    }
    sg_session_free(session);
    return status;
}

static sg_status pairs_all_gates(sg_circuit *c, sg_error *err)
{
    for (size_t i = 0; i < c->count; i++) {
        sg_circuit_pair *p = &c->pairs[i];
        sg_circuit_job job = {.pair = p, .skip = SIZE_MAX, .but = true};
        SG_TRY(sg_circuit_run(c, &job, 1, err));
        p->all_effect = job.effect;
        p->all_flips = job.flips;
    }
    return SG_OK;
}

static sg_status pairs_open(sg_circuit *c, sg_error *err)
{
    const sg_circuit_options *o = c->options;
    sg_circuit_result *r = c->result;
    SG_TRY(sg_facts_read(o->facts, &r->facts, err));
    // Half of the pairs have a fact in each half; of the others more are drawn than are used.
    SG_TRY(sg_fact_pairs_new(c->model, o->tokenizer, r->facts, 64 * o->pairs, o->seed, &c->prompts,
                             err));
    r->counts.facts = (int64_t)r->facts->count;
    r->counts.prompts = (int64_t)c->prompts->prompt_count;
    const sg_exchange_options x = {.gates = true,
                                   .neurons = true,
                                   .batch = o->batch > 0 ? o->batch : SG_CIRCUIT_BATCH,
                                   .longest = pairs_longest(c->prompts)};
    SG_TRY(sg_exchange_new(c->model, &x, &c->x, err));
    c->captures = sg_alloc_zero(c->prompts->prompt_count + 1, sizeof *c->captures);
    c->logits =
        sg_alloc_array((size_t)(SG_CIRCUIT_BATCH * c->model->config.vocab_size), sizeof *c->logits);
    return c->captures != NULL && c->logits != NULL ? SG_OK : pairs_memory(err);
}

sg_status sg_circuit_read(sg_circuit *c, sg_error *err)
{
    SG_TRY(pairs_open(c, err));
    const sg_facts *facts = c->result->facts;
    uint8_t *half = sg_alloc_zero(facts->count + 1, sizeof *half);
    sg_status status = half == NULL ? pairs_memory(err) : pairs_halves(c, half, err);
    if (status == SG_OK) status = pairs_choose(c, half, err);
    if (status == SG_OK) status = pairs_wordings(c, err);
    for (size_t i = 0; status == SG_OK && i < facts->count; i++) {
        c->result->counts.found_facts += half[i] == 0;
        c->result->counts.tested_facts += half[i] != 0;
    }
    sg_free(half);
    if (status != SG_OK) return status;
    qsort(c->pairs, c->count, sizeof *c->pairs, pairs_order);
    SG_TRY(pairs_usage(c, err));
    return pairs_all_gates(c, err);
}

// ---- candidates ---------------------------------------------------------------------------------

static int candidates_order(const void *a, const void *b)
{
    const sg_exchange_neuron *x = a, *y = b;
    if (x->layer != y->layer) return x->layer - y->layer;
    if (x->channel != y->channel) return x->channel - y->channel;
    return (x->neuron > y->neuron) - (x->neuron < y->neuron);
}

typedef struct candidates_list {
    sg_exchange_neuron *items;
    size_t count, room;
} candidates_list;

// Neurons of what a run has selected in a layer at a position; of a dense layer all.
static sg_status candidates_add(const sg_circuit *c, candidates_list *list,
                                const sg_capture *capture, int64_t layer, int64_t position,
                                sg_error *err)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(c->x, layer);
    const bool dense = g->post >= 0;
    const int32_t *ids =
        dense ? NULL : (const void *)sg_capture_row(c->x, capture, (size_t)g->ids, position);
    const int64_t block = dense ? 1 : g->block, slots = g->channels * g->selected;
    if (!sg_grow((void **)&list->items, &list->room, list->count + (size_t)(slots * block),
                 sizeof *list->items))
        return pairs_memory(err);
    for (int64_t s = 0; s < slots; s++)
        for (int64_t j = 0; j < block; j++)
            list->items[list->count++] =
                (sg_exchange_neuron){(int32_t)layer, (int32_t)(s / g->selected),
                                     (int32_t)(dense ? s : ids[s] * block + j)};
    return SG_OK;
}

// How much a gate differs, over all positions, times the length of the row that it multiplies.
static double candidates_apart(const sg_circuit *c, const sg_circuit_pair *p,
                               const sg_exchange_neuron *n)
{
    const sg_layer_usage *u = sg_neuron_usage_layer(c->usage, n->layer);
    const int64_t pool = u->table.pools > 1 ? n->channel : 0;
    double apart = 0;
    for (int64_t at = p->first; at <= p->last; at++) {
        float a, b;
        const bool in_a = sg_capture_gate(c->x, p->from, n->layer, n->channel, n->neuron, at, &a);
        const bool in_b = sg_capture_gate(c->x, p->other, n->layer, n->channel, n->neuron, at, &b);
        apart += in_a != in_b || a != b ? fabs((double)a - (double)b) + 1e-30 : 0;
    }
    return apart * ((double)u->norms[pool * u->table.neurons + n->neuron] + 1e-30);
}

typedef struct candidate {
    sg_exchange_neuron neuron;
    double apart;
} candidate;

static int candidates_by_apart(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->apart != y->apart) return x->apart > y->apart ? -1 : 1;
    return candidates_order(&x->neuron, &y->neuron);
}

// Those that differ, the ones that differ most where they are many, in their order.
static sg_status candidates_keep(const sg_circuit *c, sg_circuit_pair *pair, candidates_list *list,
                                 sg_error *err)
{
    candidate *found = sg_alloc_zero(list->count + 1, sizeof *found);
    if (found == NULL) return pairs_memory(err);
    size_t count = 0;
    for (size_t i = 0; i < list->count; i++) {
        if (i > 0 && candidates_order(&list->items[i], &list->items[i - 1]) == 0) continue;
        const double apart = candidates_apart(c, pair, &list->items[i]);
        if (apart > 0) found[count++] = (candidate){list->items[i], apart};
    }
    pair->differ = (int64_t)count;
    if (count > SG_CIRCUIT_CANDIDATES) {
        qsort(found, count, sizeof *found, candidates_by_apart);
        count = SG_CIRCUIT_CANDIDATES;
    }
    pair->candidates = sg_alloc_zero(count + 1, sizeof *pair->candidates);
    pair->alone = sg_alloc_zero(count + 1, sizeof *pair->alone);
    const bool room = pair->candidates != NULL && pair->alone != NULL;
    for (size_t i = 0; room && i < count; i++)
        pair->candidates[i] = found[i].neuron;
    if (room) qsort(pair->candidates, count, sizeof *pair->candidates, candidates_order);
    pair->count = count;
    sg_free(found);
    return room ? SG_OK : pairs_memory(err);
}

sg_status sg_circuit_candidates(sg_circuit *c, sg_circuit_pair *pair, sg_error *err)
{
    candidates_list list = {0};
    sg_status status = SG_OK;
    for (int64_t l = 0; l < c->model->config.num_hidden_layers; l++)
        for (int64_t p = pair->first; status == SG_OK && p <= pair->last; p++) {
            status = candidates_add(c, &list, pair->from, l, p, err);
            if (status == SG_OK) status = candidates_add(c, &list, pair->other, l, p, err);
        }
    if (status == SG_OK && list.count > 0)
        qsort(list.items, list.count, sizeof *list.items, candidates_order);
    if (status == SG_OK) status = candidates_keep(c, pair, &list, err);
    sg_free(list.items);
    sg_circuit_job *jobs = NULL;
    if (status == SG_OK) jobs = sg_alloc_zero(pair->count + 1, sizeof *jobs);
    if (status == SG_OK && jobs == NULL) status = pairs_memory(err);
    for (size_t i = 0; status == SG_OK && i < pair->count; i++)
        jobs[i] = (sg_circuit_job){
            .pair = pair, .set = &pair->candidates[i], .count = 1, .skip = SIZE_MAX};
    if (status == SG_OK) status = sg_circuit_run(c, jobs, pair->count, err);
    for (size_t i = 0; status == SG_OK && i < pair->count; i++)
        pair->alone[i] = jobs[i].effect;
    sg_free(jobs);
    return status;
}
