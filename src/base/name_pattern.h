// Names chosen by a pattern in which * stands for any text: parameters to train, matrices to adapt.
#ifndef SG_BASE_NAME_PATTERN_H
#define SG_BASE_NAME_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

// Whether the whole name fits. pattern (bytes), without a NUL behind it.
bool sg_name_fits(const char *pattern, size_t bytes, const char *name);
// The next item of a list "a,b,c" from *list on: its start and length, *list is behind it; NULL at
// the end. An item may be empty.
const char *sg_name_list_next(const char **list, size_t *bytes);

#endif
