// A sweep as its folder says it is: its runs, the best of each curve, what is open.
#include "sweep/overview.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/columns.h"
#include "sweep/results.h"
#include "sweep/spec.h"

sg_sweep_totals sg_sweep_count(const sg_sweep_plan *plan, const sg_sweep_results *results)
{
    sg_sweep_totals totals = {.planned = (int64_t)plan->count, .expected = plan->expected};
    for (size_t i = 0; i < plan->count; i++) {
        if (plan->rows[i] == SG_SWEEP_NO_ROW) continue;
        const sg_sweep_row *row = &results->rows[plan->rows[i]];
        totals.finished += row->state == SG_SWEEP_FINISHED;
        totals.failed += row->state == SG_SWEEP_FAILED;
        totals.diverged += row->state == SG_SWEEP_FAILED && row->failure == SG_ERR_NUMERIC;
    }
    return totals;
}

// ---- entries ------------------------------------------------------------------------------------

static void entry_of(const sg_sweep_row *row, sg_sweep_entry *entry)
{
    *entry = (sg_sweep_entry){.scale = row->scale,
                              .budget = row->budget,
                              .lr = row->lr,
                              .seed = row->seed,
                              .steps = row->steps,
                              .parameters = row->parameters,
                              .loss = row->loss,
                              .perplexity = row->perplexity,
                              .seconds = row->seconds,
                              .mean_loss = NAN};
    memcpy(entry->id, row->id, sizeof entry->id);
    memcpy(entry->family, row->family, sizeof entry->family);
    memcpy(entry->settings, row->settings, sizeof entry->settings);
    memcpy(entry->error, row->error, sizeof entry->error);
    snprintf(entry->state, sizeof entry->state, "%s", sg_sweep_state_word(row->state));
}

// Mean over the seeds of a row's cell and values.
static void entry_mean(const sg_sweep_results *r, const sg_sweep_row *row, sg_sweep_entry *entry)
{
    double sum = 0;
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].state == SG_SWEEP_FINISHED && sg_sweep_same_cell(&r->rows[i], row) &&
            sg_sweep_same_values(&r->rows[i], row)) {
            sum += r->rows[i].loss;
            entry->seeds++;
        }
    entry->mean_loss = sum / (double)entry->seeds;
}

static bool entry_same_curve(const sg_sweep_entry *a, const sg_sweep_entry *b)
{
    return strcmp(a->family, b->family) == 0 && sg_sweep_same_number(a->budget, b->budget) &&
           strcmp(a->settings, b->settings) == 0;
}

// The lowest loss of the first seed, or the second lowest where both have several seeds and that
// one the lower mean.
static bool entry_better(const sg_sweep_entry *a, const sg_sweep_entry *b)
{
    if (a->seeds > 1 && b->seeds > 1 && a->mean_loss != b->mean_loss)
        return a->mean_loss < b->mean_loss;
    return a->loss < b->loss;
}

static void overview_curve_best(sg_sweep_overview *o, size_t first)
{
    size_t best = SIZE_MAX, next = SIZE_MAX;
    for (size_t i = first; i < o->count; i++) {
        if (o->entries[i].seeds == 0 || !entry_same_curve(&o->entries[i], &o->entries[first]))
            continue;
        if (best == SIZE_MAX || o->entries[i].loss < o->entries[best].loss) {
            next = best;
            best = i;
        } else if (next == SIZE_MAX || o->entries[i].loss < o->entries[next].loss) {
            next = i;
        }
    }
    if (best == SIZE_MAX) return;
    if (next != SIZE_MAX && entry_better(&o->entries[next], &o->entries[best])) best = next;
    o->entries[best].best = true;
}

// Which entries stand for their cells, and which of these is the best of its curve.
static void overview_best(const sg_sweep_results *r, sg_sweep_overview *out)
{
    for (size_t i = 0; i < r->count; i++) {
        size_t before = 0; // a row of the same cell that was looked at already?
        while (before < i && !sg_sweep_same_cell(&r->rows[before], &r->rows[i]))
            before++;
        const size_t best = before == i ? sg_sweep_best(r, i) : SIZE_MAX;
        if (best != SIZE_MAX) entry_mean(r, &r->rows[best], &out->entries[best]);
    }
    for (size_t i = 0; i < out->count; i++) {
        size_t before = 0;
        while (before < i && !entry_same_curve(&out->entries[before], &out->entries[i]))
            before++;
        if (before == i) overview_curve_best(out, i);
    }
}

// ---- all of it ----------------------------------------------------------------------------------

static sg_status overview_remark(sg_sweep_overview *out, const char *text, sg_error *err)
{
    out->remarks[out->remark_count] = sg_strdup(text);
    if (out->remarks[out->remark_count] == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a remark");
    out->remark_count++;
    return SG_OK;
}

static sg_status overview_remarks(const sg_sweep_plan *plan, sg_sweep_overview *out, sg_error *err)
{
    out->remarks = sg_alloc_zero(plan->mark_count + plan->proposal_count + 1, sizeof *out->remarks);
    if (out->remarks == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for remarks");
    for (size_t i = 0; i < plan->mark_count; i++)
        SG_TRY(overview_remark(out, plan->marks[i].text, err));
    for (size_t i = 0; i < plan->proposal_count; i++)
        SG_TRY(overview_remark(out, plan->proposals[i].text, err));
    return SG_OK;
}

static sg_status overview_plan(const sg_sweep_results *r, sg_sweep_overview *out, sg_error *err)
{
    sg_sweep_spec spec;
    sg_sweep_plan plan = {0};
    SG_TRY(sg_sweep_spec_parse(r->file, strlen(r->file), "sweep.db", r->data_path, &spec, err));
    sg_status status = sg_sweep_due(&spec, r, false, &plan, err);
    if (status == SG_OK) out->totals = sg_sweep_count(&plan, r);
    if (status == SG_OK) status = overview_remarks(&plan, out, err);
    sg_sweep_plan_clear(&plan);
    sg_sweep_spec_clear(&spec);
    return status;
}

static sg_status overview_fill(const sg_sweep_results *r, sg_sweep_overview *out, sg_error *err)
{
    memcpy(out->name, r->name, sizeof out->name);
    memcpy(out->note, r->note, sizeof out->note);
    memcpy(out->data, r->data_path, sizeof out->data);
    memcpy(out->data_hash, r->data_hash, sizeof out->data_hash);
    out->entries = sg_alloc_zero(r->count, sizeof *out->entries);
    if (out->entries == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for runs");
    out->count = r->count;
    for (size_t i = 0; i < r->count; i++)
        entry_of(&r->rows[i], &out->entries[i]);
    overview_best(r, out);
    return overview_plan(r, out, err);
}

sg_status sg_sweep_overview_read(const char *path, sg_sweep_overview *out, sg_error *err)
{
    sg_sweep_results results;
    *out = (sg_sweep_overview){0};
    SG_TRY(sg_sweep_results_open(path, &results, err));
    const sg_status status = overview_fill(&results, out, err);
    sg_sweep_results_clear(&results);
    if (status != SG_OK) sg_sweep_overview_clear(out);
    return status;
}

void sg_sweep_overview_clear(sg_sweep_overview *overview)
{
    for (size_t i = 0; i < overview->remark_count; i++)
        sg_free(overview->remarks[i]);
    sg_free(overview->remarks);
    sg_free(overview->entries);
    *overview = (sg_sweep_overview){0};
}
