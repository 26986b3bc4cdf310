// Reading lists of numbers.
#include "base/number_list.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

bool sg_list_item(const char **text, int64_t *first, int64_t *last)
{
    char *end;
    if (**text < '0' || **text > '9') return false;
    *first = *last = strtoll(*text, &end, 10);
    if (*end == '-') {
        *text = end + 1;
        if (**text < '0' || **text > '9') return false;
        *last = strtoll(*text, &end, 10);
    }
    *text = end;
    return true;
}

bool sg_list_number(const char **text, bool whole, double *value)
{
    char *end;
    const char *at = *text;
    *value = whole ? (double)strtoll(at, &end, 10) : strtod(at, &end);
    if (end == at || (*end != ',' && *end != '\0') || !isfinite(*value)) return false;
    *text = *end == ',' ? end + 1 : end;
    return *end == '\0' || **text != '\0';
}

static bool list_all(const char *list)
{
    return list == NULL || strcmp(list, "all") == 0;
}

bool sg_list_has(const char *list, int64_t number)
{
    int64_t first, last;
    if (list_all(list)) return true;
    for (const char *at = list; sg_list_item(&at, &first, &last); at += *at == ',')
        if (number >= first && number <= last) return true;
    return false;
}

bool sg_list_within(const char *list, const int64_t *numbers, int64_t count)
{
    int64_t first, last;
    if (list_all(list)) return true;
    for (const char *at = list; sg_list_item(&at, &first, &last); at += *at == ',')
        for (int64_t n = first; n <= last; n++) {
            int64_t i = 0;
            while (i < count && numbers[i] != n)
                i++;
            if (i == count) return false; // at the first, however long the range
        }
    return true;
}

sg_status sg_list_read(const char *list, const char *field, int64_t count, bool *chosen,
                       sg_error *err)
{
    const char *at = list;
    int64_t first, last;
    bool right = true;
    for (int64_t i = 0; chosen != NULL && i < count; i++)
        chosen[i] = list_all(list);
    if (list_all(list)) return SG_OK;
    do {
        right = sg_list_item(&at, &first, &last) && first <= last && last < count;
        for (int64_t i = first; chosen != NULL && right && i <= last; i++)
            chosen[i] = true;
    } while (right && *at++ == ',');
    if (right && at[-1] == '\0') return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT,
                   "%s: found \"%.200s\", expected all or a list such as 0,2-4 of numbers 0 to "
                   "%lld",
                   field, list, (long long)count - 1);
}
