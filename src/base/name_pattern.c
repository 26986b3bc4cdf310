#include "base/name_pattern.h"

#include <string.h>

// Going back to the last * is enough: whatever an earlier one could take, the last can too. So the
// work is at most the product of the lengths, for any pattern.
bool sg_name_fits(const char *pattern, size_t bytes, const char *name)
{
    size_t p = 0, n = 0, star = bytes, from = 0;
    while (name[n] != '\0') {
        if (p < bytes && pattern[p] == '*') {
            star = p++;
            from = n;
        } else if (p < bytes && pattern[p] == name[n]) {
            p++;
            n++;
        } else if (star < bytes) {
            p = star + 1;
            n = ++from;
        } else {
            return false;
        }
    }
    while (p < bytes && pattern[p] == '*')
        p++;
    return p == bytes;
}

const char *sg_name_list_next(const char **list, size_t *bytes)
{
    const char *start = *list;
    if (start == NULL) return NULL;
    *bytes = strcspn(start, ",");
    *list = start[*bytes] == ',' ? start + *bytes + 1 : NULL;
    return start;
}
