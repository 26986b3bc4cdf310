// Regular expressions over names, as Python's re has them in configurations of other programs.
// PCRE2 reads them alike but for corners that names of modules do not come to.
#ifndef SG_TEXT_NAME_REGEX_H
#define SG_TEXT_NAME_REGEX_H

#include "base/status.h"

typedef struct sg_name_regex sg_name_regex;
// An expression that is to fit a whole name; with `tail`, a name or its end behind a dot. A wrong
// one is SG_ERR_UNSUPPORTED.
sg_status sg_name_regex_new(const char *pattern, bool tail, sg_name_regex **regex, sg_error *err);
void sg_name_regex_free(sg_name_regex *regex); // NULL is allowed
// One that takes absurdly many steps is SG_ERR_UNSUPPORTED.
sg_status sg_name_regex_fits(const sg_name_regex *regex, const char *name, bool *fits,
                             sg_error *err);

#endif
