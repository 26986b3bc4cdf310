// The inside of sg_chat, for the files of this folder.
#ifndef SG_TEXT_CHAT_H
#define SG_TEXT_CHAT_H

#include "text/chat_template.h"

struct sg_chat {
    sg_arena arena; // owns everything below
    const char *name;
    const char *bos, *eos; // NULL: undefined
    const char *tokens;    // the other special tokens, a JSON object; NULL: none
    sg_chat_step *steps;
};

// The text of a model folder's template, as sg_chat_open finds it. *text: sg_free; NULL when it has
// none.
sg_status sg_chat_template_text(const char *folder, char **text, size_t *bytes, sg_error *err);

#endif
