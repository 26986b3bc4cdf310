// What the loss becomes without neurons. The change of a set S over sequences s of n_s tokens,
//
//     change = sum over s of (nats of s without S - nats of s) / sum over s of n_s
//
// Every sequence is read as it is, with the neurons that its tokens select noted; then, for each
// set that has any of them, again from the first such token on, the session having been rewound to
// there. Other sets change nothing in this sequence, exactly. Intervals: percentiles of the same
// ratio over resamples of sequences.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/ablate_inside.h"
#include "probe/statistics.h"
#include "sgatlin_data.h"

sg_ablate_options sg_ablate_options_default(void)
{
    return (sg_ablate_options){
        .split = SG_SPLIT_VAL, .max_tokens = 16384, .control = true, .bootstrap = 2000, .seed = 1};
}

static sg_status ablate_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for an ablation");
}

static sg_status ablate_check(sg_ablate *a, sg_error *err)
{
    const sg_ablate_options *o = a->options;
    if (o->records != NULL && (o->mean || !sg_ablate_needs_usage(o)))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "records: found %s, expected neurons that are chosen by it",
                       o->mean ? "means, which it does not have" : "layers as a whole");
    if (o->data == NULL) return sg_fail(err, SG_ERR_ARGUMENT, "ablate: found no data");
    if (o->split != SG_SPLIT_TRAIN && o->split != SG_SPLIT_VAL)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: found %d, expected 0 or 1", (int)o->split);
    if (o->max_tokens < 0 || o->top < 0 || o->random < 0 || o->bootstrap < 1 ||
        o->bootstrap > 1000000)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "ablate: found max_tokens %lld, top %lld, random %lld, bootstrap %lld, "
                       "expected none below 0, and 1 to 1000000 resamples",
                       (long long)o->max_tokens, (long long)o->top, (long long)o->random,
                       (long long)o->bootstrap);
    SG_TRY(sg_data_fits(o->data, &a->model->config, "data", err));
    const sg_data_info *info = sg_data_get_info(o->data);
    a->length = info->seq_len;
    a->sequences = info->split[o->split].rows;
    if (o->max_tokens > 0) {
        const int64_t most = (o->max_tokens + a->length - 1) / a->length;
        if (most < a->sequences) a->sequences = most;
    }
    if (a->sequences > 0) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH, "data: the %s split is empty",
                   o->split == SG_SPLIT_VAL ? "validation" : "training");
}

// ---- passes -------------------------------------------------------------------------------------

typedef struct ablate_passes {
    sg_ablate *a;
    sg_edits *edits;
    sg_point_request *requests;
    sg_points points;
    sg_session *session;
    int32_t *targets;     // (length), < 0: does not count
    double *nll, *before; // (length)
    bool *likeliest;
    sg_ablate_set **order; // (a->count)
    int64_t done, total;   // sequences, of all passes
} ablate_passes;

static sg_status passes_open(ablate_passes *p, sg_error *err)
{
    sg_ablate *a = p->a;
    const size_t length = (size_t)a->length;
    bool *all = sg_alloc_zero((size_t)a->model->config.num_hidden_layers, sizeof *all);
    if (all == NULL) return ablate_memory(err);
    for (int64_t l = 0; l < a->model->config.num_hidden_layers; l++)
        all[l] = true;
    sg_status status = sg_edits_room(a->model, all, a->options->mean, &p->edits, err);
    sg_free(all);
    if (status == SG_OK) status = sg_neuron_usage_new(a->model, &a->usage, err);
    if (status != SG_OK) return status;
    const sg_points *usage = sg_neuron_usage_points(a->usage), *own = sg_edits_points(p->edits);
    p->requests = sg_alloc_zero(usage->count + own->count, sizeof *p->requests);
    p->targets = sg_alloc_array(length, sizeof *p->targets);
    p->nll = sg_alloc_array(length, sizeof *p->nll);
    p->before = sg_alloc_array(length, sizeof *p->before);
    p->likeliest = sg_alloc_array(length, sizeof *p->likeliest);
    a->tokens = sg_alloc_zero((size_t)a->sequences, sizeof *a->tokens);
    a->loss = sg_alloc_zero((size_t)a->sequences, sizeof *a->loss);
    if (!p->requests || !p->targets || !p->nll || !p->before || !p->likeliest || !a->tokens ||
        !a->loss)
        return ablate_memory(err);
    memcpy(p->requests, usage->items, usage->count * sizeof *p->requests);
    memcpy(p->requests + usage->count, own->items, own->count * sizeof *p->requests);
    p->points = (sg_points){p->requests, usage->count + own->count};
    const sg_session_options session = {.capacity = a->length, .points = &p->points};
    return sg_session_open(a->model, &session, &p->session, err);
}

static void passes_close(ablate_passes *p)
{
    sg_session_free(p->session);
    sg_edits_free(p->edits);
    sg_free(p->requests);
    sg_free(p->targets);
    sg_free(p->nll);
    sg_free(p->before);
    sg_free(p->likeliest);
    sg_free(p->order);
}

static sg_status passes_tell(ablate_passes *p, sg_error *err)
{
    const sg_ablate_options *o = p->a->options;
    if (o->progress == NULL || o->progress(o->user, p->done, p->total)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld of %lld sequences", (long long)p->done,
                   (long long)p->total);
}

// A sequence as it is: nll before, and its sum.
static sg_status passes_plain(ablate_passes *p, const sg_data_batch *b, int64_t sequence,
                              sg_error *err)
{
    sg_ablate *a = p->a;
    for (int64_t i = 0; i < a->length; i++)
        p->targets[i] = b->weights[i] > 0 ? b->targets[i] : -1;
    SG_TRY(sg_edits_set(p->edits, NULL, 0, err));
    SG_TRY(sg_session_rewind(p->session, 0, err));
    SG_TRY(sg_session_score(p->session, b->inputs, p->targets, a->length, p->before, p->likeliest,
                            err));
    a->loss[sequence] = 0;
    for (int64_t i = 0; i < a->length; i++)
        a->loss[sequence] += p->before[i];
    a->tokens[sequence] = b->tokens;
    p->done++;
    return passes_tell(p, err);
}

static void passes_first(const sg_ablate *a, sg_ablate_set *set)
{
    set->first = INT32_MAX;
    for (size_t i = 0; i < set->count && set->first > 0; i++) {
        const sg_edit *e = &set->edits[i];
        const bool always = e->kind == SG_EDIT_FIX && e->value != 0;
        const int32_t first =
            always ? 0 : sg_neuron_usage_first(a->usage, e->layer, e->channel, e->neuron);
        if (first < set->first) set->first = first;
    }
}

static int passes_later(const void *a, const void *b)
{
    const sg_ablate_set *const *x = a, *const *y = b;
    return ((*x)->first < (*y)->first) - ((*x)->first > (*y)->first);
}

// The order of the sets in the sequence at work: those that begin last come first, so that the
// session's keys and values before the beginning of each are still those of the sequence as it is.
static void passes_order(ablate_passes *p)
{
    sg_ablate *a = p->a;
    for (size_t i = 0; i < a->count; i++) {
        passes_first(a, &a->sets[i]);
        p->order[i] = &a->sets[i];
    }
    qsort(p->order, a->count, sizeof(sg_ablate_set *), passes_later);
}

static sg_status passes_set(ablate_passes *p, const sg_data_batch *b, int64_t sequence,
                            sg_ablate_set *set, sg_error *err)
{
    const int64_t from = set->first, length = p->a->length;
    if (from >= length) return SG_OK;
    SG_TRY(sg_edits_set(p->edits, set->edits, set->count, err));
    SG_TRY(sg_session_rewind(p->session, from, err));
    SG_TRY(sg_session_score(p->session, b->inputs + from, p->targets + from, length - from, p->nll,
                            p->likeliest, err));
    for (int64_t i = from; i < length; i++)
        set->changes[sequence] += p->nll[i - from] - p->before[i];
    set->affected++;
    return SG_OK;
}

// All sequences: counted, or ablated.
static sg_status passes_run(ablate_passes *p, bool count, sg_error *err)
{
    sg_ablate *a = p->a;
    sg_batches *batches;
    sg_data_batch b;
    const sg_batches_options o = {.split = a->options->split, .batch_rows = 1, .once = true};
    SG_TRY(sg_batches_new(a->options->data, &o, &batches, err));
    sg_status status = SG_OK;
    sg_neuron_usage_count(a->usage, count);
    for (int64_t s = 0; status == SG_OK && s < a->sequences; s++) {
        if (!count) status = sg_neuron_usage_firsts(a->usage, err);
        if (status == SG_OK) status = sg_batches_next(batches, &b, err);
        if (status == SG_OK) status = passes_plain(p, &b, s, err);
        if (count) continue;
        if (status == SG_OK) passes_order(p);
        for (size_t i = 0; status == SG_OK && i < a->count; i++) {
            status = passes_set(p, &b, s, p->order[i], err);
            p->done++;
            if (status == SG_OK) status = passes_tell(p, err);
        }
    }
    sg_batches_free(batches);
    return status;
}

// ---- what comes of it ---------------------------------------------------------------------------

static int ablate_order(const void *a, const void *b)
{
    const double x = *(const double *)a, *y = b;
    return (x > *y) - (x < *y);
}

// changes minus `other` (NULL: 0), summed over sequences, a token.
static sg_ablate_change ablate_change(const sg_ablate *a, const double *changes,
                                      const double *other, double *work)
{
    const sg_ablate_options *o = a->options;
    const uint32_t stream = sg_rng_stream("ablate.bootstrap");
    const uint64_t n = (uint64_t)a->sequences;
    sg_ablate_change c = {0};
    for (int64_t r = -1; r < o->bootstrap; r++) {
        double sum = 0, tokens = 0;
        for (uint64_t i = 0; i < n; i++) {
            const uint64_t s = r < 0 ? i : sg_rng_below(o->seed, stream, (uint64_t)r * n + i, n);
            sum += changes[s] - (other != NULL ? other[s] : 0);
            tokens += (double)a->tokens[s];
        }
        if (r < 0)
            c.mean = sum / tokens;
        else
            work[r] = sum / tokens;
    }
    qsort(work, (size_t)o->bootstrap, sizeof *work, ablate_order);
    c.low = sg_quantile(work, o->bootstrap, 0.025);
    c.high = sg_quantile(work, o->bootstrap, 0.975);
    return c;
}

static void ablate_usage(const sg_ablate *a, const sg_ablate_set *set, sg_ablate_group *g)
{
    double hits = 0, norms = 0;
    g->usage = g->contribution = NAN;
    if (!a->counted) return;
    for (size_t i = 0; i < set->count; i++) {
        const sg_edit *e = &set->edits[i];
        const sg_layer_usage *u = sg_neuron_usage_layer(a->usage, e->layer);
        const double own = u->hits[e->channel * u->table.neurons + e->neuron];
        hits += own;
        norms += own * sg_contribution_norm(u, e->channel, e->neuron);
    }
    g->usage = hits / ((double)sg_neuron_usage_tokens(a->usage) * (double)set->count);
    g->contribution = hits > 0 ? norms / hits : 0;
}

static void ablate_group(const sg_ablate *a, const sg_ablate_set *set, double loss, double *work,
                         sg_ablate_group *g)
{
    const sg_ablate_change none = {NAN, NAN, NAN};
    *g = (sg_ablate_group){.neurons = (int64_t)set->count,
                           .sequences = set->affected,
                           .change = ablate_change(a, set->changes, NULL, work),
                           .control = none,
                           .difference = none};
    memcpy(g->name, set->name, sizeof g->name);
    g->loss = loss + g->change.mean;
    g->perplexity = exp(g->loss);
    ablate_usage(a, set, g);
    if (set->control < 0 || a->sets[set->control].count == 0) return;
    const sg_ablate_set *control = &a->sets[set->control];
    memcpy(g->control_name, control->name, sizeof g->control_name);
    g->control = ablate_change(a, control->changes, NULL, work);
    g->difference = ablate_change(a, set->changes, control->changes, work);
}

static sg_status ablate_result(const sg_ablate *a, sg_ablate_result *r, sg_error *err)
{
    double loss = 0, *work = sg_alloc_array((size_t)a->options->bootstrap, sizeof *work);
    r->groups = sg_alloc_zero(a->groups, sizeof *r->groups);
    if (work == NULL || r->groups == NULL) {
        sg_free(work);
        sg_free(r->groups);
        r->groups = NULL;
        return ablate_memory(err);
    }
    for (int64_t s = 0; s < a->sequences; s++) {
        loss += a->loss[s];
        r->tokens += a->tokens[s];
    }
    r->loss = loss / (double)r->tokens;
    r->perplexity = exp(r->loss);
    r->sequences = a->sequences;
    r->count = a->groups;
    for (size_t i = 0; i < a->groups; i++)
        ablate_group(a, &a->sets[i], r->loss, work, &r->groups[i]);
    sg_free(work);
    return SG_OK;
}

// How often neurons are selected: by a pass over the data, or as a record says.
static sg_status ablate_count(ablate_passes *p, sg_error *err)
{
    sg_ablate *a = p->a;
    sg_record *record;
    a->counted = sg_ablate_needs_usage(a->options);
    if (!a->counted) return SG_OK;
    if (a->options->records == NULL) return passes_run(p, true, err);
    SG_TRY(sg_record_open(a->options->records, &record, err));
    const sg_status status = sg_neuron_usage_record(a->usage, a->model, record, err);
    sg_record_free(record);
    return status == SG_OK ? status : sg_fail_context(err, status, "%s", a->options->records);
}

static sg_status ablate_all(ablate_passes *p, sg_ablate_result *result, sg_error *err)
{
    sg_ablate *a = p->a;
    SG_TRY(ablate_check(a, err));
    SG_TRY(sg_ablate_choose_layers(a, err));
    SG_TRY(passes_open(p, err));
    p->total = 0; // not known before the sets are
    SG_TRY(ablate_count(p, err));
    SG_TRY(sg_ablate_choose(a, err));
    for (size_t i = 0; i < a->count; i++) {
        a->sets[i].changes = sg_alloc_zero((size_t)a->sequences, sizeof(double));
        if (a->sets[i].changes == NULL) return ablate_memory(err);
    }
    p->order = sg_alloc_zero(a->count, sizeof(sg_ablate_set *));
    if (p->order == NULL) return ablate_memory(err);
    p->total = p->done + a->sequences * (1 + (int64_t)a->count);
    SG_TRY(passes_run(p, false, err));
    return ablate_result(a, result, err);
}

sg_status sg_probe_ablate(sg_model *model, const sg_ablate_options *options,
                          sg_ablate_result *result, sg_error *err)
{
    sg_ablate a = {.model = model, .options = options};
    ablate_passes p = {.a = &a};
    *result = (sg_ablate_result){0};
    const sg_status status = ablate_all(&p, result, err);
    passes_close(&p);
    for (size_t i = 0; i < a.count; i++) {
        sg_free(a.sets[i].edits);
        sg_free(a.sets[i].changes);
    }
    sg_free(a.sets);
    sg_free(a.layers);
    sg_free(a.channels);
    sg_free(a.tokens);
    sg_free(a.loss);
    sg_neuron_usage_free(a.usage);
    return status;
}
