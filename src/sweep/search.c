// The walk over the values of one search. It begins anew each time, from the losses that are known:
// there is no state between two runs, so that none can be lost.
#include "sweep/search.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/run_fields.h"

typedef struct walk {
    const sg_sweep_search *search;
    const sg_field *field;
    bool from_one, whole; // w is 1 - value; values are whole numbers
    sg_sweep_ask ask;
    void *user;
    sg_sweep_searched *out;
    bool waits; // a loss is not known yet
    sg_error *err;
} walk;

// ---- values -------------------------------------------------------------------------------------

static double search_round(double x, int digits)
{
    char text[40];
    snprintf(text, sizeof text, "%.*e", digits - 1, x);
    return strtod(text, NULL); // in the same locale
}

static double search_w(const walk *w, double value)
{
    return w->from_one ? 1 - value : value;
}

static double search_value(const walk *w, double of_w)
{
    if (w->whole) return round(of_w);
    const double rounded = search_round(of_w, 4);
    return w->from_one ? search_round(1 - rounded, 12) : rounded;
}

static bool search_allowed(const walk *w, double value)
{
    return isfinite(value) && value > 0 && value >= w->field->low && value <= w->field->high &&
           (!w->from_one || value < 1);
}

static bool search_tried(const walk *w, double value)
{
    for (size_t i = 0; i < w->out->count; i++)
        if (w->out->values[i] == value) return true;
    return false;
}

// Whether it is a new one that can be tried.
static bool search_new(const walk *w, double value)
{
    return search_allowed(w, value) && !search_tried(w, value) &&
           w->out->count < SG_SWEEP_TRIED_MAX;
}

static sg_status search_try(walk *w, double value)
{
    double loss = NAN;
    SG_TRY(w->ask(w->user, value, &loss, w->err));
    w->out->values[w->out->count] = value;
    w->out->losses[w->out->count++] = loss;
    w->waits = w->waits || isnan(loss);
    return SG_OK;
}

// ---- the best and its neighbours ----------------------------------------------------------------

// Of those that are known.
static size_t search_best(const sg_sweep_searched *s)
{
    size_t best = 0;
    for (size_t i = 1; i < s->count; i++)
        if (s->losses[i] < s->losses[best] ||
            (s->losses[i] == s->losses[best] && s->values[i] < s->values[best]))
            best = i;
    return best;
}

// The next value below (side -1) or above (1) that was tried; NAN: none.
static double search_neighbour(const sg_sweep_searched *s, size_t of, int side)
{
    double nearest = NAN;
    for (size_t i = 0; i < s->count; i++) {
        const double ahead = side * (s->values[i] - s->values[of]);
        if (ahead > 0 && !(side * (nearest - s->values[of]) <= ahead)) nearest = s->values[i];
    }
    return nearest;
}

// ---- the steps ----------------------------------------------------------------------------------

static sg_status search_extend(walk *w)
{
    for (int64_t n = 0; n < w->search->extend && !w->waits; n++) {
        const sg_sweep_searched *s = w->out;
        const size_t best = search_best(s);
        const double below = search_neighbour(s, best, -1), above = search_neighbour(s, best, 1);
        if (isnan(below) == isnan(above)) return SG_OK; // inside, or alone
        const double at = search_w(w, s->values[best]);
        const double beside = search_w(w, isnan(below) ? above : below);
        const double beyond = search_value(w, at * (at / beside));
        if (!search_new(w, beyond)) return SG_OK;
        w->out->extra++;
        SG_TRY(search_try(w, beyond));
    }
    return SG_OK;
}

static double search_beside(const walk *w, size_t best, int side)
{
    const double next = search_neighbour(w->out, best, side);
    const double other = search_neighbour(w->out, best, -side);
    const double at = search_w(w, w->out->values[best]);
    if (!isnan(next)) return search_value(w, sqrt(at * search_w(w, next)));
    return search_value(w, at * sqrt(at / search_w(w, other)));
}

static sg_status search_halve(walk *w)
{
    if (w->search->count < 2) return SG_OK;
    for (int64_t n = 0; n < w->search->halvings; n++) {
        if (w->waits) {
            w->out->expected += 2;
            continue;
        }
        const size_t best = search_best(w->out);
        const double below = search_beside(w, best, -1), above = search_beside(w, best, 1);
        if (search_new(w, below)) SG_TRY(search_try(w, below));
        if (search_new(w, above)) SG_TRY(search_try(w, above));
    }
    return SG_OK;
}

sg_status sg_sweep_search_check(const sg_sweep_search *search, sg_error *err)
{
    static const char *const names[] = {"lr", "beta2", "warmup_steps"};
    const size_t most = sizeof search->values / sizeof *search->values;
    bool known = false;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        known = known || strcmp(search->field, names[i]) == 0;
    if (!known)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "search: found \"%.40s\", expected one of lr, beta2, warmup_steps",
                       search->field);
    if (search->count < 1 || search->count > most)
        return sg_fail(err, SG_ERR_ARGUMENT, "search.%s: found %zu values, expected 1 to %zu",
                       search->field, search->count, most);
    if (search->extend < 0 || search->extend > SG_SWEEP_EXTEND_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "search.%s.extend: found %lld, expected 0 to %d",
                       search->field, (long long)search->extend, SG_SWEEP_EXTEND_MAX);
    if (search->halvings < 0 || search->halvings > SG_SWEEP_HALVINGS_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "search.%s.halvings: found %lld, expected 0 to %d",
                       search->field, (long long)search->halvings, SG_SWEEP_HALVINGS_MAX);
    return SG_OK;
}

sg_status sg_sweep_search_walk(const sg_sweep_search *search, sg_sweep_ask ask, void *user,
                               sg_sweep_searched *out, sg_error *err)
{
    *out = (sg_sweep_searched){0};
    SG_TRY(sg_sweep_search_check(search, err));
    walk w = {.search = search,
              .field = sg_train_field(search->field),
              .from_one = strcmp(search->field, "beta2") == 0,
              .whole = strcmp(search->field, "warmup_steps") == 0,
              .ask = ask,
              .user = user,
              .out = out,
              .err = err};
    for (size_t i = 0; i < search->count; i++)
        if (!search_tried(&w, search->values[i])) SG_TRY(search_try(&w, search->values[i]));
    SG_TRY(search_extend(&w));
    SG_TRY(search_halve(&w));
    out->settled = !w.waits;
    if (w.waits) return SG_OK;
    out->best = search_best(out);
    out->edge = out->count > 1 && (isnan(search_neighbour(out, out->best, -1)) ||
                                   isnan(search_neighbour(out, out->best, 1)));
    return SG_OK;
}
