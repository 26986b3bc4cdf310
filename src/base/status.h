// Status and error messages: how every function of the library reports failure.
#ifndef SG_BASE_STATUS_H
#define SG_BASE_STATUS_H

#include "sgatlin.h"

// Fills in `err` (may be NULL) and returns `code`, so that `return sg_fail(...)` is one line.
sg_status sg_fail(sg_error *err, sg_status code, const char *format, ...) SG_PRINTF(3, 4);

// Puts "context: " in front of the message of an error that is already there; returns its code.
sg_status sg_fail_context(sg_error *err, sg_status code, const char *format, ...) SG_PRINTF(3, 4);

// Whether `status` is `code`, which then is no failure: `err` (may be NULL), which tells of it, is
// emptied, as a call that returns SG_OK leaves no error behind.
bool sg_ignored(sg_status status, sg_status code, sg_error *err);

// A number as messages show it: the fewest digits that read back as it, so that what is found
// beside a bound is never the bound. 0 is "0", of either sign.
const char *sg_number_text(double value, char text[32]);
#define SG_NUMBER(value) sg_number_text(value, (char[32]){0})

// Returns from the calling function when `expression` is not SG_OK.
#define SG_TRY(expression)                                                                         \
    do {                                                                                           \
        sg_status sg_try_status_ = (expression);                                                   \
        if (sg_try_status_ != SG_OK) return sg_try_status_;                                        \
    } while (0)

#endif
