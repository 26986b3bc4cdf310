// The tables of a sweep's report, from its rows and what the analysis says of them.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sweep/columns.h"
#include "sweep/report.h"
#include "sweep/results.h"

#define COLUMNS(columns) columns, sizeof(columns) / sizeof *(columns)

// ---- runs ---------------------------------------------------------------------------------------

static const sg_report_column run_columns[] = {
    {"id", "Run", SG_FORM_TEXT, false},
    {"family", "Family", SG_FORM_TEXT, true},
    {"scale", "Scale", SG_FORM_PLAIN, true},
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"purpose", "Made as", SG_FORM_TEXT, true},
    {"seed", "Seed", SG_FORM_TEXT, true},
    {"lr", "Rate", SG_FORM_PLAIN, true},
    {"beta2", "Beta2", SG_FORM_PLAIN, false},
    {"warmup_steps", "Warm-up", SG_FORM_PLAIN, false},
    {"state", "State", SG_FORM_TEXT, true},
    {"loss", "Loss", SG_FORM_LOSS, true},
    {"perplexity", "Perplexity", SG_FORM_PLAIN, true},
    {"perplexity_published", "Perplexity, mean of batches", SG_FORM_PLAIN, false},
    {"train_loss", "Training loss", SG_FORM_LOSS, false},
    {"parameters", "Parameters", SG_FORM_SHORT, true},
    {"active_parameters", "Active", SG_FORM_SHORT, false},
    {"neurons", "Neurons", SG_FORM_SHORT, false},
    {"active_neurons", "Active neurons", SG_FORM_SHORT, false},
    {"steps", "Steps", SG_FORM_COUNT, false},
    {"tokens", "Tokens", SG_FORM_SHORT, false},
    {"epochs", "Epochs", SG_FORM_PLAIN, false},
    {"flops", "FLOPs", SG_FORM_FLOPS, false},
    {"flops_all_in", "FLOPs with logits and router", SG_FORM_FLOPS, false},
    {"skipped_updates", "Updates left out", SG_FORM_COUNT, false},
    {"facts", "Facts", SG_FORM_COUNT, false},
    {"facts_recalled", "Facts recalled", SG_FORM_COUNT, false},
    {"fact_bits", "Bits of fact", SG_FORM_SHORT, false},
    {"seconds", "Seconds while the sweep worked", SG_FORM_TIME, false},
    {"step_seconds", "Seconds a step, idle machine", SG_FORM_PLAIN, false},
    {"step_low", "10th percentile", SG_FORM_PLAIN, false},
    {"step_high", "90th percentile", SG_FORM_PLAIN, false},
    {"machine", "Machine", SG_FORM_COUNT, false},
    {"origin", "Imported from", SG_FORM_TEXT, false},
    {"error", "Error", SG_FORM_TEXT, false}};

static void runs_result(sg_report_row *row, const sg_sweep_row *r)
{
    const bool done = r->state == SG_SWEEP_FINISHED;
    const double counts[] = {(double)r->parameters, (double)r->active_parameters,
                             (double)r->neurons, (double)r->active_neurons};
    const double none = NAN;
    sg_row_number(row, done ? r->loss : none);
    sg_row_number(row, done ? r->perplexity : none);
    sg_row_number(row, done ? r->perplexity_published : none);
    sg_row_number(row, done ? r->train_loss : none);
    for (size_t i = 0; i < 4; i++)
        sg_row_number(row, done ? counts[i] : none);
    sg_row_number(row, done ? (double)r->steps : none);
    sg_row_number(row, done ? (double)r->tokens : none);
    sg_row_number(row, done ? r->epochs : none);
    sg_row_number(row, done ? r->flops : none);
    sg_row_number(row, done ? r->flops_all_in : none);
    sg_row_number(row, done ? (double)r->skipped_updates : none);
    const bool facts = done && r->facts > 0;
    sg_row_number(row, facts ? (double)r->facts : none);
    sg_row_number(row, facts ? (double)r->facts_recalled : none);
    sg_row_number(row, facts ? r->fact_bits : none);
}

static sg_status runs_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "runs", "All runs", COLUMNS(run_columns), &table, err));
    for (size_t i = 0; i < report->results.count; i++) {
        const sg_sweep_row *r = &report->results.rows[i];
        char seed[24];
        sg_report_row row = sg_row_begin();
        snprintf(seed, sizeof seed, "%llu", (unsigned long long)r->seed);
        sg_row_text(&row, r->id);
        sg_row_text(&row, sg_report_label(report, r->family, r->settings));
        sg_row_number(&row, r->scale);
        sg_row_number(&row, r->budget);
        sg_row_text(&row, sg_sweep_purpose_word(r->purpose));
        sg_row_text(&row, seed);
        sg_row_number(&row, r->lr);
        sg_row_number(&row, r->beta2);
        sg_row_number(&row, r->warmup_steps);
        sg_row_text(&row, sg_sweep_state_word(r->state));
        runs_result(&row, r);
        sg_row_number(&row, r->seconds > 0 ? r->seconds : NAN);
        sg_row_number(&row, r->step_seconds);
        sg_row_number(&row, r->step_low);
        sg_row_number(&row, r->step_high);
        sg_row_json(&row, r->machine >= 0 ? json_integer(r->machine) : json_null());
        sg_row_text(&row, r->origin);
        sg_row_text(&row, r->error);
        SG_TRY(sg_row_end(&row, table, err));
    }
    return SG_OK;
}

// ---- points -------------------------------------------------------------------------------------

static const sg_report_column point_columns[] = {
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"family", "Family", SG_FORM_TEXT, true},
    {"scale", "Scale", SG_FORM_PLAIN, true},
    {"parameters", "Parameters", SG_FORM_SHORT, true},
    {"active_parameters", "Active", SG_FORM_SHORT, true},
    {"neurons", "Neurons", SG_FORM_SHORT, false},
    {"active_neurons", "Active neurons", SG_FORM_SHORT, false},
    {"tokens", "Tokens", SG_FORM_SHORT, true},
    {"flops", "FLOPs", SG_FORM_FLOPS, false},
    {"flops_all_in", "FLOPs with logits and router", SG_FORM_FLOPS, false},
    {"seconds", "Seconds", SG_FORM_TIME, true},
    {"seeds", "Seeds", SG_FORM_COUNT, true},
    {"loss", "Loss", SG_FORM_LOSS, true},
    {"deviation", "Deviation", SG_FORM_FINE, true},
    {"perplexity", "Perplexity", SG_FORM_PLAIN, true},
    {"lr", "Rate", SG_FORM_PLAIN, true},
    {"beta2", "Beta2", SG_FORM_PLAIN, false},
    {"warmup_steps", "Warm-up", SG_FORM_PLAIN, false},
    {"run", "Best run", SG_FORM_COUNT, false},
    {"runs", "All seeds' runs", SG_FORM_LIST, false},
    {"best", "Lowest", SG_FORM_FLAG, false}};

static json_t *points_runs(const sg_sweep_point *p)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < p->row_count; i++)
        if (json_array_append_new(list, json_integer((json_int_t)p->rows[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

static sg_status points_row(const sg_report *report, sg_report_table *table,
                            const sg_sweep_curve *curve, size_t index, sg_error *err)
{
    const sg_sweep_point *p = &curve->points[index];
    const sg_sweep_row *best = &report->results.rows[p->best_row];
    sg_report_row row = sg_row_begin();
    sg_row_number(&row, curve->budget);
    sg_row_text(&row, sg_report_label(report, curve->family, curve->settings));
    sg_row_number(&row, p->scale);
    sg_row_number(&row, p->size);
    sg_row_number(&row, p->active);
    sg_row_count(&row, best->neurons);
    sg_row_count(&row, best->active_neurons);
    sg_row_number(&row, p->tokens);
    sg_row_number(&row, p->flops);
    sg_row_number(&row, p->flops_all_in);
    sg_row_number(&row, p->seconds);
    sg_row_count(&row, (int64_t)p->row_count);
    sg_row_number(&row, p->loss);
    sg_row_number(&row, p->deviation);
    sg_row_number(&row, exp(p->loss));
    sg_row_number(&row, best->lr);
    sg_row_number(&row, best->beta2);
    sg_row_number(&row, best->warmup_steps);
    sg_row_count(&row, (int64_t)p->best_row);
    sg_row_json(&row, points_runs(p));
    sg_row_flag(&row, index == curve->best);
    return sg_row_end(&row, table, err);
}

static sg_status points_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "points", "Points of the curves", COLUMNS(point_columns), &table,
                         err));
    for (size_t c = 0; c < report->analysis.curve_count; c++)
        for (size_t p = 0; p < report->analysis.curves[c].point_count; p++)
            SG_TRY(points_row(report, table, &report->analysis.curves[c], p, err));
    return SG_OK;
}

// ---- the best at each budget --------------------------------------------------------------------

static const sg_report_column best_columns[] = {
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"family", "Family", SG_FORM_TEXT, true},
    {"loss", "Loss", SG_FORM_LOSS, true},
    {"deviation", "Deviation", SG_FORM_FINE, true},
    {"perplexity", "Perplexity", SG_FORM_PLAIN, true},
    {"behind", "Behind", SG_FORM_FINE, true},
    {"low", "Low", SG_FORM_FINE, true},
    {"high", "High", SG_FORM_FINE, true},
    {"separable", "Told apart", SG_FORM_FLAG, true},
    {"scale", "Scale", SG_FORM_PLAIN, true},
    {"parameters", "Parameters", SG_FORM_SHORT, true},
    {"active_parameters", "Active", SG_FORM_SHORT, true},
    {"flops_all_in", "FLOPs with logits and router", SG_FORM_FLOPS, false},
    {"seconds", "Seconds", SG_FORM_TIME, false},
    {"lr", "Rate", SG_FORM_PLAIN, false},
    {"seeds", "Seeds", SG_FORM_COUNT, true},
    {"run", "Best run", SG_FORM_COUNT, false},
    {"verdict", "Verdict", SG_FORM_COUNT, false}};

// The verdict on two curves at equal FLOPs; NULL: there is none.
static const sg_sweep_verdict *best_verdict(const sg_sweep_analysis *a, size_t other)
{
    for (size_t v = 0; v < a->verdict_count; v++)
        if (!a->verdicts[v].equal_seconds && a->verdicts[v].other_curve == other)
            return &a->verdicts[v];
    return NULL;
}

static sg_status best_row(const sg_report *report, sg_report_table *table, size_t index,
                          double lowest, sg_error *err)
{
    const sg_sweep_curve *curve = &report->analysis.curves[index];
    const sg_sweep_point *p = &curve->points[curve->best];
    const sg_sweep_verdict *v = best_verdict(&report->analysis, index);
    sg_report_row row = sg_row_begin();
    sg_row_number(&row, curve->budget);
    sg_row_text(&row, sg_report_label(report, curve->family, curve->settings));
    sg_row_number(&row, p->loss);
    sg_row_number(&row, p->deviation);
    sg_row_number(&row, exp(p->loss));
    sg_row_number(&row, p->loss - lowest);
    sg_row_number(&row, v != NULL ? v->difference.low : NAN);
    sg_row_number(&row, v != NULL ? v->difference.high : NAN);
    sg_row_flag(&row, v != NULL && v->separable);
    sg_row_number(&row, p->scale);
    sg_row_number(&row, p->size);
    sg_row_number(&row, p->active);
    sg_row_number(&row, p->flops_all_in);
    sg_row_number(&row, p->seconds);
    sg_row_number(&row, report->results.rows[p->best_row].lr);
    sg_row_count(&row, (int64_t)p->row_count);
    sg_row_count(&row, (int64_t)p->best_row);
    sg_row_number(&row, v != NULL ? (double)(v - report->analysis.verdicts) : NAN);
    return sg_row_end(&row, table, err);
}

// The index of the curve of this budget with the lowest loss that is above `above`, or equal to it
// and later than `after`; SIZE_MAX: there is none.
static size_t best_next(const sg_sweep_analysis *a, double budget, double above, size_t after)
{
    size_t found = SIZE_MAX;
    double lowest = INFINITY;
    for (size_t c = 0; c < a->curve_count; c++) {
        const sg_sweep_curve *curve = &a->curves[c];
        if (curve->point_count == 0 || !sg_sweep_same_number(curve->budget, budget)) continue;
        const double loss = curve->points[curve->best].loss;
        if ((loss > above || (loss == above && c > after && after != SIZE_MAX)) && loss < lowest) {
            found = c;
            lowest = loss;
        }
    }
    return found;
}

static sg_status best_table(sg_report *report, sg_error *err)
{
    const sg_sweep_analysis *a = &report->analysis;
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "best", "Lowest loss at each budget", COLUMNS(best_columns),
                         &table, err));
    for (size_t c = 0; c < a->curve_count; c++) {
        if (c > 0 && sg_sweep_same_number(a->curves[c].budget, a->curves[c - 1].budget)) continue;
        const double budget = a->curves[c].budget;
        size_t at = best_next(a, budget, -INFINITY, SIZE_MAX);
        const double lowest = at != SIZE_MAX ? a->curves[at].points[a->curves[at].best].loss : NAN;
        while (at != SIZE_MAX) {
            SG_TRY(best_row(report, table, at, lowest, err));
            at = best_next(a, budget, a->curves[at].points[a->curves[at].best].loss, at);
        }
    }
    return SG_OK;
}

// ---- parabolas and surfaces ---------------------------------------------------------------------

static const sg_report_column fit_columns[] = {
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"family", "Family", SG_FORM_TEXT, true},
    {"state", "Minimum", SG_FORM_TEXT, true},
    {"size", "Best size", SG_FORM_SHORT, true},
    {"size_low", "Low", SG_FORM_SHORT, true},
    {"size_high", "High", SG_FORM_SHORT, true},
    {"loss", "Loss there", SG_FORM_LOSS, true},
    {"loss_low", "Low", SG_FORM_LOSS, true},
    {"loss_high", "High", SG_FORM_LOSS, true},
    {"tokens", "Tokens there", SG_FORM_SHORT, true},
    {"tokens_low", "Low", SG_FORM_SHORT, false},
    {"tokens_high", "High", SG_FORM_SHORT, false},
    {"a", "a", SG_FORM_PLAIN, false},
    {"b", "b", SG_FORM_PLAIN, false},
    {"c", "c", SG_FORM_PLAIN, false},
    {"points", "Sizes", SG_FORM_COUNT, true},
    {"residual", "Residual", SG_FORM_FINE, true},
    {"noise", "Deviation of a run", SG_FORM_FINE, false},
    {"freedom", "Degrees of freedom", SG_FORM_COUNT, false}};

static const char *fit_word(sg_sweep_fit_state state)
{
    static const char *const words[] = {"inside", "too few sizes", "none", "at the edge"};
    return words[state];
}

static sg_status fits_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "fits", "Parabolas: loss = a + b ln N + c (ln N)^2",
                         COLUMNS(fit_columns), &table, err));
    for (size_t i = 0; i < report->analysis.curve_count; i++) {
        const sg_sweep_curve *c = &report->analysis.curves[i];
        sg_report_row row = sg_row_begin();
        sg_row_number(&row, c->budget);
        sg_row_text(&row, sg_report_label(report, c->family, c->settings));
        sg_row_text(&row, fit_word(c->fit));
        sg_row_value(&row, &c->size);
        sg_row_value(&row, &c->loss);
        sg_row_value(&row, &c->tokens);
        sg_row_number(&row, c->a);
        sg_row_number(&row, c->b);
        sg_row_number(&row, c->c);
        sg_row_count(&row, (int64_t)c->point_count);
        sg_row_number(&row, c->residual);
        sg_row_number(&row, c->noise);
        sg_row_count(&row, c->freedom);
        SG_TRY(sg_row_end(&row, table, err));
    }
    return SG_OK;
}

static const sg_report_column surface_columns[] = {
    {"family", "Family", SG_FORM_TEXT, true},
    {"points", "Points", SG_FORM_COUNT, true},
    {"sizes", "Sizes", SG_FORM_COUNT, false},
    {"E", "E", SG_FORM_PLAIN, true},
    {"E_low", "Low", SG_FORM_PLAIN, false},
    {"E_high", "High", SG_FORM_PLAIN, false},
    {"A", "A", SG_FORM_PLAIN, true},
    {"A_low", "Low", SG_FORM_PLAIN, false},
    {"A_high", "High", SG_FORM_PLAIN, false},
    {"B", "B", SG_FORM_PLAIN, true},
    {"B_low", "Low", SG_FORM_PLAIN, false},
    {"B_high", "High", SG_FORM_PLAIN, false},
    {"alpha", "alpha", SG_FORM_PLAIN, true},
    {"alpha_low", "Low", SG_FORM_PLAIN, true},
    {"alpha_high", "High", SG_FORM_PLAIN, true},
    {"beta", "beta", SG_FORM_PLAIN, true},
    {"beta_low", "Low", SG_FORM_PLAIN, true},
    {"beta_high", "High", SG_FORM_PLAIN, true},
    {"exponent", "N ~ C^", SG_FORM_PLAIN, true},
    {"exponent_low", "Low", SG_FORM_PLAIN, true},
    {"exponent_high", "High", SG_FORM_PLAIN, true},
    {"residual", "Residual", SG_FORM_FINE, true},
    {"noise", "Deviation of a run", SG_FORM_FINE, false},
    {"middle_budget", "Bias at budget", SG_FORM_FLOPS, false},
    {"bias_parabola", "Bias, parabola", SG_FORM_FINE, true},
    {"bias_surface", "Bias, surface", SG_FORM_FINE, true},
    {"bias_parabola_noise", "Bias with noise, parabola", SG_FORM_FINE, false},
    {"bias_surface_noise", "Bias with noise, surface", SG_FORM_FINE, false}};

static sg_status surfaces_table(sg_report *report, sg_error *err)
{
    static const sg_sweep_number none = {NAN, NAN, NAN};
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "surfaces", "Surfaces: L(N, D) = E + A N^-alpha + B D^-beta",
                         COLUMNS(surface_columns), &table, err));
    for (size_t i = 0; i < report->analysis.surface_count; i++) {
        const sg_sweep_surface *s = &report->analysis.surfaces[i];
        sg_report_row row = sg_row_begin();
        sg_row_text(&row, sg_report_label(report, s->family, s->settings));
        sg_row_count(&row, (int64_t)s->points);
        sg_row_count(&row, (int64_t)s->sizes);
        sg_row_value(&row, s->fitted ? &s->E : &none);
        sg_row_value(&row, s->fitted ? &s->A : &none);
        sg_row_value(&row, s->fitted ? &s->B : &none);
        sg_row_value(&row, s->fitted && s->exponents ? &s->alpha : &none);
        sg_row_value(&row, s->fitted && s->exponents ? &s->beta : &none);
        sg_row_value(&row, s->fitted && s->exponents ? &s->exponent : &none);
        sg_row_number(&row, s->fitted ? s->residual : NAN);
        sg_row_number(&row, s->fitted ? s->noise : NAN);
        sg_row_number(&row, s->fitted ? s->middle_budget : NAN);
        sg_row_number(&row, s->fitted ? s->bias_parabola : NAN);
        sg_row_number(&row, s->fitted ? s->bias_surface : NAN);
        sg_row_number(&row, s->fitted ? s->bias_parabola_noise : NAN);
        sg_row_number(&row, s->fitted ? s->bias_surface_noise : NAN);
        SG_TRY(sg_row_end(&row, table, err));
    }
    return SG_OK;
}

// ---- verdicts and fronts ------------------------------------------------------------------------

static const sg_report_column verdict_columns[] = {
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"equal", "At equal", SG_FORM_TEXT, true},
    {"at_seconds", "Seconds", SG_FORM_TIME, false},
    {"best", "Lowest", SG_FORM_TEXT, false},
    {"other", "Against", SG_FORM_TEXT, false},
    {"difference", "Difference", SG_FORM_FINE, false},
    {"low", "Low", SG_FORM_FINE, false},
    {"high", "High", SG_FORM_FINE, false},
    {"p", "p", SG_FORM_FINE, false},
    {"p_holm", "p (Holm)", SG_FORM_FINE, true},
    {"separable", "Told apart", SG_FORM_FLAG, false},
    {"paired", "Paired by seeds", SG_FORM_FLAG, false},
    {"documents", "Documents drawn", SG_FORM_FLAG, false},
    {"seeds", "Seeds", SG_FORM_COUNT, true},
    {"seeds_needed", "Seeds needed", SG_FORM_COUNT, false},
    {"words", "In words", SG_FORM_TEXT, true}};

// "a below b by 0.031 nats [0.020, 0.042]", "a and b are not separable …".
static void table_verdict(const sg_report *report, const sg_sweep_verdict *v, char *out,
                          size_t capacity)
{
    const sg_sweep_number *d = &v->difference;
    const char *best = sg_report_curve_label(report, v->best_curve);
    const char *other = sg_report_curve_label(report, v->other_curve);
    if (v->separable) {
        snprintf(out, capacity, "%s below %s by %.4f nats [%.4f, %.4f]", best, other, d->value,
                 d->low, d->high);
        return;
    }
    int used =
        snprintf(out, capacity, "%s and %s are not separable: %.4f nats", best, other, d->value);
    if (used < 0 || (size_t)used >= capacity) return;
    char *at = out + used;
    const size_t room = capacity - (size_t)used;
    if (v->seeds < 2 && v->paired)
        snprintf(at, room, ", of one seed");
    else if (v->seeds_needed >= SG_SWEEP_SEEDS_MOST)
        snprintf(at, room, " [%.4f, %.4f]; no number of seeds may be enough", d->low, d->high);
    else if (v->seeds_needed > 0)
        snprintf(at, room, " [%.4f, %.4f]; about %lld seeds would be needed", d->low, d->high,
                 (long long)v->seeds_needed);
    else if (isfinite(d->low) && isfinite(d->high))
        snprintf(at, room, " [%.4f, %.4f]", d->low, d->high);
}

static sg_status verdicts_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(
        sg_report_add(report, "verdicts", "Who is lower", COLUMNS(verdict_columns), &table, err));
    for (size_t i = 0; i < report->analysis.verdict_count; i++) {
        const sg_sweep_verdict *v = &report->analysis.verdicts[i];
        char words[512];
        sg_report_row row = sg_row_begin();
        table_verdict(report, v, words, sizeof words);
        sg_row_number(&row, v->budget);
        sg_row_text(&row, v->equal_seconds ? "seconds" : "FLOPs");
        sg_row_number(&row, v->equal_seconds ? v->seconds : NAN);
        sg_row_text(&row, sg_report_curve_label(report, v->best_curve));
        sg_row_text(&row, sg_report_curve_label(report, v->other_curve));
        sg_row_value(&row, &v->difference);
        sg_row_number(&row, v->p);
        sg_row_number(&row, v->p_holm);
        sg_row_flag(&row, v->separable);
        sg_row_flag(&row, v->paired);
        sg_row_flag(&row, v->documents);
        sg_row_count(&row, v->seeds);
        sg_row_json(&row, v->seeds_needed > 0 ? json_integer(v->seeds_needed) : json_null());
        sg_row_text(&row, words);
        SG_TRY(sg_row_end(&row, table, err));
    }
    return SG_OK;
}

static const sg_report_column front_columns[] = {{"family", "Family", SG_FORM_TEXT, true},
                                                 {"seconds", "Seconds", SG_FORM_TIME, true},
                                                 {"loss", "Loss", SG_FORM_LOSS, true},
                                                 {"perplexity", "Perplexity", SG_FORM_PLAIN, true},
                                                 {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
                                                 {"scale", "Scale", SG_FORM_PLAIN, true},
                                                 {"run", "Run", SG_FORM_COUNT, false}};

static sg_status fronts_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "fronts", "Lowest loss by seconds of training",
                         COLUMNS(front_columns), &table, err));
    for (size_t i = 0; i < report->analysis.front_count; i++) {
        const sg_sweep_front *f = &report->analysis.fronts[i];
        for (size_t n = 0; n < f->count; n++) {
            const sg_sweep_row *r = &report->results.rows[f->row[n]];
            sg_report_row row = sg_row_begin();
            sg_row_text(&row, sg_report_label(report, f->family, f->settings));
            sg_row_number(&row, f->seconds[n]);
            sg_row_number(&row, f->loss[n]);
            sg_row_number(&row, exp(f->loss[n]));
            sg_row_number(&row, r->budget);
            sg_row_number(&row, r->scale);
            sg_row_count(&row, (int64_t)f->row[n]);
            SG_TRY(sg_row_end(&row, table, err));
        }
    }
    return SG_OK;
}

// ---- searches -----------------------------------------------------------------------------------

static const sg_report_column search_columns[] = {{"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
                                                  {"family", "Family", SG_FORM_TEXT, true},
                                                  {"scale", "Scale", SG_FORM_PLAIN, true},
                                                  {"tried", "Rates tried", SG_FORM_LIST, true},
                                                  {"losses", "Loss at each", SG_FORM_LIST, false},
                                                  {"lr", "Best rate", SG_FORM_PLAIN, true},
                                                  {"beta2", "Beta2", SG_FORM_PLAIN, false},
                                                  {"warmup_steps", "Warm-up", SG_FORM_PLAIN, false},
                                                  {"searched", "Searched", SG_FORM_FLAG, false},
                                                  {"at_edge", "At the edge", SG_FORM_FLAG, true},
                                                  {"effort", "Runs it took", SG_FORM_COUNT, true},
                                                  {"runs", "Runs", SG_FORM_LIST, false}};

// Rates that were tried in the cell of a point with its first seed, ascending, each with its lowest
// loss (null: none finished) and the run that has it.
static sg_status search_tried(const sg_sweep_results *results, const sg_sweep_point *p,
                              json_t *rates, json_t *losses, json_t *runs, sg_error *err)
{
    const sg_sweep_row *best = &results->rows[p->best_row];
    double last = -INFINITY;
    for (;;) {
        size_t found = SIZE_MAX;
        for (size_t i = 0; i < results->count; i++) {
            const sg_sweep_row *r = &results->rows[i];
            if (r->seed != best->seed || !sg_sweep_same_cell(r, best) || !(r->lr > last)) continue;
            const sg_sweep_row *f = found != SIZE_MAX ? &results->rows[found] : NULL;
            if (f == NULL || r->lr < f->lr ||
                (r->lr == f->lr && r->state == SG_SWEEP_FINISHED &&
                 (f->state != SG_SWEEP_FINISHED || r->loss < f->loss)))
                found = i;
        }
        if (found == SIZE_MAX) return SG_OK;
        const sg_sweep_row *f = &results->rows[found];
        const bool told = f->state == SG_SWEEP_FINISHED && isfinite(f->loss);
        last = f->lr;
        if (json_array_append_new(rates, json_real(last)) != 0 ||
            json_array_append_new(losses, told ? json_real(f->loss) : json_null()) != 0 ||
            json_array_append_new(runs, json_integer((json_int_t)found)) != 0)
            return sg_report_memory(err);
    }
}

static sg_status search_row(const sg_report *report, sg_report_table *table,
                            const sg_sweep_curve *curve, const sg_sweep_point *p, sg_error *err)
{
    const sg_sweep_row *best = &report->results.rows[p->best_row];
    json_t *rates = json_array(), *losses = json_array(), *runs = json_array();
    sg_status status = search_tried(&report->results, p, rates, losses, runs, err);
    sg_report_row row = sg_row_begin();
    sg_row_number(&row, curve->budget);
    sg_row_text(&row, sg_report_label(report, curve->family, curve->settings));
    sg_row_number(&row, p->scale);
    sg_row_json(&row, rates);
    sg_row_json(&row, losses);
    sg_row_number(&row, best->lr);
    sg_row_number(&row, best->beta2);
    sg_row_number(&row, best->warmup_steps);
    sg_row_flag(&row, p->lr_searched);
    sg_row_flag(&row, p->lr_at_edge);
    sg_row_count(&row, p->effort);
    sg_row_json(&row, runs);
    if (status == SG_OK) return sg_row_end(&row, table, err);
    json_decref(row.cells);
    return status;
}

static sg_status search_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "search", "What the search of rates tried",
                         COLUMNS(search_columns), &table, err));
    for (size_t c = 0; c < report->analysis.curve_count; c++)
        for (size_t p = 0; p < report->analysis.curves[c].point_count; p++)
            SG_TRY(search_row(report, table, &report->analysis.curves[c],
                              &report->analysis.curves[c].points[p], err));
    return SG_OK;
}

// ---- facts --------------------------------------------------------------------------------------

static const sg_report_column fact_columns[] = {
    {"budget", "Budget, FLOPs", SG_FORM_FLOPS, true},
    {"family", "Family", SG_FORM_TEXT, true},
    {"scale", "Scale", SG_FORM_PLAIN, true},
    {"seeds", "Seeds", SG_FORM_COUNT, false},
    {"facts", "Facts", SG_FORM_COUNT, true},
    {"recalled", "Recalled", SG_FORM_PLAIN, true},
    {"share", "Share", SG_FORM_FINE, true},
    {"bits", "Bits", SG_FORM_SHORT, true},
    {"bits_per_parameter", "Bits a parameter", SG_FORM_FINE, true},
    {"bits_per_active", "Bits an active parameter", SG_FORM_FINE, true},
    {"neurons", "Neurons", SG_FORM_SHORT, true},
    {"active_neurons", "Active neurons", SG_FORM_SHORT, false},
    {"parameters", "Parameters", SG_FORM_SHORT, true},
    {"active_parameters", "Active", SG_FORM_SHORT, false},
    {"loss", "Loss", SG_FORM_LOSS, false},
    {"run", "Best run", SG_FORM_COUNT, false}};

// Means over the seeds of a point; none where nothing was measured.
static sg_status facts_row(const sg_report *report, sg_report_table *table,
                           const sg_sweep_curve *curve, const sg_sweep_point *p, sg_error *err)
{
    const sg_sweep_row *best = &report->results.rows[p->best_row];
    double recalled = 0, bits = 0, facts = 0;
    int64_t seeds = 0;
    for (size_t i = 0; i < p->row_count; i++) {
        const sg_sweep_row *r = &report->results.rows[p->rows[i]];
        if (r->facts <= 0) continue;
        facts += (double)r->facts;
        recalled += (double)r->facts_recalled;
        bits += r->fact_bits;
        seeds++;
    }
    if (seeds == 0) return SG_OK;
    const double n = (double)seeds;
    sg_report_row row = sg_row_begin();
    sg_row_number(&row, curve->budget);
    sg_row_text(&row, sg_report_label(report, curve->family, curve->settings));
    sg_row_number(&row, p->scale);
    sg_row_count(&row, seeds);
    sg_row_number(&row, facts / n);
    sg_row_number(&row, recalled / n);
    sg_row_number(&row, recalled / facts);
    sg_row_number(&row, bits / n);
    sg_row_number(&row, p->size > 0 ? bits / n / p->size : NAN);
    sg_row_number(&row, p->active > 0 ? bits / n / p->active : NAN);
    sg_row_count(&row, best->neurons);
    sg_row_count(&row, best->active_neurons);
    sg_row_number(&row, p->size);
    sg_row_number(&row, p->active);
    sg_row_number(&row, p->loss);
    sg_row_count(&row, (int64_t)p->best_row);
    return sg_row_end(&row, table, err);
}

static sg_status facts_table(sg_report *report, sg_error *err)
{
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "facts", "Facts recalled", COLUMNS(fact_columns), &table, err));
    for (size_t c = 0; c < report->analysis.curve_count; c++)
        for (size_t p = 0; p < report->analysis.curves[c].point_count; p++)
            SG_TRY(facts_row(report, table, &report->analysis.curves[c],
                             &report->analysis.curves[c].points[p], err));
    return SG_OK;
}

sg_status sg_report_tables(sg_report *report, sg_error *err)
{
    SG_TRY(best_table(report, err));
    SG_TRY(verdicts_table(report, err));
    SG_TRY(fits_table(report, err));
    SG_TRY(surfaces_table(report, err));
    SG_TRY(fronts_table(report, err));
    SG_TRY(search_table(report, err));
    SG_TRY(facts_table(report, err));
    SG_TRY(points_table(report, err));
    return runs_table(report, err);
}
