// The plan of a sweep as a whole: its cells by family, settings, budget and scale, its rows by id.
// Nothing is kept from one call to the next; the rows say all.
#include "sweep/due.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/due_inside.h"
#include "sweep/search.h"
#include "sweep/spec.h"

sg_status sg_due_memory(sg_due *d)
{
    return sg_fail(d->err, SG_ERR_MEMORY, "out of memory for the plan of a sweep");
}

const sg_sweep_cell *sg_sweep_plan_cell(const sg_sweep_spec *spec, const sg_sweep_plan *plan,
                                        size_t cell)
{
    return cell < spec->cell_count ? &spec->cells[cell] : &plan->added[cell - spec->cell_count];
}

const sg_sweep_cell *sg_due_at(const sg_due *d, size_t cell)
{
    return sg_sweep_plan_cell(d->spec, d->plan, cell);
}

sg_sweep_cell_state *sg_due_state(const sg_due *d, size_t cell)
{
    return &d->plan->cells[cell];
}

sg_status sg_due_mark(sg_due *d, sg_sweep_mark_kind kind, size_t cell, const char *format, ...)
{
    sg_sweep_plan *plan = d->plan;
    va_list list;
    if (!sg_grow((void **)&plan->marks, &d->mark_capacity, plan->mark_count + 1,
                 sizeof *plan->marks))
        return sg_due_memory(d);
    sg_sweep_mark *mark = &plan->marks[plan->mark_count++];
    *mark = (sg_sweep_mark){.kind = kind, .cell = cell};
    va_start(list, format);
    vsnprintf(mark->text, sizeof mark->text, format, list);
    va_end(list);
    return SG_OK;
}

sg_status sg_due_propose(sg_due *d, size_t cell, double scale, const char *text)
{
    sg_sweep_plan *plan = d->plan;
    if (!sg_grow((void **)&plan->proposals, &d->proposal_capacity, plan->proposal_count + 1,
                 sizeof *plan->proposals))
        return sg_due_memory(d);
    sg_sweep_proposal *proposal = &plan->proposals[plan->proposal_count++];
    *proposal = (sg_sweep_proposal){.cell = cell, .scale = scale};
    snprintf(proposal->text, sizeof proposal->text, "%s", text);
    return SG_OK;
}

// ---- cells --------------------------------------------------------------------------------------

static sg_status due_room(sg_due *d)
{
    sg_sweep_plan *plan = d->plan;
    if (!sg_grow((void **)&d->cells, &d->cell_capacity, d->count + 1, sizeof *d->cells) ||
        !sg_grow((void **)&plan->cells, &d->state_capacity, d->count + 1, sizeof *plan->cells))
        return sg_due_memory(d);
    d->cells[d->count] = (sg_due_cell){0};
    plan->cells[d->count] = (sg_sweep_cell_state){.lr = NAN,
                                                  .beta2 = NAN,
                                                  .warmup_steps = NAN,
                                                  .loss = NAN,
                                                  .row = SG_SWEEP_NO_ROW,
                                                  .values_of = d->count};
    return SG_OK;
}

sg_status sg_due_add(sg_due *d, size_t from, double scale, bool aside, size_t *cell)
{
    sg_sweep_plan *plan = d->plan;
    if (!sg_grow((void **)&plan->added, &d->added_capacity, plan->added_count + 1,
                 sizeof *plan->added))
        return sg_due_memory(d);
    SG_TRY(due_room(d));
    sg_sweep_cell *added = &plan->added[plan->added_count];
    *added = (sg_sweep_cell){0};
    SG_TRY(sg_sweep_cell_at_scale(d->spec, &d->spec->cells[from], scale, added, d->err));
    added->index = d->spec->cells[from].index;
    d->cells[d->count].family = d->cells[from].family;
    d->cells[d->count].aside = aside;
    *cell = d->count++;
    plan->added_count++;
    return SG_OK;
}

// By family, settings, budget, scale.
static int due_compare(const sg_sweep_cell *a, const sg_sweep_cell *b)
{
    int order = strcmp(a->family, b->family);
    if (order == 0) order = strcmp(a->settings, b->settings);
    if (order == 0 && !sg_sweep_same_number(a->budget, b->budget))
        order = isnan(a->budget) || a->budget < b->budget ? -1 : 1;
    if (order == 0 && !sg_sweep_same_number(a->scale, b->scale))
        order = isnan(a->scale) || a->scale < b->scale ? -1 : 1;
    return order;
}

static int due_cells_order(const void *a, const void *b)
{
    const sg_sweep_cell *x = *(const sg_sweep_cell *const *)a,
                        *y = *(const sg_sweep_cell *const *)b;
    const int order = due_compare(x, y);
    return order != 0 ? order : (x > y) - (x < y);
}

size_t sg_due_find(const sg_due *d, const sg_sweep_cell *like, double budget, bool added)
{
    sg_sweep_cell wanted = *like;
    wanted.budget = budget;
    size_t low = 0, high = d->spec->cell_count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (due_compare(&d->spec->cells[d->order[middle]], &wanted) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < d->spec->cell_count && due_compare(&d->spec->cells[d->order[low]], &wanted) == 0)
        return d->order[low];
    for (size_t i = d->spec->cell_count; added && i < d->count; i++)
        if (due_compare(sg_due_at(d, i), &wanted) == 0) return i;
    return SIZE_MAX;
}

// ---- all of it ----------------------------------------------------------------------------------

typedef struct due_id {
    const char *id;
    size_t row;
} due_id;

static int due_id_order(const void *a, const void *b)
{
    const due_id *x = a, *y = b;
    const int order = strcmp(x->id, y->id);
    return order != 0 ? order : (x->row > y->row) - (x->row < y->row);
}

static sg_status due_index_rows(sg_due *d)
{
    const size_t count = d->results->count;
    due_id *ids = sg_alloc_array(count + 1, sizeof *ids);
    d->by_id = sg_alloc_array(count + 1, sizeof *d->by_id);
    if (ids == NULL || d->by_id == NULL) {
        sg_free(ids);
        return sg_due_memory(d);
    }
    for (size_t i = 0; i < count; i++)
        ids[i] = (due_id){d->results->rows[i].id, i};
    qsort(ids, count, sizeof *ids, due_id_order);
    for (size_t i = 0; i < count; i++)
        d->by_id[i] = ids[i].row;
    sg_free(ids);
    return SG_OK;
}

// Sorts the cells of the file, and numbers their families in its order.
static sg_status due_index_cells(sg_due *d)
{
    const sg_sweep_spec *spec = d->spec;
    const sg_sweep_cell **sorted = sg_alloc_array(spec->cell_count + 1, sizeof *sorted);
    d->order = sg_alloc_array(spec->cell_count + 1, sizeof *d->order);
    sg_status status = sorted == NULL || d->order == NULL ? sg_due_memory(d) : SG_OK;
    for (size_t i = 0; i < spec->cell_count && status == SG_OK; i++) {
        sorted[i] = &spec->cells[i];
        if ((status = due_room(d)) == SG_OK) d->count++;
    }
    if (status == SG_OK) qsort(sorted, spec->cell_count, sizeof *sorted, due_cells_order);
    size_t first = SIZE_MAX; // of the family, in the file
    for (size_t i = 0, begin = 0; i < spec->cell_count && status == SG_OK; i++) {
        d->order[i] = (size_t)(sorted[i] - spec->cells);
        if (d->order[i] < first) first = d->order[i];
        if (i + 1 < spec->cell_count && strcmp(sorted[i]->family, sorted[i + 1]->family) == 0)
            continue;
        for (; begin <= i; begin++)
            d->cells[d->order[begin]].family = first;
        first = SIZE_MAX;
    }
    sg_free(sorted);
    return status;
}

static bool due_together(const sg_sweep_cell *a, const sg_sweep_cell *b)
{
    return strcmp(a->family, b->family) == 0 && strcmp(a->settings, b->settings) == 0 &&
           sg_sweep_same_number(a->budget, b->budget);
}

static double due_search_budget(const sg_sweep_spec *spec)
{
    for (size_t i = 0; i < spec->cell_count; i++)
        if (fabs(spec->cells[i].budget / spec->search_budget - 1) < 1e-9)
            return spec->cells[i].budget;
    return spec->search_budget;
}

static sg_status due_all(sg_due *d)
{
    const sg_sweep_spec *spec = d->spec;
    if (spec->seed_count == 0)
        return sg_fail(d->err, SG_ERR_ARGUMENT, "seeds: found none, expected one or more");
    for (size_t s = 0; s < spec->search_count; s++)
        SG_TRY(sg_sweep_search_check(&spec->searches[s], d->err));
    d->search_budget = due_search_budget(spec);
    SG_TRY(due_index_rows(d));
    SG_TRY(due_index_cells(d));
    for (size_t first = 0, end; first < spec->cell_count; first = end) {
        end = first + 1;
        while (end < spec->cell_count &&
               due_together(&spec->cells[d->order[first]], &spec->cells[d->order[end]]))
            end++;
        SG_TRY(sg_due_scales(d, &d->order[first], end - first));
    }
    return sg_due_arrange(d);
}

sg_status sg_sweep_due(const sg_sweep_spec *spec, const sg_sweep_results *results, bool automatic,
                       sg_sweep_plan *out, sg_error *err)
{
    *out = (sg_sweep_plan){0};
    sg_due d = {.spec = spec, .results = results, .automatic = automatic, .plan = out, .err = err};
    sg_status status = due_all(&d);
    sg_free(d.by_id);
    sg_free(d.order);
    sg_free(d.cells);
    sg_free(d.items);
    return status;
}

void sg_sweep_plan_clear(sg_sweep_plan *plan)
{
    for (size_t i = 0; i < plan->added_count; i++)
        json_decref(plan->added[i].options);
    sg_free(plan->todos);
    sg_free(plan->rows);
    sg_free(plan->added);
    sg_free(plan->cells);
    sg_free(plan->marks);
    sg_free(plan->proposals);
    *plan = (sg_sweep_plan){0};
}
