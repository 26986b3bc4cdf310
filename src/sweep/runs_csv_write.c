// Runs as text that stands well in a repository: runs_csv.h.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "sweep/columns.h"
#include "sweep/runs_csv.h"

const char sg_sweep_csv_first_line[] = "# sgatlin sweep runs, version 1";

// ---- columns ------------------------------------------------------------------------------------

// The place in the file is that of another file, and a finished run has neither failed nor goes on.
static const char *const csv_left_out[] = {"cell", "state", "failure", "error"};

static const char *const csv_lists[] = {
    [SG_SWEEP_CSV_BLOCK_LOSS] = "block_loss", [SG_SWEEP_CSV_BLOCK_TOKENS] = "block_tokens",
    [SG_SWEEP_CSV_TRAIN] = "train_curve",     [SG_SWEEP_CSV_VAL] = "val_curve",
    [SG_SWEEP_CSV_MACHINE] = "machine",       [SG_SWEEP_CSV_SECONDS] = "seconds",
    [SG_SWEEP_CSV_STARTED] = "started",       [SG_SWEEP_CSV_STEPS] = "step_seconds"};

static bool csv_is_left_out(const char *name)
{
    for (size_t i = 0; i < sizeof csv_left_out / sizeof *csv_left_out; i++)
        if (strcmp(name, csv_left_out[i]) == 0) return true;
    return false;
}

const char *sg_sweep_csv_column(size_t index, size_t *number, size_t *list)
{
    const sg_sweep_column *column;
    *number = *list = SIZE_MAX;
    for (size_t i = 0; (column = sg_sweep_column_at(i)) != NULL; i++) {
        if (csv_is_left_out(column->name)) continue;
        *number = i;
        if (index-- == 0) return column->name;
    }
    *number = SIZE_MAX;
    if (index >= SG_SWEEP_CSV_LISTS) return NULL;
    *list = index;
    return csv_lists[index];
}

// ---- text ---------------------------------------------------------------------------------------

// Text that grows until there is no memory for more, which is told at the end.
typedef struct csv_out {
    sg_bytes *text;
    bool full;
} csv_out;

static void csv_put(csv_out *o, const char *data, size_t bytes)
{
    if (!o->full && !sg_bytes_add(o->text, data, bytes)) o->full = true;
}

static void csv_text(csv_out *o, const char *text)
{
    csv_put(o, text, strlen(text));
}

// A cell: quoted where it has to be.
static void csv_cell(csv_out *o, const char *text)
{
    if (strpbrk(text, ",\"\r\n") == NULL) {
        csv_text(o, text);
        return;
    }
    csv_put(o, "\"", 1);
    for (; *text != '\0'; text++) {
        if (*text == '"') csv_put(o, "\"", 1);
        csv_put(o, text, 1);
    }
    csv_put(o, "\"", 1);
}

// Nothing where it is not known.
static void csv_real(csv_out *o, double value)
{
    if (isfinite(value)) csv_text(o, SG_NUMBER(value));
}

static void csv_int(csv_out *o, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    csv_text(o, digits);
}

// ---- the head -----------------------------------------------------------------------------------

// The lines of a text, so that the file of a sweep can be read in the CSV; joined they are the same
// bytes again.
static json_t *csv_lines(const char *text)
{
    json_t *lines = json_array();
    for (const char *at = text;; at++) {
        const size_t bytes = strcspn(at, "\n");
        if (lines == NULL || json_array_append_new(lines, json_stringn(at, bytes)) != 0) {
            json_decref(lines);
            return NULL;
        }
        at += bytes;
        if (*at == '\0') return lines;
    }
}

static json_t *csv_machines(const sg_sweep_results *r)
{
    json_t *machines = json_array();
    for (size_t i = 0; i < r->machine_count && machines != NULL; i++) {
        const sg_sweep_machine *m = &r->machines[i];
        json_t *machine = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "processor",
                                    m->processor, "kernels", m->kernels, "library", m->library,
                                    "program", m->program, "cores", (json_int_t)m->cores, "threads",
                                    (json_int_t)m->threads, "jobs", (json_int_t)m->jobs);
        if (machine != NULL && json_array_append_new(machines, machine) == 0) continue;
        json_decref(machines);
        machines = NULL;
    }
    return machines;
}

static bool csv_is_utf8(const char *text)
{
    const size_t bytes = strlen(text);
    return sg_utf8_valid_prefix(text, bytes) == bytes;
}

// JSON has no other texts.
static bool csv_is_writable(const sg_sweep_results *r)
{
    bool fine = csv_is_utf8(r->name) && csv_is_utf8(r->note) && csv_is_utf8(r->data_hash) &&
                csv_is_utf8(r->data_path) && csv_is_utf8(r->command) && csv_is_utf8(r->file);
    for (size_t i = 0; i < r->machine_count && fine; i++) {
        const sg_sweep_machine *m = &r->machines[i];
        fine = csv_is_utf8(m->processor) && csv_is_utf8(m->kernels) && csv_is_utf8(m->library) &&
               csv_is_utf8(m->program);
    }
    return fine;
}

// The last name of a path: where data lay on one machine says nothing on another, and is nobody
// else's business.
static const char *csv_last_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL && slash[1] != '\0' ? slash + 1 : path;
}

static json_t *csv_head_json(const sg_sweep_results *r, size_t runs)
{
    char curves[64];
    snprintf(curves, sizeof curves, "at most %d points, losses of seven digits",
             SG_SWEEP_CSV_CURVE);
    json_t *head = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:s}", "name",
                             r->name, "note", r->note, "data_hash", r->data_hash, "data_path",
                             csv_last_name(r->data_path), "command", r->command, "vocab_size",
                             (json_int_t)r->vocab_size, "seq_len", (json_int_t)r->seq_len,
                             "val_tokens", (json_int_t)r->val_tokens, "runs", (json_int_t)runs,
                             "written_by", sg_version(), "curves", curves);
    if (head == NULL || (json_object_set_new(head, "machines", csv_machines(r)) == 0 &&
                         json_object_set_new(head, "file", csv_lines(r->file)) == 0))
        return head;
    json_decref(head);
    return NULL;
}

static sg_status csv_head_text(const sg_sweep_results *r, size_t runs, char **text, sg_error *err)
{
    sg_json_setup();
    if (!csv_is_writable(r))
        return sg_fail(err, SG_ERR_FORMAT, "the sweep has a text that is not UTF-8");
    json_t *head = csv_head_json(r, runs);
    if (head == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a sweep as JSON");
    const sg_status status = sg_json_text(head, true, text, err);
    json_decref(head);
    return status;
}

static sg_status csv_head(csv_out *o, const sg_sweep_results *r, size_t runs, sg_error *err)
{
    char *text;
    SG_TRY(csv_head_text(r, runs, &text, err));
    csv_text(o, sg_sweep_csv_first_line);
    csv_text(o, "\n");
    for (const char *at = text; *at != '\0';) {
        const size_t bytes = strcspn(at, "\n");
        csv_text(o, "# ");
        csv_put(o, at, bytes);
        csv_text(o, "\n");
        at += bytes + (at[bytes] == '\n');
    }
    sg_free(text);
    const char *name;
    size_t number, list;
    for (size_t i = 0; (name = sg_sweep_csv_column(i, &number, &list)) != NULL; i++) {
        if (i > 0) csv_text(o, ",");
        csv_text(o, name);
    }
    csv_text(o, "\n");
    return SG_OK;
}

// ---- a run --------------------------------------------------------------------------------------

static void csv_value(csv_out *o, const sg_sweep_row *row, const sg_sweep_column *column)
{
    const void *at = sg_sweep_column_of(column, row);
    char digits[24];
    switch (column->kind) {
    case SG_SWEEP_COLUMN_TEXT:
        csv_cell(o, at);
        return;
    case SG_SWEEP_COLUMN_INT:
        csv_int(o, *(const int64_t *)at);
        return;
    case SG_SWEEP_COLUMN_SEED:
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)*(const uint64_t *)at);
        csv_text(o, digits);
        return;
    case SG_SWEEP_COLUMN_REAL:
        csv_real(o, *(const double *)at);
        return;
    case SG_SWEEP_COLUMN_PURPOSE:
        csv_text(o, sg_sweep_purpose_word(row->purpose));
        return;
    case SG_SWEEP_COLUMN_STATE:
        csv_text(o, sg_sweep_state_word(row->state));
        return;
    }
}

static void csv_tokens(csv_out *o, const sg_sweep_row *row)
{
    for (size_t i = 0, end; i < row->block_count; i = end) {
        for (end = i + 1; end < row->block_count && row->block_tokens[end] == row->block_tokens[i];)
            end++;
        if (i > 0) csv_text(o, " ");
        csv_int(o, row->block_tokens[i]);
        if (end - i == 1) continue;
        csv_text(o, "*");
        csv_int(o, (int64_t)(end - i));
    }
}

static void csv_curve(csv_out *o, const double *step, const double *loss, size_t count)
{
    const size_t points = count > SG_SWEEP_CSV_CURVE ? SG_SWEEP_CSV_CURVE : count;
    char text[64];
    for (size_t p = 0; p < points; p++) {
        const size_t i = points < 2 ? p : (p * (count - 1) + (points - 1) / 2) / (points - 1);
        snprintf(text, sizeof text, "%s%s:%.7g", p > 0 ? " " : "", SG_NUMBER(step[i]), loss[i]);
        csv_text(o, text);
    }
}

static void csv_rounds(csv_out *o, const sg_sweep_bundle *b, size_t row)
{
    bool first = true;
    for (size_t i = 0; i < b->round_count; i++) {
        if (b->rounds[i].row != row) continue;
        if (!first) csv_text(o, " ");
        first = false;
        csv_int(o, b->rounds[i].machine);
        csv_text(o, ":");
        csv_real(o, b->rounds[i].seconds);
    }
}

static void csv_list(csv_out *o, const sg_sweep_bundle *b, size_t index, size_t list)
{
    const sg_sweep_row *row = &b->results.rows[index];
    switch ((sg_sweep_csv_list)list) {
    case SG_SWEEP_CSV_BLOCK_LOSS:
        for (size_t i = 0; i < row->block_count; i++) {
            if (i > 0) csv_text(o, " ");
            csv_real(o, row->block_loss[i]);
        }
        return;
    case SG_SWEEP_CSV_BLOCK_TOKENS:
        csv_tokens(o, row);
        return;
    case SG_SWEEP_CSV_TRAIN:
        csv_curve(o, row->curve_step, row->curve_loss, row->curve_count);
        return;
    case SG_SWEEP_CSV_VAL:
        csv_curve(o, row->val_step, row->val_loss, row->val_count);
        return;
    case SG_SWEEP_CSV_MACHINE:
        if (row->machine >= 0) csv_int(o, row->machine);
        return;
    case SG_SWEEP_CSV_SECONDS:
        csv_real(o, row->seconds);
        return;
    case SG_SWEEP_CSV_STARTED:
        csv_real(o, b->started[index]);
        return;
    case SG_SWEEP_CSV_STEPS:
        csv_rounds(o, b, index);
        return;
    case SG_SWEEP_CSV_LISTS:
        return;
    }
}

static void csv_run(csv_out *o, const sg_sweep_bundle *b, size_t index)
{
    size_t number, list;
    for (size_t i = 0; sg_sweep_csv_column(i, &number, &list) != NULL; i++) {
        if (i > 0) csv_text(o, ",");
        if (list == SIZE_MAX)
            csv_value(o, &b->results.rows[index], sg_sweep_column_at(number));
        else
            csv_list(o, b, index, list);
    }
    csv_text(o, "\n");
}

// ---- all of it ----------------------------------------------------------------------------------

static int csv_by_id(const void *a, const void *b)
{
    const sg_sweep_row *const *x = a, *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

sg_status sg_sweep_csv_text(const sg_sweep_bundle *b, sg_bytes *text, size_t *runs, sg_error *err)
{
    const sg_sweep_results *r = &b->results;
    csv_out o = {.text = text};
    *runs = 0;
    const sg_sweep_row **rows = sg_alloc_array(r->count, sizeof *rows);
    if (rows == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for runs");
    for (size_t i = 0; i < r->count; i++)
        if (r->rows[i].state == SG_SWEEP_FINISHED) rows[(*runs)++] = &r->rows[i];
    if (*runs > 0) qsort(rows, *runs, sizeof *rows, csv_by_id);
    sg_status status = csv_head(&o, r, *runs, err);
    for (size_t i = 0; i < *runs && status == SG_OK; i++)
        csv_run(&o, b, (size_t)(rows[i] - r->rows));
    sg_free(rows);
    if (status == SG_OK && o.full)
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for %zu runs as text", *runs);
    if (status == SG_OK && sg_utf8_valid_prefix(text->data, text->count) != text->count)
        status = sg_fail(err, SG_ERR_FORMAT, "the sweep has a text that is not UTF-8");
    return status;
}
