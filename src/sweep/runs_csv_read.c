// Reading runs from CSV (runs_csv.h) as from a file that anyone may have written: every cell is
// checked, and what is wrong is told by line and column.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "sweep/columns.h"
#include "sweep/results.h"
#include "sweep/runs_csv.h"

typedef struct csv_in {
    const char *name;
    const char *at, *end;
    int64_t line;       // of `at`, from 1
    int64_t cell_line;  // in which the cell begins
    size_t index;       // of the cell in its record, from 0
    const char *column; // its name; NULL: not known
    sg_bytes cell;      // with a NUL
    bool last;          // of its record
} csv_in;

static sg_status csv_wrong(const csv_in *in, const char *expected, sg_error *err)
{
    char found[48];
    const size_t bytes = in->cell.count > 0 ? in->cell.count - 1 : 0;
    const size_t shown = bytes < sizeof found ? bytes : sizeof found - 4;
    if (in->cell.data != NULL) memcpy(found, in->cell.data, shown);
    found[shown] = '\0';
    if (shown < bytes) {
        const size_t whole = sg_utf8_valid_prefix(found, shown);
        memcpy(found + whole, "…", sizeof "…");
    }
    return sg_fail(err, SG_ERR_FORMAT, "%s: line %lld, column %zu%s%s%s: found \"%s\", expected %s",
                   in->name, (long long)in->cell_line, in->index + 1, in->column ? " (" : "",
                   in->column ? in->column : "", in->column ? ")" : "", found, expected);
}

static sg_status csv_place(const csv_in *in, const char *what, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: line %lld, column %zu: %s", in->name,
                   (long long)in->cell_line, in->index + 1, what);
}

static sg_status csv_memory(const csv_in *in, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: line %lld: out of memory", in->name,
                   (long long)in->cell_line);
}

// ---- cells --------------------------------------------------------------------------------------

static bool csv_keep(csv_in *in, const char *data, size_t bytes)
{
    return sg_bytes_add(&in->cell, data, bytes);
}

static sg_status csv_quoted(csv_in *in, sg_error *err)
{
    for (in->at++;;) {
        const char *from = in->at;
        while (in->at < in->end && *in->at != '"')
            in->line += *in->at++ == '\n';
        if (!csv_keep(in, from, (size_t)(in->at - from))) return csv_memory(in, err);
        if (in->at == in->end) return csv_place(in, "the quotes have no end", err);
        in->at++;
        if (in->at == in->end || *in->at != '"') return SG_OK;
        if (!csv_keep(in, in->at++, 1)) return csv_memory(in, err);
    }
}

static sg_status csv_plain(csv_in *in, sg_error *err)
{
    const char *from = in->at;
    while (in->at < in->end && *in->at != ',' && *in->at != '\n' && *in->at != '"')
        in->at++;
    size_t bytes = (size_t)(in->at - from);
    if (in->at < in->end && *in->at == '"')
        return csv_place(in, "found quotes inside of a cell that does not begin with them", err);
    const bool ends = in->at == in->end || *in->at == '\n';
    if (ends && bytes > 0 && from[bytes - 1] == '\r') bytes--;
    return csv_keep(in, from, bytes) ? SG_OK : csv_memory(in, err);
}

// The next cell of a record, which has one more.
static sg_status csv_next(csv_in *in, sg_error *err)
{
    in->cell.count = 0;
    in->cell_line = in->line;
    SG_TRY(in->at < in->end && *in->at == '"' ? csv_quoted(in, err) : csv_plain(in, err));
    if (!csv_keep(in, "", 1)) return csv_memory(in, err);
    if (in->at < in->end && *in->at == '\r' && in->at + 1 < in->end && in->at[1] == '\n') in->at++;
    in->last = in->at == in->end || *in->at == '\n';
    if (!in->last && *in->at != ',')
        return csv_place(in, "found text behind the quotes of a cell", err);
    in->line += in->at < in->end && *in->at == '\n';
    in->at += in->at < in->end;
    return SG_OK;
}

// ---- numbers ------------------------------------------------------------------------------------

static const char *csv_digits(const char *at)
{
    return at + strspn(at, "0123456789");
}

// A number as JSON has them, to its end at one of `ends`; NULL: none.
static const char *csv_number(const char *at, const char *ends, double *value)
{
    const char *from = at, *digits;
    char copy[64];
    at += *at == '-';
    digits = at;
    at = csv_digits(at);
    if (at == digits) return NULL;
    if (*at == '.') {
        digits = ++at;
        at = csv_digits(at);
        if (at == digits) return NULL;
    }
    if (*at == 'e' || *at == 'E') {
        at++;
        at += *at == '-' || *at == '+';
        digits = at;
        at = csv_digits(at);
        if (at == digits) return NULL;
    }
    const size_t bytes = (size_t)(at - from);
    if (bytes >= sizeof copy || (*at != '\0' && strchr(ends, *at) == NULL)) return NULL;
    memcpy(copy, from, bytes);
    copy[bytes] = '\0';
    *value = sg_json_double(copy);
    return isfinite(*value) ? at : NULL;
}

// A whole number from `least` on, likewise.
static const char *csv_whole(const char *at, const char *ends, int64_t least, int64_t *value)
{
    char *end;
    const char *digits = at + (*at == '-');
    if (csv_digits(digits) == digits) return NULL;
    errno = 0;
    const long long number = strtoll(at, &end, 10);
    if (errno != 0 || number < least || (*end != '\0' && strchr(ends, *end) == NULL)) return NULL;
    *value = number;
    return end;
}

static sg_status csv_read_seed(const csv_in *in, uint64_t *seed, sg_error *err)
{
    const char *text = in->cell.data;
    errno = 0;
    const unsigned long long number = strtoull(text, NULL, 10);
    if (*text == '\0' || *csv_digits(text) != '\0' || errno != 0)
        return csv_wrong(in, "a whole number below 2^64", err);
    *seed = number;
    return SG_OK;
}

static sg_status csv_read_real(const csv_in *in, double *value, sg_error *err)
{
    *value = NAN;
    if (in->cell.data[0] == '\0' || csv_number(in->cell.data, "", value) != NULL) return SG_OK;
    return csv_wrong(in, "a number, or nothing", err);
}

// ---- lists --------------------------------------------------------------------------------------

// Another element of a list: *at is moved behind the blank that separates it from the last one.
static bool csv_more(const char **at)
{
    if (**at == ' ') ++*at;
    return **at != '\0';
}

static sg_status csv_block_loss(csv_in *in, sg_sweep_row *row, sg_error *err)
{
    size_t capacity = 0;
    for (const char *at = in->cell.data; csv_more(&at);) {
        if (row->block_count >= SG_SWEEP_BLOCKS_MAX)
            return csv_place(in, "found more than 65536 blocks", err);
        if (!sg_grow((void **)&row->block_loss, &capacity, row->block_count + 1, sizeof(double)))
            return csv_memory(in, err);
        at = csv_number(at, " ", &row->block_loss[row->block_count++]);
        if (at == NULL) return csv_wrong(in, "numbers separated by blanks", err);
    }
    return SG_OK;
}

static sg_status csv_block_tokens(csv_in *in, sg_sweep_row *row, sg_error *err)
{
    size_t count = 0;
    row->block_tokens = sg_alloc_array(row->block_count, sizeof(int64_t));
    if (row->block_tokens == NULL) return csv_memory(in, err);
    for (const char *at = in->cell.data; csv_more(&at);) {
        int64_t tokens, times = 1;
        at = csv_whole(at, " *", 0, &tokens);
        if (at != NULL && *at == '*') at = csv_whole(at + 1, " ", 1, &times);
        if (at == NULL) return csv_wrong(in, "TOKENS or TOKENS*BLOCKS, separated by blanks", err);
        if (times > (int64_t)(row->block_count - count))
            return csv_place(in, "found tokens of more blocks than there are losses", err);
        for (; times > 0; times--)
            row->block_tokens[count++] = tokens;
    }
    return count == row->block_count
               ? SG_OK
               : csv_place(in, "found tokens of fewer blocks than there are losses", err);
}

static sg_status csv_read_curve(csv_in *in, double **step, double **loss, size_t *count,
                                sg_error *err)
{
    *step = sg_alloc_array(SG_SWEEP_CURVE_MAX, sizeof **step);
    *loss = sg_alloc_array(SG_SWEEP_CURVE_MAX, sizeof **loss);
    if (*step == NULL || *loss == NULL) return csv_memory(in, err);
    for (const char *at = in->cell.data; csv_more(&at); ++*count) {
        if (*count >= SG_SWEEP_CURVE_MAX) return csv_place(in, "found more than 200 points", err);
        at = csv_number(at, ":", &(*step)[*count]);
        if (at != NULL) at = *at == ':' ? csv_number(at + 1, " ", &(*loss)[*count]) : NULL;
        if (at == NULL) return csv_wrong(in, "STEP:LOSS separated by blanks", err);
        if (*count > 0 && !((*step)[*count] > (*step)[*count - 1]))
            return csv_place(in, "found steps that do not ascend", err);
    }
    return SG_OK;
}

static bool csv_add_round(sg_sweep_bundle *b, size_t *capacity, sg_sweep_round round)
{
    for (size_t i = b->round_count; i > 0 && b->rounds[i - 1].row == round.row; i--)
        if (b->rounds[i - 1].machine == round.machine) {
            round.round = b->rounds[i - 1].round + 1;
            break;
        }
    if (!sg_grow((void **)&b->rounds, capacity, b->round_count + 1, sizeof *b->rounds))
        return false;
    b->rounds[b->round_count++] = round;
    return true;
}

static sg_status csv_read_rounds(csv_in *in, sg_sweep_bundle *b, size_t row, size_t *capacity,
                                 sg_error *err)
{
    int64_t before = -1;
    for (const char *at = in->cell.data; csv_more(&at);) {
        sg_sweep_round round = {.row = row};
        at = csv_whole(at, ":", -1, &round.machine);
        if (at != NULL) at = *at == ':' ? csv_number(at + 1, " ", &round.seconds) : NULL;
        if (at == NULL || round.seconds < 0)
            return csv_wrong(in, "MACHINE:SECONDS separated by blanks", err);
        if (round.machine >= (int64_t)b->results.machine_count)
            return csv_place(in, "found a machine that the head has not", err);
        if (round.machine < before) return csv_place(in, "found machines that do not ascend", err);
        before = round.machine;
        if (!csv_add_round(b, capacity, round)) return csv_memory(in, err);
    }
    return SG_OK;
}

// ---- a run --------------------------------------------------------------------------------------

// Where rows are read to.
typedef struct csv_rows {
    sg_sweep_bundle *b;
    size_t capacity, started, rounds;
} csv_rows;

// Texts that are JSON of options: read as such wherever they are used.
static sg_status csv_json(const csv_in *in, sg_error *err)
{
    json_t *object;
    sg_error why = {0};
    const sg_status status =
        sg_json_parse(in->cell.data, in->cell.count - 1, in->name, &object, &why);
    if (status == SG_ERR_MEMORY) return csv_memory(in, err);
    const bool is = status == SG_OK && json_is_object(object);
    if (status == SG_OK) json_decref(object);
    return is ? SG_OK : csv_wrong(in, "a JSON object", err);
}

static sg_status csv_read_text(const csv_in *in, const sg_sweep_column *column, char *to,
                               sg_error *err)
{
    const size_t bytes = in->cell.count - 1;
    if (bytes >= column->bytes) return csv_wrong(in, "a shorter text", err);
    if (strcmp(column->name, "id") == 0 &&
        (bytes != SG_SWEEP_ID - 1 || strspn(in->cell.data, "0123456789abcdef") != bytes))
        return csv_wrong(in, "32 hex digits", err);
    if (strcmp(column->name, "family") == 0 && bytes == 0)
        return csv_wrong(in, "the name of a contender", err);
    if (strcmp(column->name, "options") == 0 || strcmp(column->name, "settings") == 0)
        SG_TRY(csv_json(in, err));
    memcpy(to, in->cell.data, bytes + 1);
    return SG_OK;
}

static sg_status csv_read_value(csv_in *in, const sg_sweep_column *column, sg_sweep_row *row,
                                sg_error *err)
{
    void *at = sg_sweep_column_in(column, row);
    switch (column->kind) {
    case SG_SWEEP_COLUMN_TEXT:
        return csv_read_text(in, column, at, err);
    case SG_SWEEP_COLUMN_INT:
        return csv_whole(in->cell.data, "", column->least, at) != NULL
                   ? SG_OK
                   : csv_wrong(in, "a whole number", err);
    case SG_SWEEP_COLUMN_SEED:
        return csv_read_seed(in, at, err);
    case SG_SWEEP_COLUMN_REAL:
        SG_TRY(csv_read_real(in, at, err));
        if (strcmp(column->name, "loss") == 0 && isnan(row->loss))
            return csv_wrong(in, "the loss of a finished run", err);
        return SG_OK;
    case SG_SWEEP_COLUMN_PURPOSE:
        return sg_sweep_purpose_find(in->cell.data, &row->purpose)
                   ? SG_OK
                   : csv_wrong(in, "search, point, seed or extension", err);
    case SG_SWEEP_COLUMN_STATE:
        break;
    }
    return SG_OK;
}

static sg_status csv_read_list(csv_in *in, size_t list, csv_rows *rows, size_t index, sg_error *err)
{
    sg_sweep_bundle *b = rows->b;
    sg_sweep_row *row = &b->results.rows[index];
    switch ((sg_sweep_csv_list)list) {
    case SG_SWEEP_CSV_BLOCK_LOSS:
        return csv_block_loss(in, row, err);
    case SG_SWEEP_CSV_BLOCK_TOKENS:
        return csv_block_tokens(in, row, err);
    case SG_SWEEP_CSV_TRAIN:
        return csv_read_curve(in, &row->curve_step, &row->curve_loss, &row->curve_count, err);
    case SG_SWEEP_CSV_VAL:
        return csv_read_curve(in, &row->val_step, &row->val_loss, &row->val_count, err);
    case SG_SWEEP_CSV_MACHINE:
        if (in->cell.data[0] == '\0') return SG_OK;
        if (csv_whole(in->cell.data, "", 0, &row->machine) == NULL ||
            row->machine >= (int64_t)b->results.machine_count)
            return csv_wrong(in, "the number of a machine in the head, or nothing", err);
        return SG_OK;
    case SG_SWEEP_CSV_SECONDS:
        return csv_read_real(in, &row->seconds, err);
    case SG_SWEEP_CSV_STARTED:
        return csv_read_real(in, &b->started[index], err);
    case SG_SWEEP_CSV_STEPS:
        return csv_read_rounds(in, b, index, &rows->rounds, err);
    case SG_SWEEP_CSV_LISTS:
        break;
    }
    return SG_OK;
}

static sg_status csv_row(csv_in *in, csv_rows *rows, sg_error *err)
{
    sg_sweep_results *r = &rows->b->results;
    const size_t index = r->count;
    size_t number, list;
    if (index >= SG_SWEEP_ROWS_MAX) return csv_place(in, "found more than 65536 runs", err);
    if (!sg_grow((void **)&r->rows, &rows->capacity, index + 1, sizeof *r->rows) ||
        !sg_grow((void **)&rows->b->started, &rows->started, index + 1, sizeof(double)))
        return csv_memory(in, err);
    r->rows[r->count++] = sg_sweep_row_empty();
    r->rows[index].state = SG_SWEEP_FINISHED;
    rows->b->started[index] = NAN;
    for (in->index = 0; (in->column = sg_sweep_csv_column(in->index, &number, &list)) != NULL;
         in->index++) {
        if (in->index > 0 && in->last) return csv_place(in, "the line ends too early", err);
        SG_TRY(csv_next(in, err));
        SG_TRY(list != SIZE_MAX
                   ? csv_read_list(in, list, rows, index, err)
                   : csv_read_value(in, sg_sweep_column_at(number), &r->rows[index], err));
    }
    return in->last ? SG_OK : csv_place(in, "the line has more cells than columns", err);
}

// ---- the head -----------------------------------------------------------------------------------

static sg_status head_text(const json_t *head, const csv_in *in, const char *key, char *to,
                           size_t room, sg_error *err)
{
    const char *text = "";
    SG_TRY(sg_json_get_string(head, in->name, key, true, &text, err));
    if (strlen(text) >= room)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s: found %zu bytes, expected at most %zu",
                       in->name, key, strlen(text), room - 1);
    memcpy(to, text, strlen(text) + 1);
    return SG_OK;
}

static sg_status head_machine(const json_t *object, const csv_in *in, sg_sweep_machine *m,
                              sg_error *err)
{
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: machines: found no object, expected one of each",
                       in->name);
    SG_TRY(head_text(object, in, "processor", m->processor, sizeof m->processor, err));
    SG_TRY(head_text(object, in, "kernels", m->kernels, sizeof m->kernels, err));
    SG_TRY(head_text(object, in, "library", m->library, sizeof m->library, err));
    SG_TRY(head_text(object, in, "program", m->program, sizeof m->program, err));
    SG_TRY(sg_json_get_int(object, in->name, "cores", true, 0, INT32_MAX, &m->cores, err));
    SG_TRY(sg_json_get_int(object, in->name, "threads", true, 0, INT32_MAX, &m->threads, err));
    return sg_json_get_int(object, in->name, "jobs", true, 0, INT32_MAX, &m->jobs, err);
}

static sg_status head_machines(const json_t *head, const csv_in *in, sg_sweep_results *r,
                               sg_error *err)
{
    json_t *machines;
    SG_TRY(sg_json_get_array(head, in->name, "machines", true, &machines, err));
    const size_t count = json_array_size(machines);
    if (count > SG_SWEEP_ROWS_MAX)
        return sg_fail(err, SG_ERR_FORMAT, "%s: machines: found %zu, expected at most %d", in->name,
                       count, SG_SWEEP_ROWS_MAX);
    r->machines = sg_alloc_zero(count, sizeof *r->machines);
    if (r->machines == NULL) return csv_memory(in, err);
    for (; r->machine_count < count; r->machine_count++)
        SG_TRY(head_machine(json_array_get(machines, r->machine_count), in,
                            &r->machines[r->machine_count], err));
    return SG_OK;
}

static sg_status head_file(const json_t *head, const csv_in *in, sg_sweep_results *r, sg_error *err)
{
    json_t *lines;
    sg_bytes file = {0};
    SG_TRY(sg_json_get_array(head, in->name, "file", true, &lines, err));
    for (size_t i = 0; i < json_array_size(lines); i++) {
        const json_t *line = json_array_get(lines, i);
        if (!json_is_string(line) || strlen(json_string_value(line)) != json_string_length(line)) {
            sg_free(file.data);
            return sg_fail(err, SG_ERR_FORMAT, "%s: file[%zu]: found no text, expected a line",
                           in->name, i);
        }
        if ((i > 0 && !sg_bytes_add(&file, "\n", 1)) ||
            !sg_bytes_add(&file, json_string_value(line), json_string_length(line))) {
            sg_free(file.data);
            return csv_memory(in, err);
        }
    }
    r->file = sg_strndup(file.data != NULL ? file.data : "", file.count);
    sg_free(file.data);
    return r->file != NULL ? SG_OK : csv_memory(in, err);
}

static sg_status head_parse(const json_t *head, const csv_in *in, sg_sweep_results *r,
                            int64_t *runs, sg_error *err)
{
    if (!json_is_object(head))
        return sg_fail(err, SG_ERR_FORMAT, "%s: line 2: found no JSON object behind \"# \"",
                       in->name);
    SG_TRY(head_text(head, in, "name", r->name, sizeof r->name, err));
    SG_TRY(head_text(head, in, "note", r->note, sizeof r->note, err));
    SG_TRY(head_text(head, in, "data_hash", r->data_hash, sizeof r->data_hash, err));
    SG_TRY(head_text(head, in, "data_path", r->data_path, sizeof r->data_path, err));
    SG_TRY(head_text(head, in, "command", r->command, sizeof r->command, err));
    SG_TRY(sg_json_get_int(head, in->name, "vocab_size", true, 0, INT32_MAX, &r->vocab_size, err));
    SG_TRY(sg_json_get_int(head, in->name, "seq_len", true, 0, INT32_MAX, &r->seq_len, err));
    SG_TRY(sg_json_get_int(head, in->name, "val_tokens", true, 0, INT64_MAX, &r->val_tokens, err));
    SG_TRY(sg_json_get_int(head, in->name, "runs", true, 0, SG_SWEEP_ROWS_MAX, runs, err));
    SG_TRY(head_machines(head, in, r, err));
    return head_file(head, in, r, err);
}

// The lines of the head, with blanks in the place of what makes them comments: what is wrong in the
// JSON is then told by the lines and columns of the file.
static sg_status csv_head(csv_in *in, sg_sweep_results *r, int64_t *runs, sg_error *err)
{
    const size_t first = strlen(sg_sweep_csv_first_line);
    const char *from = in->at;
    if ((size_t)(in->end - in->at) < first || memcmp(in->at, sg_sweep_csv_first_line, first) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: line 1: expected \"%s\"", in->name,
                       sg_sweep_csv_first_line);
    while (in->at < in->end && *in->at == '#') {
        const char *end = memchr(in->at, '\n', (size_t)(in->end - in->at));
        in->at = end != NULL ? end + 1 : in->end;
        in->line++;
    }
    const size_t bytes = (size_t)(in->at - from);
    char *text = sg_strndup(from, bytes);
    if (text == NULL) return csv_memory(in, err);
    memset(text, ' ', first);
    for (size_t i = first; i < bytes; i++)
        if (text[i] == '#' && text[i - 1] == '\n') text[i] = ' ';
    json_t *head = NULL;
    sg_status status = sg_json_parse(text, bytes, in->name, &head, err);
    if (status == SG_OK) status = head_parse(head, in, r, runs, err);
    json_decref(head);
    sg_free(text);
    return status;
}

static sg_status csv_columns(csv_in *in, sg_error *err)
{
    size_t number, list;
    const char *name;
    in->column = NULL;
    in->last = false;
    for (in->index = 0; (name = sg_sweep_csv_column(in->index, &number, &list)) != NULL;
         in->index++) {
        if (in->last) return csv_place(in, "the line of columns ends too early", err);
        SG_TRY(csv_next(in, err));
        if (strcmp(in->cell.data, name) == 0) continue;
        char expected[64] = "the column ";
        strncat(expected, name, sizeof expected - strlen(expected) - 1);
        return csv_wrong(in, expected, err);
    }
    return in->last ? SG_OK : csv_place(in, "found more columns than there are", err);
}

// ---- all of it ----------------------------------------------------------------------------------

static int csv_by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sg_status csv_check_ids(const csv_in *in, const sg_sweep_results *r, sg_error *err)
{
    const char **ids = sg_alloc_array(r->count, sizeof *ids);
    if (ids == NULL) return csv_memory(in, err);
    for (size_t i = 0; i < r->count; i++)
        ids[i] = r->rows[i].id;
    if (r->count > 0) qsort(ids, r->count, sizeof *ids, csv_by_id);
    sg_status status = SG_OK;
    for (size_t i = 1; i < r->count && status == SG_OK; i++)
        if (strcmp(ids[i - 1], ids[i]) == 0)
            status = sg_fail(err, SG_ERR_FORMAT, "%s: run %s: found twice", in->name, ids[i]);
    sg_free(ids);
    return status;
}

static sg_status csv_all(csv_in *in, sg_sweep_bundle *b, sg_error *err)
{
    csv_rows rows = {.b = b};
    int64_t runs = 0;
    const size_t bytes = (size_t)(in->end - in->at);
    if (memchr(in->at, '\0', bytes) != NULL || sg_utf8_valid_prefix(in->at, bytes) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "%s: is not text in UTF-8", in->name);
    if (bytes == 0 || in->end[-1] != '\n')
        return sg_fail(err, SG_ERR_FORMAT, "%s: ends within a line: it was cut", in->name);
    SG_TRY(csv_head(in, &b->results, &runs, err));
    SG_TRY(csv_columns(in, err));
    while (in->at < in->end) {
        in->index = 0;
        in->cell_line = in->line;
        SG_TRY(csv_row(in, &rows, err));
    }
    if (runs != (int64_t)b->results.count)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu runs, expected %lld, as its head says",
                       in->name, b->results.count, (long long)runs);
    return csv_check_ids(in, &b->results, err);
}

sg_status sg_sweep_csv_parse(const char *text, size_t bytes, const char *name,
                             sg_sweep_bundle *bundle, sg_error *err)
{
    *bundle = (sg_sweep_bundle){0};
    csv_in in = {.name = name, .at = text, .end = text + bytes, .line = 1, .cell_line = 1};
    const sg_status status = csv_all(&in, bundle, err);
    sg_free(in.cell.data);
    if (status != SG_OK) sg_sweep_bundle_clear(bundle);
    return status;
}

sg_status sg_sweep_csv_read(const char *path, sg_sweep_bundle *bundle, sg_error *err)
{
    char *text;
    size_t bytes;
    *bundle = (sg_sweep_bundle){0};
    SG_TRY(sg_file_read(path, SG_SWEEP_CSV_MOST, &text, &bytes, err));
    const sg_status status = sg_sweep_csv_parse(text, bytes, path, bundle, err);
    sg_free(text);
    return status;
}
