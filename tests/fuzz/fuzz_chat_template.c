// Any bytes as a chat template. One that is read may be run: it ends, and the same way twice.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sg_chat_message messages[] = {
        {"system", " Be kind. "}, {"user", "Why?\n"}, {"assistant", "\xC3\xA9"}, {"user", ""}};
    sg_chat *chat;
    sg_error err;
    if (sg_chat_new((const char *)data, size, "input", "<s>", "</s>", &chat, &err) != SG_OK)
        return 0;
    char *text, *again;
    size_t bytes, again_bytes;
    sg_status status = sg_chat_render(chat, messages, 4, true, &text, &bytes, &err);
    if (sg_chat_render(chat, messages, 4, true, &again, &again_bytes, &err) != status) abort();
    if (status == SG_OK && (bytes != again_bytes || memcmp(text, again, bytes) != 0)) abort();
    sg_buffer_free(text);
    sg_buffer_free(again);
    sg_chat_free(chat);
    return 0;
}
