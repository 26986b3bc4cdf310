// Tables and cells of a report (report.h), and how a cell reads. Cells are jansson's values: what
// JSON has no number for is null, so that no form of a report ever shows a NaN.
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "format/json.h"
#include "sweep/report.h"

sg_status sg_report_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a report");
}

sg_status sg_report_line(json_t *lines, sg_error *err, const char *format, ...)
{
    char line[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(line, sizeof line, format, list);
    va_end(list);
    return json_array_append_new(lines, sg_json_string(line)) == 0 ? SG_OK : sg_report_memory(err);
}

// ---- tables -------------------------------------------------------------------------------------

sg_status sg_report_add(sg_report *report, const char *name, const char *title,
                        const sg_report_column *columns, size_t count, sg_report_table **table,
                        sg_error *err)
{
    json_t *rows = json_array();
    if (rows == NULL || report->table_count == SG_REPORT_TABLES) {
        json_decref(rows);
        return sg_report_memory(err);
    }
    *table = &report->tables[report->table_count++];
    **table = (sg_report_table){name, title, columns, count, rows};
    return SG_OK;
}

const sg_report_table *sg_report_find(const sg_report *report, const char *name)
{
    for (size_t i = 0; i < report->table_count; i++)
        if (strcmp(report->tables[i].name, name) == 0) return &report->tables[i];
    return NULL;
}

sg_report_row sg_row_begin(void)
{
    json_t *cells = json_array();
    return (sg_report_row){cells, cells == NULL};
}

void sg_row_json(sg_report_row *row, json_t *cell)
{
    if (json_array_append_new(row->cells, cell) != 0) row->failed = true;
}

void sg_row_text(sg_report_row *row, const char *text)
{
    sg_row_json(row, text != NULL && text[0] != '\0' ? sg_json_string(text) : json_null());
}

void sg_row_number(sg_report_row *row, double value)
{
    sg_row_json(row, isfinite(value) ? json_real(value) : json_null());
}

void sg_row_count(sg_report_row *row, int64_t value)
{
    sg_row_json(row, json_integer((json_int_t)value));
}

void sg_row_flag(sg_report_row *row, bool value)
{
    sg_row_json(row, value ? json_true() : json_null());
}

void sg_row_value(sg_report_row *row, const sg_sweep_number *number)
{
    sg_row_number(row, number->value);
    sg_row_number(row, number->low);
    sg_row_number(row, number->high);
}

sg_status sg_row_end(sg_report_row *row, sg_report_table *table, sg_error *err)
{
    if (row->failed) {
        json_decref(row->cells);
        return sg_report_memory(err);
    }
    if (json_array_size(row->cells) != table->count) {
        const size_t found = json_array_size(row->cells);
        json_decref(row->cells);
        return sg_fail(err, SG_ERR_INTERNAL, "table %s: found %zu cells, expected %zu", table->name,
                       found, table->count);
    }
    return json_array_append_new(table->rows, row->cells) == 0 ? SG_OK : sg_report_memory(err);
}

static size_t row_column_of(const sg_report_table *table, const char *key)
{
    for (size_t i = 0; i < table->count; i++)
        if (strcmp(table->columns[i].key, key) == 0) return i;
    return SIZE_MAX;
}

const json_t *sg_report_cell(const sg_report_table *table, size_t row, const char *key)
{
    return json_array_get(json_array_get(table->rows, row), row_column_of(table, key));
}

double sg_report_number(const sg_report_table *table, size_t row, const char *key)
{
    const json_t *cell = sg_report_cell(table, row, key);
    return json_is_number(cell) ? json_number_value(cell) : NAN;
}

const char *sg_report_text_of(const sg_report_table *table, size_t row, const char *key)
{
    const char *text = json_string_value(sg_report_cell(table, row, key));
    return text != NULL ? text : "";
}

// ---- how a cell reads ---------------------------------------------------------------------------

void sg_report_short(char *out, size_t capacity, double value)
{
    static const char letters[] = "kMGT";
    int power = -1;
    double rest = value;
    while (fabs(rest) >= 999.5 && power < 3) {
        rest /= 1000;
        power++;
    }
    if (fabs(rest) >= 999.5)
        snprintf(out, capacity, "%.3g", value);
    else if (power < 0)
        snprintf(out, capacity, "%.4g", rest);
    else
        snprintf(out, capacity, fabs(rest) < 99.95 ? "%.3g%c" : "%.0f%c", rest, letters[power]);
}

static void show_number(double value, sg_report_form form, char *out, size_t capacity)
{
    switch (form) {
    case SG_FORM_COUNT:
        snprintf(out, capacity, "%.0f", value);
        break;
    case SG_FORM_SHORT:
        sg_report_short(out, capacity, value);
        break;
    case SG_FORM_LOSS:
        snprintf(out, capacity, "%.4f", value);
        break;
    case SG_FORM_FINE:
        snprintf(out, capacity, fabs(value) < 0.00005 && fabs(value) > 1e-9 ? "%.1e" : "%.4f",
                 fabs(value) > 1e-9 ? value : 0.0);
        break;
    case SG_FORM_FLOPS:
        snprintf(out, capacity, "%.3g", value);
        break;
    case SG_FORM_TIME:
        snprintf(out, capacity, value < 10 ? "%.3g" : "%.0f", value);
        break;
    default:
        snprintf(out, capacity, "%.4g", value);
    }
}

void sg_report_show(const json_t *cell, sg_report_form form, char *out, size_t capacity)
{
    out[0] = '\0';
    if (json_is_string(cell))
        snprintf(out, capacity, "%s", json_string_value(cell));
    else if (json_is_true(cell))
        snprintf(out, capacity, "yes");
    else if (json_is_number(cell))
        show_number(json_number_value(cell), form, out, capacity);
    for (size_t i = 0; i < json_array_size(cell); i++) {
        const size_t used = strlen(out);
        snprintf(out + used, capacity - used, "%s%.4g", i > 0 ? " " : "",
                 json_number_value(json_array_get(cell, i)));
    }
}
