// Lists of numbers as options have them: "0,2-4", and "all" or NULL for all there are.
#ifndef SG_BASE_NUMBER_LIST_H
#define SG_BASE_NUMBER_LIST_H

#include "sgatlin.h"

// One item of a list, "3" or "3-7", from *text on; *text is behind it. False: there is none.
bool sg_list_item(const char **text, int64_t *first, int64_t *last);
// One number of a list "0.5,2", whole ones or any, *text then behind it and its comma. False: there
// is none.
bool sg_list_number(const char **text, bool whole, double *value);
// Whether a list that was checked has the number.
bool sg_list_has(const char *list, int64_t number);
// Whether all numbers of a list that was checked are among these (count).
bool sg_list_within(const char *list, const int64_t *numbers, int64_t count);
// Checks a list of numbers below `count`; chosen (count) gets which there are, or is NULL. `field`
// is what errors call it.
sg_status sg_list_read(const char *list, const char *field, int64_t count, bool *chosen,
                       sg_error *err);

#endif
