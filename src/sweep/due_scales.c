// What is decided over all scales of a family at a budget, when all of them are known: which scales
// come next, and where further seeds are run.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/due_inside.h"

enum { scales_outer = 2, scales_few = 5 };

static const char *const scales_ends[] = {"smallest", "largest"};

typedef struct scales {
    sg_due *d;
    const size_t *file; // (file_count) cells of the file, ascending scale
    size_t file_count;
    size_t *cells; // (count) with those that were added, ascending scale
    size_t count, capacity;
    bool closed[2]; // below, above: nothing more can be added there
    bool waits;     // a cell is not known yet
} scales;

static double scales_at(const scales *s, size_t i)
{
    return sg_due_at(s->d, s->cells[i])->scale;
}

static double scales_of_file(const scales *s, size_t i)
{
    return s->d->spec->cells[s->file[i]].scale;
}

// Puts a cell in its place.
static sg_status scales_insert(scales *s, size_t cell)
{
    if (!sg_grow((void **)&s->cells, &s->capacity, s->count + 1, sizeof *s->cells))
        return sg_fail(s->d->err, SG_ERR_MEMORY, "out of memory for the scales of a sweep");
    size_t at = s->count++;
    while (at > 0 && scales_at(s, at - 1) > sg_due_at(s->d, cell)->scale) {
        s->cells[at] = s->cells[at - 1];
        at--;
    }
    s->cells[at] = cell;
    return SG_OK;
}

// Lists what each cell needs. An added one that failed leaves: nothing beyond it is added.
static sg_status scales_look(scales *s)
{
    size_t kept = 0;
    s->waits = false;
    for (size_t i = 0; i < s->count; i++) {
        const size_t cell = s->cells[i];
        SG_TRY(sg_due_look(s->d, cell));
        const bool settled = sg_due_state(s->d, cell)->settled;
        if (!settled && s->d->cells[cell].blocked && cell >= s->d->spec->cell_count) {
            s->closed[sg_due_at(s->d, cell)->scale > scales_of_file(s, 0)] = true;
            continue;
        }
        s->waits = s->waits || !settled;
        s->cells[kept++] = cell;
    }
    s->count = kept;
    return SG_OK;
}

// The number of the cell with the lowest loss but one; SIZE_MAX: all diverged. Of equal losses that
// of the smaller scale.
static size_t scales_best(const scales *s, size_t but)
{
    size_t best = SIZE_MAX;
    double lowest = INFINITY;
    for (size_t i = 0; i < s->count; i++) {
        const double loss = sg_due_state(s->d, s->cells[i])->loss;
        if (i == but || !(loss < lowest)) continue;
        best = i;
        lowest = loss;
    }
    return best;
}

// ---- further scales -----------------------------------------------------------------------------

static bool scales_constant(const scales *s, bool ratio)
{
    const double a = scales_of_file(s, 0), b = scales_of_file(s, 1);
    for (size_t i = 2; i < s->file_count; i++) {
        const double x = scales_of_file(s, i - 1), y = scales_of_file(s, i);
        if (!(fabs(ratio ? y / x - b / a : (y - x) - (b - a)) <= 1e-6 * (ratio ? b / a : y)))
            return false;
    }
    return true;
}

// The scale beyond the outermost one below (side 0) or above (1), to 6 digits.
static double scales_beyond(const scales *s, int side)
{
    char text[40];
    const double outer = scales_at(s, side ? s->count - 1 : 0);
    const size_t first = side ? s->file_count - 2 : 0;
    const double a = scales_of_file(s, first), b = scales_of_file(s, first + 1);
    double next;
    if (!scales_constant(s, false) && scales_constant(s, true))
        next = side ? outer * b / a : outer * a / b;
    else
        next = side ? outer + (b - a) : outer - (b - a);
    snprintf(text, sizeof text, "%.5e", next);
    return strtod(text, NULL); // in the same locale
}

// The cell of the file that an added one is made from: that of the nearest scale.
static size_t scales_from(const scales *s, int side)
{
    return s->file[side ? s->file_count - 1 : 0];
}

static sg_status scales_cannot(scales *s, int side, const char *why)
{
    char label[SG_SWEEP_MARK];
    s->closed[side] = true;
    sg_sweep_cell cell = *sg_due_at(s->d, scales_from(s, side));
    cell.scale = scales_beyond(s, side);
    return sg_due_mark(s->d, SG_SWEEP_MARK_NO_CELL, s->file[0], "%s: cannot be added: %s",
                       sg_sweep_cell_label(&cell, label, sizeof label), why);
}

// Adds the cell, and where its values are searched at another budget, that of the search beside it.
static sg_status scales_add(scales *s, int side, double scale)
{
    sg_due *d = s->d;
    const double budget = d->search_budget;
    const size_t from = scales_from(s, side);
    sg_sweep_cell like = *sg_due_at(d, from);
    const size_t search_from = sg_due_find(d, &like, budget, false);
    sg_error why = {0}, *err = d->err;
    size_t cell, search;
    like.scale = scale;
    cell = sg_due_find(d, &like, like.budget, true);
    d->err = &why;
    sg_status status = SG_OK;
    const bool elsewhere = !isnan(budget) && budget != like.budget && d->spec->search_count > 0;
    if (elsewhere && search_from != SIZE_MAX && sg_due_find(d, &like, budget, true) == SIZE_MAX)
        status = sg_due_add(d, search_from, scale, true, &search);
    if (status == SG_OK && cell == SIZE_MAX) status = sg_due_add(d, from, scale, false, &cell);
    d->err = err;
    if (status == SG_ERR_MEMORY) return sg_fail(err, status, "%s", why.message);
    if (status != SG_OK) return scales_cannot(s, side, why.message);
    d->cells[cell].aside = false;
    return scales_insert(s, cell);
}

static sg_status scales_outer_mark(scales *s, int side, size_t best, const char *what)
{
    char label[SG_SWEEP_MARK];
    s->closed[side] = true;
    return sg_due_mark(s->d, SG_SWEEP_MARK_OUTER, s->cells[best],
                       "%s: the lowest loss is among the two %s scales: %s",
                       sg_sweep_cell_label(sg_due_at(s->d, s->cells[best]), label, sizeof label),
                       scales_ends[side], what);
}

static sg_status scales_propose(scales *s, int side, size_t best, double scale)
{
    char label[SG_SWEEP_MARK], text[SG_SWEEP_MARK];
    s->closed[side] = true;
    sg_sweep_cell_label(sg_due_at(s->d, s->cells[best]), label, sizeof label);
    snprintf(text, sizeof text,
             "%.200s: the lowest loss is among the two %s scales: scale %s is to be added", label,
             scales_ends[side], SG_NUMBER(scale));
    return sg_due_propose(s->d, scales_from(s, side), scale, text);
}

static sg_status scales_side(scales *s, int side, size_t best)
{
    const double *ladder = s->d->spec->scale_ladder;
    const double next = scales_beyond(s, side);
    if (isnan(ladder[0]))
        return scales_outer_mark(s, side, best, "the file has no scale_ladder to add from");
    if (!(next > 0 && next >= ladder[0] && next <= ladder[1]))
        return scales_outer_mark(s, side, best, "scale_ladder ends there");
    if (!s->d->automatic) return scales_propose(s, side, best, next);
    return scales_add(s, side, next);
}

// Until the lowest loss is inside, or something must be waited for.
static sg_status scales_extend(scales *s)
{
    SG_TRY(scales_look(s));
    while (!s->waits && s->file_count > 1) {
        const size_t best = scales_best(s, SIZE_MAX), count = s->count;
        if (best == SIZE_MAX) return SG_OK;
        const bool outer[2] = {best < scales_outer, best + scales_outer >= count};
        bool added = false;
        for (int side = 0; side < 2; side++) {
            if (!outer[side] || s->closed[side]) continue;
            SG_TRY(scales_side(s, side, side ? best + (s->count - count) : best));
            added = s->count > count;
        }
        if (!added) return SG_OK;
        SG_TRY(scales_look(s));
    }
    return SG_OK;
}

// ---- seeds --------------------------------------------------------------------------------------

static sg_status scales_seeds_at_best(scales *s)
{
    const double more = (double)(s->d->spec->seed_count - 1);
    if (s->waits) {
        for (size_t i = 0; i < s->count; i++)
            sg_due_state(s->d, s->cells[i])->expected +=
                more * (s->count < 2 ? 1 : 2 / (double)s->count);
        return SG_OK;
    }
    const size_t best = scales_best(s, SIZE_MAX);
    if (best == SIZE_MAX) return SG_OK;
    const size_t second = scales_best(s, best);
    SG_TRY(sg_due_seeds(s->d, s->cells[best]));
    return second == SIZE_MAX ? SG_OK : sg_due_seeds(s->d, s->cells[second]);
}

static sg_status scales_seeds(scales *s)
{
    if (s->d->spec->seeds_at_best) return scales_seeds_at_best(s);
    for (size_t i = 0; i < s->count; i++) {
        sg_sweep_cell_state *state = sg_due_state(s->d, s->cells[i]);
        if (state->settled)
            SG_TRY(sg_due_seeds(s->d, s->cells[i]));
        else
            state->expected += (double)(s->d->spec->seed_count - 1);
    }
    return SG_OK;
}

static sg_status scales_few_mark(scales *s)
{
    char label[SG_SWEEP_MARK];
    if (s->file_count < 2 || s->count >= scales_few) return SG_OK;
    sg_sweep_cell cell = *sg_due_at(s->d, s->file[0]);
    cell.scale = NAN;
    return sg_due_mark(s->d, SG_SWEEP_MARK_FEW_SCALES, s->file[0],
                       "%s: %zu scales, expected %d or more for an exponent",
                       sg_sweep_cell_label(&cell, label, sizeof label), s->count, scales_few);
}

sg_status sg_due_scales(sg_due *d, const size_t *cells, size_t count)
{
    scales s = {.d = d, .file = cells, .file_count = count};
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++)
        status = scales_insert(&s, cells[i]);
    if (status == SG_OK) status = scales_extend(&s);
    if (status == SG_OK) status = scales_seeds(&s);
    if (status == SG_OK) status = scales_few_mark(&s);
    sg_free(s.cells);
    return status;
}
