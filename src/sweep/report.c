// A report of a sweep: its results, what the analysis says of them, the tables made from both.
#include "sweep/report.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "sweep/results.h"

sg_report_options sg_report_options_default(void)
{
    return (sg_report_options){.resamples = 2000, .seed = 1};
}

void sg_report_free(sg_report *report)
{
    if (report == NULL) return;
    sg_sweep_results_clear(&report->results);
    sg_sweep_analysis_clear(&report->analysis);
    for (size_t i = 0; i < report->table_count; i++)
        json_decref(report->tables[i].rows);
    json_decref(report->answers);
    json_decref(report->remarks);
    json_decref(report->contenders);
    json_decref(report->varied);
    json_decref(report->labels);
    for (size_t i = 0; i < report->run_count; i++) {
        sg_free(report->runs[i].path);
        sg_curve_clear(&report->runs[i].loss);
        sg_curve_clear(&report->runs[i].val_loss);
    }
    sg_free(report->runs);
    sg_free(report->command);
    sg_free(report);
}

size_t sg_report_remark_count(const sg_report *report)
{
    return json_array_size(report->remarks);
}

const char *sg_report_remark(const sg_report *report, size_t index)
{
    return json_string_value(json_array_get(report->remarks, index));
}

sg_status sg_report_new(const sg_report_options *options, sg_report **out, sg_error *err)
{
    sg_json_setup();
    sg_report *report = sg_alloc_zero(1, sizeof *report);
    if (report == NULL) return sg_report_memory(err);
    report->answers = json_array();
    report->remarks = json_array();
    report->contenders = json_array();
    report->varied = json_object();
    report->labels = json_object();
    const bool told = options != NULL && options->command != NULL;
    if (told) report->command = sg_strdup(options->command);
    if (report->answers == NULL || report->remarks == NULL || report->contenders == NULL ||
        report->varied == NULL || report->labels == NULL || (told && report->command == NULL)) {
        sg_report_free(report);
        return sg_report_memory(err);
    }
    *out = report;
    return SG_OK;
}

// ---- names --------------------------------------------------------------------------------------

// Notes the settings that are not the same in all rows.
static sg_status report_settings(sg_report *report, json_t *first, const sg_sweep_row *row,
                                 sg_error *err)
{
    json_t *object = NULL, *value;
    const char *key;
    const char *text = row->settings[0] != '\0' ? row->settings : "{}";
    SG_TRY(sg_json_parse(text, strlen(text), "settings of a run", &object, err));
    int failed = 0;
    json_object_foreach(object, key, value) if (!json_equal(value, json_object_get(first, key)))
        failed |= json_object_set_new(report->varied, key, json_true());
    json_object_foreach(first, key, value) if (json_object_get(object, key) == NULL) failed |=
        json_object_set_new(report->varied, key, json_true());
    json_decref(object);
    return failed ? sg_report_memory(err) : SG_OK;
}

static sg_status report_varied(sg_report *report, sg_error *err)
{
    json_t *first = NULL;
    const sg_sweep_results *r = &report->results;
    if (r->count == 0) return SG_OK;
    const char *text = r->rows[0].settings[0] != '\0' ? r->rows[0].settings : "{}";
    SG_TRY(sg_json_parse(text, strlen(text), "settings of a run", &first, err));
    sg_status status = SG_OK;
    for (size_t i = 1; i < r->count && status == SG_OK; i++)
        if (strcmp(r->rows[i].settings, r->rows[i - 1].settings) != 0)
            status = report_settings(report, first, &r->rows[i], err);
    json_decref(first);
    return status;
}

enum { report_key = SG_SWEEP_NAME + SG_SWEEP_SETTINGS + 2 };

static const char *report_key_of(const char *family, const char *settings, char key[report_key])
{
    snprintf(key, report_key, "%s\n%s", family, settings);
    return key;
}

const char *sg_report_label(const sg_report *report, const char *family, const char *settings)
{
    char key[report_key];
    const json_t *label = json_object_get(report->labels, report_key_of(family, settings, key));
    return label != NULL ? json_string_value(label) : family;
}

const char *sg_report_curve_label(const sg_report *report, size_t curve)
{
    const sg_sweep_curve *c = &report->analysis.curves[curve];
    return sg_report_label(report, c->family, c->settings);
}

static sg_status report_label(sg_report *report, const sg_sweep_row *row, json_t **label,
                              sg_error *err)
{
    char text[SG_REPORT_LABEL];
    const char *settings = row->settings[0] != '\0' ? row->settings : "{}", *key;
    json_t *object = NULL, *value;
    SG_TRY(sg_json_parse(settings, strlen(settings), "settings of a run", &object, err));
    snprintf(text, sizeof text, "%s", row->family);
    json_object_foreach(object, key, value)
    {
        char *other = NULL;
        const size_t used = strlen(text);
        if (json_object_get(report->varied, key) == NULL) continue;
        if (!json_is_string(value) && sg_json_text(value, false, &other, err) != SG_OK) {
            json_decref(object);
            return SG_ERR_MEMORY;
        }
        snprintf(text + used, sizeof text - used, " %s=%s", key,
                 other != NULL ? other : json_string_value(value));
        sg_free(other);
    }
    json_decref(object);
    *label = sg_json_string(text);
    return *label != NULL ? SG_OK : sg_report_memory(err);
}

// Contenders in the order in which rows first have them.
static sg_status report_contenders(sg_report *report, sg_error *err)
{
    char key[report_key];
    for (size_t i = 0; i < report->results.count; i++) {
        const sg_sweep_row *row = &report->results.rows[i];
        json_t *label = NULL, *other;
        size_t n;
        bool known = false;
        report_key_of(row->family, row->settings, key);
        if (json_object_get(report->labels, key) != NULL) continue;
        SG_TRY(report_label(report, row, &label, err));
        json_array_foreach(report->contenders, n, other) known = known || json_equal(label, other);
        if ((!known && json_array_append(report->contenders, label) != 0) ||
            json_object_set_nocheck(report->labels, key, label) != 0) {
            json_decref(label);
            return sg_report_memory(err);
        }
        json_decref(label);
    }
    return SG_OK;
}

// ---- remarks ------------------------------------------------------------------------------------

static sg_status report_remarks(sg_report *report, sg_error *err)
{
    const sg_sweep_results *r = &report->results;
    size_t states[4] = {0};
    for (size_t i = 0; i < r->count; i++)
        states[r->rows[i].state]++;
    if (states[SG_SWEEP_WAITING] + states[SG_SWEEP_RUNNING] > 0)
        SG_TRY(sg_report_line(report->remarks, err,
                              "the sweep is not finished: %zu of %zu runs that it has begun are",
                              states[SG_SWEEP_FINISHED], r->count));
    for (size_t i = 0; i < report->analysis.remark_count; i++)
        SG_TRY(sg_report_line(report->remarks, err, "%s", report->analysis.remarks[i]));
    return SG_OK;
}

// ---- the whole ----------------------------------------------------------------------------------

sg_status sg_report_of(sg_sweep_results *results, sg_sweep_analysis *analysis, const char *folder,
                       const sg_report_options *options, sg_report **out, sg_error *err)
{
    sg_report *report = NULL;
    sg_status status = sg_report_new(options, &report, err);
    if (status != SG_OK) {
        sg_sweep_results_clear(results);
        sg_sweep_analysis_clear(analysis);
        return status;
    }
    report->is_sweep = true;
    report->results = *results;
    report->analysis = *analysis;
    *results = (sg_sweep_results){0};
    *analysis = (sg_sweep_analysis){0};
    snprintf(report->folder, sizeof report->folder, "%s", folder);
    status = report_varied(report, err);
    if (status == SG_OK) status = report_contenders(report, err);
    if (status == SG_OK) status = sg_report_tables(report, err);
    if (status == SG_OK) status = sg_report_answers(report, err);
    if (status == SG_OK) status = report_remarks(report, err);
    if (status != SG_OK) {
        sg_report_free(report);
        return status;
    }
    *out = report;
    return SG_OK;
}

bool sg_report_is_sweep(const char *path)
{
    char file[SG_PATH_MAX];
    if (sg_path_join(file, sizeof file, path, "sweep.db", NULL) == SG_OK && sg_path_exists(file))
        return true;
    return sg_path_exists(path) && !sg_path_is_folder(path);
}

sg_status sg_report_sweep(const char *path, const sg_report_options *options, sg_report **report,
                          sg_error *err)
{
    const sg_report_options defaults = sg_report_options_default();
    const sg_report_options *o = options != NULL ? options : &defaults;
    const sg_sweep_analysis_options how = {.resamples = o->resamples, .seed = o->seed};
    sg_sweep_results results = {0};
    sg_sweep_analysis analysis = {0};
    *report = NULL;
    SG_TRY(sg_sweep_results_open(path, &results, err));
    sg_status status = sg_sweep_analyse(&results, &how, &analysis, err);
    if (status != SG_OK) {
        sg_sweep_results_clear(&results);
        return status;
    }
    return sg_report_of(&results, &analysis, path, o, report, err);
}
