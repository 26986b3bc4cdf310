// Means over pairs with intervals by bootstrap over facts, and p by flips of sign (statistics.h).
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/exchange_inside.h"
#include "probe/patch_inside.h"

typedef struct summary_loop {
    sg_patch_run *run;
    sg_resamples resamples;
    size_t *first, *second; // (pairs) facts, numbered from 0 among those used
    size_t members;
    double *room; // (threads, stride)
    size_t stride;
} summary_loop;

static sg_status summary_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a summary");
}

// ---- one summary --------------------------------------------------------------------------------

typedef struct summary_room {
    double *values, *other, *weights, *sums, *work;
} summary_room;

static summary_room summary_room_of(const summary_loop *c, int worker)
{
    const size_t pairs = c->run->pairs->count;
    double *at = c->room + (size_t)worker * c->stride;
    return (summary_room){.values = at,
                          .other = at + pairs,
                          .weights = at + 2 * pairs,
                          .sums = at + 3 * pairs,
                          .work = at + 3 * pairs + c->members};
}

// Values of a summary, and in `other` what p compares them with, as differences.
static void summary_values(const summary_loop *c, size_t patch, sg_patch_summary *s,
                           const summary_room *room)
{
    const sg_patch_run *r = c->run;
    bool *seen = (bool *)room->work;
    memset(seen, 0, c->members * sizeof *seen);
    for (size_t i = 0; i < r->pairs->count; i++) {
        double before, of_patch = 0;
        const double value =
            sg_patch_value(r, patch, s->control, s->direction, s->metric, i, &before);
        room->values[i] = value;
        room->other[i] = value - before;
        if (s->control != SG_PATCH_ITSELF) {
            of_patch =
                sg_patch_value(r, patch, SG_PATCH_ITSELF, s->direction, s->metric, i, &before);
            room->other[i] = of_patch - value;
        } else if (s->metric == SG_PATCH_KL) {
            room->other[i] = NAN; // no sign to flip
        }
        if (isnan(value)) continue;
        s->pairs++;
        s->facts += !seen[c->first[i]];
        seen[c->first[i]] = true;
        s->facts += !seen[c->second[i]];
        seen[c->second[i]] = true;
    }
}

static void summary_of_sums(const summary_loop *c, size_t patch, sg_patch_summary *s,
                            const summary_room *room)
{
    const sg_patch_run *r = c->run;
    s->of_sums = s->of_sums_low = s->of_sums_high = NAN;
    if (s->metric != SG_PATCH_EFFECT) return;
    for (size_t i = 0; i < r->pairs->count; i++)
        room->values[i] = sg_patch_gone(r, patch, s->control, s->direction, i, &room->weights[i]);
    const sg_pair_values pairs = {room->values, room->weights, c->first, c->second,
                                  r->pairs->count};
    const sg_interval sums = sg_bootstrap(&c->resamples, &pairs, room->work);
    s->of_sums = sums.mean;
    s->of_sums_low = sums.low;
    s->of_sums_high = sums.high;
}

static void summary_one(void *context, int64_t at, int worker)
{
    const summary_loop *c = context;
    const sg_patch_options *o = c->run->options;
    const summary_room room = summary_room_of(c, worker);
    sg_patch_summary *s = &c->run->result->items[at];
    const size_t patch = (size_t)s->patch, count = c->run->pairs->count;
    summary_values(c, patch, s, &room);
    const sg_pair_values pairs = {room.values, NULL, c->first, c->second, count};
    const sg_interval mean = sg_bootstrap(&c->resamples, &pairs, room.work);
    s->mean = mean.mean;
    s->low = mean.low;
    s->high = mean.high;
    s->p =
        sg_sign_flips(room.other, c->first, count, c->members, o->permutations, o->seed, room.sums);
    summary_of_sums(c, patch, s, &room);
}

// ---- Holm ---------------------------------------------------------------------------------------

// Whether two summaries differ in layers and channels alone.
static bool summary_together(const sg_patch_summary *a, const sg_patch_summary *b)
{
    return a->direction == b->direction && a->metric == b->metric && a->control == b->control &&
           strcmp(a->position, b->position) == 0 && strcmp(a->point, b->point) == 0;
}

static sg_status summary_holm(sg_patch_result *result, sg_error *err)
{
    double *p = sg_alloc_array(2 * result->count, sizeof *p);
    bool *done = sg_alloc_zero(result->count, sizeof *done);
    if (p == NULL || done == NULL) {
        sg_free(p);
        sg_free(done);
        return summary_memory(err);
    }
    double *adjusted = p + result->count;
    for (size_t i = 0; i < result->count; i++) {
        size_t n = 0;
        if (done[i]) continue;
        for (size_t j = i; j < result->count; j++)
            if (summary_together(&result->items[i], &result->items[j])) p[n++] = result->items[j].p;
        sg_holm(p, adjusted, n);
        n = 0;
        for (size_t j = i; j < result->count; j++) {
            if (!summary_together(&result->items[i], &result->items[j])) continue;
            result->items[j].p_holm = adjusted[n++];
            done[j] = true;
        }
    }
    sg_free(p);
    sg_free(done);
    return SG_OK;
}

// ---- the list -----------------------------------------------------------------------------------

static bool summary_any(const sg_patch_run *r, size_t patch, sg_patch_control control)
{
    const sg_patch_measure *measured = sg_patch_measured(r, patch, control);
    for (size_t i = 0; i < r->pairs->count; i++)
        if (!isnan(measured[i].m)) return true;
    return false;
}

static void summary_item(summary_loop *c, size_t patch, sg_patch_control control,
                         sg_patch_direction direction, sg_patch_metric metric)
{
    const sg_patch *of = &c->run->plan.items[patch];
    sg_patch_result *result = c->run->result;
    sg_patch_summary *s = &result->items[result->count++];
    *s = (sg_patch_summary){
        .patch = (int64_t)patch, .direction = direction, .metric = metric, .control = control};
    snprintf(s->layers, sizeof s->layers, "%s", of->layers_name);
    snprintf(s->channels, sizeof s->channels, "%s", of->channels_name);
    snprintf(s->position, sizeof s->position, "%s", of->position_name);
    snprintf(s->point, sizeof s->point, "%s", of->point_name);
}

static sg_status summary_list(summary_loop *c, sg_error *err)
{
    const sg_patch_run *r = c->run;
    const size_t most = r->plan.count * SG_PATCH_CONTROLS * SG_PATCH_METRICS * 2;
    r->result->items = sg_alloc_zero(most, sizeof *r->result->items);
    if (r->result->items == NULL) return summary_memory(err);
    for (size_t patch = 0; patch < r->plan.count; patch++)
        for (int control = 0; control < SG_PATCH_CONTROLS; control++) {
            if (!summary_any(r, patch, (sg_patch_control)control)) continue;
            for (int direction = 1; direction <= 2; direction++)
                for (int metric = 0; metric < SG_PATCH_METRICS; metric++)
                    if (((int)r->options->direction & direction) != 0)
                        summary_item(c, patch, (sg_patch_control)control,
                                     (sg_patch_direction)direction, (sg_patch_metric)metric);
        }
    return SG_OK;
}

static sg_status summary_open(summary_loop *c, sg_error *err)
{
    const sg_patch_run *r = c->run;
    const size_t pairs = r->pairs->count;
    const int threads = r->model->context->threads;
    c->members = (size_t)r->pairs->counts.used;
    c->first = sg_alloc_array(pairs, sizeof *c->first);
    c->second = sg_alloc_array(pairs, sizeof *c->second);
    const size_t work = (size_t)r->options->bootstrap;
    c->stride = 3 * pairs + c->members + (work > c->members ? work : c->members) + 1;
    c->room = sg_alloc_array((size_t)threads * c->stride, sizeof *c->room);
    if (c->first == NULL || c->second == NULL || c->room == NULL) return summary_memory(err);
    for (size_t i = 0; i < pairs; i++) {
        c->first[i] = r->members[r->pairs->pairs[i].clean];
        c->second[i] = r->members[r->pairs->pairs[i].counterfactual];
    }
    return sg_resamples_new(r->options->bootstrap, (int64_t)c->members, r->options->seed,
                            &c->resamples, err);
}

sg_status sg_patch_summarise(sg_patch_run *r, sg_error *err)
{
    summary_loop c = {.run = r};
    sg_status status = summary_list(&c, err);
    if (status == SG_OK) status = summary_open(&c, err);
    if (status == SG_OK)
        sg_parallel_for(r->model->context->compute.pool, (int64_t)r->result->count, summary_one,
                        &c);
    if (status == SG_OK) status = summary_holm(r->result, err);
    sg_resamples_free(&c.resamples);
    sg_free(c.first);
    sg_free(c.second);
    sg_free(c.room);
    return status;
}
