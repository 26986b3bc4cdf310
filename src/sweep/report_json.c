// A report as JSON: its tables, and for the page what the tables leave out: curves of losses,
// options of the runs, how it all came about. The form is described in docs/REPORT.md.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "probe/page_write.h"
#include "sweep/report.h"

enum {
    page_curve_points = 60000, // of all curves of a page together, of a kind
    page_curve_least = 24,     // of a curve
    page_loss_unit = 10000     // losses are integers: so many to a nat
};

// value: taken over, also on a failure.
static sg_status page_put(json_t *object, const char *key, json_t *value, sg_error *err)
{
    return value != NULL && json_object_set_new(object, key, value) == 0 ? SG_OK
                                                                         : sg_report_memory(err);
}

static sg_status page_put_text(json_t *object, const char *key, const char *text, sg_error *err)
{
    return page_put(object, key, sg_json_string(text != NULL ? text : ""), err);
}

// ---- tables -------------------------------------------------------------------------------------

static const char *page_form(sg_report_form form)
{
    static const char *const names[] = {"text",  "count", "short", "loss", "fine",
                                        "plain", "flops", "time",  "flag", "list"};
    return names[form];
}

// {"title": …, "columns": [[key, title, form, brief], …], "rows": [[…], …]}
static json_t *page_packed_table(const sg_report_table *table)
{
    json_t *columns = json_array();
    for (size_t i = 0; i < table->count; i++) {
        const sg_report_column *c = &table->columns[i];
        json_t *one =
            json_pack("[s, s, s, b]", c->key, c->title, page_form(c->form), (int)c->brief);
        if (json_array_append_new(columns, one) != 0) {
            json_decref(columns);
            return NULL;
        }
    }
    json_t *object = json_pack("{s:s}", "title", table->title);
    if (json_object_set_new(object, "columns", columns) == 0 &&
        json_object_set(object, "rows", table->rows) == 0)
        return object;
    json_decref(object);
    return NULL;
}

// [{key: cell, …}, …]
static json_t *page_plain_table(const sg_report_table *table)
{
    json_t *list = json_array(), *row;
    size_t r;
    json_array_foreach(table->rows, r, row)
    {
        json_t *object = json_object();
        int failed = object == NULL;
        for (size_t i = 0; i < table->count && !failed; i++)
            failed = json_object_set(object, table->columns[i].key, json_array_get(row, i));
        if (failed || json_array_append_new(list, object) != 0) {
            if (failed) json_decref(object);
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static sg_status page_tables(const sg_report *report, json_t *root, bool packed, sg_error *err)
{
    json_t *tables = json_object();
    SG_TRY(page_put(root, "tables", tables, err));
    for (size_t i = 0; i < report->table_count; i++) {
        const sg_report_table *table = &report->tables[i];
        SG_TRY(page_put(tables, table->name,
                        packed ? page_packed_table(table) : page_plain_table(table), err));
    }
    return SG_OK;
}

// ---- curves -------------------------------------------------------------------------------------

// Steps and losses, at most `most` of each: means of pieces of equal numbers of points, with the
// step of their last.
static sg_status page_curve(json_t *object, const char *step_key, const char *loss_key,
                            const double *step, const double *loss, size_t count, size_t most,
                            sg_error *err)
{
    json_t *steps, *losses;
    const size_t pieces = count < most ? count : most;
    SG_TRY(page_put(object, step_key, steps = json_array(), err));
    SG_TRY(page_put(object, loss_key, losses = json_array(), err));
    for (size_t p = 0; p < pieces; p++) {
        const size_t first = p * count / pieces, end = (p + 1) * count / pieces;
        double sum = 0;
        for (size_t i = first; i < end; i++)
            sum += loss[i];
        const double mean = sum / (double)(end - first);
        if (!isfinite(mean) || fabs(mean) > 1e6 || !(fabs(step[end - 1]) < 1e15)) continue;
        if (json_array_append_new(steps, json_integer((json_int_t)step[end - 1])) != 0 ||
            json_array_append_new(losses,
                                  json_integer((json_int_t)lround(mean * page_loss_unit))) != 0)
            return sg_report_memory(err);
    }
    return SG_OK;
}

static sg_status page_sweep_curves(const sg_report *report, json_t *list, sg_error *err)
{
    const sg_sweep_results *r = &report->results;
    size_t most = r->count > 0 ? page_curve_points / r->count : 0;
    most = most > page_curve_least ? most : page_curve_least;
    for (size_t i = 0; i < r->count; i++) {
        const sg_sweep_row *row = &r->rows[i];
        json_t *one = json_object();
        if (json_array_append_new(list, one) != 0) return sg_report_memory(err);
        SG_TRY(page_curve(one, "step", "loss", row->curve_step, row->curve_loss, row->curve_count,
                          most, err));
        SG_TRY(page_curve(one, "val_step", "val_loss", row->val_step, row->val_loss, row->val_count,
                          most, err));
    }
    return SG_OK;
}

static sg_status page_run_curves(const sg_report *report, json_t *list, sg_error *err)
{
    for (size_t i = 0; i < report->run_count; i++) {
        const sg_report_run *run = &report->runs[i];
        json_t *one = json_object();
        if (json_array_append_new(list, one) != 0) return sg_report_memory(err);
        SG_TRY(page_curve(one, "step", "loss", run->loss.x, run->loss.y, (size_t)run->loss.count,
                          400, err));
        SG_TRY(page_curve(one, "val_step", "val_loss", run->val_loss.x, run->val_loss.y,
                          (size_t)run->val_loss.count, 400, err));
    }
    return SG_OK;
}

static sg_status page_curves(const sg_report *report, json_t *root, sg_error *err)
{
    json_t *curves = json_pack("{s:i, s:[]}", "unit", page_loss_unit, "of");
    SG_TRY(page_put(root, "curves", curves, err));
    json_t *list = json_object_get(curves, "of");
    return report->is_sweep ? page_sweep_curves(report, list, err)
                            : page_run_curves(report, list, err);
}

// ---- options of the runs ------------------------------------------------------------------------

// Takes out of `shared` what `other` has not, or not the same; objects member by member.
static void page_keep_equal(json_t *shared, const json_t *other)
{
    json_t *value;
    const char *key;
    void *next;
    json_object_foreach_safe(shared, next, key, value)
    {
        const json_t *there = json_object_get(other, key);
        if (json_is_object(value) && json_is_object(there))
            page_keep_equal(value, there);
        else if (there == NULL || !json_equal(value, there))
            json_object_del(shared, key);
    }
}

// Takes out of `own` what `shared` has.
static void page_leave_own(json_t *own, const json_t *shared)
{
    json_t *value;
    const char *key;
    void *next;
    json_object_foreach_safe(own, next, key, value)
    {
        const json_t *there = json_object_get(shared, key);
        if (json_is_object(value) && json_is_object(there))
            page_leave_own(value, there);
        else if (there != NULL)
            json_object_del(own, key);
    }
}

// jansson's own copy leaves out, without a word, what it has no memory for.
static sg_status page_copy(const json_t *value, json_t **copy, sg_error *err)
{
    char *text;
    SG_TRY(sg_json_text(value, false, &text, err));
    const sg_status status = sg_json_parse(text, strlen(text), "options", copy, err);
    sg_free(text);
    return status;
}

// What all runs have once, and of each what it has besides. Options that are no object, which a
// damaged database may have, are left out.
sg_status sg_report_share_options(json_t *root, json_t *list, sg_error *err)
{
    json_t *shared = NULL, *one;
    size_t i;
    json_array_foreach(list, i, one)
    {
        if (!json_is_object(one)) continue;
        if (shared == NULL) {
            const sg_status status = page_copy(one, &shared, err);
            if (status != SG_OK) {
                json_decref(list);
                return status;
            }
        } else {
            page_keep_equal(shared, one);
        }
    }
    if (shared == NULL) shared = json_object();
    json_array_foreach(list, i, one) if (json_is_object(one)) page_leave_own(one, shared);
    json_t *options = json_object();
    sg_status status = page_put(root, "options", options, err);
    if (status == SG_OK)
        status = page_put(options, "shared", shared, err);
    else
        json_decref(shared);
    if (status == SG_OK) return page_put(options, "own", list, err);
    json_decref(list);
    return status;
}

static sg_status page_sweep_options(const sg_report *report, json_t *root, sg_error *err)
{
    json_t *list = json_array();
    for (size_t i = 0; i < report->results.count; i++) {
        const char *text = report->results.rows[i].options;
        json_t *one = NULL;
        const sg_status status = sg_json_parse(text, strlen(text), "options", &one, NULL);
        if (status != SG_OK && status != SG_ERR_MEMORY) one = json_null();
        if (json_array_append_new(list, one) != 0) {
            json_decref(list);
            return sg_report_memory(err);
        }
    }
    return sg_report_share_options(root, list, err);
}

// ---- how it came about --------------------------------------------------------------------------

static sg_status page_about_sweep(const sg_report *report, json_t *root, sg_error *err)
{
    const sg_sweep_results *r = &report->results;
    json_t *data, *machines;
    SG_TRY(page_put(root, "data", data = json_object(), err));
    SG_TRY(page_put(root, "machines", machines = json_array(), err));
    SG_TRY(page_put_text(root, "title", r->name, err));
    SG_TRY(page_put_text(root, "note", r->note, err));
    SG_TRY(page_put_text(root, "folder", report->folder, err));
    SG_TRY(page_put_text(root, "sweep_command", r->command, err));
    SG_TRY(page_put_text(root, "file", r->file, err));
    SG_TRY(page_put_text(data, "path", r->data_path, err));
    SG_TRY(page_put_text(data, "checksum", r->data_hash, err));
    SG_TRY(page_put(data, "vocab_size", json_integer(r->vocab_size), err));
    SG_TRY(page_put(data, "seq_len", json_integer(r->seq_len), err));
    SG_TRY(page_put(data, "val_tokens", json_integer(r->val_tokens), err));
    for (size_t i = 0; i < r->machine_count; i++) {
        const sg_sweep_machine *m = &r->machines[i];
        json_t *one = json_object();
        if (json_array_append_new(machines, one) != 0) return sg_report_memory(err);
        SG_TRY(page_put_text(one, "processor", m->processor, err));
        SG_TRY(page_put_text(one, "kernels", m->kernels, err));
        SG_TRY(page_put_text(one, "library", m->library, err));
        SG_TRY(page_put_text(one, "program", m->program, err));
        SG_TRY(page_put(one, "cores", json_integer(m->cores), err));
        SG_TRY(page_put(one, "threads", json_integer(m->threads), err));
        SG_TRY(page_put(one, "jobs", json_integer(m->jobs), err));
    }
    return SG_OK;
}

static sg_status page_about(const sg_report *report, json_t *root, sg_error *err)
{
    SG_TRY(page_put_text(root, "kind", report->is_sweep ? "sweep" : "runs", err));
    SG_TRY(page_put_text(root, "made_by", sg_version(), err));
    SG_TRY(page_put(root, "contenders", json_incref(report->contenders), err));
    SG_TRY(page_put(root, "answers", json_incref(report->answers), err));
    SG_TRY(page_put(root, "remarks", json_incref(report->remarks), err));
    if (report->command != NULL) SG_TRY(page_put_text(root, "command", report->command, err));
    return report->is_sweep ? page_about_sweep(report, root, err) : SG_OK;
}

// All that the page shows. *manifest: json_decref.
static sg_status page_manifest(const sg_report *report, json_t **manifest, sg_error *err)
{
    json_t *root = json_object();
    sg_status status = root != NULL ? page_about(report, root, err) : sg_report_memory(err);
    if (status == SG_OK) status = page_tables(report, root, true, err);
    if (status == SG_OK) status = page_curves(report, root, err);
    if (status == SG_OK)
        status = report->is_sweep ? page_sweep_options(report, root, err)
                                  : sg_report_run_options(report, root, err);
    if (status != SG_OK) {
        json_decref(root);
        return status;
    }
    *manifest = root;
    return SG_OK;
}

sg_status sg_report_json(const sg_report *report, char **text, sg_error *err)
{
    json_t *root = json_object();
    *text = NULL;
    sg_status status = root != NULL ? page_about(report, root, err) : sg_report_memory(err);
    if (status == SG_OK) status = page_tables(report, root, false, err);
    if (status == SG_OK) status = sg_json_text(root, true, text, err);
    json_decref(root);
    return status;
}

sg_status sg_report_page(const sg_report *report, const char *path, bool force, int64_t *bytes,
                         sg_error *err)
{
    json_t *manifest = NULL;
    char *text = NULL;
    int64_t written = 0;
    SG_TRY(page_manifest(report, &manifest, err));
    sg_status status = sg_page_manifest_text(manifest, &text, err);
    json_decref(manifest);
    if (status == SG_OK) status = sg_page_write(path, force, "report", text, NULL, &written, err);
    sg_free(text);
    if (status == SG_OK && bytes != NULL) *bytes = written;
    return status;
}
