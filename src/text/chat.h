// The inside of sg_chat, for the files of this folder.
#ifndef SG_TEXT_CHAT_H
#define SG_TEXT_CHAT_H

#include "text/chat_template.h"

struct sg_chat {
    sg_arena arena; // owns everything below
    const char *name;
    const char *bos, *eos; // NULL: undefined
    sg_chat_step *steps;
};

#endif
