// Unicode normalisation forms (Unicode Standard Annex #15) as the Hugging Face library computes
// them, that is with the data of Unicode 12.0: characters that came later are left alone.
#ifndef SG_TEXT_NORMALIZE_H
#define SG_TEXT_NORMALIZE_H

#include "text/unicode.h"

typedef enum sg_normal_form {
    SG_FORM_NFC = 0,
    SG_FORM_NFD = 1,
    SG_FORM_NFKC = 2,
    SG_FORM_NFKD = 3
} sg_normal_form;

// Whether every character is inert under the form, so that the text is its own normal form. False
// negatives are possible, false positives are not.
bool sg_is_plainly_normal(sg_normal_form form, const char *text, size_t bytes);
// Appends the normal form of valid UTF-8; false when out of memory.
bool sg_normalize(sg_normal_form form, const char *text, size_t bytes, sg_bytes *out);

#endif
