// A prompt of a fact as text, and texts as the ids that a model reads. Where a part of a text
// begins and ends is found by encoding the text up to there: its ids must begin those of the whole.
#ifndef SG_PROBE_FACT_TEXT_H
#define SG_PROBE_FACT_TEXT_H

#include "model/model.h"
#include "probe/facts.h"

typedef struct sg_fact_text {
    char *text;
    int32_t *ids; // (count) what begins a text, then its own
    int64_t count, begins, lost;
} sg_fact_text;

// The text of a prompt up to the space before its answer; *before: bytes in front of the subject.
// *text: sg_free.
sg_status sg_fact_prompt_text(const sg_fact *fact, const char *prompt, char **text, size_t *before,
                              sg_error *err);
// A text, and behind it a space and `more` (NULL: neither), as the model reads it.
// *out: sg_fact_text_clear.
sg_status sg_fact_text_encode(const sg_model *model, const sg_tokenizer *tokenizer,
                              const char *text, const char *more, sg_fact_text *out, sg_error *err);
void sg_fact_text_clear(sg_fact_text *text);
// Whether the ids of `part` begin those of `whole`.
bool sg_fact_text_begins(const sg_fact_text *whole, const sg_fact_text *part);

#endif
