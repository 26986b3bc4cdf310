// sg_probe_patch: facts, pairs, a plan of patches; all runs of the model and of an untrained one;
// what they come to; files.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "model/model.h"
#include "probe/patch_inside.h"

sg_patch_options sg_patch_options_default(void)
{
    return (sg_patch_options){.layers = "all+each",
                              .positions = "subject,last",
                              .points = "gates",
                              .channels = "all",
                              .direction = SG_PATCH_NOISE,
                              .controls = (1U << SG_PATCH_CONTROLS) - 1,
                              .pairs = 1000,
                              .bootstrap = 10000,
                              .permutations = 10000,
                              .seed = 1};
}

static sg_status patch_check_number(const char *name, int64_t number, int64_t low, int64_t high,
                                    sg_error *err)
{
    if (number >= low && number <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected %lld to %lld", name,
                   (long long)number, (long long)low, (long long)high);
}

static sg_status patch_check(const sg_patch_options *o, sg_error *err)
{
    if (o->facts == NULL || o->tokenizer == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT, "patch: found no %s",
                       o->facts == NULL ? "facts" : "tokenizer");
    if (o->layers == NULL || o->positions == NULL || o->points == NULL || o->channels == NULL)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "patch: found no layers, positions, points or channels");
    if (o->direction < SG_PATCH_NOISE || o->direction > SG_PATCH_BOTH)
        return sg_fail(err, SG_ERR_ARGUMENT, "direction: found %d, expected 1 to 3",
                       (int)o->direction);
    SG_TRY(patch_check_number("bootstrap", o->bootstrap, 1, 10000000, err));
    return patch_check_number("permutations", o->permutations, 1, 100000000, err);
}

static sg_status patch_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for what is measured");
}

// Room for all that is measured, none of it there yet.
static sg_status patch_room(sg_patch_run *r, sg_error *err)
{
    const size_t patches = r->plan.count * SG_PATCH_CONTROLS;
    if (r->pairs->count > SIZE_MAX / sizeof *r->patched / patches) return patch_memory(err);
    r->patched = sg_alloc_array(patches * r->pairs->count, sizeof *r->patched);
    if (r->patched == NULL) return patch_memory(err);
    for (size_t i = 0; i < patches * r->pairs->count; i++)
        r->patched[i] = (sg_patch_measure){.m = NAN};
    // Runs as they are, each patch, and each control; fewer where a control is not there.
    size_t of_model = 1;
    for (int c = SG_PATCH_RANDOM; c < SG_PATCH_CONTROLS; c++)
        of_model += (r->options->controls >> c & 1) != 0 &&
                    (c != SG_PATCH_RANDOM || r->plan.neuron_count > 0 || r->plan.gates);
    r->total = (int64_t)(of_model * r->plan.count * r->pairs->count + r->pairs->prompt_count);
    return SG_OK;
}

// Numbers of the facts that are in pairs, by prompt.
static sg_status patch_members(sg_patch_run *r, sg_error *err)
{
    const sg_fact_pairs *pairs = r->pairs;
    size_t used = 0;
    size_t *of_fact = sg_alloc_array(r->facts->count, sizeof *of_fact);
    r->members = sg_alloc_zero(pairs->prompt_count, sizeof *r->members);
    if (of_fact == NULL || r->members == NULL) {
        sg_free(of_fact);
        return patch_memory(err);
    }
    for (size_t i = 0; i < r->facts->count; i++)
        of_fact[i] = SIZE_MAX;
    for (size_t i = 0; i < pairs->count; i++) {
        const size_t prompt = pairs->pairs[i].clean, fact = pairs->prompts[prompt].fact;
        if (of_fact[fact] == SIZE_MAX) of_fact[fact] = used++;
        r->members[prompt] = of_fact[fact];
    }
    r->pairs->counts.used = (int64_t)used;
    sg_free(of_fact);
    return SG_OK;
}

static sg_status patch_shares(sg_patch_run *r, sg_error *err)
{
    const sg_fact_pairs *pairs = r->pairs;
    sg_patch_result *result = r->result;
    size_t prompts = 0, recalled = 0, right = 0;
    bool *seen = sg_alloc_zero(pairs->prompt_count, sizeof *seen);
    if (seen == NULL) return patch_memory(err);
    for (size_t i = 0; i < pairs->count; i++) {
        right += r->base[0][i].m > 0;
        if (seen[pairs->pairs[i].clean]) continue;
        seen[pairs->pairs[i].clean] = true;
        prompts++;
        recalled += r->base[0][i].rank[0] <= 1;
    }
    sg_free(seen);
    // Each pair is there in both orders: the share with m_cf < 0 is that of the other orders.
    result->correct_clean = (double)right / (double)pairs->count;
    result->correct_counterfactual = result->correct_clean;
    result->recalled = (double)recalled / (double)prompts;
    return SG_OK;
}

static bool patch_untrained(const sg_patch_run *r)
{
    return (r->options->controls >> SG_PATCH_UNTRAINED & 1) != 0;
}

// A model of the same shape as it is before training.
static sg_status patch_run_untrained(sg_patch_run *r, sg_error *err)
{
    sg_model *fresh;
    if (!patch_untrained(r)) return SG_OK;
    SG_TRY(sg_model_new(r->model->context, &r->model->config, r->options->seed, &fresh, err));
    sg_status status = sg_patch_run_model(r, fresh, true, err);
    sg_model_free(fresh);
    return status;
}

static sg_status patch_run(sg_patch_run *r, sg_error *err)
{
    const sg_patch_options *o = r->options;
    SG_TRY(patch_check(o, err));
    SG_TRY(sg_patch_check_outputs(o, err));
    SG_TRY(sg_facts_read(o->facts, &r->facts, err));
    SG_TRY(sg_fact_pairs_new(r->model, o->tokenizer, r->facts, o->pairs, o->seed, &r->pairs, err));
    SG_TRY(sg_patch_plan_new(r->model, o, &r->plan, err));
    SG_TRY(patch_room(r, err));
    SG_TRY(sg_patch_run_model(r, r->model, false, err));
    SG_TRY(patch_run_untrained(r, err));
    SG_TRY(patch_members(r, err));
    r->result->counts = r->pairs->counts;
    r->result->patches = (int64_t)r->plan.count;
    SG_TRY(patch_shares(r, err));
    SG_TRY(sg_patch_summarise(r, err));
    return sg_patch_write(r, err);
}

sg_status sg_probe_patch(sg_model *model, const sg_patch_options *options, sg_patch_result *result,
                         sg_error *err)
{
    sg_patch_run r = {.model = model, .options = options, .result = result};
    const double start = sg_clock_seconds();
    *result = (sg_patch_result){0};
    sg_status status = patch_run(&r, err);
    result->seconds = sg_clock_seconds() - start;
    sg_patch_plan_free(&r.plan);
    sg_fact_pairs_free(r.pairs);
    sg_facts_free(r.facts);
    sg_free(r.base[0]);
    sg_free(r.base[1]);
    sg_free(r.patched);
    sg_free(r.members);
    if (status != SG_OK) {
        sg_buffer_free(result->items);
        *result = (sg_patch_result){0};
    }
    return status;
}
