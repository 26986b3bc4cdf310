// A tokenizer of a few words for tests of facts, as JSON.
#ifndef SG_TESTS_WORD_TOKENIZER_H
#define SG_TESTS_WORD_TOKENIZER_H

#include <string.h>

#include "sgatlin.h"

// Words are tokens, with the space in front of them, other words go letter by letter; <s> begins.
static inline sg_tokenizer *make_tokenizer(void)
{
    static const char text[] =
        "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<s>\",\"special\":true,"
        "\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false}],"
        "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":"
        "true,\"use_regex\":true},\"decoder\":{\"type\":\"ByteLevel\",\"add_prefix_space\":true,"
        "\"trim_offsets\":true,\"use_regex\":true},\"model\":{\"type\":\"BPE\",\"ignore_merges\":"
        "true,\"vocab\":{\"<s>\":0,\"c\":1,\"a\":2,\"f\":3,\"The\":4,\"\\u0120lake\":5,"
        "\"\\u0120mum\":6,\"\\u0120was\":7,\"\\u0120icy\":8,\"\\u0120proud\":9,\"\\u0120big\":10,"
        "\"\\u0120old\":11,\"\\u0120tree\":12,\"\\u0120is\":13,\"\\u0120\":14},\"merges\":[]}}";
    sg_error err = {0};
    sg_tokenizer *t;
    if (sg_tokenizer_from_memory(text, strlen(text), "tokenizer.json", &t, &err) != SG_OK)
        fail_msg("%s", err.message);
    return t;
}

#endif
