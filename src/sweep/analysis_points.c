// Rows become curves: a curve for each contender and budget, a point of it for each scale, at the
// best of the values that were searched there, over all seeds that have these values.
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/analysis_inside.h"

// Beyond these a file is no sweep that was made, and an analysis would take hours.
enum { points_curves_most = 4096, points_curve_most = 512 };

// A row by what it belongs to. NAN, no such axis, is infinity, so that it sorts.
typedef struct points_key {
    double budget, scale, lr, beta2, warmup;
    size_t contender, row;
    bool usable;
} points_key;

static double points_number(double value)
{
    return isnan(value) ? INFINITY : value;
}

static int points_order(double a, double b)
{
    return (a > b) - (a < b);
}

static int points_cell_order(const points_key *a, const points_key *b)
{
    int order = points_order(a->budget, b->budget);
    if (order == 0) order = (a->contender > b->contender) - (a->contender < b->contender);
    return order;
}

static int points_value_order(const points_key *a, const points_key *b)
{
    int order = points_order(a->lr, b->lr);
    if (order == 0) order = points_order(a->beta2, b->beta2);
    return order != 0 ? order : points_order(a->warmup, b->warmup);
}

static int points_key_order(const void *one, const void *other)
{
    const points_key *a = one, *b = other;
    int order = points_cell_order(a, b);
    if (order == 0) order = points_order(a->scale, b->scale);
    if (order == 0) order = points_value_order(a, b);
    return order != 0 ? order : (a->row > b->row) - (a->row < b->row);
}

static bool points_usable(const sg_sweep_row *row)
{
    return row->state == SG_SWEEP_FINISHED && isfinite(row->loss) && row->parameters > 0 &&
           row->tokens > 0;
}

static bool points_tried(const sg_sweep_row *row)
{
    return row->state == SG_SWEEP_FINISHED || row->state == SG_SWEEP_FAILED;
}

// The number of the row's contender, by first occurrence; firsts holds a row of each.
static size_t points_contender(const sg_sweep_row *rows, size_t row, size_t *firsts, size_t *count)
{
    size_t i = 0;
    while (i < *count && (strcmp(rows[firsts[i]].family, rows[row].family) != 0 ||
                          strcmp(rows[firsts[i]].settings, rows[row].settings) != 0))
        i++;
    if (i == *count) firsts[(*count)++] = row;
    return i;
}

static size_t points_keys(const sg_sweep_results *results, points_key *keys, size_t *firsts)
{
    size_t count = 0, contenders = 0;
    for (size_t i = 0; i < results->count; i++) {
        const sg_sweep_row *row = &results->rows[i];
        const size_t contender = points_contender(results->rows, i, firsts, &contenders);
        if (!points_tried(row)) continue;
        keys[count++] = (points_key){.budget = points_number(row->budget),
                                     .scale = points_number(row->scale),
                                     .lr = points_number(row->lr),
                                     .beta2 = points_number(row->beta2),
                                     .warmup = points_number(row->warmup_steps),
                                     .contender = contender,
                                     .row = i,
                                     .usable = points_usable(row)};
    }
    qsort(keys, count, sizeof *keys, points_key_order);
    return count;
}

// ---- one cell -----------------------------------------------------------------------------------

// The seed that all values of a cell were tried with: of the row that was planned first.
static const sg_sweep_row *points_first(const sg_sweep_results *results, const points_key *keys,
                                        size_t count)
{
    size_t best = SIZE_MAX;
    bool best_further = true;
    for (size_t i = 0; i < count; i++) {
        const bool further = results->rows[keys[i].row].purpose == SG_SWEEP_SEED;
        if (!keys[i].usable) continue;
        if (best == SIZE_MAX || further < best_further ||
            (further == best_further && keys[i].row < best)) {
            best = keys[i].row;
            best_further = further;
        }
    }
    return best == SIZE_MAX ? NULL : &results->rows[best];
}

static void points_add_row(const sg_sweep_results *results, size_t row, sg_sweep_point *point)
{
    for (size_t i = 0; i < point->row_count; i++)
        if (results->rows[point->rows[i]].seed == results->rows[row].seed) return; // the same again
    if (point->row_count < sizeof point->rows / sizeof *point->rows)
        point->rows[point->row_count++] = row;
}

static void points_over_seeds(const sg_sweep_results *results, sg_sweep_point *point)
{
    sg_noise noise = {0};
    point->loss = 0;
    for (size_t i = 0; i < point->row_count; i++)
        point->loss += results->rows[point->rows[i]].loss;
    point->loss /= (double)point->row_count;
    sg_noise_add_seeds(results, point, &noise);
    point->deviation = sg_noise_deviation(&noise);
}

static void points_seconds(const sg_sweep_results *results, int64_t machine, sg_sweep_point *point)
{
    point->seconds = NAN;
    for (size_t i = 0; i < point->row_count && isnan(point->seconds); i++) {
        const sg_sweep_row *row = &results->rows[point->rows[i]];
        if (row->step_machine == machine && row->step_seconds > 0 && isfinite(row->step_seconds))
            point->seconds = (double)row->steps * row->step_seconds;
    }
}

// What the search of the cell was: rates of the first seed, and where the best is among them.
static void points_search(const sg_sweep_results *results, const points_key *keys, size_t count,
                          uint64_t seed, sg_sweep_point *point)
{
    const double best = points_number(results->rows[point->best_row].lr);
    double low = best, high = best;
    for (size_t i = 0; i < count; i++) {
        if (results->rows[keys[i].row].seed != seed) continue;
        low = fmin(low, keys[i].lr);
        high = fmax(high, keys[i].lr);
        point->effort++;
    }
    point->lr_searched = high > low;
    point->lr_at_edge = high > low && (best <= low || best >= high);
}

// False: none of the cell's runs can be used.
static bool points_of_cell(const sg_sweep_results *results, int64_t machine, const points_key *keys,
                           size_t count, sg_sweep_point *out)
{
    const sg_sweep_row *first = points_first(results, keys, count);
    size_t best = SIZE_MAX;
    if (first == NULL) return false;
    for (size_t i = 0; i < count; i++) {
        const sg_sweep_row *row = &results->rows[keys[i].row];
        if (keys[i].usable && row->seed == first->seed &&
            (best == SIZE_MAX || row->loss < results->rows[keys[best].row].loss))
            best = i;
    }
    const sg_sweep_row *row = &results->rows[keys[best].row];
    *out = (sg_sweep_point){.best_row = keys[best].row,
                            .scale = row->scale,
                            .budget = row->budget,
                            .size = (double)row->parameters,
                            .active = (double)row->active_parameters,
                            .tokens = (double)row->tokens,
                            .flops = row->flops,
                            .flops_all_in = row->flops_all_in};
    points_add_row(results, keys[best].row, out);
    for (size_t i = 0; i < count; i++)
        if (keys[i].usable && points_value_order(&keys[i], &keys[best]) == 0)
            points_add_row(results, keys[i].row, out);
    points_over_seeds(results, out);
    points_seconds(results, machine, out);
    points_search(results, keys, count, first->seed, out);
    return true;
}

// ---- curves -------------------------------------------------------------------------------------

static int points_size_order(const void *one, const void *other)
{
    const sg_sweep_point *a = one, *b = other;
    const int order = points_order(a->size, b->size);
    return order != 0 ? order : (a->best_row > b->best_row) - (a->best_row < b->best_row);
}

static void points_best(const sg_sweep_results *results, sg_sweep_curve *curve)
{
    const sg_sweep_point *points = curve->points;
    size_t first = 0, second = 0;
    for (size_t i = 1; i < curve->point_count; i++) {
        const double loss = results->rows[points[i].best_row].loss;
        if (loss < results->rows[points[first].best_row].loss) {
            second = first;
            first = i;
        } else if (second == first || loss < results->rows[points[second].best_row].loss) {
            second = i;
        }
    }
    const bool several = points[first].row_count > 1 && points[second].row_count > 1;
    const bool swap = several && points[second].loss < points[first].loss;
    curve->best = swap ? second : first;
    curve->runner_up = swap ? first : second;
}

// keys (count) are of one curve. False: out of memory. Without a point it is not added.
static bool points_add_curve(const sg_sweep_results *results, int64_t machine,
                             const points_key *keys, size_t count, sg_sweep_analysis *out)
{
    const sg_sweep_row *row = &results->rows[keys->row];
    sg_sweep_curve curve = {.budget = row->budget};
    memcpy(curve.family, row->family, sizeof curve.family);
    memcpy(curve.settings, row->settings, sizeof curve.settings);
    curve.points = sg_alloc_array(count, sizeof *curve.points);
    if (curve.points == NULL) return false;
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && points_order(keys[end].scale, keys[i].scale) == 0;)
            end++;
        curve.point_count +=
            points_of_cell(results, machine, keys + i, end - i, &curve.points[curve.point_count]);
    }
    if (curve.point_count == 0) {
        sg_free(curve.points);
        return true;
    }
    qsort(curve.points, curve.point_count, sizeof *curve.points, points_size_order);
    points_best(results, &curve);
    out->curves[out->curve_count++] = curve;
    return true;
}

// Where a cell has no search of its own, that of the same cell at another budget counts whose best
// rate it has.
static void points_inherit(const sg_sweep_results *results, const sg_sweep_analysis *all,
                           const sg_sweep_curve *curve, sg_sweep_point *point)
{
    for (size_t i = 0; i < all->curve_count && !point->lr_searched; i++) {
        const sg_sweep_curve *other = &all->curves[i];
        if (!sg_sweep_same_contender(curve, other)) continue;
        for (size_t p = 0; p < other->point_count; p++) {
            const sg_sweep_point *from = &other->points[p];
            if (from->effort > 1 && from->lr_searched && sg_sweep_same(from->scale, point->scale) &&
                sg_sweep_same(results->rows[from->best_row].lr,
                              results->rows[point->best_row].lr)) {
                point->lr_searched = true;
                point->lr_at_edge = from->lr_at_edge;
            }
        }
    }
}

// False: out of memory.
static bool points_make(const sg_sweep_results *results, const points_key *keys, size_t count,
                        sg_sweep_analysis *out)
{
    const int64_t machine = sg_sweep_clock_machine(results);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && points_cell_order(&keys[end], &keys[i]) == 0;)
            end++;
        if (!points_add_curve(results, machine, keys + i, end - i, out)) return false;
    }
    for (size_t i = 0; i < out->curve_count; i++)
        for (size_t p = 0; p < out->curves[i].point_count; p++)
            points_inherit(results, out, &out->curves[i], &out->curves[i].points[p]);
    return true;
}

static sg_status points_check(const points_key *keys, size_t count, sg_error *err)
{
    size_t curves = 0, cells = 0;
    for (size_t i = 0; i < count; i++) {
        const bool curve = i == 0 || points_cell_order(&keys[i], &keys[i - 1]) != 0;
        curves += curve;
        if (curve) cells = 0;
        cells += curve || points_order(keys[i].scale, keys[i - 1].scale) != 0;
        if (curves > points_curves_most)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "sweep: found more than %d curves, expected at most that many families "
                           "(with settings) times budgets",
                           (int)points_curves_most);
        if (cells > points_curve_most)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "sweep: found more than %d scales of a family at a budget, expected at "
                           "most that many",
                           (int)points_curve_most);
    }
    return SG_OK;
}

sg_status sg_sweep_make_curves(const sg_sweep_results *results, sg_sweep_analysis *out,
                               sg_error *err)
{
    points_key *keys = sg_alloc_array(results->count, sizeof *keys);
    size_t *firsts = sg_alloc_array(results->count, sizeof *firsts);
    sg_status status = keys != NULL && firsts != NULL ? SG_OK : SG_ERR_MEMORY;
    if (status == SG_OK) {
        const size_t count = points_keys(results, keys, firsts);
        status = points_check(keys, count, err);
        if (status == SG_OK) out->curves = sg_alloc_zero(count, sizeof *out->curves);
        if (status == SG_OK && (out->curves == NULL || !points_make(results, keys, count, out)))
            status = SG_ERR_MEMORY;
    }
    sg_free(keys);
    sg_free(firsts);
    if (status != SG_ERR_MEMORY) return status;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the curves of a sweep");
}

bool sg_sweep_same_contender(const sg_sweep_curve *a, const sg_sweep_curve *b)
{
    return strcmp(a->family, b->family) == 0 && strcmp(a->settings, b->settings) == 0;
}

int64_t sg_sweep_clock_machine(const sg_sweep_results *results)
{
    int64_t best = -1;
    size_t most = 0;
    for (size_t m = 0; m < results->machine_count; m++) {
        size_t rows = 0;
        for (size_t i = 0; i < results->count; i++)
            rows +=
                results->rows[i].step_seconds > 0 && results->rows[i].step_machine == (int64_t)m;
        if (rows > most) best = (int64_t)m;
        if (rows > most) most = rows;
    }
    return best;
}

void sg_noise_add_seeds(const sg_sweep_results *results, const sg_sweep_point *point,
                        sg_noise *noise)
{
    for (size_t i = 0; i < point->row_count; i++) {
        const double away = results->rows[point->rows[i]].loss - point->loss;
        noise->squares += away * away;
    }
    noise->freedom += (int64_t)point->row_count - 1;
}

sg_noise sg_noise_of_contender(const sg_sweep_results *results, const sg_sweep_analysis *analysis,
                               const sg_sweep_curve *contender)
{
    sg_noise noise = {0};
    for (size_t i = 0; i < analysis->curve_count; i++) {
        const sg_sweep_curve *curve = &analysis->curves[i];
        if (!sg_sweep_same_contender(curve, contender)) continue;
        for (size_t p = 0; p < curve->point_count; p++)
            sg_noise_add_seeds(results, &curve->points[p], &noise);
    }
    return noise;
}
