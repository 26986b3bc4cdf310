// Any bytes as a tokenizer.json and, behind a NUL, a text to encode with it. A tokenizer that opens
// gives ids of its vocabulary, the same ones twice, and decodes them.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_text(const sg_tokenizer *tokenizer, const char *text, size_t bytes)
{
    sg_error err;
    int32_t *ids, *again;
    size_t count, again_count;
    sg_encode_options options = {.add_special = true, .parse_special = true};
    if (sg_tokenizer_encode(tokenizer, text, bytes, &options, &ids, &count, &err) != SG_OK) return;
    if (sg_tokenizer_encode(tokenizer, text, bytes, &options, &again, &again_count, &err) != SG_OK)
        abort();
    if (count != again_count || memcmp(ids, again, count * sizeof *ids) != 0) abort();
    for (size_t i = 0; i < count; i++)
        if (sg_tokenizer_token_text(tokenizer, ids[i]) == NULL) abort();
    char *back;
    size_t back_bytes;
    if (sg_tokenizer_decode(tokenizer, ids, count, NULL, &back, &back_bytes, &err) != SG_OK)
        abort();
    sg_buffer_free(back);
    sg_buffer_free(ids);
    sg_buffer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = memchr(data, 0, size);
    size_t json = end == NULL ? size : (size_t)(end - data);
    sg_tokenizer *tokenizer;
    sg_error err;
    if (sg_tokenizer_from_memory(data, json, "input", &tokenizer, &err) != SG_OK) return 0;
    static const char fallback[] = "ab c 12\n\n  e\xCC\x81 \xF0\x9F\x98 <e>x-y";
    if (end == NULL)
        try_text(tokenizer, fallback, sizeof fallback - 1);
    else
        try_text(tokenizer, (const char *)end + 1, size - json - 1);
    sg_tokenizer_free(tokenizer);
    return 0;
}
