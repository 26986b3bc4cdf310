// Tables of a report as CSV (RFC 4180): numbers in full, lists joined by spaces, nothing where
// there is nothing. Also the folder that files of a report go to.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "sweep/report.h"

sg_status sg_report_folder(const char *folder, const char *const *names, size_t count, bool force,
                           sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_folder_make(folder, err));
    for (size_t i = 0; i < count; i++) {
        SG_TRY(sg_path_join(path, sizeof path, folder, names[i], err));
        SG_TRY(sg_output_check(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err));
    }
    return SG_OK;
}

static void csv_text(sg_writer *w, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        sg_writer_put(w, text, strlen(text));
        return;
    }
    sg_writer_put(w, "\"", 1);
    for (const char *c = text; *c != '\0'; c++)
        sg_writer_put(w, *c == '"' ? "\"\"" : c, *c == '"' ? 2 : 1);
    sg_writer_put(w, "\"", 1);
}

// The fewest digits that give the same number again.
static void csv_number(sg_writer *w, double value)
{
    char text[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (sg_json_double(text) == value) break;
    }
    sg_writer_put(w, text, strlen(text));
}

static void csv_cell(sg_writer *w, const json_t *cell)
{
    if (json_is_string(cell))
        csv_text(w, json_string_value(cell));
    else if (json_is_integer(cell))
        sg_writer_printf(w, "%lld", (long long)json_integer_value(cell));
    else if (json_is_real(cell))
        csv_number(w, json_real_value(cell));
    else if (json_is_true(cell))
        sg_writer_put(w, "1", 1);
    for (size_t i = 0; i < json_array_size(cell); i++) {
        const json_t *one = json_array_get(cell, i);
        if (i > 0) sg_writer_put(w, " ", 1);
        if (json_is_number(one))
            csv_number(w, json_number_value(one));
        else
            sg_writer_put(w, "-", 1);
    }
}

static sg_status csv_table(const char *path, bool force, const sg_report_table *table,
                           sg_error *err)
{
    sg_writer *w;
    json_t *row;
    size_t r;
    SG_TRY(sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &w, err));
    for (size_t i = 0; i < table->count; i++)
        sg_writer_printf(w, "%s%s", i > 0 ? "," : "", table->columns[i].key);
    sg_writer_put(w, "\r\n", 2);
    json_array_foreach(table->rows, r, row)
    {
        for (size_t i = 0; i < table->count; i++) {
            if (i > 0) sg_writer_put(w, ",", 1);
            csv_cell(w, json_array_get(row, i));
        }
        sg_writer_put(w, "\r\n", 2);
    }
    return sg_writer_replace(w, err);
}

// ---- curves -------------------------------------------------------------------------------------

static void csv_curve(sg_writer *w, const char *run, const char *split, const double *step,
                      const double *loss, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        csv_text(w, run);
        sg_writer_printf(w, ",%s,", split);
        csv_number(w, step[i]);
        sg_writer_put(w, ",", 1);
        if (isfinite(loss[i])) csv_number(w, loss[i]);
        sg_writer_put(w, "\r\n", 2);
    }
}

static sg_status csv_curves(const sg_report *report, const char *path, bool force, sg_error *err)
{
    sg_writer *w;
    SG_TRY(sg_writer_open_output(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &w, err));
    sg_writer_printf(w, "run,split,step,loss\r\n");
    for (size_t i = 0; i < report->results.count; i++) {
        const sg_sweep_row *r = &report->results.rows[i];
        csv_curve(w, r->id, "train", r->curve_step, r->curve_loss, r->curve_count);
        csv_curve(w, r->id, "val", r->val_step, r->val_loss, r->val_count);
    }
    for (size_t i = 0; i < report->run_count; i++) {
        const sg_report_run *r = &report->runs[i];
        csv_curve(w, r->name, "train", r->loss.x, r->loss.y, (size_t)r->loss.count);
        csv_curve(w, r->name, "val", r->val_loss.x, r->val_loss.y, (size_t)r->val_loss.count);
    }
    return sg_writer_replace(w, err);
}

sg_status sg_report_csv(const sg_report *report, const char *folder, bool force, int64_t *files,
                        sg_error *err)
{
    char names[SG_REPORT_TABLES + 1][32], path[SG_PATH_MAX];
    const char *list[SG_REPORT_TABLES + 1];
    const sg_report_table *tables[SG_REPORT_TABLES];
    size_t count = 0;
    *files = 0;
    for (size_t i = 0; i < report->table_count; i++) {
        if (json_array_size(report->tables[i].rows) == 0) continue;
        tables[count] = &report->tables[i];
        snprintf(names[count], sizeof names[count], "%s.csv", report->tables[i].name);
        list[count] = names[count];
        count++;
    }
    list[count] = "curves.csv";
    SG_TRY(sg_report_folder(folder, list, count + 1, force, err));
    for (size_t i = 0; i <= count; i++) {
        SG_TRY(sg_path_join(path, sizeof path, folder, list[i], err));
        SG_TRY(i < count ? csv_table(path, force, tables[i], err)
                         : csv_curves(report, path, force, err));
        (*files)++;
    }
    return SG_OK;
}
