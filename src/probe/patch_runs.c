// The runs of sg_probe_patch: every prompt once as it is, then every patch of every pair, with
// controls, a few hundred runs at a time.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "probe/patch_inside.h"

enum { runs_logits = 64 << 20, runs_most = 512 };
#define RUNS_CAPTURES (INT64_C(4) << 30) // bytes

// One run that is due.
typedef struct runs_job {
    size_t patch, pair;
    sg_patch_control control;
} runs_job;

typedef struct runs {
    sg_patch_run *run;
    sg_model *model;
    bool untrained;
    sg_exchange *x;
    sg_capture **captures; // (prompts), NULL: in no pair
    const char **names;    // (name_count) of points beside gates
    size_t name_count;
    sg_patch_matcher matcher;
    // Up to `room` runs of a turn.
    size_t room, count;
    runs_job *jobs;
    sg_changes *changes;
    sg_replay *replays;
    float *logits; // (room, V)
} runs;

static sg_status runs_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for runs");
}

static sg_status runs_go_on(runs *c, sg_error *err)
{
    const sg_patch_options *o = c->run->options;
    const int64_t done = c->run->result->runs + sg_exchange_runs(c->x);
    if (o->progress == NULL || o->progress(o->user, done, c->run->total)) return SG_OK;
    return sg_fail(err, SG_ERR_STOPPED, "stopped after %lld runs", (long long)done);
}

// ---- captures -----------------------------------------------------------------------------------

static bool runs_uses(const sg_fact_pairs *pairs, size_t prompt, const bool *used)
{
    return used[prompt] && prompt < pairs->prompt_count;
}

// The first token that anything is put in at, in the prompts of a group: patches, and the control
// at another token.
static int64_t runs_start(const runs *c, const sg_fact_prompt *p)
{
    int64_t start = p->subject_first;
    for (size_t i = 0; i < c->run->plan.count; i++) {
        const sg_patch *patch = &c->run->plan.items[i];
        if (patch->where == SG_PATCH_AT_NUMBER && patch->number < start) start = patch->number;
    }
    return start;
}

// Prompts from `first` on that are of one group, are used and follow each other.
static sg_status runs_capture_some(runs *c, size_t first, size_t count, sg_error *err)
{
    const sg_fact_prompt *p = &c->run->pairs->prompts[first];
    const int64_t length = p->length;
    int32_t *tokens = sg_alloc_array(count * (size_t)length, sizeof *tokens);
    if (tokens == NULL) return runs_memory(err);
    for (size_t i = 0; i < count; i++)
        memcpy(tokens + i * (size_t)length, p[i].tokens, (size_t)length * sizeof *tokens);
    sg_status status = sg_exchange_capture(c->x, tokens, (int64_t)count, length, runs_start(c, p),
                                           c->captures + first, err);
    sg_free(tokens);
    return status == SG_OK ? runs_go_on(c, err) : status;
}

static sg_status runs_check_memory(const runs *c, const bool *used, sg_error *err)
{
    const sg_fact_pairs *pairs = c->run->pairs;
    double bytes = 0;
    for (size_t i = 0; i < pairs->prompt_count; i++)
        if (used[i])
            bytes += (double)sg_capture_bytes(c->x, pairs->prompts[i].length,
                                              runs_start(c, &pairs->prompts[i]));
    if (bytes <= (double)RUNS_CAPTURES) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY,
                   "pairs: found prompts whose runs take %.3g GB, expected at most %.3g GB: use "
                   "fewer pairs",
                   bytes / 1e9, (double)RUNS_CAPTURES / 1e9);
}

static sg_status runs_capture(runs *c, sg_error *err)
{
    const sg_fact_pairs *pairs = c->run->pairs;
    bool *used = sg_alloc_zero(pairs->prompt_count, sizeof *used);
    c->captures = sg_alloc_zero(pairs->prompt_count, sizeof *c->captures);
    if (used == NULL || c->captures == NULL) {
        sg_free(used);
        return runs_memory(err);
    }
    for (size_t i = 0; i < pairs->count; i++)
        used[pairs->pairs[i].clean] = true;
    sg_status status = runs_check_memory(c, used, err);
    for (size_t i = 0, end; status == SG_OK && i < pairs->prompt_count; i = end) {
        for (end = i + 1; runs_uses(pairs, i, used) && end < pairs->prompt_count && end - i < 64 &&
                          used[end] && pairs->prompts[end].group == pairs->prompts[i].group;
             end++) {
        }
        if (used[i]) status = runs_capture_some(c, i, end - i, err);
    }
    sg_free(used);
    return status;
}

// What the runs without a patch answer.
static sg_status runs_base(runs *c, sg_error *err)
{
    sg_patch_run *r = c->run;
    const int64_t vocab = c->model->config.vocab_size;
    sg_patch_measure *base = sg_alloc_zero(r->pairs->count, sizeof *base);
    r->base[c->untrained] = base;
    if (base == NULL) return runs_memory(err);
    for (size_t i = 0; i < r->pairs->count; i++) {
        const sg_fact_pair *pair = &r->pairs->pairs[i];
        const float *logits = c->captures[pair->clean]->logits;
        base[i] = sg_patch_measure_of(logits, logits, vocab, &r->pairs->prompts[pair->clean],
                                      &r->pairs->prompts[pair->counterfactual]);
    }
    return SG_OK;
}

// Leaves the pairs whose both answers the model prefers, in both orders.
static sg_status runs_known(runs *c, sg_error *err)
{
    sg_patch_run *r = c->run;
    sg_patch_measure *base = r->base[0];
    size_t kept = 0;
    if (!r->options->known_only || c->untrained) return SG_OK;
    for (size_t i = 0; i < r->pairs->count; i += 2) {
        if (base[i].m <= 0 || base[i + 1].m <= 0) continue;
        for (size_t n = 0; n < 2; n++) {
            base[kept] = base[i + n];
            r->pairs->pairs[kept++] = r->pairs->pairs[i + n];
        }
    }
    r->pairs->counts.unsure = (int64_t)(r->pairs->count - kept);
    r->pairs->count = kept;
    r->pairs->counts.pairs = (int64_t)kept;
    if (kept > 0) return SG_OK;
    return sg_fail(err, SG_ERR_MISMATCH,
                   "facts: found no pair whose two answers the model prefers, expected some");
}

// ---- replays ------------------------------------------------------------------------------------

static void runs_measure(void *context, int64_t at, int worker)
{
    (void)worker;
    const runs *c = context;
    const runs_job *job = &c->jobs[at];
    const sg_fact_pairs *pairs = c->run->pairs;
    const sg_fact_pair *pair = &pairs->pairs[job->pair];
    sg_patch_measured(c->run, job->patch, job->control)[job->pair] = sg_patch_measure_of(
        c->replays[at].logits, c->captures[pair->clean]->logits, c->model->config.vocab_size,
        &pairs->prompts[pair->clean], &pairs->prompts[pair->counterfactual]);
}

static sg_status runs_flush(runs *c, sg_error *err)
{
    if (c->count == 0) return SG_OK;
    SG_TRY(sg_exchange_replay(c->x, c->replays, (int64_t)c->count, err));
    sg_parallel_for(c->model->context->compute.pool, (int64_t)c->count, runs_measure, c);
    for (size_t i = 0; i < c->count; i++)
        sg_changes_clear(&c->changes[i]);
    c->count = 0;
    return runs_go_on(c, err);
}

// Another prompt that was run, whose answers are those of neither; NULL: there is none.
static const sg_capture *runs_third(const runs *c, size_t pair)
{
    const sg_fact_pairs *pairs = c->run->pairs;
    const sg_fact_pair *of = &pairs->pairs[pair];
    const size_t group = pairs->prompts[of->clean].group, first = pairs->groups[group];
    const size_t count = pairs->groups[group + 1] - first;
    const uint64_t draw =
        sg_rng_below(c->run->options->seed, sg_rng_stream("probe.patch.mismatched"), pair, count);
    for (size_t i = 0; i < count; i++) {
        const size_t at = first + ((size_t)draw + i) % count;
        if (c->captures[at] != NULL && at != of->clean && at != of->counterfactual &&
            sg_fact_prompts_differ(&pairs->prompts[at], &pairs->prompts[of->clean]) &&
            sg_fact_prompts_differ(&pairs->prompts[at], &pairs->prompts[of->counterfactual]))
            return c->captures[at];
    }
    return NULL;
}

// Another token from the subject's first on, in place of one; -1: there is none.
static int64_t runs_elsewhere(const runs *c, const sg_fact_prompt *p, int64_t first, int64_t last,
                              size_t pair)
{
    const int64_t count = p->length - p->subject_first;
    if (first != last || count < 2) return -1;
    const int64_t draw = (int64_t)sg_rng_below(
        c->run->options->seed, sg_rng_stream("probe.patch.position"), pair, (uint64_t)count);
    const int64_t at = p->subject_first + draw;
    return at != first ? at : p->subject_first + (draw + 1) % count;
}

// What a control puts in; *has: whether there is such.
static sg_status runs_changes(runs *c, const runs_job *job, sg_changes *changes, bool *has,
                              sg_error *err)
{
    const sg_patch_plan *plan = &c->run->plan;
    const sg_patch *patch = &plan->items[job->patch];
    const sg_fact_pair *pair = &c->run->pairs->pairs[job->pair];
    const sg_fact_prompt *prompt = &c->run->pairs->prompts[pair->clean];
    const sg_capture *clean = c->captures[pair->clean], *from = c->captures[pair->counterfactual];
    int64_t first, last;
    *has = sg_patch_tokens(patch, prompt, &first, &last);
    if (!*has) return SG_OK;
    if (job->control == SG_PATCH_MISMATCHED) from = runs_third(c, job->pair);
    if (job->control == SG_PATCH_POSITION)
        first = last = runs_elsewhere(c, prompt, first, last, job->pair);
    *has = from != NULL && first >= 0;
    if (!*has) return SG_OK;
    if (job->control == SG_PATCH_RANDOM)
        return sg_patch_random(&c->matcher, plan, patch, clean, from, first, last,
                               c->run->options->seed, job->pair, changes, has, err);
    return sg_patch_changes(plan, patch, c->x, from, first, last, changes, err);
}

static sg_status runs_add(runs *c, const runs_job *job, sg_error *err)
{
    bool has;
    sg_changes *changes = &c->changes[c->count];
    SG_TRY(runs_changes(c, job, changes, &has, err));
    if (!has) {
        sg_changes_clear(changes);
        sg_patch_measured(c->run, job->patch, job->control)[job->pair].m = NAN;
        return SG_OK;
    }
    c->jobs[c->count] = *job;
    c->replays[c->count].of = c->captures[c->run->pairs->pairs[job->pair].clean];
    c->replays[c->count].changes = changes;
    return ++c->count == c->room ? runs_flush(c, err) : SG_OK;
}

// Whether a control is asked for, is of this model, and says something of these patches.
static bool runs_wants(const runs *c, sg_patch_control control)
{
    const unsigned asked = c->run->options->controls | 1U << SG_PATCH_ITSELF;
    if ((asked >> control & 1) == 0 || (control == SG_PATCH_UNTRAINED) != c->untrained)
        return false;
    if (control != SG_PATCH_RANDOM || c->run->plan.neuron_count > 0) return true;
    return c->run->plan.gates && sg_family_is_sparse(sg_family_find(c->model->config.ffn));
}

static sg_status runs_replay(runs *c, sg_error *err)
{
    const sg_patch_run *r = c->run;
    runs_job job;
    for (int control = 0; control < SG_PATCH_CONTROLS; control++) {
        job.control = (sg_patch_control)control;
        if (!runs_wants(c, job.control)) continue;
        for (job.patch = 0; job.patch < r->plan.count; job.patch++)
            for (job.pair = 0; job.pair < r->pairs->count; job.pair++)
                SG_TRY(runs_add(c, &job, err));
    }
    return runs_flush(c, err);
}

// ---- the whole ----------------------------------------------------------------------------------

// Points beside gates: those of the patches, and of neurons that are matched what they come to.
static sg_status runs_names(runs *c, sg_error *err)
{
    sg_patch_plan *plan = &c->run->plan;
    c->names = sg_alloc_zero(plan->name_count + plan->neuron_count + 1, sizeof *c->names);
    if (c->names == NULL) return runs_memory(err);
    for (size_t i = 0; i < plan->name_count; i++)
        c->names[c->name_count++] = plan->names[i];
    if (!runs_wants(c, SG_PATCH_RANDOM)) return SG_OK;
    for (size_t i = 0; i < plan->neuron_count; i++) {
        char name[64];
        snprintf(name, sizeof name, "blocks.%d.mlp.hook_post", plan->neurons[i].layer);
        const char *kept = sg_arena_strndup(&plan->arena, name, strlen(name));
        if (kept == NULL) return runs_memory(err);
        c->names[c->name_count++] = kept;
    }
    return SG_OK;
}

static sg_status runs_room(runs *c, sg_error *err)
{
    const size_t vocab = (size_t)c->model->config.vocab_size;
    c->room = runs_logits / (vocab * sizeof(float));
    if (c->room > runs_most) c->room = runs_most;
    if (c->room < 1) c->room = 1;
    c->jobs = sg_alloc_zero(c->room, sizeof *c->jobs);
    c->changes = sg_alloc_zero(c->room, sizeof *c->changes);
    c->replays = sg_alloc_zero(c->room, sizeof *c->replays);
    c->logits = sg_alloc_array(c->room * vocab, sizeof *c->logits);
    if (!c->jobs || !c->changes || !c->replays || !c->logits) return runs_memory(err);
    for (size_t i = 0; i < c->room; i++)
        c->replays[i].logits = c->logits + i * vocab;
    return SG_OK;
}

static sg_status runs_open(runs *c, sg_error *err)
{
    const sg_patch_run *r = c->run;
    int64_t longest = 1;
    for (size_t i = 0; i < r->pairs->prompt_count; i++)
        if (r->pairs->prompts[i].length > longest) longest = r->pairs->prompts[i].length;
    SG_TRY(runs_names(c, err));
    const sg_exchange_options o = {.points = c->names,
                                   .point_count = c->name_count,
                                   .gates = r->plan.gates,
                                   .neurons = r->plan.neuron_count > 0,
                                   .batch = r->options->batch,
                                   .longest = longest};
    SG_TRY(sg_exchange_new(c->model, &o, &c->x, err));
    return runs_room(c, err);
}

static void runs_close(runs *c)
{
    if (c->x != NULL) c->run->result->runs += sg_exchange_runs(c->x);
    for (size_t i = 0; c->captures != NULL && i < c->run->pairs->prompt_count; i++)
        sg_capture_free(c->captures[i]);
    for (size_t i = 0; c->changes != NULL && i < c->room; i++)
        sg_changes_free(&c->changes[i]);
    sg_patch_matcher_free(&c->matcher);
    sg_exchange_free(c->x);
    sg_free(c->captures);
    sg_free(c->names);
    sg_free(c->jobs);
    sg_free(c->changes);
    sg_free(c->replays);
    sg_free(c->logits);
}

static sg_status runs_all(runs *c, sg_error *err)
{
    SG_TRY(runs_open(c, err));
    SG_TRY(runs_capture(c, err));
    SG_TRY(runs_base(c, err));
    SG_TRY(runs_known(c, err));
    if (runs_wants(c, SG_PATCH_RANDOM))
        SG_TRY(sg_patch_matcher_new(&c->run->plan, c->x, c->model, c->captures,
                                    c->run->pairs->prompt_count, &c->matcher, err));
    return runs_replay(c, err);
}

sg_status sg_patch_run_model(sg_patch_run *r, sg_model *model, bool untrained, sg_error *err)
{
    runs c = {.run = r, .model = model, .untrained = untrained};
    sg_status status = runs_all(&c, err);
    runs_close(&c);
    return status;
}
