// Cells of CSV and the numbers in them. See csv_cells.h.
#include "sweep/csv_cells.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "format/json.h"

sg_status sg_csv_wrong(const sg_csv_in *in, const char *expected, sg_error *err)
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

sg_status sg_csv_place(const sg_csv_in *in, const char *what, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: line %lld, column %zu: %s", in->name,
                   (long long)in->cell_line, in->index + 1, what);
}

sg_status sg_csv_memory(const sg_csv_in *in, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: line %lld: out of memory", in->name,
                   (long long)in->cell_line);
}

// ---- cells --------------------------------------------------------------------------------------

static bool csv_keep(sg_csv_in *in, const char *data, size_t bytes)
{
    return sg_bytes_add(&in->cell, data, bytes);
}

static sg_status csv_quoted(sg_csv_in *in, sg_error *err)
{
    for (in->at++;;) {
        const char *from = in->at;
        while (in->at < in->end && *in->at != '"')
            in->line += *in->at++ == '\n';
        if (!csv_keep(in, from, (size_t)(in->at - from))) return sg_csv_memory(in, err);
        if (in->at == in->end) return sg_csv_place(in, "the quotes have no end", err);
        in->at++;
        if (in->at == in->end || *in->at != '"') return SG_OK;
        if (!csv_keep(in, in->at++, 1)) return sg_csv_memory(in, err);
    }
}

static sg_status csv_plain(sg_csv_in *in, sg_error *err)
{
    const char *from = in->at;
    while (in->at < in->end && *in->at != ',' && *in->at != '\n' && *in->at != '"')
        in->at++;
    size_t bytes = (size_t)(in->at - from);
    if (in->at < in->end && *in->at == '"')
        return sg_csv_place(in, "found quotes inside of a cell that does not begin with them", err);
    const bool ends = in->at == in->end || *in->at == '\n';
    if (ends && bytes > 0 && from[bytes - 1] == '\r') bytes--;
    return csv_keep(in, from, bytes) ? SG_OK : sg_csv_memory(in, err);
}

sg_status sg_csv_next(sg_csv_in *in, sg_error *err)
{
    in->cell.count = 0;
    in->cell_line = in->line;
    SG_TRY(in->at < in->end && *in->at == '"' ? csv_quoted(in, err) : csv_plain(in, err));
    if (!csv_keep(in, "", 1)) return sg_csv_memory(in, err);
    if (in->at < in->end && *in->at == '\r' && in->at + 1 < in->end && in->at[1] == '\n') in->at++;
    in->last = in->at == in->end || *in->at == '\n';
    if (!in->last && *in->at != ',')
        return sg_csv_place(in, "found text behind the quotes of a cell", err);
    in->line += in->at < in->end && *in->at == '\n';
    in->at += in->at < in->end;
    return SG_OK;
}

// ---- numbers ------------------------------------------------------------------------------------

static const char *csv_digits(const char *at)
{
    return at + strspn(at, "0123456789");
}

const char *sg_csv_number(const char *at, const char *ends, double *value)
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

const char *sg_csv_whole(const char *at, const char *ends, int64_t least, int64_t *value)
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
