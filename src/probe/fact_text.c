// Prompts of facts as text and in ids, for pairs of facts and for their recall alike, so that both
// ask the same.
#include "probe/fact_text.h"

#include <string.h>

#include "base/alloc.h"

static sg_status fact_text_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for prompts of facts");
}

sg_status sg_fact_prompt_text(const sg_fact *fact, const char *prompt, char **text, size_t *before,
                              sg_error *err)
{
    const char *subject = strstr(prompt, "{subject}"), *behind = subject + strlen("{subject}");
    const char *answer = strstr(prompt, "{answer}") - 1;
    const size_t length = strlen(fact->subject), rest = (size_t)(answer - behind);
    *before = (size_t)(subject - prompt);
    *text = sg_alloc(*before + length + rest + 1);
    if (*text == NULL) return fact_text_memory(err);
    memcpy(*text, prompt, *before);
    memcpy(*text + *before, fact->subject, length);
    memcpy(*text + *before + length, behind, rest);
    (*text)[*before + length + rest] = '\0';
    return SG_OK;
}

void sg_fact_text_clear(sg_fact_text *t)
{
    sg_free(t->text);
    sg_free(t->ids);
    *t = (sg_fact_text){0};
}

sg_status sg_fact_text_encode(const sg_model *model, const sg_tokenizer *tokenizer,
                              const char *text, const char *more, sg_fact_text *t, sg_error *err)
{
    const size_t bytes = strlen(text) + (more != NULL ? 1 + strlen(more) : 0);
    *t = (sg_fact_text){.text = sg_alloc(bytes + 1)};
    if (t->text == NULL) return fact_text_memory(err);
    snprintf(t->text, bytes + 1, "%s%s%s", text, more != NULL ? " " : "", more != NULL ? more : "");
    sg_encode_options o = sg_encode_options_default();
    o.parse_special = false;
    o.lost_bytes = &t->lost;
    sg_status status =
        sg_model_encode(model, tokenizer, t->text, bytes, &o, &t->ids, &t->count, &t->begins, err);
    if (status != SG_OK) sg_fact_text_clear(t);
    return status;
}

bool sg_fact_text_begins(const sg_fact_text *whole, const sg_fact_text *part)
{
    return part->count <= whole->count &&
           memcmp(whole->ids, part->ids, (size_t)part->count * sizeof *part->ids) == 0;
}
