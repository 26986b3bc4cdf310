// Any bytes as a chat template. One that is read may be run: it ends, and the same way twice.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sg_chat_message messages[] = {
        {"system", " Be kind. ", NULL},
        {"user", "Why?\n", NULL},
        {"assistant", "\xC3\xA9", NULL},
        {NULL, NULL,
         "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
         "\"arguments\":{\"a\":[1,2.5,true],\"b\":null}}}]}"},
        {"user", "", NULL}};
    sg_chat *chat;
    sg_error err;
    if (sg_chat_new((const char *)data, size, "input", "<s>", "</s>", &chat, &err) != SG_OK)
        return 0;
    char *text, *again;
    size_t bytes, again_bytes;
    sg_chat_options options = sg_chat_options_default();
    options.work = 1 << 22; // a tenth of a second
    options.date = "2026-01-31";
    options.tools = "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}]";
    sg_status status = sg_chat_render(chat, messages, 5, &options, &text, &bytes, &err);
    if (sg_chat_render(chat, messages, 5, &options, &again, &again_bytes, &err) != status) abort();
    if (status == SG_OK && (bytes != again_bytes || memcmp(text, again, bytes) != 0)) abort();
    sg_buffer_free(text);
    sg_buffer_free(again);
    sg_chat_free(chat);
    return 0;
}
