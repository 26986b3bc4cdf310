// A report of plain runs: what `sgatlin compare` tells of them, and their curves.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sweep/report.h"
#include "train/run_options.h"
#include "train/run_settings.h"

sg_status sg_run_figures(const sg_train_run *run, sg_run_figure figures[SG_RUN_FIGURES],
                         sg_error *err)
{
    sg_cost cost;
    const sg_config *config = &run->options.config;
    const bool done = run->finished;
    SG_TRY(sg_config_cost(config, config->max_position_embeddings, 1, true, 1, &cost, err));
    const sg_run_figure all[SG_RUN_FIGURES] = {
        {"parameters", "parameters", (double)cost.parameters, -1},
        {"active parameters per token", "active_parameters_per_token",
         (double)cost.active_parameters_per_token, -1},
        {"feed-forward neurons", "ffn_neurons", (double)cost.ffn_neurons, -1},
        {"  of these active per token", "ffn_active_neurons_per_token",
         (double)cost.ffn_active_neurons_per_token, -1},
        {"forward FLOPs per sequence", "forward_flops_per_sequence",
         cost.forward_flops_per_sequence, -1},
        {"training FLOPs", "flops", done ? run->result.flops : NAN, -1},
        {"training tokens", "tokens", done ? (double)run->result.tokens : NAN, -1},
        {"training seconds", "seconds", done ? run->result.seconds : NAN, 0},
        {"tokens per second", "tokens_per_second",
         done && run->result.seconds > 0 ? (double)run->result.tokens / run->result.seconds : NAN,
         -1},
        {"validation perplexity", "val_perplexity",
         done && run->result.val.tokens > 0 ? run->result.val.perplexity : NAN, 3}};
    memcpy(figures, all, sizeof all);
    return SG_OK;
}

// ---- reading ------------------------------------------------------------------------------------

static void runs_name(sg_report_run *run)
{
    const char *end = run->path + strlen(run->path);
    while (end > run->path && end[-1] == '/')
        end--;
    const char *begin = end;
    while (begin > run->path && begin[-1] != '/')
        begin--;
    snprintf(run->name, sizeof run->name, "%.*s", (int)(end - begin), begin);
}

static sg_status runs_read(sg_report *report, sg_report_run *run, const char *path, sg_error *err)
{
    run->path = sg_strdup(path);
    if (run->path == NULL) return sg_report_memory(err);
    runs_name(run);
    sg_run_settings settings;
    SG_TRY(sg_run_settings_read(path, &settings, err));
    snprintf(run->data, sizeof run->data, "%s", settings.data_folder);
    SG_TRY(sg_train_run_read(path, &run->run, err));
    SG_TRY(sg_run_figures(&run->run, run->figures, err));
    SG_TRY(sg_train_curve(path, "loss", "step", &run->loss, err));
    SG_TRY(sg_train_curve(path, "val_loss", "step", &run->val_loss, err));
    if (!run->run.finished)
        SG_TRY(
            sg_report_line(report->remarks, err,
                           "%s: the run is at step %lld of %lld: what it came to is not known yet",
                           path, (long long)run->run.step, (long long)run->run.steps));
    if (strcmp(run->run.data_hash, report->runs[0].run.data_hash) != 0)
        SG_TRY(sg_report_line(report->remarks, err,
                              "%s: trained on other data than %s: their losses do not compare",
                              path, report->runs[0].path));
    return SG_OK;
}

// ---- the table ----------------------------------------------------------------------------------

enum { runs_before = 9 };
static const sg_report_column runs_columns[runs_before + SG_RUN_FIGURES] = {
    {"run", "Run", SG_FORM_TEXT, true},
    {"path", "Folder", SG_FORM_TEXT, false},
    {"data", "Data", SG_FORM_TEXT, false},
    {"family", "Family", SG_FORM_TEXT, true},
    {"finished", "Finished", SG_FORM_FLAG, false},
    {"step", "Step", SG_FORM_COUNT, false},
    {"steps", "Steps", SG_FORM_COUNT, true},
    {"compute", "Products in", SG_FORM_TEXT, false},
    {"train_loss", "Training loss", SG_FORM_LOSS, true},
    {"parameters", "Parameters", SG_FORM_SHORT, true},
    {"active_parameters", "Active", SG_FORM_SHORT, true},
    {"neurons", "Neurons", SG_FORM_SHORT, true},
    {"active_neurons", "Active neurons", SG_FORM_SHORT, false},
    {"forward_flops_per_sequence", "Forward FLOPs a sequence", SG_FORM_FLOPS, false},
    {"flops", "FLOPs", SG_FORM_FLOPS, true},
    {"tokens", "Tokens", SG_FORM_SHORT, true},
    {"seconds", "Seconds", SG_FORM_TIME, true},
    {"tokens_per_second", "Tokens a second", SG_FORM_SHORT, false},
    {"perplexity", "Perplexity", SG_FORM_PLAIN, true}};

static sg_status runs_row(const sg_report_run *run, sg_report_table *table, sg_error *err)
{
    char compute[64];
    const sg_train_options *o = &run->run.options;
    sg_report_row row = sg_row_begin();
    snprintf(compute, sizeof compute, "%s (logits %s)", sg_compute_kind_name(o->compute),
             sg_compute_kind_name(o->logits_compute));
    sg_row_text(&row, run->name);
    sg_row_text(&row, run->path);
    sg_row_text(&row, run->data);
    sg_row_text(&row, o->config.ffn);
    sg_row_flag(&row, run->run.finished);
    sg_row_count(&row, run->run.step);
    sg_row_count(&row, run->run.steps);
    sg_row_text(&row, compute);
    sg_row_number(&row, run->run.finished ? run->run.result.train_loss : NAN);
    for (size_t i = 0; i < SG_RUN_FIGURES; i++)
        sg_row_number(&row, run->figures[i].value);
    return sg_row_end(&row, table, err);
}

static bool runs_same(double a, double b)
{
    return fabs(a - b) <= 0.01 * fabs(a);
}

// Who is best, where that can be said: finished runs, on the same data. One run of each tells
// nothing of chance, which the answer says.
static sg_status runs_answer(sg_report *report, const sg_report_table *table, sg_error *err)
{
    size_t best = 0, second = SIZE_MAX;
    bool flops = true;
    for (size_t i = 0; i < report->run_count; i++) {
        const double p = sg_report_number(table, i, "perplexity");
        if (isnan(p) || strcmp(report->runs[i].run.data_hash, report->runs[0].run.data_hash) != 0)
            return SG_OK;
        flops = flops &&
                runs_same(sg_report_number(table, 0, "flops"), sg_report_number(table, i, "flops"));
        if (p < sg_report_number(table, best, "perplexity")) best = i;
    }
    for (size_t i = 0; i < report->run_count; i++)
        if (i != best && (second == SIZE_MAX || sg_report_number(table, i, "perplexity") <
                                                    sg_report_number(table, second, "perplexity")))
            second = i;
    if (second == SIZE_MAX) return SG_OK;
    return sg_report_line(report->answers, err,
                          "%s%s has the %s perplexity: %.3f against %.3f of %s; single runs tell "
                          "nothing of chance.",
                          flops ? "At equal FLOPs " : "", report->runs[best].name,
                          report->run_count == 2 ? "lower" : "lowest",
                          sg_report_number(table, best, "perplexity"),
                          sg_report_number(table, second, "perplexity"), report->runs[second].name);
}

// Where two folders have one name, their paths tell them apart.
static void runs_tell_apart(sg_report *report)
{
    for (size_t i = 0; i < report->run_count; i++) {
        bool taken = false;
        for (size_t k = 0; k < report->run_count && !taken; k++)
            taken = k != i && strcmp(report->runs[k].name, report->runs[i].name) == 0;
        if (!taken) continue;
        for (size_t k = i + 1; k < report->run_count; k++)
            if (strcmp(report->runs[k].name, report->runs[i].name) == 0)
                snprintf(report->runs[k].name, sizeof report->runs[k].name, "%s",
                         report->runs[k].path);
        snprintf(report->runs[i].name, sizeof report->runs[i].name, "%s", report->runs[i].path);
    }
}

static sg_status runs_fill(sg_report *report, const char *const *paths, size_t count, sg_error *err)
{
    report->runs = sg_alloc_zero(count, sizeof *report->runs);
    if (report->runs == NULL) return sg_report_memory(err);
    report->run_count = count;
    for (size_t i = 0; i < count; i++)
        SG_TRY(runs_read(report, &report->runs[i], paths[i], err));
    runs_tell_apart(report);
    sg_report_table *table;
    SG_TRY(sg_report_add(report, "runs", "Runs beside each other", runs_columns,
                         runs_before + SG_RUN_FIGURES, &table, err));
    for (size_t i = 0; i < count; i++) {
        SG_TRY(runs_row(&report->runs[i], table, err));
        if (json_array_append_new(report->contenders, sg_json_string(report->runs[i].name)) != 0)
            return sg_report_memory(err);
    }
    return runs_answer(report, table, err);
}

sg_status sg_report_runs(const char *const *paths, size_t count, const sg_report_options *options,
                         sg_report **out, sg_error *err)
{
    sg_report *report = NULL;
    *out = NULL;
    if (count == 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "report: found no run, expected at least one");
    SG_TRY(sg_report_new(options, &report, err));
    sg_status status = runs_fill(report, paths, count, err);
    if (status != SG_OK)
        sg_report_free(report);
    else
        *out = report;
    return status;
}

sg_status sg_report_run_options(const sg_report *report, json_t *root, sg_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->run_count; i++)
        if (json_array_append_new(list, sg_run_options_json(&report->runs[i].run.options)) != 0) {
            json_decref(list);
            return sg_report_memory(err);
        }
    return sg_report_share_options(root, list, err);
}
