// The cells of a sweep one by one: the runs that each needs, and what is known of it by their rows.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/due_inside.h"
#include "sweep/search.h"
#include "sweep/spec.h"

// ---- runs ---------------------------------------------------------------------------------------

static int64_t runs_row(const sg_due *d, const char *id)
{
    size_t low = 0, high = d->results->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (strcmp(d->results->rows[d->by_id[middle]].id, id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == d->results->count || strcmp(d->results->rows[d->by_id[low]].id, id) != 0)
        return SG_SWEEP_NO_ROW;
    return (int64_t)d->by_id[low];
}

static void runs_values(sg_sweep_todo *todo)
{
    if (!isnan(todo->lr)) todo->options.lr = todo->lr;
    if (!isnan(todo->beta2)) todo->options.beta2 = todo->beta2;
    if (isnan(todo->warmup_steps)) return;
    todo->options.warmup_steps = (int64_t)todo->warmup_steps;
    todo->options.warmup_share = 1; // as many as the search says, as sg_train_options_set does
}

static sg_status runs_failed(sg_due *d, const sg_sweep_todo *todo, const sg_sweep_row *row)
{
    char label[SG_SWEEP_MARK];
    return sg_due_mark(d, SG_SWEEP_MARK_FAILED, todo->cell,
                       "%.120s: the run with lr %s and seed %llu failed (%.120s): what rests on it "
                       "is undecided",
                       sg_sweep_cell_label(sg_due_at(d, todo->cell), label, sizeof label),
                       SG_NUMBER(todo->options.lr), (unsigned long long)todo->seed, row->error);
}

// The loss of a run; NAN: not known.
static double runs_loss(const sg_sweep_row *row)
{
    if (row->state == SG_SWEEP_FAILED) return row->failure == SG_ERR_NUMERIC ? INFINITY : NAN;
    if (row->state != SG_SWEEP_FINISHED) return NAN;
    return isfinite(row->loss) ? row->loss : INFINITY;
}

// Lists a run of a cell, whose options are still those of the cell; *row is of results.
static sg_status runs_list(sg_due *d, sg_sweep_todo *todo, int64_t *row, double *loss)
{
    runs_values(todo);
    todo->options.seed = todo->seed;
    SG_TRY(sg_sweep_id(&todo->options, d->results->data_hash, todo->id, d->err));
    if (!sg_grow((void **)&d->items, &d->item_capacity, d->item_count + 1, sizeof *d->items))
        return sg_due_memory(d);
    *row = runs_row(d, todo->id);
    *loss = *row < 0 ? NAN : runs_loss(&d->results->rows[*row]);
    // The searches of two fields may both try what the options say.
    for (size_t i = d->item_count; i > 0 && d->items[i - 1].todo.cell == todo->cell; i--)
        if (strcmp(d->items[i - 1].todo.id, todo->id) == 0) return SG_OK;
    d->items[d->item_count++] = (sg_due_item){*todo, *row};
    if (*row < 0 || d->results->rows[*row].state != SG_SWEEP_FAILED || !isnan(*loss)) return SG_OK;
    if (todo->purpose != SG_SWEEP_SEED) d->cells[todo->cell].blocked = true;
    return runs_failed(d, todo, &d->results->rows[*row]);
}

static sg_status runs_begin(const sg_due *d, size_t cell, sg_sweep_purpose purpose,
                            sg_sweep_todo *todo)
{
    const sg_sweep_cell_state *state = sg_due_state(d, cell);
    *todo = (sg_sweep_todo){.cell = cell,
                            .purpose = cell < d->spec->cell_count ? purpose : SG_SWEEP_EXTENSION,
                            .lr = state->lr,
                            .beta2 = state->beta2,
                            .warmup_steps = state->warmup_steps,
                            .seed = d->spec->seeds[0]};
    return sg_sweep_cell_options(d->spec, sg_due_at(d, cell), &todo->options, d->err);
}

sg_status sg_due_seeds(sg_due *d, size_t cell)
{
    sg_sweep_todo todo;
    int64_t row;
    double loss = sg_due_state(d, cell)->loss;
    if (!isfinite(loss) || d->spec->seed_count < 2) return SG_OK;
    SG_TRY(runs_begin(d, cell, SG_SWEEP_SEED, &todo));
    todo.purpose = SG_SWEEP_SEED;
    for (size_t i = 1; i < d->spec->seed_count; i++) {
        todo.seed = d->spec->seeds[i];
        SG_TRY(runs_list(d, &todo, &row, &loss));
    }
    return SG_OK;
}

// ---- a cell that is searched --------------------------------------------------------------------

typedef struct cell_ask {
    sg_due *d;
    sg_sweep_todo todo; // with the values of the fields before
    int field;          // of search_value
    int64_t rows[SG_SWEEP_TRIED_MAX];
    size_t asked;
} cell_ask;

static double *cell_value(double *lr, double *beta2, double *warmup_steps, const char *field)
{
    return strcmp(field, "lr") == 0 ? lr : strcmp(field, "beta2") == 0 ? beta2 : warmup_steps;
}

static sg_status cell_try(void *user, double value, double *loss, sg_error *err)
{
    cell_ask *a = user;
    sg_sweep_todo todo = a->todo;
    (void)err; // that of d
    *cell_value(&todo.lr, &todo.beta2, &todo.warmup_steps, a->d->spec->searches[a->field].field) =
        value;
    return runs_list(a->d, &todo, &a->rows[a->asked++], loss);
}

// The best of this search, if it is better than what the fields before came to.
static void cell_take(cell_ask *a, sg_sweep_cell_state *state, const sg_sweep_searched *found)
{
    const double loss = found->losses[found->best];
    state->extra += (int64_t)found->extra;
    if (!isnan(state->loss) && loss > state->loss) return;
    const char *field = a->d->spec->searches[a->field].field;
    *cell_value(&state->lr, &state->beta2, &state->warmup_steps, field) =
        found->values[found->best];
    *cell_value(&a->todo.lr, &a->todo.beta2, &a->todo.warmup_steps, field) =
        found->values[found->best];
    state->loss = loss;
    state->row = a->rows[found->best];
    if (found->edge) state->edges |= 1u << a->field;
}

static sg_status cell_marks(sg_due *d, size_t cell)
{
    char label[SG_SWEEP_MARK];
    const sg_sweep_cell_state *state = sg_due_state(d, cell);
    sg_sweep_cell_label(sg_due_at(d, cell), label, sizeof label);
    if (!isfinite(state->loss))
        return sg_due_mark(d, SG_SWEEP_MARK_DIVERGED, cell, "%s: every run of its search diverged",
                           label);
    for (size_t s = 0; s < d->spec->search_count; s++) {
        sg_sweep_cell_state copy = *state;
        const char *field = d->spec->searches[s].field;
        if (!(state->edges & 1u << s)) continue;
        SG_TRY(
            sg_due_mark(d, SG_SWEEP_MARK_EDGE, cell,
                        "%.200s: the best %s, %s, is the last of those tried", label, field,
                        SG_NUMBER(*cell_value(&copy.lr, &copy.beta2, &copy.warmup_steps, field))));
    }
    return SG_OK;
}

// Of the searches from `first` on.
static double cell_effort(const sg_due *d, size_t first)
{
    double runs = 0;
    for (size_t s = first; s < d->spec->search_count; s++) {
        const sg_sweep_search *search = &d->spec->searches[s];
        runs += (double)search->count;
        if (search->count > 1) runs += 2 * (double)search->halvings;
    }
    return runs;
}

static sg_status cell_search(sg_due *d, size_t cell)
{
    const size_t before = d->item_count;
    sg_sweep_cell_state *state = sg_due_state(d, cell);
    sg_sweep_searched found = {.settled = true};
    cell_ask a = {.d = d};
    SG_TRY(runs_begin(d, cell, SG_SWEEP_SEARCH, &a.todo));
    for (size_t s = 0; s < d->spec->search_count && found.settled; s++) {
        a.field = (int)s;
        a.asked = 0;
        SG_TRY(sg_sweep_search_walk(&d->spec->searches[s], cell_try, &a, &found, d->err));
        if (found.settled)
            cell_take(&a, state, &found);
        else
            state->expected = (double)found.expected + cell_effort(d, s + 1);
    }
    state->effort = (int64_t)(d->item_count - before) + (int64_t)state->expected;
    state->settled = found.settled;
    if (state->settled) return cell_marks(d, cell);
    state->loss = state->lr = state->beta2 = state->warmup_steps = NAN;
    state->row = SG_SWEEP_NO_ROW;
    state->edges = 0;
    return SG_OK;
}

// ---- a cell that is run once --------------------------------------------------------------------

static sg_status cell_point(sg_due *d, size_t cell)
{
    char label[SG_SWEEP_MARK];
    sg_sweep_cell_state *state = sg_due_state(d, cell);
    sg_sweep_todo todo;
    SG_TRY(runs_begin(d, cell, SG_SWEEP_POINT, &todo));
    SG_TRY(runs_list(d, &todo, &state->row, &state->loss));
    state->settled = !isnan(state->loss);
    if (!state->settled || isfinite(state->loss)) return SG_OK;
    return sg_due_mark(d, SG_SWEEP_MARK_DIVERGED, cell, "%s: the run diverged",
                       sg_sweep_cell_label(sg_due_at(d, cell), label, sizeof label));
}

// With the values of another one.
static sg_status cell_follow(sg_due *d, size_t cell, size_t source)
{
    SG_TRY(sg_due_look(d, source));
    sg_sweep_cell_state *state = sg_due_state(d, cell);
    const sg_sweep_cell_state *of = sg_due_state(d, source);
    state->values_of = source;
    state->effort = of->effort;
    state->extra = of->extra;
    state->edges = of->edges;
    state->lr = of->lr;
    state->beta2 = of->beta2;
    state->warmup_steps = of->warmup_steps;
    d->cells[cell].blocked = d->cells[source].blocked;
    if (!of->settled) {
        state->expected = 1;
        return SG_OK;
    }
    if (isfinite(of->loss)) return cell_point(d, cell);
    state->settled = true; // there is no value at which to run it
    state->loss = INFINITY;
    return SG_OK;
}

sg_status sg_due_look(sg_due *d, size_t cell)
{
    const double budget = d->search_budget;
    size_t source = SIZE_MAX;
    if (d->cells[cell].done) return SG_OK;
    d->cells[cell].done = true;
    if (d->spec->search_count == 0) return cell_point(d, cell);
    if (!isnan(budget) && sg_due_at(d, cell)->budget != budget)
        source = sg_due_find(d, sg_due_at(d, cell), budget, cell >= d->spec->cell_count);
    return source == SIZE_MAX ? cell_search(d, cell) : cell_follow(d, cell, source);
}
