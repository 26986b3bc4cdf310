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
#include "sweep/runs_csv_head.h"

// ---- numbers ------------------------------------------------------------------------------------

static sg_status csv_read_seed(const sg_csv_in *in, uint64_t *seed, sg_error *err)
{
    const char *text = in->cell.data;
    errno = 0;
    const unsigned long long number = strtoull(text, NULL, 10);
    if (*text == '\0' || text[strspn(text, "0123456789")] != '\0' || errno != 0)
        return sg_csv_wrong(in, "a whole number below 2^64", err);
    *seed = number;
    return SG_OK;
}

static sg_status csv_read_real(const sg_csv_in *in, double *value, sg_error *err)
{
    *value = NAN;
    if (in->cell.data[0] == '\0' || sg_csv_number(in->cell.data, "", value) != NULL) return SG_OK;
    return sg_csv_wrong(in, "a number, or nothing", err);
}

// ---- lists --------------------------------------------------------------------------------------

// Another element of a list: *at is moved behind the blank that separates it from the last one.
static bool csv_more(const char **at)
{
    if (**at == ' ') ++*at;
    return **at != '\0';
}

static sg_status csv_block_loss(sg_csv_in *in, sg_sweep_row *row, sg_error *err)
{
    size_t capacity = 0;
    for (const char *at = in->cell.data; csv_more(&at);) {
        if (row->block_count >= SG_SWEEP_BLOCKS_MAX)
            return sg_csv_place(in, "found more than 65536 blocks", err);
        if (!sg_grow((void **)&row->block_loss, &capacity, row->block_count + 1, sizeof(double)))
            return sg_csv_memory(in, err);
        at = sg_csv_number(at, " ", &row->block_loss[row->block_count++]);
        if (at == NULL) return sg_csv_wrong(in, "numbers separated by blanks", err);
    }
    return SG_OK;
}

static sg_status csv_block_tokens(sg_csv_in *in, sg_sweep_row *row, sg_error *err)
{
    size_t count = 0;
    row->block_tokens = sg_alloc_array(row->block_count, sizeof(int64_t));
    if (row->block_tokens == NULL) return sg_csv_memory(in, err);
    for (const char *at = in->cell.data; csv_more(&at);) {
        int64_t tokens, times = 1;
        at = sg_csv_whole(at, " *", 0, &tokens);
        if (at != NULL && *at == '*') at = sg_csv_whole(at + 1, " ", 1, &times);
        if (at == NULL)
            return sg_csv_wrong(in, "TOKENS or TOKENS*BLOCKS, separated by blanks", err);
        if (times > (int64_t)(row->block_count - count))
            return sg_csv_place(in, "found tokens of more blocks than there are losses", err);
        for (; times > 0; times--)
            row->block_tokens[count++] = tokens;
    }
    return count == row->block_count
               ? SG_OK
               : sg_csv_place(in, "found tokens of fewer blocks than there are losses", err);
}

static sg_status csv_read_curve(sg_csv_in *in, double **step, double **loss, size_t *count,
                                sg_error *err)
{
    *step = sg_alloc_array(SG_SWEEP_CURVE_MAX, sizeof **step);
    *loss = sg_alloc_array(SG_SWEEP_CURVE_MAX, sizeof **loss);
    if (*step == NULL || *loss == NULL) return sg_csv_memory(in, err);
    for (const char *at = in->cell.data; csv_more(&at); ++*count) {
        if (*count >= SG_SWEEP_CURVE_MAX)
            return sg_csv_place(in, "found more than 200 points", err);
        at = sg_csv_number(at, ":", &(*step)[*count]);
        if (at != NULL) at = *at == ':' ? sg_csv_number(at + 1, " ", &(*loss)[*count]) : NULL;
        if (at == NULL) return sg_csv_wrong(in, "STEP:LOSS separated by blanks", err);
        if (*count > 0 && !((*step)[*count] > (*step)[*count - 1]))
            return sg_csv_place(in, "found steps that do not ascend", err);
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

static sg_status csv_read_rounds(sg_csv_in *in, sg_sweep_bundle *b, size_t row, size_t *capacity,
                                 sg_error *err)
{
    int64_t before = -1;
    for (const char *at = in->cell.data; csv_more(&at);) {
        sg_sweep_round round = {.row = row};
        at = sg_csv_whole(at, ":", -1, &round.machine);
        if (at != NULL) at = *at == ':' ? sg_csv_number(at + 1, " ", &round.seconds) : NULL;
        if (at == NULL || round.seconds < 0)
            return sg_csv_wrong(in, "MACHINE:SECONDS separated by blanks", err);
        if (round.machine >= (int64_t)b->results.machine_count)
            return sg_csv_place(in, "found a machine that the head has not", err);
        if (round.machine < before)
            return sg_csv_place(in, "found machines that do not ascend", err);
        before = round.machine;
        if (!csv_add_round(b, capacity, round)) return sg_csv_memory(in, err);
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
static sg_status csv_json(const sg_csv_in *in, sg_error *err)
{
    json_t *object;
    sg_error why = {0};
    const sg_status status =
        sg_json_parse(in->cell.data, in->cell.count - 1, in->name, &object, &why);
    if (status == SG_ERR_MEMORY) return sg_csv_memory(in, err);
    const bool is = status == SG_OK && json_is_object(object);
    if (status == SG_OK) json_decref(object);
    return is ? SG_OK : sg_csv_wrong(in, "a JSON object", err);
}

static sg_status csv_read_text(const sg_csv_in *in, const sg_sweep_column *column, char *to,
                               sg_error *err)
{
    const size_t bytes = in->cell.count - 1;
    if (bytes >= column->bytes) return sg_csv_wrong(in, "a shorter text", err);
    if (strcmp(column->name, "id") == 0 &&
        (bytes != SG_SWEEP_ID - 1 || strspn(in->cell.data, "0123456789abcdef") != bytes))
        return sg_csv_wrong(in, "32 hex digits", err);
    if (strcmp(column->name, "family") == 0 && bytes == 0)
        return sg_csv_wrong(in, "the name of a contender", err);
    if (strcmp(column->name, "options") == 0 || strcmp(column->name, "settings") == 0)
        SG_TRY(csv_json(in, err));
    memcpy(to, in->cell.data, bytes + 1);
    return SG_OK;
}

static sg_status csv_read_value(sg_csv_in *in, const sg_sweep_column *column, sg_sweep_row *row,
                                sg_error *err)
{
    void *at = sg_sweep_column_in(column, row);
    switch (column->kind) {
    case SG_SWEEP_COLUMN_TEXT:
        return csv_read_text(in, column, at, err);
    case SG_SWEEP_COLUMN_INT:
        return sg_csv_whole(in->cell.data, "", column->least, at) != NULL
                   ? SG_OK
                   : sg_csv_wrong(in, "a whole number", err);
    case SG_SWEEP_COLUMN_SEED:
        return csv_read_seed(in, at, err);
    case SG_SWEEP_COLUMN_REAL:
        SG_TRY(csv_read_real(in, at, err));
        if (strcmp(column->name, "loss") == 0 && isnan(row->loss))
            return sg_csv_wrong(in, "the loss of a finished run", err);
        return SG_OK;
    case SG_SWEEP_COLUMN_PURPOSE:
        return sg_sweep_purpose_find(in->cell.data, &row->purpose)
                   ? SG_OK
                   : sg_csv_wrong(in, "search, point, seed or extension", err);
    case SG_SWEEP_COLUMN_STATE:
        break;
    }
    return SG_OK;
}

static sg_status csv_read_list(sg_csv_in *in, size_t list, csv_rows *rows, size_t index,
                               sg_error *err)
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
        if (sg_csv_whole(in->cell.data, "", 0, &row->machine) == NULL ||
            row->machine >= (int64_t)b->results.machine_count)
            return sg_csv_wrong(in, "the number of a machine in the head, or nothing", err);
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

static sg_status csv_row(sg_csv_in *in, csv_rows *rows, sg_error *err)
{
    sg_sweep_results *r = &rows->b->results;
    const size_t index = r->count;
    size_t number, list;
    if (index >= SG_SWEEP_ROWS_MAX) return sg_csv_place(in, "found more than 65536 runs", err);
    if (!sg_grow((void **)&r->rows, &rows->capacity, index + 1, sizeof *r->rows) ||
        !sg_grow((void **)&rows->b->started, &rows->started, index + 1, sizeof(double)))
        return sg_csv_memory(in, err);
    r->rows[r->count++] = sg_sweep_row_empty();
    r->rows[index].state = SG_SWEEP_FINISHED;
    rows->b->started[index] = NAN;
    for (in->index = 0; (in->column = sg_sweep_csv_column(in->index, &number, &list)) != NULL;
         in->index++) {
        if (in->index > 0 && in->last) return sg_csv_place(in, "the line ends too early", err);
        SG_TRY(sg_csv_next(in, err));
        SG_TRY(list != SIZE_MAX
                   ? csv_read_list(in, list, rows, index, err)
                   : csv_read_value(in, sg_sweep_column_at(number), &r->rows[index], err));
    }
    return in->last ? SG_OK : sg_csv_place(in, "the line has more cells than columns", err);
}

// ---- the line of columns ------------------------------------------------------------------------

static sg_status csv_columns(sg_csv_in *in, sg_error *err)
{
    size_t number, list;
    const char *name;
    in->column = NULL;
    in->last = false;
    for (in->index = 0; (name = sg_sweep_csv_column(in->index, &number, &list)) != NULL;
         in->index++) {
        if (in->last) return sg_csv_place(in, "the line of columns ends too early", err);
        SG_TRY(sg_csv_next(in, err));
        if (strcmp(in->cell.data, name) == 0) continue;
        char expected[64] = "the column ";
        strncat(expected, name, sizeof expected - strlen(expected) - 1);
        return sg_csv_wrong(in, expected, err);
    }
    return in->last ? SG_OK : sg_csv_place(in, "found more columns than there are", err);
}

// ---- all of it ----------------------------------------------------------------------------------

static int csv_by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static sg_status csv_check_ids(const sg_csv_in *in, const sg_sweep_results *r, sg_error *err)
{
    const char **ids = sg_alloc_array(r->count, sizeof *ids);
    if (ids == NULL) return sg_csv_memory(in, err);
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

static sg_status csv_all(sg_csv_in *in, sg_sweep_bundle *b, sg_error *err)
{
    csv_rows rows = {.b = b};
    int64_t runs = 0;
    const size_t bytes = (size_t)(in->end - in->at);
    if (memchr(in->at, '\0', bytes) != NULL || sg_utf8_valid_prefix(in->at, bytes) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "%s: is not text in UTF-8", in->name);
    if (bytes == 0 || in->end[-1] != '\n')
        return sg_fail(err, SG_ERR_FORMAT, "%s: ends within a line: it was cut", in->name);
    SG_TRY(sg_sweep_csv_head(in, &b->results, &runs, err));
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
    sg_csv_in in = {.name = name, .at = text, .end = text + bytes, .line = 1, .cell_line = 1};
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
