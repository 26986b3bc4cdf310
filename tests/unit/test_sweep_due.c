// What is due in a sweep, driven to its end on surfaces whose best point is known: the same runs in
// whatever order they finish, searches with equal effort, edges, scales beyond the file, seeds,
// failures.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "sweep/due.h"
#include "sweep/search.h"
#include "sweep/spec.h"

#define FAMILIES "\"family\": [\"mlp\", \"sgatlin\", \"moe\"]"
#define SCALES   "\"scale\": [3, 4, 5, 6, 7]"
#define BUDGETS  "\"budget\": [1e17, 4e17]"

// ---- a sweep ------------------------------------------------------------------------------------

static void spec_make(sg_sweep_spec *spec, const char *preset, const char *axes)
{
    char text[2048];
    sg_error err = {0};
    snprintf(text, sizeof text,
             "{\"format\": \"sgatlin sweep\", \"version\": 1, \"name\": \"trial\", \"options\": "
             "{\"preset\": \"%s\"}, \"axes\": {%s}}",
             preset, axes);
    if (sg_sweep_spec_parse(text, strlen(text), "trial.json", NULL, spec, &err) != SG_OK)
        fail_msg("%s", err.message);
}

static void spec_search(sg_sweep_spec *spec, const char *field, double first, double ratio)
{
    sg_sweep_search *search = &spec->searches[spec->search_count++];
    *search = (sg_sweep_search){.field = field, .count = 3, .halvings = 1, .extend = 2};
    for (size_t i = 0; i < 3; i++)
        search->values[i] = first * pow(ratio, (double)i);
}

static void spec_seeds(sg_sweep_spec *spec, size_t count, bool at_best)
{
    spec->seed_count = count;
    spec->seeds_at_best = at_best;
    for (size_t i = 0; i < count; i++)
        spec->seeds[i] = i + 1;
}

// A loss with one valley in each direction.
typedef struct surface {
    double scale, rate; // where it is lowest at 1e17 FLOPs; the rate at scale 1
    double growth;      // of that scale, for four times the budget
    double diverges;    // runs with higher rates do; 0: none
    double noise;       // of seeds
} surface;

static double surface_loss(const surface *s, const sg_sweep_cell *cell, const sg_sweep_todo *todo)
{
    const double scale = isnan(cell->scale) ? 1 : cell->scale;
    const double budget = isnan(cell->budget) ? 1e17 : cell->budget;
    const double shift = 0.2 * (double)cell->family[0] / 100; // families differ
    const double best = log(s->scale + shift) + log(s->growth) * log(budget / 1e17) / log(4);
    const double rate = log(todo->options.lr) - log(s->rate) + 0.3 * log(scale);
    const double horizon = log((1 - todo->options.beta2) / 0.02);
    const double draw = sg_rng_normal(todo->seed, 7, (uint64_t)(1e6 * scale) + (uint64_t)budget);
    return 3 - 0.1 * log(budget / 1e17) + 0.4 * pow(log(scale) - best, 2) + 0.05 * rate * rate +
           0.01 * horizon * horizon + (todo->seed == 1 ? 0 : s->noise * draw);
}

typedef struct sweep {
    sg_sweep_spec spec;
    sg_sweep_results results;
    sg_sweep_plan plan;
    surface surface;
    bool automatic;
    bool (*fails)(const sg_sweep_cell *cell, const sg_sweep_todo *todo); // not by itself; or NULL
    size_t capacity;
} sweep;

static void sweep_due(sweep *s)
{
    sg_error err = {0};
    sg_sweep_plan_clear(&s->plan);
    if (sg_sweep_due(&s->spec, &s->results, s->automatic, &s->plan, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(err.code, SG_OK);
}

static void sweep_run(sweep *s, size_t todo)
{
    const sg_sweep_todo *t = &s->plan.todos[todo];
    const sg_sweep_cell *cell = sg_sweep_plan_cell(&s->spec, &s->plan, t->cell);
    assert_int_equal(s->plan.rows[todo], SG_SWEEP_NO_ROW);
    assert_true(sg_grow((void **)&s->results.rows, &s->capacity, s->results.count + 1,
                        sizeof *s->results.rows));
    sg_sweep_row *row = &s->results.rows[s->results.count++];
    *row = (sg_sweep_row){.scale = cell->scale, .budget = cell->budget, .seed = t->seed};
    memcpy(row->id, t->id, sizeof row->id);
    row->lr = t->options.lr;
    row->state = SG_SWEEP_FINISHED;
    row->loss = surface_loss(&s->surface, cell, t);
    if (s->surface.diverges > 0 && row->lr > s->surface.diverges) {
        row->state = SG_SWEEP_FAILED;
        row->failure = SG_ERR_NUMERIC;
        row->loss = NAN;
    }
    if (s->fails == NULL || !s->fails(cell, t)) return;
    row->state = SG_SWEEP_FAILED;
    row->failure = SG_ERR_IO;
    row->loss = NAN;
    snprintf(row->error, sizeof row->error, "no room");
}

// The nth run that is not made yet, of those there are; SIZE_MAX: there is none.
static size_t sweep_next(const sweep *s, uint64_t draw)
{
    size_t open = 0, at = 0;
    for (size_t i = 0; i < s->plan.count; i++)
        open += s->plan.rows[i] == SG_SWEEP_NO_ROW;
    if (open == 0) return SIZE_MAX;
    for (uint64_t left = draw % open;; at++)
        if (s->plan.rows[at] == SG_SWEEP_NO_ROW && left-- == 0) return at;
}

// To the end, a few at a time: in order (seed 0), or any that are due.
static void sweep_finish(sweep *s, uint64_t seed)
{
    enum { jobs = 6 };
    for (uint64_t draw = 0;;) {
        sweep_due(s);
        for (size_t job = 0; job < jobs; job++) {
            const size_t next = sweep_next(s, seed == 0 ? 0 : sg_rng_u64(seed, 1, draw++));
            if (next == SIZE_MAX && job == 0) return;
            if (next == SIZE_MAX) break;
            sweep_run(s, next);
            s->plan.rows[next] = (int64_t)s->results.count - 1;
        }
        assert_true(s->results.count < 2000);
    }
}

static void sweep_clear(sweep *s)
{
    sg_sweep_plan_clear(&s->plan);
    sg_sweep_spec_clear(&s->spec);
    sg_free(s->results.rows);
    s->results = (sg_sweep_results){0};
}

// Whether every run of a is one of b.
static void sweep_same(const sweep *a, const sweep *b)
{
    assert_int_equal(a->plan.count, b->plan.count);
    assert_int_equal(a->results.count, b->results.count);
    for (size_t i = 0; i < a->plan.count; i++) { // the order of a plan is of what is known
        assert_string_equal(a->plan.todos[i].id, b->plan.todos[i].id);
        assert_int_equal(a->plan.todos[i].seed, b->plan.todos[i].seed);
    }
    assert_int_equal(a->plan.added_count, b->plan.added_count);
    assert_int_equal(a->plan.mark_count, b->plan.mark_count);
    for (size_t i = 0; i < a->plan.mark_count; i++)
        assert_string_equal(a->plan.marks[i].text, b->plan.marks[i].text);
}

static size_t sweep_marks(const sweep *s, sg_sweep_mark_kind kind)
{
    size_t count = 0;
    for (size_t i = 0; i < s->plan.mark_count; i++)
        count += s->plan.marks[i].kind == kind;
    return count;
}

// ---- sweeps -------------------------------------------------------------------------------------

static void sweep_begin_as(sweep *s, const char *preset, const char *axes)
{
    *s = (sweep){.surface = {.scale = 5, .rate = 2e-3, .growth = 1, .noise = 1e-3}};
    snprintf(s->results.data_hash, sizeof s->results.data_hash, "0123456789abcdef");
    spec_make(&s->spec, preset, axes);
}

static void sweep_begin(sweep *s, const char *axes)
{
    sweep_begin_as(s, "slimpajama-{family}-s{scale}", axes);
}

// Three families, five scales, two budgets, the rate searched at the smaller one, seeds at the
// best.
static void sweep_whole(sweep *s)
{
    sweep_begin(s, FAMILIES ", " SCALES ", " BUDGETS);
    spec_search(&s->spec, "lr", 1e-3, 2);
    s->spec.search_budget = nextafter(1e17, 0); // as another program may have written it
    spec_seeds(&s->spec, 3, true);
    s->spec.scale_ladder[0] = 1;
    s->spec.scale_ladder[1] = 9;
    s->surface.growth = 1.4; // the best scale at the larger budget is 7: beyond the inner ones
    s->automatic = true;
}

static void test_any_order(void **state)
{
    (void)state;
    sweep in_order;
    sweep_whole(&in_order);
    sweep_finish(&in_order, 0);
    assert_true(in_order.plan.added_count > 0);
    assert_int_equal(in_order.plan.count, in_order.results.count); // nothing was made for nothing
    for (uint64_t seed = 1; seed <= 6; seed++) {
        sweep other;
        sweep_whole(&other);
        sweep_finish(&other, seed);
        sweep_same(&in_order, &other);
        sweep_clear(&other);
    }
    sweep_clear(&in_order);
}

// What is expected, with what is listed, is what a sweep without surprises comes to.
static void test_expected(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.surface = (surface){.scale = 5, .rate = 3e-3, .growth = 1};
    s.automatic = false;
    sweep_due(&s);
    const double all = (double)s.plan.count + s.plan.expected;
    assert_int_equal(s.plan.count, 3 * 5 * 3);
    sweep_finish(&s, 0);
    int64_t extra = 0;
    for (size_t i = 0; i < s.spec.cell_count; i++)
        extra += s.plan.cells[i].values_of == i ? s.plan.cells[i].extra : 0;
    assert_true(s.plan.expected == 0);
    // searches, points of the larger budget, two further seeds at two scales
    assert_true(fabs(all - (3 * 5 * 5 + 3 * 5 + 3 * 2 * 2 * 2)) < 1e-9);
    assert_int_equal((int64_t)s.plan.count, (int64_t)round(all) + extra);
    sweep_clear(&s);
}

static void test_equal_effort(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.surface.rate = 9e-3; // for small scales beyond the edge
    sweep_finish(&s, 3);
    int64_t extra = 0;
    for (size_t i = 0; i < s.spec.cell_count + s.plan.added_count; i++) {
        assert_int_equal(s.plan.cells[i].effort - s.plan.cells[i].extra, 5);
        extra += s.plan.cells[i].extra;
    }
    assert_true(extra > 0);
    sweep_clear(&s);
}

// The values of a cell of another budget are those that were found at the budget of the search.
static void test_values_of_other_budgets(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    sweep_finish(&s, 0);
    size_t points = 0;
    for (size_t i = 0; i < s.plan.count; i++) {
        const sg_sweep_todo *todo = &s.plan.todos[i];
        const sg_sweep_cell_state *cell = &s.plan.cells[todo->cell];
        if (cell->values_of == todo->cell) continue;
        const sg_sweep_cell_state *source = &s.plan.cells[cell->values_of];
        const sg_sweep_cell *a = sg_sweep_plan_cell(&s.spec, &s.plan, todo->cell);
        const sg_sweep_cell *b = sg_sweep_plan_cell(&s.spec, &s.plan, cell->values_of);
        assert_true(a->scale == b->scale && a->budget == 4e17 && b->budget == 1e17);
        assert_string_equal(a->family, b->family);
        assert_true(todo->lr == source->lr && todo->options.lr == source->lr);
        points++;
    }
    assert_true(points >= 15 + 3 * 4);
    sweep_clear(&s);
}

// Whether the lowest loss of a family at a budget is inside, and has all seeds, and so the next.
static void assert_family(const sweep *s, const char *family, double budget)
{
    size_t best = SIZE_MAX, second = SIZE_MAX, below = 0, above = 0;
    for (size_t i = 0; i < s->spec.cell_count + s->plan.added_count; i++) {
        const sg_sweep_cell *cell = sg_sweep_plan_cell(&s->spec, &s->plan, i);
        if (strcmp(cell->family, family) != 0 || cell->budget != budget) continue;
        const double loss = s->plan.cells[i].loss;
        if (best == SIZE_MAX || loss < s->plan.cells[best].loss) {
            second = best;
            best = i;
        } else if (second == SIZE_MAX || loss < s->plan.cells[second].loss) {
            second = i;
        }
    }
    for (size_t i = 0; i < s->spec.cell_count + s->plan.added_count; i++) {
        const sg_sweep_cell *cell = sg_sweep_plan_cell(&s->spec, &s->plan, i);
        const sg_sweep_cell *lowest = sg_sweep_plan_cell(&s->spec, &s->plan, best);
        if (strcmp(cell->family, family) != 0 || cell->budget != budget) continue;
        below += cell->scale < lowest->scale;
        above += cell->scale > lowest->scale;
        size_t seeds = 0;
        for (size_t t = 0; t < s->plan.count; t++)
            seeds += s->plan.todos[t].cell == i && s->plan.todos[t].purpose == SG_SWEEP_SEED;
        assert_int_equal(seeds, i == best || i == second ? 2 : 0);
    }
    assert_true(below >= 2 && above >= 2);
}

static void test_scales_beyond(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    sweep_finish(&s, 5);
    static const char *const families[] = {"mlp", "sgatlin", "moe"};
    for (size_t f = 0; f < 3; f++) {
        assert_family(&s, families[f], 1e17);
        assert_family(&s, families[f], 4e17);
    }
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_OUTER), 0);
    for (size_t i = 0; i < s.plan.added_count; i++)
        assert_true(s.plan.added[i].scale == 8 || s.plan.added[i].scale == 9);
    sweep_clear(&s);
}

// Without `automatic` the same scales are proposed, one a side, and nothing waits for them.
static void test_proposals(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.automatic = false;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.added_count, 0);
    assert_int_equal(s.plan.proposal_count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_true(s.plan.proposals[i].scale == 8);
        assert_true(s.spec.cells[s.plan.proposals[i].cell].budget == 4e17);
        assert_non_null(strstr(s.plan.proposals[i].text, "scale 8 is to be added"));
    }
    size_t seeds = 0;
    for (size_t i = 0; i < s.plan.count; i++)
        seeds += s.plan.todos[i].purpose == SG_SWEEP_SEED;
    assert_int_equal(seeds, 3 * 2 * 2 * 2);
    sweep_clear(&s);
}

static void test_ladder_ends(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.spec.scale_ladder[1] = 7;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.added_count, 0);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_OUTER), 3);
    sweep_clear(&s);
    sweep_whole(&s);
    s.spec.scale_ladder[0] = s.spec.scale_ladder[1] = NAN;
    sweep_finish(&s, 0);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_OUTER), 3);
    sweep_clear(&s);
    sweep_whole(&s); // presets end at 9
    s.spec.scale_ladder[1] = 100;
    s.surface.scale = 20;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.added_count, 3 * 2 * 2);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_NO_CELL), 6);
    sweep_clear(&s);
}

static void test_few_scales(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [4, 5, 6], \"budget\": [1e17]");
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.count, 3);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_FEW_SCALES), 1);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_OUTER), 2); // 5 is among the outer of both
    s.spec.scale_ladder[0] = 1;
    s.spec.scale_ladder[1] = 9;
    s.automatic = true;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.count, 5);
    assert_int_equal(s.plan.mark_count, 0);
    sweep_clear(&s);
}

static void test_ratio_of_scales(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [1, 2, 4], \"budget\": [1e17]");
    s.spec.scale_ladder[0] = 0.1;
    s.spec.scale_ladder[1] = 100;
    s.surface.scale = 8;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.proposal_count, 1);
    assert_true(s.plan.proposals[0].scale == 8);
    sweep_clear(&s);
}

// ---- failures -----------------------------------------------------------------------------------

static bool fails_once(const sg_sweep_cell *cell, const sg_sweep_todo *todo)
{
    return strcmp(cell->family, "moe") == 0 && cell->scale == 5 && cell->budget == 1e17 &&
           todo->options.lr == 2e-3;
}

static void test_failure(void **state)
{
    (void)state;
    sweep s, whole;
    sweep_whole(&whole);
    sweep_finish(&whole, 0);
    sweep_whole(&s);
    s.fails = fails_once;
    sweep_finish(&s, 2);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_FAILED), 1);
    assert_non_null(strstr(s.plan.marks[0].text, "moe, scale 5, 1e+17 FLOPs"));
    assert_non_null(strstr(s.plan.marks[0].text, "no room"));
    for (size_t i = 0; i < s.plan.count; i++) { // what rests on it was not made
        const sg_sweep_todo *todo = &s.plan.todos[i];
        const sg_sweep_cell *cell = sg_sweep_plan_cell(&s.spec, &s.plan, todo->cell);
        if (strcmp(cell->family, "moe") != 0) continue;
        assert_true(todo->purpose == SG_SWEEP_SEARCH || cell->scale != 5);
        assert_int_not_equal(todo->purpose, SG_SWEEP_SEED);
    }
    assert_true(s.plan.count < whole.plan.count && s.plan.expected > 0);
    s.fails = NULL; // mended, and run again
    for (size_t i = 0; i < s.results.count; i++)
        if (s.results.rows[i].state == SG_SWEEP_FAILED)
            s.results.rows[i] = s.results.rows[--s.results.count];
    sweep_finish(&s, 2);
    sweep_same(&s, &whole);
    sweep_clear(&s);
    sweep_clear(&whole);
}

static bool fails_beyond(const sg_sweep_cell *cell, const sg_sweep_todo *todo)
{
    return cell->scale == 8 && todo->seed == 1;
}

// A scale that was added and cannot be run does not keep the others from their seeds.
static void test_failure_beyond(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.fails = fails_beyond;
    sweep_finish(&s, 4);
    size_t seeds = 0;
    for (size_t i = 0; i < s.plan.count; i++)
        seeds += s.plan.todos[i].purpose == SG_SWEEP_SEED;
    assert_int_equal(seeds, 3 * 2 * 2 * 2);
    assert_true(sweep_marks(&s, SG_SWEEP_MARK_FAILED) > 0);
    sweep_clear(&s);
}

static void test_diverging(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.surface.diverges = 1.5e-3;
    sweep_finish(&s, 1);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_FAILED), 0);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_DIVERGED), 0);
    for (size_t i = 0; i < s.spec.cell_count; i++)
        assert_true(s.plan.cells[i].settled && s.plan.cells[i].lr <= 1.5e-3);
    sweep_clear(&s);
    sweep_whole(&s);
    s.surface.diverges = 1e-9; // all of them, and nothing more is tried at the larger budget
    sweep_finish(&s, 1);
    assert_int_equal(sweep_marks(&s, SG_SWEEP_MARK_DIVERGED), 15);
    for (size_t i = 0; i < s.plan.count; i++)
        assert_int_equal(s.plan.todos[i].purpose, SG_SWEEP_SEARCH);
    sweep_clear(&s);
}

// ---- other files --------------------------------------------------------------------------------

static void test_grid_alone(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, FAMILIES ", " SCALES ", " BUDGETS);
    spec_seeds(&s.spec, 2, false);
    sweep_due(&s);
    assert_int_equal(s.plan.count, 30);
    assert_true(s.plan.expected == 30);
    for (size_t i = 0; i < s.plan.count; i++) { // in turn; small budgets first, then scales
        static const char *const turns[] = {"mlp", "sgatlin", "moe"};
        const sg_sweep_cell *cell = &s.spec.cells[s.plan.todos[i].cell];
        assert_string_equal(cell->family, turns[i % 3]);
        assert_true(cell->budget == (i < 15 ? 1e17 : 4e17));
        assert_true(cell->scale == 3 + (double)(i / 3 % 5));
        assert_true(isnan(s.plan.todos[i].lr) && isnan(s.plan.todos[i].beta2));
        assert_int_equal(s.plan.todos[i].purpose, SG_SWEEP_POINT);
        assert_true(s.plan.todos[i].options.seed == 1);
    }
    sweep_finish(&s, 6);
    assert_int_equal(s.plan.count, 60);
    sweep_clear(&s);
}

// Each setting has its own best scale, and without an axis of scales all seeds.
static void test_settings(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s,
                "\"family\": [\"mlp\"], " SCALES ", \"budget\": [1e17], \"spike_limit\": [1, 2]");
    spec_seeds(&s.spec, 3, true);
    sweep_finish(&s, 7);
    assert_int_equal(s.plan.count, 2 * (5 + 2 * 2));
    sweep_clear(&s);
    sweep_begin_as(&s, "slimpajama-{family}-s2",
                   "\"family\": [\"mlp\"], \"budget\": [1e17], \"spike_limit\": [1, 2, 3]");
    spec_seeds(&s.spec, 3, true);
    sweep_due(&s);
    assert_int_equal(s.plan.count, 3);
    assert_true(s.plan.expected == 6);
    sweep_finish(&s, 7);
    assert_int_equal(s.plan.count, 9);
    assert_int_equal(s.plan.mark_count, 0);
    sweep_clear(&s);
}

// The second field is searched at the best of the first, and kept only where it is better.
static void test_two_fields(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [4], \"budget\": [1e17]");
    s.surface.rate = 3e-3;
    spec_search(&s.spec, "lr", 1e-3, 2);
    s.spec.searches[1] =
        (sg_sweep_search){.field = "beta2", .values = {0.95, 0.98, 0.992}, .count = 3, .extend = 1};
    s.spec.search_count = 2;
    sweep_due(&s);
    assert_int_equal(s.plan.count, 3);
    assert_true(s.plan.expected == 5);
    sweep_finish(&s, 9);
    assert_int_equal(s.plan.count, 8);
    assert_true(s.plan.cells[0].beta2 == 0.98);
    assert_int_equal(s.plan.cells[0].effort, 8);
    sweep_clear(&s);
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [4], \"budget\": [1e17]");
    s.surface.rate = 3e-3;
    spec_search(&s.spec, "lr", 1e-3, 2);
    s.spec.searches[1] = (sg_sweep_search){.field = "beta2", .values = {0.1, 0.2}, .count = 2};
    s.spec.search_count = 2;
    sweep_finish(&s, 0);
    assert_true(isnan(s.plan.cells[0].beta2) && s.plan.cells[0].edges == 0);
    sweep_clear(&s);
}

// A search whose values hold what the options say makes no run twice.
static void test_shared_runs(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [4], \"budget\": [1e17]");
    s.surface.rate = 3e-3;
    spec_search(&s.spec, "lr", 1e-3, 2);
    s.spec.searches[1] = (sg_sweep_search){.field = "beta2", .values = {0.98, 0.999}, .count = 2};
    s.spec.search_count = 2;
    sweep_finish(&s, 0);
    assert_int_equal(s.plan.count, 5 + 1);
    assert_int_equal(s.plan.cells[0].effort, 6);
    sweep_clear(&s);
}

static void test_edges_marked(void **state)
{
    (void)state;
    sweep s;
    sweep_whole(&s);
    s.surface.rate = 1;
    sweep_finish(&s, 0);
    assert_true(sweep_marks(&s, SG_SWEEP_MARK_EDGE) >= 15);
    assert_true(s.plan.cells[0].edges == 1);
    assert_non_null(strstr(s.plan.marks[0].text, "the best lr, "));
    sweep_clear(&s);
}

static void test_no_seeds(void **state)
{
    (void)state;
    sweep s;
    sg_error err = {0};
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [4], \"budget\": [1e17]");
    s.spec.seed_count = 0;
    assert_int_equal(sg_sweep_due(&s.spec, &s.results, false, &s.plan, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "seeds"));
    sweep_clear(&s);
}

// ---- names --------------------------------------------------------------------------------------

static void id_of(const sg_train_options *options, const char *hash, char id[SG_SWEEP_ID])
{
    sg_error err = {0};
    assert_int_equal(sg_sweep_id(options, hash, id, &err), SG_OK);
    assert_int_equal(strlen(id), 32);
    assert_int_equal(strspn(id, "0123456789abcdef"), 32);
}

// Sets a field to another value than it has.
static void id_change(const sg_field *field, sg_train_options *o)
{
    void *at = (char *)o + field->offset;
    switch (field->kind) {
    case SG_FIELD_INT:
        *(int64_t *)at += 1;
        break;
    case SG_FIELD_NUMBER:
        *(double *)at += 0.5;
        break;
    case SG_FIELD_STRING:
        snprintf(at, field->bytes, "exact");
        break;
    case SG_FIELD_BOOL:
        *(bool *)at = !*(bool *)at;
        break;
    case SG_FIELD_SEED:
        *(uint64_t *)at += 1;
        break;
    case SG_FIELD_ENUM:
        *(int *)at += 1;
        break;
    }
}

static void test_id(void **state)
{
    (void)state;
    static const char *const none[] = {"log_every",          "eval_every",    "eval_sequences",
                                       "checkpoint_every",   "keep_last",     "sample_every",
                                       "checkpoint_minutes", "sample_prompt", "force_tokenizer"};
    sg_preset preset;
    const sg_field *field;
    char id[SG_SWEEP_ID], other[SG_SWEEP_ID];
    assert_int_equal(sg_preset_find("demo", &preset, NULL), SG_OK);
    const sg_train_options options = sg_train_options_from_preset(&preset);
    id_of(&options, "0123456789abcdef", id);
    for (size_t f = 0; (field = sg_train_field_at(f)) != NULL; f++) {
        sg_train_options changed = options;
        bool same = false;
        for (size_t i = 0; i < sizeof none / sizeof *none; i++)
            same = same || strcmp(field->name, none[i]) == 0;
        id_change(field, &changed);
        id_of(&changed, "0123456789abcdef", other);
        if ((strcmp(id, other) == 0) != same)
            fail_msg("%s: %s the name", field->name, same ? "changes" : "does not change");
    }
    sg_train_options wider = options;
    wider.config.hidden_size *= 2;
    id_of(&wider, "0123456789abcdef", other);
    assert_string_not_equal(id, other);
    id_of(&options, "0123456789abcdee", other);
    assert_string_not_equal(id, other);
}

// ---- memory -------------------------------------------------------------------------------------

static sg_status due_once(void *user, sg_error *err)
{
    sweep *s = user;
    sg_sweep_plan plan;
    sg_status status = sg_sweep_due(&s->spec, &s->results, true, &plan, err);
    sg_sweep_plan_clear(&plan);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    sweep s;
    sweep_begin(&s, "\"family\": [\"mlp\"], \"scale\": [5, 6, 7], \"budget\": [1e17]");
    spec_search(&s.spec, "lr", 1e-3, 4);
    s.spec.searches[0].halvings = 0;
    s.spec.scale_ladder[0] = 1;
    s.spec.scale_ladder[1] = 9;
    spec_seeds(&s.spec, 2, true);
    sweep_finish(&s, 0);
    assert_true(alloc_failure_loop(due_once, &s) > 10);
    sweep_clear(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_order),
        cmocka_unit_test(test_expected),
        cmocka_unit_test(test_equal_effort),
        cmocka_unit_test(test_values_of_other_budgets),
        cmocka_unit_test(test_scales_beyond),
        cmocka_unit_test(test_proposals),
        cmocka_unit_test(test_ladder_ends),
        cmocka_unit_test(test_few_scales),
        cmocka_unit_test(test_ratio_of_scales),
        cmocka_unit_test(test_failure),
        cmocka_unit_test(test_failure_beyond),
        cmocka_unit_test(test_diverging),
        cmocka_unit_test(test_grid_alone),
        cmocka_unit_test(test_settings),
        cmocka_unit_test(test_two_fields),
        cmocka_unit_test(test_shared_runs),
        cmocka_unit_test(test_edges_marked),
        cmocka_unit_test(test_no_seeds),
        cmocka_unit_test(test_id),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
