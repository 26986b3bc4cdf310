// Fields of options by the rows that state them. All that is known of a member is in its row, so
// that a new field is a member and a row.
#include "base/fields.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *sg_field_option(const sg_field *field, char *text, size_t capacity)
{
    snprintf(text, capacity, "%s", field->name);
    for (char *c = text; *c != '\0'; c++)
        if (*c == '_') *c = '-';
    return text;
}

// ---- choices ------------------------------------------------------------------------------------

const char *sg_field_choice(const sg_field *field, size_t index, size_t *bytes)
{
    const char *at = field->choices;
    for (size_t i = 0; at != NULL; i++) {
        *bytes = strcspn(at, "|");
        if (i == index) return at;
        at = at[*bytes] == '\0' ? NULL : at + *bytes + 1;
    }
    *bytes = 0;
    return "";
}

size_t sg_field_choice_of(const sg_field *field, const char *text)
{
    size_t i = 0, bytes;
    for (const char *at; at = sg_field_choice(field, i, &bytes), bytes > 0; i++)
        if (strlen(text) == bytes && memcmp(at, text, bytes) == 0) break;
    return i;
}

static bool field_is_choice(const sg_field *field, const char *text)
{
    size_t bytes;
    sg_field_choice(field, sg_field_choice_of(field, text), &bytes);
    return bytes > 0;
}

void sg_field_range(const sg_field *field, char *text, size_t capacity)
{
    size_t bytes, used = 0;
    text[0] = '\0';
    if (field->kind == SG_FIELD_INT || field->kind == SG_FIELD_NUMBER) {
        const bool above = field->flags & SG_FIELD_ABOVE, below = field->flags & SG_FIELD_BELOW;
        const bool two = field->kind == SG_FIELD_INT && field->low == 0 && field->high == 1;
        const char *begin = above ? "more than " : below ? "at least " : "";
        const char *between = below ? " and less than " : two ? " or " : " to ";
        if (field->low == 0 && field->high == 0) return;
        snprintf(text, capacity, "%s%s%s%s", begin, SG_NUMBER(field->low), between,
                 SG_NUMBER(field->high));
        return;
    }
    const char *at = sg_field_choice(field, 0, &bytes);
    for (size_t i = 1; bytes > 0 && used < capacity; i++) {
        used += (size_t)snprintf(text + used, capacity - used, "%s%.*s", i > 1 ? ", " : "",
                                 (int)bytes, at);
        at = sg_field_choice(field, i, &bytes);
    }
}

// ---- values -------------------------------------------------------------------------------------

bool sg_field_is_empty(const sg_field *field, const void *object)
{
    const void *at = sg_field_of(field, object);
    switch (field->kind) {
    case SG_FIELD_INT:
        return *(const int64_t *)at == 0;
    case SG_FIELD_NUMBER:
        return *(const double *)at == 0 && !signbit(*(const double *)at);
    case SG_FIELD_STRING:
        return *(const char *)at == '\0';
    case SG_FIELD_BOOL:
        return !*(const bool *)at;
    case SG_FIELD_SEED:
        return *(const uint64_t *)at == 0;
    case SG_FIELD_ENUM:
        break;
    }
    return *(const int *)at == 0;
}

void sg_field_clear(const sg_field *field, void *object)
{
    memset(sg_field_in(field, object), 0, field->bytes);
}

const char *sg_field_text(const sg_field *field, const void *object, char *text, size_t capacity)
{
    const void *at = sg_field_of(field, object);
    size_t bytes;
    const char *choice;
    switch (field->kind) {
    case SG_FIELD_INT:
        snprintf(text, capacity, "%" PRId64, *(const int64_t *)at);
        return text;
    case SG_FIELD_NUMBER:
        snprintf(text, capacity, "%s", SG_NUMBER(*(const double *)at));
        return text;
    case SG_FIELD_STRING:
        snprintf(text, capacity, "\"%.*s\"", (int)capacity - 3, (const char *)at);
        return text;
    case SG_FIELD_BOOL:
        snprintf(text, capacity, "%s", *(const bool *)at ? "true" : "false");
        return text;
    case SG_FIELD_SEED:
        snprintf(text, capacity, "%" PRIu64, *(const uint64_t *)at);
        return text;
    case SG_FIELD_ENUM:
        break;
    }
    choice = sg_field_choice(field, (size_t) * (const int *)at, &bytes);
    if (bytes > 0)
        snprintf(text, capacity, "\"%.*s\"", (int)bytes, choice);
    else
        snprintf(text, capacity, "%d", *(const int *)at);
    return text;
}

// A value that cannot be read as the kind says.
static sg_status field_wrong(const char *name, const char *text, const char *expected,
                             sg_error *err)
{
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected %s", name, text, expected);
}

static sg_status field_set_text(const sg_field *field, const char *name, const char *text,
                                void *object, sg_error *err)
{
    const size_t bytes = strlen(text);
    if (bytes >= field->bytes)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %zu bytes, expected less than %zu", name,
                       bytes, field->bytes);
    // The whole array, so that equal options are equal bytes.
    sg_field_clear(field, object);
    memcpy(sg_field_in(field, object), text, bytes);
    return SG_OK;
}

static sg_status field_set_int(const sg_field *field, const char *name, const char *text,
                               int64_t least, int64_t most, void *object, sg_error *err)
{
    char *end, expected[80];
    errno = 0;
    const long long number = strtoll(text, &end, 10);
    snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, least, most);
    if (end == text || *end != '\0' || errno != 0 || number < least || number > most)
        return field_wrong(name, text, expected, err);
    *(int64_t *)sg_field_in(field, object) = number;
    return SG_OK;
}

sg_status sg_field_set(const sg_field *field, const char *name, const char *text, int64_t least,
                       int64_t most, void *object, sg_error *err)
{
    void *to = sg_field_in(field, object);
    const bool yes = strcmp(text, "true") == 0;
    char *end, list[256];
    double number;
    unsigned long long seed;
    switch (field->kind) {
    case SG_FIELD_INT:
        return field_set_int(field, name, text, least, most, object, err);
    case SG_FIELD_NUMBER:
        number = strtod(text, &end);
        if (end == text || *end != '\0' || !isfinite(number))
            return field_wrong(name, text, "a number", err);
        *(double *)to = number;
        return SG_OK;
    case SG_FIELD_STRING:
        return field_set_text(field, name, text, object, err);
    case SG_FIELD_BOOL:
        if (!yes && strcmp(text, "false") != 0)
            return field_wrong(name, text, "true or false", err);
        *(bool *)to = yes;
        return SG_OK;
    case SG_FIELD_SEED:
        errno = 0;
        seed = strtoull(text, &end, 10);
        if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0)
            return field_wrong(name, text, "a whole number", err);
        *(uint64_t *)to = seed;
        return SG_OK;
    case SG_FIELD_ENUM:
        break;
    }
    sg_field_range(field, list, sizeof list);
    if (!field_is_choice(field, text))
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected one of %s", name, text,
                       list);
    *(int *)to = (int)sg_field_choice_of(field, text);
    return SG_OK;
}

void sg_field_fill(const sg_field *field, void *object)
{
    if (field->initial != NULL)
        sg_field_set(field, field->name, field->initial, INT64_MIN, INT64_MAX, object, NULL);
}

// ---- rules --------------------------------------------------------------------------------------

static sg_status field_outside(const sg_field *field, const char *name, const char *behind,
                               const void *object, sg_error *err)
{
    char found[64], range[256];
    const bool text = field->kind == SG_FIELD_STRING || field->kind == SG_FIELD_ENUM;
    sg_field_range(field, range, sizeof range);
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected %s%s%s", name,
                   sg_field_text(field, object, found, sizeof found), text ? "one of " : "", range,
                   behind);
}

static bool field_in_range(const sg_field *field, double value)
{
    const bool above = field->flags & SG_FIELD_ABOVE, below = field->flags & SG_FIELD_BELOW;
    if (field->low == 0 && field->high == 0) return true;
    return (above ? value > field->low : value >= field->low) &&
           (below ? value < field->high : value <= field->high);
}

static bool field_is_initial(const sg_field *field, double value)
{
    return field->initial != NULL && !(value < strtod(field->initial, NULL)) &&
           !(value > strtod(field->initial, NULL)) && !isnan(value);
}

sg_status sg_field_check(const sg_field *field, const char *name, const char *behind,
                         const void *object, sg_error *err)
{
    const void *at = sg_field_of(field, object);
    double value;
    size_t bytes = 1;
    bool right = true;
    switch (field->kind) {
    case SG_FIELD_INT:
        value = (double)*(const int64_t *)at;
        right = field_in_range(field, value) || field_is_initial(field, value);
        break;
    case SG_FIELD_NUMBER:
        value = *(const double *)at;
        right = field_in_range(field, value) || field_is_initial(field, value);
        break;
    case SG_FIELD_STRING:
        right = field->choices == NULL || field_is_choice(field, at);
        break;
    case SG_FIELD_ENUM:
        sg_field_choice(field, (size_t) * (const int *)at, &bytes);
        right = bytes > 0;
        break;
    case SG_FIELD_BOOL:
    case SG_FIELD_SEED:
        break;
    }
    return right ? SG_OK : field_outside(field, name, behind, object, err);
}
